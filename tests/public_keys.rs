//! Public keys through the public interface: who can seal, who can open, and what a rewrap keeps.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may end in a panic, and is small")]

mod kit;

use std::collections::HashSet;
use std::io::{Read, Write};

use kit::encode::ARN;
use kit::encode::public::{ml_kem_768_spki, ml_kem_1024_spki};
use ml_kem::kem::Decapsulate;
use ml_kem::{FromSeed, MlKem768, MlKem1024};
use waxseal::error::{Error, Result, Tampered};
use waxseal::format::{Bank, Binding, Front, Header, Slot, SlotKind};
use waxseal::keys::public::{self, PublicKeySpec};
use waxseal::keys::{Argon2Cost, Identity, KeyFile, KeyOpener, KeySealer, Passphrase, Recipient};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};

const PLAINTEXT: &[u8] = b"what a backup host seals";

fn seal(sealers: &[&dyn KeySealer]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), sealers, &SealOptions::new()).unwrap();
    writer.write_all(PLAINTEXT).unwrap();
    writer.finish().unwrap()
}

fn open(file: &[u8], keys: &[&dyn KeyOpener]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = OpenReader::new(file, keys, &Demands::default())?;
    reader.read_to_end(&mut out).map_err(|error| Error::io("reading", error))?;
    Ok(out)
}

fn bank(file: &[u8]) -> Bank {
    Header::read(&Front::new(file.to_vec())).unwrap().bank().clone()
}

/// The file with other slots, as whoever can write it can make it.
fn with_slots(file: &[u8], slots: Vec<Slot>) -> Vec<u8> {
    let old = bank(file);
    let len = old.len.get();
    let other = |number| Bank { number, slots: slots.clone(), ..old.clone() }.encode().unwrap();
    let numbers = [old.number, old.number.other()].map(other);
    [numbers.concat().as_slice(), &file[2 * len..]].concat()
}

/// Stands for AWS KMS: a private key behind an ARN, here in this process.
struct Service<F>(String, SlotKind, F);

impl<F: Fn(&[u8]) -> Vec<u8> + Send + Sync> KeyOpener for Service<F> {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == self.1 && slot.key_id == self.0
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let sent = public::encapsulation(slot).ok_or(Tampered::Slot { slot: 0 })?;
        public::finish(slot, &DataKey::from_slice(&(self.2)(sent))?, binding)
    }
}

fn arn(n: u8) -> String {
    ARN.replace("1234abcd", &format!("{n:08}"))
}

fn seed(n: u8) -> [u8; 64] {
    std::array::from_fn(|at| n.wrapping_add(at as u8))
}

/// A recipient of ML-KEM-768 or ML-KEM-1024, and the service that holds its private key.
fn ml_kem(n: u8, large: bool) -> (Recipient, impl KeyOpener) {
    let spki = if large { ml_kem_1024_spki(seed(n)) } else { ml_kem_768_spki(seed(n)) };
    let decapsulate = move |sent: &[u8]| {
        if large {
            let (private, _) = MlKem1024::from_seed(&seed(n).into());
            private.decapsulate(&sent.try_into().unwrap()).to_vec()
        } else {
            let (private, _) = MlKem768::from_seed(&seed(n).into());
            private.decapsulate(&sent.try_into().unwrap()).to_vec()
        }
    };
    (Recipient::from_kms(&arn(n), &spki).unwrap(), Service(arn(n), SlotKind::AWS_KMS_ML_KEM, decapsulate))
}

fn passphrase() -> Passphrase {
    let cheap = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };
    Passphrase::with_cost(SecretBytes::new(b"phrase".to_vec()), cheap).unwrap()
}

/// A slot of any kind with the data key in clear: stands for `aws-kms`.
struct Clear(u16);

impl KeySealer for Clear {
    fn name(&self) -> String {
        arn(1)
    }

    fn wrap(&self, data_key: &DataKey, _: &Binding) -> Result<Slot> {
        Ok(Slot { kind: SlotKind(self.0), key_id: arn(1), wrapped: data_key.expose().to_vec() })
    }
}

impl KeyOpener for Clear {
    fn name(&self) -> String {
        arn(1)
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind(self.0)
    }

    fn open(&self, slot: &Slot, _: &Binding) -> Result<DataKey> {
        DataKey::from_slice(&slot.wrapped)
    }
}

