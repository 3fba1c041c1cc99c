//! `-F`: how `sub` shows a message, in the words of `mosquitto_sub`.

use crate::client::{Message, Properties};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// A format, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Topic,
    Payload,
    PayloadOrNull,
    Hex { upper: bool },
    Length,
    QoS,
    Retain,
    PacketId,
    IsoTime,
    UnixTime,
    Json { payload_is_json: bool },
    ContentType,
    Expiry,
    ResponseTopic,
    CorrelationData,
    UserProperties,
    SubscriptionIds,
    PayloadFormat,
}

impl Format {
    /// The payload alone.
    pub(super) fn plain() -> Format {
        Format(vec![Part::Field(Field::Payload)])
    }

    /// Topic and payload.
    pub(super) fn verbose() -> Format {
        Format(vec![Part::Field(Field::Topic), Part::Text(b" ".to_vec()), Part::Field(Field::PayloadOrNull)])
    }

    /// Takes a format apart; an unknown `%` or `\` is refused.
    pub(super) fn parse(text: &str) -> Result<Format, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let field = match character {
                '%' => match characters.next() {
                    Some('%') => Err(b'%'),
                    Some(letter) => Ok(Field::of(letter).ok_or_else(|| format!("there is no %{letter}"))?),
                    None => return Err("a format cannot end with a single %".to_owned()),
                },
                '\\' => match characters.next() {
                    Some(letter) => Err(escape(letter).ok_or_else(|| format!("there is no \\{letter}"))?),
                    None => return Err("a format cannot end with a single \\".to_owned()),
                },
                _ => {
                    literal.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            match field {
                Err(byte) => literal.push(byte),
                Ok(field) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Field(field));
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Format(parts))
    }

    /// Writes a message that came at `now`.
    pub(super) fn write(&self, message: &Message, now: SystemTime, out: &mut impl Write) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Field(field) => field.write(message, now, out)?,
            }
        }
        Ok(())
    }
}

impl Field {
    fn of(letter: char) -> Option<Field> {
        Some(match letter {
            't' => Field::Topic,
            'p' => Field::Payload,
            'x' => Field::Hex { upper: false },
            'X' => Field::Hex { upper: true },
            'l' => Field::Length,
            'q' => Field::QoS,
            'r' => Field::Retain,
            'm' => Field::PacketId,
            'I' => Field::IsoTime,
            'U' => Field::UnixTime,
            'j' => Field::Json { payload_is_json: false },
            'J' => Field::Json { payload_is_json: true },
            'C' => Field::ContentType,
            'E' => Field::Expiry,
            'R' => Field::ResponseTopic,
            'D' => Field::CorrelationData,
            'P' => Field::UserProperties,
            'S' => Field::SubscriptionIds,
            'F' => Field::PayloadFormat,
            _ => return None,
        })
    }

    fn write(self, message: &Message, now: SystemTime, out: &mut impl Write) -> io::Result<()> {
        let properties = &message.properties;
        match self {
            Field::Topic => out.write_all(message.topic.as_bytes()),
            Field::PayloadOrNull if message.payload.is_empty() => out.write_all(b"(null)"),
            Field::Payload | Field::PayloadOrNull => out.write_all(&message.payload),
            Field::Hex { upper: false } => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
            Field::Hex { upper: true } => message.payload.iter().try_for_each(|byte| write!(out, "{byte:02X}")),
            Field::Length => write!(out, "{}", message.payload.len()),
            Field::QoS => write!(out, "{}", u8::from(message.qos)),
            Field::Retain => write!(out, "{}", u8::from(message.retain)),
            Field::PacketId => write!(out, "{}", message.packet_id.map_or(0, |id| id.get())),
            Field::IsoTime => out.write_all(iso_time(now).as_bytes()),
            Field::UnixTime => {
                let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                write!(out, "{}.{:09}", since.as_secs(), since.subsec_nanos())
            }
            Field::Json { payload_is_json } => write!(out, "{}", as_json(message, now, payload_is_json)),
            Field::ContentType => out.write_all(properties.content_type.as_deref().unwrap_or_default().as_bytes()),
            Field::Expiry => properties.message_expiry_secs.map_or(Ok(()), |secs| write!(out, "{secs}")),
            Field::ResponseTopic => out.write_all(properties.response_topic.as_deref().unwrap_or_default().as_bytes()),
            Field::CorrelationData => out.write_all(properties.correlation_data.as_deref().unwrap_or_default()),
            Field::UserProperties => {
                let pairs: Vec<String> =
                    properties.user.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                out.write_all(pairs.join(" ").as_bytes())
            }
            Field::SubscriptionIds => {
                let ids: Vec<String> = properties.subscription_ids.iter().map(u32::to_string).collect();
                out.write_all(ids.join(" ").as_bytes())
            }
            Field::PayloadFormat => properties.payload_format.map_or(Ok(()), |format| write!(out, "{format}")),
        }
    }
}

