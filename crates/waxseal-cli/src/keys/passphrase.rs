//! Passphrases: asked for on the terminal, or read from a file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use waxseal::fips;
use waxseal::format::SlotKind;
use waxseal::keys::{KeyOpener, Passphrase, PassphraseOpener};
use waxseal::secret::SecretBytes;

use super::asked::Asked;
use super::generated;
use super::in_turn::InTurn;
use super::modes::warn_if_readable_by_others;
use super::opening::Origin;
use super::provider::{Going, Key, KeySpec, Keyring, Provider, Sisters, ToSeal, Turn};
use crate::Result;
use crate::args::AccountArgs;
use crate::escape;
use crate::failure::Failure;
use crate::prompt;
use crate::report::Reporter;

/// A passphrase has at most this many bytes.
const MAX_PASSPHRASE: usize = 1024;

/// Keys named `passphrase` and `passphrase:file=PATH`.
pub(super) struct Passphrases;

impl Provider for Passphrases {
    fn parse(&self, name: &OsStr) -> Option<Result<KeySpec>> {
        let rest = name.as_bytes().strip_prefix(b"passphrase")?;
        if rest.is_empty() {
            return Some(Ok(Box::new(Typed)));
        }
        let rest = rest.strip_prefix(b":")?;
        Some(match rest.strip_prefix(b"file=") {
            Some(path) if !path.is_empty() => Ok(Box::new(InFile(OsString::from_vec(path.to_vec()).into()))),
            // The text is not repeated, because it can be the passphrase itself.
            _ => Err(Failure::usage("a passphrase is never taken from the command line")
                .hint("use `passphrase` to type it at the terminal, or `passphrase:file=PATH`")),
        })
    }

    /// It is asked for only if a slot needs it.
    fn offered(&self, _: &AccountArgs, _: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
        if let Some(refusal) = refusal() {
            return Ok(vec![refusal]);
        }
        Ok(if prompt::terminal().is_some() { vec![Box::new(Asked::default())] } else { Vec::new() })
    }
}

/// `passphrase`: asked for on the terminal.
struct Typed;

impl fmt::Display for Typed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("passphrase")
    }
}

impl Key for Typed {
    fn turn(&self) -> Turn {
        Turn::Person
    }

    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal> {
        fips::check_passphrase()?;
        if prompt::terminal().is_none() {
            return Err(Failure::usage(prompt::NO_TERMINAL).hint(prompt::NO_TERMINAL_HINT));
        }
        let passphrase = match prompt::new_passphrase()? {
            Some(typed) => {
                warn_if_short("the passphrase", typed.expose(), ring.reporter);
                typed
            }
            None => generated::new_passphrase()?,
        };
        Ok(to_seal(Passphrase::new(passphrase)?))
    }

    fn to_open(&self, origin: Origin, _: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        // If no key is named, [`Provider::offered`] offers the passphrase anyway.
        let asked = || refusal().unwrap_or_else(|| Box::new(Asked::default()));
        Ok((origin == Origin::Named).then(asked))
    }

    fn going(&self, _: Sisters, _: &Keyring<'_>) -> Result<Going> {
        Ok(going())
    }
}

/// `passphrase:file=PATH`.
struct InFile(PathBuf);

impl fmt::Display for InFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "passphrase:file={}", escape::path(&self.0))
    }
}

impl Key for InFile {
    fn path(&self) -> Option<(&Path, &'static str)> {
        Some((&self.0, "passphrase file"))
    }

    fn turn(&self) -> Turn {
        Turn::Local
    }

    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal> {
        fips::check_passphrase()?;
        Ok(to_seal(Passphrase::new(read_new_passphrase(&self.0, ring.reporter)?)?))
    }

    fn to_open(&self, _: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        if let Some(refusal) = refusal() {
            return Ok(Some(refusal));
        }
        Ok(Some(Box::new(InTurn(Passphrase::new(read_passphrase(&self.0, ring.reporter)?)?))))
    }

    fn going(&self, _: Sisters, _: &Keyring<'_>) -> Result<Going> {
        Ok(going())
    }
}

/// In a build that refuses passphrases: it says so at the first slot of one, and asks nobody.
fn refusal() -> Option<Box<dyn KeyOpener>> {
    let nobody = || Err(waxseal::Error::Bug("a passphrase was asked for in a build that refuses them"));
    fips::ENABLED.then(|| Box::new(PassphraseOpener::new(nobody)) as Box<dyn KeyOpener>)
}

/// The slot of a passphrase does not say which passphrase it is of.
fn to_seal(passphrase: Passphrase) -> ToSeal {
    ToSeal { sealer: Box::new(InTurn(passphrase)), is_own: Box::new(|_| false), kind: SlotKind::PASSPHRASE }
}

/// A header has at most one slot of a passphrase.
fn going() -> Going {
    Going { is_own: Box::new(|slot| slot.kind == SlotKind::PASSPHRASE), id: None }
}

/// Reads a passphrase. Exactly one newline at its end is removed.
fn read_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    warn_if_readable_by_others("passphrase file", path, reporter);
    let failed = |error| Failure::io(format!("reading the passphrase file {}", escape::path(path)), error);
    let file = File::open(path).map_err(failed)?;
    // The buffer never grows, so no copy of the passphrase stays in freed memory.
    let mut bytes = Vec::with_capacity(MAX_PASSPHRASE + 64);
    file.take(MAX_PASSPHRASE as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(SecretBytes::new(bytes))
}

/// Reads a passphrase that is to seal. Warns if nobody can type it, because another one can still be chosen.
fn read_new_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    let passphrase = read_passphrase(path, reporter)?;
    warn_if_short(&format!("the passphrase in {}", escape::path(path)), passphrase.expose(), reporter);
    if let Some(what) = untypable(passphrase.expose()) {
        let name = escape::path(path);
        reporter
            .warn(&format!("the passphrase file {name} {what}; this is part of the passphrase and cannot be typed"));
    }
    Ok(passphrase)
}

/// A shorter passphrase is found soon by trying all of them.
const SHORT: usize = 8;

/// Warns of a passphrase that is about to seal. An empty one is refused anyway.
fn warn_if_short(what: &str, passphrase: &[u8], reporter: &Reporter) {
    let len = std::str::from_utf8(passphrase).map_or(passphrase.len(), |text| text.chars().count());
    if (1..SHORT).contains(&len) {
        reporter.warn(&format!(
            "{what} has fewer than {SHORT} characters: whoever has the file can find it by trying; -k passphrase with \
             an empty line generates a strong one"
        ));
    }
}

/// The part of a passphrase that nobody can type. An editor can have put it there without showing it.
fn untypable(passphrase: &[u8]) -> Option<&'static str> {
    const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if MARKS.iter().any(|mark| passphrase.starts_with(mark)) {
        Some("begins with a byte order mark")
    } else if passphrase.ends_with(b"\r") {
        Some("ends in CR LF, and only the LF is removed")
    } else if passphrase.iter().any(|byte| b"\r\n".contains(byte)) {
        Some("has more than one line")
    } else {
        None
    }
}
