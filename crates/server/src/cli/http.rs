//! `rowcast get`, `put`, `patch` and `delete`: records over HTTP.

use super::credentials::{password_from_input, variable};
use super::percent::encode_path;
use super::trust::Trust;
use super::url::Url;
use super::{Usage, block_on, error_line};
use crate::auth::Credentials;
use crate::tls;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Which server to ask, and as whom.
#[derive(Args, Debug)]
struct Server {
    /// The server: http://HOST[:PORT] or https://HOST[:PORT]; otherwise ROWCAST_URL
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// User name, or name and password; otherwise ROWCAST_USER and ROWCAST_PASSWORD, which other users cannot see.
    /// `NAME:-` reads the password from standard input
    #[arg(short, long, value_name = "NAME[:PASSWORD]")]
    user: Option<String>,
    /// A header to send; may be given more than once
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// Seconds to wait for the connection
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    connect_timeout: u64,
}

/// `rowcast get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast get dog/rex
  rowcast get 'dog/?breed=Labrador&sort(-weight)&limit(10)'
  rowcast get dog/ --accept text/csv > dogs.csv
  rowcast get dog/rex --accept text/event-stream          follow it")]
pub(super) struct Get {
    /// A record, a table, or a query: `dog/rex`, `dog/`, `dog/?breed=Labrador`
    path: String,
    /// The format to ask for
    #[arg(long, value_name = "TYPE")]
    accept: Option<String>,
    /// Print as received, also on a terminal
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    server: Server,
}

/// `rowcast put` and `rowcast patch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast put dog/rex '{\"name\":\"Rex\",\"breed\":\"Labrador\"}'
  rowcast put dog/rex -f rex.json --if-match '\"12\"'
  rowcast patch dog/rex '{\"weight\":31.5}'
  jq .rex dogs.json | rowcast put dog/rex")]
pub(super) struct Change {
    /// A record: `dog/rex`
    path: String,
    /// The value; otherwise a file (-f) or standard input
    #[arg(allow_hyphen_values = true, conflicts_with = "file")]
    value: Option<String>,
    /// A file that holds the value
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the value is
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// Only if the record has this version
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// `rowcast delete`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rowcast delete dog/rex
  rowcast delete 'dog/?breed=Labrador'")]
pub(super) struct Delete {
    /// A record or a query
    path: String,
    /// Only if the record has this version
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Get {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let headers = self.accept.map(|accept| (ACCEPT.to_string(), accept));
        self.server.ask(Method::GET, &self.path, headers, Bytes::new(), self.raw)
    }
}

impl Change {
    pub(super) fn run(self, method: Method) -> anyhow::Result<ExitCode> {
        let value = match (self.value, self.file) {
            (Some(value), _) => value.into_bytes(),
            (None, Some(path)) => std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
            (None, None) if std::io::stdin().is_terminal() => {
                return Err(Usage::new("a value is needed: as an argument, in a file (-f) or on standard input").into());
            }
            (None, None) => {
                let mut value = Vec::new();
                std::io::stdin().lock().read_to_end(&mut value)?;
                value
            }
        };
        let headers = [(CONTENT_TYPE.to_string(), self.content_type)].into_iter();
        let headers = headers.chain(self.if_match.map(|version| ("if-match".to_owned(), version)));
        self.server.ask(method, &self.path, headers, value.into(), false)
    }
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let headers = self.if_match.map(|version| ("if-match".to_owned(), version));
        self.server.ask(Method::DELETE, &self.path, headers, Bytes::new(), false)
    }
}

