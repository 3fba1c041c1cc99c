//! How `pub` and `sub` connect: the flags of `mosquitto_pub` and `mosquitto_sub`.

use super::Usage;
use super::credentials::{password_from_input, variable};
use super::properties::{PropertyFlags, parse_properties};
use super::trust::Trust;
use super::url::Url;
use crate::auth::{SCRAM, ScramClient};
use crate::client::{Client, Target, Welcome};
use clap::{ArgAction, Args};
use rowcast_codec::{Connect, ConnectProperties, QoS, Secret, Topic, Version, Will, WillProperties};
use std::path::PathBuf;
use std::time::Duration;

/// Where to connect, and as whom.
#[derive(Args, Debug)]
pub(super) struct Connection {
    /// The server's host
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost", conflicts_with = "url")]
    host: String,
    /// The server's port [default: 1883, or 8883 with TLS]
    #[arg(short, long, conflicts_with = "url")]
    port: Option<u16>,
    /// The server's Unix socket, instead of host and port
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port", "url"])]
    unix: Option<PathBuf>,
    /// All in one: mqtt://[user[:password]@]host[:port][/topic], or mqtts:// for TLS
    #[arg(short = 'L', long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// User name; otherwise ROWCAST_USER
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; `-` reads a line of standard input. Otherwise ROWCAST_PASSWORD, which other users cannot see
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD")]
    password: Option<String>,
    /// Prove the password by SCRAM-SHA-256 instead of sending it; the server has to prove that it knows it too
    #[arg(long)]
    scram: bool,
    /// Client identifier; otherwise the server makes one
    #[arg(short, long, value_name = "ID", conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client identifier: this, and the number of the process
    #[arg(short = 'I', long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// mqttv5, mqttv311 or mqttv31
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "mqttv5", value_parser = parse_version)]
    protocol_version: Version,
    /// Keep-alive in seconds; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// Go on with an earlier session, and leave one behind; needs --id
    #[arg(short = 'c', long, requires = "id")]
    disable_clean_session: bool,
    /// Seconds the session outlives the connection, -1 for ever; with -c that is the default
    #[arg(short = 'x', long, value_name = "SECONDS", value_parser = parse_expiry, allow_negative_numbers = true)]
    session_expiry_interval: Option<u32>,
    /// Publish this when the connection breaks
    #[arg(long, value_name = "TOPIC", value_parser = parse_topic)]
    will_topic: Option<String>,
    /// What the will says
    #[arg(long, value_name = "TEXT", requires = "will_topic", default_value = "", hide_default_value = true)]
    will_payload: String,
    /// The will's QoS
    #[arg(long, value_name = "QOS", requires = "will_topic", default_value = "0", value_parser = parse_qos)]
    will_qos: QoS,
    /// The will is retained
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Seconds to wait for the connection
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    connect_timeout: u64,
    /// Say on standard error what happens
    #[arg(short, long)]
    pub(super) debug: bool,
    #[command(flatten)]
    pub(super) properties: PropertyFlags,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// The flags, made sense of.
pub(super) struct Plan {
    target: Target,
    username: Option<String>,
    password: Option<Vec<u8>>,
    client_id: String,
    /// The topic of the URL.
    pub(super) topic: Option<String>,
    /// What `-D` said, command by command.
    pub(super) properties: super::properties::Given,
}

