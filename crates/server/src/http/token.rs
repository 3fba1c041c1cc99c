//! `POST /$admin/token`: tokens for whoever has shown a password or a certificate, and new ones for old.
//!
//! | path                    | takes                                        | answers                          |
//! |-------------------------|----------------------------------------------|----------------------------------|
//! | `/$admin/token`         | Basic, or a certificate                      | a token, and one to refresh it   |
//! | `/$admin/token/refresh` | `Authorization: Bearer`, with the latter     | a token                          |
//!
//! A token does not lead to tokens that outlive it: one that is stolen is worth something until it expires.

use super::HttpState;
use super::admin::json_answer;
use super::auth::{challenge, denied};
use super::body::Body;
use super::problem::{Kind, Problem};
use crate::audit::{Event, Kind as EventKind};
use crate::auth::{Authenticator, Principal, SignedIn, Usage};
use hyper::{Response, StatusCode};
use serde_json::json;

/// Which tokens are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    Pair,
    Refreshed,
}

impl Resource {
    /// What a path names.
    pub(super) fn resolve(path: &str) -> Option<Resource> {
        match path {
            "$admin/token" => Some(Resource::Pair),
            "$admin/token/refresh" => Some(Resource::Refreshed),
            _ => None,
        }
    }

    /// What a token has to be for that is shown here.
    pub(super) fn usage(path: &str) -> Usage {
        match Self::resolve(path) {
            Some(Self::Refreshed) => Usage::Refresh,
            _ => Usage::Access,
        }
    }
}

/// Makes what is asked for.
pub(super) fn issue(state: &HttpState, asker: &SignedIn, resource: Resource) -> Result<Response<Body>, Problem> {
    let by_token = asker.until_secs.is_some();
    match (resource, by_token) {
        (Resource::Pair, true) => {
            let words = "this takes a password or a certificate; a refresh token goes to /$admin/token/refresh";
            return Err(Problem::new(Kind::Forbidden, words));
        }
        (Resource::Refreshed, false) => return Err(challenge("this takes a refresh token, as Bearer")),
        _ => {}
    }
    let issue = |usage| one(&state.authenticator, &asker.principal, usage);
    let access = issue(Usage::Access)?;
    let mut answer = json!({ "token": access.token, "tokenType": "Bearer", "expiresIn": access.expires_in });
    if resource == Resource::Pair {
        let refresh = issue(Usage::Refresh)?;
        answer["refreshToken"] = refresh.token.into();
        answer["refreshExpiresIn"] = refresh.expires_in.into();
    }
    state.audit.note(Event::new(EventKind::TokenIssued).by(&asker.principal.user).about(&asker.principal.user));
    Ok(json_answer(StatusCode::OK, &answer))
}

fn one(authenticator: &Authenticator, user: &Principal, usage: Usage) -> Result<crate::auth::Issued, Problem> {
    match authenticator.issue(user, usage) {
        Ok(Some(issued)) => Ok(issued),
        Ok(None) => Err(denied(user, "a token is for a user who has an account")),
        Err(error) => {
            tracing::error!(%error, "cannot make a token");
            Err(Problem::new(Kind::Internal, "the log of the server says what it is"))
        }
    }
}