impl Server {
    fn ask(
        &self,
        method: Method,
        path: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        body: Bytes,
        raw: bool,
    ) -> anyhow::Result<ExitCode> {
        let text = self.url.clone().or_else(|| variable("ROWCAST_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let url = match Url::parse(&text) {
            Some(url) if url.scheme == "http" || url.scheme == "https" => url,
            _ => return Err(Usage::new(format!("expected http://host[:port] or https://, found {text:?}")).into()),
        };
        let connector = match &*url.scheme {
            "https" => Some(self.trust.connector()?),
            _ => {
                self.trust.refuse_unless_given("the URL has to begin with https://")?;
                None
            }
        };
        let authority = authority(&url);
        let target = format!("/{}", encode_path(&joined(url.path.as_deref().unwrap_or_default(), path)));
        let mut request = Request::builder().method(method).uri(target).header(HOST, &authority);
        if let Some(credentials) = self.credentials(&url)? {
            request = request.header(AUTHORIZATION, credentials.to_basic());
        }
        for (name, value) in headers.into_iter().chain(self.header.iter().cloned()) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| Usage::new(error.to_string()))?;
        let patience = Duration::from_secs(self.connect_timeout);
        block_on(async {
            let connecting = async {
                let stream = TcpStream::connect((url.host.as_str(), port(&url))).await?;
                Ok::<_, std::io::Error>(match &connector {
                    Some(connector) => Box::new(connector.connect(&url.host, stream).await?) as Box<dyn Stream>,
                    None => Box::new(stream),
                })
            };
            let stream = match tokio::time::timeout(patience, connecting).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => bail!("cannot reach {authority}: {}", tls::words(&error)),
                Err(_) => bail!("cannot reach {authority}: no answer within {} s", patience.as_secs()),
            };
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the runtime; what goes wrong there, the request hears of.
            tokio::spawn(connection);
            let response = sender.send_request(request).await;
            show(response.map_err(|error| anyhow!("no answer from {authority}: {}", why(error)))?, raw).await
        })
    }

    fn credentials(&self, url: &Url) -> anyhow::Result<Option<Credentials>> {
        let given = self.user.as_ref().map(|given| match given.split_once(':') {
            Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
            None => (given.clone(), None),
        });
        let in_url = url.user.clone().map(|user| (user, url.password.clone()));
        let Some((user, password)) = given.or(in_url).or_else(|| Some((variable("ROWCAST_USER")?, None))) else {
            return Ok(None);
        };
        let password = match password.as_deref() {
            Some("-") => password_from_input()?,
            Some(password) => password.as_bytes().to_vec(),
            None => variable("ROWCAST_PASSWORD").unwrap_or_default().into_bytes(),
        };
        Ok(Some(Credentials { user, password }))
    }
}

/// What bytes go through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What broke a connection; TLS 1.3 says only then what it thinks of the client's certificate.
fn why(error: hyper::Error) -> String {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or_else(|| error.to_string(), tls::words)
}

/// Prints an answer: what is asked for to standard output, refusals to standard error.
async fn show(response: Response<Incoming>, raw: bool) -> anyhow::Result<ExitCode> {
    let (head, mut body) = response.into_parts();
    let media_type = media_type(&head.headers).to_owned();
    if !head.status.is_success() {
        let body = body.collect().await?.to_bytes();
        anstream::eprintln!("{}", refusal(head.status, &media_type, &body));
        return Ok(ExitCode::FAILURE);
    }
    let terminal = std::io::stdout().is_terminal();
    let mut out = std::io::stdout().lock();
    if terminal && !raw && is_json(&media_type) {
        let body = body.collect().await?.to_bytes();
        out.write_all(pretty(&body).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut empty = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        empty = false;
        match out.write_all(&data).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written?,
        }
    }
    match terminal {
        true if empty => writeln!(out, "{}", success(head.status, &head.headers))?,
        true => writeln!(out)?,
        false => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is to say of a change that went well.
fn success(status: StatusCode, headers: &HeaderMap) -> String {
    let what = match status {
        StatusCode::CREATED => "created",
        StatusCode::ACCEPTED => "accepted",
        _ => "done",
    };
    match headers.get(ETAG).and_then(|version| version.to_str().ok()) {
        Some(version) => format!("{what}, version {version}"),
        None => what.to_owned(),
    }
}

/// A refusal for people: the problem (RFC 9457) in its own words, or else whatever text came.
fn refusal(status: StatusCode, media_type: &str, body: &[u8]) -> String {
    let problem = match serde_json::from_slice(body) {
        Ok(Value::Object(problem)) if is_json(media_type) => problem,
        _ => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            let colon = if text.is_empty() { "" } else { ": " };
            return error_line(&format!("{status}{colon}{text}"));
        }
    };
    let member = |name: &str| problem.get(name).and_then(Value::as_str);
    let title = member("title").map_or_else(|| status.to_string(), |title| format!("{} {title}", status.as_u16()));
    let mut text = match member("detail") {
        Some(detail) => format!("{title}: {detail}"),
        None => title,
    };
    for (name, value) in problem.iter().filter(|(name, _)| !COMMON_MEMBERS.contains(&name.as_str())) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("\n  {name}: {value}"));
    }
    error_line(&text)
}

