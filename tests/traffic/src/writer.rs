//! The writers: each its own connection, one write after the other. Owns connecting and classifying answers; never
//! repeats a write.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto::etcdserverpb::PutRequest;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::record::{Outcome, Record};

/// How to write.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where, such as `http://demo:2379`.
    pub endpoint: String,
    /// Keys are this and a number.
    pub prefix: String,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// A write without an answer by then has an unknown outcome, and the connection is made anew.
    pub deadline: Duration,
    /// Rest between two writes of one writer.
    pub pace: Duration,
}

/// The key of a sequence number.
#[must_use]
pub fn key(prefix: &str, sequence: u64) -> Vec<u8> {
    format!("{prefix}{sequence:012}").into_bytes()
}

/// The value of a sequence number: recognisable and of the wanted size.
#[must_use]
pub fn value(sequence: u64, bytes: usize) -> Vec<u8> {
    let mut value = format!("{sequence:012}|").into_bytes();
    value.resize(bytes.max(value.len()), b'.');
    value
}

/// Connects, with bounds on everything.
///
/// # Errors
/// The endpoint does not parse, or nobody answers in time.
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

/// Writes until told to stop.
pub async fn write(options: Options, record: Arc<Mutex<Record>>, mut stop: watch::Receiver<bool>) {
    let mut client = None;
    while !*stop.borrow_and_update() {
        let sequence = lock(&record).begin();
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
                    Err(_) => (Outcome::Unknown, Some(format!("no answer within {:?}", options.deadline))),
                }
            }
        };
        let failed = outcome != Outcome::Acknowledged;
        lock(&record).end(sequence, outcome, error, Instant::now());
        // After a failure a short rest, so that a dead endpoint is not hammered.
        let rest = if failed { options.pace.max(Duration::from_millis(20)) } else { options.pace };
        if !rest.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.changed() => {}
            }
        }
    }
}

/// The record; a writer that panicked has written nothing half.
pub(crate) fn lock(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
