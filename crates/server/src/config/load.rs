//! Finds the file of a configuration, and makes the [`Config`] of it and all else that was given.

use super::layers::PREFIX;
use super::read::{self, Dialect};
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

impl Given {
    /// The variables of this process.
    pub fn environment() -> Result<Vec<(String, String)>, LoadError> {
        let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        ours.filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| match value.into_string() {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(LoadError::NotText(name)),
            })
            .collect()
    }
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
    /// A variable of ours that is no text.
    #[error("the environment variable {0} is not UTF-8")]
    NotText(String),
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
    // A link that leads nowhere, or a folder that may not be searched, is not as good as no file: it would start with
    // defaults what was configured to be closed.
    let own = given.folder.join(FILE);
    let is_there = |path: &Path| match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unreadable(path, error)),
    };
    let file = match &given.file {
        Some(file) => Some(file.clone()),
        None => is_there(&own)?.then_some(own),
    };
    let source = match &file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
            Some(Source::new(&path.display().to_string(), &text))
        }
        None => None,
    };
    let dialect = match &file {
        Some(path) if is_harper(path) => Dialect::Harper,
        _ => Dialect::Ours,
    };
    let (config, mut warnings) = read::read(mode, folder, source, dialect, given).map_err(LoadError::Wrong)?;
    if file.is_none() && given.folder.join("rowcast.yml").exists() {
        warnings.push("rowcast.yml is not read: the file is named rowcast.yaml".to_owned());
    }
    Ok(Loaded { config, file, warnings })
}

/// The file of the configuration, in the application's folder.
pub(crate) const FILE: &str = "rowcast.yaml";

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
        assert_eq!((loaded.config.threads.number().get(), loaded.warnings), (7, vec![]));
        assert_eq!(loaded.config.storage.path, folder.path().join("data"));
        // A file that leads nowhere is not the absence of one.
        std::fs::remove_file(folder.path().join("rowcast.yaml")).expect("removed");
        std::os::unix::fs::symlink("nowhere.yaml", folder.path().join("rowcast.yaml")).expect("a link");
        assert!(matches!(load_here(), Err(LoadError::Unreadable { .. })));
        let given = Given { folder: folder.path().join("nowhere"), ..Given::default() };
        assert!(matches!(load(Mode::Run, &given), Err(LoadError::NoFolder(_))));
        let given = Given { file: Some("nowhere.yaml".into()), folder: folder.path().to_owned(), ..Given::default() };
        assert!(matches!(load(Mode::Run, &given), Err(LoadError::Unreadable { .. })));
    }
}
