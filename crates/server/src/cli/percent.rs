//! Percent-encoding (RFC 3986 §2.1).

/// Text with `%41` for `A`. `None` if what follows a `%` is not two hexadecimal digits, or all is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        bytes.push(encoded_byte(rest)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// A path and query as someone types them, as they can be sent: what no URL can hold is encoded, what is encoded
/// already stays so.
pub(super) fn encode_path(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let kept = byte.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=:@/?".contains(&byte)
            || (byte == b'%' && encoded_byte(&text.as_bytes()[at + 1..]).is_some());
        if kept {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Text as one part of a path, or as a value in a query: nothing in it means anything.
pub(super) fn encode_part(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The byte that the two digits after a `%` stand for.
fn encoded_byte(after: &[u8]) -> Option<u8> {
    let [high, low, ..] = after else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (encoded, plain) in [
            ("", Some("")),
            ("a/b", Some("a/b")),
            ("a%20b", Some("a b")),
            ("M%C3%BClle%3f%23", Some("Mülle?#")),
            ("%", None),
            ("%4", None),
            ("%4x", None),
            ("%ff", None),
        ] {
            assert_eq!(decode(encoded).as_deref(), plain, "{encoded}");
        }
    }

    #[test]
    fn paths_are_sent_as_they_are_typed_where_that_is_possible() {
        for (typed, sent) in [
            ("dog/rex", "dog/rex"),
            ("dog/?breed=Lab&age=gt=3", "dog/?breed=Lab&age=gt=3"),
            ("dog/Max Müller", "dog/Max%20M%C3%BCller"),
            ("dog/a%2Fb", "dog/a%2Fb"),
            ("dog/100%", "dog/100%25"),
            ("dog/#1", "dog/%231"),
            ("dog/?select(owner{name})", "dog/?select(owner%7Bname%7D)"),
        ] {
            assert_eq!(encode_path(typed), sent);
        }
    }

    #[test]
    fn a_part_means_nothing_but_itself() {
        for (plain, encoded) in [("rex", "rex"), ("a/b?c&d=%41", "a%2Fb%3Fc%26d%3D%2541"), ("Mülle", "M%C3%BClle")] {
            assert_eq!(encode_part(plain), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(plain));
        }
    }
}
