//! Whether the server lives, and whether it should be sent requests.

use super::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why the server is not ready, if it is not. Whoever starts, stops or reloads it says so here.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<BTreeSet<&'static str>>);

impl Readiness {
    /// There is a reason not to send requests: `starting`, `stopping`. Words that may be shown to anyone.
    pub fn withhold(&self, reason: &'static str) {
        self.lock().insert(reason);
    }

    /// A reason is gone.
    pub fn grant(&self, reason: &'static str) {
        self.lock().remove(reason);
    }

    /// All reasons there are.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    /// The set is whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/health`: whoever can answer lives.
pub(super) fn health() -> Response<Body> {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// `/ready`, with the reasons if it is not.
pub(super) fn ready(reasons: &[&str]) -> Response<Body> {
    match reasons {
        [] => answer(StatusCode::OK, &json!({ "ready": true })),
        reasons => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "reasons": reasons })),
    }
}

fn answer(status: StatusCode, json: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
