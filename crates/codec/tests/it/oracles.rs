//! Two codecs of others, `mqtt-protocol-core` and `mqtt5-protocol`, read what we write and we read what they write.
//!
//! Where they judge differently, the difference is listed here with the reason we stay. Neither knows MQTT 3.1.

use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use mqtt5_protocol::packet::{FixedHeader, MqttPacket};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use rowcast_codec::{DecodeError, Packet, ReasonCode, Version};

use crate::generate;

/// A codec of others: decodes a packet and encodes what it understood.
struct Oracle {
    name: &'static str,
    again: fn(Version, &[u8]) -> Result<Vec<u8>, String>,
    /// Faults it lets pass.
    misses: fn(&DecodeError) -> bool,
}

const ORACLES: [Oracle; 2] = [
    Oracle {
        name: "mqtt-protocol-core",
        again: again_by_core,
        misses: |fault| {
            matches!(
                fault,
                DecodeError::PacketIdZero { .. }
                    | DecodeError::Nul { .. }
                    | DecodeError::Wildcard { .. }
                    | DecodeError::EmptyTopic { .. }
                    | DecodeError::VarintNotMinimal { .. }
                    | DecodeError::ConnectReservedFlag
                    | DecodeError::WillFlagsWithoutWill
                    | DecodeError::Qos { field: "will" }
                    | DecodeError::ConnackFlags { .. }
                    | DecodeError::SessionPresentInRefusal
                    | DecodeError::NoAuthenticationMethod { .. }
                    | DecodeError::ReservedOptions { .. }
            )
        },
    },
    Oracle {
        name: "mqtt5-protocol",
        again: again_by_mqtt5,
        misses: |fault| {
            matches!(
                fault,
                DecodeError::PacketIdZero { .. }
                    | DecodeError::Wildcard { .. }
                    | DecodeError::EmptyTopic { .. }
                    | DecodeError::VarintNotMinimal { .. }
                    | DecodeError::ProtocolLevel { .. }
                    | DecodeError::SessionPresentInRefusal
                    | DecodeError::NoAuthenticationMethod { .. }
                    | DecodeError::ReasonCode { .. }
                    | DecodeError::PropertyNotAllowed { .. }
                    | DecodeError::PropertyValue { .. }
                    | DecodeError::TopicAliasZero
                    | DecodeError::ReservedOptions { .. }
                    | DecodeError::SubscribeQos
            )
        },
    },
];

/// What we accept and others may refuse.
fn ours_alone(packet: &Packet<'_>) -> bool {
    match packet {
        // MQTT 5 lets a password come without a user name [MQTT-3.1.2-19]. Bridges are no part of the standard.
        Packet::Connect(connect) => connect.is_bridge || connect.password.is_some() && connect.username.is_none(),
        // Bad authentication method is for DISCONNECT too in §2.4, table 2-6, though not in §3.14.2.1.
        Packet::Disconnect(disconnect) => disconnect.reason == ReasonCode::BadAuthenticationMethod,
        // Whether a filter is one is not the decoder's question here.
        Packet::Subscribe(subscribe) => subscribe.filters.iter().any(|entry| is_strange(entry.filter)),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.iter().any(is_strange),
        _ => false,
    }
}

fn is_strange(filter: &str) -> bool {
    rowcast_codec::TopicFilter::new(filter).is_err()
}

