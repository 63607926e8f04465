//! Finds a header that opens the file. First it does what every reader does. If both banks are damaged, it uses what is
//! left of one.
//!
//! Most of a bank is filling. A bank with a wrong checksum or at a wrong position may still have all its fields and
//! slots. It is not trusted for that reason: the commitment decides, as for every bank.

use crate::container::Layout;
use crate::digest::Sha256;
use crate::engine::Observer;
use crate::envelope::{Demands, Unlocked, read_header_at, unlock};
use crate::error::{Error, Field, FormatError, Result};
use crate::format::{
    Bank, BankFault, BankLen, BankNumber, CHECKSUM_LEN, FIXED_LEN, FRONT_LEN, Front, Header, MAGIC, PLACES, Prelude,
};
use crate::keys::KeyOpener;

use super::grid::{size, unsigned};
use super::input::Input;

/// The maximum number of positions that are examined, because each may need a call to a key service.
const MAX_PLACES: usize = 16;

/// Which copy of the header opened the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderSource {
    /// The bank that every reader uses. The header has the warnings.
    Header(Box<Header>),
    /// No bank is valid at its position. This is what was found of one.
    Remains {
        /// Its position in the file, in bytes.
        offset: u64,
        /// Which bank it is.
        number: BankNumber,
        /// Whether its checksum was right. If so, it is only at a wrong position.
        check: Check,
    },
}

/// Whether a bank's checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Its bytes are the written ones.
    Right,
    /// Some of its bytes are wrong, but it opened the file.
    Wrong,
}

/// A bank that opened the file.
pub(super) struct Opened {
    pub(super) bank: Bank,
    pub(super) source: HeaderSource,
    /// Where the payload is if nothing behind the bank was lost or put in.
    pub(super) layout: Layout,
    /// The payload begins nowhere before this.
    pub(super) behind: i64,
    pub(super) unlocked: Unlocked,
}

struct Candidate {
    bank: Bank,
    offset: usize,
    check: Check,
}

/// Reads the header and unlocks it. If there is no header, looks for what is left of a bank.
pub(super) fn open_header(
    input: &Input<'_>,
    openers: &[&dyn KeyOpener],
    demands: &Demands,
    observer: &dyn Observer,
) -> Result<Opened> {
    match read_header(input) {
        Ok(header) => {
            observer.header(&header);
            demands.check(&header.bank().binding)?;
            // The bank's copy is used, because the payload's own first bytes may be damaged.
            let unlocked = unlock(header.bank(), &header.bank().prelude.to_bytes(), openers)?;
            let (bank, len) = (header.bank().clone(), header.bank_len());
            let behind = match header.state(BankNumber::One).bank() {
                Some(_) => len.header_len(),
                None => len.get(),
            };
            let layout = Layout::of(&header);
            let source = HeaderSource::Header(Box::new(header));
            Ok(Opened { bank, source, layout, behind: behind as i64, unlocked })
        }
        Err(Error::Format(error)) if is_damage(&error) => open_remains(input, openers, demands, error),
        Err(error) => Err(error),
    }
}

/// Whether lost, changed or inserted bytes can be the cause of this error. A bank with a right checksum that has a
/// newer version or breaks a rule is not damaged.
fn is_damage(error: &FormatError) -> bool {
    match error {
        FormatError::Damaged | FormatError::NotWaxseal | FormatError::CutShort { .. } => true,
        // A bank was moved to a position where no bank may be. Other readers refuse this, so that no file can show two
        // plaintexts. Here the report names the bank that was used.
        FormatError::Malformed { field, .. } => *field == Field::Misplaced,
        FormatError::Newer { .. } | FormatError::SuiteRefused { .. } => false,
    }
}

/// Like the usual reading, it retries if a rewrap may be running. Bad blocks are left out.
fn read_header(input: &Input<'_>) -> Result<Header> {
    let mut read_at = |buffer: &mut [u8], position: u64| {
        let within = size(i64::try_from(input.len().saturating_sub(position)).unwrap_or(i64::MAX)).min(buffer.len());
        let buffer = &mut buffer[..within];
        input.read(buffer, position);
        if input.is_readable(position..position + within as u64) {
            Ok(within)
        } else {
            Err(std::io::Error::other("a bad block"))
        }
    };
    Ok(read_header_at(&mut read_at)?.1)
}

