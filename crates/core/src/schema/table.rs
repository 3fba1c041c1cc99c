//! A table and its attributes, as checked.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::proposal::Durability;
use crate::value::KeyType;

/// A type with `@table`: what its records look like, where they are kept, and who can reach them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Table {
    /// Its place in the schema and the catalog it came from. Not kept across reloads.
    pub index: TableIndex,
    /// The type's name: `Dog`.
    pub name: Box<str>,
    /// The name its records are stored under; the type's unless `@table(table:)` says otherwise.
    pub table: Box<str>,
    /// The database its records are stored in.
    pub database: Box<str>,
    /// How the outside reaches it; `None` without `@export`.
    pub export: Option<Export>,
    /// The primary key. A table without attributes has one too, outside of its payloads.
    pub key: KeyAttribute,
    /// What is declared, key included. Empty: any payload is kept byte for byte.
    pub attributes: Attributes,
    /// All types of the schema, for [`Shape::Object`].
    pub types: Arc<[ObjectType]>,
    /// Attributes that are not declared are refused.
    pub sealed: bool,
    /// Seconds from a put until the record expires.
    pub expiration_secs: Option<u64>,
    /// Seconds from expiry until the record's space is given back.
    pub eviction_secs: Option<u64>,
    /// Events are kept in the log, so that they can be replayed.
    pub audit: bool,
    /// Changes are sent to other nodes.
    pub replicate: bool,
    /// What an acknowledgement waits for, if the table says.
    pub durability: Option<Durability>,
    /// Left out of descriptions.
    pub hidden: bool,
    /// The docstring.
    pub docs: Option<Box<str>>,
}

/// A table's place in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableIndex(pub u32);

/// `@export`: the name topics and paths begin with, and which doors are open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// One or more levels, without a slash at either end.
    pub name: Box<str>,
    /// Said with `name:`. Such a name has no alias.
    pub named: bool,
    /// The doors it can be reached through.
    pub doors: Doors,
}

/// The ways to reach a table; all are open unless `@export` shuts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// MQTT, over TCP, TLS or WebSocket.
    pub mqtt: bool,
    /// HTTP requests.
    pub rest: bool,
    /// Server-sent events.
    pub sse: bool,
    /// WebSocket without the MQTT sub-protocol.
    pub ws: bool,
}

impl Export {
    /// The name with a lower-case first letter, if that is another and none was given with `name:`. It holds unless
    /// another table claims it, which the [`Catalog`](crate::catalog::Catalog) knows.
    pub fn alias(&self) -> Option<String> {
        let first = self.name.chars().next()?;
        if self.named || !first.is_ascii_uppercase() {
            return None;
        }
        Some(format!("{}{}", first.to_ascii_lowercase(), &self.name[1..]))
    }
}

impl Doors {
    /// What `@export` without arguments means.
    pub const OPEN: Self = Self { mqtt: true, rest: true, sse: true, ws: true };
}

/// The primary key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyAttribute {
    /// Its name in documents.
    pub name: Box<str>,
    /// What its text in a topic may be.
    pub key_type: KeyType,
}

/// A declared type: a table's, or one nested in others.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ObjectType {
    /// Its name.
    pub name: Box<str>,
    /// Its fields.
    pub attributes: Attributes,
    /// Attributes that are not declared are refused.
    pub sealed: bool,
    /// Left out of descriptions.
    pub hidden: bool,
    /// The docstring.
    pub docs: Option<Box<str>>,
}

/// A declared field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attribute {
    /// Its name.
    pub name: Box<str>,
    /// What its values look like.
    pub ty: Type,
    /// What is special about it.
    pub role: Role,
    /// Has a secondary index.
    pub indexed: bool,
    /// Left out of descriptions.
    pub hidden: bool,
    /// Written in the schema; false for the `id` a table has without saying so.
    pub declared: bool,
    /// The docstring.
    pub docs: Option<Box<str>>,
}

/// What is special about an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Nothing: clients write it.
    Plain,
    /// The primary key.
    Key,
    /// Set by the server when the record is made.
    CreatedTime,
    /// Set by the server at each put.
    UpdatedTime,
    /// When the record expires.
    ExpiresAt,
    /// Records of another table, found through a key; not stored.
    Relationship {
        /// The attribute here that holds the other's key.
        from: Option<Box<str>>,
        /// The attribute there that holds ours.
        to: Option<Box<str>>,
    },
    /// Calculated when read; not stored.
    Computed {
        /// The expression, as written.
        from: Box<str>,
    },
}

impl Role {
    /// Whether documents hold the attribute.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::Relationship { .. } | Self::Computed { .. })
    }
}

/// A field's type: `String`, `[Int!]`, `Address!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Without the `!`.
    pub shape: Shape,
    /// Written with `!`: neither missing nor null.
    pub required: bool,
}

