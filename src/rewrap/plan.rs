//! The slots that a header will have, checked before anything is written.

use super::request::{Rewrapped, Verified};
use crate::error::{Error, Result};
use crate::format::{Bank, BankLen, Slot, SlotKind};

/// One change of a slot. A slot is named by its index in the bank that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotChange {
    /// Replaces the slot with another wrapping of the same data key.
    Replace {
        /// The slot that is replaced.
        slot: usize,
        /// The new slot and its origin.
        with: Rewrapped,
    },
    /// Adds a slot after the last one. Its data key was checked against the commitment.
    Add(Rewrapped),
    /// Removes a slot. The last slot cannot be removed.
    Remove {
        /// The slot that is removed.
        slot: usize,
    },
}

/// A slot's public name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotName {
    /// What wraps the data key.
    pub kind: SlotKind,
    /// The id of that key. Empty for a passphrase.
    pub key_id: String,
}

impl From<&Slot> for SlotName {
    fn from(slot: &Slot) -> Self {
        Self { kind: slot.kind, key_id: slot.key_id.clone() }
    }
}

/// The result of a change, for a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The old slot; `None` if a slot was added.
    pub old: Option<SlotName>,
    /// The new slot; `None` if a slot was removed.
    pub new: Option<SlotName>,
    /// The key service's id of the request that wrapped it.
    pub request_id: Option<String>,
}

/// The slots that a header will have. A plan is made from one header and is valid only for that header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    base: Bank,
    slots: Vec<Slot>,
    changes: Vec<Change>,
}

impl Plan {
    /// Applies `changes` to the slots of `bank`, which must be the bank that is used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no slot would be left, or if a slot is named twice or does not exist. Also if an unchecked
    /// slot would give an added slot, two slots, or all remaining slots. [`Error::Limit`] if the slots do not fit into a
    /// header.
    pub fn new(bank: &Bank, changes: Vec<SlotChange>) -> Result<Self> {
        let mut slots: Vec<Option<Entry>> = bank.slots.iter().cloned().map(|slot| Some(Entry::kept(slot))).collect();
        let mut summary = Vec::with_capacity(changes.len());
        let mut touched = vec![false; slots.len()];
        for change in changes {
            if let SlotChange::Replace { slot, .. } | SlotChange::Remove { slot } = &change {
                let touched = touched.get_mut(*slot).ok_or_else(|| no_such_slot(*slot))?;
                if std::mem::replace(touched, true) {
                    return Err(Error::Invalid(format!("slot {slot} is named twice")));
                }
            }
            if let SlotChange::Add(Rewrapped { verified: Verified::Not, .. }) = &change {
                return Err(Error::Invalid(
                    "to add a key, the data key must be unwrapped and checked against the commitment".into(),
                ));
            }
            summary.push(apply(&mut slots, change));
        }
        let entries: Vec<Entry> = slots.into_iter().flatten().collect();
        check(bank, &entries)?;
        let slots = entries.into_iter().map(|entry| entry.slot).collect();
        let plan = Self { base: bank.clone(), slots, changes: summary };
        // Shapes, number, duplicates and length are checked here, before anything is written.
        Bank { len: BankLen::MAX, slots: plan.slots.clone(), ..bank.clone() }.encode()?;
        Ok(plan)
    }

    /// No change. [`InPlace::apply`](super::InPlace::apply) then only makes differing banks equal.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn unchanged(bank: &Bank) -> Result<Self> {
        Self::new(bank, Vec::new())
    }

    /// The new slots.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What changes.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether the plan was made from `bank`, or from its equal copy at the other position.
    pub(super) fn is_for(&self, bank: &Bank) -> bool {
        self.base == Bank { number: self.base.number, ..bank.clone() }
    }

    /// Whether any slot changes.
    #[must_use]
    pub fn changes_slots(&self) -> bool {
        self.slots != self.base.slots
    }
}

/// A slot of the future header, and how its data key is known.
struct Entry {
    slot: Slot,
    basis: Basis,
}

#[derive(PartialEq, Eq)]
enum Basis {
    /// It was in the header before.
    Kept,
    /// It wraps a data key that was checked against the commitment.
    Commitment,
    /// It wraps the same data key as that slot.
    Slot(usize),
}

impl Entry {
    fn kept(slot: Slot) -> Self {
        Self { slot, basis: Basis::Kept }
    }

    fn made(made: &Rewrapped) -> Self {
        let basis = match made.verified {
            Verified::AgainstCommitment => Basis::Commitment,
            Verified::Not => Basis::Slot(made.from),
        };
        Self { slot: made.slot.clone(), basis }
    }
}

/// `change` names an existing slot that no other change names.
fn apply(slots: &mut Vec<Option<Entry>>, change: SlotChange) -> Change {
    let name = |entry: Option<Entry>| entry.map(|entry| SlotName::from(&entry.slot));
    match change {
        SlotChange::Replace { slot, with } => Change {
            old: name(slots[slot].replace(Entry::made(&with))),
            new: Some(SlotName::from(&with.slot)),
            request_id: with.request_id,
        },
        SlotChange::Add(with) => {
            slots.push(Some(Entry::made(&with)));
            Change { old: None, new: Some(SlotName::from(&with.slot)), request_id: with.request_id }
        }
        SlotChange::Remove { slot } => Change { old: name(slots[slot].take()), new: None, request_id: None },
    }
}

fn check(bank: &Bank, entries: &[Entry]) -> Result<()> {
    let Some(first) = entries.first() else {
        return Err(Error::Invalid("the last key cannot be removed: no key would open the file".into()));
    };
    if let Some(stranger) = entries.iter().find_map(|entry| match entry.basis {
        Basis::Slot(from) if from >= bank.slots.len() => Some(from),
        _ => None,
    }) {
        return Err(no_such_slot(stranger));
    }
    // A slot from another file wraps another data key, and it still rewraps without an error. If all slots were made
    // from it, the file would be lost.
    let one_origin = matches!(first.basis, Basis::Slot(_)) && entries.iter().all(|entry| entry.basis == first.basis);
    if bank.slots.len() > 1 && one_origin {
        return Err(Error::Invalid(
            "every remaining key would come from one unchecked slot: keep another key for now".into(),
        ));
    }
    // Each unchecked slot may be the origin of at most one new slot, which replaces it.
    for (index, entry) in entries.iter().enumerate() {
        if matches!(entry.basis, Basis::Slot(_)) && entries[..index].iter().any(|earlier| earlier.basis == entry.basis)
        {
            return Err(Error::Invalid("two keys would come from one unchecked slot".into()));
        }
    }
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|earlier| earlier.slot.same_key(&entry.slot)) {
            let name = if entry.slot.key_id.is_empty() { entry.slot.kind.name() } else { &entry.slot.key_id };
            return Err(Error::Invalid(format!("{name} would be in two slots: remove the other slot instead")));
        }
    }
    Ok(())
}

pub(super) fn no_such_slot(slot: usize) -> Error {
    Error::Invalid(format!("there is no slot {slot}"))
}
