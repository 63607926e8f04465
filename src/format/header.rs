//! Which bank is used (spec 7).

use super::bank::{Bank, BankFault, BankLen, BankNumber, Damage, stated_len};
use super::front::{Front, PLACES};
use crate::error::{Field, FormatError, Result};

/// What a reader found of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BankState {
    /// Its checksum is right, and it breaks no rule.
    Valid(Box<Bank>),
    /// It cannot be used.
    Damaged(Damage),
}

impl BankState {
    /// The bank, if it can be used.
    #[must_use]
    pub fn bank(&self) -> Option<&Bank> {
        match self {
            Self::Valid(bank) => Some(bank),
            Self::Damaged(_) => None,
        }
    }
}

/// A fault of a header that can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// One of the two banks is damaged. Says which one, and how that was detected.
    BankDamaged(BankNumber, Damage),
    /// The banks differ in generation or slots. Either a rewrap was interrupted, or somebody put an old bank back.
    BanksDiffer,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BankDamaged(number, why) => {
                write!(out, "header bank {} is damaged ({why}), the other one is used", number.get())
            }
            Self::BanksDiffer => write!(out, "the two header banks differ, as after an interrupted rewrap"),
        }
    }
}

/// The header: both banks, and which one is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    banks: [BankState; 2],
    counts: Bank,
}

impl Header {
    /// Decides on the header from the front of a file.
    ///
    /// # Errors
    /// A [`FormatError`]. No more memory is allocated than the front itself has.
    pub fn read(front: &Front) -> Result<Self, FormatError> {
        let elsewhere: Vec<usize> = PLACES.into_iter().skip(1).filter(|place| front.has_magic(*place)).collect();
        let zero = read_bank(front, 0)?;
        let place = match (&zero, elsewhere.as_slice()) {
            (BankState::Valid(bank), found) => {
                let own = bank.len.get();
                // A bank hidden in a slot could lead to a second plaintext if bank 0 is damaged.
                if let Some(wrong) = found.iter().find(|place| **place != own) {
                    return Err(misplaced(*wrong));
                }
                own
            }
            (BankState::Damaged(_), [place]) => *place,
            (BankState::Damaged(_), []) if front.has_magic(0) => return Err(damaged(front, &zero)),
            (BankState::Damaged(_), []) => return Err(FormatError::NotWaxseal),
            (BankState::Damaged(_), [_, second, ..]) => return Err(misplaced(*second)),
        };
        let one = read_bank(front, place)?;
        let counts = counting(&zero, &one)?.clone();
        let header_len = counts.len.header_len();
        if front.bytes().len() < header_len {
            return Err(cut_short(front, header_len));
        }
        Ok(Self { banks: [zero, one], counts })
    }

    /// The bank that is used. Only its slots are tried.
    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.counts
    }

    /// What was found at the position of bank `number`.
    #[must_use]
    pub fn state(&self, number: BankNumber) -> &BankState {
        &self.banks[usize::from(number.get())]
    }

    /// Length of each bank.
    #[must_use]
    pub fn bank_len(&self) -> BankLen {
        self.counts.len
    }

    /// Where the payload begins, in bytes.
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        self.counts.len.header_len() as u64
    }

    /// Warnings for the user. The header can be used in spite of them.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let damaged = |number: BankNumber| match self.state(number) {
            BankState::Damaged(why) => Some(Warning::BankDamaged(number, *why)),
            BankState::Valid(_) => None,
        };
        let differ = match (self.banks[0].bank(), self.banks[1].bank()) {
            (Some(zero), Some(one)) => zero.generation != one.generation || zero.slots != one.slots,
            _ => false,
        };
        let damaged = [BankNumber::Zero, BankNumber::One].into_iter().filter_map(damaged);
        damaged.chain(differ.then_some(Warning::BanksDiffer)).collect()
    }
}

/// Both banks are damaged. If the file ends inside bank 0, that is the reason, as long as the length that the bank states
/// is one that a bank can have. It is not checked, and used for nothing but the message (spec 7.4).
fn damaged(front: &Front, zero: &BankState) -> FormatError {
    match (zero, stated_len(front.bytes())) {
        (BankState::Damaged(Damage::CutShort), Some(len)) => cut_short(front, len.header_len()),
        _ => FormatError::Damaged,
    }
}

fn cut_short(front: &Front, header_len: usize) -> FormatError {
    FormatError::CutShort { len: front.bytes().len() as u64, header_len: header_len as u64 }
}

fn misplaced(place: usize) -> FormatError {
    FormatError::Malformed { field: Field::Misplaced, offset: place as u64 }
}

/// Damage is a normal result, because the other bank may be used. A newer version or a broken rule is an error.
fn read_bank(front: &Front, place: usize) -> Result<BankState, FormatError> {
    let bytes = front.readable_from(place);
    let unread = place + bytes.len() < front.bytes().len();
    match Bank::decode(bytes, place) {
        Ok(bank) => Ok(BankState::Valid(Box::new(bank))),
        Err(BankFault::Damaged(Damage::CutShort | Damage::NoMagic)) if unread && bytes.len() < BankLen::MAX.get() => {
            Ok(BankState::Damaged(Damage::Unreadable))
        }
        Err(BankFault::Damaged(why)) => Ok(BankState::Damaged(why)),
        Err(BankFault::Newer(version)) => Err(FormatError::Newer { version }),
        Err(BankFault::Malformed { field, offset }) => {
            Err(FormatError::Malformed { field, offset: (place + offset) as u64 })
        }
    }
}

fn counting<'a>(zero: &'a BankState, one: &'a BankState) -> Result<&'a Bank, FormatError> {
    match (zero.bank(), one.bank()) {
        (None, None) => Err(FormatError::Damaged),
        (Some(bank), None) | (None, Some(bank)) => Ok(bank),
        (Some(zero), Some(one)) => {
            if zero.binding != one.binding || zero.prelude != one.prelude {
                let offset = one.len.get() as u64;
                return Err(FormatError::Malformed { field: Field::BanksDisagree, offset });
            }
            // Newer is computed with wrapping, so that no generation is the largest one.
            let ahead = one.generation.wrapping_sub(zero.generation);
            Ok(if ahead != 0 && ahead < 1 << 31 { one } else { zero })
        }
    }
}
