//! One connection of a load.

use super::wire::{self, Login, Malformed, Packet};
use crate::tls::{Connector, words};
use rustls::ClientConnection;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// The way to a broker.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Tcp(SocketAddr),
    /// With the name that its certificate is to be for.
    Tls(SocketAddr, Connector, String),
    Unix(PathBuf),
}

/// A connection to a broker that has been accepted.
pub(super) struct Link {
    socket: Socket,
    /// What makes it secret.
    session: Option<Box<ClientConnection>>,
    login: Login,
    /// The beginning of a packet.
    input: Vec<u8>,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// Unacknowledged messages the broker takes.
    pub(super) receive_maximum: u16,
    /// The highest QoS the broker takes.
    pub(super) maximum_qos: u8,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("cannot connect")]
    Unreachable(#[source] io::Error),
    #[error("the connection broke: {}", words(.0))]
    Io(#[from] io::Error),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker refuses the connection, code {0}")]
    Refused(u8),
    #[error("the broker ends the connection, code {0:#04x}")]
    Disconnected(u8),
    #[error("the broker refuses the subscription, code {0:#04x}")]
    Unsubscribed(u8),
    #[error("the broker takes at most QoS {0}")]
    LowQos(u8),
    #[error("the broker sent what is not MQTT")]
    Malformed(#[from] Malformed),
    #[error("the broker sent a packet nobody waits for: {0}")]
    Unexpected(&'static str),
    #[error("the connection is up, and not served")]
    Unserved,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
}

impl Link {
    /// The address of a host at which somebody listens.
    pub(super) async fn reach(host: &str, port: u16) -> Result<SocketAddr, Broken> {
        let connecting = async { TcpStream::connect((host, port)).await.and_then(|stream| stream.peer_addr()) };
        let reached = tokio::time::timeout(PATIENCE, connecting).await;
        reached.map_err(|_| Broken::Silent)?.map_err(Broken::Unreachable)
    }

    /// Connects, and waits until the broker has accepted.
    pub(super) async fn open(way: &Way, login: &Login, client_id: &str) -> Result<Link, Broken> {
        let opening = async {
            let socket = Socket::connect(way).await.map_err(Broken::Unreachable)?;
            let session = match way {
                Way::Tls(_, connector, name) => Some(Box::new(connector.session(name)?)),
                _ => None,
            };
            let mut link = Link {
                socket,
                session,
                login: login.clone(),
                input: Vec::new(),
                out: Vec::new(),
                receive_maximum: 0,
                maximum_qos: 0,
            };
            wire::connect(&mut link.out, login, client_id);
            (link.receive_maximum, link.maximum_qos) = link
                .answer(|packet| match packet {
                    Packet::Connack { code: 0, receive_maximum, maximum_qos } => Ok((receive_maximum, maximum_qos)),
                    Packet::Connack { code, .. } => Err(Broken::Refused(code)),
                    _ => Err(Broken::Unexpected("before CONNACK")),
                })
                .await?;
            Ok(link)
        };
        tokio::time::timeout(PATIENCE, opening).await.unwrap_or(Err(Broken::Silent))
    }

    /// Fails if the broker takes no messages of this QoS.
    pub(super) fn check_qos(&self, qos: u8) -> Result<(), Broken> {
        if qos > self.maximum_qos { Err(Broken::LowQos(self.maximum_qos)) } else { Ok(()) }
    }

    /// Subscribes, and waits until that is granted. For what nothing is retained for: that might come before.
    pub(super) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), Broken> {
        wire::subscribe(&mut self.out, self.login.version, filter, qos);
        let granted = self.answer(|packet| match packet {
            Packet::Suback { code } if code < 0x80 => Ok(()),
            Packet::Suback { code } => Err(Broken::Unsubscribed(code)),
            _ => Err(Broken::Unexpected("before SUBACK")),
        });
        tokio::time::timeout(PATIENCE, granted).await.unwrap_or(Err(Broken::Silent))
    }

    /// Sends what waits and waits for one packet; those behind it are taken at the next turn.
    async fn answer<T>(&mut self, take: impl Fn(Packet<'_>) -> Result<T, Broken>) -> Result<T, Broken> {
        loop {
            if let Some((packet, length)) = wire::decode(&self.input, self.login.version)? {
                let taken = take(packet);
                self.input.drain(..length);
                return taken;
            }
            self.exchange().await?;
        }
    }

    /// Sends what waits, and waits for the broker to say something or to take more; shows `on` each packet, with
    /// the buffer to answer into. To be dropped at any time without loss.
    pub(super) async fn turn(
        &mut self,
        mut on: impl FnMut(Packet<'_>, &mut Vec<u8>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if self.input.is_empty() {
            self.exchange().await?;
        }
        let mut used = 0;
        while let Some((packet, length)) = wire::decode(&self.input[used..], self.login.version)? {
            used += length;
            match packet {
                Packet::Disconnect { code } => return Err(Broken::Disconnected(code)),
                packet => on(packet, &mut self.out)?,
            }
        }
        if used == 0 {
            return self.exchange().await;
        }
        self.input.drain(..used);
        self.send()
    }

    /// Sends what can be sent, and reads what there is, when the one or the other is possible.
    async fn exchange(&mut self) -> Result<(), Broken> {
        self.send()?;
        let is_done = self.out.is_empty() && !self.session.as_ref().is_some_and(|session| session.wants_write());
        let interest = if is_done { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        if self.socket.ready(interest).await?.is_readable() {
            self.receive()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Broken> {
        let mut came = [0; READ_BYTES];
        let mut came = match self.socket.try_read(&mut came) {
            Ok(0) => return Err(Broken::Closed),
            Ok(count) => &came[..count],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(session) = &mut self.session else {
            self.input.extend_from_slice(came);
            return Ok(());
        };
        while !came.is_empty() {
            session.read_tls(&mut came)?;
            let state =
                session.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let start = self.input.len();
            self.input.resize(start + state.plaintext_bytes_to_read(), 0);
            session.reader().read_exact(&mut self.input[start..])?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Broken> {
        let mut sent = 0;
        loop {
            let written = match &mut self.session {
                Some(session) => {
                    sent += session.writer().write(&self.out[sent..])?;
                    if !session.wants_write() {
                        break;
                    }
                    session.write_tls(&mut self.socket)
                }
                None if sent == self.out.len() => break,
                None => self.socket.try_write(&self.out[sent..]).inspect(|count| sent += count),
            };
            match written {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// Whether so much waits to be sent that more should not be made.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= OUT_BYTES_MAX
    }

    /// Says goodbye, as far as the broker listens.
    pub(super) fn close(mut self) {
        self.out.extend(wire::DISCONNECT);
        let _ = self.send();
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            let _ = self.send();
        }
    }
}

/// What bytes go through.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn connect(way: &Way) -> io::Result<Socket> {
        match way {
            Way::Tcp(address) | Way::Tls(address, ..) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Way::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Socket::Tcp(stream) => stream.ready(interest).await,
            Socket::Unix(stream) => stream.ready(interest).await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_read(buffer),
            Socket::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a broker may take to answer a CONNECT or a SUBSCRIBE.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room for one read. What is left of a packet is at most [`wire::decode`]'s largest.
const READ_BYTES: usize = 16 * 1024;
/// Beyond this, a publisher waits for its socket.
const OUT_BYTES_MAX: usize = 256 * 1024;
