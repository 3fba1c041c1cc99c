//! `/$admin/`: users, roles, sessions and connections, for super users.
//!
//! | path                          | methods                                                          |
//! |-------------------------------|------------------------------------------------------------------|
//! | `/$admin/users`               | GET, POST `{"name", "password", "role"}`                         |
//! | `/$admin/users/NAME`          | GET, PATCH `{"password"?, "role"?, "active"?}`, DELETE           |
//! | `/$admin/roles`               | GET                                                              |
//! | `/$admin/roles/NAME`          | GET                                                              |
//! | `/$admin/sessions`            | GET                                                              |
//! | `/$admin/connections/CLIENT`  | DELETE                                                           |
//!
//! A list holds a thousand elements at most; `?after=NAME` goes on behind one. Bodies are `application/json`, which a
//! page of another origin cannot send without being asked about first.

use super::auth::Asker;
use super::problem::{Kind, Problem};
use super::rest::{Call, sent_content_type, whole_body};
use super::{body::Body, path};
use crate::audit::{Event, Kind as EventKind};
use crate::auth::Account;
use crate::roles;
use crate::users::{Edit, PAGE, UserError};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a path below `/$admin/` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    Users,
    User(String),
    Roles,
    Role(String),
    Sessions,
    Connection(String),
}

impl Resource {
    /// What `path`, without `$admin/`, names.
    pub(super) fn resolve(path: &str) -> Option<Resource> {
        Some(match path.split_once('/').unwrap_or((path, "")) {
            ("users", "") => Resource::Users,
            ("users", name) => Resource::User(name.to_owned()),
            ("roles", "") => Resource::Roles,
            ("roles", name) => Resource::Role(name.to_owned()),
            ("sessions", "") => Resource::Sessions,
            ("connections", client_id) if !client_id.is_empty() => Resource::Connection(client_id.to_owned()),
            _ => return None,
        })
    }

    /// What can be done to it, as `Allow` says it.
    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Self::Users => "GET, HEAD, POST, OPTIONS",
            Self::User(_) => "GET, HEAD, PATCH, DELETE, OPTIONS",
            Self::Roles | Self::Role(_) | Self::Sessions => "GET, HEAD, OPTIONS",
            Self::Connection(_) => "DELETE, OPTIONS",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    password: String,
    role: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    password: Option<String>,
    role: Option<String>,
    active: Option<bool>,
}

/// Answers a request of a super user. `None`: the resource has no such method.
pub(super) async fn answer(
    call: &mut Call<'_>,
    method: &str,
    resource: &Resource,
) -> Option<Result<Response<Body>, Problem>> {
    Some(match (resource, method) {
        (Resource::Users, "GET" | "HEAD") => users(call).await,
        (Resource::Users, "POST") => add(call).await,
        (Resource::User(name), "GET" | "HEAD") => user(call, name).await,
        (Resource::User(name), "PATCH") => edit(call, name).await,
        (Resource::User(name), "DELETE") => delete(call, name).await,
        (Resource::Roles, "GET" | "HEAD") => all_roles(call),
        (Resource::Role(name), "GET" | "HEAD") => role(call, name),
        (Resource::Sessions, "GET" | "HEAD") => sessions(call).await,
        (Resource::Connection(client_id), "DELETE") => dismiss(call, client_id),
        _ => return None,
    })
}

async fn users(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let found = call.state.users.list(&after(call)?).await?;
    Ok(json_answer(StatusCode::OK, &found.iter().map(Account::to_json).collect()))
}

async fn user(call: &Call<'_>, name: &str) -> Result<Response<Body>, Problem> {
    Ok(json_answer(StatusCode::OK, &call.state.users.get(name).await?.to_json()))
}

