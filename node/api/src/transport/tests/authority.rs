//! Tests of requests whose `:authority` is no host and port, on whole connections. Owns the table of such authorities.

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

use super::*;

/// `:authority` as an indexed name with a literal value that is added to the table (RFC 7541 §6.2.1).
const INDEXED_NAME: u8 = 0x41;
/// A literal name, and a value that is added to the table.
const NEW_NAME: u8 = 0x40;
/// The first field in the table that a client has filled.
const FIRST_IN_TABLE: u8 = 0x80 | 62;

fn literal(value: &[u8]) -> Vec<u8> {
    [&[value.len() as u8], value].concat()
}

/// The authority as clients in Go and of `h2` encode it, but not compressed.
fn indexed(value: &[u8]) -> Vec<u8> {
    [vec![INDEXED_NAME], literal(value)].concat()
}

/// The authority as gRPC's clients in C encode it.
fn spelled(value: &[u8]) -> Vec<u8> {
    [vec![NEW_NAME], literal(b":authority"), literal(value)].concat()
}

/// Encoded authorities that `h2` refuses.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("the empty one of the static table", vec![0x81]),
        ("empty", indexed(b"")),
        ("empty with a new name", spelled(b"")),
        ("empty and not indexed", vec![0x01, 0]),
        ("empty and never indexed", vec![0x11, 0]),
        ("with #", indexed(b"demo#2379")),
        ("as etcd's client in Go", indexed(b"#initially=[http://127.0.0.1:2379]")),
        ("only /", indexed(b"/")),
        ("a path", indexed(b"/var/run/demo.sock")),
        ("a compressed /", vec![INDEXED_NAME, 0x81, 0x63]),
        ("with a query", indexed(b"demo?")),
        ("several addresses", indexed(b"10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379")),
        ("several addresses with a new name", spelled(b"ipv4:10.0.0.1:2379,10.0.0.2:2379")),
        ("an address of version 6 without brackets", spelled(b"ipv6:fd00::1:2379")),
        ("encoded characters", indexed(b"%2Fvar%2Frun%2Fdemo.sock")),
        ("with a space", indexed(b"demo 2379")),
        ("not UTF-8", indexed(b"demo\xff")),
    ]
}

/// The HEADERS frame of a call, and further ones of its header block, in the given form.
type Form = fn(stream: u32, block: &[u8]) -> Vec<u8>;

fn plain(stream: u32, block: &[u8]) -> Vec<u8> {
    raw::frame(raw::HEADERS, raw::END_HEADERS, stream, block)
}

fn padded_with_priority(stream: u32, block: &[u8]) -> Vec<u8> {
    let payload = [&[3][..], &[0, 0, 0, 0, 15], block, &[0; 3]].concat();
    raw::frame(raw::HEADERS, raw::END_HEADERS | 0x8 | 0x20, stream, &payload)
}

