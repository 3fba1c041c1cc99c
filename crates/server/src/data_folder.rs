//! Whether a data folder can be trusted: it holds everything, keys and hashes of passwords among it.

use rustix::process::geteuid;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Somebody else on this machine can reach what is in it, or could until now.
    #[error(
        "the data folder {0} is open to other users of this machine (mode {mode:04o}): `chmod 700 {0}` shuts it; \
         or name a folder within it in storage.path, {0}/rowcast for example, which is made for its owner alone",
        folder.display()
    )]
    Open {
        /// The folder.
        folder: PathBuf,
        /// What its permissions are.
        mode: u32,
    },
    /// Something in it is elsewhere.
    #[error(
        "{} is a symbolic link, and nothing in a data folder may be: move the folder as a whole, and name it in \
         storage.path",
        .0.display()
    )]
    Link(PathBuf),
    /// It cannot be looked at.
    #[error("cannot look at {}: {error}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Looks at a data folder before anything is read or written in it, and changes nothing. One that is not there yet is
/// made by the store for its owner alone, and one that is empty is shut by it. The folder may be a link itself: whoever
/// named it knows where it leads.
pub fn check(folder: &Path) -> Result<(), DataFolderError> {
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DataFolderError::Unreadable { path: folder.to_owned(), error }),
    };
    let found = look(folder)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !(found == Found::Nothing && is_ours(&metadata)) {
        return Err(DataFolderError::Open { folder: folder.to_owned(), mode });
    }
    Ok(())
}

/// The same for who only wants to know: what is somebody else's is theirs to look at.
pub fn check_own(folder: &Path) -> Result<(), DataFolderError> {
    match fs::metadata(folder) {
        Ok(metadata) if is_ours(&metadata) => check(folder),
        _ => Ok(()),
    }
}

/// What is in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Nothing,
    Something,
}

/// Fails at a link.
fn look(root: &Path) -> Result<Found, DataFolderError> {
    let unreadable = |path: &Path, error| DataFolderError::Unreadable { path: path.to_owned(), error };
    let mut found = Found::Nothing;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            if folder == root && entry.file_name() == OF_THE_FILE_SYSTEM {
                continue;
            }
            found = Found::Something;
            let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), error))?;
            if kind.is_symlink() {
                return Err(DataFolderError::Link(entry.path()));
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Whether it is for us to say who may enter it.
fn is_ours(folder: &Metadata) -> bool {
    let us = geteuid();
    us.is_root() || us.as_raw() == folder.uid()
}

/// At the top of a file system of its own, as volumes are; readable by nobody but root.
const OF_THE_FILE_SYSTEM: &str = "lost+found";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    const OPEN: &[u32] = &[0o755, 0o750, 0o770, 0o777, 0o701, 0o1777, 0o2750];

    fn set(folder: &Path, mode: u32) {
        fs::set_permissions(folder, Permissions::from_mode(mode)).expect("its owner may");
    }

    // [hostile 62]
    #[test]
    fn a_folder_that_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("0.log"), "").expect("written");
        for &mode in OPEN {
            set(folder.path(), mode);
            let error = check(folder.path()).expect_err("others can reach it").to_string();
            assert!(error.contains(&format!("(mode {mode:04o}): `chmod 700 {}`", folder.path().display())), "{error}");
        }
        for mode in [0o700, 0o2700] {
            set(folder.path(), mode);
            check(folder.path()).expect("its owner's alone");
        }
        check(&folder.path().join("later")).expect("one that will be made");
        let file = check(&folder.path().join("0.log")).expect_err("it is none").to_string();
        assert!(file.contains("0.log: Not a directory"), "{file}");
    }

    #[test]
    fn an_empty_one_can_still_be_shut() {
        let folder = tempfile::tempdir().expect("a folder");
        for &mode in OPEN {
            set(folder.path(), mode);
            check(folder.path()).expect("nothing is in it");
        }
        fs::create_dir(folder.path().join("lost+found")).expect("made");
        check(folder.path()).expect("nothing of ours is in it");
        fs::create_dir(folder.path().join("keys")).expect("made");
        check(folder.path()).expect_err("something is in it");
    }

    // [hostile 62]
    #[test]
    fn links_in_the_folder_are_refused_and_it_may_be_one() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(outside.path().join("data/log")).expect("made");
        let data = outside.path().join("data");
        set(&data, 0o700);
        symlink(&data, outside.path().join("link")).expect("a link");
        check(&outside.path().join("link")).expect("the folder itself may be elsewhere");
        for (link, target) in [("log/0.log", "/etc/passwd"), ("log/gone", "/nowhere/at/all"), ("keys", "/tmp")] {
            symlink(target, data.join(link)).expect("a link");
            let error = check(&data).expect_err("a link").to_string();
            assert!(error.contains(&format!("{} is a symbolic link", data.join(link).display())), "{error}");
            fs::remove_file(data.join(link)).expect("removed");
        }
        check(&data).expect("no link is left");
    }
}
