//! Points in time as text: ISO 8601 in, `2026-02-03T04:05:06.789Z` out.

use std::ops::Deref;

/// The first and the last millisecond four digits of a year can name.
const YEARS_0_TO_9999: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;
const DAY_MS: i64 = 86_400_000;

/// The epoch milliseconds a text names, if it is one of
/// - `2026-02-03`: midnight UTC,
/// - `2026-02-03T04:05`, with seconds and a fraction if wanted (cut to milliseconds), then `Z`, `+01:00`, or nothing,
///   which means UTC. A space or `t` may stand for `T`, `z` for `Z`.
///
/// Leap seconds and `24:00` are refused, as is every date the calendar does not have.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let mut reader = Reader(text.as_bytes());
    let year = reader.number(4)?;
    reader.one_of(b"-")?;
    let month = reader.number(2)?;
    reader.one_of(b"-")?;
    let day = reader.number(2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_MS;
    if reader.0.is_empty() {
        return Some(midnight);
    }
    reader.one_of(b"Tt ")?;
    let ms = midnight + reader.time_of_day()? - reader.offset()?;
    (reader.0.is_empty() && YEARS_0_TO_9999.contains(&ms)).then_some(ms)
}

/// A point in time as text: `2026-02-03T04:05:06.789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iso([u8; 24]);

impl Deref for Iso {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits and signs are ASCII")
    }
}

/// The text of epoch milliseconds, or `None` outside of the years 0 to 9999.
pub(crate) fn format(ms: i64) -> Option<Iso> {
    if !YEARS_0_TO_9999.contains(&ms) {
        return None;
    }
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    let time = ms.rem_euclid(DAY_MS);
    let (hour, minute, second, milli) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60, time % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let pairs = [(0, year / 100), (2, year % 100), (5, month), (8, day), (11, hour), (14, minute), (17, second)];
    for (at, number) in pairs.into_iter().chain([(20, milli / 10)]) {
        text[at] = b'0' + (number as u8) / 10;
        text[at + 1] = b'0' + (number as u8) % 10;
    }
    text[22] = b'0' + (milli % 10) as u8;
    Some(Iso(text))
}

/// The text of a time, milliseconds since 1970; beyond the year 9999, its last instant.
#[must_use]
pub fn text(ms: u64) -> String {
    let last = *YEARS_0_TO_9999.end();
    format(i64::try_from(ms).map_or(last, |ms| ms.min(last))).map_or_else(String::new, |iso| (*iso).to_owned())
}

struct Reader<'t>(&'t [u8]);

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        bytes.contains(first).then_some(*first)
    }

    /// `04:05`, `04:05:06` or `04:05:06.789123`.
    fn time_of_day(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.one_of(b":")?;
        let minute = self.number(2)?;
        let mut ms = 0;
        if self.0.first() == Some(&b':') {
            self.one_of(b":")?;
            let second = self.number(2)?;
            ms = second * 1000 + self.fraction()?;
            if second > 59 {
                return None;
            }
        }
        (hour < 24 && minute < 60).then_some((hour * 60 + minute) * 60_000 + ms)
    }

    fn fraction(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        let digits = self.0[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, rest) = self.0[1..].split_at(digits);
        self.0 = rest;
        let ms = (0..3).fold(0, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit - b'0')));
        (digits > 0).then_some(ms)
    }

    /// `Z`, `+01:00` or nothing, in milliseconds.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() {
            return Some(0);
        }
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar. The year is taken to begin in March, so that the leap
/// day is its last (after Howard Hinnant's `chrono`-compatible algorithms).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_texts_are_read_and_written_in_one_form() {
        for (text, canonical) in [
            ("1970-01-01", "1970-01-01T00:00:00.000Z"),
            ("2026-02-03T04:05:06.789Z", "2026-02-03T04:05:06.789Z"),
            ("2026-02-03T04:05", "2026-02-03T04:05:00.000Z"),
            ("2026-02-03 04:05:06", "2026-02-03T04:05:06.000Z"),
            ("2026-02-03t04:05:06z", "2026-02-03T04:05:06.000Z"),
            ("2026-02-03T04:05:06.1234567+01:30", "2026-02-03T02:35:06.123Z"),
            ("2026-12-31T23:59:59.9-00:01", "2027-01-01T00:00:59.900Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000Z"),
            ("2000-02-29", "2000-02-29T00:00:00.000Z"),
            ("0000-01-01", "0000-01-01T00:00:00.000Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            let ms = parse(text).unwrap_or_else(|| panic!("{text} should be a date"));
            assert_eq!(format(ms).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in [
            "",
            "yesterday",
            "2026",
            "2026-02",
            "2026-2-3",
            "2026-02-30",
            "2023-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-02-03T",
            "2026-02-03T04",
            "2026-02-03T24:00",
            "2026-02-03T04:60",
            "2026-02-03T04:05:60Z",
            "2026-02-03T04:05:06.Z",
            "2026-02-03T04:05Z ",
            "2026-02-03T04:05+1:00",
            "2026-02-03T04:05+24:00",
            "+2026-02-03",
            "2026/02/03",
            "9999-12-31T23:59:59-01:00",
            "２026-02-03",
            "0000-01-01T00:00:00+00:01",
            "Tue Feb 03 2026",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(format(253_402_300_800_000), None);
    }

    #[test]
    fn every_day_comes_back() {
        for day in (-719_528..2_932_897).step_by(13) {
            let text = (*format(day * DAY_MS).unwrap()).to_owned();
            assert_eq!(parse(&text), Some(day * DAY_MS), "{text}");
        }
        assert_eq!(parse("2026-02-03T04:05:06.789Z"), Some(1_770_091_506_789));
    }
}
