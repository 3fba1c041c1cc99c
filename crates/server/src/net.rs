//! Doors: sockets that are listened on, and what is accepted through them.

pub mod proxy;
mod room;
mod stream;

pub use room::Room;
pub use stream::{ConnectionCount, Stream, Transport};

use crate::cli::screen::Address;
use crate::config::{Host, Listen};
use crate::peer::Peer;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};

/// What is spoken behind a door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// MQTT.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// HTTP, and MQTT over WebSocket.
    Http,
    /// The same over TLS.
    Https,
}

/// A connection that came through a door.
#[derive(Debug)]
pub struct Accepted {
    /// What its client means to speak.
    pub door: Door,
    /// The connection.
    pub stream: Stream,
    /// The other end.
    pub peer: Peer,
}

/// A socket that connections come through.
#[derive(Debug)]
pub struct Listener {
    door: Door,
    socket: Socket,
    address: Address,
    /// When it was said last that connections wait.
    warned: Option<Instant>,
    /// Goes when nobody listens any more.
    _file: Option<SocketFile>,
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Connections accepted before others on the thread have their turn.
const AT_ONCE: u32 = 16;
/// How long nothing is accepted after the system said it cannot.
const STUCK_WAIT: Duration = Duration::from_millis(100);
/// How often it is said that connections wait: with each that ends and the next that comes they do so anew.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("cannot listen on {address} for {door}: {error}{}", hint(.error))]
    Refused {
        /// Where.
        address: String,
        /// For what.
        door: Door,
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
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it, perhaps another rowcast: choose another one",
        io::ErrorKind::PermissionDenied => "; ports below 1024, and folders of others, need a privilege",
        io::ErrorKind::AlreadyExists => "; it is no socket, so it is left alone: choose another path",
        io::ErrorKind::NotFound => "; its folder has to be there",
        _ => "",
    }
}

/// Opens a door at all addresses that were asked for.
pub fn bind(door: Door, listen: &Listen) -> Result<Vec<Listener>, BindError> {
    match listen {
        Listen::Shut => Ok(Vec::new()),
        Listen::Tcp { host, port } => bind_tcp(door, host, *port),
        Listen::Unix(path) => match open_unix(path) {
            Ok((socket, file)) => Ok(vec![Listener {
                door,
                socket,
                address: Address::Unix(path.clone()),
                warned: None,
                _file: Some(file),
            }]),
            Err(error) => Err(BindError::Refused { address: path.display().to_string(), door, error }),
        },
    }
}

fn bind_tcp(door: Door, host: &Host, port: u16) -> Result<Vec<Listener>, BindError> {
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
    let mut picked = None;
    let mut failed = None;
    for address in addresses {
        // A port that the system picks is picked once.
        let address = SocketAddr::new(address, picked.unwrap_or(port));
        match open_tcp(address) {
            Ok(socket) => {
                let address = socket.local_addr().ok().and_then(|address| address.as_socket()).unwrap_or(address);
                picked = Some(address.port());
                listeners.push(Listener { door, socket, address: Address::Tcp(address), warned: None, _file: None });
            }
            Err(error) => {
                // A machine without IPv6 has only the other one.
                let missing =
                    optional && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
                if !missing {
                    failed = Some(BindError::Refused { address: address.to_string(), door, error });
                }
            }
        }
    }
    match failed {
        Some(failed) => Err(failed),
        None => Ok(listeners),
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // A restart need not wait for old connections to fade.
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // IPv4 has a socket of its own.
    }
    socket.set_nonblocking(true)?;
    // Connections inherit it: frames leave when a turn ends, not when the kernel has gathered enough.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The file of a Unix socket; removed with this, unless it is another one by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the file of a socket stays");
        }
    }
}

/// A socket for its owner only. One that a program left behind when it was killed is replaced; one that somebody
/// listens on is not, and no other file is.
fn open_unix(path: &Path) -> io::Result<(Socket, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if is_listened_on(path)? => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile { path: path.to_owned(), inode: std::fs::symlink_metadata(path)?.ino() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok((socket, file))
}

fn is_listened_on(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true), // Its backlog is full.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

impl Listener {
    /// What comes through it.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts connections and hands each to `accepted`, until that says that enough were. Where there is no more room
    /// for them, those who come wait to be accepted until there is.
    pub async fn accept(
        &mut self,
        room: Room,
        count: &ConnectionCount,
        mut accepted: impl FnMut(Accepted) -> ControlFlow<()>,
    ) {
        let accepting = loop {
            match Accepting::new(&self.socket, &self.address) {
                Ok(accepting) => break accepting,
                Err(error) => self.is_stuck(&error).await,
            }
        };
        let mut at_once = 0;
        loop {
            let (stream, peer) = match accepting.next(count).await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.is_stuck(&error).await;
                    continue;
                }
            };
            let was_last = room.ends_with(stream.as_raw_fd());
            let flow = accepted(Accepted { door: self.door, stream, peer });
            if was_last {
                self.warn(&"the limit of open files leaves no room for more");
                room.again().await;
            }
            if flow.is_break() {
                return;
            }
            at_once += 1;
            if at_once == AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await; // A flood of them is not to hold up those who are there.
            }
        }
    }

    /// The system cannot accept anything now.
    async fn is_stuck(&mut self, error: &io::Error) {
        self.warn(error);
        tokio::time::sleep(STUCK_WAIT).await;
    }

    fn warn(&mut self, why: &dyn std::fmt::Display) {
        if self.warned.is_none_or(|last| last.elapsed() >= BETWEEN_WARNINGS) {
            self.warned = Some(Instant::now());
            tracing::warn!(door = %self.door, %why, "connections wait until others end");
        }
    }
}

/// A listening socket on the thread that waits for it. It is a second handle of the one that goes from thread to thread,
/// which stays whatever becomes of this.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn new(socket: &Socket, address: &Address) -> io::Result<Accepting> {
        let socket = socket.try_clone()?;
        Ok(match address {
            Address::Tcp(_) => Self::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    async fn next(&self, count: &ConnectionCount) -> io::Result<(Stream, Peer)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                (Stream::tcp(stream, count.add()), Peer::tcp(address))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                (Stream::unix(stream, count.add()), Peer::unix())
            }
        })
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Door::Mqtt => "MQTT",
            Door::Mqtts => "MQTT over TLS",
            Door::Http => "HTTP",
            Door::Https => "HTTPS",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_file_is_replaced_only_if_nobody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let (socket, file) = open_unix(&path).expect("a socket");
        assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(open_unix(&path).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        drop(socket);
        std::mem::forget(file); // As after a kill.
        let (socket, file) = open_unix(&path).expect("it was left behind");
        assert!(is_listened_on(&path).expect("it can be asked"));
        drop((socket, file));
        assert!(!path.exists());
        std::fs::write(&path, "notes").expect("written");
        assert_eq!(open_unix(&path).err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "notes");
        let elsewhere = folder.path().join("none/a.sock");
        assert_eq!(open_unix(&elsewhere).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn the_file_of_another_is_not_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let (_socket, file) = open_unix(&path).expect("a socket");
        std::fs::remove_file(&path).expect("removed by somebody");
        let (_other, other_file) = open_unix(&path).expect("another one");
        drop(file);
        assert!(path.exists());
        drop(other_file);
        assert!(!path.exists());
    }

    #[test]
    fn a_connection_does_not_wait_for_more_to_send() {
        let socket = open_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = socket.local_addr().expect("an address");
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.connect(&address).expect("connected");
        let (accepted, _) = socket.accept().expect("accepted");
        assert!(accepted.tcp_nodelay().expect("it can be asked"));
    }
}
