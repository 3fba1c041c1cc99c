//! Every key there is, and where its value goes.

use super::CertificateUser::{CommonName, Fixed, NeedsPassword};
use super::listen::{confine, listen};
use super::load::Given;
use super::raw::{Node, Place, Value, parse_file};
use super::read::{Reading, Section, Unknown};
use super::units::{Misfit, choice, duration, number, size, switch, text, texts};
use super::{ClientCertificates, Config, Cors, Host, Level, Listen, LogFormat, Mode, RejectedPublish, TlsFiles};
use crate::auth::TokenAlgorithm;
use rowcast_core::limits::{Limits, PACKET_BYTES_MAX};
use rowcast_core::schema::{Diagnostic, Durability, Source};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `config` with what was given in the place of the defaults, and warnings; or every mistake.
pub(super) fn read_keys(
    mode: Mode,
    mut config: Config,
    file: Option<Source>,
    unknown: Unknown,
    given: &Given,
) -> Result<(Config, Vec<String>), Vec<Diagnostic>> {
    let tree = match file {
        Some(source) => parse_file(&source).map_err(|error| vec![error])?,
        None => Node { value: Value::Null, place: Place { source: Source::new("", ""), span: 0..0 } },
    };
    let mut reading = Reading::new(&given.flags, &given.environment);
    reading.root(tree, |root| Keys { mode, unknown, config: &mut config }.root(root));
    Ok((config, reading.finish(unknown)?))
}

/// What a file alone says.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_text(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let defaults = Config::new(Mode::Run, PathBuf::from("/app"));
    let source = Some(Source::new("rowcast.yaml", text));
    read_keys(Mode::Run, defaults, source, Unknown::Refuse, &Given::default()).map(|(config, _)| config)
}

/// Reads every key there is into a configuration that holds the defaults.
struct Keys<'c> {
    mode: Mode,
    unknown: Unknown,
    config: &'c mut Config,
}

