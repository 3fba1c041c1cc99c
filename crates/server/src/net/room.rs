//! Room for connections among the files that a process may have open.

use std::io::{self, stderr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// How many file descriptors connections may take. The others are for files: a node that could not begin the next
/// segment of its log would have to end.
///
/// The system gives out the lowest number that is free, so the number of the next one says how many are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// The first number that is not for connections.
    end: RawFd,
    /// How many connections there is room for.
    connections: u64,
}

impl Room {
    /// Where the process may have `limit` descriptors, and of those that are free by now `for_files` are kept for files,
    /// or half of them where that is too much.
    pub fn new(limit: u64, for_files: u64) -> io::Result<Room> {
        let next = u64::try_from(next()?).unwrap_or(0);
        let free = limit.saturating_sub(next);
        let connections = free - for_files.min(free / 2);
        Ok(Room { end: RawFd::try_from(next + connections).unwrap_or(RawFd::MAX), connections })
    }

    /// How many connections there is room for.
    #[must_use]
    pub fn connections(self) -> u64 {
        self.connections
    }

    /// Whether a connection with this descriptor has taken the last of it.
    #[must_use]
    pub fn ends_with(self, descriptor: RawFd) -> bool {
        descriptor >= self.end - 1
    }

    /// Returns when there is room again.
    pub async fn again(self) {
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            if next().is_ok_and(|next| next < self.end) {
                return;
            }
        }
    }
}

/// The number that the next descriptor gets.
fn next() -> io::Result<RawFd> {
    Ok(stderr().as_fd().try_clone_to_owned()?.as_raw_fd())
}

/// A look costs two system calls.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
