use super::CertificateUser::{CommonName, Fixed, NeedsPassword};
use super::read::{Dialect, read};
use super::*;
use rowcast_core::schema::{Color, Diagnostic, Source, render};
use std::path::Path;

#[test]
fn the_seed_example_loads_as_it_stands() {
    assert_eq!(check(include_str!("../../tests/it/seed.yaml"), &[]), defaults());
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
  network: { port: mqtt.sock, securePort: 8884, mtls: { user: null, required: true, crl: c.pem }, proxyProtocol: true }
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
    tooFast: disconnect
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
threads: { count: 3, fill: 8 }
shutdownTimeout: 4s
tls:
  - { host: a.example, certificate: a.pem, privateKey: /keys/a.pem }
  - { certificate: b.pem, privateKey: b-key.pem, certificateAuthority: ca.pem }
hooks: null
cluster: null
";
    let folder = PathBuf::from("/app");
    let expected = Config {
        tls: vec![
            TlsSection {
                host: Some("a.example".to_owned()),
                certificate: Some("/app/a.pem".into()),
                private_key: Some("/keys/a.pem".into()),
                authority: None,
            },
            TlsSection {
                host: None,
                certificate: Some("/app/b.pem".into()),
                private_key: Some("/app/b-key.pem".into()),
                authority: Some("/app/ca.pem".into()),
            },
        ],
        mqtt: Mqtt {
            listen: Listen::Unix("/app/mqtt.sock".into()),
            secure_listen: Listen::Tcp { host: Host::Any, port: 8884 },
            client_certificates: Some(ClientCertificates {
                user: NeedsPassword,
                required: true,
                authorities: vec!["/app/ca.pem".into()],
                crl: Some("/app/c.pem".into()),
            }),
            proxy_protocol: true,
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
                too_fast_ends: true,
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
            cors: true,
            cors_access_list: vec!["https://example.org".to_owned(), "http://localhost:3000".to_owned()],
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
        retention: Retention { age: Duration::from_hours(24), bytes: 1 << 30 },
        logging: Logging {
            level: Level::Debug,
            format: LogFormat::Json,
            path: Some("/app/log/rowcast.log".into()),
            audit: AuditLog { enabled: false, path: Some("/a.log".into()), bytes: 1 << 20, files: 2 },
        },
        threads: Threads { count: NonZeroUsize::new(3), fill: 8 },
        shutdown_timeout: Duration::from_secs(4),
        folder,
    };
    assert_eq!(check(text, &[]), expected);
}

#[test]
fn nothing_is_as_good_as_comments() {
    for text in ["", "\n", "# nothing yet\n", "mqtt:\n", "mqtt: {}\n", "mqtt:\n  network:\n  limits: null\n", "---\n"] {
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
    refuse_message("tls: { certificateAuthority: ca.pem, privateKey: b }", "`certificate` has to be given beside it");
    refuse_message("tls: [a.pem]", "expected a section, found \"a.pem\"");
    let config = check("tls: { certificate: null }", &[]);
    assert_eq!(config, defaults());
    let variables = [("ROWCAST_TLS_CERTIFICATE", "c.pem"), ("ROWCAST_TLS_PRIVATE_KEY", "k.pem")];
    let (config, _) = read_text("", Dialect::Ours, &[], &variables).expect("a configuration");
    assert_eq!(config.tls[0].private_key.as_deref(), Some(Path::new("/app/k.pem")));
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
    refuse_message("mqtt: { mTLS: { require: true } }", "there is no key `mqtt.network.mtls.require`");
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
        Dialect::Ours,
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
        let (config, warnings) = read_text("", Dialect::Ours, &[], environment).expect("a configuration");
        assert_eq!(warnings, Vec::<String>::new());
        config
    };
    for name in ["ROWCAST_MQTT_LIMITS_PACKETBYTES", "ROWCAST_MQTT_LIMITS_PACKET_BYTES"] {
        assert_eq!(config(&[(name, "1MiB")]).mqtt.limits.packet_bytes, 1 << 20);
    }
    assert_eq!(config(&[("ROWCAST_HTTP_PORT", "null")]).http.listen, Listen::Shut);
    let cors = [("ROWCAST_HTTP_CORS", "true"), ("ROWCAST_HTTP_CORSACCESSLIST", "[http://a, http://b]")];
    assert_eq!(config(&cors).http.cors(), Cors::Origins(vec!["http://a".to_owned(), "http://b".to_owned()]));
    assert_eq!(config(&[("ROWCAST_ADMIN_PASSWORD", "secret")]), defaults());
}

#[test]
fn mistakes_outside_the_file_are_shown_too() {
    let environment = [("ROWCAST_MQTT_NETWORK_PORT", "mqtt")];
    let errors = read_text("", Dialect::Ours, &["http.prot=1", "nonsense"], &environment).expect_err("mistakes");
    assert_eq!(
        render(&errors, Color::Never),
        "\
error: there is no key `http.prot`
 --> command line:1:1
  |
1 | http.prot=1
  | ^^^^^^^^^
  |
  = help: did you mean `port`?

error: expected KEY=VALUE
 --> command line:1:1
  |
1 | nonsense
  | ^^^^^^^^

error: expected a port, `host:port`, a path for a Unix socket, or `null`, found \"mqtt\"
 --> environment:1:27
  |
1 | ROWCAST_MQTT_NETWORK_PORT=mqtt
  |                           ^^^^"
    );
    let (_, warnings) = read_text("", Dialect::Ours, &[], &[("ROWCAST_HTTP_PROT", "1")]).expect("a configuration");
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
  cors: true
  corsAccessList:
    - null
logging:
  level: notify
operationsApi:
  network:
    port: 9925
tls:
  certificate: null
  privateKey: /keys/privateKey.pem
cluster: { name: a }
";
    let (config, warnings) = read_text(text, Dialect::Harper, &[], &[]).expect("a configuration");
    let mut expected = defaults();
    expected.http.secure_listen = Listen::Tcp { host: Host::Any, port: 9927 };
    expected.http.cors = true;
    assert_eq!(config, expected);
    assert_eq!(
        warnings,
        [
            "rowcast.yaml: not used by rowcast: authentication.enableSessions, http.compressionThreshold, operationsApi, cluster",
        ]
    );
}

#[test]
fn dev_stays_on_loopback() {
    let text = "mqtt: { network: { port: 0.0.0.0:1884 } }";
    let source = Some(Source::new("rowcast.yaml", text));
    let (config, warnings) =
        read(Mode::Dev, "/app".into(), source, Dialect::Ours, &Given::default()).expect("a configuration");
    assert!(config.authentication.authorize_local);
    assert_eq!(config.mqtt.listen, Listen::Tcp { host: Host::Loopback, port: 1884 });
    assert_eq!(config.http.listen, Listen::Tcp { host: Host::Loopback, port: 9926 });
    assert_eq!(warnings, ["rowcast.yaml:1:26: `rowcast dev` listens on loopback only"]);
}

#[test]
fn numbers_count_the_unit_of_their_key() {
    let config = check("mqtt: { sessionExpiryMax: 90, sysInterval: 2, limits: { connectTimeout: 3 } }", &[]);
    let limits = &config.mqtt.limits;
    assert_eq!((limits.session_expiry_max_secs, limits.connect_timeout_ms), (90, 3000));
    assert_eq!(config.mqtt.sys_interval, Duration::from_secs(2));
    // As in Harper's file, where it has always counted milliseconds.
    assert_eq!(check("authentication: { cacheTTL: 1500 }", &[]).authentication.cache_ttl, Duration::from_millis(1500));
    refuse_message("shutdownTimeout: 3601", "expected 0s to 1h, found 3601s");
    let wanted = "expected a duration like `500ms`, `10s`, `5m`, `36h` or `7d`, or a number of seconds";
    for (text, found) in [("-1", "-1"), ("soon", "\"soon\""), ("1.5", "1.5"), ("true", "true"), ("[1s]", "a list")] {
        refuse_message(&format!("shutdownTimeout: {text}"), &format!("{wanted}, found {found}"));
    }
}

#[test]
fn every_key_has_a_variable_and_a_flag() {
    let defaults = defaults();
    for key in table::keys().iter().map(|key| key.listed(&defaults)).filter(|key| key.not_yet.is_none()) {
        let members = key.members.iter().map(|member| format!("{}.{}", key.path, member.path));
        for path in members.chain([key.path.to_owned()]) {
            // A list is none of these, so the one that is refused is the one that was meant.
            let variable = layers::variable_name(&path);
            let errors = match read_text("", Dialect::Ours, &[], &[(&variable, "[[")]) {
                Ok((config, warnings)) => {
                    assert_ne!(config, defaults, "{variable} was not read");
                    assert_eq!(warnings, Vec::<String>::new(), "{variable}");
                    continue;
                }
                Err(errors) => errors,
            };
            assert_eq!(&*errors[0].source.name, "environment", "{path}");
            let errors = read_text("", Dialect::Ours, &[&format!("{path}=[[")], &[]).expect_err(&path);
            assert_eq!(&*errors[0].source.name, "command line", "{path}");
            assert!(!errors[0].message.starts_with("there is no key"), "{path}: {}", errors[0].message);
        }
    }
}

#[test]
fn the_environment_may_say_a_part_of_a_section() {
    let config = |file: &str, variables: &[(&str, &str)]| {
        read_text(file, Dialect::Ours, &[], variables).map(|(config, _)| config.mqtt.client_certificates)
    };
    let required = [("ROWCAST_MQTT_NETWORK_MTLS_REQUIRED", "true")];
    for file in ["", "mqtt: { mTLS: { user: rex } }", "mqtt: { mTLS: true }", "mqtt: { network: { mtls: false } }"] {
        let asked = config(file, &required).expect("a configuration").expect("certificates are asked for");
        assert!(asked.required, "{file}");
        assert_eq!(asked.user == Fixed("rex".to_owned()), file.contains("rex"), "{file}");
    }
    let off = [("ROWCAST_MQTT_MTLS", "false")];
    assert_eq!(config("mqtt: { network: { mtls: { required: true } } }", &off).expect("a configuration"), None);
    let list = "tls: [{ certificate: a, privateKey: b }]";
    let errors = config(list, &[("ROWCAST_TLS_CERTIFICATE", "c")]).expect_err("a list");
    assert_eq!(errors[0].message, "`tls` is a list in the file, and which of its elements is meant?");
    let errors = config("mqtt: true", &required).expect_err("no section");
    assert_eq!(errors[0].message, "expected a section, found true");
}

#[test]
fn what_is_given_twice_is_refused() {
    refuse_message(
        "mqtt: { mTLS: true, network: { mtls: { required: true } } }",
        "`mqtt.mTLS` is another name of `mqtt.network.mtls`, which is given too",
    );
    let variables = [("ROWCAST_HTTP_LIMITS_BODYBYTES", "1MiB"), ("ROWCAST_HTTP_LIMITS_BODY_BYTES", "2MiB")];
    let errors = read_text("", Dialect::Ours, &[], &variables).expect_err("two variables");
    assert_eq!(errors[0].message, "`http.limits.bodyBytes` is given by two variables");
    refuse(
        "mqtt: { network: { port: 1 } }\nmqtt.network.port: 2\n",
        "\
error: there is no key `mqtt.network.port`
 --> rowcast.yaml:2:1
  |
2 | mqtt.network.port: 2
  | ^^^^^^^^^^^^^^^^^
  |
  = help: what a dot divides goes below each other, indented",
    );
}

#[test]
fn a_tab_that_indents_is_shown_where_it_is() {
    for text in ["mqtt:\n\tnetwork: { port: 1 }\n", "# Ours\nmqtt:\n  network:\n  \tport: 1\n"] {
        let errors = read_text(text, Dialect::Ours, &[], &[]).expect_err(text);
        assert_eq!(errors[0].message, "a tab indents nothing in YAML; spaces do", "{text}");
        let line = text.lines().position(|line| line.contains('\t')).expect("one") + 1;
        let shown = render(&errors, Color::Never);
        assert!(shown.contains(&format!("rowcast.yaml:{line}:")), "{shown}");
    }
}

#[test]
fn what_a_reload_brings_is_told_from_what_waits_for_a_start() {
    let old = check("logging: { level: warn }\nhttp: { port: 1 }", &[]);
    let new = check("logging: { level: debug }\nhttp: { port: 2 }\nthreads: { count: 2 }", &[]);
    let change = |key, before: &str, now: &str, holds| Change { key, before: before.into(), now: now.into(), holds };
    let (running, changes) = take_over(&old, &new);
    assert_eq!(
        changes,
        [
            change("http.port", "1", "2", Holds::NextStart),
            change("logging.level", "warn", "debug", Holds::AtOnce),
            change("threads.count", "null", "2", Holds::NextStart),
        ]
    );
    assert_eq!((running.logging.level, &running.http, running.threads.count), (Level::Debug, &old.http, None));
    assert_eq!(take_over(&old, &old), (old.clone(), vec![]));
    // What waits for a start is said again, and is no change any more once it is taken back.
    assert_eq!(take_over(&running, &new).1, [changes[0].clone(), changes[2].clone()]);
    assert_eq!(take_over(&running, &old).1, [change("logging.level", "debug", "warn", Holds::AtOnce)]);
}

#[test]
fn a_door_that_will_be_shut_asks_for_certificates_until_then() {
    let asked = "port: null, securePort: 8883, mtls: { required: true }";
    let old = check(&format!("mqtt: {{ network: {{ {asked} }} }}\nhttp: {{ securePort: 1, mtls: true }}"), &[]);
    let new = check("mqtt: { network: { securePort: null } }\nhttp: { securePort: null }", &[]);
    let (running, changes) = take_over(&old, &new);
    assert_eq!(running.mqtt.client_certificates, old.mqtt.client_certificates);
    assert_eq!(running.http.client_certificates, old.http.client_certificates);
    assert!(changes.iter().all(|change| change.holds == Holds::NextStart), "{changes:?}");
    // Where the door stays, it is as whoever changes it wants it.
    let new = check("http: { securePort: 1 }", &[]);
    assert_eq!(take_over(&old, &new).0.http.client_certificates, None);
}

fn defaults() -> Config {
    Config::new(Mode::Run, "/app".into())
}

fn read_text(
    text: &str,
    dialect: Dialect,
    flags: &[&str],
    environment: &[(&str, &str)],
) -> Result<(Config, Vec<String>), Vec<Diagnostic>> {
    let given = Given {
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..Given::default()
    };
    read(Mode::Run, "/app".into(), Some(Source::new("rowcast.yaml", text)), dialect, &given)
}

#[track_caller]
fn check(text: &str, warnings: &[&str]) -> Config {
    match read_text(text, Dialect::Ours, &[], &[]) {
        Ok((config, found)) => {
            assert_eq!(found, warnings, "{text}");
            config
        }
        Err(errors) => panic!("{text}\n{}", render(&errors, Color::Never)),
    }
}

#[track_caller]
fn refuse(text: &str, expected: &str) {
    let errors = read_text(text, Dialect::Ours, &[], &[]).expect_err(text);
    assert_eq!(render(&errors, Color::Never), expected);
}

#[track_caller]
fn refuse_message(text: &str, expected: &str) {
    let errors = read_text(text, Dialect::Ours, &[], &[]).expect_err(text);
    let start: String = text.chars().take(200).collect();
    assert_eq!(errors[0].message, expected, "{start}");
}
