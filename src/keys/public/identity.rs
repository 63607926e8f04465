//! Identity files (spec 9.11): the private half of an X-Wing key pair.
//!
//! ```text
//! waxseal-identity-v1:x-wing:<64 hex digits of the seed>:<check>
//! ```

use std::path::Path;

use zeroize::Zeroizing;

use super::recipient::{Recipient, check_digits};
use super::{encapsulation, finish, kem};
use crate::error::{Error, Result, Tampered};
use crate::fips;
use crate::format::{Binding, Slot};
use crate::keys::lines::{self, only_line, parse_hex, put_comments, put_hex};
use crate::keys::{KeyOpener, KeySealer};
use crate::secret::{DataKey, KEY_LEN, SecretBytes};

const PREFIX: &str = "waxseal-identity-v1:x-wing:";

/// Your own key pair. It opens what is sealed to its [`Recipient`], and can also seal.
///
/// ```
/// use waxseal::keys::Identity;
///
/// let identity = Identity::generate()?;
/// let again = Identity::parse(identity.to_text(&["kept in a safe"]).expose())?;
/// assert_eq!(again.id(), identity.id());
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct Identity {
    seed: DataKey,
    recipient: Recipient,
}

impl Identity {
    /// A new key pair from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no randomness. [`Error::Setting`] in a build with the FIPS module.
    pub fn generate() -> Result<Self> {
        fips::check_x_wing()?;
        Self::from_seed(DataKey::random()?)
    }

    fn from_seed(seed: DataKey) -> Result<Self> {
        let recipient = Recipient::from_x_wing(kem::x_wing_public(&seed)?);
        Ok(Self { seed, recipient })
    }

    /// Reads an identity file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Invalid`] as [`Identity::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        lines::load(path.as_ref(), "the identity file", Self::parse)
    }

    /// Parses an identity file's text.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong. It never repeats the content of the file. [`Error::Provider`] in a
    /// build with the FIPS module, which has no X-Wing.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::Invalid(format!("not a waxseal identity file: {why}"));
        let line = only_line(text).map_err(bad)?;
        let body =
            line.strip_prefix(PREFIX).ok_or_else(|| bad("its line does not start with waxseal-identity-v1:x-wing:"))?;
        let (digits, check) = body.split_once(':').ok_or_else(|| bad("its check digits are missing"))?;
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        parse_hex(digits, seed.as_mut_slice()).ok_or_else(|| bad("its seed is not 64 lower-case hex digits"))?;
        if check != check_digits(&line[..PREFIX.len() + digits.len()]) {
            return Err(bad("its check digits are wrong, perhaps because of a typing error"));
        }
        Self::from_seed(DataKey::from_slice(seed.as_slice())?)
    }

    /// The identity file's text. Each of `comments` becomes a line that starts with `# `.
    #[must_use]
    pub fn to_text(&self, comments: &[&str]) -> SecretBytes {
        let room = comments.iter().map(|line| line.len() + 3).sum::<usize>() + PREFIX.len() + 2 * KEY_LEN + 16;
        let mut text = Vec::with_capacity(room);
        put_comments(comments, &mut text);
        let start = text.len();
        text.extend_from_slice(PREFIX.as_bytes());
        put_hex(self.seed.expose(), &mut text);
        let check = std::str::from_utf8(&text[start..]).map(check_digits).unwrap_or_default();
        text.push(b':');
        text.extend_from_slice(check.as_bytes());
        text.push(b'\n');
        SecretBytes::new(text)
    }

    /// The public half, for hosts that seal.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The recipient id: the key id of its slots.
    #[must_use]
    pub fn id(&self) -> &str {
        self.recipient.key_id()
    }
}

impl KeySealer for Identity {
    fn name(&self) -> String {
        format!("identity {}", self.id())
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        self.recipient.wrap(data_key, binding)
    }
}

impl KeyOpener for Identity {
    fn name(&self) -> String {
        KeySealer::name(self)
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.recipient.is_of(slot)
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let sent = encapsulation(slot).ok_or(Tampered::Slot { slot: 0 })?;
        let secret = kem::open_x_wing(&self.seed, sent)?.ok_or(Tampered::Slot { slot: 0 })?;
        finish(slot, &secret, binding)
    }
}
