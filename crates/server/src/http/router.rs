//! From a path to what it names.

use super::problem::Problem;
use super::{admin, token};
use crate::db::TableRef;
use rowcast_core::policy::{Operation, Rights, Sight};
use rowcast_core::tables::Tables;
use std::sync::Arc;

/// What a path names.
#[derive(Debug)]
pub(super) enum Resource {
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/$admin/token`, which is for every user.
    Token(token::Resource),
    /// Below `/$admin/`.
    Admin(admin::Resource),
    /// `/dog`: the table itself.
    Table(TableRef),
    /// `/dog/`, all of its records; `/dog/a/?`, those below `a`.
    Records { table: TableRef, below: Option<String> },
    /// `/dog/123`: the record of that key, as text.
    Record { table: TableRef, key: String },
}

impl Resource {
    /// Whether somebody may do this here; of several records, whether there could be some they may do it to.
    pub(super) fn is_allowed(&self, rights: &Rights, operation: Operation) -> bool {
        let (table, filter) = match self {
            Self::Health | Self::Ready | Self::Token(_) => return true,
            Self::Admin(_) => return rights.is_everything(),
            Self::Record { table, key } => return rights.may(operation, table.id(), key),
            Self::Table(table) | Self::Records { table, below: None } => (table, "#".to_owned()),
            Self::Records { table, below: Some(below) } => (table, format!("{below}/#")),
        };
        if !table.is_open_topics() {
            return rights.may(operation, table.id(), "");
        }
        // Several open topics can only be read; what else there is a right to is for the method to say.
        operation != Operation::Read || rights.sight_of_topics(&filter) != Sight::Nothing
    }
}

/// Whether topics that belong to no table are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenTopics {
    /// They are.
    Kept,
    /// They are refused.
    Refused,
}

/// What a decoded path names. A trailing slash belongs to the key (`/dog/a/` is the record `a/`), unless a `?` follows
/// it, be the query empty: then the records below are meant.
pub(super) fn resolve(
    tables: &Arc<Tables>,
    open_topics: OpenTopics,
    path: &str,
    query: Option<&str>,
) -> Result<Resource, Problem> {
    match path {
        "health" => return Ok(Resource::Health),
        "ready" => return Ok(Resource::Ready),
        _ => {}
    }
    if let Some(resource) = token::Resource::resolve(path) {
        return Ok(Resource::Token(resource));
    }
    if let Some(below) = path.strip_prefix(ADMIN) {
        let resource = admin::Resource::resolve(below);
        return resource.map(Resource::Admin).ok_or_else(|| Problem::not_found("nothing has this path"));
    }
    let (table, rest) = table(tables, open_topics, path).ok_or_else(|| Problem::not_found("no table has this path"))?;
    Ok(match rest {
        None => Resource::Table(table),
        Some("") => Resource::Records { table, below: None },
        Some(rest) => match rest.strip_suffix('/').filter(|_| query.is_some()) {
            Some(below) => Resource::Records { table, below: Some(below.to_owned()) },
            None => Resource::Record { table, key: rest.to_owned() },
        },
    })
}

/// The table a path begins with the name of, if it is open to HTTP, and what follows the slash behind that name.
fn table<'p>(tables: &Arc<Tables>, open_topics: OpenTopics, path: &'p str) -> Option<(TableRef, Option<&'p str>)> {
    let (first, below) = match path.split_once('/') {
        Some((first, below)) => (first, Some(below)),
        None => (path, None),
    };
    if first == OPEN_TOPICS {
        return (open_topics == OpenTopics::Kept).then(|| (TableRef::open_topics(tables), below));
    }
    let (table, rest) = tables.catalog().split_path(path)?;
    let is_open = table.export.as_ref().is_some_and(|export| export.doors.rest);
    let has_slash = !rest.is_empty() || path.ends_with('/');
    is_open.then(|| (TableRef::declared(tables, table), has_slash.then_some(rest)))
}

const OPEN_TOPICS: &str = "$topics";
const ADMIN: &str = "$admin/";

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_core::catalog::Catalog;
    use rowcast_core::schema::{Schema, Source};
    use rowcast_core::{Durability, TableId};

    #[test]
    fn a_path_is_a_table_and_a_key() {
        check("dog", None, "table Dog");
        check("Dog", Some(""), "table Dog");
        check("dog/", None, "all of Dog");
        check("dog/", Some("limit(1)"), "all of Dog");
        check("dog/123", None, "123 of Dog");
        check("dog/a/b", None, "a/b of Dog");
        check("dog/a/", None, "a/ of Dog");
        check("dog/a/", Some(""), "below a of Dog");
        check("dog/a/b/", Some("x=1"), "below a/b of Dog");
        check("dog//x", None, "/x of Dog");
        check("dog//", Some(""), "below  of Dog");
        check("dog/../x", None, "../x of Dog");
    }

    #[test]
    fn the_longest_name_wins() {
        check("farm/animals", None, "table Farm");
        check("farm/animals/", None, "all of Farm");
        check("farm/animals/x", None, "x of Farm");
        check("farm/animals/dogs", None, "table FarmDog");
        check("farm/animals/dogs/x", None, "x of FarmDog");
        check("farm/animals/dogsx", None, "dogsx of Farm");
    }

    #[test]
    fn what_is_not_open_to_http_is_not_there() {
        for path in ["", "/", "cat", "cat/1", "hidden", "hidden/1", "closed", "closed/1", "farm", "farm/x", "DOG/1"] {
            check(path, None, "nothing");
        }
        for path in [
            "health/", "/health", "ready/x", "metrics", "$admin", "$admin/", "$admin/x", "$SYS/x", "topics/x", "..",
            "../dog/1",
        ] {
            check(path, None, "nothing");
        }
        check("health", None, "health");
        check("ready", Some("x"), "ready");
    }

    #[test]
    fn what_is_for_administrators_has_names() {
        check("$admin/users", None, "Users");
        check("$admin/users/", None, "Users");
        check("$admin/users/rex", None, r#"User("rex")"#);
        check("$admin/roles/kennel", None, r#"Role("kennel")"#);
        check("$admin/sessions", Some("after=x"), "Sessions");
        check("$admin/connections/a/b", None, r#"Connection("a/b")"#);
        check("$admin/token", None, "Pair");
        check("$admin/token/refresh", None, "Refreshed");
        check("$admin/token/", None, "nothing");
        check("$admin/connections/", None, "nothing");
        check("$admin/sessions/x", None, "nothing");
    }

    #[test]
    fn open_topics_have_a_table_while_they_are_kept() {
        check("$topics", None, "table $topics");
        check("$topics/", None, "all of $topics");
        check("$topics/home/temp", None, "home/temp of $topics");
        check("$topics//a", None, "/a of $topics");
        check("$topics/home/", Some(""), "below home of $topics");
        let tables = tables();
        assert!(resolve(&tables, OpenTopics::Refused, "$topics/home/temp", None).is_err());
    }

    fn tables() -> Arc<Tables> {
        let schema = r#"
            type Dog @table @export { id: ID @id name: String }
            type Farm @table @export(name: "farm/animals")
            type FarmDog @table @export(name: "farm/animals/dogs")
            type Hidden @table
            type Closed @table @export(rest: false)
        "#;
        let schema = Schema::parse(&[Source::new("schema.graphql", schema)]).expect("a schema");
        let id = |table: &rowcast_core::schema::Table| TableId(64 + table.index.0);
        Arc::new(Tables::new(Catalog::new(schema), Durability::Sync, id))
    }

    #[track_caller]
    fn check(path: &str, query: Option<&str>, expected: &str) {
        let name = |table: &TableRef| table.table().name.clone();
        let found = match resolve(&tables(), OpenTopics::Kept, path, query) {
            Err(_) => "nothing".to_owned(),
            Ok(Resource::Health) => "health".to_owned(),
            Ok(Resource::Ready) => "ready".to_owned(),
            Ok(Resource::Token(resource)) => format!("{resource:?}"),
            Ok(Resource::Admin(resource)) => format!("{resource:?}"),
            Ok(Resource::Table(table)) => format!("table {}", name(&table)),
            Ok(Resource::Records { table, below: None }) => format!("all of {}", name(&table)),
            Ok(Resource::Records { table, below: Some(below) }) => format!("below {below} of {}", name(&table)),
            Ok(Resource::Record { table, key }) => format!("{key} of {}", name(&table)),
        };
        assert_eq!(found, expected, "{path}?{query:?}");
    }
}
