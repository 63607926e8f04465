//! Small sealed files, and changes to them.

use std::sync::LazyLock;

use crate::envelope::{Envelope, SealOptions};
use crate::format::{
    Bank, BankLen, BankNumber, CHUNK_LEN, DataKeyId, Front, Header, PRELUDE_LEN, Slot, SlotKind, TAG_LEN,
};
use crate::keys::{KeyFile, KeySealer};
use crate::payload::ChunkIndex;
use crate::rewrap::write::both_banks;
use crate::rewrap::{Plan, Rewrapped, SlotChange, Verified};
use crate::secret::DataKey;

/// The keys of the tests. The files are sealed with key 0.
pub(super) static KEYS: LazyLock<Vec<KeyFile>> =
    LazyLock::new(|| (0..8).map(|_| KeyFile::generate().unwrap()).collect());

/// A data key that every test knows, so that files can share it.
static DATA_KEY: [u8; 32] = [0x5a; 32];

/// Seals with [`DATA_KEY`].
struct Fixed<'a>(&'a KeyFile);

impl KeySealer for Fixed<'_> {
    fn name(&self) -> String {
        KeySealer::name(self.0)
    }

    fn generate(&self, binding: &crate::format::Binding) -> crate::error::Result<(DataKey, Slot)> {
        let data_key = DataKey::from_slice(&DATA_KEY)?;
        let slot = self.0.wrap(&data_key, binding)?;
        Ok((data_key, slot))
    }

    fn wrap(&self, data_key: &DataKey, binding: &crate::format::Binding) -> crate::error::Result<Slot> {
        self.0.wrap(data_key, binding)
    }
}

/// A sealed file.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) bank: Bank,
    /// Wrappings of the data key by each of [`KEYS`].
    pub(super) wrappings: Vec<Slot>,
}

impl Sealed {
    /// `len` bytes of plaintext under `salt`, with slots of the first `slots` keys.
    pub(super) fn new(bank_len: usize, len: usize, salt: u8, slots: usize) -> Self {
        let options = SealOptions::default();
        let id = DataKeyId([7; 16]);
        let envelope = Envelope::with_salt(&[&Fixed(&KEYS[0])], &options, id, [salt; 24]).unwrap();
        let data_key = DataKey::from_slice(&DATA_KEY).unwrap();
        let wrappings: Vec<Slot> = KEYS.iter().map(|key| key.wrap(&data_key, envelope.binding()).unwrap()).collect();
        let bank = Bank {
            len: BankLen::new(bank_len as u64).unwrap(),
            generation: 1,
            number: BankNumber::Zero,
            prelude: *envelope.prelude(),
            binding: envelope.binding().clone(),
            slots: wrappings[..slots].to_vec(),
        };
        let mut bytes = both_banks(&bank).unwrap();
        bytes.extend(bank.prelude.to_bytes());
        let plaintext: Vec<u8> = (0..=250).cycle().take(len).collect();
        let mut chunks: Vec<&[u8]> = plaintext.chunks(CHUNK_LEN).collect();
        if len.is_multiple_of(CHUNK_LEN) {
            chunks.push(&[]);
        }
        for (index, chunk) in (0u64..).zip(chunks) {
            let mut sealed = vec![0; chunk.len() + TAG_LEN];
            envelope.sealer().seal(ChunkIndex::new(index).unwrap(), chunk, &mut sealed).unwrap();
            bytes.extend(sealed);
        }
        Self { bytes, bank, wrappings }
    }

    /// The usual one: two slots, two chunks.
    pub(super) fn small(bank_len: usize) -> Self {
        Self::new(bank_len, 20_000, 1, 2)
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.bank.len.header_len()..]
    }
}

/// The header in `bytes`.
pub(super) fn header_of(bytes: &[u8]) -> Header {
    Header::read(&Front::new(bytes.to_vec())).unwrap()
}

/// Replaces slot number `slot` of the bank by `with`.
pub(super) fn replace(slot: usize, with: &Slot) -> SlotChange {
    SlotChange::Replace { slot, with: unseen(with, slot) }
}

/// A wrapping from a key service that does not show the data key.
pub(super) fn unseen(slot: &Slot, from: usize) -> Rewrapped {
    Rewrapped { slot: slot.clone(), from, verified: Verified::Not, request_id: Some("request".into()) }
}

/// A wrapping of a data key that was unwrapped and checked.
pub(super) fn checked(slot: &Slot) -> Rewrapped {
    Rewrapped { slot: slot.clone(), from: 0, verified: Verified::AgainstCommitment, request_id: None }
}

/// A plan with one change.
pub(super) fn plan(bank: &Bank, change: SlotChange) -> Plan {
    Plan::new(bank, vec![change]).unwrap()
}

/// A large slot of an unknown kind.
pub(super) fn private_slot(len: usize) -> Slot {
    Slot { kind: SlotKind(0x8000), key_id: "private".into(), wrapped: vec![0xa5; len] }
}

/// The position of the payload's first bytes.
pub(super) fn prelude_range(bank: &Bank) -> std::ops::Range<usize> {
    bank.len.header_len()..bank.len.header_len() + PRELUDE_LEN
}

/// The slots before and after, once a run has made its plan.
pub(super) type Planned = Option<(Vec<Slot>, Vec<Slot>)>;

/// Changes `allowed`, the slots that a file may have, by a run with `writes` writes. A failed run adds its slots and keeps
/// the others: a write can complete the bank that an earlier run left incomplete (spec 15.2). Returns whether the run
/// began with slots that were allowed.
pub(super) fn note_run(allowed: &mut Vec<Vec<Slot>>, planned: Planned, succeeded: bool, writes: usize) -> bool {
    let Some((before, after)) = planned else { return true };
    let known = allowed.contains(&before);
    if succeeded {
        *allowed = vec![after];
    } else if writes > 0 {
        allowed.push(after);
    }
    known
}
