//! What of the tables cannot be read: where that is, what it means, and how it is mended.
//!
//! The log is the truth, and tables are made again from it as long as it reaches back to its beginning. So damage to a
//! table file is told and gone around, and harms whoever needs what is in it; nobody else.

use crate::limits::DAMAGES_MAX;
use rowcast_core::TableId;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Part of a file of the tables that cannot be read. Of what it held nothing is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file, as a path within the data folder.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// The records around it, or the first and the last of the file; `None`: nobody has looked where it is.
    pub between: Option<(Name, Name)>,
}

/// The table and the key of a record.
pub(crate) type Name = (TableId, Vec<u8>);

/// How damage to the tables is mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mend {
    /// The log reaches back to its beginning: all of them are made again from it.
    FromLog,
    /// The beginning of the log is gone.
    FromBackup,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the data folder is damaged ({})", self.file, self.what)
    }
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mend::FromLog => {
                "To mend it, stop the server, move the folder `tables` out of the data folder and start the server again: \
                 it makes the tables again from the log, which reaches back to its beginning"
            }
            Mend::FromBackup => {
                "To mend it, restore the data folder from a backup: the log does not reach back to its beginning any \
                 more. A record that is replaced as a whole can be read again"
            }
        })
    }
}

/// The damage that was found since the store was opened.
///
/// Invariant: no more than [`DAMAGES_MAX`] are remembered, each once.
#[derive(Default)]
pub struct Damages(Mutex<Known>);

#[derive(Default)]
struct Known {
    list: Vec<Damage>,
    met: u64,
}

impl Damages {
    pub(crate) fn note(&self, damage: &Damage) {
        let mut known = self.lock();
        known.met += 1;
        let is_new = !known.list.iter().any(|one| one.file == damage.file && one.between == damage.between);
        if is_new && known.list.len() < DAMAGES_MAX {
            known.list.push(damage.clone());
        }
    }

    /// Those behind the first `told`, in the order in which they were found, and how often any of all was in the way.
    pub(crate) fn since(&self, told: usize) -> (Vec<Damage>, u64) {
        let known = self.lock();
        (known.list.iter().skip(told).cloned().collect(), known.met)
    }

    /// The list is whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_remembered_once_counted_always_and_bounded() {
        let damages = Damages::default();
        let at = |number: usize| {
            let name = |key: usize| (TableId(64), key.to_string().into_bytes());
            Damage { file: "tables/0".into(), what: "x".into(), between: Some((name(number), name(number + 1))) }
        };
        damages.note(&at(1));
        damages.note(&at(2));
        damages.note(&Damage { what: "y".into(), ..at(1) });
        assert_eq!(damages.since(0), (vec![at(1), at(2)], 3));
        assert_eq!(damages.since(1), (vec![at(2)], 3));
        (0..2 * DAMAGES_MAX).for_each(|number| damages.note(&at(number)));
        assert_eq!(damages.since(0).0.len(), DAMAGES_MAX);
        assert_eq!(damages.since(DAMAGES_MAX), (Vec::new(), 3 + 2 * DAMAGES_MAX as u64));
    }
}
