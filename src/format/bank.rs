//! One bank: a complete copy of the header (spec 3.1).
//!
//! ```text
//!   0 magic 8 | 8 version u16 | 10 suite u16 | 12 bank_len u32 | 16 generation u32 | 20 slots u16 | 22 number u16
//!  24 salt 24 | 48 commitment 32 | 80 data_key_id 16 | 96 flags u16 | 98 pairs | labels | p slots | zeros
//!  bank_len - 32 SHA-256 of all before it
//! ```

use wincode::{SchemaRead, SchemaWrite};

use super::binding::{BINDING_MAX, Binding, DataKeyId, Sharing, Suite};
use super::pairs::{MAX_PAIRS, Pairs};
use super::slot::{MAX_SLOTS, Slot, SlotKind};
use super::wire::{self, RawPair, RawSlot};
use crate::digest::Sha256;
use crate::error::{Error, Field, Result};

/// The first eight bytes of a bank. As in PNG, they reveal text-mode and 7-bit damage.
pub const MAGIC: [u8; 8] = *b"\x89WAX\r\n\x1a\n";
/// The only version so far.
pub(crate) const VERSION: u16 = 1;
/// Bytes of the SHA-256 at a bank's end.
pub(crate) const CHECKSUM_LEN: usize = 32;
/// Bytes of a bank before its pairs.
pub(crate) const FIXED_LEN: usize = 98;

/// Length of one bank in bytes. The header has two banks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BankLen(u32);

impl BankLen {
    /// The five lengths, in ascending order.
    pub const ALL: [Self; 5] = [Self(4096), Self(8192), Self(16_384), Self(32_768), Self(65_536)];
    /// The smallest.
    pub const MIN: Self = Self::ALL[0];
    /// The largest. Large inputs use it.
    pub const MAX: Self = Self::ALL[4];

    /// The length, if it is one of the five.
    #[must_use]
    pub fn new(len: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| u64::from(known.0) == len)
    }

    /// In bytes.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// Where the payload begins: after two banks.
    #[must_use]
    pub fn header_len(self) -> usize {
        2 * self.get()
    }
}

/// Which of the two positions a bank has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankNumber {
    /// At offset 0.
    Zero,
    /// At offset `bank_len`.
    One,
}

impl BankNumber {
    /// 0 or 1.
    #[must_use]
    pub fn get(self) -> u16 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// The payload's first 56 bytes, repeated in each bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Prelude {
    /// Random, once per file.
    pub salt: [u8; 24],
    /// Commits to the data key and the bound bytes.
    pub commitment: [u8; 32],
}

impl Prelude {
    /// Reads it from the start of a payload.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8; super::PRELUDE_LEN]) -> Self {
        let mut prelude = Self { salt: [0; 24], commitment: [0; 32] };
        prelude.salt.copy_from_slice(&bytes[..24]);
        prelude.commitment.copy_from_slice(&bytes[24..]);
        prelude
    }

    /// The bytes as they are at the start of a payload.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; super::PRELUDE_LEN] {
        let mut bytes = [0; super::PRELUDE_LEN];
        bytes[..24].copy_from_slice(&self.salt);
        bytes[24..].copy_from_slice(&self.commitment);
        bytes
    }
}

/// The fields of a bank with a fixed position.
#[derive(SchemaRead, SchemaWrite)]
struct Fixed {
    magic: [u8; 8],
    version: u16,
    suite: u16,
    bank_len: u32,
    generation: u32,
    slots: u16,
    number: u16,
    prelude: Prelude,
    data_key_id: [u8; 16],
    flags: u16,
}

/// A bank's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bank {
    /// Its length on disk.
    pub len: BankLen,
    /// Increases with each rewrap, and wraps around.
    pub generation: u32,
    /// Which of the two positions it has.
    pub number: BankNumber,
    /// A copy of the payload's first 56 bytes.
    pub prelude: Prelude,
    /// What is bound to the payload.
    pub binding: Binding,
    /// The wrappings of the data key, 1 to 16.
    pub slots: Vec<Slot>,
}

/// Why a bank cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankFault {
    /// Its bytes are not the written ones. The other copy is used.
    Damaged(Damage),
    /// Its checksum is right, but its version is newer. The other copy must not be used.
    Newer(u16),
    /// Its checksum is right, but it breaks a rule. The other copy must not be used.
    Malformed {
        /// The field.
        field: Field,
        /// Its position in the bank, in bytes.
        offset: usize,
    },
}

