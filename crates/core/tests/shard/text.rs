//! Packets as text. What a client sends is read, what it gets is written:
//!
//! ```text
//! CONNECT v5 clean id=a user=rex password=bone expiry=60 keepalive=10 receive_maximum=1 maximum_packet=100
//!         alias_maximum=5 no_problem_information method=X prop=name:value bridge (before v5)
//!         will=dog/1 will_payload="gone" will_qos=1 will_retain will_delay=5 will_expiry=60 will_content_type=...
//! CONNACK present expiry=60 keepalive=10 id=auto-1          CONNACK 0x87 reason="..."
//! PUBLISH 8 dog/7 qos=1 retain dup alias=1 expiry=60 content_type=text/plain response=a/b correlation=x format=1
//!         sub=1 prop=name:value "payload"                   big=9000 is a payload of so many x, hex=a0 of bytes
//! PUBACK 8 0x99 reason="..." prop=version:7                 PUBREC, PUBREL and PUBCOMP alike
//! SUBSCRIBE 1 dog/# qos=1 no_local rap handling=2 cat/+ sub=7
//! SUBACK 1 granted=1,0x8F
//! UNSUBSCRIBE 2 dog/# cat/+                                 UNSUBACK 2 codes=0x00,0x11
//! PUBLISH a/*200 "payload"                                  an `a` and 200 slashes
//! PINGREQ   PINGRESP   DISCONNECT 0x04 expiry=5             HEX 10 ff*20: bytes as they are
//! ```

use rowcast_codec::{
    Ack, AckProperties, Auth, AuthProperties, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect,
    DisconnectProperties, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Secret,
    Subscribe, SubscribeFilter, SubscribeProperties, SubscriptionOptions, Unsubscribe, UserProperties,
    UserPropertiesBuf, Version, Will, WillProperties,
};
use rowcast_core::limits::Limits;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A line taken apart: words, quoted texts, and `key=value`.
struct Words {
    plain: Vec<Word>,
    keys: BTreeMap<String, String>,
    props: UserPropertiesBuf,
}

struct Word {
    text: String,
    quoted: bool,
    /// `key=value` that came behind this word, in order: options of a filter.
    options: BTreeMap<String, String>,
}

impl Words {
    fn parse(line: &str) -> Result<Words, String> {
        let mut words = Words { plain: Vec::new(), keys: BTreeMap::new(), props: UserPropertiesBuf::new() };
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let key_end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let is_key = key_end > 0 && rest[key_end..].starts_with('=');
            let value_at = if is_key { key_end + 1 } else { 0 };
            let (value, quoted, behind) = value(&rest[value_at..])?;
            if !is_key {
                words.plain.push(Word { text: value, quoted, options: BTreeMap::new() });
            } else if &rest[..key_end] == "prop" {
                let (name, value) = value.split_once(':').ok_or("prop=name:value")?;
                words.props.push(name, value).map_err(|error| error.to_string())?;
            } else {
                let key = rest[..key_end].to_owned();
                if let Some(last) = words.plain.last_mut() {
                    last.options.insert(key.clone(), value.clone());
                }
                words.keys.insert(key, value);
            }
            rest = behind.trim_start();
        }
        Ok(words)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, String> {
        self.text(key).map(|text| text.parse().map_err(|_| format!("{key}={text} is no such number"))).transpose()
    }

    fn qos(&self, key: &str) -> Result<QoS, String> {
        QoS::try_from(self.number(key)?.unwrap_or(0u8)).map_err(|number| format!("QoS {number}"))
    }

    fn has(&self, flag: &str) -> bool {
        self.plain.iter().any(|word| !word.quoted && word.text == flag)
    }

    fn packet_id(&self) -> Result<PacketId, String> {
        let word = self.plain.get(1).ok_or("a packet identifier is missing")?;
        word.text.parse().ok().and_then(PacketId::new).ok_or_else(|| format!("{} is no packet identifier", word.text))
    }

    fn reason(&self, place: usize) -> Result<ReasonCode, String> {
        let Some(word) = self.plain.get(place) else { return Ok(ReasonCode::Success) };
        let hex = word.text.strip_prefix("0x").ok_or_else(|| format!("{} is no reason code", word.text))?;
        let code = u8::from_str_radix(hex, 16).map_err(|error| error.to_string())?;
        ReasonCode::try_from(code).map_err(|code| format!("{code:#04x} is no reason code"))
    }
}

