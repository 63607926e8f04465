//! Turns the user's request into a [`Plan`] for one header. It calls the key services.

use super::plan::{Plan, SlotChange, no_such_slot};
use crate::error::{Error, Result};
use crate::format::{Bank, Binding, Slot, SlotKind};

/// Whether the data key of a new slot is known to be the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It was unwrapped on this machine, and it matches the commitment in the header.
    AgainstCommitment,
    /// A key service rewrapped it without showing it, as `kms:ReEncrypt` does.
    Not,
}

/// A new wrapping of a file's data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// The new slot.
    pub slot: Slot,
    /// Index of the slot that it was made from.
    pub from: usize,
    /// What is known of its data key.
    pub verified: Verified,
    /// The key service's id of the request.
    pub request_id: Option<String>,
}

/// Wraps a file's data key with another key.
pub trait Rewrapper: Send + Sync {
    /// The new key's name for people.
    fn name(&self) -> String;

    /// Whether `slot` already belongs to the new key. This uses only public bytes and makes no call.
    fn is_target(&self, slot: &Slot) -> bool;

    /// Whether it can start from `slot`.
    fn accepts(&self, slot: &Slot) -> bool;

    /// Whether it may unwrap the data key on this machine. Then it may start from any slot.
    fn may_unwrap(&self) -> bool {
        false
    }

    /// Whether a key service rewraps to this key without showing the data key. If so, it replaces the only slot of that
    /// service. Otherwise the user must name the slot if there are several.
    fn is_of_service(&self) -> bool {
        false
    }

    /// Whether the new key already has a slot in `bank`. Called only if the key to replace has no slot. It may ask the
    /// key service which key a name stands for.
    ///
    /// # Errors
    /// Any error of the key service.
    fn has_slot(&self, bank: &Bank) -> Result<bool> {
        Ok(bank.slots.iter().any(|slot| self.is_target(slot)))
    }

    /// Makes the new slot from slot number `slot` of `bank`, which is the bank that is used.
    ///
    /// # Errors
    /// Any error of the key service.
    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped>;
}

/// Decides about a slot from its public bytes.
type SlotTest<'a> = Box<dyn Fn(&Slot) -> bool + Send + Sync + 'a>;
/// Returns the new slot and the key service's id of the request.
type ReEncryptCall<'a> = Box<dyn Fn(&Slot, &Binding) -> Result<(Slot, Option<String>)> + Send + Sync + 'a>;

/// A [`Rewrapper`] made of closures, for services that rewrap without showing the data key (`kms:ReEncrypt`).
pub struct ReEncrypt<'a> {
    /// The new key's name for people.
    pub name: String,
    /// As [`Rewrapper::is_target`].
    pub is_target: SlotTest<'a>,
    /// As [`Rewrapper::accepts`].
    pub accepts: SlotTest<'a>,
    /// Calls the key service.
    pub call: ReEncryptCall<'a>,
}

impl Rewrapper for ReEncrypt<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_target(&self, slot: &Slot) -> bool {
        (self.is_target)(slot)
    }

    fn accepts(&self, slot: &Slot) -> bool {
        (self.accepts)(slot)
    }

    fn is_of_service(&self) -> bool {
        true
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        let source = bank.slots.get(slot).ok_or_else(|| no_such_slot(slot))?;
        let (made, request_id) = (self.call)(source, &bank.binding)?;
        Ok(Rewrapped { slot: made, from: slot, verified: Verified::Not, request_id })
    }
}

/// Names a slot of a header that has not been read yet.
pub enum Selector<'a> {
    /// By its index.
    Slot(usize),
    /// By its key: a name for messages, and a function that finds the key's slots.
    Key {
        /// The name that the user gave.
        name: String,
        /// Whether a slot belongs to the key.
        matches: SlotTest<'a>,
    },
}

impl Selector<'_> {
    /// Indices of the selected slots. Empty if the key has no slot, as after a removal.
    fn find(&self, bank: &Bank) -> Result<Vec<usize>> {
        match self {
            Self::Slot(slot) if *slot >= bank.slots.len() => Err(no_such_slot(*slot)),
            Self::Slot(slot) => Ok(vec![*slot]),
            Self::Key { matches, .. } => Ok((0..bank.slots.len()).filter(|slot| matches(&bank.slots[*slot])).collect()),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Slot(slot) => format!("slot {slot}"),
            Self::Key { name, .. } => name.clone(),
        }
    }
}

