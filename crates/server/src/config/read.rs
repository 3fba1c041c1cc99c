//! From what someone wrote to a [`Config`]: the values of one tree go where the [table](super::table) says.
//!
//! All mistakes are gathered, so that their author sees them at once.

use super::key::{Key, Names};
use super::layers::{self, Layers};
use super::load::Given;
use super::raw::{self, Node, Place, Value, parse_file};
use super::suggest::closest;
use super::table;
use super::units::Misfit;
use super::{Config, Mode};
use rowcast_core::schema::{Diagnostic, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The configuration of `mode`, and warnings; or every mistake.
pub(super) fn read(
    mode: Mode,
    folder: PathBuf,
    file: Option<Source>,
    dialect: Dialect,
    given: &Given,
) -> Result<(Config, Vec<String>), Vec<Diagnostic>> {
    let mut tree = match file {
        Some(source) => parse_file(&source).map_err(|error| vec![error])?,
        None => Node { value: Value::Null, place: Place { source: Source::new("", ""), span: 0..0 } },
    };
    let mut config = Config::new(mode, folder.clone());
    let keys = table::keys();
    let listed: Vec<_> = keys.iter().map(|key| key.listed(&config)).collect();
    let mut reading = Reading::new(mode, folder, dialect, Names::new(&listed));
    layers::rename(&mut tree, &mut reading);
    Layers { flags: &given.flags, environment: &given.environment }.lay_over(&mut tree, &mut reading);
    match &tree.value {
        Value::Map(entries) => {
            let places = reading.members(&keys, entries, &tree.place.source, &mut config);
            table::settle(&mut config, &places, &mut reading);
        }
        Value::Null => {}
        other => reading.errors.push(tree.place.diagnostic(format!("expected sections like `mqtt:`, found {other}"))),
    }
    Ok((config, reading.finish()?))
}

/// What a file alone says.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_text(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let source = Some(Source::new("rowcast.yaml", text));
    read(Mode::Run, "/app".into(), source, Dialect::Ours, &Given::default()).map(|(config, _)| config)
}

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// Whoever wrote a key expects something of it: one that is not there is a mistake.
    Ours,
    /// Another program reads it too: what is not ours is mentioned, and that program's other words for our values are
    /// taken.
    Harper,
}

/// A reading under way: where it is, and what it found.
pub(super) struct Reading {
    pub(super) mode: Mode,
    pub(super) folder: PathBuf,
    pub(super) dialect: Dialect,
    pub(super) names: Names,
    /// Of the section that is being read, with a dot behind it.
    path: String,
    unknown: Vec<(String, Place)>,
    errors: Vec<Diagnostic>,
    warnings: Vec<String>,
}

/// Where the keys that were given stand.
pub(super) type Places = BTreeMap<&'static str, Place>;

impl Reading {
    fn new(mode: Mode, folder: PathBuf, dialect: Dialect, names: Names) -> Reading {
        let (unknown, errors, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Reading { mode, folder, dialect, names, path: String::new(), unknown, errors, warnings }
    }

    /// Reads a section by its keys, which may have sections in their paths.
    pub(super) fn members<S: 'static>(
        &mut self,
        keys: &[Key<S>],
        entries: &[(raw::Key, Node)],
        source: &Source,
        into: &mut S,
    ) -> Places {
        let mut places = Places::new();
        self.walk(keys, "", (entries, source), into, &mut places);
        places
    }

