//! Reads past damage, and only when asked to (spec 17): every chunk that authenticates goes to its own place.
//!
//! 1. The header: the bank that counts, with the bank's copy of salt and commitment; where both banks are damaged,
//!    what is left of one. Where no bank holds its slots whole, the data key is gone, and with it the file.
//! 2. Every chunk on the undamaged grid, by all threads.
//! 3. In each gap that has room for a chunk: a search for the next chunk that authenticates, with shifts of 4096, of
//!    512 and of single bytes, within bounds. From a hit on, the grid of its shift.
//! 4. The short last chunk, which alone tells the end.
//!
//! Chunks are looked for in their order: a file whose parts were swapped gives those on one side. Memory is bounded
//! but for the list of damaged places.

mod crew;
mod grid;
mod header;
mod input;
#[cfg(test)]
mod measured;
mod report;
mod search;
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
    /// Pairs and labels that the file must carry.
    pub demands: Demands,
    /// How far bytes may have moved by a number that is no multiple of 512, either way, in bytes.
    pub byte_reach: u64,
    /// The same for multiples of 512: lost or repeated sectors.
    pub sector_reach: u64,
    /// The same for multiples of 4096: lost or repeated blocks of a file system.
    pub block_reach: u64,
    /// The search ends when so many trials have failed; each takes some microseconds of one core.
    pub max_failed_trials: u64,
}

impl Default for SalvageOptions {
    /// 1 MiB by bytes, 64 MiB by sectors, 1 GiB by blocks, 2^26 trials (some minutes of one core).
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
    /// Without demands, with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes demands.
    #[must_use]
    pub fn with_demands(mut self, demands: Demands) -> Self {
        self.demands = demands;
        self
    }

    /// Takes the reaches of the search by bytes, by sectors and by blocks.
    #[must_use]
    pub fn with_reach(mut self, bytes: u64, sectors: u64, blocks: u64) -> Self {
        (self.byte_reach, self.sector_reach, self.block_reach) = (bytes, sectors, blocks);
        self
    }

    /// Takes a limit on failed trials; 0 leaves the undamaged grid alone.
    #[must_use]
    pub fn with_max_failed_trials(mut self, trials: u64) -> Self {
        self.max_failed_trials = trials;
        self
    }

    /// What is done with a gap, one after the other, until something is found: near shifts first, then far ones at
    /// the place where a single fault would leave the first whole chunk, then what damage on damage needs.
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

/// Decrypts what authenticates of the damaged file `source` into `out`, each chunk at its own offset.
///
/// `out` is an empty regular file. On success it has the plaintext's length, as far as that is known, and is zero
/// where something is missing. It is not synced.
///
/// The work runs on the rayon pool that the calling thread is part of; where it is part of none, on threads that are
/// started for it; and on the calling one where none can be started. The holes of a sparse file are not read.
///
/// # Errors
/// [`Error::ApiMisuse`] when `out` is not an empty regular file, [`Error::Unmet`], [`Error::NoKey`], [`Error::Format`]
/// when nothing is left of the header, [`Error::Tampered`] when the data key does not match it, [`Error::Io`] when
/// nothing can be read or something not be written. Damage of the payload is no error but in the report.
pub fn salvage(
    source: &dyn ReadAt,
    out: &File,
    openers: &[&dyn KeyOpener],
    options: &SalvageOptions,
    observer: &dyn Observer,
) -> Result<SalvageReport> {
    let about = out.metadata().map_err(|error| Error::io("looking at the output", error))?;
    if !about.is_file() || about.len() != 0 {
        return Err(Error::ApiMisuse("salvaging into something else than an empty regular file"));
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

/// Damaged banks, and the payload's first bytes if they are, where the file has them at their place.
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
    /// What was found, by its first chunk.
    runs: BTreeMap<i64, Run>,
    end: Option<End>,
    /// Gaps to search: by the next step, then those that may hold no shift at all later, then by place.
    open: BTreeMap<(usize, bool, i64), Gap>,
    /// Gaps in which every step failed.
    lost: Vec<Gap>,
}

impl Salvage<'_> {
    fn undamaged_grid(&mut self, behind: i64, observer: &dyn Observer) -> Result<()> {
        let everything = Gap { first: 0, end: None, bytes: behind..self.work.len().max(behind), left: 0, right: None };
        let runs = self.work.sweep(everything.on_grid(self.work, 0), 0, observer)?;
        // These trials are as many as the file has chunks; the limit is for the search.
        self.work.failed.store(0, Ordering::Relaxed);
        self.split(&everything, &runs)
    }

    /// Puts `runs`, which were found in `gap`, to what was found, and what is left of the gap to the open ones.
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

    /// The gap at the file's end holds the last chunk.
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

    /// Takes the gaps through the steps: all through the cheap ones first.
    fn search(&mut self, steps: &[Step]) -> Result<()> {
        while let Some(((step, still, _), gap)) = self.open.pop_first() {
            let Some(next) = steps.get(step).filter(|_| !self.work.is_spent()) else {
                self.lost.push(gap);
                continue;
            };
            let hit = match *next {
                Step::Grid => self.work.search_grid(&gap),
                // A loss and a gain of the same odd number of bytes, both large, is not believed.
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
            // No runs behind a hit: what could be read a moment ago no longer can.
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
            // Before chunk 0 the bytes of a bank that may have moved are searched too, but they are not lost chunks.
            let from = if gap.first == 0 { self.work.place(0, gap.right.unwrap_or(0).min(0)) } else { gap.bytes.start };
            let from = from.clamp(gap.bytes.start, gap.bytes.end);
            Region {
                plaintext: unsigned(gap.first) * CHUNK_LEN as u64..to,
                ciphertext: unsigned(from)..unsigned(gap.bytes.end),
            }
        });
        regions.filter(|region| !region.plaintext.is_empty() || !region.ciphertext.is_empty()).collect()
    }

    /// What was found, where it moved, and the bytes between that belong to no chunk though none is missing.
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