#[test]
fn everything_random_is_fresh() {
    let identity = Identity::generate().unwrap();
    let (recipient, _) = ml_kem(4, false);
    let mut seen = HashSet::new();
    let mut fresh = |what: &str, bytes: &[u8]| assert!(seen.insert(bytes.to_vec()), "{what} stands twice");
    fresh("an identity", identity.to_text(&[]).expose());
    fresh("an identity", Identity::generate().unwrap().to_text(&[]).expose());
    for _ in 0..3 {
        let slots = bank(&seal(&[identity.recipient(), &recipient])).slots;
        for (slot, sent) in slots.iter().zip([1120, 1088]) {
            fresh("an encapsulation", &slot.wrapped[..sent]);
            fresh("an encapsulation's X25519 key", &slot.wrapped[sent - 32..sent]);
            fresh("a salt", &slot.wrapped[sent..sent + 24]);
            fresh("a commitment", &slot.wrapped[sent + 24..sent + 56]);
        }
    }
}

/// Whoever has the recipients' texts alone can seal, and cannot open. No socket is there afterwards.
#[test]
fn sealing_needs_no_call() {
    let identity = Identity::generate().unwrap();
    let (service, key) = ml_kem(4, true);
    let recipients = [identity.recipient().to_text(&[]), service.to_text(&[])];
    let recipients = recipients.map(|text| Recipient::parse(text.as_bytes()).unwrap());
    let file = seal(&[&recipients[0], &recipients[1]]);
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        // The test's own output may be a socket.
        let standard = ["0", "1", "2"].map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default());
        assert!(!target.to_string_lossy().starts_with("socket:[") || standard.contains(&target), "{target:?}");
    }
    assert_eq!(open(&file, &[&identity]).unwrap(), PLAINTEXT);
    assert_eq!(open(&file, &[&key]).unwrap(), PLAINTEXT);
}

/// The slot that a key has, out of its reach: every part of it altered, moved, renamed.
fn attack(file: &[u8], other: &[u8], slot: usize, key: &dyn KeyOpener, sent: usize) {
    let slots = bank(file).slots;
    let altered = |slot: Slot| {
        let error = open(&with_slots(file, vec![slot]), &[key]).err();
        assert!(matches!(error, Some(Error::Tampered(Tampered::Slot { slot: 0 }))), "{error:?}");
    };
    for at in [0, sent / 2, sent - 1, sent, sent + 23, sent + 24, sent + 55, sent + 56, sent + 88, sent + 103] {
        let mut wrong = slots[slot].clone();
        wrong.wrapped[at] ^= 1;
        altered(wrong);
    }
    // Grafted: the same key's slot of another file. Foreign: the encapsulation of another file before this message.
    let theirs = bank(other).slots[slot].clone();
    altered(theirs.clone());
    altered(Slot { wrapped: [&theirs.wrapped[..sent], &slots[slot].wrapped[sent..]].concat(), ..theirs });
}

#[test]
fn a_file_of_many_kinds_opens_with_each_of_them() {
    let identity = Identity::generate().unwrap();
    let (one, one_key) = ml_kem(4, false);
    let (two, two_key) = ml_kem(40, true);
    let (key, phrase) = (KeyFile::generate().unwrap(), passphrase());
    let sealers: [&dyn KeySealer; 6] = [identity.recipient(), &one, &two, &key, &phrase, &Clear(1)];
    let openers: [&dyn KeyOpener; 6] = [&identity, &one_key, &two_key, &key, &phrase, &Clear(1)];
    let (file, other) = (seal(&sealers), seal(&sealers));
    for (slot, opener) in openers.into_iter().enumerate() {
        assert_eq!(open(&file, &[opener]).unwrap(), PLAINTEXT);
        let alone = with_slots(&file, vec![bank(&file).slots[slot].clone()]);
        assert_eq!(open(&alone, &[opener]).unwrap(), PLAINTEXT);
    }
    for (slot, sent) in [(0, 1120), (1, 1088), (2, 1568)] {
        attack(&file, &other, slot, openers[slot], sent);
    }
    // Swapped ARNs: each service is asked about the other's slot. The shapes differ, so here with one size.
    let (three, three_key) = ml_kem(80, false);
    let pair = seal(&[&one, &three]);
    let slots = bank(&pair).slots;
    let swapped = vec![Slot { key_id: arn(80), ..slots[0].clone() }, Slot { key_id: arn(4), ..slots[1].clone() }];
    let swapped = with_slots(&pair, swapped);
    for key in [&one_key as &dyn KeyOpener, &three_key] {
        assert!(matches!(open(&swapped, &[key]), Err(Error::Tampered(Tampered::Slot { .. }))));
        assert_eq!(open(&pair, &[key]).unwrap(), PLAINTEXT);
    }
    let stranger = Identity::generate().unwrap();
    assert!(matches!(open(&file, &[&stranger]), Err(Error::NoKey(none)) if none.attempts.is_empty()));
}