    fn walk<S: 'static>(
        &mut self,
        keys: &[Key<S>],
        within: &str,
        (entries, source): (&[(raw::Key, Node)], &Source),
        into: &mut S,
        places: &mut Places,
    ) {
        for (name, node) in entries {
            let path = format!("{within}{}", name.name);
            let section = format!("{path}.");
            if name.name.contains('.') {
                let misfit = Misfit::new(format!("there is no key `{}`", name.name));
                self.refuse(&name.place(source), misfit.help("what a dot divides goes below each other, indented"));
            } else if let Some(key) = keys.iter().find(|key| key.path == path) {
                places.insert(key.path, node.place.clone());
                self.below(&name.name, |reading| {
                    if let Err(misfit) = key.read(node, reading, into) {
                        reading.refuse(&node.place, misfit);
                    }
                });
            } else if keys.iter().any(|key| key.path.starts_with(&section)) {
                self.below(&name.name, |reading| match &node.value {
                    Value::Map(entries) => reading.walk(keys, &section, (entries, source), into, places),
                    Value::Null => {}
                    other => {
                        let misfit = Misfit::expected("a section", other);
                        let help = format!("the keys of `{}` go below it, indented", reading.section());
                        reading.refuse(&node.place, misfit.help(help));
                    }
                });
            } else {
                self.unknown.push((format!("{}{}", self.path, name.name), name.place(source)));
            }
        }
    }

    /// Reads what is below `name`.
    pub(super) fn below(&mut self, name: &str, read: impl FnOnce(&mut Reading)) {
        let length = self.path.len();
        self.path.push_str(name);
        self.path.push('.');
        read(self);
        self.path.truncate(length);
    }

    /// The path of what is being read.
    pub(super) fn section(&self) -> &str {
        self.path.trim_end_matches('.')
    }

    /// What is being read is of no use here: a mistake in a file of ours, one more strange key in Harper's.
    pub(super) fn not_here(&mut self, place: &Place, why: String) {
        match self.dialect {
            Dialect::Ours => self.refuse(place, Misfit::new(why)),
            Dialect::Harper => self.unknown.push((self.section().to_owned(), place.clone())),
        }
    }

    pub(super) fn refuse(&mut self, place: &Place, misfit: Misfit) {
        let mut diagnostic = place.diagnostic(misfit.message);
        diagnostic.help = misfit.help;
        self.errors.push(diagnostic);
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// No key has the path that stands in `place`.
    pub(super) fn refuse_unknown(&mut self, path: &str, place: &Place) {
        let diagnostic = place.diagnostic(format!("there is no key `{path}`"));
        self.errors.push(match self.advice(path) {
            Some(advice) => diagnostic.help(advice),
            None => diagnostic,
        });
    }

    /// What the author of an unknown key may have meant.
    fn advice(&self, path: &str) -> Option<String> {
        // Elements of a list have a number for their name.
        let words = path.split('.').filter(|word| word.parse::<usize>().is_err());
        let words: Vec<&str> = words.collect();
        let (name, parents) = words.split_last()?;
        let parent: String = parents.iter().map(|word| format!("{word}.")).collect();
        let siblings = self.names.paths().filter_map(|known| known.strip_prefix(&*parent)?.split('.').next());
        if let Some(close) = closest(name, siblings) {
            return Some(format!("did you mean `{close}`?"));
        }
        let elsewhere = self.names.paths().find(|known| known.rsplit('.').next() == Some(name))?;
        Some(format!("there is `{elsewhere}`"))
    }

    /// Closes the books: warnings, or every mistake in the order of the text.
    fn finish(mut self) -> Result<Vec<String>, Vec<Diagnostic>> {
        let mut unknown = std::mem::take(&mut self.unknown);
        unknown.sort_by_key(|(_, place)| place.span.start);
        match (self.dialect, unknown.first()) {
            (Dialect::Ours, _) => unknown.iter().for_each(|(path, place)| self.refuse_unknown(path, place)),
            (Dialect::Harper, Some((_, place))) => {
                let source = &place.source.name;
                let paths: Vec<&str> = unknown.iter().map(|(path, _)| path.as_str()).collect();
                self.warnings.push(format!("{source}: not used by rowcast: {}", paths.join(", ")));
            }
            (Dialect::Harper, None) => {}
        }
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by(|a, b| (&a.source.name, a.span.start).cmp(&(&b.source.name, b.span.start)));
        Err(self.errors)
    }
}
