//! Values: the keys of records, and what the built-in types read and write.

mod key;

pub use key::{Generated, KEY_BYTES_MAX, Key, KeyError, KeyType, LONG_MAX};
