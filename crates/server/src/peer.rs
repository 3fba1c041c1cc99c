//! Who is at the other end of a connection, as far as the network can tell.

use crate::net::proxy::Told;
use crate::tls::Proof;
use rowcast_core::validate::Format;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    origin: Origin,
    ambient: Ambient,
    proof: Proof,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    Tcp(SocketAddr),
    /// A program on this machine.
    Unix,
}

/// How far a connection speaks for who sends through it, from much to little.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ambient {
    /// Where it comes from counts: this machine can be trusted.
    Counts,
    /// Where it comes from proves nothing, since a proxy lets anyone send through its connections. A certificate that
    /// is shown through it is still its client's.
    Proxied,
    /// A browser lets pages of any origin send through its connections, also those that show its certificate.
    /// Only what the client itself says counts.
    Nothing,
}

impl Peer {
    /// At the other end of a TCP connection.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Peer {
        Peer { origin: Origin::Tcp(address), ambient: Ambient::Counts, proof: Proof::Nothing, format: Format::Json }
    }

    /// At the other end of a Unix socket.
    #[must_use]
    pub fn unix() -> Peer {
        Peer { origin: Origin::Unix, ambient: Ambient::Counts, proof: Proof::Nothing, format: Format::Json }
    }

    /// The same, after its certificate was looked at.
    #[must_use]
    pub fn proven(self, proof: Proof) -> Peer {
        Peer { proof, ..self }
    }

    /// What its certificate says, which counts for pages of other origins as little as where it comes from.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        match (&self.proof, self.ambient) {
            (Proof::User(_), Ambient::Nothing) => &Proof::NeedsPassword,
            (proof, _) => proof,
        }
    }

    /// The same, speaking for its client so far and no further.
    #[must_use]
    pub fn speaking_for(self, ambient: Ambient) -> Peer {
        Peer { ambient: self.ambient.max(ambient), ..self }
    }

    /// The same at a door for proxies, after what the proxy told. That is where limits, throttles and the log take its
    /// client to be; where nothing is told, it is the proxy.
    ///
    /// Nobody is trusted there for where they come from. What is told can be anything. That the proxy itself is on this
    /// machine says nothing about whom it serves, and that it has told nothing does not mean it serves nobody: a client
    /// it cannot name is `UNKNOWN`, and whoever reaches the door can say `LOCAL`.
    #[must_use]
    pub fn through_proxy(self, told: Told) -> Peer {
        let peer = self.speaking_for(Ambient::Proxied);
        match told {
            Told::Client(address) => Peer { origin: Origin::Tcp(address), ..peer },
            Told::Nothing => peer,
        }
    }

    /// The same, taking documents in this format unless it asks for another one.
    #[must_use]
    pub fn taking(self, format: Format) -> Peer {
        Peer { format, ..self }
    }

    /// In which format it takes documents, as far as its handshake said.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where it is; through a Unix socket it is on this machine.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        match self.origin {
            Origin::Tcp(address) => address.ip().to_canonical(),
            Origin::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The address its origin speaks for; that of nobody if it speaks for nothing.
    #[must_use]
    pub fn trusted_ip(&self) -> IpAddr {
        match self.ambient {
            Ambient::Counts => self.ip(),
            Ambient::Proxied | Ambient::Nothing => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Tcp(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(f),
            Origin::Unix => f.write_str("a Unix socket"),
        }
    }
}
