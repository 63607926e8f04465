//! KEY on the command line and in `WAXSEAL_KEY`, and the sealers and openers that it stands for.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use waxseal::keys::{KeyFile, KeyOpener, KeySealer, Passphrase, PassphraseOpener};
use waxseal::secret::SecretBytes;

use super::Result;
use super::args::KeyArgs;
use super::escape;
use super::exit::Exit;
use super::failure::Failure;
use super::input::Identity;
use super::output::Forbidden;
use super::prompt;
use super::report::Reporter;

/// Holds keys, comma-separated.
const VARIABLE: &str = "WAXSEAL_KEY";
/// A passphrase has at most this many bytes.
const MAX_PASSPHRASE: usize = 1024;

/// A key as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySpec {
    /// `file:PATH`.
    File(PathBuf),
    /// `passphrase`: asked on the terminal.
    Passphrase,
    /// `passphrase:file=PATH`.
    PassphraseFile(PathBuf),
}

impl KeySpec {
    /// Parses KEY. Nothing is read.
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
                    .hint("use `passphrase` to be asked for it, or `passphrase:file=PATH`")),
            },
            _ => Err(unknown(word, rest)),
        }
    }

    /// The local file it is read from.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::PassphraseFile(path) => Some(path),
            Self::Passphrase => None,
        }
    }
}

fn unknown(word: &[u8], rest: Option<&[u8]>) -> Failure {
    let word = escape::os(OsStr::from_bytes(word));
    let hint = "a key file is named `file:PATH`; the others are `passphrase` and `passphrase:file=PATH`";
    match rest {
        // What stands behind the colon may be secret: a key file's own line begins with such a word.
        Some(_) => Failure::usage(format!("`{word}:` is not a kind of key that this version knows")).hint(hint),
        None if word.is_empty() => Failure::usage("the key is empty").hint(hint),
        None if looks_secret(&word) => Failure::usage("this is not a key's name").hint(hint),
        None => {
            Failure::usage(format!("{word} is not a key's name")).hint(format!("did you mean `file:{word}`? {hint}"))
        }
    }
}

/// Long words without a dot or a slash may be key material, which is not to stand in a log.
fn looks_secret(word: &str) -> bool {
    word.len() >= 32 && !word.contains(['.', '/'])
}

fn from_variable() -> Result<Vec<KeySpec>> {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let parse = |part: &[u8]| {
        KeySpec::parse(OsStr::from_bytes(part))
            .map_err(|failure| Failure { message: format!("{VARIABLE}: {}", failure.message), ..failure })
    };
    parts.map(parse).collect()
}

fn named(args: &KeyArgs) -> Result<Vec<KeySpec>> {
    args.keys.iter().map(|key| KeySpec::parse(key)).collect()
}

/// Keys to seal with.
pub(crate) struct Sealing(Vec<KeySpec>);

impl Sealing {
    /// `-k`, else the variable.
    pub(crate) fn named(args: &KeyArgs) -> Result<Self> {
        let mut specs = named(args)?;
        if specs.is_empty() {
            specs = from_variable()?;
        }
        if specs.is_empty() {
            let failure = Failure::usage("no key to encrypt with");
            return Err(failure.hint("-k KEY names one; `waxseal key new FILE` makes one for `-k file:FILE`"));
        }
        Ok(Self(specs))
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        forbidden(&self.0)
    }

    /// Reads the keys, and asks for what must be asked.
    pub(crate) fn load(&self, reporter: &Reporter) -> Result<Vec<Box<dyn KeySealer>>> {
        self.0.iter().map(|spec| load_sealer(spec, reporter)).collect()
    }
}

fn load_sealer(spec: &KeySpec, reporter: &Reporter) -> Result<Box<dyn KeySealer>> {
    Ok(match spec {
        KeySpec::File(path) => Box::new(load_key_file(path, reporter)?),
        KeySpec::PassphraseFile(path) => Box::new(Passphrase::new(read_passphrase(path, reporter)?)?),
        KeySpec::Passphrase => {
            if prompt::terminal().is_none() {
                return Err(Failure::usage(prompt::NO_TERMINAL).hint(prompt::NO_TERMINAL_HINT));
            }
            Box::new(Passphrase::new(prompt::new_passphrase()?)?)
        }
    })
}

/// Where the keys to open with come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// `-k`: only these are tried, and each must be there.
    Named,
    /// Nothing was named: the variable's local keys are offered, and a passphrase is asked for.
    Offered,
}

/// Keys to open with.
pub(crate) struct Opening {
    specs: Vec<KeySpec>,
    origin: Origin,
}

impl Opening {
    /// `-k` filters; without it the variable only offers.
    pub(crate) fn named(args: &KeyArgs) -> Result<Self> {
        let specs = named(args)?;
        if specs.is_empty() {
            return Ok(Self { specs: from_variable()?, origin: Origin::Offered });
        }
        Ok(Self { specs, origin: Origin::Named })
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        forbidden(&self.specs)
    }

