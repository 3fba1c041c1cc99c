//! `rowcast bench`: load against any MQTT broker, every message verified.
//!
//! It shares no code with the server: what both got wrong, it would not see (`tidy.rs` holds that).

mod connections;
mod cpu;
mod flight;
mod link;
mod message;
mod outcome;
mod pace;
mod progress;
mod records;
mod report;
mod run;
mod tracker;
mod traffic;
mod wire;

use super::credentials::{password_from_input, variable};
use super::trust::Trust;
use super::{Usage, block_on};
use crate::tls::Connector;
use anyhow::Context;
use clap::{ArgAction, Args, ValueEnum};
use connections::Subscribing;
use link::{Link, Way};
use message::Messages;
use outcome::Outcome;
use progress::Progress;
use records::Afterwards;
use report::Side;
use run::{Broker, Load, Run, Stop};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use traffic::Shape;
use wire::{Login, Version};

/// What load, and on whom.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast bench                                      10 pairs of clients, as fast as it goes
  rowcast bench fan-out -n 100 -q 1 --seconds 5
  rowcast bench latency --rate 5000 -h broker -p 1884
  rowcast bench connections -n 5000 --subscribe --pid $(pidof mosquitto)
  rowcast bench records -t note                      write and read back records of a table that takes any JSON
  rowcast bench pairs --compare localhost:1884       this broker and another, in turns
  rowcast bench --cafile data/keys/ca.pem --compare localhost:1883    what TLS costs

Every message is looked at when it arrives. What was lost, doubled, disordered, spoiled, stale, refused,
never acknowledged or cut off is counted, and makes the exit code 1. Ctrl-C ends the load and prints what
there is; a second one does not wait for messages under way.")]
pub(super) struct BenchCommand {
    /// What to do
    #[arg(value_enum, default_value_t = Scenario::Pairs)]
    scenario: Scenario,
    /// The broker's host
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// The broker's port [default: 1883, or 8883 with TLS]
    #[arg(short, long)]
    port: Option<u16>,
    /// The broker's Unix socket, instead of host and port
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    unix: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// User name; otherwise ROWCAST_USER
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password; `-` reads a line of standard input. Otherwise ROWCAST_PASSWORD, which other users cannot see
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD")]
    password: Option<String>,
    /// mqttv5, mqttv311 or mqttv31
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "mqttv5", value_parser = parse_version)]
    protocol_version: Version,
    /// Publish and subscribe with this QoS; otherwise 0, and 1 for records
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Topics are this, a number of the run, and one more level
    #[arg(short, long, default_value = "rowcast-bench", value_parser = parse_topic)]
    topic: String,
    /// Pairs, subscribers (fan-out), publishers (fan-in, records), or connections
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = parse_clients)]
    clients: Option<usize>,
    /// Bytes of a payload, which is JSON
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = parse_size)]
    size: usize,
    /// Messages a second, all together, or connections a second: latency then counts from when each was due
    #[arg(long, value_name = "NUMBER", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Messages each publisher has under way, or clients connecting at once
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = parse_window)]
    window: usize,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", alias = "duration", default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,
    /// Seconds before that
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    warmup: Duration,
    /// Records to write (records)
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = parse_records)]
    records: usize,
    /// Do not delete the records in the end (records)
    #[arg(long)]
    keep: bool,
    /// Each connection subscribes, and is sent a message (connections)
    #[arg(long)]
    subscribe: bool,
    /// Seconds to leave all connections idle (connections)
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    hold: Duration,
    /// Seconds to wait for messages under way, while nothing comes, before they are lost
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    patience: Duration,
    /// The broker's process on this machine: figures per second of its CPU time, and its memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Another broker to compare with, in turns, without TLS: HOST:PORT, or the path of its Unix socket
    #[arg(long, value_name = "WHERE", value_parser = parse_broker)]
    compare: Option<Place>,
    /// The process of that broker
    #[arg(long, value_name = "PID", requires = "compare")]
    compare_pid: Option<u32>,
    /// How often; 1, or 3 to compare
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Where a broker is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scenario {
    /// Publishers with a subscriber each
    Pairs,
    /// One publisher, many subscribers
    FanOut,
    /// Many publishers, one subscriber
    FanIn,
    /// Pairs at a rate that is well below what the broker can do
    Latency,
    /// Many connections, each served in the end
    Connections,
    /// Retained messages written with acknowledgement, read back and compared
    Records,
}

