//! Tests of the memory for messages, on whole connections. Owns large messages and messages that stop. Does not own the
//! order in which messages get memory (`capacity.rs`).

use futures::future::join_all;

use super::*;

/// A message of this length, with its header.
fn message(length: usize) -> Bytes {
    frame(length, |out| out.put_bytes(7, length)).expect("it fits")
}

/// Sends a message as the window opens.
async fn send(body: &mut SendStream<Bytes>, mut message: Bytes) {
    while !message.is_empty() {
        body.reserve_capacity(message.len());
        let capacity =
            std::future::poll_fn(|cx| body.poll_capacity(cx)).await.expect("it is open").expect("it is open");
        body.send_data(message.split_to(capacity.min(message.len())), false).expect("it is open");
    }
    body.send_data(Bytes::new(), true).expect("it is open");
}

/// Makes a call with a message of this length, and returns its status.
async fn status(client: &mut SendRequest<Bytes>, path: &str, length: usize) -> String {
    let (answer, mut body) = call(client, path);
    let (answer, ()) = tokio::join!(answer, send(&mut body, message(length)));
    let answer = answer.expect("an answer");
    match answer.headers().get("grpc-status") {
        Some(status) => status.to_str().expect("text").to_owned(),
        None => read(answer.into_body(), Duration::ZERO).await.expect("an answer").1,
    }
}

/// Calls whose message stops after its header.
fn stopped(client: &mut SendRequest<Bytes>, number: usize) -> Vec<(ResponseFuture, SendStream<Bytes>)> {
    let begin = |_| {
        let (answer, mut body) = call(client, "/echo");
        body.send_data(message(MIB).slice(..100), false).expect("it is open");
        (answer, body)
    };
    (0..number).map(begin).collect()
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_large_messages_is_served_in_turns() {
    const CLIENTS: usize = 100;
    let (connections, served) = (Connections::new(CLIENTS, 0), Served::default());
    let calls = (0..CLIENTS).map(|_| async {
        let (_server, stream) = Server::start_one_of(&connections, &served, MIB);
        let mut client = client(stream, 65_535).await;
        status(&mut client, "/slow", 1_000_000).await
    });
    let answers = in_time(join_all(calls)).await;
    assert!(answers.iter().all(|status| status == "0"), "{answers:?}");
    let most = served.bytes.1.load(Relaxed);
    assert!((40_000_000..=48 * MIB).contains(&most), "{most}");
}

/// Some of the large ones hold all that one connection may hold, and the others wait.
#[tokio::test(start_paused = true)]
async fn small_messages_do_not_wait_for_large_ones_that_stop() {
    let (_server, stream) = Server::start(MIB);
    let mut client = client(stream, 65_535).await;
    let stopped = stopped(&mut client, 40);
    let started = Instant::now();
    for _ in 0..90 {
        sleep(Duration::from_millis(100)).await;
        let asked = Instant::now();
        assert_eq!(status(&mut client, "/echo", 100).await, "0");
        assert!(asked.elapsed() < Duration::from_millis(50), "{:?}", asked.elapsed());
    }
    let mut statuses = Vec::new();
    for (answer, _body) in stopped {
        statuses.push(in_time(answer).await.unwrap().headers()["grpc-status"].clone());
    }
    assert!(GIVEN_UP.contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(statuses.iter().filter(|status| *status == "4").count(), 23, "they had memory");
    assert_eq!(statuses.iter().filter(|status| *status == "2").count(), 17, "they waited for memory");
    assert_eq!(in_time(status(&mut client, "/echo", MIB)).await, "0");
}

/// The text is that of etcd.
#[tokio::test(start_paused = true)]
async fn a_message_without_memory_is_refused_after_some_time() {
    let (connections, served) = (Connections::new(3, 0), Served::default());
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (server, stream) = Server::start_one_of(&connections, &served, MIB);
        servers.push(server);
        clients.push(client(stream, 65_535).await);
    }
    let _stopped = [stopped(&mut clients[0], 24), stopped(&mut clients[1], 24)];
    sleep(Duration::from_millis(1)).await;
    let asked = Instant::now();
    let (refused, mut body) = call(&mut clients[2], "/echo");
    body.send_data(message(2 * MIB).slice(..100), false).unwrap();
    let refused = in_time(refused).await.unwrap();
    assert_eq!(refused.headers()["grpc-message"], "etcdserver:%20too%20many%20requests");
    assert!((5..6).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_holds_memory_until_it_was_read() {
    let (connections, served) = (Connections::new(2, 3 * MIB), Served::default());
    let (_first, stream) = Server::start_one_of(&connections, &served, MIB);
    let mut reads = client(stream, 65_535).await;
    let (_second, stream) = Server::start_one_of(&connections, &served, MIB);
    let mut waits = client(stream, 65_535).await;
    for in_time_for_it in [false, true] {
        let first = answer(&mut reads, "/pinned").await;
        let asked = Instant::now();
        let second = tokio::spawn(call_pinned(waits.clone()));
        if in_time_for_it {
            sleep(Duration::from_secs(4)).await;
            let (message, status) = read(first.into_body(), Duration::ZERO).await.unwrap();
            assert_eq!((message.len() > 2 * MIB, status.as_str()), (true, "0"));
            assert_eq!(in_time(second).await.unwrap(), "0");
        } else {
            assert_eq!(in_time(second).await.unwrap(), "14", "there is no memory for it");
            assert_eq!(asked.elapsed().as_secs(), 5);
            drop(first);
        }
    }
    assert_eq!(status(&mut waits, "/echo", 3).await, "0");
}

/// The client's windows are open, so `h2` takes all of the answer.
#[tokio::test(start_paused = true)]
async fn an_answer_holds_memory_until_it_was_written() {
    let (connections, served) = (Connections::new(2, 2 * MIB + (100 << 10)), Served::default());
    let (_first, mut unread) = Server::start_one_of(&connections, &served, 16 << 10);
    let (_second, stream) = Server::start_one_of(&connections, &served, MIB);
    let mut waits = client(stream, 65_535).await;
    let begin = [raw::begin(1 << 30), raw::call(1, "/middle", b"")].concat();
    unread.write_all(&begin).await.expect("there is space");
    assert_eq!(in_time(call_pinned(waits.clone())).await, "14", "there is no memory for it");
    // The answer ends with its second block of headers.
    let mut headers = 0;
    while headers < 2 {
        let frame = in_time(raw::next(&mut unread)).await.expect("the answer goes on");
        headers += usize::from(frame.kind == raw::HEADERS);
    }
    assert_eq!(in_time(call_pinned(waits.clone())).await, "0");
    assert_eq!(status(&mut waits, "/echo", 3).await, "0");
}

/// The status of a large answer that is read at once.
async fn call_pinned(mut client: SendRequest<Bytes>) -> String {
    let answer = answer(&mut client, "/pinned").await;
    match answer.headers().get("grpc-status") {
        Some(status) => status.to_str().expect("text").to_owned(),
        None => read(answer.into_body(), Duration::ZERO).await.expect("an answer").1,
    }
}
