//! Every key there is, in one table.
//!
//! The reader, the names in the environment and on the command line, `rowcast check`, what is suggested for a key that
//! is not there, `docs/configuration.md` and what a reload says all go by it. A new key is a field of [`Config`] with
//! its default, and a row here: its path, its shape, the field, and a sentence; [`Key::at_once`] if a reload brings it
//! into effect. Then `ROWCAST_REWRITE=1 cargo test -p rowcast --lib configuration` writes the documentation.

use super::CertificateUser::{CommonName, Fixed, NeedsPassword};
use super::key::{Key, field};
use super::read::{Dialect, Places, Reading};
use super::shape::{Shape, choice, choice_with, count, door, duration, path, sections, size, switch, switched};
use super::shape::{text, texts};
use super::units::{Misfit, Unit};
use super::{ClientCertificates, Config, Level, Listen, LogFormat, RejectedPublish, TlsSection};
use crate::auth::TokenAlgorithm;
use rowcast_core::limits::PACKET_BYTES_MAX;
use rowcast_core::schema::Durability;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Every key.
pub(super) fn keys() -> Vec<Key<Config>> {
    let sections = [mqtt(), mqtt_limits(), http(), http_limits(), authentication(), storage(), log(), tls(), rest()];
    sections.into_iter().flatten().collect()
}

fn mqtt() -> Vec<Key<Config>> {
    const REJECTED: &[(&str, RejectedPublish)] =
        &[("acknowledge", RejectedPublish::Acknowledge), ("disconnect", RejectedPublish::Disconnect)];
    vec![
        Key::new("mqtt.network.port", door(), field!(Config, mqtt.listen), "Where MQTT listens."),
        Key::new(
            "mqtt.network.securePort",
            door(),
            field!(Config, mqtt.secure_listen),
            "Where MQTT over TLS listens ([TLS](tls.md)).",
        ),
        Key::new(
            "mqtt.network.mtls",
            switched(client_certificates, asked_by_default),
            field!(Config, mqtt.client_certificates),
            "Whether clients at the secure port are asked for a certificate ([more](tls.md#certificates-of-clients)).",
        )
        .at_once()
        .also("mqtt.mTLS"),
        Key::new(
            "mqtt.network.proxyProtocol",
            switch(),
            field!(Config, mqtt.proxy_protocol),
            "Connections to the ports of MQTT begin with a PROXY protocol header ([behind a proxy](proxy.md)).",
        ),
        Key::new(
            "mqtt.webSocket",
            switch(),
            field!(Config, mqtt.web_socket),
            "MQTT over WebSocket at the ports of HTTP.",
        )
        .at_once(),
        Key::new(
            "mqtt.requireAuthentication",
            switch(),
            field!(Config, mqtt.require_authentication),
            "Clients without credentials are refused; otherwise they are the user `anonymous` \
             ([access](access.md#clients-without-credentials)).",
        )
        .at_once(),
        Key::new(
            "mqtt.openTopics",
            switch(),
            field!(Config, mqtt.open_topics),
            "Topics that name no table are plain MQTT; otherwise they are refused.",
        )
        .at_once(),
        Key::new(
            "mqtt.rejectedPublish",
            choice(REJECTED),
            field!(Config, mqtt.rejected_publish),
            "What a client below MQTT 5, which cannot be told, sees of a publish that was refused.",
        )
        .at_once(),
        Key::new(
            "mqtt.sessionExpiryMax",
            secs(),
            field!(Config, mqtt.limits.session_expiry_max_secs),
            "How long a session outlives its connection at most.",
        )
        .at_once(),
        Key::new(
            "mqtt.sysInterval",
            duration(Unit::Seconds, Duration::from_millis(100)..=HOUR),
            field!(Config, mqtt.sys_interval),
            "How often who subscribed to `$SYS` is told what changed.",
        )
        .at_once(),
        Key::new(
            "mqtt.jwt",
            switch(),
            field!(Config, mqtt.jwt),
            "A token may be sent in the place of a password ([tokens](access.md#tokens)).",
        )
        .at_once(),
    ]
}

