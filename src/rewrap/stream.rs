//! Rewraps a file in passing, from any reader to any writer.

use std::io::{self, Read, Write};

use super::Report;
use super::plan::Plan;
use super::write::{Outcome, Place, both_banks, check_image, len_with_room};
use crate::error::{Error, Result, Tampered};
use crate::format::{Bank, FRONT_LEN, Front, Header, MIN_PAYLOAD, PRELUDE_LEN};

/// Writes `input` to `output` with the slots that `plan` gives it. The payload is copied as it is, unread.
///
/// The header may grow. `input` and `output` are not to be the same file. Output is complete once this returns, and
/// not before.
///
/// # Errors
/// [`Error::Format`] and what `plan` answers, before anything is written; [`Error::Tampered`] when the payload does
/// not begin with what the header repeats; [`Error::Io`].
pub fn rewrap_stream(
    input: &mut impl Read,
    output: &mut impl Write,
    plan: impl FnOnce(&Header) -> Result<Plan>,
) -> Result<Report> {
    let reading = |error| Error::io("reading the input", error);
    let writing = |error| Error::io("writing the output", error);
    let mut bytes = Vec::with_capacity(FRONT_LEN);
    input.take(FRONT_LEN as u64).read_to_end(&mut bytes).map_err(reading)?;
    let front = Front::new(bytes);
    let header = Header::read(&front)?;
    let counts = header.bank();
    let payload = front.bytes().get(counts.len.header_len()..).unwrap_or_default();
    // The front has room for the shortest payload behind the largest header.
    if payload.len() < MIN_PAYLOAD {
        return Err(Tampered::Truncated { offset: 0 }.into());
    }
    if payload[..PRELUDE_LEN] != counts.prelude.to_bytes() {
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
    check_image([made.as_slice(), payload].concat(), &bank.slots)?;
    output.write_all(&made).map_err(writing)?;
    output.write_all(payload).map_err(writing)?;
    let rest = copy(input, output)?;
    output.flush().map_err(writing)?;
    let payload_len = payload.len() as u64 + rest;
    let warnings = header.warnings();
    let outcome = match (plan.changes_slots(), warnings.is_empty()) {
        (true, _) => Outcome::Changed(Place::NewFile),
        (false, true) => Outcome::Unchanged,
        (false, false) => Outcome::BroughtTogether(Place::NewFile),
    };
    Ok(Report { outcome, changes: plan.changes().to_vec(), warnings, payload_len })
}

/// As [`io::copy`], but tells which side failed.
fn copy(input: &mut impl Read, output: &mut impl Write) -> Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                output.write_all(&buffer[..count]).map_err(|error| Error::io("writing the output", error))?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading the input", error)),
        }
    }
}
