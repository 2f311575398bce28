//! etcd's Cluster service. Owns the conversion of the replicated configuration into etcd's member list. Does not own
//! changes of membership: etcd's calls for them are refused, because only the operator changes membership, through the
//! admin service.

use std::time::{Duration, Instant};

use proto::etcdserverpb as pb;
use raft::Configuration;
use tonic::Status;

use crate::admission::{Admitted, Answerer, Call, CallContext};
use crate::framed::Framed;
use crate::grpc::frame_message;
use crate::parse::Consistency;
use crate::status::Refusal;

/// Time within which the member's status must reach the applied index of the confirmed read.
const STATUS_WAIT_MAX: Duration = Duration::from_secs(1);
/// Interval between checks of the status.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

pub(super) async fn member_list(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::MemberListRequest>()?;
    let mut admitted = context.admit(call, Answerer::Voter)?;
    if request.linearizable {
        admitted = up_to_date(context).await?;
    }
    frame_message(&pb::MemberListResponse {
        header: Some(admitted.header().into()),
        members: members(&admitted.status.committed),
    })
}

/// Returns the member's status once it covers everything that was committed before this call.
///
/// # Errors
/// Returns the reason why the read was not confirmed, or [`Refusal::Timeout`] if the status does not catch up in time.
async fn up_to_date(context: &CallContext) -> Result<Admitted, Refusal> {
    let read = context.read(Consistency::Linearizable).await?;
    let deadline = Instant::now() + STATUS_WAIT_MAX;
    loop {
        let status = context.handle.status();
        if status.applied >= read.applied {
            return Ok(Admitted { status });
        }
        if Instant::now() >= deadline {
            return Err(Refusal::Timeout);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The members in the order of their IDs, as etcd lists them.
fn members(configuration: &Configuration) -> Vec<pb::Member> {
    configuration
        .members
        .iter()
        .map(|(&id, info)| pb::Member {
            id: id.0,
            name: info.name.clone(),
            peer_ur_ls: urls(&info.peer_url),
            client_ur_ls: urls(&info.client_url),
            is_learner: !configuration.is_voter(id),
        })
        .collect()
}

fn urls(url: &str) -> Vec<String> {
    if url.is_empty() { Vec::new() } else { vec![url.to_owned()] }
}

/// Refuses `MemberAdd`, `MemberRemove`, `MemberUpdate` and `MemberPromote`.
pub(super) fn refuse_change(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    context.admit(call, Answerer::Voter)?;
    Err(Refusal::MembershipManaged.into())
}

#[cfg(test)]
mod tests {
    use raft::{MemberId, MemberInfo};

    use super::*;

    #[test]
    fn members_are_listed_by_id_with_their_addresses() {
        let info = |name: &str| MemberInfo {
            name: name.to_owned(),
            peer_url: format!("http://{name}:2380"),
            client_url: format!("http://{name}:2379"),
        };
        let configuration = Configuration {
            voters: [MemberId(9)].into(),
            outgoing: [MemberId(9), MemberId(3)].into(),
            learners: [MemberId(5)].into(),
            learners_next: [MemberId(3)].into(),
            members: [
                (MemberId(9), info("demo-1")),
                (MemberId(5), info("demo-2")),
                (MemberId(3), MemberInfo { name: "demo-3".to_owned(), ..MemberInfo::default() }),
            ]
            .into(),
            ..Configuration::default()
        };
        let member = |id, name: &str, is_learner| pb::Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: vec![format!("http://{name}:2380")],
            client_ur_ls: vec![format!("http://{name}:2379")],
            is_learner,
        };
        let without_urls = pb::Member { peer_ur_ls: vec![], client_ur_ls: vec![], ..member(3, "demo-3", false) };
        assert_eq!(members(&configuration), [without_urls, member(5, "demo-2", true), member(9, "demo-1", false)]);
    }
}
