//! Public-key slots and their text files (9.7 to 9.11), from ML-KEM, X25519 and SHA-3 alone: X-Wing is put together here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_kem::array::Array;
use ml_kem::{FromSeed, KeyExport, MlKem768, MlKem1024, TryKeyInit, ml_kem_768, ml_kem_1024};
use sha3::Sha3_256;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::{fixed, hex, message, sha256};

/// An encapsulation, and the secret that it stands for.
pub(crate) type Sent = (Vec<u8>, [u8; 32]);

const SPKI_768: &str = "308204b2300b0609608648016503040402038204a100";
const SPKI_1024: &str = "30820632300b06096086480165030404030382062100";

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The seed of identity number `n`.
pub(crate) fn seed(n: u8) -> [u8; 32] {
    fixed(&format!("identity {n}"))
}

fn expand(seed: &[u8; 32]) -> ([u8; 64], [u8; 32]) {
    let mut shake = Shake256::default();
    shake.update(seed);
    let mut out = [0; 96];
    shake.finalize_xof().read(&mut out);
    (out[..64].try_into().unwrap(), out[64..].try_into().unwrap())
}

/// Public key of an identity: ML-KEM-768 (1184), X25519 (32).
pub(crate) fn x_wing_public(seed: &[u8; 32]) -> Vec<u8> {
    let (ml_kem, scalar) = expand(seed);
    let (_, public) = MlKem768::from_seed(&Array::from(ml_kem));
    [public.to_bytes().as_slice(), &x25519(scalar, X25519_BASEPOINT_BYTES)].concat()
}

pub(crate) fn x_wing_send(public: &[u8], m: [u8; 32], scalar: [u8; 32]) -> Sent {
    let (ml_kem, theirs) = public.split_at(1184);
    let (sent, secret) = ml_kem_768_send(ml_kem, m);
    let theirs: [u8; 32] = theirs.try_into().unwrap();
    let ours = x25519(scalar, X25519_BASEPOINT_BYTES);
    let shared = x25519(scalar, theirs);
    ([sent.as_slice(), &ours].concat(), combine(&secret, &shared, &ours, &theirs))
}

/// `SHA3-256(ss_M || ss_X || ct_X || pk_X || 5c 2e 2f 2f 5e 5c)`
pub(crate) fn combine(ml_kem: &[u8; 32], shared: &[u8; 32], sent: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    use sha3::Digest;
    let input = [ml_kem.as_slice(), shared, sent, public, b"\\.//^\\"].concat();
    Sha3_256::digest(input).into()
}

pub(crate) fn ml_kem_768_send(public: &[u8], m: [u8; 32]) -> Sent {
    let key = ml_kem_768::EncapsulationKey::new_from_slice(public).unwrap();
    let (sent, secret) = key.encapsulate_deterministic(&Array::from(m));
    (sent.to_vec(), secret.into())
}

pub(crate) fn ml_kem_1024_send(public: &[u8], m: [u8; 32]) -> Sent {
    let key = ml_kem_1024::EncapsulationKey::new_from_slice(public).unwrap();
    let (sent, secret) = key.encapsulate_deterministic(&Array::from(m));
    (sent.to_vec(), secret.into())
}

/// Public keys as GetPublicKey gives them.
pub(crate) fn ml_kem_768_spki(seed: [u8; 64]) -> Vec<u8> {
    let (_, public) = MlKem768::from_seed(&Array::from(seed));
    [unhex(SPKI_768).as_slice(), &public.to_bytes()].concat()
}

pub(crate) fn ml_kem_1024_spki(seed: [u8; 64]) -> Vec<u8> {
    let (_, public) = MlKem1024::from_seed(&Array::from(seed));
    [unhex(SPKI_1024).as_slice(), &public.to_bytes()].concat()
}

pub(crate) fn name(kind: u16) -> &'static str {
    ["aws-kms-ml-kem", "aws-kms-rsa", "x-wing"][usize::from(kind) - 4]
}

/// The wrapped data key of a slot of kind 4, 5 or 6.
pub(crate) fn wrapped(kind: u16, sent: &Sent, salt: [u8; 24], bound: &[u8], data_key: &[u8]) -> Vec<u8> {
    let context = [b"waxseal v1 ", name(kind).as_bytes(), &[0], &sent.0, bound].concat();
    [sent.0.clone(), message(1, &sent.1, salt, &context, data_key)].concat()
}

/// 32 digits.
pub(crate) fn recipient_id(public: &[u8]) -> String {
    hex(&sha256(&[b"waxseal v1 recipient\0".as_slice(), public].concat())[..16])
}

/// A line with its check digits.
pub(crate) fn checked(line: &str) -> String {
    format!("{line}:{}", hex(&sha256(line.as_bytes())[..4]))
}

pub(crate) fn identity_line(seed: &[u8; 32]) -> String {
    checked(&format!("waxseal-identity-v1:x-wing:{}", hex(seed)))
}

pub(crate) fn recipient_line(kind: u16, id: &str, public: &[u8]) -> String {
    checked(&format!("waxseal-recipient-v1:{}:{id}:{}", name(kind), STANDARD.encode(public)))
}
