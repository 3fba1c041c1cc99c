//! A disk in memory that can crash, tear, flip, fill up and fail; the same seed gives the same faults.

use super::{Disk, DiskFile, is_full};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a crash leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The process ended (`kill -9`): all that was written is there, though a later loss of power may still take it.
    Process,
    /// The power went: of what was not synced, each write is there, is not, or is there in part, in any order; of
    /// the names not synced, the first few changes are there.
    Power,
}

/// Files in memory. Cloning gives another handle on the same disk.
///
/// As strict as POSIX allows: content is durable once the file was synced, a name once the folder was.
#[derive(Clone)]
pub struct MemDisk(Arc<Mutex<State>>);

struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    names_synced: BTreeMap<String, usize>,
    renames: Vec<NameChange>, // Since the folder was synced.
    random: u64,
    operations: u64,
    crash_at: Option<u64>,
    syncs: u64,
    fail_sync: Option<u64>,
    capacity: Option<u64>,
    filled: usize,
    down: bool,
    power_ons: u64,
}

#[derive(Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    writes: Vec<Write>, // Since it was synced.
}

#[derive(Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl MemDisk {
    /// An empty disk; `seed` decides every fault that is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            renames: Vec::new(),
            random: seed,
            operations: 0,
            crash_at: None,
            syncs: 0,
            fail_sync: None,
            capacity: None,
            filled: 1,
            down: false,
            power_ons: 0,
        })))
    }

    /// How many operations there were that change anything: create, write, sync, truncate, rename, remove.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Goes down in the middle of the operation after `operations` of them: from there on, every operation fails,
    /// until [`MemDisk::restart`].
    pub fn crash_at(&self, operations: u64) {
        self.lock().crash_at = Some(operations);
    }

    /// Whether it went down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.lock().down
    }

    /// How many syncs of files there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Makes the sync after `syncs` of them fail. What it should have made durable is left to chance.
    pub fn fail_sync_at(&self, syncs: u64) {
        self.lock().fail_sync = Some(syncs);
    }

    /// Bounds the bytes of all files; `None`: no bound. A write beyond it is done in part and fails, as ENOSPC does.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Durable writes fill the file with zeros up to a multiple of this; of one byte unless it is called.
    pub fn fill_up_to(&self, bytes: usize) {
        self.lock().filled = bytes;
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// Whether there is a file with this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.lock().names.contains_key(name)
    }

    /// Flips one bit of a file, as it is and as it is on the platter. `bit` counts from the file's first byte.
    ///
    /// # Panics
    /// If there is no such file or bit.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut state = self.lock();
        let inode = state.names[name];
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        let inode = &mut state.inodes[inode];
        inode.now[byte] ^= mask;
        if let Some(byte) = inode.synced.get_mut(byte) {
            *byte ^= mask;
        }
    }

    /// Crashes, now or where [`MemDisk::crash_at`] said, and comes up again with what survived. Who still holds a file
    /// from before can do nothing with it any more.
    pub fn restart(&self, crash: Crash) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if crash == Crash::Power {
            state.lose_power();
        }
        state.down = false;
        state.crash_at = None;
        state.fail_sync = None;
        state.power_ons += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no operation panics")
    }
}

impl State {
    /// Counts an operation that changes something. `Err`: the disk is down, or goes down here.
    fn begin(&mut self) -> io::Result<()> {
        if !self.down && self.crash_at == Some(self.operations) {
            self.down = true;
        }
        self.operations += 1;
        self.up()
    }

    fn up(&self) -> io::Result<()> {
        if self.down { Err(io::Error::other("the disk is down")) } else { Ok(()) }
    }

    fn bytes(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].now.len() as u64).sum()
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lose_power(&mut self) {
        for at in 0..self.inodes.len() {
            let mut now = std::mem::take(&mut self.inodes[at].synced);
            for mut write in std::mem::take(&mut self.inodes[at].writes) {
                match self.below(4) {
                    0 => continue,
                    1 => write.tear(self),
                    _ => {}
                }
                write.apply(&mut now);
            }
            self.inodes[at].synced.clone_from(&now);
            self.inodes[at].now = now;
        }
        let kept = self.below(self.renames.len() as u64 + 1) as usize;
        for change in std::mem::take(&mut self.renames).into_iter().take(kept) {
            change.apply(&mut self.names_synced);
        }
        self.names = self.names_synced.clone();
    }

    /// A number below `bound` (SplitMix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