impl Keys<'_> {
    fn root(mut self, root: &mut Section<'_>) {
        root.section("mqtt", |mqtt| self.mqtt(mqtt));
        root.section("http", |http| self.http(http));
        root.section("authentication", |authentication| self.authentication(authentication));
        root.section("storage", |storage| self.storage(storage));
        root.section("log", |log| {
            log.section("retention", |retention| {
                retention.read("age", &mut self.config.retention.age, duration(MINUTE..=CENTURY));
                retention.read("bytes", &mut self.config.retention.bytes, size(64 << 20..=u64::MAX));
            });
        });
        root.section("logging", |logging| self.logging(logging));
        root.section("threads", |threads| {
            let mut count = self.config.threads.get() as u32;
            threads.read("count", &mut count, number(1..=1024));
            self.config.threads = NonZeroUsize::new(count as usize).unwrap_or(NonZeroUsize::MIN);
        });
        root.read("shutdownTimeout", &mut self.config.shutdown_timeout, duration(Duration::ZERO..=HOUR));
        root.sections("tls", |tls| self.tls(tls));
        let config = &mut *self.config;
        for asked in config.mqtt.client_certificates.iter_mut().chain(&mut config.http.client_certificates) {
            if asked.authorities.is_empty() {
                asked.authorities.clone_from(&config.tls.authorities);
            }
        }
        for (key, what) in [("hooks", "running hooks"), ("cluster", "clustering")] {
            self.not_yet(root, key, what);
        }
    }

    fn mqtt(&mut self, mqtt: &mut Section<'_>) {
        mqtt.section("network", |network| {
            if let Some(door) = self.door(network, "port") {
                self.config.mqtt.listen = door;
            }
            if let Some(door) = self.door(network, "securePort") {
                self.config.mqtt.secure_listen = door;
            }
            let port = self.config.mqtt.secure_listen.clone();
            self.config.mqtt.client_certificates = self.client_certificates(network, "mtls", &port);
            self.proxy_protocol(network);
        });
        let port = self.config.mqtt.secure_listen.clone();
        let asked = self.client_certificates(mqtt, "mTLS", &port);
        self.config.mqtt.client_certificates = self.config.mqtt.client_certificates.take().or(asked);
        let config = &mut self.config.mqtt;
        mqtt.read("webSocket", &mut config.web_socket, switch);
        mqtt.read("requireAuthentication", &mut config.require_authentication, switch);
        mqtt.read("openTopics", &mut config.open_topics, switch);
        let rejected = [("acknowledge", RejectedPublish::Acknowledge), ("disconnect", RejectedPublish::Disconnect)];
        mqtt.read("rejectedPublish", &mut config.rejected_publish, choice(&rejected));
        read_secs(mqtt, "sessionExpiryMax", &mut config.limits.session_expiry_max_secs);
        mqtt.read("sysInterval", &mut config.sys_interval, duration(Duration::from_millis(100)..=HOUR));
        mqtt.section("limits", |limits| read_limits(limits, &mut config.limits));
        mqtt.read("jwt", &mut config.jwt, switch);
    }

    fn http(&mut self, http: &mut Section<'_>) {
        if let Some(door) = self.door(http, "port") {
            self.config.http.listen = door;
        }
        if let Some(door) = self.door(http, "securePort") {
            self.config.http.secure_listen = door;
        }
        let port = self.config.http.secure_listen.clone();
        self.config.http.client_certificates = self.client_certificates(http, "mtls", &port);
        let (mut cors, mut origins) = (false, Vec::new());
        http.read("cors", &mut cors, switch);
        http.read("corsAccessList", &mut origins, texts);
        self.config.http.cors = match cors {
            false => Cors::Off,
            true if origins.is_empty() || origins.iter().any(|origin| origin == "*") => Cors::Any,
            true => Cors::Origins(origins),
        };
        http.section("limits", |limits| {
            limits.read("bodyBytes", &mut self.config.http.body_bytes_max, |node| {
                size(1024..=1u64 << 32)(node).map(|bytes| bytes as usize)
            });
            limits.read("scanRecords", &mut self.config.http.scan_records_max, number(0..=u64::MAX >> 1));
        });
    }

    /// A certificate and its key. Harper keeps its certificates in its database, and its file names a key alone then.
    fn tls(&mut self, tls: &mut Section<'_>) {
        let folder = self.config.folder.clone();
        let (mut host, mut authority, mut certificate, mut private_key) = (None, None, None, None);
        tls.read("host", &mut host, |node| text(node).map(Some));
        tls.read("certificate", &mut certificate, |node| Ok(Some((path(node, &folder)?, node.place.clone()))));
        tls.read("privateKey", &mut private_key, |node| Ok(Some((path(node, &folder)?, node.place.clone()))));
        tls.read("certificateAuthority", &mut authority, |node| path(node, &folder).map(Some));
        self.config.tls.authorities.extend(authority);
        let missing = |key| Misfit::new(format!("`{key}` has to be given beside it"));
        match (certificate, private_key) {
            (Some((certificate, _)), Some((private_key, _))) => {
                self.config.tls.identities.push(TlsFiles { host, certificate, private_key });
            }
            (Some((_, place)), None) => tls.refuse(&place, missing("privateKey")),
            (None, Some((_, place))) if self.unknown == Unknown::Refuse => tls.refuse(&place, missing("certificate")),
            (None, _) => {}
        }
    }

    fn authentication(&mut self, section: &mut Section<'_>) {
        let config = &mut self.config.authentication;
        section.read("authorizeLocal", &mut config.authorize_local, switch);
        let milliseconds_allowed = self.unknown == Unknown::Mention;
        section.read("cacheTTL", &mut config.cache_ttl, |node| match node.value {
            // Harper's unit, in Harper's file.
            Value::Integer(millis @ 0..=86_400_000) if milliseconds_allowed => Ok(Duration::from_millis(millis as u64)),
            _ => duration(Duration::ZERO..=DAY)(node),
        });
        section.read("tokenTimeout", &mut config.token_timeout, duration(SECOND..=CENTURY));
        section.read("refreshTokenTimeout", &mut config.refresh_token_timeout, duration(SECOND..=CENTURY));
        let (jwt, folder) = (&mut config.jwt, &self.config.folder);
        section.section("jwt", |section| {
            let algorithms = [("HS256", TokenAlgorithm::Hs256), ("EdDSA", TokenAlgorithm::EdDsa)];
            section.read("algorithm", &mut jwt.algorithm, choice(&algorithms));
            section.read("keys", &mut jwt.keys, |node| path(node, folder).map(Some));
            section.read("issuer", &mut jwt.issuer, |node| text(node).map(Some));
            section.read("audience", &mut jwt.audience, |node| text(node).map(Some));
            section.read("userClaim", &mut jwt.user_claim, text);
        });
    }

    fn storage(&mut self, storage: &mut Section<'_>) {
        let folder = self.config.folder.clone();
        let config = &mut self.config.storage;
        storage.read("path", &mut config.path, |node| path(node, &folder));
        let durabilities = [("sync", Durability::Sync), ("flush", Durability::Flush), ("memory", Durability::Memory)];
        storage.read("durability", &mut config.durability, choice(&durabilities));
        storage.read("cacheBytes", &mut config.cache_bytes, size(16 << 20..=1 << 50));
    }

    fn logging(&mut self, logging: &mut Section<'_>) {
        let config = &mut self.config.logging;
        let levels = [
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ];
        // The two names Harper has beyond these.
        let harper = [("fatal", Level::Error), ("notify", Level::Info)];
        let words: Vec<(&str, Level)> = match self.unknown {
            Unknown::Refuse => levels.to_vec(),
            Unknown::Mention => levels.into_iter().chain(harper).collect(),
        };
        logging.read("level", &mut config.level, choice(&words));
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        logging.read("format", &mut config.format, choice(&formats));
        let folder = &self.config.folder;
        logging.read("path", &mut config.path, |node| path(node, folder).map(Some));
        let audit = &mut config.audit;
        logging.section("audit", |section| {
            section.read("enabled", &mut audit.enabled, switch);
            section.read("path", &mut audit.path, |node| path(node, folder).map(Some));
            section.read("bytes", &mut audit.bytes, size(64 << 10..=1u64 << 40));
            section.read("files", &mut audit.files, number(0..=1000));
        });
    }

    /// A door; `None`: as by default.
    fn door(&self, section: &mut Section<'_>, key: &str) -> Option<Listen> {
        let host = match self.mode {
            Mode::Dev => Host::Loopback,
            Mode::Run => Host::Any,
        };
        let mut place = None;
        let door = section.read_optional(key, |node| {
            place = Some(node.place.clone());
            listen(node, &host, &self.config.folder).map(Some)
        })?;
        let (Mode::Dev, Some(place)) = (self.mode, place) else { return Some(door) };
        let (door, confined) = confine(door);
        if confined {
            section.warn(format!("{}: `rowcast dev` listens on loopback only", place.short()));
        }
        Some(door)
    }

    /// What is asked of clients at a secure port. Certificates that are asked for and not looked at would let anyone
    /// in, so that port has to be open.
    fn client_certificates(&self, section: &mut Section<'_>, key: &str, port: &Listen) -> Option<ClientCertificates> {
        let folder = &self.config.folder;
        let mut found = None;
        section.switch_or_section(key, |mtls, place| {
            let mut asked =
                ClientCertificates { user: CommonName, required: false, authorities: Vec::new(), crl: None };
            if let Some(user) = mtls.read_optional("user", |node| match &node.value {
                Value::Null => Ok(Some(NeedsPassword)),
                Value::Text(name) if matches!(name.as_str(), "Common Name" | "CN") => Ok(Some(CommonName)),
                _ => text(node).map(|user| Some(Fixed(user))),
            }) {
                asked.user = user;
            }
            mtls.read("required", &mut asked.required, switch);
            mtls.read("certificateAuthority", &mut asked.authorities, |node| path(node, folder).map(|path| vec![path]));
            mtls.read("crl", &mut asked.crl, |node| path(node, folder).map(Some));
            if *port == Listen::Shut {
                let misfit = Misfit::new("clients show certificates at the secure port, and that is shut");
                mtls.refuse(place, misfit.help("`securePort: 8883`, for example, opens it"));
            }
            found = Some(asked);
        });
        found
    }

    fn proxy_protocol(&mut self, network: &mut Section<'_>) {
        network.read("proxyProtocol", &mut self.config.mqtt.proxy_protocol, |node| match switch(node)? {
            false => Ok(false),
            true => Err(Misfit::new(not_available("the PROXY protocol"))),
        });
    }

    /// A section of a later version. In a file of ours, whoever fills it in expects something of it.
    fn not_yet(&self, section: &mut Section<'_>, key: &str, what: &str) {
        let Some(node) = section.take(key).filter(|node| asks_for_something(&node.value)) else { return };
        match self.unknown {
            Unknown::Refuse => section.refuse(&node.place, Misfit::new(not_available(what))),
            Unknown::Mention => section.warn(format!("{}: {}", node.place.short(), not_available(what))),
        }
    }
}

