//! Owns the dispatch of requests by their path to gRPC methods and HTTP pages. Does not own connections (`transport`).

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use engine::handle::Handle;
use futures::StreamExt;
use http::Response;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::admission::{Call, CallContext, Settings};
use crate::metadata::Metadata;
use crate::method::Method;
use crate::observer::{CallObserver, PendingCall};
use crate::pages::{Pages, not_found};
use crate::status::Refusal;
use crate::transport::connections::Place;
use crate::transport::{self, Answer, Calls, Claim, Received, Requests};
use crate::{cluster, grpc_health, kv, maintenance, range_stream, timeout};

/// Service of the client port. It serves gRPC and, over plain HTTP, `/version` and `/health`, which etcd's clients
/// request.
///
/// It is cheap to clone. Create one for each runtime, from that runtime's [`Handle`].
#[derive(Clone, Debug)]
pub struct ClientService {
    context: Arc<CallContext>,
    pages: Pages,
}

impl ClientService {
    /// Creates the service of one member.
    #[must_use]
    pub fn new(handle: Handle, settings: Settings, observer: Arc<dyn CallObserver>) -> ClientService {
        let pages = Pages::new(handle.clone(), Arc::clone(&observer));
        ClientService { context: Arc::new(CallContext { handle, settings, observer }), pages }
    }

    /// Serves one connection until it ends, or until `stopping` is ready and the calls in progress have ended.
    pub async fn serve<S>(self, stream: S, place: Place, stopping: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        transport::serve(stream, self, place, stopping).await;
    }

    async fn answer(&self, method: Method, metadata: Metadata, requests: Requests) -> Result<Answer, Status> {
        let given = metadata.timeout;
        let until = given.map(|given| Instant::now() + given);
        let called = pin!(self.dispatch(method, metadata, requests));
        match timeout::within(given, called).await? {
            // The time of a stream includes its messages.
            Answer::Many(messages, _, claim) => Ok(Answer::Many(messages, until, claim)),
            one @ Answer::One(_) => Ok(one),
        }
    }

    async fn dispatch(&self, method: Method, metadata: Metadata, requests: Requests) -> Result<Answer, Status> {
        let context = &self.context;
        let bytes_max = context.settings.limits.receive_bytes_max();
        let Received { message, memory } = requests.only(metadata.encoding.as_ref(), bytes_max).await?;
        let call = Call { metadata, message, memory };
        let one = match method {
            Method::Put => kv::put(context, &call).await,
            Method::Range => kv::range(context, &call).await,
            Method::Txn => kv::txn(context, &call).await,
            Method::DeleteRange => kv::delete_range(context, &call).await,
            Method::Compact => kv::compact(context, &call).await,
            Method::RangeStream => {
                let messages = range_stream::range_stream(context, &call).await?;
                // The stream keeps the keys of the request.
                let messages = StreamExt::inspect(messages, move |_| {
                    let _kept = &call;
                });
                return Ok(Answer::Many(Box::pin(messages), None, Claim::Keeps));
            }
            Method::MemberList => cluster::member_list(context, &call).await,
            Method::MemberAdd | Method::MemberRemove | Method::MemberUpdate | Method::MemberPromote => {
                cluster::refuse_change(context, &call)
            }
            Method::Status => maintenance::status(context, &call),
            Method::Alarm => maintenance::alarm(context, &call).await,
            Method::Hash => maintenance::hash(context, &call).await,
            Method::HashKv => maintenance::hash_kv(context, &call).await,
            Method::MoveLeader => maintenance::move_leader(context, &call).await,
            Method::Defragment => maintenance::defragment(context, &call),
            Method::Snapshot => maintenance::refuse_absent(context, &call, Refusal::SnapshotAbsent),
            Method::Downgrade => maintenance::refuse_absent(context, &call, Refusal::DowngradeAbsent),
            Method::HealthCheck => grpc_health::check(context, &call),
            Method::HealthList => grpc_health::list(context, &call),
            Method::HealthWatch => {
                // Otherwise clients that wait for nothing else could keep all places.
                return grpc_health::watch(context, &call).map(|messages| Answer::Many(messages, None, Claim::Yields));
            }
        };
        one.map(Answer::One)
    }
}

impl Calls for ClientService {
    async fn call(&self, head: Parts, requests: Requests) -> Result<Answer, Status> {
        let path = head.uri.path();
        let Some(method) = Method::of_path(path) else { return Err(unknown(path)) };
        let pending = PendingCall::begin(&*self.context.observer, method);
        let metadata = Metadata::of(&head.headers);
        // A call may last long, and its headers may have 16 KiB.
        drop(head);
        let answer = match metadata {
            Ok(metadata) => self.answer(method, metadata, requests).await,
            Err(malformed) => Err(malformed),
        };
        // A stream is counted when it begins, because its end is not known yet.
        pending.end(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }

    async fn page(&self, request: &Parts) -> Response<Bytes> {
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
        self.pages.answer(&request.method, path, query).await.unwrap_or_else(not_found)
    }
}

/// The status for an unknown path. The texts equal those of grpc-go, except for services of etcd that this version does
/// not implement.
fn unknown(path: &str) -> Status {
    const ABSENT: [&str; 5] =
        ["etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Auth", "v3lockpb.Lock", "v3electionpb.Election"];
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
        return Status::unimplemented(format!("malformed method name: {path:?}"));
    };
    if ABSENT.contains(&service) {
        Refusal::ServiceAbsent.into()
    } else if Method::serves(service) {
        Status::unimplemented(format!("unknown method {method} for service {service}"))
    } else {
        Status::unimplemented(format!("unknown service {service}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_path_is_unimplemented_and_the_text_says_why() {
        for (path, text) in [
            ("/etcdserverpb.Watch/Watch", Refusal::ServiceAbsent.text()),
            ("/v3lockpb.Lock/Lock", Refusal::ServiceAbsent.text()),
            ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
            ("/some.Service/Method", "unknown service some.Service"),
            ("/nothing", "malformed method name: \"/nothing\""),
        ] {
            let status = unknown(path);
            assert_eq!((status.code(), status.message()), (Code::Unimplemented, text));
        }
    }
}