/// How damage of a bank was detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin with the magic.
    NoMagic,
    /// It states a length that no bank has.
    BankLen,
    /// It is not at the position that its length requires.
    Misplaced,
    /// The file ends before the bank ends.
    CutShort,
    /// Its checksum does not match its bytes.
    Checksum,
    /// It has the number of the other bank.
    OtherNumber,
    /// Some of its bytes could not be read.
    Unreadable,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NoMagic => "no magic",
            Self::BankLen => "bank_len",
            Self::Misplaced => "not at its place",
            Self::CutShort => "cut short",
            Self::Checksum => "checksum",
            Self::OtherNumber => "the other bank's number",
            Self::Unreadable => "unreadable",
        })
    }
}

impl Bank {
    /// The smallest bank of at least `least` that leaves half of its space for slots added later (spec 13.1).
    ///
    /// # Errors
    /// [`Error::Limit`] if the largest bank is too small for the binding and the slots.
    pub(crate) fn fitting_len(binding: &Binding, slots: &[Slot], least: BankLen) -> Result<BankLen> {
        let end = 80 + binding.tail()?.len() + slots.iter().map(Slot::encoded_len).sum::<usize>();
        let roomy = |len: &BankLen| *len >= least && end <= len.get() / 2 - CHECKSUM_LEN;
        match BankLen::ALL.into_iter().find(roomy) {
            Some(len) => Ok(len),
            None if end <= BankLen::MAX.get() - CHECKSUM_LEN => Ok(BankLen::MAX),
            None => Err(Error::Limit("the wrapped keys do not fit a header".into())),
        }
    }

    /// The bank's bytes, exactly `len` of them.
    ///
    /// # Errors
    /// [`Error::Limit`] if there are too many slots, if a slot breaks a rule of its kind, or if they do not fit.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check_slots()?;
        let mut bytes = Vec::with_capacity(self.len.get());
        let fixed = Fixed {
            magic: MAGIC,
            version: VERSION,
            suite: self.binding.suite.number(),
            bank_len: self.len.0,
            generation: self.generation,
            slots: u16::try_from(self.slots.len()).unwrap_or(u16::MAX),
            number: self.number.get(),
            prelude: self.prelude,
            data_key_id: self.binding.data_key_id.0,
            flags: 0,
        };
        wire::put(&mut bytes, &fixed);
        bytes.truncate(80);
        bytes.extend(self.binding.tail()?);
        for slot in &self.slots {
            let raw = RawSlot { kind: slot.kind.0, key_id: slot.key_id.as_bytes(), wrapped: &slot.wrapped };
            wire::put(&mut bytes, &raw);
        }
        if bytes.len() > self.len.get() - CHECKSUM_LEN {
            return Err(Error::Limit("the wrapped keys do not fit this header".into()));
        }
        bytes.resize(self.len.get() - CHECKSUM_LEN, 0);
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        Ok(bytes)
    }

    fn check_slots(&self) -> Result<()> {
        if !(1..=MAX_SLOTS).contains(&self.slots.len()) {
            return Err(Error::Limit(format!("a file has 1 to {MAX_SLOTS} keys, not {}", self.slots.len())));
        }
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.key_id.len() > usize::from(u16::MAX) || slot.wrapped.len() > usize::from(u16::MAX) {
                return Err(Error::Limit("a slot's key id or wrapped key is too long".into()));
            }
            if let Some(rule) = slot.broken_rule() {
                return Err(Error::Limit(format!("slot {index}: {rule}")));
            }
            if self.slots[..index].iter().any(|earlier| earlier.same_key(slot)) {
                return Err(Error::Limit(format!("slot {index}: the same key occurs twice")));
            }
        }
        Ok(())
    }

    /// Reads one bank (spec 6). `bytes` are the bytes of the file from the bank's position on.
    ///
    /// `place` is the bank's offset in the file: 0, or the place of bank 1, which must be its own length.
    ///
    /// # Errors
    /// A [`BankFault`]: the first rule that the bytes break.
    pub fn decode(bytes: &[u8], place: usize) -> Result<Self, BankFault> {
        let number = if place == 0 { BankNumber::Zero } else { BankNumber::One };
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(BankFault::Damaged(Damage::NoMagic));
        }
        let len = stated_len(bytes).ok_or(BankFault::Damaged(Damage::BankLen))?;
        if number == BankNumber::One && place != len.get() {
            return Err(BankFault::Damaged(Damage::Misplaced));
        }
        let bytes = bytes.get(..len.get()).ok_or(BankFault::Damaged(Damage::CutShort))?;
        let (content, checksum) = bytes.split_at(len.get() - CHECKSUM_LEN);
        if Sha256::digest(content) != checksum {
            return Err(BankFault::Damaged(Damage::Checksum));
        }
        if content[22..24] != number.get().to_le_bytes() {
            return Err(BankFault::Damaged(Damage::OtherNumber));
        }
        Decoder { content, rest: content }.bank(len)
    }
}

