// SPDX-License-Identifier: Apache-2.0
//! Peers that mean no good: whatever they do, the others are answered, and what they cost ends.

use super::*;

/// An HTTP/2 client's first bytes, and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// `POST https://x/mutate`, HPACK without Huffman coding (RFC 7541, appendix A has the indices).
const HEADERS: &[u8] = b"\x83\x87\x04\x07/mutate\x01\x01x\x0f\x10\x10application/json";
const HEADERS_FRAME: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Bench {
    /// A usual review over a connection of its own is answered.
    async fn still_answers(&self) {
        let mut stream = timeout(LONG, self.connect(&["http/1.1"])).await.unwrap().unwrap();
        stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
        assert!(response(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    /// What is answered to these bytes until the server closes the connection.
    async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(&["http/1.1"]).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let mut answer = Vec::new();
        let write = async {
            // It may be closed before all is written.
            let _ = writer.write_all(bytes).await;
        };
        let read = timeout(LONG, reader.read_to_end(&mut answer));
        let (read, ()) = tokio::join!(read, write);
        drop(read.unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends `again` over h2 until the server ends the connection; panics when it takes more than `most` bytes.
    async fn h2_ends(&self, first: &[u8], mut again: impl FnMut() -> Vec<u8>, most: usize) {
        let stream = self.connect(&["h2"]).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let drain = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while matches!(reader.read(&mut buffer).await, Ok(n) if n > 0) {}
        });
        let mut sent = 0;
        writer.write_all(&[PREFACE, first].concat()).await.unwrap();
        while !drain.is_finished() {
            let bytes = again();
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            sent += bytes.len();
            assert!(sent <= most, "still open after {sent} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_dawdling_peers_than_there_are_connections_keep_nobody_out() {
    gateherald_runtime::process::raise_file_limit();
    let bench = bench().await;
    let head = "POST /mutate?timeout=10s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let body = format!("{head}Content-Length: 7000000\r\n\r\n{{");
    let mut idle = Vec::new();
    let mut dawdling = Vec::new();
    for number in 0..CONNECTIONS + 50 {
        if number % 4 == 0 {
            idle.push(TcpStream::connect(bench.address).await.unwrap());
            continue;
        }
        let h2 = number % 4 == 1;
        let mut stream = bench.connect(&[if h2 { "h2" } else { "http/1.1" }]).await.unwrap();
        let open = frame(HEADERS_FRAME, END_HEADERS, 1, HEADERS);
        let bytes = match number % 4 {
            1 => [PREFACE, &open].concat(),
            2 => head.as_bytes().to_vec(),
            _ => body.as_bytes().to_vec(),
        };
        // Older ones give way to newer ones all the time.
        let _ = stream.write_all(&bytes).await;
        dawdling.push(stream);
        if number % 100 == 0 {
            bench.still_answers().await;
        }
    }
    for _ in 0..20 {
        bench.still_answers().await;
    }
    assert!(bench.metrics.gave_way_so_far(Crowd::Connection) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_that_stall_give_way_to_those_that_arrive() {
    let bench = bench().await;
    let head = "POST /mutate?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let large = " ".repeat(6_000_000);
    let mut stalled = Vec::new();
    // Together they would hold more than there is room.
    for _ in 0..crate::bodies::ROOM / large.len() + 2 {
        let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
        let begun = format!("{head}Content-Length: 7000000\r\n\r\n{large}");
        let _ = timeout(LONG, stream.write_all(begun.as_bytes())).await.unwrap();
        stalled.push(stream);
    }
    bench.still_answers().await;
    let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
    let text = post(&format!("{large}{REVIEW}"));
    timeout(LONG, stream.write_all(text.as_bytes())).await.unwrap().unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(bench.metrics.gave_way_so_far(Crowd::Body) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_waited_for_longer_than_its_sender_waits() {
    let bench = bench().await;
    let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
    let text = post(REVIEW);
    let begun = Instant::now();
    stream.write_all(&text.as_bytes()[..text.len() - 1]).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    // ?timeout=3s
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_answers_is_let_go() {
    let bench = bench().await;
    let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
    // Reviews without end, until the server's answers fill both sockets and it reads no more.
    let text = post(REVIEW).repeat(100);
    while timeout(HEAD_TIMEOUT, stream.write_all(text.as_bytes())).await.is_ok() {}
    let begun = Instant::now();
    while bench.metrics.open_connections() > 0 {
        sleep(Duration::from_secs(1)).await;
        assert!(begun.elapsed() < IDLE_TIMEOUT + CLOSING * 2);
    }
}

#[tokio::test]
async fn what_is_not_http_or_too_much_of_it_is_refused() {
    let bench = bench().await;
    let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let cases: [(&str, String, &str); 10] = [
        ("no HTTP", "hello\r\n\r\n".into(), "400"),
        ("zero bytes", "\0".repeat(100), "400"),
        ("a head without end", format!("{head}x: {}\r\n", "y".repeat(70_000)), "431"),
        ("many fields", format!("{head}{}\r\n", "a: b\r\n".repeat(2000)), "431"),
        ("a zero in a field", format!("{head}x: \0\r\n\r\n"), "400"),
        ("two lengths", format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n  "), "400"),
        ("a bad length", format!("{head}Content-Length: -1\r\n\r\n"), "400"),
        ("a large length", format!("{head}Content-Length: 7340033\r\n\r\n"), "413"),
        ("chunks without end", format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(8)), "413"),
        ("a bad chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), "400"),
    ];
    for (what, request, status) in cases {
        let answer = bench.answer(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    // HTTP/2 without having been asked for it by ALPN has no answer.
    assert_eq!(bench.answer(PREFACE).await, "");
    bench.still_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_h2_head_that_never_ends_ends_the_connection() {
    let bench = bench().await;
    let first = frame(HEADERS_FRAME, 0, 1, HEADERS);
    let field = [b"\x00\x01a\x7f\x81\x7f".as_slice(), &[b'x'; 16_255]].concat();
    bench.h2_ends(&first, || frame(CONTINUATION, 0, 1, &field[..16_000]), 4_000_000).await;
    bench.h2_ends(&first, || frame(CONTINUATION, 0, 1, b"").repeat(100), 4_000_000).await;
    bench.still_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_streams_that_are_opened_and_reset_end_the_connection() {
    let bench = bench().await;
    let mut stream = 1;
    let reset = || {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            bytes.extend(frame(HEADERS_FRAME, END_HEADERS, stream, HEADERS));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        bytes
    };
    bench.h2_ends(b"", reset, 40_000_000).await;
    bench.still_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_h2_streams_than_allowed_are_refused() {
    let bench = bench().await;
    let mut stream = bench.connect(&["h2"]).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    for number in 0..STREAMS * 4 {
        bytes.extend(frame(HEADERS_FRAME, END_HEADERS, number * 2 + 1, HEADERS));
    }
    stream.write_all(&bytes).await.unwrap();
    let refused = frame(RST_STREAM, 0, STREAMS * 2 + 1, &7_u32.to_be_bytes());
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(refused.len()).any(|window| window == refused) {
        let read = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed without REFUSED_STREAM");
        seen.extend_from_slice(&buffer[..read]);
    }
    bench.still_answers().await;
}