/// The value at the front of `text`, whether it was quoted, and the rest.
fn value(text: &str) -> Result<(String, bool, &str), String> {
    let quote = text.chars().next().filter(|&c| c == '"' || c == '\'');
    let Some(quote) = quote else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((repeated(&text[..end]), false, &text[end..]));
    };
    let end = text[1..].find(quote).ok_or("a quote is not closed")? + 1;
    Ok((text[1..end].to_owned(), true, &text[end + 1..]))
}

/// `a/*200` is an `a` and 200 slashes.
fn repeated(word: &str) -> String {
    let Some((start, count)) = word.rsplit_once('*') else { return word.to_owned() };
    match (start.char_indices().next_back(), count.parse()) {
        (Some((at, last)), Ok(count)) => start[..at].to_owned() + &last.to_string().repeat(count),
        _ => word.to_owned(),
    }
}

/// The same the other way round, where it pays.
pub(crate) fn collapsed(text: &str) -> String {
    let Some(last) = text.chars().next_back() else { return String::new() };
    let start = text.trim_end_matches(last);
    let count = text[start.len()..].chars().count();
    if count > 20 { format!("{start}{last}*{count}") } else { text.to_owned() }
}

/// The bytes of a packet that a client sends. `client`: what it is called, its client identifier if it says no other.
pub(crate) fn encode(line: &str, client: &str, version: &mut Version) -> Result<Vec<u8>, String> {
    if let Some(hex) = line.strip_prefix("HEX") {
        let mut bytes = Vec::new();
        for word in hex.split_whitespace() {
            let (byte, times) = word.split_once('*').unwrap_or((word, "1"));
            let byte = u8::from_str_radix(byte, 16).map_err(|error| error.to_string())?;
            let times: usize = times.parse().map_err(|_| format!("{word}: 78*1000"))?;
            bytes.resize(bytes.len() + times, byte);
        }
        *version = Connect::version_of(&bytes).unwrap_or(*version);
        return Ok(bytes);
    }
    let words = Words::parse(line)?;
    let name = words.plain.first().map(|word| word.text.clone()).unwrap_or_default();
    let ack = || -> Result<Ack<'_>, String> {
        let properties = AckProperties { reason_string: words.text("reason"), user_properties: words.props.as_ref() };
        Ok(Ack { packet_id: words.packet_id()?, reason: words.reason(2)?, properties })
    };
    match &*name {
        "CONNECT" => connect(&words, client, version),
        "PUBLISH" => publish(&words, *version),
        "PUBACK" => to_bytes(&Packet::Puback(ack()?), *version),
        "PUBREC" => to_bytes(&Packet::Pubrec(ack()?), *version),
        "PUBREL" => to_bytes(&Packet::Pubrel(ack()?), *version),
        "PUBCOMP" => to_bytes(&Packet::Pubcomp(ack()?), *version),
        "SUBSCRIBE" => subscribe(&words, *version),
        "UNSUBSCRIBE" => {
            let filters: Vec<&str> = words.plain[2..].iter().map(|word| &*word.text).collect();
            let user_properties = words.props.as_ref();
            let packet = Unsubscribe { packet_id: words.packet_id()?, user_properties, filters: (&*filters).into() };
            to_bytes(&Packet::Unsubscribe(packet), *version)
        }
        "PINGREQ" => to_bytes(&Packet::Pingreq, *version),
        "DISCONNECT" => {
            let properties = DisconnectProperties {
                session_expiry_secs: words.number("expiry")?,
                reason_string: words.text("reason"),
                user_properties: words.props.as_ref(),
                server_reference: None,
            };
            to_bytes(&Packet::Disconnect(Disconnect { reason: words.reason(1)?, properties }), *version)
        }
        "AUTH" => {
            let properties = AuthProperties {
                authentication_method: words.text("method"),
                authentication_data: words.text("data").map(|data| Secret(data.as_bytes())),
                reason_string: words.text("reason"),
                user_properties: words.props.as_ref(),
            };
            to_bytes(&Packet::Auth(Auth { reason: words.reason(1)?, properties }), *version)
        }
        other => Err(format!("{other} is nothing a client sends")),
    }
}

