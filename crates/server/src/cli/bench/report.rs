//! What `rowcast bench` prints in the end: a table for people, JSON for programs.

use super::outcome::{Outcome, Summary};
use super::tracker::Faults;
use crate::cli::{GREEN, RED};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// All rounds with one broker.
pub(super) struct Side {
    pub(super) broker: String,
    pub(super) rounds: Vec<Outcome>,
}

impl Side {
    pub(super) fn faults(&self) -> Faults {
        self.rounds.iter().fold(Faults::default(), |mut sum, round| {
            sum += round.faults;
            sum
        })
    }

    fn checked(&self) -> u64 {
        self.rounds.iter().map(|round| round.checked).sum()
    }

    fn errors(&self) -> Vec<&str> {
        let mut errors: Vec<&str> = self.rounds.iter().flat_map(|round| &round.errors).map(String::as_str).collect();
        errors.sort_unstable();
        errors.dedup();
        errors
    }
}

/// A row for each figure, a column for each broker, and their ratio if there are two.
pub(super) fn text(sides: &[Side]) -> String {
    let summaries: Vec<Vec<Summary>> = sides.iter().map(|side| Summary::of(&side.rounds)).collect();
    let mut rows =
        vec![row("", sides.iter().map(|side| side.broker.clone()), (sides.len() == 2).then(|| "ratio".into()))];
    for first in summaries.first().into_iter().flatten() {
        let same: Vec<Option<&Summary>> = summaries.iter().map(|side| find(side, first)).collect();
        let cells = same.iter().map(|summary| summary.map_or("–".into(), cell));
        rows.push(row(&first.figure.title, cells, ratio(&same).map(|ratio| format!("{ratio:.2}"))));
    }
    rows.push(row("checked", sides.iter().map(|side| grouped(side.checked())), None));
    let mut text = aligned(&rows);
    for side in sides {
        text.push_str(&verdict(side));
    }
    text
}

fn row(title: &str, cells: impl Iterator<Item = String>, last: Option<String>) -> Vec<String> {
    std::iter::once(title.to_owned()).chain(cells).chain(last).collect()
}

fn find<'s>(summaries: &'s [Summary], like: &Summary) -> Option<&'s Summary> {
    summaries.iter().find(|summary| summary.figure.key == like.figure.key)
}

/// How many times as much the first is as the second.
fn ratio(sides: &[Option<&Summary>]) -> Option<f64> {
    match sides {
        [Some(first), Some(second)] if second.figure.value > 0.0 => Some(first.figure.value / second.figure.value),
        _ => None,
    }
}

fn cell(summary: &Summary) -> String {
    let value = summary.figure.unit.show(summary.figure.value);
    if summary.least == summary.most { value } else { format!("{value} ±{:.0} %", summary.spread_percent()) }
}

/// Titles to the left, figures to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(line, "   {cell:>width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn verdict(side: &Side) -> String {
    let broker = &side.broker;
    let wrong: Vec<String> = side
        .faults()
        .each()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{} {what}", grouped(*count)))
        .collect();
    if wrong.is_empty() {
        return format!("{GREEN}{broker}: nothing lost, doubled, disordered or spoiled{GREEN:#}\n");
    }
    let mut text = format!("{RED}{broker}: {}{RED:#}\n", wrong.join(", "));
    for error in side.errors() {
        let _ = writeln!(text, "  {error}");
    }
    text
}

/// 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same with every round, for programs. `asked` is what the command line said.
pub(super) fn json(asked: Value, sides: &[Side]) -> Value {
    let summaries: Vec<Vec<Summary>> = sides.iter().map(|side| Summary::of(&side.rounds)).collect();
    let brokers: Vec<Value> = sides.iter().zip(&summaries).map(|(side, summaries)| of_side(side, summaries)).collect();
    let mut report = json!({ "asked": asked, "brokers": brokers });
    if let [first, second] = &summaries[..] {
        let ratios = first.iter().filter_map(|summary| {
            let ratio = ratio(&[Some(summary), find(second, summary)])?;
            Some((summary.figure.key.clone(), rounded(ratio)))
        });
        report["ratio"] = Value::Object(ratios.collect());
    }
    let interrupted = sides.iter().flat_map(|side| &side.rounds).any(|round| round.interrupted);
    report["interrupted"] = interrupted.into();
    report
}

fn of_side(side: &Side, summaries: &[Summary]) -> Value {
    let medians = summaries.iter().map(|summary| (summary.figure.key.clone(), rounded(summary.figure.value)));
    let rounds = side.rounds.iter().map(|round| {
        let figures = round.figures.iter().map(|figure| (figure.key.clone(), rounded(figure.value)));
        Value::Object(figures.collect())
    });
    json!({
        "broker": side.broker,
        "checked": side.checked(),
        "faults": faults(side.faults()),
        "errors": side.errors(),
        "median": Value::Object(medians.collect()),
        "rounds": rounds.collect::<Vec<Value>>(),
    })
}

fn faults(faults: Faults) -> Map<String, Value> {
    faults.each().into_iter().map(|(what, count)| (what.to_owned(), count.into())).collect()
}

/// Without digits that mean nothing.
fn rounded(value: f64) -> Value {
    let value = (value * 1000.0).round() / 1000.0;
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::run::Measured;

    fn side(broker: &str, counts: &[u64], faults: Faults) -> Side {
        let round = |count: &u64| {
            let mut outcome = Outcome::new(faults, *count);
            outcome.rate("delivered", *count, Measured { seconds: 1.0, cpu: None });
            outcome
        };
        Side { broker: broker.into(), rounds: counts.iter().map(round).collect() }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn one_broker_is_a_column() {
        let text = text(&[side("a:1883", &[1_234_567], Faults::default())]);
        let expected = "
                   a:1883
  delivered/s       1.23M
  checked       1,234,567
a:1883: nothing lost, doubled, disordered or spoiled
";
        assert_eq!(plain(&text), expected.trim_start_matches('\n'));
    }

    #[test]
    fn two_brokers_have_a_ratio_and_a_spread() {
        let faults = Faults { lost: 1_000, broken: 1, ..Faults::default() };
        let sides = [side("a:1", &[300, 330, 270], Faults::default()), side("b:2", &[100], faults)];
        let text = plain(&text(&sides));
        assert!(text.contains("delivered/s   300 ±10 %   100    3.00\n"), "{text}");
        assert!(text.ends_with("b:2: 1,000 lost, 1 broken\n"), "{text}");
        let json = json(json!({}), &sides);
        assert_eq!(json["ratio"]["delivered_per_second"], 3);
        assert_eq!(json["brokers"][0]["rounds"][1]["delivered_per_second"], 330);
        assert_eq!(json["brokers"][1]["faults"]["lost"], 1_000);
        assert_eq!((&json["brokers"][0]["checked"], &json["interrupted"]), (&json!(900), &json!(false)));
    }
}
