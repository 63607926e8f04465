//! Rewraps a file while it is copied from any reader to any writer.

use std::io::{Read, Write};

use super::Report;
use super::plan::Plan;
use super::write::{Outcome, Place, both_banks, check_image, len_with_room};
use crate::container::{Layout, prelude_of};
use crate::envelope::read_front;
use crate::error::{Error, Result, Tampered};
#[cfg(doc)]
use crate::format::FRONT_LEN;
use crate::format::{Bank, Front, Header};
use crate::io::read_full;

/// The front of a rewrapped file, made without the file. It is for an object store that replaces the front and copies
/// the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewFront {
    /// The new header. It replaces the first [`payload_at`](Self::payload_at) bytes of the old file.
    pub header: Vec<u8>,
    /// Where the payload begins in the old file, in bytes. From there on, the new file has the same bytes as the old
    /// one.
    pub payload_at: u64,
    /// What changes. Its `payload_len` is zero, because the payload was not read.
    pub report: Report,
}

impl NewFront {
    /// Makes a plan for the header in `front`, which has the old file's first [`FRONT_LEN`] bytes or all of a shorter
    /// file.
    ///
    /// # Errors
    /// [`Error::Format`] and the errors of `plan`. [`Error::Tampered`] if the payload does not begin with the salt and
    /// commitment from the header.
    pub fn of(front: &Front, plan: impl FnOnce(&Header) -> Result<Plan>) -> Result<Self> {
        let header = Header::read(front)?;
        let counts = header.bank();
        if prelude_of(front, &header)? != counts.prelude.to_bytes() {
            return Err(Tampered::Prelude.into());
        }
        let plan = plan(&header)?;
        if !plan.is_for(counts) {
            return Err(Error::ApiMisuse("a plan that was made from another header"));
        }
        let bank = if plan.changes_slots() {
            let generation = counts.generation.wrapping_add(1);
            let next = Bank { generation, slots: plan.slots().to_vec(), ..counts.clone() };
            Bank { len: len_with_room(&next)?, ..next }
        } else {
            counts.clone()
        };
        let made = both_banks(&bank)?;
        check_image([made.as_slice(), Layout::of(&header).payload_in(front)].concat(), &bank.slots)?;
        let warnings = header.warnings();
        let outcome = match (plan.changes_slots(), warnings.is_empty()) {
            (true, _) => Outcome::Changed(Place::NewFile),
            (false, true) => Outcome::Unchanged,
            (false, false) => Outcome::BroughtTogether(Place::NewFile),
        };
        let report = Report { outcome, changes: plan.changes().to_vec(), warnings, payload_len: 0, file_len: 0 };
        Ok(Self { header: made, payload_at: header.payload_offset(), report })
    }
}

/// Writes `input` to `output` with the slots of `plan`. The payload is copied unchanged and is not decrypted.
///
/// The header may grow. `input` and `output` must not be the same file. The output is complete only after this function
/// has returned.
///
/// # Errors
/// [`Error::Format`] and the errors of `plan`, before anything is written. [`Error::Tampered`] if the payload does not
/// begin with the salt and commitment from the header. [`Error::Io`].
pub fn rewrap_stream(
    input: &mut impl Read,
    output: &mut impl Write,
    plan: impl FnOnce(&Header) -> Result<Plan>,
) -> Result<Report> {
    let writing = |error| Error::io("writing the output", error);
    let front = read_front(input)?;
    let made = NewFront::of(&front, plan)?;
    let payload = Layout::new(made.payload_at).payload_in(&front);
    output.write_all(&made.header).map_err(writing)?;
    output.write_all(payload).map_err(writing)?;
    let rest = copy(input, output)?;
    output.flush().map_err(writing)?;
    let payload_len = payload.len() as u64 + rest;
    Ok(Report { payload_len, file_len: made.header.len() as u64 + payload_len, ..made.report })
}

/// Like [`std::io::copy`], but the error says which side failed.
fn copy(input: &mut impl Read, output: &mut impl Write) -> Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    loop {
        let count = read_full(input, &mut buffer).map_err(|error| Error::io("reading the input", error))?;
        output.write_all(&buffer[..count]).map_err(|error| Error::io("writing the output", error))?;
        copied += count as u64;
        if count < buffer.len() {
            return Ok(copied);
        }
    }
}
