//! The supported public keys. Each has exactly one encoding (spec 9.10).

use super::kem::is_of_small_order;
use crate::fips;
use crate::format::{ML_KEM_ENCAPSULATION_LENS, RSA_ENCAPSULATION_LENS, SlotKind, X_WING_ENCAPSULATION_LEN};

/// The kind and size of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeySpec {
    /// ML-KEM-768 in AWS KMS.
    MlKem768,
    /// ML-KEM-1024 in AWS KMS.
    MlKem1024,
    /// RSA with a modulus of 3072 bits in AWS KMS.
    Rsa3072,
    /// RSA with a modulus of 4096 bits in AWS KMS.
    Rsa4096,
    /// X-Wing: ML-KEM-768 and X25519 together.
    XWing,
}

/// The bytes of an SPKI before the key. They have one encoding for each kind of key, so no parser is needed.
const ML_KEM_768_HEAD: &[u8] =
    b"\x30\x82\x04\xb2\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x02\x03\x82\x04\xa1\x00";
const ML_KEM_1024_HEAD: &[u8] =
    b"\x30\x82\x06\x32\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x03\x03\x82\x06\x21\x00";
const RSA_3072_HEAD: &[u8] = b"\x30\x82\x01\xa2\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
    \x03\x82\x01\x8f\x00\x30\x82\x01\x8a\x02\x82\x01\x81\x00";
const RSA_4096_HEAD: &[u8] = b"\x30\x82\x02\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
    \x03\x82\x02\x0f\x00\x30\x82\x02\x0a\x02\x82\x02\x01\x00";
/// The bytes after the modulus: the public exponent 65537.
const RSA_TAIL: &[u8] = b"\x02\x03\x01\x00\x01";

/// Length of an X25519 key.
const X25519_LEN: usize = 32;
/// Bytes of an ML-KEM-768 key that hold coefficients: three polynomials of 256 coefficients in 12 bits each.
const ML_KEM_768_COEFFICIENTS: usize = 3 * 384;
const ML_KEM_1024_COEFFICIENTS: usize = 4 * 384;
/// The modulus of ML-KEM.
const Q: u16 = 3329;

impl PublicKeySpec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::MlKem768, Self::MlKem1024, Self::Rsa3072, Self::Rsa4096, Self::XWing];

    /// The kind of slot for such a key.
    #[must_use]
    pub fn kind(self) -> SlotKind {
        match self {
            Self::MlKem768 | Self::MlKem1024 => SlotKind::AWS_KMS_ML_KEM,
            Self::Rsa3072 | Self::Rsa4096 => SlotKind::AWS_KMS_RSA,
            Self::XWing => SlotKind::X_WING,
        }
    }

    /// The name: the one of AWS KMS (`KeySpec`), or `X-Wing`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MlKem768 => "ML_KEM_768",
            Self::MlKem1024 => "ML_KEM_1024",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
            Self::XWing => "X-Wing",
        }
    }

    /// Length of the bytes before the message in a slot.
    #[must_use]
    pub fn encapsulation_len(self) -> usize {
        match self {
            Self::MlKem768 => ML_KEM_ENCAPSULATION_LENS[0],
            Self::MlKem1024 => ML_KEM_ENCAPSULATION_LENS[1],
            Self::Rsa3072 => RSA_ENCAPSULATION_LENS[0],
            Self::Rsa4096 => RSA_ENCAPSULATION_LENS[1],
            Self::XWing => X_WING_ENCAPSULATION_LEN,
        }
    }

    /// The encoding's bytes before and after the key, and the key's length.
    pub(super) fn encoding(self) -> (&'static [u8], usize, &'static [u8]) {
        match self {
            Self::MlKem768 => (ML_KEM_768_HEAD, ML_KEM_768_COEFFICIENTS + 32, b""),
            Self::MlKem1024 => (ML_KEM_1024_HEAD, ML_KEM_1024_COEFFICIENTS + 32, b""),
            Self::Rsa3072 => (RSA_3072_HEAD, 384, RSA_TAIL),
            Self::Rsa4096 => (RSA_4096_HEAD, 512, RSA_TAIL),
            Self::XWing => (b"", ML_KEM_768_COEFFICIENTS + 32 + X25519_LEN, b""),
        }
    }

    /// The key without its encoding. `None` if `encoded` does not have this kind and size.
    pub(super) fn key(self, encoded: &[u8]) -> Option<&[u8]> {
        let (head, len, tail) = self.encoding();
        encoded.strip_prefix(head)?.strip_suffix(tail).filter(|key| key.len() == len)
    }

    /// The key's spec. The error says what is wrong with a key for a slot of `kind`.
    pub(super) fn of(kind: SlotKind, encoded: &[u8]) -> Result<Self, &'static str> {
        let found = Self::ALL.into_iter().filter(|spec| spec.kind() == kind);
        let found = found.filter_map(|spec| spec.key(encoded).map(|key| (spec, key))).next();
        let (spec, key) = found.ok_or("its public key is not of the kind that its line names")?;
        spec.check(key)?;
        Ok(spec)
    }

    /// Finds keys that look valid but are unsafe: data sealed to such a key never opens, or others can open it.
    fn check(self, key: &[u8]) -> Result<(), &'static str> {
        let broken = match self {
            Self::MlKem768 => !coefficients_are_small(&key[..ML_KEM_768_COEFFICIENTS]),
            Self::MlKem1024 => !coefficients_are_small(&key[..ML_KEM_1024_COEFFICIENTS]),
            Self::Rsa3072 | Self::Rsa4096 => !(key[0] & 0x80 != 0 && key[key.len() - 1] & 1 == 1),
            Self::XWing => {
                if fips::ENABLED {
                    return Err("it is for X-Wing, which is refused: this build uses only what the FIPS module has");
                }
                let (_, x25519) = key.split_last_chunk::<X25519_LEN>().ok_or("its public key is too short")?;
                is_of_small_order(x25519) || !coefficients_are_small(&key[..ML_KEM_768_COEFFICIENTS])
            }
        };
        if broken { Err("its public key is not safe to seal to") } else { Ok(()) }
    }
}

/// FIPS 203, section 7.2: the check of the modulus. Three bytes contain two coefficients.
fn coefficients_are_small(bytes: &[u8]) -> bool {
    bytes.chunks_exact(3).all(|three| {
        let [low, middle, high] = [three[0], three[1], three[2]].map(u16::from);
        (low | (middle & 15) << 8) < Q && (middle >> 4 | high << 4) < Q
    })
}
