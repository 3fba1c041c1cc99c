//! What a URL names: its path with percent escapes undone.
//!
//! The whole path is decoded before anything is looked for in it, so `%2F` is the slash it stands for: `/dog/a%2Fb` is
//! the record `a/b`, as `/dog/a/b` is. A key cannot hold a slash that is not one, since topics have no escapes, and
//! so nothing is lost. `.` and `..` are ordinary levels of a key: no path here ever reaches a file system.

use super::problem::{Kind, Problem};
use std::borrow::Cow;

/// The decoded path, without the slash it begins with.
pub(super) fn decode(path: &str) -> Result<Cow<'_, str>, Problem> {
    let decoded = unescape(path.strip_prefix('/').unwrap_or(path), "path")?;
    if decoded.contains('\0') {
        return Err(Problem::new(Kind::MalformedRequest, "the path holds a NUL character, which no topic can"));
    }
    Ok(decoded)
}

/// The decoded query. Only for what has no text in it that could hold a character with a meaning.
pub(super) fn decode_query(query: &str) -> Result<Cow<'_, str>, Problem> {
    unescape(query, "query")
}

fn unescape<'t>(text: &'t str, part: &str) -> Result<Cow<'t, str>, Problem> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let malformed = |what: &str| Problem::new(Kind::MalformedRequest, format!("{what} in the {part}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let escaped = rest.split_at_checked(2).and_then(|(digits, behind)| {
            rest = behind;
            Some(hex(digits[0])? << 4 | hex(digits[1])?)
        });
        bytes.push(escaped.ok_or_else(|| malformed("a % without two hexadecimal digits"))?);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| malformed("escapes that are not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// A path that decodes to `decoded`, with the slash it begins with.
pub(super) fn encode(decoded: &str) -> String {
    let mut path = String::with_capacity(decoded.len() + 1);
    path.push('/');
    for byte in decoded.bytes() {
        // RFC 3986 §3.3: what a path segment may hold as it is, and the slash.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*,;=:@/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_once() {
        check("/dog/123", Some("dog/123"));
        check("/dog/a%2Fb%2fc", Some("dog/a/b/c"));
        check("/dog/caf%C3%A9", Some("dog/café"));
        check("/dog/%2541", Some("dog/%41"));
        check("/dog/a%20b+c", Some("dog/a b+c"));
        check("/%24topics/x", Some("$topics/x"));
        check("/", Some(""));
        check("//dog", Some("/dog"));
        check("*", Some("*"));
    }

    #[test]
    fn dots_are_text() {
        check("/dog/../../etc/passwd", Some("dog/../../etc/passwd"));
        check("/dog/%2e%2E/x", Some("dog/../x"));
        check("/dog/./..%2f", Some("dog/./../"));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for path in ["/%", "/%4", "/%zz", "/a%2", "/%0", "/%00", "/dog/a%00b", "/%ff", "/%C0%AF", "/%ED%A0%80", "/%+1"]
        {
            check(path, None);
        }
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same() {
        for text in ["dog/123", "dog/a b/ü/?#%[]", "$topics//x//", "dog/\u{7f}\"<>\\^`{|}"] {
            let path = encode(text);
            assert!(path.is_ascii() && path.parse::<hyper::Uri>().is_ok(), "{path}");
            assert_eq!(decode(&path).unwrap(), text);
        }
    }

    #[track_caller]
    fn check(path: &str, decoded: Option<&str>) {
        assert_eq!(decode(path).ok().as_deref(), decoded, "{path}");
    }
}
