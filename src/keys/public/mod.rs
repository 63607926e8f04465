//! Public keys (spec 9.7 to 9.11). A public key can seal and cannot open.
//!
//! ```text
//! wrapped = encapsulation || Cobblestone-256 message of the data key (104)
//!           input key = the shared secret
//!           context   = "waxseal v1 " || name of the kind || 0x00 || encapsulation || bound bytes
//! ```
//!
//! A [`Recipient`] has the public key, and seals without any call. The private key is in AWS KMS, or in an
//! [`Identity`]. If a key service returns the shared secret, a slot is opened in two steps:
//!
//! ```
//! use waxseal::error::Result;
//! use waxseal::format::{Binding, Slot};
//! use waxseal::keys::public;
//! use waxseal::secret::DataKey;
//!
//! fn open(service: impl Fn(&[u8]) -> Result<DataKey>, slot: &Slot, binding: &Binding) -> Result<DataKey> {
//!     let encapsulation = public::encapsulation(slot).expect("a slot of kind 4, 5 or 6");
//!     public::finish(slot, &service(encapsulation)?, binding)
//! }
//! ```

mod identity;
#[cfg_attr(feature = "fips", path = "kem_fips.rs")]
mod kem;
mod oaep;
mod recipient;
mod spec;
#[cfg(not(feature = "fips"))]
mod stack;

pub use identity::Identity;
pub use recipient::Recipient;
pub use spec::PublicKeySpec;

use crate::error::{Error, Result, Tampered};
use crate::format::{Binding, KEYFILE_WRAPPED_LEN, MAGIC, Slot, SlotKind};
use crate::payload::{unwrap_message, wrap_message};
use crate::secret::DataKey;

/// The maximum number of attempts to make a wrapping without the magic. Even one repetition is rare.
const TRIES: usize = 8;

/// The encapsulation in a slot of kind 4, 5 or 6: the input of `kms:Decapsulate` or `kms:Decrypt`.
/// `None` for a slot of another kind or shape.
#[must_use]
pub fn encapsulation(slot: &Slot) -> Option<&[u8]> {
    let len = slot.wrapped.len().checked_sub(KEYFILE_WRAPPED_LEN)?;
    PublicKeySpec::ALL
        .into_iter()
        .any(|spec| spec.kind() == slot.kind && spec.encapsulation_len() == len)
        .then(|| &slot.wrapped[..len])
}

/// Opens the message of a slot of kind 4, 5 or 6 with the shared secret of its encapsulation.
///
/// The caller checks the data key against the commitment, like a data key from any [`KeyOpener`](super::KeyOpener).
///
/// # Errors
/// [`Tampered::Slot`] with index 0 if the message does not open: the slot was altered or belongs to another file, or the
/// secret belongs to another key. [`Error::ApiMisuse`] for a slot of another kind or shape.
pub fn finish(slot: &Slot, secret: &DataKey, binding: &Binding) -> Result<DataKey> {
    let sent = encapsulation(slot).ok_or(Error::ApiMisuse("a slot that is not of a public key"))?;
    let context = context(slot.kind, sent, binding)?;
    unwrap_message(secret, &context, &slot.wrapped[sent.len()..]).ok_or(Tampered::Slot { slot: 0 }.into())
}

/// `"waxseal v1 " || name || 0x00 || encapsulation || bound bytes`. A slot that was moved to another file does not
/// open, nor does a message with another encapsulation.
fn context(kind: SlotKind, encapsulation: &[u8], binding: &Binding) -> Result<Vec<u8>> {
    Ok([&b"waxseal v1 "[..], kind.name().as_bytes(), &[0], encapsulation, &binding.bound_bytes()?].concat())
}

/// A new slot's wrapped key: a new encapsulation, and a message with a new salt.
fn wrap(recipient: &Recipient, data_key: &DataKey, binding: &Binding) -> Result<Vec<u8>> {
    without_magic(|| {
        let (mut wrapped, secret) = kem::encapsulate(recipient.spec(), recipient.public_key())?;
        let context = context(recipient.spec().kind(), &wrapped, binding)?;
        wrapped.extend(wrap_message(&secret, &context, data_key)?);
        Ok(wrapped)
    })
}

/// A header must not have the magic at some positions (spec 3.3). A wrapping without the magic fits at every position.
fn without_magic(mut make: impl FnMut() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    for _ in 0..TRIES {
        let wrapped = make()?;
        if !wrapped.windows(MAGIC.len()).any(|window| window == MAGIC) {
            return Ok(wrapped);
        }
    }
    Err(Error::Limit("every wrapped key for this public key contains the magic of this format".into()))
}

#[cfg(feature = "fips")]
#[cfg(test)]
mod fips_tests;
#[cfg(not(feature = "fips"))]
#[cfg(test)]
mod tests;
