//! The key of a record: its text in topics, its bytes in the store, its value in documents.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

use super::json::{self, Kind, Scanner};
use super::number;

/// A primary key. Numbers sort before text, text level by level: all of `a/..` lies between `a` and `a!`.
///
/// Invariant: a number is within ±[`LONG_MAX`]; text is not empty, holds no NUL and at most [`KEY_BYTES_MAX`] bytes.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// Of an `Int`, `Long` or `Any` key.
    Number(i64),
    /// Of an `ID`, `String` or `Any` key.
    Text(Cow<'a, str>),
}

/// What a table's keys may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `ID` and `String`: the text as it is.
    Text,
    /// Whole numbers of 32 bits.
    Int,
    /// Whole numbers within ±2^53.
    Long,
    /// Numbers where the text is the canonical one of a whole number within ±2^53 (`7`, not `07`), else text.
    Any,
}

/// Where the key of a record inserted without one comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// A UUIDv7 as text.
    Uuid,
    /// One more than the highest number among the table's keys, from 1.
    NextNumber,
}

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No text at all.
    #[error("the key is empty")]
    Empty,
    /// More bytes than a key may have.
    #[error("the key has {bytes} bytes, more than {KEY_BYTES_MAX}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// U+0000, which no topic can hold.
    #[error("the key holds a NUL character")]
    Nul,
    /// Not a number, or too large a one, where the key is an `Int` or `Long`.
    #[error("the key is not {expected}")]
    NotOfType {
        /// What it should be.
        expected: KeyType,
    },
}

/// The bytes the text of a key may have.
pub const KEY_BYTES_MAX: usize = 4096;
/// The largest `Long`, 2^53: up to it a double holds every whole number.
pub const LONG_MAX: i64 = 1 << 53;

const NUMBER_TAG: u8 = 1;
const TEXT_TAG: u8 = 2;
const SIGN: u64 = 1 << 63;

impl<'a> Key<'a> {
    /// The key written as `text` in a topic or path: `01` is record 1 where keys are numbers.
    pub fn parse(text: &'a str, key_type: KeyType) -> Result<Self, KeyError> {
        match key_type {
            KeyType::Text => Self::text(text),
            KeyType::Int | KeyType::Long => {
                let expected = KeyError::NotOfType { expected: key_type };
                let number = parse_number(text).ok_or(expected)?;
                if key_type.holds(number) { Ok(Self::Number(number)) } else { Err(expected) }
            }
            KeyType::Any => match parse_number(text) {
                Some(number) if key_type.holds(number) && is_canonical(text) => Ok(Self::Number(number)),
                _ => Self::text(text),
            },
        }
    }

    fn text(text: &'a str) -> Result<Self, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > KEY_BYTES_MAX => Err(KeyError::TooLong { bytes }),
            _ if text.as_bytes().contains(&0) => Err(KeyError::Nul),
            _ => Ok(Self::Text(Cow::Borrowed(text))),
        }
    }

    /// The key a JSON value is: a string is read as in a topic, a number as the text of its digits.
    pub fn from_json(json: &str, key_type: KeyType) -> Result<Key<'static>, KeyError> {
        let mut scanner = Scanner::of_value(json);
        let key = match scanner.kind() {
            Ok(Kind::String) => {
                let text = scanner.string().map_err(|_| KeyError::NotOfType { expected: key_type })?.unescaped();
                return Ok(Key::parse(&text, key_type)?.into_owned());
            }
            Ok(Kind::Number) => match number::whole(json) {
                Some(number) if key_type.holds(number) => Ok(Key::Number(number)),
                Some(_) | None => Key::parse(json, key_type),
            },
            _ => Err(KeyError::NotOfType { expected: key_type }),
        };
        key.map(Key::into_owned)
    }

    /// The key as a JSON value.
    pub fn to_json(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => {
                let mut json = String::with_capacity(text.len() + 2);
                json::write_string(text, &mut json);
                json
            }
        }
    }

    /// The same key, owning its text.
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Number(number) => Key::Number(number),
            Self::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// Appends the bytes it is stored under. They sort as keys do, and tell where they end only by their length.
    ///
    /// | key    | bytes                                                                   |
    /// |--------|-------------------------------------------------------------------------|
    /// | number | 1, then eight bytes big endian with the sign bit flipped                |
    /// | text   | 2, then UTF-8 with each `/` as 0: a subtree is one range of bytes       |
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(NUMBER_TAG);
                out.extend_from_slice(&(number.cast_unsigned() ^ SIGN).to_be_bytes());
            }
            Self::Text(text) => encode_text(text, out),
        }
    }

    /// The key stored under `bytes`, or `None` if [`encode`](Self::encode) never wrote them.
    pub fn decode(bytes: &[u8]) -> Option<Key<'static>> {
        let (tag, body) = bytes.split_first()?;
        match *tag {
            NUMBER_TAG => Some(Key::Number((u64::from_be_bytes(body.try_into().ok()?) ^ SIGN).cast_signed())),
            TEXT_TAG if !body.is_empty() && !body.contains(&b'/') => {
                let text = body.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
                Some(Key::Text(Cow::Owned(String::from_utf8(text).ok()?)))
            }
            _ => None,
        }
    }

    /// The stored bytes of all text keys below `prefix`: for `a`, those beginning `a/`, without `a` itself.
    pub fn range_below(prefix: &str) -> Range<Vec<u8>> {
        let mut start = Vec::with_capacity(prefix.len() + 2);
        encode_text(prefix, &mut start);
        let mut end = start.clone();
        start.push(0);
        end.push(1);
        start..end
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(TEXT_TAG);
    out.extend(text.bytes().map(|byte| if byte == b'/' { 0 } else { byte }));
}

