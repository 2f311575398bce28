//! gRPC's own health service (`grpc.health.v1`), for the one service name "". Does not own what health is.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use engine::status::Status as MemberStatus;
use futures::stream;
use tonic::Status;

use crate::door::{Call, Door};
use crate::grpc::{Messages, frame_message};
use crate::status::Refusal;

/// How soon a watcher hears of a change.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct CheckResponse {
    #[prost(enumeration = "Health", tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ListResponse {
    #[prost(map = "string, message", tag = "1")]
    statuses: HashMap<String, CheckResponse>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Health {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl Health {
    fn of(status: &MemberStatus) -> Health {
        if status.serving().is_ok() && !status.draining { Health::Serving } else { Health::NotServing }
    }

    fn message(self) -> Result<Bytes, Status> {
        frame_message(&CheckResponse { status: self as i32 })
    }
}

pub(super) fn check(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<CheckRequest>()?;
    let admitted = door.admit_in_any_phase(call)?;
    if !request.service.is_empty() {
        return Err(Status::not_found("unknown service"));
    }
    Health::of(&admitted.status).message()
}

pub(super) fn list(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let admitted = door.admit_in_any_phase(call)?;
    let response = CheckResponse { status: Health::of(&admitted.status) as i32 };
    frame_message(&ListResponse { statuses: HashMap::from([(String::new(), response)]) })
}

/// The present health, then every change, until the member stops.
pub(super) fn watch(door: &Door, call: &Call) -> Result<Messages, Status> {
    let request = call.decode::<CheckRequest>()?;
    door.admit_in_any_phase(call)?;
    let door = door.clone();
    let health = move |door: &Door| {
        if request.service.is_empty() { Health::of(&door.handle.status()) } else { Health::ServiceUnknown }
    };
    let messages = stream::try_unfold((door, None), move |(door, told)| {
        let health = health.clone();
        async move {
            loop {
                let now = health(&door);
                if told != Some(now) {
                    return Ok(Some((now.message()?, (door, Some(now)))));
                }
                tokio::select! {
                    () = door.handle.stopping() => return Err(Refusal::Stopped.into()),
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    });
    Ok(Box::pin(messages))
}

#[cfg(test)]
mod tests {
    use raft::MemberId;

    use super::*;
    use engine::status::Phase;

    #[test]
    fn only_a_member_that_stays_is_serving() {
        let mut status = MemberStatus::idle(MemberId(1), String::new(), Phase::Blank);
        assert_eq!(Health::of(&status), Health::NotServing);
        status.phase = Phase::Member;
        assert_eq!(Health::of(&status), Health::Serving);
        status.draining = true;
        assert_eq!(Health::of(&status), Health::NotServing);
    }

    #[test]
    fn the_messages_are_those_of_grpc_health() {
        assert_eq!(Health::Serving.message().unwrap(), &b"\0\0\0\0\x02\x08\x01"[..]);
        let list = ListResponse {
            statuses: HashMap::from([(String::new(), CheckResponse { status: Health::NotServing as i32 })]),
        };
        // An entry of the map: an empty key, left out, and a message under 2.
        assert_eq!(frame_message(&list).unwrap(), &b"\0\0\0\0\x06\x0a\x04\x12\x02\x08\x02"[..]);
    }
}
