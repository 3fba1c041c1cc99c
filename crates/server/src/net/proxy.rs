//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before it passes on what came through it.
//!
//! As in haproxy's `proxy-protocol.txt`, strictly: a receiver that expects a header never guesses whether there is one,
//! and one that is not whole or not right ends the connection. [`parse`] is a pure function that says how many bytes
//! are missing and never more, so that [`read`] takes nothing that belongs to what follows.
//!
//! What a proxy tells is where its client is. It is taken for that in limits, throttles and the log, and proves
//! nothing: whoever reaches the door can tell anything.

use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a header says of who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// A client at this address, and the proxy passes on what it sends.
    Client(SocketAddr),
    /// Nothing: the proxy speaks for itself (`LOCAL`), or for a client that has no address (`UNKNOWN`, a Unix socket).
    Nothing,
}

/// What the bytes so far are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A whole header, and no more.
    Whole(Told),
    /// The beginning of one, of which at least so many bytes are missing.
    Needs(usize),
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They begin as neither version does: the proxy sends none, or there is no proxy.
    #[error("it does not begin with a header of the PROXY protocol")]
    NoHeader,
    /// A line that does not end where it has to.
    #[error("the PROXY line does not end within {LINE_BYTES_MAX} bytes")]
    EndlessLine,
    /// A line that says something else than who talks to whom.
    #[error("the PROXY line is not one of TCP4, TCP6 or UNKNOWN with two addresses and two ports")]
    Line,
    /// A version, a command or a family that is not defined.
    #[error("the PROXY header has an unknown {0}")]
    Unknown(&'static str),
    /// What no connection here is: "receivers must drop connections presenting unexpected values" (§2.2).
    #[error("the PROXY header is one of datagrams, and this is a stream")]
    Datagrams,
    /// A length that is more than any proxy needs.
    #[error("the PROXY header announces {0} bytes; {HEADER_BYTES_MAX} are taken")]
    TooLong(usize),
    /// A length that leaves no room for the addresses.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// Something behind the addresses has a length beyond the end.
    #[error("the PROXY header has an extension that goes beyond its end")]
    Extension,
}

/// Why a connection did not begin with a header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It began otherwise.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It ended, or broke, before the header did.
    #[error("it ended after {0} bytes of a PROXY header")]
    Ended(usize),
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// The longest header of version 2. Enough for addresses and what proxies tell beyond them: names, TLS, identifiers of
/// clouds.
const HEADER_BYTES_MAX: usize = 4096;

/// Reads a header and not a byte more. The caller bounds its time.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Told, ProxyError> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes)? {
            Parsed::Whole(told) => return Ok(told),
            Parsed::Needs(missing) => {
                if stream.take(missing as u64).read_buf(&mut bytes).await? == 0 {
                    return Err(ProxyError::Ended(bytes.len()));
                }
            }
        }
    }
}

/// What the bytes so far are. `Needs` never goes beyond the header: shown so many bytes more, this takes all of them.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if bytes.is_empty() {
        return Ok(Parsed::Needs(LINE_BYTES_MIN)); // The shorter of the two.
    }
    let begins_as = |start: &[u8]| start.starts_with(bytes) || bytes.starts_with(start);
    if begins_as(SIGNATURE) {
        parse_binary(bytes)
    } else if begins_as(LINE_START) {
        parse_line(bytes)
    } else {
        Err(Malformed::NoHeader)
    }
}

/// How a line of version 1 begins.
const LINE_START: &[u8] = b"PROXY ";
/// The shortest line.
const LINE_BYTES_MIN: usize = b"PROXY UNKNOWN\r\n".len();
/// How a header of version 2 begins: not as any other protocol does.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn parse_line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let line = bytes[..end].strip_suffix(b"\r").filter(|_| end + 1 == bytes.len());
        return line.and_then(line_tells).map(Parsed::Whole).ok_or(Malformed::Line);
    }
    let missing = match bytes.last() {
        _ if bytes.len() < LINE_BYTES_MIN => LINE_BYTES_MIN - bytes.len(),
        Some(b'\r') => 1,
        _ => 2,
    };
    if bytes.len() + missing > LINE_BYTES_MAX {
        return Err(Malformed::EndlessLine);
    }
    Ok(Parsed::Needs(missing))
}

