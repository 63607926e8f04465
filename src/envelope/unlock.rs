//! Opening: from a header to a checked commitment (spec 12).

use crate::error::{Attempt, Error, NoKey, Result, Tampered};
use crate::format::{Bank, PRELUDE_LEN, Prelude, Suite};
use crate::keys::{AsyncKeyOpener, KeyOpener};
use crate::payload::{ChunkOpener, PayloadKeys, check_suite};
use crate::secret::DataKey;

/// A payload whose commitment has been checked.
pub(crate) struct Unlocked {
    /// Opens the chunks.
    pub opener: ChunkOpener,
    /// Which slot and key opened it.
    pub by: OpenedBy,
}

/// Which slot and key opened a file.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedBy {
    /// The slot's index in the header.
    pub slot: usize,
    /// The key's name for people.
    pub key: String,
    /// Slots that were tried before and did not open.
    pub failed: Vec<Attempt>,
}

/// Tries each opener, in order, on each matching slot, until one returns the data key that matches the commitment.
///
/// `prelude` is the first 56 bytes of the payload.
///
/// # Errors
/// [`Tampered`] if a matching key-file slot does not authenticate, if a data key fails the commitment, or if the prelude
/// differs from the bank's. Otherwise [`NoKey`] with everything that was tried.
pub(crate) fn unlock(bank: &Bank, prelude: &[u8; PRELUDE_LEN], openers: &[&dyn KeyOpener]) -> Result<Unlocked> {
    let mut trial = Trial::new(bank, Some(prelude))?;
    match trial.unlock(openers)? {
        Some(right) => Ok(trial.unlocked(right)),
        None => Err(trial.gravest()),
    }
}

/// [`unlock`] for openers that answer asynchronously.
///
/// # Errors
/// As [`unlock`].
pub(crate) async fn unlock_async(
    bank: &Bank,
    prelude: &[u8; PRELUDE_LEN],
    openers: &[&dyn AsyncKeyOpener],
) -> Result<Unlocked> {
    let mut trial = Trial::new(bank, Some(prelude))?;
    for opener in openers {
        for (index, slot) in bank.slots.iter().enumerate().filter(|(_, slot)| opener.matches(slot)) {
            let answer = opener.open(slot, &bank.binding).await;
            if let Some(right) = trial.answer(index, &opener.name(), answer)? {
                return Ok(trial.unlocked(right));
            }
        }
    }
    Err(trial.gravest())
}

/// Checks the data keys from slots one by one, and remembers the wrong ones.
pub(crate) struct Trial<'a> {
    bank: &'a Bank,
    bound: Vec<u8>,
    /// The payload's first 56 bytes. `None` for a repair, which does not trust them, and for a rewrap, which does not
    /// need them.
    prelude: Option<&'a [u8; PRELUDE_LEN]>,
    failed: Vec<Attempt>,
}

/// A data key that matches the commitment in the bank, and the keys derived from it.
pub(crate) struct Right {
    pub(crate) data_key: DataKey,
    pub(crate) keys: PayloadKeys,
    slot: usize,
    pub(crate) key: String,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(bank: &'a Bank, prelude: Option<&'a [u8; PRELUDE_LEN]>) -> Result<Self> {
        check_suite(bank.binding.suite)?;
        Ok(Self { bank, bound: bank.binding.bound_bytes()?, prelude, failed: Vec::new() })
    }

    /// Tries each opener, in order, on each matching slot.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(crate) fn unlock(&mut self, openers: &[&dyn KeyOpener]) -> Result<Option<Right>> {
        for opener in openers {
            for (index, slot) in self.bank.slots.iter().enumerate().filter(|(_, slot)| opener.matches(slot)) {
                let right = self.answer(index, &opener.name(), opener.open(slot, &self.bank.binding))?;
                if right.is_some() {
                    return Ok(right);
                }
            }
        }
        Ok(None)
    }

    /// Checks the result of the key named `key` for slot number `slot`. `None` means that the next slot is to be tried.
    ///
    /// # Errors
    /// [`Tampered::Prelude`], because no other slot can change that.
    pub(crate) fn answer(&mut self, slot: usize, key: &str, answer: Result<DataKey>) -> Result<Option<Right>> {
        let error = match answer {
            Ok(data_key) => {
                let Prelude { salt, commitment } = &self.bank.prelude;
                let (keys, derived) = PayloadKeys::derive(&data_key, self.bank.binding.suite, salt, &self.bound);
                if self.prelude.is_some_and(|prelude| Prelude::from_bytes(prelude) != self.bank.prelude) {
                    return Err(Tampered::Prelude.into());
                }
                if derived.matches(commitment) {
                    return Ok(Some(Right { data_key, keys, slot, key: key.into() }));
                }
                Tampered::Commitment.into()
            }
            Err(Error::Tampered(Tampered::Slot { .. })) => Tampered::Slot { slot }.into(),
            Err(error) => error,
        };
        self.failed.push(Attempt::new(slot, key.into(), error));
        Ok(None)
    }

    pub(crate) fn unlocked(self, right: Right) -> Unlocked {
        let by = OpenedBy { slot: right.slot, key: right.key, failed: self.failed };
        Unlocked { opener: ChunkOpener::new(right.keys), by }
    }

    /// The error after the last slot (spec 12.2): a failed commitment comes first, then a failed key-file slot, then
    /// the list.
    pub(crate) fn gravest(self) -> Error {
        let tampered = self.failed.iter().filter_map(|attempt| match &attempt.error {
            Error::Tampered(tampered) => Some(tampered),
            _ => None,
        });
        match tampered.max_by_key(|tampered| **tampered == Tampered::Commitment) {
            Some(tampered) => tampered.clone().into(),
            None => NoKey::new(self.failed).into(),
        }
    }
}

/// Checks the commitment of a plain C2SP chunked-encryption message. `prelude` is its first 56 bytes.
///
/// This is for messages without a waxseal header. `context` is the context of the message.
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