/// A type, not looking at whether it is required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One of the built-in types.
    Scalar(Scalar),
    /// `[T]`.
    List(Box<Type>),
    /// Another type of the schema, by its place in [`Table::types`].
    Object {
        /// Its place.
        index: u32,
        /// Its name.
        name: Box<str>,
    },
}

/// The built-in types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// Text that identifies; whole numbers are taken as their text.
    Id,
    /// Text.
    String,
    /// A whole number of 32 bits.
    Int,
    /// A whole number within ±2^53.
    Long,
    /// A whole number of any size.
    BigInt,
    /// A number an IEEE double can hold.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A point in time.
    Date,
    /// Any JSON value.
    Any,
    /// Bytes, base64 in JSON.
    Bytes,
}

/// The declared fields of a type, in the order written, found by name.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    list: Vec<Attribute>,
    places: FxHashMap<Box<str>, usize>,
    /// Those a document cannot lack: the key, times of the server, and what is required.
    watched: Vec<usize>,
}

impl Table {
    /// A table of any payload with text keys that nothing was said about.
    pub(crate) fn untyped(name: &str) -> Self {
        Self {
            index: TableIndex(0),
            name: name.into(),
            table: name.into(),
            database: DEFAULT_DATABASE.into(),
            export: None,
            key: KeyAttribute { name: IMPLIED_KEY.into(), key_type: KeyType::Text },
            attributes: Attributes::default(),
            types: Arc::default(),
            sealed: false,
            expiration_secs: None,
            eviction_secs: None,
            audit: false,
            replicate: true,
            durability: None,
            hidden: false,
            docs: None,
        }
    }

    /// Whether payloads are documents with attributes. Otherwise any payload is kept byte for byte.
    pub fn is_typed(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Whether [`Validator::put`](crate::validate::Validator::put) wants the created time of the record replaced.
    pub fn needs_previous(&self) -> bool {
        self.attributes.iter().any(|attribute| attribute.role == Role::CreatedTime)
    }
}

impl Attributes {
    pub(super) fn new(list: Vec<Attribute>) -> Self {
        let places = list.iter().enumerate().map(|(place, attribute)| (attribute.name.clone(), place)).collect();
        let is_watched = |attribute: &Attribute| match attribute.role {
            Role::Key | Role::CreatedTime | Role::UpdatedTime => true,
            Role::Plain | Role::ExpiresAt => attribute.ty.required,
            Role::Relationship { .. } | Role::Computed { .. } => false,
        };
        let watched = (0..list.len()).filter(|&place| is_watched(&list[place])).collect();
        Self { list, places, watched }
    }

    /// [`place`](Self::place), trying `likely` first.
    #[inline]
    pub(crate) fn find(&self, name: &str, likely: usize) -> Option<usize> {
        match self.list.get(likely) {
            Some(attribute) if *attribute.name == *name => Some(likely),
            _ => self.place(name),
        }
    }

    /// The attributes a document cannot lack, with their places: the key, times of the server, what is required.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (usize, &Attribute)> {
        self.watched.iter().map(|&place| (place, &self.list[place]))
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.place(name).map(|place| &self.list[place])
    }

    /// Where in the order written the attribute of that name is.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// All, in the order written; the key first if it was not written.
    pub fn iter(&self) -> std::slice::Iter<'_, Attribute> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = &'a Attribute;
    type IntoIter = std::slice::Iter<'a, Attribute>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::ops::Index<usize> for Attributes {
    type Output = Attribute;

    fn index(&self, place: usize) -> &Attribute {
        &self.list[place]
    }
}

impl Scalar {
    /// All, in the order they are told to users.
    pub const ALL: [Self; 10] = [
        Self::Id,
        Self::String,
        Self::Int,
        Self::Long,
        Self::BigInt,
        Self::Float,
        Self::Boolean,
        Self::Date,
        Self::Any,
        Self::Bytes,
    ];

    /// As written in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::String => "String",
            Self::Int => "Int",
            Self::Long => "Long",
            Self::BigInt => "BigInt",
            Self::Float => "Float",
            Self::Boolean => "Boolean",
            Self::Date => "Date",
            Self::Any => "Any",
            Self::Bytes => "Bytes",
        }
    }

    /// The type written that way.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }
}

/// As written in a schema.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Scalar(scalar) => f.write_str(scalar.name())?,
            Shape::List(item) => write!(f, "[{item}]")?,
            Shape::Object { name, .. } => f.write_str(name)?,
        }
        f.write_str(if self.required { "!" } else { "" })
    }
}

/// The key of a table that declares none.
pub(super) const IMPLIED_KEY: &str = "id";
const DEFAULT_DATABASE: &str = "data";
