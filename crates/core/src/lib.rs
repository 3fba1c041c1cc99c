//! The meaning of rowcast, without sockets, files, threads or clocks: what a change is, who wants it, and what an
//! MQTT connection says next. Everything that happens is an argument; everything to be done is returned.

pub mod catalog;
mod change;
mod hlc;
pub mod interest;
pub mod limits;
pub mod mqtt;
mod names;
pub mod outbox;
mod places;
pub mod policy;
mod position;
mod proposal;
pub mod reach;
mod record;
pub mod replay;
pub mod schema;
pub mod session_quota;
pub mod shard;
pub mod sys;
pub mod tables;
pub mod validate;
pub mod value;

pub use change::{Change, ChangeKind, Entries, Entry, EntryError, set_hlc};
pub use hlc::{Clock, Hlc, Stamp};
pub use names::seed_names;
pub use position::{NodeId, Sequence, SessionId, TableId};
pub use proposal::{
    Audience, Batch, Completion, Decide, Decision, Durability, Outcome, Preparation, Proposal, Proposals, Redecide,
    Rejection, Token, older,
};
pub use record::{Record, RecordError};