proptest! {
    // The same cases each time: a difference to be listed is found by whoever raises their number, not by chance.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4),
        ..ProptestConfig::with_cases(4000)
    })]

    #[test]
    fn others_understand_what_we_encode_as_we_do((version, packet) in version_and_packet()) {
        if ours_alone(&packet) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet of this version");
        for oracle in ORACLES {
            let again = (oracle.again)(version, &bytes);
            let again = again.map_err(|fault| TestCaseError::fail(format!("{}: {fault}: {packet:?}", oracle.name)))?;
            prop_assert_eq!(Packet::decode(version, &again), Ok(packet.clone()), "{}", oracle.name);
        }
    }

    #[test]
    fn others_read_the_same_fields((version, packet) in version_and_packet()) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet of this version");
        if !ours_alone(&packet) {
            check_fields(&packet, &decode_by_mqtt5(version, &bytes).map_err(TestCaseError::fail)?)?;
        }
    }

    #[test]
    fn a_byte_changed_is_judged_alike_but_for_what_is_listed(
        (version, packet) in version_and_packet(),
        at in any::<prop::sample::Index>(),
        change in prop_oneof![any::<u8>(), (0..8_u32).prop_map(|bit| 1_u8 << bit)],
    ) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet of this version");
        let header = bytes.len() - body(&bytes).len();
        if header == bytes.len() {
            return Ok(());
        }
        let at = header + at.index(bytes.len() - header);
        bytes[at] ^= change;
        let ours = Packet::decode(version, &bytes);
        for oracle in ORACLES {
            match (&ours, (oracle.again)(version, &bytes)) {
                (Ok(packet), Ok(again)) => {
                    prop_assert_eq!(Packet::decode(version, &again), Ok(packet.clone()), "{}", oracle.name);
                }
                (Ok(packet), Err(fault)) => {
                    prop_assert!(ours_alone(packet), "{} refuses {bytes:02x?}: {fault}", oracle.name);
                }
                (Err(fault), Ok(_)) => {
                    prop_assert!((oracle.misses)(fault), "{} accepts {bytes:02x?}: {fault}", oracle.name);
                }
                (Err(_), Err(_)) => {}
            }
        }
    }
}

fn version_and_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    select(vec![Version::V311, Version::V5]).prop_flat_map(|version| (Just(version), generate::packet(version)))
}

/// What follows the fixed header.
fn body(bytes: &[u8]) -> &[u8] {
    let length_bytes = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("a whole packet");
    &bytes[1 + length_bytes..]
}

/// The fields by name, for the packets with most of them.
fn check_fields(ours: &Packet<'_>, theirs: &mqtt5_protocol::Packet) -> Result<(), TestCaseError> {
    use mqtt5_protocol::Packet as Theirs;
    match (ours, theirs) {
        (Packet::Connect(ours), Theirs::Connect(theirs)) => {
            prop_assert_eq!(ours.version as u8, theirs.protocol_version);
            prop_assert_eq!(ours.clean_start, theirs.clean_start);
            prop_assert_eq!(ours.keep_alive_secs, theirs.keep_alive);
            prop_assert_eq!(ours.client_id, &theirs.client_id);
            prop_assert_eq!(ours.username, theirs.username.as_deref());
            prop_assert_eq!(ours.password.as_deref(), theirs.password.as_deref());
            let will =
                theirs.will.as_ref().map(|will| (&will.topic[..], &will.payload[..], will.qos as u8, will.retain));
            prop_assert_eq!(
                ours.will.as_ref().map(|will| (will.topic, will.payload, will.qos as u8, will.retain)),
                will
            );
        }
        (Packet::Publish(ours), Theirs::Publish(theirs)) => {
            prop_assert_eq!((ours.dup, ours.qos as u8, ours.retain), (theirs.dup, theirs.qos as u8, theirs.retain));
            prop_assert_eq!(ours.topic, &theirs.topic_name);
            prop_assert_eq!(ours.packet_id.map(|id| id.get()), theirs.packet_id);
            prop_assert_eq!(ours.payload, &theirs.payload[..]);
            prop_assert_eq!(ours.properties.topic_alias, theirs.topic_alias());
            prop_assert_eq!(ours.properties.message_expiry_secs, theirs.message_expiry_interval());
        }
        (Packet::Subscribe(ours), Theirs::Subscribe(theirs)) => {
            prop_assert_eq!(ours.packet_id.get(), theirs.packet_id);
            let ours: Vec<_> = ours
                .filters
                .iter()
                .map(|entry| {
                    let options = entry.options;
                    (entry.filter, options.qos as u8, options.no_local, options.retain_as_published)
                })
                .collect();
            let theirs: Vec<_> = theirs
                .filters
                .iter()
                .map(|entry| {
                    let options = &entry.options;
                    (&entry.filter[..], options.qos as u8, options.no_local, options.retain_as_published)
                })
                .collect();
            prop_assert_eq!(ours, theirs);
        }
        _ => prop_assert_eq!(ours.name(), theirs.packet_type_name()),
    }
    Ok(())
}

