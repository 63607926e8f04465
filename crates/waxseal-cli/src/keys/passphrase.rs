//! Passphrases: asked for on the terminal, or read from a file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use waxseal::error::ProviderCause;
use waxseal::format::{Binding, DataKeyId, Slot, SlotKind};
use waxseal::keys::{KeyOpener, Passphrase};
use waxseal::secret::{DataKey, SecretBytes};

use super::file::warn_if_readable_by_others;
use super::in_turn::InTurn;
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
            // What stands there is not repeated: it may be the passphrase itself.
            _ => Err(Failure::usage("a passphrase is never taken from the command line")
                .hint("use `passphrase` to type it at the terminal, or `passphrase:file=PATH`")),
        })
    }

    /// It is asked for only when a slot needs it.
    fn offered(&self, _: &AccountArgs, _: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
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

    fn to_seal(&self, _: &Keyring<'_>) -> Result<ToSeal> {
        if prompt::terminal().is_none() {
            return Err(Failure::usage(prompt::NO_TERMINAL).hint(prompt::NO_TERMINAL_HINT));
        }
        Ok(to_seal(Passphrase::new(prompt::new_passphrase()?)?))
    }

    fn to_open(&self, origin: Origin, _: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        // Where it is only offered, it is for people at a terminal, and so offered anyway.
        Ok((origin == Origin::Named).then(|| Box::new(Asked::default()) as Box<dyn KeyOpener>))
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
        Ok(to_seal(Passphrase::new(read_new_passphrase(&self.0, ring.reporter)?)?))
    }

    fn to_open(&self, _: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        Ok(Some(Box::new(InTurn(Passphrase::new(read_passphrase(&self.0, ring.reporter)?)?))))
    }

    fn going(&self, _: Sisters, _: &Keyring<'_>) -> Result<Going> {
        Ok(going())
    }
}

/// A passphrase's slot does not tell whose it is.
fn to_seal(passphrase: Passphrase) -> ToSeal {
    ToSeal { sealer: Box::new(InTurn(passphrase)), is_own: Box::new(|_| false), kind: SlotKind::PASSPHRASE }
}

/// A header has at most one such slot.
fn going() -> Going {
    Going { is_own: Box::new(|slot| slot.kind == SlotKind::PASSPHRASE), id: None }
}

/// Reads a passphrase; exactly one newline at its end is dropped.
fn read_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    warn_if_readable_by_others("passphrase file", path, reporter);
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

/// The same to seal with: what nobody can type is warned of, while another passphrase can still be taken.
fn read_new_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    let passphrase = read_passphrase(path, reporter)?;
    if let Some(what) = untypable(passphrase.expose()) {
        let name = escape::path(path);
        reporter
            .warn(&format!("the passphrase file {name} {what}; this is part of the passphrase and cannot be typed"));
    }
    Ok(passphrase)
}

/// What of a passphrase no terminal gives, though an editor may have put it there unseen.
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

/// So often a run asks for the passphrase that files are to open with.
const TRIES: u32 = 3;

/// Asks for the passphrase at the first slot that needs it, and remembers it for the next file, unless it has opened
/// none yet: then it was mistyped, it may be, and is asked for again.
#[derive(Default)]
struct Asked {
    answer: Mutex<Answer>,
    /// Until it has opened a slot, a passphrase is tried on one file at a time: a mistyped one is one file's failure.
    unproven: Mutex<()>,
}

#[derive(Default)]
struct Answer {
    known: Option<SecretBytes>,
    tries: u32,
    /// Whether it has opened a slot.
    proven: bool,
    /// The file whose slots it did not open. To one file's further slots the same answer goes.
    failed_on: Option<DataKeyId>,
}

impl Asked {
    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The passphrase for `file`.
    fn passphrase(&self, file: DataKeyId) -> waxseal::Result<SecretBytes> {
        let mut answer = self.answer();
        let mistyped = !answer.proven && answer.failed_on.is_some_and(|other| other != file);
        if answer.known.is_none() || (mistyped && answer.tries < TRIES) {
            if answer.tries == TRIES {
                return Err(waxseal::Error::Invalid(format!("no passphrase was entered in {TRIES} attempts")));
            }
            answer.tries += 1;
            answer.failed_on = None;
            answer.known = None;
            answer.known = Some(prompt::passphrase("passphrase: ")?);
        }
        let copy = answer.known.as_ref().map(|secret| secret.expose().to_vec()).unwrap_or_default();
        Ok(SecretBytes::new(copy))
    }
}

impl KeyOpener for Asked {
    fn name(&self) -> String {
        "passphrase".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::PASSPHRASE
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> waxseal::Result<DataKey> {
        let proven = self.answer().proven;
        let _unproven = (!proven).then(|| self.unproven.lock().unwrap_or_else(PoisonError::into_inner));
        let typed = self.passphrase(binding.data_key_id)?;
        let opened = Passphrase::new(typed).and_then(|passphrase| InTurn(passphrase).open(slot, binding));
        let mistyped = match &opened {
            // An empty line is as mistyped as a wrong one.
            Err(waxseal::Error::Invalid(_)) => true,
            Err(waxseal::Error::Provider(error)) => error.cause == ProviderCause::WrongPassphrase,
            _ => false,
        };
        let mut answer = self.answer();
        answer.proven |= opened.is_ok();
        if mistyped {
            answer.failed_on = Some(binding.data_key_id);
        }
        opened
    }
}
