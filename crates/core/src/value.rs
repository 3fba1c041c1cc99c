//! Values: the keys of records, and what the built-in types read and write.

pub(crate) mod binary;
pub(crate) mod cbor;
pub(crate) mod date;
pub(crate) mod json;
mod key;
pub(crate) mod msgpack;
pub(crate) mod number;

pub use date::text as date_text;
pub use key::{Generated, KEY_BYTES_MAX, Key, KeyError, KeyType, LONG_MAX};
