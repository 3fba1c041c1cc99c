//! Where commands on this machine, like `rowcast user`, find the node while it runs.

use crate::cli::screen::Address;
use crate::config::Listen;
use crate::net::{Door, Listener, bind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// HTTP for commands on this machine, where the configuration opens no such door without TLS: a socket in the data
/// folder, whose owner may do everything with it anyway. The node does without it if it has to.
pub(super) fn door_for_commands(folder: &Path) -> Vec<Listener> {
    let socket = Listen::Unix(folder.join(COMMANDS));
    bind(Door::Http, &socket).unwrap_or_else(|error| {
        tracing::warn!(%error, "commands like `rowcast user` cannot ask this node while it runs");
        Vec::new()
    })
}

/// The socket in the data folder for commands.
const COMMANDS: &str = "commands.sock";

/// Says so in a file of the data folder, which is gone with the value.
pub(super) struct AskedAt(PathBuf);

impl AskedAt {
    /// Writes down where HTTP without TLS is, as one would connect to it; nothing if it is nowhere.
    pub(super) fn write(folder: &Path, http: Option<&Address>) -> std::io::Result<AskedAt> {
        let path = folder.join(HTTP_ADDRESS);
        match http {
            Some(address) => std::fs::write(&path, reached_at(address))?,
            None => drop(std::fs::remove_file(&path)), // One that was killed may have left it.
        }
        Ok(AskedAt(path))
    }
}

impl Drop for AskedAt {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn reached_at(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}", std::path::absolute(path).as_ref().unwrap_or(path).display()),
        Address::Tcp(address) if address.ip().is_unspecified() => {
            let ip: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(ip, address.port()).to_string()
        }
        Address::Tcp(address) => address.to_string(),
    }
}

/// The file in the data folder that says where a running node's HTTP is.
pub(crate) const HTTP_ADDRESS: &str = "http.address";
