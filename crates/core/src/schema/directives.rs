//! The directives there are, where they go, and what they take.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Source};
use super::suggest::suggest;
use super::syntax::{Directive, Spanned, Value};

/// Where a directive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Type,
    Field,
}

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    /// An attribute's name, with or without quotes.
    Name,
    Flag,
    /// Whole seconds, at least so many.
    Seconds(u64),
    Durability,
}

struct Known {
    name: &'static str,
    places: &'static [Place],
    arguments: &'static [(&'static str, Takes)],
}

const KNOWN: &[Known] = &[
    Known {
        name: "table",
        places: &[Place::Type],
        arguments: &[
            ("table", Takes::Text),
            ("database", Takes::Text),
            ("expiration", Takes::Seconds(1)),
            ("eviction", Takes::Seconds(0)),
            ("audit", Takes::Flag),
            ("replicate", Takes::Flag),
            ("durability", Takes::Durability),
        ],
    },
    Known {
        name: "export",
        places: &[Place::Type],
        arguments: &[
            ("name", Takes::Text),
            ("mqtt", Takes::Flag),
            ("rest", Takes::Flag),
            ("sse", Takes::Flag),
            ("ws", Takes::Flag),
        ],
    },
    Known { name: "sealed", places: &[Place::Type], arguments: &[] },
    Known { name: "hidden", places: &[Place::Type, Place::Field], arguments: &[] },
    Known { name: "primaryKey", places: &[Place::Field], arguments: &[] },
    Known { name: "id", places: &[Place::Field], arguments: &[] },
    Known { name: "indexed", places: &[Place::Field], arguments: &[] },
    Known { name: "createdTime", places: &[Place::Field], arguments: &[] },
    Known { name: "updatedTime", places: &[Place::Field], arguments: &[] },
    Known { name: "expiresAt", places: &[Place::Field], arguments: &[] },
    Known { name: "relationship", places: &[Place::Field], arguments: &[("from", Takes::Name), ("to", Takes::Name)] },
    Known { name: "computed", places: &[Place::Field], arguments: &[("from", Takes::Text)] },
];

/// What `durability:` may be.
pub(super) const DURABILITIES: [&str; 3] = ["sync", "flush", "memory"];

/// The directives of one type or field, each known, at most once, and with arguments of the right kind.
#[derive(Debug)]
pub(super) struct Directives<'s> {
    checked: Vec<&'s Directive>,
    /// Nothing of what was written had to be left out.
    complete: bool,
}

impl<'s> Directives<'s> {
    /// Checks all of `written`; what does not pass goes to `diagnostics` and is left out.
    pub(super) fn check(
        written: &'s [Directive],
        place: Place,
        source: &Source,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut checked: Vec<&Directive> = Vec::new();
        for directive in written {
            let name = &directive.name;
            let Some(known) = KNOWN.iter().find(|known| known.name == name.value) else {
                diagnostics.push(unknown_directive(source, name, place));
                continue;
            };
            if !known.places.contains(&place) {
                diagnostics.push(misplaced(source, name, place));
            } else if checked.iter().any(|other| other.name.value == name.value) {
                let message = format!("`@{}` is there twice", name.value);
                diagnostics.push(Diagnostic::new(source, name.span.clone(), message));
            } else {
                check_arguments(directive, known, source, diagnostics);
                checked.push(directive);
            }
        }
        let complete = checked.len() == written.len();
        Self { checked, complete }
    }

    /// Whether nothing of what was written had to be left out.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Where a directive is, if it is there.
    pub(super) fn span(&self, name: &str) -> Option<&Range<usize>> {
        self.find(name).map(|directive| &directive.name.span)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&'s Directive> {
        self.checked.iter().find(|directive| directive.name.value == name).copied()
    }

    fn argument(&self, directive: &str, name: &str) -> Option<&'s Spanned<Value>> {
        let arguments = &self.find(directive)?.arguments;
        arguments.iter().find(|(argument, _)| argument.value == name).map(|(_, value)| value)
    }

    /// The text or word of an argument, and where it is.
    pub(super) fn text(&self, directive: &str, name: &str) -> Option<(&'s str, &'s Range<usize>)> {
        match self.argument(directive, name)? {
            Spanned { value: Value::Text(text) | Value::Word(text), span } => Some((text, span)),
            _ => None,
        }
    }

    pub(super) fn flag(&self, directive: &str, name: &str) -> Option<bool> {
        match self.argument(directive, name)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, directive: &str, name: &str) -> Option<u64> {
        match &self.argument(directive, name)?.value {
            Value::Number(number) => number.parse().ok(),
            _ => None,
        }
    }
}

