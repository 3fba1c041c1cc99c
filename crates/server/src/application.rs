//! The application folder: which files are in it, and what they declare.

use rowcast_core::schema::{Color, Diagnostic, Schema, Source, render};
use std::path::{Path, PathBuf};

/// Why a folder has no schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
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

/// Reads and checks the tables of the application in `folder`: `schema.graphql`, and other `*.graphql` files after it
/// in the order of their names.
pub fn read_schema(folder: &Path) -> Result<Schema, SchemaError> {
    let mut sources = Vec::new();
    for path in schema_files(folder)? {
        let text =
            std::fs::read_to_string(&path).map_err(|error| SchemaError::Unreadable { path: path.clone(), error })?;
        sources.push(Source::new(&path.display().to_string(), &text));
    }
    if sources.is_empty() {
        return Err(SchemaError::Missing(folder.to_owned()));
    }
    Schema::parse(&sources).map_err(SchemaError::Wrong)
}

/// What is in the folder and this version does not read, a sentence each: whoever wrote it expects something of it.
#[must_use]
pub fn unread_files(folder: &Path) -> Vec<String> {
    [
        ("roles.yaml", "roles are not available in this version: only super users may do anything"),
        ("hooks.js", "running hooks is not available in this version"),
    ]
    .into_iter()
    .filter(|(name, _)| folder.join(name).exists())
    .map(|(name, why)| format!("{name} is not read: {why}"))
    .collect()
}

fn schema_files(folder: &Path) -> Result<Vec<PathBuf>, SchemaError> {
    let unreadable = |error| SchemaError::Unreadable { path: folder.to_owned(), error };
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
        let schema = read_schema(folder.path()).expect("a schema");
        let names: Vec<&str> = schema.tables.iter().map(|table| &*table.name).collect();
        assert_eq!(names, ["Dog", "Ant", "Cat"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let empty = folder(&[]);
        assert!(matches!(read_schema(empty.path()), Err(SchemaError::Missing(_))));
        assert!(matches!(read_schema(&empty.path().join("nowhere")), Err(SchemaError::Unreadable { .. })));
        let wrong = folder(&[("schema.graphql", "type Dog @tabel { id: ID @id }")]);
        let error = read_schema(wrong.path()).expect_err("a mistake").to_string();
        assert!(error.contains("schema.graphql:1:10"), "{error}");
    }

    #[test]
    fn files_of_later_versions_are_mentioned() {
        let folder = folder(&[("hooks.js", ""), ("roles.yaml", "")]);
        assert_eq!(
            unread_files(folder.path()),
            [
                "roles.yaml is not read: roles are not available in this version: only super users may do anything",
                "hooks.js is not read: running hooks is not available in this version",
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
