//! See ARCHITECTURE.md.

pub mod catalog;
pub mod schema;
pub mod validate;
pub mod value;