fn unknown_directive(source: &Source, name: &Spanned<String>, place: Place) -> Diagnostic {
    let diagnostic = Diagnostic::new(source, name.span.clone(), format!("there is no directive `@{}`", name.value));
    let here = || KNOWN.iter().filter(|known| known.places.contains(&place)).map(|known| known.name);
    match suggest(&name.value, here()) {
        Some(close) => diagnostic.help(format!("did you mean `@{close}`?")),
        None => {
            let all: Vec<String> = here().map(|name| format!("`@{name}`")).collect();
            diagnostic.help(format!("{} have {}", place.plural(), all.join(", ")))
        }
    }
}

fn misplaced(source: &Source, name: &Spanned<String>, place: Place) -> Diagnostic {
    let other = match place {
        Place::Type => Place::Field,
        Place::Field => Place::Type,
    };
    let message = format!("`@{}` is for {}, not for {}", name.value, other.plural(), place.plural());
    Diagnostic::new(source, name.span.clone(), message)
}

fn check_arguments(directive: &Directive, known: &Known, source: &Source, diagnostics: &mut Vec<Diagnostic>) {
    for (place, (name, value)) in directive.arguments.iter().enumerate() {
        let Some((_, takes)) = known.arguments.iter().find(|(argument, _)| *argument == name.value) else {
            diagnostics.push(unknown_argument(source, known, name));
            continue;
        };
        if directive.arguments[..place].iter().any(|(other, _)| other.value == name.value) {
            let message = format!("`{}` is there twice", name.value);
            diagnostics.push(Diagnostic::new(source, name.span.clone(), message));
        }
        if !takes.accepts(&value.value) {
            let message = format!("`{}` takes {}", name.value, takes.words());
            let diagnostic = Diagnostic::new(source, value.span.clone(), message);
            diagnostics.push(match takes.suggestion(&value.value) {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
        }
    }
}

fn unknown_argument(source: &Source, known: &Known, name: &Spanned<String>) -> Diagnostic {
    let message = format!("`@{}` has no argument `{}`", known.name, name.value);
    let diagnostic = Diagnostic::new(source, name.span.clone(), message);
    let names = || known.arguments.iter().map(|(name, _)| *name);
    match suggest(&name.value, names()) {
        Some(close) => diagnostic.help(format!("did you mean `{close}`?")),
        None if known.arguments.is_empty() => diagnostic.help("it takes none"),
        None => {
            let all: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            diagnostic.help(format!("it takes {}", all.join(", ")))
        }
    }
}

impl Takes {
    fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, Value::Text(_)) | (Self::Flag, Value::Flag(_)) => true,
            (Self::Name, Value::Text(_) | Value::Word(_)) => true,
            (Self::Seconds(min), Value::Number(number)) => {
                number.parse::<u64>().is_ok_and(|seconds| (min..=SECONDS_MAX).contains(&seconds))
            }
            (Self::Durability, Value::Text(word) | Value::Word(word)) => DURABILITIES.contains(&&**word),
            _ => false,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Text => "text in double quotes".to_owned(),
            Self::Name => "the name of an attribute".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Seconds(min) => format!("a whole number of seconds from {min} to {SECONDS_MAX}"),
            Self::Durability => "`sync`, `flush` or `memory`".to_owned(),
        }
    }

    fn suggestion(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Text, Value::Word(word)) => Some(format!("write it as `\"{word}\"`")),
            (Self::Flag, Value::Text(text)) if text == "true" || text == "false" => {
                Some(format!("write it without quotes: `{text}`"))
            }
            (Self::Seconds(_), Value::Text(text)) if text.parse::<u64>().is_ok() => {
                Some(format!("write it without quotes: `{text}`"))
            }
            (Self::Durability, Value::Text(word) | Value::Word(word)) => {
                suggest(word, DURABILITIES).map(|close| format!("did you mean `{close}`?"))
            }
            _ => None,
        }
    }
}

impl Place {
    fn plural(self) -> &'static str {
        match self {
            Self::Type => "types",
            Self::Field => "fields",
        }
    }
}

/// A hundred years and more; below it, milliseconds since 1970 stay far from any limit.
const SECONDS_MAX: u64 = u32::MAX as u64;
