//! Slots (spec 9). Each is one wrapping of the data key.
//!
//! ```text
//! u16 kind | u16 len + key id (UTF-8) | u16 len + wrapped data key
//! ```

use std::ops::RangeInclusive;

use super::PRELUDE_LEN;
use super::layout::TAG_LEN;
use crate::secret::KEY_LEN;

/// The maximum number of slots.
pub(crate) const MAX_SLOTS: usize = 16;
/// Longest wrapped key of kind 1 (a KMS CiphertextBlob).
pub const KMS_WRAPPED_MAX: usize = 6144;
/// Wrapped key of kind 2: a Cobblestone-256 message of 32 bytes.
pub(crate) const KEYFILE_WRAPPED_LEN: usize = PRELUDE_LEN + KEY_LEN + TAG_LEN;
/// Argon2id parameters and salt before a wrapped key of kind 3.
pub(crate) const ARGON2_FIELDS_LEN: usize = 3 * 4 + 32;
/// Wrapped key of kind 3.
pub(crate) const PASSPHRASE_WRAPPED_LEN: usize = ARGON2_FIELDS_LEN + KEYFILE_WRAPPED_LEN;

const _: () = assert!(KEYFILE_WRAPPED_LEN == 104 && PASSPHRASE_WRAPPED_LEN == 148);

/// Lengths of an encapsulation of kind 4: an ML-KEM-768 or ML-KEM-1024 ciphertext.
pub(crate) const ML_KEM_ENCAPSULATION_LENS: [usize; 2] = [1088, 1568];
/// Lengths of an encapsulation of kind 5: one block of RSA_3072 or RSA_4096.
pub(crate) const RSA_ENCAPSULATION_LENS: [usize; 2] = [384, 512];
/// Length of an encapsulation of kind 6: an ML-KEM-768 ciphertext and an X25519 key.
pub(crate) const X_WING_ENCAPSULATION_LEN: usize = 1088 + 32;

/// What wraps the data key. Kinds from 0x8000 are private. Unknown kinds are skipped and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotKind(pub u16);

impl SlotKind {
    /// Kind 1: a symmetric key in AWS KMS.
    pub const AWS_KMS: Self = Self(1);
    /// Kind 2: a local key file.
    pub const KEYFILE: Self = Self(2);
    /// Kind 3: a passphrase.
    pub const PASSPHRASE: Self = Self(3);
    /// Kind 4: an ML-KEM key in AWS KMS.
    pub const AWS_KMS_ML_KEM: Self = Self(4);
    /// Kind 5: an RSA key in AWS KMS.
    pub const AWS_KMS_RSA: Self = Self(5);
    /// Kind 6: the X-Wing key pair of an identity file.
    pub const X_WING: Self = Self(6);

    /// Whether the kind is reserved for later revisions of the format. Such slots are skipped and kept, but not
    /// created.
    #[must_use]
    pub(crate) fn is_reserved(self) -> bool {
        (1..0x8000).contains(&self.0) && self.rules().is_none()
    }

    /// The kind's name in the spec. `unknown` for other kinds.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.rules().map_or("unknown", |rules| rules.name)
    }

    /// Who holds the secret that opens such a slot. `None` for kinds that this version does not know.
    #[must_use]
    pub fn holder(self) -> Option<Holder> {
        self.rules().map(|rules| match rules.names {
            Names::KmsKey => Holder::AwsKms,
            Names::KeyFile | Names::Recipient => Holder::LocalFile,
            Names::Passphrase => Holder::Person,
        })
    }

    /// Whether a slot of a public key is safe against quantum computers. `None` for kinds without a public key.
    #[must_use]
    pub fn is_post_quantum(self) -> Option<bool> {
        self.rules().and_then(|rules| rules.post_quantum)
    }

    fn rules(self) -> Option<&'static Rules> {
        KINDS.iter().find(|rules| rules.kind == self)
    }
}

/// Who holds the secret that opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// AWS KMS. The slot's key id is the ARN of the key.
    AwsKms,
    /// A file on some machine: a key file or an identity file.
    LocalFile,
    /// A person who knows a passphrase.
    Person,
}

