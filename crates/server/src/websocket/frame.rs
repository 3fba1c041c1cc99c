//! Frames of RFC 6455, read in place and as they come: no byte of a message waits for the rest of it.

/// The head of a frame (RFC 6455 §5.2), at most 14 bytes. Numbers are big endian, and a length takes as few bytes as it
/// can.
///
/// | bits | field    |                                                          |
/// |------|----------|----------------------------------------------------------|
/// | 1    | FIN      | the last frame of its message                            |
/// | 3    | RSV      | 0: nothing is negotiated that would use them             |
/// | 4    | opcode   |                                                          |
/// | 1    | MASK     | 1 from a client, 0 from a server                         |
/// | 7    | length   | 126: it is in the next 2 bytes; 127: in the next 8       |
/// | 32   | mask     | if MASK                                                  |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Continuation,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Which end of the connection this is. Clients mask what they send, servers do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reads masked frames only.
    Server,
    /// Reads unmasked frames only.
    Client,
}

/// Why a peer is not spoken with any more, as its Close frame says it (RFC 6455 §7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// 1002
    #[error("WebSocket: {0}")]
    Protocol(&'static str),
    /// 1003: MQTT travels in binary frames [MQTT-6.0.0-1].
    #[error("WebSocket: a text frame")]
    Text,
    /// 1007
    #[error("WebSocket: the reason for closing is not UTF-8")]
    NotUtf8,
    /// 1009
    #[error("WebSocket: a message of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Bytes of a message. Nothing is kept for one, so this is no more than a bound on nonsense: the largest MQTT packet.
const MESSAGE_BYTES_MAX: u64 = rowcast_core::limits::PACKET_BYTES_MAX as u64;

/// Bytes of a control frame's payload (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Bytes of the longest head.
const HEAD_BYTES_MAX: usize = 14;

impl Violation {
    /// What a Close frame calls it.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Text => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// How a peer's part of the conversation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It sent Close, with this code or none.
    Closed(Option<u16>),
    /// It broke the rules.
    Violated(Violation),
}

/// What is known between two pieces of the stream.
#[derive(Debug)]
pub(super) struct Decoder {
    role: Role,
    state: State,
    /// Bytes of the message that is not complete; `None` between messages.
    message: Option<u64>,
    /// The newest Ping that nobody has taken: older ones need no answer (RFC 6455 §5.5.3).
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

#[derive(Debug)]
enum State {
    /// In a head; the bytes of it that came.
    Head { bytes: [u8; HEAD_BYTES_MAX], len: usize },
    /// In the payload of a data frame.
    Data { mask: [u8; 4], left: u64 },
    /// In the payload of a control frame.
    Control { head: Head, payload: Vec<u8> },
}

const BETWEEN: State = State::Head { bytes: [0; HEAD_BYTES_MAX], len: 0 };

impl Decoder {
    pub(super) fn new(role: Role) -> Decoder {
        Decoder { role, state: BETWEEN, message: None, ping: None, end: None }
    }

    /// How it ended, if it has; what follows is not looked at.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// What the newest Ping said, if it is not answered yet.
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Takes the next bytes of the stream, and moves the payloads of data frames among them to the front; returns how
    /// many that are.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && self.end.is_none() {
            if let Err(violation) = self.step(bytes, &mut read, &mut kept) {
                self.end = Some(End::Violated(violation));
            }
        }
        kept
    }

    /// Reads on in the head or the payload it is in.
    fn step(&mut self, bytes: &mut [u8], read: &mut usize, kept: &mut usize) -> Result<(), Violation> {
        match &mut self.state {
            State::Head { bytes: head, len } => {
                head[*len] = bytes[*read];
                (*read, *len) = (*read + 1, *len + 1);
                if let Some(head) = Head::read(&head[..*len], self.role)? {
                    self.begin(head)?;
                }
            }
            State::Data { mask, left } => {
                let len = (bytes.len() - *read).min(usize::try_from(*left).unwrap_or(usize::MAX));
                bytes.copy_within(*read..*read + len, *kept);
                apply(mask, &mut bytes[*kept..*kept + len]);
                (*read, *kept, *left) = (*read + len, *kept + len, *left - len as u64);
            }
            State::Control { head, payload } => {
                let len = (bytes.len() - *read).min(head.length as usize - payload.len());
                payload.extend_from_slice(&bytes[*read..*read + len]);
                *read += len;
            }
        }
        self.complete()
    }

    /// A head is complete: is it one that may come now?
    fn begin(&mut self, head: Head) -> Result<(), Violation> {
        self.state = match (head.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => State::Control { head, payload: Vec::new() },
            (Opcode::Binary, Some(_)) => return Err(Violation::Protocol("a message begins within another")),
            (Opcode::Continuation, None) => return Err(Violation::Protocol("a message goes on that never began")),
            (Opcode::Binary | Opcode::Continuation, before) => {
                let length = before.unwrap_or(0).saturating_add(head.length);
                if length > MESSAGE_BYTES_MAX {
                    return Err(Violation::TooLarge);
                }
                self.message = (!head.last).then_some(length);
                State::Data { mask: head.mask, left: head.length }
            }
        };
        Ok(())
    }

    /// Leaves a frame all of which is there.
    fn complete(&mut self) -> Result<(), Violation> {
        match &mut self.state {
            State::Head { .. } => return Ok(()),
            State::Data { left, .. } if *left > 0 => return Ok(()),
            State::Control { head, payload } if (payload.len() as u64) < head.length => return Ok(()),
            State::Data { .. } => {}
            State::Control { head, payload } => {
                apply(&mut head.mask, payload);
                match head.opcode {
                    Opcode::Ping => self.ping = Some(std::mem::take(payload)),
                    Opcode::Close => self.end = Some(End::Closed(close_code(payload)?)),
                    _ => {}
                }
            }
        }
        self.state = BETWEEN;
        Ok(())
    }
}

