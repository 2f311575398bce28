//! Owns the dispatch of requests by their path to gRPC methods and HTTP pages. Does not own listening: the program
//! serves one [`ClientService`] on each connection.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use engine::handle::Handle;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Request, Response, header};
use hyper::body::Body as HttpBody;
use tonic::{Code, Status};

use crate::admission::{Call, CallContext, Settings};
use crate::grpc::{self, Body, Messages};
use crate::method::Method;
use crate::observer::CallObserver;
use crate::pages::{Pages, not_found};
use crate::status::Refusal;
use crate::{cluster, grpc_health, kv, maintenance, range_stream, timeout};

/// Service of the client port. It serves gRPC and, over plain HTTP, `/version` and `/health`, which etcd's clients
/// request.
///
/// It is cheap to clone. Serve it with hyper's automatic choice between HTTP/1.1 and HTTP/2
/// (`hyper_util::server::conn::auto`). Create one for each runtime, from that runtime's [`Handle`].
#[derive(Clone, Debug)]
pub struct ClientService {
    context: Arc<CallContext>,
    pages: Pages,
}

/// The answer to a call.
enum Answer {
    One(Bytes),
    Many(Messages),
}

impl ClientService {
    /// Creates the service of one member.
    #[must_use]
    pub fn new(handle: Handle, settings: Settings, observer: Arc<dyn CallObserver>) -> ClientService {
        let pages = Pages::new(handle.clone(), Arc::clone(&observer));
        ClientService { context: Arc::new(CallContext { handle, settings, observer }), pages }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let (parts, body) = request.into_parts();
        if !is_grpc(&parts.headers) {
            return self.page(&parts).await;
        }
        let Some(method) = Method::of_path(parts.uri.path()) else {
            return grpc::refuse(&unknown(parts.uri.path()));
        };
        let answered = match timeout::given(&parts.headers) {
            Ok(given) => timeout::within(given, self.call(method, parts.headers, body)).await,
            Err(malformed) => Err(malformed),
        };
        match answered {
            Ok(Answer::One(message)) => {
                self.context.observer.call(method, Code::Ok);
                grpc::one(message)
            }
            Ok(Answer::Many(messages)) => {
                // A stream is counted when it begins, because its end is not known yet.
                self.context.observer.call(method, Code::Ok);
                grpc::many(messages)
            }
            Err(status) => {
                self.context.observer.call(method, status.code());
                grpc::refuse(&status)
            }
        }
    }

    async fn call<B>(&self, method: Method, headers: HeaderMap, body: B) -> Result<Answer, Status>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let context = &self.context;
        let message = grpc::receive(&headers, body, context.settings.limits.receive_bytes_max()).await?;
        let call = &Call { headers, message };
        let one = match method {
            Method::Put => kv::put(context, call).await,
            Method::Range => kv::range(context, call).await,
            Method::Txn => kv::txn(context, call).await,
            Method::DeleteRange => kv::delete_range(context, call).await,
            Method::Compact => kv::compact(context, call).await,
            Method::RangeStream => return range_stream::range_stream(context, call).await.map(Answer::Many),
            Method::MemberList => cluster::member_list(context, call).await,
            Method::MemberAdd | Method::MemberRemove | Method::MemberUpdate | Method::MemberPromote => {
                cluster::refuse_change(context, call)
            }
            Method::Status => maintenance::status(context, call),
            Method::Alarm => maintenance::alarm(context, call).await,
            Method::Hash => maintenance::hash(context, call),
            Method::HashKv => maintenance::hash_kv(context, call),
            Method::MoveLeader => maintenance::move_leader(context, call).await,
            Method::Defragment => maintenance::defragment(context, call),
            Method::Snapshot => maintenance::refuse_absent(context, call, Refusal::SnapshotAbsent),
            Method::Downgrade => maintenance::refuse_absent(context, call, Refusal::DowngradeAbsent),
            Method::HealthCheck => grpc_health::check(context, call),
            Method::HealthList => grpc_health::list(context, call),
            Method::HealthWatch => return grpc_health::watch(context, call).map(Answer::Many),
        };
        one.map(Answer::One)
    }

    async fn page(&self, request: &Parts) -> Response<Body> {
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
        let page = self.pages.answer(&request.method, path, query).await;
        page.unwrap_or_else(not_found).map(Body::plain)
    }
}

impl<B> hyper::service::Service<Request<B>> for ClientService
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let Some(rest) = kind.as_bytes().strip_prefix(b"application/grpc") else { return false };
    matches!(rest.first(), None | Some(b'+' | b';'))
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
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_recognized_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

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
