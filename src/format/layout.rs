//! Arithmetic of the payload (spec 11.4). Each length and offset is checked against its bounds before it is used.
//!
//! ```text
//! payload = salt 24 | commitment 32 | chunk 0 (16384 + 16) | chunk 1 | ... | last chunk (0..=16383, + 16)
//! ```

use crate::error::{Error, Result, Tampered};

/// Plaintext bytes in every chunk except the last one, which has fewer.
pub const CHUNK_LEN: usize = 16 * 1024;
/// Bytes that the tag adds to a chunk.
pub const TAG_LEN: usize = 16;
/// Ciphertext bytes of a full chunk.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Length of salt and commitment at the payload's start.
pub const PRELUDE_LEN: usize = 24 + 32;
/// The shortest payload: the prelude and an empty last chunk.
pub(crate) const MIN_PAYLOAD: usize = PRELUDE_LEN + TAG_LEN;
/// A payload has at most this many chunks.
pub(crate) const MAX_CHUNKS: u64 = 1 << 38;
/// The longest plaintext, 4 PiB - 1 byte.
pub(crate) const MAX_PLAINTEXT: u64 = MAX_CHUNKS * CHUNK_LEN as u64 - 1;
/// From this many bytes of input on, a writer uses the large bank.
pub(crate) const LARGE_INPUT: u64 = 4 * 1024 * 1024;

const _: () = assert!(SEALED_CHUNK_LEN == 16_400 && PRELUDE_LEN == 56 && MIN_PAYLOAD == 72);

/// Number of chunks for a plaintext of `plaintext_len` bytes. The last one is shorter than [`CHUNK_LEN`].
fn chunk_count(plaintext_len: u64) -> u64 {
    plaintext_len / CHUNK_LEN as u64 + 1
}

/// Where chunk `index` begins in the payload, in bytes. It cannot overflow for an index below [`MAX_CHUNKS`].
pub(crate) fn chunk_offset(index: u64) -> u64 {
    PRELUDE_LEN as u64 + index * SEALED_CHUNK_LEN as u64
}

/// Length of the payload for a plaintext of `plaintext_len` bytes.
///
/// # Errors
/// [`Error::Limit`] above [`MAX_PLAINTEXT`].
pub(crate) fn payload_len(plaintext_len: u64) -> Result<u64> {
    if plaintext_len > MAX_PLAINTEXT {
        return Err(Error::Limit(format!("the input has more than {MAX_PLAINTEXT} bytes, the format's limit")));
    }
    Ok(PRELUDE_LEN as u64 + plaintext_len + TAG_LEN as u64 * chunk_count(plaintext_len))
}

/// Length of the plaintext in a payload of `payload_len` bytes, computed from the length only. It is not authenticated.
///
/// # Errors
/// [`Tampered::Truncated`] for a length that no payload can have. [`Tampered::TooLong`] above the limit.
pub(crate) fn plaintext_len(payload_len: u64) -> Result<u64, Tampered> {
    let chunks = payload_len.checked_sub(PRELUDE_LEN as u64).ok_or(Tampered::Truncated { offset: 0 })?;
    let (full, rest) = (chunks / SEALED_CHUNK_LEN as u64, chunks % SEALED_CHUNK_LEN as u64);
    if full >= MAX_CHUNKS {
        return Err(Tampered::TooLong);
    }
    let offset = full * CHUNK_LEN as u64;
    let last = rest.checked_sub(TAG_LEN as u64).ok_or(Tampered::Truncated { offset })?;
    Ok(offset + last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lengths_are_inverse(n in 0..=MAX_PLAINTEXT) {
            prop_assert_eq!(plaintext_len(payload_len(n).unwrap()), Ok(n));
        }
    }

    #[test]
    fn lengths_that_no_payload_has() {
        for len in [0, 55, 56, 71, 56 + 16_400, 56 + 16_400 + 15] {
            assert!(matches!(plaintext_len(len), Err(Tampered::Truncated { .. })), "{len}");
        }
        assert_eq!(plaintext_len(72), Ok(0));
        assert_eq!(plaintext_len(56 + 16_400 + 16), Ok(16_384));
        assert!(payload_len(MAX_PLAINTEXT + 1).is_err());
        let longest = payload_len(MAX_PLAINTEXT).unwrap();
        assert_eq!(plaintext_len(longest), Ok(MAX_PLAINTEXT));
        assert_eq!(plaintext_len(longest + 1), Err(Tampered::TooLong));
        assert_eq!(plaintext_len(u64::MAX), Err(Tampered::TooLong));
    }
}
