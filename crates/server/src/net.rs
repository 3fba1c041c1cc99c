//! Doors: sockets that are listened on, and what is accepted through them.

use crate::cli::screen::Address;
use crate::config::{Host, Listen};
use crate::runtime::Door;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A socket that connections come through.
pub struct Listener {
    door: Door,
    socket: TcpListener,
    address: SocketAddr,
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long nothing is accepted after the system said it cannot, for want of file descriptors mostly.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("cannot listen on {address} for {door}: {error}{}", hint(.error))]
    Refused {
        /// Where.
        address: String,
        /// For what.
        door: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The name stands for no address.
    #[error("{host} is no address of this machine: {error}")]
    Unknown {
        /// The name.
        host: String,
        /// What the system said.
        error: io::Error,
    },
    /// Unix sockets come later.
    #[error("{door} cannot listen on a Unix socket in this version; give a port")]
    Unix {
        /// For what.
        door: &'static str,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it, perhaps another rowcast: choose another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose another port",
        _ => "",
    }
}

/// Opens a door at all addresses that were asked for.
pub fn bind(door: Door, listen: &Listen) -> Result<Vec<Listener>, BindError> {
    let name = match door {
        Door::Mqtt => "MQTT",
        Door::Http => "HTTP",
    };
    let (host, port) = match listen {
        Listen::Shut => return Ok(Vec::new()),
        Listen::Unix(_) => return Err(BindError::Unix { door: name }),
        Listen::Tcp { host, port } => (host, *port),
    };
    let (addresses, optional): (Vec<IpAddr>, bool) = match host {
        Host::Any => (vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()], true),
        Host::Loopback => (vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], true),
        Host::Named(host) => {
            let found = (host.as_str(), port).to_socket_addrs();
            let found = found.map_err(|error| BindError::Unknown { host: host.clone(), error })?;
            (found.map(|address| address.ip()).collect(), false)
        }
    };
    let mut listeners: Vec<Listener> = Vec::new();
    let mut failed = None;
    for address in addresses {
        // A port that the system picks is picked once.
        let port = listeners.first().map_or(port, |first: &Listener| first.address.port());
        let address = SocketAddr::new(address, port);
        match open(address) {
            Ok(socket) => {
                let address = socket.local_addr().unwrap_or(address);
                listeners.push(Listener { door, socket, address });
            }
            Err(error) => {
                // A machine without IPv6 has only the other one.
                let missing =
                    optional && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
                if !missing {
                    failed = Some(BindError::Refused { address: address.to_string(), door: name, error });
                }
            }
        }
    }
    match failed {
        Some(failed) => Err(failed),
        None => Ok(listeners),
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // A restart need not wait for old connections to fade.
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // IPv4 has a socket of its own.
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listener {
    /// What comes through it.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::Tcp(self.address)
    }

    /// Accepts connections for as long as it is polled, and hands each to `accepted`.
    pub async fn accept(self, mut accepted: impl FnMut(Door, TcpStream, SocketAddr)) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        loop {
            match socket.accept().await {
                Ok((stream, address)) => {
                    // Frames leave when a turn ends, not when the kernel has gathered enough.
                    let prepared = stream.set_nodelay(true).and_then(|()| stream.into_std());
                    match prepared {
                        Ok(stream) => accepted(self.door, stream, address),
                        Err(error) => tracing::debug!(%error, %address, "a connection ended before it began"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; nothing is loosened, waiting a moment");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            }
        }
    }
}
