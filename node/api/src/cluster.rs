//! etcd's Cluster service: shows the replicated configuration. Changing it is the operator's, through the admin door, so
//! etcd's own ways to do that are refused by name.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb as pb;
use raft::Configuration;
use tonic::Status;

use crate::door::{Admitted, Answerer, Call, Door};
use crate::grpc::frame_message;
use crate::parse::Consistency;
use crate::status::Refusal;

/// How long a member's report of itself may take to catch up with its content.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(1);
const REPORT_LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) async fn member_list(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::MemberListRequest>()?;
    let mut admitted = door.admit(call, Answerer::Voter)?;
    if request.linearizable {
        admitted = up_to_date(door).await?;
    }
    frame_message(&pb::MemberListResponse {
        header: Some(admitted.header().into()),
        members: members(&admitted.status.committed),
    })
}

/// The member's report, once it covers everything committed before now.
async fn up_to_date(door: &Door) -> Result<Admitted, Refusal> {
    let read = door.read(Consistency::Linearizable).await?;
    let deadline = Instant::now() + REPORT_WAIT_MAX;
    loop {
        let status = door.handle.status();
        if status.applied >= read.applied {
            return Ok(Admitted { status });
        }
        if Instant::now() >= deadline {
            return Err(Refusal::Timeout);
        }
        tokio::time::sleep(REPORT_LOOK_EVERY).await;
    }
}

/// In the order of their IDs, as etcd lists them.
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

/// `MemberAdd`, `MemberRemove`, `MemberUpdate` and `MemberPromote`.
pub(super) fn refuse_change(door: &Door, call: &Call) -> Result<Bytes, Status> {
    door.admit(call, Answerer::Voter)?;
    Err(Refusal::MembershipIsOperators.into())
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
        let nowhere = pb::Member { peer_ur_ls: vec![], client_ur_ls: vec![], ..member(3, "demo-3", false) };
        assert_eq!(members(&configuration), [nowhere, member(5, "demo-2", true), member(9, "demo-1", false)]);
    }
}
