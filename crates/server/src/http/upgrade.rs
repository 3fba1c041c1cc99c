//! MQTT over WebSocket begins as a request of HTTP/1.1 (RFC 6455 §4).

use super::auth::names_this_machine;
use super::body::Body;
use super::cors::{self, Page};
use super::limits::LIST_ELEMENTS_MAX;
use super::problem::{Kind, Problem};
use crate::config::Cors;
use crate::peer::{Ambient, Peer};
use crate::tls::Proof;
use crate::websocket::{PROTOCOLS, accept_key};
use base64::Engine;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use rowcast_core::validate::Format;

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    elements(headers, &header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        && elements(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// The answer to a request for a WebSocket, at any path: from here on the connection speaks MQTT.
pub(super) fn accept(head: &Parts) -> Result<Response<Body>, Problem> {
    let headers = &head.headers;
    if head.method != Method::GET || head.version != Version::HTTP_11 {
        return Err(malformed("a WebSocket is asked for by GET in HTTP/1.1"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        let problem = Problem::new(Kind::UpgradeRequired, "the version of WebSocket spoken here is 13");
        return Err(problem.header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).into_iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => key,
        _ => return Err(malformed("Sec-WebSocket-Key is the base64 of 16 bytes")),
    };
    // `mqtt`, if it is there at all [MQTT-6.0.0-4]: the other is of before it was a standard.
    let offers = |known: &&str| elements(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == *known);
    let Some(protocol) = PROTOCOLS.into_iter().find(offers) else {
        return Err(malformed("a WebSocket here speaks MQTT: offer the sub-protocol `mqtt` in Sec-WebSocket-Protocol"));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accepted = HeaderValue::try_from(accept_key(key.as_bytes())).expect("base64 is text");
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

/// How far the connection speaks for whoever opened it: a browser lets any page open one to this machine. Who shows a
/// certificate has checked by which name it came here.
pub(super) fn ambient(cors: &Cors, headers: &HeaderMap, peer: &Peer) -> Ambient {
    let is_certified = matches!(peer.proof(), Proof::User(_));
    match cors::page(cors, headers) {
        Page::Foreign => Ambient::Nothing,
        Page::Same | Page::Welcome if is_certified || names_this_machine(headers) => Ambient::Counts,
        Page::Same | Page::Welcome => Ambient::Nothing,
    }
}

/// In which format documents are to come: who accepts none of those there are takes JSON as well, since a handshake of
/// MQTT is no request for a document.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let accept: Vec<&str> = elements(headers, &header::ACCEPT).collect();
    Format::accepted(&accept.join(",")).unwrap_or_default()
}

fn is_key(key: &[u8]) -> bool {
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| key.len() == 16)
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(Kind::MalformedRequest, detail)
}

/// The elements of a header that is a list, however many lines it has.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).take(LIST_ELEMENTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    const ASKS: [(&str, &str); 5] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "mqtt"),
    ];

    #[test]
    fn a_sub_protocol_of_mqtt_is_picked_wherever_it_stands() {
        for (offered, picked) in [
            ("mqtt", "mqtt"),
            ("mqttv3.1", "mqttv3.1"),
            ("chat, mqtt", "mqtt"),
            ("chat ,  mqttv3.1,mqtt", "mqtt"),
            ("chat ,  mqttv3.1", "mqttv3.1"),
            ("mqtt, mqttv3.1", "mqtt"),
        ] {
            let accepted = accept(&asking("sec-websocket-protocol", offered)).expect("a WebSocket");
            assert_eq!(accepted.status(), StatusCode::SWITCHING_PROTOCOLS);
            assert_eq!(accepted.headers()["sec-websocket-protocol"], picked, "{offered}");
            assert_eq!(accepted.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        for offered in ["", "MQTT", "mqttv5", "chat"] {
            accept(&asking("sec-websocket-protocol", offered)).map(|_| ()).expect_err(offered);
        }
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (name, value) in [
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", ""),
            ("sec-websocket-key", ""),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "c2hvcnQ="),
        ] {
            accept(&asking(name, value)).map(|_| ()).expect_err(value);
        }
        let mut head = asking("upgrade", "websocket");
        head.method = Method::POST;
        accept(&head).map(|_| ()).expect_err("POST");
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers() {
        assert!(is_asked_for(&asking("upgrade", "WebSocket").headers));
        assert!(is_asked_for(&asking("upgrade", "h2c, websocket").headers));
        assert!(!is_asked_for(&asking("upgrade", "h2c").headers));
        assert!(!is_asked_for(&asking("connection", "keep-alive").headers));
    }

    #[test]
    fn only_pages_of_this_machine_speak_for_it() {
        let ambient = |host, origin: Option<&str>, cors| {
            let mut head = asking("host", host);
            if let Some(origin) = origin {
                head.headers.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("an origin"));
            }
            super::ambient(&cors, &head.headers, &Peer::unix())
        };
        let home = "localhost:9926";
        assert_eq!(ambient(home, None, Cors::Off), Ambient::Counts);
        assert_eq!(ambient(home, Some("http://localhost:9926"), Cors::Off), Ambient::Counts);
        assert_eq!(ambient(home, Some("https://evil.example"), Cors::Off), Ambient::Nothing);
        assert_eq!(ambient(home, Some("null"), Cors::Off), Ambient::Nothing);
        assert_eq!(ambient(home, Some("https://app.example"), Cors::Any), Ambient::Counts);
        assert_eq!(ambient("evil.example", Some("http://evil.example"), Cors::Off), Ambient::Nothing);
    }

    /// A request with one header of another value; none, if that is empty.
    fn asking(name: &str, value: &str) -> Parts {
        let mut request = Request::get("/any/path?at=all");
        for (known, usual) in ASKS.into_iter().filter(|(known, _)| *known != name) {
            request = request.header(known, usual);
        }
        if !value.is_empty() {
            request = request.header(name, value);
        }
        request.body(()).expect("a request").into_parts().0
    }
}
