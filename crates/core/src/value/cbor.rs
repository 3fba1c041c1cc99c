//! CBOR (RFC 8949) from and to JSON text.
//!
//! | CBOR                            | JSON                                                |
//! |---------------------------------|-----------------------------------------------------|
//! | integers, bignums (tags 2, 3)   | numbers with all digits                             |
//! | half, single and double floats  | numbers; infinities and NaN are refused             |
//! | byte strings                    | base64 text                                         |
//! | maps                            | objects; names must be text                         |
//! | tag 1 (epoch seconds)           | ISO text                                            |
//! | other tags                      | what is tagged                                      |
//! | undefined                       | null                                                |

use super::binary::{Encoding, Reader, write_bytes, write_double, write_instant, write_single};
use super::json::{Fault, write_string};

/// The JSON text of one CBOR document.
pub(crate) fn to_json(bytes: &[u8]) -> Result<String, Fault> {
    let mut reader = Reader::new(bytes);
    let mut json = String::with_capacity(bytes.len() * 2);
    item(&mut reader, &mut json)?;
    reader.end()?;
    Ok(json)
}

const BREAK: u8 = 0xff;
const INDEFINITE: u8 = 31;

/// The first byte of an item: what it is, and its argument or where that is.
fn head(reader: &mut Reader<'_>) -> Result<(u8, u8), Fault> {
    let byte = reader.byte()?;
    Ok((byte >> 5, byte & 31))
}

/// What the low bits of the first byte say, or the bytes after it; `None` for an indefinite length.
fn argument(reader: &mut Reader<'_>, low: u8) -> Result<Option<u64>, Fault> {
    match low {
        0..=23 => Ok(Some(u64::from(low))),
        24..=27 => reader.number(1 << (low - 24)).map(Some),
        INDEFINITE => Ok(None),
        _ => Err(reader.fault("a length CBOR knows before this")),
    }
}

fn definite(reader: &mut Reader<'_>, low: u8) -> Result<u64, Fault> {
    argument(reader, low)?.ok_or_else(|| reader.fault("a definite length before this"))
}

fn item(reader: &mut Reader<'_>, json: &mut String) -> Result<(), Fault> {
    let (major, low) = head(reader)?;
    match major {
        0 => json.push_str(&definite(reader, low)?.to_string()),
        1 => json.push_str(&(-1 - i128::from(definite(reader, low)?)).to_string()),
        2 => write_bytes(&byte_string(reader, low)?, json),
        3 => write_string(&text_string(reader, low)?, json),
        4 => array(reader, low, json)?,
        5 => map(reader, low, json)?,
        6 => tagged(reader, low, json)?,
        _ => simple(reader, low, json)?,
    }
    Ok(())
}

/// All chunks of a byte string.
fn byte_string(reader: &mut Reader<'_>, low: u8) -> Result<Vec<u8>, Fault> {
    if let Some(length) = argument(reader, low)? {
        return reader.take(length).map(<[u8]>::to_vec);
    }
    let mut bytes = Vec::new();
    while let Some(length) = chunk(reader, 2)? {
        bytes.extend_from_slice(reader.take(length)?);
    }
    Ok(bytes)
}

/// All chunks of a text string; each is text by itself.
fn text_string(reader: &mut Reader<'_>, low: u8) -> Result<String, Fault> {
    if let Some(length) = argument(reader, low)? {
        return reader.text(length).map(str::to_owned);
    }
    let mut text = String::new();
    while let Some(length) = chunk(reader, 3)? {
        text.push_str(reader.text(length)?);
    }
    Ok(text)
}

/// The length of the next chunk of a string of that kind; `None` behind the last.
fn chunk(reader: &mut Reader<'_>, kind: u8) -> Result<Option<u64>, Fault> {
    if reader.peek()? == BREAK {
        reader.byte()?;
        return Ok(None);
    }
    match head(reader)? {
        (major, low) if major == kind => definite(reader, low).map(Some),
        _ => Err(reader.fault("a chunk of the same kind before this")),
    }
}

