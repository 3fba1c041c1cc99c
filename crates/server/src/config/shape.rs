//! What a value of a key looks like: how it is read from what someone wrote, and how it is written down again.
//!
//! A shape knows nothing about the key it belongs to; what it needs of its surroundings is in [`Reading`].

use super::key::{Key, Listed};
use super::listen::{confine, listen, show_listen};
use super::raw::{Node, Value};
use super::read::{Dialect, Places, Reading};
use super::units::{self, Misfit, Unit, show_duration, show_size};
use super::{Host, Listen, Mode};
use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The form of values of type `T`.
pub(super) struct Shape<T> {
    /// As the documentation says it: "a size from 1KiB to 1GiB".
    pub(super) words: String,
    /// `null` is a value; otherwise it is as good as no value.
    pub(super) takes_null: bool,
    /// Keys below this one.
    pub(super) members: Vec<Listed>,
    parse: Parse<T>,
    show: Show<T>,
}

type Parse<T> = Box<dyn Fn(&Node, &mut Reading) -> Result<T, Misfit>>;
type Show<T> = Box<dyn Fn(&T) -> String>;

impl<T: 'static> Shape<T> {
    fn new(
        words: impl Into<String>,
        parse: impl Fn(&Node, &mut Reading) -> Result<T, Misfit> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Shape<T> {
        Shape {
            words: words.into(),
            takes_null: false,
            members: Vec::new(),
            parse: Box::new(parse),
            show: Box::new(show),
        }
    }

    /// The value of `node`. What is wrong in sections below it goes to `reading`.
    pub(super) fn parse(&self, node: &Node, reading: &mut Reading) -> Result<T, Misfit> {
        (self.parse)(node, reading)
    }

    /// As one would write it.
    pub(super) fn show(&self, value: &T) -> String {
        (self.show)(value)
    }

    /// The same, where the configuration keeps it in another type.
    pub(super) fn kept_as<U: 'static>(self, to: fn(T) -> U, from: fn(&U) -> T) -> Shape<U> {
        let Shape { words, takes_null, members, parse, show } = self;
        Shape {
            words,
            takes_null,
            members,
            parse: Box::new(move |node, reading| parse(node, reading).map(to)),
            show: Box::new(move |value| show(&from(value))),
        }
    }

    /// The same, or `null`.
    pub(super) fn or_null(self) -> Shape<Option<T>> {
        let Shape { words, members, parse, show, .. } = self;
        Shape {
            words: format!("{words}; or `null`"),
            takes_null: true,
            members,
            parse: Box::new(move |node, reading| match node.value {
                Value::Null => Ok(None),
                _ => parse(node, reading).map(Some),
            }),
            show: Box::new(move |value| value.as_ref().map_or("null".to_owned(), &show)),
        }
    }

    /// The same by other words, for the documentation.
    pub(super) fn said(mut self, words: impl Into<String>) -> Shape<T> {
        self.words = words.into();
        self
    }
}

/// `true` or `false`.
pub(super) fn switch() -> Shape<bool> {
    Shape::new("`true` or `false`", |node, _| units::switch(node), bool::to_string)
}

/// A whole number within bounds.
pub(super) fn count<N>(bounds: RangeInclusive<N>) -> Shape<N>
where
    N: TryFrom<i64> + PartialOrd + Display + 'static,
{
    let words = format!("a number from {} to {}", bounds.start(), bounds.end());
    let parse = units::number(bounds);
    Shape::new(words, move |node, _| parse(node), N::to_string)
}

/// Bytes within bounds.
pub(super) fn size<N>(bounds: RangeInclusive<N>) -> Shape<N>
where
    N: TryFrom<u64> + Into<u64> + PartialOrd + Copy + 'static,
{
    let (least, most) = ((*bounds.start()).into(), (*bounds.end()).into());
    let words = match most {
        u64::MAX if least == 0 => "a size".to_owned(),
        u64::MAX => format!("a size of at least {}", show_size(least)),
        _ => format!("a size from {} to {}", show_size(least), show_size(most)),
    };
    let parse = units::size(bounds);
    // As it can be read again.
    let show = |&bytes: &N| show_size(bytes.into()).trim_end_matches(" bytes").to_owned();
    Shape::new(words, move |node, _| parse(node), show)
}

/// A span of time within bounds; a number alone counts `unit`s.
pub(super) fn duration(unit: Unit, bounds: RangeInclusive<Duration>) -> Shape<Duration> {
    let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
    let words = format!("a duration from {least} to {most}, or a number of {}", unit.plural());
    let parse = units::duration(unit, bounds);
    Shape::new(words, move |node, _| parse(node), |&span| show_duration(span))
}

