//! Certificates of clients: whose are believed, and whom they make their client.

use super::identity::{FileError, certificates};
use super::{TlsError, is_version_1};
use crate::config::{CertificateUser, ClientCertificates};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// What a certificate says about its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// There is none.
    Nothing,
    /// The client is this user.
    User(Arc<str>),
    /// The client may try: it needs a password too.
    NeedsPassword,
}

/// Checks certificates of clients by the files that are configured. A list of revocations has to be from whoever
/// signed the certificate, and not outdated: otherwise nobody is let in, as nobody could say who was shut out.
pub(super) fn verifier(settings: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in &settings.authorities {
        for certificate in certificates(path, WHAT)? {
            let why =
                |error: rustls::Error| FileError::NotPem { what: WHAT, path: path.clone(), why: error.to_string() };
            roots.add(certificate).map_err(why)?;
        }
    }
    let provider = Arc::new(ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(path) = &settings.crl {
        let lists = revocations(path)?;
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    if !settings.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        let path = settings.crl.clone().or_else(|| settings.authorities.first().cloned()).unwrap_or_default();
        FileError::NotPem { what: "what certificates of clients are checked by", path, why: error.to_string() }.into()
    })
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let found = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let what = "a list of revoked certificates (CRL)";
    match found {
        Ok(lists) if lists.iter().any(|list| is_list_of_version_1(list)) => {
            let why = "it is of version 1; version 2 is needed (in OpenSSL: crl_extensions, with \
                 authorityKeyIdentifier=keyid)";
            Err(FileError::NotPem { what, path: path.to_owned(), why: why.to_owned() })
        }
        Ok(lists) if !lists.is_empty() => Ok(lists),
        Ok(_) => Err(FileError::NotPem { what, path: path.to_owned(), why: "there is none".to_owned() }),
        Err(error) => Err(FileError::of(error, path, what)),
    }
}

fn is_list_of_version_1(list: &[u8]) -> bool {
    CertificateRevocationList::from_der(list).is_ok_and(|(_, list)| list.version().is_none())
}

/// Whom a certificate that was found to be good makes its client; `Err` says why nobody.
pub(super) fn proof(settings: &ClientCertificates, shown: Option<&CertificateDer<'_>>) -> Result<Proof, &'static str> {
    let Some(certificate) = shown else { return Ok(Proof::Nothing) };
    match &settings.user {
        CertificateUser::Fixed(user) => Ok(Proof::User(user.as_str().into())),
        CertificateUser::NeedsPassword => Ok(Proof::NeedsPassword),
        CertificateUser::CommonName => {
            let parsed = X509Certificate::from_der(certificate).map_err(|_| "the certificate cannot be read")?.1;
            let mut names = parsed.subject().iter_common_name();
            match (names.next().and_then(|name| name.as_str().ok()), names.next()) {
                (Some(name), None) => Ok(Proof::User(name.into())),
                _ => Err("the certificate has no common name, or several"),
            }
        }
    }
}

impl ClientCertificates {
    /// The files that say who is believed.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.authorities.iter().chain(&self.crl)
    }
}

/// What is wrong with a certificate, for the log.
pub(super) fn why(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::Revoked => "it is revoked".to_owned(),
        CertificateError::UnknownIssuer => "it is signed by nobody who is believed here".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "the list of revocations (mtls.crl) is not from whoever signed it".to_owned()
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list of revocations (mtls.crl) is outdated".to_owned()
        }
        error if is_version_1(error) => {
            "it is one of X.509 version 1; version 3 is needed (in OpenSSL: -extfile, or -addext)".to_owned()
        }
        other => other.to_string(),
    }
}

const WHAT: &str = "a certificate of an authority";
