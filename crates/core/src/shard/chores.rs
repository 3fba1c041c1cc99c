//! What a shard writes that no client waits for: nobody would ask for it again, so where the disk has no room, or a row
//! cannot be read, the shard tries it again itself, at every tick until it can be.
//!
//! Where a session or a group stands is not among it: the next thing that happens to it says that again, and more.

use super::acks::{Refusal, for_operator};
use super::decide::LeftOut;
use super::storing::session_row;
use super::wills::{Will, is_will};
use super::{Effect, Report, Shard, StoredRows};
use crate::change::{internal_delete, internal_row};
use crate::mqtt::session::Session;
use crate::position::{Sequence, SessionId, TableId};
use crate::proposal::{Decide, Decision, Durability, Outcome, Rejection, Token};
use crate::record::Record;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Something to be written that nobody waits for. Each says of one row that there is what becomes of it.
pub(super) enum Chore {
    /// The client is gone without a goodbye, and its will is published.
    PublishWill {
        client_id: Box<str>,
        number: u64,
        /// It had waited: another will may have taken its place since it was read.
        has_waited: bool,
        /// Whose it is.
        user: Option<Arc<str>>,
        /// Why it is not published after all.
        left_out: Arc<OnceLock<LeftOut>>,
    },
    /// Likewise, and its will is to wait while its session is there. `due_ms`: until then at most, in milliseconds since
    /// 1970.
    DelayWill { client_id: Box<str>, session: SessionId, number: u64, due_ms: u64 },
    /// The client said goodbye, and the row of this will would be published when the node is started again.
    WithdrawWill { client_id: Box<str>, number: u64 },
    /// The client is gone, and the row of its session says that it is there: the session would never end.
    LeaveSession {
        client_id: Box<str>,
        /// A row from behind this place is that of its next connection.
        until: Sequence,
        /// When the session ends; milliseconds since 1970, `None`: never.
        expires_ms: Option<u64>,
    },
    /// The time of the client's session ran out, and what else there was of it goes.
    Purge { client_id: Box<str> },
    /// A row of a shared subscription that is over goes, or of what sessions have taken over from it.
    RemoveGroupRow { table: TableId, key: Box<[u8]> },
}

impl Chore {
    /// The row it is about, or the place of those that it is about.
    fn place(&self) -> (TableId, Box<[u8]>) {
        let of_client = |table, client_id: &str| (table, client_id.as_bytes().into());
        match self {
            Chore::PublishWill { client_id, .. }
            | Chore::DelayWill { client_id, .. }
            | Chore::WithdrawWill { client_id, .. } => of_client(TableId::WILLS, client_id),
            Chore::LeaveSession { client_id, .. } => of_client(TableId::SESSIONS, client_id),
            Chore::Purge { client_id } => of_client(TableId::SUBSCRIPTIONS, client_id),
            Chore::RemoveGroupRow { table, key } => (*table, key.clone()),
        }
    }

    /// The number of the will it is about.
    fn will(&self) -> Option<u64> {
        match self {
            Chore::PublishWill { number, .. }
            | Chore::DelayWill { number, .. }
            | Chore::WithdrawWill { number, .. } => Some(*number),
            Chore::LeaveSession { .. } | Chore::Purge { .. } | Chore::RemoveGroupRow { .. } => None,
        }
    }
}

/// The chores of a shard that are not done.
///
/// Invariant: of those that are put off there is one for each row at most, the latest. So there are no more than rows on
/// disk, whose number has its bound where they are made.
#[derive(Default)]
pub(super) struct Chores {
    under_way: FxHashMap<Token, Chore>,
    put_off: BTreeMap<(TableId, Box<[u8]>), Chore>,
}

impl Chores {
    fn put_off(&mut self, chore: Chore) {
        self.put_off.insert(chore.place(), chore);
    }
}

