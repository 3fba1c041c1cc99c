//! What a client accepts (RFC 9110 §12.5.1).

use super::limits::LIST_ELEMENTS_MAX;
use hyper::header::{self, HeaderMap};

/// The media ranges of a request's `Accept`. Without that header, everything is welcome.
#[derive(Debug)]
pub(super) struct Accept<'h> {
    ranges: Option<Vec<Range<'h>>>,
}

#[derive(Debug)]
struct Range<'h> {
    kind: &'h str,
    subtype: &'h str,
    /// Thousandths.
    quality: u16,
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
        let ranges: Vec<Range<'h>> = elements.take(LIST_ELEMENTS_MAX).filter_map(Range::parse).collect();
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

impl<'h> Range<'h> {
    fn parse(element: &'h str) -> Option<Range<'h>> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_wild_alone = kind == "*" && subtype != "*";
        if kind.is_empty() || subtype.is_empty() || is_wild_alone {
            return None;
        }
        let mut quality = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = parse_quality(value.trim())?;
                break; // What follows belongs to an extension nobody uses.
            }
        }
        Some(Range { kind, subtype, quality })
    }

    /// How closely it fits, if it does. Parameters other than `q` are not looked at: no answer here has variants.
    fn closeness(&self, kind: &str, subtype: &str) -> Option<u8> {
        if self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype) {
            Some(2)
        } else if self.kind.eq_ignore_ascii_case(kind) && self.subtype == "*" {
            Some(1)
        } else if self.kind == "*" {
            Some(0)
        } else {
            None
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three digits after the point (RFC 9110 §12.4.2).
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
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