impl Write {
    /// Keeps a part of it: the first bytes, or the length with zeros where the data did not arrive.
    fn tear(&mut self, state: &mut State) {
        if let Write::Bytes { bytes, .. } = self {
            let kept = state.below(bytes.len() as u64 + 1) as usize;
            if state.below(2) == 0 {
                bytes.truncate(kept);
            } else {
                bytes[kept..].fill(0);
            }
        }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
            Write::Truncate(length) => to.resize(*length, 0),
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, inode) => {
                names.insert(name, inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            NameChange::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Disk for MemDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.begin()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.renames.push(NameChange::Create(name.to_owned(), inode));
        Ok(Arc::new(MemFile { disk: self.clone(), inode, power_on: state.power_ons }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.up()?;
        Ok(Arc::new(MemFile { disk: self.clone(), inode: state.inode(name)?, power_on: state.power_ons }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.up()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        state.inode(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change.clone().apply(&mut state.names);
        state.renames.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        state.inode(name)?;
        let change = NameChange::Remove(name.to_owned());
        change.clone().apply(&mut state.names);
        state.renames.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.begin()?;
        state.names_synced = state.names.clone();
        state.renames.clear();
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        format!("memory/{name}")
    }
}

struct MemFile {
    disk: MemDisk,
    inode: usize,
    power_on: u64, // Which life of the disk it was opened in.
}

impl MemFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.power_ons != self.power_on {
            return Err(io::Error::other("the file was opened before the disk was restarted"));
        }
        Ok(state)
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.lock()?;
        state.up()?;
        let bytes = state.inodes[self.inode].now.get(offset as usize..).unwrap_or_default();
        let length = bytes.len().min(into.len());
        into[..length].copy_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let begun = state.begin();
        let grows = (offset + bytes.len() as u64).saturating_sub(state.inodes[self.inode].now.len() as u64);
        let left = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.bytes()));
        let done = match &begun {
            Err(_) if state.crash_at != Some(state.operations - 1) => return begun,
            Err(_) => state.below(bytes.len() as u64 + 1) as usize, // The operation in which the disk goes down.
            Ok(()) if grows > left => bytes.len() - ((grows - left) as usize).min(bytes.len()),
            Ok(()) => bytes.len(),
        };
        let write = Write::Bytes { offset: offset as usize, bytes: bytes[..done].to_vec() };
        let inode = &mut state.inodes[self.inode];
        write.apply(&mut inode.now);
        inode.writes.push(write);
        begun?;
        if done < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write_durably_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset as usize + bytes.len();
        let zeros = end.next_multiple_of(self.lock()?.filled) - end;
        if zeros > 0 {
            match self.write_at(&[bytes, &vec![0; zeros]].concat(), offset) {
                Err(error) if is_full(&error) => {} // Perhaps there is room for all but the zeros.
                done => return done.and_then(|()| self.sync_data()),
            }
        }
        self.write_at(bytes, offset)?;
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.lock()?;
        state.up()?;
        Ok(state.inodes[self.inode].now.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        state.begin()?;
        state.syncs += 1;
        if state.fail_sync == Some(state.syncs - 1) {
            return Err(io::Error::other("a sync failed"));
        }
        let inode = &mut state.inodes[self.inode];
        for write in std::mem::take(&mut inode.writes) {
            write.apply(&mut inode.synced);
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.begin()?;
        let write = Write::Truncate(length as usize);
        let inode = &mut state.inodes[self.inode];
        write.apply(&mut inode.now);
        inode.writes.push(write);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(disk: &MemDisk, name: &str) -> Option<Vec<u8>> {
        let file = disk.open(name).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    #[test]
    fn what_was_synced_survives_and_a_name_only_with_its_folder() {
        for seed in 0..50 {
            let disk = MemDisk::new(seed);
            let (a, b) = (disk.create("a").unwrap(), disk.create("b").unwrap());
            disk.sync_dir().unwrap();
            a.write_at(b"kept", 0).unwrap();
            a.sync_data().unwrap();
            a.write_at(b" perhaps", 4).unwrap();
            b.write_at(b"perhaps", 0).unwrap();
            disk.create("c").unwrap();
            disk.restart(Crash::Power);
            assert!(content(&disk, "a").unwrap().starts_with(b"kept"));
            assert!(content(&disk, "b").unwrap().len() <= 7);
            assert!(a.len().is_err(), "a file from before the crash is of no use");
        }
    }

    #[test]
    fn a_process_that_ends_takes_nothing_with_it() {
        let disk = MemDisk::new(1);
        disk.create("a").unwrap().write_at(b"there", 0).unwrap();
        disk.restart(Crash::Process);
        assert_eq!(content(&disk, "a").unwrap(), b"there");
    }

    #[test]
    fn a_full_disk_takes_a_part_and_says_so() {
        let disk = MemDisk::new(1);
        let file = disk.create("a").unwrap();
        disk.set_capacity(Some(3));
        let full = file.write_at(b"hello", 0).unwrap_err();
        assert!(super::super::is_full(&full));
        assert_eq!(file.len().unwrap(), 3);
        disk.set_capacity(None);
        file.write_at(b"hello", 0).unwrap();
    }

    #[test]
    fn after_the_chosen_operation_the_disk_is_down_until_it_restarts() {
        let disk = MemDisk::new(1);
        let file = disk.create("a").unwrap();
        disk.crash_at(2);
        file.write_at(b"x", 0).unwrap();
        assert!(file.sync_data().is_err());
        assert!(disk.is_down() && file.len().is_err() && disk.list().is_err());
        disk.restart(Crash::Process);
        assert_eq!(content(&disk, "a").unwrap(), b"x");
    }
}
