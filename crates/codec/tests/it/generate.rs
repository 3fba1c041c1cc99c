//! Packets of every kind with any content, for proptest to draw from.
//!
//! What packets borrow is leaked: a test run is short.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use rowcast_codec::{
    Ack, AckProperties, Auth, AuthProperties, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect,
    DisconnectProperties, Filters, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, ReasonCodes,
    RetainHandling, Secret, Suback, Subscribe, SubscribeFilter, SubscribeProperties, Subscribes, SubscriptionIds,
    SubscriptionOptions, Unsuback, Unsubscribe, UserProperties, UserPropertiesBuf, Version, Will, WillProperties,
};

/// A version, and a packet that says nothing the version cannot say.
pub(crate) fn version_and_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    select(vec![Version::V31, Version::V311, Version::V5]).prop_flat_map(|version| (Just(version), packet(version)))
}

/// A packet that says nothing the version cannot say.
pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet<'static>> {
    let common = prop_oneof![
        3 => connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))),
        2 => connack(version).prop_map(Packet::Connack),
        4 => publish(version).prop_map(Packet::Publish),
        1 => ack(version, PUBACK).prop_map(Packet::Puback),
        1 => ack(version, PUBACK).prop_map(Packet::Pubrec),
        1 => ack(version, PUBREL).prop_map(Packet::Pubrel),
        1 => ack(version, PUBREL).prop_map(Packet::Pubcomp),
        2 => subscribe(version).prop_map(Packet::Subscribe),
        1 => suback(version).prop_map(Packet::Suback),
        1 => unsubscribe(version).prop_map(Packet::Unsubscribe),
        1 => unsuback(version).prop_map(Packet::Unsuback),
        1 => Just(Packet::Pingreq),
        1 => Just(Packet::Pingresp),
        1 => disconnect(version).prop_map(Packet::Disconnect),
    ];
    match version {
        Version::V5 => prop_oneof![20 => common, 1 => auth().prop_map(Packet::Auth)].boxed(),
        _ => common.boxed(),
    }
}

fn connect(version: Version) -> impl Strategy<Value = Connect<'static>> {
    let username = of(text());
    let credentials = (username, of(secret())).prop_map(move |(username, password)| {
        // A password alone came with MQTT 5.
        (username, password.filter(|_| username.is_some() || version == Version::V5))
    });
    let is_bridge = prop::bool::weighted(0.1).prop_map(move |is_bridge| is_bridge && version < Version::V5);
    let rest = (is_bridge, any::<bool>(), any::<u16>(), text(), of(will(version)), credentials);
    (rest, since_v5(version, connect_properties())).prop_map(
        move |((is_bridge, clean_start, keep_alive_secs, client_id, will, (username, password)), properties)| Connect {
            version,
            is_bridge,
            clean_start,
            keep_alive_secs,
            client_id,
            will,
            username,
            password,
            properties,
        },
    )
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties<'static>> {
    let limits = (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()));
    let requests = (of(any::<bool>()), of(any::<bool>()));
    (limits, requests, authentication(), user_properties()).prop_map(|(limits, requests, method, user_properties)| {
        ConnectProperties {
            session_expiry_secs: limits.0,
            receive_maximum: limits.1,
            maximum_packet_size: limits.2,
            topic_alias_maximum: limits.3,
            request_response_information: requests.0,
            request_problem_information: requests.1,
            authentication_method: method.0,
            authentication_data: method.1,
            user_properties,
        }
    })
}

fn will(version: Version) -> impl Strategy<Value = Will<'static>> {
    let properties = (of(any::<u32>()), passed_on(), of(any::<u32>())).prop_map(|(delay_secs, publish, expiry)| {
        let publish = PublishProperties { message_expiry_secs: expiry, ..publish };
        WillProperties { delay_secs, publish }
    });
    (topic(), binary(), qos(), any::<bool>(), since_v5(version, properties))
        .prop_map(|(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties })
}

fn connack(version: Version) -> impl Strategy<Value = Connack<'static>> {
    let reasons = if version < Version::V5 { CONNACK_V311 } else { CONNACK };
    (any::<bool>(), select(reasons), since_v5(version, connack_properties())).prop_map(
        move |(present, reason, properties)| {
            let session_present = present && !reason.is_error() && version > Version::V31;
            Connack { session_present, reason, properties }
        },
    )
}