    /// Reads the local keys. Order: local keys, then a passphrase that is asked for only when a slot needs it.
    pub(crate) fn load(&self, reporter: &Reporter) -> Result<Vec<Box<dyn KeyOpener>>> {
        let mut openers: Vec<Box<dyn KeyOpener>> = Vec::new();
        for spec in &self.specs {
            match load_opener(spec, reporter) {
                Ok(opener) => openers.extend(opener),
                Err(failure) if self.origin == Origin::Offered && failure.exit == Exit::Io => {
                    reporter.warn(&format!("{VARIABLE}: {}", failure.message));
                }
                Err(failure) => return Err(failure),
            }
        }
        let asks = match self.origin {
            Origin::Named => self.specs.contains(&KeySpec::Passphrase),
            Origin::Offered => prompt::terminal().is_some(),
        };
        if asks {
            openers.push(Box::new(PassphraseOpener::new(AskOnce::default().into_ask())));
        }
        Ok(openers)
    }

    /// What to do where no slot of a file matched any key.
    pub(crate) fn hint(&self) -> &'static str {
        match self.origin {
            Origin::Named => {
                "the keys it is sealed for are shown by `waxseal inspect`; without -k others are tried too"
            }
            Origin::Offered => "the keys it is sealed for are shown by `waxseal inspect`; name one with -k",
        }
    }
}

fn load_opener(spec: &KeySpec, reporter: &Reporter) -> Result<Option<Box<dyn KeyOpener>>> {
    Ok(match spec {
        KeySpec::File(path) => Some(Box::new(load_key_file(path, reporter)?)),
        KeySpec::PassphraseFile(path) => Some(Box::new(Passphrase::new(read_passphrase(path, reporter)?)?)),
        KeySpec::Passphrase => None,
    })
}

/// Asks for the passphrase at the first slot that needs it, and remembers it for the next file.
#[derive(Default)]
struct AskOnce(Mutex<Option<SecretBytes>>);

impl AskOnce {
    fn into_ask(self) -> impl Fn() -> waxseal::Result<SecretBytes> + Send + Sync {
        move || {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.is_none() {
                *known = Some(prompt::passphrase("passphrase: ")?);
            }
            let copy = known.as_ref().map(|secret| secret.expose().to_vec()).unwrap_or_default();
            Ok(SecretBytes::new(copy))
        }
    }
}

fn forbidden(specs: &[KeySpec]) -> Forbidden {
    let identities = specs.iter().filter_map(KeySpec::path).filter_map(Identity::at);
    identities.map(|identity| (identity, "key file")).collect()
}

fn load_key_file(path: &Path, reporter: &Reporter) -> Result<KeyFile> {
    warn_if_readable_by_others(path, reporter);
    let hint = "`waxseal key new FILE` makes a key file";
    KeyFile::load(path).map_err(|error| Failure::from(error).hint(hint))
}

/// Reads a passphrase; exactly one newline at its end is dropped.
fn read_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    warn_if_readable_by_others(path, reporter);
    let failed = |error| Failure::io(format!("reading the passphrase file {}", escape::path(path)), error);
    let file = File::open(path).map_err(failed)?;
    // The buffer never grows, so that no copy of the passphrase stays behind in freed memory.
    let mut bytes = Vec::with_capacity(MAX_PASSPHRASE + 64);
    file.take(MAX_PASSPHRASE as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(SecretBytes::new(bytes))
}

/// Warned of, not refused: Kubernetes mounts secrets with 0644.
fn warn_if_readable_by_others(path: &Path, reporter: &Reporter) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o044 != 0 {
        let name = escape::path(path);
        reporter.warn(&format!("others may read the key file {name} (mode {mode:04o}); `chmod 600` ends that"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeySpec> {
        KeySpec::parse(OsStr::new(text))
    }

    #[test]
    fn the_forms_of_a_key() {
        assert_eq!(parse("file:a:b,c").unwrap(), KeySpec::File("a:b,c".into()));
        assert_eq!(parse("passphrase").unwrap(), KeySpec::Passphrase);
        assert_eq!(parse("passphrase:file=x=y").unwrap(), KeySpec::PassphraseFile("x=y".into()));
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for bad in ["", "file:", "file", "backup.key", "passphrase:", "passphrase:file=", "age:x", "FILE:x", "~/k"] {
            let failure = parse(bad).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(failure.hint.unwrap().contains(if bad.starts_with("passphrase") {
                "passphrase:file="
            } else {
                "file:"
            }));
        }
    }

    #[test]
    fn secrets_given_by_mistake_are_not_repeated() {
        for bad in ["passphrase:hunter2-hunter2", "waxseal-key-v1:hunter2:00", &"hunter2".repeat(8)] {
            let failure = parse(bad).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
