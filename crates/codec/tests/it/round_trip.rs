//! What is encoded decodes to the same.

use proptest::prelude::*;
use rowcast_codec::{Layout, Measured, Message, Packet, PublishFrame, PublishProperties, frame_length};

use crate::generate;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_packet_decodes_to_itself((version, packet) in generate::version_and_packet()) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet of this version");
        prop_assert_eq!(frame_length(&bytes, u32::MAX), Ok(Some(bytes.len())));
        prop_assert_eq!(&Packet::decode(version, &bytes), &Ok(packet));
    }

    #[test]
    fn a_packet_cut_short_is_not_whole((version, packet) in generate::version_and_packet()) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes).expect("a packet of this version");
        for length in 0..bytes.len().min(200) {
            let whole = frame_length(&bytes[..length], u32::MAX).expect("the beginning of a packet");
            prop_assert!(whole.is_none_or(|whole| whole == bytes.len()));
            prop_assert!(Packet::decode(version, &bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_frame_is_the_packet_the_message_came_in((version, packet) in generate::version_and_packet()) {
        let Packet::Publish(publish) = packet else { return Ok(()) };
        let mut forwarded = Vec::new();
        publish.properties.forwarded(&mut forwarded).expect("properties of a packet");
        let message = Message {
            topic: publish.topic,
            topic_alias: publish.properties.topic_alias,
            payload: publish.payload,
            properties: &forwarded,
            content_type: None,
            expiry_secs: publish.properties.message_expiry_secs,
        };
        let subscription_ids: Vec<u32> = publish.properties.subscription_ids.iter().collect();
        let layout = Layout { version, qos: publish.qos, retain: publish.retain };
        let mut frame = PublishFrame::default();
        frame.encode(&Measured::new(layout, &message, &subscription_ids));
        let mut bytes = Vec::new();
        frame.copy_to(&mut bytes, publish.packet_id, publish.dup);
        prop_assert_eq!(frame.packet_bytes(), bytes.len());

        prop_assert_eq!(Packet::decode(version, &bytes), Ok(Packet::Publish(publish)));
    }

    #[test]
    fn what_is_passed_on_is_read_back((version, packet) in generate::version_and_packet()) {
        let Packet::Publish(publish) = packet else { return Ok(()) };
        let mut wire = Vec::new();
        publish.properties.forwarded(&mut wire).expect("properties of a packet");
        let expected = PublishProperties {
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: Default::default(),
            ..publish.properties
        };
        prop_assert_eq!(PublishProperties::parse_forwarded(&wire), Ok(expected), "{:?}", version);
    }
}
