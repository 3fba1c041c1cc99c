//! Wires the rooms: the order of start, the order of stop.

use crate::config::{Config, Mode};

/// Runs the application until it is told to stop.
pub fn run(_config: Config, _mode: Mode) -> anyhow::Result<()> {
    anyhow::bail!("this version cannot serve yet")
}
