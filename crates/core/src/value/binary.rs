//! What CBOR and MessagePack have in common: bytes to read from, JSON to write, and items to write as bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::date;
use super::json::{DEPTH_MAX, Fault, write_string};

/// Bytes of one document, read front to back.
#[derive(Debug)]
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: usize,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Something else was expected here.
    pub(crate) fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at, expected }
    }

    /// The next byte, which is not stepped over.
    pub(crate) fn peek(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.fault("more bytes"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn take(&mut self, length: u64) -> Result<&'b [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.fault("more bytes"))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A big-endian number of so many bytes, at most 8.
    pub(crate) fn number(&mut self, length: u64) -> Result<u64, Fault> {
        Ok(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn text(&mut self, length: u64) -> Result<&'b str, Fault> {
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|error| Fault { at: start + error.valid_up_to(), expected: "UTF-8" })
    }

    /// Into an array or a map.
    pub(crate) fn open(&mut self) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(self.fault("at most 64 levels of nesting"));
        }
        self.depth += 1;
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.depth -= 1;
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault("the end of the document")) }
    }
}

/// Appends a number as JSON, with the fewest digits that mean it; `None` if JSON has no way to.
pub(crate) fn write_double(number: f64, json: &mut String) -> Option<()> {
    number.is_finite().then(|| json.push_str(&format!("{number:?}")))
}

/// [`write_double`] for what was sent in half the bytes or less, and has fewer digits.
pub(crate) fn write_single(number: f32, json: &mut String) -> Option<()> {
    number.is_finite().then(|| json.push_str(&format!("{number:?}")))
}

/// Appends bytes as JSON: base64 text.
pub(crate) fn write_bytes(bytes: &[u8], json: &mut String) {
    json.push('"');
    STANDARD.encode_string(bytes, json);
    json.push('"');
}

/// Appends a point in time as JSON: ISO text.
pub(crate) fn write_instant(ms: Option<i64>, json: &mut String) -> Option<()> {
    let iso = date::format(ms?)?;
    write_string(&iso, json);
    Some(())
}

/// A format documents are delivered in. Containers say how many items follow.
pub(crate) trait Encoding {
    fn null(out: &mut Vec<u8>);
    fn boolean(value: bool, out: &mut Vec<u8>);
    /// Within `-2^64..2^64`; false if the format cannot hold it.
    fn integer(value: i128, out: &mut Vec<u8>) -> bool;
    /// A whole number by its digits; false if the format has no such thing.
    fn digits(digits: &str, out: &mut Vec<u8>) -> bool;
    fn double(value: f64, out: &mut Vec<u8>);
    fn text(text: &str, out: &mut Vec<u8>);
    fn bytes(bytes: &[u8], out: &mut Vec<u8>);
    fn array(items: usize, out: &mut Vec<u8>);
    fn map(members: usize, out: &mut Vec<u8>);
}
