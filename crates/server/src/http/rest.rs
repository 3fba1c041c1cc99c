//! Records, read and written.

use super::auth::Asker;
use super::body::{self, Body};
use super::limits::INSERT_RECORDS_MAX;
use super::listing::{self, Window};
use super::negotiation::Accept;
use super::preconditions::{condition, etag};
use super::problem::{Kind, Problem};
use super::{HttpState, Settings};
use super::{describe, path};
use crate::db::{DbError, Payload, PlaceError, Stored, TableRef, Unmet, Written};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use rowcast_codec::PublishProperties;
use rowcast_core::Record;
use rowcast_core::policy::{Rights, View};
use rowcast_core::schema::Role;
use rowcast_core::validate::{Format, attribute};
use rowcast_core::value::KeyError;
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// A request on its way through.
pub(super) struct Call<'c> {
    pub(super) state: &'c HttpState,
    /// What is configured, at the moment it came.
    pub(super) settings: &'c Settings,
    pub(super) headers: &'c HeaderMap,
    /// The decoded path.
    pub(super) path: &'c str,
    /// What follows `?`, if there is one.
    pub(super) query: Option<&'c str>,
    pub(super) body: &'c mut Incoming,
    /// Who asks, where that matters.
    pub(super) asker: Option<&'c Asker>,
    /// What whoever asks may do.
    pub(super) rights: Rights,
    /// What they may do by now, if that is still what they ask for.
    pub(super) standing: &'c dyn Fn() -> Result<Rights, Problem>,
}

type Answer = Result<Response<Body>, Problem>;

/// `GET /dog/123`, and `GET /dog/123.name` unless there is a record of that very key.
pub(super) async fn read(call: &mut Call<'_>, table: &TableRef, key: &str) -> Answer {
    no_query(call.query)?;
    let place = table.record(key);
    if let Ok(place) = &place
        && let Some(stored) = call.state.db.get(place).await?
    {
        let record = stored.record();
        let content_type = representation(table, &record);
        let payload = seen(&record, call.rights.view(table.id(), key)).into_owned();
        return show(call.headers, &stored, content_type, payload.into());
    }
    if let Some((key, name)) = property(table, key, &call.rights)?
        && let Ok(place) = table.record(key)
        && let Some(stored) = call.state.db.get(&place).await?
    {
        let value = attribute(stored.record().payload, name).unwrap_or("null").to_owned();
        return show(call.headers, &stored, HeaderValue::from_static(JSON), value.into());
    }
    place.map_err(misplaced)?;
    // Nothing is at any version, which If-Match may have asked for.
    match condition(call.headers)?.check(None) {
        Err(Unmet::Matches) => Err(Problem::precondition_failed(None)),
        _ => Err(Problem::not_found(format!("there is no record {key} in {}", table.table().name))),
    }
}

/// What of a record somebody sees.
pub(super) fn seen<'r>(record: &Record<'r>, view: View<'_>) -> Cow<'r, [u8]> {
    match view {
        View::Whole => Cow::Borrowed(record.payload),
        View::Nothing => Cow::Borrowed(&[]), // Refused before.
        View::Only(shown) => {
            let mut part = Vec::with_capacity(record.payload.len());
            shown.project(record.payload, &mut part);
            Cow::Owned(part)
        }
    }
}

/// Whether somebody sees an attribute.
pub(super) fn is_shown(view: View<'_>, attribute: &str) -> bool {
    match view {
        View::Nothing => false,
        View::Whole => true,
        View::Only(shown) => shown.contains(attribute),
    }
}

/// The key and the declared attribute that `123.name` may mean.
fn property<'k>(table: &TableRef, key: &'k str, rights: &Rights) -> Result<Option<(&'k str, &'k str)>, Problem> {
    let Some((key, name)) = key.rsplit_once('.') else { return Ok(None) };
    if !is_shown(rights.view(table.id(), key), name) {
        return Ok(None); // As if there were no such attribute.
    }
    match table.table().attributes.get(name).map(|attribute| &attribute.role) {
        None => Ok(None),
        Some(Role::Computed { .. } | Role::Relationship { .. }) => {
            Err(Problem::new(Kind::NotAvailable, format!("{name} is not kept with the record")))
        }
        Some(_) => Ok(Some((key, name))),
    }
}

