//! The program as its users meet it: the real binary on a folder of its own, and real clients of several makes.
//!
//! `./test` installs the clients. A test waits for what it expects, for as long as [`DEADLINE`] and no longer; it
//! never sleeps, and never assumes that a time was enough.

mod audit;
mod auth;
mod bench;
mod browser;
mod clients;
mod config;
mod crowd;
mod damage;
mod data_folder;
mod descriptors;
mod dev;
mod footprint;
mod full;
mod hostile;
mod http;
mod kill;
mod limits;
mod mtls;
mod pages;
mod proxy;
mod random;
mod recovery;
mod reload;
mod retention;
mod roles;
mod scram;
mod server;
mod sessions;
mod story;
mod sync;
mod sys;
mod tls;
mod tokens;
mod tools;
mod trust;
mod unix;
mod users;
mod websocket;
mod wills;
mod wire;

use std::time::Duration;

/// How long anything may take before a test gives up. Far more than it needs, for machines with much else to do.
const DEADLINE: Duration = Duration::from_secs(60);