impl Connection {
    /// Looks up what is not in the flags, and refuses what does not fit together.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let properties = parse_properties(&self.properties)?;
        let v5 = self.protocol_version == Version::V5;
        if !v5 && !self.properties.is_empty() {
            return Err(Usage::new("-D needs -V mqttv5: earlier versions have no properties").into());
        }
        let url = self.url.as_deref().map(parse_url).transpose()?;
        let (mut user, mut password, mut topic) = (None, None, None);
        let target = match (url, &self.unix) {
            (Some(url), _) => {
                (user, password, topic) = (url.user, url.password, url.path);
                if url.scheme == "mqtts" {
                    Target::Tls(url.host, url.port.unwrap_or(MQTTS_PORT), self.trust.connector()?)
                } else {
                    self.trust.refuse_unless_given("the URL has to begin with mqtts://")?;
                    Target::Tcp(url.host, url.port.unwrap_or(MQTT_PORT))
                }
            }
            (None, Some(path)) => {
                self.trust.refuse_unless_given("a Unix socket has none")?;
                Target::Unix(path.clone())
            }
            (None, None) if self.trust.is_given() => {
                Target::Tls(self.host.clone(), self.port.unwrap_or(MQTTS_PORT), self.trust.connector()?)
            }
            (None, None) => Target::Tcp(self.host.clone(), self.port.unwrap_or(MQTT_PORT)),
        };
        let username = self.username.clone().or(user).or_else(|| variable("ROWCAST_USER"));
        let password = match (self.password.as_deref(), password) {
            (Some("-"), _) => Some(password_from_input()?),
            (Some(password), _) => Some(password.as_bytes().to_vec()),
            (None, Some(password)) => Some(password.into_bytes()),
            // The variable is for whoever signs in; a client that names nobody is anonymous on purpose.
            (None, None) if username.is_some() => variable("ROWCAST_PASSWORD").map(String::into_bytes),
            (None, None) => None,
        };
        if password.is_some() && username.is_none() && !v5 {
            return Err(Usage::new("a password needs a user name (-u) before MQTT 5").into());
        }
        if self.scram && (!v5 || username.is_none() || password.is_none()) {
            return Err(Usage::new("--scram needs MQTT 5, a user name (-u) and a password").into());
        }
        let client_id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            // MQTT 3.1 knows no empty identifier.
            (None, None) if self.protocol_version == Version::V31 => format!("rowcast-{}", std::process::id()),
            (None, None) => String::new(),
        };
        Ok(Plan { target, username, password, client_id, topic, properties })
    }

    /// Connects as planned.
    pub(super) async fn connect(&self, plan: &Plan) -> anyhow::Result<(Client, Welcome)> {
        let given = &plan.properties.connect;
        let user_properties = plan.properties.user_properties(&given.user)?;
        let will_user_properties = plan.properties.will.user_properties()?;
        let exchange = match (&plan.username, &plan.password) {
            (Some(user), Some(password)) if self.scram => Some(ScramClient::new(user, password)),
            _ => None,
        };
        let (exchange, first) = exchange.unzip();
        let first = first.as_deref();
        let expiry = self.session_expiry_interval.or(given.session_expiry_secs);
        let properties = ConnectProperties {
            session_expiry_secs: expiry.or(self.disable_clean_session.then_some(u32::MAX)),
            receive_maximum: given.receive_maximum,
            maximum_packet_size: given.maximum_packet_size,
            topic_alias_maximum: None,
            request_response_information: given.request_response_information,
            request_problem_information: given.request_problem_information,
            authentication_method: first.map(|_| SCRAM),
            authentication_data: first.map(Secret),
            user_properties: user_properties.as_ref(),
        };
        let will = self.will_topic.as_deref().map(|topic| Will {
            topic,
            payload: self.will_payload.as_bytes(),
            qos: self.will_qos,
            retain: self.will_retain,
            properties: WillProperties {
                delay_secs: plan.properties.will_delay_secs,
                publish: plan.properties.will.as_sent(&will_user_properties),
            },
        });
        let connect = Connect {
            version: self.protocol_version,
            is_bridge: false,
            clean_start: !self.disable_clean_session,
            keep_alive_secs: self.keepalive,
            client_id: &plan.client_id,
            will,
            username: plan.username.as_deref(),
            password: plan.password.as_deref().filter(|_| first.is_none()).map(Secret),
            properties,
        };
        let patience = Duration::from_secs(self.connect_timeout);
        let connected = match exchange {
            Some(exchange) => Client::connect_by_proof(&plan.target, connect, exchange, patience).await?,
            None => Client::connect(&plan.target, connect, patience).await?,
        };
        self.tell(|| format!("connected to {}", plan.target));
        Ok(connected)
    }

    /// Says what happens to someone who wants to know.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.debug {
            anstream::eprintln!("{}", what());
        }
    }
}

fn parse_url(text: &str) -> anyhow::Result<Url> {
    match Url::parse(text) {
        Some(url) if url.scheme == "mqtt" || url.scheme == "mqtts" => Ok(url),
        _ => {
            let expected = "expected mqtt://[user[:password]@]host[:port][/topic], or mqtts://";
            Err(Usage::new(format!("{expected}, found {text:?}")).into())
        }
    }
}

