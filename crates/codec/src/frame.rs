//! One message as a PUBLISH, for one receiver or encoded once for many.
//!
//! Receivers of one message differ in version, QoS and RETAIN, the [`Layout`]; within a layout only the packet
//! identifier and DUP differ. So a frame is encoded for each layout that is needed, and each further receiver costs
//! a copy with two places patched. What is for one alone is encoded where it goes.

use crate::header::Kind;
use crate::writer::Varint;
use crate::{PacketId, QoS, Version};

/// A message as a server has it, ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// A [`Topic`](crate::Topic), or nothing where an alias stands for it.
    pub topic: &'a str,
    /// Sent to MQTT 5 only: stands for the topic, or will from now on (MQTT 5 §3.3.2.3.4).
    pub topic_alias: Option<u16>,
    /// The message itself.
    pub payload: &'a [u8],
    /// Those passed on unaltered, as [`forwarded`](crate::PublishProperties::forwarded) wrote them.
    pub properties: &'a [u8],
    /// A content type that those do not say (MQTT 5 §3.3.2.3.9).
    pub content_type: Option<&'a str>,
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

/// A message in one layout, measured: how long its packet is, before a byte of it is written.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    layout: Layout,
    message: &'a Message<'a>,
    subscription_ids: &'a [u32],
    properties: Option<Varint>, // Their length; MQTT 5 has it.
    remaining: Varint,
}

impl<'a> Measured<'a> {
    /// `subscription_ids` are sent to MQTT 5 only.
    ///
    /// # Panics
    ///
    /// If the message has no form on the wire: the topic is longer than 65,535 bytes, the packet longer than
    /// 268,435,455, or a subscription identifier larger than that. Topics are checked when made, and messages
    /// bounded well below when they come in.
    #[inline]
    pub fn new(layout: Layout, message: &'a Message<'a>, subscription_ids: &'a [u32]) -> Self {
        let properties = (layout.version >= Version::V5).then(|| properties_length(message, subscription_ids));
        let id_bytes = if layout.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties_bytes = properties.map_or(0, |length| length.as_bytes().len() + length.value());
        let remaining = varint(2 + message.topic.len() + id_bytes + properties_bytes + message.payload.len());
        Self { layout, message, subscription_ids, properties, remaining }
    }

    /// Length of the packet in bytes, its payload included. This is what a receiver's Maximum Packet Size counts.
    #[inline]
    pub fn packet_bytes(&self) -> usize {
        1 + self.remaining.as_bytes().len() + self.remaining.value()
    }

    /// Appends the packet. `id` is there exactly if the layout's QoS is 1 or 2; `dup` only then.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        out.reserve(self.packet_bytes());
        self.encode_head(out, id, dup);
        out.extend_from_slice(self.message.payload);
    }

    /// Appends all but the payload, which the caller sends after it as a slice shared by all receivers; otherwise as
    /// [`encode`](Self::encode).
    #[inline]
    pub fn encode_head(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        check_id(self.layout.qos > QoS::AtMostOnce, id, dup);
        let Layout { qos, retain, .. } = self.layout;
        let message = self.message;
        let topic_bytes = u16::try_from(message.topic.len()).expect("a topic has at most 65,535 bytes");
        let mut head = [0; 7];
        let topic_at = self.topic_at();
        head[0] = (Kind::Publish as u8) << 4 | u8::from(dup) << 3 | u8::from(qos) << 1 | u8::from(retain);
        head[1..topic_at - 2].copy_from_slice(self.remaining.as_bytes());
        head[topic_at - 2..topic_at].copy_from_slice(&topic_bytes.to_be_bytes());
        out.extend_from_slice(&head[..topic_at]);
        out.extend_from_slice(message.topic.as_bytes());
        if let Some(id) = id {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        if let Some(length) = &self.properties {
            out.extend_from_slice(length.as_bytes());
            write_properties(out, message, self.subscription_ids);
        }
    }

    /// Where the topic begins, behind its length.
    fn topic_at(&self) -> usize {
        1 + self.remaining.as_bytes().len() + 2
    }

    /// Where the packet identifier begins; QoS 0 has none.
    fn id_at(&self) -> Option<usize> {
        (self.layout.qos > QoS::AtMostOnce).then(|| self.topic_at() + self.message.topic.len())
    }
}

/// A PUBLISH, or all of it but its payload, with a hole for the packet identifier.
#[derive(Debug, Clone, Default)]
pub struct PublishFrame {
    bytes: Vec<u8>,
    id_at: Option<usize>, // Where the packet identifier goes; QoS 0 has none.
    packet_bytes: usize,
}

impl PublishFrame {
    /// Takes a message, in the allocation of one that is no longer needed.
    pub fn encode(&mut self, message: &Measured<'_>) {
        let hole = self.begin(message);
        message.encode(&mut self.bytes, hole, false);
    }

