//! What a client accepts (RFC 9110 §12.5.1).

use super::limits::LIST_ELEMENTS_MAX;
use hyper::header::{self, HeaderMap};
use rowcast_core::validate::MediaRange;

/// The media ranges of a request's `Accept`. Without that header, everything is welcome.
#[derive(Debug)]
pub(super) struct Accept<'h> {
    ranges: Option<Vec<MediaRange<'h>>>,
}

impl<'h> Accept<'h> {
    /// Reads the header. What is not a media range matches nothing; neither does what comes after the first few
    /// hundred.
    pub(super) fn of(headers: &'h HeaderMap) -> Accept<'h> {
        if !headers.contains_key(header::ACCEPT) {
            return Accept { ranges: None };
        }
        let values = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let elements = values.flat_map(|value| value.split(',')).filter(|element| !element.trim().is_empty());
        let ranges: Vec<MediaRange<'h>> = elements.take(LIST_ELEMENTS_MAX).filter_map(MediaRange::parse).collect();
        let nothing_said = ranges.is_empty()
            && headers.get_all(header::ACCEPT).into_iter().all(|value| value.as_bytes().trim_ascii().is_empty());
        Accept { ranges: if nothing_said { None } else { Some(ranges) } }
    }

    /// Whether an answer of this content type is welcome: the range that fits it most closely says so.
    pub(super) fn allows(&self, content_type: &str) -> bool {
        let Some(ranges) = &self.ranges else { return true };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let Some((kind, subtype)) = essence.split_once('/') else { return true };
        let closest = ranges.iter().filter_map(|range| range.closeness(kind, subtype).map(|close| (close, range)));
        closest.max_by_key(|(close, range)| (*close, range.quality)).is_some_and(|(_, range)| range.quality > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_range_decides() {
        check(None, &["application/json", "image/png"], &[]);
        check(Some(""), &["application/json"], &[]);
        check(Some("*/*"), &["application/json"], &[]);
        check(Some("application/*"), &["application/json"], &["image/png"]);
        check(Some("text/html, application/json;q=0.1"), &["application/json", "text/html"], &["text/plain"]);
        check(Some("Application/JSON"), &["application/json; charset=utf-8"], &[]);
        check(Some("*/*, application/json;q=0"), &["text/plain"], &["application/json"]);
        check(Some("application/json, */*;q=0"), &["application/json"], &["text/plain"]);
        check(Some("application/json;q=0, application/json;q=0.5"), &["application/json"], &[]);
        check(Some("text/event-stream"), &[], &["application/json"]);
        check(Some("application/json; charset=utf-8; Q=0.3"), &["application/json"], &[]);
    }

    #[test]
    fn what_is_no_media_range_matches_nothing() {
        for accept in ["json", "*", "*/json", "/", "application/", "application/json;q=2", "application/json;q=0.0001"]
        {
            check(Some(accept), &[], &["application/json"]);
        }
        check(Some("nonsense, application/json"), &["application/json"], &[]);
    }

    #[track_caller]
    fn check(accept: Option<&'static str>, welcome: &[&str], others: &[&str]) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        let accept = Accept::of(&headers);
        for content_type in welcome {
            assert!(accept.allows(content_type), "{headers:?} should allow {content_type}");
        }
        for content_type in others {
            assert!(!accept.allows(content_type), "{headers:?} should not allow {content_type}");
        }
    }
}