impl BenchCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let load = self.load()?;
        let login = self.login()?;
        // Without the right to more, connections fail later, and say so.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let sides = block_on(async { tokio::task::LocalSet::new().run_until(self.rounds(&load, &login)).await })?;
        if self.json {
            anstream::println!("{:#}", report::json(self.asked(&load), &sides));
        } else {
            anstream::print!("{}\n{}", self.title(&load, &sides), report::text(&sides));
        }
        let well = sides.iter().flat_map(|side| &side.rounds).all(Outcome::is_well);
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// All rounds: the brokers take turns, so that what else the machine does falls on both.
    async fn rounds(&self, load: &Load, login: &Login) -> anyhow::Result<Vec<Side>> {
        let connector = if self.trust.is_given() { Some(self.trust.connector()?) } else { None };
        let place = match &self.unix {
            Some(path) => {
                self.trust.refuse_unless_given("a Unix socket has none")?;
                Place::Unix(path.clone())
            }
            None => {
                let usual = if connector.is_some() { 8883 } else { 1883 };
                Place::Tcp(self.host.clone(), self.port.unwrap_or(usual))
            }
        };
        let mut brokers = vec![Self::broker(&place, connector, login, self.pid).await?];
        if let Some(place) = &self.compare {
            brokers.push(Self::broker(place, None, login, self.compare_pid).await?);
        }
        let stop = Stop::on_ctrl_c();
        let side = |broker: &Broker| Side { broker: broker.name.clone(), rounds: Vec::new() };
        let mut sides: Vec<Side> = brokers.iter().map(side).collect();
        let rounds = self.rounds.unwrap_or(if brokers.len() > 1 { 3 } else { 1 });
        for round in 1..=rounds {
            for (broker, side) in brokers.iter().zip(&mut sides) {
                if stop.asked() {
                    return Ok(sides);
                }
                let progress = Progress::new(match rounds {
                    1 => broker.name.clone(),
                    _ => format!("{}, round {round} of {rounds}", broker.name),
                });
                let run = Run::new(broker, load, &stop)?;
                let outcome = self.round(&run, &progress).await;
                side.rounds.push(outcome.with_context(|| broker.name.clone())?);
            }
        }
        Ok(sides)
    }

    async fn round(&self, run: &std::rc::Rc<Run>, progress: &Progress) -> anyhow::Result<Outcome> {
        match self.scenario {
            Scenario::Pairs | Scenario::Latency => traffic::run(run, Shape::Pairs, progress).await,
            Scenario::FanOut => traffic::run(run, Shape::FanOut, progress).await,
            Scenario::FanIn => traffic::run(run, Shape::FanIn, progress).await,
            Scenario::Connections => {
                let subscribing = if self.subscribe { Subscribing::Yes } else { Subscribing::No };
                connections::run(run, subscribing, self.hold, progress).await
            }
            Scenario::Records => {
                let afterwards = if self.keep { Afterwards::Keep } else { Afterwards::Delete };
                records::run(run, self.records, afterwards, progress).await
            }
        }
    }

    async fn broker(
        place: &Place,
        connector: Option<Connector>,
        login: &Login,
        pid: Option<u32>,
    ) -> anyhow::Result<Broker> {
        let name = match place {
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(path) => path.display().to_string(),
        };
        let way = match place {
            Place::Tcp(host, port) => {
                let address = Link::reach(host, *port).await.with_context(|| name.clone())?;
                match connector {
                    Some(connector) => Way::Tls(address, connector, host.clone()),
                    None => Way::Tcp(address),
                }
            }
            Place::Unix(path) => Way::Unix(path.clone()),
        };
        pid.map(cpu::seconds).transpose()?;
        Ok(Broker { name, way, login: login.clone(), pid })
    }

    /// What the flags ask for, with what the scenario says where they are silent.
    fn load(&self) -> anyhow::Result<Load> {
        let (clients, qos, rate) = match self.scenario {
            Scenario::Pairs => (10, 0, None),
            Scenario::FanOut | Scenario::FanIn => (100, 0, None),
            Scenario::Latency => (10, 0, Some(5_000.0)),
            Scenario::Connections => (1_000, 0, None),
            Scenario::Records => (8, 1, None),
        };
        let qos = self.qos.unwrap_or(qos);
        if self.scenario == Scenario::Records && qos == 0 {
            return Err(Usage::new("records are written with QoS 1 or 2: QoS 0 promises nothing").into());
        }
        if self.seconds.is_zero() {
            return Err(Usage::new("--seconds must be more than 0").into());
        }
        Ok(Load {
            clients: self.clients.unwrap_or(clients),
            qos,
            payload_bytes: self.size,
            rate: self.rate.or(rate),
            window: self.window,
            warmup: self.warmup,
            measured: self.seconds,
            patience: self.patience,
            topic: self.topic.clone(),
        })
    }

    fn login(&self) -> anyhow::Result<Login> {
        let username = self.username.clone().or_else(|| variable("ROWCAST_USER"));
        let password = match self.password.as_deref() {
            Some("-") => Some(password_from_input()?),
            Some(password) => Some(password.as_bytes().to_vec()),
            None if username.is_some() => variable("ROWCAST_PASSWORD").map(String::into_bytes),
            None => None,
        };
        if password.is_some() && username.is_none() && self.protocol_version != Version::V5 {
            return Err(Usage::new("a password needs a user name (-u) before MQTT 5").into());
        }
        let too_long = |length: usize| length > usize::from(u16::MAX);
        if username.as_ref().is_some_and(|name| too_long(name.len()))
            || password.as_ref().is_some_and(|password| too_long(password.len()))
        {
            return Err(Usage::new("user name and password have at most 65535 bytes in MQTT").into());
        }
        Ok(Login { version: self.protocol_version, username, password })
    }

    /// The line above the table.
    fn title(&self, load: &Load, sides: &[Side]) -> String {
        let clients = load.clients;
        let who = match self.scenario {
            Scenario::Pairs | Scenario::Latency => format!("{clients} pairs"),
            Scenario::FanOut => format!("1 publisher, {clients} subscribers"),
            Scenario::FanIn => format!("{clients} publishers, 1 subscriber"),
            Scenario::Connections if self.subscribe => format!("{clients} connections, each with a subscription"),
            Scenario::Connections => format!("{clients} connections"),
            Scenario::Records => format!("{} records, {clients} writers", self.records),
        };
        let mut parts = vec![who];
        let pace = load.rate.map(|rate| format!("{}/s", outcome::short(rate)));
        if self.scenario == Scenario::Connections {
            parts.push(pace.unwrap_or_else(|| format!("{} at a time", load.window)));
        } else {
            parts.push(format!("QoS {}", load.qos));
            parts.push(format!("{} B", load.payload_bytes));
            parts.push(pace.unwrap_or_else(|| format!("{} under way each", load.window)));
            parts.push(format!("{} s", load.measured.as_secs_f64()));
        }
        match sides.iter().map(|side| side.rounds.len()).max().unwrap_or(0) {
            0 | 1 => {}
            rounds => parts.push(format!("median of {rounds} rounds")),
        }
        parts.join(", ")
    }

    fn asked(&self, load: &Load) -> Value {
        json!({
            "scenario": self.scenario.to_possible_value().map(|value| value.get_name().to_owned()),
            "clients": load.clients,
            "qos": load.qos,
            "payload_bytes": load.payload_bytes,
            "rate": load.rate,
            "window": load.window,
            "warmup_seconds": load.warmup.as_secs_f64(),
            "seconds": load.measured.as_secs_f64(),
            "records": (self.scenario == Scenario::Records).then_some(self.records),
        })
    }
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "mqttv5" | "5" => Ok(Version::V5),
        "mqttv311" | "311" | "3.1.1" => Ok(Version::V311),
        "mqttv31" | "31" | "3.1" => Ok(Version::V31),
        _ => Err("expected mqttv5, mqttv311 or mqttv31".to_owned()),
    }
}