impl Head {
    /// `None`: there is more to come. Refuses what a peer of `role` must not be sent as soon as it can be seen.
    fn read(bytes: &[u8], role: Role) -> Result<Option<Head>, Violation> {
        let first = bytes[0];
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let last = first & 0x80 != 0;
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => return Err(Violation::Text),
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(Violation::Protocol("an unknown kind of frame")),
        };
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        if masked != (role == Role::Server) {
            return Err(Violation::Protocol("frames of clients are masked, and those of servers are not"));
        }
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        let short = second & 0x7f;
        if is_control && (!last || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(Violation::Protocol("a control frame is whole and has at most 125 bytes"));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(length) = bytes.get(2..2 + extended) else { return Ok(None) };
        let length = match extended {
            0 => u64::from(short),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let is_minimal = match extended {
            0 => true,
            2 => length >= 126,
            _ => length > u64::from(u16::MAX),
        };
        if !is_minimal {
            return Err(Violation::Protocol("a length takes more bytes than it has to"));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(Violation::TooLarge);
        }
        let mask = match bytes.get(2 + extended..6 + extended) {
            Some(mask) if masked => [mask[0], mask[1], mask[2], mask[3]],
            None if masked => return Ok(None),
            _ => [0; 4],
        };
        Ok(Some(Head { last, opcode, mask, length }))
    }
}

/// All that a stream says, read in pieces of `size` bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode(role: Role, stream: &[u8], size: usize) -> Heard {
    let mut decoder = Decoder::new(role);
    let mut payload = Vec::new();
    for piece in stream.chunks(size) {
        let mut piece = piece.to_vec();
        let kept = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..kept]);
    }
    Heard { payload, ping: decoder.take_ping(), end: decoder.end }
}

/// What [`decode`] found.
#[cfg(any(test, fuzzing))]
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) payload: Vec<u8>,
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

/// The head of a frame that is a message of its own.
pub(super) fn encode_head(opcode: Opcode, length: u64, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.push(match opcode {
        Opcode::Continuation => 0x80,
        Opcode::Binary => 0x82,
        Opcode::Close => 0x88,
        Opcode::Ping => 0x89,
        Opcode::Pong => 0x8a,
    });
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match length {
        0..126 => out.push(masked | length as u8),
        126..0x1_0000 => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask));
}

/// Masks, or unmasks, the next bytes of a payload, and leaves the mask turned to where it goes on.
pub(super) fn apply(mask: &mut [u8; 4], bytes: &mut [u8]) {
    if *mask == [0; 4] {
        return;
    }
    let whole = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = <[u8; 8]>::try_from(&*chunk).map_or(0, u64::from_ne_bytes);
        chunk.copy_from_slice(&(word ^ whole).to_ne_bytes());
    }
    let rest = chunks.into_remainder();
    rest.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
    for (byte, mask) in rest.iter_mut().skip(4).zip(mask.iter()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
}

