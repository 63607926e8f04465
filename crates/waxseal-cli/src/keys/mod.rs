//! KEY on the command line and in `WAXSEAL_KEY`, and the sealers and openers for it.
//!
//! Each kind of key has one file here. A new kind needs a file with a [`Provider`] and its [`provider::Key`], and a line in
//! [`PROVIDERS`]. The commands know no kinds.

mod asked;
mod by_hand;
mod file;
mod generated;
mod in_turn;
#[cfg_attr(not(feature = "aws-kms"), path = "without_kms.rs")]
pub(crate) mod kms;
mod modes;
mod opening;
mod passphrase;
mod provider;
mod sealing;
mod shared;
mod spec;

use waxseal::format::{Binding, Slot};

pub(crate) use self::asked::remember_name;
pub(crate) use self::kms::Cloud;
pub(crate) use self::opening::{FIND, Opening, Origin, key_of};
pub(crate) use self::provider::{KeySpec, Keyring, Provider, Sisters, SlotTest, Sources, ToSeal, Turn, Unseen};
pub(crate) use self::sealing::{Sealers, Sealing, remark};
pub(crate) use self::shared::{Envelopes, Next};
pub(crate) use self::spec::parse;

use super::input::Identity;
use super::output::Forbidden;

/// All kinds of keys. If no key is named, they are offered in this order.
static PROVIDERS: [&dyn Provider; 3] = [&file::Files, &kms::AwsKms, &passphrase::Passphrases];

/// The files of keys, which an output must not replace.
pub(crate) fn forbidden<'a>(specs: impl IntoIterator<Item = &'a KeySpec>) -> Forbidden {
    let files = specs.into_iter().filter_map(|key| key.path());
    files.filter_map(|(path, what)| Some((Identity::at(path)?, what))).collect()
}

/// The line that opens `slot` by hand, without this program.
pub(crate) fn by_hand(slot: &Slot, binding: &Binding) -> Option<String> {
    PROVIDERS.iter().find_map(|provider| provider.by_hand(slot, binding))
}

/// What a file of another format can be, by its first bytes.
pub(crate) fn foreign(start: &[u8]) -> Option<&'static str> {
    PROVIDERS.iter().find_map(|provider| provider.foreign(start))
}
