//! Passphrases (spec 9.5): Argon2id, with limits that are checked before any allocation.
//!
//! ```text
//! wrapped = memory KiB u32 | passes u32 | lanes u32 | salt 32 | Cobblestone-256 message of the data key 104
//! ```

#[cfg(not(feature = "fips"))]
use std::io::ErrorKind::OutOfMemory;

#[cfg(not(feature = "fips"))]
use argon2::{Algorithm, Argon2, Block, Params, Version};
#[cfg(not(feature = "fips"))]
use zeroize::{Zeroize, Zeroizing};

#[cfg(not(feature = "fips"))]
use super::budget::ARGON2;
use super::budget::LIMIT_KIB;
use super::{KeyOpener, KeySealer};
use crate::error::{Error, ProviderCause, ProviderError, Result};
use crate::fips;
use crate::format::{ARGON2_FIELDS_LEN, Binding, Slot, SlotKind};
use crate::payload::{unwrap_message, wrap_message};
#[cfg(not(feature = "fips"))]
use crate::secret::KEY_LEN;
use crate::secret::{DataKey, SecretBytes, fill_random};

const WRAP_LABEL: &[u8] = b"waxseal v1 passphrase\0";
/// A passphrase has 1 to this many bytes.
const MAX_PASSPHRASE: usize = 1024;
const NAME: &str = "passphrase";

/// The cost parameters of Argon2id.
///
/// All derivations of a process together use at most 1 GiB at a time. A derivation that would need more waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// KiB of memory, 19 MiB to 1 GiB.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 16. Passes times memory is at most 4 GiB.
    pub passes: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// RFC 9106's second recommendation: 64 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Argon2Cost {
    /// The cost that `slot` states, if it is a passphrase's slot. It is neither authenticated nor checked against the limits.
    #[must_use]
    pub fn of(slot: &Slot) -> Option<Self> {
        let stated = (slot.kind == SlotKind::PASSPHRASE).then(|| slot.wrapped.first_chunk::<12>()).flatten();
        stated.map(Self::from_bytes)
    }

    /// A hostile file must not make a reader work for days, and a weak slot must not be accepted.
    fn within_bounds(self) -> bool {
        (19 * 1024..=LIMIT_KIB).contains(&self.memory_kib)
            && (1..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
            && u64::from(self.memory_kib) * u64::from(self.passes) <= 4 * 1024 * 1024
    }

    /// The FIPS module has no Argon2id.
    #[cfg(feature = "fips")]
    fn derive(self, _: &[u8], _: &[u8]) -> Result<DataKey> {
        Err(refused())
    }

    /// `Argon2id v1.3 (passphrase, salt)`, 32 bytes.
    #[cfg(not(feature = "fips"))]
    fn derive(self, passphrase: &[u8], salt: &[u8]) -> Result<DataKey> {
        let failed = |error: &dyn std::fmt::Display| {
            Box::new(ProviderError::new(ProviderCause::Unusable, NAME, format!("Argon2id: {error}")))
        };
        if !self.within_bounds() {
            return Err(failed(&"its memory, passes or lanes are out of range").into());
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_LEN)).map_err(|e| failed(&e))?;
        // The budget is returned after the memory itself, which is dropped first.
        let _share = ARGON2.share(self.memory_kib);
        let mut memory: Vec<Block> = Vec::new();
        memory.try_reserve_exact(params.block_count()).map_err(|_| self.too_little_memory())?;
        memory.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let done = argon2.hash_password_into_with_memory(passphrase, salt, key.as_mut_slice(), &mut memory);
        memory.iter_mut().for_each(Zeroize::zeroize);
        done.map_err(|error| failed(&error))?;
        DataKey::from_slice(key.as_slice())
    }

    /// The key was not tried, so this says nothing about the key.
    #[cfg(not(feature = "fips"))]
    fn too_little_memory(self) -> Error {
        Error::io(format!("getting {} MiB for Argon2id", self.memory_kib.div_ceil(1024)), OutOfMemory.into())
    }

    fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (field, value) in bytes.chunks_exact_mut(4).zip([self.memory_kib, self.passes, self.lanes]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; 12]) -> Self {
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { memory_kib: field(0), passes: field(4), lanes: field(8) }
    }
}

/// A passphrase that can seal and open.
pub struct Passphrase {
    secret: SecretBytes,
    cost: Argon2Cost,
}

impl Passphrase {
    /// Uses the passphrase exactly as typed: 1 to 1024 bytes, without normalization.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another length.
    pub fn new(secret: SecretBytes) -> Result<Self> {
        Self::with_cost(secret, Argon2Cost::default())
    }