/// The most slots of the largest kind take half of the largest bank.
#[test]
fn sixteen_slots_have_room() {
    let keys: Vec<_> = (0..16).map(|n| ml_kem(n * 3, true)).collect();
    let sealers: Vec<&dyn KeySealer> = keys.iter().map(|(recipient, _)| recipient as &dyn KeySealer).collect();
    let file = seal(&sealers);
    assert_eq!(bank(&file).len.get(), 65_536);
    assert_eq!(open(&file, &[&keys[15].1]).unwrap(), PLAINTEXT);
}

#[test]
fn specs_name_what_kms_names() {
    let names = PublicKeySpec::ALL.map(PublicKeySpec::name);
    assert_eq!(names, ["ML_KEM_768", "ML_KEM_1024", "RSA_3072", "RSA_4096", "X-Wing"]);
    let lens = PublicKeySpec::ALL.map(|spec| (spec.kind().0, spec.encapsulation_len() + 104));
    assert_eq!(lens, [(4, 1192), (4, 1672), (5, 488), (5, 616), (6, 1224)]);
}

/// With AWS-LC, which AWS KMS runs on, as the holder of RSA keys.
#[cfg(feature = "aws-lc")]
mod rsa {
    use super::*;

    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use kit::run::unhex;
    use kit::vector::read_folder;

    fn decrypt(pkcs8: &[u8], sent: &[u8]) -> Vec<u8> {
        let key = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(pkcs8).unwrap()).unwrap();
        let mut out = vec![0; key.min_output_size()];
        // As KMS: another key's ciphertext is an error, which the test's stand-in turns into a secret that opens nothing.
        key.decrypt(&OAEP_SHA256_MGF1SHA256, sent, &mut out, None).map_or(vec![0; 32], |secret| secret.to_vec())
    }

    /// A file with one slot of each of the six kinds opens with each of them alone, and RSA's slot withstands the rest.
    #[test]
    fn all_six_kinds_in_one_file() {
        let pkcs8 = include_bytes!("kit/rsa_3072.der");
        let public = PrivateDecryptingKey::from_pkcs8(pkcs8).unwrap().public_key();
        let rsa = Recipient::from_kms(&arn(5), public.as_der().unwrap().as_ref()).unwrap();
        assert_eq!(rsa.spec(), PublicKeySpec::Rsa3072);
        let rsa_key = Service(arn(5), SlotKind::AWS_KMS_RSA, |sent: &[u8]| decrypt(pkcs8, sent));
        let (ml_kem, ml_kem_key) = ml_kem(4, true);
        let (identity, key, phrase) = (Identity::generate().unwrap(), KeyFile::generate().unwrap(), passphrase());
        let sealers: [&dyn KeySealer; 6] = [&Clear(1), &key, &phrase, &ml_kem, &rsa, identity.recipient()];
        let openers: [&dyn KeyOpener; 6] = [&Clear(1), &key, &phrase, &ml_kem_key, &rsa_key, &identity];
        let (file, other) = (seal(&sealers), seal(&sealers));
        let kinds: Vec<u16> = bank(&file).slots.iter().map(|slot| slot.kind.0).collect();
        assert_eq!(kinds, [1, 2, 3, 4, 5, 6]);
        for opener in openers {
            assert_eq!(open(&file, &[opener]).unwrap(), PLAINTEXT);
        }
        for (slot, sent) in [(3, 1568), (4, 384), (5, 1120)] {
            attack(&file, &other, slot, openers[slot], sent);
        }
    }

    /// The answers of the test kit's key services are those that its private keys give.
    #[test]
    fn the_kit_has_the_private_keys_of_its_secrets() {
        let mut checked = [0; 3];
        for vector in read_folder() {
            for line in vector.all("private-key") {
                let (private, id) = line.split_once(' ').unwrap();
                let private = unhex(private);
                let slots = bank(&vector.body).slots;
                let slot = slots.iter().find(|slot| slot.key_id == id).unwrap();
                let sent = public::encapsulation(slot).unwrap();
                let (which, secret) = match sent.len() {
                    1088 => {
                        let (key, _) = MlKem768::from_seed(&private.as_slice().try_into().unwrap());
                        (0, key.decapsulate(&sent.try_into().unwrap()).to_vec())
                    }
                    1568 => {
                        let (key, _) = MlKem1024::from_seed(&private.as_slice().try_into().unwrap());
                        (1, key.decapsulate(&sent.try_into().unwrap()).to_vec())
                    }
                    _ => (2, decrypt(&private, sent)),
                };
                let expected = vector.all("shared-secret").find_map(|line| line.strip_suffix(&format!(" {id}")));
                assert_eq!(secret, unhex(expected.unwrap()), "{}", vector.name);
                checked[which] += 1;
            }
        }
        assert!(checked.iter().all(|count| *count > 0), "{checked:?}");
    }
}
