//! Wrapping to a new key with the data key in hand, where no key service rewraps it unseen.

use super::request::{Rewrapped, Rewrapper, Verified};
use crate::envelope::{Right, Trial};
use crate::error::Result;
use crate::format::{Bank, Slot};
use crate::keys::{KeyOpener, KeySealer};

/// A [`Rewrapper`] that unwraps the data key on this machine and wraps it again (`--allow-unwrap`).
///
/// It first checks the data key against the commitment, so that a slot of another file cannot spread.
pub struct Unwrap<'a> {
    /// What may open a slot: the one that goes, or any other.
    pub openers: Vec<&'a dyn KeyOpener>,
    /// The new key.
    pub sealer: &'a dyn KeySealer,
    /// The new key as an opener, where it is one: tells whether a slot is its own already.
    pub target: Option<&'a dyn KeyOpener>,
}

impl Rewrapper for Unwrap<'_> {
    fn name(&self) -> String {
        self.sealer.name()
    }

    fn is_target(&self, slot: &Slot) -> bool {
        self.target.is_some_and(|target| target.matches(slot))
    }

    fn accepts(&self, slot: &Slot) -> bool {
        self.openers.iter().any(|opener| opener.matches(slot))
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        let opened = open_checked(bank, &self.openers)?;
        let made = self.sealer.wrap(&opened.data_key, &bank.binding)?;
        Ok(Rewrapped { slot: made, from: slot, verified: Verified::AgainstCommitment, request_id: None })
    }
}

/// Tries each opener on each slot it matches, until one gives the data key that the bank commits to.
///
/// The payload's own prelude is not looked at: a rewrap does not need it, and a repair doubts it.
///
/// # Errors
/// [`Tampered`](crate::error::Tampered) when a slot that matched does not authenticate or gives another data key; else
/// [`NoKey`](crate::error::NoKey).
pub(super) fn open_checked(bank: &Bank, openers: &[&dyn KeyOpener]) -> Result<Right> {
    let mut trial = Trial::new(bank, None)?;
    trial.unlock(openers)?.ok_or_else(|| trial.gravest())
}
