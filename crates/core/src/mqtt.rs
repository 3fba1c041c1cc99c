//! What one MQTT client is owed and owes, kept small enough to be tested on its own; `shard` decides what happens.

mod doubtful;
pub mod ended;
pub mod group;
pub mod replay;
pub mod session;
pub mod snapshots;
pub mod window;
