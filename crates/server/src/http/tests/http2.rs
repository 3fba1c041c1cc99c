//! HTTP/2, by a real client and frame by frame.

use super::*;
use crate::http::limits::STREAMS_MAX;
use crate::http::serve_http2;
use hyper::client::conn::http2::{SendRequest, handshake};

/// A server, and where it speaks HTTP/2 without TLS.
async fn start(change: impl FnOnce(&mut Settings)) -> (Server, SocketAddr) {
    let mut server = Server::start(change, Local::Trusted).await;
    server.holders += 1; // What accepts here.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(&server.state);
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::task::spawn_local(serve_http2(stream, Peer::tcp(peer), Arc::clone(&state)));
        }
    });
    (server, address)
}

type Sender = SendRequest<Full<bytes::Bytes>>;

async fn connect(address: SocketAddr) -> Sender {
    #[derive(Clone)]
    struct Here;
    impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
        fn execute(&self, task: F) {
            tokio::task::spawn_local(task);
        }
    }
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = handshake(Here, stream).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

async fn ask(sender: &mut Sender, method: &str, url: &str, host: Option<&str>, body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(url).header("content-type", "application/json");
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let request = request.body(Full::new(body.to_owned().into())).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply { status: head.status.as_u16(), headers: head.headers, body }
}

#[test]
fn requests_are_answered_side_by_side() {
    run(async {
        let (_server, address) = start(|_| {}).await;
        let mut sender = connect(address).await;
        let url = |path: &str| format!("http://{address}{path}");
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(300_000));
        let put = ask(&mut sender, "PUT", &url("/post/large"), None, &large).await;
        assert_eq!(put.status, 201, "{put:?}");
        let asked: Vec<_> = (0..50)
            .map(|number| {
                let mut sender = sender.clone();
                let (url, body) = (url(&format!("/dog/{number}")), format!(r#"{{"name":"{number}"}}"#));
                tokio::task::spawn_local(async move {
                    let put = ask(&mut sender, "PUT", &url, None, &body).await;
                    let got = ask(&mut sender, "GET", &url, None, "").await;
                    assert_eq!((put.status, got.json()["name"].as_str().unwrap()), (201, &*number.to_string()));
                    let head = ask(&mut sender, "HEAD", &url, None, "").await;
                    assert_eq!((head.status, head.header("content-length")), (200, &*got.body.len().to_string()));
                })
            })
            .collect();
        let got = ask(&mut sender, "GET", &url("/post/large"), None, "").await;
        assert_eq!(got.json()["text"].as_str().map(str::len), Some(300_000));
        for asked in asked {
            asked.await.unwrap();
        }
        assert_eq!(ask(&mut sender, "GET", &url("/dog/none"), None, "").await.status, 404);
    });
}

#[test]
fn whom_a_request_is_for_is_said_once() {
    run(async {
        let (_server, address) = start(|_| {}).await;
        let mut sender = connect(address).await;
        let url = format!("http://{address}/dog/");
        let same = address.to_string();
        assert_eq!(ask(&mut sender, "GET", &url, Some(&same), "").await.status, 200);
        assert_eq!(ask(&mut sender, "GET", &url, Some("elsewhere.example"), "").await.status, 400);
        // A name that only happens to lead here gives nobody the trust of this machine.
        assert_eq!(ask(&mut sender, "GET", "http://evil.example/dog/", None, "").await.status, 401);
    });
}

#[test]
fn a_connection_without_requests_ends_and_so_does_one_whose_answer_is_left_lying() {
    run(async {
        let patience = |settings: &mut Settings| {
            settings.patience.head = Duration::from_millis(40);
            settings.patience.answer = Duration::from_millis(40);
        };
        let (server, address) = start(patience).await;
        let idle = connect(address).await;
        let silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &[0, 0, 9, HEADERS, END_HEADERS]].concat())
            .await
            .unwrap();
        server.all_gone().await;
        drop((idle, silent, half));

        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000_000));
        server.put("/post/large", &large).await;
        let mut slow = Raw::connect(address).await;
        // It takes all of what makes a connection live, and nothing of the answer.
        slow.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0"), &get(1, "/post/large", &[])].concat()).await;
        slow.until_closed().await;
        server.all_gone().await;
    });
}

