//! One passphrase is tried, or made a key of, at a time: each takes tens of MiB, and several files are worked on at once.

use std::sync::{Mutex, PoisonError};

use waxseal::format::{Binding, Slot};
use waxseal::keys::{KeyOpener, KeySealer, Passphrase};
use waxseal::secret::DataKey;

static TURN: Mutex<()> = Mutex::new(());

/// A passphrase that waits for its turn.
pub(super) struct InTurn(pub(super) Passphrase);

impl KeySealer for InTurn {
    fn name(&self) -> String {
        KeySealer::name(&self.0)
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> waxseal::Result<Slot> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.wrap(data_key, binding)
    }
}

impl KeyOpener for InTurn {
    fn name(&self) -> String {
        KeyOpener::name(&self.0)
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.0.matches(slot)
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> waxseal::Result<DataKey> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.open(slot, binding)
    }
}
