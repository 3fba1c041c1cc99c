//! Which pages of other origins may use this server (the Fetch standard's CORS protocol).

use crate::config::Cors;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// What an `Origin` may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// No browser's page, or one that this server delivered.
    Same,
    /// Of another origin, and configured to be welcome.
    Welcome,
    /// Of another origin.
    Foreign,
}

/// What sort of page sends a request.
pub(super) fn page(cors: &Cors, headers: &HeaderMap) -> Page {
    let Some(origin) = headers.get(header::ORIGIN) else { return Page::Same };
    let host = headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let (scheme, authority) = match origin.to_str().ok().and_then(|origin| origin.split_once("://")) {
        Some((scheme, authority)) => (scheme, authority.as_bytes()),
        None => ("", &b""[..]),
    };
    if matches!(scheme, "http" | "https") && !host.is_empty() && host.eq_ignore_ascii_case(authority) {
        return Page::Same;
    }
    match cors {
        Cors::Off => Page::Foreign,
        Cors::Any => Page::Welcome,
        Cors::Origins(origins) if origins.iter().any(|welcome| origin == welcome.as_str()) => Page::Welcome,
        Cors::Origins(_) => Page::Foreign,
    }
}

/// Whether a browser sends such a request for a page of any origin without asking first, and a password that it was
/// told once for this server along with it (the Fetch standard: a CORS-safelisted method and content type).
pub(super) fn is_unasked(head: &Parts) -> bool {
    if head.headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin") {
        return false; // Also where a proxy gives us another `Host` than the page has.
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    head.method == Method::POST && media_type.is_none_or(|media_type| UNASKED_TYPES.contains(&&*media_type))
}

/// Content types a page may send without asking.
const UNASKED_TYPES: [&str; 4] = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether the request asks what would be allowed, on behalf of a page. Such requests carry no credentials.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request; [`share`] adds the page it is for, or does not.
pub(super) fn preflight(cors: &Cors, headers: &HeaderMap) -> hyper::Response<super::body::Body> {
    let mut response = hyper::Response::new(super::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if page(cors, headers) == Page::Welcome {
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

/// Lets a welcome page read an answer.
pub(super) fn share(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    if *cors == Cors::Off {
        return;
    }
    if let Cors::Origins(_) = cors {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = request.get(header::ORIGIN) else { return };
    if page(cors, request) == Page::Welcome {
        let origin = if *cors == Cors::Any { HeaderValue::from_static("*") } else { origin.clone() };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANSWER_HEADERS));
    }
}

const METHODS: &str = "GET, HEAD, PUT, PATCH, POST, DELETE";

/// What pages may send, beyond what they always may.
const REQUEST_HEADERS: &str =
    "Accept, Authorization, Content-Type, If-Match, If-None-Match, If-Unmodified-Since, Last-Event-ID, Rowcast-Event";

/// What pages may read, beyond what they always may.
const ANSWER_HEADERS: &str = "ETag, Location, Retry-After, Server-Timing, Allow, Accept-Patch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_foreign_unless_configured() {
        let listed = Cors::Origins(vec!["https://example.org".to_owned()]);
        for (origin, off, listed_page, any) in [
            (None, Page::Same, Page::Same, Page::Same),
            (Some("http://db:9926"), Page::Same, Page::Same, Page::Same),
            (Some("https://DB:9926"), Page::Same, Page::Same, Page::Same),
            (Some("http://db"), Page::Foreign, Page::Foreign, Page::Welcome),
            (Some("https://example.org"), Page::Foreign, Page::Welcome, Page::Welcome),
            (Some("http://example.org"), Page::Foreign, Page::Foreign, Page::Welcome),
            (Some("https://example.org.evil"), Page::Foreign, Page::Foreign, Page::Welcome),
            (Some("file://db:9926"), Page::Foreign, Page::Foreign, Page::Welcome),
            (Some("null"), Page::Foreign, Page::Foreign, Page::Welcome),
            (Some(""), Page::Foreign, Page::Foreign, Page::Welcome),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("db:9926"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(page(&Cors::Off, &headers), off, "{origin:?}");
            assert_eq!(page(&listed, &headers), listed_page, "{origin:?}");
            assert_eq!(page(&Cors::Any, &headers), any, "{origin:?}");
        }
    }

    #[test]
    fn only_welcome_pages_are_named_in_answers() {
        let listed = Cors::Origins(vec!["https://example.org".to_owned()]);
        check(&Cors::Off, "https://example.org", None, None);
        check(&Cors::Any, "https://example.org", Some("*"), None);
        check(&listed, "https://example.org", Some("https://example.org"), Some("Origin"));
        check(&listed, "https://evil.example", None, Some("Origin"));
    }

    #[track_caller]
    fn check(cors: &Cors, origin: &'static str, allowed: Option<&str>, vary: Option<&str>) {
        let mut request = HeaderMap::new();
        request.insert(header::ORIGIN, HeaderValue::from_static(origin));
        request.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        assert!(is_preflight(&Method::OPTIONS, &request) && !is_preflight(&Method::GET, &request));
        let mut answer = preflight(cors, &request);
        share(cors, &request, answer.headers_mut());
        let text = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(text(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed);
        assert_eq!(text(header::ACCESS_CONTROL_ALLOW_METHODS), allowed.map(|_| METHODS));
        assert_eq!(text(header::VARY), vary);
    }
}
