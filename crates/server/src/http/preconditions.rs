//! Entity tags and the headers that name them (RFC 9110 §8.8.3, §13.1).
//!
//! A record's entity tag is its version in quotes, always strong: the same version is the same bytes.

use super::limits::LIST_ELEMENTS_MAX;
use super::problem::{Kind, Problem};
use crate::db::{Condition, Versions};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use rowcast_core::Sequence;

/// The entity tag of a version.
pub(super) fn etag(version: Sequence) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

/// What a request asks the record to be. `If-Modified-Since` is not looked at: its seconds are too coarse to say that
/// a record is still the same, and whoever sends it gets the whole record, which is always right.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let if_match = tags(headers, header::IF_MATCH, Comparison::Strong)?;
    // RFC 9110 §13.1.4: without If-Match only, and a date that is none is ignored.
    let unmodified_since = headers.get(header::IF_UNMODIFIED_SINCE).filter(|_| if_match.is_none());
    Ok(Condition {
        matches: if_match,
        differs: tags(headers, header::IF_NONE_MATCH, Comparison::Weak)?,
        unmodified_since_secs: unmodified_since.and_then(|value| seconds(value.to_str().ok()?)),
    })
}

/// A date in whole seconds since 1970.
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// How weak tags (`W/"7"`) compare.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Never equal.
    Strong,
    /// Like others.
    Weak,
}

/// The versions a list of tags names. Tags of another form are fine, and name none of ours.
fn tags(headers: &HeaderMap, name: HeaderName, comparison: Comparison) -> Result<Option<Versions>, Problem> {
    let mut versions = Vec::new();
    let mut elements = 0;
    let mut any = false;
    for value in headers.get_all(&name) {
        let mut rest = value.as_bytes();
        while let Some((element, behind)) = next_tag(rest).map_err(|()| malformed(&name))? {
            rest = behind;
            elements += 1;
            if elements > LIST_ELEMENTS_MAX {
                return Err(Problem::new(
                    Kind::MalformedRequest,
                    format!("more than {LIST_ELEMENTS_MAX} tags in {name}"),
                ));
            }
            match element {
                Tag::Any => any = true,
                Tag::Weak(_) if comparison == Comparison::Strong => {}
                Tag::Weak(opaque) | Tag::Strong(opaque) => versions.extend(version(opaque)),
            }
        }
    }
    match (headers.contains_key(&name), elements, any) {
        (false, ..) => Ok(None),
        (true, 1, true) => Ok(Some(Versions::Any)),
        (true, 0, _) | (true, _, true) => Err(malformed(&name)),
        (true, _, false) => Ok(Some(Versions::These(versions))),
    }
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::new(Kind::MalformedRequest, format!("{name} is neither `*` nor a list of entity tags like \"7\""))
}

enum Tag<'v> {
    Any,
    Strong(&'v [u8]),
    Weak(&'v [u8]),
}

/// The first element of a list, and what follows it; `None` at the end.
fn next_tag(list: &[u8]) -> Result<Option<(Tag<'_>, &[u8])>, ()> {
    let list = skip_separators(list);
    let (tag, rest) = match list {
        [] => return Ok(None),
        [b'*', rest @ ..] => (Tag::Any, rest),
        [b'W', b'/', b'"', rest @ ..] => quoted(rest).map(|(opaque, rest)| (Tag::Weak(opaque), rest))?,
        [b'"', rest @ ..] => quoted(rest).map(|(opaque, rest)| (Tag::Strong(opaque), rest))?,
        _ => return Err(()),
    };
    match rest.trim_ascii_start() {
        [] | [b',', ..] => Ok(Some((tag, rest))),
        _ => Err(()),
    }
}

fn skip_separators(list: &[u8]) -> &[u8] {
    let start = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b',')).unwrap_or(list.len());
    &list[start..]
}

fn quoted(rest: &[u8]) -> Result<(&[u8], &[u8]), ()> {
    let end = rest.iter().position(|&byte| byte == b'"').ok_or(())?;
    Ok((&rest[..end], &rest[end + 1..]))
}

/// The version whose tag this is: tags are compared byte by byte, so `07` is not 7.
fn version(opaque: &[u8]) -> Option<Sequence> {
    let number: u64 = std::str::from_utf8(opaque).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == opaque).then_some(Sequence(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_versions() {
        check(&[], Some(None), Some(None));
        check(&["*"], Some(Some(Versions::Any)), Some(Some(Versions::Any)));
        both(&["\"7\""], &[7]);
        both(&["\"7\", \"8\" ,\"9\""], &[7, 8, 9]);
        both(&["\"7\"", "\"8\""], &[7, 8]);
        both(&[",, \"7\",\t,"], &[7]);
        both(&["\"\", \"x\", \"a,b\", \"07\", \"+7\", \"-1\", \"99999999999999999999\""], &[]);
    }

    #[test]
    fn weak_tags_are_good_for_reading_only() {
        let these = |list: &[u64]| Some(Some(Versions::These(list.iter().copied().map(Sequence).collect())));
        check(&["W/\"7\""], these(&[]), these(&[7]));
        check(&["W/\"7\", \"8\""], these(&[8]), these(&[7, 8]));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        let many = "\"7\",".repeat(LIST_ELEMENTS_MAX + 1);
        for value in
            ["", ",", "7", "\"7", "*, \"7\"", "\"7\", *", "*,*", "w/\"7\"", "\"7\" \"8\"", "W/7", "\"7\"x", &many]
        {
            check(&[value], None, None);
        }
    }

    #[test]
    fn a_date_counts_only_without_if_match() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:01:00 GMT".parse().unwrap());
        assert_eq!(condition(&headers).unwrap().unmodified_since_secs, Some(60));
        headers.insert(header::IF_MATCH, "*".parse().unwrap());
        assert_eq!(condition(&headers).unwrap().unmodified_since_secs, None);
        headers.remove(header::IF_MATCH);
        headers.insert(header::IF_UNMODIFIED_SINCE, "yesterday".parse().unwrap());
        assert_eq!(condition(&headers).unwrap(), Condition::default());
    }

    #[track_caller]
    fn both(values: &[&str], versions: &[u64]) {
        let these = || Some(Some(Versions::These(versions.iter().copied().map(Sequence).collect())));
        check(values, these(), these());
    }

    #[track_caller]
    fn check(values: &[&str], if_match: Option<Option<Versions>>, if_none_match: Option<Option<Versions>>) {
        for (name, expected) in [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, value.parse().unwrap());
            }
            let found = condition(&headers).ok().map(|found| match name {
                header::IF_MATCH => found.matches,
                _ => found.differs,
            });
            assert_eq!(found, expected, "{name}: {values:?}");
        }
    }
}
