//! From an accepted connection to what is served on it: what a proxy says of it and TLS, where the door has them, then
//! MQTT or HTTP.
//!
//! Every step is a task of its own, on the thread that will serve the connection: what a step needed is gone when the
//! next begins, and a plain connection pays nothing for the others.

mod dealing;

use crate::admission::Place;
use crate::audit::{Event, Kind};
use crate::auth::Method;
use crate::config::{ClientCertificates, Config, Listen, TlsFiles};
use crate::http::{self, HttpState};
use crate::mqtt;
use crate::net::proxy::{self, Malformed, ProxyError};
use crate::net::{Accepted, Door, Listener, Room, Stream};
use crate::peer::Peer;
use crate::runtime::{Message, NotWithout, Runtime};
use crate::tls::authority::AuthorityError;
use crate::tls::{self, Proof, Refused, TlsError};
use dealing::whose_turn;
use rowcast_codec::ReasonCode;
use rowcast_core::limits::Limits;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

/// What all doors lead to.
pub struct Entrance {
    /// What is behind those of HTTP.
    pub http: Arc<HttpState>,
    /// What those of MQTT over TLS show.
    mqtt_tls: Option<tls::Server>,
    /// What those of HTTPS show.
    http_tls: Option<tls::Server>,
    /// Whether connections of MQTT begin with a header of the PROXY protocol.
    mqtt_proxied: bool,
    /// `threads.fill`: connections that a thread takes before the next one is given any.
    fill: usize,
    /// How long a client of MQTT may take to the end of its handshake, and again to the end of its CONNECT.
    connect_timeout_ms: AtomicU32,
}

/// What the secure doors that are open show.
#[derive(Clone, Debug)]
pub struct Secure {
    mqtt: Option<tls::Settings>,
    http: Option<tls::Settings>,
}

/// The same, with what is in the files.
pub struct LoadedSecure {
    mqtt: Option<tls::Loaded>,
    http: Option<tls::Loaded>,
}

impl Secure {
    /// As it is configured. Where there are no certificates and there have to be, they are made in `keys`.
    pub fn of(config: &Config, keys: &Path) -> Result<Secure, AuthorityError> {
        let doors = [&config.mqtt.secure_listen, &config.http.secure_listen];
        let mut made = None;
        if config.identities().next().is_none() && doors.into_iter().any(is_open) {
            made = Some(tls::authority::server_files(keys)?);
        }
        let authority = tls::authority::certificate(keys);
        Ok(Secure::with(config, made, Some(&authority)))
    }

    /// As far as it is in files by now: for whoever wants to know whether a start could read them, and makes none.
    pub fn of_files(config: &Config, keys: &Path) -> Secure {
        let authority = Some(tls::authority::certificate(keys)).filter(|path| path.exists());
        Secure::with(config, None, authority.as_deref())
    }

    /// `made`: what is shown where no certificate is configured; `authority`: who signs certificates of clients where
    /// that is not; without it they are not asked for.
    fn with(config: &Config, made: Option<TlsFiles>, authority: Option<&Path>) -> Secure {
        let mut identities: Vec<_> = config.identities().collect();
        if identities.is_empty() {
            identities.extend(made);
        }
        let settings = |clients: &Option<ClientCertificates>, protocols| {
            let mut clients = clients.clone();
            if let Some(asked) = clients.as_mut().filter(|asked| asked.authorities.is_empty()) {
                asked.authorities.extend(authority.map(Path::to_owned));
            }
            let clients = clients.filter(|asked| !asked.authorities.is_empty());
            tls::Settings { identities: identities.clone(), clients, protocols }
        };
        let Config { mqtt, http, .. } = config;
        Secure {
            mqtt: is_open(&mqtt.secure_listen).then(|| settings(&mqtt.client_certificates, &[])),
            http: is_open(&http.secure_listen).then(|| settings(&http.client_certificates, HTTP_PROTOCOLS)),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.mqtt.is_some() || self.http.is_some()
    }

    /// The files it is about.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.mqtt.iter().chain(&self.http).flat_map(tls::Settings::files)
    }