async fn add(call: &mut Call<'_>) -> Result<Response<Body>, Problem> {
    let NewUser { name, password, role } = document(call).await?;
    let kept = keep(call, password).await?;
    let account = Account::new(&name, kept, &known_role(call, role)?).map_err(UserError::from)?;
    call.state.users.add(&account).await?;
    note(call, Event::new(EventKind::UserAdded).about(&name).with(Some(&account.role), None, false));
    let mut response = json_answer(StatusCode::CREATED, &account.to_json());
    let location = format!("/$admin/users/{}", path::encode(&name).trim_start_matches('/'));
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn edit(call: &mut Call<'_>, name: &str) -> Result<Response<Body>, Problem> {
    let Changes { password, role, active } = document(call).await?;
    let role = role.map(|role| known_role(call, role)).transpose()?;
    let password = match password {
        Some(password) => Some(keep(call, password).await?),
        None => None,
    };
    let (new_role, has_password) = (role.clone(), password.is_some());
    let account = call.state.users.edit(name, Edit { password, role, active }).await?;
    note(call, Event::new(EventKind::UserChanged).about(name).with(new_role.as_deref(), active, has_password));
    Ok(json_answer(StatusCode::OK, &account.to_json()))
}

async fn delete(call: &Call<'_>, name: &str) -> Result<Response<Body>, Problem> {
    call.state.users.delete(name).await?;
    note(call, Event::new(EventKind::UserDeleted).about(name));
    Ok(no_content())
}

fn all_roles(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let roles = call.state.access.roles();
    Ok(json_answer(
        StatusCode::OK,
        &roles.iter().map(|(name, role)| (name.to_string(), roles::to_json(role))).collect(),
    ))
}

fn role(call: &Call<'_>, name: &str) -> Result<Response<Body>, Problem> {
    let roles = call.state.access.roles();
    let role = roles.get(name).ok_or_else(|| Problem::not_found("roles.yaml has no such role"))?;
    Ok(json_answer(StatusCode::OK, &roles::to_json(role)))
}

async fn sessions(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let after = after(call)?;
    let stored = call.state.users.sessions(&after).await?;
    let stored = stored.into_iter().map(|(client_id, user)| (client_id, (user.map(String::from), false)));
    let mut found: BTreeMap<String, (Option<String>, bool)> = stored.collect();
    for client in call.state.clients.connected(&after, PAGE) {
        found.insert(client.client_id.into(), (client.user.map(|user| user.to_string()), true));
    }
    let shown = found
        .into_iter()
        .take(PAGE)
        .map(|(client_id, (user, connected))| json!({ "clientId": client_id, "user": user, "connected": connected }));
    Ok(json_answer(StatusCode::OK, &shown.collect()))
}

fn dismiss(call: &Call<'_>, client_id: &str) -> Result<Response<Body>, Problem> {
    match call.state.clients.dismiss(client_id) {
        true => {
            note(call, Event::new(EventKind::ClientDismissed).client(client_id));
            Ok(no_content())
        }
        false => Err(Problem::not_found("no client of that identifier is connected")),
    }
}

fn note(call: &Call<'_>, event: Event<'_>) {
    call.state.audit.note(event.by(call.asker.map(Asker::user).unwrap_or_default()));
}

async fn keep(call: &Call<'_>, password: String) -> Result<crate::auth::KeptPassword, Problem> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        let words = format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes");
        return Err(Problem::new(Kind::MalformedBody, words));
    }
    let kept = call.state.authenticator.keep(password.into_bytes()).await;
    kept.ok_or_else(|| {
        Problem::new(Kind::Busy, "too many passwords wait to be hashed")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    })
}

/// A role that means something: one of `roles.yaml`, or that of super users. A name that is only misspelled would
/// grant nothing, and nobody would know why.
fn known_role(call: &Call<'_>, role: String) -> Result<String, Problem> {
    if role == Account::ADMIN || call.state.access.roles().contains_key(&*role) {
        return Ok(role);
    }
    Err(Problem::new(Kind::MalformedBody, format!("roles.yaml has no role {role:?}")))
}

/// A body of JSON, and said to be.
async fn document<T: DeserializeOwned>(call: &mut Call<'_>) -> Result<T, Problem> {
    let content_type = sent_content_type(call.headers)?.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Kind::UnsupportedMediaType, "what is sent here is application/json"));
    }
    let bytes = whole_body(call).await?;
    // The words of the parser could repeat a password.
    serde_json::from_slice(&bytes).map_err(|error| {
        let words = format!("the body is not what is taken here, line {} column {}", error.line(), error.column());
        Problem::new(Kind::MalformedBody, words)
    })
}

/// Behind which element a list is to begin.
fn after(call: &Call<'_>) -> Result<String, Problem> {
    let Some(query) = call.query.filter(|query| !query.is_empty()) else { return Ok(String::new()) };
    let after = query.strip_prefix("after=").filter(|after| !after.contains('&'));
    let after = after.ok_or_else(|| Problem::new(Kind::MalformedRequest, "a list takes one parameter, `after`"))?;
    path::decode(&format!("/{after}")).map(|text| text.to_string())
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Problem {
        match error {
            UserError::Absent(_) => Problem::not_found(error.to_string()),
            UserError::Exists(_) | UserError::LastSuperUser(_) => Problem::new(Kind::Conflict, error.to_string()),
            UserError::Account(error) => Problem::new(Kind::MalformedBody, error.to_string()),
            UserError::Db(error) => error.into(),
        }
    }
}

/// Bytes of a password: what MQTT can carry.
const PASSWORD_BYTES_MAX: usize = 65_535;
