//! What a shard asks the runtime for, and what it reports.

use super::authenticate::Round;
use super::connection::ConnectionId;
use super::input::{Claimant, Input, Reader};
use super::lag::Lag;
use crate::mqtt::group::ShareMail;
use crate::mqtt::session::Session;
use crate::position::{Sequence, TableId};
use crate::proposal::Preparation;
use crate::replay::Sought;
use crate::tables::Range;
use rowcast_codec::{ReasonCode, Version};
use std::sync::Arc;

/// A message to be fetched for redelivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The delivery's number, to be given back.
    pub number: u64,
    /// Where it stands in the log.
    pub sequence: Sequence,
    /// The record it was, should the log no longer reach back.
    pub record: Option<(TableId, Vec<u8>)>,
}

/// What the runtime is to do.
#[derive(Debug)]
pub enum Effect {
    /// There is something to write, to read on or to close: see [`Shard::state`](super::Shard::state).
    Wake(ConnectionId),
    /// Check credentials, answer with [`Input::Authenticated`].
    Authenticate {
        /// Whose.
        connection: ConnectionId,
        /// The user name.
        user: Box<str>,
        /// The password.
        password: Vec<u8>,
    },
    /// Look at a step of enhanced authentication, answer with [`Input::Exchanged`]. One at a time for a connection.
    Exchange {
        /// Whose.
        connection: ConnectionId,
        /// The method; it may be one that nobody knows [MQTT-4.12.0-1].
        method: Box<str>,
        /// Whether it begins anew.
        round: Round,
        /// What the client says.
        data: Option<Vec<u8>>,
    },
    /// Make this connection the owner of a client identifier, answer with [`Input::Claimed`].
    Claim {
        /// Which.
        client_id: Box<str>,
        /// Who made it.
        user: Option<Arc<str>>,
        /// For whom.
        claimant: Claimant,
    },
    /// Read what is stored of a client identifier, answer with [`Input::Claimed`].
    LoadSession {
        /// Which.
        client_id: Box<str>,
        /// For whom.
        connection: ConnectionId,
    },
    /// The connection no longer owns the client identifier.
    Release {
        /// Which.
        client_id: Box<str>,
        /// Whose it was.
        connection: ConnectionId,
    },
    /// An eviction is done.
    HandOff {
        /// For whom.
        claimant: Claimant,
        /// The session; `None`: what is left of it is in the store.
        session: Option<Box<Session>>,
    },
    /// Read the log behind `after`, answer with [`Input::LogRead`].
    ReadLog {
        /// For whom.
        reader: Reader,
        /// What it has already.
        after: Sequence,
        /// How much at most.
        bytes: usize,
    },
    /// Read records, answer with [`Input::RecordsRead`].
    ReadRecords {
        /// For whom.
        connection: ConnectionId,
        /// From where to where.
        range: Range,
        /// Behind this key.
        after: Option<Vec<u8>>,
        /// How many at most.
        records: usize,
        /// How much at most.
        bytes: usize,
    },
    /// Read single messages again, answer with [`Input::Fetched`].
    Fetch {
        /// For whom.
        reader: Reader,
        /// Which.
        messages: Vec<Wanted>,
    },
    /// Read one record, answer with [`Input::Got`].
    Get {
        /// For whom.
        connection: ConnectionId,
        /// Where it is.
        table: TableId,
        /// Its key, encoded.
        key: Vec<u8>,
    },
    /// Decide on a large document, on a thread that nobody else waits for, by the record there is (`None` if its time has
    /// run out), answer with [`Input::Prepared`].
    Prepare {
        /// For whom.
        connection: ConnectionId,
        /// What is to be decided.
        preparation: Box<Preparation>,
    },
    /// Find where a replay begins, answer with [`Input::Located`].
    Locate {
        /// For whom.
        connection: ConnectionId,
        /// What is to be found.
        sought: Box<Sought>,
    },
    /// Tell a shard, which may be this one: [`Input::Share`]. In order, as all mail between two shards.
    Share {
        /// Which.
        shard: u32,
        /// What.
        mail: Vec<ShareMail>,
    },
    /// Tell all other shards: [`Input::Lag`].
    Lag(Lag),
    /// Read the row of a client's will, answer with [`Input::WillLoaded`].
    LoadWill {
        /// Whose.
        client_id: Box<str>,
        /// Which of its wills it was; said again in the answer.
        number: u64,
    },
    /// Collect the rows of a session whose time ran out, answer with [`Input::Purge`].
    CollectRows {
        /// Whose.
        client_id: Box<str>,
    },
    /// Tell this shard, once the others on its thread had their turn: there was more to be done than they should wait for.
    Later(Box<Input>),
    /// Something an operator should know.
    Report(Report),
}

/// Something an operator should know. Holds no payload and no secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A client is in.
    Connected(Box<Arrival>),
    /// A client that was in is gone.
    Disconnected {
        /// Its identifier.
        client_id: Box<str>,
        /// As whom it was in.
        user: Option<Arc<str>>,
        /// From where.
        address: Arc<str>,
        /// What DISCONNECT said, the client's or ours; `None`: there was none to say.
        code: Option<ReasonCode>,
        /// Why, in words.
        reason: Box<str>,
    },
    /// We closed a connection before its client was in.
    Closed {
        /// Its identifier, if it has said one.
        client_id: Box<str>,
        /// From where.
        address: Arc<str>,
        /// Why, in words.
        reason: Box<str>,
    },
    /// A CONNECT was refused.
    Refused {
        /// Its identifier.
        client_id: Box<str>,
        /// As whom it would have been in, if that was known by then.
        user: Option<Arc<str>>,
        /// From where.
        address: Arc<str>,
        /// Why.
        reason: ReasonCode,
        /// The same in words.
        words: Box<str>,
    },
    /// A publish was refused, or a will when its time had come.
    RejectedPublish {
        /// Whose.
        client_id: Box<str>,
        /// As whom it is in.
        user: Option<Arc<str>>,
        /// From where; empty: it was a will, and its client is gone.
        address: Arc<str>,
        /// On which topic.
        topic: Box<str>,
        /// Why.
        code: ReasonCode,
        /// The same in words.
        reason: Box<str>,
    },
    /// Filters of a SUBSCRIBE were refused to who may read nothing of what they select.
    DeniedSubscribe {
        /// Whose.
        client_id: Box<str>,
        /// As whom it is in.
        user: Option<Arc<str>>,
        /// From where.
        address: Arc<str>,
        /// The first of them.
        filter: Box<str>,
    },
    /// The log no longer reached back to a session's position.
    LostEvents {
        /// Whose.
        client_id: Box<str>,
        /// Where it stood.
        position: Sequence,
        /// Where the log begins.
        oldest: Sequence,
    },
}

/// A client that is let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its identifier.
    pub client_id: Box<str>,
    /// As whom.
    pub user: Option<Arc<str>>,
    /// From where.
    pub address: Arc<str>,
    /// What it speaks.
    pub version: Version,
    /// It wants nothing of an earlier session.
    pub clean_start: bool,
    /// There was a session, and it goes on.
    pub session_present: bool,
    /// Seconds its session outlives the connection; `u32::MAX`: for ever.
    pub expiry_secs: u32,
    /// Seconds of silence it has promised not to exceed; 0: it has not.
    pub keep_alive_secs: u16,
}
