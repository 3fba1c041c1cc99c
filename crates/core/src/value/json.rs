//! A cursor over JSON text (RFC 8259), for code that keeps the text.
//!
//! Parsing into a tree would lose what must survive (digits, order, spelling) and cost most of the time a put has.
//! The cursor checks the grammar as it moves and hands out slices of the text.

mod members;
mod names;

pub(crate) use members::{Members, Observer, Superseded};
pub(crate) use names::{Name, Names};

use std::borrow::Cow;

/// A place in a JSON text. What lies before it is well-formed.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

/// What a value is, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// A string of the text, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'t> {
    /// As written; escapes are well-formed.
    pub(crate) raw: &'t str,
    /// Whether there are escapes.
    pub(crate) escaped: bool,
}

/// Where we are among the members of an object or the items of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    Opened,
    Within,
}

/// Where the text is not JSON, and what would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) expected: &'static str,
}

/// How deep objects and arrays may nest.
pub(crate) const DEPTH_MAX: usize = 64;

/// Places in a text are kept in four bytes where there may be many. No record can be this large.
const TEXT_BYTES_MAX: usize = u32::MAX as usize;

impl<'t> Scanner<'t> {
    /// At the beginning of `bytes`.
    pub(crate) fn new(bytes: &'t [u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| Fault { at: error.valid_up_to(), expected: "UTF-8" })?;
        if text.starts_with('\u{feff}') {
            return Err(Fault { at: 0, expected: "JSON without a byte order mark" });
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault { at: 0, expected: "at most 4 GiB of JSON" });
        }
        Ok(Self { text, at: 0, depth: 0 })
    }

    /// At the beginning of a text that was a JSON value when it was sliced off, or of one made of such.
    pub(crate) fn of_value(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Steps over white space, and says what value begins there.
    pub(crate) fn kind(&mut self) -> Result<Kind, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.fault("a JSON value")),
        }
    }

    /// Steps over a whole value and returns it as written; `observer` is told of the members of objects in it.
    pub(crate) fn value(&mut self, observer: &mut impl Observer) -> Result<&'t str, Fault> {
        self.skip_space();
        let start = self.at;
        self.step_over(observer)?;
        Ok(&self.text[start..self.at])
    }

    fn step_over(&mut self, observer: &mut impl Observer) -> Result<(), Fault> {
        match self.kind()? {
            Kind::String => self.string().map(drop),
            Kind::Number => self.step_over_number(),
            Kind::Boolean | Kind::Null => self.literal(),
            Kind::Array => {
                let mut elements = self.open()?;
                while self.next_item(&mut elements)? {
                    self.step_over(observer)?;
                }
                Ok(())
            }
            Kind::Object => {
                let mut elements = self.open()?;
                let object = observer.open();
                while let Some((start, name)) = self.next_member(&mut elements)? {
                    self.step_over(observer)?;
                    observer.member(start, name);
                }
                observer.close(object, self.text);
                Ok(())
            }
        }
    }

    /// Steps over `true`, `false` or `null`.
    pub(crate) fn literal(&mut self) -> Result<(), Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
        self.at += word.ok_or_else(|| self.fault("a JSON value"))?.len();
        Ok(())
    }

    /// Steps over a number and returns it as written.
    pub(crate) fn number(&mut self) -> Result<&'t str, Fault> {
        let start = self.at;
        self.step_over_number()?;
        Ok(&self.text[start..self.at])
    }

    fn step_over_number(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        let is_at = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        let mut at = self.at + usize::from(is_at(self.at, b'-'));
        at = if is_at(at, b'0') { at + 1 } else { self.digits(at)? };
        if is_at(at, b'.') {
            at = self.digits(at + 1)?;
        }
        if is_at(at, b'e') || is_at(at, b'E') {
            let has_sign = is_at(at + 1, b'+') || is_at(at + 1, b'-');
            at = self.digits(at + 1 + usize::from(has_sign))?;
        }
        self.at = at;
        Ok(())
    }

    /// Where digits end that begin at `start`.
    #[inline]
    fn digits(&self, start: usize) -> Result<usize, Fault> {
        let bytes = self.text.as_bytes();
        let mut at = start;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(Fault { at, expected: "a digit" }) }
    }

    /// Steps over a string.
    pub(crate) fn string(&mut self) -> Result<Text<'t>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("a string"));
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("control characters to be escaped")),
                None => return Err(self.fault("the end of a string")),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// Steps over what needs no second look in a string, eight bytes at a time.
    fn skip_plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = ONES << 7;
        // Marks the top bit of bytes below `n`; bytes above the first marked one may be marked wrongly.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & TOPS;
        let bytes = self.text.as_bytes();
        while let Some(chunk) = bytes[self.at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
            let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
            let found = below(word, 0x20) | quotes | backslashes;
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek()
            && byte >= 0x20
            && byte != b'"'
            && byte != b'\\'
        {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.code_unit()?;
                let is_pair = (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with("\\u") && {
                    self.at += 1;
                    (0xdc00..0xe000).contains(&self.code_unit()?)
                };
                if (0xd800..0xe000).contains(&unit) && !is_pair {
                    return Err(self.fault("both halves of a surrogate pair before this"));
                }
            }
            _ => return Err(self.fault("an escape JSON knows")),
        }
        Ok(())
    }

    /// Steps over `uXXXX`.
    fn code_unit(&mut self) -> Result<u16, Fault> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.fault("four hexadecimal digits"))? as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Steps over the bracket of an object or array.
    pub(crate) fn open(&mut self) -> Result<Elements, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(self.fault("at most 64 levels of nesting"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(Elements::Opened)
    }

    /// To the value of the next member of an object, with the place of its name and the name; `None` behind the end.
    #[inline]
    pub(crate) fn next_member(&mut self, elements: &mut Elements) -> Result<Option<(usize, Text<'t>)>, Fault> {
        self.skip_space();
        match (self.peek(), *elements) {
            (Some(b'}'), _) => {
                self.close();
                return Ok(None);
            }
            (Some(b','), Elements::Within) => {
                self.at += 1;
                self.skip_space();
            }
            (_, Elements::Within) => return Err(self.fault("`,` or `}`")),
            (_, Elements::Opened) => *elements = Elements::Within,
        }
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault("a name in double quotes"));
        }
        let name = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault("`:`"));
        }
        self.at += 1;
        self.skip_space();
        Ok(Some((start, name)))
    }

    /// To the next item of an array; false behind the end.
    pub(crate) fn next_item(&mut self, elements: &mut Elements) -> Result<bool, Fault> {
        self.skip_space();
        match (self.peek(), *elements) {
            (Some(b']'), _) => {
                self.close();
                return Ok(false);
            }
            (Some(b','), Elements::Within) => self.at += 1,
            (_, Elements::Within) => return Err(self.fault("`,` or `]`")),
            (_, Elements::Opened) => *elements = Elements::Within,
        }
        self.skip_space();
        Ok(true)
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Only white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault("the end of the JSON text")) }
    }

    #[inline]
    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        while at < bytes.len() && matches!(bytes[at], b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        self.at = at;
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at, expected }
    }
}