    /// Takes all of a message but the payload, which the caller sends after it as a slice shared by all receivers.
    pub fn encode_head(&mut self, message: &Measured<'_>) {
        let hole = self.begin(message);
        message.encode_head(&mut self.bytes, hole, false);
    }

    /// Returns what stands for the identifier until it is copied.
    fn begin(&mut self, message: &Measured<'_>) -> Option<PacketId> {
        self.bytes.clear();
        self.id_at = message.id_at();
        self.packet_bytes = message.packet_bytes();
        self.id_at.map(|_| PacketId::nth(0))
    }

    /// Appends what was encoded for one receiver. `id` is there exactly if the layout's QoS is 1 or 2; `dup` only then.
    #[inline]
    pub fn copy_to(&self, out: &mut Vec<u8>, id: Option<PacketId>, dup: bool) {
        check_id(self.id_at.is_some(), id, dup);
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        if let (Some(id), Some(id_at)) = (id, self.id_at) {
            let copy = &mut out[at..];
            copy[id_at..id_at + 2].copy_from_slice(&id.get().to_be_bytes());
            copy[0] |= u8::from(dup) << 3;
        }
    }

    /// Length of the packet in bytes, its payload included: [`Measured::packet_bytes`].
    pub fn packet_bytes(&self) -> usize {
        self.packet_bytes
    }
}

fn check_id(has_id: bool, id: Option<PacketId>, dup: bool) {
    debug_assert_eq!(id.is_some(), has_id, "a packet identifier goes with QoS 1 and 2");
    debug_assert!(!dup || has_id, "QoS 0 is never a duplicate [MQTT-3.3.1-2]");
}

#[inline]
fn properties_length(message: &Message<'_>, subscription_ids: &[u32]) -> Varint {
    let expiry = if message.expiry_secs.is_some() { 5 } else { 0 };
    let ids: usize = subscription_ids.iter().map(|&id| 1 + varint(id as usize).as_bytes().len()).sum();
    let alias = if message.topic_alias.is_some() { 3 } else { 0 };
    let content_type = message.content_type.map_or(0, |content_type| 3 + content_type.len());
    varint(message.properties.len() + expiry + alias + ids + content_type)
}

#[inline]
fn write_properties(out: &mut Vec<u8>, message: &Message<'_>, subscription_ids: &[u32]) {
    if let Some(secs) = message.expiry_secs {
        out.push(MESSAGE_EXPIRY);
        out.extend_from_slice(&secs.to_be_bytes());
    }
    if let Some(alias) = message.topic_alias {
        out.push(TOPIC_ALIAS);
        out.extend_from_slice(&alias.to_be_bytes());
    }
    for &id in subscription_ids {
        out.push(SUBSCRIPTION_ID);
        out.extend_from_slice(varint(id as usize).as_bytes());
    }
    if let Some(content_type) = message.content_type {
        let bytes = u16::try_from(content_type.len()).expect("a content type has at most 65,535 bytes");
        out.push(CONTENT_TYPE);
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(content_type.as_bytes());
    }
    out.extend_from_slice(message.properties);
}

fn varint(value: usize) -> Varint {
    Varint::new(value).expect("a message is bounded below what a variable byte integer can say")
}