fn connack_properties() -> impl Strategy<Value = ConnackProperties<'static>> {
    let limits =
        (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()), of(any::<u16>()), of(lower_qos()));
    let available = (of(any::<bool>()), of(any::<bool>()), of(any::<bool>()), of(any::<bool>()));
    let texts = (of(text()), of(text()), of(text()), of(text()));
    (limits, available, texts, authentication(), user_properties()).prop_map(
        |(limits, available, texts, method, user_properties)| ConnackProperties {
            session_expiry_secs: limits.0,
            receive_maximum: limits.1,
            maximum_packet_size: limits.2,
            topic_alias_maximum: limits.3,
            server_keep_alive_secs: limits.4,
            maximum_qos: limits.5,
            retain_available: available.0,
            wildcard_available: available.1,
            subscription_ids_available: available.2,
            shared_available: available.3,
            assigned_client_id: texts.0,
            reason_string: texts.1,
            response_information: texts.2,
            server_reference: texts.3,
            authentication_method: method.0,
            authentication_data: method.1,
            user_properties,
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Publish<'static>> {
    let fields = (any::<bool>(), qos(), any::<bool>(), topic(), packet_id(), payload(), any::<bool>());
    (fields, since_v5(version, publish_properties())).prop_map(
        |((dup, qos, retain, topic, packet_id, payload, by_alias), properties)| {
            let topic = if by_alias && properties.topic_alias.is_some() { "" } else { topic };
            let acknowledged = qos > QoS::AtMostOnce;
            let (dup, packet_id) = (dup && acknowledged, acknowledged.then_some(packet_id));
            Publish { dup, qos, retain, topic, packet_id, properties, payload }
        },
    )
}

fn publish_properties() -> impl Strategy<Value = PublishProperties<'static>> {
    let ids = vec(1..=268_435_455_u32, 0..3).prop_map(|ids| SubscriptionIds::from(&*ids.leak()));
    (passed_on(), of(any::<u32>()), of(1..=u16::MAX), ids).prop_map(|(passed_on, expiry, alias, subscription_ids)| {
        PublishProperties { message_expiry_secs: expiry, topic_alias: alias, subscription_ids, ..passed_on }
    })
}

/// Those a server passes on.
fn passed_on() -> impl Strategy<Value = PublishProperties<'static>> {
    (of(0..=1_u8), of(topic()), of(binary()), of(text()), user_properties()).prop_map(
        |(payload_format, response_topic, correlation_data, content_type, user_properties)| PublishProperties {
            payload_format,
            response_topic,
            correlation_data,
            content_type,
            user_properties,
            ..PublishProperties::default()
        },
    )
}

fn ack(version: Version, reasons: &'static [ReasonCode]) -> impl Strategy<Value = Ack<'static>> {
    (packet_id(), reason(version, reasons), since_v5(version, ack_properties()))
        .prop_map(|(packet_id, reason, properties)| Ack { packet_id, reason, properties })
}

fn ack_properties() -> impl Strategy<Value = AckProperties<'static>> {
    (of(text()), user_properties())
        .prop_map(|(reason_string, user_properties)| AckProperties { reason_string, user_properties })
}

fn subscribe(version: Version) -> impl Strategy<Value = Subscribe<'static>> {
    let properties = (of(1..=268_435_455_u32), user_properties())
        .prop_map(|(subscription_id, user_properties)| SubscribeProperties { subscription_id, user_properties });
    let entry = (filter(), qos(), since_v5(version, subscription_options()))
        .prop_map(|(filter, qos, options)| SubscribeFilter { filter, options: SubscriptionOptions { qos, ..options } });
    let filters = vec(entry, 1..4).prop_map(|filters| Subscribes::from(&*filters.leak()));
    (packet_id(), since_v5(version, properties), filters).prop_map(|(packet_id, properties, filters)| Subscribe {
        packet_id,
        properties,
        filters,
    })
}

fn subscription_options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    (any::<bool>(), any::<bool>(), select(handling.to_vec())).prop_map(
        |(no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn suback(version: Version) -> impl Strategy<Value = Suback<'static>> {
    let reasons = reasons(if version < Version::V5 { SUBACK_V311 } else { SUBACK });
    (packet_id(), since_v5(version, ack_properties()), reasons).prop_map(|(packet_id, properties, reasons)| Suback {
        packet_id,
        properties,
        reasons,
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe<'static>> {
    let filters = vec(filter(), 1..4).prop_map(|filters| Filters::from(&*filters.leak()));
    (packet_id(), since_v5(version, user_properties()), filters)
        .prop_map(|(packet_id, user_properties, filters)| Unsubscribe { packet_id, user_properties, filters })
}

fn unsuback(version: Version) -> impl Strategy<Value = Unsuback<'static>> {
    (packet_id(), since_v5(version, ack_properties()), since_v5(version, reasons(UNSUBACK)))
        .prop_map(|(packet_id, properties, reasons)| Unsuback { packet_id, properties, reasons })
}

fn disconnect(version: Version) -> impl Strategy<Value = Disconnect<'static>> {
    let properties = (of(any::<u32>()), of(text()), user_properties(), of(text())).prop_map(
        |(session_expiry_secs, reason_string, user_properties, server_reference)| DisconnectProperties {
            session_expiry_secs,
            reason_string,
            user_properties,
            server_reference,
        },
    );
    (reason(version, DISCONNECT), since_v5(version, properties))
        .prop_map(|(reason, properties)| Disconnect { reason, properties })
}

fn auth() -> impl Strategy<Value = Auth<'static>> {
    (select(AUTH), text(), of(secret()), of(text()), user_properties()).prop_map(
        |(reason, method, authentication_data, reason_string, user_properties)| {
            let authentication_method = Some(method);
            let properties =
                AuthProperties { authentication_method, authentication_data, reason_string, user_properties };
            Auth { reason, properties }
        },
    )
}

