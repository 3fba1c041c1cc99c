//! What a value can be: switches, numbers, durations, sizes, words, paths. Each takes the value as written and says
//! in a sentence what it expected instead.

use super::raw::{Node, Value};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Why a value does not fit its key, for its author.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Misfit {
    pub(super) fn new(message: impl Into<String>) -> Misfit {
        Misfit { message: message.into(), help: None }
    }

    pub(super) fn expected(what: impl Display, found: &Value) -> Misfit {
        Misfit::new(format!("expected {what}, found {found}"))
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Misfit {
        self.help = Some(help.into());
        self
    }
}

/// `true` or `false`; the other words that some YAML means by them are refused.
pub(super) fn switch(node: &Node) -> Result<bool, Misfit> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        other => Err(Misfit::expected("`true` or `false`", other)),
    }
}

/// A whole number within bounds.
pub(super) fn number<N>(bounds: RangeInclusive<N>) -> impl Fn(&Node) -> Result<N, Misfit>
where
    N: TryFrom<i64> + PartialOrd + Display,
{
    move |node| {
        let found = match &node.value {
            Value::Integer(value) => N::try_from(*value).ok().filter(|value| bounds.contains(value)),
            _ => None,
        };
        found.ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            Misfit::expected(expected, &node.value)
        })
    }
}

/// Bytes: a number, or one with a unit, `KiB` or `kB`, up to `TiB`.
pub(super) fn size<N>(bounds: RangeInclusive<N>) -> impl Fn(&Node) -> Result<N, Misfit>
where
    N: TryFrom<u64> + Into<u64> + PartialOrd + Copy,
{
    move |node| {
        let bytes = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::Text(text) => amount(text, &SIZE_UNITS),
            _ => None,
        };
        let Some(bytes) = bytes else {
            return Err(Misfit::expected("a size like `64KiB` or a number of bytes", &node.value));
        };
        N::try_from(bytes).ok().filter(|value| bounds.contains(value)).ok_or_else(|| {
            let (least, most) = ((*bounds.start()).into(), (*bounds.end()).into());
            Misfit::new(format!("expected {} to {}, found {}", show_size(least), show_size(most), show_size(bytes)))
        })
    }
}

/// What a number counts where a span of time is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

impl Unit {
    pub(super) fn plural(self) -> &'static str {
        match self {
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
        }
    }

    fn millis(self) -> u64 {
        match self {
            Unit::Milliseconds => 1,
            Unit::Seconds => 1000,
        }
    }
}

/// A span of time: `500ms`, `10s`, `5m`, `36h`, `7d`, or a number of `unit`s.
pub(super) fn duration(unit: Unit, bounds: RangeInclusive<Duration>) -> impl Fn(&Node) -> Result<Duration, Misfit> {
    move |node| {
        let millis = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok().and_then(|number| number.checked_mul(unit.millis())),
            Value::Text(text) => amount(text, &TIME_UNITS),
            _ => None,
        };
        let Some(millis) = millis else {
            let expected =
                format!("a duration like `500ms`, `10s`, `5m`, `36h` or `7d`, or a number of {}", unit.plural());
            return Err(Misfit::expected(expected, &node.value));
        };
        let found = Duration::from_millis(millis);
        if bounds.contains(&found) {
            return Ok(found);
        }
        let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
        Err(Misfit::new(format!("expected {least} to {most}, found {}", show_duration(found))))
    }
}

/// One of a few words; several may mean the same.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node) -> Result<T, Misfit> {
    move |node| {
        let found = match &node.value {
            Value::Text(text) => words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)),
            _ => None,
        };
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let misfit = Misfit::expected(format!("one of {}", list.join(", ")), &node.value);
            let Value::Text(text) = &node.value else { return misfit };
            match super::suggest::closest(text, words.iter().map(|(word, _)| *word)) {
                Some(word) => misfit.help(format!("did you mean `{word}`?")),
                None => misfit,
            }
        })
    }
}

/// Text that is not empty. Numbers are text to someone who names a folder `2024`.
pub(super) fn text(node: &Node) -> Result<String, Misfit> {
    match &node.value {
        Value::Text(text) if !text.trim().is_empty() && !text.contains('\0') => Ok(text.trim().to_owned()),
        Value::Integer(number) => Ok(number.to_string()),
        other => Err(Misfit::expected("text", other)),
    }
}

/// A list of texts; one alone is a list too.
pub(super) fn texts(node: &Node) -> Result<Vec<String>, Misfit> {
    match &node.value {
        Value::List(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(node)?]),
    }
}

/// The words of a size as one would write it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().rev().find(|(name, factor)| name.contains('i') && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if bytes > 0 => format!("{}{name}", bytes / factor),
        _ => format!("{bytes} bytes"),
    }
}

pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let unit = TIME_UNITS.iter().rev().find(|(_, factor)| millis.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if millis > 0 => format!("{}{name}", millis / factor),
        _ => "0s".to_owned(),
    }
}

/// `1.5GiB`, `10 s`: a decimal number and a unit, in the smallest unit. `None`: not that, or beyond 64 bits.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let (whole, digits) = (whole.parse::<u64>().ok()?, fraction.parse::<u64>().ok()?);
    let part = u128::from(digits) * u128::from(*factor) / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(*factor)?.checked_add(u64::try_from(part).ok()?)
}

