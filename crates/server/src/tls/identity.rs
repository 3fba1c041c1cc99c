//! A certificate and its key: what a server shows, read from files.

use crate::config::TlsFiles as Files;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Why files are no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{what} cannot be read: {}: {error}", .path.display())]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It has something else in it.
    #[error("{what} is expected in {}, in PEM: {why}", .path.display())]
    NotPem {
        /// What it should be.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key is another one's.
    #[error("the key in {} does not belong to the first certificate in {}", .files.private_key.display(), .files.certificate.display())]
    Mismatch {
        /// Which.
        files: Files,
    },
}

/// A certificate with its key, ready to be shown.
#[derive(Debug)]
pub(super) struct Identity {
    names: Vec<String>,
    shown: Arc<CertifiedKey>,
}

impl Identity {
    pub(super) fn load(files: &Files) -> Result<Identity, FileError> {
        let chain = certificates(&files.certificate, "a certificate")?;
        let key = private_key(&files.private_key)?;
        let unusable = |why: String| FileError::NotPem { what: "a private key", path: files.private_key.clone(), why };
        let key = ring::sign::any_supported_type(&key).map_err(|error| unusable(error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&chain[0]).map_err(|error| FileError::NotPem {
            what: "a certificate",
            path: files.certificate.clone(),
            why: error.to_string(),
        })?;
        if key.public_key().is_some_and(|public| public.as_ref() != certificate.public_key().raw) {
            return Err(FileError::Mismatch { files: files.clone() });
        }
        if !Validity::of(&certificate).holds_now() {
            let path = files.certificate.display();
            tracing::warn!(%path, "the server's certificate has expired, or is not valid yet: clients will refuse it");
        }
        let names = match &files.host {
            Some(host) => vec![host.to_ascii_lowercase()],
            None => names_in(&certificate),
        };
        Ok(Identity { names, shown: Arc::new(CertifiedKey::new(chain, key)) })
    }

    /// Whether it is for the server of that name; `*` stands for its first label.
    fn is_for(&self, server: &str) -> bool {
        let above = server.split_once('.').map(|(_, above)| above);
        self.names
            .iter()
            .any(|name| name == server || (name.strip_prefix("*.").is_some() && name.strip_prefix("*.") == above))
    }
}

/// All that a door can show: the one for the name that a client asks for, or else the first.
#[derive(Debug)]
pub(super) struct Identities(pub(super) Vec<Identity>);

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let found = asked.and_then(|server| self.0.iter().find(|identity| identity.is_for(&server)));
        found.or(self.0.first()).map(|identity| Arc::clone(&identity.shown))
    }
}

/// When a certificate holds, in seconds since 1970.
pub(super) struct Validity {
    from_secs: i64,
    until_secs: i64,
}

impl Validity {
    pub(super) fn read(path: &Path) -> Result<Validity, FileError> {
        let chain = certificates(path, "a certificate")?;
        let parsed = X509Certificate::from_der(&chain[0]);
        parsed.map(|(_, certificate)| Validity::of(&certificate)).map_err(|error| FileError::NotPem {
            what: "a certificate",
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    fn of(certificate: &X509Certificate<'_>) -> Validity {
        let validity = certificate.validity();
        Validity { from_secs: validity.not_before.timestamp(), until_secs: validity.not_after.timestamp() }
    }

    /// Whether it holds now, and for so much longer.
    pub(super) fn lasts(&self, longer: Duration) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        self.from_secs <= now && now + longer.as_secs() as i64 <= self.until_secs
    }

    fn holds_now(&self) -> bool {
        self.lasts(Duration::ZERO)
    }
}

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(FileError::of(PemError::NoItemsFound, path, what)),
        Err(error) => Err(FileError::of(error, path, what)),
    }
}

/// The private key in a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let is_encrypted = std::fs::read_to_string(path).is_ok_and(|text| text.contains("ENCRYPTED"));
        match error {
            PemError::NoItemsFound if is_encrypted => FileError::NotPem {
                what: "a private key",
                path: path.to_owned(),
                why: "it is encrypted, and nobody is there to type its password; \
                      `openssl pkey -in FILE -out PLAIN` takes that off"
                    .to_owned(),
            },
            error => FileError::of(error, path, "a private key"),
        }
    })
}

impl FileError {
    pub(super) fn of(error: PemError, path: &Path, what: &'static str) -> FileError {
        let path = path.to_owned();
        match error {
            PemError::Io(error) => FileError::Unreadable { what, path, error },
            PemError::NoItemsFound => FileError::NotPem { what, path, why: "there is none".to_owned() },
            other => FileError::NotPem { what, path, why: other.to_string() },
        }
    }
}

/// The names of servers that a certificate is for.
fn names_in(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}
