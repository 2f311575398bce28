//! Tests of whole connections, with a client of `h2` or of frames that are written out. The clock advances while all
//! tasks wait, so limits on time need no time. Owns the calls that these tests serve.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, StreamExt, stream};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};
use tonic::Status;

use super::connections::{Connections, Place};
use super::*;
use crate::answer::framed;
use crate::framed::Framed;
use crate::grpc::frame;
use crate::header::Header;

mod authority;
mod chat;
mod flood;
mod memory;
mod raw;

const MIB: usize = 1 << 20;
/// Within this time, a call that makes no progress is given up.
const GIVEN_UP: std::ops::Range<Duration> = Duration::from_secs(10)..Duration::from_secs(12);

/// What these connections serve. The path says what is answered.
#[derive(Clone, Default)]
struct Served {
    /// Bytes of slow calls under way: now, and at most.
    bytes: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Calls for Served {
    async fn call(&self, head: Parts, requests: Requests) -> Result<Answer, Status> {
        if head.uri.path() == "/chat" {
            let echoed = stream::try_unfold(requests, async |mut requests| {
                let Some(Received { message, .. }) = requests.following(None, MIB).await? else { return Ok(None) };
                let echo = frame(message.len(), |out| out.put_slice(&message)).map(Framed::Whole)?;
                Ok(Some((echo, requests)))
            });
            return Ok(Answer::Many(Box::pin(echoed), None, Claim::Keeps));
        }
        let Received { message, memory: _memory } = requests.only(None, 2 * MIB).await?;
        match head.uri.path() {
            "/echo" => frame(message.len(), |out| out.put_slice(&message)).map(Framed::Whole).map(Answer::One),
            "/large" => Ok(Answer::One(Framed::Whole(vec![0; 2 * MIB].into()))),
            "/middle" => Ok(Answer::One(Framed::Whole(vec![0; 200 << 10].into()))),
            "/watch" => Ok(Answer::Many(Box::pin(watched()), None, Claim::Keeps)),
            "/yielding" => Ok(Answer::Many(Box::pin(watched()), None, Claim::Yields)),
            "/until" => {
                let until = Instant::now() + Duration::from_secs(60);
                Ok(Answer::Many(Box::pin(watched()), Some(until), Claim::Keeps))
            }
            "/pinned" => Ok(Answer::One(stored())),
            "/never" => pending().await,
            "/slow" => {
                let (now, most) = &*self.bytes;
                most.fetch_max(now.fetch_add(message.len(), Relaxed) + message.len(), Relaxed);
                sleep(Duration::from_millis(100)).await;
                now.fetch_sub(message.len(), Relaxed);
                frame(0, |_| {}).map(Framed::Whole).map(Answer::One)
            }
            _ => Err(Status::unimplemented("no such path")),
        }
    }

    async fn page(&self, request: &Parts) -> Response<Bytes> {
        Response::new(request.uri.path().to_owned().into())
    }
}

/// An answer of more than 2 MiB that refers to stored versions.
fn stored() -> Framed {
    let mut store = mvcc::Store::new();
    for key in ["a", "b", "c", "d"] {
        let put = mvcc::Put { key: key.into(), value: vec![7; MIB / 2].into(), ..mvcc::Put::default() };
        store.apply(1, &mvcc::Command::Put(put)).expect("it fits");
    }
    let range = mvcc::Range { key: "a".into(), range_end: "e".into(), ..mvcc::Range::default() };
    let result = store.view().range(&range).expect("the newest revision");
    framed(&(Header::default(), &result)).expect("it fits")
}

/// One message now, and another one after a day.
fn watched() -> impl stream::Stream<Item = Result<Framed, Status>> {
    let later = async {
        sleep(Duration::from_secs(86_400)).await;
        frame(1, |out| out.put_slice(b"b")).map(Framed::Whole)
    };
    stream::iter([frame(1, |out| out.put_slice(b"a")).map(Framed::Whole)]).chain(stream::once(later))
}

/// A served connection.
struct Server {
    connections: Arc<Connections>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves a connection whose socket holds `buffer` bytes in each direction.
    fn start(buffer: usize) -> (Self, DuplexStream) {
        Self::start_one_of(&Connections::new(1, 0), &Served::default(), buffer)
    }

    /// Serves one connection of a port.
    fn start_one_of(connections: &Arc<Connections>, served: &Served, buffer: usize) -> (Self, DuplexStream) {
        let (client, server) = duplex(buffer);
        let connections = Arc::clone(connections);
        let place: Place = connections.admit().expect("there is a place");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(server, served.clone(), place, stopped.map(drop)));
        (Self { connections, stop, task }, client)
    }

    /// Whether a newcomer gets the place of the connection.
    fn has_idle_place(&self) -> bool {
        self.connections.admit().is_some()
    }
}

