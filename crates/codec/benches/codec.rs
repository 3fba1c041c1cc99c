//! What decoding a packet and sending a message to one more receiver cost, in nanoseconds each.
//!
//! `cargo bench -p rowcast-codec`. The fastest of several rounds is printed: the others were disturbed.

use std::hint::black_box;
use std::time::Instant;

use rowcast_codec::{
    Ack, Framed, Layout, Measured, Message, Packet, PacketId, Publish, PublishFrame, PublishProperties, QoS,
    ReasonCode, UserPropertiesBuf, Version,
};

const TOPIC: &str = "sensors/kitchen/temperature";
const PAYLOAD: &[u8] = &[b'x'; 64];

fn main() {
    let mut user_properties = UserPropertiesBuf::new();
    user_properties.push("unit", "celsius").expect("short and plain");
    let rich = PublishProperties {
        content_type: Some("application/json"),
        message_expiry_secs: Some(60),
        user_properties: user_properties.as_ref(),
        ..PublishProperties::default()
    };
    let plain = PublishProperties::default();

    decode("PUBLISH QoS 0, 3.1.1", Version::V311, publish(QoS::AtMostOnce, &plain));
    decode("PUBLISH QoS 1, 3.1.1", Version::V311, publish(QoS::AtLeastOnce, &plain));
    decode("PUBLISH QoS 1, 5", Version::V5, publish(QoS::AtLeastOnce, &plain));
    decode("PUBLISH QoS 1, 5, three properties", Version::V5, publish(QoS::AtLeastOnce, &rich));
    decode("PUBACK, 5", Version::V5, Packet::Puback(Ack::new(PacketId::nth(7), ReasonCode::Success)));
    encode("PUBLISH QoS 1, 5", Version::V5, publish(QoS::AtLeastOnce, &plain));
    encode("PUBACK, 5", Version::V5, Packet::Puback(Ack::new(PacketId::nth(7), ReasonCode::Success)));
    frame();
}

fn publish<'a>(qos: QoS, properties: &PublishProperties<'a>) -> Packet<'a> {
    let packet_id = (qos > QoS::AtMostOnce).then(|| PacketId::nth(7));
    let properties = properties.clone();
    Packet::Publish(Publish { qos, topic: TOPIC, packet_id, properties, payload: PAYLOAD, ..Publish::default() })
}

fn decode(name: &str, version: Version, packet: Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("it has a form");
    measure(&format!("decode {name}"), || {
        let framed = Framed::load(black_box(&bytes), 1 << 20).expect("it is a packet").expect("it is whole");
        black_box(&framed.decode(version, "").expect("it is a packet"));
    });
}

fn encode(name: &str, version: Version, packet: Packet<'_>) {
    let mut out = Vec::with_capacity(1 << 16);
    measure(&format!("encode {name}"), || {
        if out.len() > 60_000 {
            out.clear();
        }
        black_box(&packet).encode(version, &mut out).expect("it has a form");
    });
}

fn frame() {
    let message = Message {
        topic: TOPIC,
        topic_alias: None,
        payload: PAYLOAD,
        properties: &[],
        content_type: None,
        expiry_secs: None,
    };
    let layout = Layout { version: Version::V5, qos: QoS::AtLeastOnce, retain: false };
    let mut frame = PublishFrame::default();
    measure("encode a frame", || frame.encode(&Measured::new(layout, black_box(&message), &[])));

    let mut out = Vec::with_capacity(1 << 16);
    let mut sent = 0;
    measure("copy a frame to one more receiver", || {
        if out.len() > 60_000 {
            out.clear();
        }
        sent += 1;
        black_box(&frame).copy_to(&mut out, Some(PacketId::nth(sent)), false);
    });
}

fn measure(name: &str, mut work: impl FnMut()) {
    const ROUNDS: u32 = 20;
    const TIMES: u32 = 200_000;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..TIMES {
            work();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
    };
    let fastest = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
    println!("{fastest:7.1} ns  {name}");
}
