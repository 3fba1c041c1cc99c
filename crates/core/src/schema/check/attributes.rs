//! The fields of one type, each by itself and against its neighbours.

use rustc_hash::FxHashMap;

use super::Checker;
use crate::schema::directives::{Directives, Place};
use crate::schema::suggest::suggest;
use crate::schema::syntax::{Field, ShapeExpression, TypeExpression};
use crate::schema::table::{Attribute, Attributes, IMPLIED_KEY, Role, Scalar, Shape, Type};
use crate::schema::{FIELDS_MAX, LIST_DEPTH_MAX};
use crate::value::KeyType;

impl<'s> Checker<'s> {
    /// The attributes of a type, each checked by itself and against its neighbours.
    pub(super) fn attributes(&mut self, index: usize) -> Attributes {
        let definition = self.written[index].definition;
        let is_table = self.is_table(index);
        if definition.fields.len() > FIELDS_MAX {
            self.report(index, &definition.name.span, format!("a type has at most {FIELDS_MAX} fields"));
        }
        let mut list: Vec<Attribute> = Vec::new();
        let mut names: FxHashMap<&str, ()> = FxHashMap::default();
        for field in &definition.fields {
            if names.insert(&field.name.value, ()).is_some() {
                let message = format!("the field `{}` is declared twice", field.name.value);
                self.report(index, &field.name.span, message);
                continue;
            }
            let attribute = self.attribute(index, field, is_table);
            self.check_attribute(index, field, &attribute, &list);
            list.push(attribute);
        }
        if is_table && !list.is_empty() {
            self.add_key(index, &mut list);
        }
        Attributes::new(list)
    }

    fn attribute(&mut self, index: usize, field: &'s Field, is_table: bool) -> Attribute {
        let source = self.written[index].source;
        let directives = Directives::check(&field.directives, Place::Field, source, &mut self.diagnostics);
        let ty = self.resolve(index, &field.ty, 0);
        let role = self.role(index, &directives);
        // A directive that was misspelt may have been `@table`.
        if !is_table && self.written[index].directives.is_complete() {
            for name in ONLY_IN_TABLES {
                if let Some(span) = directives.span(name) {
                    self.report(index, span, format!("`@{name}` is for fields of tables")).help =
                        Some(format!("`{}` has no `@table`", self.written[index].definition.name.value));
                }
            }
        }
        Attribute {
            name: field.name.value.as_str().into(),
            ty,
            role,
            indexed: directives.has("indexed"),
            hidden: directives.has("hidden"),
            declared: true,
            docs: field.docs.as_deref().map(Into::into),
        }
    }

