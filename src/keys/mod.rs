//! Keys that wrap and unwrap data keys (spec 9 and 10): a key file, a passphrase, a public key, or a key of another
//! provider. Keys in AWS KMS are in the crate `waxseal-aws-kms`.

mod batch;
#[cfg_attr(feature = "fips", allow(dead_code, reason = "without Argon2id, only its limit is needed"))]
mod budget;
mod keyfile;
mod keytext;
mod lines;
mod passphrase;
pub mod public;

pub use batch::{AsyncBatchOpener, BatchOpener};
pub use keyfile::KeyFile;
pub use keytext::KeyText;
pub use passphrase::{Argon2Cost, Passphrase, PassphraseOpener};
pub use public::{Identity, Recipient};

use std::pin::Pin;

use crate::error::Result;
use crate::format::{Binding, Slot};
use crate::secret::DataKey;

/// Wraps data keys with one wrapping key.
pub trait KeySealer: Send + Sync {
    /// The wrapping key's name for people; never secret.
    fn name(&self) -> String;

    /// Whether the key service makes data keys itself, in the call that also wraps them.
    ///
    /// The first such key makes the data key of a file, even if other keys are named before it (spec 10.4).
    fn makes_data_keys(&self) -> bool {
        false
    }

    /// Makes a new data key and its first slot.
    ///
    /// The default gets the data key from the operating system. A key service that makes data keys itself does both in
    /// one call.
    ///
    /// # Errors
    /// Any error of the key service. Nothing is written in this case.
    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let data_key = DataKey::random()?;
        let slot = self.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }

    /// Wraps `data_key` into a slot of a file with this `binding`.
    ///
    /// # Errors
    /// Any error of the key service.
    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot>;
}

/// Opens slots with one unwrapping key.
pub trait KeyOpener: Send + Sync {
    /// The key's name for people; never secret.
    fn name(&self) -> String;

    /// Whether `slot` belongs to this key. This uses only public bytes and makes no call.
    fn matches(&self, slot: &Slot) -> bool;

    /// Unwraps the data key. The caller checks it against the commitment, because it may not be the file's data key.
    ///
    /// # Errors
    /// [`Tampered::Slot`](crate::error::Tampered::Slot) with any index if the wrapped key does not authenticate with a
    /// matching key. Otherwise the error of the provider.
    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey>;
}

/// So that an opener that wraps another one can have it as a reference or in a box.
macro_rules! forwarded_opener {
    ($($through:ty),*) => {$(
        impl<O: KeyOpener + ?Sized> KeyOpener for $through {
            fn name(&self) -> String {
                (**self).name()
            }

            fn matches(&self, slot: &Slot) -> bool {
                (**self).matches(slot)
            }

            fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
                (**self).open(slot, binding)
            }
        }
    )*};
}

forwarded_opener!(&O, Box<O>);

/// A future of this crate's asynchronous traits. It needs no particular runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`KeySealer`] for a key service that answers asynchronously.
pub trait AsyncKeySealer: Send + Sync {
    /// As [`KeySealer::name`].
    fn name(&self) -> String;

    /// As [`KeySealer::makes_data_keys`].
    fn makes_data_keys(&self) -> bool {
        false
    }

    /// As [`KeySealer::generate`].
    fn generate<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(DataKey, Slot)>> {
        Box::pin(async move {
            let data_key = DataKey::random()?;
            let slot = self.wrap(&data_key, binding).await?;
            Ok((data_key, slot))
        })
    }

    /// As [`KeySealer::wrap`].
    fn wrap<'a>(&'a self, data_key: &'a DataKey, binding: &'a Binding) -> BoxFuture<'a, Result<Slot>>;
}

/// [`KeyOpener`] for a key service that answers asynchronously.
pub trait AsyncKeyOpener: Send + Sync {
    /// As [`KeyOpener::name`].
    fn name(&self) -> String;

    /// As [`KeyOpener::matches`].
    fn matches(&self, slot: &Slot) -> bool;

    /// As [`KeyOpener::open`].
    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, Result<DataKey>>;
}