fn to_bytes(packet: &Packet<'_>, version: Version) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn connect(words: &Words, client: &str, version: &mut Version) -> Result<Vec<u8>, String> {
    *version = match words.plain.get(1).map(|word| &*word.text) {
        Some("v3.1") => Version::V31,
        Some("v3.1.1") => Version::V311,
        Some("v5") => Version::V5,
        _ => return Err("CONNECT v3.1, v3.1.1 or v5".to_owned()),
    };
    let is_v5 = *version == Version::V5;
    let payload = bytes_of(words, "will_payload", "will_big")?;
    let will = match words.text("will") {
        Some(topic) => Some(Will {
            topic,
            payload: &payload,
            qos: words.qos("will_qos")?,
            retain: words.has("will_retain"),
            properties: WillProperties {
                delay_secs: words.number("will_delay")?,
                publish: PublishProperties {
                    message_expiry_secs: words.number("will_expiry")?,
                    content_type: words.text("will_content_type"),
                    // A CONNECT has user properties in two places; in a script both are the same.
                    user_properties: words.props.as_ref(),
                    ..PublishProperties::default()
                },
            },
        }),
        None => None,
    };
    let packet = Connect {
        version: *version,
        is_bridge: words.has("bridge"),
        clean_start: words.has("clean"),
        keep_alive_secs: words.number("keepalive")?.unwrap_or(0),
        client_id: words.text("id").unwrap_or(client),
        will,
        username: words.text("user"),
        password: words.text("password").map(|password| Secret(password.as_bytes())),
        properties: ConnectProperties {
            session_expiry_secs: words.number("expiry")?,
            receive_maximum: words.number("receive_maximum")?,
            maximum_packet_size: words.number("maximum_packet")?,
            topic_alias_maximum: words.number("alias_maximum")?,
            request_response_information: words.has("response_information").then_some(true),
            request_problem_information: words.has("no_problem_information").then_some(false),
            authentication_method: words.text("method"),
            authentication_data: words.text("data").map(|data| Secret(data.as_bytes())),
            user_properties: words.props.as_ref(),
        },
    };
    if !is_v5 && packet.properties != ConnectProperties::default() {
        return Err("properties before MQTT 5".to_owned());
    }
    to_bytes(&Packet::Connect(Box::new(packet)), *version)
}

fn bytes_of(words: &Words, text: &str, big: &str) -> Result<Vec<u8>, String> {
    Ok(match (words.text(text), words.number::<usize>(big)?) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(length)) => vec![b'x'; length],
        (None, None) => Vec::new(),
    })
}

fn unhex(hex: &str) -> Result<Vec<u8>, String> {
    let digits = |at: usize| hex.get(at..at + 2).ok_or_else(|| format!("hex={hex}: two digits a byte"));
    let bytes = (0..hex.len()).step_by(2);
    bytes.map(|at| u8::from_str_radix(digits(at)?, 16).map_err(|error| error.to_string())).collect()
}

fn publish(words: &Words, version: Version) -> Result<Vec<u8>, String> {
    let qos = words.qos("qos")?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(words.packet_id()?) };
    let place = if packet_id.is_some() { 2 } else { 1 };
    let topic = match words.plain.get(place).filter(|word| !word.quoted) {
        Some(word) if words.text("topic").is_none() => &*word.text,
        _ => words.text("topic").unwrap_or_default(),
    };
    let payload = match words.plain.iter().find(|word| word.quoted) {
        Some(word) => word.text.as_bytes().to_vec(),
        None => match words.text("hex") {
            Some(hex) => unhex(hex)?,
            None => bytes_of(words, "payload", "big")?,
        },
    };
    let ids: Vec<u32> = words.number("sub")?.into_iter().collect();
    let packet = Publish {
        dup: words.has("dup"),
        qos,
        retain: words.has("retain"),
        topic,
        packet_id,
        properties: PublishProperties {
            payload_format: words.number("format")?,
            message_expiry_secs: words.number("expiry")?,
            topic_alias: words.number("alias")?,
            response_topic: words.text("response"),
            correlation_data: words.text("correlation").map(str::as_bytes),
            subscription_ids: (&*ids).into(),
            content_type: words.text("content_type"),
            user_properties: words.props.as_ref(),
        },
        payload: &payload,
    };
    to_bytes(&Packet::Publish(packet), version)
}

