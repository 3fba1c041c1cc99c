//! Passwords that are being checked: who brings one that is on its way waits for the same answer.

use super::cache::Tag;
use super::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot::{Receiver, Sender, channel};

/// Checks under way, by what they check, and who waits for each. At most one is made of what many bring at once.
#[derive(Clone, Default)]
pub(super) struct Checks(Arc<Mutex<HashMap<Tag, Vec<Sender<Verdict>>>>>);

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// It was not made.
    None,
    /// It was not made, since others from the same address were wrong; so long that is held against it.
    TurnedAway(Duration),
}

/// A check that is to be made. Dropped without a verdict, it was not made.
pub(super) struct Check {
    checks: Checks,
    tag: Tag,
    verdict: Verdict,
}

impl Checks {
    /// Waits for a check under way, if there is one.
    pub(super) fn join(&self, tag: &Tag) -> Option<Receiver<Verdict>> {
        lock(&self.0).get_mut(tag).map(wait)
    }

    /// Waits for a check under way, or for a new one, which the caller has to see to then.
    pub(super) fn join_or_begin(&self, tag: Tag) -> (Receiver<Verdict>, Option<Check>) {
        let mut checks = lock(&self.0);
        let is_new = !checks.contains_key(&tag);
        let answered = wait(checks.entry(tag).or_default());
        (answered, is_new.then(|| Check { checks: self.clone(), tag, verdict: Verdict::None }))
    }
}

fn wait(waiting: &mut Vec<Sender<Verdict>>) -> Receiver<Verdict> {
    let (answer, answered) = channel();
    // Of those who left while they waited nothing is kept.
    if waiting.len() == waiting.capacity() {
        waiting.retain(|answer| !answer.is_closed());
    }
    waiting.push(answer);
    answered
}

impl Check {
    /// What is checked.
    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether anybody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        lock(&self.checks.0).get(&self.tag).is_some_and(|waiting| waiting.iter().any(|answer| !answer.is_closed()))
    }

    /// Tells everyone who waits.
    pub(super) fn done(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        let waiting = lock(&self.checks.0).remove(&self.tag).unwrap_or_default();
        for answer in waiting {
            let _ = answer.send(self.verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_bring_the_same_get_the_answer_of_one_check() {
        let checks = Checks::default();
        assert!(checks.join(&[1; 32]).is_none());
        let (first, check) = checks.join_or_begin([1; 32]);
        let check = check.expect("the first is to check");
        let (second, nothing) = checks.join_or_begin([1; 32]);
        assert!(nothing.is_none());
        let (other, another) = checks.join_or_begin([2; 32]);
        assert!(another.is_some());
        let third = checks.join(&[1; 32]).expect("under way");
        drop(first);
        assert!(check.is_wanted(), "by the others");
        check.done(Verdict::Right);
        for mut answered in [second, third] {
            assert_eq!(answered.try_recv(), Ok(Verdict::Right));
        }
        drop(another);
        assert_eq!({ other }.try_recv(), Ok(Verdict::None));
        assert!(lock(&checks.0).is_empty());
    }

    #[test]
    fn a_check_that_nobody_waits_for_is_not_wanted_and_keeps_nobody() {
        let checks = Checks::default();
        let (first, check) = checks.join_or_begin([1; 32]);
        drop(first);
        (0..1000).for_each(|_| drop(checks.join(&[1; 32])));
        assert!(!check.expect("the first").is_wanted());
        let (_waiting, check) = checks.join_or_begin([2; 32]);
        (0..1000).for_each(|_| drop(checks.join(&[2; 32])));
        assert!(lock(&checks.0)[&[2; 32]].len() < 10);
        drop(check);
    }
}
