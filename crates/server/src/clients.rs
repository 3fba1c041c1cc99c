//! Who is connected over MQTT, for those who look after the node.

use std::sync::Arc;

/// A client that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connected {
    /// Its identifier.
    pub client_id: Box<str>,
    /// Who it is.
    pub user: Option<Arc<str>>,
}

/// The clients of a node.
pub trait Clients: Send + Sync {
    /// The first `max` of those whose identifiers come behind `after`, in their order.
    fn connected(&self, after: &str, max: usize) -> Vec<Connected>;

    /// Ends a client's connection; its session stays. Returns whether it was there.
    fn dismiss(&self, client_id: &str) -> bool;
}
