//! The configuration, or another file of the application, as its author wrote it: a tree of values, each of which knows where it stands.
//!
//! The one place that knows the YAML library. What the values mean is not decided here.

use rowcast_core::schema::{Diagnostic, Source};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;
use std::ops::Range;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a value looks like, before anyone says what it should be.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ValueOf<K, N> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<N>),
    Map(Vec<(K, N)>),
}

pub(crate) type Value = ValueOf<Key, Node>;

/// The left side of `key: value`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

/// Bytes of a source: a file, a variable or a flag.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) source: Source,
    pub(crate) span: Range<usize>,
}

impl Key {
    /// Where it stands in `source`.
    pub(crate) fn place(&self, source: &Source) -> Place {
        Place { source: source.clone(), span: self.span.clone() }
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}

impl Place {
    /// A mistake here.
    pub(crate) fn diagnostic(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.source, self.span.clone(), message)
    }

    /// `rowcast.yaml:3:5`, for warnings, which show no source.
    pub(super) fn short(&self) -> String {
        let before = &self.source.text[..self.span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}", self.source.name)
    }
}

impl fmt::Display for Value {
    /// As one would say what was found: `"text"`, `12`, `a list`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a section"),
        }
    }
}

/// Reads a file. Nothing but comments is an empty section.
///
/// Refused: duplicate keys, several documents, merge keys, and whatever grows beyond its bounds by anchors or nesting.
pub(crate) fn parse_file(source: &Source) -> Result<Node, Diagnostic> {
    if source.text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        return Err(Diagnostic::new(source, 0..0, message));
    }
    match serde_saphyr::from_str_with_options::<Option<Spanned<Tree>>>(&source.text, options()) {
        Ok(Some(tree)) => Ok(place(tree, source)),
        Ok(None) => {
            Ok(Node { value: Value::Null, place: Place { source: source.clone(), span: 0..source.text.len().min(1) } })
        }
        Err(error) => {
            let message = message(&error);
            // The library says where the section begins that the tab is in.
            if let Some(tab) = indenting_tab(&source.text).filter(|_| message.starts_with("tabs ")) {
                return Err(Diagnostic::new(source, tab, "a tab indents nothing in YAML; spaces do"));
            }
            let span = error.location().map_or(0..0, |location| bytes(&source.text, location));
            Err(Diagnostic::new(source, span, message))
        }
    }
}

/// Reads the value of an environment variable or flag: `text[value..]` of the source. `null`, `true`, `12` and
/// `[a, b]` are what they look like; the rest is text, whatever characters are in it.
pub(super) fn parse_setting(source: Source, value: usize) -> Node {
    let text = &source.text[value..];
    let parsed = match text {
        "null" | "~" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text.parse().map(Value::Integer).unwrap_or_else(|_| Value::Text(text.to_owned())),
    };
    let place = Place { span: value..source.text.len(), source };
    if let Value::Text(text) = &parsed
        && let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
    {
        let items = items.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items = items.map(|item| Node { value: Value::Text(item.to_owned()), place: place.clone() });
        return Node { value: Value::List(items.collect()), place: place.clone() };
    }
    Node { value: parsed, place }
}

/// What the YAML library fills in: nodes that know their location, and not yet their source.
struct Tree(TreeValue);

type TreeValue = ValueOf<Spanned<String>, Spanned<Tree>>;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = TreeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(ValueOf::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(ValueOf::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(ValueOf::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(ValueOf::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(ValueOf::Float(value as f64), ValueOf::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(ValueOf::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(ValueOf::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(ValueOf::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            map.push((key, access.next_value()?));
        }
        Ok(ValueOf::Map(map))
    }
}

/// Gives every node its source.
fn place(tree: Spanned<Tree>, source: &Source) -> Node {
    let span = bytes(&source.text, tree.referenced);
    let value = match tree.value.0 {
        ValueOf::Null => Value::Null,
        ValueOf::Bool(value) => Value::Bool(value),
        ValueOf::Integer(value) => Value::Integer(value),
        ValueOf::Float(value) => Value::Float(value),
        ValueOf::Text(value) => Value::Text(value),
        ValueOf::List(list) => Value::List(list.into_iter().map(|item| place(item, source)).collect()),
        ValueOf::Map(map) => {
            let entries = map.into_iter().map(|(key, value)| {
                let span = bytes(&source.text, key.referenced);
                (Key { name: key.value, span }, place(value, source))
            });
            Value::Map(entries.collect())
        }
    };
    Node { value, place: Place { source: source.clone(), span } }
}

/// The bytes of the text a location means, without the blank end it may have.
fn bytes(text: &str, location: Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().unwrap_or_default() as usize;
    let end = start.saturating_add(span.byte_len().unwrap_or_default() as usize);
    match text.get(start..end.min(text.len())) {
        Some(part) => start..start + part.trim_end().len(),
        None => 0..0,
    }
}

/// The first tab that stands before everything else of its line.
fn indenting_tab(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indentation].find('\t') {
            return Some(start + tab..start + tab + 1);
        }
        start += line.len();
    }
    None
}

/// The library's words, without the position (the source is shown beside them) and without advice on its options.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::AliasError { error, .. } => message(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is given twice"),
        Error::DuplicateMappingKey { .. } => "a key is given twice".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins here; there can be one only".to_owned(),
        Error::MergeKeyNotAllowed { .. } => "merge keys are not supported".to_owned(),
        Error::NonFiniteFloat { .. } => "a number has to be finite".to_owned(),
        Error::AliasReplayLimitExceeded { .. } => "aliases repeat more than a configuration needs".to_owned(),
        Error::Budget { .. } => "the file holds more, or nests deeper, than a configuration needs".to_owned(),
        other => {
            let text = other.to_string();
            text.split(" at line ").next().unwrap_or_default().to_owned()
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_events: 20_000,
            max_nodes: 20_000,
            max_anchors: 64,
            max_aliases: 64,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

/// Far more than anyone writes by hand.
const FILE_BYTES_MAX: usize = 1024 * 1024;