#[test]
fn streams_that_are_reset_as_fast_as_they_are_opened_end_the_connection() {
    run(async {
        let (server, address) = start(|_| {}).await;
        let mut flood = Raw::connect(address).await;
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        for number in 0..5_000 {
            let stream = 2 * number + 1;
            bytes.extend(get(stream, "/dog/", &[]));
            bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        flood.send(&bytes).await;
        let said = flood.until_closed().await;
        let goaway = said.iter().find(|frame| frame.kind == GOAWAY).expect("a reason");
        assert_eq!(goaway.payload[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
        server.all_gone().await;
    });
}

#[test]
fn streams_and_heads_have_their_bounds() {
    run(async {
        let (_server, address) = start(|_| {}).await;
        let mut raw = Raw::connect(address).await;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
        let settings = raw.next().await.expect("settings");
        assert!(settings.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, STREAMS_MAX as u8]));
        // So many are open, waiting for their bodies; one more is refused.
        for number in 0..=STREAMS_MAX {
            let stream = 2 * number + 1;
            raw.send(&headers(stream, END_HEADERS, &[POST, SCHEME, &path("/post/"), AUTHORITY])).await;
        }
        let refused = raw.find(RST_STREAM).await;
        assert_eq!((refused.stream, &*refused.payload), (2 * STREAMS_MAX + 1, &REFUSED_STREAM.to_be_bytes()[..]));

        let mut raw = Raw::connect(address).await;
        let wide = [&[0, 1, b'x', 0x7f, 0xe1, 0x3e][..], &[b'x'; 8_160]].concat();
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await;
        raw.send(&headers(1, END_STREAM, &[GET, SCHEME, &path("/dog/"), AUTHORITY])).await;
        for _ in 0..12 {
            raw.send(&frame(CONTINUATION, 0, 1, &wide)).await;
        }
        raw.send(&frame(CONTINUATION, END_HEADERS, 1, b"")).await;
        let answer = raw.next_of(1).await;
        let is_refused = answer.kind != HEADERS || answer.payload.windows(3).any(|text| text == b"431");
        assert!(is_refused, "{answer:?}");
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
// Entries of the static table of HPACK (RFC 7541, appendix A), and a literal.
const GET: &[u8] = &[0x82];
const POST: &[u8] = &[0x83];
const SCHEME: &[u8] = &[0x86];
const AUTHORITY: &[u8] = b"\x01\x09localhost";

fn path(path: &str) -> Vec<u8> {
    [&[0x04, path.len() as u8][..], path.as_bytes()].concat()
}

fn get(stream: u32, address: &str, more: &[u8]) -> Vec<u8> {
    headers(stream, END_HEADERS | END_STREAM, &[GET, SCHEME, &path(address), AUTHORITY, more])
}

fn headers(stream: u32, flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &fields.concat())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A frame from the server.
#[derive(Debug)]
struct Said {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection whose frames are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn connect(address: SocketAddr) -> Raw {
        Raw(TcpStream::connect(address).await.unwrap())
    }

    /// Sends bytes as they are; that the server has closed shows when reading.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    async fn next(&mut self) -> Option<Said> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Said { kind: head[3], stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload })
    }

    async fn find(&mut self, kind: u8) -> Said {
        loop {
            let said = self.next().await.expect("a frame");
            if said.kind == kind {
                return said;
            }
        }
    }

    async fn next_of(&mut self, stream: u32) -> Said {
        loop {
            let said = self.next().await.expect("a frame");
            if said.stream == stream || said.kind == GOAWAY {
                return said;
            }
        }
    }

    /// Reads to the end, and answers when it is asked whether it is there.
    async fn until_closed(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while let Some(said) = self.next().await {
            if said.kind == PING {
                self.send(&frame(PING, ACK, 0, &said.payload)).await;
            }
            all.push(said);
        }
        all
    }
}
