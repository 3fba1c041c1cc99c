//! The application folder: which files are in it, and what they declare.

use crate::access::Roles;
use crate::roles;
use rowcast_core::catalog::Catalog;
use rowcast_core::schema::{Color, Diagnostic, Schema, Source, render};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a folder is no application.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// There is no `*.graphql` file.
    #[error("there is no schema.graphql in {}; `rowcast init` writes one", .0.display())]
    Missing(PathBuf),
    /// A file or the folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Mistakes in the files, all of them.
    #[error("{}", render(.0, Color::Never))]
    Wrong(Vec<Diagnostic>),
}

/// What the files of an application declare.
#[derive(Debug)]
pub struct Application {
    /// Its tables.
    pub catalog: Catalog,
    /// What `roles.yaml` grants; nothing without one.
    pub roles: Roles,
}

/// Reads and checks the application in `folder`.
pub fn read(folder: &Path) -> Result<Application, ApplicationError> {
    let catalog = Catalog::new(read_schema(folder)?);
    let path = folder.join(ROLES);
    let roles = match std::fs::read_to_string(&path) {
        Ok(text) => roles::read(&Source::new(&path.display().to_string(), &text), &catalog),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Roles::new()),
        Err(error) => return Err(ApplicationError::Unreadable { path, error }),
    };
    let roles = roles.map_err(ApplicationError::Wrong)?;
    Ok(Application { catalog, roles })
}

/// The file of roles.
pub const ROLES: &str = "roles.yaml";

/// Reads and checks the tables of the application in `folder`: `schema.graphql`, and other `*.graphql` files after it
/// in the order of their names.
fn read_schema(folder: &Path) -> Result<Schema, ApplicationError> {
    let mut sources = Vec::new();
    for path in schema_files(folder)? {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ApplicationError::Unreadable { path: path.clone(), error })?;
        sources.push(Source::new(&path.display().to_string(), &text));
    }
    if sources.is_empty() {
        return Err(ApplicationError::Missing(folder.to_owned()));
    }
    Schema::parse(&sources).map_err(ApplicationError::Wrong)
}

/// What is in the folder and this version does not read, a sentence each: whoever wrote it expects something of it.
#[must_use]
pub fn unread_files(folder: &Path) -> Vec<String> {
    [("hooks.js", "running hooks is not available in this version"), ("roles.yml", "the file is named roles.yaml")]
        .into_iter()
        .filter(|(name, _)| folder.join(name).exists())
        .map(|(name, why)| format!("{name} is not read: {why}"))
        .collect()
}

fn schema_files(folder: &Path) -> Result<Vec<PathBuf>, ApplicationError> {
    let unreadable = |error| ApplicationError::Unreadable { path: folder.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "graphql") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| (path.file_name().is_none_or(|name| name != "schema.graphql"), path.clone()));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_graphql_files_together_are_the_schema() {
        let folder = folder(&[
            ("b.graphql", "type Cat @table { id: ID @id }"),
            ("schema.graphql", "type Dog @table { id: ID @id }"),
            ("a.graphql", "type Ant @table { id: ID @id }"),
            ("notes.txt", "type Not @table"),
        ]);
        let Application { catalog, roles } = read(folder.path()).expect("an application");
        assert!(roles.is_empty(), "nothing is granted where nobody has written anything");
        let names: Vec<&str> = catalog.tables().iter().map(|table| &*table.name).collect();
        assert_eq!(names, ["Dog", "Ant", "Cat"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let empty = folder(&[]);
        assert!(matches!(read(empty.path()), Err(ApplicationError::Missing(_))));
        assert!(matches!(read(&empty.path().join("nowhere")), Err(ApplicationError::Unreadable { .. })));
        let wrong = folder(&[("schema.graphql", "type Dog @tabel { id: ID @id }")]);
        let error = read(wrong.path()).expect_err("a mistake").to_string();
        assert!(error.contains("schema.graphql:1:10"), "{error}");
        let schema = ("schema.graphql", "type Dog @table { id: ID @id }");
        let wrong = self::folder(&[schema, ("roles.yaml", "reader: { tables: { Dgo: { read: true } } }")]);
        let error = read(wrong.path()).expect_err("a mistake").to_string();
        assert!(error.contains("roles.yaml:1:21") && error.contains("did you mean `Dog`?"), "{error}");
    }

    #[test]
    fn files_of_later_versions_are_mentioned() {
        let folder = folder(&[("hooks.js", ""), ("roles.yml", "")]);
        assert_eq!(
            unread_files(folder.path()),
            [
                "hooks.js is not read: running hooks is not available in this version",
                "roles.yml is not read: the file is named roles.yaml",
            ]
        );
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }
}
