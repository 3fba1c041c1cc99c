//! Reading a tree of values key by key, with flags and environment on top of the file.
//!
//! Each key is named once, where it is read. From that follow its environment variable, its `--set` name, what is
//! unknown in the file, and what the author of an unknown key may have meant.

use super::raw::{Key, Node, Place, Value, parse_setting};
use super::suggest::closest;
use super::units::Misfit;
use rowcast_core::schema::{Diagnostic, Source};

/// The whole of a reading: what overrides the file, and what was found wrong.
pub(super) struct Reading {
    flags: Vec<Override>,
    environment: Vec<Override>,
    known: Vec<String>,
    unknown: Vec<(String, Place)>,
    errors: Vec<Diagnostic>,
    warnings: Vec<String>,
}

/// A value that does not come from the file. `name` is the path as its source spells it.
struct Override {
    name: String,
    node: Node,
    used: bool,
}

/// What to do about keys nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They are mistakes.
    Refuse,
    /// They belong to another program that reads the same file.
    Mention,
}

/// One section of the file while it is read.
pub(super) struct Section<'r> {
    reading: &'r mut Reading,
    path: String,
    source: Source,
    entries: Vec<(Key, Node)>,
}

impl Reading {
    /// `flags` are `path=value`, `environment` names and values; of the latter only those that begin with
    /// `ROWCAST_` are looked at, and empty ones are as good as not there.
    pub(super) fn new(flags: &[String], environment: &[(String, String)]) -> Reading {
        let mut reading = Reading {
            flags: Vec::new(),
            environment: Vec::new(),
            known: Vec::new(),
            unknown: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        for flag in flags {
            let source = Source::new("command line", flag);
            match flag.split_once('=') {
                Some((path, _)) => {
                    let node = parse_setting(source, path.len() + 1);
                    reading.flags.push(Override { name: path.to_owned(), node, used: false });
                }
                None => reading.errors.push(Diagnostic::new(&source, 0..flag.len(), "expected KEY=VALUE")),
            }
        }
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            if value.is_empty() || RESERVED.contains(&name.as_str()) {
                continue;
            }
            let source = Source::new("environment", &format!("{name}={value}"));
            let node = parse_setting(source, name.len() + 1);
            reading.environment.push(Override { name: path.to_owned(), node, used: false });
        }
        reading
    }

