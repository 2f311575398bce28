//! Tests of calls with a stream of messages in each direction, on whole connections. Owns their time and their memory. Does not
//! own how a message is put together (`requests.rs`).

use super::*;

/// A message of this length, with its header.
fn message(length: usize) -> Bytes {
    frame(length, |out| out.put_bytes(7, length)).expect("it fits")
}

/// A stream under way, and its answers.
struct Chat {
    requests: SendStream<Bytes>,
    answers: RecvStream,
}

impl Chat {
    async fn begin(client: &mut SendRequest<Bytes>) -> Self {
        let (answer, requests) = call(client, "/chat");
        Self { requests, answers: in_time(answer).await.expect("the stream begins").into_body() }
    }

    /// Sends a message and waits for its echo. Returns its length.
    async fn echo(&mut self, length: usize) -> usize {
        self.requests.send_data(message(length), false).expect("it is open");
        let mut received = 0;
        while received < message(length).len() {
            let bytes = in_time(self.answers.data()).await.expect("it goes on").expect("no error");
            self.answers.flow_control().release_capacity(bytes.len()).expect("it was received");
            received += bytes.len();
        }
        received - message(0).len()
    }

    /// The status with which the stream ends.
    async fn status(&mut self) -> String {
        while let Some(bytes) = self.answers.data().await {
            drop(bytes);
        }
        let trailers = self.answers.trailers().await.expect("no error").expect("a status");
        trailers["grpc-status"].to_str().expect("text").to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_silent_for_as_long_as_it_likes() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let mut chat = Chat::begin(&mut client).await;
    for length in [0, 3, 40_000] {
        assert_eq!(chat.echo(length).await, length);
        sleep(Duration::from_secs(3_600)).await;
    }
    chat.requests.send_data(Bytes::new(), true).expect("it is open");
    assert_eq!(chat.status().await, "0");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_message_stops_is_ended() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let mut chat = Chat::begin(&mut client).await;
    assert_eq!(chat.echo(3).await, 3);
    let stopped = Instant::now();
    chat.requests.send_data(message(1_000).slice(..500), false).expect("it is open");
    assert_eq!(chat.status().await, "4");
    assert!(GIVEN_UP.contains(&stopped.elapsed()), "{:?}", stopped.elapsed());
}

/// Messages that are sent ahead wait in the stream's window.
#[tokio::test(start_paused = true)]
async fn a_stream_holds_one_message_at_a_time() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let mut chat = Chat::begin(&mut client).await;
    let all: Vec<u8> = (0..16).flat_map(|_| message(MIB / 2).to_vec()).collect();
    let mut all = Bytes::from(all);
    // Nothing of the answers is read, so that the first large ones hold the messages after them back.
    let mut sent = 0;
    while !all.is_empty() {
        chat.requests.reserve_capacity(all.len());
        let open = std::future::poll_fn(|cx| chat.requests.poll_capacity(cx));
        let Ok(open) = tokio::time::timeout(Duration::from_secs(5), open).await else { break };
        let part = all.split_to(open.expect("it is open").expect("it is open").min(all.len()));
        sent += part.len();
        chat.requests.send_data(part, false).expect("it is open");
    }
    assert!((MIB / 2..4 * MIB).contains(&sent), "{sent} bytes were taken");
}
