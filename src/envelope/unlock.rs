//! A reader's side: from a header to a checked commitment (spec 12).

use crate::error::{Attempt, Error, NoKey, Result, Tampered};
use crate::format::{Bank, Front, Header, MIN_PAYLOAD, PRELUDE_LEN, Prelude, Suite};
use crate::keys::KeyOpener;
use crate::payload::{ChunkOpener, PayloadKeys};
use crate::secret::DataKey;

/// A payload whose commitment has been checked.
pub struct Unlocked {
    /// Opens the chunks.
    pub opener: ChunkOpener,
    /// The slot that opened, by its index.
    pub slot: usize,
    /// The name of the key that opened it.
    pub key: String,
    /// Slots that were tried before and did not open.
    pub failed: Vec<Attempt>,
}

/// Tries each opener, in order, on each slot it matches, until one gives the data key that the file commits to.
///
/// `prelude` are the payload's first 56 bytes.
///
/// # Errors
/// [`Tampered`] when a key-file slot matched and does not authenticate, when a data key fails the commitment, or
/// when the prelude is not the one the bank repeats; else [`NoKey`] with what was tried.
pub fn unlock(bank: &Bank, prelude: &[u8; PRELUDE_LEN], openers: &[&dyn KeyOpener]) -> Result<Unlocked> {
    let bound = bank.binding.bound_bytes()?;
    let mut failed = Vec::new();
    for opener in openers {
        for (index, slot) in bank.slots.iter().enumerate().filter(|(_, slot)| opener.matches(slot)) {
            let data_key = match opener.open(slot, &bank.binding) {
                Ok(data_key) => data_key,
                Err(Error::Tampered(Tampered::Slot { .. })) => {
                    failed.push(Attempt::new(index, opener.name(), Tampered::Slot { slot: index }.into()));
                    continue;
                }
                Err(error) => {
                    failed.push(Attempt::new(index, opener.name(), error));
                    continue;
                }
            };
            let (keys, commitment) = PayloadKeys::derive(&data_key, bank.binding.suite, &bank.prelude.salt, &bound);
            if Prelude::from_bytes(prelude) != bank.prelude {
                return Err(Tampered::Prelude.into());
            }
            if commitment.matches(&bank.prelude.commitment) {
                return Ok(Unlocked { opener: ChunkOpener::new(keys), slot: index, key: opener.name(), failed });
            }
            failed.push(Attempt::new(index, opener.name(), Tampered::Commitment.into()));
        }
    }
    Err(gravest(failed))
}

/// The answer where no slot is left (spec 12.2): a failed commitment, then a failed key-file slot, then the list.
fn gravest(failed: Vec<Attempt>) -> Error {
    let tampered = failed.iter().filter_map(|attempt| match &attempt.error {
        Error::Tampered(tampered) => Some(tampered),
        _ => None,
    });
    match tampered.max_by_key(|tampered| **tampered == Tampered::Commitment) {
        Some(tampered) => tampered.clone().into(),
        None => NoKey::new(failed).into(),
    }
}

/// The payload's first 56 bytes, from the front of a file whose header was read from it.
///
/// # Errors
/// [`Tampered::Truncated`] when the file ends before the shortest payload does; [`Error::Io`] when they could not
/// be read.
pub(crate) fn payload_prelude(front: &Front, header: &Header) -> Result<[u8; PRELUDE_LEN]> {
    let start = header.bank_len().header_len();
    if front.bytes().len() < start + MIN_PAYLOAD {
        return Err(Tampered::Truncated { offset: 0 }.into());
    }
    let prelude = front.get(start..start + PRELUDE_LEN).and_then(|bytes| bytes.try_into().ok());
    prelude.ok_or_else(|| Error::io("reading the payload's salt and commitment", std::io::Error::other("unreadable")))
}

/// Checks the commitment of a bare C2SP chunked-encryption message, whose first 56 bytes `prelude` are.
///
/// For messages that have no waxseal header. `context` is the message's own.
///
/// # Errors
/// [`Tampered::Commitment`].
pub fn open_payload(
    data_key: &DataKey,
    suite: Suite,
    context: &[u8],
    prelude: &[u8; PRELUDE_LEN],
) -> Result<ChunkOpener, Tampered> {
    let prelude = Prelude::from_bytes(prelude);
    let (keys, commitment) = PayloadKeys::derive(data_key, suite, &prelude.salt, context);
    if commitment.matches(&prelude.commitment) { Ok(ChunkOpener::new(keys)) } else { Err(Tampered::Commitment) }
}
