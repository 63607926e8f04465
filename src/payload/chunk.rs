//! One chunk (spec 11.3): `AEAD(key, base nonce XOR index, no AAD, up to 16 KiB)`.

use zeroize::Zeroize;

use super::aead::NONCE_LEN;
use super::schedule::PayloadKeys;
use crate::error::{Error, Result, Tampered};
use crate::format::{CHUNK_LEN, MAX_CHUNKS, SEALED_CHUNK_LEN, TAG_LEN};

/// Number of a chunk, starting at zero. It is always below 2^38.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkIndex(u64);

impl ChunkIndex {
    /// The first chunk.
    pub const FIRST: Self = Self(0);

    /// `index`, or `None` from 2^38 on. Beyond this limit of the format, a nonce could repeat.
    #[must_use]
    pub fn new(index: u64) -> Option<Self> {
        (index < MAX_CHUNKS).then_some(Self(index))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The next chunk, or `None` at the limit.
    #[must_use]
    pub(crate) fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// Returns the number if a chunk of `sealed_len` bytes can have it.
    ///
    /// # Errors
    /// [`Tampered::TooLong`] if the chunk is full and there is no number for the chunk that must follow it.
    pub(crate) fn of_len(self, sealed_len: usize) -> Result<Self, Tampered> {
        if sealed_len == SEALED_CHUNK_LEN && self.next().is_none() { Err(Tampered::TooLong) } else { Ok(self) }
    }

    /// Where the chunk's plaintext begins, in bytes.
    #[must_use]
    pub(crate) fn plaintext_offset(self) -> u64 {
        self.0 * CHUNK_LEN as u64
    }

    /// The error for a chunk of `sealed_len` bytes that does not authenticate here. A short chunk is the last one of a
    /// file.
    #[must_use]
    pub(crate) fn tampered(self, sealed_len: usize) -> Tampered {
        let (index, offset) = (self.0, self.plaintext_offset());
        match sealed_len {
            0..TAG_LEN => Tampered::Truncated { offset },
            TAG_LEN..SEALED_CHUNK_LEN => Tampered::LastChunk { index, offset },
            _ => Tampered::Chunk { index, offset },
        }
    }
}

/// `base nonce XOR index`, the index big-endian and as wide as the nonce.
fn nonce(base: &[u8; NONCE_LEN], index: ChunkIndex) -> [u8; NONCE_LEN] {
    let mut nonce = *base;
    for (byte, counter) in nonce[NONCE_LEN - 8..].iter_mut().zip(index.0.to_be_bytes()) {
        *byte ^= counter;
    }
    nonce
}

/// Seals the chunks of one payload. The caller must seal each index only once.
pub struct ChunkSealer(PayloadKeys);

impl ChunkSealer {
    /// Creates the sealer of the payload with these keys.
    #[must_use]
    pub fn new(keys: PayloadKeys) -> Self {
        Self(keys)
    }

    /// Seals one chunk: `out = ciphertext || tag`. `out` does not overlap `plaintext`.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] unless `plaintext` has at most [`CHUNK_LEN`] bytes and `out` is exactly [`TAG_LEN`] bytes
    /// longer.
    pub fn seal(&self, index: ChunkIndex, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        if plaintext.len() > CHUNK_LEN || out.len() != plaintext.len() + TAG_LEN {
            return Err(Error::ApiMisuse("a chunk of more than 16384 bytes, or an output of another length"));
        }
        if !self.0.aead.is_usable() {
            return Err(crate::fips::not_to_seal("this suite"));
        }
        self.0.aead.seal(nonce(&self.0.base_nonce, index), plaintext, out);
        Ok(())
    }
}

/// Opens the chunks of one payload, in any order. Create it only after the commitment has been checked.
pub struct ChunkOpener(PayloadKeys);

impl ChunkOpener {
    /// Creates the opener of the payload with these keys. The caller has checked the payload's commitment.
    #[must_use]
    pub fn new(keys: PayloadKeys) -> Self {
        Self(keys)
    }

    /// Whether `sealed` is chunk `index`. If so, its plaintext is at the front of `sealed`.
    ///
    /// It is for a search, where nearly every attempt fails and wiping would cost more than trying. After a failure,
    /// the caller must not use the content of `sealed`, and overwrites it with the next attempt.
    pub(crate) fn try_open(&self, index: ChunkIndex, sealed: &mut [u8]) -> bool {
        (TAG_LEN..=SEALED_CHUNK_LEN).contains(&sealed.len())
            && self.0.aead.open(nonce(&self.0.base_nonce, index), sealed).is_ok()
    }

