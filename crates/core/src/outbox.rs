//! Bytes on their way to one client.

use crate::limits::{SPARE_BUFFER_BYTES_MAX, SPARE_BYTES_MAX};
use bytes::Bytes;
use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

/// What is to be written to one socket, in order. Small frames are copied next to each other; large payloads are
/// shared.
///
/// Invariant: while empty, it holds no memory; its buffer has gone back to those that are to spare.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What comes first: in most turns, all there is.
    first: Vec<u8>,
    rest: Vec<Chunk>,
    /// Bytes of the first piece that the socket has taken already.
    written: usize,
    len: usize,
    spare: Rc<Spare>,
}

#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// Buffers for the outboxes of one thread, each full for a moment only.
#[derive(Debug, Default)]
pub struct Spare(RefCell<Buffers>);

#[derive(Debug, Default)]
struct Buffers {
    /// Empty ones; the last was used last.
    buffers: Vec<Vec<u8>>,
    /// What they hold on to.
    bytes: usize,
}

/// Payloads from this size on are shared between receivers instead of copied to each: below it, a copy is cheaper
/// than the reference count and the extra slice of the vectored write.
pub const SHARED_PAYLOAD_BYTES: usize = 8 * 1024;

/// The same of a payload for one receiver, which is copied once either way: below it, next to others in a buffer that is
/// used again, above it into memory of its own.
pub const OWN_PAYLOAD_BYTES: usize = 64 * 1024;

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

impl Spare {
    fn take(&self) -> Vec<u8> {
        let mut spare = self.0.borrow_mut();
        let buffer = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= buffer.capacity();
        buffer
    }

    fn keep(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > SPARE_BUFFER_BYTES_MAX {
            return;
        }
        let mut spare = self.0.borrow_mut();
        if spare.bytes + bytes <= SPARE_BYTES_MAX {
            buffer.clear();
            spare.bytes += bytes;
            spare.buffers.push(buffer);
        }
    }
}

impl Outbox {
    /// An empty one that has its buffers from `spare`.
    #[must_use]
    pub fn new(spare: &Rc<Spare>) -> Outbox {
        Outbox { first: Vec::new(), rest: Vec::new(), written: 0, len: 0, spare: Rc::clone(spare) }
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `write` appends.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.len == 0 {
            self.first = self.spare.take();
        } else if let Some(Chunk::Shared(_)) = self.rest.last() {
            self.rest.push(Chunk::Own(Vec::new()));
        }
        let bytes = match self.rest.last_mut() {
            Some(Chunk::Own(bytes)) => bytes,
            _ => &mut self.first,
        };
        let before = bytes.len();
        write(bytes);
        self.len += bytes.len() - before;
        if self.len == 0 {
            self.clear();
        }
    }

    /// Appends a payload without copying it.
    pub fn append_shared(&mut self, payload: Bytes) {
        if !payload.is_empty() {
            self.len += payload.len();
            self.rest.push(Chunk::Shared(payload));
        }
    }

