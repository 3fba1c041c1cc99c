//! Bytes on their way to one client.

use bytes::Bytes;
use std::io::IoSlice;

/// What is to be written to one socket, in order. Small frames are copied next to each other; large payloads are
/// shared. Holds no memory while empty.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: Vec<Chunk>,
    /// Bytes of the first chunk that the socket has taken already.
    written: usize,
    len: usize,
}

#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
}

/// Payloads from this size on are shared between receivers instead of copied to each: below it, a copy is cheaper
/// than the reference count and the extra slice of the vectored write.
pub const SHARED_PAYLOAD_BYTES: usize = 8 * 1024;

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

impl Outbox {
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
        if !matches!(self.chunks.last(), Some(Chunk::Own(_))) {
            self.chunks.push(Chunk::Own(Vec::new()));
        }
        if let Some(Chunk::Own(bytes)) = self.chunks.last_mut() {
            let before = bytes.len();
            write(bytes);
            self.len += bytes.len() - before;
        }
    }

    /// Appends a payload without copying it.
    pub fn append_shared(&mut self, payload: Bytes) {
        self.len += payload.len();
        self.chunks.push(Chunk::Shared(payload));
    }

    /// Up to `slices.len()` slices for a vectored write; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut skip = self.written;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// The next bytes in one piece, for streams without vectored writes.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.chunks.first().map_or(&[], |chunk| &chunk.bytes()[self.written..])
    }

    /// The socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.len -= count;
        self.written += count;
        let mut done = 0;
        for chunk in &self.chunks {
            let size = chunk.bytes().len();
            if self.written < size {
                break;
            }
            self.written -= size;
            done += 1;
        }
        if self.len == 0 {
            self.clear();
        } else {
            self.chunks.drain(..done);
        }
    }

    /// Takes back everything behind the first `len` bytes that wait.
    pub fn split_off(&mut self, len: usize) -> Vec<u8> {
        let mut skip = self.written + len;
        let mut taken = Vec::with_capacity(self.len.saturating_sub(len));
        for chunk in &mut self.chunks {
            let bytes = chunk.bytes();
            let keep = skip.min(bytes.len());
            skip -= keep;
            taken.extend_from_slice(&bytes[keep..]);
            match chunk {
                Chunk::Own(bytes) => bytes.truncate(keep),
                Chunk::Shared(bytes) => bytes.truncate(keep),
            }
        }
        self.chunks.retain(|chunk| !chunk.bytes().is_empty());
        self.len = len.min(self.len);
        if self.len == 0 {
            self.clear();
        }
        taken
    }

    /// Drops what waits, and its memory.
    pub fn clear(&mut self) {
        *self = Outbox::default();
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
                taken.extend_from_slice(&offered[..count]);
                outbox.advance(count);
            }
            assert_eq!(taken, b"head1payloadhead2head3", "{step} at a time");
            assert!(outbox.chunks.capacity() == 0, "an empty outbox holds no memory");
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
}
