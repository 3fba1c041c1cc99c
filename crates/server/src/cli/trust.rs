//! How commands know a server over TLS: the flags of mosquitto and curl.

use super::{Usage, YELLOW};
use crate::config::TlsFiles;
use crate::tls::{Connector, Trusted};
use clap::Args;
use std::path::PathBuf;

/// Whom to believe, and what to show.
#[derive(Args, Clone, Default, Debug)]
pub(super) struct Trust {
    /// TLS, with servers that an authority in this file vouches for (PEM); otherwise those of the system
    #[arg(long, value_name = "PATH")]
    cafile: Option<PathBuf>,
    /// A certificate to show the server (PEM)
    #[arg(long, value_name = "PATH", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "PATH", requires = "cert")]
    key: Option<PathBuf>,
    /// TLS with whoever answers: nothing says that it is the server that was meant
    #[arg(long, conflicts_with = "cafile")]
    insecure: bool,
}

impl Trust {
    /// Whether any of it was asked for, so that TLS is meant without saying so.
    pub(super) fn is_given(&self) -> bool {
        self.insecure || self.given().is_some()
    }

    /// Refuses what makes no sense without TLS.
    pub(super) fn refuse_unless_given(&self, instead: &str) -> Result<(), Usage> {
        match self.given() {
            _ if self.insecure => Err(Usage::new(format!("--insecure is for TLS: {instead}"))),
            Some(flag) => Err(Usage::new(format!("{flag} is for TLS: {instead}"))),
            None => Ok(()),
        }
    }

    fn given(&self) -> Option<&'static str> {
        self.cafile.as_ref().map(|_| "--cafile").or(self.cert.as_ref().map(|_| "--cert"))
    }

    /// Reads the files, and warns of trusting anyone.
    pub(super) fn connector(&self) -> anyhow::Result<Connector> {
        let trusted = match &self.cafile {
            Some(path) => Trusted::By(path.clone()),
            None if self.insecure => {
                anstream::eprintln!(
                    "{YELLOW}warning{YELLOW:#}: --insecure: whoever answers is believed to be the server"
                );
                Trusted::Anyone
            }
            None => Trusted::System,
        };
        let shown = self.cert.clone().zip(self.key.clone());
        let shown = shown.map(|(certificate, private_key)| TlsFiles { host: None, certificate, private_key });
        Ok(Connector::new(&trusted, shown.as_ref())?)
    }
}
