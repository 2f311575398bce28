//! The protocol by which a test controls a running client over loopback. Each request and each response is one line of
//! JSON.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::{PhaseReport, WriteLedger};
use crate::verify::{self, Verdict};
use crate::writer::{self, Options};

/// Time within which a cluster must begin to serve reads.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests to a running client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlRequest {
    /// Ends the present phase and begins the next one.
    Mark {
        /// Name of the phase that begins.
        next: String,
    },
    /// Stops writing permanently and compares a store with the ledger. If the request is repeated, the comparison is
    /// repeated.
    Verify {
        /// Endpoint of the store. It is either the store to which the client wrote, or a store that was restored from a
        /// backup.
        endpoint: String,
    },
}

/// Responses of a running client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlResponse {
    /// The phase that ended.
    Phase(PhaseReport),
    /// The result of the comparison, and the revision at which the client began to write.
    Verdict {
        /// Result of the comparison.
        verdict: Verdict,
        /// Revision before the first write.
        first_revision: i64,
    },
    /// The request failed, for this reason.
    Error(String),
}

/// Writes over `writers` connections, and serves requests on `listen`, until the process ends.
///
/// # Errors
/// Returns an error if the address is in use, or if the store does not respond before the first write. In both
/// cases nothing was written.
pub async fn serve(options: Options, writers: usize, listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("binding {listen}"))?;
    let first_revision = reachable_revision(&options.endpoint).await?;
    let ledger = Arc::new(Mutex::new(WriteLedger::new("start", Instant::now())));
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for _ in 0..writers {
        running.spawn(writer::write(options.clone(), ledger.clone(), stopped.clone()));
    }
    println!("writing to {} with {writers} writers from revision {first_revision}", options.endpoint);
    loop {
        let (stream, _) = listener.accept().await?;
        let exchange = async {
            let (read, mut write) = stream.into_split();
            let mut line = String::new();
            BufReader::new(read).read_line(&mut line).await?;
            let response = match serde_json::from_str(&line).context("the line is no request")? {
                ControlRequest::Mark { next } => {
                    ControlResponse::Phase(writer::lock(&ledger).mark(&next, Instant::now()))
                }
                ControlRequest::Verify { endpoint } => {
                    stop.send_replace(true);
                    while running.join_next().await.is_some() {}
                    let outcomes = writer::lock(&ledger).outcomes().to_vec();
                    match check(&endpoint, &options, &outcomes).await {
                        Ok(verdict) => ControlResponse::Verdict { verdict, first_revision },
                        Err(error) => ControlResponse::Error(format!("{error:#}")),
                    }
                }
            };
            let line = serde_json::to_string(&response)?;
            println!("{line}");
            write.write_all(format!("{line}\n").as_bytes()).await?;
            anyhow::Ok(())
        };
        if let Err(error) = exchange.await {
            eprintln!("a request got no response: {error:#}");
        }
    }
}

/// Repeats a read until the cluster responds. A cluster that has just become Ready may not be reachable from every
/// machine yet, and an election on a busy machine may interrupt a read. After a response, the read is not repeated.
async fn patiently<T>(read: impl AsyncFn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read().await {
            Err(error) if was_not_served(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            outcome => return outcome,
        }
    }
}

fn was_not_served(error: &anyhow::Error) -> bool {
    error.is::<tonic::Status>() || error.is::<tonic::transport::Error>()
}

/// Waits until the cluster responds, and returns the revision of the store.
async fn reachable_revision(endpoint: &str) -> Result<i64> {
    patiently(async || verify::revision(&mut writer::connect(endpoint).await?).await).await
}

async fn check(endpoint: &str, options: &Options, outcomes: &[crate::ledger::Outcome]) -> Result<Verdict> {
    let check = async || {
        let mut client = writer::connect(endpoint).await.with_context(|| format!("connecting to {endpoint}"))?;
        verify::verify(&mut client, &options.prefix, options.value_bytes, outcomes).await
    };
    patiently(check).await.with_context(|| format!("reading from {endpoint}"))
}

/// Sends a request to a running client.
///
/// # Errors
/// Returns an error if no client listens at `address`, or if the client could not carry out the request.
pub async fn send(address: SocketAddr, request: &ControlRequest) -> Result<ControlResponse> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("no client listens on {address}"))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    match serde_json::from_str(&line).context("the client ended without a response")? {
        ControlResponse::Error(error) => bail!(error),
        response => Ok(response),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_read_that_was_not_served_is_repeated() {
        let refused: Result<()> = Err(tonic::Status::unavailable("no leader")).context("reading a page of keys");
        assert!(was_not_served(&refused.context("reading").unwrap_err()));
        assert!(!was_not_served(&anyhow::anyhow!("the server returned a key outside the requested range")));
    }
}