fn read_limits(section: &mut Section<'_>, limits: &mut Limits) {
    section.read("packetBytes", &mut limits.packet_bytes, size(1024..=PACKET_BYTES_MAX));
    section.read("connectPacketBytes", &mut limits.connect_packet_bytes, size(1024..=PACKET_BYTES_MAX));
    section.read("topicBytes", &mut limits.topic_bytes, number(1..=u16::MAX));
    section.read("topicLevels", &mut limits.topic_levels, number(1..=u16::MAX));
    section.read("clientIdBytes", &mut limits.client_id_bytes, number(23..=u16::MAX));
    section.read("filtersPerSubscribe", &mut limits.filters_per_subscribe, number(1..=1_000_000));
    section.read("subscriptionsPerClient", &mut limits.subscriptions_per_client, number(1..=u32::MAX));
    section.read("userProperties", &mut limits.user_properties, number(0..=1_000_000));
    section.read("inflight", &mut limits.inflight, number(1..=u16::MAX));
    section.read("receiveMaximum", &mut limits.receive_maximum, number(1..=u16::MAX));
    section.read("topicAliasMaximum", &mut limits.topic_alias_maximum, number(0..=u16::MAX));
    section.read("keepAliveMax", &mut limits.keep_alive_max_secs, |node| {
        duration(Duration::ZERO..=Duration::from_secs(u16::MAX.into()))(node).map(|span| whole_secs(span) as u16)
    });
    section.read("outboundBytes", &mut limits.outbound_bytes, size(16 * 1024..=1u32 << 30));
    section.read("replayLast", &mut limits.replay_last, number(0..=10_000_000));
    section.read("connectTimeout", &mut limits.connect_timeout_ms, |node| {
        duration(Duration::from_millis(100)..=HOUR)(node).map(|span| span.as_millis() as u32)
    });
    section.read("connections", &mut limits.connections, number(0..=u32::MAX));
    section.read("connectionsPerAddress", &mut limits.connections_per_address, number(0..=u32::MAX));
    section.read("sessions", &mut limits.sessions, number(0..=u32::MAX));
    section.read("publishesPerSecond", &mut limits.publishes_per_sec, number(0..=u32::MAX));
    section.read("publishBytesPerSecond", &mut limits.publish_bytes_per_sec, size(0..=u64::MAX));
}