    /// Like [`Passphrase::new`], with other cost parameters than the default.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a passphrase of another length, or for a cost that no reader accepts.
    pub fn with_cost(secret: SecretBytes, cost: Argon2Cost) -> Result<Self> {
        if !(1..=MAX_PASSPHRASE).contains(&secret.expose().len()) {
            return Err(Error::Invalid("a passphrase has 1 to 1024 bytes".into()));
        }
        if !cost.within_bounds() {
            return Err(Error::Invalid("Argon2id needs 19 MiB to 1 GiB, 1 to 16 passes and 1 to 16 lanes".into()));
        }
        Ok(Self { secret, cost })
    }
}

/// `"waxseal v1 passphrase" || 0x00 || the 44 bytes of parameters and salt || bound bytes`.
fn wrap_context(fields: &[u8], binding: &Binding) -> Result<Vec<u8>> {
    Ok([WRAP_LABEL, fields, &binding.bound_bytes()?].concat())
}

/// What opening says in a build with the FIPS module.
fn refused() -> Error {
    fips::not_to_open(NAME, "Argon2id")
}

fn open_slot(passphrase: &Passphrase, slot: &Slot, binding: &Binding) -> Result<DataKey> {
    let Some((fields, message)) = slot.wrapped.split_first_chunk::<ARGON2_FIELDS_LEN>() else {
        return Err(Error::ApiMisuse("a passphrase slot of another shape"));
    };
    let Some((cost, salt)) = fields.split_first_chunk::<12>() else { unreachable!("44 bytes hold 12") };
    let key = Argon2Cost::from_bytes(cost).derive(passphrase.secret.expose(), salt)?;
    unwrap_message(&key, &wrap_context(fields, binding)?, message).ok_or_else(|| {
        let message = "it does not open the slot: the passphrase is wrong, or the slot was altered";
        Box::new(ProviderError::new(ProviderCause::WrongPassphrase, NAME, message)).into()
    })
}

impl KeySealer for Passphrase {
    fn name(&self) -> String {
        NAME.into()
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        fips::check_passphrase()?;
        let mut fields = [0; ARGON2_FIELDS_LEN];
        let (cost, salt) = fields.split_at_mut(12);
        cost.copy_from_slice(&self.cost.to_bytes());
        fill_random(salt)?;
        let key = self.cost.derive(self.secret.expose(), salt)?;
        let message = wrap_message(&key, &wrap_context(&fields, binding)?, data_key)?;
        let wrapped = [fields.as_slice(), &message].concat();
        Ok(Slot { kind: SlotKind::PASSPHRASE, key_id: String::new(), wrapped })
    }
}

impl KeyOpener for Passphrase {
    fn name(&self) -> String {
        NAME.into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::PASSPHRASE
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        open_slot(self, slot, binding)
    }
}

/// Opens passphrase slots. It asks for the passphrase only when a file has such a slot.
pub struct PassphraseOpener<F> {
    ask: F,
}

impl<F: Fn() -> Result<SecretBytes> + Send + Sync> PassphraseOpener<F> {
    /// `ask` is called once for each slot that is tried.
    pub fn new(ask: F) -> Self {
        Self { ask }
    }
}

impl<F: Fn() -> Result<SecretBytes> + Send + Sync> KeyOpener for PassphraseOpener<F> {
    fn name(&self) -> String {
        NAME.into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::PASSPHRASE
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        if fips::ENABLED {
            return Err(refused());
        }
        open_slot(&Passphrase::new((self.ask)()?)?, slot, binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let cost = |memory_kib, passes, lanes| Argon2Cost { memory_kib, passes, lanes }.within_bounds();
        assert!(Argon2Cost::default().within_bounds());
        assert!(cost(19 * 1024, 16, 16) && cost(1 << 20, 4, 1));
        assert!(!cost(19 * 1024 - 1, 1, 1) && !cost((1 << 20) + 1, 1, 1) && !cost(1 << 20, 5, 1));
        assert!(!cost(65_536, 0, 1) && !cost(65_536, 17, 1) && !cost(65_536, 1, 0) && !cost(65_536, 1, 17));
        assert!(!cost(u32::MAX, u32::MAX, u32::MAX));
    }

    #[test]
    fn lengths() {
        let new = |len| Passphrase::new(SecretBytes::new(vec![b'x'; len]));
        assert!(new(0).is_err() && new(1).is_ok() && new(1024).is_ok() && new(1025).is_err());
    }
}