const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const SUBSCRIPTION_ID: u8 = 0x0B;
const TOPIC_ALIAS: u8 = 0x23;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{VERSIONS, id};
    use crate::{Packet, Publish, PublishProperties, UserPropertiesBuf};

    #[test]
    fn a_frame_is_the_packet_for_every_layout() {
        let mut user_properties = UserPropertiesBuf::new();
        user_properties.push("unit", "celsius").expect("short and plain");
        let sizes = [0, 1, 100, 200, 20_000, 3_000_000];
        for (layout, payload_bytes) in layouts().flat_map(|layout| sizes.map(|size| (layout, size))) {
            let properties = PublishProperties {
                payload_format: Some(1),
                message_expiry_secs: Some(60),
                content_type: Some("text/plain"),
                subscription_ids: (&[1, 128, 268_435_455][..]).into(),
                user_properties: user_properties.as_ref(),
                ..PublishProperties::default()
            };
            check(layout, &vec![b'x'; payload_bytes], &properties);
            check(layout, &vec![b'x'; payload_bytes], &PublishProperties::default());
            for alias in [1, 2] {
                check(layout, b"x", &PublishProperties { topic_alias: Some(alias), ..properties.clone() });
            }
        }
    }

    #[test]
    fn only_the_identifier_and_dup_differ_between_receivers() {
        let layout = Layout { version: Version::V311, qos: QoS::AtLeastOnce, retain: true };
        let message = Message {
            topic: "a",
            topic_alias: None,
            payload: b"xyz",
            properties: b"",
            content_type: None,
            expiry_secs: None,
        };
        let frame = frame(layout, &message, &[]);
        let mut out = Vec::new();
        frame.copy_to(&mut out, Some(id(0x0102)), false);
        frame.copy_to(&mut out, Some(id(0xFFFE)), true);
        assert_eq!(out, b"\x33\x08\0\x01a\x01\x02xyz\x3B\x08\0\x01a\xFF\xFExyz");
    }

    #[test]
    fn a_head_is_all_but_the_payload() {
        for layout in layouts() {
            let message = Message {
                topic: "a/b",
                topic_alias: None,
                payload: &[b'x'; 500],
                properties: b"\x01\x01",
                content_type: None,
                expiry_secs: Some(1),
            };
            let id = (layout.qos > QoS::AtMostOnce).then(|| id(7));
            let dup = id.is_some();
            let measured = Measured::new(layout, &message, &[5]);
            let (mut expected, mut encoded, mut copied) = (Vec::new(), Vec::new(), Vec::new());
            measured.encode(&mut expected, id, dup);
            measured.encode_head(&mut encoded, id, dup);
            let mut frame = PublishFrame::default();
            frame.encode_head(&measured);
            frame.copy_to(&mut copied, id, dup);
            assert_eq!(frame.packet_bytes(), expected.len());
            for mut head in [encoded, copied] {
                head.extend_from_slice(message.payload);
                assert_eq!(head, expected);
            }
        }
    }

    #[test]
    fn a_frame_is_used_again() {
        let large = Message {
            topic: "large",
            topic_alias: None,
            payload: &[b'x'; 500],
            properties: b"",
            content_type: None,
            expiry_secs: None,
        };
        let small = Message {
            topic: "small",
            topic_alias: None,
            payload: b"y",
            properties: b"",
            content_type: None,
            expiry_secs: None,
        };
        let v5 = Layout { version: Version::V5, qos: QoS::ExactlyOnce, retain: true };
        let v311 = Layout { version: Version::V311, qos: QoS::AtMostOnce, retain: false };
        let mut frame = PublishFrame::default();
        frame.encode(&Measured::new(v5, &large, &[1]));
        frame.encode(&Measured::new(v311, &small, &[1]));
        let mut out = Vec::new();
        frame.copy_to(&mut out, None, false);
        assert_eq!(out, b"\x30\x08\0\x05smally");
        assert_eq!(frame.packet_bytes(), out.len());
    }

    #[test]
    fn layouts_are_numbered_by_what_they_look_like() {
        let mut seen = [const { None }; Layout::COUNT];
        let message = Message {
            topic: "a",
            topic_alias: None,
            payload: b"x",
            properties: b"",
            content_type: None,
            expiry_secs: None,
        };
        for layout in layouts() {
            let mut bytes = Vec::new();
            let id = (layout.qos > QoS::AtMostOnce).then(|| id(7));
            frame(layout, &message, &[]).copy_to(&mut bytes, id, false);
            let before = seen[layout.index()].get_or_insert_with(|| bytes.clone());
            assert_eq!(*before, bytes, "{layout:?}");
        }
        assert!(seen.iter().all(Option::is_some));
    }

    #[track_caller]
    fn check(layout: Layout, payload: &[u8], properties: &PublishProperties<'_>) {
        let Layout { version, qos, retain } = layout;
        let packet_id = (qos > QoS::AtMostOnce).then(|| id(0x1234));
        let dup = packet_id.is_some();
        let mut forwarded = Vec::new();
        properties.forwarded(&mut forwarded).expect("short and plain");
        let (topic_alias, expiry_secs) = (properties.topic_alias, properties.message_expiry_secs);
        let topic = if topic_alias == Some(2) { "" } else { "a/b" };
        let message = Message { topic, topic_alias, payload, properties: &forwarded, content_type: None, expiry_secs };
        let ids: Vec<u32> = properties.subscription_ids.iter().collect();
        let frame = frame(layout, &message, &ids);
        let mut out = b"before".to_vec();
        frame.copy_to(&mut out, packet_id, dup);
        let mut alone = b"before".to_vec();
        Measured::new(layout, &message, &ids).encode(&mut alone, packet_id, dup);

        let properties = properties.clone();
        let packet = Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload });
        let mut expected = b"before".to_vec();
        packet.encode(version, &mut expected).expect("it has a form");
        assert!(out == expected, "{layout:?} with {} bytes", payload.len());
        assert!(alone == expected, "{layout:?} with {} bytes, for one", payload.len());
        assert_eq!(frame.packet_bytes(), expected.len() - b"before".len());
    }

    fn frame(layout: Layout, message: &Message<'_>, subscription_ids: &[u32]) -> PublishFrame {
        let mut frame = PublishFrame::default();
        frame.encode(&Measured::new(layout, message, subscription_ids));
        frame
    }

    fn layouts() -> impl Iterator<Item = Layout> {
        VERSIONS.into_iter().flat_map(|version| {
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                .into_iter()
                .flat_map(move |qos| [false, true].into_iter().map(move |retain| Layout { version, qos, retain }))
        })
    }
}
