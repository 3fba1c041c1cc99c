//! TLS at the doors of MQTT and HTTP: which certificate is shown, and who gets no further than the handshake.

#[path = "../../src/tls/anyone.rs"]
mod anyone;

use crate::DEADLINE;
use crate::server::{Application, until};
use crate::tools::{Tool, run};
use crate::wire::{Connect, Version};
use anyone::Anyone;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

#[test]
fn a_private_authority_is_made_where_no_certificate_is_given() {
    let application = secure(Application::dogs());
    let server = application.start();
    let keys = application.path().join("data/keys");
    let authority = keys.join("ca.pem");
    let authority = authority.to_str().expect("a path");
    assert!(server.screen.contains(&format!("ca      {authority}")), "{}", server.screen);
    for entry in std::fs::read_dir(&keys).expect("a folder") {
        let mode = entry.expect("a file").metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read a key");
    }
    let port = server.mqtts().to_string();
    for (host, version) in [("localhost", "tlsv1.2"), ("localhost", "tlsv1.3"), ("127.0.0.1", "tlsv1.3")] {
        let tls = ["-h", host, "-p", &port, "--cafile", authority, "--tls-version", version];
        let record = format!("dog/{version}");
        run("mosquitto_pub", &[&tls[..], &["-q", "1", "-r", "-t", &record, "-m", r#"{"name":"Rex"}"#]].concat());
        let said = run("mosquitto_sub", &[&tls[..], &["-C", "1", "-t", &record]].concat());
        assert!(said.contains("Rex"), "{said}");
    }
    let shown = shown(server.mqtts(), "localhost");
    drop(server);
    let server = application.start();
    assert_eq!(self::shown(server.mqtts(), "localhost"), shown, "the certificate is kept");
    let own = Authority::new("another authority");
    application.write("other.pem", &own.pem());
    let other = application.path().join("other.pem");
    let other = other.to_str().expect("a path");
    let port = server.mqtts().to_string();
    let stranger = Tool::start("mosquitto_pub", &["-p", &port, "--cafile", other, "-t", "a", "-m", "b"]);
    assert!(!stranger.end().0.success(), "a client that trusts another authority");
}

#[test]
fn the_certificate_for_the_name_asked_for_is_shown() {
    let authority = Authority::new("authority");
    let application = secure(Application::dogs());
    for name in ["a", "b"] {
        authority.sign(&[&format!("{name}.example")]).write(&application, name);
    }
    authority.sign(&["*.wild.example"]).write(&application, "wild");
    application.write("ca.pem", &authority.pem());
    application.write(
        "rowcast.yaml",
        "
tls:
  - { certificate: a.pem, privateKey: a-key.pem }
  - { certificate: b.pem, privateKey: b-key.pem }
  - { certificate: wild.pem, privateKey: wild-key.pem }
  - { certificate: b.pem, privateKey: b-key.pem, host: c.example }
",
    );
    let server = application.start();
    let certificate = |name: &str| first_of(&application.path().join(format!("{name}.pem")));
    for (asked, expected) in [
        ("a.example", "a"),
        ("b.example", "b"),
        ("B.EXAMPLE", "b"),
        ("c.example", "b"),
        ("one.wild.example", "wild"),
        ("two.one.wild.example", "a"),
        ("elsewhere.example", "a"),
        ("127.0.0.1", "a"),
    ] {
        assert!(shown(server.mqtts(), asked) == certificate(expected), "{asked} should get {expected}");
        assert!(shown(server.https(), asked) == certificate(expected), "{asked} should get {expected}");
    }
}

#[test]
fn changed_files_are_picked_up_and_useless_ones_are_not() {
    let authority = Authority::new("authority");
    let application = secure(Application::dogs()).configured("tls: { certificate: a.pem, privateKey: a-key.pem }");
    let path = application.path().join("a.pem");
    authority.sign(&["localhost"]).write(&application, "a");
    let server = application.start();
    let mut before = dial(server.mqtts(), "localhost").expect("a connection");
    before.write_all(&Connect::new(Version::V5, "before").bytes()).expect("sent");
    authority.sign(&["localhost"]).write(&application, "a");
    let second = first_of(&path);
    until("the second certificate is shown", || {
        if shown(server.mqtts(), "localhost") == second { Ok(()) } else { Err("the first") }
    });
    before.write_all(b"\xc0\0").expect("the old connection goes on");
    application.write("a.pem", "-----BEGIN CERTIFICATE-----\n");
    server.wait_for_log("all stays as it was");
    assert!(shown(server.mqtts(), "localhost") == second);
    authority.sign(&["localhost"]).write(&application, "a");
    let third = first_of(&path);
    until("the third certificate is shown", || {
        if shown(server.mqtts(), "localhost") == third { Ok(()) } else { Err("the second") }
    });
}

#[test]
fn files_that_are_no_use_are_named() {
    let authority = Authority::new("authority");
    let application = secure(Application::dogs()).configured("tls: { certificate: a.pem, privateKey: key.pem }");
    let check = |words: &str| {
        let said = application.start_in_vain();
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    };
    let folder = application.path().display().to_string();
    check(&format!("a certificate cannot be read: {folder}/a.pem: No such file"));
    application.write("a.pem", "notes");
    check(&format!("a certificate is expected in {folder}/a.pem, in PEM: there is none"));
    let signed = authority.sign(&["localhost"]);
    signed.write(&application, "a");
    check(&format!("a private key cannot be read: {folder}/key.pem"));
    application.write("key.pem", &signed.certificate);
    check(&format!("a private key is expected in {folder}/key.pem, in PEM: there is none"));
    application.write("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    check("it is encrypted");
    application.write("key.pem", &authority.sign(&["localhost"]).key);
    check(&format!("the key in {folder}/key.pem does not belong to the first certificate in {folder}/a.pem"));
}

#[test]
fn https_speaks_http_and_websocket() {
    let server = secure(Application::dogs()).start();
    let mut stream = dial(server.https(), "localhost").expect("a connection");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end said in TLS");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn https_speaks_http_2_with_those_who_offer_it() {
    let application = secure(Application::dogs());
    let server = application.start();
    let authority = application.path().join("data/keys/ca.pem").display().to_string();
    let url = |path: &str| format!("https://localhost:{}{path}", server.https());
    let curl = |arguments: &[&str]| {
        let all = ["--no-progress-meter", "--cacert", &authority, "--write-out", "%{http_version} %{http_code} "];
        run("curl", &[&all[..], arguments].concat())
    };
    let json = ["-H", "Content-Type: application/json"];
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(500_000));
    application.write("large.json", &large);
    let file = format!("@{}", application.path().join("large.json").display());
    let put = curl(&[&["--http2", "-X", "PUT", "--data-binary", &file, &url("/dog/1")][..], &json].concat());
    assert_eq!(put, "2 201 ");
    for (asked, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let got = curl(&[asked, &url("/dog/1")]);
        let expected = format!("{}{version} 200 ", large.replacen('{', r#"{"id":"1","#, 1));
        assert!(got == expected, "{} bytes: {}", got.len(), &got[got.len() - 20..]);
    }
    let both = curl(&["--http2", "--parallel", "-o", "/dev/null", &url("/dog/1"), "-o", "/dev/null", &url("/health")]);
    assert_eq!(both, "2 200 2 200 ");
    assert_eq!(curl(&["--http2", "-X", "DELETE", &url("/dog/1")]), "2 204 ");
}

// [hostile 17]
#[test]
fn what_is_no_handshake_is_closed_and_half_a_handshake_is_not_waited_for() {
    let application = secure(Application::dogs())
        .configured("mqtt: { limits: { connectTimeout: 1s, connections: 4 } }\nlogging: { level: warn }");
    let mut server = application.start();
    for bytes in [
        &Connect::new(Version::V5, "plain").bytes()[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x04\x05\x00\x00\x00",
    ] {
        for port in [server.mqtts(), server.https()] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the door is open");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            stream.write_all(bytes).expect("sent");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest); // An alert perhaps, and the end.
            assert!(rest.len() < 10, "{rest:x?}");
        }
    }
    server.wait_for_log("does not speak TLS here");
    // Nor is it a secret why a client does not want to.
    let mut stream = TcpStream::connect(("127.0.0.1", server.mqtts())).expect("the door is open");
    stream.write_all(b"\x15\x03\x03\x00\x02\x02\x30").expect("an alert: the authority is not known");
    server.wait_for_log("does not believe this server's certificate (UnknownCA)");
    // Silent ones, and some that stop in the middle, have the places there are.
    let mut waiting = Vec::new();
    until("the places are taken", || {
        waiting = (0..4)
            .map(|index| {
                let mut stream = TcpStream::connect(("127.0.0.1", server.mqtts())).expect("the door is open");
                stream.write_all(&b"\x16\x03\x01\x01"[..index]).expect("sent");
                stream
            })
            .collect();
        let (_, answer) = Connect::new(Version::V5, "late").open_with_answer(server.mqtt());
        if answer.code() == Some(QUOTA_EXCEEDED) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    // But not for long.
    for stream in &mut waiting {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0)), "closed without a word");
    }
    until("there is room again", || {
        let (_, answer) = Connect::new(Version::V5, "late").open_with_answer(server.mqtt());
        if answer.code() == Some(0) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    server.assert_alive();
}

const QUOTA_EXCEEDED: u8 = 0x97;

/// With secure doors at ports that the system chooses.
pub(crate) fn secure(application: Application) -> Application {
    let doors = ["mqtt.network.securePort=127.0.0.1:0", "http.securePort=127.0.0.1:0"];
    doors.into_iter().fold(application, |application, door| application.with("--set").with(door))
}

/// Who signs certificates in a test.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server of these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Signed {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.sign_params(&CertificateParams::new(names).expect("names"))
    }

    pub(crate) fn sign_params(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

impl Signed {
    /// As `NAME.pem` and `NAME-key.pem`, the key first: who sees the certificate has both.
    pub(crate) fn write(&self, application: &Application, name: &str) {
        application.write(&format!("{name}-key.pem"), &self.key);
        application.write(&format!("{name}.pem"), &self.certificate);
    }
}

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A connection after its handshake, whatever certificate the server shows.
pub(crate) fn dial(port: u16, name: &str) -> std::io::Result<Connection> {
    dial_as(port, name, None)
}

/// The same, showing a certificate.
pub(crate) fn dial_as(port: u16, name: &str, signed: Option<&Signed>) -> std::io::Result<Connection> {
    dial_over(TcpStream::connect(("127.0.0.1", port))?, name, signed)
}

/// The same, on a stream that is there already.
pub(crate) fn dial_over(stream: TcpStream, name: &str, signed: Option<&Signed>) -> std::io::Result<Connection> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let config = match signed {
        None => builder.with_no_client_auth(),
        Some(Signed { certificate, key }) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![certificate], key).expect("a certificate and its key")
        }
    };
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut connection = StreamOwned::new(session, stream);
    while connection.conn.is_handshaking() {
        connection.conn.complete_io(&mut connection.sock)?;
    }
    Ok(connection)
}

/// The certificate that the server shows to who asks for `name`.
fn shown(port: u16, name: &str) -> CertificateDer<'static> {
    let connection = dial(port, name).expect("a connection");
    connection.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

fn first_of(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}
