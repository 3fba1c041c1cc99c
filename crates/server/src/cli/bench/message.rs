//! What a load publishes: messages that say where they come from and show when they were spoiled.

/// Who published a message, which of theirs it is, and when it was due. A payload is JSON, so that tables take it:
///
/// ```text
/// {"bench":"1a2b3c4d 000007 000000002a 00000f4240aa 9e3779b9 1a2b3c4d1a2b…"}      (without the spaces)
///           run      from   number     due          checksum fill
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    /// The publisher.
    pub(super) from: u32,
    /// Counted from 0 by each publisher.
    pub(super) number: u64,
    /// When it was to be sent: nanoseconds since the run began.
    pub(super) due: u64,
}

/// Makes the payloads of one run, all of one size, and knows them again.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    run: u32,
    fill: Vec<u8>,
}

impl Messages {
    /// The smallest payload that has room for a stamp.
    pub(super) const BYTES_MIN: usize = OPENING.len() + STAMP_BYTES + CLOSING.len();

    /// Payloads of `bytes` each; runs of different numbers do not take each other's for their own.
    pub(super) fn new(run: u32, bytes: usize) -> Messages {
        assert!(bytes >= Self::BYTES_MIN, "the command line bounds it");
        let fill = format!("{run:08x}").into_bytes().into_iter().cycle().take(bytes - Self::BYTES_MIN).collect();
        Messages { run, fill }
    }

    /// How large each is.
    pub(super) fn bytes(&self) -> usize {
        Self::BYTES_MIN + self.fill.len()
    }

    /// Appends the payload.
    pub(super) fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        out.extend(OPENING);
        let start = out.len();
        put_hex(out, self.run.into(), 8);
        put_hex(out, stamp.from.into(), 6);
        put_hex(out, stamp.number, 10);
        put_hex(out, stamp.due, 12);
        let checksum = checksum(&out[start..]);
        put_hex(out, checksum.into(), 8);
        out.extend(&self.fill);
        out.extend(CLOSING);
    }

    /// What `payload` says, if it is one of this run and every byte of it is as it was sent.
    pub(super) fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let body = payload.strip_prefix(OPENING)?.strip_suffix(CLOSING)?;
        let (stamp, fill) = body.split_at_checked(STAMP_BYTES)?;
        let (said, sum) = stamp.split_at(STAMP_BYTES - 8);
        let whole = hex(sum)? == u64::from(checksum(said)) && hex(&said[..8])? == u64::from(self.run);
        if !whole || fill != self.fill {
            return None;
        }
        let from = u32::try_from(hex(&said[8..14])?).ok()?;
        Some(Stamp { from, number: hex(&said[14..24])?, due: hex(&said[24..36])? })
    }
}

const OPENING: &[u8] = br#"{"bench":""#;
const CLOSING: &[u8] = br#""}"#;
const STAMP_BYTES: usize = 8 + 6 + 10 + 12 + 8;

fn put_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    out.extend((0..digits).rev().map(|at| b"0123456789abcdef"[(value >> (4 * at) & 15) as usize]));
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

/// FNV-1a with 32 bits.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { from: 7, number: 42, due: 1_000_000 };

    fn payload(messages: &Messages) -> Vec<u8> {
        let mut out = Vec::new();
        messages.write(STAMP, &mut out);
        out
    }

    #[test]
    fn a_message_is_json_of_the_size_asked_for_and_says_what_it_was_told() {
        for bytes in [Messages::BYTES_MIN, 57, 200, 4096] {
            let messages = Messages::new(0x1a2b_3c4d, bytes);
            let payload = payload(&messages);
            assert_eq!((payload.len(), messages.bytes()), (bytes, bytes));
            serde_json::from_slice::<serde_json::Value>(&payload).expect("JSON");
            assert_eq!(messages.read(&payload), Some(STAMP));
        }
    }

    #[test]
    fn every_bit_that_flips_is_seen() {
        let messages = Messages::new(1, 100);
        let payload = payload(&messages);
        for bit in 0..payload.len() * 8 {
            let mut spoiled = payload.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(messages.read(&spoiled), None, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_longer_or_from_another_run_is_not_taken() {
        let messages = Messages::new(1, 100);
        let payload = payload(&messages);
        for length in 0..payload.len() {
            assert_eq!(messages.read(&payload[..length]), None, "{length} bytes");
        }
        assert_eq!(messages.read(&[&payload[..], b" "].concat()), None);
        assert_eq!(Messages::new(2, 100).read(&payload), None);
        assert_eq!(Messages::new(1, 101).read(&payload), None);
    }
}