fn mqtt_limits() -> Vec<Key<Config>> {
    const TOO_FAST: &[(&str, bool)] = &[("wait", false), ("disconnect", true)];
    let keep_alive = duration(Unit::Seconds, Duration::ZERO..=Duration::from_secs(u16::MAX.into()))
        .kept_as(|span| whole_secs(span) as u16, |&secs| Duration::from_secs(secs.into()));
    let connect_timeout = duration(Unit::Seconds, Duration::from_millis(100)..=HOUR)
        .kept_as(|span| span.as_millis() as u32, |&millis| Duration::from_millis(millis.into()));
    vec![
        Key::new(
            "mqtt.limits.packetBytes",
            size(1024..=PACKET_BYTES_MAX),
            field!(Config, mqtt.limits.packet_bytes),
            "The largest packet ([limits](limits.md), as all below).",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.connectPacketBytes",
            size(1024..=PACKET_BYTES_MAX),
            field!(Config, mqtt.limits.connect_packet_bytes),
            "The largest CONNECT.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.topicBytes",
            count(1..=u16::MAX),
            field!(Config, mqtt.limits.topic_bytes),
            "The longest topic or filter, in bytes.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.topicLevels",
            count(1..=u16::MAX),
            field!(Config, mqtt.limits.topic_levels),
            "Levels of a topic or filter.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.clientIdBytes",
            count(23..=u16::MAX),
            field!(Config, mqtt.limits.client_id_bytes),
            "The longest client identifier, in bytes.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.filtersPerSubscribe",
            count(1..=1_000_000),
            field!(Config, mqtt.limits.filters_per_subscribe),
            "Filters of one SUBSCRIBE or UNSUBSCRIBE.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.subscriptionsPerClient",
            count(1..=u32::MAX),
            field!(Config, mqtt.limits.subscriptions_per_client),
            "Subscriptions of one session.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.userProperties",
            count(0..=1_000_000),
            field!(Config, mqtt.limits.user_properties),
            "User properties of one packet.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.inflight",
            count(1..=u16::MAX),
            field!(Config, mqtt.limits.inflight),
            "Deliveries to one client that wait for its acknowledgement.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.receiveMaximum",
            count(1..=u16::MAX),
            field!(Config, mqtt.limits.receive_maximum),
            "Publishes of one client that wait for ours.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.topicAliasMaximum",
            count(0..=u16::MAX),
            field!(Config, mqtt.limits.topic_alias_maximum),
            "Topic aliases of one connection, each way.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.keepAliveMax",
            keep_alive,
            field!(Config, mqtt.limits.keep_alive_max_secs),
            "The longest keep-alive; 0: any, or none.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.outboundBytes",
            size(16 * 1024..=1u32 << 30),
            field!(Config, mqtt.limits.outbound_bytes),
            "Bytes under way to one client, before it reads from the log.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.replayLast",
            count(0..=10_000_000),
            field!(Config, mqtt.limits.replay_last),
            "Changes that a SUBSCRIBE may ask for by their number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.connectTimeout",
            connect_timeout,
            field!(Config, mqtt.limits.connect_timeout_ms),
            "How long a client may take to its whole CONNECT.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.connections",
            count(0..=u32::MAX),
            field!(Config, mqtt.limits.connections),
            "Connections in all; 0: any number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.connectionsPerAddress",
            count(0..=u32::MAX),
            field!(Config, mqtt.limits.connections_per_address),
            "Connections from one address; 0: any number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.sessions",
            count(0..=u32::MAX),
            field!(Config, mqtt.limits.sessions),
            "Sessions that outlive their connections; 0: any number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.publishesPerSecond",
            count(0..=u32::MAX),
            field!(Config, mqtt.limits.publishes_per_sec),
            "Publishes of one client in a second; 0: any number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.publishBytesPerSecond",
            size(0..=u64::MAX),
            field!(Config, mqtt.limits.publish_bytes_per_sec),
            "Bytes of one client's publishes in a second; 0: any number.",
        )
        .at_once(),
        Key::new(
            "mqtt.limits.tooFast",
            choice(TOO_FAST),
            field!(Config, mqtt.limits.too_fast_ends),
            "What becomes of a client that publishes faster than these two allow: its socket is read later, or its \
             connection ends.",
        )
        .at_once(),
    ]
}

