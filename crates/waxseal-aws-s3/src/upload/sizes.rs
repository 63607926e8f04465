//! Computes the sizes of the parts of an upload. It makes no request.

use waxseal::error::{Error, Result};

const MIB: u64 = 1 << 20;
/// S3 refuses smaller parts, except for the last one.
pub const MIN_PART: u64 = 5 * MIB;
/// S3 refuses larger parts.
pub const MAX_PART: u64 = 5 << 30;
/// S3 refuses more parts.
pub const MAX_PARTS: u32 = 10_000;
/// The usual size of parts.
pub const USUAL_PART: u64 = 32 * MIB;

/// A number of parts in a row that have the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Number of parts.
    pub parts: u32,
    /// Their size in bytes.
    pub size: u64,
}

impl Step {
    const fn new(parts: u32, size: u64) -> Self {
        Self { parts, size }
    }
}

/// The parts of a stream whose length is not known: 10,000 parts, 5.08 TiB.
///
/// | parts | size of a part | the stream so far | memory for parts |
/// | --- | --- | --- | --- |
/// | 1 to 4,000 | 32 MiB | 125 GiB | 128 MiB |
/// | to 4,300 | 64 MiB | 143 GiB | 256 MiB |
/// | to 4,600 | 128 MiB | 181 GiB | 512 MiB |
/// | to 4,900 | 256 MiB | 256 GiB | 512 MiB |
/// | to 5,200 | 512 MiB | 406 GiB | 1 GiB |
/// | to 10,000 | 1 GiB | 5,206 GiB | 2 GiB |
pub const GROWTH: [Step; 6] = [
    Step::new(4_000, USUAL_PART),
    Step::new(300, 64 * MIB),
    Step::new(300, 128 * MIB),
    Step::new(300, 256 * MIB),
    Step::new(300, 512 * MIB),
    Step::new(4_800, 1024 * MIB),
];

/// How many parts of `size` bytes are in memory at most: the one that is being filled, and those that S3 does not have
/// yet.
#[must_use]
pub fn buffers(size: u64) -> u32 {
    match size / MIB {
        0..=128 => 4,
        129..=1024 => 2,
        _ => 1,
    }
}

/// The size of each part of one upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartSizes {
    /// All parts have this size. The first number of parts is enough for the length that the caller has stated.
    Equal(u64),
    /// The first parts have this size. Their number is enough for the stated length. Later parts are larger.
    Stated { parts: u32, size: u64 },
    /// Parts grow, because the length is not known.
    Growing,
}

impl PartSizes {
    /// Chooses the sizes for a stream.
    pub(crate) fn choose(part_size: Option<u64>, len_hint: Option<u64>) -> Result<Self> {
        match (part_size, len_hint) {
            (Some(size), len) => Self::asked(size, len),
            (None, None) => Ok(Self::Growing),
            (None, Some(len)) => {
                let size = len.div_ceil(u64::from(MAX_PARTS)).div_ceil(MIB).saturating_mul(MIB).max(USUAL_PART);
                if size > MAX_PART {
                    return Err(Error::Limit(format!(
                        "{len} bytes are more than {MAX_PARTS} parts of 5 GiB, the most that an upload to S3 can have"
                    )));
                }
                Ok(Self::Stated { parts: parts_of(len, size), size })
            }
        }
    }

    fn asked(size: u64, len: Option<u64>) -> Result<Self> {
        if !(MIN_PART..=MAX_PART).contains(&size) {
            return Err(Error::Invalid(format!("a part of {size} bytes: S3 takes parts from 5 MiB to 5 GiB")));
        }
        if let Some(len) = len.filter(|len| len.div_ceil(size) > u64::from(MAX_PARTS)) {
            let least = len.div_ceil(u64::from(MAX_PARTS)).div_ceil(MIB);
            return Err(Error::Limit(format!(
                "{len} bytes do not fit into {MAX_PARTS} parts of {size} bytes; the parts must have {least} MiB or more"
            )));
        }
        Ok(Self::Equal(size))
    }

    /// The size of part `number`, which starts at 1. `None` if S3 does not accept this number.
    pub(crate) fn of(&self, number: u32) -> Option<u64> {
        if number == 0 || number > MAX_PARTS {
            return None;
        }
        Some(match *self {
            Self::Equal(size) => size,
            Self::Stated { parts, size } if number <= parts => size,
            Self::Stated { size, .. } => size.max(grown(number)),
            Self::Growing => grown(number),
        })
    }
}