    /// Verifies and decrypts one chunk in place and returns its plaintext.
    ///
    /// `sealed` is `ciphertext || tag` in private memory. Memory that others can still change must not be verified.
    ///
    /// # Errors
    /// [`Tampered`], as [`ChunkIndex::tampered`] gives it. `sealed` is then wiped, so that it has no unverified
    /// plaintext.
    pub fn open<'a>(&self, index: ChunkIndex, sealed: &'a mut [u8]) -> Result<&'a mut [u8], Tampered> {
        let failed = index.tampered(sealed.len());
        let Some(len) = sealed.len().checked_sub(TAG_LEN).filter(|len| *len <= CHUNK_LEN) else {
            sealed.zeroize();
            return Err(failed);
        };
        match self.0.aead.open(nonce(&self.0.base_nonce, index), sealed) {
            Ok(()) => Ok(&mut sealed[..len]),
            Err(_) => {
                sealed.zeroize();
                Err(failed)
            }
        }
    }

    /// Verifies and decrypts one chunk into the front of `out`. Returns the length of its plaintext.
    ///
    /// `sealed` is in private memory, as for [`open`](Self::open). `out` has at least its length minus [`TAG_LEN`].
    ///
    /// # Errors
    /// As [`open`](Self::open). The decrypted bytes in `out` are then wiped.
    pub fn open_into(&self, index: ChunkIndex, sealed: &[u8], out: &mut [u8]) -> Result<usize, Tampered> {
        let failed = || index.tampered(sealed.len());
        let len = sealed.len().checked_sub(TAG_LEN).filter(|len| *len <= CHUNK_LEN).ok_or_else(failed)?;
        let out = &mut out[..len];
        self.0.aead.open_into(nonce(&self.0.base_nonce, index), sealed, out).map_err(|_| {
            out.zeroize();
            failed()
        })?;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, PayloadKeys};
    use super::*;
    use crate::format::Suite;
    use crate::secret::DataKey;
    use proptest::prelude::*;

    fn backends() -> Vec<Backend> {
        vec![
            #[cfg(any(feature = "aws-lc", feature = "fips"))]
            Backend::AwsLc,
            #[cfg(all(feature = "ring", target_arch = "x86_64", not(feature = "fips")))]
            Backend::Ring,
            #[cfg(not(feature = "fips"))]
            Backend::PureRust,
        ]
    }

    /// The FIPS module has only one.
    const SUITES: [Suite; 2] =
        [Suite::Aes256Gcm, if cfg!(feature = "fips") { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }];

    fn keys(backend: Backend, suite: Suite) -> PayloadKeys {
        let data_key = DataKey::from_slice(&[9; 32]).unwrap();
        PayloadKeys::derive_with(backend, &data_key, suite, &[1; 24], b"context").0
    }

    #[test]
    fn the_nonce_is_the_base_xor_the_index() {
        let base = [0xff; 12];
        let index = ChunkIndex::new(0x20_0000_0001).unwrap();
        assert_eq!(nonce(&base, index), [255, 255, 255, 255, 255, 255, 255, 0xdf, 255, 255, 255, 0xfe]);
    }

    /// Readers and writers refuse the suite before they ask for any key. These are the callers who do not.
    #[cfg(feature = "fips")]
    #[test]
    fn a_suite_that_the_module_does_not_have_seals_and_opens_nothing() {
        let refused = || keys(Backend::AwsLc, Suite::ChaCha20Poly1305);
        let mut sealed = [7; 20];
        let error = ChunkSealer::new(refused()).seal(ChunkIndex::FIRST, b"text", &mut sealed).unwrap_err();
        assert!(error.to_string().contains("is refused"), "{error}");
        assert_eq!(sealed, [7; 20]);
        assert!(ChunkOpener::new(refused()).open_into(ChunkIndex::FIRST, &sealed, &mut [0; 4]).is_err());
        assert!(ChunkOpener::new(refused()).open(ChunkIndex::FIRST, &mut sealed).is_err());
        assert!(!ChunkOpener::new(refused()).try_open(ChunkIndex::FIRST, &mut sealed));
    }

    #[test]
    fn the_counter_ends() {
        let last = ChunkIndex::new(MAX_CHUNKS - 1).unwrap();
        assert_eq!(last.next(), None);
        assert_eq!(ChunkIndex::new(MAX_CHUNKS), None);
        assert_eq!(last.plaintext_offset(), (1 << 52) - 16_384);
    }

    #[test]
    fn a_failed_chunk_leaves_nothing() {
        let (sealer, opener) = (
            ChunkSealer::new(keys(Backend::default(), Suite::default())),
            ChunkOpener::new(keys(Backend::default(), Suite::default())),
        );
        let mut sealed = [0; 20];
        sealer.seal(ChunkIndex::FIRST, b"text", &mut sealed).unwrap();
        sealed[0] ^= 1;
        assert!(opener.open(ChunkIndex::FIRST, &mut sealed).is_err());
        assert_eq!(sealed, [0; 20]);
        assert!(opener.open(ChunkIndex::FIRST, &mut [0; 15]).is_err());
        assert!(opener.open(ChunkIndex::FIRST, &mut [0; CHUNK_LEN + TAG_LEN + 1]).is_err());
        assert!(sealer.seal(ChunkIndex::FIRST, &[0; CHUNK_LEN + 1], &mut [0; CHUNK_LEN + 17]).is_err());
    }

    #[test]
    fn a_failed_chunk_leaves_nothing_elsewhere_either() {
        for backend in backends() {
            for suite in SUITES {
                let (sealer, opener) = (ChunkSealer::new(keys(backend, suite)), ChunkOpener::new(keys(backend, suite)));
                let (mut sealed, mut out) = ([0; 20], [7; 6]);
                sealer.seal(ChunkIndex::FIRST, b"text", &mut sealed).unwrap();
                assert_eq!(opener.open_into(ChunkIndex::FIRST, &sealed, &mut out), Ok(4));
                assert_eq!(&out, b"text\x07\x07");
                sealed[19] ^= 1;
                let failed = Tampered::LastChunk { index: 0, offset: 0 };
                assert_eq!(opener.open_into(ChunkIndex::FIRST, &sealed, &mut out), Err(failed));
                assert_eq!(out, [0, 0, 0, 0, 7, 7]);
                assert!(opener.open_into(ChunkIndex::FIRST, &[0; 15], &mut out).is_err());
            }
        }
    }

    /// What a mapped input may do. The chunk opens all the same, and holds bytes that were there at some moment.
    #[cfg(unix)]
    #[test]
    #[expect(unsafe_code, reason = "a file is mapped that the test changes")]
    fn a_plaintext_that_changes_while_it_is_sealed() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let file = tempfile::tempfile().unwrap();
        file.set_len(CHUNK_LEN as u64).unwrap();
        // SAFETY: the file keeps its length. Its bytes go to the cipher alone, which is what this test is about.
        let plaintext = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        let (is_done, mut torn, mut wrong) = (AtomicBool::new(false), 0, Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let values = [[0; CHUNK_LEN], [0xff; CHUNK_LEN]];
                for value in values.iter().cycle().take_while(|_| !is_done.load(Ordering::Relaxed)) {
                    crate::io::write_all_at(&file, value, 0).unwrap();
                }
            });
            for (backend, suite) in backends().into_iter().flat_map(|backend| SUITES.map(|suite| (backend, suite))) {
                let (sealer, opener) = (ChunkSealer::new(keys(backend, suite)), ChunkOpener::new(keys(backend, suite)));
                let (mut sealed, mut rounds, before) = ([0; SEALED_CHUNK_LEN], 0, torn);
                while rounds < 200 || (torn == before && rounds < 20_000) {
                    sealer.seal(ChunkIndex::FIRST, &plaintext, &mut sealed).unwrap();
                    let opened = opener.open(ChunkIndex::FIRST, &mut sealed).map(|opened| &*opened).unwrap_or_default();
                    let count = |value: u8| opened.iter().filter(|byte| **byte == value).count();
                    let (zeros, ones) = (count(0), count(0xff));
                    wrong.extend((zeros + ones != CHUNK_LEN).then_some((backend, suite, rounds)));
                    torn += usize::from(zeros > 0 && ones > 0);
                    rounds += 1;
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(torn > 0, "no chunk changed while it was sealed");
    }

    proptest! {
        #[test]
        fn all_backends_give_the_same_bytes(
            text in prop::collection::vec(any::<u8>(), 0..=2000), index in 0..MAX_CHUNKS, chacha in any::<bool>(),
        ) {
            let suite = SUITES[usize::from(chacha)];
            let index = ChunkIndex::new(index).unwrap();
            let mut oracle = vec![0; text.len() + TAG_LEN];
            ChunkSealer::new(keys(backends()[backends().len() - 1], suite)).seal(index, &text, &mut oracle).unwrap();
            for backend in backends() {
                let mut sealed = vec![0; text.len() + TAG_LEN];
                ChunkSealer::new(keys(backend, suite)).seal(index, &text, &mut sealed).unwrap();
                prop_assert_eq!(&sealed, &oracle, "{:?}", backend);
                let (opener, mut out) = (ChunkOpener::new(keys(backend, suite)), vec![0; text.len()]);
                prop_assert_eq!(opener.open_into(index, &sealed, &mut out), Ok(text.len()));
                prop_assert_eq!(&out, &text);
                prop_assert_eq!(opener.open(index, &mut sealed).map(|opened| opened.to_vec()), Ok(text.clone()));
            }
        }
    }
}
