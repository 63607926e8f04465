//! Local key files (spec 9.3 and 9.4).
//!
//! ```text
//! # comment
//! waxseal-key-v1:<64 hex digits>:<first 8 hex digits of SHA-256 of the 32 bytes>
//! ```

use std::path::Path;

use zeroize::Zeroizing;

use super::lines::{self, parse_hex, put_hex};
use super::{KeyOpener, KeySealer};
use crate::digest::Sha256;
use crate::error::{Error, Result, Tampered};
use crate::format::{Binding, Slot, SlotKind};
use crate::payload::{hkdf_expand_sha512, unwrap_message, wrap_message};
use crate::secret::{DataKey, KEY_LEN, SecretBytes};

/// Secret scanners recognize a leaked key by it.
const PREFIX: &str = "waxseal-key-v1:";
/// All labels of key files.
const ID_LABEL: &[u8] = b"waxseal v1 key id";
const WRAP_LABEL: &[u8] = b"waxseal v1 keyfile\0";

/// The key of a local key file.
pub struct KeyFile {
    key: DataKey,
    id: String,
}

impl KeyFile {
    /// A new key from the operating system's generator.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no randomness.
    pub fn generate() -> Result<Self> {
        Ok(Self::from_key(DataKey::random()?))
    }

    fn from_key(key: DataKey) -> Self {
        let mut id = [0; 16];
        hkdf_expand_sha512(key.expose(), &[ID_LABEL], &mut id);
        Self { key, id: lines::hex(&id) }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Invalid`] as [`KeyFile::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        lines::load(path.as_ref(), "the key file", Self::parse)
    }

    /// Parses a key file's text.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong. It never repeats the content of the file.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::Invalid(format!("not a waxseal key file: {why}"));
        let line = lines::only_line(text).map_err(bad)?;
        let body = line.strip_prefix(PREFIX).ok_or_else(|| bad("its line does not start with waxseal-key-v1:"))?;
        let (digits, check) = body.split_once(':').ok_or_else(|| bad("its check digits are missing"))?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        parse_hex(digits, key.as_mut_slice()).ok_or_else(|| bad("its key is not 64 lower-case hex digits"))?;
        if check != check_digits(&key) {
            return Err(bad("its check digits are wrong, perhaps because of a typing error"));
        }
        Ok(Self::from_key(DataKey::from_slice(key.as_slice())?))
    }

    /// The key file's text. Each of `comments` becomes a line that starts with `# `.
    #[must_use]
    pub fn to_text(&self, comments: &[&str]) -> SecretBytes {
        let room = comments.iter().map(|line| line.len() + 3).sum::<usize>() + PREFIX.len() + 2 * KEY_LEN + 16;
        let mut text = Vec::with_capacity(room);
        lines::put_comments(comments, &mut text);
        text.extend_from_slice(PREFIX.as_bytes());
        put_hex(self.key.expose(), &mut text);
        text.push(b':');
        text.extend_from_slice(check_digits(self.key.expose()).as_bytes());
        text.push(b'\n');
        SecretBytes::new(text)
    }

    /// The key's public name: 32 lower-case hex digits, derived from the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn check_digits(key: &[u8; KEY_LEN]) -> String {
    lines::hex(&Sha256::digest(key)[..4])
}

/// `"waxseal v1 keyfile" || 0x00 || bound bytes`. A slot that was moved to another file does not open.
fn wrap_context(binding: &Binding) -> Result<Vec<u8>> {
    Ok([WRAP_LABEL, &binding.bound_bytes()?].concat())
}

impl KeySealer for KeyFile {
    fn name(&self) -> String {
        format!("key file {}", self.id)
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        let wrapped = wrap_message(&self.key, &wrap_context(binding)?, data_key)?;
        Ok(Slot { kind: SlotKind::KEYFILE, key_id: self.id.clone(), wrapped })
    }
}

impl KeyOpener for KeyFile {
    fn name(&self) -> String {
        KeySealer::name(self)
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::KEYFILE && slot.key_id == self.id
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        unwrap_message(&self.key, &wrap_context(binding)?, &slot.wrapped).ok_or(Tampered::Slot { slot: 0 }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let key = KeyFile::generate().unwrap();
        let text = key.to_text(&["made\nby hand"]);
        let again = KeyFile::parse(text.expose()).unwrap();
        assert_eq!(again.id(), key.id());
        assert!(again.key.expose() == key.key.expose());
        let crlf = String::from_utf8(text.expose().to_vec()).unwrap().replace('\n', "\r\n");
        assert_eq!(KeyFile::parse(crlf.as_bytes()).unwrap().id(), key.id());
    }

    #[test]
    fn refuses_without_repeating_the_key() {
        let good = KeyFile::generate().unwrap().to_text(&[]);
        let good = String::from_utf8(good.expose().to_vec()).unwrap();
        let digits = &good[PREFIX.len()..PREFIX.len() + 64];
        let flipped = good.replacen(&digits[..1], if digits.starts_with('0') { "1" } else { "0" }, 1);
        let bad = [
            String::new(),
            "# only\n".into(),
            format!("{good}{good}"),
            format!("\u{feff}{good}"),
            good.to_uppercase(),
            good.replace(PREFIX, "waxseal-key-v2:"),
            good.trim_end().trim_end_matches(|_| true).into(),
            flipped,
            good.replace('\n', " \n"),
            good[..good.len() - 10].into(),
            good.replace('\n', "\r"),
            format!("{good}\r"),
            "#".repeat(70_000),
        ];
        for text in &bad {
            let Err(Error::Invalid(message)) = KeyFile::parse(text.as_bytes()) else { panic!("accepted {text:?}") };
            assert!(!message.contains(&digits[1..20]), "{message}");
        }
        assert!(KeyFile::parse(b"\xff\xfe").is_err());
        let latin1 = [b"# caf\xe9\r\n", good.as_bytes()].concat();
        assert!(KeyFile::parse(&latin1).is_ok());
    }
}