fn parts_of(len: u64, size: u64) -> u32 {
    u32::try_from(len.div_ceil(size)).unwrap_or(MAX_PARTS).clamp(1, MAX_PARTS)
}

/// The size of part `number` in [`GROWTH`].
fn grown(number: u32) -> u64 {
    let mut last = 0;
    for step in GROWTH {
        last += step.parts;
        if number <= last {
            return step.size;
        }
    }
    MAX_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    /// Cuts a stream of `len` bytes as an upload does. `None` if it does not fit.
    fn cut(sizes: &PartSizes, len: u64) -> Option<Vec<u64>> {
        let mut parts = Vec::new();
        let mut left = len;
        while left > 0 || parts.is_empty() {
            let size = sizes.of(u32::try_from(parts.len()).unwrap() + 1)?.min(left);
            parts.push(size);
            left -= size;
        }
        Some(parts)
    }

    fn lengths() -> impl Iterator<Item = u64> {
        let borders = [0, 1, MIN_PART, USUAL_PART, 125 << 30, 312 << 30, 10_000 * USUAL_PART, TIB, 5 * TIB];
        let near = borders.into_iter().flat_map(|at| [at.saturating_sub(1), at, at + 1]);
        // Lengths of every magnitude.
        let spread = (0..400_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8) % (1 << (n % 43)).max(2));
        near.chain(spread).filter(|len| *len <= 5 * TIB)
    }

    fn is_taken(parts: &[u64], len: u64) {
        assert!(parts.len() <= MAX_PARTS as usize, "{} parts for {len}", parts.len());
        assert_eq!(parts.iter().sum::<u64>(), len);
        let (last, others) = parts.split_last().unwrap();
        assert!(others.iter().all(|size| (MIN_PART..=MAX_PART).contains(size)), "{len}");
        assert!(*last <= MAX_PART);
    }

    #[test]
    fn every_stream_up_to_5_tib_fits_whatever_is_known() {
        for len in lengths() {
            is_taken(&cut(&PartSizes::Growing, len).unwrap(), len);
            is_taken(&cut(&PartSizes::choose(None, Some(len)).unwrap(), len).unwrap(), len);
        }
    }

    #[test]
    fn a_part_size_is_kept_or_refused_at_once() {
        for size in [MIN_PART, MIN_PART + 1, USUAL_PART, 100 * MIB + 7, 525 * MIB, MAX_PART] {
            for len in lengths() {
                let fits = len.div_ceil(size) <= u64::from(MAX_PARTS);
                match PartSizes::choose(Some(size), Some(len)) {
                    Ok(sizes) => is_taken(&cut(&sizes, len).unwrap(), len),
                    Err(error) => assert!(matches!(error, Error::Limit(_)), "{error}"),
                }
                assert_eq!(PartSizes::choose(Some(size), Some(len)).is_ok(), fits, "{size} {len}");
            }
        }
        for size in [0, 1, MIN_PART - 1, MAX_PART + 1, u64::MAX] {
            assert!(matches!(PartSizes::choose(Some(size), None), Err(Error::Invalid(_))), "{size}");
        }
        assert!(matches!(PartSizes::choose(None, Some(u64::MAX)), Err(Error::Limit(_))));
    }

    #[test]
    fn a_wrong_length_is_no_end() {
        let sizes = PartSizes::choose(None, Some(1)).unwrap();
        is_taken(&cut(&sizes, 5 * TIB).unwrap(), 5 * TIB);
    }

    #[test]
    fn the_table_is_what_its_documentation_says() {
        assert_eq!(GROWTH.iter().map(|step| step.parts).sum::<u32>(), MAX_PARTS);
        let total: u64 = GROWTH.iter().map(|step| u64::from(step.parts) * step.size).sum();
        assert_eq!(total, 5_206 * (1 << 30) + (1 << 28));
        let memory = GROWTH.map(|step| u64::from(buffers(step.size)) * step.size / MIB);
        assert_eq!(memory, [128, 256, 512, 512, 1024, 2048]);
        assert_eq!(u64::from(buffers(MAX_PART)) * MAX_PART, MAX_PART);
        let known = PartSizes::choose(None, Some(312 << 30)).unwrap();
        assert_eq!(known, PartSizes::Stated { parts: 9_984, size: USUAL_PART });
    }
}