    fn resolve(&mut self, index: usize, ty: &TypeExpression, depth: usize) -> Type {
        let shape = match &ty.shape {
            ShapeExpression::List(item) => {
                if depth == LIST_DEPTH_MAX {
                    self.report(index, &ty.span, format!("lists nest at most {LIST_DEPTH_MAX} deep"));
                }
                Shape::List(Box::new(self.resolve(index, item, depth + 1)))
            }
            ShapeExpression::Named(name) => match (Scalar::named(name), self.by_name.get(&**name)) {
                (Some(scalar), _) => Shape::Scalar(scalar),
                (None, Some(&object)) => Shape::Object { index: object as u32, name: name.as_str().into() },
                (None, None) => {
                    let names = Scalar::ALL.map(Scalar::name).into_iter().chain(self.by_name.keys().copied());
                    let help = match suggest(name, names) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => format!("built-in types are {}", Scalar::ALL.map(Scalar::name).join(", ")),
                    };
                    self.report(index, &ty.span, format!("there is no type `{name}`")).help = Some(help);
                    Shape::Scalar(Scalar::Any)
                }
            },
        };
        Type { shape, required: ty.required }
    }

    fn role(&mut self, index: usize, directives: &Directives<'s>) -> Role {
        let present: Vec<_> = ROLES.into_iter().filter(|name| directives.has(name)).collect();
        if let [first, second, ..] = present[..]
            && (first, second) != ("primaryKey", "id")
        {
            let span = directives.span(second).expect("it is present");
            self.report(index, span, format!("a field cannot be both `@{first}` and `@{second}`"));
        }
        match present.first() {
            None => Role::Plain,
            Some(&"primaryKey" | &"id") => Role::Key,
            Some(&"createdTime") => Role::CreatedTime,
            Some(&"updatedTime") => Role::UpdatedTime,
            Some(&"expiresAt") => Role::ExpiresAt,
            Some(&"relationship") => self.relationship(index, directives),
            Some(_) => self.computed(index, directives),
        }
    }

    fn relationship(&mut self, index: usize, directives: &Directives<'s>) -> Role {
        let name = |argument| directives.text("relationship", argument).map(|(name, _)| name.into());
        let (from, to) = (name("from"), name("to"));
        if from.is_none() && to.is_none() {
            let span = directives.span("relationship").expect("it is present");
            let help = "`from:` names the attribute here that holds the key, `to:` the attribute there";
            self.report(index, span, "`@relationship` needs `from:` or `to:`").help = Some(help.to_owned());
        }
        Role::Relationship { from, to }
    }

    fn computed(&mut self, index: usize, directives: &Directives<'s>) -> Role {
        let from = directives.text("computed", "from");
        match from {
            Some((from, span)) if from.trim().is_empty() => {
                self.report(index, span, "the expression is empty");
            }
            None => {
                let span = directives.span("computed").expect("it is present");
                self.report(index, span, "`@computed` needs `from:`").help =
                    Some("as in `@computed(from: \"price * quantity\")`".to_owned());
            }
            Some(_) => {}
        }
        Role::Computed { from: from.map_or("", |(from, _)| from).into() }
    }

    /// Whether an attribute goes together with those before it, and with its own type.
    fn check_attribute(&mut self, index: usize, field: &'s Field, attribute: &Attribute, before: &[Attribute]) {
        let name = &field.name.value;
        let twice = before.iter().find(|other| same_role(&other.role, &attribute.role));
        if let (Some(first), Some(role)) = (twice, unique_role(&attribute.role)) {
            let message = format!("two fields are {role}: `{}` and `{name}`", first.name);
            self.report(index, &field.name.span, message);
        }
        if let Some((message, help)) = self.wrong_type(name, attribute) {
            self.report(index, &field.ty.span, message).help = help.map(str::to_owned);
        }
        let is_value = matches!(innermost(&attribute.ty), Shape::Scalar(_));
        let is_relationship = matches!(attribute.role, Role::Relationship { .. });
        if attribute.indexed && (is_relationship || !is_value) {
            let message = format!("`{name}` cannot be indexed: only built-in types and lists of them can");
            self.report(index, &field.name.span, message);
        }
    }

    /// Why an attribute's type does not go with what it is, and what would.
    fn wrong_type(&self, name: &str, attribute: &Attribute) -> Option<(String, Option<&'static str>)> {
        let ty = &attribute.ty;
        let scalar = match ty.shape {
            Shape::Scalar(scalar) => Some(scalar),
            _ => None,
        };
        match (&attribute.role, self.table_of(ty)) {
            (Role::Key, _) if scalar.and_then(key_type).is_none() => {
                let message = format!("a key cannot be of type `{ty}`");
                Some((message, Some("keys are ID, String, Int, Long or Any")))
            }
            (Role::CreatedTime | Role::UpdatedTime | Role::ExpiresAt, _) if !scalar.is_some_and(is_time) => {
                let help = match scalar {
                    Some(Scalar::Int) => "epoch milliseconds need more than 32 bits: use Long, or Date",
                    _ => "times are Long, Float, BigInt, Date or Any",
                };
                Some((format!("`{name}` holds a time, for which `{ty}` is no type"), Some(help)))
            }
            (Role::Relationship { .. }, None) => {
                Some((format!("a relationship leads to a table, and `{ty}` is none"), None))
            }
            (Role::Relationship { .. }, Some(_)) | (_, None) => None,
            (_, Some(table)) => {
                let table = &self.written[table].definition.name.value;
                let help = "add `@relationship(from: ..)`, or nest a type without `@table`";
                Some((format!("`{table}` is a table, and records do not hold records"), Some(help)))
            }
        }
    }

    /// Without a field that says so, `id` is the key, written or not.
    fn add_key(&mut self, index: usize, list: &mut Vec<Attribute>) {
        if list.iter().any(|attribute| attribute.role == Role::Key) {
            return;
        }
        match list.iter().position(|attribute| &*attribute.name == IMPLIED_KEY) {
            None => list.insert(0, implied_key()),
            Some(place) if list[place].ty.shape == Shape::Scalar(Scalar::Id) && list[place].role == Role::Plain => {
                list[place].role = Role::Key;
            }
            Some(_) => {
                let fields = &self.written[index].definition.fields;
                let field = fields.iter().find(|field| field.name.value == IMPLIED_KEY).expect("it is in the list");
                let message = "`id` is the key where no field has `@primaryKey`, and must be an ID then";
                self.report(index, &field.name.span, message).help =
                    Some("add `@primaryKey` to it, or to another field".to_owned());
            }
        }
    }
}

/// The key of a table that declares none.
pub(super) fn implied_key() -> Attribute {
    Attribute {
        name: IMPLIED_KEY.into(),
        ty: Type { shape: Shape::Scalar(Scalar::Id), required: false },
        role: Role::Key,
        indexed: false,
        hidden: false,
        declared: false,
        docs: None,
    }
}

pub(super) fn key_type(scalar: Scalar) -> Option<KeyType> {
    match scalar {
        Scalar::Id | Scalar::String => Some(KeyType::Text),
        Scalar::Int => Some(KeyType::Int),
        Scalar::Long => Some(KeyType::Long),
        Scalar::Any => Some(KeyType::Any),
        _ => None,
    }
}

fn is_time(scalar: Scalar) -> bool {
    matches!(scalar, Scalar::Long | Scalar::Float | Scalar::BigInt | Scalar::Date | Scalar::Any)
}

pub(super) fn innermost(ty: &Type) -> &Shape {
    match &ty.shape {
        Shape::List(item) => innermost(item),
        shape => shape,
    }
}

fn same_role(a: &Role, b: &Role) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// What is said of a role only one attribute of a table can have.
fn unique_role(role: &Role) -> Option<&'static str> {
    match role {
        Role::Key => Some("the key"),
        Role::CreatedTime => Some("`@createdTime`"),
        Role::UpdatedTime => Some("`@updatedTime`"),
        Role::ExpiresAt => Some("`@expiresAt`"),
        Role::Plain | Role::Relationship { .. } | Role::Computed { .. } => None,
    }
}

/// Directives of which a field can have one.
const ROLES: [&str; 7] = ["primaryKey", "id", "createdTime", "updatedTime", "expiresAt", "relationship", "computed"];
const ONLY_IN_TABLES: [&str; 8] =
    ["primaryKey", "id", "createdTime", "updatedTime", "expiresAt", "relationship", "computed", "indexed"];
