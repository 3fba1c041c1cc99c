//! A certificate authority of one's own, for whoever brought no certificate: made at first start, kept beside the data.
//!
//! | file             | what it is                                                                    |
//! |------------------|-------------------------------------------------------------------------------|
//! | `ca.pem`         | the authority's certificate: clients that have it trust this server           |
//! | `ca-key.pem`     | its key, with which certificates for clients can be signed                    |
//! | `server.pem`     | the server's certificate, for `localhost`, the host's name and loopback       |
//! | `server-key.pem` | its key                                                                       |

use super::identity::Validity;
use crate::config::TlsFiles;
use crate::private_file;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("cannot make a certificate: {}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What is in them is not what was written.
    #[error("cannot make a certificate with the authority in {}: {error}; without its files a new one is made", .folder.display())]
    Unusable {
        /// Where.
        folder: PathBuf,
        /// What is wrong.
        error: rcgen::Error,
    },
}

/// Where the authority's certificate is.
#[must_use]
pub fn certificate(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

/// The server's certificate and key in `folder`. What is missing is made, and the certificate is made again when it
/// is about to expire.
pub fn server_files(folder: &Path) -> Result<TlsFiles, AuthorityError> {
    let files =
        TlsFiles { host: None, certificate: folder.join("server.pem"), private_key: folder.join("server-key.pem") };
    let lasts = Validity::read(&files.certificate).is_ok_and(|validity| validity.lasts(RENEWED_BEFORE));
    if lasts && files.private_key.exists() {
        return Ok(files);
    }
    let unusable = |error| AuthorityError::Unusable { folder: folder.to_owned(), error };
    let issuer = authority(folder)?;
    let key = KeyPair::generate().map_err(unusable)?;
    let certificate = server_params().and_then(|params| params.signed_by(&key, &issuer)).map_err(unusable)?;
    write(&files.private_key, &key.serialize_pem())?;
    write(&files.certificate, &certificate.pem())?;
    tracing::info!(
        certificate = %files.certificate.display(),
        authority = %self::certificate(folder).display(),
        "made a certificate for TLS; clients that are given the authority's trust it"
    );
    Ok(files)
}

/// The authority, which is made if it is not there.
fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let unusable = |error| AuthorityError::Unusable { folder: folder.to_owned(), error };
    let (certificate, key) = (certificate(folder), folder.join("ca-key.pem"));
    if certificate.exists() || key.exists() {
        let key = KeyPair::from_pem(&read(&key)?).map_err(unusable)?;
        return Issuer::from_ca_cert_pem(&read(&certificate)?, key).map_err(unusable);
    }
    let pair = KeyPair::generate().map_err(unusable)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "rowcast private authority");
    // Two servers' authorities are told apart by it.
    let number: String = pair.public_key_raw().iter().skip(1).take(8).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::OrganizationalUnitName, number);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = span(AUTHORITY_LASTS);
    let made = params.self_signed(&pair).map_err(unusable)?;
    write(&key, &pair.serialize_pem())?;
    write(&certificate, &made.pem())?;
    Ok(Issuer::new(params, pair))
}

fn server_params() -> Result<CertificateParams, rcgen::Error> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let is_name = !host.is_empty() && host != "localhost";
    if is_name && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
        names.push(host);
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "rowcast server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = span(SERVER_LASTS);
    Ok(params)
}

/// From now on, and a little before, for clocks that are behind.
fn span<T: From<SystemTime>>(lasts: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - DAY).into(), (now + lasts).into())
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|error| AuthorityError::File { path: path.to_owned(), error })
}

fn write(path: &Path, pem: &str) -> Result<(), AuthorityError> {
    private_file::write(path, pem.as_bytes()).map_err(|error| AuthorityError::File { path: path.to_owned(), error })
}

const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_LASTS: Duration = Duration::from_hours(24 * 3650);
/// As long as every client takes a server's certificate to be good.
const SERVER_LASTS: Duration = Duration::from_hours(24 * 820);
/// How long before its end a certificate is replaced, at start.
const RENEWED_BEFORE: Duration = Duration::from_hours(24 * 180);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_made_once_and_are_their_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let files = server_files(&keys).expect("made");
        let first = fs::read(&files.certificate).expect("a certificate");
        assert_eq!(server_files(&keys).expect("found"), files);
        assert_eq!(fs::read(&files.certificate).expect("a certificate"), first);
        for entry in fs::read_dir(&keys).expect("a folder") {
            let mode = entry.expect("a file").metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_lost_certificate_is_made_again_by_the_same_authority() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = server_files(folder.path()).expect("made");
        let authority = fs::read(certificate(folder.path())).expect("an authority");
        let first = fs::read(&files.certificate).expect("a certificate");
        fs::remove_file(&files.certificate).expect("removed");
        server_files(folder.path()).expect("made again");
        assert_ne!(fs::read(&files.certificate).expect("a certificate"), first);
        assert_eq!(fs::read(certificate(folder.path())).expect("an authority"), authority);
    }

    #[test]
    fn half_an_authority_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(certificate(folder.path()), "mine").expect("written");
        let error = server_files(folder.path()).expect_err("no key").to_string();
        assert!(error.contains("ca-key.pem"), "{error}");
        assert_eq!(fs::read_to_string(certificate(folder.path())).expect("still there"), "mine");
    }
}
