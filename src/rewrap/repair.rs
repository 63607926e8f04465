//! Repairs a damaged header (spec 16).
//!
//! > Without a key, repair MUST only rewrite a damaged bank from the valid one, and only if the valid bank's prelude
//! > equals the 56 bytes at 2 * bank_len.
//! >
//! > The payload's first 56 bytes MUST be rewritten only with a data key, and only if the bank's prelude gives the
//! > right commitment with this data key (12.1, step 8) and a chunk authenticates at its place with the derived key.
//! >
//! > In every other case repair MUST NOT write anything.

use std::io;

use super::file::HeaderFile;
use super::session::{InPlace, check_named};
use super::unwrap::open_checked;
use super::write::{check_image, write_part};
use crate::error::{Error, Result, Tampered};
use crate::format::{BankNumber, BankState, SEALED_CHUNK_LEN};
use crate::keys::KeyOpener;
use crate::payload::{ChunkIndex, ChunkOpener};

/// Up to this length, the whole payload is copied to a new file when its first bytes are restored. These bytes share a
/// block with the first chunk, and a torn write could destroy that chunk. A longer payload costs too much to copy, so
/// it is changed in place. Most disks keep the rest of a sector. At worst, one chunk is lost.
const COPIED_PAYLOAD: u64 = 64 * 1024 * 1024;

/// The bytes that a repair replaces. The program shows them to the user first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairPlan {
    /// In the order of writing. Empty if nothing is damaged.
    pub replaced: Vec<Replacement>,
}

/// One range of bytes that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replacement {
    /// The part of the file.
    pub part: Part,
    /// Its position in the file, in bytes.
    pub offset: u64,
    /// The old bytes; `None` if they cannot all be read.
    pub before: Option<Vec<u8>>,
    /// The new bytes.
    pub after: Vec<u8>,
}

/// A part of a file that can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A damaged bank, restored from the other one.
    Bank(BankNumber),
    /// The payload's salt and commitment, restored from the bank that is used.
    Prelude {
        /// The key that unwrapped the data key.
        key: String,
        /// The chunk that authenticated at its place: the first one, or the last one if the first is lost.
        chunk: u64,
    },
}

impl<F: HeaderFile> InPlace<F> {
    /// Finds damaged parts that can be restored, and proves that the restored bytes are right. Writes nothing.
    ///
    /// `openers` are needed only if the payload's first 56 bytes differ from those in the header.
    ///
    /// # Errors
    /// [`Tampered::Prelude`] if they differ and no opener is given or no chunk authenticates: the header may belong to
    /// another file. [`Error::Format`] if no reader would accept the repaired header. The errors of the openers, and
    /// [`Error::Io`].
    pub fn plan_repair(&mut self, openers: &[&dyn KeyOpener]) -> Result<RepairPlan> {
        let counts = self.header.bank();
        let after = counts.prelude.to_bytes();
        let before = self.payload_prelude()?.map(|bytes| bytes.to_vec());
        let mut replaced = Vec::new();
        let other = counts.number.other();
        if let BankState::Damaged(_) = self.header.state(other) {
            let start = usize::from(other.get()) * counts.len.get();
            let before = self.front.get(start..start + counts.len.get()).map(<[u8]>::to_vec);
            let mended = crate::format::Bank { number: other, ..counts.clone() }.encode()?;
            replaced.push(Replacement { part: Part::Bank(other), offset: start as u64, before, after: mended });
        }
        if before.as_deref() != Some(&after) {
            let (key, chunk) = self.prove(openers)?;
            let part = Part::Prelude { key, chunk: chunk.get() };
            replaced.push(Replacement { part, offset: self.layout().prelude().start, before, after: after.to_vec() });
        }
        self.check_mended(&replaced)?;
        Ok(RepairPlan { replaced })
    }

    /// A damaged bank can be better than the original one. If it had the magic in a slot, at a position where no bank
    /// may be, no reader accepted the file, and none would accept it after the repair.
    fn check_mended(&self, replaced: &[Replacement]) -> Result<()> {
        let mut image = self.front.bytes().to_vec();
        for part in replaced {
            let start = usize::try_from(part.offset).unwrap_or(usize::MAX);
            if let Some(place) = image.get_mut(start..).and_then(|tail| tail.get_mut(..part.after.len())) {
                place.copy_from_slice(&part.after);
            }
        }
        check_image(image, &self.header.bank().slots)
    }

