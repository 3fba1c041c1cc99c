//! Who a request comes from, and whether they may do what it asks.

use super::cors::{self, Page};
use super::problem::{Kind, Problem};
use crate::access::Access;
use crate::auth::{self, AuthError, Authenticator, Method, Principal, SignedIn, Usage};
use crate::config::Cors;
use crate::peer::Peer;
use crate::tls::Proof;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use rowcast_core::policy::Rights;
use std::net::IpAddr;
use std::sync::Arc;

/// Somebody who asks for something, and may lose the right to it before it is done.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    authenticator: Authenticator,
    access: Arc<Access>,
    principal: Principal,
}

impl Asker {
    pub(super) fn new(authenticator: &Authenticator, access: &Arc<Access>, principal: &Principal) -> Asker {
        let (authenticator, access) = (authenticator.clone(), Arc::clone(access));
        Asker { authenticator, access, principal: principal.clone() }
    }

    /// What they may do by now; `None`: their account is gone, or shut.
    pub(super) fn rights(&self) -> Option<Rights> {
        let known = self.authenticator.renew(self.principal.for_policy())?;
        Some(self.access.policy().rights(&known, NO_CLIENT))
    }

    /// Who they are.
    pub(super) fn user(&self) -> &str {
        &self.principal.user
    }
}

/// HTTP knows no client identifiers: no topic is anybody's by one.
const NO_CLIENT: &str = "";

/// The user a request shows credentials of, or whoever it may be without. A token has to be for that `usage`.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    cors: &Cors,
    head: &Parts,
    peer: &Peer,
    usage: Usage,
) -> Result<SignedIn, Problem> {
    let headers = &head.headers;
    let shown = |principal, method| SignedIn { principal, method, lease: None, until_secs: None };
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(value) = values.next() else {
        return without_credentials(authenticator, cors, headers, peer).map(|principal| {
            let method = Authenticator::shown_without_password(peer, &principal.for_policy());
            shown(principal, method)
        });
    };
    if values.next().is_some() {
        return Err(Problem::new(Kind::MalformedRequest, "there is more than one Authorization header"));
    }
    let text = value.to_str().unwrap_or_default();
    if let Some(known) = authenticator.with_local_key(text, crate::db::now_ms() / 1000) {
        return known.map(|principal| shown(principal, Method::Local)).map_err(refused);
    }
    if let Some(token) = bearer(text) {
        return authenticator.bearer(token, usage).map_err(|error| refused(error.into()));
    }
    if cors::is_unasked(head) && cors::page(cors, headers) == Page::Foreign {
        let words = "a page of another origin may not use a password that the browser keeps; http.corsAccessList names \
                     pages that may";
        return Err(Problem::new(Kind::Forbidden, words));
    }
    let credentials = value.to_str().ok().and_then(|value| auth::basic(value).ok());
    let credentials = credentials.ok_or_else(|| challenge("the Authorization header is neither Basic nor Bearer"))?;
    authenticator.verify(&credentials.user, &credentials.password, peer.ip()).await.map_err(refused)
}

/// As whom a request comes, right or wrong, if it says so.
pub(super) fn claimed_user(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    auth::basic(value).ok().map(|credentials| credentials.user)
}

/// The token of a header of the scheme Bearer (RFC 6750).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Trust in this machine, or in a certificate, is not trust in every page its browser shows: neither a page of another
/// origin nor, on this machine, a name that only happens to lead here (DNS rebinding) may use it.
fn without_credentials(
    authenticator: &Authenticator,
    cors: &Cors,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<Principal, Problem> {
    let principal = authenticator.without_password(peer).map_err(refused)?;
    let is_certified = matches!(peer.proof(), Proof::User(_));
    if !is_certified && !principal.super_user {
        return Ok(principal);
    }
    if (is_certified || names_this_machine(headers)) && cors::page(cors, headers) != Page::Foreign {
        return Ok(principal);
    }
    Err(challenge("without credentials only requests to localhost are let in, and not from pages of other origins"))
}

/// Whether `Host` is a name of the loopback interface that no name server answers for.
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (name, address) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _port)) => ("", address),
        None => host.split_once(':').map_or((host, host), |(name, _port)| (name, name)),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn refused(error: AuthError) -> Problem {
    match error {
        AuthError::Refused | AuthError::Required | AuthError::UnknownMethod => challenge(error.to_string()),
        AuthError::Token(error) => {
            let words = format!("Bearer realm=\"rowcast\", error=\"invalid_token\", error_description=\"{error}\"");
            let realm = HeaderValue::from_str(&words).unwrap_or(HeaderValue::from_static("Bearer"));
            Problem::new(Kind::Unauthenticated, error.to_string()).header(header::WWW_AUTHENTICATE, realm)
        }
        AuthError::Overloaded => {
            Problem::new(Kind::Busy, error.to_string()).header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        AuthError::Throttled { retry_after } => Problem::new(Kind::TooManyAttempts, error.to_string())
            .header(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1))),
    }
}

pub(super) fn challenge(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    let realm = HeaderValue::from_static("Basic realm=\"rowcast\", charset=\"UTF-8\"");
    Problem::new(Kind::Unauthenticated, detail).header(header::WWW_AUTHENTICATE, realm)
}

/// What somebody is told who has no right to something: who has shown no credentials may be somebody else with them.
pub(super) fn denied(principal: &Principal, words: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    if principal.is_anonymous() { challenge(words) } else { Problem::new(Kind::Forbidden, words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_nobody_else_can_give_are_this_machine() {
        for host in ["localhost", "LOCALHOST:9926", "a.localhost", "127.0.0.1:9926", "127.1.2.3", "[::1]:9926", "[::1]"]
        {
            assert!(check(host), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "192.0.2.1", "[2001:db8::1]:80", "127.0.0.1.nip.io", "::1"]
        {
            assert!(!check(host), "{host}");
        }
    }

    fn check(host: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        names_this_machine(&headers)
    }
}
