//! Keys in your own service. It must implement two traits.
//!
//! The service in this example is in this process and keeps its keys in memory. A real service is another machine on
//! the network, and the two functions of `Vault` are its calls.
//!
//! ```sh
//! cargo run --example own_key_service
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};

use waxseal::error::{ProviderCause, ProviderError, Result, Tampered};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::payload::{unwrap_message, wrap_message};
use waxseal::secret::DataKey;
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};

/// Kinds from 0x8000 on are private. Readers that do not know this one skip its slots and keep them.
const KIND: SlotKind = SlotKind(0x8001);

/// The service. It wraps and unwraps with keys that never leave it.
#[derive(Default)]
pub(crate) struct Vault {
    keys: HashMap<String, DataKey>,
}

impl Vault {
    pub(crate) fn create(&mut self, name: &str) -> Result<()> {
        self.keys.insert(name.to_owned(), DataKey::random()?);
        Ok(())
    }

    /// A service may refuse for its own reasons. The cause tells a program what to do.
    fn key(&self, name: &str) -> Result<&DataKey> {
        let missing = || ProviderError::new(ProviderCause::NotFound, name, "the vault has no such key");
        Ok(self.keys.get(name).ok_or_else(|| Box::new(missing()))?)
    }

    fn wrap(&self, name: &str, context: &[u8], data_key: &DataKey) -> Result<Vec<u8>> {
        wrap_message(self.key(name)?, context, data_key)
    }

    fn unwrap(&self, name: &str, context: &[u8], wrapped: &[u8]) -> Result<Option<DataKey>> {
        Ok(unwrap_message(self.key(name)?, context, wrapped))
    }
}

/// One key of the vault, for the library.
pub(crate) struct VaultKey<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) name: &'a str,
}

impl KeySealer for VaultKey<'_> {
    fn name(&self) -> String {
        format!("vault:{}", self.name)
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        // The bound bytes bind the wrapped key to this file: to its suite, its pairs and its labels.
        let wrapped = self.vault.wrap(self.name, &binding.bound_bytes()?, data_key)?;
        Ok(Slot { kind: KIND, key_id: self.name.to_owned(), wrapped })
    }
}

impl KeyOpener for VaultKey<'_> {
    fn name(&self) -> String {
        KeySealer::name(self)
    }

    /// A file names its key. The key is used only if the caller has named it, too, because a file must not choose a
    /// key.
    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == KIND && slot.key_id == self.name
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let opened = self.vault.unwrap(self.name, &binding.bound_bytes()?, &slot.wrapped)?;
        // The library replaces this by the slot's number.
        Ok(opened.ok_or(Tampered::Slot { slot: 0 })?)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut vault = Vault::default();
    vault.create("backups")?;
    let key = VaultKey { vault: &vault, name: "backups" };

    let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::new())?;
    writer.write_all(b"a backup")?;
    let sealed = writer.finish()?;

    let mut plaintext = String::new();
    OpenReader::new(sealed.as_slice(), &[&key], &Demands::new())?.read_to_string(&mut plaintext)?;
    assert_eq!(plaintext, "a backup");
    Ok(())
}
