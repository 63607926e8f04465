//! Slots (spec 9): one wrapping of the data key each.
//!
//! ```text
//! u16 kind | u16 len + key id (UTF-8) | u16 len + wrapped data key
//! ```

use super::PRELUDE_LEN;
use super::layout::TAG_LEN;
use crate::secret::KEY_LEN;

/// At most this many slots.
pub const MAX_SLOTS: usize = 16;
/// Longest wrapped key of kind 1 (a KMS CiphertextBlob).
pub const KMS_WRAPPED_MAX: usize = 6144;
/// Wrapped key of kind 2: a Cobblestone-256 message of 32 bytes.
pub const KEYFILE_WRAPPED_LEN: usize = PRELUDE_LEN + KEY_LEN + TAG_LEN;
/// Argon2id parameters and salt in front of a wrapped key of kind 3.
pub const ARGON2_FIELDS_LEN: usize = 3 * 4 + 32;
/// Wrapped key of kind 3.
pub const PASSPHRASE_WRAPPED_LEN: usize = ARGON2_FIELDS_LEN + KEYFILE_WRAPPED_LEN;

const _: () = assert!(KEYFILE_WRAPPED_LEN == 104 && PASSPHRASE_WRAPPED_LEN == 148);

/// What wraps the data key. Kinds from 0x8000 are private; unknown ones are skipped and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotKind(pub u16);

impl SlotKind {
    /// Kind 1: a key in AWS KMS.
    pub const AWS_KMS: Self = Self(1);
    /// Kind 2: a local key file.
    pub const KEYFILE: Self = Self(2);
    /// Kind 3: a passphrase.
    pub const PASSPHRASE: Self = Self(3);

    /// Whether the kind is left to later revisions of the format: it is read over and kept, and not written anew.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        (4..0x8000).contains(&self.0)
    }

    /// The spec's name of the kind, `unknown` for others.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AWS_KMS => "aws-kms",
            Self::KEYFILE => "keyfile",
            Self::PASSPHRASE => "passphrase",
            _ => "unknown",
        }
    }
}

/// One wrapping of the data key. Nothing in it is secret, and nothing is authenticated until it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What wraps the data key.
    pub kind: SlotKind,
    /// Names the wrapping key: an ARN, a key file's id, empty for a passphrase.
    pub key_id: String,
    /// The wrapped data key, of the kind's shape.
    pub wrapped: Vec<u8>,
}

impl Slot {
    /// Bytes of the slot in a bank.
    pub(super) fn encoded_len(&self) -> usize {
        2 + 2 + self.key_id.len() + 2 + self.wrapped.len()
    }

    /// The rule of its kind that the slot breaks (spec 9).
    pub(super) fn broken_rule(&self) -> Option<&'static str> {
        let len = self.wrapped.len();
        if self.key_id.chars().any(char::is_control) {
            return Some("slot key id holds control characters");
        }
        match self.kind {
            SlotKind(0) => Some("slot kind 0"),
            SlotKind::AWS_KMS if !is_kms_key_arn(&self.key_id) => Some("aws-kms slot key id is not a key ARN"),
            SlotKind::AWS_KMS if !(1..=KMS_WRAPPED_MAX).contains(&len) => Some("aws-kms slot wrapped key length"),
            SlotKind::KEYFILE if !is_keyfile_id(&self.key_id) => Some("keyfile slot key id"),
            SlotKind::KEYFILE if len != KEYFILE_WRAPPED_LEN => Some("keyfile slot wrapped key length"),
            SlotKind::PASSPHRASE if !self.key_id.is_empty() => Some("passphrase slot key id is not empty"),
            SlotKind::PASSPHRASE if len != PASSPHRASE_WRAPPED_LEN => Some("passphrase slot wrapped key length"),
            _ => None,
        }
    }

    /// Whether a header must not hold both: two slots of the same key, or two passphrases.
    pub(super) fn excludes(&self, other: &Slot) -> bool {
        let unique = [SlotKind::AWS_KMS, SlotKind::KEYFILE, SlotKind::PASSPHRASE].contains(&self.kind);
        unique && self.kind == other.kind && self.key_id == other.key_id
    }
}

fn is_keyfile_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` is, as a whole, `arn:aws[a-z-]*:kms:[a-z0-9-]{1,32}:[0-9]{12}:key/[A-Za-z0-9-]{1,128}`.
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
