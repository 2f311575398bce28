//! One HTTP/2 connection. Owns its settings, the tasks of its calls, and its end: a client that has vanished or does
//! not read, a newcomer that needs its place, the member's stop. Does not own the calls (`requests.rs`, `answers.rs`).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, timeout};

use super::Calls;
use super::answers::{Answers, PIECE_BYTES_MAX};
use super::connections::Place;
use super::preface::Begun;
use super::requests::Requests;
use super::traffic::{LOOK, Looks, Piece};
use crate::grpc;
use crate::status::Refusal;

/// Bytes of one call that a client may send before they are read.
const STREAM_WINDOW: u32 = 64 << 10;
/// Bytes of all calls of a connection that a client may send before they are read.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Maximum number of concurrent calls on one connection. Clients wait with further ones, and those of a client that does
/// not are reset as refused.
const STREAMS_MAX: u32 = 2_048;
/// Maximum size of the headers of one call, in bytes.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Time in which a connection that ends for a newcomer says so to its client.
const FAREWELL: Duration = Duration::from_millis(100);
/// Time within which calls in progress must end on a connection that ends for a newcomer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves one connection.
///
/// # Errors
/// Returns an error if the connection did not end regularly.
pub(super) async fn serve<S, C>(
    stream: Begun<S>,
    calls: C,
    place: &Place,
    mut stopping: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Calls,
{
    let traffic = Arc::clone(&stream.traffic);
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buffer_size(PIECE_BYTES_MAX)
        .handshake(stream);
    let mut connection = timeout(LOOK, handshake).await??;
    let begin = |(request, respond): (Request<RecvStream>, SendResponse<Piece>)| {
        let Some(call) = place.admit_call() else { return refuse(&request, respond) };
        let request = request.map(|body| Requests::new(body, call.again()));
        tokio::spawn(answer(calls.clone(), request, Answers::new(respond, Arc::clone(&traffic), call)));
    };
    let mut looks = Looks::new(Arc::clone(&traffic), connection.ping_pong());
    let mut times = tokio::time::interval(LOOK);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closes = pin!(place.is_to_close());
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(call) => begin(call?),
                None => return Ok(()),
            },
            _ = times.tick() => looks.look()?,
            () = &mut closes => break,
            () = &mut stopping => {
                connection.graceful_shutdown();
                return Ok(finish(&mut connection, begin).await?);
            }
        }
    }
    // A newcomer has this connection's place. A call that began at the same moment is finished.
    connection.graceful_shutdown();
    match timeout(FAREWELL, finish(&mut connection, begin)).await {
        Ok(finished) => finished?,
        Err(_) if place.has_calls() => timeout(DRAIN_TIMEOUT, finish(&mut connection, begin)).await??,
        Err(_) => {}
    }
    Ok(())
}

/// Serves the calls that are in progress or on their way until the connection has ended.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<Begun<S>, Piece>,
    begin: impl Fn((Request<RecvStream>, SendResponse<Piece>)),
) -> Result<(), h2::Error> {
    while let Some(call) = connection.accept().await {
        begin(call?);
    }
    Ok(())
}

/// Refuses a call, because too many are in progress on all connections. gRPC's clients report the text.
fn refuse(request: &Request<RecvStream>, mut respond: SendResponse<Piece>) {
    if !grpc::is_grpc(request.headers()) {
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    let mut response = Response::new(());
    *response.headers_mut() = grpc::refusal(&Refusal::TooManyCalls.into());
    // Fails only if the client has given up.
    let _ = respond.send_response(response, true);
}

/// Answers one call.
async fn answer<C: Calls>(calls: C, request: Request<Requests>, mut answers: Answers) {
    let (head, requests) = request.into_parts();
    let sent = if grpc::is_grpc(&head.headers) {
        let Some(answer) = answers.wait(pin!(calls.call(head, requests))).await else { return };
        answers.grpc(answer).await
    } else {
        // A page needs no body.
        drop(requests);
        let Some(page) = answers.wait(pin!(calls.page(&head))).await else { return };
        answers.page(page).await
    };
    if let Err(reason) = sent {
        tracing::debug!(%reason, "an answer was not sent");
    }
}
