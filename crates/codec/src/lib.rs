//! MQTT on the wire: bytes to packets and back, for protocol levels 3 (3.1), 4 (3.1.1) and 5 (5.0).
//!
//! Packets are views: they borrow the bytes they were decoded from, so that decoding copies nothing and
//! allocates nothing a peer can size. No I/O, no clock, no state: buffering belongs to whoever owns the socket,
//! which asks [`frame_length`] whether a whole packet has arrived and [`Packet::decode`] what it says, or [`Framed`]
//! both.
//! A message for many receivers is encoded once, as a [`PublishFrame`], and copied; one for a single receiver is
//! [`Measured`] and encoded where it goes.
//!
//! The codec serves both ends of a connection. It refuses what no sender may send; which end may send a packet,
//! and when, is the business of whoever holds the connection's state.

mod error;
mod frame;
mod header;
mod packet;
mod packet_id;
mod properties;
mod qos;
mod reader;
mod reason;
mod secret;
#[cfg(test)]
mod testing;
mod topic;
mod version;
mod writer;

pub use error::{DecodeError, EncodeError, TopicError};
pub use frame::{Layout, Measured, Message, PublishFrame};
pub use header::{Framed, frame_length};
pub use packet::{
    Ack, AckProperties, Auth, AuthProperties, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect,
    DisconnectProperties, Filters, Packet, Publish, PublishProperties, ReasonCodes, RetainHandling, Suback, Subscribe,
    SubscribeFilter, SubscribeProperties, Subscribes, SubscriptionOptions, Unsuback, Unsubscribe, Will, WillProperties,
};
pub use packet_id::PacketId;
pub use properties::{SubscriptionIds, UserProperties, UserPropertiesBuf};
pub use qos::QoS;
pub use reason::ReasonCode;
pub use secret::Secret;
pub use topic::{ShareName, Topic, TopicFilter, levels, split_level};
pub use version::Version;
