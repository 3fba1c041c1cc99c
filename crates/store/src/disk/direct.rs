//! Writes that go straight to the disk and are durable when they return.
//!
//! A write that is synced behind it costs twice: the system copies it into pages of its cache that it has to find and
//! keep books of, and then looks for them again. `docs/decisions/0017-direct-writes.md` has the figures.

use crate::limits::{DISK_BLOCK_BYTES, FILLED_BYTES};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: usize = DISK_BLOCK_BYTES;

/// A file that is written whole blocks at a time, from memory that begins where a block could.
///
/// Invariant: `head` is what the file has from the beginning of a block on up to `end`.
pub(super) struct Direct {
    file: File,
    buffer: Vec<u8>,
    head: Vec<u8>,
    /// Where the last write ended.
    end: u64,
    /// Zeros were written up to here. What others do to the file since may make this wrong, which costs time alone.
    filled: u64,
}

impl Direct {
    /// `file` was opened with `O_DIRECT` and `O_DSYNC`, and is empty.
    pub(super) fn new(file: File) -> Direct {
        Direct { file, buffer: Vec::new(), head: Vec::new(), end: 0, filled: 0 }
    }

    /// Writes `bytes` at `offset`, and zeros behind them: to the end of the block, or where the file grows by little,
    /// by [`FILLED_BYTES`]. `cached` is the same file as it is read.
    pub(super) fn write(&mut self, cached: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = offset - offset % BLOCK as u64;
        let head = (offset - start) as usize;
        if self.end != offset {
            let mut known = vec![0; head];
            cached.read_exact_at(&mut known, start)?;
            (self.head, self.end) = (known, offset);
        }
        let end = offset + bytes.len() as u64;
        // Each time it grows, the file system commits that to its journal.
        let grows_by_little = end > self.filled && bytes.len() < FILLED_BYTES;
        let filled = end.next_multiple_of(if grows_by_little { FILLED_BYTES } else { BLOCK } as u64);
        let size = (filled - start) as usize;
        if self.buffer.len() < size + BLOCK {
            self.buffer.resize(size + BLOCK, 0);
        }
        let aligned = self.buffer.as_ptr().align_offset(BLOCK);
        let blocks = &mut self.buffer[aligned..aligned + size];
        let used = head + bytes.len();
        blocks[..head].copy_from_slice(&self.head);
        blocks[head..used].copy_from_slice(bytes);
        blocks[used..].fill(0);
        write_blocks(&self.file, blocks, start)?;
        self.head.clear();
        self.head.extend_from_slice(&blocks[used - used % BLOCK..used]);
        self.end = end;
        self.filled = self.filled.max(filled);
        Ok(())
    }

    /// What an ordinary write of `bytes` at `offset` has to be so that the system, which has not got these blocks in its
    /// cache, need not read them to write a part of them; and where. `None`: as it is.
    pub(super) fn whole_blocks(&self, bytes: &[u8], offset: u64) -> Option<(Vec<u8>, u64)> {
        let head = if self.end == offset { &self.head[..] } else { &[] };
        let end = offset + bytes.len() as u64;
        let zeros = if end < self.filled { end.next_multiple_of(BLOCK as u64) - end } else { 0 };
        if head.is_empty() && zeros == 0 {
            return None;
        }
        Some(([head, bytes, &vec![0; zeros as usize]].concat(), offset - head.len() as u64))
    }
}

/// Like [`FileExt::write_all_at`], which would go on in the middle of a block.
fn write_blocks(file: &File, mut blocks: &[u8], mut offset: u64) -> io::Result<()> {
    while !blocks.is_empty() {
        match file.write_at(blocks, offset) {
            // What a block lacks is written again, with all of it: the system then says why it was short.
            Ok(written) if written >= BLOCK => {
                let whole = written - written % BLOCK;
                blocks = &blocks[whole..];
                offset += whole as u64;
            }
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
