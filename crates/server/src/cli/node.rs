//! The node whose data folder a command is about: running or not.
//!
//! A running node holds the lock of its data folder and writes there where it can be asked over HTTP. Who may read the
//! folder's keys shows it a token made from them; passwords are not needed.

use super::Usage;
use crate::auth::{LocalKey, Secret};
use crate::config::Config;
use crate::db::Alone;
use crate::{app, data_folder, private_file};
use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rowcast_core::NodeId;
use rowcast_store::{FolderError, OpenError, Store};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Whom a command talks to.
pub(super) enum Node {
    /// Nobody but itself has the data.
    Stopped(Alone),
    /// Another process has, and is asked.
    Running(Running),
}

/// What a data folder that is not there means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// A database to begin.
    Made,
    /// A mistake.
    Refused,
}

/// A running node.
pub(super) struct Running {
    address: String,
    key: LocalKey,
}

impl Node {
    /// Finds out which it is. Where there is no data yet, it is made or refused, as `missing` says.
    pub(super) fn of(config: &Config, missing: Missing) -> anyhow::Result<Node> {
        let folder = &config.storage.path;
        if missing == Missing::Refused && !folder.is_dir() {
            bail!("there is no data in {} yet", folder.display());
        }
        private_file::keep_all_private();
        data_folder::check(folder)?;
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
        let id = NodeId(u64::from_le_bytes(number).max(1));
        match Store::open(folder, &app::options(config, id), crate::db::now_ms()) {
            Ok((store, writer)) => Ok(Node::Stopped(Alone::new(store, writer)?)),
            Err(OpenError::Folder(FolderError::Locked { .. })) => Ok(Node::Running(Running::of(config)?)),
            Err(error) => Err(error).with_context(|| format!("cannot open the data in {}", folder.display())),
        }
    }
}

impl Running {
    fn of(config: &Config) -> anyhow::Result<Running> {
        let folder = &config.storage.path;
        let address = std::fs::read_to_string(folder.join(app::HTTP_ADDRESS)).map_err(|_| {
            anyhow!("{} is in use by a node that cannot be asked: it has no HTTP port without TLS", folder.display())
        })?;
        let keys = folder.join("keys");
        let secret = Secret::open(&keys).with_context(|| format!("cannot read the keys in {}", keys.display()))?;
        Ok(Running { address: address.trim().to_owned(), key: LocalKey::new(&secret) })
    }

    /// Makes a request of it; fails with the node's own words if it refuses.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let asked = async {
            match self.address.strip_prefix("unix:") {
                Some(path_of_socket) => {
                    let stream = UnixStream::connect(path_of_socket).await;
                    self.ask_over(stream.with_context(|| format!("cannot reach {}", self.address))?, method, path, body)
                        .await
                }
                None => {
                    let stream = TcpStream::connect(&self.address).await;
                    self.ask_over(stream.with_context(|| format!("cannot reach {}", self.address))?, method, path, body)
                        .await
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| bail!("no answer from {}", self.address))
    }

    async fn ask_over<S>(&self, stream: S, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.header(AUTHORIZATION, self.key.authorization(crate::db::now_ms() / 1000));
        let request = request.header(CONTENT_TYPE, "application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| Usage::new(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection); // Ends with the runtime; what goes wrong there, the request hears of.
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow!("{error}"))?.to_bytes();
        let answer = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        match (head.status.is_success(), answer["detail"].as_str()) {
            (true, _) => Ok(answer),
            (false, Some(detail)) if head.status != StatusCode::UNAUTHORIZED => bail!("{detail}"),
            _ => bail!("the node at {} answers {}", self.address, head.status),
        }
    }
}

/// Longer than a node takes for a page of its accounts, or to hash a password behind others.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
