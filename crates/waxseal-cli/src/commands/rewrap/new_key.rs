//! A key that gets new slots. If possible, a key service rewraps without showing the data key. Otherwise this machine
//! wraps it.

use waxseal::format::{Bank, Slot};
use waxseal::rewrap::{Rewrapped, Rewrapper, Unwrap};
use waxseal::{Error, Result};

use crate::keys::{SlotTest, Unseen};

/// A new key.
pub(super) struct NewKey<'a> {
    /// The key's name, for messages.
    pub(super) name: String,
    /// Recognizes the key's slots.
    pub(super) is_own: &'a SlotTest,
    /// A key service that rewraps to this key, if there is one.
    pub(super) unseen: Option<&'a dyn Unseen>,
    /// Unwrapping on this machine, if it is allowed.
    pub(super) unwrap: Option<Unwrap<'a>>,
}

impl Rewrapper for NewKey<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_target(&self, slot: &Slot) -> bool {
        (self.is_own)(slot)
    }

    fn accepts(&self, slot: &Slot) -> bool {
        self.unseen.is_some_and(|unseen| unseen.accepts(slot))
            || self.unwrap.as_ref().is_some_and(|unwrap| unwrap.accepts(slot))
    }

    fn may_unwrap(&self) -> bool {
        self.unwrap.is_some()
    }

    fn is_of_service(&self) -> bool {
        self.unseen.is_some()
    }

    fn has_slot(&self, bank: &Bank) -> Result<bool> {
        if bank.slots.iter().any(|slot| self.is_target(slot)) {
            return Ok(true);
        }
        self.unseen.map_or(Ok(false), |unseen| unseen.has_slot(bank))
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        let unseen = self.unseen.and_then(|unseen| unseen.rewrap(bank, slot, self.unwrap.is_some()));
        match (unseen, &self.unwrap) {
            (Some(done), _) => done,
            (None, Some(unwrap)) => unwrap.rewrap(bank, slot),
            (None, None) => Err(Error::Invalid(format!(
                "AWS KMS cannot rewrap slot {slot}: the data key must be unwrapped on this machine, \
                 which needs --allow-unwrap"
            ))),
        }
    }
}