impl<'t> Text<'t> {
    /// What the string says.
    pub(crate) fn unescaped(self) -> Cow<'t, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        unescape(self.raw, &mut text);
        Cow::Owned(text)
    }
}

fn unescape(raw: &str, text: &mut String) {
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let length = match escape.as_bytes()[0] {
            b'u' => {
                let high = hex(&escape[1..5]);
                let (code, length) = match high {
                    0xd800..0xdc00 => (0x10000 + ((high - 0xd800) << 10) + (hex(&escape[7..11]) - 0xdc00), 11),
                    _ => (high, 5),
                };
                text.push(char::from_u32(code).expect("the scanner accepts whole surrogate pairs only"));
                length
            }
            letter => {
                text.push(match letter {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(other),
                });
                1
            }
        };
        rest = &escape[length..];
    }
    text.push_str(rest);
}

fn hex(digits: &str) -> u32 {
    u32::from_str_radix(digits, 16).expect("the scanner accepts hexadecimal digits only")
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_is_accepted() {
        for text in [
            "{}",
            "[]",
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "-1.5e+10",
            "1E400",
            "123456789012345678901234567890",
            r#""""#,
            r#""\u0041\ud83d\ude00\"\\\/\b\f\n\r\t""#,
            "\"é😀\u{7f}\"",
            r#"{"a":[1,{"b":null}], "a" : 2}"#,
            "\t\r\n[ ]\n",
            r#"{"__proto__":{}}"#,
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_at_the_place() {
        for (text, at, expected) in [
            ("", 0, "a JSON value"),
            ("tru", 0, "a JSON value"),
            ("nul", 0, "a JSON value"),
            ("01", 1, "the end of the JSON text"),
            ("+1", 0, "a JSON value"),
            ("-", 1, "a digit"),
            ("1.", 2, "a digit"),
            (".5", 0, "a JSON value"),
            ("1e", 2, "a digit"),
            ("NaN", 0, "a JSON value"),
            ("'a'", 0, "a JSON value"),
            ("\"a", 2, "the end of a string"),
            ("\"a\nb\"", 2, "control characters to be escaped"),
            ("\"long enough for a word\u{1f}\"", 23, "control characters to be escaped"),
            (r#""\x""#, 2, "an escape JSON knows"),
            (r#""\u12g4""#, 5, "four hexadecimal digits"),
            (r#""\ud800""#, 7, "both halves of a surrogate pair before this"),
            (r#""\ud800\u0041""#, 13, "both halves of a surrogate pair before this"),
            (r#""\udc00\ud800""#, 7, "both halves of a surrogate pair before this"),
            ("{", 1, "a name in double quotes"),
            ("{a:1}", 1, "a name in double quotes"),
            (r#"{"a"}"#, 4, "`:`"),
            (r#"{"a":}"#, 5, "a JSON value"),
            (r#"{"a":1,}"#, 7, "a name in double quotes"),
            (r#"{"a":1 "b":2}"#, 7, "`,` or `}`"),
            (r#"{,"a":1}"#, 1, "a name in double quotes"),
            ("[1,]", 3, "a JSON value"),
            ("[1 2]", 3, "`,` or `]`"),
            ("[,1]", 1, "a JSON value"),
            ("[1", 2, "`,` or `]`"),
            ("{} {}", 3, "the end of the JSON text"),
            ("\u{feff}{}", 0, "JSON without a byte order mark"),
        ] {
            assert_eq!(check(text.as_bytes()), Err(Fault { at, expected }), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Err(Fault { at: 1, expected: "UTF-8" }));
        assert_eq!(check(b"\"\xed\xa0\x80\""), Err(Fault { at: 1, expected: "UTF-8" }));
    }

    #[test]
    fn nesting_ends_at_sixty_four_levels() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(nested(64).as_bytes()), Ok(()));
        assert_eq!(check(nested(65).as_bytes()), Err(Fault { at: 64, expected: "at most 64 levels of nesting" }));
        assert!(check("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn names_that_come_again_are_found() {
        let many: String = (0..100).map(|n| format!("\"n{n}\":0,")).collect();
        for (text, expected) in [
            (r#"{"a":1,"b":2}"#.to_owned(), vec![]),
            (r#"{"a":1,"a":2}"#.to_owned(), vec![r#""a":1,"#]),
            (r#"{"a":1, "b":2, "a":3, "\u0061":4}"#.to_owned(), vec![r#""a":1, "#, r#""a":3, "#]),
            (r#"[{"a":1,"a":{"b":1,"b":2}},{"a":1}]"#.to_owned(), vec![r#""a":1,"#, r#""b":1,"#]),
            (r#"[{"a":{"b":1,"b":2},"a":1}]"#.to_owned(), vec![r#""a":{"b":1,"b":2},"#]),
            (r#"{"x":{"b":1,"b":2},"a":1,"a":2}"#.to_owned(), vec![r#""b":1,"#, r#""a":1,"#]),
            (format!(r#"{{{many}"n7":1}}"#), vec![r#""n7":0,"#]),
        ] {
            let mut members = Members::default();
            Scanner::new(text.as_bytes()).unwrap().value(&mut members).unwrap();
            let found: Vec<_> = members.superseded().iter().map(|gone| &text[gone.range()]).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn strings_come_back_as_written() {
        for text in ["", "plain", "\u{0}\u{1f}\"\\/\u{8}\u{c}\n\r\t", "é😀\u{2028}\u{7f}"] {
            let mut json = String::new();
            write_string(text, &mut json);
            assert_eq!(Scanner::of_value(&json).string().unwrap().unescaped(), text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        assert_eq!(Scanner::of_value(r#""\ud83d\ude00\u00e9""#).string().unwrap().unescaped(), "😀é");
    }

    fn check(text: &[u8]) -> Result<(), Fault> {
        let mut scanner = Scanner::new(text)?;
        scanner.value(&mut ())?;
        scanner.end()
    }
}
