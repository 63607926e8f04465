//! The order of writes (spec 15.2).
//!
//! > Write the bank that does not count (bank 1 if both are equal), with the new slots, the new generation and its own
//! > bank number.
//! >
//! > Sync. Read the bank back without the cache and compare it.
//! >
//! > Write, sync, read back and compare the other bank in the same way, with the same generation.
//! >
//! > A failed write, sync or comparison MUST end the run, without a retry.

use std::io;

use super::Report;
use super::file::HeaderFile;
use super::plan::Plan;
use super::session::{InPlace, check_named};
use crate::error::{Error, FormatError, Result};
use crate::format::{Bank, BankLen, BankNumber, FRONT_LEN, Front, Header, PRELUDE_LEN, Slot};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing. The file already had these slots, and both banks are equal.
    Unchanged,
    /// The file already had these slots, but a bank was damaged or older. An interrupted run is now complete.
    BroughtTogether(Place),
    /// The slots have changed.
    Changed(Place),
}

/// Where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the file.
    InPlace,
    /// Into a new file, which has replaced the old one. The header needed more room, or the file system's blocks are
    /// larger than a bank.
    NewFile,
}

impl<F: HeaderFile> InPlace<F> {
    /// Writes the header of `plan`. On success, both banks are on disk and equal, and have only the slots of `plan`.
    ///
    /// # Errors
    /// [`Error::Tampered`] if the payload does not start with the salt and commitment of the header. Nothing is written in
    /// this case. [`Error::Io`] if a write, a sync or reading back fails. The file then has either all old or all new
    /// slots, or all slots of an earlier failed run (spec 15.2). The next run detects which. [`Error::Io`] also if the file
    /// must be copied and there is no evidence that it is complete (see [`prove_end`](Self::prove_end),
    /// [`vouch`](Self::vouch)). [`Error::Limit`] if the slots do not fit into a header. [`Error::ApiMisuse`] if `plan` was
    /// made from another header.
    pub fn apply(mut self, plan: &Plan) -> Result<Report> {
        let counts = self.header.bank().clone();
        if !plan.is_for(&counts) {
            return Err(Error::ApiMisuse("a plan that was made from another header"));
        }
        self.check_prelude()?;
        let mut report = Report {
            outcome: Outcome::Unchanged,
            changes: plan.changes().to_vec(),
            warnings: self.header.warnings(),
            payload_len: self.layout().payload_len(self.len),
            file_len: self.len,
        };
        let Some((bank, order)) = self.next_bank(plan) else { return Ok(report) };
        let place = match self.room_in_place(&bank)? {
            None => {
                self.write_banks(&bank, &order)?;
                check_named(&mut self.file)?;
                Place::InPlace
            }
            Some(len) => {
                report.file_len = 2 * len.get() as u64 + report.payload_len;
                self.write_new_file(&Bank { len, ..bank }, None).map(|_| Place::NewFile)?
            }
        };
        report.outcome = if plan.changes_slots() { Outcome::Changed(place) } else { Outcome::BroughtTogether(place) };
        Ok(report)
    }

    /// The bank that `plan` requires, and the positions where it must be written, in order. `None` if nothing must be
    /// written.
    pub(super) fn next_bank(&self, plan: &Plan) -> Option<(Bank, Vec<BankNumber>)> {
        let counts = self.header.bank();
        if plan.changes_slots() {
            let generation = counts.generation.wrapping_add(1);
            let next = Bank { generation, slots: plan.slots().to_vec(), ..counts.clone() };
            return Some((next, vec![counts.number.other(), counts.number]));
        }
        // The bank that is used is on the disk and correct. It is safer not to write it.
        (!self.header.warnings().is_empty()).then(|| (counts.clone(), vec![counts.number.other()]))
    }

    /// `None` if `bank` can be written in place. Otherwise the bank length of the new file.
    pub(super) fn room_in_place(&mut self, bank: &Bank) -> Result<Option<BankLen>> {
        let len = len_with_room(bank)?;
        let block = self.file.block_size().map_err(|error| Error::io("reading the block size", error))?;
        // A torn write must not affect the other bank or the payload. If the block length is unknown (0), no length is
        // a multiple of it.
        let apart = (bank.len.get() as u64).is_multiple_of(block);
        Ok((len != bank.len || !apart).then_some(len))
    }

