//! The call `Hash`: the hash of a member's keyspace at its latest compaction. Owns the question, the answer, and that one hash is computed at
//! a time, once for each compaction. Does not own the comparison (`engine::hash_check`) or what follows (`member/hash_check.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mvcc::Revision;
use proto::peer::peer_client::PeerClient;
use proto::peer::{HashAnswer, HashRequest};
use raft::{Configuration, MemberId};
use tokio::sync::Mutex;
use tonic::{Code, Response, Status};

use crate::peer::{Accepted, Peers, dial, greeting};

/// Time within which a member must have applied the compaction and computed its hash. A large keyspace takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Pause after a member has not applied the compaction yet, or cannot be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// The hash at the latest compaction, once it was computed. The lock is held while it is computed.
#[derive(Debug, Default)]
pub(super) struct Hashes(Arc<Mutex<Option<(Revision, u32)>>>);

impl Peers {
    /// Computes the hash of this member's keyspace at the compaction mark `mark`, off the threads of runtimes.
    ///
    /// # Errors
    /// Returns UNAVAILABLE if this mark is not applied yet, and OUT_OF_RANGE if a later one is.
    pub(crate) async fn own_hash(&self, mark: Revision) -> Result<u32, Status> {
        let mut known = Arc::clone(&self.hashes.0).lock_owned().await;
        if let Some((at, hash)) = *known
            && at == mark
        {
            return Ok(hash);
        }
        let published = self.shared.published();
        let held = published.view.compact_revision();
        if held < mark {
            return Err(Status::unavailable("the compaction is not applied yet"));
        }
        if held > mark {
            return Err(Status::out_of_range("a later compaction is applied"));
        }
        // Goes on if the caller gives up, so that the next caller does not begin another one meanwhile.
        let computed = tokio::task::spawn_blocking(move || {
            let hash = published.view.hash_kv(mark.0).map(|hashed| hashed.hash);
            if let Ok(hash) = hash {
                *known = Some((mark, hash));
            }
            hash
        });
        let hash = computed.await.map_err(|reason| Status::internal(reason.to_string()))?;
        hash.map_err(|reason| Status::internal(reason.to_string()))
    }

    /// Returns the hashes of the members of a configuration at a compaction mark, this member's included. A member that does not answer
    /// in time, that does not know the call, or that is past the mark is missing.
    ///
    /// # Errors
    /// Returns why this member has no hash.
    pub(crate) async fn all_hashes(
        &self,
        configuration: &Configuration,
        mark: Revision,
    ) -> Result<BTreeMap<MemberId, u32>, Status> {
        let own = self.own_hash(mark).await?;
        let others = configuration.members.keys().filter(|id| **id != self.member());
        let asked = others.map(async |id| {
            let answer = tokio::time::timeout(ANSWER_WITHIN, self.ask_hash(*id, mark)).await;
            answer.ok().flatten().map(|hash| (*id, hash))
        });
        let mut hashes: BTreeMap<_, _> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        hashes.insert(self.member(), own);
        Ok(hashes)
    }

    /// Asks until the member has the hash. Returns `None` if it will never have it.
    async fn ask_hash(&self, member: MemberId, mark: Revision) -> Option<u32> {
        loop {
            let answer = async {
                let url = self.url(member).ok_or_else(|| Status::unavailable("the address is not known"))?;
                let channel = dial::connect(&url).await.map_err(|reason| Status::unavailable(reason.to_string()))?;
                let request = HashRequest { greeting: Some(self.greeting(member)), compact_revision: mark.0 };
                PeerClient::new(channel).hash(request).await
            };
            match answer.await {
                Ok(answer) => return Some(answer.into_inner().hash),
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(PAUSE).await,
                Err(status) => {
                    tracing::debug!(%member, %status, "a member does not state its hash");
                    return None;
                }
            }
        }
    }
}

/// Answers a call.
///
/// # Errors
/// Returns why there is no hash.
pub(super) async fn serve(
    peers: &Arc<Peers>,
    request: HashRequest,
    connection: Option<&Accepted>,
) -> Result<Response<HashAnswer>, Status> {
    let from = greeting::check(peers, &request.greeting.unwrap_or_default())?;
    if !peers.configuration.load().contains(from) {
        return Err(Status::permission_denied("the configuration does not name the caller"));
    }
    let _call = connection.map(Accepted::call);
    let hash = peers.own_hash(Revision(request.compact_revision)).await?;
    Ok(Response::new(HashAnswer { hash }))
}
