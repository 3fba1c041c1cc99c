//! Finds the file of a configuration, and makes the [`Config`] of it and all else that was given.

use super::keys::read_keys;
use super::read::Unknown;
use super::{Config, Mode};
use rowcast_core::schema::{Color, Diagnostic, Source, render};
use std::path::{Path, PathBuf};

/// What a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The application folder.
    pub folder: PathBuf,
    /// The file to read instead of the folder's `rowcast.yaml`.
    pub file: Option<PathBuf>,
    /// `path=value` each, from the command line; the last of one path holds.
    pub flags: Vec<String>,
    /// Names and values; those that do not begin with `ROWCAST_` are ignored.
    pub environment: Vec<(String, String)>,
}

/// A configuration, and what its author should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// A sentence each.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such application folder.
    #[error("{} is not a folder", .0.display())]
    NoFolder(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Mistakes in what was given, all of them.
    #[error("{}", render(.0, Color::Never))]
    Wrong(Vec<Diagnostic>),
}

/// Makes the configuration of `mode`.
pub fn load(mode: Mode, given: &Given) -> Result<Loaded, LoadError> {
    if !given.folder.is_dir() {
        return Err(LoadError::NoFolder(given.folder.clone()));
    }
    let unreadable = |path: &Path, error| LoadError::Unreadable { path: path.to_owned(), error };
    let folder = std::path::absolute(&given.folder).map_err(|error| unreadable(&given.folder, error))?;
    let own = given.folder.join("rowcast.yaml");
    let file = given.file.clone().or_else(|| own.exists().then_some(own));
    let source = match &file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
            Some(Source::new(&path.display().to_string(), &text))
        }
        None => None,
    };
    let unknown = match &file {
        Some(path) if is_harper(path) => Unknown::Mention,
        _ => Unknown::Refuse,
    };
    let defaults = Config::new(mode, folder);
    let (config, mut warnings) = read_keys(mode, defaults, source, unknown, given).map_err(LoadError::Wrong)?;
    if file.is_none() && given.folder.join("rowcast.yml").exists() {
        warnings.push("rowcast.yml is not read: the file is named rowcast.yaml".to_owned());
    }
    Ok(Loaded { config, file, warnings })
}

/// The other program's file, whose sections of the same name mean the same.
fn is_harper(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "harperdb-config.yaml" || name == "harper-config.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let given = Given { folder: folder.path().to_owned(), ..Given::default() };
        let load_here = || load(Mode::Run, &given);
        assert_eq!(load_here().expect("defaults").file, None);
        std::fs::write(folder.path().join("rowcast.yml"), "").expect("written");
        assert_eq!(
            load_here().expect("defaults").warnings,
            ["rowcast.yml is not read: the file is named rowcast.yaml"]
        );
        std::fs::write(folder.path().join("rowcast.yaml"), "threads: { count: 7 }").expect("written");
        let loaded = load_here().expect("a configuration");
        assert_eq!((loaded.config.threads.get(), loaded.warnings), (7, vec![]));
        assert_eq!(loaded.config.storage.path, folder.path().join("data"));
        let given = Given { folder: folder.path().join("nowhere"), ..Given::default() };
        assert!(matches!(load(Mode::Run, &given), Err(LoadError::NoFolder(_))));
        let given = Given { file: Some("nowhere.yaml".into()), folder: folder.path().to_owned(), ..Given::default() };
        assert!(matches!(load(Mode::Run, &given), Err(LoadError::Unreadable { .. })));
    }
}