/// What a key id names. Two slots of one header must not name the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// A key in AWS KMS, by its ARN. A KMS key is of only one kind, so these kinds share one set of names.
    KmsKey,
    KeyFile,
    /// Nothing: the key id is always empty, so a header can have only one such slot.
    Passphrase,
    Recipient,
}

/// A rule for a slot's field, and the error text for a slot that breaks it.
struct Rule<T>(T, &'static str);

/// What the format says about one kind of slot.
struct Rules {
    kind: SlotKind,
    name: &'static str,
    names: Names,
    /// For the kinds of public keys.
    post_quantum: Option<bool>,
    key_id: Rule<fn(&str) -> bool>,
    /// The allowed lengths of a wrapped key.
    wrapped: Rule<&'static [RangeInclusive<usize>]>,
}

/// The table of spec 9.1. Code reads all differences between kinds from it.
static KINDS: [Rules; 6] = [
    Rules {
        kind: SlotKind::AWS_KMS,
        name: "aws-kms",
        names: Names::KmsKey,
        post_quantum: None,
        key_id: Rule(is_kms_key_arn, "aws-kms slot key id is not a key ARN"),
        wrapped: Rule(&[1..=KMS_WRAPPED_MAX], "aws-kms slot wrapped key length"),
    },
    Rules {
        kind: SlotKind::KEYFILE,
        name: "keyfile",
        names: Names::KeyFile,
        post_quantum: None,
        key_id: Rule(is_hex_id, "keyfile slot key id"),
        wrapped: Rule(&[KEYFILE_WRAPPED_LEN..=KEYFILE_WRAPPED_LEN], "keyfile slot wrapped key length"),
    },
    Rules {
        kind: SlotKind::PASSPHRASE,
        name: "passphrase",
        names: Names::Passphrase,
        post_quantum: None,
        key_id: Rule(str::is_empty, "passphrase slot key id is not empty"),
        wrapped: Rule(&[PASSPHRASE_WRAPPED_LEN..=PASSPHRASE_WRAPPED_LEN], "passphrase slot wrapped key length"),
    },
    Rules {
        kind: SlotKind::AWS_KMS_ML_KEM,
        name: "aws-kms-ml-kem",
        names: Names::KmsKey,
        post_quantum: Some(true),
        key_id: Rule(is_kms_key_arn, "aws-kms-ml-kem slot key id is not a key ARN"),
        wrapped: Rule(&ML_KEM_WRAPPED_LENS, "aws-kms-ml-kem slot wrapped key length"),
    },
    Rules {
        kind: SlotKind::AWS_KMS_RSA,
        name: "aws-kms-rsa",
        names: Names::KmsKey,
        post_quantum: Some(false),
        key_id: Rule(is_kms_key_arn, "aws-kms-rsa slot key id is not a key ARN"),
        wrapped: Rule(&RSA_WRAPPED_LENS, "aws-kms-rsa slot wrapped key length"),
    },
    Rules {
        kind: SlotKind::X_WING,
        name: "x-wing",
        names: Names::Recipient,
        post_quantum: Some(true),
        key_id: Rule(is_hex_id, "x-wing slot key id"),
        wrapped: Rule(&X_WING_WRAPPED_LENS, "x-wing slot wrapped key length"),
    },
];

const ML_KEM_WRAPPED_LENS: [RangeInclusive<usize>; 2] = lens_of(ML_KEM_ENCAPSULATION_LENS);
const RSA_WRAPPED_LENS: [RangeInclusive<usize>; 2] = lens_of(RSA_ENCAPSULATION_LENS);
const X_WING_WRAPPED_LENS: [RangeInclusive<usize>; 1] = lens_of([X_WING_ENCAPSULATION_LEN]);

/// An encapsulation of one of these lengths, followed by a message.
const fn lens_of<const N: usize>(encapsulations: [usize; N]) -> [RangeInclusive<usize>; N] {
    let mut lens = [const { 0..=0 }; N];
    let mut at = 0;
    while at < N {
        let len = encapsulations[at] + KEYFILE_WRAPPED_LEN;
        lens[at] = len..=len;
        at += 1;
    }
    lens
}

/// One wrapping of the data key. Nothing in it is secret. Nothing in it is authenticated until it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What wraps the data key.
    pub kind: SlotKind,
    /// Names the wrapping key: an ARN, or the id of a key file or recipient. Empty for a passphrase.
    pub key_id: String,
    /// The wrapped data key. Its shape depends on the kind.
    pub wrapped: Vec<u8>,
}

