//! `$get/<topic>`: a record read by request, answered on the response topic (MQTT 5 §4.10).
//!
//! The answer is a message like any other, published in the name of who asked: delivered to the subscribers of the
//! response topic, with the QoS of the request, in the order of the client's other publishes.

use super::connection::{ConnectionId, LookUp};
use super::deliver::{in_form, is_typed};
use super::publish::{Refused, Said, is_servers};
use super::{Effect, Moment, Shard};
use crate::catalog::ResolvedFilter;
use crate::policy::{Operation, View};
use crate::position::{SessionId, TableId};
use crate::record::Record;
use crate::tables::Place;
use crate::validate::Format;
use bytes::Bytes;
use rowcast_codec::{Packet, Publish, PublishProperties, ReasonCode, UserPropertiesBuf, Version};
use std::sync::Arc;

/// What the topic of a request begins with.
pub(super) const GET: &str = "$get/";
/// User properties of an answer.
const STATUS: &str = "rowcast-status";
const VERSION: &str = "rowcast-version";

impl Shard {
    /// A client asks for the record of the topic `name`. It is read once all that the client said before is done, so
    /// that it sees its own writes.
    pub(super) fn get(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        name: &str,
        now: Moment,
    ) -> Result<(), Refused> {
        let refused = |reason, words: &str| Err(Refused(reason, words.to_owned()));
        let Some(response) = publish.properties.response_topic else {
            return refused(ReasonCode::ImplementationSpecificError, "a request needs a response topic");
        };
        if publish.retain {
            return refused(ReasonCode::ImplementationSpecificError, "a request is not retained");
        }
        let (table, key) = self.record_of(id, name)?;
        self.check(id, &response_on(publish, response), &[], now)?; // Where the answer goes, before it is looked up.
        let bare = PublishProperties {
            response_topic: Some(response),
            correlation_data: publish.properties.correlation_data,
            ..PublishProperties::default()
        };
        let request = Publish { topic: name, properties: bare, payload: &[], ..publish.clone() };
        let mut packet = Vec::new();
        Packet::Publish(request)
            .encode(Version::V5, &mut packet)
            .map_err(|error| Refused(ReasonCode::ImplementationSpecificError, error.to_string()))?;
        let Some(connection) = self.connection_mut(id) else { return Ok(()) };
        let effect = Some(Effect::Get { connection: id, table, key });
        connection.looking_up = Some(Box::new(LookUp { packet, checked: None, effect, behind: None }));
        self.look_up(id);
        Ok(())
    }

    /// Where the record of a topic is, if the client may read it.
    fn record_of(&mut self, id: ConnectionId, name: &str) -> Result<(TableId, Vec<u8>), Refused> {
        let refused = |reason, words: &str| Err(Refused(reason, words.to_owned()));
        if name.is_empty() || is_servers(name) {
            return refused(ReasonCode::TopicNameInvalid, "$get/ is followed by the topic of a record");
        }
        let tables = Arc::clone(&self.tables);
        if let ResolvedFilter::Table { query: Some(_), .. } = tables.catalog().resolve_filter(name) {
            return refused(
                ReasonCode::ImplementationSpecificError,
                "queries cannot be asked for, only single records",
            );
        }
        let spot = self.places.find(&tables, name);
        let Some(connection) = self.connections.get(id.slot as usize) else {
            return refused(ReasonCode::NotAuthorized, "not connected");
        };
        // First of all: who may not read it is not told what there is.
        let (table, topic) = match &spot {
            Ok(spot) => (spot.table, &*spot.topic),
            Err(_) => (tables.table_of(name), name),
        };
        if !connection.rights.may(Operation::Read, table, topic) {
            return refused(ReasonCode::NotAuthorized, "not allowed");
        }
        let spot = spot.map_err(|error| Refused(ReasonCode::TopicNameInvalid, error.to_string()))?;
        match spot.place {
            Place::Open if !self.settings.open_topics => {
                refused(ReasonCode::TopicNameInvalid, "no exported table has this name")
            }
            Place::Record(_) | Place::Open => Ok((spot.table, spot.key.clone())),
            Place::Channel(_) => {
                refused(ReasonCode::ImplementationSpecificError, "tables cannot be asked for, only single records")
            }
        }
    }

