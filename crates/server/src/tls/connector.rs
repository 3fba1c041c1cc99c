//! TLS as a client: whom a command believes to be the server it means, and what it shows of itself.

use super::anyone::Anyone;
use super::identity::{FileError, certificates, private_key};
use super::{TlsError, clients, is_version_1};
use crate::config::TlsFiles;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes connections secret. Clones are the same one.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

/// Who may answer for a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trusted {
    /// Whom the authorities of this system vouch for.
    System,
    /// Whom the authorities in a file vouch for.
    By(PathBuf),
    /// Whoever answers.
    Anyone,
}

impl Connector {
    /// Reads the files.
    pub fn new(trusted: &Trusted, shown: Option<&TlsFiles>) -> Result<Connector, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match trusted {
            Trusted::System => builder.with_root_certificates(system_roots()),
            Trusted::By(path) => builder.with_root_certificates(roots(path)?),
            Trusted::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        };
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = certificates(&files.certificate, "a certificate")?;
                let shown = builder.with_client_auth_cert(chain, private_key(&files.private_key)?);
                shown.map_err(|error| match error {
                    rustls::Error::InvalidCertificate(error) => {
                        let (path, why) = (files.certificate.clone(), clients::why(&error));
                        FileError::NotPem { what: "a certificate", path, why }.into()
                    }
                    rustls::Error::InconsistentKeys(_) => FileError::Mismatch { files: files.clone() }.into(),
                    other => TlsError::Library(other),
                })?
            }
        };
        Ok(Connector(Arc::new(config)))
    }

    /// The handshake with a server of that name. The caller bounds its time.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(Arc::clone(&self.0)).connect(server_name(host)?, stream).await
    }

    /// The same for whoever carries the bytes.
    pub fn session(&self, host: &str) -> io::Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.0), server_name(host)?).map_err(io::Error::other)
    }
}

impl PartialEq for Connector {
    fn eq(&self, other: &Connector) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Connector {}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// What went wrong with a connection that may be a secret one, for who typed a command.
#[must_use]
pub fn words(error: &io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection without a word".to_owned(),
            _ => error.to_string(),
        };
    };
    match error {
        rustls::Error::InvalidCertificate(error) => format!("the server's certificate {}", fault(error)),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS at this port".to_owned(),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants to see a certificate (--cert and --key)".to_owned()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate),
        ) => format!("the server does not believe the certificate it was shown (--cert): {alert:?}"),
        rustls::Error::AlertReceived(alert) => format!("the server ended the handshake: {alert:?}"),
        other => other.to_string(),
    }
}

/// What is wrong with a server's certificate, after "the server's certificate".
fn fault(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "is signed by nobody who is trusted here. --cafile PATH names whom to \
             trust: a rowcast that made its own certificate has it in its data folder, keys/ca.pem"
            .to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // As `DnsName("kennel.example")`.
            let name = |shown: &String| shown.split(['(', ')']).nth(1).unwrap_or(shown).trim_matches('"').to_owned();
            let names: Vec<String> = presented.iter().map(name).collect();
            let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            format!("is for {names}, and not for {}", expected.to_str())
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        CertificateError::BadSignature => "is not signed by the authority of that name in --cafile".to_owned(),
        error if is_version_1(error) => "is one of X.509 version 1; servers need version 3, which names them as \
             alternative names (in OpenSSL: `-addext subjectAltName=DNS:NAME`)"
            .to_owned(),
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            "is that of an authority, which signs those of servers and is none".to_owned()
        }
        other => format!("is not believed: {other}"),
    }
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let named = ServerName::try_from(host.to_owned());
    named.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} cannot be the name of a server")))
}

fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "a certificate of an authority")? {
        roots.add(certificate).map_err(|error| FileError::NotPem {
            what: "a certificate of an authority",
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// Whom the system trusts. Where it trusts nobody, nobody is believed, and the handshake says so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