/// The length that the bank at the start of `bytes` states, if a bank can have it. No checksum has been checked.
pub(super) fn stated_len(bytes: &[u8]) -> Option<BankLen> {
    let stated = bytes.get(12..16)?.try_into().ok().map(u32::from_le_bytes)?;
    BankLen::new(stated.into())
}

/// Reads the fields of a bank whose checksum is right, in their order.
struct Decoder<'a> {
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn bank(mut self, len: BankLen) -> Result<Bank, BankFault> {
        let malformed = |field, offset| BankFault::Malformed { field, offset };
        let fixed: Fixed = self.take(Field::Fixed)?;
        if fixed.version != VERSION {
            return Err(BankFault::Newer(fixed.version));
        }
        let number = if fixed.number == 0 { BankNumber::Zero } else { BankNumber::One };
        let suite = Suite::from_number(fixed.suite).ok_or(malformed(Field::Suite, 10))?;
        let sharing = match fixed.flags {
            0 => Sharing::Exclusive,
            1 => Sharing::Shared,
            _ => return Err(malformed(Field::Flags, 96)),
        };
        if !(1..=MAX_SLOTS).contains(&usize::from(fixed.slots)) {
            return Err(malformed(Field::SlotCount, 20));
        }
        let context = self.pairs(Field::Context)?;
        let labels = self.pairs(Field::Labels)?;
        if self.offset() - 96 > BINDING_MAX {
            return Err(malformed(Field::BindingLen, 96));
        }
        let slots = self.slots(fixed.slots)?;
        if let Some(index) = self.rest.iter().position(|byte| *byte != 0) {
            return Err(malformed(Field::Filling, self.offset() + index));
        }
        let data_key_id = DataKeyId(fixed.data_key_id);
        let binding = Binding { suite, data_key_id, sharing, context, labels };
        Ok(Bank { len, generation: fixed.generation, number, prelude: fixed.prelude, binding, slots })
    }

    fn offset(&self) -> usize {
        self.content.len() - self.rest.len()
    }

    fn take<T: wincode::SchemaRead<'a, wire::Wire, Dst = T>>(&mut self, field: Field) -> Result<T, BankFault> {
        let offset = self.offset();
        wire::take(&mut self.rest).ok_or(BankFault::Malformed { field, offset })
    }

    fn pairs(&mut self, field: Field) -> Result<Pairs, BankFault> {
        let start = self.offset();
        let count: u16 = self.take(field)?;
        if usize::from(count) > MAX_PAIRS {
            return Err(BankFault::Malformed { field, offset: start });
        }
        let mut pairs = Vec::with_capacity(count.into());
        let mut starts = Vec::with_capacity(count.into());
        for _ in 0..count {
            let offset = self.offset();
            let raw: RawPair<'_> = self.take(field)?;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            let pair = text(raw.name).zip(text(raw.value)).ok_or(BankFault::Malformed { field, offset })?;
            pairs.push(pair);
            starts.push(offset);
        }
        Pairs::canonical(pairs).map_err(|(index, _)| BankFault::Malformed { field, offset: starts[index] })
    }

    fn slots(&mut self, count: u16) -> Result<Vec<Slot>, BankFault> {
        let mut slots: Vec<Slot> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let offset = self.offset();
            let malformed = |field| BankFault::Malformed { field, offset };
            let raw: RawSlot<'_> = self.take(Field::Slot)?;
            let key_id = std::str::from_utf8(raw.key_id).map_err(|_| malformed(Field::KeyIdText))?;
            let slot = Slot { kind: SlotKind(raw.kind), key_id: key_id.into(), wrapped: raw.wrapped.into() };
            if let Some(rule) = slot.broken_rule() {
                return Err(malformed(Field::SlotRule(rule)));
            }
            if slots.iter().any(|earlier| earlier.same_key(&slot)) {
                return Err(malformed(Field::SlotTwice));
            }
            slots.push(slot);
        }
        Ok(slots)
    }
}
