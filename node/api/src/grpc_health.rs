//! gRPC's health service (`grpc.health.v1`), for the single service name "". Owns its messages. Does not own the status
//! of the member (`engine`).

use std::collections::HashMap;
use std::time::Duration;

use engine::status::Status as MemberStatus;
use futures::stream;
use tonic::Status;

use crate::admission::{Call, CallContext};
use crate::framed::Framed;
use crate::grpc::{Messages, frame_message};
use crate::status::Refusal;

/// Interval between the checks of the status in a `Watch` stream.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

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

    fn message(self) -> Result<Framed, Status> {
        frame_message(&CheckResponse { status: self as i32 })
    }
}

pub(super) fn check(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<CheckRequest>()?;
    let admitted = context.admit_in_any_phase(call)?;
    if !request.service.is_empty() {
        return Err(Status::not_found("unknown service"));
    }
    Health::of(&admitted.status).message()
}

pub(super) fn list(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let admitted = context.admit_in_any_phase(call)?;
    let response = CheckResponse { status: Health::of(&admitted.status) as i32 };
    frame_message(&ListResponse { statuses: HashMap::from([(String::new(), response)]) })
}

/// Streams the current health and then each change of it, until the member stops.
pub(super) fn watch(context: &CallContext, call: &Call) -> Result<Messages, Status> {
    // The stream does not keep the request, whose memory is free when the stream begins.
    let is_known = call.decode::<CheckRequest>()?.service.is_empty();
    context.admit_in_any_phase(call)?;
    let messages = stream::try_unfold((context.clone(), None), move |(context, last_sent)| async move {
        loop {
            let current = if is_known { Health::of(&context.handle.status()) } else { Health::ServiceUnknown };
            if last_sent != Some(current) {
                return Ok(Some((current.message()?, (context, Some(current)))));
            }
            tokio::select! {
                () = context.handle.stopping() => return Err(Refusal::Stopped.into()),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
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
    fn a_blank_or_draining_member_is_not_serving() {
        let mut status = MemberStatus::idle(MemberId(1), String::new(), Phase::Blank);
        assert_eq!(Health::of(&status), Health::NotServing);
        status.phase = Phase::Member;
        assert_eq!(Health::of(&status), Health::Serving);
        status.draining = true;
        assert_eq!(Health::of(&status), Health::NotServing);
    }

    #[test]
    fn messages_are_encoded_as_in_grpc_health() {
        assert_eq!(Health::Serving.message().unwrap().whole(), &b"\0\0\0\0\x02\x08\x01"[..]);
        let list = ListResponse {
            statuses: HashMap::from([(String::new(), CheckResponse { status: Health::NotServing as i32 })]),
        };
        // The map has one entry. Its empty key is omitted, and its value is the message in field 2.
        assert_eq!(frame_message(&list).unwrap().whole(), &b"\0\0\0\0\x06\x0a\x04\x12\x02\x08\x02"[..]);
    }
}
