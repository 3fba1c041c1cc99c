//! The formats documents are sent in.

use super::{Refusal, RefusalKind};

/// A format a document can be sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`, another `+json`, or no content type at all.
    Json,
}

impl Format {
    /// The format of a content type, parameters aside.
    pub fn of(content_type: Option<&str>) -> Result<Self, Refusal> {
        let Some(content_type) = content_type else { return Ok(Self::Json) };
        if content_type == "application/json" {
            return Ok(Self::Json);
        }
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_patch = essence.ends_with("-patch+json");
        match &*essence {
            "" | "application/json" => Ok(Self::Json),
            other if other.starts_with("application/") && other.ends_with("+json") && !is_patch => Ok(Self::Json),
            _ => Err(Refusal::new(RefusalKind::MediaType, String::new(), ACCEPTED, format!("`{essence}`"))),
        }
    }
}

const ACCEPTED: &str = "content type application/json";