fn http() -> Vec<Key<Config>> {
    vec![
        Key::new("http.port", door(), field!(Config, http.listen), "Where HTTP and WebSocket listen."),
        Key::new("http.securePort", door(), field!(Config, http.secure_listen), "The same over TLS ([TLS](tls.md))."),
        Key::new(
            "http.mtls",
            switched(client_certificates, asked_by_default),
            field!(Config, http.client_certificates),
            "Whether clients at the secure port are asked for a certificate.",
        )
        .at_once(),
        Key::new("http.cors", switch(), field!(Config, http.cors), "Pages of other origins may read answers.")
            .at_once(),
        Key::new(
            "http.corsAccessList",
            texts(),
            field!(Config, http.cors_access_list),
            "Of which origins, spelled as browsers send them (`https://example.org`); none, or `*` among them: of any.",
        )
        .at_once(),
    ]
}

fn http_limits() -> Vec<Key<Config>> {
    let body_bytes =
        size(1024..=1u64 << 32).kept_as(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX), |&bytes| bytes as u64);
    vec![
        Key::new(
            "http.limits.bodyBytes",
            body_bytes,
            field!(Config, http.body_bytes_max),
            "The largest body of a request.",
        )
        .at_once(),
        Key::new(
            "http.limits.scanRecords",
            count(0..=u64::MAX >> 1),
            field!(Config, http.scan_records_max),
            "Records that a query without an index may look at.",
        )
        .at_once(),
    ]
}

fn tls() -> Vec<Key<Config>> {
    vec![Key::new(
        "tls",
        sections(certificate, TlsSection::default, pair),
        field!(Config, tls),
        "Certificates of the server, and who signs those of clients ([TLS](tls.md)). Where there are none, one is made.",
    ).at_once()]
}

/// A certificate and its key. Harper keeps its certificates in its database, and its file names a key alone then.
fn certificate() -> Vec<Key<TlsSection>> {
    vec![
        Key::new("certificate", path().or_null(), field!(TlsSection, certificate), "The chain in PEM, our own first."),
        Key::new("privateKey", path().or_null(), field!(TlsSection, private_key), "Its key, in PEM."),
        Key::new("host", text().or_null(), field!(TlsSection, host), "The name of the server under which it is shown."),
        Key::new(
            "certificateAuthority",
            path().or_null(),
            field!(TlsSection, authority),
            "Who signs certificates of clients, where `mtls` does not say it.",
        ),
    ]
}

fn pair(files: TlsSection, places: &Places, reading: &mut Reading) -> Option<TlsSection> {
    let (given, missing) = match (&files.certificate, &files.private_key) {
        (Some(_), Some(_)) => return Some(files),
        (Some(_), None) => ("certificate", "privateKey"),
        (None, Some(_)) if reading.dialect == Dialect::Ours => ("privateKey", "certificate"),
        (None, None) if files.host.is_some() && reading.dialect == Dialect::Ours => ("host", "certificate"),
        (None, _) => return files.authority.is_some().then_some(files),
    };
    reading.refuse(&places[given].clone(), Misfit::new(format!("`{missing}` has to be given beside it")));
    None
}

/// What is asked of clients.
fn client_certificates() -> Vec<Key<ClientCertificates>> {
    let user = text().or_null().kept_as(
        |user| match user {
            None => NeedsPassword,
            Some(name) if matches!(name.as_str(), "Common Name" | "CN") => CommonName,
            Some(name) => Fixed(name),
        },
        |user| match user {
            NeedsPassword => None,
            CommonName => Some("Common Name".to_owned()),
            Fixed(name) => Some(name.clone()),
        },
    );
    let authority =
        path().or_null().kept_as(|path| path.into_iter().collect(), |paths: &Vec<_>| paths.first().cloned());
    vec![
        Key::new(
            "user",
            user.said("`Common Name`, a name, or `null`"),
            field!(ClientCertificates, user),
            "Whom a certificate makes its client; `null`: nobody, and a password is needed too.",
        ),
        Key::new("required", switch(), field!(ClientCertificates, required), "Who shows none is refused."),
        Key::new(
            "certificateAuthority",
            authority,
            field!(ClientCertificates, authorities),
            "Who signs them; otherwise the one of `tls`, or the one that was made.",
        ),
        Key::new("crl", path().or_null(), field!(ClientCertificates, crl), "Those that are good no longer, in PEM."),
    ]
}

