//! What a table is, for those who ask at its path.

use super::rest::is_shown;
use crate::db::TableRef;
use rowcast_core::policy::View;
use rowcast_core::schema::{Attribute, Role};
use rowcast_core::value::Key;
use serde::Serialize;

/// A table as `GET /dog` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'t> {
    name: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'t str>,
    /// Where its records are, by any of its names.
    paths: Vec<String>,
    key: KeyDescription<'t>,
    /// Absent: any payload is kept as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Vec<AttributeDescription<'t>>>,
    /// Attributes that are not declared are refused.
    sealed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_secs: Option<u64>,
}

#[derive(Serialize)]
struct KeyDescription<'t> {
    name: &'t str,
    expected: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttributeDescription<'t> {
    name: &'t str,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'t str>,
    #[serde(skip_serializing_if = "is_false")]
    indexed: bool,
    /// The server's doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

/// The description of a table as JSON, as far as somebody sees it; `None` if it is left out of descriptions.
pub(super) fn table(table: &TableRef, view: View<'_>) -> Option<String> {
    let declared = table.table();
    if declared.hidden {
        return None;
    }
    let shown = declared.attributes.iter().filter(|attribute| !attribute.hidden);
    let shown = shown.filter(|attribute| is_shown(view, &attribute.name)).map(attribute);
    let paths = match table.is_open_topics() {
        true => vec!["/$topics/".to_owned()],
        false => {
            let names = table.tables().catalog().spellings(declared);
            names.iter().map(|name| super::path::encode(&format!("{name}/"))).collect()
        }
    };
    let description = Description {
        name: &declared.name,
        description: declared.docs.as_deref(),
        paths,
        key: KeyDescription { name: key_name(table), expected: declared.key.key_type.to_string() },
        attributes: declared.is_typed().then(|| shown.collect()),
        sealed: declared.sealed,
        expiration_secs: declared.expiration_secs,
    };
    Some(serde_json::to_string(&description).expect("texts and numbers are JSON"))
}

/// `{"id":"123"}`
pub(super) fn key(table: &TableRef, key: &Key<'_>) -> String {
    format!("{{{}:{}}}", serde_json::Value::from(key_name(table)), key.to_json())
}

/// What keys are called in documents.
pub(super) fn key_name(table: &TableRef) -> &str {
    if table.is_open_topics() { "topic" } else { &table.table().key.name }
}

fn attribute(attribute: &Attribute) -> AttributeDescription<'_> {
    AttributeDescription {
        name: &attribute.name,
        r#type: attribute.ty.to_string(),
        description: attribute.docs.as_deref(),
        indexed: attribute.indexed,
        role: match attribute.role {
            Role::Key => Some("key"),
            Role::CreatedTime => Some("createdTime"),
            Role::UpdatedTime => Some("updatedTime"),
            Role::ExpiresAt => Some("expiresAt"),
            Role::Relationship { .. } => Some("relationship"),
            Role::Computed { .. } => Some("computed"),
            _ => None,
        },
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
