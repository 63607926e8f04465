//! Altered files in a short form: a base file, edits, and which checksums to correct.
//!
//! ```text
//! base u8 | recheck u8 | edits: op u8, operands
//! ```
//!
//! A position is an anchor (start, bank 1, payload, last chunk, end) and an offset from it, so that small numbers reach
//! all parts.

use std::sync::OnceLock;

use super::encode::{ARN, CHUNK, MAGIC, Make, SEALED, Wrap, fixed, list, recheck, text};

/// A base file, and the plaintexts to which it may open, each with its payload.
pub struct Base {
    /// The file.
    pub file: Vec<u8>,
    bank_len: usize,
    /// Plaintext and payload. A file in which another one is hidden has two.
    pub versions: Vec<(Vec<u8>, Vec<u8>)>,
}

fn base(make: &Make) -> Base {
    Base {
        file: make.file(),
        bank_len: make.bank_len as usize,
        versions: vec![(make.plaintext.clone(), make.payload())],
    }
}

/// What every base file has: slots for both key files and the key service.
fn make(suite: u16, bank_len: u32, len: usize) -> Make {
    Make::with(|make| {
        make.suite = suite;
        make.bank_len = bank_len;
        make.slots = vec![Wrap::Key(1), Wrap::kms(ARN), Wrap::Key(2)];
        make.plaintext = text(len);
    })
}

/// An interrupted rewrap. Bank 1 is newer and has other slots.
fn rewrapped() -> Base {
    let old = make(1, 4096, 50);
    let new = Make { generation: 2, slots: vec![Wrap::Key(2)], ..old.clone() };
    let mut base = base(&old);
    base.file[4096..8192].copy_from_slice(&new.bank(1));
    base
}

/// A second file inside a private slot. Its length fits the position of its own bank 1.
fn hiding(inner_len: u32, outer_len: u32) -> Base {
    let inner = Make::with(|inner| {
        *inner = make(1, inner_len, 0);
        inner.plaintext = b"a second plaintext".to_vec();
        inner.salt = fixed("another salt");
    });
    let outer = Make::with(|outer| {
        *outer = make(2, outer_len, 30);
        let before = outer.p() + outer.slot_bytes().len() + 6;
        let hidden = [vec![0; inner_len as usize - before], inner.bank(1), inner.payload()].concat();
        outer.slots.push(Wrap::raw(0x8000, "", hidden));
    });
    let mut base = base(&outer);
    base.versions.push((inner.plaintext.clone(), inner.payload()));
    base
}

/// A mix of two files that one writer made with one data key. Bank 1 and everything after it are from the second file.
fn mixed() -> Base {
    let one = make(1, 4096, 40);
    let two =
        Make { salt: fixed("another salt"), labels: list(&[("host", "another")]), plaintext: text(41), ..one.clone() };
    let mut base = base(&one);
    base.file[4096..8192].copy_from_slice(&two.bank(1));
    base.file.truncate(8192);
    base.file.extend(two.payload());
    base.versions.push((two.plaintext.clone(), two.payload()));
    base
}

/// The secret of slots of kinds 4 and 5, for every encapsulation.
pub(crate) const SECRET: [u8; 32] = [0x5e; 32];

/// One slot of each kind of public key, and one of a future kind.
fn public_keys() -> Base {
    let with = |kind, id: &str, len| Wrap::Public(kind, id.into(), (vec![9; len], SECRET));
    base(&Make::with(|public| {
        *public = make(1, 8192, 60);
        let other = ARN.replace("eu-west-1", "eu-west-2");
        let third = ARN.replace("eu-west-1", "eu-west-3");
        public.slots = vec![with(4, ARN, 1088), Wrap::Identity(1), with(5, &other, 384), with(4, &third, 1568)];
        public.slots.push(Wrap::raw(7, "id", "wrapped"));
    }))
}

/// All base files.
#[must_use]
pub fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        vec![
            base(&make(1, 4096, 0)),
            base(&make(1, 4096, 100)),
            base(&make(2, 4096, 100)),
            base(&make(2, 8192, CHUNK)),
            base(&make(1, 4096, 2 * CHUNK + 77)),
            base(&make(1, 16_384, 10)),
            base(&make(1, 65_536, 10)),
            base(&make(1, 4096, 20 * CHUNK + 5)),
            rewrapped(),
            hiding(4096, 16_384),
            hiding(8192, 32_768),
            mixed(),
            public_keys(),
        ]
    })
}

/// Files with more than one task of the engine. The length is large enough for several threads, and no multiple of a
/// task.
fn large() -> &'static [Base] {
    static LARGE: OnceLock<[Base; 2]> = OnceLock::new();
    LARGE.get_or_init(|| [(1, 330 * CHUNK + 5), (2, 390 * CHUNK)].map(|(suite, len)| base(&make(suite, 65_536, len))))
}

/// The number of base files.
#[must_use]
pub fn count() -> usize {
    bases().len()
}

