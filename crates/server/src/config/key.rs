//! A key: its path, what its value looks like, and which field of a structure it is.

use super::Config;
use super::layers::plain;
use super::raw::{Node, Value};
use super::read::Reading;
use super::shape::Shape;
use super::units::Misfit;

/// A key of the structure `S`: of [`Config`], or of a section that has a structure of its own.
pub(super) struct Key<S> {
    /// `mqtt.network.port`; in a section of its own only what is below it.
    pub(super) path: &'static str,
    alias: Option<&'static str>,
    meaning: &'static str,
    pub(super) holds: Holds,
    kind: Kind<S>,
}

/// When a value that was changed holds, once the configuration was read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// From then on.
    AtOnce,
    /// From the next start.
    NextStart,
}

enum Kind<S> {
    Field(Box<dyn Slot<S>>),
    /// What it is about, which a later version has.
    NotYet(&'static str),
}

/// Where a value of any type is in an `S`.
pub(super) struct Field<S, T> {
    pub(super) of: fn(&S) -> &T,
    pub(super) of_mut: fn(&mut S) -> &mut T,
}

/// `field!(Config, mqtt.listen)`
macro_rules! field {
    ($structure:ty, $($name:ident).+) => {
        $crate::config::key::Field::<$structure, _> {
            of: |structure| &structure.$($name).+,
            of_mut: |structure| &mut structure.$($name).+,
        }
    };
}
pub(super) use field;

impl<S: 'static> Key<S> {
    /// The key at `path`, for the next start.
    pub(super) fn new<T: Clone + PartialEq + 'static>(
        path: &'static str,
        shape: Shape<T>,
        field: Field<S, T>,
        meaning: &'static str,
    ) -> Key<S> {
        let kind = Kind::Field(Box::new(Typed { shape, field }));
        Key { path, alias: None, meaning, holds: Holds::NextStart, kind }
    }

    /// A key of a later version: it is refused by name.
    pub(super) fn not_yet(path: &'static str, what: &'static str) -> Key<S> {
        Key { path, alias: None, meaning: "", holds: Holds::NextStart, kind: Kind::NotYet(what) }
    }

    /// Known by another name too.
    pub(super) fn also(self, alias: &'static str) -> Key<S> {
        Key { alias: Some(alias), ..self }
    }

    /// What is read again holds without a restart.
    pub(super) fn at_once(self) -> Key<S> {
        Key { holds: Holds::AtOnce, ..self }
    }

    /// Puts the value of `node` where it belongs. `null` is as good as nothing, except where it is a value.
    pub(super) fn read(&self, node: &Node, reading: &mut Reading, into: &mut S) -> Result<(), Misfit> {
        match &self.kind {
            Kind::Field(slot) => slot.read(node, reading, into),
            Kind::NotYet(what) => {
                if asks_for_something(&node.value) {
                    reading.not_here(&node.place, format!("{what} is not available in this version"));
                }
                Ok(())
            }
        }
    }

    /// Its value, as one would write it.
    pub(super) fn show(&self, of: &S) -> String {
        match &self.kind {
            Kind::Field(slot) => slot.show(of),
            Kind::NotYet(_) => "null".to_owned(),
        }
    }

    /// What is to be said about it where `defaults` hold.
    pub(super) fn listed(&self, defaults: &S) -> Listed {
        let (words, members, not_yet) = match &self.kind {
            Kind::Field(slot) => (slot.words().to_owned(), slot.members().to_vec(), None),
            Kind::NotYet(what) => (String::new(), Vec::new(), Some(*what)),
        };
        let Key { path, alias, meaning, holds, .. } = *self;
        Listed { path, alias, meaning, holds, words, default: self.show(defaults), members, not_yet }
    }
}

impl Key<Config> {
    /// What it says in `new` that it does not in `old`; `running` is what holds meanwhile.
    pub(super) fn change(&self, old: &Config, new: &Config, running: &Config) -> Option<Change> {
        let Kind::Field(slot) = &self.kind else { return None };
        let holds = if slot.is_same(running, new) { Holds::AtOnce } else { Holds::NextStart };
        let change = || Change { key: self.path, before: slot.show(old), now: slot.show(new), holds };
        (!slot.is_same(old, new)).then(change)
    }

    /// Takes its value over.
    pub(super) fn copy(&self, from: &Config, into: &mut Config) {
        if let Kind::Field(slot) = &self.kind {
            slot.copy(from, into);
        }
    }
}

