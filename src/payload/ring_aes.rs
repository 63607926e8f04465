//! AES-256-GCM by `ring`. It is for x86-64 processors that have 256-bit AES and carry-less multiplication, but no
//! AVX-512. AWS-LC has fast code for AVX-512 and for 128 bits, but not for 256 bits.

use std::hint::black_box;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use super::aead::{BadTag, NONCE_LEN};
use crate::format::TAG_LEN;

/// Whether this backend is the fastest one on this processor.
#[cfg(not(feature = "pure-rust"))]
pub(super) fn is_fastest_here() -> bool {
    use std::arch::is_x86_feature_detected as has;
    let half = has!("aes") && has!("avx2") && has!("vaes") && has!("vpclmulqdq");
    let full = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    half && !full
}

/// A key, in memory that is wiped on drop.
pub(super) struct RingAes(Box<LessSafeKey>);

impl RingAes {
    /// `key` has 32 bytes.
    pub(super) fn new(key: &[u8]) -> Self {
        Self(Box::new(expanded(key)))
    }

    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8], ciphertext: &mut [u8], tag: &mut [u8]) {
        // The copy costs little, because the chunk is then in the core's cache and stays there.
        ciphertext.copy_from_slice(plaintext);
        match self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), ciphertext) {
            Ok(made) => tag.copy_from_slice(made.as_ref()),
            Err(_) => unreachable!("a chunk is far below the AEAD's limit"),
        }
    }

    /// `sealed = ciphertext || tag`.
    pub(super) fn open(&self, nonce: [u8; NONCE_LEN], sealed: &mut [u8]) -> Result<(), BadTag> {
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), sealed);
        opened.map(|_| ()).map_err(|_| BadTag)
    }

    pub(super) fn open_into(
        &self,
        nonce: [u8; NONCE_LEN],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), BadTag> {
        let tag = Tag::from(<[u8; TAG_LEN]>::try_from(tag).map_err(|_| BadTag)?);
        out.copy_from_slice(ciphertext);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place_separate_tag(nonce, Aad::empty(), tag, out, 0..);
        opened.map(|_| ()).map_err(|_| BadTag)
    }
}

impl Drop for RingAes {
    fn drop(&mut self) {
        // `ring` does not wipe its keys, so the schedule of another key overwrites this one.
        *self.0 = expanded(&[0; 32]);
        black_box(&mut self.0);
    }
}

fn expanded(key: &[u8]) -> LessSafeKey {
    match UnboundKey::new(&AES_256_GCM, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("the key schedule gives 32 bytes"),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_dropped_key_is_gone_from_its_memory() {
        let key: Vec<u8> = (0x51..0x71).collect();
        let ours = RingAes::new(&key);
        let (address, len) = (&raw const *ours.0 as usize, size_of::<LessSafeKey>());
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        // Nothing may be allocated after the drop, because an allocation could get and clear the same memory.
        let mut found = vec![0; len];
        let mut holds_it = || {
            memory.read_exact_at(&mut found, address as u64).unwrap();
            found.windows(16).any(|window| key.chunks(16).any(|half| half == window))
        };
        assert!(holds_it(), "an expanded key begins with the key itself");
        drop(ours);
        assert!(!holds_it());
    }
}
