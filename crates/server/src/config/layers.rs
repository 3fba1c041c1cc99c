//! One tree of what the file, the environment and the command line say, the later before the earlier, key by key.

use super::key::Names;
use super::raw::{Key, Node, Place, Value, parse_setting};
use super::read::Reading;
use super::suggest::closest;
use super::units::Misfit;
use rowcast_core::schema::Source;

/// What goes before the file.
pub(super) struct Layers<'g> {
    /// `path=value` each; the last of one path holds.
    pub(super) flags: &'g [String],
    /// Names and values. Those that do not begin with `ROWCAST_` are not looked at; empty ones are as good as not
    /// there.
    pub(super) environment: &'g [(String, String)],
}

impl Layers<'_> {
    /// Puts them over the tree of the file.
    pub(super) fn lay_over(&self, tree: &mut Node, reading: &mut Reading) {
        let mut given: Vec<(String, Node)> = self.variables(reading);
        // A section as a whole before what is in it.
        given.sort_by_key(|(path, _)| path.len());
        for flag in self.flags {
            let source = Source::new("command line", flag);
            let Some((path, _)) = flag.split_once('=') else {
                let place = Place { span: 0..flag.len(), source };
                reading.refuse(&place, Misfit::new("expected KEY=VALUE"));
                continue;
            };
            let node = parse_setting(source.clone(), path.len() + 1);
            match reading.names.of_path(path) {
                Some(path) => given.push((path, node)),
                None => reading.refuse_unknown(path, &Place { source, span: 0..path.len() }),
            }
        }
        for (path, node) in given {
            let place = node.place.clone();
            if let Err(misfit) = set(tree, &path, 0, node, &reading.names) {
                reading.refuse(&place, misfit);
            }
        }
    }

    fn variables(&self, reading: &mut Reading) -> Vec<(String, Node)> {
        let mut given: Vec<(String, Node)> = Vec::new();
        for (name, value) in self.environment {
            if !name.starts_with(PREFIX) || value.is_empty() || RESERVED.contains(&name.as_str()) {
                continue;
            }
            let node = parse_setting(Source::new("environment", &format!("{name}={value}")), name.len() + 1);
            let Some(path) = reading.names.of_variable(&name[PREFIX.len()..]) else {
                let known: Vec<String> = reading.names.paths().map(variable_name).collect();
                let advice = match closest(name, known.iter().map(String::as_str)) {
                    Some(close) => format!("; did you mean {close}?"),
                    None => String::new(),
                };
                // Other programs may make variables of that name: Kubernetes does for a service called rowcast.
                reading.warn(format!("environment: {name} is not used{advice}"));
                continue;
            };
            if given.iter().any(|(other, _)| *other == path) {
                let misfit = Misfit::new(format!("`{path}` is given by two variables"));
                reading.refuse(&Place { span: 0..name.len(), ..node.place }, misfit);
                continue;
            }
            given.push((path, node));
        }
        given
    }
}

/// Moves what the file gives under another name to where its key is.
pub(super) fn rename(tree: &mut Node, reading: &mut Reading) {
    for (alias, path) in reading.names.aliases() {
        let Some((key, node)) = take(tree, &alias) else { continue };
        if node.is_null() {
            continue;
        }
        if get(tree, &path).is_some_and(|there| !there.is_null()) {
            let misfit = Misfit::new(format!("`{alias}` is another name of `{path}`, which is given too"));
            reading.refuse(&Place { span: key.span, source: tree.place.source.clone() }, misfit);
        } else if let Err(misfit) = set(tree, &path, 0, node.clone(), &reading.names) {
            reading.refuse(&node.place, misfit);
        }
    }
}

fn get<'t>(tree: &'t Node, path: &str) -> Option<&'t Node> {
    path.split('.').try_fold(tree, |node, word| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.name == word).map(|(_, node)| node),
        _ => None,
    })
}

fn take(tree: &mut Node, path: &str) -> Option<(Key, Node)> {
    let Value::Map(entries) = &mut tree.value else { return None };
    let (word, rest) = path.split_once('.').map_or((path, None), |(word, rest)| (word, Some(rest)));
    let index = entries.iter().position(|(key, _)| key.name == word)?;
    match rest {
        Some(rest) => take(&mut entries[index].1, rest),
        None => Some(entries.remove(index)),
    }
}

/// Puts `new` in the place of what is at `path`, of which the first `done` bytes lead to `node`. A section on the way
/// that is not there is made, and a key that can be a switch or a section becomes the section.
fn set(node: &mut Node, path: &str, done: usize, new: Node, names: &Names) -> Result<(), Misfit> {
    let (here, rest) = (path[..done].trim_end_matches('.'), &path[done..]);
    if node.is_null() || matches!(node.value, Value::Bool(_)) && names.of_path(here).is_some() {
        node.value = Value::Map(Vec::new());
    }
    let (word, is_last) = rest.split_once('.').map_or((rest, true), |(word, _)| (word, false));
    let entries = match &mut node.value {
        Value::Map(entries) => entries,
        Value::List(_) => {
            return Err(Misfit::new(format!("`{here}` is a list in the file, and which of its elements is meant?")));
        }
        // No section, as whoever reads it will say.
        _ => return Ok(()),
    };
    let index = entries.iter().position(|(key, _)| key.name == word).unwrap_or_else(|| {
        let key = Key { name: word.to_owned(), span: 0..0 };
        entries.push((key, Node { value: Value::Null, place: new.place.clone() }));
        entries.len() - 1
    });
    if is_last {
        entries[index].1 = new;
        return Ok(());
    }
    set(&mut entries[index].1, path, done + word.len() + 1, new, names)
}

/// The environment variable of a key: `ROWCAST_MQTT_NETWORK_PORT`.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// A path without what separates its words, so that `MQTT_LIMITS_PACKET_BYTES` and `MQTT_LIMITS_PACKETBYTES` are both
/// `mqtt.limits.packetBytes`.
pub(super) fn plain(path: &str) -> String {
    path.chars().filter(|c| !matches!(c, '.' | '_')).flat_map(char::to_lowercase).collect()
}

pub(super) const PREFIX: &str = "ROWCAST_";

/// Variables that are no configuration: secrets that only one command reads.
const RESERVED: [&str; 4] = ["ROWCAST_ADMIN_PASSWORD", "ROWCAST_PASSWORD", "ROWCAST_USER", "ROWCAST_URL"];
