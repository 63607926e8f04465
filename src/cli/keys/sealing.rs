//! Keys to seal with.

use std::sync::{Mutex, PoisonError};

use waxseal::format::{Binding, Slot};
#[cfg(feature = "aws-kms")]
use waxseal::keys::aws_kms::KmsKey;
use waxseal::keys::{KeySealer, Passphrase};
use waxseal::secret::DataKey;
use waxseal::{Envelope, SealOptions};

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
            return Err(failure.hint("-k KEY names one; `waxseal key new FILE` makes one for `-k file:FILE`"));
        }
        Ok(Self(specs))
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        super::forbidden(&self.0)
    }

    /// Reads the keys, and asks for what must be asked.
    pub(crate) fn load(&self, cloud: &Cloud, reporter: &Reporter) -> Result<Sealers> {
        let sealers = self.0.iter().map(|spec| load_sealer(spec, cloud, reporter)).collect::<Result<_>>()?;
        #[cfg(feature = "aws-kms")]
        let generator = self.0.iter().position(|spec| matches!(spec, KeySpec::Kms(_))).unwrap_or(0);
        #[cfg(not(feature = "aws-kms"))]
        let generator = 0;
        Ok(Sealers { sealers, generator })
    }
}

/// Keys to seal with, in the order of their slots.
pub(crate) struct Sealers {
    sealers: Vec<Box<dyn KeySealer>>,
    /// Which of them makes the data key: the first of KMS, whatever was named before it (spec 10.4).
    generator: usize,
}

impl Sealers {
    /// For people.
    pub(crate) fn names(&self) -> Vec<String> {
        self.sealers.iter().map(|sealer| sealer.name()).collect()
    }

    /// A new file's keys, with a slot for each.
    pub(crate) fn envelope(&self, options: &SealOptions) -> waxseal::Result<Envelope> {
        let mut sealers: Vec<&dyn KeySealer> = self.sealers.iter().map(AsRef::as_ref).collect();
        let (Some(first), Some(generator)) = (sealers.first().copied(), sealers.get(self.generator).copied()) else {
            return Envelope::new(&sealers, options);
        };
        if self.generator == 0 {
            return Envelope::new(&sealers, options);
        }
        let made = Mutex::new(None);
        let (front, back) = (Front { first, generator, made: &made }, Back { generator, made: &made });
        sealers[0] = &front;
        sealers[self.generator] = &back;
        Envelope::new(&sealers, options)
    }
}

/// The slot that came with the data key, until its turn.
type Made = Mutex<Option<Slot>>;

/// The first slot's key, with the data key of another.
struct Front<'a> {
    first: &'a dyn KeySealer,
    generator: &'a dyn KeySealer,
    made: &'a Made,
}

/// The key that made the data key, in its own place.
struct Back<'a> {
    generator: &'a dyn KeySealer,
    made: &'a Made,
}

impl KeySealer for Front<'_> {
    fn name(&self) -> String {
        self.first.name()
    }

    fn generate(&self, binding: &Binding) -> waxseal::Result<(DataKey, Slot)> {
        let (data_key, slot) = self.generator.generate(binding)?;
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
        let slot = self.first.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> waxseal::Result<Slot> {
        self.first.wrap(data_key, binding)
    }
}

impl KeySealer for Back<'_> {
    fn name(&self) -> String {
        self.generator.name()
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> waxseal::Result<Slot> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).take();
        made.map_or_else(|| self.generator.wrap(data_key, binding), Ok)
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
