//! Tests of floods of calls. Owns calls that never end. Does not own the count of calls (`connections.rs`).

use super::super::connections::CALLS_MAX;
use super::*;

/// Number of calls that one connection may have at a time.
const OF_ONE_CONNECTION: usize = 2_048;

/// A call whose request does not arrive.
async fn begun(client: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let mut ready = client.clone().ready().await.expect("the connection is open");
    let begun = call(&mut ready, "/echo");
    *client = ready;
    begun
}

/// One client is refused what another one takes, and gets it as soon as that one has ended.
#[tokio::test(start_paused = true)]
async fn calls_of_many_connections_are_refused_above_a_limit() {
    let (connections, served) = (Connections::new(16, 0), Served::default());
    let mut servers = Vec::new();
    let mut flood = Vec::new();
    for _ in 0..CALLS_MAX / OF_ONE_CONNECTION {
        let (server, stream) = Server::start_one_of(&connections, &served, MIB);
        let mut client = client(stream, 65_535).await;
        for _ in 0..OF_ONE_CONNECTION {
            flood.push(begun(&mut client).await);
        }
        servers.push((server, client));
    }
    let (_server, stream) = Server::start_one_of(&connections, &served, MIB);
    let mut other = client(stream, 65_535).await;
    let refused = eventually(async || {
        let answer = answer(&mut other, "/echo").await;
        answer.headers().get("grpc-status").is_some_and(|status| status == "8").then_some(answer)
    })
    .await;
    let text = refused.headers()["grpc-message"].to_str().expect("text");
    assert!(text.contains("too%20many%20calls") || text.contains("too many calls"), "{text}");
    let page = other.send_request(request("/page", "text/plain"), true).expect("a stream").0.await.unwrap_err();
    assert_eq!(page.reason(), Some(h2::Reason::REFUSED_STREAM));

    drop(flood);
    eventually(async || {
        let answer = answer(&mut other, "/echo").await;
        answer.headers().get("grpc-status").is_none().then_some(())
    })
    .await;
}

/// Waits for something that happens within a minute.
async fn eventually<T>(mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(seen) = poll().await {
            return seen;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not happen");
}

/// A client that does not keep to the limit of its connection costs no call and no memory.
#[tokio::test(start_paused = true)]
async fn calls_above_the_limit_of_a_connection_are_reset() {
    let (_server, stream) = Server::start(16 * MIB);
    let (mut reads, mut writes) = tokio::io::split(stream);
    writes.write_all(&raw::begin(1 << 20)).await.unwrap();
    const EXCESS: usize = 500;
    for number in 0..(OF_ONE_CONNECTION + EXCESS) as u32 {
        let headers = raw::frame(raw::HEADERS, raw::END_HEADERS, 2 * number + 1, &raw::fields("/echo"));
        writes.write_all(&headers).await.unwrap();
    }
    let mut refused = 0;
    while refused < EXCESS {
        let frame = in_time(raw::next(&mut reads)).await.expect("the connection is open");
        assert_ne!(frame.kind, raw::GOAWAY, "{frame:?}");
        if frame.kind == raw::RST_STREAM {
            assert_eq!(frame.payload, u32::from(h2::Reason::REFUSED_STREAM).to_be_bytes());
            assert!(frame.stream > 2 * OF_ONE_CONNECTION as u32, "an earlier one was reset: {frame:?}");
            refused += 1;
        }
    }
}