/// Each attempt opens slots again, by a key service or with Argon2id. A hostile front must not cause hundreds of
/// attempts.
const MAX_TRIALS: usize = 12;

fn open_remains(
    input: &Input<'_>,
    openers: &[&dyn KeyOpener],
    demands: &Demands,
    error: FormatError,
) -> Result<Opened> {
    let mut front = vec![0; FRONT_LEN.min(size(i64::try_from(input.len()).unwrap_or(i64::MAX)))];
    input.read(&mut front, 0);
    let front = Front::new(front);
    let candidates = remains(front.bytes());
    let preludes: Vec<Prelude> = candidates.iter().map(|candidate| candidate.bank.prelude).collect();
    let (mut first_error, mut trials) = (None, 0);
    for Candidate { bank, offset, check } in candidates {
        if let Err(error) = demands.check(&bank.binding) {
            first_error.get_or_insert(error);
            continue;
        }
        let len = bank.len.get();
        let start = offset as i64 - bank.number.get() as i64 * len as i64;
        let layout = Layout::new(unsigned(start + bank.len.header_len() as i64));
        // The prelude stands in the file three times; each copy is tried with this bank.
        let own = bank.prelude;
        let payload_copy = layout.prelude_in(&front);
        let mut tried = vec![own];
        let others = payload_copy.map(Prelude::from_bytes).into_iter().chain(preludes.iter().copied());
        others.for_each(|prelude| {
            if !tried.contains(&prelude) {
                tried.push(prelude)
            }
        });
        for prelude in tried {
            trials += 1;
            if trials > MAX_TRIALS {
                return Err(first_error.unwrap_or(error.into()));
            }
            let bank = Bank { prelude, ..bank.clone() };
            match unlock(&bank, &prelude.to_bytes(), openers) {
                Ok(unlocked) => {
                    let source = HeaderSource::Remains { offset: offset as u64, number: bank.number, check };
                    // A bank with a wrong checksum may itself be incomplete.
                    let behind = match check {
                        Check::Right => offset + len,
                        Check::Wrong => offset + FIXED_LEN,
                    };
                    return Ok(Opened { bank, source, layout, behind: behind as i64, unlocked });
                }
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
    }
    Err(first_error.unwrap_or(error.into()))
}

/// The remains of banks: first those with a right checksum at other positions, then those with a wrong checksum.
fn remains(front: &[u8]) -> Vec<Candidate> {
    let shown = front.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC).map(|(place, _)| place);
    let mut places: Vec<usize> = shown.take(MAX_PLACES).collect();
    places.extend(PLACES.into_iter().filter(|place| *place < front.len()));
    let mut found: Vec<Candidate> = Vec::new();
    for check in [Check::Right, Check::Wrong] {
        for offset in &places {
            let known = found.iter().any(|candidate| candidate.offset == *offset);
            if let Some(bank) = read_remains(&front[*offset..], check).filter(|_| !known) {
                found.push(Candidate { bank, offset: *offset, check });
            }
        }
    }
    found
}

/// Reads a bank from its position, wherever that is. If its checksum is wrong, the fields with a known value are
/// corrected first.
fn read_remains(bytes: &[u8], check: Check) -> Option<Bank> {
    let field = |range: std::ops::Range<usize>| bytes.get(range);
    let len = BankLen::new(u32::from_le_bytes(field(12..16)?.try_into().ok()?).into())?;
    let number = u16::from_le_bytes(field(22..24)?.try_into().ok()?);
    let place = if number == 0 { 0 } else { len.get() };
    if check == Check::Right {
        return Bank::decode(bytes, place).ok();
    }
    let mut mended = bytes[..bytes.len().min(len.get())].to_vec();
    mended.resize(len.get(), 0);
    mended[..MAGIC.len()].copy_from_slice(&MAGIC);
    seal_check(&mut mended);
    match Bank::decode(&mended, place) {
        // Damage in the filling loses no data.
        Err(BankFault::Malformed { field: Field::Filling, offset }) => {
            mended[offset..].fill(0);
            seal_check(&mut mended);
            Bank::decode(&mended, place).ok()
        }
        decoded => decoded.ok(),
    }
}

fn seal_check(bank: &mut [u8]) {
    let content = bank.len() - CHECKSUM_LEN;
    let check = Sha256::digest(&bank[..content]);
    bank[content..].copy_from_slice(&check);
}
