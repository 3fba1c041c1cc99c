//! A file of lines that is its owner's alone, and is put aside when it is full.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where lines go, and how much of them is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditFile {
    /// The file being written. Those put aside have `.1` and so on behind its name, the oldest the highest.
    pub path: PathBuf,
    /// Bytes of a file, more or less a line.
    pub bytes: u64,
    /// Files put aside.
    pub files: u32,
}

pub(super) struct Writer {
    settings: AuditFile,
    file: File,
    /// Bytes of the file, with those that wait.
    written: u64,
    waiting: Vec<u8>,
}

impl Writer {
    pub(super) fn open(settings: &AuditFile) -> io::Result<Writer> {
        if let Some(folder) = settings.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open(&settings.path)?;
        let written = file.metadata()?.len();
        Ok(Writer { settings: settings.clone(), file, written, waiting: Vec::new() })
    }

    /// Adds a line with its end, which is in the file when it has been flushed.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.written > 0 && self.written + line.len() as u64 >= self.settings.bytes {
            self.flush()?;
            self.put_aside()?;
        }
        self.waiting.extend_from_slice(line);
        self.written += line.len() as u64;
        if self.waiting.len() >= WAITING_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the lines that wait; returns their bytes. Those that cannot be written are gone.
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        let waiting = std::mem::take(&mut self.waiting);
        self.file.write_all(&waiting).map(|()| waiting.len())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let AuditFile { path, files, .. } = &self.settings;
        let numbered = |number: u32| {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..*files).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        match files {
            0 => fs::remove_file(path)?,
            _ => fs::rename(path, numbered(1))?,
        }
        (self.file, self.written) = (open(path)?, 0);
        Ok(())
    }
}

/// Bytes of lines that are written together.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// A link would have us write where somebody else wants.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let mut writer = Writer::open(&AuditFile { path: path.clone(), bytes: 30, files: 2 }).expect("open");
        for number in 0..9 {
            writer.write(format!("line number {number}\n").as_bytes()).expect("written");
        }
        assert_eq!(fs::read_to_string(&path).expect("there"), "");
        writer.flush().expect("written");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        assert_eq!(read("audit.log"), "line number 8\n");
        assert_eq!(read("audit.log.1"), "line number 6\nline number 7\n");
        assert_eq!(read("audit.log.2"), "line number 4\nline number 5\n");
        assert!(!folder.path().join("audit.log.3").exists());
        drop(writer);
        let mut writer = Writer::open(&AuditFile { path, bytes: 30, files: 0 }).expect("open");
        writer.write(b"line number 9\n").expect("written");
        writer.write(b"line number 10\n").expect("written");
        writer.flush().expect("written");
        assert_eq!(read("audit.log"), "line number 10\n");
    }

    #[test]
    fn a_link_is_not_followed_and_a_file_others_may_read_is_shut() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, target) = (folder.path().join("audit.log"), folder.path().join("target"));
        fs::write(&target, "").expect("written");
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        let settings = AuditFile { path: path.clone(), bytes: 30, files: 1 };
        assert!(Writer::open(&settings).is_err());
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("shown");
        Writer::open(&settings).expect("open");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