/// The code in a Close frame, if it may be in one (RFC 6455 §7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Violation::Protocol("half a code for closing")),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a code for closing that must not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let stream = [
            frame(0x82, b"one"),
            frame(0x02, b"two "),
            frame(0x89, b"older"),
            frame(0x00, b""),
            frame(0x80, &[7; 300]),
            frame(0x8a, b"pong"),
            frame(0x89, b"newer"),
            frame(0x82, &[8; 70_000]),
            frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
            b"what follows is not looked at".to_vec(),
        ]
        .concat();
        let expected = [b"onetwo ".to_vec(), vec![7; 300], vec![8; 70_000]].concat();
        for step in [1, 2, 3, 5, 7, 64, 1000, stream.len()] {
            let mut data = Vec::new();
            let mut decoder = Decoder::new(Role::Server);
            for piece in stream.chunks(step) {
                let mut piece = piece.to_vec();
                let kept = decoder.decode(&mut piece);
                data.extend_from_slice(&piece[..kept]);
            }
            assert!(data == expected, "{step} at a time");
            assert_eq!(decoder.take_ping().as_deref(), Some(&b"newer"[..]));
            assert_eq!(decoder.end(), Some(End::Closed(Some(1000))));
        }
    }

    #[test]
    fn what_a_client_must_not_send_is_refused() {
        let protocol = [
            &[0xc2][..],               // A reserved bit.
            &[0x92],                   // Another.
            &[0x83],                   // No such kind of data.
            &[0x8b],                   // No such kind of control.
            &[0x82, 0x01],             // No mask.
            &[0x80, 0x80, 0, 0, 0, 0], // Nothing to go on with.
            &[0x09, 0x80],             // A control frame in pieces.
            &[0x89, 0xfe],             // A long one.
            &[0x82, 0xfe, 0, 125],     // Two bytes more than it takes to say.
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x88, 0x81, 0, 0, 0, 0, 3],       // Half a code.
            &[0x88, 0x82, 0, 0, 0, 0, 3, 0xed], // 1005 is for those who got none.
            &[0x88, 0x82, 0, 0, 0, 0, 0, 0],
        ];
        for bytes in protocol {
            assert!(matches!(violation(bytes), Some(Violation::Protocol(_))), "{bytes:02x?}");
        }
        let within = [frame(0x02, b"a"), frame(0x82, b"b")].concat();
        assert_eq!(violation(&within), Some(Violation::Protocol("a message begins within another")));
        assert_eq!(violation(&[0x81]), Some(Violation::Text));
        assert_eq!(violation(&[0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff]), Some(Violation::NotUtf8));
        for length in [MESSAGE_BYTES_MAX + 1, u64::MAX] {
            let bytes = [&[0x82, 0xff][..], &length.to_be_bytes()].concat();
            assert_eq!(violation(&bytes), Some(Violation::TooLarge), "{length}");
        }
        let mut decoder = Decoder::new(Role::Server);
        decoder.decode(&mut head(0x02, MESSAGE_BYTES_MAX));
        assert_eq!(decoder.end(), None, "the largest message there may be");
        decoder.state = BETWEEN; // All of it came.
        decoder.decode(&mut frame(0x80, b"x"));
        assert_eq!(decoder.end(), Some(End::Violated(Violation::TooLarge)), "and a byte more");
    }

    #[test]
    fn what_came_before_a_violation_counts() {
        let mut bytes = [frame(0x82, b"data"), vec![0x81]].concat();
        let mut decoder = Decoder::new(Role::Server);
        let kept = decoder.decode(&mut bytes);
        assert_eq!((&bytes[..kept], decoder.end()), (&b"data"[..], Some(End::Violated(Violation::Text))));
    }

    #[test]
    fn heads_are_written_as_they_are_read() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 24] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut bytes = Vec::new();
                encode_head(Opcode::Binary, length, mask, &mut bytes);
                let role = if mask.is_some() { Role::Server } else { Role::Client };
                let expected = Head { last: true, opcode: Opcode::Binary, mask: mask.unwrap_or_default(), length };
                assert_eq!(Head::read(&bytes, role), Ok(Some(expected)));
                for cut in 1..bytes.len() {
                    assert_eq!(Head::read(&bytes[..cut], role), Ok(None), "{length} without its end");
                }
            }
        }
    }

    #[test]
    fn a_mask_goes_on_where_it_was() {
        let plain: Vec<u8> = (0..100).collect();
        let mut whole = plain.clone();
        apply(&mut MASK.clone(), &mut whole);
        assert!(whole.iter().zip(&plain).enumerate().all(|(at, (masked, byte))| masked ^ byte == MASK[at % 4]));
        for step in 1..40 {
            let (mut mask, mut pieces) = (MASK, plain.clone());
            pieces.chunks_mut(step).for_each(|piece| apply(&mut mask, piece));
            assert_eq!(pieces, whole, "{step} at a time");
        }
    }

    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    fn violation(bytes: &[u8]) -> Option<Violation> {
        let mut decoder = Decoder::new(Role::Server);
        decoder.decode(&mut bytes.to_vec());
        match decoder.end() {
            Some(End::Violated(violation)) => Some(violation),
            _ => None,
        }
    }

    fn masked(payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        apply(&mut MASK.clone(), &mut payload);
        payload
    }

    fn head(first: u8, length: u64) -> Vec<u8> {
        let mut head = Vec::new();
        encode_head(Opcode::Binary, length, Some(MASK), &mut head);
        head[0] = first;
        head
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        [head(first, payload.len() as u64), masked(payload)].concat()
    }
}
