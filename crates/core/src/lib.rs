//! See ARCHITECTURE.md.

pub mod catalog;
pub mod limits;
pub mod schema;
pub mod validate;
pub mod value;
