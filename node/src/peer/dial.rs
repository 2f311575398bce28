//! Connections to one member. A connection is opened when messages wait, and closed after a long idle time. Owns
//! backoff and the detection of broken connections. Does not own the waiting messages (`lanes.rs`). Every attempt
//! resolves the host name again, because a member that restarts keeps its name but may change its IP address.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use proto::peer::peer_client::PeerClient;
use raft::MemberId;
use tonic::transport::{Channel, Endpoint};

use crate::peer::Peers;
use crate::peer::compression::FRAME_BYTES_MAX;
use crate::peer::lanes::{Frames, Lane};

/// HTTP/2 window of one stream, in bytes.
const STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of pings, and time limit for the answer to a ping. A broken network is therefore detected within twice this
/// value.
const PING: Duration = Duration::from_secs(2);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
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
    let mut back_off = BACK_OFF_MIN;
    loop {
        while lane.is_empty() {
            lane.messages_wait.notified().await;
        }
        match send_messages(&peers, to, &lane).await {
            Ok(()) => back_off = BACK_OFF_MIN,
            Err(Broken { reason, was_open }) => {
                if was_open {
                    back_off = BACK_OFF_MIN;
                    peers.metrics.peer_disconnected();
                    tracing::info!(%to, %reason, "the connection to a member broke");
                } else {
                    tracing::debug!(%to, %reason, "cannot connect to a member");
                }
                lane.clear();
                peers.unreachable(to);
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

struct Broken {
    reason: String,
    /// Whether the connection was open before it broke; otherwise the attempt to connect failed.
    was_open: bool,
}

/// Opens one connection and sends messages until the connection ends. Returns `Ok` if the connection was closed because
/// it was idle.
async fn send_messages(peers: &Arc<Peers>, to: MemberId, lane: &Arc<Lane>) -> Result<(), Broken> {
    let not_open = |reason: ConnectError| Broken { reason: reason.to_string(), was_open: false };
    let url = peers.url(to).ok_or_else(|| not_open(ConnectError::UnknownAddress))?;
    let channel = connect(&url).await.map_err(not_open)?;
    let mut client = PeerClient::new(channel).max_encoding_message_size(FRAME_BYTES_MAX);
    tracing::debug!(%to, url, "connected to a member");
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
                return Err(Broken { reason, was_open: true });
            }
            _ = idle.tick() => if !lane.was_used() { return Ok(()) },
        }
    }
}
