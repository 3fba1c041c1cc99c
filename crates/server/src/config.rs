//! What the program runs with: every value present, checked, and in the unit its name or type says.
//!
//! A [`Config`] is made once, at start, by [`load`], from flags, environment, file and defaults, in that order of
//! precedence. Whoever holds one never asks whether something was configured.

mod change;
mod key;
mod layers;
mod listen;
mod load;
pub(crate) mod raw;
mod read;
mod shape;
pub(crate) mod suggest;
mod table;
mod units;

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

pub use change::{list, take_over};
pub use key::{Change, Holds, Listed};
pub(crate) use load::FILE;
pub use load::{Given, LoadError, Loaded, load};
#[cfg(any(test, fuzzing))]
pub(crate) use read::read_text;

use crate::audit::AuditFile;
use crate::auth::{IssuerRules, TokenAlgorithm, TokenRules};
use rowcast_core::limits::Limits;
use rowcast_core::schema::Durability;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The application folder.
    pub folder: PathBuf,
    /// `tls:`, which may be a list.
    pub tls: Vec<TlsSection>,
    /// `mqtt:`
    pub mqtt: Mqtt,
    /// `http:`
    pub http: Http,
    /// `authentication:`
    pub authentication: Authentication,
    /// `storage:`
    pub storage: Storage,
    /// `log.retention:` how much of the log is kept.
    pub retention: Retention,
    /// `logging:`
    pub logging: Logging,
    /// `threads:`
    pub threads: Threads,
    /// `shutdownTimeout`: how long a clean stop may take.
    pub shutdown_timeout: Duration,
}

/// Which command started the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `rowcast dev`: loopback only, and clients from there need no password.
    Dev,
    /// `rowcast run`: nothing loosened.
    Run,
}

/// `mqtt:`
#[derive(Clone, PartialEq, Debug)]
pub struct Mqtt {
    /// `network.port`: MQTT over TCP.
    pub listen: Listen,
    /// `network.securePort`: MQTT over TLS.
    pub secure_listen: Listen,
    /// `network.mtls`: certificates of clients at the secure port.
    pub client_certificates: Option<ClientCertificates>,
    /// `network.proxyProtocol`: connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// `webSocket`: MQTT over WebSocket on the HTTP port.
    pub web_socket: bool,
    /// `requireAuthentication`: clients without credentials are refused; otherwise they are the user `anonymous`.
    pub require_authentication: bool,
    /// `openTopics`: topics that name no table are plain MQTT; otherwise they are refused.
    pub open_topics: bool,
    /// `rejectedPublish`: what a client below MQTT 5 sees of a publish that was refused.
    pub rejected_publish: RejectedPublish,
    /// `jwt`: a token may be sent in the place of a password.
    pub jwt: bool,
    /// `sysInterval`: how often who subscribed to `$SYS` is told what changed.
    pub sys_interval: Duration,
    /// `limits`, and `sessionExpiryMax`.
    pub limits: Limits,
}

/// `mqtt.rejectedPublish`: MQTT 3.1.1 has no way to say no to a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectedPublish {
    /// It is acknowledged and not stored.
    Acknowledge,
    /// The connection is closed.
    Disconnect,
}

/// `http:`
#[derive(Clone, PartialEq, Debug)]
pub struct Http {
    /// `port`: HTTP, server-sent events and WebSocket.
    pub listen: Listen,
    /// `securePort`: the same over TLS.
    pub secure_listen: Listen,
    /// `mtls`: certificates of clients at the secure port.
    pub client_certificates: Option<ClientCertificates>,
    /// `cors`: whether pages of other origins may read answers.
    pub cors: bool,
    /// `corsAccessList`: of which origins; of any if it is empty.
    pub cors_access_list: Vec<String>,
    /// `limits.bodyBytes`: the largest body of a request.
    pub body_bytes_max: usize,
    /// `limits.scanRecords`: how many records a query without an index may look at.
    pub scan_records_max: u64,
}

/// `mtls`, with the authorities of `tls` where it names none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificates {
    /// `user`: whom a certificate makes its client.
    pub user: CertificateUser,
    /// `required`: who shows none gets no further than the handshake.
    pub required: bool,
    /// `certificateAuthority`: who signs them; none: the authority that was made for this server.
    pub authorities: Vec<PathBuf>,
    /// `crl`: which of them are good no longer.
    pub crl: Option<PathBuf>,
}

