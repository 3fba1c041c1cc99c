//! TLS: what a server shows of itself, and how a connection gets its secrecy; for commands, whom they believe.
//!
//! Versions 1.2 and 1.3, by rustls. Certificates come from files, are read again when the files change, and are made
//! where there are none ([`authority`]).

mod anyone;
pub mod authority;
mod clients;
mod connector;
mod identity;

pub use clients::Proof;
pub use connector::{Connector, Trusted, words};
pub use identity::FileError;

use crate::config::{ClientCertificates, TlsFiles};
use identity::{Identities, Identity};
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::{AlertDescription, ServerConfig};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What one kind of door shows and asks for. Connections keep what they began with; the next get what is in the files.
pub struct Server {
    current: RwLock<Loaded>,
}

/// Settings, and what was in their files.
#[derive(Clone)]
pub struct Loaded {
    settings: Arc<Settings>,
    config: Arc<ServerConfig>,
}

/// What is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Certificates: the first for whoever asks for no name, or one that none of them has.
    pub identities: Vec<TlsFiles>,
    /// What is asked of clients.
    pub clients: Option<ClientCertificates>,
    /// What is spoken over it, for clients that ask (ALPN); none: whatever they ask for.
    pub protocols: &'static [&'static [u8]],
}

/// Why a server cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Files are no use.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The library refused.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl Server {
    /// Shows and asks for that.
    #[must_use]
    pub fn new(loaded: Loaded) -> Server {
        Server { current: RwLock::new(loaded) }
    }

    /// The files that were read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.current().settings.files().cloned().collect()
    }

    /// Reads them again. If they are no use, all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let settings = Settings::clone(&self.current().settings);
        self.set(settings.load()?);
        Ok(())
    }

    /// Shows and asks for that from now on.
    pub fn set(&self, loaded: Loaded) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    fn current(&self) -> Loaded {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handshake, and what it proved. The caller bounds its time.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Proof), Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Loaded { settings, config } = self.current();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let Some(asked) = &settings.clients else { return Ok((stream, Proof::Nothing)) };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let proof = clients::proof(asked, shown).map_err(|why| Refused::Certificate(why.to_owned()))?;
        Ok((stream, proof))
    }
}

impl Settings {
    /// The files it is about.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.identities.iter().flat_map(|files| [&files.certificate, &files.private_key]);
        own.chain(self.clients.iter().flat_map(ClientCertificates::files))
    }

    /// Reads the files.
    pub fn load(self) -> Result<Loaded, TlsError> {
        let identities = self.identities.iter().map(Identity::load).collect::<Result<Vec<_>, _>>()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match &self.clients {
            Some(asked) => builder.with_client_cert_verifier(clients::verifier(asked)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Identities(identities)));
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if self.clients.is_none() {
            // Who comes back is known without memory for those who do not. A client's certificate is looked at again
            // each time: it may be revoked by then.
            config.ticketer = ring::Ticketer::new()?;
            config.send_tls13_tickets = 1;
        }
        Ok(Loaded { settings: Arc::new(self), config: Arc::new(config) })
    }
}

/// Whether a certificate is refused for being one of X.509 version 1, which says too little to go by.
fn is_version_1(error: &rustls::CertificateError) -> bool {
    error.to_string().contains("UnsupportedCertVersion")
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.current().settings).finish_non_exhaustive()
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The client's certificate is not believed, or there is none.
    #[error("{0}")]
    Certificate(String),
    /// The two cannot agree, or the client says why it does not want to.
    #[error("{0}")]
    Handshake(String),
    /// The connection ended, or broke.
    #[error("{0}")]
    Gone(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Refused::Gone(error.to_string());
        };
        match error {
            rustls::Error::InvalidCertificate(error) => {
                Refused::Certificate(format!("the client's certificate: {}", clients::why(error)))
            }
            rustls::Error::NoCertificatesPresented => {
                Refused::Certificate("the client shows no certificate".to_owned())
            }
            rustls::Error::InvalidMessage(_) => Refused::Handshake("the client does not speak TLS here".to_owned()),
            rustls::Error::AlertReceived(alert) => Refused::Handshake(match alert {
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnsupportedCertificate => {
                    format!("the client does not believe this server's certificate ({alert:?})")
                }
                alert => format!("the client ended it ({alert:?})"),
            }),
            rustls::Error::PeerIncompatible(why) => {
                Refused::Handshake(format!("the client offers no TLS that is spoken here ({why:?})"))
            }
            other => Refused::Handshake(other.to_string()),
        }
    }
}
