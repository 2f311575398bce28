//! Connections to one member. A connection is opened when messages wait, and closed after a long idle time. Owns
//! backoff and the detection of broken connections. Does not own the waiting messages (`lanes.rs`). Every attempt
//! resolves the host name again, because a member that restarts keeps its name but may change its IP address.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;
use proto::peer::peer_client::PeerClient;
use raft::MemberId;
use tonic::transport::{Channel, Endpoint};

use crate::peer::compression::FRAME_BYTES_MAX;
use crate::peer::lanes::{Frames, Lane, proposals_of};
use crate::peer::{Peers, greet};

/// HTTP/2 window of one stream, in bytes.
const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Time limit of an attempt to connect. It is at most the kernel's first retransmission of a lost packet (1 s), so that an
/// attempt which began while the network was cut is given up soon after the cut ends; members are far nearer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval of pings, and time limit for the answer to a ping. A broken network is therefore detected within twice this
/// value.
const PING: Duration = Duration::from_secs(2);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Time after which a connection counts as accepted. A member that belongs to another cluster, or to none yet, accepts a
/// connection and refuses the greeting at once.
const ACCEPTED_AFTER: Duration = Duration::from_secs(1);
/// Time without messages after which a connection is closed.
const IDLE: Duration = Duration::from_secs(300);

/// Reason why there is no connection to a member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Neither the configuration nor a greeting of the member contains its address.
    #[error("the member's address is not known")]
    UnknownAddress,
    /// The URL cannot be parsed.
    #[error("{url} is not a URL: {source}")]
    Address {
        /// URL of the member.
        url: String,
        /// Error of the parser.
        source: http::uri::InvalidUri,
    },
    /// The connection cannot be opened.
    #[error("{url}: {}", chain(.source))]
    Transport {
        /// URL of the member.
        url: String,
        /// Error of the transport, with its causes.
        source: tonic::transport::Error,
    },
}

/// Opens a connection to `url`.
///
/// # Errors
/// Returns why there is no connection.
pub(crate) async fn connect(url: &str) -> Result<Channel, ConnectError> {
    let uri: Uri = url.parse().map_err(|source| ConnectError::Address { url: url.to_owned(), source })?;
    Endpoint::from(uri)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(|source| ConnectError::Transport { url: url.to_owned(), source })
}

/// Text of an error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Connects one lane to `to` whenever messages wait. Runs until the task is aborted, which happens when the link is
/// dropped.
pub(crate) async fn keep(peers: Arc<Peers>, to: MemberId, lane: Arc<Lane>) {
    let mut back_off = BackOff::default();
    loop {
        while lane.is_empty() {
            lane.messages_wait.notified().await;
        }
        let began = tokio::time::Instant::now();
        match send_messages(&peers, to, &lane).await {
            Ok(()) => back_off = BackOff::default(),
            Err(Broken { reason, lived }) => {
                let wait = back_off.after(lived, began.elapsed());
                if lived >= ACCEPTED_AFTER {
                    peers.metrics.peer_disconnected();
                    tracing::info!(%to, %reason, "the connection to a member broke");
                } else {
                    tracing::debug!(%to, %reason, "cannot connect to a member");
                }
                peers.shared.not_sent(proposals_of(&lane.clear()));
                peers.unreachable(to);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// The wait before the next attempt to connect. It grows until a connection was accepted. An attempt that timed out has
/// waited already: a network that drops packets then costs no more after it is whole than one attempt.
#[derive(Debug, Default)]
struct BackOff {
    failed: u32,
}

impl BackOff {
    /// Returns the wait after an attempt that took the given time, and whose connection lived for `lived`.
    fn after(&mut self, lived: Duration, took: Duration) -> Duration {
        if lived >= ACCEPTED_AFTER {
            self.failed = 0;
        }
        let wait = BACK_OFF_MIN * 2u32.saturating_pow(self.failed);
        self.failed = self.failed.saturating_add(1);
        if took >= CONNECT_TIMEOUT { BACK_OFF_MIN } else { wait.min(BACK_OFF_MAX) }
    }
}

struct Broken {
    reason: String,
    /// Time for which the connection was open; zero if the attempt to connect failed.
    lived: Duration,
}

/// Opens one connection and sends messages until the connection ends. Returns `Ok` if the connection was closed because
/// it was idle.
async fn send_messages(peers: &Arc<Peers>, to: MemberId, lane: &Arc<Lane>) -> Result<(), Broken> {
    let not_open = |reason: ConnectError| Broken { reason: reason.to_string(), lived: Duration::ZERO };
    let url = peers.url(to).ok_or_else(|| not_open(ConnectError::UnknownAddress))?;
    let channel = connect(&url).await.map_err(not_open)?;
    let refused = |reason: greet::GreetError| Broken { reason: reason.to_string(), lived: Duration::ZERO };
    greet::require_level(peers, to, channel.clone()).await.map_err(refused)?;
    let mut client = PeerClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX);
    tracing::debug!(%to, url, "connected to a member");
    let opened = Instant::now();
    let frames = Frames::new(Arc::clone(lane), peers.greeting(to), peers.metrics.clone());
    let call = client.deliver(frames);
    tokio::pin!(call);
    let mut idle = tokio::time::interval(IDLE);
    idle.tick().await;
    loop {
        tokio::select! {
            answer = &mut call => {
                let reason = match answer {
                    Ok(_) => "the member ended the stream".to_owned(),
                    Err(status) => format!("{}: {}", status.code(), status.message()),
                };
                return Err(Broken { reason, lived: opened.elapsed() });
            }
            _ = idle.tick() => if !lane.was_used() { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_until_a_connection_was_accepted() {
        let mut back_off = BackOff::default();
        let refused_at_once = Duration::from_millis(2);
        let waits: Vec<u128> = (0..8).map(|_| back_off.after(refused_at_once, refused_at_once).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        let minute = Duration::from_secs(60);
        assert_eq!(back_off.after(minute, minute), BACK_OFF_MIN);
        assert_eq!(back_off.after(Duration::ZERO, Duration::ZERO), 2 * BACK_OFF_MIN);
        back_off.failed = u32::MAX;
        assert_eq!(back_off.after(Duration::ZERO, Duration::ZERO), BACK_OFF_MAX);
    }

    /// A network drops packets until some time. The attempt that begins first after that succeeds; all before it time out.
    #[tokio::test(start_paused = true)]
    async fn a_member_is_connected_soon_after_a_cut_ends() {
        for cut in (100..6_000).step_by(70).map(Duration::from_millis) {
            let (began, mut back_off) = (tokio::time::Instant::now(), BackOff::default());
            while began.elapsed() < cut {
                let attempt = tokio::time::Instant::now();
                let dropped = tokio::time::timeout(CONNECT_TIMEOUT, std::future::pending::<()>()).await;
                assert!(dropped.is_err());
                tokio::time::sleep(back_off.after(Duration::ZERO, attempt.elapsed())).await;
            }
            let late = began.elapsed() - cut;
            assert!(late <= Duration::from_millis(560), "{late:?} after a cut of {cut:?}");
        }
    }
}
