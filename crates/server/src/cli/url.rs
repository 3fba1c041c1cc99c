//! URLs as people type them: `mqtt://rex@broker:1884/dog/1`.

use super::percent::decode;

/// The parts of a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Without the slash before it.
    pub(super) path: Option<String>,
}

impl Url {
    /// Takes a URL apart; `None` if it is none with a scheme and a host. User and password are decoded, the path is
    /// as it was.
    pub(super) fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path).filter(|path| !path.is_empty())),
            None => (rest, None),
        };
        let (account, place) = match authority.rsplit_once('@') {
            Some((account, place)) => (Some(account), place),
            None => (None, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (place, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (user, password) = match account.map(|account| account.split_once(':').unwrap_or((account, ""))) {
            Some((user, password)) => (Some(decode(user)?), Some(decode(password)?)),
            None => (None, None),
        };
        (!host.is_empty()).then(|| Url {
            scheme: scheme.to_owned(),
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()),
            host: host.to_owned(),
            port,
            path: path.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_parts() {
        let url = |user: Option<&str>, password: Option<&str>, host: &str, port, path: Option<&str>| Url {
            scheme: "mqtt".to_owned(),
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: path.map(str::to_owned),
        };
        check("mqtt://h", Some(url(None, None, "h", None, None)));
        check("mqtt://h:1/a/b?c=/d", Some(url(None, None, "h", Some(1), Some("a/b?c=/d"))));
        check("mqtt://rex@h/", Some(url(Some("rex"), None, "h", None, None)));
        check("mqtt://rex:b%3Ao%40ne@h:2", Some(url(Some("rex"), Some("b:o@ne"), "h", Some(2), None)));
        check("mqtt://[::1]:3/t", Some(url(None, None, "::1", Some(3), Some("t"))));
        check("mqtt://[::1]", Some(url(None, None, "::1", None, None)));
        for wrong in ["h", "//h", "mqtt://", "mqtt://:1883", "mqtt://h:x", "mqtt://h:99999", "mqtt://%zz@h"] {
            check(wrong, None);
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Url>) {
        assert_eq!(Url::parse(text), expected, "{text}");
    }
}