/// `mtls.user`: whom a certificate makes its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateUser {
    /// The one its common name names.
    CommonName,
    /// Always this one.
    Fixed(String),
    /// `null`: nobody yet; a password is needed too.
    NeedsPassword,
}

/// An element of `tls:`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TlsSection {
    /// `host`: the name of the server under which the certificate is shown; otherwise the names in it.
    pub host: Option<String>,
    /// `certificate`: the server's, in PEM; there only together with its key.
    pub certificate: Option<PathBuf>,
    /// `privateKey`
    pub private_key: Option<PathBuf>,
    /// `certificateAuthority`: who signs the certificates of clients.
    pub authority: Option<PathBuf>,
}

/// A certificate of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The name of the server under which it is shown; otherwise the names in the certificate.
    pub host: Option<String>,
    /// In PEM.
    pub certificate: PathBuf,
    /// In PEM.
    pub private_key: PathBuf,
}

/// `http.cors` and `http.corsAccessList`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cors {
    /// None.
    Off,
    /// Any.
    Any,
    /// These, spelled as browsers send them: `https://example.org`.
    Origins(Vec<String>),
}

/// A door to listen at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// `null`: the door is shut.
    Shut,
    /// A number, or `host:port`.
    Tcp {
        /// Where to.
        host: Host,
        /// 0: the system picks a free one.
        port: u16,
    },
    /// A path: a Unix socket, made at start and removed at the end.
    Unix(PathBuf),
}

/// The addresses a door listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// Every address of the machine, IPv4 and IPv6.
    Any,
    /// 127.0.0.1 and ::1.
    Loopback,
    /// An address, or a name to be looked up.
    Named(String),
}

/// `authentication:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication {
    /// `authorizeLocal`: clients from loopback without credentials are super users.
    pub authorize_local: bool,
    /// `cacheTTL`: how long a password that was right is not hashed again.
    pub cache_ttl: Duration,
    /// `tokenTimeout`: how long a token is good for.
    pub token_timeout: Duration,
    /// `refreshTokenTimeout`: how long it can be exchanged for a new one.
    pub refresh_token_timeout: Duration,
    /// `jwt`: how tokens made here are signed, and whose are believed besides.
    pub jwt: Jwt,
}

/// `authentication.jwt:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// `algorithm`: how tokens made here are signed.
    pub algorithm: TokenAlgorithm,
    /// `keys`: public keys of somebody else, whose tokens are believed too.
    pub keys: Option<PathBuf>,
    /// `issuer`: what `iss` of theirs has to be.
    pub issuer: Option<String>,
    /// `audience`: what `aud` of theirs has to hold.
    pub audience: Option<String>,
    /// `userClaim`: which claim of theirs names the user.
    pub user_claim: String,
}

/// `storage:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storage {
    /// `path`: the data folder, made at first start.
    pub path: PathBuf,
    /// `durability`: what an acknowledgement waits for, unless a table says otherwise.
    pub durability: Durability,
    /// `cacheBytes`: memory for recently used records, tables in memory and the end of the log.
    pub cache_bytes: u64,
}

/// `log.retention:` the log drops its oldest segments beyond either bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// `age`
    pub age: Duration,
    /// `bytes`
    pub bytes: u64,
}

/// `threads:`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads {
    /// `count`: threads that own connections; `None`: one per core.
    pub count: Option<NonZeroUsize>,
    /// `fill`: connections that one of them takes, unless it is busy, before the next is given any.
    pub fill: usize,
}

/// `logging:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logging {
    /// `level`
    pub level: Level,
    /// `format`
    pub format: LogFormat,
    /// `path`: a file appended to; otherwise standard error.
    pub path: Option<PathBuf>,
    /// `audit`: who came in, who did not, and who changed what.
    pub audit: AuditLog,
}

/// `logging.audit:`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditLog {
    /// `enabled`: whether there is one.
    pub enabled: bool,
    /// `path`; otherwise `audit/audit.log` in the data folder.
    pub path: Option<PathBuf>,
    /// `bytes`: of a file, before the next is begun.
    pub bytes: u64,
    /// `files`: how many full ones are kept.
    pub files: u32,
}

/// `logging.level`, from few words to many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// What stops the program or loses something.
    Error,
    /// What someone should look at.
    Warn,
    /// What happens once: starts, stops, reloads.
    Info,
    /// What happens per connection.
    Debug,
    /// What happens per packet.
    Trace,
}

