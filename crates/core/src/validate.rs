//! Whether a payload fits its table, and the document kept if it does.

mod refusal;

pub use refusal::{Refusal, RefusalKind};

use std::borrow::Cow;

use crate::schema::Table;
use crate::value::Key;

/// Checks payloads. Keeps scratch space between them, so one per thread, not one per payload.
#[derive(Debug, Default)]
pub struct Validator {}

/// A payload as it is stored and delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalized<'p> {
    /// The payload of an untyped table as sent; a JSON document otherwise, borrowed when nothing had to change.
    pub payload: Cow<'p, [u8]>,
    /// What the attribute with `@expiresAt` says, in epoch milliseconds.
    pub expires_at_ms: Option<u64>,
}

/// The formats a document can be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`, any `application/..+json`, and no content type at all.
    Json,
    /// `application/cbor`.
    Cbor,
    /// `application/msgpack` and `application/x-msgpack`.
    MessagePack,
}

impl Validator {
    /// Checks a put of `payload` on record `key`. `created_ms` is the created time of the record it replaces, asked
    /// for by [`Table::needs_previous`].
    pub fn put<'p>(
        &mut self,
        _table: &Table,
        _key: &Key<'_>,
        _payload: &'p [u8],
        _content_type: Option<&str>,
        _now_ms: u64,
        _created_ms: Option<u64>,
    ) -> Result<Normalized<'p>, Refusal> {
        todo!()
    }
}

/// The key inside a payload, for inserts that name none: `None` if there is none and one must be generated, as
/// [`KeyType::generated`](crate::value::KeyType::generated) says.
pub fn key_in(_table: &Table, _payload: &[u8], _content_type: Option<&str>) -> Result<Option<Key<'static>>, Refusal> {
    todo!()
}

/// The created time a stored document holds, in epoch milliseconds.
pub fn created_ms(_table: &Table, _document: &[u8]) -> Option<u64> {
    todo!()
}

/// When a record expires: what its own attribute says, else what its table says.
pub fn expires_at_ms(_table: &Table, _normalized: &Normalized<'_>, _now_ms: u64) -> Option<u64> {
    todo!()
}

/// A merge patch (RFC 7396) onto a document, or onto nothing. The result is to be put.
pub fn merge_patch(_current: Option<&[u8]>, _patch: &[u8]) -> Result<Vec<u8>, Refusal> {
    todo!()
}
