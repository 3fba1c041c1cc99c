//! rowcast: a database whose records are MQTT topics. Everything with a socket, and the program.

pub mod access;
pub mod admission;
pub mod app;
pub mod application;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod client;
pub mod clients;
pub mod config;
pub mod data_folder;
pub mod db;
pub mod entrance;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod logging;
pub mod mqtt;
pub mod net;
pub mod peer;
pub mod private_file;
pub mod reload;
pub mod roles;
pub mod runtime;
pub mod seed;
pub mod sys;
#[cfg(test)]
mod tidy;
pub mod tls;
pub mod users;
pub mod watch;
pub mod websocket;