/// Every plaintext to which a base file may open.
pub fn plaintexts() -> impl Iterator<Item = &'static [u8]> {
    bases().iter().flat_map(|base| &base.versions).map(|(plaintext, _)| plaintext.as_slice())
}

/// A base file, and the edits to it.
pub struct Recipe<'a> {
    base: &'static Base,
    recheck: u8,
    edits: &'a [u8],
}

impl<'a> Recipe<'a> {
    /// Accepts any bytes.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Self {
        let at = |at: usize| data.get(at).copied().unwrap_or(0);
        Self { base: &bases()[usize::from(at(0)) % count()], recheck: at(1), edits: data.get(2..).unwrap_or_default() }
    }

    /// The same, but if the first byte is 0xf0 or more, it names a large file.
    #[must_use]
    pub fn parse_large(data: &'a [u8]) -> Self {
        let recipe = Self::parse(data);
        match data.first() {
            Some(base @ 0xf0..) => Self { base: &large()[usize::from(base % 2)], ..recipe },
            _ => recipe,
        }
    }

    /// The base file.
    #[must_use]
    pub fn base(&self) -> &'static Base {
        self.base
    }

    /// The altered file.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        let base = self.base();
        let mut edit = Edit { file: base.file.clone(), base, rest: self.edits };
        let mut edits = 0;
        while !edit.rest.is_empty() && edits < 32 && edit.file.len() < base.file.len() + (1 << 20) {
            edit.one();
            edits += 1;
        }
        let mut file = edit.file;
        for (bit, place) in [0, 4096, 8192, 16_384, 32_768, 65_536].into_iter().enumerate() {
            if self.recheck >> bit & 1 == 1 {
                check_again(&mut file, place, base.bank_len);
            }
        }
        file
    }
}

/// The length in the bank is used if it is one of the five.
fn check_again(file: &mut [u8], place: usize, otherwise: usize) {
    let Some(stated) = file.get(place + 12..place + 16) else { return };
    let stated = u32::from_le_bytes(stated.try_into().unwrap()) as usize;
    let len = if [4096, 8192, 16_384, 32_768, 65_536].contains(&stated) { stated } else { otherwise };
    if file.len() >= place + len {
        recheck(file, place, len);
    }
}

struct Edit<'a> {
    file: Vec<u8>,
    base: &'static Base,
    rest: &'a [u8],
}

impl Edit<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.rest.split_first().map_or((0, self.rest), |(byte, rest)| (*byte, rest));
        self.rest = rest;
        byte
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte());
        (0..len.min(self.rest.len())).map(|_| self.byte()).collect()
    }

    /// A position in the file or at its end.
    fn place(&mut self) -> usize {
        let (anchor, offset) = (self.byte(), self.number());
        let len = self.file.len();
        let payload = 2 * self.base.bank_len;
        let last = self.base.file.len().saturating_sub(payload + 56) / SEALED * SEALED;
        let place = match anchor % 6 {
            0 => offset,
            1 => self.base.bank_len + offset,
            2 => payload + offset,
            3 => payload + 56 + last + offset,
            4 => len.saturating_sub(offset),
            _ => offset * 4096,
        };
        place.min(len)
    }

    fn range(&mut self) -> std::ops::Range<usize> {
        let (start, len) = (self.place(), self.number());
        start..self.file.len().min(start + len)
    }

    fn one(&mut self) {
        match self.byte() % 10 {
            0 => {
                let (at, by) = (self.place(), self.byte());
                self.file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= by);
            }
            1 => {
                let (at, bytes) = (self.place(), self.bytes());
                self.file.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = new);
            }
            2 => {
                let range = self.range();
                self.file.drain(range);
            }
            3 => {
                let (at, bytes) = (self.place(), self.bytes());
                self.file.splice(at..at, bytes);
            }
            4 => {
                let (range, to) = (self.range(), self.place());
                let len = range.len().min(self.file.len() - to);
                self.file.copy_within(range.start..range.start + len, to);
            }
            5 => {
                let at = self.place();
                self.file.truncate(at);
            }
            6 => {
                let bytes = self.bytes();
                self.file.extend(bytes);
            }
            7 => {
                let (range, with) = (self.range(), self.byte());
                self.file[range].fill(with);
            }
            8 => {
                let at = self.place();
                self.file.iter_mut().skip(at).zip(MAGIC).for_each(|(byte, magic)| *byte = magic);
            }
            _ => self.field(),
        }
    }

    /// A header field of one bank, or of both.
    fn field(&mut self) {
        let fields = [8, 10, 12, 14, 16, 18, 20, 22, 24, 48, 80, 94, 96, 98, 100, 102];
        let (field, banks, value) = (fields[usize::from(self.byte() % 16)], self.byte() % 4, self.number());
        for (bit, place) in [0, self.base.bank_len].into_iter().enumerate() {
            if banks == 3 || usize::from(banks) == bit {
                let value = u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
                self.file.iter_mut().skip(place + field).zip(value).for_each(|(byte, new)| *byte = new);
            }
        }
    }
}
