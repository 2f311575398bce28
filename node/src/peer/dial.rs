//! Connections to one member: opened when there is something to say, closed when there has not been for long. Owns backing
//! off and noticing that a connection broke. Every attempt resolves the name anew, as members keep names, not addresses.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use proto::peer::peer_client::PeerClient;
use raft::MemberId;
use tonic::transport::{Channel, Endpoint};

use crate::peer::Peers;
use crate::peer::compression::FRAME_BYTES_MAX;
use crate::peer::lanes::{Frames, Lane};

/// HTTP/2 windows: of one stream, and of a connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent network is noticed within twice this, so that a healed one is used again soon.
const PING: Duration = Duration::from_secs(2);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// A connection that said nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// Why there is no connection to a member.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Neither the configuration nor the member itself has named its address.
    #[error("its address is not known")]
    UnknownAddress,
    /// The address cannot be parsed.
    #[error("{url} is no address: {source}")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong with it.
        source: http::uri::InvalidUri,
    },
    /// The connection was not opened.
    #[error("{url}: {}", chain(.source))]
    Transport {
        /// The address.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
}

/// Opens a connection to `url`.
///
/// # Errors
/// Returns why there is none.
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

/// An error with its causes.
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

/// Keeps one lane to `to` connected while there is something to say. Ends when the link is dropped.
pub(crate) async fn keep(peers: Arc<Peers>, to: MemberId, lane: Arc<Lane>) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        while lane.is_empty() {
            lane.idle.notified().await;
        }
        match converse(&peers, to, &lane).await {
            Ok(()) => back_off = BACK_OFF_MIN,
            Err(Broken { reason, was_open }) => {
                if was_open {
                    back_off = BACK_OFF_MIN;
                    peers.metrics.peer_disconnected();
                    tracing::info!(%to, %reason, "connection to a member broke");
                } else {
                    tracing::debug!(%to, %reason, "member not reached");
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
    /// It had been a connection before.
    was_open: bool,
}

/// One connection, from the first word to the last. `Ok`: closed because nobody had anything to say.
async fn converse(peers: &Arc<Peers>, to: MemberId, lane: &Arc<Lane>) -> Result<(), Broken> {
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
