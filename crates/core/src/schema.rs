//! The application's tables, read from `schema.graphql` and checked.
//!
//! A [`Schema`] is what its author wrote, with every name resolved and nothing left to check. Which topic belongs
//! to which table is the [`catalog`](crate::catalog)'s answer; whether a payload fits its table is
//! [`validate`](crate::validate)'s.

mod check;
mod diagnostic;
mod directives;
mod suggest;
mod syntax;
mod table;
#[cfg(test)]
mod tests;

pub use crate::proposal::Durability;
pub use diagnostic::{Color, Diagnostic, Source, render};
pub use table::{
    Attribute, Attributes, Doors, Export, KeyAttribute, ObjectType, Role, Scalar, Shape, Table, TableIndex, Type,
};

use std::sync::Arc;

/// Every table of an application.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// The types with `@table`, in the order they were written, file by file.
    pub tables: Vec<Table>,
    /// All types, tables included: what [`Shape::Object`] counts in.
    pub types: Arc<[ObjectType]>,
}

impl Schema {
    /// Reads and checks schema files together; on failure every mistake found, in the order of the text.
    pub fn parse(sources: &[Source]) -> Result<Self, Vec<Diagnostic>> {
        let mut left = SCHEMA_BYTES_MAX;
        let mut files = Vec::new();
        let mut diagnostics = Vec::new();
        for source in sources {
            match left.checked_sub(source.text.len()) {
                Some(rest) => left = rest,
                None => {
                    let message = format!("a schema has at most {SCHEMA_BYTES_MAX} bytes, all files together");
                    return Err(vec![Diagnostic::new(source, 0..0, message)]);
                }
            }
            match syntax::parse(source) {
                Ok(definitions) => files.push((source, definitions)),
                Err(mistakes) => diagnostics.extend(mistakes),
            }
        }
        if diagnostics.is_empty() { check::check(&files) } else { Err(diagnostics) }
    }
}

/// The bytes a schema may have, all files together.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// The types a schema may declare, all files together.
pub const TYPES_MAX: usize = 4096;
/// The fields one type may declare.
pub const FIELDS_MAX: usize = 1024;
/// How deep `[[T]]` may nest.
pub const LIST_DEPTH_MAX: usize = 8;
/// The levels an exported name may have (`name: "farm/animals/dogs"` has three).
pub const EXPORT_LEVELS_MAX: usize = 8;
/// The bytes an exported name may have.
pub const EXPORT_BYTES_MAX: usize = 256;
