//! What happens to a shard, as the runtime tells it.

use super::authenticate::Progress;
use super::connection::ConnectionId;
use super::groups::GroupId;
use super::lag::Lag;
use crate::limits::Limits;
use crate::mqtt::group::ShareMail;
use crate::mqtt::session::Session;
use crate::policy::{Policy, Principal};
use crate::position::{Sequence, TableId};
use crate::proposal::{Batch, Completion, Decision};
use crate::replay::Located;
use crate::tables::Tables;
use bytes::Bytes;
use rowcast_codec::ReasonCode;
use std::collections::VecDeque;
use std::sync::Arc;

/// A connection that wants a client identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// On which shard.
    pub shard: u32,
    /// Which connection there.
    pub connection: ConnectionId,
    /// It wants nothing of an earlier session.
    pub clean_start: bool,
    /// Which of the node's CONNECTs it came with: who came later takes over, however long it took to prove who they are.
    pub arrival: u64,
    /// There is no room for one more connection, only for one in the place of another.
    pub only_takes_over: bool,
}

/// What there was under a client identifier.
#[derive(Debug)]
pub enum Previous {
    /// A session of a connection that has just been closed, stored already.
    Live(Box<Session>),
    /// Nobody is connected with it; what is stored of it, if anything is, was not looked up.
    Unread,
    /// What the store holds.
    Stored(StoredRows),
    /// It belongs to another user.
    Refused,
    /// A connection has it whose CONNECT came later.
    Overtaken,
    /// Nobody is connected with it, whom the claimant [only](Claimant::only_takes_over) could take over from.
    NoRoom,
    /// The store could not be read.
    Unreadable,
}

/// The rows of one client identifier in the server's own tables.
#[derive(Debug, Default)]
pub struct StoredRows {
    /// The row of [`TableId::SESSIONS`].
    pub session: Option<Vec<u8>>,
    /// There is one, and its time has run out.
    pub has_expired: bool,
    /// Keys, values and versions in [`TableId::SUBSCRIPTIONS`].
    pub subscriptions: Vec<(Vec<u8>, Vec<u8>, Sequence)>,
    /// Keys in [`TableId::HANDSHAKES`].
    pub handshakes: Vec<Vec<u8>>,
    /// The row of [`TableId::WILLS`].
    pub will: Option<Vec<u8>>,
}

/// A record as a page brings it.
#[derive(Clone, Debug)]
pub struct ScannedRecord {
    /// Its key, encoded.
    pub key: Bytes,
    /// The record, encoded.
    pub record: Bytes,
}

/// Who reads the log at its own pace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// A client.
    Connection(ConnectionId),
    /// A group that shares a subscription.
    Group(GroupId),
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Credentials were checked.
    Authenticated {
        /// Whose.
        connection: ConnectionId,
        /// Who it is, or what to tell it.
        result: Result<Principal, ReasonCode>,
    },
    /// A step of enhanced authentication was looked at.
    Exchanged {
        /// Whose.
        connection: ConnectionId,
        /// How it goes on, or what to tell the client before it is closed.
        result: Result<Progress, ReasonCode>,
    },
    /// A claim was answered.
    Claimed {
        /// Whose.
        connection: ConnectionId,
        /// What there was.
        previous: Previous,
    },
    /// Another connection takes the client identifier over.
    Evict {
        /// Whose it is, or was just now.
        connection: ConnectionId,
        /// For whom.
        claimant: Claimant,
    },
    /// Somebody who looks after the node ends a connection.
    Dismiss(ConnectionId),
    /// What a client came in with is good no longer.
    Expired(ConnectionId),
    /// The log has grown, and proposals of this shard are decided.
    Committed {
        /// What was appended; `None` if nothing was.
        batch: Option<Arc<Batch>>,
        /// What became of this shard's proposals.
        completions: Vec<Completion>,
    },
    /// Messages that stand in no log, from another shard: entries, one behind the other.
    Events(Bytes),
    /// A read of the log that [`Effect::ReadLog`](super::Effect::ReadLog) asked for.
    LogRead {
        /// For whom.
        reader: Reader,
        /// What is there, in order; empty if there is nothing (yet).
        batches: Vec<Arc<Batch>>,
        /// The log no longer reaches back to what was asked for; it begins here.
        lost_until: Option<Sequence>,
    },
    /// A read of records that [`Effect::ReadRecords`](super::Effect::ReadRecords) asked for.
    RecordsRead {
        /// For whom.
        connection: ConnectionId,
        /// In the order of their keys.
        records: VecDeque<ScannedRecord>,
        /// The range holds no more.
        complete: bool,
    },
    /// Messages that [`Effect::Fetch`](super::Effect::Fetch) asked for: each an entry, or a record behind its key, unless
    /// it is gone.
    Fetched {
        /// For whom.
        reader: Reader,
        /// One for each that was asked for, with its number.
        messages: Vec<(u64, Fetched)>,
    },
    /// The record that [`Effect::Get`](super::Effect::Get) asked for.
    Got {
        /// For whom.
        connection: ConnectionId,
        /// Encoded, expired or not; `None` if there is none; or why it cannot be read, in words for the client.
        record: Result<Option<Bytes>, Box<str>>,
    },
    /// What [`Effect::Prepare`](super::Effect::Prepare) asked for.
    Prepared {
        /// For whom.
        connection: ConnectionId,
        /// What was decided.
        decision: Decision,
    },
    /// The places that [`Effect::Locate`](super::Effect::Locate) asked for.
    Located {
        /// For whom.
        connection: ConnectionId,
        /// Where they are.
        located: Located,
    },
    /// What another shard, or this one, has to say of shared subscriptions.
    Share(Vec<ShareMail>),
    /// What another shard has to say of who lags behind.
    Lag(Lag),
    /// The row that [`Effect::LoadWill`](super::Effect::LoadWill) asked for.
    WillLoaded {
        /// Whose.
        client_id: Box<str>,
        /// Which will was asked for.
        number: u64,
        /// The row of [`TableId::WILLS`], if there is one and it could be read.
        row: Option<Vec<u8>>,
    },
    /// A session's time ran out: its remaining rows, to be deleted unless it has come back.
    Purge {
        /// Whose.
        client_id: Box<str>,
        /// What there is.
        rows: StoredRows,
    },
    /// The schema was reloaded.
    Tables(Arc<Tables>),
    /// Roles were changed, or are compiled for other tables.
    Policy(Arc<Policy>),
    /// The configuration was read again. What a client was told when it connected stays as it is for that one:
    /// [`Limits::packet_bytes`], [`Limits::receive_maximum`] and [`Limits::topic_alias_maximum`].
    Configured {
        /// Every bound.
        limits: Box<Limits>,
        /// Whether topics that name no table can be used.
        open_topics: bool,
        /// Whether a refused publish of an MQTT 3 client closes its connection.
        close_on_rejected: bool,
    },
    /// The shard goes on taking away what clients left behind ([`Effect::Later`](super::Effect::Later)).
    Remains,
    /// Likewise with the filters of a session that a connection takes up again.
    Resume(ConnectionId),
    /// The node stops: clients are told.
    Shutdown,
}

/// A message for redelivery.
#[derive(Debug)]
pub enum Fetched {
    /// From the log.
    Entry(Arc<Batch>, Sequence),
    /// From a table.
    Record(TableId, ScannedRecord),
    /// The log no longer reaches back to it, and the record is gone.
    Gone,
}