    /// Reads the files.
    pub fn load(self) -> Result<LoadedSecure, TlsError> {
        let Secure { mqtt, http } = self;
        let load = |settings: Option<tls::Settings>| settings.map(tls::Settings::load).transpose();
        Ok(LoadedSecure { mqtt: load(mqtt)?, http: load(http)? })
    }
}

fn is_open(listen: &Listen) -> bool {
    *listen != Listen::Shut
}

/// What is spoken over TLS at the HTTP door.
const HTTP_PROTOCOLS: &[&[u8]] = &[HTTP_2, b"http/1.1"];

impl Entrance {
    /// Leads to HTTP, and to the shard a connection is given to.
    #[must_use]
    pub fn new(http: Arc<HttpState>, secure: LoadedSecure, config: &Config) -> Entrance {
        let LoadedSecure { mqtt, http: https } = secure;
        Entrance {
            http,
            mqtt_tls: mqtt.map(tls::Server::new),
            http_tls: https.map(tls::Server::new),
            mqtt_proxied: config.mqtt.proxy_protocol,
            fill: config.threads.fill,
            connect_timeout_ms: config.mqtt.limits.connect_timeout_ms.into(),
        }
    }

    /// What holds for connections that come from now on. Doors are neither opened nor shut by it.
    pub fn set(&self, secure: LoadedSecure, limits: &Limits) {
        for (server, loaded) in [(&self.mqtt_tls, secure.mqtt), (&self.http_tls, secure.http)] {
            if let (Some(server), Some(loaded)) = (server, loaded) {
                server.set(loaded);
            }
        }
        self.connect_timeout_ms.store(limits.connect_timeout_ms, Ordering::Relaxed);
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms.load(Ordering::Relaxed).into())
    }

    /// The files of all certificates.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.mqtt_tls.iter().chain(&self.http_tls).flat_map(tls::Server::files).collect()
    }

    /// Reads the files of all certificates again.
    pub fn reload_certificates(&self) {
        for tls in self.mqtt_tls.iter().chain(&self.http_tls) {
            match tls.reload() {
                Ok(()) => tracing::info!("the files for TLS changed: what they say holds for new connections"),
                Err(error) => tracing::error!("the files for TLS changed, and all stays as it was: {error}"),
            }
        }
    }

    /// Accepts what comes through a door and serves it on this thread, until it is the turn of another one
    /// (`whose_turn`), which goes on. So a connection never changes threads.
    pub async fn accept(self: Arc<Self>, runtime: Rc<Runtime>, mut listener: Listener, room: Room) {
        let _needed = NotWithout("door");
        let (own, inboxes) = (runtime.index() as usize, &runtime.node().inboxes);
        let count = inboxes[own].connections();
        let mut next = own;
        let accept = listener.accept(room, count, |accepted| {
            self.serve(&runtime, accepted);
            let threads = inboxes.iter().map(|inbox| inbox.load());
            next = whose_turn(own, threads, self.fill, count.ended_of_late());
            if next == own { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        accept.await;
        inboxes[next].push(Message::Accept(Box::new((listener, room))));
    }

    fn serve(self: &Arc<Self>, runtime: &Rc<Runtime>, accepted: Accepted) {
        let Accepted { door, stream, peer } = accepted;
        let (this, runtime) = (Arc::clone(self), Rc::clone(runtime));
        match door {
            Door::Mqtt | Door::Mqtts if self.mqtt_proxied => {
                spawn_local(async move { this.proxied(door, runtime, stream, peer).await });
            }
            Door::Mqtt => {
                if let Some(place) = runtime.admit(&peer) {
                    spawn_local(mqtt::serve(runtime, stream, &peer, place));
                }
            }
            Door::Mqtts => {
                // Handshakes count among the connections from their first byte.
                if let Some(place) = runtime.admit(&peer) {
                    let deadline = Instant::now() + this.connect_timeout();
                    spawn_local(async move { this.mqtts(runtime, stream, peer, place, deadline).await });
                }
            }
            Door::Http => this.http(runtime, stream, peer),
            Door::Https => drop(spawn_local(async move { this.https(runtime, stream, peer).await })),
        }
    }

    /// A connection of MQTT that has to begin with what a proxy says of it. Until it has, it counts among all
    /// connections and among those of no address: the proxy's would soon have too many.
    async fn proxied(&self, door: Door, runtime: Rc<Runtime>, mut stream: Stream, peer: Peer) {
        let Some(place) = runtime.admit_unknown() else { return };
        let deadline = Instant::now() + self.connect_timeout();
        let peer = match timeout_at(deadline, proxy::read(&mut stream)).await {
            Ok(Ok(told)) => peer.through_proxy(told),
            Ok(Err(ProxyError::Malformed(why))) => {
                let hint = if why == Malformed::NoHeader { "; mqtt.network.proxyProtocol asks for one" } else { "" };
                return runtime.turned_away(&peer, None, ReasonCode::MalformedPacket, &format!("{why}{hint}"));
            }
            Ok(Err(why)) => return tracing::debug!(%peer, %why, "a connection ended before it began"),
            Err(_) => {
                let why = "its PROXY header took too long";
                return runtime.turned_away(&peer, None, ReasonCode::KeepAliveTimeout, why);
            }
        };
        drop(place);
        let Some(place) = runtime.admit(&peer) else { return };
        if door == Door::Mqtts {
            self.mqtts(runtime, stream, peer, place, deadline).await;
        } else {
            spawn_local(mqtt::serve(runtime, stream, &peer, place));
        }
    }

    async fn mqtts(&self, runtime: Rc<Runtime>, stream: Stream, peer: Peer, place: Place, deadline: Instant) {
        let Some(tls) = &self.mqtt_tls else { return };
        if let Some((stream, peer)) = shake_hands(&runtime, tls, stream, peer, deadline).await {
            spawn_local(mqtt::serve(runtime, stream, &peer, place));
        }
    }

    async fn https(&self, runtime: Rc<Runtime>, stream: Stream, peer: Peer) {
        let Some(tls) = &self.http_tls else { return };
        let deadline = Instant::now() + self.http.patience().head;
        if let Some((stream, peer)) = shake_hands(&runtime, tls, stream, peer, deadline).await {
            if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
                spawn_local(http::serve_http2(stream, peer, Arc::clone(&self.http)));
            } else {
                self.http(runtime, stream, peer);
            }
        }
    }

    fn http<S>(&self, runtime: Rc<Runtime>, stream: S, peer: Peer)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let over_websocket = move |stream, peer: Peer| {
            if let Some(place) = runtime.admit(&peer) {
                spawn_local(mqtt::serve(runtime, stream, &peer, place));
            }
        };
        spawn_local(http::serve_connection(stream, peer, Arc::clone(&self.http), over_websocket));
    }
}

