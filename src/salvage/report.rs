//! What a salvage found, and what is missing.

use std::io::{self, Write};
use std::ops::Range;

use super::header::HeaderSource;
use crate::envelope::OpenedBy;
use crate::format::Binding;

/// A part of the file, in plaintext and in ciphertext offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Bytes of the plaintext, and of the output.
    pub plaintext: Range<u64>,
    /// Bytes of the damaged file.
    pub ciphertext: Range<u64>,
}

/// A place where bytes were lost or inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// The first byte of the damaged file after the lost or inserted bytes.
    pub ciphertext: u64,
    /// The plaintext offset of that byte.
    pub plaintext: u64,
    /// The number of inserted bytes before it. Negative if bytes were lost.
    pub bytes: i64,
}

/// Where the plaintext ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextEnd {
    /// The short last chunk authenticates. The plaintext has this many bytes.
    Known(u64),
    /// The last chunk does not authenticate. The length is estimated from the file's size; it may be more or less.
    Unknown {
        /// In bytes.
        suggested: u64,
    },
}

/// Where salt and commitment are undamaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreludeSource {
    /// In the header and at the payload's start.
    Both,
    /// Only in the header: those of the payload are damaged or at another place.
    HeaderOnly,
}

/// What a salvage found.
#[derive(Debug)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The copy of the header that was used.
    pub header: HeaderSource,
    /// Suite, encryption context and labels, all authenticated by the commitment.
    pub binding: Binding,
    /// Where salt and commitment were found.
    pub prelude: PreludeSource,
    /// Which slot and key opened the file.
    pub by: OpenedBy,
    /// The parts that authenticated and were written, in ascending order.
    pub recovered: Vec<Region>,
    /// The missing parts, which are zeros in the output, in ascending order. One of the two ranges may be empty: for bytes
    /// that are not in the file, or for an empty last chunk.
    pub lost: Vec<Region>,
    /// Bytes of the damaged file after its header that belong to no chunk, although no chunk is missing there.
    pub surplus: Vec<Range<u64>>,
    /// Bytes of the damaged file that could not be read, as far as they were needed.
    pub unreadable: Vec<Range<u64>>,
    /// Where bytes were lost or inserted, if a chunk after them was found.
    pub shifts: Vec<Shift>,
    /// Where the plaintext ends.
    pub end: PlaintextEnd,
    /// Length of the damaged file.
    pub input_len: u64,
    /// The number of failed attempts of the search.
    pub failed_trials: u64,
    /// Whether the search stopped at its limit of attempts. A higher limit may find more.
    pub search_cut_short: bool,
    /// Bytes of the header and of the payload's salt and commitment that are damaged.
    pub(super) damaged_front: Vec<Range<u64>>,
}

impl SalvageReport {
    /// Whether the output is the complete plaintext, including its end. A damaged header or surplus bytes do not matter.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && matches!(self.end, PlaintextEnd::Known(_))
    }

    /// Length of the output. If the end is not known, it is estimated from the file's size.
    #[must_use]
    pub fn output_len(&self) -> u64 {
        match self.end {
            PlaintextEnd::Known(len) | PlaintextEnd::Unknown { suggested: len } => len,
        }
    }

    /// Bytes of plaintext that authenticated and were written.
    #[must_use]
    pub fn recovered_bytes(&self) -> u64 {
        self.recovered.iter().map(|region| region.plaintext.end - region.plaintext.start).sum()
    }

    /// Number of plaintext bytes that are known to be missing. If the end is unknown, there may be more.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost.iter().map(|region| region.plaintext.end - region.plaintext.start).sum()
    }

    /// Writes a map file in the format of GNU ddrescue, with offsets of the damaged file. `-` marks damaged parts, and `+`
    /// marks all other parts.
    ///
    /// With this map, `ddrescue -r1` reads only the damaged places again, from the medium or from another copy with other
    /// damage. After lost or inserted bytes, the offsets are those of this file, not of an undamaged file.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn write_ddrescue_map(&self, out: &mut impl Write) -> io::Result<()> {
        let lost = self.lost.iter().map(|region| region.ciphertext.clone());
        let mut bad: Vec<_> = lost.chain(self.unreadable.clone()).chain(self.damaged_front.clone()).collect();
        bad.sort_by_key(|range| range.start);
        writeln!(out, "# Mapfile. Created by waxseal {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "# - does not authenticate or cannot be read; + all else")?;
        for shift in &self.shifts {
            writeln!(out, "# from 0x{:08X} on, bytes put in (+) or lost (-): {:+}", shift.ciphertext, shift.bytes)?;
        }
        writeln!(out, "# current_pos  current_status  current_pass")?;
        writeln!(out, "0x{:08X}     +               1", 0)?;
        writeln!(out, "#      pos        size  status")?;
        let mut line = |range: Range<u64>, status| {
            if range.is_empty() {
                return Ok(());
            }
            writeln!(out, "0x{:08X}  0x{:08X}  {status}", range.start, range.end - range.start)
        };
        let mut from = 0;
        let mut pending: Option<Range<u64>> = None;
        for range in bad.into_iter().filter(|range| !range.is_empty()) {
            match &mut pending {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => {
                    if let Some(last) = pending.replace(range) {
                        line(from..last.start, '+')?;
                        from = last.end;
                        line(last, '-')?;
                    }
                }
            }
        }
        if let Some(last) = pending {
            line(from..last.start, '+')?;
            from = last.end;
            line(last, '-')?;
        }
        line(from..self.input_len, '+')
    }
}
