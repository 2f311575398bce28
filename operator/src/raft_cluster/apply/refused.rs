//! Tests of passes in which the API server refuses a write.

use plan::observed::Observed;

use super::{Applied, in_order};
use crate::answering::{AnsweringServer, Request, accepted, refused};
use crate::context::Context;
use crate::planning::tests::cluster;

const INVALID: &str = "Service \"demo-members\" is invalid: spec.clusterIP: Invalid value";

/// A new cluster and its operator. The API server answers writes of the Service `demo-members` with an error.
struct Setup {
    server: AnsweringServer,
    context: Context,
    observed: Observed,
}

impl Setup {
    async fn answering(code: u16, message: &'static str) -> Self {
        let server = AnsweringServer::start(move |request| {
            if request.path.ends_with("/services/demo-members") { refused(code, message) } else { accepted() }
        });
        let server = server.await;
        let context = server.context();
        Self { observed: cluster("demo"), context, server }
    }

    /// Carries out the plan, which applies three Services and a disruption budget.
    async fn pass(&self) -> (Applied, Vec<Request>) {
        let actions = plan::plan(&self.observed).actions;
        assert!(actions.len() >= 4, "{actions:?}");
        let applied = in_order(&actions, &self.observed, &self.context).await;
        (applied, self.server.requests())
    }
}

fn reached(requests: &[Request], object: &str) -> bool {
    requests.iter().any(|request| request.path.ends_with(object))
}

#[tokio::test]
async fn the_rest_of_the_pass_goes_on_after_a_refusal() {
    for code in [400, 403, 413, 422] {
        let (applied, requests) = Setup::answering(code, INVALID).await.pass().await;
        for object in ["/services/demo-members", "/services/demo-read", "/poddisruptionbudgets/demo"] {
            assert!(reached(&requests, object), "{object} in {requests:?}");
        }
        assert_eq!(applied.failures, Vec::<String>::new(), "a refusal does not delay the next pass");
        let messages: Vec<_> = applied.refused.iter().map(|refused| refused.message.as_str()).collect();
        assert_eq!(messages, [INVALID]);
    }
}

#[tokio::test]
async fn a_denial_by_a_webhook_is_a_refusal_whatever_its_code() {
    const DENIED: &str = "admission webhook \"policy.example.com\" denied the request: not allowed";
    const SILENT: &str = "Internal error occurred: failed calling webhook \"policy.example.com\": timeout";
    for (code, message) in [(404, DENIED), (409, DENIED), (429, DENIED), (500, SILENT)] {
        let (applied, requests) = Setup::answering(code, message).await.pass().await;
        assert!(reached(&requests, "/poddisruptionbudgets/demo"), "{requests:?}");
        let services = if message == SILENT { 3 } else { 1 };
        assert_eq!((applied.refused.len(), applied.failures.len()), (services, 0), "{:?}", applied.failures);
    }
}

/// Passes follow each other ten times a second while other actions make progress.
#[tokio::test]
async fn a_refused_write_is_neither_sent_nor_published_in_every_pass() {
    let mut setup = Setup::answering(422, INVALID).await;
    let (applied, _) = setup.pass().await;
    assert_eq!(applied.news.len(), 1);
    let (applied, requests) = setup.pass().await;
    assert!(!reached(&requests, "/services/demo-members"), "{requests:?}");
    assert!(reached(&requests, "/services/demo-read"), "{requests:?}");
    assert_eq!((applied.refused.len(), applied.news.len()), (1, 0), "it is still reported, but not as an event");
    setup.observed.cluster.metadata.generation = Some(2);
    let (applied, requests) = setup.pass().await;
    assert!(reached(&requests, "/services/demo-members"), "a changed spec may have removed the cause: {requests:?}");
    assert_eq!((applied.refused.len(), applied.news.len()), (1, 0), "the message is the same");
}

/// A write that was not planned for a while is planned for a new reason, and is not held back.
#[tokio::test]
async fn a_refused_write_that_is_no_longer_planned_is_forgotten() {
    let setup = Setup::answering(422, INVALID).await;
    setup.pass().await;
    in_order(&[], &setup.observed, &setup.context).await;
    let (applied, requests) = setup.pass().await;
    assert!(reached(&requests, "/services/demo-members"), "{requests:?}");
    assert_eq!(applied.news.len(), 1);
}

#[tokio::test]
async fn a_failure_of_the_api_server_is_no_refusal() {
    let (applied, requests) = Setup::answering(500, "etcdserver: request timed out").await.pass().await;
    assert_eq!((applied.refused.len(), applied.failures.len()), (0, 1), "{:?}", applied.refused);
    assert!(reached(&requests, "/poddisruptionbudgets/demo"), "{requests:?}");
}
