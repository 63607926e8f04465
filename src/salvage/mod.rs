//! Reads past damage, and only on request (spec 17). Every chunk that authenticates is written at its own offset.
//!
//! 1. The header: the bank that is used, with its copy of salt and commitment. If both banks are damaged, what is left
//!    of one. If no bank has all its slots, the data key is lost, and the file with it.
//! 2. Every chunk on the undamaged grid, by all threads.
//! 3. In each gap that has space for a chunk: a search for the next chunk that authenticates. It tries shifts by 4096
//!    bytes, by 512 bytes and by single bytes, within limits. After a hit, the grid of its shift.
//! 4. The short last chunk. It alone shows where the plaintext ends.
//!
//! The search expects chunks in their order. If parts of a file were swapped, only the chunks of one part are found.
//! Memory use is constant, except for the list of damaged places.

mod crew;
mod grid;
mod header;
mod input;
#[cfg(unix)]
#[cfg(test)]
mod measured;
mod report;
mod search;
#[cfg(unix)]
#[cfg(test)]
mod sparse;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub use crate::io::ReadAt;
pub use header::{Check, HeaderSource};
pub use report::{PlaintextEnd, PreludeSource, Region, SalvageReport, Shift};

use crate::container::Layout;
use crate::engine::Observer;
use crate::envelope::Demands;
use crate::error::{Error, Result};
use crate::format::{BankLen, BankNumber, CHUNK_LEN, PRELUDE_LEN, TAG_LEN};
use crate::keys::KeyOpener;
use crew::Crew;
use grid::{Run, STRIDE, Work, unsigned};
use header::Opened;
use search::{Depths, Gap};
use tail::End;

/// What to demand, and how far to search.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageOptions {
    /// Pairs and labels that the file must have.
    pub demands: Demands,
    /// How many bytes can have been lost or inserted, if the number is not a multiple of 512.
    pub byte_reach: u64,
    /// The same for multiples of 512: lost or repeated sectors.
    pub sector_reach: u64,
    /// The same for multiples of 4096: lost or repeated blocks of a file system.
    pub block_reach: u64,
    /// The search ends after this many failed attempts. Each takes some microseconds of one core.
    pub max_failed_trials: u64,
}

impl Default for SalvageOptions {
    /// The defaults: 1 MiB for bytes, 64 MiB for sectors, 1 GiB for blocks, 2^26 attempts (some minutes of one core).
    fn default() -> Self {
        Self {
            demands: Demands::default(),
            byte_reach: 1 << 20,
            sector_reach: 64 << 20,
            block_reach: 1 << 30,
            max_failed_trials: 1 << 26,
        }
    }
}

impl SalvageOptions {
    /// No demands, and the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the demands.
    #[must_use]
    pub fn with_demands(mut self, demands: Demands) -> Self {
        self.demands = demands;
        self
    }

    /// Sets the ranges of the search for bytes, for sectors and for blocks.
    #[must_use]
    pub fn with_reach(mut self, bytes: u64, sectors: u64, blocks: u64) -> Self {
        (self.byte_reach, self.sector_reach, self.block_reach) = (bytes, sectors, blocks);
        self
    }

    /// Sets the limit on failed attempts. With 0, only the undamaged grid is tried.
    #[must_use]
    pub fn with_max_failed_trials(mut self, trials: u64) -> Self {
        self.max_failed_trials = trials;
        self
    }

    /// The steps for a gap, in their order, until a chunk is found. Near shifts come first. Then come far shifts at the
    /// position of the first complete chunk after a single fault. The last steps are for several faults close together.
    fn steps(&self) -> Vec<Step> {
        let bound = |reach| i64::try_from(reach).unwrap_or(i64::MAX).min(1 << 50);
        let shifts = [(4096, self.block_reach), (512, self.sector_reach), (1, self.byte_reach)];
        let far = |depths| shifts.map(|(by, reach)| Step::Shifts { by, reach: bound(reach), depths });
        let near = |by, reach, most| Step::Shifts { by, reach: bound(reach).min(most), depths: Depths::Near };
        let mut steps = vec![Step::Grid, near(512, self.sector_reach, 1 << 20), near(1, self.byte_reach, 4096)];
        steps.extend(far(Depths::First));
        steps.extend([Step::WholeGrid, Step::End]);
        steps.extend(far(Depths::Far));
        steps
    }
}