/// What a line says without its end; `None`: nothing that makes sense.
fn line_tells(line: &[u8]) -> Option<Told> {
    let text = line.strip_prefix(LINE_START)?;
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Some(Told::Nothing); // Whatever else it says is to be ignored.
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |word| word.parse().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _destination) = (address(words.next()?)?, address(words.next()?)?);
    let (port, _destination) = (port(words.next()?)?, self::port(words.next()?)?);
    words.next().is_none().then_some(Told::Client(SocketAddr::new(source, port)))
}

/// A port as the protocol spells it: no sign, and no zeros before it.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|digit| digit.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok())?
}

/// A header of version 2. Integers are big endian.
///
/// | bytes | field                                                                              |
/// |-------|------------------------------------------------------------------------------------|
/// | 12    | the signature                                                                      |
/// | 1     | version (2) << 4, then the command: 0 `LOCAL`, 1 `PROXY`                           |
/// | 1     | family (0 none, 1 IPv4, 2 IPv6, 3 Unix) << 4, then 1 for streams, 2 for datagrams  |
/// | 2     | how many bytes follow                                                              |
/// | ..    | addresses of source and destination, then their ports                              |
/// | ..    | extensions: type (1), length (2) and so many bytes each; none that matters here    |
fn parse_binary(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Parsed::Needs(FIXED_BYTES - bytes.len()));
    };
    let (command, family) = (head[12], head[13]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if command >> 4 != 2 {
        return Err(Malformed::Unknown("version"));
    }
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(Malformed::TooLong(FIXED_BYTES + length));
    }
    if rest.len() < length {
        return Ok(Parsed::Needs(length - rest.len()));
    }
    let told = match command & 0xF {
        0 => Told::Nothing, // Family and addresses are to be ignored.
        1 => binary_tells(family, rest)?,
        _ => return Err(Malformed::Unknown("command")),
    };
    Ok(Parsed::Whole(told))
}

/// Bytes of a header of version 2 that are always there.
const FIXED_BYTES: usize = 16;

fn binary_tells(family: u8, rest: &[u8]) -> Result<Told, Malformed> {
    let (told, extensions) = match family {
        0x00 => return Ok(Told::Nothing), // Whatever follows is to be ignored.
        0x11 => client(addresses::<4>(rest)?),
        0x21 => client(addresses::<16>(rest)?),
        0x31 => (Told::Nothing, rest.get(UNIX_BYTES..).ok_or(Malformed::TooShort)?),
        0x12 | 0x22 | 0x32 => return Err(Malformed::Datagrams),
        _ => return Err(Malformed::Unknown("family of addresses")),
    };
    let mut extensions = extensions;
    while let Some((head, after)) = extensions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        extensions = after.get(length..).ok_or(Malformed::Extension)?;
    }
    if extensions.is_empty() { Ok(told) } else { Err(Malformed::Extension) }
}

/// Bytes of the two paths of a connection between Unix sockets.
const UNIX_BYTES: usize = 216;

/// Address and port of the source, and what stands behind the addresses.
fn addresses<const BYTES: usize>(rest: &[u8]) -> Result<([u8; BYTES], u16, &[u8]), Malformed> {
    let split = || {
        let (source, rest) = rest.split_first_chunk::<BYTES>()?;
        let (_destination, rest) = rest.split_first_chunk::<BYTES>()?;
        let ([high, low, _, _], extensions) = rest.split_first_chunk::<4>()?;
        Some((*source, u16::from_be_bytes([*high, *low]), extensions))
    };
    split().ok_or(Malformed::TooShort)
}

fn client<A: Into<IpAddr>>((source, port, extensions): (A, u16, &[u8])) -> (Told, &[u8]) {
    (Told::Client(SocketAddr::new(source.into(), port)), extensions)
}

/// For fuzzing: any bytes are told apart, and no header takes more than was asked for.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut shown = 0;
    while let Ok(Parsed::Needs(missing)) = parse(&bytes[..shown]) {
        assert!(missing > 0 && shown + missing <= HEADER_BYTES_MAX, "{missing} more after {shown}");
        shown += missing;
        if shown > bytes.len() {
            return;
        }
    }
    // Byte by byte comes to the same end at the same place, or to a refusal sooner.
    let slowly = (0..=shown).map(|end| parse(&bytes[..end])).find(|parsed| !matches!(parsed, Ok(Parsed::Needs(_))));
    match parse(&bytes[..shown]) {
        whole @ Ok(_) => assert_eq!(slowly, Some(whole)),
        Err(_) => assert!(slowly.is_some_and(|parsed| parsed.is_err())),
    }
}

#[cfg(test)]
mod tests;