/// `logging.format`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Where the audit log goes, if it is written.
    #[must_use]
    pub fn audit_file(&self) -> Option<AuditFile> {
        let AuditLog { enabled, path, bytes, files } = &self.logging.audit;
        let path = path.clone().unwrap_or_else(|| self.storage.path.join("audit/audit.log"));
        enabled.then_some(AuditFile { path, bytes: *bytes, files: *files })
    }

    /// What holds for tokens.
    #[must_use]
    pub fn token_rules(&self) -> TokenRules {
        let Authentication { token_timeout, refresh_token_timeout, jwt, .. } = &self.authentication;
        let Jwt { algorithm, keys, issuer, audience, user_claim } = jwt.clone();
        TokenRules {
            algorithm,
            timeout: *token_timeout,
            refresh_timeout: *refresh_token_timeout,
            issuer: keys.map(|keys| IssuerRules { keys, issuer, audience, user_claim }),
        }
    }

    /// The defaults of `mode` for the application in `folder`.
    #[must_use]
    pub fn new(mode: Mode, folder: PathBuf) -> Config {
        let host = Host::of(mode);
        let secure_mqtt = match mode {
            Mode::Dev => Listen::Shut,
            Mode::Run => Listen::Tcp { host: host.clone(), port: 8883 },
        };
        Config {
            tls: Vec::new(),
            mqtt: Mqtt {
                listen: Listen::Tcp { host: host.clone(), port: 1883 },
                secure_listen: secure_mqtt,
                client_certificates: None,
                proxy_protocol: false,
                web_socket: true,
                require_authentication: true,
                open_topics: true,
                rejected_publish: RejectedPublish::Acknowledge,
                jwt: true,
                sys_interval: Duration::from_secs(10),
                limits: Limits::default(),
            },
            http: Http {
                listen: Listen::Tcp { host, port: 9926 },
                secure_listen: Listen::Shut,
                client_certificates: None,
                cors: false,
                cors_access_list: Vec::new(),
                body_bytes_max: 16 * 1024 * 1024,
                scan_records_max: 1_000_000,
            },
            authentication: Authentication {
                authorize_local: mode == Mode::Dev,
                cache_ttl: Duration::from_secs(30),
                token_timeout: Duration::from_hours(24),
                refresh_token_timeout: Duration::from_hours(24 * 30),
                jwt: Jwt {
                    algorithm: TokenAlgorithm::Hs256,
                    keys: None,
                    issuer: None,
                    audience: None,
                    user_claim: "sub".to_owned(),
                },
            },
            storage: Storage {
                path: folder.join("data"),
                durability: Durability::Sync,
                cache_bytes: 256 * 1024 * 1024,
            },
            retention: Retention { age: Duration::from_hours(24 * 7), bytes: 10 * 1024 * 1024 * 1024 },
            logging: Logging {
                level: Level::Info,
                format: LogFormat::Auto,
                path: None,
                audit: AuditLog { enabled: true, path: None, bytes: 16 * 1024 * 1024, files: 8 },
            },
            threads: Threads { count: None, fill: 64 },
            shutdown_timeout: Duration::from_secs(10),
            folder,
        }
    }

    /// The certificates of the server that are configured.
    pub fn identities(&self) -> impl Iterator<Item = TlsFiles> {
        self.tls.iter().filter_map(|files| {
            let (certificate, private_key) = (files.certificate.clone()?, files.private_key.clone()?);
            Some(TlsFiles { host: files.host.clone(), certificate, private_key })
        })
    }
}

impl Threads {
    /// How many threads own connections.
    #[must_use]
    pub fn number(&self) -> NonZeroUsize {
        let one_per_core = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.count.unwrap_or_else(one_per_core)
    }
}

impl Http {
    /// Which pages of other origins may read answers.
    #[must_use]
    pub fn cors(&self) -> Cors {
        let list = &self.cors_access_list;
        match self.cors {
            false => Cors::Off,
            true if list.is_empty() || list.iter().any(|origin| origin == "*") => Cors::Any,
            true => Cors::Origins(list.clone()),
        }
    }
}

impl Host {
    /// Where a port without an address listens.
    fn of(mode: Mode) -> Host {
        match mode {
            Mode::Dev => Host::Loopback,
            Mode::Run => Host::Any,
        }
    }
}