/// Digits, with or without a minus, leading zeros allowed.
fn parse_number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn is_canonical(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    number == "0" || !digits.starts_with('0')
}

impl KeyType {
    /// Where the key of a record inserted without one comes from.
    pub fn generated(self) -> Generated {
        match self {
            Self::Text => Generated::Uuid,
            Self::Int | Self::Long | Self::Any => Generated::NextNumber,
        }
    }

    /// Whether such keys can be that number.
    pub fn holds(self, number: i64) -> bool {
        match self {
            Self::Text => false,
            Self::Int => i32::try_from(number).is_ok(),
            Self::Long | Self::Any => (-LONG_MAX..=LONG_MAX).contains(&number),
        }
    }
}

/// What was expected, for people.
impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Int => "a whole number of 32 bits (Int)",
            Self::Long => "a whole number within ±2^53 (Long)",
            Self::Any => "a whole number within ±2^53 or text (Any)",
        })
    }
}

/// The canonical text, as in topics.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Key<'_> {}

impl std::hash::Hash for Key<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Number(number) => number.hash(state),
            Self::Text(text) => text.hash(state),
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
            (Self::Text(a), Self::Text(b)) => a.split('/').cmp(b.split('/')),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_becomes_the_key_its_type_reads() {
        for (key_type, text, canonical) in [
            (KeyType::Text, "01", "01"),
            (KeyType::Text, "a/b//c/", "a/b//c/"),
            (KeyType::Text, "/", "/"),
            (KeyType::Text, "é 🐕", "é 🐕"),
            (KeyType::Int, "01", "1"),
            (KeyType::Int, "-0", "0"),
            (KeyType::Int, "-2147483648", "-2147483648"),
            (KeyType::Int, "0000000000000000000000000002147483647", "2147483647"),
            (KeyType::Long, "9007199254740992", "9007199254740992"),
            (KeyType::Long, "-9007199254740992", "-9007199254740992"),
            (KeyType::Any, "a", "a"),
            (KeyType::Any, "7", "7"),
        ] {
            assert_eq!(Key::parse(text, key_type).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn an_any_key_is_a_number_only_where_its_text_is_the_canonical_one() {
        for (text, is_number) in [
            ("0", true),
            ("-1", true),
            ("9007199254740992", true),
            ("9007199254740993", false),
            ("-9007199254740993", false),
            ("99999999999999999999999", false),
            ("00", false),
            ("01", false),
            ("-0", false),
            ("+1", false),
            ("1.0", false),
            ("1/2", false),
            ("-", false),
            (" 1", false),
        ] {
            let key = Key::parse(text, KeyType::Any).unwrap();
            assert_eq!(matches!(key, Key::Number(_)), is_number, "{text}");
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused_in_words() {
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for (key_type, text, words) in [
            (KeyType::Text, "", "the key is empty"),
            (KeyType::Text, "a\0b", "the key holds a NUL character"),
            (KeyType::Text, &*long, "the key has 4097 bytes, more than 4096"),
            (KeyType::Any, "", "the key is empty"),
            (KeyType::Any, &*long, "the key has 4097 bytes, more than 4096"),
            (KeyType::Int, "", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "x", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "2147483648", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "1.0", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "+1", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "--1", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "1/2", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Int, "١", "the key is not a whole number of 32 bits (Int)"),
            (KeyType::Long, "9007199254740993", "the key is not a whole number within ±2^53 (Long)"),
            (KeyType::Long, "99999999999999999999", "the key is not a whole number within ±2^53 (Long)"),
        ] {
            assert_eq!(Key::parse(text, key_type).unwrap_err().to_string(), words, "{text}");
        }
        assert!(Key::parse(&long[1..], KeyType::Text).is_ok());
    }

    #[test]
    fn json_values_are_keys_and_keys_are_json_values() {
        for (key_type, json, canonical) in [
            (KeyType::Text, r#""a\u002fb""#, Some(r#""a/b""#)),
            (KeyType::Text, "5", Some(r#""5""#)),
            (KeyType::Text, "\"\\\"\"", Some("\"\\\"\"")),
            (KeyType::Int, "5.0", Some("5")),
            (KeyType::Int, r#""05""#, Some("5")),
            (KeyType::Int, "5.5", None),
            (KeyType::Int, "true", None),
            (KeyType::Long, "1e3", Some("1000")),
            (KeyType::Long, "1e16", None),
            (KeyType::Any, r#""5""#, Some("5")),
            (KeyType::Any, r#""05""#, Some(r#""05""#)),
            (KeyType::Any, "1.5", Some(r#""1.5""#)),
            (KeyType::Any, "[]", None),
            (KeyType::Text, "null", None),
            (KeyType::Text, r#""""#, None),
            (KeyType::Text, r#""\u0000""#, None),
        ] {
            let key = Key::from_json(json, key_type).ok();
            assert_eq!(key.map(|key| key.to_json()).as_deref(), canonical, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_not_decoded() {
        for bytes in
            [&[][..], &[0], &[1], &[1, 0, 0, 0, 0, 0, 0, 0], &[1; 10], &[2], &[2, 0xff], &[3, b'a'], b"\x02a/b"]
        {
            assert_eq!(Key::decode(bytes), None, "{bytes:?}");
        }
    }

    fn keys() -> impl Strategy<Value = Key<'static>> {
        let text = prop_oneof!["[a!/\u{1}é~]{1,6}", "[a-c]{1,2}(/[a-c]{0,2}){0,3}"];
        prop_oneof![
            (-LONG_MAX..=LONG_MAX).prop_map(Key::Number),
            (-3..=3_i64).prop_map(Key::Number),
            text.prop_map(|text| Key::Text(Cow::Owned(text))),
        ]
    }

    proptest! {
        #[test]
        fn encoded_keys_sort_as_keys_do_and_come_back(a in keys(), b in keys()) {
            let encode = |key: &Key<'_>| {
                let mut bytes = Vec::new();
                key.encode(&mut bytes);
                bytes
            };
            prop_assert_eq!(a.cmp(&b), encode(&a).cmp(&encode(&b)));
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
            prop_assert_eq!(Key::decode(&encode(&a)), Some(a));
        }

        #[test]
        fn what_lies_below_a_key_is_one_range(prefix in "[a!/é]{1,4}", key in keys()) {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            let is_below = matches!(&key, Key::Text(text) if text.starts_with(&format!("{prefix}/")));
            prop_assert_eq!(Key::range_below(&prefix).contains(&bytes), is_below);
        }

        #[test]
        fn canonical_texts_read_as_the_same_key(text in "\\PC{1,12}|-?[0-9]{1,20}") {
            for key_type in [KeyType::Text, KeyType::Int, KeyType::Long, KeyType::Any] {
                let Ok(key) = Key::parse(&text, key_type) else { continue };
                let canonical = key.to_string();
                prop_assert_eq!(&Key::parse(&canonical, key_type).unwrap(), &key);
                prop_assert_eq!(&Key::from_json(&key.to_json(), key_type).unwrap(), &key);
            }
        }
    }
}
