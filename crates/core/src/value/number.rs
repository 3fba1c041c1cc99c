//! Numbers as JSON writes them, read without losing a digit.

/// The whole number a JSON number names, however written (`5`, `5.0`, `50e-1`); `None` if it has a fraction or does
/// not fit.
pub(crate) fn whole(json: &str) -> Option<i64> {
    match json.bytes().position(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        None => json.parse().ok(),
        Some(_) => whole_of_scientific(json),
    }
}

fn whole_of_scientific(json: &str) -> Option<i64> {
    let mut below = 0_i64; // Minus the digits up to the last that is not 0: there is one number more below zero.
    let mut zeros = 0; // Behind these.
    let (mut behind_point, mut exponent, mut is_fraction) = (0, 0, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            b'-' if at == 0 => continue,
            b'.' if !is_fraction => {
                is_fraction = true;
                continue;
            }
            b'e' | b'E' => {
                exponent = parse_exponent(&json[at + 1..]);
                break;
            }
            b'0' => zeros += 1,
            b'1'..=b'9' => {
                below = append_zeros(below, zeros + 1)?.checked_sub(i64::from(byte - b'0'))?;
                zeros = 0;
            }
            _ => return None,
        }
        behind_point += u64::from(is_fraction);
    }
    if below == 0 {
        return Some(0);
    }
    let zeros = exponent.saturating_sub_unsigned(behind_point).saturating_add_unsigned(zeros);
    let below = append_zeros(below, u64::try_from(zeros).ok()?)?;
    if json.starts_with('-') { Some(below) } else { below.checked_neg() }
}

fn append_zeros(number: i64, count: u64) -> Option<i64> {
    if number == 0 {
        return Some(0);
    }
    number.checked_mul(10_i64.checked_pow(u32::try_from(count).ok()?)?)
}

/// The exponent, or the end of the range it goes beyond.
fn parse_exponent(text: &str) -> i64 {
    text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })
}

/// Whether a double comes close to a JSON number, instead of infinity.
pub(crate) fn is_finite(json: &str) -> bool {
    let is_short = json.len() < 300 && !json.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    is_short || json.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A text of digits without leading zeros, if it is one of digits, with or without a minus.
pub(crate) fn trim_digits(text: &str) -> Option<(&'static str, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some(("", "0")),
        digits => Some((sign, digits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_whole_however_written() {
        for (json, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("5", Some(5)),
            ("5.0", Some(5)),
            ("-50e-1", Some(-5)),
            ("1.5e3", Some(1500)),
            ("1E+2", Some(100)),
            ("100", Some(100)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808.000", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.5", None),
            ("15e-1", None),
            ("1e-1", None),
            ("1e19", None),
            ("1e999999999999999999999", None),
            ("1e-999999999999999999999", None),
        ] {
            assert_eq!(whole(json), expected, "{json}");
        }
    }

    #[test]
    fn infinity_is_not_finite() {
        for json in ["0", "1e308", "-1.7976931348623157e308", "1e-400", "123456789012345678901234567890"] {
            assert!(is_finite(json), "{json}");
        }
        let long = "9".repeat(400);
        for json in ["1e309", "-1e999", long.as_str()] {
            assert!(!is_finite(json), "{json}");
        }
    }
}
