//! The disk as the store needs it: files by name inside one folder.
//!
//! The only room of the store that touches `std::fs`. Everything above speaks to [`Disk`], so that tests and the
//! simulator can run it over a [`MemDisk`] that crashes, tears, flips and fills up on request. (The table files of
//! `lsm-tree` are the exception: that library opens them itself.)

mod direct;
mod memory;

use crate::limits::DIRECT_BYTES_MAX;
use direct::Direct;
pub use memory::{Crash, MemDisk};

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Files by name inside one folder. Names have no separators.
pub trait Disk: Send + Sync {
    /// Makes an empty file; an error if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in place of whatever has that name. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; who has it open can go on reading it. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: files created, renamed and removed.
    fn sync_dir(&self) -> io::Result<()>;

    /// What to call a file in a message to people: its path.
    fn place(&self, name: &str) -> String;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Fills `into` from `offset` on; returns the number of bytes, fewer than asked for only at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. After an error, some of them may be there; not all, if it says that the disk is full.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` to the end of the file, durable when it returns; what was written before by other means need
    /// not be. Fewer than [`FILLED_BYTES`](crate::limits::FILLED_BYTES) zeros may stand behind them then, and behind what
    /// is written there later. After an error that does not say that the disk is full, all is as after one of
    /// [`DiskFile::sync_data`].
    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes its content and length durable. After an error nothing is known of what was written since the last
    /// success, and asking again proves nothing: the kernel may have dropped the pages.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts it to `length` bytes. Durable after [`DiskFile::sync_data`].
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// Whether an error says that there is no room: the one write error the store survives. That a file may be no larger
/// (`ulimit -f`) is one as well, where the process does not end of the signal that comes with it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A folder of the operating system, for this process alone.
///
/// Invariant: the file `lock` in it is locked for as long as the value lives. The system frees the lock when the
/// process ends, however it ends.
pub struct OsDisk {
    folder: PathBuf,
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error(
        "{folder} is in use by another process (it holds the lock on {folder}/lock): \
         stop that one, or give this one a folder of its own"
    )]
    Locked {
        /// Which folder.
        folder: PathBuf,
    },
    /// The system said no.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OsDisk {
    /// Takes the folder, making it if need be. It is kept to its owner (mode 0700): records are in it.
    pub fn open(folder: &Path) -> Result<OsDisk, FolderError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { doing, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("create the data folder", folder))?;
        let mode = folder.metadata().map_err(failed("look at the data folder", folder))?.permissions().mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(folder, Permissions::from_mode(0o700))
                .map_err(failed("close to other users the data folder", folder))?;
        }
        let lock_path = folder.join("lock");
        let lock = options().create(true).open(&lock_path).map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(OsDisk { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Locked { folder: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(FolderError::Io { doing: "lock", path: lock_path, source }),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Files are their owner's alone, and a link in their place is not followed out of the folder.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

impl Disk for OsDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        Ok(Arc::new(OsFile { file: options().create_new(true).open(&path)?, direct: Mutex::new(open_direct(&path)) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile { file: options().open(self.folder.join(name))?, direct: Mutex::default() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            // What is not valid UTF-8 or not a file is none of ours. A link is listed, and refused when opened.
            if let (Ok(name), false) = (entry.file_name().into_string(), entry.file_type()?.is_dir()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A new file as it is written directly; `None`: the file system cannot.
fn open_direct(path: &Path) -> Option<Direct> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::O_NOFOLLOW | libc::O_DIRECT | libc::O_DSYNC;
        options().custom_flags(flags).open(path).ok().map(Direct::new)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

struct OsFile {
    file: File,
    /// `None`: durable writes are ordinary ones with a sync behind them.
    direct: Mutex<Option<Direct>>,
}

impl OsFile {
    fn direct(&self) -> MutexGuard<'_, Option<Direct>> {
        self.direct.lock().expect("no holder panics")
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let whole = self.direct().as_ref().and_then(|direct| direct.whole_blocks(bytes, offset));
        if let Some((blocks, start)) = whole {
            match self.file.write_all_at(&blocks, start) {
                Err(error) if is_full(&error) => {} // Perhaps there is room for all but the zeros.
                done => return done,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.len() <= DIRECT_BYTES_MAX {
            let mut direct = self.direct();
            match direct.as_mut().map(|direct| direct.write(&self.file, bytes, offset)) {
                None => {}
                // Some file systems say only then that they cannot.
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => *direct = None,
                Some(Err(error)) if is_full(&error) => {} // Perhaps there is room for all but the zeros.
                Some(done) => return done,
            }
        }
        self.write_at(bytes, offset)?;
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DISK_BLOCK_BYTES, FILLED_BYTES};

    #[test]
    fn a_folder_and_its_files_are_their_owners_alone() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/b");
        let disk = OsDisk::open(&folder).unwrap();
        disk.create("x").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("x")), mode(&folder.join("lock"))), (0o700, 0o600, 0o600));
        drop(disk);
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let _disk = OsDisk::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_second_owner_of_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let refused = OsDisk::open(folder.path()).err().unwrap();
        assert!(matches!(refused, FolderError::Locked { .. }), "{refused}");
        drop(disk);
        OsDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn a_link_is_not_followed_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("x")).unwrap();
        assert!(disk.open("x").is_err());
        assert!(disk.create("x").is_err());
    }

    #[test]
    fn reads_are_short_only_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let file = disk.create("x").unwrap();
        file.write_at(b"hello", 2).unwrap();
        let mut bytes = [9; 10];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 7);
        assert_eq!(&bytes[..7], b"\0\0hello");
        file.truncate(3).unwrap();
        assert_eq!(file.len().unwrap(), 3);
    }

    #[test]
    fn what_is_written_durably_and_otherwise_in_turns_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let file = disk.create("x").unwrap();
        let block = DISK_BLOCK_BYTES;
        let lengths = [1, 100, block - 101, block, 3 * block + 7, 5, DIRECT_BYTES_MAX, DIRECT_BYTES_MAX + 1, 0, 9, 3];
        let mut expected: Vec<u8> = Vec::new();
        for (at, &length) in lengths.iter().cycle().take(4 * lengths.len()).enumerate() {
            let bytes: Vec<u8> = (0..length).map(|byte| (at + byte) as u8 | 1).collect();
            let write = if at % 5 < 3 { DiskFile::write_durably_at } else { DiskFile::write_at };
            write(&*file, &bytes, expected.len() as u64).unwrap();
            expected.extend(bytes);
            if at % 4 == 0 {
                file.truncate(expected.len() as u64).unwrap(); // Of the zeros behind it.
            }
            let mut found = vec![9; expected.len() + 2 * FILLED_BYTES];
            let length = file.read_at(&mut found, 0).unwrap();
            assert!(found.starts_with(&expected), "write {at}");
            assert!(
                length < expected.len() + FILLED_BYTES && found[expected.len()..length].iter().all(|&byte| byte == 0)
            );
        }
    }

    #[test]
    fn a_file_system_that_writes_nothing_directly_has_durable_writes_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        disk.create("x").unwrap();
        let file = disk.open("x").unwrap(); // Only new files are written directly.
        file.write_durably_at(b"hello", 0).unwrap();
        file.write_durably_at(b" there", 5).unwrap();
        let mut bytes = [9; 20];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 11);
        assert_eq!(&bytes[..11], b"hello there");
    }
}