/// JSON with one member a line; what is no JSON as it is. Numbers stay as they were written.
fn pretty(body: &[u8]) -> String {
    let value: Result<Value, _> = serde_json::from_slice(body);
    let text = value.and_then(|value| serde_json::to_string_pretty(&value));
    let mut text = text.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

/// Host and port as the `Host` header has them.
fn authority(url: &Url) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{host}:{}", port(url))
}

fn port(url: &Url) -> u16 {
    url.port.unwrap_or(if url.scheme == "https" { 443 } else { 9926 })
}

/// A path below that of the URL, which may be where a proxy has put us.
fn joined(base: &str, path: &str) -> String {
    let path = path.strip_prefix('/').unwrap_or(path);
    match base.trim_end_matches('/') {
        "" => path.to_owned(),
        base => format!("{base}/{path}"),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

const DEFAULT_URL: &str = "http://127.0.0.1:9926";

/// Members of a problem that every one has, or that say nothing to people.
const COMMON_MEMBERS: [&str; 5] = ["type", "title", "status", "detail", "instance"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_in_words() {
        let problem = "application/problem+json";
        check(
            StatusCode::BAD_REQUEST,
            problem,
            r#"{"type":"about:blank","title":"Invalid record","status":400,"detail":"`age` is no Int","pointer":"/age"}"#,
            "error: 400 Invalid record: `age` is no Int\n  pointer: /age",
        );
        check(StatusCode::NOT_FOUND, problem, r#"{"title":"No such record"}"#, "error: 404 No such record");
        check(StatusCode::NOT_FOUND, problem, "{}", "error: 404 Not Found");
        check(StatusCode::NOT_FOUND, problem, "[", "error: 404 Not Found: [");
        check(StatusCode::BAD_GATEWAY, "text/plain", "no luck\n", "error: 502 Bad Gateway: no luck");
        check(StatusCode::UNAUTHORIZED, "", "", "error: 401 Unauthorized");
    }

    #[track_caller]
    fn check(status: StatusCode, media_type: &str, body: &str, expected: &str) {
        let shown = refusal(status, media_type, body.as_bytes());
        assert_eq!(anstream::adapter::strip_str(&shown).to_string(), expected);
    }

    #[test]
    fn json_is_laid_out_and_not_altered() {
        for (body, expected) in [
            (r#"{"b":12345678901234567890123,"a":1.50}"#, "{\n  \"b\": 12345678901234567890123,\n  \"a\": 1.50\n}\n"),
            ("[]", "[]\n"),
            ("not JSON", "not JSON\n"),
            ("", ""),
        ] {
            assert_eq!(pretty(body.as_bytes()), expected);
        }
    }

    #[test]
    fn paths_are_below_the_url() {
        for (base, path, expected) in
            [("", "dog/1", "dog/1"), ("", "/dog/1", "dog/1"), ("db/", "dog/1", "db/dog/1"), ("a/b", "/x", "a/b/x")]
        {
            assert_eq!(joined(base, path), expected);
        }
    }

    #[test]
    fn credentials_come_from_the_nearest_place() {
        let server = |user: Option<&str>| Server {
            url: None,
            trust: Trust::default(),
            user: user.map(str::to_owned),
            header: vec![],
            connect_timeout: 1,
        };
        let url = Url::parse("http://max:ball@h").expect("a URL");
        let found = |user: Option<&str>| {
            let credentials = server(user).credentials(&url).expect("no input").expect("credentials");
            (credentials.user, credentials.password)
        };
        assert_eq!(found(Some("rex:b:o")), ("rex".to_owned(), b"b:o".to_vec()));
        assert_eq!(found(None), ("max".to_owned(), b"ball".to_vec()));
    }

    #[test]
    fn a_conversation_with_a_server() {
        use std::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).expect("bytes");
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\netag: \"7\"\r\n\r\n").expect("written");
            String::from_utf8(request).expect("text")
        });
        let server = Server {
            url: Some(format!("http://127.0.0.1:{port}/")),
            trust: Trust::default(),
            user: Some("rex:bone".to_owned()),
            header: vec![("x-a".to_owned(), "1".to_owned())],
            connect_timeout: 5,
        };
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        let code = server.ask(Method::PUT, "dog/a b", headers, Bytes::from_static(b"{\"a\":1}"), false);
        assert_eq!(format!("{:?}", code.expect("an answer")), format!("{:?}", ExitCode::SUCCESS));
        let request = serving.join().expect("served");
        assert!(request.starts_with("PUT /dog/a%20b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Basic cmV4OmJvbmU=\r\n"), "{request}");
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
        assert!(request.contains("x-a: 1\r\n"), "{request}");
    }
}