/// In bytes, ascending.
const SIZE_UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
];

/// In milliseconds, ascending.
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 60 * 60_000), ("d", 24 * 60 * 60_000)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::parse_setting;
    use rowcast_core::schema::Source;

    #[test]
    fn sizes_are_numbers_or_have_a_unit() {
        let parse = size(1..=u64::MAX);
        check(&parse, "1", Ok(1));
        check(&parse, "1024", Ok(1024));
        check(&parse, "16MiB", Ok(16 << 20));
        check(&parse, "16 MiB", Ok(16 << 20));
        check(&parse, "16mib", Ok(16 << 20));
        check(&parse, "1kB", Ok(1000));
        check(&parse, "1.5GiB", Ok(3 << 29));
        check(&parse, "0.5kB", Ok(500));
        check(&parse, "2TB", Ok(2_000_000_000_000));
        let wants = "expected a size like `64KiB` or a number of bytes";
        check(&parse, "16 Mibi", Err(&format!("{wants}, found \"16 Mibi\"")));
        check(&parse, "-1", Err(&format!("{wants}, found -1")));
        check(&parse, "MiB", Err(&format!("{wants}, found \"MiB\"")));
        check(&parse, "1.", Err(&format!("{wants}, found \"1.\"")));
        check(&parse, "1..2MiB", Err(&format!("{wants}, found \"1..2MiB\"")));
        check(&parse, "99999999TiB", Err(&format!("{wants}, found \"99999999TiB\"")));
        check(&parse, "true", Err(&format!("{wants}, found true")));
        check(&parse, "0", Err("expected 1 bytes to 18446744073709551615 bytes, found 0 bytes"));
        check(&size(1024..=1u32 << 20), "2MiB", Err("expected 1KiB to 1MiB, found 2MiB"));
        check(&size(1024..=1u32 << 20), "8GiB", Err("expected 1KiB to 1MiB, found 8GiB"));
    }

    #[test]
    fn durations_have_a_unit_or_the_one_of_their_key() {
        let parse = duration(Unit::Seconds, Duration::ZERO..=Duration::from_hours(48));
        check(&parse, "10s", Ok(Duration::from_secs(10)));
        check(&parse, "500ms", Ok(Duration::from_millis(500)));
        check(&parse, "5m", Ok(Duration::from_secs(300)));
        check(&parse, "1.5h", Ok(Duration::from_secs(5400)));
        check(&parse, "2d", Ok(Duration::from_hours(48)));
        check(&parse, "0", Ok(Duration::ZERO));
        check(&parse, "30", Ok(Duration::from_secs(30)));
        check(&duration(Unit::Milliseconds, Duration::ZERO..=Duration::MAX), "30", Ok(Duration::from_millis(30)));
        check(&parse, "9223372036854775807", Err(&format!("{}, found 9223372036854775807", wanted())));
        let wants = wanted();
        check(&parse, "ten", Err(&format!("{wants}, found \"ten\"")));
        check(&parse, "10 years", Err(&format!("{wants}, found \"10 years\"")));
        check(&parse, "-5s", Err(&format!("{wants}, found \"-5s\"")));
        check(&parse, "1h30m", Err(&format!("{wants}, found \"1h30m\"")));
        check(&parse, "3d", Err("expected 0s to 2d, found 3d"));
    }

    fn wanted() -> &'static str {
        "expected a duration like `500ms`, `10s`, `5m`, `36h` or `7d`, or a number of seconds"
    }

    #[test]
    fn numbers_switches_and_words_are_what_they_say() {
        check(&number(1..=10u16), "10", Ok(10));
        check(&number(1..=10u16), "11", Err("expected a whole number from 1 to 10, found 11"));
        check(&number(1..=10u16), "70000", Err("expected a whole number from 1 to 10, found 70000"));
        check(&number(0..=10u16), "-1", Err("expected a whole number from 0 to 10, found -1"));
        check(&number(0..=10u16), "ten", Err("expected a whole number from 0 to 10, found \"ten\""));
        check(&switch, "true", Ok(true));
        check(&switch, "false", Ok(false));
        check(&switch, "yes", Err("expected `true` or `false`, found \"yes\""));
        check(&switch, "1", Err("expected `true` or `false`, found 1"));
        let parse = choice(&[("sync", 1), ("flush", 2)]);
        check(&parse, "sync", Ok(1));
        check(&parse, "FLUSH", Ok(2));
        check(&parse, "snyc", Err("expected one of `sync`, `flush`, found \"snyc\""));
        check(&parse, "1", Err("expected one of `sync`, `flush`, found 1"));
        check(&texts, "[a, b]", Ok(vec!["a".to_owned(), "b".to_owned()]));
        check(&texts, "a", Ok(vec!["a".to_owned()]));
        check(&texts, "[]", Ok(vec![]));
        check(&texts, "true", Err("expected text, found true"));
    }

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(
        parse: &dyn Fn(&Node) -> Result<T, Misfit>,
        text: &str,
        expected: Result<T, &str>,
    ) {
        let node = parse_setting(Source::new("test", text), 0);
        assert_eq!(parse(&node).map_err(|misfit| misfit.message), expected.map_err(str::to_owned), "{text}");
    }
}