    /// What a client asked for was looked up.
    pub(super) fn on_got(&mut self, id: ConnectionId, record: Result<Option<Bytes>, Box<str>>, now: Moment) {
        let Some((version, waiting)) = self.take_looked_up(id, now) else { return };
        if let Ok(Packet::Publish(request)) = Packet::decode(version, &waiting.packet) {
            let (topic, responded) = match &record {
                Ok(record) => {
                    let record = record.as_deref().and_then(|bytes| Record::decode(bytes).ok());
                    let record = record.filter(|record| !record.is_expired(now.wall_ms));
                    let topic = request.properties.response_topic.unwrap_or_default();
                    (topic, self.respond(id, &request, record.as_ref(), now))
                }
                Err(words) => (request.topic, Err(Refused(ReasonCode::UnspecifiedError, words.to_string()))),
            };
            if let Err(Refused(reason, words)) = responded {
                self.refuse_publish(id, &request, topic, reason, words, now);
            }
        }
        self.wake(id); // Its packets are handled again.
    }

    fn respond(
        &mut self,
        id: ConnectionId,
        request: &Publish<'_>,
        record: Option<&Record<'_>>,
        now: Moment,
    ) -> Result<(), Refused> {
        let invalid = |words: String| Refused(ReasonCode::ImplementationSpecificError, words);
        let kept = record.and_then(|record| PublishProperties::parse_forwarded(record.properties).ok());
        let kept = kept.unwrap_or_default();
        let mut user_properties = UserPropertiesBuf::new();
        let version = record.map(|record| record.version.to_string());
        let own = [(STATUS, Some(if record.is_some() { "found" } else { "none" })), (VERSION, version.as_deref())];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (name, value) in own.chain(kept.user_properties.iter()) {
            user_properties.push(name, value).map_err(|error| invalid(error.to_string()))?;
        }
        let (table, _) = self.record_of(id, request.topic)?; // Rights may have changed since it was asked for.
        let is_document = record.is_some() && kept.content_type.is_none() && is_typed(&self.tables, table);
        let format = self.session(id).filter(|_| is_document).map(|session| session.for_all.format);
        let response = PublishProperties {
            content_type: format.map(Format::content_type).or(kept.content_type),
            response_topic: None, // What the record was put with belongs to another conversation.
            correlation_data: request.properties.correlation_data,
            user_properties: user_properties.as_ref(),
            ..kept
        };
        let mut properties = Vec::new();
        response.forwarded(&mut properties).map_err(|error| invalid(error.to_string()))?;
        let topic = request.properties.response_topic.unwrap_or_default();
        let payload = record.map_or(&[][..], |record| record.payload);
        let shown = match self.connection(id).map(|connection| connection.rights.view(table, request.topic)) {
            Some(View::Only(shown)) if record.is_some() => Some(shown),
            _ => None,
        };
        let payload = in_form(&self.tables, table, shown, format.unwrap_or_default(), payload);
        let said = Said { payload: &payload, ..response_on(request, topic) };
        let mut checked = self.check(id, &said, &properties, now)?;
        checked.publisher = SessionId::NONE; // Who asked hears the answer, No Local or not.
        checked.expires_ms = record.and_then(|record| record.expires_ms);
        let answer = Publish { topic, payload: &payload, ..request.clone() };
        self.propose(id, &answer, &said, checked, &properties, now);
        Ok(())
    }
}

/// The answer to a request as far as rights and topic go.
fn response_on<'a>(request: &Publish<'_>, topic: &'a str) -> Said<'a> {
    Said {
        topic,
        retain: false,
        qos: request.qos,
        payload: &[],
        content_type: None,
        expiry_secs: None,
        condition: None,
    }
}
