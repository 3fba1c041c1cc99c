//! `rowcast sub`.

use super::connection::{Connection, Plan, parse_qos};
use super::format::Format;
use super::{Usage, block_on};
use crate::client::{Client, Event, Message, Verdict};
use clap::{Args, ValueEnum};
use rowcast_codec::{
    Disconnect, DisconnectProperties, QoS, ReasonCode, RetainHandling, SubscribeFilter, SubscribeProperties,
    SubscriptionOptions, Topic, TopicFilter,
};
use std::io::{ErrorKind, StdoutLock, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// What to subscribe to, and how to show it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast sub -v -t 'dog/#'                          every dog, and every change
  rowcast sub -t dog/1 -C 1                          the record, once
  rowcast sub -t 'dog/#' -F '%I %t %p'               with time and topic
  rowcast sub -t 'dog/#' -c -i watcher -q 1          a session that outlives this program
  rowcast sub -L 'mqtt://rex@localhost/dog/#' -F '%j'

Formats: %t topic, %p payload, %x payload in hex, %l its length, %q QoS, %r retain, %m packet
identifier, %I time (ISO 8601), %U time (Unix), %j all as JSON, %J the same with a JSON payload,
%C content type, %E expiry, %R response topic, %D correlation data, %P user properties,
%S subscription identifiers, %F payload format, %% a percent sign; \\n \\t \\\\ as usual.")]
pub(super) struct SubscribeCommand {
    /// A topic filter; may be given more than once
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter, required_unless_present_any = ["url", "unsubscribe"])]
    topic: Vec<String>,
    /// Do not show topics that this filter matches; may be given more than once
    #[arg(short = 'T', long, value_name = "FILTER", value_parser = parse_filter)]
    filter_out: Vec<String>,
    /// Unsubscribe from this filter first; may be given more than once
    #[arg(short = 'U', long, value_name = "FILTER", value_parser = parse_filter)]
    unsubscribe: Vec<String>,
    /// The highest QoS to receive
    #[arg(short, long, default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// End after that many messages
    #[arg(short = 'C', long, value_name = "COUNT")]
    count: Option<u64>,
    /// End after that many seconds; with -C, that is a failure
    #[arg(short = 'W', long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Show the topic before the payload
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// How to show a message
    #[arg(short = 'F', long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,
    /// No newline after each message
    #[arg(short = 'N', long)]
    no_eol: bool,
    /// Do not show retained messages: changes only
    #[arg(short = 'R', long)]
    no_retained: bool,
    /// Show retained messages only, and end at the first that is not
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,
    /// Keep the retain flag of messages as they were published
    #[arg(long)]
    retain_as_published: bool,
    /// When to send retained messages
    #[arg(long, value_name = "WHEN", default_value = "always")]
    retain_handling: When,
    /// Not our own messages
    #[arg(long)]
    no_local: bool,
    /// End once the subscriptions are acknowledged
    #[arg(short = 'E', long)]
    exit_after_subscribe: bool,
    #[command(flatten)]
    connection: Connection,
}

/// When a subscription brings the retained messages.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    /// At each subscribe
    Always,
    /// If the subscription is new
    New,
    /// Never
    Never,
}

impl SubscribeCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let plan = self.connection.plan()?;
        let from_url = plan.topic.as_deref().map(parse_filter).transpose().map_err(Usage::new)?;
        let filters: Vec<String> = self.topic.iter().cloned().chain(from_url).collect();
        if filters.is_empty() && self.unsubscribe.is_empty() {
            return Err(Usage::new("a filter is needed: -t").into());
        }
        block_on(self.subscribe(&plan, &filters))
    }

    async fn subscribe(&self, plan: &Plan, filters: &[String]) -> anyhow::Result<ExitCode> {
        let (mut client, _) = self.connection.connect(plan).await?;
        self.ask(&mut client, plan, filters)?;
        let format = match (&self.format, self.verbose) {
            (Some(format), _) => format.clone(),
            (None, true) => Format::verbose(),
            (None, false) => Format::plain(),
        };
        let mut show = Show { command: self, format, out: std::io::stdout().lock(), left: self.count, filters };
        let deadline = async {
            match self.timeout {
                Some(secs) => tokio::time::sleep(Duration::from_secs(secs)).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = show.messages(&mut client) => ended?,
            () = deadline => match self.count {
                Some(_) => {
                    anstream::eprintln!("{}", super::error_line("the time is over"));
                    ExitCode::FAILURE
                }
                None => ExitCode::SUCCESS,
            },
            _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        };
        let user_properties = plan.properties.user_properties(&plan.properties.disconnect_user)?;
        let properties = DisconnectProperties {
            session_expiry_secs: plan.properties.disconnect_expiry_secs,
            user_properties: user_properties.as_ref(),
            ..DisconnectProperties::default()
        };
        // Everything there was to show is shown: how the connection ends changes nothing.
        let _ = client.disconnect(Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties }).await;
        Ok(ended)
    }

    fn ask(&self, client: &mut Client, plan: &Plan, filters: &[String]) -> anyhow::Result<()> {
        if !self.unsubscribe.is_empty() {
            let user_properties = plan.properties.user_properties(&plan.properties.unsubscribe_user)?;
            let filters: Vec<&str> = self.unsubscribe.iter().map(String::as_str).collect();
            client.unsubscribe(&filters, user_properties.as_ref())?;
        }
        let retain_handling = match self.retain_handling {
            When::Always => RetainHandling::SendAtSubscribe,
            When::New => RetainHandling::SendIfNew,
            When::Never => RetainHandling::DoNotSend,
        };
        let options = SubscriptionOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling,
        };
        let filters: Vec<SubscribeFilter<'_>> =
            filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        if !filters.is_empty() {
            let user_properties = plan.properties.user_properties(&plan.properties.subscribe_user)?;
            let subscription_id = plan.properties.subscription_id;
            let properties = SubscribeProperties { subscription_id, user_properties: user_properties.as_ref() };
            client.subscribe(&filters, properties)?;
        }
        Ok(())
    }
}

