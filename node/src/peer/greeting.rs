//! Owns the checks of the greeting with which a member opens a connection. Does not own the handling of the messages
//! after it (`listen.rs`, `snapshot.rs`) nor the check whether the member was removed (`raft`).

use proto::peer::Greeting;
use raft::MemberId;
use storage::ClusterId;
use tonic::Status;

use crate::peer::Peers;

/// Returns the ID of the member that opened a connection.
///
/// # Errors
/// Returns why the connection is refused. This function logs the refusal.
pub(super) fn check(peers: &Peers, greeting: &Greeting) -> Result<MemberId, Status> {
    let refuse = |reason: String| {
        tracing::warn!(%reason, "a peer was refused");
        Err(Status::failed_precondition(reason))
    };
    let from = MemberId(greeting.from);
    if greeting.protocol != wire::PROTOCOL {
        return refuse(format!(
            "protocol {} is not supported; this member speaks protocol {}",
            greeting.protocol,
            wire::PROTOCOL
        ));
    }
    if greeting.cluster_id[..] != peers.cluster().0 {
        let theirs = <[u8; 16]>::try_from(&greeting.cluster_id[..]).map(ClusterId);
        let theirs = theirs.map_or_else(|_| "no cluster".to_owned(), |id| format!("cluster {id}"));
        return refuse(format!("this is a member of cluster {}, not of {theirs}", peers.cluster()));
    }
    if greeting.to != peers.member().0 {
        return refuse(format!("this is member {}, not {}", peers.member(), MemberId(greeting.to)));
    }
    if greeting.from == 0 || from == peers.member() {
        return refuse(format!("{from} is not the ID of another member"));
    }
    peers.learn(from, &greeting.peer_url);
    Ok(from)
}
