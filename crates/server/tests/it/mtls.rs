//! Certificates of clients: who they are by them, and who gets no further.

use crate::server::{Application, Server, until};
use crate::tls::{Authority, Signed, dial_as, secure};
use crate::wire::{Connect, Version};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, KeyIdMethod, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use std::io::{Read, Write};

#[test]
fn a_certificate_is_who_its_common_name_says() {
    let authority = Authority::new("clients");
    let server = start(&authority, "mtls: { required: true, certificateAuthority: ca.pem }");
    let admin = authority.sign_params(&named("admin"));
    assert_eq!(connect(&server, Some(&admin), None), Some(0));
    assert_eq!(connect(&server, Some(&admin), Some(("admin", PASSWORD))), Some(0));
    let wrong = connect(&server, Some(&admin), Some(("admin", "a guess")));
    assert_eq!(wrong, Some(BAD_PASSWORD), "a wrong password is refused in any case");
}

#[test]
fn whose_certificate_is_not_believed_is_refused_and_the_log_says_why() {
    let authority = Authority::new("clients");
    let application =
        application(&authority, "mtls: { required: true, certificateAuthority: ca.pem, crl: revoked.pem }");
    write_revoked(&application, &authority, &[7]);
    let server = application.start();
    let sign = |change: fn(&mut CertificateParams)| {
        let mut params = named("admin");
        change(&mut params);
        authority.sign_params(&params)
    };
    assert_eq!(connect(&server, Some(&sign(|_| {})), None), Some(0));
    let refuse = |signed: Option<Signed>, why: &str| {
        let before = server.log().matches(why).count();
        assert_eq!(connect(&server, signed.as_ref(), None), None, "{why}");
        until(&format!("the log says {why:?}"), || {
            let log = server.log();
            if log.matches(why).count() > before { Ok(()) } else { Err(log) }
        });
    };
    refuse(None, "the client shows no certificate");
    refuse(Some(sign(|params| params.not_after = date_time_ymd(2020, 1, 1))), "it has expired");
    refuse(Some(sign(|params| params.not_before = date_time_ymd(2090, 1, 1))), "it is not valid yet");
    refuse(Some(sign(|params| params.serial_number = Some(SerialNumber::from(7u64)))), "it is revoked");
    let stranger = Authority::new("strangers").sign_params(&named("admin"));
    refuse(Some(stranger), "it is signed by nobody who is believed here");
    let namesake = Authority::new("clients").sign_params(&named("admin"));
    refuse(Some(namesake), "the client's certificate");
    let nobody = "a user that has no account";
    for name in ["nobody", "admin/x", "#", ""] {
        refuse(Some(authority.sign_params(&named(name))), nobody);
    }
    refuse(Some(sign(|params| params.distinguished_name = DistinguishedName::new())), "has no common name");
}

#[test]
fn a_certificate_that_is_revoked_meanwhile_is_refused_from_then_on() {
    let authority = Authority::new("clients");
    let application =
        application(&authority, "mtls: { required: true, certificateAuthority: ca.pem, crl: revoked.pem }");
    write_revoked(&application, &authority, &[1]);
    let server = application.start();
    let mut params = named("admin");
    params.serial_number = Some(SerialNumber::from(2u64));
    let admin = authority.sign_params(&params);
    assert_eq!(connect(&server, Some(&admin), None), Some(0));
    write_revoked(&application, &authority, &[1, 2]);
    until("the certificate is refused", || match connect(&server, Some(&admin), None) {
        None => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
}

#[test]
fn a_certificate_can_be_a_fixed_user_or_need_a_password() {
    let authority = Authority::new("clients");
    let anyone = authority.sign_params(&named("anyone"));
    let server = start(&authority, "mtls: { user: admin, certificateAuthority: ca.pem }");
    assert_eq!(connect(&server, Some(&anyone), None), Some(0));
    assert_eq!(connect(&server, None, None), Some(NOT_AUTHORIZED), "without one, as at the plain door");
    assert_eq!(connect(&server, None, Some(("admin", PASSWORD))), Some(0));
    let server = start(&authority, "mtls: { user: null, required: true, certificateAuthority: ca.pem }");
    assert_eq!(connect(&server, Some(&anyone), None), Some(NOT_AUTHORIZED), "a password is needed too");
    assert_eq!(connect(&server, Some(&anyone), Some(("admin", "a guess"))), Some(BAD_PASSWORD));
    assert_eq!(connect(&server, Some(&anyone), Some(("admin", PASSWORD))), Some(0));
    assert_eq!(connect(&server, None, Some(("admin", PASSWORD))), None, "a certificate is needed too");
}

#[test]
fn a_certificate_signs_in_to_http_but_not_for_pages_of_others() {
    let authority = Authority::new("clients");
    let server = start(&authority, "mtls: false\nhttp: { mtls: { certificateAuthority: ca.pem } }");
    let admin = authority.sign_params(&named("admin"));
    let status = |signed: Option<&Signed>, header: &str| {
        let mut stream = dial_as(server.https(), "localhost", signed).expect("a connection");
        write!(stream, "GET /dog/ HTTP/1.1\r\nHost: kennel.example\r\n{header}Connection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(status(Some(&admin), ""), "200");
    assert_eq!(status(None, ""), "401");
    assert_eq!(status(Some(&admin), "Origin: https://evil.example\r\n"), "401");
    assert_eq!(status(Some(&authority.sign_params(&named("nobody"))), ""), "");
}

const PASSWORD: &str = "correct horse";
const BAD_PASSWORD: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;

fn application(authority: &Authority, mtls: &str) -> Application {
    let application = secure(Application::dogs().for_real()).with_variable("ROWCAST_ADMIN_PASSWORD", PASSWORD);
    application.write("ca.pem", &authority.pem());
    application.configured(&format!("mqtt:\n  network:\n    {mtls}\n"))
}

fn start(authority: &Authority, mtls: &str) -> Server {
    application(authority, mtls).start()
}

pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write_revoked(application: &Application, authority: &Authority, numbers: &[u64]) {
    let revoked = numbers.iter().map(|&number| RevokedCertParams {
        serial_number: SerialNumber::from(number),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    application.write("revoked.pem", &list.signed_by(&authority.0).expect("a list").pem().expect("PEM"));
}

/// The code CONNECT is answered with; `None`: there is no answer.
fn connect(server: &Server, signed: Option<&Signed>, credentials: Option<(&str, &str)>) -> Option<u8> {
    let mut stream = dial_as(server.mqtts(), "localhost", signed).ok()?;
    let mut connect = Connect::new(Version::V5, "");
    if let Some((user, password)) = credentials {
        connect = connect.with_user(user, password);
    }
    stream.write_all(&connect.bytes()).ok()?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).ok()?;
    assert_eq!(answer[0], 0x20, "a CONNACK");
    Some(answer[3])
}