fn asked_by_default() -> ClientCertificates {
    ClientCertificates { user: CommonName, required: false, authorities: Vec::new(), crl: None }
}

fn authentication() -> Vec<Key<Config>> {
    const ALGORITHMS: &[(&str, TokenAlgorithm)] = &[("HS256", TokenAlgorithm::Hs256), ("EdDSA", TokenAlgorithm::EdDsa)];
    vec![
        Key::new(
            "authentication.authorizeLocal",
            switch(),
            field!(Config, authentication.authorize_local),
            "Clients on this machine that show no credentials are super users.",
        )
        .at_once(),
        Key::new(
            "authentication.cacheTTL",
            duration(Unit::Milliseconds, Duration::ZERO..=DAY),
            field!(Config, authentication.cache_ttl),
            "How long a password that was right is recognised without being hashed again.",
        )
        .at_once(),
        Key::new(
            "authentication.tokenTimeout",
            duration(Unit::Seconds, SECOND..=CENTURY),
            field!(Config, authentication.token_timeout),
            "How long a token is good for.",
        )
        .at_once(),
        Key::new(
            "authentication.refreshTokenTimeout",
            duration(Unit::Seconds, SECOND..=CENTURY),
            field!(Config, authentication.refresh_token_timeout),
            "How long a token can be exchanged for a new one.",
        )
        .at_once(),
        Key::new(
            "authentication.jwt.algorithm",
            choice(ALGORITHMS),
            field!(Config, authentication.jwt.algorithm),
            "How tokens made here are signed.",
        )
        .at_once(),
        Key::new(
            "authentication.jwt.keys",
            path().or_null(),
            field!(Config, authentication.jwt.keys),
            "Public keys of somebody else (a JWKS), whose tokens are believed too.",
        )
        .at_once(),
        Key::new(
            "authentication.jwt.issuer",
            text().or_null(),
            field!(Config, authentication.jwt.issuer),
            "What `iss` of theirs has to be.",
        )
        .at_once(),
        Key::new(
            "authentication.jwt.audience",
            text().or_null(),
            field!(Config, authentication.jwt.audience),
            "What `aud` of theirs has to hold.",
        )
        .at_once(),
        Key::new(
            "authentication.jwt.userClaim",
            text(),
            field!(Config, authentication.jwt.user_claim),
            "Which claim of theirs names the user.",
        )
        .at_once(),
    ]
}

fn storage() -> Vec<Key<Config>> {
    const DURABILITIES: &[(&str, Durability)] =
        &[("sync", Durability::Sync), ("flush", Durability::Flush), ("memory", Durability::Memory)];
    vec![
        Key::new(
            "storage.path",
            path(),
            field!(Config, storage.path),
            "The data folder, made at the first start ([whose it is](security.md#to-shut-it-further)).",
        ),
        Key::new(
            "storage.durability",
            choice(DURABILITIES),
            field!(Config, storage.durability),
            "What an acknowledgement waits for, unless a table says otherwise: the disk, the system, or nothing. QoS 2 always waits for the disk.",
        ),
        Key::new(
            "storage.cacheBytes",
            size(16 << 20..=1u64 << 50),
            field!(Config, storage.cache_bytes),
            "Memory for records that were used of late, and for the end of the log.",
        ),
    ]
}

fn log() -> Vec<Key<Config>> {
    vec![
        Key::new(
            "log.retention.age",
            duration(Unit::Seconds, MINUTE..=CENTURY),
            field!(Config, retention.age),
            "What is older is dropped from the log; records stay.",
        )
        .at_once(),
        Key::new(
            "log.retention.bytes",
            size(64 << 20..=u64::MAX),
            field!(Config, retention.bytes),
            "Beyond that, the oldest part of the log is dropped; records stay.",
        )
        .at_once(),
    ]
}

