//! The syntax of KEY. This reads only the environment variable. If KEY is not valid, it is checked whether it is the
//! name of a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::PROVIDERS;
use super::provider::KeySpec;
use crate::Result;
use crate::args::KeyArgs;
use crate::escape;
use crate::failure::Failure;

/// The variable that contains keys, separated by commas.
pub(super) const VARIABLE: &str = "WAXSEAL_KEY";
pub(super) const FORMS: &str = "a key file, identity or recipient file is `file:PATH`; other keys are `passphrase`, \
                                `passphrase:file=PATH`, and in AWS KMS an ARN, `alias/NAME`, a UUID or `mrk-ID`";

/// Parses KEY.
pub(crate) fn parse(text: &OsStr) -> Result<KeySpec> {
    let found = PROVIDERS.iter().find_map(|provider| provider.parse(text));
    found.unwrap_or_else(|| Err(unknown(text.as_bytes())))
}

/// The keys of `-k`.
pub(super) fn named(args: &KeyArgs) -> Result<Vec<KeySpec>> {
    args.keys.iter().map(|key| parse(key)).collect()
}

/// The keys of the environment variable.
pub(super) fn from_variable() -> Result<Vec<KeySpec>> {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let parse = |part: &[u8]| {
        parse(OsStr::from_bytes(part))
            .map_err(|failure| Failure { message: format!("{VARIABLE}: {}", failure.message), ..failure })
    };
    parts.filter(|part| !part.is_empty()).map(parse).collect()
}

fn unknown(text: &[u8]) -> Failure {
    let (bare, rest) = match text.iter().position(|byte| *byte == b':') {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let word = escape::os(OsStr::from_bytes(bare));
    match rest {
        Some(_) if looks_secret(&word) => Failure::usage("this is not a key's name").hint(FORMS),
        // The text after the colon can be secret: the line in a key file begins with such a word.
        Some(_) => Failure::usage(format!("`{word}:` is not a kind of key that this version knows")).hint(FORMS),
        None if word.is_empty() => Failure::usage("the key is empty").hint(FORMS),
        // The name of a file is certainly not key material. Other text can be, and must not get into a log.
        None if Path::new(OsStr::from_bytes(bare)).is_file() => {
            let meant = std::str::from_utf8(bare).ok().filter(|name| *name == word);
            let meant = meant.map(|name| format!("did you mean `{}`? ", escape::word(&format!("file:{name}"))));
            Failure::usage(format!("{word} is not a key's name")).hint(meant.unwrap_or_default() + FORMS)
        }
        None => Failure::usage("this is not a key's name").hint(FORMS),
    }
}

/// A word that is longer than the name of any kind can be key material.
fn looks_secret(word: &str) -> bool {
    word.len() > 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parse(text: &str) -> Result<KeySpec> {
        super::parse(OsStr::new(text))
    }

    fn refused(text: &str) -> Failure {
        parse(text).err().unwrap_or_else(|| panic!("{text} was taken"))
    }

    #[test]
    fn the_forms_of_a_key() {
        for (text, path, what) in [
            ("file:a:b,c", Some("a:b,c"), "key file"),
            ("passphrase", None, ""),
            ("passphrase:file=x=y", Some("x=y"), "passphrase file"),
        ] {
            let key = parse(text).unwrap();
            assert_eq!(key.path(), path.map(|path| (Path::new(path), what)), "{text}");
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for bad in ["", "file:", "file", "backup.key", "passphrase:", "passphrase:file=", "age:x", "FILE:x", "~/k"] {
            let failure = refused(bad);
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
            let failure = refused(bad);
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
