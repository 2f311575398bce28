//! The answer to one call. Owns how it is sent, at the pace of the client, and gives it up if the client is too slow.
//! Does not own what is answered.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::StreamExt;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::connections::OpenCall;
use super::memory::HeldMemory;
use super::traffic::{Kept, Piece, Traffic};
use crate::framed::Framed;
use crate::grpc::{self, Messages};
use crate::status::Refusal;
use crate::timeout::Pace;

/// Number of bytes of one answer that wait to be written, at most.
pub(super) const PIECE_BYTES_MAX: usize = 256 << 10;

/// Size of an answer that needs no memory of its own, in bytes. The number of calls bounds such answers.
const SMALL_BYTES_MAX: usize = 4 << 10;

/// The answer to one call.
pub(crate) enum Answer {
    /// One message.
    One(Framed),
    /// Any number of messages, until the given time.
    Many(Messages, Option<Instant>, Claim),
}

/// What a stream means for its connection when a newcomer needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The connection is in use.
    Keeps,
    /// The connection may end, as if it had no stream. The client only waits for news, and asks again when it has connected.
    Yields,
}

/// Why an answer was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("the client reads too slowly")]
    TooSlow,
    #[error("the time that the client gave is over")]
    Late,
    #[error(transparent)]
    Failed(#[from] h2::Error),
    #[error("the client has cancelled the call")]
    Cancelled,
}

/// The way to the client of one call.
pub(super) struct Answers {
    respond: SendResponse<Piece>,
    traffic: Arc<Traffic>,
    call: OpenCall,
}

impl Answers {
    /// The call lasts until its answer was written or given up.
    pub(super) fn new(respond: SendResponse<Piece>, traffic: Arc<Traffic>, call: OpenCall) -> Self {
        Self { respond, traffic, call }
    }

    /// Waits for the outcome of a call; `None` if the client cancels the call or disconnects. The call is borrowed, because a
    /// function that takes a future keeps space for it twice.
    pub(super) async fn wait<T>(&mut self, call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        wait(&mut self.respond, call).await
    }

    /// Sends the answer to a gRPC call.
    ///
    /// # Errors
    /// Returns an error if it could not be sent completely. The client sees that the call has ended.
    pub(super) async fn grpc(mut self, answer: Result<Answer, Status>) -> Result<(), Unsent> {
        match answer {
            Ok(Answer::One(message)) => self.one(message).await,
            Ok(Answer::Many(messages, until, claim)) => {
                if claim == Claim::Yields {
                    self.call.yields();
                }
                // Streams are rare and need more space than other answers.
                Box::pin(self.many(messages, until)).await
            }
            Err(status) => {
                self.begin(grpc::refusal(&status), true)?;
                Ok(())
            }
        }
    }

    async fn one(mut self, message: Framed) -> Result<(), Unsent> {
        let mut memory = None;
        if message.remaining() > SMALL_BYTES_MAX && !message.has_memory() {
            let held = wait(&mut self.respond, pin!(hold(&self.call, message.remaining()))).await;
            memory = match held {
                Some(Ok(memory)) => Some(memory),
                Some(Err(status)) => {
                    self.begin(grpc::refusal(&status), true)?;
                    return Ok(());
                }
                None => return Err(Unsent::Cancelled),
            };
        }
        let mut stream = self.begin(grpc::headers(), false)?;
        let kept = Kept { memory, call: Some(self.call), ..Kept::default() };
        write(&mut stream, message, &self.traffic, kept).await?;
        Ok(stream.send_trailers(grpc::trailers(None))?)
    }

