//! Where to listen: `1883`, `127.0.0.1:1883`, `[::1]:1883`, `broker.sock`, `null`.

use super::raw::{Node, Value};
use super::units::Misfit;
use super::{Host, Listen};
use std::net::IpAddr;
use std::path::Path;

/// Reads a door. A number alone listens at `host`; a path without a root is within `folder`.
pub(super) fn listen(node: &Node, host: &Host, folder: &Path) -> Result<Listen, Misfit> {
    match &node.value {
        Value::Null => Ok(Listen::Shut),
        Value::Integer(port) => Ok(Listen::Tcp { host: host.clone(), port: port_number(*port)? }),
        Value::Text(text) if text.contains(['/', '\\']) || text.ends_with(".sock") => {
            Ok(Listen::Unix(folder.join(text)))
        }
        // In quotes, as programs write files that are filled in from elsewhere.
        Value::Text(text) if !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Listen::Tcp { host: host.clone(), port: port_number(text.parse().unwrap_or(i64::MAX))? })
        }
        Value::Text(text) => tcp(text.trim(), host),
        other => Err(Misfit::expected(WHAT, other)),
    }
}

/// As one would write it.
pub(super) fn show_listen(listen: &Listen) -> String {
    match listen {
        Listen::Shut => "null".to_owned(),
        Listen::Tcp { host: Host::Any | Host::Loopback, port } => port.to_string(),
        Listen::Tcp { host: Host::Named(name), port } if name.contains(':') => format!("[{name}]:{port}"),
        Listen::Tcp { host: Host::Named(name), port } => format!("{name}:{port}"),
        Listen::Unix(path) => path.display().to_string(),
    }
}

/// The same door, kept from everyone but this machine. The second is whether that changed it.
pub(super) fn confine(listen: Listen) -> (Listen, bool) {
    match listen {
        Listen::Tcp { host: Host::Named(name), port } if !is_loopback(&name) => {
            (Listen::Tcp { host: Host::Loopback, port }, true)
        }
        other => (other, false),
    }
}

fn tcp(text: &str, host: &Host) -> Result<Listen, Misfit> {
    let unreadable = || Misfit::new(format!("expected {WHAT}, found {text:?}"));
    let (name, port) = text.rsplit_once(':').ok_or_else(unreadable)?;
    let port = port_number(port.parse().map_err(|_| unreadable())?)?;
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let host = match bare {
        "" => host.clone(),
        "*" => Host::Any,
        _ if bare.contains(':') && bare.len() == name.len() => {
            return Err(unreadable().help(format!("an IPv6 address goes in brackets: `[{name}]:{port}`?")));
        }
        _ if bare.chars().any(|c| c.is_whitespace() || c.is_control()) => return Err(unreadable()),
        _ => Host::Named(bare.to_owned()),
    };
    Ok(Listen::Tcp { host, port })
}

fn port_number(number: i64) -> Result<u16, Misfit> {
    u16::try_from(number).map_err(|_| Misfit::new(format!("a port is a number from 0 to 65535, found {number}")))
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const WHAT: &str = "a port, `host:port`, a path for a Unix socket, or `null`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::parse_setting;
    use rowcast_core::schema::Source;

    #[test]
    fn doors_have_many_spellings() {
        let tcp = |host, port| Ok(Listen::Tcp { host, port });
        let named = |name: &str| Host::Named(name.to_owned());
        check("1883", tcp(Host::Any, 1883));
        check("0", tcp(Host::Any, 0));
        check("null", Ok(Listen::Shut));
        check(":1883", tcp(Host::Any, 1883));
        check("*:1883", tcp(Host::Any, 1883));
        check("127.0.0.1:1883", tcp(named("127.0.0.1"), 1883));
        check("broker.example:1883", tcp(named("broker.example"), 1883));
        check("[::1]:1883", tcp(named("::1"), 1883));
        check("/run/rowcast.sock", Ok(Listen::Unix("/run/rowcast.sock".into())));
        check("mqtt.sock", Ok(Listen::Unix("/app/mqtt.sock".into())));
        check("./run/mqtt", Ok(Listen::Unix("/app/./run/mqtt".into())));
    }

    #[test]
    fn what_is_no_door_is_refused() {
        check("65536", Err("a port is a number from 0 to 65535, found 65536"));
        check("-1", Err("a port is a number from 0 to 65535, found -1"));
        check("host:99999", Err("a port is a number from 0 to 65535, found 99999"));
        for text in ["localhost", "localhost:", "localhost:mqtt", "a b:1", "::1:1883", "18.83"] {
            check(text, Err(&format!("expected {WHAT}, found {text:?}")));
        }
        check("true", Err(&format!("expected {WHAT}, found true")));
    }

    #[test]
    fn confined_doors_are_on_loopback() {
        for (text, expected) in
            [("1883", false), ("127.0.0.1:1", false), ("localhost:1", false), ("[::1]:1", false), ("0.0.0.0:1", true)]
        {
            let node = parse_setting(Source::new("test", text), 0);
            let door = listen(&node, &Host::Loopback, Path::new("/app")).expect("a door");
            assert_eq!(confine(door).1, expected, "{text}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Listen, &str>) {
        let node = parse_setting(Source::new("test", text), 0);
        let found = listen(&node, &Host::Any, Path::new("/app")).map_err(|misfit| misfit.message);
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }
}
