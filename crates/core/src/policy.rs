//! Who somebody is, and whether they may.

use std::sync::Arc;

/// Somebody who has proven who they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Principal {
    /// The account; `None` without credentials.
    pub user: Option<Arc<str>>,
    /// May do everything.
    pub super_user: bool,
}

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Subscribe, read, watch.
    Read,
    /// Put a record.
    Put,
    /// Delete a record.
    Delete,
    /// Send an event.
    Publish,
}

/// Whether `principal` may do `operation` on `topic`, a topic or filter in its canonical spelling.
///
/// Without roles, super users may do everything and nobody else anything.
#[must_use]
pub fn may(principal: &Principal, _operation: Operation, _topic: &str) -> bool {
    principal.super_user
}
