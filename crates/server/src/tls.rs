//! TLS: what a server shows of itself, and how a connection gets its secrecy.
//!
//! Versions 1.2 and 1.3, by rustls. Certificates come from files, are read again when the files change, and are made
//! where there are none ([`authority`]).

pub mod authority;
mod identity;

pub use identity::FileError;

use crate::config::TlsFiles;
use identity::{Identities, Identity};
use rustls::ServerConfig;
use rustls::crypto::ring;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What one kind of door shows and asks for. Connections keep what they began with; the next get what is in the files.
pub struct Server {
    settings: Settings,
    current: RwLock<Arc<ServerConfig>>,
}

/// What is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Certificates: the first for whoever asks for no name, or one that none of them has.
    pub identities: Vec<TlsFiles>,
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
    /// Reads the files.
    pub fn new(settings: Settings) -> Result<Server, TlsError> {
        let current = RwLock::new(settings.load()?);
        Ok(Server { settings, current })
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.settings.identities.iter().flat_map(|files| [&files.certificate, &files.private_key])
    }

    /// Reads them again. If they are no use, all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let loaded = self.settings.load()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// The handshake. The caller bounds its time.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(current).accept(stream).await
    }
}

impl Settings {
    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let identities = self.identities.iter().map(Identity::load).collect::<Result<Vec<_>, _>>()?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(Identities(identities)));
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.ticketer = ring::Ticketer::new()?; // Who comes back is known without memory for those who do not.
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What was wrong with a handshake, in words for the log; `None`: the other side just went away.
#[must_use]
pub fn why(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidMessage(_) => "the client does not speak TLS here".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the client ended it: {alert:?}"),
        other => other.to_string(),
    })
}
