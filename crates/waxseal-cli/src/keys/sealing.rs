//! The keys that seal a file.

use waxseal::envelope::Batch;
use waxseal::format::SlotKind;
use waxseal::keys::KeySealer;
use waxseal::{Envelope, SealOptions};

use super::provider::{KeySpec, Keyring, ToSeal};
use super::spec;
use crate::Result;
use crate::args::KeyArgs;
use crate::failure::Failure;
use crate::output::Forbidden;

/// The keys that seal a file, as they were named.
pub(crate) struct Sealing(Vec<KeySpec>);

impl Sealing {
    /// The keys of `-k`. Without `-k`, the keys of the variable.
    pub(crate) fn named(args: &KeyArgs) -> Result<Self> {
        let mut specs = spec::named(args)?;
        if specs.is_empty() {
            specs = spec::from_variable()?;
        }
        if specs.is_empty() {
            let failure = Failure::usage("no key to encrypt with");
            return Err(
                failure.hint("name a key with -k KEY; `waxseal key new FILE` creates a key file for `-k file:FILE`")
            );
        }
        Ok(Self(specs))
    }

    /// The keys, as they were named.
    pub(crate) fn specs(&self) -> &[KeySpec] {
        &self.0
    }

    /// The files of keys, which an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        super::forbidden(&self.0)
    }

    /// Reads the keys, and asks for a passphrase if it must.
    pub(crate) fn load(&self, ring: &Keyring<'_>) -> Result<Sealers> {
        let sealers = Sealers(self.0.iter().map(|key| key.to_seal(ring)).collect::<Result<_>>()?);
        if let Some(remark) = sealers.remark().filter(|_| ring.reporter.is_watched()) {
            ring.reporter.remark(remark);
        }
        Ok(sealers)
    }
}

/// The keys that seal a file, ready to use, in the order of their slots.
pub(crate) struct Sealers(Vec<ToSeal>);

impl Sealers {
    /// Their names, for people.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|key| key.sealer.name()).collect()
    }

    /// A new envelope, with a slot for each key.
    pub(crate) fn envelope(&self, options: &SealOptions) -> waxseal::Result<Envelope> {
        Envelope::new(&self.all(), options)
    }

    /// One data key for several files.
    pub(super) fn batch(&self, options: &SealOptions) -> waxseal::Result<Batch<'_>> {
        Batch::new(&self.all(), options)
    }

    /// Whether a key service makes the data key.
    pub(super) fn make_data_keys(&self) -> bool {
        self.0.iter().any(|key| key.sealer.makes_data_keys())
    }

    fn all(&self) -> Vec<&dyn KeySealer> {
        self.0.iter().map(|key| key.sealer.as_ref()).collect()
    }

    /// A warning about these keys together. Any one of them opens the file, so the weakest decides.
    fn remark(&self) -> Option<&'static str> {
        remark(self.0.iter().map(|key| key.kind))
    }
}

/// A warning about the keys of slots of these kinds. Any one of them opens the file, so the weakest decides.
pub(crate) fn remark(kinds: impl Iterator<Item = SlotKind> + Clone) -> Option<&'static str> {
    let any = |safe: bool| kinds.clone().any(|kind| kind.is_post_quantum() == Some(safe));
    let mixed = any(false) && any(true);
    mixed.then_some(
        "one of the keys is RSA, and any one key opens the file: it is not safe against quantum computers, \
         whatever the other keys are",
    )
}