fn array(reader: &mut Reader<'_>, low: u8, json: &mut String) -> Result<(), Fault> {
    let mut left = argument(reader, low)?;
    reader.open()?;
    json.push('[');
    while more(reader, &mut left)? {
        json.push_str(if json.ends_with('[') { "" } else { "," });
        item(reader, json)?;
    }
    json.push(']');
    reader.close();
    Ok(())
}

fn map(reader: &mut Reader<'_>, low: u8, json: &mut String) -> Result<(), Fault> {
    let mut left = argument(reader, low)?;
    reader.open()?;
    json.push('{');
    let mut separator = "";
    while more(reader, &mut left)? {
        json.push_str(separator);
        separator = ",";
        match head(reader)? {
            (3, low) => write_string(&text_string(reader, low)?, json),
            _ => return Err(reader.fault("names to be text before this")),
        }
        json.push(':');
        item(reader, json)?;
    }
    json.push('}');
    reader.close();
    Ok(())
}

/// Whether another item follows; steps over a break.
fn more(reader: &mut Reader<'_>, left: &mut Option<u64>) -> Result<bool, Fault> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if reader.peek()? == BREAK => {
            reader.byte()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// Tags nest like arrays, as far as the stack is concerned.
fn tagged(reader: &mut Reader<'_>, low: u8, json: &mut String) -> Result<(), Fault> {
    reader.open()?;
    match definite(reader, low)? {
        tag @ (2 | 3) => {
            let (2, low) = head(reader)? else { return Err(reader.fault("the bytes of a bignum before this")) };
            let bytes = byte_string(reader, low)?;
            if bytes.len() > BIGNUM_BYTES_MAX {
                return Err(reader.fault("a bignum of at most 1024 bytes before this"));
            }
            write_bignum(&bytes, tag == 3, json);
        }
        1 => {
            let mut seconds = String::new();
            item(reader, &mut seconds)?;
            let ms = seconds.parse::<f64>().ok().map(|seconds| (seconds * 1000.0).round() as i64);
            write_instant(ms, json).ok_or_else(|| reader.fault("seconds within the years 0 to 9999 before this"))?;
        }
        _ => item(reader, json)?,
    }
    reader.close();
    Ok(())
}

fn simple(reader: &mut Reader<'_>, low: u8, json: &mut String) -> Result<(), Fault> {
    let written = match low {
        25 => write_single(half(reader.number(2)? as u16), json),
        26 => write_single(f32::from_bits(reader.number(4)? as u32), json),
        27 => write_double(f64::from_bits(reader.number(8)?), json),
        _ => {
            json.push_str(match low {
                20 => "false",
                21 => "true",
                22 | 23 => "null",
                _ => return Err(reader.fault("a simple value JSON has before this")),
            });
            return Ok(());
        }
    };
    written.ok_or_else(|| reader.fault("a finite number before this"))
}

/// A half-precision float (RFC 8949 appendix D).
fn half(bits: u16) -> f32 {
    let exponent = i32::from(bits >> 10 & 31);
    let mantissa = f32::from(bits & 1023);
    let magnitude = match exponent {
        0 => mantissa * 2_f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (mantissa + 1024.0) * 2_f32.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// Appends the digits of a big-endian number; of -1 less it if `negative`.
fn write_bignum(bytes: &[u8], negative: bool, json: &mut String) {
    // Nine digits to a limb, the lowest first.
    let mut limbs: Vec<u64> = vec![0];
    let mut carry_in = |factor: u64, plus: u64| {
        let mut carry = plus;
        for limb in &mut limbs {
            carry += *limb * factor;
            *limb = carry % LIMB;
            carry /= LIMB;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    };
    bytes.iter().for_each(|byte| carry_in(256, u64::from(*byte)));
    if negative {
        carry_in(1, 1);
        json.push('-');
    }
    let highest = limbs.pop().unwrap_or_default();
    json.push_str(&highest.to_string());
    limbs.iter().rev().for_each(|limb| json.push_str(&format!("{limb:09}")));
}

const LIMB: u64 = 1_000_000_000;
/// Turning bytes into digits takes time that grows with the square of their number.
const BIGNUM_BYTES_MAX: usize = 1024;
const BIGNUM_DIGITS_MAX: usize = 2400;

/// Writes items in their shortest form.
pub(crate) struct Cbor;

fn write_head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    let (low, length) = match argument {
        0..=23 => return out.push(major << 5 | argument as u8),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | low);
    out.extend_from_slice(&bytes[8 - length..]);
}

impl Encoding for Cbor {
    fn null(out: &mut Vec<u8>) {
        out.push(0xf6);
    }

    fn boolean(value: bool, out: &mut Vec<u8>) {
        out.push(0xf4 + u8::from(value));
    }

    fn integer(value: i128, out: &mut Vec<u8>) -> bool {
        let (major, argument) = if value < 0 { (1, -1 - value) } else { (0, value) };
        let argument = u64::try_from(argument);
        argument.map(|argument| write_head(major, argument, out)).is_ok()
    }

    fn digits(digits: &str, out: &mut Vec<u8>) -> bool {
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        if digits.len() > BIGNUM_DIGITS_MAX {
            return false;
        }
        // Lowest byte first.
        let mut bytes: Vec<u8> = Vec::new();
        for digit in digits.bytes() {
            let mut carry = u32::from(digit - b'0');
            for byte in &mut bytes {
                carry += u32::from(*byte) * 10;
                *byte = carry as u8;
                carry >>= 8;
            }
            if carry > 0 {
                bytes.push(carry as u8);
            }
        }
        if negative {
            // -1 less the number is meant; it is not zero, which is an integer.
            for byte in &mut bytes {
                let (less, borrow) = byte.overflowing_sub(1);
                *byte = less;
                if !borrow {
                    break;
                }
            }
        }
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes.reverse();
        out.push(if negative { 0xc3 } else { 0xc2 });
        Self::bytes(&bytes, out);
        true
    }

    fn double(value: f64, out: &mut Vec<u8>) {
        out.push(0xfb);
        out.extend_from_slice(&value.to_be_bytes());
    }

    fn text(text: &str, out: &mut Vec<u8>) {
        write_head(3, text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }

    fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
        write_head(2, bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }

    fn array(items: usize, out: &mut Vec<u8>) {
        write_head(4, items as u64, out);
    }

    fn map(members: usize, out: &mut Vec<u8>) {
        write_head(5, members as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 8949 appendix A
        for (hex, json) in [
            ("00", "0"),
            ("17", "23"),
            ("1818", "24"),
            ("1903e8", "1000"),
            ("1a000f4240", "1000000"),
            ("1bffffffffffffffff", "18446744073709551615"),
            ("c249010000000000000000", "18446744073709551616"),
            ("3bffffffffffffffff", "-18446744073709551616"),
            ("c349010000000000000000", "-18446744073709551617"),
            ("20", "-1"),
            ("3903e7", "-1000"),
            ("f90000", "0.0"),
            ("f98000", "-0.0"),
            ("fb3ff199999999999a", "1.1"),
            ("f93e00", "1.5"),
            ("f97bff", "65504.0"),
            ("fa47c35000", "100000.0"),
            ("fa7f7fffff", "3.4028235e38"),
            ("fb7e37e43c8800759c", "1e300"),
            ("f90001", "5.9604645e-8"),
            ("f9c400", "-4.0"),
            ("f4", "false"),
            ("f5", "true"),
            ("f6", "null"),
            ("f7", "null"),
            ("c074323031332d30332d32315432303a30343a30305a", r#""2013-03-21T20:04:00Z""#),
            ("c11a514b67b0", r#""2013-03-21T20:04:00.000Z""#),
            ("c1fb41d452d9ec200000", r#""2013-03-21T20:04:00.500Z""#),
            ("d74401020304", r#""AQIDBA==""#),
            ("40", r#""""#),
            ("60", r#""""#),
            ("62225c", r#""\"\\""#),
            ("64f0908591", "\"\u{10151}\""),
            ("80", "[]"),
            ("8301820203820405", "[1,[2,3],[4,5]]"),
            ("a0", "{}"),
            ("a26161016162820203", r#"{"a":1,"b":[2,3]}"#),
            ("826161a161626163", r#"["a",{"b":"c"}]"#),
            ("5f42010243030405ff", r#""AQIDBAU=""#),
            ("7f657374726561646d696e67ff", r#""streaming""#),
            ("9fff", "[]"),
            ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
            ("bf61610161629f0203ffff", r#"{"a":1,"b":[2,3]}"#),
            ("d9d9f7a0", "{}"),
        ] {
            assert_eq!(to_json(&bytes(hex)).as_deref(), Ok(json), "{hex}");
        }
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for (hex, at, expected) in [
            ("", 0, "more bytes"),
            ("18", 1, "more bytes"),
            ("1c", 1, "a length CBOR knows before this"),
            ("1f", 1, "a definite length before this"),
            ("0000", 1, "the end of the document"),
            ("61", 1, "more bytes"),
            ("61ff", 1, "UTF-8"),
            ("7bffffffffffffffff", 9, "more bytes"),
            ("9bffffffffffffffff", 9, "more bytes"),
            ("9f", 1, "more bytes"),
            ("ff", 1, "a simple value JSON has before this"),
            ("81ff", 2, "a simple value JSON has before this"),
            ("bf6161ff", 4, "a simple value JSON has before this"),
            ("a10102", 2, "names to be text before this"),
            ("5f6161ff", 2, "a chunk of the same kind before this"),
            ("7f7f6161ffff", 2, "a definite length before this"),
            ("f97c00", 3, "a finite number before this"),
            ("fb7ff8000000000000", 9, "a finite number before this"),
            ("f818", 1, "a simple value JSON has before this"),
            ("c20c", 2, "the bytes of a bignum before this"),
            ("c16161", 3, "seconds within the years 0 to 9999 before this"),
            ("c11bffffffffffffffff", 10, "seconds within the years 0 to 9999 before this"),
        ] {
            assert_eq!(to_json(&bytes(hex)), Err(Fault { at, expected }), "{hex}");
        }
        for bomb in [0x81, 0x9f, 0xa1, 0xc4, 0xc1, 0xd8] {
            assert!(to_json(&vec![bomb; 100_000]).is_err(), "{bomb:x}");
        }
        let huge = [&bytes("c2590401")[..], &[1; 1025]].concat();
        assert_eq!(to_json(&huge).unwrap_err().expected, "a bignum of at most 1024 bytes before this");
    }

    #[test]
    fn items_are_written_in_their_shortest_form() {
        for (value, hex) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (-25, "3818"),
            (65_536, "1a00010000"),
            (i128::from(u64::MAX), "1bffffffffffffffff"),
            (-1 - i128::from(u64::MAX), "3bffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            assert!(Cbor::integer(value, &mut out));
            assert_eq!(out, bytes(hex), "{value}");
        }
        for (digits, hex) in
            [("18446744073709551616", "c249010000000000000000"), ("-18446744073709551617", "c349010000000000000000")]
        {
            let mut out = Vec::new();
            assert!(Cbor::digits(digits, &mut out));
            assert_eq!(out, bytes(hex), "{digits}");
            assert_eq!(to_json(&out).as_deref(), Ok(digits));
        }
        assert!(!Cbor::integer(1 << 64, &mut Vec::new()));
        assert!(!Cbor::digits(&"9".repeat(2401), &mut Vec::new()));
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }
}