    /// Reads the file's top level.
    pub(super) fn root(&mut self, file: Node, read: impl FnOnce(&mut Section<'_>)) {
        let source = file.place.source.clone();
        let entries = match file.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            ref other => {
                self.errors.push(file.place.diagnostic(format!("expected sections like `mqtt:`, found {other}")));
                Vec::new()
            }
        };
        Section { reading: self, path: String::new(), source, entries }.finish(read);
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Closes the books: what was given and nobody asked for. Warnings, or every mistake in the order of the text.
    pub(super) fn finish(mut self, unknown: Unknown) -> Result<Vec<String>, Vec<Diagnostic>> {
        self.unknown.sort_by_key(|(_, place)| place.span.start);
        match unknown {
            Unknown::Refuse => {
                for (path, place) in &self.unknown {
                    self.errors.push(self.unknown_key(path, place));
                }
            }
            Unknown::Mention if self.unknown.is_empty() => {}
            Unknown::Mention => {
                let source = &self.unknown[0].1.source.name;
                let keys: Vec<&str> = self.unknown.iter().map(|(path, _)| path.as_str()).collect();
                self.warnings.push(format!("{source}: not used by rowcast: {}", keys.join(", ")));
            }
        }
        for flag in self.flags.iter().filter(|flag| !flag.used) {
            let span = 0..flag.name.len();
            self.errors.push(self.unknown_key(&flag.name, &Place { source: flag.node.place.source.clone(), span }));
        }
        for variable in self.environment.iter().filter(|variable| !variable.used) {
            let name = format!("{PREFIX}{}", variable.name);
            let known: Vec<String> = self.known.iter().map(|path| variable_name(path)).collect();
            let advice = match closest(&name, known.iter().map(String::as_str)) {
                Some(close) => format!("; did you mean {close}?"),
                None => String::new(),
            };
            self.warnings.push(format!("environment: {name} is not used{advice}"));
        }
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by(|a, b| (&a.source.name, a.span.start).cmp(&(&b.source.name, b.span.start)));
        Err(self.errors)
    }

    fn unknown_key(&self, path: &str, place: &Place) -> Diagnostic {
        let diagnostic = place.diagnostic(format!("there is no key `{path}`"));
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let siblings = self.known.iter().filter_map(|known| {
            let rest = if parent.is_empty() { known } else { known.strip_prefix(parent)?.strip_prefix('.')? };
            rest.split('.').next()
        });
        if let Some(close) = closest(name, siblings) {
            return diagnostic.help(format!("did you mean `{close}`?"));
        }
        match self.known.iter().find(|known| known.rsplit('.').next().is_some_and(|last| last == name)) {
            Some(elsewhere) => diagnostic.help(format!("there is `{elsewhere}`")),
            None => diagnostic,
        }
    }

    /// What overrides the file at `path`: a flag, the last if there are several, or else the environment.
    fn overriding(&mut self, path: &str) -> Option<Node> {
        let plain = plain(path);
        let mut found = None;
        for variable in self.environment.iter_mut().filter(|variable| self::plain(&variable.name) == plain) {
            variable.used = true;
            found = Some(variable.node.clone());
        }
        for flag in self.flags.iter_mut().filter(|flag| flag.name == path) {
            flag.used = true;
            found = Some(flag.node.clone());
        }
        found
    }
}

impl Section<'_> {
    /// Reads the section `key` within this one; absent and `null` are empty.
    pub(super) fn section(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>)) {
        let path = self.path_of(key);
        let entries = match self.take_entry(key) {
            None => Vec::new(),
            Some(node) => match node.value {
                Value::Map(entries) => entries,
                Value::Null => Vec::new(),
                ref other => {
                    let diagnostic = node.place.diagnostic(format!("expected a section, found {other}"));
                    self.reading.errors.push(diagnostic.help(format!("the keys of `{path}` go below it, indented")));
                    Vec::new()
                }
            },
        };
        Section { reading: self.reading, path, source: self.source.clone(), entries }.finish(read);
    }

    /// Reads `key`, which is a section, or a list of them; nothing is one without entries. The path of the second
    /// in a list is `key.1`.
    pub(super) fn sections(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>)) {
        let Some((_, Node { value: Value::List(items), .. })) =
            self.entries.iter().find(|(entry, _)| entry.name == key)
        else {
            return self.section(key, read);
        };
        let items = items.clone();
        self.take_entry(key);
        let path = self.path_of(key);
        for (index, item) in items.into_iter().enumerate() {
            let key = Key { name: index.to_string(), span: item.place.span.clone() };
            let (path, source) = (path.clone(), self.source.clone());
            let mut list = Section { reading: self.reading, path, source, entries: vec![(key, item)] };
            list.section(&index.to_string(), &mut read);
        }
    }

    /// Reads `key`, which is a switch, or a section whose presence switches it on. `read` hears of the section, which
    /// is empty for a mere `true`, and where it stands.
    pub(super) fn switch_or_section(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>, &Place)) {
        let Some(Node { value, place }) = self.take(key) else { return };
        let entries = match value {
            Value::Null | Value::Bool(false) => return,
            Value::Bool(true) => Vec::new(),
            Value::Map(entries) => entries,
            other => return self.refuse(&place, Misfit::expected("`true`, `false` or a section", &other)),
        };
        let path = self.path_of(key);
        let section = Section { reading: self.reading, path, source: place.source.clone(), entries };
        section.finish(|section| read(section, &place));
    }

    /// Replaces `into` by the value of `key`, if it has one; `null` is none.
    pub(super) fn read<T>(&mut self, key: &str, into: &mut T, parse: impl FnOnce(&Node) -> Result<T, Misfit>) {
        if let Some(value) = self.read_optional(key, |node| match node.value {
            Value::Null => Ok(None),
            _ => parse(node).map(Some),
        }) {
            *into = value;
        }
    }

    /// The value of `key` where `null` means something; `None` if it is absent or wrong, or `parse` says so.
    pub(super) fn read_optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Node) -> Result<Option<T>, Misfit>,
    ) -> Option<T> {
        let node = self.take(key)?;
        parse(&node).unwrap_or_else(|misfit| {
            self.refuse(&node.place, misfit);
            None
        })
    }

    /// The value of `key` as it is, wherever it was given.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let path = self.path_of(key);
        let in_file = self.take_entry(key);
        let found = self.reading.overriding(&path).or(in_file);
        self.reading.known.push(path);
        found
    }

    pub(super) fn refuse(&mut self, place: &Place, misfit: Misfit) {
        let mut diagnostic = place.diagnostic(misfit.message);
        diagnostic.help = misfit.help;
        self.reading.errors.push(diagnostic);
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.reading.warn(warning);
    }

    fn finish(mut self, read: impl FnOnce(&mut Section<'_>)) {
        read(&mut self);
        for (key, _) in std::mem::take(&mut self.entries) {
            let place = Place { source: self.source.clone(), span: key.span };
            let path = self.path_of(&key.name);
            self.reading.unknown.push((path, place));
        }
    }

    fn take_entry(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|(entry, _)| entry.name == key)?;
        Some(self.entries.remove(index).1)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The environment variable of a key: `ROWCAST_MQTT_NETWORK_PORT`.
fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// A path without what separates its words, so that `MQTT_LIMITS_PACKET_BYTES` and `MQTT_LIMITS_PACKETBYTES` are both
/// `mqtt.limits.packetBytes`.
fn plain(path: &str) -> String {
    path.chars().filter(|c| !matches!(c, '.' | '_')).flat_map(char::to_lowercase).collect()
}

const PREFIX: &str = "ROWCAST_";

/// Variables that are no configuration: secrets that only one command reads.
const RESERVED: [&str; 4] = ["ROWCAST_ADMIN_PASSWORD", "ROWCAST_PASSWORD", "ROWCAST_USER", "ROWCAST_URL"];