    /// Writes `bank` to the positions in `order`. Each is synced and read back before the next one is written.
    pub(super) fn write_banks(&mut self, bank: &Bank, order: &[BankNumber]) -> Result<()> {
        let mut parts = Vec::with_capacity(order.len());
        for number in order {
            let bytes = Bank { number: *number, ..bank.clone() }.encode()?;
            parts.push((usize::from(number.get()) * bank.len.get(), bytes));
        }
        let mut image = self.front.bytes().to_vec();
        for (offset, bytes) in &parts {
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        check_image(image, &bank.slots)?;
        parts.iter().try_for_each(|(offset, bytes)| write_part(&mut self.file, *offset as u64, bytes))
    }

    /// Writes a complete new file with two banks equal to `bank`, and gives it this file's name. If `prelude` is given,
    /// the new payload begins with it.
    pub(super) fn write_new_file(mut self, bank: &Bank, prelude: Option<&[u8; PRELUDE_LEN]>) -> Result<F> {
        let failed = |error| Error::io("replacing the file with a new one", error);
        let old_start = self.header.payload_offset();
        let mut header = both_banks(bank)?;
        let mut image = header.clone();
        image.extend_from_slice(self.layout().payload_in(&self.front));
        check_image(image, &bank.slots)?;
        let start = header.len() as u64;
        self.check_settled()?;
        let mut made = self.file.create_beside().map_err(failed)?;
        let copied = self.file.copy_tail(old_start, &mut made, start).map_err(failed)?;
        if old_start + copied != self.len || self.file.byte_len().map_err(failed)? != self.len {
            return Err(failed(io::Error::other("the file changed while it was copied")));
        }
        header.extend(prelude.into_iter().flatten());
        write_part(&mut made, 0, &header)?;
        self.hand_over(&mut made)?;
        // Until the name is on the disk, the lock prevents other rewraps from building on it.
        self.file.sync_folder().map_err(failed)?;
        Ok(made)
    }
}

/// The bank's own length if its slots fit into it. Otherwise the next length that leaves space for more slots.
pub(super) fn len_with_room(bank: &Bank) -> Result<BankLen> {
    match bank.encode() {
        Ok(_) => Ok(bank.len),
        Err(Error::Limit(_)) => {
            let len = Bank::fitting_len(&bank.binding, &bank.slots, bank.len)?;
            Bank { len, ..bank.clone() }.encode().map(|_| len)
        }
        Err(other) => Err(other),
    }
}

/// A header with two banks equal to `bank`.
pub(super) fn both_banks(bank: &Bank) -> Result<Vec<u8>> {
    let mut header = Bank { number: BankNumber::Zero, ..bank.clone() }.encode()?;
    header.extend(Bank { number: BankNumber::One, ..bank.clone() }.encode()?);
    Ok(header)
}

/// A header that readers refuse must not be written. Wrapped keys may have the magic at a position where it is not
/// allowed.
pub(super) fn check_image(mut image: Vec<u8>, slots: &[Slot]) -> Result<()> {
    image.truncate(FRONT_LEN);
    let header = Header::read(&Front::new(image))?;
    if header.bank().slots == slots { Ok(()) } else { Err(FormatError::Damaged.into()) }
}

/// One step: write, sync, read back past the cache.
pub(super) fn write_part<F: HeaderFile>(file: &mut F, offset: u64, bytes: &[u8]) -> Result<()> {
    file.write_at(offset, bytes).map_err(|error| Error::io("writing the header", error))?;
    file.sync().map_err(|error| Error::io("syncing the header", error))?;
    let mut arrived = vec![0; bytes.len()];
    let count = file
        .read_past_cache(offset, &mut arrived)
        .map_err(|error| Error::io("reading back the header that was written", error))?;
    if count == bytes.len() && arrived == bytes {
        return Ok(());
    }
    let lost = io::Error::new(io::ErrorKind::InvalidData, "the disk does not contain what was written");
    Err(Error::io("reading back the header that was written", lost))
}
