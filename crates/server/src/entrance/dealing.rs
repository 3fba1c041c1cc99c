//! Which of the threads accepts the next connection.
//!
//! A message from one thread's client to another's wakes that thread: 20 to 30 microseconds of processor time where
//! messages are few, as much as all the rest. So the first thread takes all, until it has many or is busy.

use crate::runtime::Load;

/// Whose turn it is to accept, where thread `own` did until now, and `ended_of_late` of its connections ended.
///
/// A thread goes on until it has `fill` connections or is busy. Then it is the turn of the first that has room: for an
/// eighth of `fill`, as a door that changes threads wakes another one. Where none has, all are to have as many: the one
/// with the fewest goes on. But the own one does
/// - while it is ahead by no more than one in [`FEW`]: of ten thousand connections one may have three hundred more;
/// - and where connections come and go, by no more than one in `FEW` of those that went, [`LAX`] at most: the next ones
///   make up for it.
pub(super) fn whose_turn(
    own: usize,
    threads: impl Iterator<Item = Load> + Clone,
    fill: usize,
    ended_of_late: usize,
) -> usize {
    let Some(load) = threads.clone().nth(own) else { return own };
    let first = threads.clone().position(|load| has_room(load, fill - fill / 8));
    match first {
        Some(first) if first < own || !has_room(load, fill) => return first,
        _ if has_room(load, fill) => return own,
        _ => {}
    }
    let taken = threads.map(|load| load.connections).enumerate();
    let Some((fewest, least)) = taken.min_by_key(|&(_, taken)| taken) else { return own };
    let ahead = load.connections - least;
    let allowed = (least / FEW).max((ended_of_late / FEW).min(LAX));
    if allowed == 0 || ahead > allowed { fewest } else { own }
}

fn has_room(load: Load, fill: usize) -> bool {
    load.connections < fill && !load.is_busy
}

/// With fewer connections than this on a thread, each new one that is to stay is dealt out in turn.
const FEW: usize = 16;

/// So many connections a thread may be ahead because they come and go, however many do.
const LAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(taken: &[usize]) -> impl Iterator<Item = Load> + Clone {
        taken.iter().map(|&connections| Load { connections, is_busy: false })
    }

    #[test]
    fn a_thread_takes_all_until_it_has_many() {
        for (own, taken, turn) in [
            (0, &[0][..], 0),
            (0, &[64], 0),
            (0, &[1, 0], 0),
            (0, &[63, 0, 0], 0),
            (0, &[64, 0, 0], 1),
            (1, &[64, 63, 0], 1),
            (1, &[64, 64, 0], 2),
            // One before it has room again, for a few or for more.
            (1, &[57, 5, 0], 1),
            (1, &[56, 5, 0], 1),
            (1, &[55, 5, 0], 0),
            (2, &[64, 55, 5], 1),
            // All have many.
            (0, &[65, 64], 0),
            (0, &[69, 64], 1),
            (0, &[65, 60], 1),
            (1, &[64, 64], 1),
        ] {
            assert_eq!(whose_turn(own, idle(taken), 64, 0), turn, "{own} of {taken:?}");
        }
    }

    #[test]
    fn a_busy_thread_takes_no_more() {
        let busy = |connections| Load { connections, is_busy: true };
        let spare = |connections| Load { connections, is_busy: false };
        for (own, threads, turn) in [
            (0, [busy(1), spare(0)], 1),
            (1, [busy(1), spare(63)], 1),
            (1, [spare(1), spare(20)], 0),
            (1, [busy(1), busy(20)], 0),
            (0, [busy(20), busy(20)], 0),
            // The others have many.
            (0, [busy(20), spare(64)], 0),
            (1, [busy(20), spare(64)], 0),
        ] {
            assert_eq!(whose_turn(own, threads.into_iter(), 64, 0), turn, "{own} of {threads:?}");
        }
    }

    #[test]
    fn threads_are_filled_and_then_spread_evenly() {
        for fill in [0, 1, 7, 64] {
            let (mut taken, mut own, mut changes) = ([0; 3], 0, 0);
            for count in 1..=10_000 {
                taken[own] += 1;
                let next = whose_turn(own, idle(&taken), fill, 0);
                changes += usize::from(next != own);
                own = next;
                let (most, least) = (taken.iter().max().expect("three"), taken.iter().min().expect("three"));
                assert!(*most <= fill.max(least + 1 + least / 16), "{taken:?} after {count}");
            }
            assert!(changes < 400, "{changes} changes of threads");
        }
    }

    #[test]
    fn a_door_stays_with_a_thread_while_the_others_have_about_as_many() {
        for (own, taken, turn) in [
            (0, &[0][..], 0),
            (0, &[7], 0),
            (0, &[0, 0], 0),
            (0, &[1, 0], 1),
            (1, &[1, 1], 0),
            (1, &[1, 2], 0),
            (0, &[15, 15, 14], 2),
            (1, &[16, 16], 1),
            (0, &[17, 16], 0),
            (0, &[18, 16], 1),
            (0, &[33, 32, 40], 0),
            (0, &[34, 32, 40], 0),
            (0, &[35, 32, 40], 1),
            (2, &[1000, 1100, 1062], 2),
            (2, &[1000, 1100, 1063], 0),
        ] {
            assert_eq!(whose_turn(own, idle(taken), 0, 0), turn, "{own} of {taken:?}");
        }
    }

    #[test]
    fn where_connections_come_and_go_a_door_stays_longer() {
        for (taken, ended_of_late, turn) in [
            ([1, 0], 15, 1),
            ([1, 0], 16, 0),
            ([2, 0], 16, 1),
            ([8, 0], 127, 1),
            ([8, 0], 128, 0),
            ([9, 0], 100_000, 1),
            ([208, 200], 100_000, 0),
            ([212, 200], 100_000, 0),
            ([213, 200], 100_000, 1),
        ] {
            assert_eq!(whose_turn(0, idle(&taken), 0, ended_of_late), turn, "{taken:?}, {ended_of_late}");
        }
    }
}