fn continued(stream: u32, block: &[u8]) -> Vec<u8> {
    let (first, rest) = block.split_at(3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [
        raw::frame(raw::HEADERS, 0, stream, first),
        raw::frame(raw::CONTINUATION, 0, stream, second),
        raw::frame(raw::CONTINUATION, raw::END_HEADERS, stream, third),
    ]
    .concat()
}

fn block(authority: &[u8]) -> Vec<u8> {
    [authority, &raw::fields("/echo")].concat()
}

/// Sends calls on one connection whose socket holds `buffer` bytes, and returns whether all were served.
async fn are_served(buffer: usize, calls: &[Vec<u8>]) -> bool {
    let (_server, stream) = Server::start(buffer);
    let (mut reads, mut writes) = split(stream);
    let bytes = [raw::begin(1 << 20), calls.concat()].concat();
    let sends = tokio::spawn(async move {
        // An error means that the server has ended the connection.
        let _ = writes.write_all(&bytes).await;
        writes
    });
    let mut served = Vec::new();
    while served.len() < calls.len() {
        let Some(frame) = raw::next(&mut reads).await else { return false };
        match frame.kind {
            raw::DATA if !frame.payload.is_empty() => {
                assert_eq!(frame.payload, b"\0\0\0\0\x04text");
                served.push(frame.stream);
            }
            raw::RST_STREAM | raw::GOAWAY => return false,
            _ => {}
        }
    }
    drop(sends);
    served == (0..calls.len() as u32).map(|number| 2 * number + 1).collect::<Vec<_>>()
}

/// One call with each of the blocks.
fn calls(form: Form, blocks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let numbers = (1..).step_by(2);
    blocks
        .iter()
        .zip(numbers)
        .map(|(block, number)| [form(number, block), raw::message(number, b"text")].concat())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn any_authority_is_served_in_any_form_and_any_pieces() {
    for (what, authority) in refused() {
        assert!(h2_refuses(&authority).await, "{what}: it needs no change");
        // The second call repeats the first one, and the third one has the authority of an ordinary client.
        let blocks = [block(&authority), block(&authority), block(&indexed(b"demo:2379"))];
        for (form, buffer) in [(plain as Form, MIB), (plain, 1), (padded_with_priority, 7), (continued, 5)] {
            assert!(are_served(buffer, &calls(form, &blocks)).await, "{what}, {buffer} bytes at a time");
        }
    }
}

/// Whether `h2` itself refuses a call with this authority.
async fn h2_refuses(authority: &[u8]) -> bool {
    let (mut client, server) = duplex(MIB);
    let call = [raw::begin(1 << 20), plain(1, &block(authority)), raw::message(1, b"text")].concat();
    client.write_all(&call).await.unwrap();
    client.shutdown().await.unwrap();
    let mut connection = h2::server::handshake(server).await.unwrap();
    !matches!(connection.accept().await, Some(Ok(_)))
}

/// A client sends the index of a field that it has sent before.
#[tokio::test(start_paused = true)]
async fn an_authority_is_found_in_the_table_of_the_connection() {
    for authority in [indexed(b"a:1,b:2"), spelled(b"a:1,b:2")] {
        let again = block(&[FIRST_IN_TABLE]);
        assert!(are_served(MIB, &calls(plain, &[block(&authority), again.clone(), again])).await);
        // An acceptable authority in between comes first in the table, and the refused one second.
        let between = block(&indexed(b"demo:2379"));
        assert!(are_served(MIB, &calls(plain, &[block(&authority), between, block(&[FIRST_IN_TABLE + 1])])).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_connection_with_a_broken_block_ends() {
    for broken in [&[0x80][..], &[0xff; 12], &[FIRST_IN_TABLE + 5]] {
        let blocks = [block(b"\x81"), broken.to_vec()];
        assert!(!are_served(MIB, &calls(plain, &blocks)).await, "{broken:?}");
    }
}

/// Carries a connection, of which every header block is changed.
async fn pass_changed(mut client: DuplexStream, mut server: DuplexStream) {
    let mut preface = [0; 24];
    client.read_exact(&mut preface).await.unwrap();
    server.write_all(&preface).await.unwrap();
    let (mut requests, mut answers) = split(client);
    let (mut back, mut forth) = split(server);
    let changed = async {
        let mut changes = super::super::authority::Authority::that_changes();
        let (mut received, mut passed) = (BytesMut::new(), BytesMut::new());
        while requests.read_buf(&mut received).await.is_ok_and(|bytes| bytes > 0) {
            let received = received.split();
            let mut unseen = &received[..];
            while !unseen.is_empty() {
                changes.pass(&mut unseen, &mut passed).unwrap();
                forth.write_all(&passed.split()).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = changed => {}
        _ = tokio::io::copy(&mut back, &mut answers) => {}
    }
}

/// Headers that a client of `h2` compresses arrive as they were sent, trailers included.
#[tokio::test(start_paused = true)]
async fn changed_headers_are_equal() {
    const FIELDS: u64 = 40;
    let (client, client_side) = duplex(MIB);
    let (server_side, server) = duplex(MIB);
    tokio::spawn(pass_changed(client_side, server_side));
    let served = tokio::spawn(async move {
        let mut connection = h2::server::handshake(server).await.unwrap();
        let mut served = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let (head, mut body) = request.into_parts();
            assert_eq!(head.uri.path(), "/path");
            respond.send_response(Response::new(()), true).unwrap();
            let trailers = async {
                while body.data().await.is_some() {}
                body.trailers().await.unwrap().unwrap()
            };
            let trailers = tokio::select! {
                trailers = trailers => trailers,
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => panic!("it ended"),
            };
            served.push((head.headers, trailers));
        }
        served
    });
    let mut sent = Vec::new();
    let mut requests = self::client(client, 1 << 20).await;
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut headers = |count: u64| {
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            let name: http::HeaderName = format!("name-{}", random(FIELDS)).parse().unwrap();
            let value = "v".repeat(random(300) as usize) + &random(9).to_string();
            headers.append(name, value.parse().unwrap());
        }
        headers
    };
    for number in 0..300 {
        let mut request = Request::post("http://demo/path").body(()).unwrap();
        *request.headers_mut() = headers(number % 20);
        let trailers = headers(1 + number % 3);
        sent.push((request.headers().clone(), trailers.clone()));
        requests = requests.ready().await.unwrap();
        let (answer, mut body) = requests.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"data"), false).unwrap();
        body.send_trailers(trailers).unwrap();
        in_time(answer).await.unwrap();
    }
    drop(requests);
    assert_eq!(in_time(served).await.unwrap(), sent);
}
