//! From what was written to tables: names are resolved, and what cannot be meant is refused.

mod attributes;
mod links;
mod names;

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::diagnostic::{Diagnostic, Source};
use super::directives::{Directives, Place};
use super::syntax::TypeDefinition;
use super::table::{Attributes, Doors, Export, KeyAttribute, ObjectType, Role, Scalar, Shape, Table, TableIndex, Type};
use super::{Durability, Schema, TYPES_MAX};
use crate::value::KeyType;
use attributes::{implied_key, innermost, key_type};

/// One definition with the file it is in and its directives.
struct Written<'s> {
    source: &'s Source,
    definition: &'s TypeDefinition,
    directives: Directives<'s>,
}

/// The schema of all files together, or every mistake in them.
pub(super) fn check(files: &[(&Source, Vec<TypeDefinition>)]) -> Result<Schema, Vec<Diagnostic>> {
    let mut checker = Checker::default();
    for (source, definitions) in files {
        for definition in definitions {
            checker.declare(source, definition);
        }
    }
    let attributes: Vec<Attributes> = (0..checker.written.len()).map(|index| checker.attributes(index)).collect();
    checker.check_relationships(&attributes);
    checker.check_cycles(&attributes);
    let tables: Vec<_> = (0..checker.written.len()).filter_map(|index| checker.table(index, &attributes)).collect();
    checker.check_names(&tables);
    if checker.diagnostics.is_empty() {
        let tables = tables.into_iter().map(|(_, table)| table).collect();
        Ok(checker.finish(tables, attributes))
    } else {
        Err(checker.sorted(files))
    }
}

#[derive(Default)]
struct Checker<'s> {
    written: Vec<Written<'s>>,
    by_name: FxHashMap<&'s str, usize>,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Checker<'s> {
    fn report(&mut self, index: usize, span: &Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let diagnostic = Diagnostic::new(self.written[index].source, span.clone(), message);
        self.diagnostics.push(diagnostic);
        self.diagnostics.last_mut().expect("one was just pushed")
    }

    fn declare(&mut self, source: &'s Source, definition: &'s TypeDefinition) {
        let directives = Directives::check(&definition.directives, Place::Type, source, &mut self.diagnostics);
        let index = self.written.len();
        self.written.push(Written { source, definition, directives });
        let name = &definition.name;
        if Scalar::named(&name.value).is_some() {
            self.report(index, &name.span, format!("`{}` is a built-in type", name.value));
        } else if let Some(&first) = self.by_name.get(&*name.value) {
            let place = self.written[first].source.place(self.written[first].definition.name.span.start);
            self.report(index, &name.span, format!("the type `{}` is declared twice", name.value)).help =
                Some(format!("the first is at {place}"));
        } else {
            self.by_name.insert(&name.value, index);
        }
        if index == TYPES_MAX {
            self.report(index, &name.span, format!("a schema has at most {TYPES_MAX} types"));
        }
    }

    fn table(&mut self, index: usize, attributes: &[Attributes]) -> Option<(usize, Table)> {
        let Written { definition, directives, .. } = &self.written[index];
        let name = definition.name.value.as_str();
        if !directives.has("table") {
            if let Some(span) = directives.span("export").cloned()
                && directives.is_complete()
            {
                self.report(index, &span, "only tables can be exported").help =
                    Some(format!("write `type {name} @table @export`"));
            }
            return None;
        }
        let attributes = attributes[index].clone();
        let key = attributes.iter().find(|attribute| attribute.role == Role::Key);
        let key = key.map_or_else(implied_key, Clone::clone);
        let key_type = match key.ty.shape {
            Shape::Scalar(scalar) => key_type(scalar).unwrap_or(KeyType::Text),
            _ => KeyType::Text,
        };
        let mut table = Table::untyped(name);
        if let Some((stored, _)) = directives.text("table", "table") {
            table.table = stored.into();
        }
        if let Some((database, _)) = directives.text("table", "database") {
            table.database = database.into();
        }
        table.export = read_export(name, directives);
        table.key = KeyAttribute { name: key.name, key_type };
        table.attributes = attributes;
        table.sealed = directives.has("sealed");
        table.expiration_secs = directives.seconds("table", "expiration");
        table.eviction_secs = directives.seconds("table", "eviction");
        table.audit = directives.flag("table", "audit").unwrap_or(false);
        table.replicate = directives.flag("table", "replicate").unwrap_or(true);
        table.durability = match directives.text("table", "durability") {
            Some(("sync", _)) => Some(Durability::Sync),
            Some(("flush", _)) => Some(Durability::Flush),
            Some(("memory", _)) => Some(Durability::Memory),
            _ => None,
        };
        table.hidden = directives.has("hidden");
        table.docs = definition.docs.as_deref().map(Into::into);
        if table.sealed && !table.is_typed() {
            let span = directives.span("sealed").expect("it is present").clone();
            self.report(index, &span, format!("`{name}` has no attributes, and takes any payload as it is"));
        }
        Some((index, table))
    }

    fn is_table(&self, index: usize) -> bool {
        self.written[index].directives.has("table")
    }

    /// The table a type or a list of it is.
    fn table_of(&self, ty: &Type) -> Option<usize> {
        match innermost(ty) {
            Shape::Object { index, .. } => Some(*index as usize).filter(|&index| self.is_table(index)),
            _ => None,
        }
    }

    fn finish(&self, mut tables: Vec<Table>, attributes: Vec<Attributes>) -> Schema {
        let types = self.written.iter().zip(attributes).map(|(written, attributes)| ObjectType {
            name: written.definition.name.value.as_str().into(),
            attributes,
            sealed: written.directives.has("sealed"),
            hidden: written.directives.has("hidden"),
            docs: written.definition.docs.as_deref().map(Into::into),
        });
        let types: Arc<[ObjectType]> = types.collect();
        for (place, table) in tables.iter_mut().enumerate() {
            table.index = TableIndex(place as u32);
            table.types = Arc::clone(&types);
        }
        Schema { tables, types }
    }

    /// The mistakes in the order of the text.
    fn sorted(mut self, files: &[(&Source, Vec<TypeDefinition>)]) -> Vec<Diagnostic> {
        let place = |diagnostic: &Diagnostic| files.iter().position(|(source, _)| **source == diagnostic.source);
        self.diagnostics.sort_by_key(|diagnostic| (place(diagnostic), diagnostic.span.start));
        self.diagnostics
    }
}

fn read_export(type_name: &str, directives: &Directives<'_>) -> Option<Export> {
    directives.span("export")?;
    let name = directives.text("export", "name").map(|(name, _)| name);
    let door = |name| directives.flag("export", name).unwrap_or(true);
    Some(Export {
        name: name.unwrap_or(type_name).into(),
        named: name.is_some(),
        doors: Doors { mqtt: door("mqtt"), rest: door("rest"), sse: door("sse"), ws: door("ws") },
    })
}
