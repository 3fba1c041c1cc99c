//! What a CONNECT or SUBSCRIBE asks for with user properties, beyond the standard.

use super::publish::Refused;
use crate::replay::AskError;
use crate::validate::Format;
use rowcast_codec::{ReasonCode, UserProperties};

/// Whether each delivery is to say what happened and which version it made.
pub(super) fn meta(properties: &UserProperties<'_>) -> Result<bool, AskError> {
    is_set(properties, "rowcast-meta")
}

/// Whether of states of QoS 0 that find no room the newest of each topic is to be kept.
pub(super) fn conflate(properties: &UserProperties<'_>) -> Result<bool, AskError> {
    is_set(properties, "rowcast-conflate")
}

/// In which format documents are to come; `None`: it does not say.
pub(super) fn format(properties: &UserProperties<'_>) -> Result<Option<Format>, AskError> {
    let Some(accept) = properties.get("accept") else { return Ok(None) };
    Format::accepted(accept)
        .map(Some)
        .ok_or_else(|| impossible("accept takes application/json, application/cbor or application/msgpack".to_owned()))
}

fn is_set(properties: &UserProperties<'_>, name: &str) -> Result<bool, AskError> {
    match properties.get(name) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(impossible(format!("{name} takes 1 or 0"))),
    }
}

impl From<AskError> for Refused {
    fn from(AskError(reason, words): AskError) -> Refused {
        Refused(reason, words)
    }
}

fn impossible(words: String) -> AskError {
    AskError(ReasonCode::ImplementationSpecificError, words)
}
