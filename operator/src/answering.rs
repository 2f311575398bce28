//! An API server for tests that answers each request by a rule. Owns the HTTP between it and the client. Does not own
//! the answers.

use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use plan::observed::OperatorSettings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::context::Context;
use crate::machine::ThisMachine;
use crate::member::client::Members;
use crate::metrics::Metrics;

/// A request that reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path without parameters.
    pub(crate) path: String,
    /// Parameters, as they are in the URL.
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// The code and the body of an answer.
pub(crate) type Answer = (u16, Value);

/// A server, and the requests that reached it.
pub(crate) struct AnsweringServer {
    pub(crate) client: Client,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl AnsweringServer {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
        config.default_retry = false;
        tokio::spawn(serve(listener, answer, Arc::clone(&requests)));
        Self { client: Client::try_from(config).expect("a client"), requests }
    }

    /// The context of an operator that uses this server.
    pub(crate) fn context(&self) -> Context {
        let settings = OperatorSettings { node_image: "raft-node:1".to_owned(), node_image_pull_policy: None };
        let (client, machine) = (self.client.clone(), Box::new(ThisMachine));
        let (instance, release) = ("test".to_owned(), "test".to_owned());
        Context::new(client, Members::default(), machine, settings, Metrics::new(), instance, release)
    }

    /// The requests that reached the server since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An answer to a write that is accepted.
pub(crate) fn accepted() -> Answer {
    let metadata = json!({ "name": "any", "uid": "v", "resourceVersion": "2" });
    (200, json!({ "apiVersion": "v1", "kind": "Any", "metadata": metadata }))
}

/// An answer that refuses a request.
pub(crate) fn refused(code: u16, message: &str) -> Answer {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Any", "code": code, "message": message,
    });
    (code, status)
}

async fn serve(
    listener: TcpListener,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    requests: Arc<Mutex<Vec<Request>>>,
) {
    while let Ok((connection, _)) = listener.accept().await {
        // The client reports a broken connection as an error of its request.
        let _ = respond(connection, &answer, &requests).await;
    }
}

async fn respond(
    mut connection: TcpStream,
    answer: &(impl Fn(&Request) -> Answer + Sync),
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let request = read_request(&mut connection).await?;
    let (code, body) = answer(&request);
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} Any\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await
}

async fn read_request(connection: &mut TcpStream) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(request) = text.split_once("\r\n\r\n").and_then(|(head, body)| parse(head, body)) {
            return Ok(request);
        }
        if connection.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The request; `None` while its body is incomplete.
fn parse(head: &str, body: &str) -> Option<Request> {
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    if body.len() < head.lines().find_map(length).unwrap_or(0) {
        return None;
    }
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    Some(Request { method, path, query, body: serde_json::from_str(body).unwrap_or_default() })
}
