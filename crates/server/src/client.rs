//! An MQTT client: enough for the commands of this program, and for measuring brokers.
//!
//! One connection, owned by one task. Requests are written at once and answered by events; whoever holds the client
//! calls [`Client::next`] until the event comes. Acknowledging, QoS 2 and keep-alive happen on the way.

mod flight;
mod message;

pub use message::{Message, Properties};

use crate::auth::{ScramClient, ScramError};
use crate::tls::{self, Connector};
use bytes::BytesMut;
use flight::{Answer, Flight};
use rowcast_codec::{
    Ack, Auth, AuthProperties, Connack, Connect, DecodeError, Disconnect, EncodeError, Packet, PacketId, Publish, QoS,
    ReasonCode, Secret, Subscribe, SubscribeFilter, SubscribeProperties, Unsubscribe, UserProperties, Version,
    frame_length,
};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};

/// A connection to a server that said yes.
pub struct Client {
    stream: Box<dyn Stream>,
    version: Version,
    received: BytesMut,
    to_send: BytesMut,
    unflushed: bool,  // Some of it may wait in the stream, to be made secret.
    encoded: Vec<u8>, // A buffer for one packet, kept.
    flight: Flight,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    pinged: Option<Instant>, // Not answered yet.
}

/// Where a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A host name or address, and a port.
    Tcp(String, u16),
    /// The same, over TLS.
    Tls(String, u16, Connector),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What the server said to CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// An old session goes on.
    pub session_present: bool,
    /// The client identifier the server chose, if it did.
    pub assigned_client_id: Option<String>,
    /// How many QoS 1 and 2 publishes may wait for acknowledgement.
    pub receive_maximum: u16,
    /// The highest QoS the server takes.
    pub maximum_qos: QoS,
    /// The largest packet the server takes, in bytes.
    pub maximum_packet_size: u32,
}

/// Something the server sent.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A message for a subscription. It is acknowledged already.
    Message(Message),
    /// A QoS 1 or 2 publish is done with; whether it was refused is in the reason.
    Published(PacketId, Verdict),
    /// A SUBSCRIBE is answered, filter by filter, and maybe with words for people to read.
    Subscribed(PacketId, Vec<ReasonCode>, Option<String>),
    /// An UNSUBSCRIBE is answered, filter by filter; before MQTT 5 without reasons.
    Unsubscribed(PacketId, Vec<ReasonCode>),
    /// The server is there.
    Pong,
}

/// A reason code and, maybe, words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The code.
    pub reason: ReasonCode,
    /// For people to read.
    pub words: Option<String>,
}

