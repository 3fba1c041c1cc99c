//! Roles as they are written: `roles.yaml`, or one role that is kept in the database.
//!
//! ```yaml
//! kennel:
//!   tables:
//!     Dog: { read: true, insert: true, attributes: { name: { read: true, insert: true } } }
//!   topics:
//!     - { filter: "home/%u/#", read: true, publish: true }
//! admin: { super_user: true }
//! ```
//!
//! Harper's form is read too: tables below the name of their database, and `attribute_permissions` as a list. Whatever
//! is not understood is a mistake, shown where it stands: a role that means something else than its author thinks is
//! worse than none.

use crate::access::Roles;
use crate::config::raw::{Key, Node, Place, Value, parse_file};
use crate::config::suggest::closest;
use rowcast_codec::TopicFilter;
use rowcast_core::catalog::{Catalog, ResolvedFilter};
use rowcast_core::policy::{AttributeGrant, Role, TableGrant, TopicGrant};
use rowcast_core::schema::{Diagnostic, Source, Table};
use serde_json::json;

/// Reads a whole file. Nothing but comments is no roles. Roles of which anything is wrong are not there at all.
pub fn read(source: &Source, catalog: &Catalog) -> Result<Roles, Vec<Diagnostic>> {
    let file = parse_file(source).map_err(|mistake| vec![mistake])?;
    let mut reader = Reader { catalog, mistakes: Vec::new() };
    let mut roles = Roles::new();
    for (name, node) in reader.entries(file, "roles, each a section like `reader:`") {
        if name.name.is_empty() || name.name.len() > NAME_BYTES_MAX || name.name.contains(char::is_control) {
            reader.refuse(&name.place(source), format!("a role's name has 1 to {NAME_BYTES_MAX} plain characters"));
            continue;
        }
        let place = name.place(source);
        let role = reader.role(node);
        if name.name == ADMIN && !role.super_user {
            let mistake = place.diagnostic(format!("`{ADMIN}` may do everything, whatever is written here"));
            reader.mistakes.push(mistake.help("give the role another name"));
        }
        roles.insert(name.name.into(), role);
    }
    if reader.mistakes.is_empty() { Ok(roles) } else { Err(reader.mistakes) }
}

/// A role as it would be written in `roles.yaml`, of which JSON is a part.
#[must_use]
pub fn to_json(role: &Role) -> serde_json::Value {
    if role.super_user {
        return json!({ "super_user": true });
    }
    let tables = role.tables.iter().map(|grant| (grant.table.to_string(), table_to_json(grant)));
    let topics = role
        .topics
        .iter()
        .map(|TopicGrant { filter, read, publish }| json!({ "filter": filter, "read": read, "publish": publish }));
    let mut written = serde_json::Map::new();
    if !role.tables.is_empty() {
        written.insert("tables".to_owned(), tables.collect());
    }
    if !role.topics.is_empty() {
        written.insert("topics".to_owned(), topics.collect());
    }
    written.into()
}

fn table_to_json(grant: &TableGrant) -> serde_json::Value {
    let TableGrant { table: _, read, insert, update, delete, publish, attributes } = grant;
    let mut written = json!({ "read": read, "insert": insert, "update": update, "delete": delete, "publish": publish });
    if let Some(attributes) = attributes {
        let one = |AttributeGrant { name, read, insert, update }: &AttributeGrant| {
            (name.to_string(), json!({ "read": read, "insert": insert, "update": update }))
        };
        written["attributes"] = attributes.iter().map(one).collect();
    }
    written
}

/// The role that is always one of super users.
const ADMIN: &str = crate::auth::Account::ADMIN;
/// Bytes of a role's name.
const NAME_BYTES_MAX: usize = 255;

