//! An encoder written from the specification alone. It shares no code with the library, and writes what the library
//! would refuse to write. Numbers in parentheses are sections of the specification.

#[path = "public.rs"]
pub(crate) mod public;

use aes_gcm::aead::{Aead, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

pub(crate) const MAGIC: [u8; 8] = [0x89, 0x57, 0x41, 0x58, 0x0d, 0x0a, 0x1a, 0x0a];
pub(crate) const CHUNK: usize = 16_384;
pub(crate) const SEALED: usize = CHUNK + 16;
/// The lowest cost of Argon2id that a reader accepts.
pub(crate) const CHEAP: [u32; 3] = [19_456, 1, 1];
pub(crate) const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that stand for random ones.
pub(crate) fn fixed<const N: usize>(name: &str) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&sha256(format!("waxseal test kit: {name}").as_bytes())[..N]);
    out
}

/// A plaintext; no two of its chunks are equal.
pub(crate) fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

pub(crate) fn expand(prk: &[u8], info: &[&[u8]], len: usize) -> Vec<u8> {
    let (mut out, mut block) = (Vec::new(), Vec::new());
    for counter in 1u8.. {
        let mut mac = Hmac::<Sha512>::new_from_slice(prk).unwrap();
        mac.update(&block);
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        block = mac.finalize().into_bytes().to_vec();
        out.extend_from_slice(&block);
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out
}

/// What the key schedule gives (11.2), with the AEAD that uses it.
pub(crate) struct Keys {
    suite: u16,
    key: [u8; 32],
    nonce: [u8; 12],
    pub(crate) commitment: [u8; 32],
}

impl Keys {
    pub(crate) fn derive(suite: u16, input_key: &[u8], salt: &[u8; 24], context: &[u8]) -> Self {
        let aead: &[u8] = if suite == 2 { b"AEAD_CHACHA20_POLY1305" } else { b"AEAD_AES_256_GCM" };
        let okm = expand(input_key, &[b"c2sp.org/chunked-encryption@v1+", aead, &[0], salt, context], 76);
        let part = |from, to| okm[from..to].to_vec();
        Self {
            suite,
            key: part(0, 32).try_into().unwrap(),
            nonce: part(32, 44).try_into().unwrap(),
            commitment: part(44, 76).try_into().unwrap(),
        }
    }

    /// The same key and nonce in the other suite's AEAD.
    pub(crate) fn with_aead_of(mut self, suite: u16) -> Self {
        self.suite = suite;
        self
    }

    pub(crate) fn seal(&self, index: u64, plaintext: &[u8]) -> Vec<u8> {
        self.seal_with_aad(index.to_be_bytes(), plaintext, b"")
    }

    /// `counter` are the last eight bytes of what the base nonce is combined with.
    pub(crate) fn seal_with_aad(&self, counter: [u8; 8], plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut nonce = self.nonce;
        nonce[4..].iter_mut().zip(counter).for_each(|(byte, by)| *byte ^= by);
        let payload = aes_gcm::aead::Payload { msg: plaintext, aad };
        let sealed = match self.suite {
            2 => chacha20poly1305::ChaCha20Poly1305::new(&self.key.into()).encrypt(&nonce.into(), payload),
            _ => aes_gcm::Aes256Gcm::new(&self.key.into()).encrypt(&nonce.into(), payload),
        };
        sealed.unwrap()
    }
}

/// A Cobblestone-256 message of one chunk (9.3).
pub(crate) fn message(suite: u16, input_key: &[u8], salt: [u8; 24], context: &[u8], secret: &[u8]) -> Vec<u8> {
    let keys = Keys::derive(suite, input_key, &salt, context);
    [salt.as_slice(), &keys.commitment, &keys.seal(0, secret)].concat()
}

/// The key of key file number `n`.
pub(crate) fn file_key(n: u8) -> [u8; 32] {
    fixed(&format!("key file {n}"))
}

pub(crate) fn key_id(key: &[u8; 32]) -> String {
    hex(&expand(key, &[b"waxseal v1 key id"], 16))
}

/// The line of a key file (9.4).
pub(crate) fn key_line(key: &[u8; 32]) -> String {
    format!("waxseal-key-v1:{}:{}", hex(key), hex(&sha256(key)[..4]))
}

/// Length and bytes.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// A list of pairs or labels with a count of its own (5.1).
pub(crate) fn counted_list<T: AsRef<[u8]>>(count: u16, entries: &[(T, T)]) -> Vec<u8> {
    let mut out = count.to_le_bytes().to_vec();
    for (key, value) in entries {
        out.extend(string(key.as_ref()));
        out.extend(string(value.as_ref()));
    }
    out
}

pub(crate) fn list<T: AsRef<[u8]>>(entries: &[(T, T)]) -> Vec<u8> {
    counted_list(entries.len() as u16, entries)
}

/// One slot to be made: bytes as they are, or a wrapping of the file's data key.
#[derive(Clone)]
pub(crate) enum Wrap {
    /// Kind, key id, wrapped data key.
    Raw(u16, Vec<u8>, Vec<u8>),
    /// For a key file.
    Key(u8),
    /// For a key file, with another data key.
    KeyOf(u8, [u8; 32]),
    /// For a passphrase, with a cost.
    Pass(Vec<u8>, [u32; 3]),
    /// For an identity.
    Identity(u8),
    /// For a public key: kind, key id, encapsulation and its secret.
    Public(u16, String, public::Sent),
    /// Bytes without a structure.
    Bytes(Vec<u8>),
}

impl Wrap {
    pub(crate) fn raw(kind: u16, id: impl AsRef<[u8]>, wrapped: impl AsRef<[u8]>) -> Self {
        Self::Raw(kind, id.as_ref().to_vec(), wrapped.as_ref().to_vec())
    }

    pub(crate) fn pass(phrase: impl AsRef<[u8]>) -> Self {
        Self::Pass(phrase.as_ref().to_vec(), CHEAP)
    }

    pub(crate) fn kms(arn: &str) -> Self {
        Self::raw(1, arn, b"what the key service gave")
    }

    /// Kind, key id and wrapped data key.
    pub(crate) fn parts(&self, bound: &[u8], data_key: &[u8; 32]) -> (u16, Vec<u8>, Vec<u8>) {
        let for_key = |n: u8, data_key: &[u8]| {
            let (key, context) = (file_key(n), [b"waxseal v1 keyfile\0", bound].concat());
            let salt = fixed(&format!("salt for key file {n}"));
            (2, key_id(&key).into_bytes(), message(1, &key, salt, &context, data_key))
        };
        match self {
            Self::Raw(kind, id, wrapped) => (*kind, id.clone(), wrapped.clone()),
            Self::Key(n) => for_key(*n, data_key),
            Self::KeyOf(n, other) => for_key(*n, other),
            Self::Pass(phrase, cost) => (3, Vec::new(), wrap_passphrase(phrase, *cost, bound, data_key)),
            Self::Identity(n) => {
                let key = public::x_wing_public(&public::seed(*n));
                let sent = public::x_wing_send(&key, fixed("m of X-Wing"), fixed("scalar of X-Wing"));
                Self::Public(6, public::recipient_id(&key), sent).parts(bound, data_key)
            }
            Self::Public(kind, id, sent) => {
                let salt = fixed(&format!("salt for {id}"));
                (*kind, id.clone().into_bytes(), public::wrapped(*kind, sent, salt, bound, data_key))
            }
            Self::Bytes(_) => unreachable!("bytes have no parts"),
        }
    }

    fn encode(&self, bound: &[u8], data_key: &[u8; 32]) -> Vec<u8> {
        if let Self::Bytes(bytes) = self {
            return bytes.clone();
        }
        let (kind, id, wrapped) = self.parts(bound, data_key);
        [kind.to_le_bytes().to_vec(), string(&id), string(&wrapped)].concat()
    }
}

/// 9.5. A cost that Argon2id cannot have gives a message under a key of zeros: no reader gets that far.
fn wrap_passphrase(phrase: &[u8], cost: [u32; 3], bound: &[u8], data_key: &[u8; 32]) -> Vec<u8> {
    let mut fields: Vec<u8> = cost.iter().flat_map(|field| field.to_le_bytes()).collect();
    fields.extend(fixed::<32>("salt of Argon2id"));
    let mut key = [0; 32];
    // A cost within the limits, or just outside where it can be computed, so that a reader without limits opens it.
    if (136..32_768).contains(&cost[0]) && (1..=17).contains(&cost[1]) && (1..=17).contains(&cost[2]) {
        let params = argon2::Params::new(cost[0], cost[1], cost[2], Some(32)).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password_into(phrase, &fields[12..], &mut key).unwrap();
    }
    let context = [b"waxseal v1 passphrase\0", fields.as_slice(), bound].concat();
    let sealed = message(1, &key, fixed("salt for the passphrase"), &context, data_key);
    [fields, sealed].concat()
}

/// A file to be made: every field as it shall stand there, right or wrong.
#[derive(Clone)]
pub(crate) struct Make {
    pub(crate) version: u16,
    pub(crate) suite: u16,
    pub(crate) bank_len: u32,
    pub(crate) generation: u32,
    /// Where it is not the number of `slots`.
    pub(crate) slot_count: Option<u16>,
    pub(crate) data_key_id: [u8; 16],
    pub(crate) flags: u16,
    pub(crate) pairs: Vec<u8>,
    pub(crate) labels: Vec<u8>,
    pub(crate) data_key: [u8; 32],
    pub(crate) salt: [u8; 24],
    pub(crate) slots: Vec<Wrap>,
    pub(crate) plaintext: Vec<u8>,
}

impl Default for Make {
    /// One slot for key file 1, one pair, one label, a short plaintext.
    fn default() -> Self {
        Self {
            version: 1,
            suite: 1,
            bank_len: 4096,
            generation: 1,
            slot_count: None,
            data_key_id: fixed("data key id"),
            flags: 0,
            pairs: list(&[("project", "demo")]),
            labels: list(&[("host", "example")]),
            data_key: fixed("data key"),
            salt: fixed("salt"),
            slots: vec![Wrap::Key(1)],
            plaintext: text(100),
        }
    }
}

impl Make {
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut make = Self::default();
        change(&mut make);
        make
    }

    pub(crate) fn bound(&self) -> Vec<u8> {
        let mut out = [MAGIC.as_slice(), &self.version.to_le_bytes(), &self.suite.to_le_bytes()].concat();
        out.extend(self.tail());
        out
    }

    /// Bank bytes 80..p.
    fn tail(&self) -> Vec<u8> {
        [self.data_key_id.as_slice(), &self.flags.to_le_bytes(), &self.pairs, &self.labels].concat()
    }

    /// Where the lists end.
    pub(crate) fn p(&self) -> usize {
        80 + self.tail().len()
    }

    pub(crate) fn slot_bytes(&self) -> Vec<u8> {
        let bound = self.bound();
        self.slots.iter().flat_map(|slot| slot.encode(&bound, &self.data_key)).collect()
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::derive(self.suite, &self.data_key, &self.salt, &self.bound())
    }

    pub(crate) fn prelude(&self) -> Vec<u8> {
        [self.salt.as_slice(), &self.keys().commitment].concat()
    }

    /// Bank `number`. What does not fit before the check is cut off.
    pub(crate) fn bank(&self, number: u16) -> Vec<u8> {
        let mut out = [MAGIC.as_slice(), &self.version.to_le_bytes(), &self.suite.to_le_bytes()].concat();
        out.extend(self.bank_len.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out.extend(self.slot_count.unwrap_or(self.slots.len() as u16).to_le_bytes());
        out.extend(number.to_le_bytes());
        out.extend(self.prelude());
        out.extend(self.tail());
        out.extend(self.slot_bytes());
        let end = self.bank_len as usize - 32;
        out.resize(end, 0);
        out.extend(sha256(&out));
        out
    }

    pub(crate) fn banks(&self) -> Vec<u8> {
        [self.bank(0), self.bank(1)].concat()
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let keys = self.keys();
        let mut out = self.prelude();
        let full = self.plaintext.chunks_exact(CHUNK);
        let last = full.remainder().to_vec();
        let count = full.len() as u64;
        for (index, chunk) in (0..).zip(full) {
            out.extend(keys.seal(index, chunk));
        }
        out.extend(keys.seal(count, &last));
        out
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        [self.banks(), self.payload()].concat()
    }

    /// The file with its bytes changed by hand.
    pub(crate) fn file_with(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut file = self.file();
        change(&mut file);
        file
    }

    /// The file with both banks changed alike before the check is made.
    pub(crate) fn altered(&self, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let len = self.bank_len as usize;
        self.file_with(|file| {
            for place in [0, len] {
                change(&mut file[place..place + len]);
                recheck(file, place, len);
            }
        })
    }
}

/// Makes the check of the bank of `len` bytes at `place` right again.
pub(crate) fn recheck(file: &mut [u8], place: usize, len: usize) {
    let end = place + len - 32;
    let check = sha256(&file[place..end]);
    file[end..end + 32].copy_from_slice(&check);
}