/// The first levels of topics. The other two are short.
fn parse_topic(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a topic has at least one character".to_owned()),
        _ if text.len() > 60_000 => Err("a topic has at most 65535 bytes".to_owned()),
        _ if text.contains(['+', '#', '\0']) => Err("a topic has no wildcards".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn parse_broker(text: &str) -> Result<Place, String> {
    if text.contains('/') {
        return Ok(Place::Unix(text.into()));
    }
    let (host, port) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or("expected HOST:PORT")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(Place::Tcp(host.to_owned(), port.parse().map_err(|_| "expected HOST:PORT")?))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds".to_owned())?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("expected 0 to 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.01..=1e8).contains(&rate) { Ok(rate) } else { Err("expected 0.01 to 100000000 a second".to_owned()) }
}

fn parse_clients(text: &str) -> Result<usize, String> {
    within(text, 1, 100_000)
}

fn parse_window(text: &str) -> Result<usize, String> {
    within(text, 1, 65_535)
}

fn parse_records(text: &str) -> Result<usize, String> {
    within(text, 1, 10_000_000)
}

fn parse_size(text: &str) -> Result<usize, String> {
    within(text, Messages::BYTES_MIN, wire::PAYLOAD_BYTES_MAX)
}

fn within(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        bench: BenchCommand,
    }

    fn bench(arguments: &[&str]) -> Result<BenchCommand, clap::Error> {
        Line::try_parse_from(["x"].iter().chain(arguments)).map(|line| line.bench)
    }

    #[test]
    fn a_scenario_knows_what_it_needs_and_flags_know_better() {
        for (arguments, expected) in [
            (&[][..], (10, 0, None)),
            (&["fan-out"], (100, 0, None)),
            (&["fan-in", "-n", "7", "-q", "2"], (7, 2, None)),
            (&["latency"], (10, 0, Some(5_000.0))),
            (&["latency", "--rate", "0.5"], (10, 0, Some(0.5))),
            (&["connections"], (1_000, 0, None)),
            (&["records"], (8, 1, None)),
        ] {
            let load = bench(arguments).expect("right").load().expect("right");
            assert_eq!((load.clients, load.qos, load.rate), expected, "{arguments:?}");
        }
        let compared = |place: &str| bench(&["--compare", place]).expect("right").compare.expect("one");
        assert_eq!(compared("[::1]:1884"), Place::Tcp("::1".to_owned(), 1884));
        assert_eq!(compared("./mqtt.sock"), Place::Unix("./mqtt.sock".into()));
        for name in ["--seconds", "--duration"] {
            assert_eq!(bench(&[name, "3"]).expect("right").seconds, Duration::from_secs(3));
        }
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for arguments in [
            &["bark"][..],
            &["-q", "3"],
            &["-n", "0"],
            &["--size", "53"],
            &["--size", "1048577"],
            &["--rate", "0"],
            &["--rate", "NaN"],
            &["--seconds", "-1"],
            &["--seconds", "1e9"],
            &["--window", "65536"],
            &["-t", "a/#"],
            &["-t", ""],
            &["-V", "mqttv6"],
            &["--compare", "localhost"],
            &["--compare", ":1883"],
            &["--compare", "localhost:70000"],
            &["--compare-pid", "1"],
            &["--rounds", "0"],
            &["--unix", "a.sock", "-p", "1"],
            &["--cert", "a.pem"],
        ] {
            assert!(bench(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [&["records", "-q", "0"][..], &["--seconds", "0"]] {
            let error = bench(arguments).expect("each is right").load().expect_err("together they are wrong");
            assert!(error.is::<Usage>(), "{arguments:?}");
        }
        let error = bench(&["-V", "311", "-P", "bone"]).expect("each is right").login().expect_err("no user");
        assert!(error.is::<Usage>());
    }
}
