//! Requests of an operator that the world has not carried out yet. Owns the queue, and the client of
//! the Kubernetes API that fills it. Does not own calls to members (`messages.rs`), nor when a request is carried out, lost or delayed (`operator.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Response;
use kube::client::Body;
use tokio::sync::oneshot;
use tower::BoxError;
use tower::util::service_fn;

use crate::api_server::http::{Answer, ApiRequest};
use crate::members::CallError;
use crate::members::calls::{MemberCall, MemberReply};

/// A request, and the place where the operator waits for the answer.
#[derive(Debug)]
pub(super) enum Pending {
    /// A request to the API server.
    Api(Box<ApiRequest>, oneshot::Sender<Answer>),
    /// A call to a member.
    Member(PendingCall, oneshot::Sender<Result<MemberReply, CallError>>),
}

/// A call to the member at an address.
#[derive(Debug)]
pub(super) struct PendingCall {
    /// Address of a pod, which is the pod's UID.
    pub(super) address: String,
    /// The token that the call carries.
    pub(super) token: Option<String>,
    pub(super) call: MemberCall,
}

impl Pending {
    /// Returns whether the request changes nothing that a pass depends on.
    pub(super) fn is_read(&self) -> bool {
        match self {
            Self::Api(request, _) => request.is_read(),
            Self::Member(call, _) => call.call.is_read(),
        }
    }
}

/// The pending requests of one operator, in the order in which it made them.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Mutex<Vec<Pending>>>);

impl Queue {
    /// Returns the pending requests, to be changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection ended before the answer arrived. The operator cannot know whether the request was carried out.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection was lost")]
struct Lost;

/// Calls the member at `address`.
pub(super) async fn call(
    queue: &Queue,
    address: String,
    token: Option<String>,
    call: MemberCall,
) -> Result<MemberReply, CallError> {
    let (reply, answer) = oneshot::channel();
    queue.lock().push(Pending::Member(PendingCall { address, token, call }, reply));
    answer.await.unwrap_or(Err(CallError::Unreachable))
}

/// Creates the client of the Kubernetes API.
pub(super) fn client(queue: &Queue) -> kube::Client {
    let queue = queue.clone();
    let service = service_fn(move |request: http::Request<Body>| {
        let queue = queue.clone();
        async move {
            let (head, body) = request.into_parts();
            let request = ApiRequest::parse(&head, &body.collect_bytes().await?);
            let (reply, answer) = oneshot::channel();
            queue.lock().push(Pending::Api(Box::new(request), reply));
            let answer: Response<bytes::Bytes> = answer.await.map_err(|_| Lost)?;
            Ok::<_, BoxError>(answer.map(Body::from))
        }
    });
    kube::Client::new(service, crate::api_server::NAMESPACE)
}