#[derive(Clone, Copy)]
enum Step {
    Grid,
    Shifts { by: i64, reach: i64, depths: Depths },
    WholeGrid,
    End,
}

/// Decrypts the authentic chunks of the damaged file `source` into `out`, each at its own offset.
///
/// `out` must be an empty regular file. After success it has the plaintext's length, as far as that is known, and zeros
/// where data is missing. It is not synced.
///
/// The work runs on the rayon pool of the calling thread. If the thread belongs to no pool, threads are started. If no
/// threads can be started, the calling thread does the work. The holes of a sparse file are not read.
///
/// # Errors
/// [`Error::ApiMisuse`] if `out` is not an empty regular file. [`Error::Unmet`], [`Error::NoKey`]. [`Error::Format`] if
/// nothing is left of the header. [`Error::Tampered`] if the data key does not match it. [`Error::Io`] if nothing can
/// be read or a write fails. Damage of the payload is not an error: it is only in the report.
pub fn salvage(
    source: &dyn ReadAt,
    out: &File,
    openers: &[&dyn KeyOpener],
    options: &SalvageOptions,
    observer: &dyn Observer,
) -> Result<SalvageReport> {
    let about = out.metadata().map_err(|error| Error::io("looking at the output", error))?;
    if !about.is_file() || about.len() != 0 {
        return Err(Error::ApiMisuse("the output of a salvage is not an empty regular file"));
    }
    let input = input::Input::new(source)?;
    observer.total(input.len());
    let Opened { bank, source, layout, behind, unlocked } =
        header::open_header(&input, openers, &options.demands, observer)?;
    let (failed, limit) = (AtomicU64::new(0), options.max_failed_trials);
    let crew = Crew::gather();
    let work = Work { input, out, crew, opener: unlocked.opener, layout, failed, limit };
    let mut salvage =
        Salvage { work: &work, runs: BTreeMap::new(), end: None, open: BTreeMap::new(), lost: Vec::new() };
    salvage.undamaged_grid(behind, observer)?;
    salvage.search(&options.steps())?;
    let plaintext_end = salvage.plaintext_end();
    let (recovered, shifts, surplus) = salvage.found(behind);
    let lost = salvage.lost(plaintext_end);
    let first_shift = salvage.runs.first_key_value().filter(|(first, _)| **first == 0).map_or(0, |(_, run)| run.shift);
    let prelude = prelude_source(&work, first_shift, &bank.prelude.to_bytes());
    let damaged_front = damaged_front(&source, bank.len, prelude);
    let report = SalvageReport {
        header: source,
        binding: bank.binding,
        prelude,
        by: unlocked.by,
        recovered,
        lost,
        surplus,
        unreadable: work.input.unreadable(),
        shifts,
        end: plaintext_end,
        input_len: work.input.len(),
        failed_trials: work.failed.load(Ordering::Relaxed),
        search_cut_short: work.is_spent() && !salvage.lost.is_empty(),
        damaged_front,
    };
    out.set_len(report.output_len()).map_err(|error| Error::io("writing the output", error))?;
    Ok(report)
}

/// The prelude stands before chunk 0, and has moved with it.
fn prelude_source(work: &Work<'_>, shift: i64, prelude: &[u8; PRELUDE_LEN]) -> PreludeSource {
    let mut carried = [0; PRELUDE_LEN];
    let place = i64::try_from(work.layout.prelude().start).unwrap_or(i64::MAX).saturating_add(shift);
    work.input.read(&mut carried, unsigned(place));
    if carried == *prelude { PreludeSource::Both } else { PreludeSource::HeaderOnly }
}

