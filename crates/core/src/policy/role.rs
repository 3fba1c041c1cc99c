//! What a role may do, as its author wrote it.

/// A role without its name. The default may do nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Role {
    /// It may do everything.
    pub super_user: bool,
    /// Each table at most once.
    pub tables: Vec<TableGrant>,
    /// On open topics, and those of the server; what any of them allows is allowed.
    pub topics: Vec<TopicGrant>,
}

/// What a role may do with the records of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableGrant {
    /// The type's name.
    pub table: Box<str>,
    /// Read, watch, subscribe.
    pub read: bool,
    /// Put records that are not there yet.
    pub insert: bool,
    /// Put, or patch, records that are there.
    pub update: bool,
    /// Delete records.
    pub delete: bool,
    /// Send events.
    pub publish: bool,
    /// If given, only these, and the key.
    pub attributes: Option<Vec<AttributeGrant>>,
}

/// What a role may do with an attribute, where it may do so with the record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttributeGrant {
    /// The attribute.
    pub name: Box<str>,
    /// See it.
    pub read: bool,
    /// Set it when the record is made.
    pub insert: bool,
    /// Change it in a record that is there.
    pub update: bool,
}

/// What a role may do with the topics a filter selects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicGrant {
    /// A topic filter, in which `%u` is the user and `%c` the client identifier.
    pub filter: Box<str>,
    /// Subscribe, read.
    pub read: bool,
    /// Publish, retained or not, and delete.
    pub publish: bool,
}
