//! `rowcast init`.

use super::GREEN;
use anyhow::{Context, bail};
use clap::Args;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where to write.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  rowcast init kennel && rowcast dev kennel")]
pub(super) struct Init {
    /// The folder to write to; made if it is not there
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        write(&self.folder)?;
        let folder = self.folder.display();
        for (name, _) in FILES {
            anstream::println!("{GREEN}wrote{GREEN:#} {}", self.folder.join(name).display());
        }
        anstream::println!("\nNext:\n  rowcast dev {folder}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes all files, or none if one of them is there already.
fn write(folder: &Path) -> anyhow::Result<()> {
    let present: Vec<&str> = FILES.iter().map(|(name, _)| *name).filter(|name| folder.join(name).exists()).collect();
    if !present.is_empty() {
        bail!("nothing written: {} has {} already", folder.display(), present.join(", "));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in FILES {
        let path = folder.join(name);
        // `create_new`: whatever appeared since it was looked for stays.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

const FILES: [(&str, &str); 4] = [
    ("schema.graphql", include_str!("init/schema.graphql")),
    ("rowcast.yaml", include_str!("init/rowcast.yaml")),
    ("README.md", include_str!("init/README.md")),
    (".gitignore", "/data/\n"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application;
    use crate::config::{Config, Given, Mode, load};

    #[test]
    fn what_is_written_works_and_changes_no_default() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("kennel");
        write(&folder).expect("written");
        let application = application::read(&folder).expect("an application");
        assert_eq!(&*application.catalog.tables()[0].name, "Dog");
        for mode in [Mode::Dev, Mode::Run] {
            let given = Given { folder: folder.clone(), ..Given::default() };
            let loaded = load(mode, &given).expect("a configuration");
            assert_eq!((loaded.config, loaded.warnings), (Config::new(mode, folder.clone()), vec![]));
        }
    }

    #[test]
    fn every_key_in_the_comments_is_one() {
        let uncommented: String = include_str!("init/rowcast.yaml")
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .flat_map(|line| [line, "\n"])
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("rowcast.yaml"), uncommented).expect("written");
        let given = Given { folder: folder.path().to_owned(), ..Given::default() };
        let loaded = load(Mode::Run, &given).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config, Config::new(Mode::Run, folder.path().to_owned()), "comments show the defaults");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("README.md"), "mine").expect("written");
        let error = write(folder.path()).expect_err("refused").to_string();
        assert!(error.ends_with("has README.md already"), "{error}");
        assert!(!folder.path().join("schema.graphql").exists());
        assert_eq!(std::fs::read_to_string(folder.path().join("README.md")).expect("read"), "mine");
    }
}