/// A client of `h2` whose streams have windows of this size.
async fn client(stream: DuplexStream, window: u32) -> SendRequest<Bytes> {
    let mut settings = Builder::new();
    settings.initial_window_size(window).initial_connection_window_size(1 << 30);
    let (client, connection) = settings.handshake(stream).await.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    client.ready().await.expect("the connection is open")
}

fn request(path: &str, kind: &str) -> Request<()> {
    let request = Request::post(format!("http://demo{path}")).header("content-type", kind);
    request.body(()).expect("a request")
}

/// Begins a call.
fn call(client: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    client.send_request(request(path, "application/grpc"), false).expect("a stream")
}

/// Makes a call with one short message.
async fn answer(client: &mut SendRequest<Bytes>, path: &str) -> Response<RecvStream> {
    let (answer, mut body) = call(client, path);
    body.send_data(Bytes::from_static(b"\0\0\0\0\x03abc"), true).expect("it is sent");
    answer.await.expect("an answer")
}

/// Reads an answer to its end, each byte after `pace` has passed for it. Returns the number of bytes and the status.
async fn read(mut body: RecvStream, pace: Duration) -> Result<(BytesMut, String), h2::Error> {
    let mut read = BytesMut::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        sleep(pace * bytes.len() as u32).await;
        body.flow_control().release_capacity(bytes.len())?;
        read.extend_from_slice(&bytes);
    }
    let trailers = body.trailers().await?.expect("an answer ends with a status");
    Ok((read, trailers["grpc-status"].to_str().expect("text").to_owned()))
}

/// Waits for something that happens within an hour.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3_600), what).await.expect("it happens within an hour")
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_message_and_then_a_status() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 1 << 20).await;
    let answer = answer(&mut client, "/echo").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let (message, status) = read(answer.into_body(), Duration::ZERO).await.unwrap();
    assert_eq!((&message[..], status.as_str()), (&b"\0\0\0\0\x03abc"[..], "0"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_consists_of_headers_only() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 1 << 20).await;
    let answer = answer(&mut client, "/nothing").await;
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert!(answer.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn pages_are_served_over_both_versions_of_http() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 1 << 20).await;
    let (answer, _) = client.send_request(request("/version", "text/plain"), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "/version");

    let (server, mut stream) = Server::start(MIB);
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("/version"), "{answer}");
    server.task.await.unwrap();
}