fn rest() -> Vec<Key<Config>> {
    const LEVELS: &[(&str, Level)] = &[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];
    const HARPER_LEVELS: &[(&str, Level)] = &[("fatal", Level::Error), ("notify", Level::Info)];
    const FORMATS: &[(&str, LogFormat)] =
        &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let threads = count(1..=1024u32).kept_as(
        |count| NonZeroUsize::new(count as usize).unwrap_or(NonZeroUsize::MIN),
        |count| u32::try_from(count.get()).unwrap_or(u32::MAX),
    );
    vec![
        Key::new(
            "logging.level",
            choice_with(LEVELS, HARPER_LEVELS),
            field!(Config, logging.level),
            "How much the program's own log says.",
        )
        .at_once(),
        Key::new(
            "logging.format",
            choice(FORMATS),
            field!(Config, logging.format),
            "`auto`: text on a terminal, otherwise a JSON object a line.",
        ),
        Key::new(
            "logging.path",
            path().or_null(),
            field!(Config, logging.path),
            "A file that is appended to; `null`: standard error.",
        ),
        Key::new(
            "logging.audit.enabled",
            switch(),
            field!(Config, logging.audit.enabled),
            "Whether it is written down who came in, who did not, and who changed what.",
        ),
        Key::new(
            "logging.audit.path",
            path().or_null(),
            field!(Config, logging.audit.path),
            "In which file; `null`: `audit/audit.log` in the data folder.",
        ),
        Key::new(
            "logging.audit.bytes",
            size(64 << 10..=1u64 << 40),
            field!(Config, logging.audit.bytes),
            "Bytes of a file before the next is begun.",
        ),
        Key::new(
            "logging.audit.files",
            count(0..=1000),
            field!(Config, logging.audit.files),
            "How many full ones are kept.",
        ),
        Key::new(
            "threads.count",
            threads.or_null(),
            field!(Config, threads.count),
            "Threads that own connections; `null`: one per core.",
        ),
        Key::new(
            "threads.fill",
            count(0..=1_000_000u32).kept_as(|fill| fill as usize, |&fill| fill as u32),
            field!(Config, threads.fill),
            "Connections that a thread takes, unless it is busy, before the next one is given any: those that talk to each \
             other cost least on one thread. Beyond it all get as many. 0: all get as many from the first on.",
        ),
        Key::new(
            "shutdownTimeout",
            duration(Unit::Seconds, Duration::ZERO..=HOUR),
            field!(Config, shutdown_timeout),
            "How long a stop waits for clients to be told.",
        ),
        Key::not_yet("hooks", "running hooks"),
        Key::not_yet("cluster", "clustering"),
    ]
}

/// What keys mean to each other.
pub(super) fn settle(config: &mut Config, places: &Places, reading: &mut Reading) {
    // Certificates that are asked for where nobody can show them would let anyone in.
    for (key, asked, port) in [
        ("mqtt.network.mtls", &config.mqtt.client_certificates, &config.mqtt.secure_listen),
        ("http.mtls", &config.http.client_certificates, &config.http.secure_listen),
    ] {
        if asked.is_some() && *port == Listen::Shut {
            let misfit = Misfit::new("clients show certificates at the secure port, and that is shut");
            reading.refuse(&places[key].clone(), misfit.help("`securePort: 8883`, for example, opens it"));
        }
    }
    let authorities: Vec<_> = config.tls.iter().filter_map(|files| files.authority.clone()).collect();
    for asked in config.mqtt.client_certificates.iter_mut().chain(&mut config.http.client_certificates) {
        if asked.authorities.is_empty() {
            asked.authorities.clone_from(&authorities);
        }
    }
}

fn secs() -> Shape<u32> {
    duration(Unit::Seconds, Duration::ZERO..=Duration::from_secs(u32::MAX.into()))
        .kept_as(|span| whole_secs(span) as u32, |&secs| Duration::from_secs(secs.into()))
}

/// Rounded up: 0 means something else than a little.
fn whole_secs(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const CENTURY: Duration = Duration::from_hours(24 * 36_525);
