//! What every kind of key gives.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use waxseal::format::{Bank, Binding, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::rewrap::Rewrapped;

use super::kms::Cloud;
use super::opening::Origin;
use crate::Result;
use crate::args::AccountArgs;
use crate::report::{Done, Reporter};

/// A kind of key.
pub(crate) trait Provider: Sync {
    /// Parses KEY; `None` where it is certainly of another kind. Nothing is read here.
    fn parse(&self, name: &OsStr) -> Option<Result<KeySpec>>;

    /// The keys that are offered where none is named.
    fn offered(&self, _: &AccountArgs, _: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
        Ok(Vec::new())
    }

    /// A line for a shell that gets `slot`'s secret without this program.
    fn by_hand(&self, _: &Slot, _: &Binding) -> Option<String> {
        None
    }

    /// What else a file may be that starts so, for a hint.
    fn foreign(&self, _: &[u8]) -> Option<&'static str> {
        None
    }
}

/// A key as it was named. It displays as it was written, escaped.
pub(crate) type KeySpec = Box<dyn Key>;

/// Decides from a slot's public bytes.
pub(crate) type SlotTest = Box<dyn Fn(&Slot) -> bool + Send + Sync>;

/// What keys are read with.
#[derive(Clone, Copy)]
pub(crate) struct Keyring<'a> {
    /// Where KMS keys are.
    #[allow(dead_code, reason = "a build without key services has no use for it")]
    pub(crate) cloud: &'a Cloud,
    /// Says what is wrong with a key that can be used all the same.
    pub(crate) reporter: &'a Reporter,
}

/// When a key is tried: what costs nothing first, what disturbs a person last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    /// It is on this machine.
    Local,
    /// A key service has it.
    #[allow(dead_code, reason = "a build without key services has no use for it")]
    Service,
    /// A person is asked.
    Person,
}

/// Whether another region's sister of a multi-Region key is meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sisters {
    /// It is.
    Too,
    /// It is not.
    Not,
}

/// A key that was named.
pub(crate) trait Key: fmt::Display + Send + Sync {
    /// The local file it is read from, and what that is called.
    fn path(&self) -> Option<(&Path, &'static str)> {
        None
    }

    /// When it is tried.
    fn turn(&self) -> Turn;

    /// Reads the key to seal with it, and asks for what must be asked.
    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal>;

    /// Reads the key to open with it; `None` where it cannot open and was only offered.
    fn to_open(&self, origin: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>>;

    /// Which slots go where this key goes: known for certain, so a key service may be asked what the name means.
    fn going(&self, sisters: Sisters, ring: &Keyring<'_>) -> Result<Going>;

    /// Whether a key service can rewrap to this key without showing the data key.
    fn rewraps_unseen(&self) -> bool {
        false
    }

    /// How it does that.
    fn unseen(&self, _: &Cloud, _: &Sources<'_>) -> Option<Box<dyn Unseen>> {
        None
    }

    /// The key id of its slots, where the name itself states it and a key service has the key.
    fn stated_id(&self) -> Option<String> {
        None
    }

    /// What there is to show of a key on this machine.
    fn show(&self, _: &Reporter) -> Option<Result<Done>> {
        None
    }
}

/// A key that is ready to seal.
pub(crate) struct ToSeal {
    /// Makes the slot.
    pub(crate) sealer: Box<dyn KeySealer>,
    /// Which slots are the key's already, as far as that can be told without a call.
    pub(crate) is_own: SlotTest,
    /// The kind of slot that it makes.
    pub(crate) kind: SlotKind,
}

/// The slots of a key that goes.
pub(crate) struct Going {
    /// Which they are.
    pub(crate) is_own: SlotTest,
    /// Their key id, where a key service has the key.
    pub(crate) id: Option<String>,
}

/// Whose keys a key service may be asked to rewrap from.
#[allow(dead_code, reason = "a build without key services has no use for it")]
pub(crate) struct Sources<'a> {
    /// The accounts that the caller named.
    pub(crate) accounts: &'a AccountArgs,
    /// The ids of keys that the caller named.
    pub(crate) named: Vec<String>,
}

/// A key service that rewraps to a key of its own without showing the data key.
pub(crate) trait Unseen: Send + Sync {
    /// Whether it can start from `slot`.
    fn accepts(&self, slot: &Slot) -> bool;

    /// Makes the new slot; `None` where it cannot, and the caller can do it in another way.
    fn rewrap(&self, bank: &Bank, slot: usize, other_way: bool) -> Option<waxseal::Result<Rewrapped>>;

    /// Whether the key has a slot in `bank` by a name that must be looked up.
    fn has_slot(&self, bank: &Bank) -> waxseal::Result<bool>;
}