/// One of a few words.
pub(super) fn choice<T: Copy + PartialEq + 'static>(words: &'static [(&'static str, T)]) -> Shape<T> {
    choice_with(words, &[])
}

/// One of a few words, or of those that Harper has beyond them in its own file.
pub(super) fn choice_with<T: Copy + PartialEq + 'static>(
    words: &'static [(&'static str, T)],
    harper: &'static [(&'static str, T)],
) -> Shape<T> {
    let listed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let parse = move |node: &Node, reading: &mut Reading| match reading.dialect {
        Dialect::Ours => units::choice(words)(node),
        Dialect::Harper => units::choice(&[words, harper].concat())(node),
    };
    let show = |value: &T| {
        words.iter().find(|(_, meaning)| meaning == value).map_or(String::new(), |(word, _)| (*word).to_owned())
    };
    Shape::new(listed.join(", "), parse, show)
}

/// Text.
pub(super) fn text() -> Shape<String> {
    Shape::new("text", |node, _| units::text(node), String::clone)
}

/// A list of texts, or one alone. Harper's own list holds `null` where nothing was filled in.
pub(super) fn texts() -> Shape<Vec<String>> {
    let parse = |node: &Node, reading: &mut Reading| match (&node.value, reading.dialect) {
        (Value::List(items), Dialect::Harper) => items.iter().filter(|item| !item.is_null()).map(units::text).collect(),
        _ => units::texts(node),
    };
    Shape::new("a list of texts", parse, |items| format!("[{}]", items.join(", ")))
}

/// A path, within the application's folder unless it begins with `/`.
pub(super) fn path() -> Shape<PathBuf> {
    let parse = |node: &Node, reading: &mut Reading| units::text(node).map(|text| reading.folder.join(text));
    Shape::new("a path", parse, |path| path.display().to_string())
}

/// Where to listen.
pub(super) fn door() -> Shape<Listen> {
    let parse = |node: &Node, reading: &mut Reading| {
        let host = Host::of(reading.mode);
        let door = listen(node, &host, &reading.folder)?;
        let (Mode::Dev, (confined, true)) = (reading.mode, confine(door.clone())) else { return Ok(door) };
        reading.warn(format!("{}: `rowcast dev` listens on loopback only", node.place.short()));
        Ok(confined)
    };
    let words = "a port, `host:port`, a path for a Unix socket, 0 for any free port, or `null`";
    Shape { takes_null: true, ..Shape::new(words, parse, show_listen) }
}

/// A switch that is a section when there is more to say; its presence switches it on. `begin`: what a mere `true` is.
pub(super) fn switched<S: 'static>(keys: fn() -> Vec<Key<S>>, begin: fn() -> S) -> Shape<Option<S>> {
    let parse = move |node: &Node, reading: &mut Reading| {
        let mut made = begin();
        match &node.value {
            Value::Bool(false) => return Ok(None),
            Value::Bool(true) => {}
            Value::Map(entries) => drop(reading.members(&keys(), entries, &node.place.source, &mut made)),
            other => return Err(Misfit::expected("`true`, `false` or a section", other)),
        }
        Ok(Some(made))
    };
    let show = move |value: &Option<S>| value.as_ref().map_or("false".to_owned(), |value| show_section(&keys(), value));
    Shape { members: listed(&keys(), &begin()), ..Shape::new("`true`, `false` or a section", parse, show) }
}

/// A section, or a list of such. `settle` looks at one that was read whole; `None`: it says nothing.
pub(super) fn sections<S: 'static>(
    keys: fn() -> Vec<Key<S>>,
    begin: fn() -> S,
    settle: fn(S, &Places, &mut Reading) -> Option<S>,
) -> Shape<Vec<S>> {
    let parse = move |node: &Node, reading: &mut Reading| {
        let one = |entries: &[_], reading: &mut Reading| {
            let mut made = begin();
            let places = reading.members(&keys(), entries, &node.place.source, &mut made);
            settle(made, &places, reading)
        };
        let mut all = Vec::new();
        match &node.value {
            Value::Map(entries) => all.extend(one(entries, reading)),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    reading.below(&index.to_string(), |reading| match &item.value {
                        Value::Map(entries) => all.extend(one(entries, reading)),
                        other => reading.refuse(&item.place, Misfit::expected("a section", other)),
                    });
                }
            }
            other => return Err(Misfit::expected("a section or a list of sections", other)),
        }
        Ok(all)
    };
    let show = move |all: &Vec<S>| {
        let all: Vec<String> = all.iter().map(|one| show_section(&keys(), one)).collect();
        format!("[{}]", all.join(", "))
    };
    Shape { members: listed(&keys(), &begin()), ..Shape::new("a section or a list of sections", parse, show) }
}

fn listed<S: 'static>(keys: &[Key<S>], defaults: &S) -> Vec<Listed> {
    keys.iter().map(|key| key.listed(defaults)).collect()
}

fn show_section<S: 'static>(keys: &[Key<S>], section: &S) -> String {
    let mut out = String::from("{");
    for (index, key) in keys.iter().enumerate() {
        let comma = if index == 0 { " " } else { ", " };
        let _ = write!(out, "{comma}{}: {}", key.path, key.show(section));
    }
    out + " }"
}
