//! The commands of this program over TLS: whom they believe, what they show, and what they say when it comes to nothing.

use crate::mtls::named;
use crate::server::{Application, Server, binary};
use crate::tls::{Authority, secure};
use crate::tools::{Tool, file};
use std::path::Path;
use std::process::Command;

#[test]
fn records_and_messages_go_over_tls() {
    let application = secure(Application::dogs().for_real()).with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    let server = application.start();
    let authority = application.path().join("data/keys/ca.pem").display().to_string();
    let trust = ["--cafile", &authority];
    let mqtt = format!("mqtts://admin@localhost:{}/dog/1", server.mqtts());
    let http = format!("https://admin@localhost:{}", server.https());
    let port = server.mqtts().to_string();
    let mut reader = rowcast(&[&["sub", "-C", "2", "-v", "-L", &mqtt][..], &trust].concat());
    well(&[&["put", "--url", &http, "dog/1", r#"{"name":"Rex"}"#][..], &trust].concat());
    assert_eq!(reader.line(), r#"dog/1 {"id":"1","name":"Rex"}"#);
    well(&[&["pub", "-p", &port, "-u", "admin", "--scram", "-t", "dog/1", "-m", "barks"][..], &trust].concat());
    assert_eq!(reader.line(), "dog/1 barks");
    assert!(reader.end().0.success());
    let got = well(&[&["get", "--url", &http, "dog/1"][..], &trust].concat());
    assert_eq!(got, r#"{"id":"1","name":"Rex"}"#);
    let got = well(&["get", "--url", &http, "--insecure", "dog/1"]);
    let (warning, record) = got.split_once('\n').expect("two lines");
    assert_eq!(warning, "warning: --insecure: whoever answers is believed to be the server");
    assert_eq!(record, r#"{"id":"1","name":"Rex"}"#);
    // A large message waits in more than one place.
    let large = "x".repeat(100_000);
    let mut reader = rowcast(&[&["sub", "-C", "1", "-p", &port, "-u", "admin", "-t", "large"][..], &trust].concat());
    let publish = ["pub", "-p", &port, "-u", "admin", "-q", "2", "-r", "-t", "large", "-m", &large];
    well(&[&publish[..], &trust].concat());
    assert_eq!(reader.line(), large);
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let server = secure(Application::dogs()).start();
    let stranger = file("version-1-cert.pem").display().to_string();
    let untrusted =
        "the server's certificate is signed by nobody who is trusted here. --cafile PATH names whom to trust";
    for trust in [&[][..], &["--cafile", &stranger]] {
        refused(&server, trust, untrusted);
    }
    let authority = Authority::new("authority");
    let application = secure(Application::dogs())
        .configured("tls: { certificate: a.pem, privateKey: a-key.pem, certificateAuthority: ca.pem }");
    application.write("ca.pem", &authority.pem());
    authority.sign(&["kennel.example", "farm.example"]).write(&application, "a");
    let own = application.path().join("ca.pem").display().to_string();
    let check = |authority: &str, words: &str| refused(&application.start(), &["--cafile", authority], words);
    check(&own, "the server's certificate is for kennel.example, farm.example, and not for localhost");
    let mut outdated = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    outdated.not_after = rcgen::date_time_ymd(2020, 1, 1);
    authority.sign_params(&outdated).write(&application, "a");
    check(&own, "the server's certificate has expired");
    Authority::new("authority").sign(&["localhost"]).write(&application, "a");
    check(&own, "the server's certificate is not signed by the authority of that name in --cafile");
    for (name, version_1) in [("a-key.pem", "version-1-key.pem"), ("a.pem", "version-1-cert.pem")] {
        application.write(name, &std::fs::read_to_string(file(version_1)).expect("a file"));
    }
    check(&stranger, "the server's certificate is one of X.509 version 1");
    // No TLS at all.
    let [mqtt, http] = addresses(server.mqtt(), server.http());
    for arguments in [&["pub", "-L", &mqtt, "-t", "dog/1", "-m", "x"][..], &["get", "--url", &http, "dog/1"]] {
        let said = in_vain(arguments);
        let fits =
            said.contains("does not speak TLS at this port") || said.contains("closed the connection without a word");
        assert!(fits, "{said}");
    }
    let said = in_vain(&["get", "--url", &http, "--cafile", "nowhere.pem", "dog/1"]);
    assert!(said.contains("a certificate of an authority cannot be read: nowhere.pem"), "{said}");
}

#[test]
fn certificates_are_shown_and_refusals_of_them_said() {
    let authority = Authority::new("clients");
    let asked = "mtls: { required: true, certificateAuthority: clients.pem }";
    let application = secure(Application::dogs().for_real())
        .configured(&format!("mqtt: {{ network: {{ {asked} }} }}\nhttp: {{ {asked} }}"));
    application.write("clients.pem", &authority.pem());
    authority.sign_params(&named("admin")).write(&application, "admin");
    Authority::new("strangers").sign_params(&named("admin")).write(&application, "stranger");
    let server = application.start();
    let path = |name: &str| application.path().join(name).display().to_string();
    let trust = path("data/keys/ca.pem");
    let (certificate, key) = (path("admin.pem"), path("admin-key.pem"));
    let shown = ["--cafile", &trust, "--cert", &certificate, "--key", &key];
    let [mqtt, http] = addresses(server.mqtts(), server.https());
    well(&[&["pub", "-L", &mqtt, "-q", "1", "-r", "-t", "dog/1", "-m", r#"{"name":"Rex"}"#][..], &shown].concat());
    assert_eq!(well(&[&["get", "--url", &http, "dog/1"][..], &shown].concat()), r#"{"id":"1","name":"Rex"}"#);
    refused(&server, &["--cafile", &trust], "the server wants to see a certificate (--cert and --key)");
    let (certificate, key) = (path("stranger.pem"), path("stranger-key.pem"));
    let strange = ["--cafile", &trust, "--cert", &certificate, "--key", &key];
    refused(&server, &strange, "the server does not believe the certificate it was shown (--cert)");
    let mismatched = ["--cafile", &trust, "--cert", &certificate, "--key", &path("admin-key.pem")];
    refused(&server, &mismatched, "does not belong to the first certificate");
}

#[test]
fn a_list_of_revocations_or_a_certificate_of_version_1_is_refused_with_what_to_do() {
    let text = |name: &str| std::fs::read_to_string(file(name)).expect("a file");
    let application = secure(Application::dogs().for_real())
        .configured("mqtt: { network: { mtls: { required: true, certificateAuthority: old.pem, crl: revoked.pem } } }");
    application.write("old.pem", &text("version-1-cert.pem"));
    application.write("revoked.pem", &text("version-1-crl.pem"));
    let said = application.start_in_vain();
    assert!(said.contains("revoked.pem") && said.contains("it is of version 1; version 2 is needed"), "{said}");
    let application =
        application.configured("mqtt: { network: { mtls: { required: true, certificateAuthority: old.pem } } }");
    let server = application.start();
    let trust = application.path().join("data/keys/ca.pem").display().to_string();
    let [certificate, key] = ["cert", "key"].map(|name| file(&format!("version-1-{name}.pem")).display().to_string());
    let [mqtt, _] = addresses(server.mqtts(), 0);
    let shown = ["--cafile", &trust, "--cert", &certificate, "--key", &key, "-t", "a", "-m", "b"];
    let said = in_vain(&[&["pub", "-L", &mqtt][..], &shown].concat());
    assert!(said.contains("version-1-cert.pem") && said.contains("it is one of X.509 version 1"), "{said}");
    let port = server.mqtts().to_string();
    let careless = Tool::start("mosquitto_pub", &[&["-p", &port][..], &shown].concat());
    assert!(!careless.end().0.success());
    server.wait_for_log("the client's certificate: it is one of X.509 version 1; version 3 is needed");
}

const PASSWORD: &str = "correct horse";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("NO_COLOR", "1").env("ROWCAST_PASSWORD", PASSWORD);
    // Of nobody is trusted what the machine happens to trust.
    command.env("SSL_CERT_FILE", Path::new("/nowhere.pem")).env("SSL_CERT_DIR", Path::new("/nowhere"));
    command
}

fn rowcast(arguments: &[&str]) -> Tool {
    Tool::spawn(command(arguments))
}

#[track_caller]
fn well(arguments: &[&str]) -> String {
    let (status, lines) = rowcast(arguments).end();
    assert!(status.success(), "{arguments:?}: {lines:#?}");
    lines.join("\n")
}

#[track_caller]
fn in_vain(arguments: &[&str]) -> String {
    let (status, lines) = rowcast(arguments).end();
    let said = lines.join("\n");
    assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
    said
}

fn addresses(mqtt: u16, http: u16) -> [String; 2] {
    [format!("mqtts://localhost:{mqtt}"), format!("https://localhost:{http}")]
}

/// Both doors come to nothing in the same words.
#[track_caller]
fn refused(server: &Server, trust: &[&str], words: &str) {
    let [mqtt, http] = addresses(server.mqtts(), server.https());
    for arguments in [&["pub", "-L", &mqtt, "-t", "dog/1", "-m", "x"][..], &["get", "--url", &http, "dog/1"]] {
        let said = in_vain(&[arguments, trust].concat());
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
}
