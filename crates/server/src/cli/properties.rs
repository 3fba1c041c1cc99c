//! `-D command property value`: the properties of MQTT 5, named as in Mosquitto.

use super::Usage;
use crate::client::Properties;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use rowcast_codec::{EncodeError, UserPropertiesBuf};
use std::fmt::Display;
use std::str::FromStr;

/// Every `-D` with its words.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct PropertyFlags(Vec<Vec<String>>);

impl PropertyFlags {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which properties go with which packet.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Given {
    pub(super) connect: ConnectGiven,
    pub(super) publish: Properties,
    pub(super) will: Properties,
    pub(super) will_delay_secs: Option<u32>,
    pub(super) subscription_id: Option<u32>,
    pub(super) subscribe_user: Pairs,
    pub(super) unsubscribe_user: Pairs,
    pub(super) disconnect_expiry_secs: Option<u32>,
    pub(super) disconnect_user: Pairs,
}

/// User properties.
pub(super) type Pairs = Vec<(String, String)>;

/// Those of CONNECT.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct ConnectGiven {
    pub(super) session_expiry_secs: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) request_response_information: Option<bool>,
    pub(super) request_problem_information: Option<bool>,
    pub(super) user: Pairs,
}

impl Given {
    /// User properties in the form in which they are sent.
    pub(super) fn user_properties(&self, pairs: &Pairs) -> Result<UserPropertiesBuf, EncodeError> {
        let mut buffer = UserPropertiesBuf::new();
        pairs.iter().try_for_each(|(name, value)| buffer.push(name, value))?;
        Ok(buffer)
    }
}

/// Makes sense of every `-D`.
pub(super) fn parse_properties(flags: &PropertyFlags) -> Result<Given, Usage> {
    let mut given = Given::default();
    for words in &flags.0 {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        take(&mut given, &words).map_err(|why| Usage::new(format!("-D {}: {why}", words.join(" "))))?;
    }
    Ok(given)
}

fn take(given: &mut Given, words: &[&str]) -> Result<(), String> {
    let (command, property, value) = match *words {
        [command, "user-property", name, value] => {
            let pairs = match command {
                "connect" => &mut given.connect.user,
                "publish" => &mut given.publish.user,
                "will" => &mut given.will.user,
                "subscribe" => &mut given.subscribe_user,
                "unsubscribe" => &mut given.unsubscribe_user,
                "disconnect" => &mut given.disconnect_user,
                _ => return Err(format!("there is no command {command:?}")),
            };
            pairs.push((name.to_owned(), value.to_owned()));
            return Ok(());
        }
        [_, "user-property", _] => return Err("expected a name and a value".to_owned()),
        [command, property, value] => (command, property, value),
        _ => return Err("expected a command, a property and its value".to_owned()),
    };
    match (command, property) {
        ("connect", "session-expiry-interval") => set(&mut given.connect.session_expiry_secs, value),
        ("connect", "receive-maximum") => set(&mut given.connect.receive_maximum, value),
        ("connect", "maximum-packet-size") => set(&mut given.connect.maximum_packet_size, value),
        ("connect", "request-response-information") => switch(&mut given.connect.request_response_information, value),
        ("connect", "request-problem-information") => switch(&mut given.connect.request_problem_information, value),
        ("subscribe", "subscription-identifier") => set(&mut given.subscription_id, value),
        ("disconnect", "session-expiry-interval") => set(&mut given.disconnect_expiry_secs, value),
        ("will", "will-delay-interval") => set(&mut given.will_delay_secs, value),
        ("publish", _) => take_of_message(&mut given.publish, property, value),
        ("will", _) => take_of_message(&mut given.will, property, value),
        _ => Err(unknown(property)),
    }
}