    /// The pieces, in order, none of them empty.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let all = std::iter::once(&self.first[..]).chain(self.rest.iter().map(Chunk::bytes));
        let mut skip = self.written;
        all.filter(|piece| !piece.is_empty()).map(move |piece| &piece[std::mem::take(&mut skip)..])
    }

    /// Up to `slices.len()` slices for a vectored write; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = slices.iter_mut().zip(self.pieces());
        pieces.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    /// Whether [`Outbox::front`] is all there is.
    #[must_use]
    pub fn is_one_piece(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next bytes in one piece.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.pieces().next().unwrap_or_default()
    }

    /// The socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.len -= count;
        if self.len == 0 {
            return self.clear();
        }
        self.written += count;
        if self.written >= self.first.len() {
            self.written -= self.first.len();
            self.spare.keep(std::mem::take(&mut self.first));
            let mut done = 0;
            for size in self.rest.iter().map(|chunk| chunk.bytes().len()) {
                if self.written < size {
                    break;
                }
                self.written -= size;
                done += 1;
            }
            self.rest.drain(..done);
        }
    }

    /// Takes back everything behind the first `len` bytes that wait.
    pub fn split_off(&mut self, len: usize) -> Vec<u8> {
        let mut skip = self.written + len;
        let mut taken = Vec::with_capacity(self.len.saturating_sub(len));
        let mut keep_of = |bytes: &[u8]| {
            let keep = skip.min(bytes.len());
            skip -= keep;
            taken.extend_from_slice(&bytes[keep..]);
            keep
        };
        let keep = keep_of(&self.first);
        self.first.truncate(keep);
        for chunk in &mut self.rest {
            let keep = keep_of(chunk.bytes());
            match chunk {
                Chunk::Own(bytes) => bytes.truncate(keep),
                Chunk::Shared(bytes) => bytes.truncate(keep),
            }
        }
        self.rest.retain(|chunk| !chunk.bytes().is_empty());
        self.len = len.min(self.len);
        if self.len == 0 {
            self.clear();
        }
        taken
    }

    /// Drops what waits, and its memory.
    pub fn clear(&mut self) {
        self.spare.keep(std::mem::take(&mut self.first));
        if self.rest.capacity() > 0 {
            self.rest = Vec::new();
        }
        self.written = 0;
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes_at_a_time() {
        for step in 1..9 {
            let mut outbox = Outbox::default();
            outbox.append(|out| out.extend_from_slice(b"head1"));
            outbox.append_shared(Bytes::from_static(b"payload"));
            outbox.append(|out| out.extend_from_slice(b"head2"));
            outbox.append(|out| out.extend_from_slice(b"head3"));
            let mut taken = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = outbox.slices(&mut slices);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let count = step.min(offered.len());
                assert_eq!(outbox.front()[0], offered[0]);
                assert!(!outbox.is_one_piece() || outbox.front().len() == outbox.len());
                taken.extend_from_slice(&offered[..count]);
                outbox.advance(count);
            }
            assert_eq!(taken, b"head1payloadhead2head3", "{step} at a time");
            assert_eq!(outbox.first.capacity() + outbox.rest.capacity(), 0, "an empty outbox holds no memory");
        }
    }

    #[test]
    fn what_was_appended_can_be_taken_back() {
        for len in 0..=17 {
            let mut outbox = Outbox::default();
            outbox.append(|out| out.extend_from_slice(b"xxhead1"));
            outbox.append_shared(Bytes::from_static(b"payload"));
            outbox.append(|out| out.extend_from_slice(b"tail1"));
            outbox.advance(2);
            let taken = outbox.split_off(len);
            assert_eq!(taken, &b"head1payloadtail1"[len..]);
            let mut left = Vec::new();
            while !outbox.is_empty() {
                let front = outbox.front().to_vec();
                outbox.advance(front.len());
                left.extend(front);
            }
            assert_eq!(left, &b"head1payloadtail1"[..len]);
        }
    }

    #[test]
    fn a_buffer_goes_round_among_the_outboxes_of_a_thread() {
        let spare = Rc::<Spare>::default();
        let mut buffers = Vec::new();
        for _ in 0..3 {
            let mut outbox = Outbox::new(&spare);
            outbox.append(|out| out.extend_from_slice(&[7; 100]));
            buffers.push(outbox.front().as_ptr());
            outbox.advance(60);
            assert_eq!(outbox.front(), [7; 40]);
            outbox.advance(40);
        }
        assert_eq!(buffers, [buffers[0]; 3]);
    }

    #[test]
    fn no_more_is_to_spare_than_the_bounds_say() {
        let spare = Rc::<Spare>::default();
        let kept = || spare.0.borrow().bytes;
        spare.keep(Vec::new());
        spare.keep(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX + 1));
        assert!(spare.0.borrow().buffers.is_empty());
        for _ in 0..SPARE_BYTES_MAX / SPARE_BUFFER_BYTES_MAX {
            spare.keep(Vec::with_capacity(SPARE_BUFFER_BYTES_MAX));
        }
        assert_eq!(kept(), SPARE_BYTES_MAX);
        spare.keep(Vec::with_capacity(1));
        assert_eq!(kept(), SPARE_BYTES_MAX);
        let buffer = spare.take();
        assert_eq!(kept(), SPARE_BYTES_MAX - buffer.capacity());
    }
}
