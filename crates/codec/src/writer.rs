//! Fields into bytes: numbers, text, binary data.

use crate::EncodeError;
use crate::properties::Property;

/// Appends fields to a buffer. `field` names a field whose value may turn out to have no form on the wire.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn varint(&mut self, value: u32, field: &'static str) -> Result<(), EncodeError> {
        let varint = Varint::new(value as usize).ok_or(EncodeError::TooLarge { field, value: value as usize })?;
        self.out.extend_from_slice(varint.as_bytes());
        Ok(())
    }

    /// Bytes without a length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Binary data behind its length (MQTT 5 §1.5.6).
    pub(crate) fn binary(&mut self, bytes: &[u8], field: &'static str) -> Result<(), EncodeError> {
        let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong { field, bytes: bytes.len() })?;
        self.u16(length);
        self.bytes(bytes);
        Ok(())
    }

    /// Text behind its length (MQTT 5 §1.5.4).
    pub(crate) fn text(&mut self, text: &str, field: &'static str) -> Result<(), EncodeError> {
        if text.as_bytes().contains(&0) {
            return Err(EncodeError::Nul { field });
        }
        self.binary(text.as_bytes(), field)
    }

    /// One property, if it is there.
    pub(crate) fn property(&mut self, property: Option<Property<'_>>) -> Result<(), EncodeError> {
        property.map_or(Ok(()), |property| property.encode(self))
    }

    /// What `write` writes, behind its length as a variable byte integer.
    pub(crate) fn sized(
        &mut self,
        field: &'static str,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        // One byte is enough for most lengths; when it is not, what was written moves up.
        let at = self.out.len();
        self.out.push(0);
        write(self)?;
        let length = self.out.len() - at - 1;
        let varint = Varint::new(length).ok_or(EncodeError::TooLarge { field, value: length })?;
        let (&first, more) = varint.as_bytes().split_first().expect("a varint has at least one byte");
        self.out[at] = first;
        if !more.is_empty() {
            self.out.splice(at + 1..at + 1, more.iter().copied());
        }
        Ok(())
    }
}

/// A variable byte integer (MQTT 5 §1.5.5), ready to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Varint {
    value: u32,
    digits: [u8; 4],
    length: u8,
}

impl Varint {
    /// The largest number it can say.
    pub(crate) const MAX: usize = 268_435_455;

    /// `None` beyond [`MAX`](Self::MAX).
    #[inline]
    pub(crate) fn new(value: usize) -> Option<Self> {
        if value > Self::MAX {
            return None;
        }
        let value = value as u32;
        let mut digits = [0; 4];
        let mut length = 0;
        let mut left = value;
        loop {
            digits[length] = (left & 0x7F) as u8;
            left >>= 7;
            length += 1;
            if left == 0 {
                return Some(Self { value, digits, length: length as u8 });
            }
            digits[length - 1] |= 0x80;
        }
    }

    /// The number it says.
    pub(crate) fn value(&self) -> usize {
        self.value as usize
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::varint;

    #[test]
    fn a_varint_reads_back_in_its_shortest_form() {
        for (value, length) in
            [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4), (Varint::MAX, 4)]
        {
            let written = Varint::new(value).expect("in range");
            assert_eq!(written.as_bytes().len(), length);
            assert_eq!(varint(written.as_bytes(), "x"), Ok(Some((value as u32, length))));
        }
        assert!(Varint::new(Varint::MAX + 1).is_none());
    }

    #[test]
    fn a_length_goes_before_what_it_counts() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let content: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut out = b"before".to_vec();
            Writer::new(&mut out)
                .sized("x", |out| {
                    out.bytes(&content);
                    Ok(())
                })
                .expect("in range");
            let written = out.strip_prefix(b"before").expect("what was there stays");
            let (value, used) = varint(written, "x").expect("a varint").expect("whole");
            assert_eq!((value as usize, &written[used..]), (length, &content[..]));
        }
    }

    #[test]
    fn a_field_its_length_cannot_say_is_refused() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        assert_eq!(writer.text(&"x".repeat(65_535), "x"), Ok(()));
        assert_eq!(writer.text(&"x".repeat(65_536), "x"), Err(EncodeError::FieldTooLong { field: "x", bytes: 65_536 }));
        assert_eq!(writer.binary(&[0; 65_536], "x"), Err(EncodeError::FieldTooLong { field: "x", bytes: 65_536 }));
        assert_eq!(writer.text("a\0", "x"), Err(EncodeError::Nul { field: "x" }));
        assert_eq!(writer.varint(1 << 28, "x"), Err(EncodeError::TooLarge { field: "x", value: 1 << 28 }));
    }
}
