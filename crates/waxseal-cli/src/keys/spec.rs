//! The syntax of KEY. Nothing is read here but the environment variable; a name that is none is looked up as a file's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

#[cfg(feature = "aws-kms")]
use waxseal_aws_kms::KmsKeyName;

use crate::cli::Result;
use crate::cli::args::KeyArgs;
use crate::cli::escape;
use crate::cli::failure::Failure;

/// Holds keys, comma-separated.
pub(super) const VARIABLE: &str = "WAXSEAL_KEY";
const FORMS: &str = "a key file is `file:PATH`; other keys are `passphrase`, `passphrase:file=PATH`, and in AWS KMS an \
                     ARN, `alias/NAME`, a UUID or `mrk-ID`";

/// A key as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySpec {
    /// `file:PATH`.
    File(PathBuf),
    /// `passphrase`: asked on the terminal.
    Passphrase,
    /// `passphrase:file=PATH`.
    PassphraseFile(PathBuf),
    /// A key in AWS KMS.
    #[cfg(feature = "aws-kms")]
    Kms(KmsKeyName),
}

impl KeySpec {
    /// Parses KEY.
    pub(crate) fn parse(text: &OsStr) -> Result<Self> {
        let bytes = text.as_bytes();
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let (word, rest) = match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
            None => (bytes, None),
        };
        match (word, rest) {
            (b"file", Some(name)) if !name.is_empty() => Ok(Self::File(path(name))),
            (b"passphrase", None) => Ok(Self::Passphrase),
            (b"passphrase", Some(rest)) => match rest.strip_prefix(b"file=") {
                Some(name) if !name.is_empty() => Ok(Self::PassphraseFile(path(name))),
                // What stands there is not repeated: it may be the passphrase itself.
                _ => Err(Failure::usage("a passphrase is never taken from the command line")
                    .hint("use `passphrase` to type it at the terminal, or `passphrase:file=PATH`")),
            },
            _ => kms(text).unwrap_or_else(|| Err(unknown(word, rest))),
        }
    }

    /// The keys of `-k`.
    pub(super) fn named(args: &KeyArgs) -> Result<Vec<Self>> {
        args.keys.iter().map(|key| Self::parse(key)).collect()
    }

    /// The keys of the environment variable.
    pub(super) fn from_variable() -> Result<Vec<Self>> {
        let value = std::env::var_os(VARIABLE).unwrap_or_default();
        let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let parse = |part: &[u8]| {
            Self::parse(OsStr::from_bytes(part))
                .map_err(|failure| Failure { message: format!("{VARIABLE}: {}", failure.message), ..failure })
        };
        parts.filter(|part| !part.is_empty()).map(parse).collect()
    }

    /// The local file it is read from, and what that is called.
    pub(crate) fn path(&self) -> Option<(&Path, &'static str)> {
        match self {
            Self::File(path) => Some((path, "key file")),
            Self::PassphraseFile(path) => Some((path, "passphrase file")),
            Self::Passphrase => None,
            #[cfg(feature = "aws-kms")]
            Self::Kms(_) => None,
        }
    }
}

impl std::fmt::Display for KeySpec {
    /// As it was written, escaped.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(out, "file:{}", escape::path(path)),
            Self::Passphrase => out.write_str("passphrase"),
            Self::PassphraseFile(path) => write!(out, "passphrase:file={}", escape::path(path)),
            #[cfg(feature = "aws-kms")]
            Self::Kms(name) => name.fmt(out),
        }
    }
}

/// A key in AWS KMS, if it can be one. What is nearly one is said to be wrong, and how.
#[cfg(feature = "aws-kms")]
fn kms(text: &OsStr) -> Option<Result<KeySpec>> {
    let text = text.to_str()?;
    match KmsKeyName::parse(text) {
        Ok(name) => Some(Ok(KeySpec::Kms(name))),
        Err(error) if text.starts_with("arn:") || text.starts_with("alias/") || text.starts_with("mrk-") => {
            Some(Err(Failure::from(error).hint(FORMS)))
        }
        Err(_) => None,
    }
}

#[cfg(not(feature = "aws-kms"))]
fn kms(_: &OsStr) -> Option<Result<KeySpec>> {
    None
}

fn unknown(bare: &[u8], rest: Option<&[u8]>) -> Failure {
    let word = escape::os(OsStr::from_bytes(bare));
    match rest {
        Some(_) if looks_secret(&word) => Failure::usage("this is not a key's name").hint(FORMS),
        // What stands behind the colon may be secret: a key file's own line begins with such a word.
        Some(_) => Failure::usage(format!("`{word}:` is not a kind of key that this version knows")).hint(FORMS),
        None if word.is_empty() => Failure::usage("the key is empty").hint(FORMS),
        // Only what is a file's name is sure to be no key material, which is not to stand in a log.
        None if Path::new(OsStr::from_bytes(bare)).is_file() => {
            Failure::usage(format!("{word} is not a key's name")).hint(format!("did you mean `file:{word}`? {FORMS}"))
        }
        None => Failure::usage("this is not a key's name").hint(FORMS),
    }
}

/// Longer words than any kind's may be key material.
fn looks_secret(word: &str) -> bool {
    word.len() > 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn parse(text: &str) -> Result<KeySpec> {
        KeySpec::parse(OsStr::new(text))
    }

    #[test]
    fn the_forms_of_a_key() {
        assert_eq!(parse("file:a:b,c").unwrap(), KeySpec::File("a:b,c".into()));
        assert_eq!(parse("passphrase").unwrap(), KeySpec::Passphrase);
        assert_eq!(parse("passphrase:file=x=y").unwrap(), KeySpec::PassphraseFile("x=y".into()));
    }

    #[cfg(feature = "aws-kms")]
    #[test]
    fn the_forms_of_a_kms_key() {
        for good in [
            "alias/backups",
            "arn:aws:kms:eu-west-1:123456789012:alias/backups",
            "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
        ] {
            assert!(matches!(parse(good), Ok(KeySpec::Kms(_))), "{good}");
        }
        for bad in ["arn:aws:kms:eu-west-1:123456789012:alias/", "arn:aws:s3:::x", "alias/", "mrk-x", "backups"] {
            assert_eq!(parse(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for bad in ["", "file:", "file", "backup.key", "passphrase:", "passphrase:file=", "age:x", "FILE:x", "~/k"] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            let word = if bad.starts_with("passphrase") { "passphrase:file=" } else { "file:" };
            assert!(failure.hint.unwrap().contains(word));
        }
    }

    #[test]
    fn secrets_given_by_mistake_are_not_repeated() {
        for bad in [
            "passphrase:hunter2-hunter2",
            "waxseal-key-v1:hunter2:00",
            &"hunter2".repeat(8),
            "hunter2/a+b=",
            "hunter2hunter2hunter2:x",
        ] {
            let failure = parse(bad).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
