//! Values of the built-in types: what each accepts, and the form it is kept in.

use std::borrow::Cow;

use super::misfit::Expected;
use super::pass::Reading;
use crate::schema::{Scalar, Type};
use crate::value::json::{Fault, Kind};
use crate::value::{LONG_MAX, date, number};

impl<'p> Reading<'_, 'p, '_> {
    /// Reads a value of a built-in type.
    #[inline]
    pub(super) fn scalar(&mut self, ty: &'p Type, scalar: Scalar, kind: Kind) -> Result<(), Fault> {
        let start = self.scanner.at();
        let fits = match (scalar, kind) {
            (Scalar::Any, _) => {
                self.scanner.value(&mut self.scratch.members)?;
                true
            }
            (Scalar::String | Scalar::Id, Kind::String) => {
                self.scanner.string()?;
                true
            }
            (Scalar::Boolean, Kind::Boolean) => {
                self.scanner.literal()?;
                true
            }
            (Scalar::Float, Kind::Number) => number::is_finite(self.scanner.number()?),
            (Scalar::Int, Kind::Number) => self.whole(start, i64::from(i32::MIN), i64::from(i32::MAX))?,
            (Scalar::Long, Kind::Number) => self.whole(start, -LONG_MAX, LONG_MAX)?,
            (Scalar::BigInt | Scalar::Id, Kind::Number) => self.digits(start, scalar)?,
            (Scalar::BigInt, Kind::String) => {
                let text = self.scanner.string()?.unescaped();
                let digits = number::trim_digits(&text);
                digits.is_some_and(|(sign, digits)| self.edit(start, &[sign, digits]))
            }
            (Scalar::Date, Kind::String) => {
                let text = self.scanner.string()?;
                let iso = date::parse(&text.unescaped()).and_then(date::format);
                iso.is_some_and(|iso| *iso == *text.raw || self.edit(start, &["\"", &iso, "\""]))
            }
            (Scalar::Date, Kind::Number) => {
                let iso = number::whole(self.scanner.number()?).and_then(date::format);
                iso.is_some_and(|iso| self.edit(start, &["\"", &iso, "\""]))
            }
            (Scalar::Bytes, Kind::String) => {
                let text = self.scanner.string()?;
                let bytes = text.unescaped();
                let base64 = standard_base64(&bytes);
                base64.is_some_and(|base64| base64 == text.raw || self.edit(start, &["\"", &base64, "\""]))
            }
            _ => {
                self.scanner.value(&mut self.scratch.members)?;
                false
            }
        };
        if !fits {
            self.note(start, Expected::Type(ty));
        }
        Ok(())
    }

    /// Reads a number that must be whole and within bounds; kept as plain digits.
    fn whole(&mut self, start: usize, min: i64, max: i64) -> Result<bool, Fault> {
        let json = self.scanner.number()?;
        if let Ok(plain) = json.parse::<i64>() {
            let is_minus_zero = plain == 0 && json.len() > 1;
            return Ok((min..=max).contains(&plain) && (!is_minus_zero || self.edit(start, &["0"])));
        }
        let whole = number::whole(json).filter(|whole| (min..=max).contains(whole));
        Ok(whole.is_some_and(|whole| self.edit_number(start, whole)))
    }

    /// Reads a whole number of any size; an ID is kept as its text.
    fn digits(&mut self, start: usize, scalar: Scalar) -> Result<bool, Fault> {
        let json = self.scanner.number()?;
        let is_plain = json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        let whole = if is_plain { None } else { number::whole(json).map(|whole| whole.to_string()) };
        let digits = match &whole {
            Some(whole) => whole,
            None if json == "-0" => "0",
            None if is_plain => json,
            None => return Ok(false),
        };
        Ok(match scalar {
            Scalar::Id => self.edit(start, &["\"", digits, "\""]),
            _ => digits == json || self.edit(start, &[digits]),
        })
    }
}

/// Base64 in the standard alphabet and padded, from either alphabet, padded or not.
fn standard_base64(text: &str) -> Option<Cow<'_, str>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_whole = padding == 0 || (padding < 3 && text.len().is_multiple_of(4));
    let mut is_standard = text.len().is_multiple_of(4);
    let mut last = 0;
    for byte in digits.bytes() {
        last = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        is_standard &= !matches!(byte, b'-' | b'_');
    }
    // The bits of the last digit that belong to no byte must be zero, or two texts would be the same bytes.
    let spare = match digits.len() % 4 {
        0 => 0,
        2 => last & 0b1111,
        3 => last & 0b11,
        _ => return None,
    };
    match (is_whole && spare == 0, is_standard) {
        (false, _) => None,
        (true, true) => Some(Cow::Borrowed(text)),
        (true, false) => {
            let padding = "=".repeat((4 - digits.len() % 4) % 4);
            Some(Cow::Owned(digits.replace('-', "+").replace('_', "/") + &padding))
        }
    }
}
