//! The command line: arguments to exit code.
//!
//! 0 is fine, 1 is failed, 2 is wrong usage. What a command prints for people goes through `anstream`, which takes
//! the colours out where there is no terminal.

mod bench;
mod check;
mod connection;
mod credentials;
mod format;
mod http;
mod init;
mod node;
mod percent;
mod properties;
mod publish;
mod role;
pub mod screen;
mod serve;
mod subscribe;
mod trust;
mod url;
mod user;

use crate::application::ApplicationError;
use crate::config::LoadError;
use anstyle::{AnsiColor, Style};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use hyper::Method;
use rowcast_core::schema::{Color, render};
use std::ffi::OsString;
use std::process::ExitCode;

/// A database whose records are MQTT topics.
#[derive(Parser, Debug)]
#[command(name = "rowcast", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  rowcast init kennel                       a small application to begin with
  rowcast dev kennel                        run it, on this machine only
  rowcast sub -v -t 'dog/#'                 watch a table
  rowcast pub -r -t dog/1 -m '{\"name\":\"Rex\"}'
  rowcast get dog/1

`rowcast COMMAND --help` says more.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run an application for its author: on loopback, without passwords
    Dev(serve::Serve),
    /// Run an application for real
    Run(serve::Serve),
    /// Check schema and configuration without starting
    Check(check::Check),
    /// Write a small working application
    Init(init::Init),
    /// Publish to an MQTT server
    #[command(disable_help_flag = true)]
    Pub(Box<publish::PublishCommand>),
    /// Subscribe to an MQTT server, and show what comes
    #[command(disable_help_flag = true)]
    Sub(Box<subscribe::SubscribeCommand>),
    /// Read records over HTTP
    Get(http::Get),
    /// Write a record over HTTP
    Put(http::Change),
    /// Change some attributes of a record over HTTP
    Patch(http::Change),
    /// Delete records over HTTP
    Delete(http::Delete),
    /// Load an MQTT broker, and see what it does and whether anything is lost
    #[command(disable_help_flag = true)]
    Bench(Box<bench::BenchCommand>),
    /// Manage who may sign in
    User(user::UserCommand),
    /// Show what users can be allowed to do
    Role(role::RoleCommand),
    /// Write completions for a shell to standard output
    #[command(after_help = "Example:\n  rowcast completions bash > /etc/bash_completion.d/rowcast")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Runs the program with `arguments`, the first of which is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are printed to standard output, and are fine.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command.run() {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{}", shown(&error));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        use crate::config::Mode;
        match self {
            Self::Dev(serve) => serve.run(Mode::Dev),
            Self::Run(serve) => serve.run(Mode::Run),
            Self::Check(check) => check.run(),
            Self::Init(init) => init.run(),
            Self::Pub(publish) => publish.run(),
            Self::Sub(subscribe) => subscribe.run(),
            Self::Get(get) => get.run(),
            Self::Put(change) => change.run(Method::PUT),
            Self::Patch(change) => change.run(Method::PATCH),
            Self::Delete(delete) => delete.run(),
            Self::Bench(bench) => bench.run(),
            Self::User(user) => user.run(),
            Self::Role(role) => role.run(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Arguments::command(), "rowcast", &mut script);
                anstream::print!("{}", String::from_utf8(script)?); // Who reads on no more is no failure to it.
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// An error as a terminal shows it: mistakes with their source, everything else as a line with its causes.
fn shown(error: &anyhow::Error) -> String {
    let diagnostics = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(LoadError::Wrong(diagnostics)), _) | (_, Some(ApplicationError::Wrong(diagnostics))) => diagnostics,
        _ => return error_line(&format!("{error:#}")),
    };
    render(diagnostics, Color::Ansi)
}

fn error_line(what: &str) -> String {
    format!("{RED}error{RED:#}: {what}")
}

/// Arguments that are each right and together wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    fn new(message: impl Into<String>) -> Usage {
        Usage(message.into())
    }
}

/// Runs a command that talks to a server, on this thread.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

const RED: Style = AnsiColor::BrightRed.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help() {
        for command in Arguments::command().get_subcommands() {
            let help = Arguments::try_parse_from(["rowcast", command.get_name(), "--help"]).expect_err("help");
            assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp, "{}", command.get_name());
            assert!(help.to_string().contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn wrong_usage_is_2_and_failure_is_1() {
        check(&["rowcast", "--version"], ExitCode::SUCCESS);
        check(&["rowcast"], ExitCode::from(2));
        check(&["rowcast", "bark"], ExitCode::from(2));
        check(&["rowcast", "run", "--bark"], ExitCode::from(2));
        check(&["rowcast", "run", "/nowhere/at/all"], ExitCode::FAILURE);
        check(&["rowcast", "check", "/nowhere/at/all"], ExitCode::FAILURE);
    }

    #[track_caller]
    fn check(arguments: &[&str], expected: ExitCode) {
        let code = main(arguments.iter().map(OsString::from));
        assert_eq!(format!("{code:?}"), format!("{expected:?}"), "{arguments:?}");
    }
}
