//! From what was written to tables: names are resolved, and what cannot be meant is refused.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::diagnostic::{Diagnostic, Source};
use super::directives::{Directives, Place};
use super::suggest::suggest;
use super::syntax::{Field, ShapeExpression, TypeDefinition, TypeExpression};
use super::table::{
    Attribute, Attributes, Doors, Durability, Export, IMPLIED_KEY, KeyAttribute, ObjectType, Role, Scalar, Shape,
    Table, TableIndex, Type,
};
use super::{EXPORT_BYTES_MAX, EXPORT_LEVELS_MAX, FIELDS_MAX, LIST_DEPTH_MAX, Schema, TYPES_MAX};
use crate::value::KeyType;

/// One definition with the file it is in and its directives.
struct Written<'s> {
    source: &'s Source,
    definition: &'s TypeDefinition,
    directives: Directives<'s>,
}

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
    let tables: Vec<Table> = (0..checker.written.len()).filter_map(|index| checker.table(index, &attributes)).collect();
    checker.check_names(&tables);
    if checker.diagnostics.is_empty() { Ok(checker.finish(tables, attributes)) } else { Err(checker.sorted(files)) }
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

    /// The attributes of a type, each checked by itself and against its neighbours.
    fn attributes(&mut self, index: usize) -> Attributes {
        let definition = self.written[index].definition;
        let is_table = self.is_table(index);
        if definition.fields.len() > FIELDS_MAX {
            self.report(index, &definition.name.span, format!("a type has at most {FIELDS_MAX} fields"));
        }
        let mut list: Vec<Attribute> = Vec::new();
        let mut names: FxHashMap<&str, ()> = FxHashMap::default();
        for field in &definition.fields {
            if names.insert(&field.name.value, ()).is_some() {
                let message = format!("the field `{}` is declared twice", field.name.value);
                self.report(index, &field.name.span, message);
                continue;
            }
            let attribute = self.attribute(index, field, is_table);
            self.check_alone(index, field, &attribute, &list);
            list.push(attribute);
        }
        if is_table && !list.is_empty() {
            self.add_key(index, &mut list);
        }
        Attributes::new(list)
    }

    fn attribute(&mut self, index: usize, field: &'s Field, is_table: bool) -> Attribute {
        let source = self.written[index].source;
        let directives = Directives::check(&field.directives, Place::Field, source, &mut self.diagnostics);
        let ty = self.resolve(index, &field.ty, 0);
        let role = self.role(index, &directives);
        if !is_table {
            for name in ONLY_IN_TABLES {
                if let Some(span) = directives.span(name) {
                    self.report(index, span, format!("`@{name}` is for fields of tables")).help =
                        Some(format!("`{}` has no `@table`", self.written[index].definition.name.value));
                }
            }
        }
        Attribute {
            name: field.name.value.as_str().into(),
            ty,
            role,
            indexed: directives.has("indexed"),
            hidden: directives.has("hidden"),
            declared: true,
            docs: field.docs.as_deref().map(Into::into),
        }
    }

    fn resolve(&mut self, index: usize, ty: &TypeExpression, depth: usize) -> Type {
        let shape = match &ty.shape {
            ShapeExpression::List(item) => {
                if depth == LIST_DEPTH_MAX {
                    self.report(index, &ty.span, format!("lists nest at most {LIST_DEPTH_MAX} deep"));
                }
                Shape::List(Box::new(self.resolve(index, item, depth + 1)))
            }
            ShapeExpression::Named(name) => match (Scalar::named(name), self.by_name.get(&**name)) {
                (Some(scalar), _) => Shape::Scalar(scalar),
                (None, Some(&object)) => Shape::Object { index: object as u32, name: name.as_str().into() },
                (None, None) => {
                    let names = Scalar::ALL.map(Scalar::name).into_iter().chain(self.by_name.keys().copied());
                    let help = match suggest(name, names) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => format!("built-in types are {}", Scalar::ALL.map(Scalar::name).join(", ")),
                    };
                    self.report(index, &ty.span, format!("there is no type `{name}`")).help = Some(help);
                    Shape::Scalar(Scalar::Any)
                }
            },
        };
        Type { shape, required: ty.required }
    }

    fn role(&mut self, index: usize, directives: &Directives<'s>) -> Role {
        let present: Vec<_> = ROLES.into_iter().filter(|name| directives.has(name)).collect();
        if let [first, second, ..] = present[..]
            && (first, second) != ("primaryKey", "id")
        {
            let span = directives.span(second).expect("it is present");
            self.report(index, span, format!("a field cannot be both `@{first}` and `@{second}`"));
        }
        match present.first() {
            None => Role::Plain,
            Some(&"primaryKey" | &"id") => Role::Key,
            Some(&"createdTime") => Role::CreatedTime,
            Some(&"updatedTime") => Role::UpdatedTime,
            Some(&"expiresAt") => Role::ExpiresAt,
            Some(&"relationship") => {
                let name = |argument| directives.text("relationship", argument).map(|(name, _)| name.into());
                let (from, to) = (name("from"), name("to"));
                if from.is_none() && to.is_none() {
                    let span = directives.span("relationship").expect("it is present");
                    self.report(index, span, "`@relationship` needs `from:` or `to:`").help = Some(
                        "`from:` names the attribute here that holds the key, `to:` the attribute there".to_owned(),
                    );
                }
                Role::Relationship { from, to }
            }
            Some(_) => {
                let from = directives.text("computed", "from");
                match from {
                    Some((from, span)) if from.trim().is_empty() => {
                        self.report(index, span, "the expression is empty");
                    }
                    None => {
                        let span = directives.span("computed").expect("it is present");
                        self.report(index, span, "`@computed` needs `from:`").help =
                            Some("as in `@computed(from: \"price * quantity\")`".to_owned());
                    }
                    Some(_) => {}
                }
                Role::Computed { from: from.map_or("", |(from, _)| from).into() }
            }
        }
    }

    /// Whether an attribute's type goes with what it is, and whether another already is that.
    fn check_alone(&mut self, index: usize, field: &'s Field, attribute: &Attribute, before: &[Attribute]) {
        let name = &field.name.value;
        let scalar = match attribute.ty.shape {
            Shape::Scalar(scalar) => Some(scalar),
            _ => None,
        };
        let twice = before.iter().find(|other| same_role(&other.role, &attribute.role));
        if let (Some(first), Some(directive)) = (twice, directive_of(&attribute.role)) {
            let message = format!("two fields are {directive}: `{}` and `{name}`", first.name);
            self.report(index, &field.name.span, message);
        }
        match attribute.role {
            Role::Key if scalar.and_then(key_type).is_none() => {
                self.report(index, &field.ty.span, format!("a key cannot be of type `{}`", attribute.ty)).help =
                    Some("keys are ID, String, Int, Long or Any".to_owned());
            }
            Role::CreatedTime | Role::UpdatedTime | Role::ExpiresAt if !scalar.is_some_and(is_time) => {
                let message = format!("`{name}` holds a time, for which `{}` is no type", attribute.ty);
                let help = match scalar {
                    Some(Scalar::Int) => "epoch milliseconds need more than 32 bits: use Long, or Date",
                    _ => "times are Long, Float, BigInt, Date or Any",
                };
                self.report(index, &field.ty.span, message).help = Some(help.to_owned());
            }
            Role::Relationship { .. } => {
                if self.table_of(&attribute.ty).is_none() {
                    let message = format!("a relationship leads to a table, and `{}` is none", attribute.ty);
                    self.report(index, &field.ty.span, message);
                }
            }
            _ => {
                if let Some(target) = self.table_of(&attribute.ty) {
                    let table = &self.written[target].definition.name.value;
                    let message = format!("`{table}` is a table, and records do not hold records");
                    self.report(index, &field.ty.span, message).help =
                        Some("add `@relationship(from: ..)`, or nest a type without `@table`".to_owned());
                }
            }
        }
        let is_value = matches!(innermost(&attribute.ty), Shape::Scalar(_));
        let is_kept = !matches!(attribute.role, Role::Relationship { .. });
        if attribute.indexed && !(is_value && is_kept) {
            let message = format!("`{name}` cannot be indexed: only built-in types and lists of them can");
            self.report(index, &field.name.span, message);
        }
    }

    /// Without a field that says so, `id` is the key, written or not.
    fn add_key(&mut self, index: usize, list: &mut Vec<Attribute>) {
        if list.iter().any(|attribute| attribute.role == Role::Key) {
            return;
        }
        match list.iter().position(|attribute| &*attribute.name == IMPLIED_KEY) {
            None => list.insert(0, implied_key()),
            Some(place) if list[place].ty.shape == Shape::Scalar(Scalar::Id) && list[place].role == Role::Plain => {
                list[place].role = Role::Key;
            }
            Some(_) => {
                let fields = &self.written[index].definition.fields;
                let field = fields.iter().find(|field| field.name.value == IMPLIED_KEY).expect("it is in the list");
                self.report(index, &field.name.span, "`id` is the key unless another field is, and is no ID here")
                    .help = Some("add `@primaryKey` to it, or to another field".to_owned());
            }
        }
    }

    fn check_relationships(&mut self, attributes: &[Attributes]) {
        for index in 0..self.written.len() {
            for field in &self.written[index].definition.fields {
                let Some(attribute) = attributes[index].get(&field.name.value) else { continue };
                let Role::Relationship { from, to } = &attribute.role else { continue };
                let Some(target) = self.table_of(&attribute.ty) else { continue };
                self.check_end(index, field, "from", from.as_deref(), index, &attributes[index]);
                self.check_end(index, field, "to", to.as_deref(), target, &attributes[target]);
            }
        }
    }

    /// One end of a relationship: `name` must be a stored attribute of the type `of`.
    fn check_end(
        &mut self,
        index: usize,
        field: &'s Field,
        argument: &str,
        name: Option<&str>,
        of: usize,
        there: &Attributes,
    ) {
        let Some(name) = name else { return };
        let stored = || there.iter().filter(|attribute| attribute.role.is_stored()).map(|attribute| &*attribute.name);
        if stored().any(|attribute| attribute == name) {
            return;
        }
        let written = field.directives.iter().flat_map(|directive| &directive.arguments);
        let mut spans = written.filter(|(key, _)| key.value == argument).map(|(_, value)| &value.span);
        let span = spans.next().unwrap_or(&field.name.span);
        let message = format!("`{}` has no stored attribute `{name}`", self.written[of].definition.name.value);
        let help = suggest(name, stored()).map(|close| format!("did you mean `{close}`?"));
        self.report(index, span, message).help = help;
    }

    /// A type that requires itself, over however many others, can have no document.
    fn check_cycles(&mut self, attributes: &[Attributes]) {
        let required = |from: usize| {
            attributes[from].iter().filter(|attribute| attribute.role == Role::Plain).filter_map(|attribute| {
                match attribute.ty {
                    Type { shape: Shape::Object { index, .. }, required: true } => Some(index as usize),
                    _ => None,
                }
            })
        };
        // Repeatedly set aside types that require none of those left; what remains requires itself.
        let mut left: Vec<bool> = vec![true; attributes.len()];
        let mut waiting: Vec<usize> = (0..attributes.len()).map(|index| required(index).count()).collect();
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); attributes.len()];
        for index in 0..attributes.len() {
            required(index).for_each(|other| needed_by[other].push(index));
        }
        let mut free: Vec<usize> = (0..attributes.len()).filter(|&index| waiting[index] == 0).collect();
        while let Some(index) = free.pop() {
            left[index] = false;
            for &other in &needed_by[index] {
                waiting[other] -= 1;
                if waiting[other] == 0 {
                    free.push(other);
                }
            }
        }
        let Some(first) = left.iter().position(|left| *left) else { return };
        // Walking on among what is left ends in a circle.
        let mut path = vec![first];
        let circle = loop {
            let last = path[path.len() - 1];
            let next = required(last).find(|&next| left[next]).expect("each type left requires another left");
            match path.iter().position(|&seen| seen == next) {
                Some(start) => break path.split_off(start),
                None => path.push(next),
            }
        };
        let name = |index: usize| self.written[index].definition.name.value.as_str();
        let words: Vec<_> = circle.iter().chain(&circle[..1]).map(|&index| format!("`{}`", name(index))).collect();
        let message = format!("no document could ever be complete: {}", words.join(" requires "));
        let span = &self.written[circle[0]].definition.name.span;
        self.report(circle[0], span, message).help = Some("leave out a `!`".to_owned());
    }

    fn table(&mut self, index: usize, attributes: &[Attributes]) -> Option<Table> {
        let Written { definition, directives, .. } = &self.written[index];
        let name = definition.name.value.as_str();
        if !directives.has("table") {
            if let Some(span) = directives.span("export").cloned() {
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
        Some(table)
    }

    /// Names that must be free, well-formed, and each used once.
    fn check_names(&mut self, tables: &[Table]) {
        let mut stored: FxHashMap<(&str, &str), &str> = FxHashMap::default();
        let mut exported: FxHashMap<&str, &str> = FxHashMap::default();
        for table in tables {
            let index = self.by_name.get(&*table.name).copied().filter(|&index| self.is_table(index));
            let Some(index) = index else { continue }; // A built-in name, reported already.
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

/// The key of a table that declares none.
fn implied_key() -> Attribute {
    Attribute {
        name: IMPLIED_KEY.into(),
        ty: Type { shape: Shape::Scalar(Scalar::Id), required: false },
        role: Role::Key,
        indexed: false,
        hidden: false,
        declared: false,
        docs: None,
    }
}

fn key_type(scalar: Scalar) -> Option<KeyType> {
    match scalar {
        Scalar::Id | Scalar::String => Some(KeyType::Text),
        Scalar::Int => Some(KeyType::Int),
        Scalar::Long => Some(KeyType::Long),
        Scalar::Any => Some(KeyType::Any),
        _ => None,
    }
}

fn is_time(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Long | Scalar::Float | Scalar::BigInt | Scalar::Date | Scalar::Any)
}

fn innermost(ty: &Type) -> &Shape {
    match &ty.shape {
        Shape::List(item) => innermost(item),
        shape => shape,
    }
}

fn same_role(a: &Role, b: &Role) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// The directive of a role only one attribute of a table can have.
fn directive_of(role: &Role) -> Option<&'static str> {
    match role {
        Role::Key => Some("the key"),
        Role::CreatedTime => Some("`@createdTime`"),
        Role::UpdatedTime => Some("`@updatedTime`"),
        Role::ExpiresAt => Some("`@expiresAt`"),
        Role::Plain | Role::Relationship { .. } | Role::Computed { .. } => None,
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
        Some(format!(
            "{} cannot be in it",
            if forbidden.is_control() { "a control character".to_owned() } else { format!("`{forbidden}`") }
        ))
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
/// Directives of which a field can have one.
const ROLES: [&str; 7] = ["primaryKey", "id", "createdTime", "updatedTime", "expiresAt", "relationship", "computed"];
const ONLY_IN_TABLES: [&str; 8] =
    ["primaryKey", "id", "createdTime", "updatedTime", "expiresAt", "relationship", "computed", "indexed"];