    async fn many(mut self, mut messages: Messages, until: Option<Instant>) -> Result<(), Unsent> {
        let mut stream = self.begin(grpc::headers(), false)?;
        let mut expires = pin!(async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => pending().await,
            }
        });
        loop {
            let next = tokio::select! {
                biased;
                next = messages.next() => next,
                _ = poll_fn(|cx| stream.poll_reset(cx)) => return Err(Unsent::Cancelled),
                () = &mut expires => Some(Err(Status::deadline_exceeded("context deadline exceeded"))),
            };
            match next {
                Some(Ok(message)) => {
                    let mut kept = Kept::default();
                    if !message.has_memory() {
                        kept.memory = match hold(&self.call, message.remaining()).await {
                            Ok(memory) => Some(memory),
                            Err(status) => return Ok(stream.send_trailers(grpc::trailers(Some(&status)))?),
                        };
                    }
                    let Some(until) = until else {
                        write(&mut stream, message, &self.traffic, kept).await?;
                        continue;
                    };
                    if let Ok(written) = timeout_at(until, write(&mut stream, message, &self.traffic, kept)).await {
                        written?;
                    } else {
                        stream.send_reset(Reason::CANCEL);
                        return Err(Unsent::Late);
                    }
                }
                Some(Err(status)) => return Ok(stream.send_trailers(grpc::trailers(Some(&status)))?),
                None => return Ok(stream.send_trailers(grpc::trailers(None))?),
            }
        }
    }

    /// Sends a page.
    ///
    /// # Errors
    /// Returns an error if it could not be sent completely.
    pub(super) async fn page(mut self, page: Response<Bytes>) -> Result<(), Unsent> {
        let (head, body) = page.into_parts();
        let mut stream = self.respond.send_response(Response::from_parts(head, ()), false)?;
        let kept = Kept { call: Some(self.call), ..Kept::default() };
        write(&mut stream, Framed::Whole(body), &self.traffic, kept).await?;
        Ok(stream.send_data(Piece::new(Bytes::new(), &self.traffic), true)?)
    }

    fn begin(&mut self, headers: HeaderMap, is_whole: bool) -> Result<SendStream<Piece>, h2::Error> {
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        self.respond.send_response(response, is_whole)
    }
}

/// Waits for the outcome of a call; `None` if its client cancels it or disconnects.
async fn wait<T>(respond: &mut SendResponse<Piece>, mut call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await
}

/// Reserves memory for a message, until it was written.
///
/// # Errors
/// Returns an error if there is none for some time. The answer to a write says then that the outcome is unknown.
async fn hold(call: &OpenCall, bytes: usize) -> Result<HeldMemory, Status> {
    if let Some(counted) = call.memory().count_answer(bytes) {
        return Ok(counted);
    }
    // In its own allocation, because it is rare and needs more space than the rest of a call.
    let reserved = Box::pin(call.memory().reserve_answer(call.connection(), bytes)).await;
    reserved.map(HeldMemory::Reserved).ok_or_else(|| Refusal::Timeout.into())
}

/// Gives bytes to `h2` as the client's windows open. A message that waits for that keeps its place in memory, so the
/// stream ends if too little of it moves. The last piece keeps `kept`, because `h2` holds what the client does not read.
async fn write(
    stream: &mut SendStream<Piece>,
    mut message: Framed,
    traffic: &Arc<Traffic>,
    kept: Kept,
) -> Result<(), Unsent> {
    let mut kept = Some(kept);
    let mut pace = Pace::begin();
    while message.remaining() > 0 {
        stream.reserve_capacity(message.remaining().min(PIECE_BYTES_MAX));
        if stream.capacity() == 0 {
            match pace.wait(poll_fn(|cx| stream.poll_capacity(cx))).await {
                Ok(Some(capacity)) => capacity?,
                Ok(None) => return Err(Unsent::Cancelled),
                Err(_) => {
                    stream.send_reset(Reason::CANCEL);
                    return Err(Unsent::TooSlow);
                }
            };
            continue;
        }
        let piece = message.take(stream.capacity().min(PIECE_BYTES_MAX));
        pace.moved(piece.len());
        let mut piece = Piece::new(piece, traffic);
        if message.remaining() == 0
            && let Some(kept) = kept.take()
        {
            piece.keep(Kept { pinned: message.take_held(), ..kept });
        }
        stream.send_data(piece, false)?;
    }
    Ok(())
}
