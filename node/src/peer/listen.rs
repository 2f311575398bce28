//! Owns the receiving end of the lanes: checks the sender, then passes the messages to the core. Does not own the
//! checks of a greeting (`greeting.rs`) nor the meaning of a message (`raft`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proto::peer::peer_server::Peer;
use proto::peer::{
    Delivered, FetchRequest, Frame, Greeted, Greeting, HashAnswer, HashRequest, SnapshotChunk, SnapshotReceived,
    frame::Kind,
};
use tonic::{Request, Response, Status, Streaming};

use crate::peer::Accepted;
pub(crate) use crate::peer::compression::FRAME_BYTES_MAX;
use crate::peer::compression::decompress;
use crate::peer::connected::Connected;
use crate::peer::{Peers, fetch, greet, greeting, hash, snapshot};

/// Time within which a new connection must send its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The peer service of a member.
#[derive(Debug)]
pub(crate) struct Listener {
    peers: Arc<OnceLock<Arc<Peers>>>,
}

impl Listener {
    /// Creates the service. Once `peers` is set, the service passes messages to it; before, the member is blank and all
    /// calls are refused.
    pub(crate) fn new(peers: Arc<OnceLock<Arc<Peers>>>) -> Self {
        Self { peers }
    }

    fn peers(&self) -> Result<&Arc<Peers>, Status> {
        self.peers.get().ok_or_else(|| Status::unavailable("this member does not take part in a cluster"))
    }
}

#[tonic::async_trait]
impl Peer for Listener {
    async fn deliver(&self, request: Request<Streaming<Frame>>) -> Result<Response<Delivered>, Status> {
        let peers = self.peers()?;
        let connection = request.extensions().get::<Accepted>().cloned();
        let mut frames = request.into_inner();
        let first = tokio::time::timeout(GREETING_TIMEOUT, frames.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no greeting was received in time"))??;
        let Some(Frame { kind: Some(Kind::Greeting(greeting)) }) = first else {
            return Err(Status::invalid_argument("the first frame must be a greeting"));
        };
        let from = greeting::check(peers, &greeting)?;
        let _call = connection.map(|connection| connection.call());
        tracing::debug!(%from, "a member connected");
        let _connected = Connected::new(peers, from, greet::stated(&greeting));
        while let Some(frame) = frames.message().await? {
            if let Some(Kind::Messages(bytes) | Kind::Compressed(bytes)) = &frame.kind {
                peers.metrics.peer_received(bytes.len());
            }
            let bytes = match frame.kind {
                Some(Kind::Messages(bytes)) => bytes,
                Some(Kind::Compressed(bytes)) => {
                    decompress(&bytes).ok_or_else(|| Status::data_loss("a frame could not be decompressed"))?
                }
                Some(Kind::Greeting(_)) => return Err(Status::invalid_argument("a second greeting")),
                // This version does not know this kind of frame: a later version sent it.
                None => continue,
            };
            let messages = wire::messages(bytes).map_err(|reason| {
                greeting::report_unknown(peers, from, &reason);
                Status::data_loss(format!("a frame is malformed: {reason}"))
            })?;
            peers.receive(from, messages);
        }
        Ok(Response::new(Delivered {}))
    }

    async fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeted>, Status> {
        let peers = self.peers()?;
        let from = greeting::check(peers, request.get_ref())?;
        let _call = Accepted::note(&request);
        Ok(Response::new(greet::answer(peers, from)))
    }

    async fn snapshot(&self, request: Request<Streaming<SnapshotChunk>>) -> Result<Response<SnapshotReceived>, Status> {
        let connection = request.extensions().get::<Accepted>().cloned();
        snapshot::receive(self.peers()?, connection.as_ref(), request.into_inner()).await
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashAnswer>, Status> {
        let peers = self.peers()?;
        let connection = request.extensions().get::<Accepted>().cloned();
        hash::serve(peers, request.into_inner(), connection.as_ref()).await
    }

    type FetchStream = fetch::Chunks;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let peers = self.peers()?;
        let connection = request.extensions().get::<Accepted>().cloned();
        fetch::serve(peers, request.into_inner(), connection.as_ref()).await
    }
}