impl Shard {
    /// Does something that nobody waits for.
    pub(super) fn begin_chore(&mut self, chore: Chore) {
        let token = self.token(0);
        match &chore {
            Chore::PublishWill { client_id, number, .. } => {
                // What it says has to be read: it goes on in `on_will_loaded`.
                return self.waiting_wills.put(client_id, 0, *number);
            }
            Chore::DelayWill { client_id, session, number, due_ms } => {
                self.propose_delay(token, client_id, *session, (*number, *due_ms));
            }
            Chore::WithdrawWill { client_id, number } => {
                let (key, number) = (client_id.clone(), *number);
                self.propose_chore(token, TableId::WILLS, client_id, move |row, out| {
                    is_will(row, number)?;
                    internal_delete(TableId::WILLS, key.as_bytes()).encode(out);
                    Ok(())
                });
            }
            Chore::LeaveSession { client_id, until, expires_ms } => {
                let (key, until, expires_ms) = (client_id.clone(), *until, *expires_ms);
                self.propose_chore(token, TableId::SESSIONS, client_id, move |row, out| {
                    let last = row.filter(|row| row.version <= until); // Else the client is there again, or was.
                    let interrupted = last.and_then(|row| Session::interrupted(row.payload, until));
                    let stored = interrupted.and_then(|(_, stored)| stored).ok_or(Rejection::Absent)?;
                    session_row(&key, &stored, expires_ms).encode(out);
                    Ok(())
                });
            }
            Chore::Purge { client_id } => {
                // What there is has to be read: it goes on in `on_purge`.
                return self.effects.push(Effect::CollectRows { client_id: client_id.clone() });
            }
            Chore::RemoveGroupRow { table, key } => {
                self.proposals.push(Some(token), Durability::Memory, &[internal_delete(*table, key)]);
            }
        }
        self.expect_chore(token, chore);
    }

    /// What is proposed with this token is a chore.
    pub(super) fn expect_chore(&mut self, token: Token, chore: Chore) {
        self.chores.under_way.insert(token, chore);
    }

    /// A will was not stored that a connection was to have which is gone by now: there is none to be published or put off,
    /// nor anything to be taken away.
    pub(super) fn forget_will(&mut self, number: u64) {
        self.chores.under_way.retain(|_, chore| chore.will() != Some(number));
    }

    /// Proposes what depends on the row that a client has in a table of the server's own.
    fn propose_chore(
        &mut self,
        token: Token,
        table: TableId,
        client_id: &str,
        decide: impl FnOnce(Option<&Record<'_>>, &mut Vec<u8>) -> Result<(), Rejection> + Send + 'static,
    ) {
        let decide: Decide = Box::new(|row: Option<&Record<'_>>, _, out: &mut Vec<u8>| decide(row, out));
        let decision = Decision::new(table, client_id.as_bytes().to_vec(), decide);
        self.proposals.push_decided(Some(token), Durability::Sync, decision, &[]);
    }

    /// Proposes that a will waits until `due_ms`; one whose session ended meanwhile, as its client began anew or its time
    /// ran out, is due at once (MQTT 5 §3.1.3.2.2).
    fn propose_delay(&mut self, token: Token, client_id: &str, session: SessionId, (number, due_ms): (u64, u64)) {
        let key = client_id.as_bytes().to_vec();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let look: Decide = Box::new(move |row: Option<&Record<'_>>, _, _: &mut Vec<u8>| {
            let present = row.and_then(|row| Session::id_in(row.payload));
            over.store(present != Some(session), Ordering::Relaxed);
            Ok(())
        });
        let of_will = key.clone();
        let delay: Decide = Box::new(move |row: Option<&Record<'_>>, now_ms, out: &mut Vec<u8>| {
            is_will(row, number)?;
            let will = row.and_then(|row| Will::parse(row.payload)).ok_or(Rejection::Absent)?.0;
            let due_ms = if is_over.load(Ordering::Relaxed) { now_ms.min(due_ms) } else { due_ms };
            internal_row(TableId::WILLS, &of_will, &will.row(due_ms)).encode(out);
            Ok(())
        });
        let decisions =
            vec![Decision::new(TableId::SESSIONS, key.clone(), look), Decision::new(TableId::WILLS, key, delay)];
        self.proposals.push_all_decided(Some(token), Durability::Sync, decisions, &[]);
    }