/// Why a connection is none, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the name is unknown.
    #[error("cannot reach {target}: {}", tls::words(.error))]
    Unreachable {
        /// Where.
        target: Target,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The server does not want us.
    #[error("the server refuses the connection: {0}")]
    Refused(Verdict),
    /// The server ended the connection, and said so.
    #[error("the server ended the connection: {0}")]
    Ended(Verdict),
    /// The connection broke.
    #[error("the connection is lost: {}", tls::words(.0))]
    Lost(#[from] std::io::Error),
    /// The server sent what is no packet.
    #[error("the server sent something malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The server sent a packet that has no place here.
    #[error("the server sent an unexpected {0}")]
    Unexpected(&'static str),
    /// The server does not sign in the client as agreed.
    #[error("cannot sign in: {0}")]
    SignIn(#[from] ScramError),
    /// What was to be sent cannot be.
    #[error("cannot be sent: {0}")]
    Unsendable(#[from] EncodeError),
}

/// What bytes go through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// Connects. `patience` is how long that may take.
    pub async fn connect(
        target: &Target,
        connect: Connect<'_>,
        patience: Duration,
    ) -> Result<(Client, Welcome), ClientError> {
        timeout(patience, Client::connect_at_leisure(target, connect, None))
            .await
            .unwrap_or(Err(ClientError::Timeout(patience)))
    }

    /// Connects, and proves by `exchange` that it knows a password; `connect` has its method and first message.
    pub async fn connect_by_proof(
        target: &Target,
        connect: Connect<'_>,
        exchange: ScramClient,
        patience: Duration,
    ) -> Result<(Client, Welcome), ClientError> {
        timeout(patience, Client::connect_at_leisure(target, connect, Some(exchange)))
            .await
            .unwrap_or(Err(ClientError::Timeout(patience)))
    }

    async fn connect_at_leisure(
        target: &Target,
        connect: Connect<'_>,
        exchange: Option<ScramClient>,
    ) -> Result<(Client, Welcome), ClientError> {
        let unreachable = |error| ClientError::Unreachable { target: target.clone(), error };
        let stream: Box<dyn Stream> = match target {
            Target::Tcp(host, port) => Box::new(dial(host, *port).await.map_err(unreachable)?),
            Target::Tls(host, port, connector) => {
                let stream = dial(host, *port).await.map_err(unreachable)?;
                Box::new(connector.connect(host, stream).await.map_err(unreachable)?)
            }
            Target::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(unreachable)?),
        };
        let mut client = Client {
            stream,
            version: connect.version,
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            unflushed: false,
            encoded: Vec::new(),
            flight: Flight::new(u16::MAX),
            keep_alive: seconds(connect.keep_alive_secs),
            last_sent: Instant::now(),
            pinged: None,
        };
        client.send(&Packet::Connect(Box::new(connect)))?;
        client.flush().await?;
        let frame = match exchange {
            Some(exchange) => client.prove(exchange).await?,
            None => client.frame().await?,
        };
        let welcome = match Packet::decode(client.version, &frame)? {
            Packet::Connack(connack) if connack.reason.is_error() => {
                let words = connack.properties.reason_string.map(str::to_owned);
                return Err(ClientError::Refused(Verdict { reason: connack.reason, words }));
            }
            Packet::Connack(connack) => client.welcome(&connack),
            other => return Err(ClientError::Unexpected(other.name())),
        };
        Ok((client, welcome))
    }

    /// Answers the server's challenge; what comes after it is returned. It is CONNACK with a proof that the server knows
    /// the password too, or a refusal.
    async fn prove(&mut self, mut exchange: ScramClient) -> Result<BytesMut, ClientError> {
        let frame = self.frame().await?;
        match Packet::decode(self.version, &frame)? {
            Packet::Auth(auth) => {
                let data = auth.properties.authentication_data.map(|data| data.0).unwrap_or_default();
                let answer = exchange.answer(data)?;
                let properties = AuthProperties {
                    authentication_method: auth.properties.authentication_method,
                    authentication_data: Some(Secret(&answer)),
                    ..AuthProperties::default()
                };
                self.send(&Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties }))?;
            }
            Packet::Connack(connack) if connack.reason.is_error() => return Ok(frame),
            // In without a question: whoever says that does not know the password.
            Packet::Connack(_) => return Err(ScramError::NotTheServer.into()),
            other => return Err(ClientError::Unexpected(other.name())),
        }
        self.flush().await?;
        let frame = self.frame().await?;
        if let Packet::Connack(connack) = Packet::decode(self.version, &frame)?
            && !connack.reason.is_error()
        {
            exchange.finish(connack.properties.authentication_data.map(|data| data.0).unwrap_or_default())?;
        }
        Ok(frame)
    }

    fn welcome(&mut self, connack: &Connack<'_>) -> Welcome {
        let properties = &connack.properties;
        if let Some(secs) = properties.server_keep_alive_secs {
            self.keep_alive = seconds(secs);
        }
        let receive_maximum = properties.receive_maximum.unwrap_or(u16::MAX);
        self.flight = Flight::new(receive_maximum);
        Welcome {
            session_present: connack.session_present,
            assigned_client_id: properties.assigned_client_id.map(str::to_owned),
            receive_maximum,
            maximum_qos: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            maximum_packet_size: properties.maximum_packet_size.unwrap_or(u32::MAX),
        }
    }

    /// How many more QoS 1 and 2 publishes the server takes before it acknowledges one.
    #[must_use]
    pub fn room(&self) -> usize {
        self.flight.room()
    }

    /// How many QoS 1 and 2 publishes are not done with.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Publishes; the packet identifier is given here, and comes back with [`Event::Published`] if the QoS is 1 or 2.
    /// What the socket does not take at once is sent while waiting for the next event, or by [`flush`](Client::flush).
    ///
    /// # Panics
    /// If there is no [`room`](Client::room).
    pub fn publish(&mut self, mut publish: Publish<'_>) -> Result<Option<PacketId>, ClientError> {
        publish.packet_id = match publish.qos {
            QoS::AtMostOnce => None,
            qos => Some(self.flight.begin(qos)),
        };
        let id = publish.packet_id;
        let sent = self.send(&Packet::Publish(publish));
        if let (Err(_), Some(id)) = (&sent, id) {
            self.flight.forget(id);
        }
        sent.map(|()| id)
    }

    /// Asks for messages; [`Event::Subscribed`] answers.
    pub fn subscribe(
        &mut self,
        filters: &[SubscribeFilter<'_>],
        properties: SubscribeProperties<'_>,
    ) -> Result<PacketId, ClientError> {
        let packet_id = self.flight.next_id();
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: filters.into() }))?;
        Ok(packet_id)
    }

    /// Asks for messages no more; [`Event::Unsubscribed`] answers.
    pub fn unsubscribe(
        &mut self,
        filters: &[&str],
        user_properties: UserProperties<'_>,
    ) -> Result<PacketId, ClientError> {
        let packet_id = self.flight.next_id();
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters: filters.into() }))?;
        Ok(packet_id)
    }

    /// Asks whether the server is there; [`Event::Pong`] answers. Keeping the connection alive needs no asking.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.send(&Packet::Pingreq)?;
        self.pinged = Some(Instant::now());
        Ok(())
    }

    /// Ends the connection.
    pub async fn disconnect(mut self, disconnect: Disconnect<'_>) -> Result<(), ClientError> {
        self.send(&Packet::Disconnect(disconnect))?;
        self.flush().await?;
        self.stream.shutdown().await?;
        // The server closes too. Closing with something unread would reset the connection, and what we said last
        // might be lost with it.
        let ended = async { while self.stream.read_buf(&mut self.received).await.is_ok_and(|read| read > 0) {} };
        let _ = timeout(LINGER, ended).await;
        Ok(())
    }

    /// Hands everything that was sent to the socket.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while !self.to_send.is_empty() {
            self.stream.write_buf(&mut self.to_send).await?;
        }
        self.stream.flush().await?;
        self.unflushed = false;
        Ok(())
    }

    /// Whether the next event is here already, so that waiting for it takes no time.
    #[must_use]
    pub fn has_received(&self) -> bool {
        matches!(frame_length(&self.received, u32::MAX), Ok(Some(length)) if length <= self.received.len())
    }

    /// The next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            let frame = self.frame().await?;
            if let Some(event) = self.on_packet(Packet::decode(self.version, &frame)?)? {
                return Ok(event);
            }
        }
    }

    fn on_packet(&mut self, packet: Packet<'_>) -> Result<Option<Event>, ClientError> {
        match packet {
            Packet::Publish(publish) => self.on_publish(&publish),
            Packet::Puback(ack) | Packet::Pubcomp(ack) => {
                let known = self.flight.acknowledged(ack.packet_id).is_some();
                Ok(known.then(|| Event::Published(ack.packet_id, Verdict::of(&ack))))
            }
            Packet::Pubrec(ack) => self.on_pubrec(&ack),
            Packet::Pubrel(ack) => {
                self.flight.released(ack.packet_id);
                self.send(&Packet::Pubcomp(Ack::new(ack.packet_id, ReasonCode::Success)))?;
                Ok(None)
            }
            Packet::Suback(suback) => {
                let words = suback.properties.reason_string.map(str::to_owned);
                Ok(Some(Event::Subscribed(suback.packet_id, suback.reasons.iter().collect(), words)))
            }
            Packet::Unsuback(unsuback) => {
                Ok(Some(Event::Unsubscribed(unsuback.packet_id, unsuback.reasons.iter().collect())))
            }
            Packet::Pingresp => {
                let asked_for = self.pinged.take().is_some();
                Ok(asked_for.then_some(Event::Pong))
            }
            Packet::Disconnect(disconnect) => {
                let words = disconnect.properties.reason_string.map(str::to_owned);
                Err(ClientError::Ended(Verdict { reason: disconnect.reason, words }))
            }
            other => Err(ClientError::Unexpected(other.name())),
        }
    }

    fn on_publish(&mut self, publish: &Publish<'_>) -> Result<Option<Event>, ClientError> {
        if let Some(id) = publish.packet_id {
            let (answer, is_new) = match publish.qos {
                QoS::ExactlyOnce => (Packet::Pubrec(Ack::new(id, ReasonCode::Success)), self.flight.received(id)),
                _ => (Packet::Puback(Ack::new(id, ReasonCode::Success)), true),
            };
            self.send(&answer)?;
            if !is_new {
                return Ok(None);
            }
        }
        Ok(Some(Event::Message(Message::of(publish))))
    }

    fn on_pubrec(&mut self, ack: &Ack<'_>) -> Result<Option<Event>, ClientError> {
        if ack.reason.is_error() {
            let known = self.flight.acknowledged(ack.packet_id).is_some();
            return Ok(known.then(|| Event::Published(ack.packet_id, Verdict::of(ack))));
        }
        let reason = match self.flight.pubrec(ack.packet_id) {
            Answer::Release => ReasonCode::Success,
            Answer::Unknown => ReasonCode::PacketIdentifierNotFound,
        };
        self.send(&Packet::Pubrel(Ack::new(ack.packet_id, reason)))?;
        Ok(None)
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        self.encoded.clear();
        packet.encode(self.version, &mut self.encoded)?;
        self.to_send.extend_from_slice(&self.encoded);
        self.last_sent = Instant::now();
        Ok(())
    }

    /// The bytes of the next packet. Sends meanwhile what is to be sent, and PINGREQ when it is time.
    async fn frame(&mut self) -> Result<BytesMut, ClientError> {
        loop {
            if let Some(length) = frame_length(&self.received, u32::MAX)?
                && length <= self.received.len()
            {
                return Ok(self.received.split_to(length));
            }
            if let Some(deadline) = self.deadline() {
                match timeout_at(deadline, self.transfer()).await {
                    Ok(transferred) => transferred?,
                    Err(_) => self.on_deadline()?,
                }
            } else {
                self.transfer().await?;
            }
        }
    }

    /// Reads or writes some bytes, whichever is possible first. Dropping the future loses nothing.
    async fn transfer(&mut self) -> Result<(), ClientError> {
        let (mut reading, mut writing) = tokio::io::split(&mut self.stream);
        let (to_send, unflushed) = (&mut self.to_send, &mut self.unflushed);
        let writes = !to_send.is_empty() || *unflushed;
        let write = async {
            if to_send.is_empty() {
                writing.flush().await?;
                *unflushed = false;
            } else {
                writing.write_buf(to_send).await?;
                *unflushed = true;
            }
            Ok::<_, ClientError>(())
        };
        let read = tokio::select! {
            read = reading.read_buf(&mut self.received) => read?,
            written = write, if writes => return written,
        };
        match read {
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive?;
        Some(self.pinged.unwrap_or(self.last_sent) + keep_alive)
    }

    fn on_deadline(&mut self) -> Result<(), ClientError> {
        match (self.pinged, self.keep_alive) {
            (Some(_), Some(keep_alive)) => Err(ClientError::Timeout(keep_alive)),
            _ => self.ping(),
        }
    }
}

async fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Fails on a socket that is gone, which reading will say better.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl Verdict {
    fn of(ack: &Ack<'_>) -> Verdict {
        Verdict { reason: ack.reason, words: ack.properties.reason_string.map(str::to_owned) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "{} (0x{:02X}): {words}", self.reason, u8::from(self.reason)),
            None => write!(f, "{} (0x{:02X})", self.reason, u8::from(self.reason)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(host, port) | Target::Tls(host, port, _) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Target::Tcp(host, port) | Target::Tls(host, port, _) => write!(f, "{host}:{port}"),
            Target::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("version", &self.version).field("flight", &self.flight).finish_non_exhaustive()
    }
}

/// How long a server may take to close.
const LINGER: Duration = Duration::from_secs(1);

fn seconds(secs: u16) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_codec::{ConnackProperties, ConnectProperties, DisconnectProperties, PublishProperties, Suback};
    use tokio::net::TcpListener;

    /// The other side of a conversation: what it expects and says, packet by packet.
    struct Server {
        stream: TcpStream,
        version: Version,
        received: BytesMut,
    }

    impl Server {
        async fn expect(&mut self, check: impl FnOnce(Packet<'_>)) {
            let length = loop {
                match frame_length(&self.received, u32::MAX).expect("a packet") {
                    Some(length) if length <= self.received.len() => break length,
                    _ => assert_ne!(self.stream.read_buf(&mut self.received).await.expect("bytes"), 0, "the end"),
                }
            };
            let frame = self.received.split_to(length);
            check(Packet::decode(self.version, &frame).expect("a packet"));
        }

        async fn say(&mut self, packet: Packet<'_>) {
            let mut bytes = Vec::new();
            packet.encode(self.version, &mut bytes).expect("encodes");
            self.stream.write_all(&bytes).await.expect("written");
        }

        async fn welcome(&mut self) {
            self.expect(|packet| assert_eq!(packet.name(), "CONNECT")).await;
            let properties = ConnackProperties {
                assigned_client_id: Some("auto-1").filter(|_| self.version == Version::V5),
                receive_maximum: Some(2).filter(|_| self.version == Version::V5),
                ..ConnackProperties::default()
            };
            self.say(Packet::Connack(Connack { session_present: false, reason: ReasonCode::Success, properties }))
                .await;
        }
    }

    /// Runs both sides of a conversation until both are through.
    fn converse(
        version: Version,
        keep_alive_secs: u16,
        server: impl AsyncFnOnce(Server),
        client: impl AsyncFnOnce(Result<(Client, Welcome), ClientError>),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let target = Target::Tcp("127.0.0.1".to_owned(), listener.local_addr().expect("bound").port());
            let serving = async {
                let (stream, _) = listener.accept().await.expect("a client");
                server(Server { stream, version, received: BytesMut::new() }).await;
            };
            let connect = Connect {
                version,
                is_bridge: false,
                clean_start: true,
                keep_alive_secs,
                client_id: "c1",
                will: None,
                username: None,
                password: None,
                properties: ConnectProperties::default(),
            };
            let asking = async { client(Client::connect(&target, connect, Duration::from_secs(10)).await).await };
            timeout(Duration::from_secs(20), async { tokio::join!(serving, asking) }).await.expect("an end");
        });
    }

    fn id(number: u16) -> PacketId {
        PacketId::new(number).expect("not zero")
    }

    #[test]
    fn publishing_waits_for_every_step() {
        for version in [Version::V311, Version::V5] {
            converse(
                version,
                0,
                async |mut server| {
                    server.welcome().await;
                    server.expect(|packet| assert_eq!(packet.name(), "PUBLISH")).await;
                    server
                        .expect(|packet| match packet {
                            Packet::Publish(publish) => {
                                assert_eq!(
                                    (publish.topic, publish.payload, publish.retain),
                                    ("dog/1", &b"{}"[..], true)
                                );
                                assert_eq!(publish.packet_id, Some(id(1)));
                            }
                            other => panic!("{other:?}"),
                        })
                        .await;
                    server.expect(|packet| assert_eq!(packet.name(), "PUBLISH")).await;
                    server.say(Packet::Pubrec(Ack::new(id(2), ReasonCode::Success))).await;
                    server.say(Packet::Puback(Ack::new(id(1), ReasonCode::Success))).await;
                    server
                        .expect(|packet| assert_eq!(packet, Packet::Pubrel(Ack::new(id(2), ReasonCode::Success))))
                        .await;
                    server.say(Packet::Pubcomp(Ack::new(id(2), ReasonCode::Success))).await;
                    server.expect(|packet| assert_eq!(packet.name(), "DISCONNECT")).await;
                },
                async |connected| {
                    let (mut client, welcome) = connected.expect("connected");
                    assert_eq!(welcome.assigned_client_id.is_some(), version == Version::V5);
                    let message = Publish { topic: "dog/1", payload: b"{}", retain: true, ..Publish::default() };
                    assert_eq!(client.publish(message.clone()).expect("sent"), None);
                    let at_least_once = Publish { qos: QoS::AtLeastOnce, ..message.clone() };
                    assert_eq!(client.publish(at_least_once).expect("sent"), Some(id(1)));
                    client.publish(Publish { qos: QoS::ExactlyOnce, ..message }).expect("sent");
                    assert_eq!(client.room() == 0, version == Version::V5, "Receive Maximum is 2");
                    for expected in [1, 2] {
                        match client.next().await.expect("an event") {
                            Event::Published(found, verdict) => {
                                assert_eq!((found, verdict.reason), (id(expected), ReasonCode::Success));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    assert_eq!(client.in_flight(), 0);
                    client.disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)).await.expect("said");
                },
            );
        }
    }

    #[test]
    fn messages_are_acknowledged_and_qos_2_comes_once() {
        converse(
            Version::V5,
            0,
            async |mut server| {
                server.welcome().await;
                server.expect(|packet| assert_eq!(packet.name(), "SUBSCRIBE")).await;
                let reasons = [ReasonCode::GrantedQoS2, ReasonCode::NotAuthorized];
                let properties = rowcast_codec::AckProperties { reason_string: Some("no cats"), ..Default::default() };
                server
                    .say(Packet::Suback(Suback { packet_id: id(1), properties, reasons: (&reasons[..]).into() }))
                    .await;
                let properties = PublishProperties { content_type: Some("text/plain"), ..PublishProperties::default() };
                let message = Publish { topic: "dog/1", payload: b"sits", properties, ..Publish::default() };
                server.say(Packet::Publish(message.clone())).await;
                let exactly_once = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(7)), ..message.clone() };
                server.say(Packet::Publish(exactly_once.clone())).await;
                server.say(Packet::Publish(Publish { dup: true, ..exactly_once })).await;
                for _ in 0..2 {
                    server.expect(|packet| assert_eq!(packet.name(), "PUBREC")).await;
                }
                server.say(Packet::Pubrel(Ack::new(id(7), ReasonCode::Success))).await;
                server.expect(|packet| assert_eq!(packet.name(), "PUBCOMP")).await;
                server.say(Packet::Publish(Publish { qos: QoS::AtLeastOnce, packet_id: Some(id(7)), ..message })).await;
                server.expect(|packet| assert_eq!(packet.name(), "PUBACK")).await;
                let properties = DisconnectProperties { reason_string: Some("good night"), ..Default::default() };
                server.say(Packet::Disconnect(Disconnect { reason: ReasonCode::ServerShuttingDown, properties })).await;
            },
            async |connected| {
                let (mut client, _) = connected.expect("connected");
                let filters = ["dog/#", "cat/#"].map(|filter| SubscribeFilter { filter, options: Default::default() });
                client.subscribe(&filters, SubscribeProperties::default()).expect("sent");
                let reasons = vec![ReasonCode::GrantedQoS2, ReasonCode::NotAuthorized];
                let answer = Event::Subscribed(id(1), reasons, Some("no cats".to_owned()));
                assert_eq!(client.next().await.expect("an event"), answer);
                for qos in [QoS::AtMostOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
                    match client.next().await.expect("an event") {
                        Event::Message(message) => {
                            assert_eq!((message.topic.as_str(), message.qos), ("dog/1", qos));
                            assert_eq!(message.properties.content_type.as_deref(), Some("text/plain"));
                        }
                        other => panic!("{other:?}"),
                    }
                }
                let error = client.next().await.expect_err("the end").to_string();
                assert_eq!(error, "the server ended the connection: Server shutting down (0x8B): good night");
            },
        );
    }

    #[test]
    fn a_refusal_says_why() {
        for (version, expected) in [
            (Version::V5, "the server refuses the connection: Bad User Name or Password (0x86): no"),
            (Version::V311, "the server refuses the connection: Bad User Name or Password (0x86)"),
        ] {
            converse(
                version,
                0,
                async |mut server| {
                    server.expect(|packet| assert_eq!(packet.name(), "CONNECT")).await;
                    let properties = ConnackProperties { reason_string: Some("no"), ..Default::default() };
                    let reason = ReasonCode::BadUserNameOrPassword;
                    server.say(Packet::Connack(Connack { session_present: false, reason, properties })).await;
                },
                async |connected| assert_eq!(connected.expect_err("refused").to_string(), expected),
            );
        }
    }

    #[test]
    fn what_is_no_server_of_mqtt_is_an_error() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "the server sent"),
            (b"\xD0\x00", "the server sent an unexpected PINGRESP"),
            (b"", "the connection is lost"),
        ] {
            converse(
                Version::V5,
                0,
                async |mut server| server.stream.write_all(bytes).await.expect("written"),
                async |connected| {
                    let error = connected.expect_err("no server").to_string();
                    assert!(error.starts_with(expected), "{error}");
                },
            );
        }
    }

    #[test]
    fn silence_is_broken_by_a_ping_and_too_much_of_it_is_the_end() {
        converse(
            Version::V5,
            1,
            async |mut server| {
                server.welcome().await;
                server.expect(|packet| assert_eq!(packet, Packet::Pingreq)).await;
                server.say(Packet::Pingresp).await;
                server.expect(|packet| assert_eq!(packet, Packet::Pingreq)).await;
                assert_eq!(server.stream.read_buf(&mut server.received).await.expect("the end"), 0);
            },
            async |connected| {
                let (mut client, _) = connected.expect("connected");
                assert_eq!(client.next().await.expect("an event"), Event::Pong);
                assert!(matches!(client.next().await, Err(ClientError::Timeout(_))));
            },
        );
    }

    #[test]
    fn nobody_there_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let target = Target::Unix("/nowhere/at/all.sock".into());
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive_secs: 0,
            client_id: "",
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        let connected = runtime.block_on(Client::connect(&target, connect, Duration::from_secs(1)));
        let error = connected.expect_err("nobody there").to_string();
        assert!(error.starts_with("cannot reach /nowhere/at/all.sock: "), "{error}");
    }
}