/// A key whose value is another than before, both as one would write them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its path.
    pub key: &'static str,
    /// What it was.
    pub before: String,
    /// What it is.
    pub now: String,
    /// From when on.
    pub holds: Holds,
}

/// A [`Field`] and the [`Shape`] of what is in it, whatever its type.
trait Slot<S> {
    fn read(&self, node: &Node, reading: &mut Reading, into: &mut S) -> Result<(), Misfit>;
    fn show(&self, of: &S) -> String;
    fn is_same(&self, a: &S, b: &S) -> bool;
    fn copy(&self, from: &S, into: &mut S);
    fn words(&self) -> &str;
    fn members(&self) -> &[Listed];
}

struct Typed<S, T> {
    shape: Shape<T>,
    field: Field<S, T>,
}

impl<S, T: Clone + PartialEq + 'static> Slot<S> for Typed<S, T> {
    fn read(&self, node: &Node, reading: &mut Reading, into: &mut S) -> Result<(), Misfit> {
        if !node.is_null() || self.shape.takes_null {
            *(self.field.of_mut)(into) = self.shape.parse(node, reading)?;
        }
        Ok(())
    }

    fn show(&self, of: &S) -> String {
        self.shape.show((self.field.of)(of))
    }

    fn is_same(&self, a: &S, b: &S) -> bool {
        (self.field.of)(a) == (self.field.of)(b)
    }

    fn copy(&self, from: &S, into: &mut S) {
        (self.field.of_mut)(into).clone_from((self.field.of)(from));
    }

    fn words(&self) -> &str {
        &self.shape.words
    }

    fn members(&self) -> &[Listed] {
        &self.shape.members
    }
}

/// A key as its documentation has it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its path; in a section of its own only what is below it.
    pub path: &'static str,
    /// Another name of it.
    pub alias: Option<&'static str>,
    /// A sentence.
    pub meaning: &'static str,
    /// When a changed value holds.
    pub holds: Holds,
    /// What a value looks like.
    pub words: String,
    /// What it is by default, as one would write it.
    pub default: String,
    /// The keys below it.
    pub members: Vec<Listed>,
    /// What it is about, which a later version has.
    pub not_yet: Option<&'static str>,
}

/// The paths of all keys, those in sections of their own too.
pub(super) struct Names(Vec<Name>);

struct Name {
    path: String,
    /// The key it stands for, where that has another path.
    alias_of: Option<String>,
    is_not_yet: bool,
}

impl Names {
    pub(super) fn new(keys: &[Listed]) -> Names {
        let mut names = Vec::new();
        for key in keys {
            let is_not_yet = key.not_yet.is_some();
            let below = key.members.iter().map(|member| format!(".{}", member.path));
            for end in std::iter::once(String::new()).chain(below) {
                let path = format!("{}{end}", key.path);
                let alias = key.alias.map(|alias| format!("{alias}{end}"));
                names.extend(alias.map(|alias| Name { path: alias, alias_of: Some(path.clone()), is_not_yet }));
                names.push(Name { path, alias_of: None, is_not_yet });
            }
        }
        Names(names)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| name.path.as_str())
    }

    /// Other names, and the paths they stand for.
    pub(super) fn aliases(&self) -> Vec<(String, String)> {
        self.0.iter().filter_map(|name| Some((name.path.clone(), name.alias_of.clone()?))).collect()
    }

    /// The key that `path` is, or names otherwise. What is below a key of a later version is taken for that key.
    pub(super) fn of_path(&self, path: &str) -> Option<String> {
        let found = self.0.iter().find(|name| {
            path == name.path
                || name.is_not_yet && path.strip_prefix(&name.path).is_some_and(|end| end.starts_with('.'))
        })?;
        Some(found.alias_of.clone().unwrap_or_else(|| path.to_owned()))
    }

    /// The key of the variable `ROWCAST_name`.
    pub(super) fn of_variable(&self, name: &str) -> Option<String> {
        let wanted = plain(name);
        let exact = self.0.iter().find(|known| plain(&known.path) == wanted);
        let later = || self.0.iter().find(|known| known.is_not_yet && wanted.starts_with(&plain(&known.path)));
        let found = exact.or_else(later)?;
        Some(found.alias_of.clone().unwrap_or_else(|| found.path.clone()))
    }
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Map(entries) => entries.iter().any(|(_, node)| asks_for_something(&node.value)),
        Value::List(items) => items.iter().any(|node| asks_for_something(&node.value)),
        _ => true,
    }
}