/// A record, or a part of it, as far as the client does not have it yet.
fn show(headers: &HeaderMap, stored: &Stored, content_type: HeaderValue, payload: Bytes) -> Answer {
    let record = stored.record();
    acceptable(headers, content_type.to_str().unwrap_or(OCTETS))?;
    let mut response = match condition(headers)?.check(Some(&record)) {
        Err(Unmet::Matches) => return Err(Problem::precondition_failed(Some(record.version))),
        Err(Unmet::Differs) => status(StatusCode::NOT_MODIFIED),
        Ok(()) => {
            let mut response = Response::new(Body::full(payload));
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(record.version));
    headers.insert(header::LAST_MODIFIED, date(record.stamp.hlc.millis()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    // What is kept elsewhere is to be asked for again: a record may change at any time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    // Payloads that clients chose are not to act as pages of this server.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

/// What a record's payload is.
fn representation(table: &TableRef, record: &Record<'_>) -> HeaderValue {
    if table.table().is_typed() {
        return HeaderValue::from_static(JSON);
    }
    // MQTT lets content types hold what a header cannot.
    let of_mqtt = content_type(record).filter(|text| text.contains('/')).map(HeaderValue::from_str);
    of_mqtt.and_then(Result::ok).filter(|value| value.to_str().is_ok()).unwrap_or(HeaderValue::from_static(OCTETS))
}

/// What a record's payload was said to be, if anything.
pub(super) fn content_type<'r>(record: &Record<'r>) -> Option<&'r str> {
    PublishProperties::parse_forwarded(record.properties).ok()?.content_type
}

/// `GET /dog/`, `GET /dog/a/?`.
pub(super) async fn list(call: &mut Call<'_>, table: &TableRef, below: Option<&str>) -> Answer {
    acceptable(call.headers, JSON)?;
    let window = Window::parse(call.query.unwrap_or_default(), call.settings.scan_records_max)?;
    let mut walk = call.state.db.walk(table, below);
    let mut first = walk.next().await?;
    // What is known to fail is told as a status.
    if let Some(cut) = first.as_mut().and_then(|first| first.cut_before(window.end())) {
        return Err(cut.into());
    }
    let asker = call.asker.ok_or_else(|| Problem::not_found("records are for somebody"))?;
    let array = match listing::array(walk, first, window, call.rights.clone(), asker.clone()).await {
        Ok(array) => array,
        Err(broken) => {
            (call.standing)()?; // The right may have been taken away meanwhile.
            return Err(DbError::Failed(broken.to_string()).into());
        }
    };
    let mut response = Response::new(array);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Authorization"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// `GET /dog`.
pub(super) fn describe(call: &mut Call<'_>, table: &TableRef) -> Answer {
    no_query(call.query)?;
    acceptable(call.headers, JSON)?;
    let Some(description) = describe::table(table, call.rights.view(table.id(), "")) else {
        return Err(Problem::not_found("the table is not described"));
    };
    let mut response = Response::new(Body::full(description));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

/// `PUT /dog/123`.
pub(super) async fn put(call: &mut Call<'_>, table: &TableRef, key: &str) -> Answer {
    no_query(call.query)?;
    no_event(call.headers)?;
    let place = table.record(key).map_err(misplaced)?;
    let condition = condition(call.headers)?;
    let payload = payload(call, table).await?;
    let written = call.state.db.put(&place, payload, condition, call.rights.writing(table.id())).await?;
    Ok(put_answer(written))
}

/// `PATCH /dog/123`.
pub(super) async fn patch(call: &mut Call<'_>, table: &TableRef, key: &str) -> Answer {
    no_query(call.query)?;
    no_event(call.headers)?;
    let place = table.record(key).map_err(misplaced)?;
    let condition = condition(call.headers)?;
    let content_type = sent_content_type(call.headers)?;
    let essence = content_type.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    if !essence.is_none_or(|text| [MERGE_PATCH, JSON].iter().any(|patch| text.eq_ignore_ascii_case(patch))) {
        let problem = Problem::new(Kind::UnsupportedMediaType, format!("a patch is {MERGE_PATCH} (RFC 7396)"));
        return Err(problem.header(HeaderName::from_static("accept-patch"), HeaderValue::from_static(MERGE_PATCH)));
    }
    let bytes = whole_body(call).await?;
    let written = call.state.db.patch(&place, bytes, condition, call.rights.writing(table.id())).await?;
    Ok(put_answer(written))
}

/// `DELETE /dog/123`.
pub(super) async fn delete(call: &mut Call<'_>, table: &TableRef, key: &str) -> Answer {
    no_query(call.query)?;
    no_event(call.headers)?;
    let place = table.record(key).map_err(misplaced)?;
    call.state.db.delete(&place, condition(call.headers)?).await?;
    Ok(status(StatusCode::NO_CONTENT))
}

/// `POST /dog/123`: an event, if it says so.
pub(super) async fn post_record(call: &mut Call<'_>, table: &TableRef, key: &str) -> Answer {
    no_query(call.query)?;
    no_condition(call.headers)?;
    if !is_event(call.headers)? {
        let detail = "a POST to a record is an event and has the header Rowcast-Event: true; PUT replaces the record";
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let place = table.record(key).map_err(misplaced)?;
    let payload = event_payload(call).await?;
    call.state.db.event(&place, &payload).await?;
    Ok(status(StatusCode::ACCEPTED))
}

/// `POST /dog/`: new records, or an event of the table's own topic, if it says so.
pub(super) async fn post_table(call: &mut Call<'_>, table: &TableRef) -> Answer {
    no_query(call.query)?;
    no_condition(call.headers)?;
    if is_event(call.headers)? {
        let payload = event_payload(call).await?;
        call.state.db.channel_event(table, &payload).await?;
        return Ok(status(StatusCode::ACCEPTED));
    }
    let payload = payload(call, table).await?;
    match documents(table, &payload)? {
        None => insert_one(call, table, payload).await,
        Some(documents) => insert_many(call, table, &documents).await,
    }
}

async fn insert_one(call: &mut Call<'_>, table: &TableRef, payload: Payload) -> Answer {
    let inserted = call.state.db.insert(table, &[payload], &call.rights.writing(table.id())).await?;
    let key = &inserted.keys[0];
    // The table's name as the client spells it.
    let name = call.path.strip_suffix('/').unwrap_or(call.path);
    let location = HeaderValue::from_str(&path::encode(&format!("{name}/{key}"))).expect("an encoded path is ASCII");
    let mut response = created(describe::key(table, key));
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::ETAG, etag(inserted.version));
    Ok(response)
}

async fn insert_many(call: &mut Call<'_>, table: &TableRef, documents: &[Payload]) -> Answer {
    if documents.is_empty() {
        return Ok(created("[]".to_owned()));
    }
    let inserted = call.state.db.insert(table, documents, &call.rights.writing(table.id())).await?;
    let keys: Vec<String> = inserted.keys.iter().map(|key| describe::key(table, key)).collect();
    Ok(created(format!("[{}]", keys.join(","))))
}

/// The elements of an array sent to a table whose records are documents; `None`: it is one document.
fn documents(table: &TableRef, payload: &Payload) -> Result<Option<Vec<Payload>>, Problem> {
    let is_json = Format::of(payload.content_type.as_deref()) == Ok(Format::Json);
    let is_array = payload.bytes.trim_ascii_start().first() == Some(&b'[');
    if !table.table().is_typed() || !is_json || !is_array {
        return Ok(None);
    }
    let elements = listing::elements(&payload.bytes, INSERT_RECORDS_MAX)?;
    let one = |element: &str| Payload {
        bytes: payload.bytes.slice_ref(element.as_bytes()),
        content_type: payload.content_type.clone(),
    };
    Ok(Some(elements.into_iter().map(|element| one(element.get())).collect()))
}

/// A body that is to become a record. What its table does not take is refused before it is read.
async fn payload(call: &mut Call<'_>, table: &TableRef) -> Result<Payload, Problem> {
    let content_type = sent_content_type(call.headers)?;
    if table.table().is_typed() {
        Format::of(content_type.as_deref()).map_err(|refusal| Problem::refused(&refusal, None))?;
    } else if content_type.as_deref().is_some_and(|text| text.to_ascii_lowercase().starts_with(MERGE_PATCH)) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "a merge patch is sent by PATCH"));
    }
    Ok(Payload { bytes: whole_body(call).await?, content_type })
}

async fn event_payload(call: &mut Call<'_>) -> Result<Payload, Problem> {
    let content_type = sent_content_type(call.headers)?;
    Ok(Payload { bytes: whole_body(call).await?, content_type })
}

pub(super) async fn whole_body(call: &mut Call<'_>) -> Result<Bytes, Problem> {
    let encodings = call.headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let problem = Problem::new(Kind::UnsupportedMediaType, "a body is sent as it is, without Content-Encoding");
        return Err(problem.header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let body = body::read(call.body, call.settings.body_bytes_max, &call.settings.patience).await?;
    call.rights = (call.standing)()?; // It may have taken long.
    Ok(body)
}

/// What a body is said to be, if anything.
pub(super) fn sent_content_type(headers: &HeaderMap) -> Result<Option<Box<str>>, Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) if text.trim().is_empty() => Ok(None),
        (Ok(text), None) => Ok(Some(text.trim().into())),
        _ => Err(Problem::new(Kind::MalformedRequest, "Content-Type is not one header of plain text")),
    }
}

