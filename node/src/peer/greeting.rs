//! Owns the checks of the greeting with which a member opens a connection, and how a refusal is reported. Does not own
//! the handling of the messages after it (`listen.rs`, `snapshot.rs`) nor the check whether the member was removed
//! (`raft`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::peer::Greeting;
use raft::MemberId;
use storage::ClusterId;
use storage::codec::DecodeError;
use tonic::Status;

use crate::peer::Peers;

/// What a refused caller is told. It names no ID, because the port does not authenticate callers yet: who knows the
/// IDs of a cluster and its members can send them messages.
const REFUSED: &str = "the greeting is refused; the log of the refusing member says why";
/// Minimum time between two log lines about refusals of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The log of refusals. Callers may repeat a wrong greeting without end, so most refusals are not logged.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<[Option<Instant>; KINDS]>);

/// What may be wrong with a greeting, or with the messages after it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Protocol,
    Cluster,
    Receiver,
    Sender,
    Messages,
}

const KINDS: usize = Kind::Messages as usize + 1;

impl RefusalLog {
    fn add(&self, kind: Kind, reason: &str) {
        let last = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize];
        if last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            *last = Some(Instant::now());
            tracing::warn!(%reason, "a peer was refused; no more refusals of this kind are logged for 10 s");
        }
    }
}

/// Reports messages that this program does not know. A newer program sends them only if something is wrong, because all
/// members know what the cluster's feature level allows.
pub(super) fn report_unknown(peers: &Peers, from: MemberId, reason: &DecodeError) {
    if matches!(reason, DecodeError::Unknown { .. }) {
        let reason = format!("{from} sends what this version does not know ({reason}): start a newer version");
        peers.refusals.add(Kind::Messages, &reason);
        peers.shared.note_unknown(reason);
    }
}

/// Returns the ID of the member that opened a connection.
///
/// # Errors
/// Returns a refusal that does not say why. The log of this member does.
pub(super) fn check(peers: &Peers, greeting: &Greeting) -> Result<MemberId, Status> {
    let refuse = |kind, reason: String| {
        peers.refusals.add(kind, &reason);
        Err(Status::failed_precondition(REFUSED))
    };
    let from = MemberId(greeting.from);
    if greeting.protocol != wire::PROTOCOL {
        let (theirs, ours) = (greeting.protocol, wire::PROTOCOL);
        return refuse(
            Kind::Protocol,
            format!("protocol {theirs} is not supported; this member speaks protocol {ours}"),
        );
    }
    if greeting.cluster_id[..] != peers.cluster().0 {
        let theirs = <[u8; 16]>::try_from(&greeting.cluster_id[..]).map(ClusterId);
        let theirs = theirs.map_or_else(|_| "no cluster".to_owned(), |id| format!("cluster {id}"));
        return refuse(Kind::Cluster, format!("this is a member of cluster {}, not of {theirs}", peers.cluster()));
    }
    if greeting.to != peers.member().0 {
        return refuse(Kind::Receiver, format!("this is member {}, not {}", peers.member(), MemberId(greeting.to)));
    }
    if greeting.from == 0 || from == peers.member() {
        return refuse(Kind::Sender, format!("{from} is not the ID of another member"));
    }
    peers.learn(from, &greeting.peer_url);
    Ok(from)
}
