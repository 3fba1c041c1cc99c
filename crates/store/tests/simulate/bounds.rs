//! Bounds as small as they may be, so that whoever meets them is answered so, and goes on behind them.

use crate::random::Random;
use rowcast_core::limits::Limits;

/// What a node allows in a run of so many clients.
pub(crate) fn limits(random: &mut Random, clients: usize) -> Limits {
    let usual = Limits::default();
    let (few, some) = (1 + random.below(4) as u32, 1 + random.below(clients) as u32);
    Limits {
        inflight: 1 + random.below(6) as u16,
        outbound_bytes: random.of(&[1, 60, 150, 150]) + random.below(600) as u32,
        receive_maximum: random.of(&[1, 3, usual.receive_maximum]),
        topic_alias_maximum: random.of(&[0, 2, usual.topic_alias_maximum]),
        filters_per_subscribe: random.of(&[1, 2, usual.filters_per_subscribe]),
        subscriptions_per_client: random.of(&[few, usual.subscriptions_per_client]),
        sessions: random.of(&[some, usual.sessions, usual.sessions]),
        session_expiry_max_secs: random.of(&[3, usual.session_expiry_max_secs, usual.session_expiry_max_secs]),
        keep_alive_max_secs: random.of(&[0, 0, 3]),
        replay_last: random.of(&[3, usual.replay_last]),
        publishes_per_sec: random.of(&[0, 0, 4]),
        publish_bytes_per_sec: random.of(&[0, 0, 400]),
        ..usual
    }
}