/// Damaged banks. Also the payload's first bytes, if the file has them at their position and they are damaged.
fn damaged_front(source: &HeaderSource, len: BankLen, prelude: PreludeSource) -> Vec<Range<u64>> {
    let (bank_len, header_len) = (len.get() as u64, len.header_len() as u64);
    let payload = Layout::new(header_len).prelude();
    let HeaderSource::Header(header) = source else {
        return std::iter::once(0..payload.end).collect();
    };
    let banks = [(BankNumber::Zero, 0..bank_len), (BankNumber::One, bank_len..header_len)];
    let damaged = banks.into_iter().filter(|(number, _)| header.state(*number).bank().is_none());
    let payload = (prelude == PreludeSource::HeaderOnly).then_some(payload);
    damaged.map(|(_, range)| range).chain(payload).collect()
}

/// The state of one salvage.
struct Salvage<'a> {
    work: &'a Work<'a>,
    /// The runs that were found, by their first chunk.
    runs: BTreeMap<i64, Run>,
    end: Option<End>,
    /// Gaps to search. They are ordered by the next step, then by whether they can contain a shift, then by position.
    open: BTreeMap<(usize, bool, i64), Gap>,
    /// Gaps in which every step failed.
    lost: Vec<Gap>,
}

impl Salvage<'_> {
    fn undamaged_grid(&mut self, behind: i64, observer: &dyn Observer) -> Result<()> {
        let everything = Gap { first: 0, end: None, bytes: behind..self.work.len().max(behind), left: 0, right: None };
        let runs = self.work.sweep(everything.on_grid(self.work, 0), 0, observer)?;
        // These attempts are not counted. There is one for each chunk, and the limit is only for the search.
        self.work.failed.store(0, Ordering::Relaxed);
        self.split(&everything, &runs)
    }

    /// Adds `runs`, which were found in `gap`, to the result, and the rest of the gap to the open gaps.
    fn split(&mut self, gap: &Gap, runs: &[Run]) -> Result<()> {
        let mut left = gap.clone();
        for run in runs {
            let (begin, end) = (self.work.place(run.first, run.shift), self.work.place(run.end, run.shift));
            let before = Gap { end: Some(run.first), bytes: left.bytes.start..begin, right: Some(run.shift), ..left };
            self.add(before);
            left = Gap { first: run.end, bytes: end..gap.bytes.end, left: run.shift, ..gap.clone() };
            self.runs.insert(run.first, *run);
        }
        let end = if left.end.is_none() { self.work.find_end(&left)? } else { None };
        match end {
            Some(end) => self.close(left, end),
            None => self.add(left),
        }
        Ok(())
    }

    /// The gap at the file's end contains the last chunk.
    fn close(&mut self, gap: Gap, end: End) {
        let right = Some(end.place - self.work.place(end.index, 0));
        let bytes = gap.bytes.start..end.place.max(gap.bytes.start);
        self.end = Some(end);
        self.add(Gap { end: Some(end.index), bytes, right, ..gap });
    }

    fn add(&mut self, gap: Gap) {
        if gap.end.is_some_and(|end| end <= gap.first) {
            return;
        }
        if gap.is_worth_a_search() {
            self.open.insert((0, !gap.is_shifted(), gap.first), gap);
        } else {
            self.lost.push(gap);
        }
    }

    /// Applies the steps to the gaps. The cheap steps are done for all gaps first.
    fn search(&mut self, steps: &[Step]) -> Result<()> {
        while let Some(((step, still, _), gap)) = self.open.pop_first() {
            let Some(next) = steps.get(step).filter(|_| !self.work.is_spent()) else {
                self.lost.push(gap);
                continue;
            };
            let hit = match *next {
                Step::Grid => self.work.search_grid(&gap),
                // If a large odd number of bytes is lost and the same number is inserted, the result is not trusted.
                Step::Shifts { by: 1, reach: 4097.., .. } if still => None,
                Step::Shifts { by, reach, depths } => self.work.search_shifts(&gap, by, reach, depths),
                Step::WholeGrid => self.work.search_whole_grid(&gap)?,
                Step::End if gap.end.is_none() => match self.work.search_end(&gap)? {
                    Some(end) => {
                        self.close(gap, end);
                        continue;
                    }
                    None => None,
                },
                Step::End => None,
            };
            let runs = match hit {
                Some((index, shift)) => self.work.extend(index, shift, &gap.on_grid(self.work, shift))?,
                None => Vec::new(),
            };
            // A hit without runs: bytes that could be read a moment ago can no longer be read.
            if runs.is_empty() {
                self.open.insert((step + 1, still, gap.first), gap);
            } else {
                self.split(&gap, &runs)?;
            }
        }
        self.lost.sort_by_key(|gap| gap.first);
        Ok(())
    }

    fn plaintext_end(&self) -> PlaintextEnd {
        if let Some(end) = self.end {
            return PlaintextEnd::Known(end.plaintext_len());
        }
        let last = self.lost.last().filter(|gap| gap.end.is_none());
        let suggested = last.map_or(0, |gap| {
            let from = gap.bytes.start.max(self.work.place(gap.first, gap.left));
            let bytes = (gap.bytes.end - from).max(0);
            let (chunks, rest) = (gap.first + bytes / STRIDE, bytes % STRIDE);
            unsigned(chunks) * CHUNK_LEN as u64 + unsigned(rest - TAG_LEN as i64)
        });
        PlaintextEnd::Unknown { suggested }
    }

    fn lost(&self, end: PlaintextEnd) -> Vec<Region> {
        let regions = self.lost.iter().map(|gap| {
            let to = match (gap.end, end) {
                (Some(end), _) => unsigned(end) * CHUNK_LEN as u64,
                (None, PlaintextEnd::Known(len) | PlaintextEnd::Unknown { suggested: len }) => len,
            };
            // Before chunk 0, the bytes of a bank that may have moved are searched, too. They do not count as lost
            // chunks.
            let from = if gap.first == 0 { self.work.place(0, gap.right.unwrap_or(0).min(0)) } else { gap.bytes.start };
            let from = from.clamp(gap.bytes.start, gap.bytes.end);
            Region {
                plaintext: unsigned(gap.first) * CHUNK_LEN as u64..to,
                ciphertext: unsigned(from)..unsigned(gap.bytes.end),
            }
        });
        regions.filter(|region| !region.plaintext.is_empty() || !region.ciphertext.is_empty()).collect()
    }

    /// The found parts, where they moved, and the bytes between them that belong to no chunk although none is missing.
    fn found(&self, behind: i64) -> (Vec<Region>, Vec<Shift>, Vec<Range<u64>>) {
        let place = |index, shift| self.work.place(index, shift);
        let runs = self.runs.values().map(|run| {
            let bytes = place(run.first, run.shift)..place(run.end, run.shift);
            let end = unsigned(run.end) * CHUNK_LEN as u64;
            (run.first, run.end, bytes, end)
        });
        let last = self.end.map(|end| (end.index, end.index + 1, end.place..end.place + end.len, end.plaintext_len()));
        let (mut recovered, mut shifts, mut surplus): (Vec<Region>, _, _) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = (0, behind.max(place(0, 0).min(self.work.len())), 0);
        for (first, end, bytes, plaintext_end) in runs.chain(last) {
            let shift = bytes.start - place(first, 0);
            let plaintext = unsigned(first) * CHUNK_LEN as u64..plaintext_end;
            let ciphertext = unsigned(bytes.start)..unsigned(bytes.end);
            if shift != before.2 {
                let bytes = shift - before.2;
                shifts.push(Shift { ciphertext: ciphertext.start, plaintext: plaintext.start, bytes });
            }
            if first == before.0 && before.1 < bytes.start {
                surplus.push(unsigned(before.1)..ciphertext.start);
            }
            before = (end, bytes.end, shift);
            match recovered.last_mut() {
                Some(last) if last.plaintext.end == plaintext.start && last.ciphertext.end == ciphertext.start => {
                    last.plaintext.end = plaintext.end;
                    last.ciphertext.end = ciphertext.end;
                }
                _ => recovered.push(Region { plaintext, ciphertext }),
            }
        }
        if self.end.is_some() && before.1 < self.work.len() {
            surplus.push(unsigned(before.1)..self.work.input.len());
        }
        (recovered, shifts, surplus)
    }
}