/// What clients that speak HTTP/2 over TLS ask for (ALPN).
pub const HTTP_2: &[u8] = b"h2";

/// A certificate lets nobody in.
fn refused(runtime: &Runtime, peer: &Peer, user: Option<&str>, why: &str) {
    runtime.turned_away(peer, user, ReasonCode::NotAuthorized, why);
    let event = Event::new(Kind::Refused).from(peer.to_string(), "tls").shown(Method::Certificate).because(why);
    runtime.node().audit.note(match user {
        Some(user) => event.about(user),
        None => event,
    });
}

/// The stream after its handshake, and the peer with what its certificate proved.
async fn shake_hands(
    runtime: &Runtime,
    tls: &tls::Server,
    stream: Stream,
    peer: Peer,
    deadline: Instant,
) -> Option<(Box<TlsStream<Stream>>, Peer)> {
    let (stream, proof) = match timeout_at(deadline, tls.accept(stream)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(Refused::Handshake(why))) => {
            runtime.turned_away(&peer, None, ReasonCode::ProtocolError, &format!("TLS: {why}"));
            return None;
        }
        Ok(Err(Refused::Gone(why))) => {
            tracing::debug!(%peer, %why, "a connection ended in its TLS handshake");
            return None;
        }
        Ok(Err(Refused::Certificate(why))) => {
            refused(runtime, &peer, None, &why);
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            return None;
        }
    };
    if let Proof::User(user) = &proof
        && runtime.node().authenticator.certified(user).is_err()
    {
        let why = "the certificate is for a user that has no account, or one that is shut";
        refused(runtime, &peer, Some(user), why);
        return None;
    }
    // In a place of its own: a task keeps room for each of the hands that what it is given goes through.
    Some((Box::new(stream), peer.proven(proof)))
}
