//! `rowcast pub`.

use super::connection::{Connection, Plan, parse_qos, parse_topic};
use super::{Usage, block_on};
use crate::client::{Client, Event, Welcome};
use anyhow::Context;
use clap::Args;
use rowcast_codec::{Disconnect, DisconnectProperties, Publish, QoS, ReasonCode};
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

/// What to publish.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast pub -t dog/1 -r -m '{\"name\":\"Rex\"}'          write a record
  rowcast pub -t dog/1 -m barks                          an event: seen, not stored
  rowcast pub -t dog/1 -r -n                             delete the record
  tail -f barks.txt | rowcast pub -t dog/1 -l -q 1       one message a line
  rowcast pub -L mqtt://rex@localhost/dog/1 -f dog.json -r -D publish content-type application/json")]
pub(super) struct PublishCommand {
    /// The topic
    #[arg(short, long, value_parser = parse_topic, required_unless_present = "url")]
    topic: Option<String>,
    #[command(flatten)]
    source: Source,
    /// 0: at most once, 1: at least once, 2: exactly once
    #[arg(short, long, default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// The message is the topic's state: it is kept, and replaces the record
    #[arg(short, long)]
    retain: bool,
    /// Publish it that many times
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "stdin_line")]
    repeat: u64,
    /// Seconds between them, such as 0.5
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    repeat_delay: Duration,
    #[command(flatten)]
    connection: Connection,
}

/// Where the message comes from: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Source {
    /// The message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// A file that holds the message
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// All of standard input is the message
    #[arg(short = 's', long)]
    stdin_file: bool,
    /// Each line of standard input is a message
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// An empty message
    #[arg(short = 'n', long)]
    null_message: bool,
}

impl PublishCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let plan = self.connection.plan()?;
        let topic =
            self.topic.clone().or_else(|| plan.topic.clone()).ok_or_else(|| Usage::new("a topic is needed: -t"))?;
        let topic = parse_topic(&topic).map_err(Usage::new)?;
        let messages = self.messages()?;
        block_on(self.publish(&plan, &topic, messages))
    }

    async fn publish(
        &self,
        plan: &Plan,
        topic: &str,
        mut messages: mpsc::Receiver<Vec<u8>>,
    ) -> anyhow::Result<ExitCode> {
        let (client, welcome) = self.connection.connect(plan).await?;
        self.check(&welcome)?;
        let user_properties = plan.properties.publish.user_properties()?;
        let message = Publish {
            qos: self.qos,
            retain: self.retain,
            topic,
            properties: plan.properties.publish.as_sent(&user_properties),
            ..Publish::default()
        };
        let mut publisher = Publisher { client, connection: &self.connection, refused: 0 };
        let mut first = true;
        while let Some(payload) = publisher.next_message(&mut messages).await? {
            if !first && !self.repeat_delay.is_zero() {
                tokio::time::sleep(self.repeat_delay).await;
            }
            first = false;
            publisher.publish(Publish { payload: &payload, ..message.clone() }).await?;
        }
        publisher.finish(plan).await
    }

    fn check(&self, welcome: &Welcome) -> anyhow::Result<()> {
        if self.qos > welcome.maximum_qos {
            anyhow::bail!("the server takes at most QoS {}", u8::from(welcome.maximum_qos));
        }
        Ok(())
    }

    /// The payloads in order. Read on a thread of their own: standard input has no other way to wait.
    fn messages(&self) -> anyhow::Result<mpsc::Receiver<Vec<u8>>> {
        let (sender, messages) = mpsc::channel(WAITING_LINES_MAX);
        if self.source.stdin_line {
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().split(b'\n') {
                    let Ok(mut line) = line else { return };
                    line.pop_if(|last| *last == b'\r');
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            return Ok(messages);
        }
        let payload = self.payload()?;
        let repeat = self.repeat;
        std::thread::spawn(move || (0..repeat).try_for_each(|_| sender.blocking_send(payload.clone())));
        Ok(messages)
    }

    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(path) = &self.source.file {
            return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        }
        let mut payload = self.source.message.clone().unwrap_or_default().into_bytes();
        if self.source.stdin_file {
            std::io::stdin().lock().read_to_end(&mut payload)?;
        }
        Ok(payload)
    }
}

/// A client with messages under way.
struct Publisher<'c> {
    client: Client,
    connection: &'c Connection,
    refused: u64,
}

impl Publisher<'_> {
    /// Waits for the next message, and meanwhile for what the server has to say.
    async fn next_message(&mut self, messages: &mut mpsc::Receiver<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            let event = tokio::select! {
                biased;
                message = messages.recv() => return Ok(message),
                event = self.client.next() => event?,
            };
            self.on_event(event);
        }
    }

    async fn publish(&mut self, message: Publish<'_>) -> anyhow::Result<()> {
        while self.client.room() == 0 {
            let event = self.client.next().await?;
            self.on_event(event);
        }
        let (topic, bytes) = (message.topic, message.payload.len());
        self.connection.tell(|| format!("publishing {bytes} bytes to {topic}"));
        self.client.publish(message)?;
        self.client.flush().await?;
        Ok(())
    }

    async fn finish(mut self, plan: &Plan) -> anyhow::Result<ExitCode> {
        while self.client.in_flight() > 0 {
            let event = self.client.next().await?;
            self.on_event(event);
        }
        let user_properties = plan.properties.user_properties(&plan.properties.disconnect_user)?;
        let properties = DisconnectProperties {
            session_expiry_secs: plan.properties.disconnect_expiry_secs,
            user_properties: user_properties.as_ref(),
            ..DisconnectProperties::default()
        };
        self.client.disconnect(Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties }).await?;
        Ok(if self.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn on_event(&mut self, event: Event) {
        let Event::Published(id, verdict) = event else { return };
        if verdict.reason.is_error() {
            self.refused += 1;
            anstream::eprintln!("{}", super::error_line(&format!("the server refuses the message: {verdict}")));
        }
        self.connection.tell(|| format!("message {} is acknowledged: {verdict}", id.get()));
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Lines read ahead of the server.
const WAITING_LINES_MAX: usize = 64;
