//! Verified chunks that are kept for the next read, and a small read-ahead for sequential reads.

use std::io;

use crate::container::Plaintext;
use crate::error::{Error, Tampered};
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN};
use crate::io::fill_at;
use crate::payload::ChunkIndex;

/// Number of chunks that are kept: 256 KiB.
const KEPT: usize = 16;
/// Number of chunks in one read once the reading is sequential.
const AHEAD: u64 = 8;

/// One verified chunk.
struct Entry {
    index: ChunkIndex,
    len: usize,
    bytes: Box<[u8; SEALED_CHUNK_LEN]>,
    used: u64,
}

/// The chunks of one payload. The most recently used ones are kept.
pub(super) struct ChunkCache {
    plaintext: Plaintext,
    entries: Vec<Entry>,
    clock: u64,
    last_asked: Option<ChunkIndex>,
    scratch: Vec<u8>,
}

impl ChunkCache {
    pub(super) fn new(plaintext: Plaintext) -> Self {
        let (entries, scratch) = (Vec::new(), Vec::new());
        Self { plaintext, entries, clock: 0, last_asked: None, scratch }
    }

    pub(super) fn plaintext(&self) -> &Plaintext {
        &self.plaintext
    }

    /// The verified plaintext of chunk `index`.
    pub(super) fn get(
        &mut self,
        index: ChunkIndex,
        read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<&[u8]> {
        let sequential = self.last_asked.and_then(ChunkIndex::next) == Some(index);
        self.last_asked = Some(index);
        if !self.entries.iter().any(|entry| entry.index == index) {
            let wanted = if sequential { AHEAD } else { 1 };
            self.load(index, wanted, read_at)?;
        }
        self.clock += 1;
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.index == index) else {
            return Err(Error::Bug("a chunk that was loaded is not there").into());
        };
        entry.used = self.clock;
        Ok(&entry.bytes[..entry.len])
    }

    /// Reads and verifies `count` chunks from `first` on. Only a failure of the first chunk is an error, because the
    /// caller has not asked for the others yet.
    fn load(
        &mut self,
        first: ChunkIndex,
        count: u64,
        read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        // A last chunk without plaintext is not read here, because its range is empty.
        let from = first.plaintext_offset();
        let range = self.plaintext.sealed_range(from..from + count * CHUNK_LEN as u64);
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(len, 0);
        let read = fill_at(read_at, &mut scratch, range.start)?;
        let mut next = Some(first);
        for sealed in scratch[..read].chunks(SEALED_CHUNK_LEN) {
            let Some(index) = next else { break };
            if self.entries.iter().any(|entry| entry.index == index) {
                next = index.next();
                continue;
            }
            match self.open(index, sealed) {
                Ok(()) => next = index.next(),
                Err(tampered) if index == first => return Err(Error::Tampered(tampered).into()),
                Err(_) => break,
            }
        }
        self.scratch = scratch;
        if next == Some(first) {
            return Err(Error::Tampered(Tampered::Truncated { offset: first.plaintext_offset() }).into());
        }
        Ok(())
    }

    fn open(&mut self, index: ChunkIndex, sealed: &[u8]) -> Result<(), Tampered> {
        let mut bytes = self.free_buffer();
        bytes[..sealed.len()].copy_from_slice(sealed);
        let len = self.plaintext.open_chunk(index, &mut bytes[..sealed.len()])?.len();
        self.clock += 1;
        self.entries.push(Entry { index, len, bytes, used: self.clock });
        Ok(())
    }

    /// A buffer: a new one, or the one of the least recently used chunk.
    fn free_buffer(&mut self) -> Box<[u8; SEALED_CHUNK_LEN]> {
        if self.entries.len() < KEPT {
            return Box::new([0; SEALED_CHUNK_LEN]);
        }
        let oldest = (0..self.entries.len()).min_by_key(|at| self.entries[*at].used).unwrap_or(0);
        self.entries.swap_remove(oldest).bytes
    }
}