/// Each connection may hold the head of a request, and a port has thousands of connections.
#[tokio::test(start_paused = true)]
async fn a_request_for_a_page_with_a_long_head_is_refused_before_it_is_complete() {
    let (server, mut stream) = Server::start(MIB);
    let started = Instant::now();
    stream.write_all(format!("GET /version HTTP/1.1\r\nlong: {}", "v".repeat(9 << 10)).as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    in_time(server.task).await.unwrap();
    assert!(started.elapsed() < GIVEN_UP.start, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_begin_in_time_ends() {
    for first in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"GET / HTTP/1.1\r\n"] {
        let (server, mut stream) = Server::start(MIB);
        let started = Instant::now();
        stream.write_all(first).await.unwrap();
        in_time(server.task).await.unwrap();
        assert!(GIVEN_UP.contains(&started.elapsed()), "{first:?}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stops_arriving_ends_and_others_go_on() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 1 << 20).await;
    let (stopped, mut body) = call(&mut client, "/echo");
    body.send_data(Bytes::from_static(b"\0\0\x10\0\0abc"), false).unwrap();
    let started = Instant::now();
    let stopped = in_time(stopped).await.unwrap();
    assert_eq!(stopped.headers()["grpc-status"], "4");
    assert!(GIVEN_UP.contains(&started.elapsed()));
    answer(&mut client, "/echo").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_ends_and_others_go_on() {
    let (server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let unread = answer(&mut client, "/large").await;
    let started = Instant::now();
    assert!(!server.has_idle_place(), "the call is in progress");
    sleep(GIVEN_UP.end).await;
    let (message, _) = read(answer(&mut client, "/echo").await.into_body(), Duration::ZERO).await.unwrap();
    assert_eq!(message.len(), 8);
    let reset = read(unread.into_body(), Duration::ZERO).await.unwrap_err();
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    advance(Duration::from_secs(31)).await;
    assert!(server.has_idle_place(), "no call is in progress any more");
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// A client whose window opens by less than the pace is as slow as one whose window is closed.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_too_slowly_ends_and_a_slow_one_does_not() {
    for (pace, ends) in [(Duration::from_micros(250), true), (Duration::from_micros(100), false)] {
        let (_server, stream) = Server::start(MIB);
        let mut client = client(stream, 65_535).await;
        let slow = answer(&mut client, "/large").await;
        let read = in_time(read(slow.into_body(), pace)).await;
        assert_eq!(read.is_err(), ends, "{pace:?}");
        if let Ok((message, status)) = read {
            assert_eq!((message.len(), status.as_str()), (2 * MIB, "0"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_messages_lasts() {
    let (server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let (message, status) = read(answer(&mut client, "/watch").await.into_body(), Duration::ZERO).await.unwrap();
    assert_eq!((&message[..], status.as_str()), (&b"\0\0\0\0\x01a\0\0\0\0\x01b"[..], "0"));
    assert!(!server.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_time_that_its_client_gave() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let started = Instant::now();
    let (_, status) = read(answer(&mut client, "/until").await.into_body(), Duration::ZERO).await.unwrap();
    assert_eq!(status, "4");
    assert!((60..62).contains(&started.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_dropped() {
    let (server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    for path in ["/never", "/watch"] {
        let (answer, mut body) = call(&mut client, path);
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        sleep(Duration::from_secs(40)).await;
        assert!(!server.has_idle_place(), "{path} is in progress");
        body.send_reset(h2::Reason::CANCEL);
        drop(answer);
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(31)).await;
    assert!(server.has_idle_place(), "no call is in progress any more");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_loses_its_connection() {
    let (server, stream) = Server::start(16 << 10);
    let (mut reads, mut writes) = tokio::io::split(stream);
    writes.write_all(&raw::begin(1 << 30)).await.unwrap();
    for number in 0..64 {
        writes.write_all(&raw::call(2 * number + 1, "/echo", &[7; 4 << 10])).await.unwrap();
    }
    let started = Instant::now();
    in_time(server.task).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(22), "{:?}", started.elapsed());
    let mut rest = Vec::new();
    reads.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() <= 32 << 10, "it read nothing before");
}

/// A window that opens by one byte at a time is no progress, though each byte is.
#[tokio::test(start_paused = true)]
async fn a_window_that_opens_by_single_bytes_does_not_keep_an_answer() {
    let (_server, stream) = Server::start(MIB);
    let (mut reads, mut writes) = tokio::io::split(stream);
    writes.write_all(&raw::begin(0)).await.unwrap();
    writes.write_all(&raw::call(1, "/large", b"")).await.unwrap();
    let opens = tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(100)).await;
            if writes.write_all(&raw::window_update(1, 1)).await.is_err() {
                return;
            }
        }
    });
    let started = Instant::now();
    in_time(async { while raw::next(&mut reads).await.expect("a frame").kind != raw::RST_STREAM {} }).await;
    assert!(GIVEN_UP.contains(&started.elapsed()), "{:?}", started.elapsed());
    opens.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_vanished_loses_its_connection() {
    let (server, stream) = Server::start(MIB);
    let (mut reads, mut writes) = tokio::io::split(stream);
    writes.write_all(&raw::begin(0)).await.unwrap();
    let started = Instant::now();
    in_time(async { while raw::next(&mut reads).await.expect("a frame").kind != raw::PING {} }).await;
    assert!((29..32).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    in_time(server.task).await.unwrap();
    assert!((49..62).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_in_progress_is_answered_when_the_member_stops() {
    let (server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let (answered, mut body) = call(&mut client, "/echo");
    sleep(Duration::from_secs(1)).await;
    server.stop.send(()).unwrap();
    sleep(Duration::from_secs(1)).await;
    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let (_, status) = read(answered.await.unwrap().into_body(), Duration::ZERO).await.unwrap();
    assert_eq!(status, "0");
    server.task.await.unwrap();
    client.ready().await.expect_err("the connection has ended");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_for_a_newcomer() {
    let (server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    read(answer(&mut client, "/echo").await.into_body(), Duration::ZERO).await.unwrap();
    assert!(!server.has_idle_place(), "it was used just now");
    sleep(Duration::from_secs(31)).await;
    assert!(server.has_idle_place());
    server.task.await.unwrap();
    client.ready().await.expect_err("the connection has ended");
}

/// Clients with a stream on which nothing happens could otherwise keep all places.
#[tokio::test(start_paused = true)]
async fn a_connection_ends_for_a_newcomer_if_its_stream_yields() {
    for (path, ends) in [("/watch", false), ("/yielding", true)] {
        let (server, stream) = Server::start(MIB);
        let mut client = client(stream, 65_535).await;
        let mut body = answer(&mut client, path).await.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), &b"\0\0\0\0\x01a"[..]);
        assert!(!server.has_idle_place(), "{path} began just now");
        sleep(Duration::from_secs(31)).await;
        assert_eq!(server.has_idle_place(), ends, "{path}");
        if ends {
            in_time(server.task).await.unwrap();
            client.ready().await.expect_err("the connection has ended");
        }
    }
}