fn subscribe(words: &Words, version: Version) -> Result<Vec<u8>, String> {
    let mut filters: Vec<SubscribeFilter<'_>> = Vec::new();
    for word in &words.plain[2..] {
        let last = filters.last_mut();
        match (&*word.text, last) {
            ("no_local", Some(last)) => last.options.no_local = true,
            ("rap", Some(last)) => last.options.retain_as_published = true,
            (filter, _) => filters.push(SubscribeFilter { filter, options: SubscriptionOptions::default() }),
        }
        let Some(last) = filters.last_mut() else { continue };
        if let Some(qos) = word.options.get("qos") {
            let number: u8 = qos.parse().map_err(|_| "qos=0, 1 or 2")?;
            last.options.qos = QoS::try_from(number).map_err(|_| "qos=0, 1 or 2")?;
        }
        last.options.retain_handling = match word.options.get("handling").map(String::as_str) {
            None => last.options.retain_handling,
            Some("0") => RetainHandling::SendAtSubscribe,
            Some("1") => RetainHandling::SendIfNew,
            Some("2") => RetainHandling::DoNotSend,
            Some(other) => return Err(format!("handling={other}")),
        };
    }
    let properties =
        SubscribeProperties { subscription_id: words.number("sub")?, user_properties: words.props.as_ref() };
    let packet = Subscribe { packet_id: words.packet_id()?, properties, filters: (&*filters).into() };
    to_bytes(&Packet::Subscribe(packet), version)
}

/// A packet as a line; of what clients send, what matters most. What CONNACK says of `limits` is left out where it says just that.
pub(crate) fn describe(packet: &Packet<'_>, version: Version, limits: &Limits) -> String {
    match packet {
        Packet::Connack(connack) => describe_connack(connack, version, limits),
        Packet::Publish(publish) => describe_publish(publish),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            let mut line = format!("{} {}", packet.name(), ack.packet_id.get());
            if ack.reason != ReasonCode::Success {
                let _ = write!(line, " {:#04X}", Hex(ack.reason));
            }
            described(line, ack.properties.reason_string, &ack.properties.user_properties)
        }
        Packet::Suback(suback) => {
            let codes: Vec<String> = suback.reasons.iter().map(granted).collect();
            let line = format!("SUBACK {} granted={}", suback.packet_id.get(), codes.join(","));
            described(line, suback.properties.reason_string, &suback.properties.user_properties)
        }
        Packet::Unsuback(unsuback) => {
            let codes: Vec<String> = unsuback.reasons.iter().map(|code| format!("{:#04X}", Hex(code))).collect();
            let mut line = format!("UNSUBACK {}", unsuback.packet_id.get());
            if !codes.is_empty() {
                let _ = write!(line, " codes={}", codes.join(","));
            }
            described(line, unsuback.properties.reason_string, &unsuback.properties.user_properties)
        }
        Packet::Disconnect(disconnect) => {
            let mut line = format!("DISCONNECT {:#04X}", Hex(disconnect.reason));
            if let Some(secs) = disconnect.properties.session_expiry_secs {
                let _ = write!(line, " expiry={secs}");
            }
            described(line, disconnect.properties.reason_string, &disconnect.properties.user_properties)
        }
        Packet::Auth(auth) => {
            let mut line = format!("AUTH {:#04X}", Hex(auth.reason));
            let p = &auth.properties;
            if let Some(method) = p.authentication_method {
                let _ = write!(line, " method={method}");
            }
            line.push_str(&described_data(p.authentication_data));
            described(line, p.reason_string, &p.user_properties)
        }
        Packet::Subscribe(subscribe) => {
            let filters =
                subscribe.filters.iter().map(|asked| format!(" {} qos={}", asked.filter, asked.options.qos as u8));
            format!("SUBSCRIBE {}{}", subscribe.packet_id.get(), filters.collect::<String>())
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<&str> = unsubscribe.filters.iter().collect();
            format!("UNSUBSCRIBE {} {}", unsubscribe.packet_id.get(), filters.join(" "))
        }
        Packet::Connect(connect) => {
            format!("CONNECT{} {}", if connect.clean_start { " clean" } else { "" }, connect.client_id)
        }
        other => other.name().to_owned(),
    }
}

struct Hex(ReasonCode);

impl std::fmt::UpperHex for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::UpperHex::fmt(&u8::from(self.0), f)
    }
}

fn granted(code: ReasonCode) -> String {
    if code.is_error() { format!("{:#04X}", Hex(code)) } else { u8::from(code).to_string() }
}