    /// What is left of a session whose time ran out, unless there is a new one by now.
    pub(super) fn on_purge(&mut self, client_id: &str, rows: StoredRows) {
        let subscriptions = rows.subscriptions.iter().map(|(key, ..)| internal_delete(TableId::SUBSCRIPTIONS, key));
        let handshakes = rows.handshakes.iter().map(|key| internal_delete(TableId::HANDSHAKES, key));
        let changes: Vec<_> = subscriptions.chain(handshakes).collect();
        if changes.is_empty() {
            return;
        }
        let absent: Decide = Box::new(|row: Option<&Record<'_>>, _, _: &mut Vec<u8>| match row {
            Some(_) => Err(Rejection::Absent),
            None => Ok(()),
        });
        let token = self.token(0);
        let decision = Decision::new(TableId::SESSIONS, client_id.as_bytes().to_vec(), absent);
        self.proposals.push_decided(Some(token), Durability::Flush, decision, &changes);
        self.expect_chore(token, Chore::Purge { client_id: client_id.into() });
    }

    /// What became of a chore. `false`: the proposal was another one.
    pub(super) fn on_chore(&mut self, token: Token, outcome: &Outcome) -> bool {
        let Some(chore) = self.chores.under_way.remove(&token) else { return false };
        match (chore, outcome) {
            (chore, outcome) if outcome.is_undecided() => self.put_off(chore),
            (Chore::PublishWill { client_id, user, left_out, .. }, Outcome::Done { .. }) => {
                if let Some(left_out) = left_out.get() {
                    self.report_will(client_id, user, left_out);
                }
            }
            _ => {}
        }
        true
    }

    /// Tells the operator of a will that is not published: its client is gone, and hears of nothing.
    fn report_will(&mut self, client_id: Box<str>, user: Option<Arc<str>>, left_out: &LeftOut) {
        self.counters.rejected += 1;
        let Refusal { code, words, .. } = Refusal::of(left_out.why.clone());
        if Refusal::is_told(code) {
            let (topic, address) = (left_out.topic.clone(), Arc::default());
            let reason = format!("the will: {}", for_operator(code, &words)).into();
            self.effects.push(Effect::Report(Report::RejectedPublish {
                client_id,
                user,
                address,
                topic,
                code,
                reason,
            }));
        }
    }

    /// There is no room for it now.
    pub(super) fn put_off(&mut self, chore: Chore) {
        match chore {
            Chore::PublishWill { client_id, number, has_waited: true, .. } => {
                self.waiting_wills.put_back(&client_id, number);
            }
            chore => self.chores.put_off(chore),
        }
    }

    /// Tries again what there was no room for.
    pub(super) fn resume_chores(&mut self) {
        self.waiting_wills.go_on();
        for (_, chore) in std::mem::take(&mut self.chores.put_off) {
            let is_there_again = match &chore {
                // There may be a group of the same name by now, with a row of its own.
                Chore::RemoveGroupRow { table: TableId::GROUPS, key } => self.has_stored_group(key),
                _ => false,
            };
            if !is_there_again {
                self.begin_chore(chore);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_chore_for_each_row_at_most() {
        let mut chores = Chores::default();
        for number in 1..=3 {
            chores.put_off(Chore::WithdrawWill { client_id: "a".into(), number });
            let until = Sequence(number);
            chores.put_off(Chore::LeaveSession { client_id: "a".into(), until, expires_ms: None });
            chores.put_off(Chore::Purge { client_id: "a".into() });
            chores.put_off(Chore::RemoveGroupRow { table: TableId::GROUPS, key: b"g/a".as_slice().into() });
        }
        assert_eq!(chores.put_off.len(), 4);
        let of_will = &chores.put_off[&(TableId::WILLS, b"a".as_slice().into())];
        assert!(matches!(of_will, Chore::WithdrawWill { number: 3, .. }), "the latest says what its row is to be");
    }
}
