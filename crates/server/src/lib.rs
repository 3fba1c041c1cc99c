//! rowcast: a database whose records are MQTT topics. Everything with a socket, and the program.

pub mod app;
pub mod auth;
pub mod config;
