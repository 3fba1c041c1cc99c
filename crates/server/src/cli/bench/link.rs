//! One connection of a load.

use super::wire::{self, Login, Malformed, Packet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A connection to a broker that has been accepted.
pub(super) struct Link {
    stream: TcpStream,
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
    Unreachable(#[source] std::io::Error),
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
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
    pub(super) async fn open(broker: SocketAddr, login: &Login, client_id: &str) -> Result<Link, Broken> {
        let opening = async {
            let stream = TcpStream::connect(broker).await.map_err(Broken::Unreachable)?;
            stream.set_nodelay(true)?;
            let (input, out) = (Vec::new(), Vec::new());
            let mut link = Link { stream, login: login.clone(), input, out, receive_maximum: 0, maximum_qos: 0 };
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
        let interest = if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        if self.stream.ready(interest).await?.is_readable() {
            self.input.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(Broken::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Broken> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.try_write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
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
    }
}

/// How long a broker may take to answer a CONNECT or a SUBSCRIBE.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room for one read. What is left of a packet is at most [`wire::decode`]'s largest.
const READ_BYTES: usize = 16 * 1024;
/// Beyond this, a publisher waits for its socket.
const OUT_BYTES_MAX: usize = 256 * 1024;