fn decode_by_mqtt5(version: Version, bytes: &[u8]) -> Result<mqtt5_protocol::Packet, String> {
    let mut rest = bytes;
    let header = FixedHeader::decode(&mut rest).map_err(|fault| fault.to_string())?;
    let packet =
        mqtt5_protocol::Packet::decode_from_body_with_version(header.packet_type, &header, &mut rest, version as u8)
            .map_err(|fault| fault.to_string())?;
    if rest.is_empty() { Ok(packet) } else { Err(format!("{} bytes left", rest.len())) }
}

fn again_by_mqtt5(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    use mqtt5_protocol::Packet as Theirs;
    let mut out = Vec::new();
    match decode_by_mqtt5(version, bytes)? {
        Theirs::Connect(packet) => packet.encode(&mut out),
        Theirs::ConnAck(packet) => packet.encode(&mut out),
        Theirs::Publish(packet) => packet.encode(&mut out),
        Theirs::PubAck(packet) => packet.encode(&mut out),
        Theirs::PubRec(packet) => packet.encode(&mut out),
        Theirs::PubRel(packet) => packet.encode(&mut out),
        Theirs::PubComp(packet) => packet.encode(&mut out),
        Theirs::Subscribe(packet) => packet.encode(&mut out),
        Theirs::SubAck(packet) => packet.encode(&mut out),
        Theirs::Unsubscribe(packet) => packet.encode(&mut out),
        Theirs::UnsubAck(packet) => packet.encode(&mut out),
        Theirs::PingReq | Theirs::PingResp => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Theirs::Disconnect(packet) => packet.encode(&mut out),
        Theirs::Auth(packet) => packet.encode(&mut out),
    }
    .map_err(|fault| fault.to_string())?;
    Ok(out)
}

fn again_by_core(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (kind, flags, body) = (bytes[0] >> 4, bytes[0] & 0x0F, body(bytes));
    macro_rules! again {
        ($packet:ty) => {
            again!($packet, body)
        };
        ($packet:ty, $($argument:expr),*) => {{
            let (packet, used) = <$packet>::parse($($argument),*).map_err(|fault| format!("{fault:?}"))?;
            if used < body.len() {
                return Err(format!("{} bytes left", body.len() - used));
            }
            packet.to_continuous_buffer()
        }};
    }
    Ok(match (version, kind) {
        (Version::V311, 1) => again!(v3_1_1::Connect),
        (Version::V311, 2) => again!(v3_1_1::Connack),
        (Version::V311, 3) => again!(v3_1_1::Publish, flags, body.into()),
        (Version::V311, 4) => again!(v3_1_1::Puback),
        (Version::V311, 5) => again!(v3_1_1::Pubrec),
        (Version::V311, 6) => again!(v3_1_1::Pubrel),
        (Version::V311, 7) => again!(v3_1_1::Pubcomp),
        (Version::V311, 8) => again!(v3_1_1::Subscribe),
        (Version::V311, 9) => again!(v3_1_1::Suback),
        (Version::V311, 10) => again!(v3_1_1::Unsubscribe),
        (Version::V311, 11) => again!(v3_1_1::Unsuback),
        (Version::V311, 12) => again!(v3_1_1::Pingreq),
        (Version::V311, 13) => again!(v3_1_1::Pingresp),
        (Version::V311, 14) => again!(v3_1_1::Disconnect),
        (Version::V5, 1) => again!(v5_0::Connect),
        (Version::V5, 2) => again!(v5_0::Connack),
        (Version::V5, 3) => again!(v5_0::Publish, flags, body.into()),
        (Version::V5, 4) => again!(v5_0::Puback),
        (Version::V5, 5) => again!(v5_0::Pubrec),
        (Version::V5, 6) => again!(v5_0::Pubrel),
        (Version::V5, 7) => again!(v5_0::Pubcomp),
        (Version::V5, 8) => again!(v5_0::Subscribe),
        (Version::V5, 9) => again!(v5_0::Suback),
        (Version::V5, 10) => again!(v5_0::Unsubscribe),
        (Version::V5, 11) => again!(v5_0::Unsuback),
        (Version::V5, 12) => again!(v5_0::Pingreq),
        (Version::V5, 13) => again!(v5_0::Pingresp),
        (Version::V5, 14) => again!(v5_0::Disconnect),
        (Version::V5, 15) => again!(v5_0::Auth),
        _ => return Err(format!("no packet type {kind} in {version:?}")),
    })
}
