//! Keys to seal with.

use waxseal::keys::{KeySealer, Passphrase};
use waxseal::{Envelope, SealOptions};
#[cfg(feature = "aws-kms")]
use waxseal_aws_kms::KmsKey;

use super::cloud::Cloud;
use super::local::{load_key_file, read_new_passphrase};
use super::spec::KeySpec;
use crate::cli::Result;
use crate::cli::args::KeyArgs;
use crate::cli::failure::Failure;
use crate::cli::output::Forbidden;
use crate::cli::prompt;
use crate::cli::report::Reporter;

/// Keys to seal with.
pub(crate) struct Sealing(Vec<KeySpec>);

impl Sealing {
    /// `-k`, else the variable.
    pub(crate) fn named(args: &KeyArgs) -> Result<Self> {
        let mut specs = KeySpec::named(args)?;
        if specs.is_empty() {
            specs = KeySpec::from_variable()?;
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

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        super::forbidden(&self.0)
    }

    /// Reads the keys, and asks for what must be asked.
    pub(crate) fn load(&self, cloud: &Cloud, reporter: &Reporter) -> Result<Sealers> {
        let sealers = self.0.iter().map(|spec| load_sealer(spec, cloud, reporter)).collect::<Result<_>>()?;
        Ok(Sealers(sealers))
    }
}

/// Keys to seal with, in the order of their slots.
pub(crate) struct Sealers(Vec<Box<dyn KeySealer>>);

impl Sealers {
    /// For people.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|sealer| sealer.name()).collect()
    }

    /// A new file's keys, with a slot for each.
    pub(crate) fn envelope(&self, options: &SealOptions) -> waxseal::Result<Envelope> {
        let sealers: Vec<&dyn KeySealer> = self.0.iter().map(AsRef::as_ref).collect();
        Envelope::new(&sealers, options)
    }
}

/// One key, ready to seal.
pub(crate) fn load_sealer(spec: &KeySpec, cloud: &Cloud, reporter: &Reporter) -> Result<Box<dyn KeySealer>> {
    #[cfg(not(feature = "aws-kms"))]
    let _ = cloud;
    Ok(match spec {
        KeySpec::File(path) => Box::new(load_key_file(path, reporter)?),
        KeySpec::PassphraseFile(path) => Box::new(Passphrase::new(read_new_passphrase(path, reporter)?)?),
        KeySpec::Passphrase => {
            if prompt::terminal().is_none() {
                return Err(Failure::usage(prompt::NO_TERMINAL).hint(prompt::NO_TERMINAL_HINT));
            }
            Box::new(Passphrase::new(prompt::new_passphrase()?)?)
        }
        #[cfg(feature = "aws-kms")]
        KeySpec::Kms(name) => Box::new(KmsKey::new(cloud.kms(), name.clone())),
    })
}
