//! The names tables are stored and exported under.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::{Checker, Written};
use crate::schema::table::{Export, Table};
use crate::schema::{EXPORT_BYTES_MAX, EXPORT_LEVELS_MAX};

impl Checker<'_> {
    /// Names that must be free, well-formed, and each used once.
    pub(super) fn check_names(&mut self, tables: &[(usize, Table)]) {
        let mut stored: FxHashMap<(&str, &str), &str> = FxHashMap::default();
        let mut exported: FxHashMap<&str, &str> = FxHashMap::default();
        for &(index, ref table) in tables {
            if self.by_name.get(&*table.name) != Some(&index) {
                continue; // Declared twice, or a built-in name: reported already.
            }
            for argument in ["table", "database"] {
                let text = self.written[index].directives.text("table", argument);
                if let Some((text, span)) = text
                    && !is_storable(text)
                {
                    let message = format!("`{text}` cannot be the name of a {argument}");
                    self.report(index, span, message).help =
                        Some("letters, digits, `_`, `-` and `.` can be in it, and a letter or digit first".to_owned());
                }
            }
            if let Some(other) = stored.insert((&*table.database, &*table.table), &*table.name) {
                let span = &self.written[index].definition.name.span;
                let message = format!("`{other}` and `{}` are stored as one table, `{}`", table.name, table.table);
                self.report(index, span, message).help = Some("give one another `@table(table: ..)`".to_owned());
            }
            let Some(export) = &table.export else { continue };
            self.check_export(index, export);
            if let Some(other) = exported.insert(&*export.name, &*table.name) {
                let message = format!("`{other}` and `{}` are both exported as `{}`", table.name, export.name);
                let span = self.export_span(index);
                self.report(index, &span, message).help = Some("give one another `@export(name: ..)`".to_owned());
            }
        }
    }

    fn check_export(&mut self, index: usize, export: &Export) {
        let span = self.export_span(index);
        if let Some(wrong) = wrong_export_name(&export.name) {
            self.report(index, &span, format!("nothing can be exported as `{}`: {wrong}", export.name));
        }
        let alias = export.alias();
        let names = [Some(&*export.name), alias.as_deref()];
        for name in names.into_iter().flatten() {
            let first = name.split('/').next().unwrap_or(name);
            if RESERVED_NAMES.contains(&first) || first.starts_with('$') {
                let message = format!("`{first}` is a name of the server's own");
                self.report(index, &span, message).help = Some("choose another: `@export(name: ..)`".to_owned());
                break;
            }
        }
    }

    /// Where the exported name is: the argument, or the type's name.
    fn export_span(&self, index: usize) -> Range<usize> {
        let Written { definition, directives, .. } = &self.written[index];
        directives.text("export", "name").map_or(&definition.name.span, |(_, span)| span).clone()
    }
}

/// Whether a name can be that of a folder or a file.
fn is_storable(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    begins_well && name.len() <= STORED_NAME_BYTES_MAX && name.bytes().all(is_allowed)
}

fn wrong_export_name(name: &str) -> Option<String> {
    let forbidden = name.chars().find(|&letter| matches!(letter, '+' | '#' | '?') || letter.is_control());
    if name.is_empty() {
        Some("the name is empty".to_owned())
    } else if name.len() > EXPORT_BYTES_MAX {
        Some(format!("it has more than {EXPORT_BYTES_MAX} bytes"))
    } else if let Some(forbidden) = forbidden {
        Some(format!("{forbidden:?} cannot be in it"))
    } else if name.split('/').any(str::is_empty) {
        Some("a level of it is empty".to_owned())
    } else if name.split('/').count() > EXPORT_LEVELS_MAX {
        Some(format!("it has more than {EXPORT_LEVELS_MAX} levels"))
    } else {
        None
    }
}

const STORED_NAME_BYTES_MAX: usize = 200;
/// Paths the HTTP server answers itself, as are all that begin with `$`.
const RESERVED_NAMES: [&str; 6] = ["health", "ready", "metrics", "openapi.json", "asyncapi.json", "console"];
