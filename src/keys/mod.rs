//! Who wraps and unwraps data keys (spec 9 and 10): a key file, a passphrase, a key in AWS KMS, a public key, or a
//! caller's own.

#[cfg(feature = "aws-kms")]
pub mod aws_kms;
mod keyfile;
mod keytext;
mod lines;
mod passphrase;
pub mod public;

pub use keyfile::KeyFile;
pub use keytext::KeyText;
pub use passphrase::{Argon2Cost, Passphrase, PassphraseOpener};
pub use public::{Identity, Recipient};

use crate::error::Result;
use crate::format::{Binding, Slot};
use crate::secret::DataKey;

/// Wraps data keys under one wrapping key.
pub trait KeySealer: Send + Sync {
    /// The wrapping key's name for people; never secret.
    fn name(&self) -> String;

    /// Makes a new data key and its first slot.
    ///
    /// The default takes the data key from the operating system. A key service that makes data keys itself
    /// does both in one call.
    ///
    /// # Errors
    /// Whatever the key service answers; nothing was written anywhere then.
    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let data_key = DataKey::random()?;
        let slot = self.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }

    /// Wraps `data_key` into a slot of a file that carries `binding`.
    ///
    /// # Errors
    /// Whatever the key service answers.
    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot>;
}

/// Opens slots with one unwrapping key.
pub trait KeyOpener: Send + Sync {
    /// The key's name for people; never secret.
    fn name(&self) -> String;

    /// Whether `slot` is this key's. Decides from public bytes alone, without any call.
    fn matches(&self, slot: &Slot) -> bool;

    /// Unwraps the data key. The caller checks it against the commitment: a data key from here is not yet the
    /// file's.
    ///
    /// # Errors
    /// [`Tampered::Slot`](crate::error::Tampered::Slot) with any index when the wrapped key does not
    /// authenticate under a key that matched; a provider's refusal otherwise.
    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey>;
}
