//! HTTP: every record is a resource, every table a collection of them.
//!
//! | file             | what it knows                                           |
//! |------------------|---------------------------------------------------------|
//! | `router`, `path` | what a URL names                                        |
//! | `rest`           | what the methods do to records                          |
//! | `listing`        | many records in one answer                              |
//! | `describe`       | what a table is                                         |
//! | `preconditions`  | entity tags                                             |
//! | `negotiation`    | what a client accepts                                   |
//! | `token`          | tokens in the place of passwords                        |
//! | `admin`          | users, roles, sessions: for super users                 |
//! | `auth`, `cors`   | who asks, and for which page                            |
//! | `problem`        | how refusals look, and the table from errors to statuses|
//! | `http2`          | many requests at once on a connection                   |
//! | `upgrade`        | how MQTT over WebSocket begins                          |
//! | `body`, `patient`| bytes in and out, within bounds of size and time        |
//! | `panics`         | what becomes of one                                     |
//! | `health`         | whether the server lives and is ready                   |
//!
//! What a table can do beyond that (queries, other formats, streams of changes) is refused by name until it is there;
//! nothing asked for is left out in silence.

mod admin;
mod auth;
mod body;
mod cors;
mod describe;
mod health;
mod http2;
mod limits;
mod listing;
mod negotiation;
mod panics;
mod path;
mod patient;
mod preconditions;
mod problem;
mod rest;
mod router;
#[cfg(test)]
mod tests;
mod token;
mod upgrade;

pub use health::Readiness;
pub use http2::serve as serve_http2;
pub use limits::Patience;
pub use router::OpenTopics;

use crate::access::Access;
use crate::audit::{Audit, Event, Kind as EventKind};
use crate::auth::{Authenticator, Principal, SignedIn, Usage};
use crate::clients::Clients;
use crate::config::{Config, Cors};
use crate::db::{Db, DbError};
use crate::peer::{Ambient, Peer};
use crate::users::Users;
use crate::websocket::{Role, WebSocket};
use auth::Asker;
use body::Body;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use patient::Patient;
use problem::{Kind, Problem};
use rest::Call;
use router::Resource;
use rowcast_core::policy::{Operation, Rights};
use rowcast_core::validate::Format;
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// What all connections share.
pub struct HttpState {
    db: Db,
    authenticator: Authenticator,
    access: Arc<Access>,
    users: Users,
    audit: Audit,
    clients: Arc<dyn Clients>,
    settings: RwLock<Arc<Settings>>,
    readiness: Readiness,
    closing: watch::Sender<bool>,
}

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// How many records a query may read to find those it is about.
    pub scan_records_max: u64,
    /// Which pages of other origins may use this server.
    pub cors: Cors,
    /// Whether MQTT is spoken over WebSocket.
    pub web_socket: bool,
    /// Whether `/$topics/` is there.
    pub open_topics: OpenTopics,
    /// How long peers may take.
    pub patience: Patience,
}

impl Settings {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Settings {
        Settings {
            body_bytes_max: config.http.body_bytes_max,
            scan_records_max: config.http.scan_records_max,
            cors: config.http.cors(),
            web_socket: config.mqtt.web_socket,
            open_topics: if config.mqtt.open_topics { OpenTopics::Kept } else { OpenTopics::Refused },
            patience: Patience::default(),
        }
    }
}

impl HttpState {
    /// What is needed to answer requests about `db`.
    #[must_use]
    pub fn new(
        db: Db,
        (authenticator, access, users, audit): (Authenticator, Arc<Access>, Users, Audit),
        clients: Arc<dyn Clients>,
        settings: Settings,
    ) -> HttpState {
        let (readiness, closing) = (Readiness::default(), watch::Sender::new(false));
        let settings = RwLock::new(Arc::new(settings));
        HttpState { db, authenticator, access, users, audit, clients, settings, readiness, closing }
    }

    /// Other settings, for requests that come from now on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long peers may take.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.settings().patience
    }

    /// Where to say that the server is not ready, and why.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Ends every connection: idle ones now, others with the answer they are waiting for.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// Serves one connection until it ends. `peer` is whom the transport knows it comes from; headers that claim something
