//! `HKDF-Expand` with SHA-512 (RFC 5869, 2.3), for any length of `prk`.

#[cfg(not(feature = "fips"))]
use hmac::{Hmac, KeyInit, Mac};
#[cfg(not(feature = "fips"))]
use sha2::Sha512;
#[cfg(not(feature = "fips"))]
use zeroize::Zeroize;

/// `out = HKDF-Expand(prk, info, out.len())`, where T(i) = HMAC-SHA-512(prk, T(i-1) || info || i).
///
/// It uses plain HMAC, because the key is the 32-byte input key itself. Common HKDF interfaces require a `prk` of the
/// hash's length.
///
/// # Panics
/// Above 255 blocks of 64 bytes. Every caller asks for at most two. In a build with the feature `fips` also for a `prk` of
/// more than 64 bytes: every caller has 32.
#[cfg(not(feature = "fips"))]
pub fn hkdf_expand_sha512(prk: &[u8], info: &[&[u8]], out: &mut [u8]) {
    assert!(out.len() <= 255 * 64, "HKDF-Expand gives at most 255 blocks");
    let Ok(keyed) = Hmac::<Sha512>::new_from_slice(prk) else { unreachable!("HMAC takes keys of every length") };
    let mut previous: Option<[u8; 64]> = None;
    for (block, counter) in out.chunks_mut(64).zip(1u8..=255) {
        let mut mac = keyed.clone();
        if let Some(previous) = &previous {
            mac.update(previous);
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        let mut full: [u8; 64] = mac.finalize().into_bytes().into();
        block.copy_from_slice(&full[..block.len()]);
        previous.zeroize();
        previous = Some(full);
        full.zeroize();
    }
    previous.zeroize();
}

/// `out = HKDF-Expand(prk, info, out.len())`, by the FIPS module.
///
/// # Panics
/// Above 255 blocks of 64 bytes, and for a `prk` of more than 64 bytes. Every caller has 32 bytes and asks for at most
/// two blocks.
#[cfg(feature = "fips")]
pub fn hkdf_expand_sha512(prk: &[u8], info: &[&[u8]], out: &mut [u8]) {
    use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Prk};
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    // The module's copy of the key is wiped on drop.
    let prk = Prk::new_less_safe(HKDF_SHA512, prk);
    let done = prk.expand(info, Len(out.len())).and_then(|okm| okm.fill(out));
    assert!(done.is_ok(), "HKDF-Expand gives at most 255 blocks");
}

#[cfg(all(test, feature = "aws-lc", not(feature = "fips")))]
mod tests {
    use super::*;

    /// There are no published test vectors for SHA-512 with a 32-byte key, so the test compares with the other backend.
    #[test]
    fn equals_the_other_backend() {
        use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Prk};
        struct Len(usize);
        impl KeyType for Len {
            fn len(&self) -> usize {
                self.0
            }
        }
        for len in [1, 16, 63, 64, 65, 76, 128, 200] {
            let mut ours = vec![0; len];
            let mut theirs = vec![0; len];
            hkdf_expand_sha512(&[7; 32], &[b"in", b"fo"], &mut ours);
            let prk = Prk::new_less_safe(HKDF_SHA512, &[7; 32]);
            prk.expand(&[b"in", b"fo"], Len(len)).unwrap().fill(&mut theirs).unwrap();
            assert_eq!(ours, theirs, "{len}");
        }
    }
}
