//! Writers. Each writer has its own connection and sends one write after another. Owns connecting, and the
//! classification of responses. Never repeats a write.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::etcdserverpb::PutRequest;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::ledger::{Outcome, WriteLedger};

/// Settings of the writers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Endpoint to write to, such as `http://demo:2379`.
    pub endpoint: String,
    /// Prefix of every key; the key's number follows it.
    pub prefix: String,
    /// Length of each value in bytes.
    pub value_bytes: usize,
    /// Maximum wait for the response to a write. The outcome of a write without a response is unknown, and the writer
    /// opens a new connection.
    pub deadline: Duration,
    /// Pause between two writes of one writer.
    pub pace: Duration,
}

/// Returns the key with the number `sequence`.
#[must_use]
pub fn key(prefix: &str, sequence: u64) -> Vec<u8> {
    format!("{prefix}{sequence:012}").into_bytes()
}

/// Returns the value of the key with the number `sequence`. The value contains that number and has `bytes` bytes, or
/// more if the number is longer.
#[must_use]
pub fn value(sequence: u64, bytes: usize) -> Vec<u8> {
    let mut value = format!("{sequence:012}|").into_bytes();
    value.resize(bytes.max(value.len()), b'.');
    value
}

/// Connects to an endpoint, with a time limit for every wait.
///
/// # Errors
/// Returns an error if the endpoint is not a URL, or if no server responds in time.
pub async fn connect(endpoint: &str) -> Result<KvClient<Channel>, tonic::transport::Error> {
    let channel = Endpoint::from_shared(endpoint.to_owned())?
        .connect_timeout(Duration::from_millis(500))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(6))
        .keep_alive_timeout(Duration::from_secs(2))
        .connect()
        .await?;
    Ok(KvClient::new(channel).max_decoding_message_size(64 << 20))
}

/// Writes until `stop` holds `true`.
pub async fn write(options: Options, ledger: Arc<Mutex<WriteLedger>>, mut stop: watch::Receiver<bool>) {
    let mut client = None;
    while !*stop.borrow_and_update() {
        let sequence = lock(&ledger).begin();
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => connect(&options.endpoint).await,
        };
        let (outcome, error) = match connected {
            Err(error) => (Outcome::NotSent, Some(chain(&error))),
            Ok(mut connected) => {
                let request = PutRequest {
                    key: key(&options.prefix, sequence).into(),
                    value: value(sequence, options.value_bytes).into(),
                    ..Default::default()
                };
                match tokio::time::timeout(options.deadline, connected.put(request)).await {
                    Ok(Ok(_)) => {
                        client = Some(connected);
                        (Outcome::Acknowledged, None)
                    }
                    Ok(Err(status)) => (Outcome::Unknown, Some(format!("{:?}: {}", status.code(), status.message()))),
                    Err(_) => (Outcome::Unknown, Some(format!("no response within {:?}", options.deadline))),
                }
            }
        };
        let failed = outcome != Outcome::Acknowledged;
        lock(&ledger).end(sequence, outcome, error, Instant::now());
        // After a failure there is always a short pause, because otherwise a dead endpoint would be called in a tight
        // loop.
        let rest = if failed { options.pace.max(Duration::from_millis(20)) } else { options.pace };
        if !rest.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// Locks the ledger. Ignores poisoning, because every change of the ledger is one step, and a writer that panics
/// therefore leaves the ledger consistent.
pub(crate) fn lock(ledger: &Mutex<WriteLedger>) -> std::sync::MutexGuard<'_, WriteLedger> {
    ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
