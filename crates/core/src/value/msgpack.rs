//! MessagePack (github.com/msgpack/msgpack, `spec.md`) from and to JSON text.
//!
//! | MessagePack                | JSON                                    |
//! |----------------------------|-----------------------------------------|
//! | integers                   | numbers                                 |
//! | float 32 and 64            | numbers; infinities and NaN are refused |
//! | bin                        | base64 text                             |
//! | map                        | objects; names must be text             |
//! | timestamp (extension -1)   | ISO text                                |
//! | other extensions           | refused                                 |

use super::binary::{Encoding, Reader, write_bytes, write_double, write_instant, write_single};
use super::json::{Fault, write_string};

/// The JSON text of one MessagePack document.
pub(crate) fn to_json(bytes: &[u8]) -> Result<String, Fault> {
    let mut reader = Reader::new(bytes);
    let mut json = String::with_capacity(bytes.len() * 2);
    item(&mut reader, &mut json)?;
    reader.end()?;
    Ok(json)
}

fn item(reader: &mut Reader<'_>, json: &mut String) -> Result<(), Fault> {
    let byte = reader.byte()?;
    match byte {
        0x00..=0x7f => json.push_str(&byte.to_string()),
        0x80..=0x8f => map(reader, u64::from(byte & 15), json)?,
        0x90..=0x9f => array(reader, u64::from(byte & 15), json)?,
        0xa0..=0xbf | 0xd9..=0xdb => write_string(text(reader, byte)?, json),
        0xc0 => json.push_str("null"),
        0xc2 => json.push_str("false"),
        0xc3 => json.push_str("true"),
        0xc4..=0xc6 => {
            let length = reader.number(1 << (byte - 0xc4))?;
            write_bytes(reader.take(length)?, json);
        }
        0xc7..=0xc9 => {
            let length = reader.number(1 << (byte - 0xc7))?;
            extension(reader, length, json)?;
        }
        0xca | 0xcb => float(reader, byte, json)?,
        0xcc..=0xcf => json.push_str(&reader.number(1 << (byte - 0xcc))?.to_string()),
        0xd0..=0xd3 => {
            let length = 1 << (byte - 0xd0);
            // The sign is the highest bit of as many bytes as there are.
            let shift = 64 - 8 * length;
            let number = (reader.number(length)? << shift).cast_signed() >> shift;
            json.push_str(&number.to_string());
        }
        0xd4..=0xd8 => extension(reader, 1 << (byte - 0xd4), json)?,
        0xdc | 0xdd => {
            let items = reader.number(2 << (byte - 0xdc))?;
            array(reader, items, json)?;
        }
        0xde | 0xdf => {
            let members = reader.number(2 << (byte - 0xde))?;
            map(reader, members, json)?;
        }
        0xe0..=0xff => json.push_str(&byte.cast_signed().to_string()),
        0xc1 => return Err(reader.fault("a type MessagePack knows before this")),
    }
    Ok(())
}

/// The text after its first byte.
fn text<'b>(reader: &mut Reader<'b>, byte: u8) -> Result<&'b str, Fault> {
    let length = match byte {
        0xa0..=0xbf => u64::from(byte & 31),
        0xd9..=0xdb => reader.number(1 << (byte - 0xd9))?,
        _ => return Err(reader.fault("names to be text before this")),
    };
    reader.text(length)
}

fn array(reader: &mut Reader<'_>, items: u64, json: &mut String) -> Result<(), Fault> {
    reader.open()?;
    json.push('[');
    for place in 0..items {
        json.push_str(if place > 0 { "," } else { "" });
        item(reader, json)?;
    }
    json.push(']');
    reader.close();
    Ok(())
}

fn map(reader: &mut Reader<'_>, members: u64, json: &mut String) -> Result<(), Fault> {
    reader.open()?;
    json.push('{');
    for place in 0..members {
        json.push_str(if place > 0 { "," } else { "" });
        let byte = reader.byte()?;
        write_string(text(reader, byte)?, json);
        json.push(':');
        item(reader, json)?;
    }
    json.push('}');
    reader.close();
    Ok(())
}