fn described(mut line: String, reason: Option<&str>, props: &UserProperties<'_>) -> String {
    if let Some(reason) = reason {
        let _ = write!(line, " reason={}", quote(reason));
    }
    for (name, value) in props.iter() {
        let pair = format!("{name}:{value}");
        let _ = write!(line, " prop={}", if pair.contains(' ') { quote(&pair) } else { pair });
    }
    line
}

fn described_data(data: Option<Secret<'_>>) -> String {
    data.map(|data| format!(" data={}", quote(&String::from_utf8_lossy(data.0)))).unwrap_or_default()
}

fn describe_connack(connack: &Connack<'_>, version: Version, limits: &Limits) -> String {
    let mut line = "CONNACK".to_owned();
    if connack.session_present {
        line.push_str(" present");
    }
    if version < Version::V5 {
        let code = connack.reason.connack_v311();
        return if code == 0 { line } else { format!("{line} {code}") };
    }
    if connack.reason != ReasonCode::Success {
        let _ = write!(line, " {:#04X}", Hex(connack.reason));
    }
    let ConnackProperties { session_expiry_secs, server_keep_alive_secs, .. } = connack.properties;
    let mut tell = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(line, " {key}={value}");
        }
    };
    let p = &connack.properties;
    tell("expiry", session_expiry_secs.map(|secs| secs.to_string()));
    tell("keepalive", server_keep_alive_secs.map(|secs| secs.to_string()));
    tell("id", p.assigned_client_id.map(str::to_owned));
    let other = |told: Option<u32>, limit: u32| told.filter(|&told| told != limit).map(|told| told.to_string());
    tell("receive_maximum", other(p.receive_maximum.map(u32::from), limits.receive_maximum.into()));
    tell("maximum_packet", other(p.maximum_packet_size, limits.packet_bytes));
    tell("alias_maximum", other(p.topic_alias_maximum.map(u32::from), limits.topic_alias_maximum.into()));
    tell("maximum_qos", p.maximum_qos.map(|qos| u8::from(qos).to_string()));
    tell("retain_available", p.retain_available.map(|flag| flag.to_string()));
    tell("wildcards", p.wildcard_available.map(|flag| flag.to_string()));
    tell("subscription_ids", p.subscription_ids_available.map(|flag| flag.to_string()));
    tell("response_information", p.response_information.map(str::to_owned));
    tell("server", p.server_reference.map(str::to_owned));
    tell("method", p.authentication_method.map(str::to_owned));
    line.push_str(&described_data(p.authentication_data));
    described(line, p.reason_string, &p.user_properties)
}

fn describe_publish(publish: &Publish<'_>) -> String {
    let mut line = "PUBLISH".to_owned();
    if let Some(id) = publish.packet_id {
        let _ = write!(line, " {}", id.get());
    }
    let topic = if publish.topic.is_empty() || publish.topic.contains(' ') {
        format!("topic={}", quote(publish.topic))
    } else {
        collapsed(publish.topic)
    };
    let _ = write!(line, " {topic}");
    if publish.qos != QoS::AtMostOnce {
        let _ = write!(line, " qos={}", u8::from(publish.qos));
    }
    for (set, flag) in [(publish.retain, " retain"), (publish.dup, " dup")] {
        line.push_str(if set { flag } else { "" });
    }
    let p = &publish.properties;
    let mut tell = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(line, " {key}={value}");
        }
    };
    tell("alias", p.topic_alias.map(|alias| alias.to_string()));
    tell("expiry", p.message_expiry_secs.map(|secs| secs.to_string()));
    tell("content_type", p.content_type.map(str::to_owned));
    tell("response", p.response_topic.map(str::to_owned));
    tell("correlation", p.correlation_data.map(|data| String::from_utf8_lossy(data).into_owned()));
    tell("format", p.payload_format.map(|format| format.to_string()));
    let ids: Vec<String> = p.subscription_ids.iter().map(|id| id.to_string()).collect();
    tell("sub", (!ids.is_empty()).then(|| ids.join(",")));
    let line = described(line, None, &p.user_properties);
    let payload = publish.payload;
    if payload.len() > 100 && payload.iter().all(|&byte| byte == b'x') {
        return format!("{line} big={}", payload.len());
    }
    match std::str::from_utf8(payload) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{line} {}", quote(text)),
        _ => format!("{line} {payload:02x?}"),
    }
}

fn quote(text: &str) -> String {
    let quote = if text.contains('"') { '\'' } else { '"' };
    format!("{quote}{text}{quote}")
}
