//! A shard's thread, from its start to its end.

use super::STEP;
use crate::entrance::Entrance;
use crate::runtime::{Message, Node, Runtime};
use rowcast_core::shard::{Input, Shard};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

/// What a shard's thread does until it is stopped. `restored` hears when what it began with is on its way to the writer.
pub(super) fn serve_shard(
    node: Arc<Node>,
    entrance: Arc<Entrance>,
    index: u32,
    shard: Shard,
    timeout: Duration,
    restored: mpsc::Sender<()>,
) {
    let runtime = match Builder::new_current_thread().enable_all().event_interval(31).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start a shard");
            std::process::exit(1);
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let this = Runtime::new(node, index, shard);
        let stopping = Rc::new(tokio::sync::Notify::new());
        let stop = Rc::clone(&stopping);
        let mut doors = Some(JoinSet::new());
        let turns = Rc::clone(&this).turns(move |runtime, message| match message {
            Message::Accept(given) => {
                let Some(doors) = &mut doors else { return }; // It stops, and so will the others.
                while doors.try_join_next().is_some() {} // Those that others have by now.
                let (listener, room) = *given;
                doors.spawn_local(Arc::clone(&entrance).accept(Rc::clone(runtime), listener, room));
            }
            Message::Stop => {
                doors = None;
                runtime.with(|shard, now| shard.input(Input::Shutdown, now));
                stop.notify_one();
            }
            Message::Input(_) | Message::Room => {}
        });
        let quiet = async {
            while this.has_handover() {
                tokio::time::sleep(STEP).await;
            }
            let _ = restored.send(());
            stopping.notified().await;
            let deadline = Instant::now() + timeout;
            while Instant::now() < deadline && !this.look(|shard| shard.is_quiet() && shard.connections() == 0) {
                tokio::time::sleep(STEP).await;
            }
        };
        // Among the tasks of connections, behind those that have something for it: as the future that is waited for here,
        // it would have its turn behind what those do next, and a look at all sockets.
        tokio::select! {
            _ = tokio::task::spawn_local(turns) => {}
            () = quiet => {}
        }
        this.report_rest();
    });
}
