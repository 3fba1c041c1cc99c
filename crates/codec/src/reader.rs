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
    #[inline]
    pub(crate) fn topic(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        // Without an early way out, the compiler compares sixteen bytes at a time.
        let special = bytes.iter().fold(false, |found, &byte| found | matches!(byte, 0 | b'+' | b'#'));
        if special {
            return Err(if bytes.contains(&0) { DecodeError::Nul { field } } else { DecodeError::Wildcard { field } });
        }
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field })
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
