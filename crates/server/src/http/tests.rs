//! The whole door over a database in memory: a real socket, raw bytes and a real client.

mod access;
mod admin;
mod bounds;
mod http2;
mod listings;
mod panics;
mod races;
mod records;
mod refusals;
mod rights;
mod tokens;

use super::*;
use crate::access::{Access, Roles};
use crate::auth::{Account, Hasher, Rules, TokenAlgorithm, TokenRules};
use crate::clients::Connected;
use crate::db::tests::{Home, run};
use http_body_util::{BodyExt, Full};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on a port of its own.
struct Server {
    home: Home,
    state: Arc<HttpState>,
    address: SocketAddr,
    /// Who holds the state, beside connections.
    holders: usize,
    _keys: tempfile::TempDir,
}

/// Who comes from this machine without credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Local {
    /// A super user.
    Trusted,
    /// Nobody; there are the users `rex` with the password `bone` and the role `kennel`, and `admin` with `secret`.
    Unknown,
}

/// What came back.
struct Reply {
    status: u16,
    headers: hyper::HeaderMap,
    body: bytes::Bytes,
}

const SCHEMA: &str = r#"
    "Every dog of the kennel"
    type Dog @table @export { id: ID @id name: String! age: Int seen: Date at: Place nick: [String] secret: String @hidden }
    type Place { city: String }
    type Counter @table @export { id: Int @id n: Int }
    type Blob @table @export
    type Post @table @export { id: ID @id text: String made: Long @createdTime }
    type Sealed @table @export(name: "farm/animals") @sealed { id: ID @id }
    type Closed @table @export(rest: false)
    type Web @table @export(mqtt: false) { id: ID @id }
    type Private @table @hidden @export
"#;

/// Runs `test` against a server to which everyone on this machine is a super user.
fn with_server(test: impl AsyncFnOnce(&Server)) {
    with_settings(|_| {}, Local::Trusted, test);
}

fn with_settings(change: impl FnOnce(&mut Settings), local: Local, test: impl AsyncFnOnce(&Server)) {
    run(async {
        let server = Server::start(change, local).await;
        test(&server).await;
    });
}

/// A server that knows `rex` with the password `bone`, who is no super user, and `admin` with `secret`, with other rules for signing in.
fn with_rules(change: impl FnOnce(&mut Rules), test: impl AsyncFnOnce(&Server)) {
    run(async {
        let mut rules = Rules {
            authorize_local: false,
            require_authentication: true,
            cache_ttl: Duration::from_secs(30),
            tokens_as_passwords: true,
        };
        change(&mut rules);
        let server = Server::with_rules(Home::new(), |_| {}, rules).await;
        test(&server).await;
    });
}

/// Clients that are there, in the order of their names, until they are dismissed. Whoever asks for those after [`PANIC`]
/// finds a mistake in the program.
struct There(Mutex<Vec<&'static str>>);

const PANIC: &str = "panic";

impl Clients for There {
    fn connected(&self, after: &str, max: usize) -> Vec<Connected> {
        assert_ne!(after, PANIC, "as it should");
        let there = self.0.lock().unwrap();
        let some = there.iter().filter(|client_id| **client_id > after).take(max);
        some.map(|&client_id| Connected { client_id: client_id.into(), user: Some("rex".into()) }).collect()
    }

    fn dismiss(&self, client_id: &str) -> bool {
        let mut there = self.0.lock().unwrap();
        let before = there.len();
        there.retain(|other| *other != client_id);
        there.len() < before
    }
}

impl Server {
    async fn start(change: impl FnOnce(&mut Settings), local: Local) -> Server {
        Server::over(Home::new(), change, local).await
    }

    async fn over(home: Home, change: impl FnOnce(&mut Settings), local: Local) -> Server {
        let authorize_local = local == Local::Trusted;
        let rules = Rules {
            authorize_local,
            require_authentication: true,
            cache_ttl: Duration::from_secs(30),
            tokens_as_passwords: true,
        };
        Server::with_rules(home, change, rules).await
    }

    async fn with_rules(home: Home, change: impl FnOnce(&mut Settings), rules: Rules) -> Server {
        home.declare(SCHEMA).await;
        let mut settings = Settings::of(&Config::new(crate::config::Mode::Run, "unused".into()));
        change(&mut settings);
        let users = Users::new(home.db.clone(), Arc::new(|_| false));
        if !rules.authorize_local {
            for (name, password, role) in [("rex", "bone", "kennel"), ("admin", "secret", Account::ADMIN)] {
                let password = Hasher::default().keep(password.as_bytes()).unwrap();
                users.add(&Account::new(name, password, role).unwrap()).await.unwrap();
            }
        }
        let access = Arc::new(Access::new(Roles::new(), home.db.tables()));
        let tokens = TokenRules {
            algorithm: TokenAlgorithm::Hs256,
            timeout: Duration::from_secs(100),
            refresh_timeout: Duration::from_secs(1000),
            issuer: None,
        };
        let keys = tempfile::tempdir().unwrap();
        let authenticator = Authenticator::new(Arc::new(users.clone()), rules, tokens, keys.path()).unwrap();
        let clients = Arc::new(There(Mutex::new(vec!["a/b", "c"])));
        let state = Arc::new(HttpState::new(
            home.db.clone(),
            (authenticator, access, users, crate::audit::Audit::default()),
            clients,
            settings,
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        tokio::task::spawn_local(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                tokio::task::spawn_local(serve_connection(stream, Peer::tcp(peer), Arc::clone(&shared), |_, _| {}));
            }
        });
        Server { home, state, address, holders: 2, _keys: keys }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request by a real client. `head` is the method and the path; each header is `Name: value`.
    async fn ask(&self, head: &str, headers: &[&str], body: impl Into<bytes::Bytes>) -> Reply {
        let (method, path) = head.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        let has_host = headers.iter().any(|header| header.starts_with("Host:"));
        let host = format!("Host: {}", self.address);
        for header in headers.iter().copied().chain((!has_host).then_some(&*host)) {
            let (name, value) = header.split_once(':').unwrap();
            request = request.header(name, value.trim());
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], "").await
    }

    /// Puts JSON; returns the entity tag.
    #[track_caller]
    fn put(&self, path: &str, json: &str) -> impl Future<Output = String> {
        let (head, json) = (format!("PUT {path}"), json.to_owned());
        async move {
            let reply = self.ask(&head, &["Content-Type: application/json"], json).await;
            assert!(matches!(reply.status, 201 | 204), "{head}: {reply:?}");
            reply.header("etag").to_owned()
        }
    }

    /// Sends bytes as they are, and reads until the server closes, which it must.
    async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may have heard enough before it has heard everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(closed.is_ok(), "the connection stays open after {answer}");
        answer
    }

    /// Waits until every connection has ended: each holds the state.
    async fn all_gone(&self) {
        while Arc::strong_count(&self.state) > self.holders {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Reply {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} in {self:?}")).to_str().unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its status and what a problem's type ends with.
    #[track_caller]
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        for member in ["title", "detail", "instance"] {
            assert!(json[member].is_string(), "{member} of {json}");
        }
        let kind = json["type"].as_str().unwrap().strip_prefix("urn:rowcast:problem:").unwrap().to_owned();
        (self.status, kind)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}
