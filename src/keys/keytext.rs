//! The three text files that contain a key (spec 9.4, 9.10 and 9.11). The first word of the line says which one it is.

use std::path::Path;

use super::lines::{self, only_line};
use super::{Identity, KeyFile, Recipient};
use crate::error::{Error, Result};

/// The content of a key's text file.
///
/// ```
/// use waxseal::keys::{Identity, KeyText};
///
/// let identity = Identity::generate()?;
/// let text = identity.recipient().to_text(&["the backups' key"]);
/// let KeyText::Recipient(recipient) = KeyText::parse(text.as_bytes())? else { panic!("another kind of file") };
/// assert_eq!(recipient.key_id(), identity.id());
/// # Ok::<(), waxseal::Error>(())
/// ```
pub enum KeyText {
    /// `waxseal-key-v1:` seals and opens. Secret.
    KeyFile(KeyFile),
    /// `waxseal-identity-v1:` opens what is sealed to its recipient, and seals. Secret.
    Identity(Identity),
    /// `waxseal-recipient-v1:` seals only. Public.
    Recipient(Recipient),
}

impl KeyText {
    /// Reads a file of any of the three kinds.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Invalid`] as [`KeyText::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        lines::load(path.as_ref(), "the key file", Self::parse)
    }

    /// Parses the text of any of the three kinds.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says what is wrong. It never repeats the content of the file.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::Invalid(format!("not a waxseal key, identity or recipient file: {why}"));
        let line = only_line(text).map_err(bad)?;
        match line.split_once(':').map(|(word, _)| word) {
            Some("waxseal-key-v1") => KeyFile::parse(text).map(Self::KeyFile),
            Some("waxseal-identity-v1") => Identity::parse(text).map(Self::Identity),
            Some("waxseal-recipient-v1") => Recipient::parse(text).map(Self::Recipient),
            _ => {
                Err(bad("its line does not start with waxseal-key-v1:, waxseal-identity-v1: or waxseal-recipient-v1:"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(feature = "fips", ignore = "X-Wing is refused")]
    fn the_first_word_says_which() {
        let key = KeyFile::generate().unwrap();
        let identity = Identity::generate().unwrap();
        let parse = |text: &[u8]| KeyText::parse(text);
        assert!(matches!(parse(key.to_text(&["c"]).expose()), Ok(KeyText::KeyFile(again)) if again.id() == key.id()));
        let text = identity.to_text(&["c"]);
        assert!(matches!(parse(text.expose()), Ok(KeyText::Identity(again)) if again.id() == identity.id()));
        let recipient = identity.recipient().to_text(&["c"]);
        assert!(matches!(parse(recipient.as_bytes()), Ok(KeyText::Recipient(again)) if again == *identity.recipient()));
        let both = [recipient.as_bytes(), text.expose()].concat();
        for bad in [&b""[..], b"waxseal-key-v1", b"waxseal-key-v2:0", b" waxseal-key-v1:", b"age1x", &both] {
            assert!(matches!(parse(bad), Err(Error::Invalid(_))));
        }
    }
}
