//! What must hold for any bytes and any text: checked here on the corpus, and in `fuzz/` on whatever it finds.

use rowcast_codec::{Connect, Framed, Packet, PublishProperties, Topic, TopicFilter, Version, frame_length};

/// Bytes are refused, or they are a packet that encodes to the same packet. Nothing panics.
pub(crate) fn decode(bytes: &[u8]) {
    let length = frame_length(bytes, 1 << 20);
    let frame = match length {
        Ok(Some(length)) if length <= bytes.len() => &bytes[..length],
        _ => bytes,
    };
    let _ = Connect::version_of(frame);
    if let Ok(properties) = PublishProperties::parse_forwarded(bytes) {
        let mut again = Vec::new();
        properties.forwarded(&mut again).expect("what was decoded has a form");
        assert_eq!(PublishProperties::parse_forwarded(&again), Ok(properties));
    }
    for version in [Version::V31, Version::V311, Version::V5] {
        // Taken off the front of all there is, and with a topic that was checked before.
        let topic = match Packet::decode(version, frame) {
            Ok(Packet::Publish(publish)) => publish.topic,
            _ => "known",
        };
        if let Ok(framed) = Framed::load(bytes, 1 << 20) {
            assert_eq!(
                framed.map(|framed| framed.packet_bytes()),
                length.ok().flatten().filter(|&at| at <= bytes.len())
            );
            for known in ["", topic] {
                let decoded = framed.map(|framed| framed.decode(version, known));
                assert_eq!(decoded, framed.map(|_| Packet::decode(version, frame)));
            }
        }
        let Ok(packet) = Packet::decode(version, frame) else { continue };
        assert_eq!(length, Ok(Some(frame.len())), "{packet:?} is framed as it is decoded");
        let mut again = Vec::new();
        packet.encode(version, &mut again).expect("what was decoded has a form");
        assert_eq!(Packet::decode(version, &again), Ok(packet), "{version:?} {frame:02x?}");
        assert!(again.len() <= frame.len(), "no form is shorter than ours");
    }
}

/// A filter is taken apart and matched as a plain reading of MQTT 5 §4.7 and §4.8.2 does.
pub(crate) fn filter(filter: &str, topic: &str) {
    let is_topic = is_text(topic) && !topic.contains(['+', '#']);
    let topic = Topic::new(topic);
    assert_eq!(topic.is_ok(), is_topic, "{topic:?}");
    let parsed = TopicFilter::new(filter);
    let expected = take_apart(filter).filter(|(_, rest)| is_text(filter) && is_text(rest) && is_filter(rest));
    assert_eq!(parsed.ok().map(|parsed| (parsed.share().map(|name| name.as_str()), parsed.filter())), expected);
    if let (Ok(parsed), Ok(topic)) = (parsed, topic) {
        let levels: Vec<&str> = parsed.filter().split('/').collect();
        let hidden = topic.as_str().starts_with('$') && ["+", "#"].contains(&levels[0]);
        let selected = !hidden && selects(&levels, &topic.as_str().split('/').collect::<Vec<_>>());
        assert_eq!(parsed.matches(&topic), selected, "{filter} and {topic}");
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= 65_535 && !text.contains('\0')
}

fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let whole = |level: &str| level.len() == 1 || !level.contains(['+', '#']);
    levels.iter().all(|level| whole(level)) && !levels[..levels.len() - 1].contains(&"#")
}

/// The group, if the filter is shared, and the rest; `None` where it begins as shared and does not go on so.
fn take_apart(filter: &str) -> Option<(Option<&str>, &str)> {
    let levels: Vec<&str> = filter.splitn(3, '/').collect();
    match levels[..] {
        ["$share", name, rest] if !name.is_empty() && !name.contains(['+', '#']) => Some((Some(name), rest)),
        ["$share", _, _] | ["$share", _] => None,
        _ => Some((None, filter)),
    }
}

fn selects(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => selects(filter, topic),
        ([level, filter @ ..], [other, topic @ ..]) => level == other && selects(filter, topic),
        _ => false,
    }
}