const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "mqttv5" | "5" => Ok(Version::V5),
        "mqttv311" | "311" | "3.1.1" => Ok(Version::V311),
        "mqttv31" | "31" | "3.1" => Ok(Version::V31),
        _ => Err("expected mqttv5, mqttv311 or mqttv31".to_owned()),
    }
}

pub(super) fn parse_qos(text: &str) -> Result<QoS, String> {
    let number = text.parse::<u8>().ok();
    number.and_then(|number| QoS::try_from(number).ok()).ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

pub(super) fn parse_topic(text: &str) -> Result<String, String> {
    Topic::new(text).map(|topic| topic.as_str().to_owned()).map_err(|error| error.to_string())
}

fn parse_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "expected seconds, or -1 for ever".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    #[test]
    fn flags_are_those_of_mosquitto() {
        let line = Line::parse_from([
            "x", "-h", "broker", "-p", "1884", "-u", "rex", "-P", "bone", "-i", "c1", "-V", "mqttv311",
        ]);
        let plan = line.connection.plan().expect("a plan");
        assert_eq!(plan.target, Target::Tcp("broker".to_owned(), 1884));
        assert_eq!((plan.username.as_deref(), plan.password.as_deref()), (Some("rex"), Some(&b"bone"[..])));
        assert_eq!((plan.client_id.as_str(), line.connection.protocol_version), ("c1", Version::V311));
        let line = Line::parse_from(["x", "-c", "-i", "c1", "-x", "-1", "-k", "0"]);
        assert_eq!((line.connection.session_expiry_interval, line.connection.keepalive), (Some(u32::MAX), 0));
        for (arguments, expected) in [
            (&["x"][..], "localhost:1883"),
            (&["x", "--insecure"], "TLS localhost:8883"),
            (&["x", "--insecure", "-h", "broker", "-p", "1884"], "TLS broker:1884"),
            (&["x", "-L", "mqtts://broker"], "TLS broker:8883"),
            (&["x", "-L", "mqtts://broker:1884", "--insecure"], "TLS broker:1884"),
            (&["x", "-L", "mqtt://broker"], "broker:1883"),
        ] {
            let plan = Line::parse_from(arguments).connection.plan().expect("a plan");
            let tls = if matches!(plan.target, Target::Tls(..)) { "TLS " } else { "" };
            assert_eq!(format!("{tls}{}", plan.target), expected, "{arguments:?}");
        }
        let line = Line::parse_from(["x", "-L", "mqtt://rex:bone@broker:1/dog/1"]);
        let plan = line.connection.plan().expect("a plan");
        assert_eq!((plan.topic.as_deref(), plan.username.as_deref()), (Some("dog/1"), Some("rex")));
    }

    #[test]
    fn what_does_not_fit_together_is_wrong_usage() {
        for arguments in [
            &["x", "-V", "mqttv6"][..],
            &["x", "-c"],
            &["x", "-L", "mqtt://h", "-h", "h"],
            &["x", "--unix", "a.sock", "-p", "1"],
            &["x", "-i", "a", "-I", "b"],
            &["x", "--will-retain"],
            &["x", "--will-topic", "a/#"],
            &["x", "--will-topic", "a", "--will-qos", "3"],
            &["x", "-k", "65536"],
            &["x", "-x", "-2"],
            &["x", "--cert", "a.pem"],
            &["x", "--key", "a.pem"],
            &["x", "--insecure", "--cafile", "a.pem"],
        ] {
            assert!(Line::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [
            &["x", "-V", "311", "-P", "bone"][..],
            &["x", "-V", "311", "-D", "connect", "receive-maximum", "1"],
            &["x", "-L", "http://h"],
            &["x", "-L", "mqtt://h", "--insecure"],
            &["x", "-L", "mqtt://h", "--cafile", "a.pem"],
            &["x", "--unix", "a.sock", "--cert", "a.pem", "--key", "a-key.pem"],
            &["x", "--scram"],
            &["x", "--scram", "-u", "rex"],
            &["x", "--scram", "-u", "rex", "-P", "bone", "-V", "311"],
        ] {
            let line = Line::parse_from(arguments);
            let error = line.connection.plan().err().expect("wrong usage");
            assert!(error.downcast_ref::<Usage>().is_some(), "{arguments:?}: {error}");
        }
    }
}
