//! `rowcast dev` and `rowcast run`.

use crate::config::{Given, LoadError, Loaded, Mode, load};
use crate::reload::Again;
use crate::{app, application, data_folder, logging, private_file};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to run, and what to run it with.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast dev                                       the application in this folder
  rowcast run /srv/kennel --data /var/lib/kennel
  rowcast run --mqtt-port 127.0.0.1:1884 --http-port null
  rowcast run --set mqtt.limits.packetBytes=1MiB

Every key of rowcast.yaml is also a variable: ROWCAST_MQTT_NETWORK_PORT=1884.
Flags go before the environment, that before the file, and the file before the defaults.
SIGHUP has the configuration, the schema, the roles and the certificates read again.
The first `run` makes the user `admin`, with the password in ROWCAST_ADMIN_PASSWORD or one it prints.")]
pub(super) struct Serve {
    /// The application folder
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// Configuration from the command line.
#[derive(Args, Debug)]
pub(super) struct Settings {
    /// Read this file instead of rowcast.yaml; harperdb-config.yaml is understood too
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of the configuration, such as `mqtt.openTopics=false`; may be given more than once
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where MQTT listens: a port, `host:port`, a path, or `null`
    #[arg(long, global = true, value_name = "PORT")]
    mqtt_port: Option<String>,
    /// Where HTTP listens: a port, `host:port`, a path, or `null`
    #[arg(long, global = true, value_name = "PORT")]
    http_port: Option<String>,
    /// The data folder
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Serve {
    pub(super) fn run(self, mode: Mode) -> anyhow::Result<ExitCode> {
        let given = self.settings.given(self.folder)?;
        let Loaded { config, warnings, file } = load(mode, &given)?;
        // Before anything is written, also by the log: its file may be in the data folder.
        private_file::keep_all_private();
        data_folder::check(&config.storage.path)?;
        let log = logging::start(&config.logging)?;
        for warning in warnings.into_iter().chain(application::unread_files(&config.folder)) {
            tracing::warn!("{warning}");
        }
        app::run(config, Again { mode, given, file, log })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Settings {
    /// All that a configuration is made from.
    pub(super) fn given(self, folder: PathBuf) -> Result<Given, LoadError> {
        let short = [
            ("mqtt.network.port", self.mqtt_port),
            ("http.port", self.http_port),
            // Where the user is, as a shell completes it; in the file, paths are within the application's folder.
            ("storage.path", self.data.map(|path| absolute(&path))),
            ("logging.level", self.log_level),
        ];
        let short = short.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        let (file, flags) = (self.config, self.set.into_iter().chain(short).collect());
        Ok(Given { folder, file, flags, environment: Given::environment()? })
    }
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn flags_are_keys_by_a_shorter_name() {
        check(&[], ".", &[]);
        check(&["kennel", "--mqtt-port", "null"], "kennel", &["mqtt.network.port=null"]);
        check(&["--set", "a.b=c", "--set", "d=e=f", "--http-port", "0"], ".", &["a.b=c", "d=e=f", "http.port=0"]);
        check(
            &["--data", "/var/lib/x", "--log-level", "debug"],
            ".",
            &["storage.path=/var/lib/x", "logging.level=debug"],
        );
    }

    #[track_caller]
    fn check(arguments: &[&str], folder: &str, flags: &[&str]) {
        let line = Line::parse_from(["run"].iter().chain(arguments));
        let given = line.serve.settings.given(line.serve.folder).expect("variables are text");
        assert_eq!(
            (given.folder.to_str(), given.flags),
            (Some(folder), flags.iter().map(|&flag| flag.to_owned()).collect())
        );
    }
}
