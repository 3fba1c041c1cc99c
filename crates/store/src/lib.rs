//! Durability for rowcast: one ordered log, the tables folded from it, and the one thread that writes both.
//!
//! The log is the only way in. A [`Writer`] turns proposals into frames of the log, applies them to the tables
//! ([`State`]) and shows them to readers; everybody else holds a [`Store`] and looks. What is kept on disk and how is
//! in `docs/log-format.md`.

mod damage;
pub mod disk;
mod error;
pub mod limits;
mod log;
mod meta;
mod queue;
mod quiet;
mod reader;
pub mod reads;
mod room;
mod store;
mod tables;
mod tail;
mod writer;

pub use damage::{Damage, Damages, Mend};
pub use disk::{Crash, Disk, DiskFile, FolderError, MemDisk, OsDisk};
pub use error::{OpenError, ReadError, StateError, StoreError};
pub use log::{Cut, LogSync, Retention, Verify};
pub use queue::Queue;
pub use reader::LogPage;
pub use room::DiskRoom;
pub use store::{Opened, Options, Stats, Store};
pub use tables::{Due, Effect, LsmState, MemState, Page, RecordBytes, Room, Scan, State, Unreadable};
pub use writer::{Committed, More, Origin, Sink, Writer, spawn};
