//! The header's bytes (spec 3 to 9): banks, slots, pairs, and which bank counts.
//!
//! Pure: no I/O, no randomness, and no cryptography but SHA-256, which finds damage here and proves nothing.

mod bank;
mod binding;
mod front;
mod header;
mod layout;
mod pairs;
mod slot;
#[cfg(test)]
mod tests;
mod wire;

pub use bank::{Bank, BankFault, BankLen, BankNumber, CHECKSUM_LEN, Damage, FIXED_LEN, MAGIC, Prelude, VERSION};
pub use binding::{BINDING_MAX, Binding, DataKeyId, Sharing, Suite};
pub use front::{FRONT_LEN, Front, PLACES};
pub use header::{BankState, Header, Warning};
pub use layout::{
    CHUNK_LEN, LARGE_INPUT, MAX_CHUNKS, MAX_PLAINTEXT, MIN_PAYLOAD, PRELUDE_LEN, SEALED_CHUNK_LEN, TAG_LEN,
};
pub(crate) use layout::{chunk_offset, payload_len, plaintext_len};
pub use pairs::{MAX_PAIRS, Pairs};
pub use slot::{
    ARGON2_FIELDS_LEN, KEYFILE_WRAPPED_LEN, KMS_WRAPPED_MAX, MAX_SLOTS, ML_KEM_ENCAPSULATION_LENS,
    PASSPHRASE_WRAPPED_LEN, RSA_ENCAPSULATION_LENS, Slot, SlotKind, X_WING_ENCAPSULATION_LEN, is_kms_key_arn,
};
