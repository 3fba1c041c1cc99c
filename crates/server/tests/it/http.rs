//! HTTP, written by hand, and what it must answer.

use crate::DEADLINE;
use crate::server::Server;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl Server {
    /// One request on a connection of its own. `head` is more lines of the head.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str, head: &[&str], body: &[u8]) -> Response {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for line in head {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST" | "PATCH") {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        exchange(self.http(), &bytes)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], &[])
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, json: &str) -> Response {
        self.request("PUT", path, &["Content-Type: application/json"], json.as_bytes())
    }

    /// A record as HTTP shows it; fails if there is none.
    #[track_caller]
    pub(crate) fn record(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }
}

/// Sends bytes and reads one answer.
#[track_caller]
pub(crate) fn exchange(port: u16, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&answer)));
    let head = String::from_utf8(answer[..end].to_vec()).expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut response = Response { status, head, body: answer[end + 4..].to_vec() };
    if response.header("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        response.body = unchunked(&response.body);
    }
    response
}

fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|bytes| bytes == b"\r\n").expect("a chunk");
        let length = std::str::from_utf8(&chunks[..end]).expect("digits");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return body;
        }
        let chunk = &chunks[end + 2..];
        body.extend_from_slice(&chunk[..length]);
        chunks = &chunk[length + 2..];
    }
}
