//! What the writer did, to all who have to hear of it.

use crate::db::{Completions, Db};
use crate::runtime::{Inbox, Message, NotWithout};
use rowcast_core::reach::{Reach, ShardSet};
use rowcast_core::shard::Input;
use rowcast_core::{Batch, Completion};
use rowcast_store::{Origin, Sink, StoreError};
use std::sync::Arc;

/// Tells the shards, and whoever else waits, what the writer did.
pub(super) struct Fanout {
    _needed: NotWithout,
    inboxes: Vec<Arc<Inbox>>,
    completions: Completions,
    origin: Origin,
    reach: Arc<Reach>,
}

impl Fanout {
    /// To the shards by their inboxes, and to `db`, whose proposals are those of `origin`.
    pub(super) fn new(inboxes: &[Arc<Inbox>], db: &Db, origin: Origin, reach: &Arc<Reach>) -> Fanout {
        Fanout {
            _needed: NotWithout("writer"),
            inboxes: inboxes.to_vec(),
            completions: db.completions(),
            origin,
            reach: Arc::clone(reach),
        }
    }
}

impl Sink for Fanout {
    fn committed(&mut self, batch: Option<Arc<Batch>>, completions: Vec<(Origin, Vec<Completion>)>) {
        // Everyone has the batch before anyone is told that something in it is done: who hears of it and then asks
        // another shard finds it there. A shard that wants nothing of it need not be woken for that.
        let mut woken = ShardSet::NONE;
        if let Some(batch) = &batch {
            for (shard, inbox) in (0..).zip(&self.inboxes) {
                let input = Input::Committed { batch: Some(Arc::clone(batch)), completions: Vec::new() };
                if batch.may_be_wanted(shard, &self.reach) {
                    inbox.push_silently(Message::Input(input));
                    woken = woken.with(shard);
                } else {
                    inbox.push_unwanted(Message::Input(input), batch.memory());
                }
            }
        }
        for (origin, completions) in completions {
            if origin == self.origin {
                self.completions.complete(completions);
            } else if let Some(inbox) = self.inboxes.get(origin.0 as usize)
                && !completions.is_empty()
            {
                inbox.push_silently(Message::Input(Input::Committed { batch: None, completions }));
                woken = woken.with(origin.0);
            }
        }
        for (_, inbox) in (0..).zip(&self.inboxes).filter(|(shard, _)| woken.has(*shard)) {
            inbox.notify();
        }
    }

    fn failed(&mut self, error: StoreError) {
        // Memory and disk may differ from here on: starting again is the tested way out.
        tracing::error!(%error, "what was proposed cannot be written; the server ends");
        std::process::exit(1);
    }
}
