//! The keys that open a file, and their order.

use waxseal::format::Header;
use waxseal::keys::KeyOpener;

use super::PROVIDERS;
use super::provider::{KeySpec, Keyring, Turn};
use super::spec::{self, VARIABLE};
use crate::Result;
use crate::args::OpenArgs;
use crate::exit::Exit;
use crate::key_option;
use crate::output::Forbidden;

/// What to do where the file of a key that opens is missing. A new key opens nothing that exists.
pub(crate) const FIND: &str = "find the file: `waxseal inspect` shows the ids of the keys that open a sealed file, and \
                               `waxseal key show file:PATH` shows the id of a key";

/// Where the keys to open with come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `-k` named them. Only these are tried, and each must exist.
    Named,
    /// No key was named. The local keys of the variable are offered, then KMS keys of the allowed accounts, and then a
    /// passphrase that is asked for.
    Offered,
}

/// The keys that open a file.
pub(crate) struct Opening<'a> {
    args: &'a OpenArgs,
    specs: Vec<KeySpec>,
    origin: Origin,
}

impl<'a> Opening<'a> {
    /// The keys of `-k`. Without `-k`, keys of the variable are offered.
    pub(crate) fn named(args: &'a OpenArgs) -> Result<Self> {
        let specs = spec::named(&args.keys)?;
        if specs.is_empty() {
            return Ok(Self { args, specs: spec::from_variable()?, origin: Origin::Offered });
        }
        Ok(Self { args, specs, origin: Origin::Named })
    }

    /// The keys, as they were named.
    pub(crate) fn specs(&self) -> &[KeySpec] {
        &self.specs
    }

    /// Whether the caller named the keys.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The files of keys, which an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        super::forbidden(&self.specs)
    }

    /// Reads the keys. Local keys come first, then KMS keys, then a passphrase that is asked for only if a slot needs it.
    pub(crate) fn load(&self, ring: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
        let mut keys: Vec<&KeySpec> = self.specs.iter().collect();
        keys.sort_by_key(|key| key.turn());
        // A passphrase is asked for only once, even if it is named more than once.
        keys.dedup_by(|one, other| one.turn() == Turn::Person && other.turn() == Turn::Person);
        let mut openers: Vec<Box<dyn KeyOpener>> = Vec::new();
        for key in keys {
            match key.to_open(self.origin, ring) {
                Ok(opener) => openers.extend(opener),
                Err(failure) if self.origin == Origin::Offered && failure.exit == Exit::Io => {
                    ring.reporter.warn(&format!("{VARIABLE}: {}", failure.message));
                }
                Err(failure) => return Err(failure),
            }
        }
        if self.origin == Origin::Offered {
            for provider in PROVIDERS {
                openers.extend(provider.offered(&self.args.accounts, ring)?);
            }
        }
        Ok(openers)
    }

    /// What to do if no slot of a file matched any key.
    pub(crate) fn hint(&self) -> String {
        let option = key_option::to_open();
        match self.origin {
            Origin::Named => format!("name one of these with {option}, or leave {option} out to also try other keys"),
            Origin::Offered => format!("name one of these with {option}"),
        }
    }
}

/// The name of the key that opened `slot`. For a key in KMS it is the ARN, which is more exact than an alias or a rule.
pub(crate) fn key_of(header: &Header, slot: usize, name: String) -> String {
    match header.bank().slots.get(slot) {
        Some(slot) if slot.key_id.starts_with("arn:") => slot.key_id.clone(),
        _ => name,
    }
}