fn float(reader: &mut Reader<'_>, byte: u8, json: &mut String) -> Result<(), Fault> {
    let written = match byte {
        0xca => write_single(f32::from_bits(reader.number(4)? as u32), json),
        _ => write_double(f64::from_bits(reader.number(8)?), json),
    };
    written.ok_or_else(|| reader.fault("a finite number before this"))
}

/// A timestamp of seconds, or seconds and nanoseconds in 34 and 30 bits or in eight bytes and four.
fn extension(reader: &mut Reader<'_>, length: u64, json: &mut String) -> Result<(), Fault> {
    let kind = reader.byte()?.cast_signed();
    let (seconds, nanoseconds) = match (kind, length) {
        (-1, 4) => (reader.number(4)?.cast_signed(), 0),
        (-1, 8) => {
            let both = reader.number(8)?;
            ((both & ((1 << 34) - 1)).cast_signed(), both >> 34)
        }
        (-1, 12) => {
            let nanoseconds = reader.number(4)?;
            (reader.number(8)?.cast_signed(), nanoseconds)
        }
        _ => return Err(reader.fault("no extension but timestamps before this")),
    };
    let ms = seconds.checked_mul(1000).and_then(|ms| ms.checked_add_unsigned(nanoseconds / 1_000_000));
    write_instant(ms, json).ok_or_else(|| reader.fault("a time within the years 0 to 9999 before this"))
}

/// Writes items in their shortest form.
pub(crate) struct MessagePack;

/// A length behind the first of `firsts` it fits: so many in the byte itself, then one, two or four bytes.
fn write_length(length: usize, short: Option<(u8, usize)>, firsts: [Option<u8>; 3], out: &mut Vec<u8>) {
    if let Some((first, fewer)) = short
        && length < fewer
    {
        return out.push(first | length as u8);
    }
    let bytes = (length as u32).to_be_bytes();
    match (firsts, length) {
        ([Some(first), ..], 0..=0xff) => out.extend_from_slice(&[first, bytes[3]]),
        ([_, Some(first), _], 0..=0xffff) => out.extend_from_slice(&[first, bytes[2], bytes[3]]),
        ([_, _, first], _) => {
            out.extend(first);
            out.extend_from_slice(&bytes);
        }
    }
}

impl Encoding for MessagePack {
    fn null(out: &mut Vec<u8>) {
        out.push(0xc0);
    }

    fn boolean(value: bool, out: &mut Vec<u8>) {
        out.push(0xc2 + u8::from(value));
    }

    fn integer(value: i128, out: &mut Vec<u8>) -> bool {
        let bytes = value.to_be_bytes();
        let (first, length) = match value {
            -32..=127 => (None, 1),
            128..=0xff => (Some(0xcc), 1),
            0x100..=0xffff => (Some(0xcd), 2),
            0x1_0000..=0xffff_ffff => (Some(0xce), 4),
            0x1_0000_0000..=0xffff_ffff_ffff_ffff => (Some(0xcf), 8),
            -0x80..=-33 => (Some(0xd0), 1),
            -0x8000..=-0x81 => (Some(0xd1), 2),
            -0x8000_0000..=-0x8001 => (Some(0xd2), 4),
            -0x8000_0000_0000_0000..=-0x8000_0001 => (Some(0xd3), 8),
            _ => return false,
        };
        out.extend(first);
        out.extend_from_slice(&bytes[16 - length..]);
        true
    }

    fn digits(_: &str, _: &mut Vec<u8>) -> bool {
        false
    }

    fn double(value: f64, out: &mut Vec<u8>) {
        out.push(0xcb);
        out.extend_from_slice(&value.to_be_bytes());
    }

    fn text(text: &str, out: &mut Vec<u8>) {
        write_length(text.len(), Some((0xa0, 32)), [Some(0xd9), Some(0xda), Some(0xdb)], out);
        out.extend_from_slice(text.as_bytes());
    }

    fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
        write_length(bytes.len(), None, [Some(0xc4), Some(0xc5), Some(0xc6)], out);
        out.extend_from_slice(bytes);
    }

    fn array(items: usize, out: &mut Vec<u8>) {
        write_length(items, Some((0x90, 16)), [None, Some(0xdc), Some(0xdd)], out);
    }

    fn map(members: usize, out: &mut Vec<u8>) {
        write_length(members, Some((0x80, 16)), [None, Some(0xde), Some(0xdf)], out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read() {
        for (bytes, json) in [
            (&[0x00][..], "0"),
            (&[0x7f], "127"),
            (&[0xe0], "-32"),
            (&[0xcc, 0xff], "255"),
            (&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255], "18446744073709551615"),
            (&[0xd0, 0x80], "-128"),
            (&[0xd1, 0xff, 0x00], "-256"),
            (&[0xd3, 128, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (&[0xc0], "null"),
            (&[0xc2], "false"),
            (&[0xc3], "true"),
            (&[0xca, 0x3d, 0xcc, 0xcc, 0xcd], "0.1"),
            (&[0xcb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], "1.1"),
            (&[0xa2, b'"', b'a'], r#""\"a""#),
            (&[0xd9, 1, b'a'], r#""a""#),
            (&[0xdb, 0, 0, 0, 1, b'a'], r#""a""#),
            (&[0xc4, 2, 0xff, 0xef], r#""/+8=""#),
            (&[0x92, 1, 0x91, 2], "[1,[2]]"),
            (&[0xdc, 0, 1, 1], "[1]"),
            (&[0x82, 0xa1, b'a', 1, 0xd9, 1, b'b', 0x80], r#"{"a":1,"b":{}}"#),
            (&[0xde, 0, 1, 0xa0, 1], r#"{"":1}"#),
            (&[0xd6, 0xff, 0x51, 0x4b, 0x67, 0xb0], r#""2013-03-21T20:04:00.000Z""#),
            (&[0xd7, 0xff, 0x77, 0x35, 0x94, 0x00, 0x51, 0x4b, 0x67, 0xb0], r#""2013-03-21T20:04:00.500Z""#),
            (&[0xc7, 12, 0xff, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], r#""1969-12-31T23:59:59.000Z""#),
        ] {
            assert_eq!(to_json(bytes).as_deref(), Ok(json), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for (bytes, at, expected) in [
            (&[][..], 0, "more bytes"),
            (&[0xc1], 1, "a type MessagePack knows before this"),
            (&[0xcd, 1], 1, "more bytes"),
            (&[0xa1], 1, "more bytes"),
            (&[0xa1, 0xff], 1, "UTF-8"),
            (&[0xdb, 255, 255, 255, 255], 5, "more bytes"),
            (&[0xdd, 255, 255, 255, 255], 5, "more bytes"),
            (&[0xdf, 255, 255, 255, 255], 5, "more bytes"),
            (&[0x81, 1, 1], 2, "names to be text before this"),
            (&[0xd4, 5, 1], 2, "no extension but timestamps before this"),
            (&[0xca, 0x7f, 0x80, 0, 0], 5, "a finite number before this"),
            (&[0, 0], 1, "the end of the document"),
        ] {
            assert_eq!(to_json(bytes), Err(Fault { at, expected }), "{bytes:x?}");
        }
        for bomb in [0x91, 0x81, 0xdc, 0xdd] {
            assert!(to_json(&vec![bomb; 100_000]).is_err(), "{bomb:x}");
        }
    }

    #[test]
    fn integers_are_written_in_their_shortest_form_and_come_back() {
        let edges = [0, 7, 8, 15, 16, 31, 32, 63].map(|bits| 1_i128 << bits);
        for edge in edges {
            for value in [edge - 1, edge, edge + 1, -edge - 1, -edge, 1 - edge] {
                let mut out = Vec::new();
                assert!(MessagePack::integer(value, &mut out) || value < -(1 << 63), "{value}");
                if !out.is_empty() {
                    assert_eq!(to_json(&out), Ok(value.to_string()));
                }
            }
        }
        assert!(!MessagePack::integer(1 << 64, &mut Vec::new()));
        for (length, bytes) in [(31, 1), (32, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5)] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            MessagePack::text(&text, &mut out);
            assert_eq!(out.len(), length + bytes);
            assert_eq!(to_json(&out), Ok(format!("\"{text}\"")));
        }
    }
}
