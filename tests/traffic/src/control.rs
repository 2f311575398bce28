//! How a test drives a running client: one line in, one line of JSON out, on loopback. Owns the tiny protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::record::{PhaseReport, Record};
use crate::verify::{self, Verdict};
use crate::writer::{self, Options};

/// How long a cluster is waited for that is to be read from.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test can ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// End the phase, begin the next.
    Mark {
        /// Name of the phase that begins.
        next: String,
    },
    /// Stop writing for good (idempotent) and compare the store behind `endpoint` with the record.
    Verify {
        /// Which store; the one written to, or one restored from its backup.
        endpoint: String,
    },
}

/// The answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The phase that ended.
    Phase(PhaseReport),
    /// The comparison, with the revision at which the client began.
    Verdict {
        /// What was found.
        verdict: Verdict,
        /// Revision before the first write.
        first_revision: i64,
    },
    /// It could not be done.
    Error(String),
}

/// Writes with `writers` connections and answers on `listen` until the process ends.
///
/// # Errors
/// The address is taken, or the store never answers at the start.
pub async fn serve(options: Options, writers: usize, listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("binding {listen}"))?;
    let first_revision = reachable_revision(&options.endpoint).await?;
    let record = Arc::new(Mutex::new(Record::new("start", Instant::now())));
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for _ in 0..writers {
        running.spawn(writer::write(options.clone(), record.clone(), stopped.clone()));
    }
    println!("writing to {} with {writers} writers from revision {first_revision}", options.endpoint);
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = async {
            let (read, mut write) = stream.into_split();
            let mut line = String::new();
            BufReader::new(read).read_line(&mut line).await?;
            let answer = match serde_json::from_str(&line).context("not a question")? {
                Ask::Mark { next } => Answer::Phase(writer::lock(&record).mark(&next, Instant::now())),
                Ask::Verify { endpoint } => {
                    stop.send_replace(true);
                    while running.join_next().await.is_some() {}
                    let outcomes = writer::lock(&record).outcomes().to_vec();
                    match check(&endpoint, &options, &outcomes).await {
                        Ok(verdict) => Answer::Verdict { verdict, first_revision },
                        Err(error) => Answer::Error(format!("{error:#}")),
                    }
                }
            };
            let line = serde_json::to_string(&answer)?;
            println!("{line}");
            write.write_all(format!("{line}\n").as_bytes()).await?;
            anyhow::Ok(())
        };
        if let Err(error) = answer.await {
            eprintln!("a question went unanswered: {error:#}");
        }
    }
}

/// Reads until the cluster answers: one that has just become Ready may not have reached every machine's routes yet, and on a
/// busy machine an election may come in between. What an answer says is never asked for again.
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

/// The revision, as soon as the cluster answers.
async fn reachable_revision(endpoint: &str) -> Result<i64> {
    patiently(async || verify::revision(&mut writer::connect(endpoint).await?).await).await
}

async fn check(endpoint: &str, options: &Options, outcomes: &[crate::record::Outcome]) -> Result<Verdict> {
    let check = async || {
        let mut client = writer::connect(endpoint).await.with_context(|| format!("connecting to {endpoint}"))?;
        verify::verify(&mut client, &options.prefix, options.value_bytes, outcomes).await
    };
    patiently(check).await.with_context(|| format!("reading from {endpoint}"))
}

/// Asks a running client.
///
/// # Errors
/// Nobody listens, or the client could not do it.
pub async fn ask(address: SocketAddr, question: &Ask) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("no client listens on {address}"))?;
    stream.write_all(format!("{}\n", serde_json::to_string(question)?).as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    match serde_json::from_str(&line).context("the client ended without an answer")? {
        Answer::Error(error) => bail!(error),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_served_is_read_again() {
        let refused: Result<()> = Err(tonic::Status::unavailable("no leader")).context("reading a page of keys");
        assert!(was_not_served(&refused.context("reading").unwrap_err()));
        assert!(!was_not_served(&anyhow::anyhow!("the server returned a key beyond the asked range")));
    }
}