/// A value of the strategy from MQTT 5 on, and the default before.
fn since_v5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version < Version::V5 { Just(T::default()).boxed() } else { strategy.boxed() }
}

fn reason(version: Version, reasons: &'static [ReasonCode]) -> impl Strategy<Value = ReasonCode> {
    select(if version < Version::V5 { &[ReasonCode::Success] } else { reasons })
}

fn reasons(reasons: &'static [ReasonCode]) -> impl Strategy<Value = ReasonCodes<'static>> {
    vec(select(reasons), 1..4).prop_map(|reasons| ReasonCodes::from(&*reasons.leak()))
}

fn authentication() -> impl Strategy<Value = (Option<&'static str>, Option<Secret<'static>>)> {
    of((text(), of(secret()))).prop_map(|method| method.map_or((None, None), |(method, data)| (Some(method), data)))
}

fn user_properties() -> impl Strategy<Value = UserProperties<'static>> {
    vec((text(), text()), 0..3).prop_map(|pairs| {
        let buffer: &'static mut UserPropertiesBuf = Box::leak(Box::default());
        for (name, value) in pairs {
            buffer.push(name, value).expect("short and without U+0000");
        }
        buffer.as_ref()
    })
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<u64>().prop_map(PacketId::nth)
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn lower_qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce])
}

fn topic() -> impl Strategy<Value = &'static str> {
    prop_oneof!["[a-z/$]{1,12}", "[^\0+#]{1,12}"].prop_map(|topic| &*topic.leak())
}

fn filter() -> impl Strategy<Value = &'static str> {
    prop_oneof!["[a-z/$]{1,12}", "(\\+/){1,3}#", "[a-z]{1,5}/(\\+|#)", "\\$share/[a-z]{1,3}/[a-z]{1,3}"]
        .prop_map(|filter| &*filter.leak())
}

fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof!["[a-z]{0,8}", "[^\0]{0,8}"].prop_map(|text| &*text.leak())
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..20).prop_map(|bytes| &*bytes.leak())
}

fn secret() -> impl Strategy<Value = Secret<'static>> {
    binary().prop_map(Secret)
}

/// Short ones mostly, and some whose packet has a remaining length of two and three bytes.
fn payload() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![
        8 => binary(),
        1 => vec(any::<u8>(), 100..200).prop_map(|bytes| &*bytes.leak()),
        1 => (16_300..16_500_usize).prop_map(|length| &*vec![b'x'; length].leak()),
    ]
}

// The lists of MQTT 5 §2.4, table 2-6, and MQTT 3.1.1 §3.2.2.3 and §3.9.3.

const CONNACK_V311: &[ReasonCode] = &[
    ReasonCode::Success,
    ReasonCode::UnsupportedProtocolVersion,
    ReasonCode::ClientIdentifierNotValid,
    ReasonCode::ServerUnavailable,
    ReasonCode::BadUserNameOrPassword,
    ReasonCode::NotAuthorized,
];

const CONNACK: &[ReasonCode] = &[
    ReasonCode::Success,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::UnsupportedProtocolVersion,
    ReasonCode::ClientIdentifierNotValid,
    ReasonCode::BadUserNameOrPassword,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerUnavailable,
    ReasonCode::ServerBusy,
    ReasonCode::Banned,
    ReasonCode::BadAuthenticationMethod,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QoSNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::ConnectionRateExceeded,
];

const PUBACK: &[ReasonCode] = &[
    ReasonCode::Success,
    ReasonCode::NoMatchingSubscribers,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
];

const PUBREL: &[ReasonCode] = &[ReasonCode::Success, ReasonCode::PacketIdentifierNotFound];

const SUBACK_V311: &[ReasonCode] =
    &[ReasonCode::GRANTED_QOS_0, ReasonCode::GrantedQoS1, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError];

const SUBACK: &[ReasonCode] = &[
    ReasonCode::GRANTED_QOS_0,
    ReasonCode::GrantedQoS1,
    ReasonCode::GrantedQoS2,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
];

const UNSUBACK: &[ReasonCode] = &[
    ReasonCode::Success,
    ReasonCode::NoSubscriptionExisted,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
];

const DISCONNECT: &[ReasonCode] = &[
    ReasonCode::NORMAL_DISCONNECTION,
    ReasonCode::DisconnectWithWill,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerBusy,
    ReasonCode::ServerShuttingDown,
    ReasonCode::BadAuthenticationMethod,
    ReasonCode::KeepAliveTimeout,
    ReasonCode::SessionTakenOver,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::TopicNameInvalid,
    ReasonCode::ReceiveMaximumExceeded,
    ReasonCode::TopicAliasInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::MessageRateTooHigh,
    ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction,
    ReasonCode::PayloadFormatInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QoSNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::ConnectionRateExceeded,
    ReasonCode::MaximumConnectTime,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
];

const AUTH: &[ReasonCode] = &[ReasonCode::Success, ReasonCode::ContinueAuthentication, ReasonCode::Reauthenticate];