/// The properties that a message and a will have in common.
fn take_of_message(properties: &mut Properties, property: &str, value: &str) -> Result<(), String> {
    match property {
        "content-type" => properties.content_type = Some(value.to_owned()),
        "response-topic" => properties.response_topic = Some(super::connection::parse_topic(value)?),
        "correlation-data" => properties.correlation_data = Some(value.as_bytes().to_vec()),
        "message-expiry-interval" => return set(&mut properties.message_expiry_secs, value),
        "payload-format-indicator" => match value {
            "0" | "1" => properties.payload_format = value.parse().ok(),
            _ => return Err("expected 0 or 1".to_owned()),
        },
        _ => return Err(unknown(property)),
    }
    Ok(())
}

fn set<T: FromStr<Err: Display>>(into: &mut Option<T>, value: &str) -> Result<(), String> {
    *into = Some(value.parse().map_err(|error: T::Err| error.to_string())?);
    Ok(())
}

fn switch(into: &mut Option<bool>, value: &str) -> Result<(), String> {
    *into = Some(match value {
        "0" => false,
        "1" => true,
        _ => return Err("expected 0 or 1".to_owned()),
    });
    Ok(())
}

fn unknown(property: &str) -> String {
    format!("this command has no property {property:?}")
}

/// By hand, because the derived form forgets where one `-D` ends and the next begins.
impl Args for PropertyFlags {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new(ID)
                .short('D')
                .long("property")
                .num_args(3..=4)
                .action(ArgAction::Append)
                .value_names(["COMMAND", "PROPERTY", "VALUE"])
                .help("A property of MQTT 5: `publish content-type text/plain`, `connect user-property NAME VALUE`"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PropertyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let occurrences = matches.get_occurrences::<String>(ID).into_iter().flatten();
        Ok(Self(occurrences.map(|words| words.cloned().collect()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const ID: &str = "property";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        properties: PropertyFlags,
        #[arg(short = 't')]
        topic: Option<String>,
    }

    #[test]
    fn properties_go_with_their_packet() {
        let given = check(
            "-D connect receive-maximum 5 -D publish content-type text/plain -D publish user-property a 1 -t x
             -D publish user-property a 2 -D will will-delay-interval 3 -D will payload-format-indicator 1
             -D subscribe subscription-identifier 7 -D disconnect session-expiry-interval 0
             -D publish correlation-data id -D publish response-topic r/1 -D connect user-property k v",
        )
        .expect("properties");
        assert_eq!(given.connect.receive_maximum, Some(5));
        assert_eq!(given.connect.user, [("k".to_owned(), "v".to_owned())]);
        assert_eq!(given.publish.content_type.as_deref(), Some("text/plain"));
        assert_eq!(given.publish.user.len(), 2);
        assert_eq!(given.publish.correlation_data.as_deref(), Some(&b"id"[..]));
        assert_eq!((given.will_delay_secs, given.will.payload_format), (Some(3), Some(1)));
        assert_eq!((given.subscription_id, given.disconnect_expiry_secs), (Some(7), Some(0)));
    }

    #[test]
    fn others_are_refused() {
        for (line, expected) in [
            ("-D connect content-type a", "-D connect content-type a: this command has no property \"content-type\""),
            ("-D bark user-property a b", "-D bark user-property a b: there is no command \"bark\""),
            ("-D publish user-property a", "-D publish user-property a: expected a name and a value"),
            (
                "-D connect receive-maximum 70000",
                "-D connect receive-maximum 70000: number too large to fit in target type",
            ),
            ("-D publish payload-format-indicator 2", "-D publish payload-format-indicator 2: expected 0 or 1"),
            (
                "-D publish content-type a b",
                "-D publish content-type a b: expected a command, a property and its value",
            ),
        ] {
            assert_eq!(check(line).expect_err(line).to_string(), expected);
        }
        assert!(Line::try_parse_from(["x", "-D", "publish", "content-type"]).is_err());
    }

    fn check(line: &str) -> Result<Given, Usage> {
        let line = Line::parse_from(["x"].into_iter().chain(line.split_whitespace()));
        assert!(line.topic.is_none_or(|topic| topic == "x"));
        parse_properties(&line.properties)
    }
}
