//! The header's bytes (spec 3 to 9): banks, slots, pairs, and which bank is used.
//!
//! Pure code: no I/O, no randomness, and no cryptography except SHA-256. Here, SHA-256 only detects damage. It does not
//! authenticate.

mod bank;
mod binding;
mod front;
mod header;
mod layout;
mod pairs;
mod slot;
#[cfg(test)]
mod spec_constants;
#[cfg(test)]
mod tests;
mod wire;

pub use bank::{Bank, BankFault, BankLen, BankNumber, Damage, MAGIC, Prelude};
pub(crate) use bank::{CHECKSUM_LEN, FIXED_LEN};
pub use binding::{Binding, DataKeyId, Sharing, Suite};
pub(crate) use front::PLACES;
pub use front::{FRONT_LEN, Front};
pub use header::{BankState, Header, Warning};
pub use layout::{CHUNK_LEN, PRELUDE_LEN, SEALED_CHUNK_LEN, TAG_LEN};
pub(crate) use layout::{
    LARGE_INPUT, MAX_CHUNKS, MAX_PLAINTEXT, MIN_PAYLOAD, chunk_offset, payload_len, plaintext_len,
};
pub use pairs::Pairs;
pub(crate) use slot::{
    ARGON2_FIELDS_LEN, KEYFILE_WRAPPED_LEN, MAX_SLOTS, ML_KEM_ENCAPSULATION_LENS, RSA_ENCAPSULATION_LENS,
    X_WING_ENCAPSULATION_LEN,
};
pub use slot::{Holder, KMS_WRAPPED_MAX, Slot, SlotKind, is_kms_key_arn};

/// A program in Python that opens sealed files, and needs nothing of this library: `spec/reader.py`.
///
/// It was written from the specification alone. Put it beside files that must be opened in many years.
pub const READER: &str = include_str!("../../spec/reader.py");