/// else (`X-Forwarded-For`) are not looked at. A connection that becomes a WebSocket goes to `mqtt`. Runs on a
/// current-thread runtime with time, since answers are not `Send`.
pub async fn serve_connection<S>(stream: S, peer: Peer, state: Arc<HttpState>, mqtt: impl FnOnce(WebSocket<S>, Peer))
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = state.patience();
    let mut closing = state.closing.subscribe();
    let upgrade = Rc::new(Cell::new(None));
    let (upgraded, seen) = (Rc::clone(&upgrade), peer.clone());
    let visit = Rc::new(Visit { peer: seen, user: Cell::default() });
    let service = service_fn(move |request| {
        let (state, upgraded, visit) = (Arc::clone(&state), Rc::clone(&upgraded), Rc::clone(&visit));
        async move { Ok::<_, Infallible>(answer(&state, &visit, request, &upgraded).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.head);
    builder.max_buf_size(HEAD_BYTES_MAX).max_header_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let stream = TokioIo::new(Patient::new(stream, patience.answer));
    let ended = {
        let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => ended,
            _ = closing.wait_for(|closing| *closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    } else if let Some(Upgrade { stream, ambient, format }) = upgrade.take()
        && let Ok(stream) = stream.await
        && let Ok(parts) = stream.downcast::<TokioIo<Patient<S>>>()
    {
        let stream = parts.io.into_inner().into_inner();
        mqtt(WebSocket::new(stream, Role::Server, parts.read_buf), peer.speaking_for(ambient).taking(format));
    }
}

/// A connection, as its requests see it.
struct Visit {
    peer: Peer,
    /// Who came in through it last.
    user: Cell<Option<Arc<str>>>,
}

/// A connection that is a WebSocket once its answer is sent.
struct Upgrade {
    stream: OnUpgrade,
    ambient: Ambient,
    format: Format,
}

/// One request, and its answer whatever happens.
async fn answer(
    state: &HttpState,
    visit: &Visit,
    mut request: Request<Incoming>,
    upgrade: &Cell<Option<Upgrade>>,
) -> Response<Body> {
    let stream = upgrade::is_asked_for(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (head, mut body) = request.into_parts();
    let settings = state.settings();
    let answered = match stream {
        Some(stream) if settings.web_socket => {
            let ambient = upgrade::ambient(&settings.cors, &head.headers, &visit.peer);
            let format = upgrade::format(&head.headers);
            upgrade::accept(&head).inspect(|_| upgrade.set(Some(Upgrade { stream, ambient, format })))
        }
        _ => match panics::caught(respond(state, &settings, visit, &head, &mut body)).await {
            Ok(answered) => answered,
            Err(panicked) => Err(DbError::Failed(panicked.to_string()).into()),
        },
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(problem) => problem.into_response(head.uri.path()),
    };
    if !response.headers().contains_key(header::CONNECTION) {
        body::discard(&head.headers, &mut body, &settings.patience).await;
    }
    cors::share(&settings.cors, &head.headers, response.headers_mut());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if head.method == Method::HEAD { without_body(response) } else { response }
}

async fn respond(
    state: &HttpState,
    settings: &Settings,
    visit: &Visit,
    head: &Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, Problem> {
    one_host(head)?;
    if cors::is_preflight(&head.method, &head.headers) {
        return Ok(cors::preflight(&settings.cors, &head.headers));
    }
    let path = match head.uri.path() {
        "*" if head.method == Method::OPTIONS => return Ok(options(ANYTHING)),
        path if path.starts_with('/') => path::decode(path)?,
        _ => return Err(Problem::new(Kind::MalformedRequest, "a request names a path, which begins with a slash")),
    };
    let query = head.uri.query();
    let asker = match &*path {
        "health" | "ready" => None,
        _ => Some(let_in((state, settings), visit, head, token::Resource::usage(&path)).await?),
    };
    let principal = asker.as_ref().map(|asker| &asker.principal);
    let resource = router::resolve(&state.db.tables(), settings.open_topics, &path, query);
    let is_allowed = |rights: &Rights| match &resource {
        Ok(resource) => resource.is_allowed(rights, operation(head)),
        Err(_) => rights.is_everything(), // Nobody else is told which tables there are.
    };
    let known = principal.map(|principal| Asker::new(&state.authenticator, &state.access, principal));
    let standing = || match &known {
        None => Ok(Rights::default()),
        Some(known) => {
            let rights = known.rights().ok_or_else(|| auth::challenge("the account is gone, or shut"))?;
            let denied = || DbError::Denied(NO_RIGHT.to_owned()).into();
            if is_allowed(&rights) { Ok(rights) } else { Err(denied()) }
        }
    };
    let told = |problem: Problem| match (principal, problem.denial()) {
        (Some(principal), Some(words)) => {
            note_denied(state, visit, principal, (&head.method, &*path));
            auth::denied(principal, words.to_owned())
        }
        _ => problem,
    };
    let rights = standing().map_err(told)?;
    if let (Ok(Resource::Token(resource)), Some(asker)) = (&resource, &asker)
        && head.method == Method::POST
    {
        return token::issue(state, asker, *resource);
    }
    let Ok(named) = &resource else { return Err(resource.expect_err("it names nothing")) };
    let (headers, asker, standing) = (&head.headers, known.as_ref(), &standing);
    let mut call = Call { state, settings, headers, path: &path, query, body, asker, rights, standing };
    dispatch(&mut call, &head.method, named).await.map_err(told)
}

/// Who asks, which is written down once for each connection and user.
async fn let_in(
    (state, settings): (&HttpState, &Settings),
    visit: &Visit,
    head: &Parts,
    usage: Usage,
) -> Result<SignedIn, Problem> {
    let (cors, peer) = (&settings.cors, &visit.peer);
    let found = auth::authenticate(&state.authenticator, cors, head, peer, usage).await;
    match &found {
        Ok(known) => {
            let user = Some(Arc::clone(&known.principal.user));
            if visit.user.replace(user.clone()) != user {
                let login = Event::new(EventKind::Login).about(&known.principal.user).shown(known.method);
                state.audit.note(login.from(peer.to_string(), HTTP));
            }
        }
        Err(problem) => {
            let refused = Event::new(EventKind::Refused).from(peer.to_string(), HTTP).because(problem.detail());
            let claimed = auth::claimed_user(&head.headers);
            state.audit.note(match &claimed {
                Some(user) => refused.about(user),
                None => refused,
            });
        }
    }
    found
}

/// Writes down that somebody may not do what they asked for. Who showed no credentials is asked for them.
fn note_denied(state: &HttpState, visit: &Visit, principal: &Principal, (method, path): (&Method, &str)) {
    if !principal.is_anonymous() {
        let denied = Event::new(EventKind::Denied).about(&principal.user).from(visit.peer.to_string(), HTTP);
        state.audit.note(denied.because(format!("{method} /{path}")));
    }
}

/// What the audit log calls the doors of HTTP.
const HTTP: &str = "http";

/// What somebody is told who has no right to what they ask for, whether it is there or not.
const NO_RIGHT: &str = "there is no right to this";

/// What a method does to a resource.
async fn dispatch(call: &mut Call<'_>, method: &Method, resource: &Resource) -> Result<Response<Body>, Problem> {
    if let Resource::Admin(resource) = resource
        && let Some(answered) = admin::answer(call, method.as_str(), resource).await
    {
        return answered;
    }
    match (resource, method.as_str()) {
        (Resource::Health, "GET" | "HEAD") => Ok(health::health()),
        (Resource::Ready, "GET" | "HEAD") => Ok(health::ready(&call.state.readiness.reasons())),
        (Resource::Table(table), "GET" | "HEAD") => rest::describe(call, table),
        (Resource::Records { table, below }, "GET" | "HEAD") => rest::list(call, table, below.as_deref()).await,
        (Resource::Table(table) | Resource::Records { table, below: None }, "POST") if !table.is_open_topics() => {
            rest::post_table(call, table).await
        }
        (Resource::Records { .. }, "PUT" | "DELETE") => {
            Err(Problem::new(Kind::NotAvailable, "several records are not changed by one request yet"))
        }
        (Resource::Record { table, key }, "GET" | "HEAD") => rest::read(call, table, key).await,
        (Resource::Record { table, key }, "PUT") => rest::put(call, table, key).await,
        (Resource::Record { table, key }, "PATCH") => rest::patch(call, table, key).await,
        (Resource::Record { table, key }, "DELETE") => rest::delete(call, table, key).await,
        (Resource::Record { table, key }, "POST") => rest::post_record(call, table, key).await,
        (resource, "OPTIONS") => Ok(options(allowed(resource))),
        (resource, _) => Err(Problem::new(Kind::MethodNotAllowed, format!("here there is {}", allowed(resource)))
            .header(header::ALLOW, HeaderValue::from_static(allowed(resource)))),
    }
}

/// What a request wants to do, in the words rights are given in.
fn operation(head: &Parts) -> Operation {
    match head.method.as_str() {
        "PUT" | "PATCH" => Operation::Put,
        "DELETE" => Operation::Delete,
        "POST" if rest::is_event(&head.headers).unwrap_or_default() => Operation::Publish,
        "POST" => Operation::Insert,
        _ => Operation::Read,
    }
}

/// What can be done to a resource, as `Allow` says it.
fn allowed(resource: &Resource) -> &'static str {
    match resource {
        Resource::Health | Resource::Ready => "GET, HEAD, OPTIONS",
        Resource::Token(_) => "POST, OPTIONS",
        Resource::Admin(resource) => resource.allowed(),
        Resource::Table(table) | Resource::Records { table, below: None } if !table.is_open_topics() => {
            "GET, HEAD, POST, OPTIONS"
        }
        Resource::Table(_) | Resource::Records { .. } => "GET, HEAD, OPTIONS",
        Resource::Record { .. } => ANYTHING,
    }
}

const ANYTHING: &str = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS";

fn options(allowed: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = hyper::StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Refuses a request that could mean another server than this one (RFC 9112 §3.2).
fn one_host(head: &Parts) -> Result<(), Problem> {
    match head.headers.get_all(header::HOST).iter().count() {
        1 => Ok(()),
        0 if head.version < Version::HTTP_11 => Ok(()),
        _ => Err(Problem::new(Kind::MalformedRequest, "a request has exactly one Host header")),
    }
}

/// What HEAD shows of an answer: all but its body, whose length is told if it is known.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    let length = response.body().length();
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}
