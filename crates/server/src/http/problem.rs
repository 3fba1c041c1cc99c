//! What went wrong, as HTTP says it (RFC 9457), and the one table from errors to statuses.

use super::body::Body;
use crate::db::DbError;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use rowcast_core::Sequence;
use rowcast_core::validate::{Refusal, RefusalKind};
use serde::Serialize;
use std::borrow::Cow;

/// An answer that is a refusal.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    /// What of the body is meant, as a JSON pointer (RFC 6901).
    pointer: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// It is for want of rights that somebody else may have.
    is_denial: bool,
}

/// The sorts of refusal there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    MalformedRequest,
    MalformedBody,
    InvalidKey,
    InvalidRecord,
    NotAvailable,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    BodyTooSlow,
    KeyExists,
    Conflict,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    UpgradeRequired,
    TooManyAttempts,
    Internal,
    Busy,
    DiskFull,
}

impl Kind {
    /// What it is called in `type`, its status, and its title.
    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::MalformedRequest => ("malformed-request", StatusCode::BAD_REQUEST, "The request is malformed"),
            Self::MalformedBody => ("malformed-body", StatusCode::BAD_REQUEST, "The body is malformed"),
            Self::InvalidKey => ("invalid-key", StatusCode::BAD_REQUEST, "This is not a key of the table"),
            Self::InvalidRecord => ("invalid-record", StatusCode::BAD_REQUEST, "The record does not fit its table"),
            Self::NotAvailable => ("not-available", StatusCode::BAD_REQUEST, "This is not available yet"),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "Say who you are"),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "You may not do this"),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "This cannot be done here")
            }
            Self::NotAcceptable => ("not-acceptable", StatusCode::NOT_ACCEPTABLE, "No acceptable format"),
            Self::BodyTooSlow => ("body-too-slow", StatusCode::REQUEST_TIMEOUT, "The body took too long"),
            Self::KeyExists => ("key-exists", StatusCode::CONFLICT, "There is a record with this key already"),
            Self::Conflict => ("conflict", StatusCode::CONFLICT, "This cannot be as things are"),
            Self::PreconditionFailed => {
                ("precondition-failed", StatusCode::PRECONDITION_FAILED, "The record is not as expected")
            }
            Self::BodyTooLarge => ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not a content type taken here")
            }
            Self::UpgradeRequired => ("upgrade-required", StatusCode::UPGRADE_REQUIRED, "Another version is needed"),
            Self::TooManyAttempts => ("too-many-attempts", StatusCode::TOO_MANY_REQUESTS, "Too many attempts"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something is broken here"),
            Self::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Too busy, try again soon"),
            Self::DiskFull => ("disk-full", StatusCode::INSUFFICIENT_STORAGE, "There is no room to write"),
        }
    }
}

/// The body of a problem.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
}

impl Problem {
    /// A refusal and its reason, without a full stop.
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { kind, detail: detail.into(), pointer: None, headers: Vec::new(), is_denial: false }
    }

    /// The reason in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The reason, if it is for want of rights.
    pub(super) fn denial(&self) -> Option<&str> {
        self.is_denial.then_some(&*self.detail)
    }

    /// What the request named is not there, or not for the outside.
    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Kind::NotFound, detail)
    }

    /// The record is not as a precondition wants it; `current` is its version.
    pub(super) fn precondition_failed(current: Option<Sequence>) -> Problem {
        let problem = match current {
            Some(version) => Problem::new(Kind::PreconditionFailed, format!("its version is {version}")),
            None => Problem::new(Kind::PreconditionFailed, "there is no such record"),
        };
        match current {
            Some(version) => problem.header(header::ETAG, super::preconditions::etag(version)),
            None => problem,
        }
    }

    /// A payload that does not fit, `pointer` levels up from the body if it was one of several.
    pub(super) fn refused(refusal: &Refusal, item: Option<usize>) -> Problem {
        let kind = match refusal.kind {
            RefusalKind::MediaType => Kind::UnsupportedMediaType,
            RefusalKind::Syntax => Kind::MalformedBody,
            _ => Kind::InvalidRecord,
        };
        let pointer = match item {
            Some(item) => format!("/{item}{}", refusal.pointer),
            None => refusal.pointer.clone(),
        };
        let mut problem = Problem::new(kind, refusal.to_string());
        problem.pointer = Some(pointer).filter(|_| kind != Kind::UnsupportedMediaType);
        problem
    }

    /// The same with a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// The answer to a request for `instance`, a path as it was sent.
    pub(super) fn into_response(self, instance: &str) -> hyper::Response<Body> {
        let (name, status, title) = self.kind.describe();
        let document = Document {
            r#type: format!("urn:rowcast:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            pointer: self.pointer.as_deref(),
        };
        let json = serde_json::to_vec(&document).expect("strings and a number are JSON");
        let mut response = hyper::Response::new(Body::full(json));
        *response.status_mut() = status;
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Problem {
        match error {
            DbError::Busy => Problem::new(Kind::Busy, "more waits to be done than may wait")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            DbError::Full => Problem::new(Kind::DiskFull, "the disk is full; reading goes on"),
            DbError::Condition(current) => Problem::precondition_failed(current),
            DbError::Denied(words) => Problem { is_denial: true, ..Problem::new(Kind::Forbidden, words) },
            DbError::Absent => Problem::not_found("there is no such record"),
            DbError::Exists { key } => Problem::new(Kind::KeyExists, format!("the key is {key}")),
            DbError::Refused { refusal, item } => Problem::refused(&refusal, item),
            DbError::Place { error, item } => {
                let mut problem = Problem::new(Kind::InvalidKey, error.to_string());
                problem.pointer = item.map(|item| format!("/{item}"));
                problem
            }
            DbError::Empty => Problem::new(Kind::InvalidRecord, "an empty record would be a delete, which is DELETE"),
            DbError::NoNumberLeft => Problem::new(Kind::InvalidKey, "the table has no number left for a new key"),
            DbError::Unreadable(words) => Problem::new(Kind::Internal, words),
            DbError::Failed(what) => {
                tracing::error!(%what, "a request failed");
                Problem::new(Kind::Internal, "the log of the server says what it is")
            }
        }
    }
}