fn read_secs(section: &mut Section<'_>, key: &str, into: &mut u32) {
    section.read(key, into, |node| {
        let most = Duration::from_secs(u32::MAX.into());
        duration(Duration::ZERO..=most)(node).map(|span| whole_secs(span) as u32)
    });
}

/// Rounded up: 0 means something else than a little.
fn whole_secs(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn path(node: &Node, folder: &Path) -> Result<PathBuf, Misfit> {
    text(node).map(|text| folder.join(text))
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Map(entries) => entries.iter().any(|(_, node)| asks_for_something(&node.value)),
        Value::List(items) => items.iter().any(|node| asks_for_something(&node.value)),
        _ => true,
    }
}

fn not_available(what: &str) -> String {
    format!("{what} is not available in this version")
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const CENTURY: Duration = Duration::from_hours(24 * 36_525);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuditLog, Authentication, Http, Jwt, Logging, Mqtt, Retention, Storage, Tls};
    use rowcast_core::schema::{Color, render};

    #[test]
    fn the_seed_example_loads_as_it_stands() {
        let text = "
mqtt:
  network:
    port: 1883
    securePort: 8883
  webSocket: true
  mTLS: false
  requireAuthentication: true
";
        assert_eq!(check(text, &[]), defaults());
    }

    #[test]
    fn what_a_benchmark_needs_can_be_said() {
        let text = "
mqtt:
  network:
    port: 127.0.0.1:18830
    securePort: null
  limits:
    inflight: 1000
    receiveMaximum: 65535
http:
  port: null
authentication:
  authorizeLocal: true
logging:
  level: warn
storage:
  durability: memory
";
        let config = check(text, &[]);
        assert_eq!(config.mqtt.listen, Listen::Tcp { host: Host::Named("127.0.0.1".to_owned()), port: 18830 });
        assert_eq!((config.mqtt.limits.inflight, config.mqtt.limits.receive_maximum), (1000, 65535));
        assert_eq!(config.http.listen, Listen::Shut);
        assert!(config.authentication.authorize_local);
        assert_eq!(config.logging.level, Level::Warn);
        assert_eq!(config.storage.durability, Durability::Memory);
    }

    #[test]
    fn every_key_is_read() {
        let text = "
mqtt:
  network: { port: mqtt.sock, securePort: 8884, mtls: { user: null, required: true, crl: c.pem }, proxyProtocol: false }
  webSocket: false
  requireAuthentication: false
  openTopics: false
  rejectedPublish: disconnect
  sessionExpiryMax: 1d
  sysInterval: 1s
  jwt: false
  limits:
    packetBytes: 1MiB
    connectPacketBytes: 2KiB
    topicBytes: 3
    topicLevels: 4
    clientIdBytes: 50
    filtersPerSubscribe: 6
    subscriptionsPerClient: 7
    userProperties: 8
    inflight: 9
    receiveMaximum: 10
    topicAliasMaximum: 11
    keepAliveMax: 12s
    outboundBytes: 64KiB
    replayLast: 13
    connectTimeout: 14s
    connections: 15
    connectionsPerAddress: 16
    sessions: 17
    publishesPerSecond: 18
    publishBytesPerSecond: 19kB
http:
  port: 8080
  securePort: localhost:8443
  mtls: { user: rex, certificateAuthority: /ca.pem }
  cors: true
  corsAccessList: [https://example.org, http://localhost:3000]
  limits: { bodyBytes: 1MiB, scanRecords: 20 }
authentication: { authorizeLocal: true, cacheTTL: 1s, tokenTimeout: 2h, refreshTokenTimeout: 3d, jwt: {
    algorithm: EdDSA, keys: jwks.json, issuer: https://id.example, audience: dogs, userClaim: name } }
storage: { path: db, durability: flush, cacheBytes: 64MiB }
log: { retention: { age: 1d, bytes: 1GiB } }
logging: { level: debug, format: json, path: log/rowcast.log, audit: {
    enabled: false, path: /a.log, bytes: 1MiB, files: 2 } }
threads: { count: 3 }
shutdownTimeout: 4s
tls:
  - { host: a.example, certificate: a.pem, privateKey: /keys/a.pem }
  - { certificate: b.pem, privateKey: b-key.pem, certificateAuthority: ca.pem }
hooks: null
cluster: null
";
        let folder = PathBuf::from("/app");
        let expected = Config {
            tls: Tls {
                identities: vec![
                    TlsFiles {
                        host: Some("a.example".to_owned()),
                        certificate: "/app/a.pem".into(),
                        private_key: "/keys/a.pem".into(),
                    },
                    TlsFiles { host: None, certificate: "/app/b.pem".into(), private_key: "/app/b-key.pem".into() },
                ],
                authorities: vec!["/app/ca.pem".into()],
            },
            mqtt: Mqtt {
                listen: Listen::Unix("/app/mqtt.sock".into()),
                secure_listen: Listen::Tcp { host: Host::Any, port: 8884 },
                client_certificates: Some(ClientCertificates {
                    user: NeedsPassword,
                    required: true,
                    authorities: vec!["/app/ca.pem".into()],
                    crl: Some("/app/c.pem".into()),
                }),
                proxy_protocol: false,
                web_socket: false,
                require_authentication: false,
                open_topics: false,
                rejected_publish: RejectedPublish::Disconnect,
                jwt: false,
                sys_interval: Duration::from_secs(1),
                limits: Limits {
                    packet_bytes: 1 << 20,
                    connect_packet_bytes: 2048,
                    topic_bytes: 3,
                    topic_levels: 4,
                    client_id_bytes: 50,
                    filters_per_subscribe: 6,
                    subscriptions_per_client: 7,
                    user_properties: 8,
                    inflight: 9,
                    receive_maximum: 10,
                    topic_alias_maximum: 11,
                    keep_alive_max_secs: 12,
                    session_expiry_max_secs: 86_400,
                    outbound_bytes: 65_536,
                    replay_last: 13,
                    connect_timeout_ms: 14_000,
                    connections: 15,
                    connections_per_address: 16,
                    sessions: 17,
                    publishes_per_sec: 18,
                    publish_bytes_per_sec: 19_000,
                },
            },
            http: Http {
                listen: Listen::Tcp { host: Host::Any, port: 8080 },
                secure_listen: Listen::Tcp { host: Host::Named("localhost".to_owned()), port: 8443 },
                client_certificates: Some(ClientCertificates {
                    user: Fixed("rex".to_owned()),
                    required: false,
                    authorities: vec!["/ca.pem".into()],
                    crl: None,
                }),
                cors: Cors::Origins(vec!["https://example.org".to_owned(), "http://localhost:3000".to_owned()]),
                body_bytes_max: 1 << 20,
                scan_records_max: 20,
            },
            authentication: Authentication {
                authorize_local: true,
                cache_ttl: Duration::from_secs(1),
                token_timeout: Duration::from_hours(2),
                refresh_token_timeout: Duration::from_hours(72),
                jwt: Jwt {
                    algorithm: TokenAlgorithm::EdDsa,
                    keys: Some("/app/jwks.json".into()),
                    issuer: Some("https://id.example".to_owned()),
                    audience: Some("dogs".to_owned()),
                    user_claim: "name".to_owned(),
                },
            },
            storage: Storage { path: "/app/db".into(), durability: Durability::Flush, cache_bytes: 64 << 20 },
            retention: Retention { age: DAY, bytes: 1 << 30 },
            logging: Logging {
                level: Level::Debug,
                format: LogFormat::Json,
                path: Some("/app/log/rowcast.log".into()),
                audit: AuditLog { enabled: false, path: Some("/a.log".into()), bytes: 1 << 20, files: 2 },
            },
            threads: NonZeroUsize::new(3).expect("not zero"),
            shutdown_timeout: Duration::from_secs(4),
            folder,
        };
        assert_eq!(check(text, &[]), expected);
    }

    #[test]
    fn nothing_is_as_good_as_comments() {
        for text in
            ["", "\n", "# nothing yet\n", "mqtt:\n", "mqtt: {}\n", "mqtt:\n  network:\n  limits: null\n", "---\n"]
        {
            assert_eq!(check(text, &[]), defaults(), "{text:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        refuse(
            "mqtt:\n  network:\n    prot: 1883 # MQTT\n",
            "\
error: there is no key `mqtt.network.prot`
 --> rowcast.yaml:3:5
  |
3 |     prot: 1883 # MQTT
  |     ^^^^
  |
  = help: did you mean `port`?",
        );
        refuse(
            "mqtt:\n  port: 1883\n",
            "\
error: there is no key `mqtt.port`
 --> rowcast.yaml:2:3
  |
2 |   port: 1883
  |   ^^^^
  |
  = help: there is `mqtt.network.port`",
        );
        refuse(
            "mqqt: 1\n",
            "\
error: there is no key `mqqt`
 --> rowcast.yaml:1:1
  |
1 | mqqt: 1
  | ^^^^
  |
  = help: did you mean `mqtt`?",
        );
        refuse(
            "colour: blue\n",
            "\
error: there is no key `colour`
 --> rowcast.yaml:1:1
  |
1 | colour: blue
  | ^^^^^^",
        );
    }

    #[test]
    fn all_mistakes_are_shown_at_once_in_their_order() {
        refuse(
            "storage: { durability: fast }\nhttp: { port: 123456 }\nmqtt: 12\n",
            "\
error: expected one of `sync`, `flush`, `memory`, found \"fast\"
 --> rowcast.yaml:1:24
  |
1 | storage: { durability: fast }
  |                        ^^^^

error: a port is a number from 0 to 65535, found 123456
 --> rowcast.yaml:2:15
  |
2 | http: { port: 123456 }
  |               ^^^^^^

error: expected a section, found 12
 --> rowcast.yaml:3:7
  |
3 | mqtt: 12
  |       ^^
  |
  = help: the keys of `mqtt` go below it, indented",
        );
    }

    #[test]
    fn what_this_version_cannot_do_is_refused() {
        for (text, message) in [
            ("mqtt: { network: { proxyProtocol: true } }", "the PROXY protocol is not available in this version"),
            ("hooks: { file: hooks.js }", "running hooks is not available in this version"),
            ("cluster: { name: a }", "clustering is not available in this version"),
        ] {
            refuse_message(text, message);
        }
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        refuse_message("tls: { certificate: a.pem }", "`privateKey` has to be given beside it");
        refuse_message("tls: [{ privateKey: a.pem }]", "`certificate` has to be given beside it");
        refuse_message("tls: [{ certificate: a.pem, privateKey: b.pem, key: c }]", "there is no key `tls.0.key`");
        refuse_message("tls: [a.pem]", "expected a section, found \"a.pem\"");
        let config = check("tls: { certificate: null }", &[]);
        assert_eq!(config, defaults());
        let variables = [("ROWCAST_TLS_CERTIFICATE", "c.pem"), ("ROWCAST_TLS_PRIVATE_KEY", "k.pem")];
        let (config, _) = read_text("", Unknown::Refuse, &[], &variables).expect("a configuration");
        assert_eq!(config.tls.identities[0].private_key, Path::new("/app/k.pem"));
    }

    #[test]
    fn certificates_of_clients_need_a_secure_port() {
        let asked = |text: &str| check(text, &[]).mqtt.client_certificates.map(|asked| asked.user);
        assert_eq!(asked("mqtt: { network: { mtls: true } }"), Some(CommonName));
        assert_eq!(asked("mqtt: { mTLS: true }"), Some(CommonName));
        assert_eq!(asked("mqtt: { mTLS: { user: Common Name } }"), Some(CommonName));
        assert_eq!(asked("mqtt: { mTLS: { user: rex } }"), Some(Fixed("rex".to_owned())));
        assert_eq!(asked("mqtt: { mTLS: { user: null } }"), Some(NeedsPassword));
        assert_eq!(asked("mqtt: { mTLS: false, network: { mtls: null } }"), None);
        let shut = "clients show certificates at the secure port, and that is shut";
        refuse_message("mqtt: { network: { securePort: null, mtls: true } }", shut);
        refuse_message("http: { mtls: {} }", shut);
        refuse_message("mqtt: { mTLS: 1 }", "expected `true`, `false` or a section, found 1");
        refuse_message("mqtt: { mTLS: { require: true } }", "there is no key `mqtt.mTLS.require`");
    }

    #[test]
    fn yaml_that_is_broken_or_a_bomb_is_refused() {
        refuse(
            "http:\n  port: 1\n  port: 2\n",
            "\
error: `port` is given twice
 --> rowcast.yaml:3:3
  |
3 |   port: 2
  |   ^^^^",
        );
        for (text, message) in [
            ("mqtt: {}\nmqtt: {}\n", "`mqtt` is given twice"),
            ("mqtt: [1, 2\n", "unclosed bracket '['"),
            ("a:\n b: 1\n  c: 2\n", "mapping values are not allowed in this context"),
            ("--- \na: 1\n--- \nb: 1\n", "a second document begins here; there can be one only"),
            ("<<: { a: 1 }\n", "merge keys are not supported"),
            ("shutdownTimeout: .inf\n", "a number has to be finite"),
            ("[mqtt]\n", "expected sections like `mqtt:`, found a list"),
            ("mqtt\n", "expected sections like `mqtt:`, found \"mqtt\""),
            ("mqtt: *nowhere\n", "alias references unknown anchor"),
            ("mqtt: { webSocket: yes }\n", "expected `true` or `false`, found \"yes\""),
        ] {
            refuse_message(text, message);
        }
        let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        refuse_message(&bomb, "aliases repeat more than a configuration needs");
        let too_much = "the file holds more, or nests deeper, than a configuration needs";
        refuse_message(&format!("a: {}1{}\n", "[".repeat(100), "]".repeat(100)), too_much);
        refuse_message(&format!("a: [{}]\n", "1, ".repeat(100_000)), too_much);
        refuse_message(&format!("# {}\n", "x".repeat(2 << 20)), "the file is larger than 1048576 bytes");
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let port = |file: &str, flags: &[&str], environment: &[(&str, &str)]| match read_text(
            file,
            Unknown::Refuse,
            flags,
            environment,
        )
        .expect("a configuration")
        .0
        .mqtt
        .listen
        {
            Listen::Tcp { port, .. } => port,
            other => panic!("{other:?}"),
        };
        let file = "mqtt: { network: { port: 1 } }";
        let environment = [("ROWCAST_MQTT_NETWORK_PORT", "2")];
        assert_eq!(port("", &[], &[]), 1883);
        assert_eq!(port(file, &[], &[]), 1);
        assert_eq!(port(file, &[], &environment), 2);
        assert_eq!(port(file, &["mqtt.network.port=3"], &environment), 3);
        assert_eq!(port(file, &["mqtt.network.port=3", "mqtt.network.port=4"], &environment), 4);
        assert_eq!(port(file, &[], &[("ROWCAST_MQTT_NETWORK_PORT", ""), ("PORT", "9")]), 1);
    }

    #[test]
    fn variables_are_the_path_in_upper_case() {
        let config = |environment: &[(&str, &str)]| {
            let (config, warnings) = read_text("", Unknown::Refuse, &[], environment).expect("a configuration");
            assert_eq!(warnings, Vec::<String>::new());
            config
        };
        for name in ["ROWCAST_MQTT_LIMITS_PACKETBYTES", "ROWCAST_MQTT_LIMITS_PACKET_BYTES"] {
            assert_eq!(config(&[(name, "1MiB")]).mqtt.limits.packet_bytes, 1 << 20);
        }
        assert_eq!(config(&[("ROWCAST_HTTP_PORT", "null")]).http.listen, Listen::Shut);
        let cors = [("ROWCAST_HTTP_CORS", "true"), ("ROWCAST_HTTP_CORSACCESSLIST", "[http://a, http://b]")];
        assert_eq!(config(&cors).http.cors, Cors::Origins(vec!["http://a".to_owned(), "http://b".to_owned()]));
        assert_eq!(config(&[("ROWCAST_ADMIN_PASSWORD", "secret")]), defaults());
    }

    #[test]
    fn mistakes_outside_the_file_are_shown_too() {
        let environment = [("ROWCAST_MQTT_NETWORK_PORT", "mqtt")];
        let errors = read_text("", Unknown::Refuse, &["http.prot=1", "nonsense"], &environment).expect_err("mistakes");
        assert_eq!(
            render(&errors, Color::Never),
            "\
error: expected KEY=VALUE
 --> command line:1:1
  |
1 | nonsense
  | ^^^^^^^^

error: there is no key `http.prot`
 --> command line:1:1
  |
1 | http.prot=1
  | ^^^^^^^^^
  |
  = help: did you mean `port`?

error: expected a port, `host:port`, a path for a Unix socket, or `null`, found \"mqtt\"
 --> environment:1:27
  |
1 | ROWCAST_MQTT_NETWORK_PORT=mqtt
  |                           ^^^^"
        );
        let (_, warnings) =
            read_text("", Unknown::Refuse, &[], &[("ROWCAST_HTTP_PROT", "1")]).expect("a configuration");
        assert_eq!(warnings, ["environment: ROWCAST_HTTP_PROT is not used; did you mean ROWCAST_HTTP_PORT?"]);
    }

    #[test]
    fn a_harper_file_means_what_it_meant() {
        let text = "
authentication:
  authorizeLocal: false
  cacheTTL: 30000
  enableSessions: true
http:
  port: 9926
  securePort: 9927
  compressionThreshold: 1200
logging:
  level: notify
operationsApi:
  network:
    port: 9925
tls:
  certificate: null
  privateKey: /keys/privateKey.pem
";
        let (config, warnings) = read_text(text, Unknown::Mention, &[], &[]).expect("a configuration");
        let mut expected = defaults();
        expected.http.secure_listen = Listen::Tcp { host: Host::Any, port: 9927 };
        assert_eq!(config, expected);
        assert_eq!(
            warnings,
            [
                "rowcast.yaml: not used by rowcast: authentication.enableSessions, http.compressionThreshold, operationsApi",
            ]
        );
        refuse_message("authentication: { cacheTTL: 30000 }", "30000 needs a unit");
    }

    #[test]
    fn dev_stays_on_loopback() {
        let text = "mqtt: { network: { port: 0.0.0.0:1884 } }";
        let source = Some(Source::new("rowcast.yaml", text));
        let defaults = Config::new(Mode::Dev, "/app".into());
        assert!(defaults.authentication.authorize_local);
        let (config, warnings) =
            read_keys(Mode::Dev, defaults, source, Unknown::Refuse, &Given::default()).expect("a configuration");
        assert_eq!(config.mqtt.listen, Listen::Tcp { host: Host::Loopback, port: 1884 });
        assert_eq!(config.http.listen, Listen::Tcp { host: Host::Loopback, port: 9926 });
        assert_eq!(warnings, ["rowcast.yaml:1:26: `rowcast dev` listens on loopback only"]);
    }

    fn defaults() -> Config {
        Config::new(Mode::Run, "/app".into())
    }

    fn read_text(
        text: &str,
        unknown: Unknown,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<(Config, Vec<String>), Vec<Diagnostic>> {
        let given = Given {
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..Given::default()
        };
        read_keys(Mode::Run, defaults(), Some(Source::new("rowcast.yaml", text)), unknown, &given)
    }

    #[track_caller]
    fn check(text: &str, warnings: &[&str]) -> Config {
        match read_text(text, Unknown::Refuse, &[], &[]) {
            Ok((config, found)) => {
                assert_eq!(found, warnings, "{text}");
                config
            }
            Err(errors) => panic!("{text}\n{}", render(&errors, Color::Never)),
        }
    }

    #[track_caller]
    fn refuse(text: &str, expected: &str) {
        let errors = read_text(text, Unknown::Refuse, &[], &[]).expect_err(text);
        assert_eq!(render(&errors, Color::Never), expected);
    }

    #[track_caller]
    fn refuse_message(text: &str, expected: &str) {
        let errors = read_text(text, Unknown::Refuse, &[], &[]).expect_err(text);
        let start: String = text.chars().take(200).collect();
        assert_eq!(errors[0].message, expected, "{start}");
    }
}
