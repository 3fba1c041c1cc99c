//! A message that has left the bytes it came in.

use rowcast_codec::{EncodeError, PacketId, Publish, PublishProperties, QoS, UserPropertiesBuf};

/// A message as it was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// What it is about.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// How it was delivered.
    pub qos: QoS,
    /// It was kept, or see Retain As Published.
    pub retain: bool,
    /// It may have come before.
    pub dup: bool,
    /// Its packet identifier, with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// What MQTT 5 says about it.
    pub properties: Properties,
}

/// [`PublishProperties`] that own what they say; also to be sent.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Properties {
    /// 1 if the payload is text.
    pub payload_format: Option<u8>,
    /// Seconds it is still worth delivering.
    pub message_expiry_secs: Option<u32>,
    /// A number for the topic.
    pub topic_alias: Option<u16>,
    /// Where to answer.
    pub response_topic: Option<String>,
    /// What to repeat in an answer.
    pub correlation_data: Option<Vec<u8>>,
    /// The subscriptions it came for; never sent.
    pub subscription_ids: Vec<u32>,
    /// What the payload is.
    pub content_type: Option<String>,
    /// Pairs of names and values.
    pub user: Vec<(String, String)>,
}

impl Message {
    pub(super) fn of(publish: &Publish<'_>) -> Message {
        Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            properties: Properties::of(&publish.properties),
        }
    }
}

impl Properties {
    fn of(properties: &PublishProperties<'_>) -> Properties {
        let user = properties.user_properties.iter();
        Properties {
            payload_format: properties.payload_format,
            message_expiry_secs: properties.message_expiry_secs,
            topic_alias: properties.topic_alias,
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            subscription_ids: properties.subscription_ids.iter().collect(),
            content_type: properties.content_type.map(str::to_owned),
            user: user.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// The user properties in the form in which they are sent.
    pub fn user_properties(&self) -> Result<UserPropertiesBuf, EncodeError> {
        let mut buffer = UserPropertiesBuf::new();
        self.user.iter().try_for_each(|(name, value)| buffer.push(name, value))?;
        Ok(buffer)
    }

    /// As a packet holds them; `user` are those of [`user_properties`](Properties::user_properties).
    #[must_use]
    pub fn as_sent<'a>(&'a self, user: &'a UserPropertiesBuf) -> PublishProperties<'a> {
        PublishProperties {
            payload_format: self.payload_format,
            message_expiry_secs: self.message_expiry_secs,
            topic_alias: self.topic_alias,
            response_topic: self.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            subscription_ids: Default::default(),
            content_type: self.content_type.as_deref(),
            user_properties: user.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_back_as_they_were_sent() {
        let properties = Properties {
            payload_format: Some(1),
            message_expiry_secs: Some(60),
            topic_alias: Some(3),
            response_topic: Some("answers".to_owned()),
            correlation_data: Some(vec![0, 255]),
            subscription_ids: vec![],
            content_type: Some("text/plain".to_owned()),
            user: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        };
        let user = properties.user_properties().expect("short and plain");
        assert_eq!(Properties::of(&properties.as_sent(&user)), properties);
    }
}
