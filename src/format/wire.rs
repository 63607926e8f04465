//! The wire layout: fixed-width little-endian integers, u16 counts and lengths (spec 1.2).

use wincode::config::{Configuration, DEFAULT_PREALLOCATION_SIZE_LIMIT};
use wincode::len::FixIntLen;
use wincode::{SchemaRead, SchemaWrite};

use super::pairs::Pairs;

/// bincode's fixed-int layout with u16 lengths.
pub(super) type Wire = Configuration<true, DEFAULT_PREALLOCATION_SIZE_LIMIT, FixIntLen<u16>>;
const WIRE: Wire = Configuration::default().with_length_encoding::<FixIntLen<u16>>();

/// A pair or label in a bank, borrowed from the bank. A length beyond the available bytes is refused.
#[derive(SchemaRead, SchemaWrite)]
pub(super) struct RawPair<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A slot in a bank.
#[derive(SchemaRead, SchemaWrite)]
pub(super) struct RawSlot<'a> {
    pub(super) kind: u16,
    pub(super) key_id: &'a [u8],
    pub(super) wrapped: &'a [u8],
}

/// Appends `value`. The caller has checked that every length fits in a u16.
pub(super) fn put<T: SchemaWrite<Wire, Src = T>>(out: &mut Vec<u8>, value: &T) {
    let written = wincode::config::serialize_into(out, value, WIRE);
    debug_assert!(written.is_ok(), "a Vec takes every write, and lengths fit u16");
}

/// A count, then each pair.
pub(super) fn put_pairs(out: &mut Vec<u8>, pairs: &Pairs) {
    debug_assert!(pairs.len() <= super::pairs::MAX_PAIRS);
    put(out, &u16::try_from(pairs.len()).unwrap_or(u16::MAX));
    for (name, value) in pairs.iter() {
        put(out, &RawPair { name: name.as_bytes(), value: value.as_bytes() });
    }
}

/// Reads a value from the front of `input`. `None` if the value does not fit in `input`.
pub(super) fn take<'de, T: SchemaRead<'de, Wire, Dst = T>>(input: &mut &'de [u8]) -> Option<T> {
    T::get(input).ok()
}