/// Whether a POST is an event.
pub(super) fn is_event(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = headers.get(ROWCAST_EVENT) else { return Ok(false) };
    match value.to_str().unwrap_or_default().trim() {
        text if text.eq_ignore_ascii_case("true") => Ok(true),
        text if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Problem::new(Kind::MalformedRequest, "Rowcast-Event is neither true nor false")),
    }
}

/// Refuses what would change a record though an event was meant.
fn no_event(headers: &HeaderMap) -> Result<(), Problem> {
    match is_event(headers)? {
        true => Err(Problem::new(Kind::MalformedRequest, "an event is sent by POST")),
        false => Ok(()),
    }
}

fn no_condition(headers: &HeaderMap) -> Result<(), Problem> {
    let is_conditional = [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    if is_conditional {
        return Err(Problem::new(Kind::MalformedRequest, "a POST has no record that a precondition could be asked of"));
    }
    Ok(())
}

/// Refuses a query where none is understood: to leave it aside would be to do something else.
fn no_query(query: Option<&str>) -> Result<(), Problem> {
    match query {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::new(Kind::NotAvailable, "a query is understood only when a table is read, not here")),
    }
}

fn acceptable(headers: &HeaderMap, content_type: &str) -> Result<(), Problem> {
    if Accept::of(headers).allows(content_type) {
        return Ok(());
    }
    Err(Problem::new(Kind::NotAcceptable, format!("what can be had is {content_type}")))
}

/// Words for a key that is none.
fn misplaced(error: PlaceError) -> Problem {
    match error {
        PlaceError::Declared { .. } => Problem::not_found(error.to_string()),
        PlaceError::ServersOwn { .. } => Problem::new(Kind::Forbidden, error.to_string()),
        PlaceError::Key(KeyError::Empty) => Problem::not_found("the path ends before the key"),
        other => Problem::new(Kind::InvalidKey, other.to_string()),
    }
}

fn put_answer(written: Written) -> Response<Body> {
    let mut response = status(if written.created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
    response.headers_mut().insert(header::ETAG, etag(written.version));
    response
}

fn created(json: String) -> Response<Body> {
    let mut response = Response::new(Body::full(json));
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Milliseconds since 1970 as HTTP writes a date.
fn date(millis: u64) -> HeaderValue {
    // Beyond the year 9999 HTTP has no words.
    let millis = millis.min(253_402_300_799_000);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis));
    HeaderValue::from_str(&text).expect("a date is ASCII")
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const OCTETS: &str = "application/octet-stream";

/// Says that a POST is an event.
pub(super) const ROWCAST_EVENT: HeaderName = HeaderName::from_static("rowcast-event");
