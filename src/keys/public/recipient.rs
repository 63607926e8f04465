//! Recipient files (spec 9.10): a public key to seal to.
//!
//! ```text
//! waxseal-recipient-v1:<name of the kind>:<key id>:<base64 of the public key>:<check>
//! ```

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::spec::PublicKeySpec;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::format::{Binding, Holder, Slot, SlotKind, is_kms_key_arn};
use crate::keys::KeySealer;
use crate::keys::lines::{self, hex, only_line, put_comments};
use crate::secret::DataKey;

const PREFIX: &str = "waxseal-recipient-v1:";
const ID_LABEL: &[u8] = b"waxseal v1 recipient\0";

/// A public key. It seals and does not open. It is not secret, but anyone who can replace it can read everything that is
/// sealed after that.
///
/// ```
/// use std::io::{Read, Write};
/// use waxseal::keys::{Identity, Recipient};
/// use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
///
/// // In a safe: the identity. On the host that makes backups: the recipient file.
/// let identity = Identity::generate()?;
/// let file = identity.recipient().to_text(&[]);
///
/// let recipient = Recipient::parse(file.as_bytes())?;
/// let mut writer = SealWriter::new(Vec::new(), &[&recipient], &SealOptions::new())?;
/// writer.write_all(b"a backup")?;
/// let sealed = writer.finish()?;
///
/// let mut text = String::new();
/// OpenReader::new(sealed.as_slice(), &[&identity], &Demands::default())?.read_to_string(&mut text)?;
/// assert_eq!(text, "a backup");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    spec: PublicKeySpec,
    key_id: String,
    public_key: Vec<u8>,
}

impl Recipient {
    /// A key in AWS KMS: its ARN, and the public key that `GetPublicKey` returns (a DER SubjectPublicKeyInfo).
    ///
    /// ```
    /// use waxseal::keys::Recipient;
    ///
    /// let arn = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000004";
    /// assert!(Recipient::from_kms(arn, b"not a public key").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if `arn` is not the ARN of a key, or if the public key is not of one of the kinds ML-KEM-768,
    /// ML-KEM-1024, RSA_3072 and RSA_4096.
    pub fn from_kms(arn: &str, public_key: &[u8]) -> Result<Self> {
        if !is_kms_key_arn(arn) {
            return Err(Error::Invalid(format!("{arn} is not the ARN of a KMS key")));
        }
        let spec = PublicKeySpec::of(SlotKind::AWS_KMS_ML_KEM, public_key)
            .or_else(|_| PublicKeySpec::of(SlotKind::AWS_KMS_RSA, public_key))
            .map_err(|_| {
                Error::Invalid("the public key is not a valid ML-KEM-768, ML-KEM-1024, RSA_3072 or RSA_4096 key".into())
            })?;
        Ok(Self { spec, key_id: arn.into(), public_key: public_key.into() })
    }

    /// An X-Wing key that was checked before.
    pub(super) fn from_x_wing(public_key: Vec<u8>) -> Self {
        Self { spec: PublicKeySpec::XWing, key_id: fingerprint(&public_key), public_key }
    }

    /// Reads a recipient file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Invalid`] as [`Recipient::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        lines::load(path.as_ref(), "the recipient file", Self::parse)
    }

    /// Parses a recipient file's text. Checks everything about the public key that can be checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let parsed = only_line(text).and_then(Self::from_line);
        parsed.map_err(|why| Error::Invalid(format!("not a waxseal recipient file: {why}")))
    }

    fn from_line(line: &str) -> Result<Self, &'static str> {
        let body = line.strip_prefix(PREFIX).ok_or("its line does not begin with waxseal-recipient-v1:")?;
        let shape = "its line is not NAME:KEY ID:PUBLIC KEY:CHECK, or was wrapped or cut";
        // A key id may contain colons. Base64 and check digits do not.
        let (name, rest) = body.split_once(':').ok_or(shape)?;
        let (rest, check) = rest.rsplit_once(':').ok_or(shape)?;
        let (key_id, key) = rest.rsplit_once(':').ok_or(shape)?;
        if check != check_digits(&line[..line.len() - check.len() - 1]) {
            return Err("its check digits are wrong, perhaps because of a typing error");
        }
        let public_key = STANDARD.decode(key).map_err(|_| "its public key is not base64")?;
        let kinds = PublicKeySpec::ALL.map(PublicKeySpec::kind);
        let kind = kinds.into_iter().find(|kind| kind.name() == name).ok_or("its kind of key is unknown")?;
        let spec = PublicKeySpec::of(kind, &public_key)?;
        let fits = match kind.holder() {
            Some(Holder::AwsKms) => is_kms_key_arn(key_id),
            _ => key_id == fingerprint(&public_key),
        };
        if !fits {
            return Err("its key id is not that of the public key, or not the ARN of a KMS key");
        }
        let recipient = Self { spec, key_id: key_id.into(), public_key };
        // A recipient has only one valid line, so every other spelling is refused.
        if recipient.line() == line { Ok(recipient) } else { Err(shape) }
    }

    fn line(&self) -> String {
        let key = STANDARD.encode(&self.public_key);
        let line = format!("{PREFIX}{}:{}:{key}", self.spec.kind().name(), self.key_id);
        let check = check_digits(&line);
        format!("{line}:{check}")
    }

    /// The recipient file's text. Each of `comments` becomes a line after `# `.
    #[must_use]
    pub fn to_text(&self, comments: &[&str]) -> String {
        let mut text = Vec::new();
        put_comments(comments, &mut text);
        let mut text = String::from_utf8_lossy(&text).into_owned();
        text.push_str(&self.line());
        text.push('\n');
        text
    }

    /// Kind and size of the key.
    #[must_use]
    pub fn spec(&self) -> PublicKeySpec {
        self.spec
    }

    /// The key id of its slots: the KMS key's ARN, or the fingerprint of an X-Wing key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The recipient id, 32 lower-case hex digits. With it, people can compare two files.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public_key)
    }

    /// The public key as it is in the file: DER SubjectPublicKeyInfo of a KMS key, or the 1216 bytes of an X-Wing key.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether `slot` is sealed to this key. This uses only public bytes.
    #[must_use]
    pub fn is_of(&self, slot: &Slot) -> bool {
        slot.kind == self.spec.kind() && slot.key_id == self.key_id
    }
}

/// The first 16 bytes of `SHA-256("waxseal v1 recipient" || 0x00 || public key)`.
fn fingerprint(public_key: &[u8]) -> String {
    hex(&Sha256::new().chain_update(ID_LABEL).chain_update(public_key).finalize()[..16])
}

/// The check digits of the line before its last colon.
pub(super) fn check_digits(line: &str) -> String {
    hex(&Sha256::digest(line)[..4])
}

impl KeySealer for Recipient {
    fn name(&self) -> String {
        match self.spec.kind().holder() {
            Some(Holder::AwsKms) => self.key_id.clone(),
            _ => format!("recipient {}", self.key_id),
        }
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        let wrapped = super::wrap(self, data_key, binding)?;
        Ok(Slot { kind: self.spec.kind(), key_id: self.key_id.clone(), wrapped })
    }
}
