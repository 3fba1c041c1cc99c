//! Fields out of bytes: numbers, text, binary data.

use crate::{DecodeError, PacketId};

/// What is left of a packet. Each method takes one field off the front; `field` is its name for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Refuses what is left after the last field.
    #[inline]
    pub(crate) fn finish(&self, packet: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { packet, bytes }),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(u32::from_be_bytes(bytes))
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (value, used) = varint(self.rest, field)?.ok_or(DecodeError::Truncated { field })?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// Takes `length` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Binary data behind its length (MQTT 5 §1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u16(field)?;
        self.bytes(length.into(), field)
    }

    /// Text behind its length (MQTT 5 §1.5.4).
    #[inline]
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        if bytes.contains(&0) {
            return Err(DecodeError::Nul { field });
        }
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })
    }

    /// A topic name, which may be empty here.
    pub(crate) fn topic(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        self.topic_again(field, "")
    }

    /// [`topic`](Self::topic), which is not checked if it is the same as one that is `known` to be good.
    #[inline]
    pub(crate) fn topic_again(&mut self, field: &'static str, known: &'a str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        if bytes == known.as_bytes() { Ok(known) } else { check_topic(bytes, field) }
    }
    /// A topic name with at least one character [MQTT-4.7.3-1].
    pub(crate) fn topic_not_empty(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        not_empty(self.topic(field)?, field)
    }

    /// A topic filter, of which only the text is checked.
    pub(crate) fn filter(&mut self) -> Result<&'a str, DecodeError> {
        not_empty(self.text("topic filter")?, "topic filter")
    }

    #[inline]
    pub(crate) fn packet_id(&mut self, packet: &'static str) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("packet identifier")?).ok_or(DecodeError::PacketIdZero { packet })
    }
}

fn check_topic<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, DecodeError> {
    // Without an early way out, the compiler compares sixteen bytes at a time.
    let special = bytes.iter().fold(false, |found, &byte| found | matches!(byte, 0 | b'+' | b'#'));
    if special {
        return Err(if bytes.contains(&0) { DecodeError::Nul { field } } else { DecodeError::Wildcard { field } });
    }
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })
}

fn not_empty<'a>(topic: &'a str, field: &'static str) -> Result<&'a str, DecodeError> {
    if topic.is_empty() { Err(DecodeError::EmptyTopic { field }) } else { Ok(topic) }
}

/// The variable byte integer (MQTT 5 §1.5.5) at the front of `bytes` and how many bytes it takes; `None` while it
/// is incomplete.
#[inline]
pub(crate) fn varint(bytes: &[u8], field: &'static str) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(DecodeError::VarintNotMinimal { field });
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::VarintTooLong { field }) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian() {
        let mut reader = Reader::new(b"\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(reader.u8("a"), Ok(0x01));
        assert_eq!(reader.u16("b"), Ok(0x0203));
        assert_eq!(reader.u32("c"), Ok(0x0405_0607));
        assert_eq!(reader.u16("d"), Err(DecodeError::Truncated { field: "d" }));
        assert_eq!(reader.finish("e"), Err(DecodeError::Trailing { packet: "e", bytes: 1 }));
        assert_eq!(reader.rest(), b"\x08");
        assert_eq!(reader.finish("e"), Ok(()));
    }

    #[test]
    fn a_varint_is_decoded_at_its_bounds() {
        // MQTT 5 §1.5.5, table 1-1
        let check = |bytes: &[u8], value| {
            assert_eq!(varint(bytes, "x"), Ok(Some((value, bytes.len()))), "{bytes:02x?}");
        };
        check(b"\x00", 0);
        check(b"\x7F", 127);
        check(b"\x80\x01", 128);
        check(b"\xFF\x7F", 16_383);
        check(b"\x80\x80\x01", 16_384);
        check(b"\xFF\xFF\x7F", 2_097_151);
        check(b"\x80\x80\x80\x01", 2_097_152);
        check(b"\xFF\xFF\xFF\x7F", 268_435_455);
    }

    #[test]
    fn text_is_utf8_as_it_came() {
        // [MQTT-1.5.4-1], [MQTT-1.5.4-3]
        for text in
            ["", "a", "\u{1}\u{7F}\u{9F}", "Z\u{FC}rich", "\u{FEFF}bom", "\u{FFFF}\u{10FFFF}\u{D7FF}\u{E000}", "+/#"]
        {
            assert_eq!(load(text.as_bytes(), Reader::text), Ok(text));
        }
        let longest = "x".repeat(65_535);
        assert_eq!(load(longest.as_bytes(), Reader::text), Ok(&longest[..]));
    }

    #[test]
    fn what_is_not_utf8_is_refused_in_text_and_topics() {
        let malformed: [&[u8]; 11] = [
            b"\x80",
            b"\xC3",
            b"a\xE2\x82",
            b"\xC0\xAF",
            b"\xE0\x80\xAF",
            b"\xF0\x80\x80\xAF",
            b"\xED\xA0\x80",
            b"\xED\xBF\xBF",
            b"\xED\xA0\x80\xED\xB0\x80",
            b"\xF4\x90\x80\x80",
            b"\xFF",
        ];
        for bytes in malformed {
            let error = Err(DecodeError::NotUtf8 { field: "x" });
            assert_eq!(load(bytes, Reader::text), error, "{bytes:02x?}");
            assert_eq!(load(bytes, Reader::topic), error, "{bytes:02x?}");
        }
        // U+0000 as two bytes is an overlong form.
        assert_eq!(load(b"a\xC0\x80", Reader::text), Err(DecodeError::NotUtf8 { field: "x" }));
    }

    #[test]
    fn a_nul_is_refused_in_text_and_topics() {
        // [MQTT-1.5.4-2]
        for bytes in [&b"\0"[..], b"a\0", b"\0a", b"a long enough text with a \0 in its middle"] {
            assert_eq!(load(bytes, Reader::text), Err(DecodeError::Nul { field: "x" }), "{bytes:02x?}");
            assert_eq!(load(bytes, Reader::topic), Err(DecodeError::Nul { field: "x" }), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_topic_has_no_wildcards() {
        // [MQTT-3.3.2-2]
        for bytes in [&b"#"[..], b"+", b"a/#", b"a+b", b"a/long/enough/topic/to/be/compared/at/once/+"] {
            assert_eq!(load(bytes, Reader::topic), Err(DecodeError::Wildcard { field: "x" }), "{bytes:02x?}");
        }
        assert_eq!(load(b"", Reader::topic), Ok(""));
        assert_eq!(load(b"", Reader::topic_not_empty), Err(DecodeError::EmptyTopic { field: "x" }));
    }

    #[test]
    fn a_length_beyond_the_packet_is_refused() {
        for bytes in [&b""[..], b"\0", b"\0\x01", b"\0\x03ab", b"\xFF\xFFabc"] {
            let error = DecodeError::Truncated { field: "x" };
            assert_eq!(Reader::new(bytes).text("x"), Err(error), "{bytes:02x?}");
            assert_eq!(Reader::new(bytes).binary("x"), Err(error), "{bytes:02x?}");
        }
    }

    fn load<'a>(
        bytes: &[u8],
        field: impl Fn(&mut Reader<'a>, &'static str) -> Result<&'a str, DecodeError>,
    ) -> Result<&'a str, DecodeError> {
        let length = u16::try_from(bytes.len()).expect("short enough to be sent");
        let wire = [&length.to_be_bytes(), bytes].concat().leak();
        field(&mut Reader::new(wire), "x")
    }
}
