//! Wraps to a new key with the data key in memory, if no key service can rewrap it without showing it.

use super::request::{Rewrapped, Rewrapper, Verified};
use crate::envelope::{Right, Trial};
use crate::error::Result;
use crate::format::{Bank, Slot};
use crate::keys::{KeyOpener, KeySealer};

/// A [`Rewrapper`] that unwraps the data key on this machine and wraps it again (`--allow-unwrap`).
///
/// It first checks the data key against the commitment, so that a slot of another file cannot spread.
pub struct Unwrap<'a> {
    /// Openers for any slot: the one that is replaced, or another one.
    pub openers: Vec<&'a dyn KeyOpener>,
    /// The new key.
    pub sealer: &'a dyn KeySealer,
    /// The new key as an opener, if it can open: it recognizes its own slots.
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

    fn may_unwrap(&self) -> bool {
        true
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        let opened = open_checked(bank, &self.openers)?;
        let made = self.sealer.wrap(&opened.data_key, &bank.binding)?;
        Ok(Rewrapped { slot: made, from: slot, verified: Verified::AgainstCommitment, request_id: None })
    }
}

/// Tries each opener on each matching slot, until one gives the data key that matches the bank's commitment.
///
/// It does not use the payload's own prelude. A rewrap does not need the prelude, and a repair does not trust it.
///
/// # Errors
/// [`Tampered`](crate::error::Tampered) if a matching slot does not authenticate or gives another data key. Otherwise
/// [`NoKey`](crate::error::NoKey).
pub(super) fn open_checked(bank: &Bank, openers: &[&dyn KeyOpener]) -> Result<Right> {
    let mut trial = Trial::new(bank, None)?;
    trial.unlock(openers)?.ok_or_else(|| trial.gravest())
}