/// The changes requested for every file: `--from`, `--to`, `--add`, `--remove`. An empty request is valid. It makes
/// differing banks equal.
#[derive(Default)]
pub struct Request<'a> {
    /// The slot that `to` replaces. Required if the header has several candidates.
    pub from: Option<Selector<'a>>,
    /// The new key.
    pub to: Option<&'a dyn Rewrapper>,
    /// Keys that are added, each by a rewrapper that checks the data key against the commitment.
    pub add: Vec<&'a dyn Rewrapper>,
    /// Slots that are removed.
    pub remove: Vec<Selector<'a>>,
}

impl Request<'_> {
    /// Determines the changes of `bank`, and gets the new slots. If the file needs no change, no call is made, and the
    /// plan has no changes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the choice of a slot is not clear or a named slot is missing, before any call. Also any error
    /// of the key services, and the errors of [`Plan::new`].
    pub fn plan(&self, bank: &Bank) -> Result<Plan> {
        let mut removed = Vec::new();
        for selector in &self.remove {
            removed.extend(selector.find(bank)?);
        }
        removed.sort_unstable();
        removed.dedup();
        let replaced = self.to.map(|to| Ok::<_, Error>((to, self.replaced(bank, to)?))).transpose()?;
        if replaced.is_none() && self.from.is_some() {
            return Err(Error::Invalid("a key to replace is named, but no new key".into()));
        }
        let mut changes = Vec::new();
        if let Some((to, Some(slot))) = replaced {
            if removed.contains(&slot) {
                return Err(Error::Invalid(format!("slot {slot} cannot be both replaced and removed")));
            }
            let with = to.rewrap(bank, slot)?;
            if !already(&bank.slots[slot], &with.slot) {
                changes.push(SlotChange::Replace { slot, with });
            }
        }
        for add in &self.add {
            changes.extend(added(bank, *add)?.map(SlotChange::Add));
        }
        changes.extend(removed.into_iter().map(|slot| SlotChange::Remove { slot }));
        Plan::new(bank, changes)
    }

    /// The slot that `to` replaces. `None` if it is already a slot of the new key.
    fn replaced(&self, bank: &Bank, to: &dyn Rewrapper) -> Result<Option<usize>> {
        let candidates = match &self.from {
            Some(from) => from.find(bank)?,
            None => {
                let all = 0..bank.slots.len();
                let kms: Vec<usize> = all.clone().filter(|slot| bank.slots[*slot].kind == SlotKind::AWS_KMS).collect();
                // A local key does not show which slot is meant. It may replace any.
                if kms.is_empty() || !to.is_of_service() { all.collect() } else { kms }
            }
        };
        match (candidates.as_slice(), &self.from) {
            ([one], _) => Ok((!to.is_target(&bank.slots[*one])).then_some(*one)),
            ([], _) if to.has_slot(bank)? => Ok(None),
            ([], Some(from)) => Err(Error::Invalid(format!("no slot belongs to {}", from.name()))),
            _ => Err(Error::Invalid(format!(
                "the file has {} slots that could be replaced: name one of them",
                candidates.len()
            ))),
        }
    }
}

/// The slot to add. `None` if the key already has one.
fn added(bank: &Bank, add: &dyn Rewrapper) -> Result<Option<Rewrapped>> {
    if bank.slots.iter().any(|slot| add.is_target(slot)) {
        return Ok(None);
    }
    let from = match (0..bank.slots.len()).find(|slot| add.accepts(&bank.slots[*slot])) {
        Some(from) => from,
        // Unwrapping says which key is missing, as it does for a key that replaces another.
        None if add.may_unwrap() => 0,
        None => {
            return Err(Error::Invalid(format!(
                "to add {}, the data key must be unwrapped on this machine, and this was not allowed",
                add.name()
            )));
        }
    };
    let made = add.rewrap(bank, from)?;
    Ok((!bank.slots.iter().any(|slot| already(slot, &made.slot))).then_some(made))
}

/// Whether the new slot is for the same key as the old one. For passphrases this is not known.
fn already(old: &Slot, new: &Slot) -> bool {
    new.kind != SlotKind::PASSPHRASE && old.same_key(new)
}