/// All there is to a message, with the names `mosquitto_sub` uses. A payload that is no text is in hex.
fn as_json(message: &Message, now: SystemTime, payload_is_json: bool) -> Value {
    let payload = match std::str::from_utf8(&message.payload) {
        Ok(text) if payload_is_json => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Ok(text) => text.into(),
        Err(_) => message.payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    };
    let mut json = json!({
        "tst": iso_time(now),
        "topic": message.topic,
        "qos": u8::from(message.qos),
        "retain": u8::from(message.retain),
        "payloadlen": message.payload.len(),
    });
    if let Some(id) = message.packet_id {
        json["mid"] = id.get().into();
    }
    let properties = properties_as_json(&message.properties);
    if !properties.is_empty() {
        json["properties"] = properties.into();
    }
    json["payload"] = payload;
    json
}

fn properties_as_json(properties: &Properties) -> Map<String, Value> {
    let mut json = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), value);
        }
    };
    put("payload-format-indicator", properties.payload_format.map(Value::from));
    put("message-expiry-interval", properties.message_expiry_secs.map(Value::from));
    put("content-type", properties.content_type.clone().map(Value::from));
    put("response-topic", properties.response_topic.clone().map(Value::from));
    let correlation = properties.correlation_data.as_deref().map(|data| String::from_utf8_lossy(data).into_owned());
    put("correlation-data", correlation.map(Value::from));
    let user: Vec<Value> = properties.user.iter().map(|(name, value)| json!({ (name): value })).collect();
    put("user-properties", (!user.is_empty()).then(|| user.into()));
    let ids = properties.subscription_ids.clone();
    put("subscription-identifiers", (!ids.is_empty()).then(|| ids.into()));
    json
}

/// `2030-01-01T12:00:00.000Z`.
fn iso_time(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, secs) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a day counted from 1970-01-01. Years are taken to begin in March, so that leap days come
/// last; 146,097 days are 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // From 0000-03-01.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March.
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn escape(letter: char) -> Option<u8> {
    Some(match letter {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '0' => 0,
        'a' => 7,
        'e' => 27,
        'v' => 11,
        '\\' => b'\\',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_codec::{PacketId, QoS};
    use std::time::Duration;

    #[test]
    fn every_field_is_shown() {
        check("%t %p", "dog/1 {\"a\":1}");
        check("%x %X", "7b2261223a317d 7B2261223A317D");
        check("%l %q %r %m", "7 1 1 7");
        check("%I %U", "2024-02-29T12:34:56.789Z 1709210096.789000000");
        check("%C|%E|%R|%D|%P|%S|%F", "application/json|60|answers|id|k:v k:w|3 4|1");
        check("100%%\\t\\n\\\\é", "100%\t\n\\é");
        check("", "");
        check(
            "%j",
            "{\"tst\":\"2024-02-29T12:34:56.789Z\",\"topic\":\"dog/1\",\"qos\":1,\"retain\":1,\"payloadlen\":7,\"mid\":7,\
             \"properties\":{\"payload-format-indicator\":1,\"message-expiry-interval\":60,\
             \"content-type\":\"application/json\",\"response-topic\":\"answers\",\"correlation-data\":\"id\",\
             \"user-properties\":[{\"k\":\"v\"},{\"k\":\"w\"}],\"subscription-identifiers\":[3,4]},\
             \"payload\":\"{\\\"a\\\":1}\"}",
        );
        let format = Format::parse("%J").expect("a format");
        assert!(write(&format, &message()).ends_with(",\"payload\":{\"a\":1}}"));
    }

    #[test]
    fn nothing_is_shown_as_nothing_unless_the_topic_is_shown() {
        let mut message = message();
        message.payload.clear();
        assert_eq!(write(&Format::plain(), &message), "");
        assert_eq!(write(&Format::verbose(), &message), "dog/1 (null)");
    }

    #[test]
    fn unknown_fields_are_refused() {
        for text in ["%y", "%", "a\\", "\\y", "%5t"] {
            assert!(Format::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    fn message() -> Message {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Message {
            topic: "dog/1".to_owned(),
            payload: br#"{"a":1}"#.to_vec(),
            qos: QoS::AtLeastOnce,
            retain: true,
            dup: false,
            packet_id: PacketId::new(7),
            properties: Properties {
                payload_format: Some(1),
                message_expiry_secs: Some(60),
                topic_alias: None,
                response_topic: Some("answers".to_owned()),
                correlation_data: Some(b"id".to_vec()),
                subscription_ids: vec![3, 4],
                content_type: Some("application/json".to_owned()),
                user: vec![pair("k", "v"), pair("k", "w")],
            },
        }
    }

    fn write(format: &Format, message: &Message) -> String {
        let mut out = Vec::new();
        let now = UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        format.write(message, now, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[track_caller]
    fn check(format: &str, expected: &str) {
        assert_eq!(write(&Format::parse(format).expect("a format"), &message()), expected);
    }
}