impl Slot {
    /// Bytes of the slot in a bank.
    pub(super) fn encoded_len(&self) -> usize {
        2 + 2 + self.key_id.len() + 2 + self.wrapped.len()
    }

    /// The rule of its kind that the slot breaks, if any (spec 9).
    pub(super) fn broken_rule(&self) -> Option<&'static str> {
        if self.key_id.chars().any(char::is_control) {
            return Some("slot key id holds control characters");
        }
        if self.kind == SlotKind(0) {
            return Some("slot kind 0");
        }
        let Rules { key_id, wrapped, .. } = self.kind.rules()?;
        if !(key_id.0)(&self.key_id) {
            return Some(key_id.1);
        }
        let fits = wrapped.0.iter().any(|lens| lens.contains(&self.wrapped.len()));
        (!fits).then_some(wrapped.1)
    }

    /// Whether both are for the same key, so that a header must not have both. Two passphrases count as the same key.
    /// Two slots of unknown or private kinds never count as the same.
    pub(crate) fn same_key(&self, other: &Slot) -> bool {
        let names = |slot: &Slot| slot.kind.rules().map(|rules| rules.names);
        names(self).is_some() && names(self) == names(other) && self.key_id == other.key_id
    }
}

fn is_hex_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the whole `text` matches `arn:aws[a-z-]*:kms:[a-z0-9-]{1,32}:[0-9]{12}:key/[A-Za-z0-9-]{1,128}`.
#[must_use]
pub fn is_kms_key_arn(text: &str) -> bool {
    let mut parts = text.split(':');
    let [Some("arn"), Some(partition), Some("kms"), Some(region), Some(account), Some(resource), None] =
        std::array::from_fn(|_| parts.next())
    else {
        return false;
    };
    let all = |text: &str, allowed: fn(u8) -> bool| text.bytes().all(allowed);
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    partition.strip_prefix("aws").is_some_and(|rest| all(rest, |byte| byte.is_ascii_lowercase() || byte == b'-'))
        && (1..=32).contains(&region.len())
        && all(region, word)
        && account.len() == 12
        && all(account, |byte| byte.is_ascii_digit())
        && resource.strip_prefix("key/").is_some_and(|key| (1..=128).contains(&key.len()) && all(key, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns() {
        let longest = format!("arn:aws-cn:kms:{}:123456789012:key/{}", "r".repeat(32), "K".repeat(128));
        for good in
            ["arn:aws:kms:eu-west-1:123456789012:key/mrk-12ab", "arn:aws-us-gov:kms:x:000000000000:key/-", &longest]
        {
            assert!(is_kms_key_arn(good), "{good}");
        }
        let too_long = format!("arn:aws:kms:r:123456789012:key/{}", "K".repeat(129));
        for bad in [
            "",
            "arn",
            "arn:aws:kms:eu-west-1:123456789012:alias/x",
            "arn:aws:kms:eu-west-1:12345678901:key/x",
            "arn:aws:kms:eu-west-1:123456789012:key/",
            "arn:aws:kms::123456789012:key/x",
            "arn:Aws:kms:r:123456789012:key/x",
            "arn:aws:kms:evil.example:123456789012:key/x",
            "arn:aws:kms:r:123456789012:key/x:y",
            "arn:aws:kms:r:123456789012:key/x\n",
            "xarn:aws:kms:r:123456789012:key/x",
            "arn:aws1:kms:r:123456789012:key/x",
            "arn:aws:kms:r/:123456789012:key/x",
            "arn:aws:s3:r:123456789012:key/x",
            "arn:aws:kms:R:123456789012:key/x",
            "arn:aws:kms:r:12345678901a:key/x",
            &too_long,
        ] {
            assert!(!is_kms_key_arn(bad), "{bad}");
        }
    }
}
