//! One message encoded once for many receivers.
//!
//! Receivers of one message differ in version, QoS and RETAIN, the [`Layout`]; within a layout only the packet
//! identifier and DUP differ. So a frame is encoded for each layout that is needed, and each further receiver costs
//! a copy with two places patched.

use crate::header::Kind;
use crate::writer::Varint;
use crate::{PacketId, QoS, Version};

/// A message as a server has it, ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// A [`Topic`](crate::Topic).
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
    /// Those passed on unaltered, as [`forwarded`](crate::PublishProperties::forwarded) wrote them.
    pub properties: &'a [u8],
    /// What is left of its Message Expiry Interval [MQTT-3.3.2-6].
    pub expiry_secs: Option<u32>,
}

/// What the bytes of a PUBLISH depend on, beside the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The version the receiver speaks.
    pub version: Version,
    /// The QoS it is delivered with.
    pub qos: QoS,
    /// The RETAIN flag it is delivered with.
    pub retain: bool,
}

impl Layout {
    /// How many different layouts there are; MQTT 3.1 and 3.1.1 have the same.
    pub const COUNT: usize = 12;

    /// A number below [`COUNT`](Self::COUNT), the same exactly for layouts whose bytes are the same.
    pub fn index(self) -> usize {
        let version = usize::from(self.version >= Version::V5);
        (version * 3 + self.qos as usize) * 2 + usize::from(self.retain)
    }
}

/// A PUBLISH with a hole for the packet identifier.
///
/// Invariant: `bytes` hold the packet up to `payload_at`, and then either all of its payload or none.
#[derive(Debug, Clone, Default)]
pub struct PublishFrame {
    bytes: Vec<u8>,
    id_at: Option<usize>, // Where the packet identifier goes; QoS 0 has none.
    payload_at: usize,
    payload_bytes: usize,
}

impl PublishFrame {
    /// Encodes a message. `subscription_ids` are sent to MQTT 5 only.
    ///
    /// # Panics
    ///
    /// If the message has no form on the wire: the topic is longer than 65,535 bytes, the packet longer than
    /// 268,435,455, or a subscription identifier larger than that. Topics are checked when made, and messages
    /// bounded well below when they come in.
    pub fn encode(layout: Layout, message: &Message<'_>, subscription_ids: &[u32]) -> Self {
        let mut frame = Self::default();
        frame.encode_into(layout, message, subscription_ids);
        frame
    }

    /// [`encode`](Self::encode) into the allocation of a frame no longer needed.
    pub fn encode_into(&mut self, layout: Layout, message: &Message<'_>, subscription_ids: &[u32]) {
        self.encode_head_into(layout, message, subscription_ids);
        self.bytes.extend_from_slice(message.payload);
    }

    /// Encodes all but the payload, which the caller sends after it as a slice shared by all receivers. Panics as
    /// [`encode`](Self::encode) does.
    pub fn encode_head(layout: Layout, message: &Message<'_>, subscription_ids: &[u32]) -> Self {
        let mut frame = Self::default();
        frame.encode_head_into(layout, message, subscription_ids);
        frame
    }

    /// Appends what the frame holds for one receiver: the packet, or its head if that is all that was encoded.
    /// `id` is there exactly if the layout's QoS is 1 or 2; `dup` only then.
    #[inline]
    pub fn copy_to(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        self.copy(&self.bytes, out, id, dup);
    }

    /// Appends all but the payload for one receiver; otherwise as [`copy_to`](Self::copy_to).
    #[inline]
    pub fn head(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        self.copy(&self.bytes[..self.payload_at], out, id, dup);
    }

    /// Length of the packet in bytes, its payload included. This is what a receiver's Maximum Packet Size counts.
    pub fn len(&self) -> usize {
        self.payload_at + self.payload_bytes
    }

    /// Whether nothing has been encoded yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    fn copy(&self, part: &[u8], out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        debug_assert_eq!(id.is_some(), self.id_at.is_some(), "a packet identifier goes with QoS 1 and 2");
        debug_assert!(!dup || id.is_some(), "QoS 0 is never a duplicate [MQTT-3.3.1-2]");
        let at = out.len();
        out.extend_from_slice(part);
        let copy = &mut out[at..];
        if let (Some(id), Some(id_at)) = (id, self.id_at) {
            copy[id_at..id_at + 2].copy_from_slice(&id.get().to_be_bytes());
            copy[0] |= u8::from(dup) << 3;
        }
    }

    fn encode_head_into(&mut self, layout: Layout, message: &Message<'_>, subscription_ids: &[u32]) {
        let topic_bytes = u16::try_from(message.topic.len()).expect("a topic has at most 65,535 bytes");
        let properties = (layout.version >= Version::V5).then(|| properties_length(message, subscription_ids));
        let id_bytes = if layout.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties_bytes = properties.map_or(0, |length| length.as_bytes().len() + length.value());
        let remaining = 2 + message.topic.len() + id_bytes + properties_bytes + message.payload.len();
        let remaining = varint(remaining);

        let out = &mut self.bytes;
        out.clear();
        out.reserve(1 + remaining.as_bytes().len() + remaining.value());
        out.push((Kind::Publish as u8) << 4 | u8::from(layout.qos) << 1 | u8::from(layout.retain));
        out.extend_from_slice(remaining.as_bytes());
        out.extend_from_slice(&topic_bytes.to_be_bytes());
        out.extend_from_slice(message.topic.as_bytes());
        self.id_at = (id_bytes > 0).then_some(out.len());
        out.extend_from_slice(&[0; 2][..id_bytes]);
        if let Some(length) = properties {
            out.extend_from_slice(length.as_bytes());
            write_properties(out, message, subscription_ids);
        }
        self.payload_at = out.len();
        self.payload_bytes = message.payload.len();
        debug_assert_eq!(self.len(), 1 + remaining.as_bytes().len() + remaining.value());
    }
}

fn properties_length(message: &Message<'_>, subscription_ids: &[u32]) -> Varint {
    let expiry = if message.expiry_secs.is_some() { 5 } else { 0 };
    let ids: usize = subscription_ids.iter().map(|&id| 1 + varint(id as usize).as_bytes().len()).sum();
    varint(message.properties.len() + expiry + ids)
}

fn write_properties(out: &mut Vec<u8>, message: &Message<'_>, subscription_ids: &[u32]) {
    if let Some(secs) = message.expiry_secs {
        out.push(MESSAGE_EXPIRY);
        out.extend_from_slice(&secs.to_be_bytes());
    }
    for &id in subscription_ids {
        out.push(SUBSCRIPTION_ID);
        out.extend_from_slice(varint(id as usize).as_bytes());
    }
    out.extend_from_slice(message.properties);
}

fn varint(value: usize) -> Varint {
    Varint::new(value).expect("a message is bounded below what a variable byte integer can say")
}

const MESSAGE_EXPIRY: u8 = 0x02;
const SUBSCRIPTION_ID: u8 = 0x0B;