/// Messages on their way to standard output.
struct Show<'s> {
    command: &'s SubscribeCommand,
    format: Format,
    out: StdoutLock<'static>,
    left: Option<u64>,
    filters: &'s [String],
}

impl Show<'_> {
    /// Shows messages until there is a reason not to.
    async fn messages(&mut self, client: &mut Client) -> anyhow::Result<ExitCode> {
        if self.left == Some(0) {
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            let event = client.next().await?;
            let shown = match self.on_event(event) {
                Ok(ControlFlow::Continue(())) if client.has_received() => continue,
                // Whoever waits for our output gets it before we wait for the server.
                Ok(shown) => self.out.flush().map(|()| shown),
                Err(error) => Err(error),
            };
            match shown {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(code)) => return Ok(code),
                // `rowcast sub | head -1`: whoever read us has enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn on_event(&mut self, event: Event) -> std::io::Result<ControlFlow<ExitCode>> {
        match event {
            Event::Message(message) => self.on_message(&message),
            Event::Subscribed(_, reasons, words) => Ok(self.on_subscribed(&reasons, words)),
            Event::Unsubscribed(..) if self.filters.is_empty() => Ok(ControlFlow::Break(ExitCode::SUCCESS)),
            Event::Unsubscribed(..) | Event::Published(..) | Event::Pong => Ok(ControlFlow::Continue(())),
        }
    }

    fn on_subscribed(&mut self, reasons: &[ReasonCode], words: Option<String>) -> ControlFlow<ExitCode> {
        for (filter, reason) in self.filters.iter().zip(reasons) {
            if reason.is_error() {
                let verdict = Verdict { reason: *reason, words: words.clone() };
                let why = format!("the server refuses the subscription to {filter}: {verdict}");
                anstream::eprintln!("{}", super::error_line(&why));
            } else {
                self.command.connection.tell(|| format!("subscribed to {filter}: {reason}"));
            }
        }
        if let Some(words) = words.filter(|_| !reasons.iter().any(|reason| reason.is_error())) {
            anstream::eprintln!("{words}"); // Granted, but not quite as asked for.
        }
        if reasons.iter().all(|reason| reason.is_error()) {
            return ControlFlow::Break(ExitCode::FAILURE);
        }
        match self.command.exit_after_subscribe {
            true => ControlFlow::Break(ExitCode::SUCCESS),
            false => ControlFlow::Continue(()),
        }
    }

    fn on_message(&mut self, message: &Message) -> std::io::Result<ControlFlow<ExitCode>> {
        if self.command.retained_only && !message.retain {
            return Ok(ControlFlow::Break(ExitCode::SUCCESS));
        }
        if (self.command.no_retained && message.retain) || self.is_filtered_out(&message.topic) {
            return Ok(ControlFlow::Continue(()));
        }
        self.format.write(message, SystemTime::now(), &mut self.out)?;
        if !self.command.no_eol {
            self.out.write_all(b"\n")?;
        }
        self.left = self.left.map(|left| left - 1);
        Ok(if self.left == Some(0) { ControlFlow::Break(ExitCode::SUCCESS) } else { ControlFlow::Continue(()) })
    }

    fn is_filtered_out(&self, topic: &str) -> bool {
        let Ok(topic) = Topic::new(topic) else { return false };
        self.command.filter_out.iter().any(|filter| TopicFilter::new(filter).is_ok_and(|filter| filter.matches(&topic)))
    }
}

fn parse_filter(text: &str) -> Result<String, String> {
    TopicFilter::new(text).map(|filter| filter.as_str().to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        command: SubscribeCommand,
    }

    #[test]
    fn flags_are_those_of_mosquitto_sub() {
        let line = Line::parse_from([
            "sub", "-h", "broker", "-t", "a/#", "-t", "b", "-T", "a/x", "-q", "1", "-C", "3", "-W", "5", "-R", "-F",
            "%t",
        ]);
        assert_eq!((line.command.topic, line.command.filter_out), (vec!["a/#".into(), "b".into()], vec!["a/x".into()]));
        assert_eq!((line.command.count, line.command.timeout), (Some(3), Some(5)));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for arguments in [
            &["sub"][..],
            &["sub", "-t", "a#"],
            &["sub", "-t", ""],
            &["sub", "-t", "a", "-q", "3"],
            &["sub", "-t", "a", "-v", "-F", "%t"],
            &["sub", "-t", "a", "-F", "%y"],
            &["sub", "-t", "a", "-R", "--retained-only"],
            &["sub", "-t", "a", "-C", "x"],
        ] {
            assert!(Line::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