/// What is found wrong, and what names can mean.
struct Reader<'c> {
    catalog: &'c Catalog,
    mistakes: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn role(&mut self, node: Node) -> Role {
        let mut role = Role::default();
        for (key, node) in self.entries(node, "what the role may do: `tables`, `topics` or `super_user`") {
            match &*key.name {
                "super_user" => role.super_user = self.flag(&node),
                "tables" => self.tables(node, None, &mut role.tables),
                "topics" => role.topics = self.topics(node),
                // Harper's: they say what nobody can do here by a role.
                "structure_user" | "cluster_user" => {}
                database if self.is_database(database) => self.database(&key, node, &mut role.tables),
                _ => self.unknown(&key, &node.place, &["super_user", "tables", "topics"]),
            }
        }
        role
    }

    // Tables -----------------------------------------------------------------------------------------------------------

    /// Whether a section holds Harper's form: the name of a database, or `database` for the default one.
    fn is_database(&self, name: &str) -> bool {
        name == DEFAULT_DATABASE
            || name == "database"
            || self.catalog.tables().iter().any(|table| *table.database == *name)
    }

    fn database(&mut self, database: &Key, node: Node, grants: &mut Vec<TableGrant>) {
        let name = if database.name == "database" { DEFAULT_DATABASE } else { &database.name };
        for (key, node) in self.entries(node, "`tables:`") {
            match &*key.name {
                "tables" => self.tables(node, Some(name), grants),
                _ => self.unknown(&key, &node.place, &["tables"]),
            }
        }
    }

    /// `database`: tables are named as that keeps them, and none of another is meant.
    fn tables(&mut self, node: Node, database: Option<&str>, grants: &mut Vec<TableGrant>) {
        let catalog = self.catalog;
        let is_meant = |table: &&Table, name: &str| match database {
            None => *table.name == *name,
            Some(database) => *table.database == *database && (*table.table == *name || *table.name == *name),
        };
        for (key, node) in self.entries(node, "tables by their names") {
            let place = key.place(&node.place.source);
            match catalog.tables().iter().find(|table| is_meant(table, &key.name)) {
                Some(table) if grants.iter().any(|grant| grant.table == table.name) => {
                    self.refuse(&place, format!("what may be done with `{}` is said twice", table.name));
                }
                Some(table) => grants.push(self.table(table, node)),
                None => {
                    let mistake = place.diagnostic(format!("there is no table `{}`", key.name));
                    let close = closest(&key.name, catalog.tables().iter().map(|table| &*table.name));
                    self.mistakes.push(with_help(mistake, close));
                }
            }
        }
    }

    fn table(&mut self, table: &Table, node: Node) -> TableGrant {
        let mut grant = TableGrant { table: table.name.clone(), ..TableGrant::default() };
        let mut attributes = None;
        for (key, node) in self.entries(node, "operations like `read: true`") {
            match &*key.name {
                "read" => grant.read = self.flag(&node),
                "insert" => grant.insert = self.flag(&node),
                "update" => grant.update = self.flag(&node),
                "delete" => grant.delete = self.flag(&node),
                "publish" => grant.publish = self.flag(&node),
                "attributes" | "attribute_permissions" if attributes.is_some() => {
                    self.refuse(&key.place(&node.place.source), "attributes are given twice".to_owned());
                }
                "attributes" => attributes = Some(self.attributes(table, node)),
                "attribute_permissions" => attributes = self.attribute_permissions(table, node),
                _ => {
                    let known = ["read", "insert", "update", "delete", "publish", "attributes"];
                    self.unknown(&key, &node.place, &known);
                }
            }
        }
        grant.attributes = attributes;
        grant
    }

    // Attributes -------------------------------------------------------------------------------------------------------

    fn attributes(&mut self, table: &Table, node: Node) -> Vec<AttributeGrant> {
        let mut grants = Vec::new();
        self.typed(table, &node.place);
        for (key, node) in self.entries(node, "attributes by their names") {
            let name = self.attribute(table, &key.name, &key.place(&node.place.source));
            let mut grant = AttributeGrant { name, ..AttributeGrant::default() };
            for (key, node) in self.entries(node, "operations like `read: true`") {
                self.attribute_flag(&key, &node, &mut grant);
            }
            grants.push(grant);
        }
        grants
    }

    /// Harper's list; an empty one means all attributes.
    fn attribute_permissions(&mut self, table: &Table, node: Node) -> Option<Vec<AttributeGrant>> {
        let items = match node.value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            other => {
                self.refuse(&node.place, format!("expected a list, found {other}"));
                return None;
            }
        };
        if !items.is_empty() {
            self.typed(table, &node.place);
        }
        let mut grants: Vec<AttributeGrant> = Vec::new();
        for item in items {
            let place = item.place.clone();
            let mut grant = AttributeGrant::default();
            for (key, node) in self.entries(item, "`attribute_name` and operations") {
                match (&*key.name, &node.value) {
                    ("attribute_name", Value::Text(name)) => grant.name = self.attribute(table, name, &node.place),
                    ("attribute_name", other) => self.refuse(&node.place, format!("expected a name, found {other}")),
                    _ => self.attribute_flag(&key, &node, &mut grant),
                }
            }
            if grant.name.is_empty() {
                self.refuse(&place, "there is no `attribute_name`".to_owned());
            } else if grants.iter().any(|other| other.name == grant.name) {
                self.refuse(&place, format!("attribute `{}` is given twice", grant.name));
            } else {
                grants.push(grant);
            }
        }
        (!grants.is_empty()).then_some(grants)
    }

    fn attribute_flag(&mut self, key: &Key, node: &Node, grant: &mut AttributeGrant) {
        match &*key.name {
            "read" => grant.read = self.flag(node),
            "insert" => grant.insert = self.flag(node),
            "update" => grant.update = self.flag(node),
            "delete" => drop(self.flag(node)), // Harper's: an attribute is deleted by an update.
            _ => self.unknown(key, &node.place, &["read", "insert", "update"]),
        }
    }

    /// The name, which must be declared: a mistyped one would hide what it was to show, and show what to hide.
    fn attribute(&mut self, table: &Table, name: &str, place: &Place) -> Box<str> {
        if table.is_typed() && table.attributes.get(name).is_none() {
            let mistake = place.diagnostic(format!("there is no attribute `{name}` in {}", table.name));
            let close = closest(name, table.attributes.iter().map(|attribute| &*attribute.name));
            self.mistakes.push(match close {
                Some(_) => with_help(mistake, close),
                None => mistake.help("declare it in the schema to give rights to it"),
            });
        }
        name.into()
    }

    fn typed(&mut self, table: &Table, place: &Place) {
        if !table.is_typed() {
            self.refuse(place, format!("{} takes any payload and declares no attributes", table.name));
        }
    }

    // Topics -----------------------------------------------------------------------------------------------------------

    fn topics(&mut self, node: Node) -> Vec<TopicGrant> {
        let items = match node.value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            other => {
                let mistake = node.place.diagnostic(format!("expected a list, found {other}"));
                self.mistakes.push(mistake.help("each begins with `- filter: `"));
                return Vec::new();
            }
        };
        items.into_iter().filter_map(|item| self.topic(item)).collect()
    }

    fn topic(&mut self, node: Node) -> Option<TopicGrant> {
        let place = node.place.clone();
        let mut grant = TopicGrant::default();
        for (key, node) in self.entries(node, "`filter:` and operations") {
            match (&*key.name, &node.value) {
                ("filter", Value::Text(filter)) => grant.filter = self.filter(filter, &node.place)?,
                ("filter", other) => self.refuse(&node.place, format!("expected a topic filter, found {other}")),
                ("read", _) => grant.read = self.flag(&node),
                ("publish", _) => grant.publish = self.flag(&node),
                _ => self.unknown(&key, &node.place, &["filter", "read", "publish"]),
            }
        }
        if grant.filter.is_empty() {
            self.refuse(&place, "there is no `filter`".to_owned());
            return None;
        }
        Some(grant)
    }

    fn filter(&mut self, filter: &str, place: &Place) -> Option<Box<str>> {
        // Placeholders become what has no meaning in a filter.
        let filled = filter.replace("%u", "user").replace("%c", "client");
        match TopicFilter::new(&filled) {
            Err(error) => self.refuse(place, format!("{filter:?} is no topic filter: {error}")),
            Ok(parsed) if parsed.share().is_some() => {
                self.refuse(place, "rights are given on the filter behind `$share/GROUP/`".to_owned());
            }
            Ok(_) => match self.catalog.resolve_filter(filter) {
                ResolvedFilter::Other => return Some(filter.into()),
                ResolvedFilter::Table { table, .. }
                | ResolvedFilter::Closed { table }
                | ResolvedFilter::BadKey { table, .. } => {
                    let mistake = place.diagnostic(format!("these are topics of the table {}", table.name));
                    self.mistakes.push(mistake.help("rights to its records are given below `tables:`"));
                }
            },
        }
        None
    }

    // Values -----------------------------------------------------------------------------------------------------------

    /// The entries of a section; nothing is an empty one.
    fn entries(&mut self, node: Node, expected: &str) -> Vec<(Key, Node)> {
        match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            other => {
                self.refuse(&node.place, format!("expected {expected}, found {other}"));
                Vec::new()
            }
        }
    }

    fn flag(&mut self, node: &Node) -> bool {
        match node.value {
            Value::Bool(flag) => flag,
            ref other => {
                self.refuse(&node.place, format!("expected true or false, found {other}"));
                false
            }
        }
    }

    fn unknown(&mut self, key: &Key, beside: &Place, known: &[&str]) {
        let mistake = key.place(&beside.source).diagnostic(format!("there is no key `{}` here", key.name));
        self.mistakes.push(match closest(&key.name, known.iter().copied()) {
            None => mistake.help(format!("there are: {}", known.join(", "))),
            close => with_help(mistake, close),
        });
    }

    fn refuse(&mut self, place: &Place, message: String) {
        self.mistakes.push(place.diagnostic(message));
    }
}

fn with_help(mistake: Diagnostic, close: Option<&str>) -> Diagnostic {
    match close {
        Some(close) => mistake.help(format!("did you mean `{close}`?")),
        None => mistake,
    }
}

/// Where tables are that say nothing else.
const DEFAULT_DATABASE: &str = "data";

#[cfg(test)]
mod tests;
