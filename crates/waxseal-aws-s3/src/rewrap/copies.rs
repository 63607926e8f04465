//! Computes which bytes of an object are uploaded again and which are copied inside S3. It makes no request.

use std::ops::Range;

use waxseal::error::{Error, Result};

use crate::upload::{MAX_PART, MAX_PARTS, MIN_PART};

/// How a new object is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copies {
    /// The bytes of the old object that are uploaded after the new header.
    pub(crate) fetched: Range<u64>,
    /// The parts of the old object that S3 copies, in order. Empty if the new object is so short that all of it is
    /// uploaded.
    pub(crate) copied: Vec<Range<u64>>,
    /// Length of the new object.
    pub(crate) len: u64,
}

impl Copies {
    /// For a new header of `header_len` bytes, and an old object of `old_len` bytes whose payload begins at
    /// `payload_at`.
    ///
    /// The first part must have 5 MiB, like every part but the last. So the beginning of the payload is uploaded
    /// together with the header. The copied parts have about the same size.
    pub(crate) fn of(header_len: u64, payload_at: u64, old_len: u64) -> Result<Self> {
        let payload_len = old_len.checked_sub(payload_at).ok_or(Error::Bug("a payload after the end of its object"))?;
        let fetched = MIN_PART.saturating_sub(header_len).min(payload_len);
        let from = payload_at + fetched;
        let left = payload_len - fetched;
        let count = left.div_ceil(MAX_PART);
        if count >= u64::from(MAX_PARTS) {
            return Err(Error::Limit(format!("an object of {old_len} bytes has more parts than S3 takes")));
        }
        let end = |part: u64| from + part_of(left, part, count);
        let copied = (0..count).map(|part| end(part)..end(part + 1)).collect();
        Ok(Self { fetched: payload_at..from, copied, len: header_len + payload_len })
    }
}

/// The share of `part` of `count` parts in `len`, without overflow.
fn part_of(len: u64, part: u64, count: u64) -> u64 {
    len / count * part + (len % count).min(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header_len: u64, payload_at: u64, old_len: u64) -> Copies {
        let copies = Copies::of(header_len, payload_at, old_len).unwrap();
        // Every byte of the payload once, in order.
        let mut at = payload_at;
        for range in std::iter::once(&copies.fetched).chain(&copies.copied) {
            assert_eq!(range.start, at);
            assert!(range.end >= range.start);
            at = range.end;
        }
        assert_eq!(at, old_len);
        assert_eq!(copies.len, header_len + old_len - payload_at);
        // S3's rules.
        let first = header_len + copies.fetched.end - copies.fetched.start;
        assert!(copies.copied.is_empty() || (first == MIN_PART || first == header_len));
        assert!(copies.copied.len() < MAX_PARTS as usize);
        for (index, range) in copies.copied.iter().enumerate() {
            let size = range.end - range.start;
            assert!(size <= MAX_PART && size > 0);
            assert!(size >= MIN_PART || index + 1 == copies.copied.len(), "{size}");
        }
        // Less than 6 MiB goes through this machine.
        assert!(first < 6 << 20);
        copies
    }

    #[test]
    fn every_length_keeps_the_rules() {
        for header_len in [8_192, 16_384, 131_072] {
            for payload_at in [8_192, 32_768, 131_072] {
                let borders = [payload_at, MIN_PART, 2 * MIN_PART, MAX_PART, 2 * MAX_PART, 1 << 40, 5 << 40];
                for border in borders {
                    for old_len in [border.saturating_sub(1), border, border + 1, border + header_len] {
                        if old_len >= payload_at {
                            check(header_len, payload_at, old_len);
                        }
                    }
                }
            }
        }
        assert!(Copies::of(8_192, 8_193, 8_192).is_err());
        assert!(Copies::of(8_192, 8_192, u64::MAX).is_err());
    }

    #[test]
    fn one_tebibyte_is_205_copies() {
        let copies = check(8_192, 8_192, 1 << 40);
        assert_eq!(copies.copied.len(), 205);
        let sizes: Vec<_> = copies.copied.iter().map(|range| range.end - range.start).collect();
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "balanced");
    }

    #[test]
    fn a_short_object_is_uploaded_whole() {
        assert!(check(8_192, 8_192, MIN_PART).copied.is_empty());
        let copies = check(8_192, 8_192, MIN_PART + 1);
        assert_eq!(copies.copied.len(), 1);
        assert_eq!(copies.copied.first(), Some(&(MIN_PART..MIN_PART + 1)));
    }
}