    /// Writes the bytes of `plan`, and reads the file again.
    ///
    /// # Errors
    /// [`Error::Io`] if a write, a sync or reading back fails, or if the file must be copied and there is no evidence that
    /// it is complete. [`Error::ApiMisuse`] for a plan of another file.
    pub fn repair(mut self, plan: &RepairPlan) -> Result<Self> {
        let counts = self.header.bank().clone();
        let prelude = counts.prelude.to_bytes();
        let own = plan.replaced.iter().all(|part| self.is_own(part));
        if !own {
            return Err(Error::ApiMisuse("a repair that was planned for another file"));
        }
        if plan.replaced.is_empty() {
            return Ok(self);
        }
        self.check_mended(&plan.replaced)?;
        if self.repair_copies(plan)? {
            let file = self.write_new_file(&counts, Some(&prelude))?;
            // No other process has written the new file.
            return Self::read(file).map(|session| Self { vouched: true, ..session });
        }
        // This must be known before the writes below, because they would look like writes of another program.
        let vouched = self.is_settled();
        for part in &plan.replaced {
            write_part(&mut self.file, part.offset, &part.after)?;
        }
        check_named(&mut self.file)?;
        Self::read(self.file).map(|session| Self { vouched, ..session })
    }

    /// Whether [`repair`](Self::repair) of `plan` copies the whole file. If so, there must be evidence that it is complete.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn repair_copies(&mut self, plan: &RepairPlan) -> Result<bool> {
        if plan.replaced.is_empty() {
            return Ok(false);
        }
        let small = self.layout().payload_len(self.len) <= COPIED_PAYLOAD;
        let in_payload = plan.replaced.iter().any(|part| matches!(part.part, Part::Prelude { .. }));
        let counts = self.header.bank().clone();
        Ok((small && in_payload) || self.room_in_place(&counts)?.is_some())
    }

    /// Whether `part` is at this position in the file and would get these bytes.
    fn is_own(&self, part: &Replacement) -> bool {
        let counts = self.header.bank();
        let range = |len: usize| usize::try_from(part.offset).ok().map(|start| start..start + len);
        let before = range(part.after.len()).and_then(|range| self.front.get(range));
        if before != part.before.as_deref() {
            return false;
        }
        match part.part {
            Part::Bank(number) => {
                let mended = crate::format::Bank { number, ..counts.clone() }.encode().ok();
                number != counts.number
                    && part.offset == u64::from(number.get()) * counts.len.get() as u64
                    && mended.as_deref() == Some(&part.after)
            }
            Part::Prelude { .. } => {
                part.offset == self.layout().prelude().start && part.after == counts.prelude.to_bytes()
            }
        }
    }

    /// Proves that the payload belongs to the header: a chunk authenticates at its position under the salt in the
    /// header. Another file with the same data key has another salt.
    fn prove(&mut self, openers: &[&dyn KeyOpener]) -> Result<(String, ChunkIndex)> {
        if openers.is_empty() {
            return Err(Tampered::Prelude.into());
        }
        let opened = open_checked(self.header.bank(), openers)?;
        let chunks = ChunkOpener::new(opened.keys);
        let mut unread = None;
        for index in self.witnesses() {
            match self.authenticates(&chunks, index) {
                Ok(true) => return Ok((opened.key, index)),
                Ok(false) => {}
                // If a chunk cannot be read, that proves nothing, and the other chunk is tried.
                Err(error) => unread = Some(error),
            }
        }
        Err(unread.map_or(Tampered::Prelude.into(), |error| {
            Error::io("reading a chunk that could prove the salt and commitment", error)
        }))
    }

    /// The first chunk, and the last one that the file's length allows.
    fn witnesses(&self) -> Vec<ChunkIndex> {
        let last = match self.layout().end(self.len) {
            Ok(end) => Some(end.index),
            // A truncated file does not end with a complete chunk. The chunk before may be complete.
            Err(_) => ChunkIndex::new(self.layout().full_chunks(self.len).saturating_sub(1)),
        };
        let mut indices: Vec<ChunkIndex> = std::iter::once(ChunkIndex::FIRST).chain(last).collect();
        indices.dedup();
        indices
    }

    pub(super) fn authenticates(&mut self, chunks: &ChunkOpener, index: ChunkIndex) -> io::Result<bool> {
        let mut sealed = zeroize::Zeroizing::new(vec![0; SEALED_CHUNK_LEN]);
        let count = self.file.read_past_cache(self.layout().chunk_at(index), &mut sealed)?;
        Ok(chunks.open(index, &mut sealed[..count]).is_ok())
    }
}
