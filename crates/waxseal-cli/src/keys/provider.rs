//! The traits that every kind of key implements.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use waxseal::format::{Bank, Binding, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer, Recipient};
use waxseal::rewrap::Rewrapped;

use super::kms::Cloud;
use super::opening::Origin;
use crate::Result;
use crate::args::AccountArgs;
use crate::report::{Done, Reporter};

/// A kind of key.
pub(crate) trait Provider: Sync {
    /// Parses KEY. `None` if it is certainly of another kind. This reads no file.
    fn parse(&self, name: &OsStr) -> Option<Result<KeySpec>>;

    /// The keys that are offered if none is named.
    fn offered(&self, _: &AccountArgs, _: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
        Ok(Vec::new())
    }

    /// A line for a shell that gets `slot`'s secret without this program.
    fn by_hand(&self, _: &Slot, _: &Binding) -> Option<String> {
        None
    }

    /// What a file with these first bytes can be, for a hint.
    fn foreign(&self, _: &[u8]) -> Option<&'static str> {
        None
    }
}

/// A key as it was named. It displays as it was written, with control characters escaped.
pub(crate) type KeySpec = Box<dyn Key>;

/// Decides from a slot's public bytes.
pub(crate) type SlotTest = Box<dyn Fn(&Slot) -> bool + Send + Sync>;

/// What is needed to read keys.
#[derive(Clone, Copy)]
pub(crate) struct Keyring<'a> {
    /// The handle on AWS KMS.
    #[allow(dead_code, reason = "a build without key services has no use for it")]
    pub(crate) cloud: &'a Cloud,
    /// For warnings about a key that can be used.
    pub(crate) reporter: &'a Reporter,
}

/// When a key is tried: first keys that cost nothing, and last keys that need a person.
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

/// Whether a multi-Region key stands for its replicas in other regions too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sisters {
    /// It does.
    Too,
    /// It does not.
    Not,
}

/// A key that was named.
pub(crate) trait Key: fmt::Display + Send + Sync {
    /// The local file of the key, and what such a file is called.
    fn path(&self) -> Option<(&Path, &'static str)> {
        None
    }

    /// When the key is tried.
    fn turn(&self) -> Turn;

    /// Reads the key for sealing, and asks for a passphrase if it must.
    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal>;

    /// Reads the key for opening. `None` if it cannot open and was only offered.
    fn to_open(&self, origin: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>>;

    /// The slots to remove if this key is removed. They must be certain, so a key service can be asked about the name.
    fn going(&self, sisters: Sisters, ring: &Keyring<'_>) -> Result<Going>;

    /// Whether a key service can rewrap to this key without showing the data key.
    fn rewraps_unseen(&self) -> bool {
        false
    }

    /// How it does that.
    fn unseen(&self, _: &Cloud, _: &Sources<'_>) -> Option<Box<dyn Unseen>> {
        None
    }

    /// The key id of its slots, if the name contains it and a key service has the key.
    fn stated_id(&self) -> Option<String> {
        None
    }

    /// The public half of a key on this machine; `None` for a key that is elsewhere.
    fn recipient(&self, _: &Reporter) -> Option<Result<Recipient>> {
        None
    }

    /// The output of `key show`, for a key on this machine.
    fn show(&self, _: &Reporter) -> Option<Result<Done>> {
        None
    }
}

/// A key that is ready to seal.
pub(crate) struct ToSeal {
    /// Makes the slot.
    pub(crate) sealer: Box<dyn KeySealer>,
    /// The slots that are already of this key, if that is known without a call.
    pub(crate) is_own: SlotTest,
    /// The kind of slot that it makes.
    pub(crate) kind: SlotKind,
}

/// The slots of a key that is removed.
pub(crate) struct Going {
    /// Which they are.
    pub(crate) is_own: SlotTest,
    /// Their key id, if a key service has the key.
    pub(crate) id: Option<String>,
}

/// The keys from which a key service may rewrap.
#[allow(dead_code, reason = "a build without key services has no use for it")]
pub(crate) struct Sources<'a> {
    /// The accounts that the caller named.
    pub(crate) accounts: &'a AccountArgs,
    /// The ids of keys that the caller named.
    pub(crate) named: Vec<String>,
}

/// A key service that rewraps for its own key without showing the data key.
pub(crate) trait Unseen: Send + Sync {
    /// Whether it can start from `slot`.
    fn accepts(&self, slot: &Slot) -> bool;

    /// Makes the new slot. `None` if it cannot, and the caller has another way.
    fn rewrap(&self, bank: &Bank, slot: usize, other_way: bool) -> Option<waxseal::Result<Rewrapped>>;

    /// Whether the key has a slot in `bank`. Its name may have to be looked up for that.
    fn has_slot(&self, bank: &Bank) -> waxseal::Result<bool>;
}
