//! `file:PATH`: a key file, an identity file or a recipient file. The first word of the line in the file says which.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use waxseal::format::SlotKind;
use waxseal::keys::{KeyFile, KeyOpener, KeyText, Recipient};

use super::opening::Origin;
use super::provider::{Going, Key, KeySpec, Keyring, Provider, Sisters, SlotTest, ToSeal, Turn};
use crate::Result;
use crate::escape;
use crate::failure::Failure;
use crate::report::{Done, Reporter};

/// Keys named `file:PATH`.
pub(super) struct Files;

impl Provider for Files {
    fn parse(&self, name: &OsStr) -> Option<Result<KeySpec>> {
        let path = name.as_bytes().strip_prefix(b"file:").filter(|path| !path.is_empty())?;
        Some(Ok(Box::new(InFile(OsString::from_vec(path.to_vec()).into()))))
    }
}

struct InFile(PathBuf);

impl fmt::Display for InFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "file:{}", escape::path(&self.0))
    }
}

impl Key for InFile {
    fn path(&self) -> Option<(&Path, &'static str)> {
        Some((&self.0, "key file"))
    }

    fn turn(&self) -> Turn {
        Turn::Local
    }

    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal> {
        let key = self.load(ring.reporter)?;
        let (is_own, kind) = (slots_of(&key), kind_of(&key));
        Ok(match key {
            KeyText::KeyFile(key) => ToSeal { sealer: Box::new(key), is_own, kind },
            KeyText::Identity(identity) => ToSeal { sealer: Box::new(identity), is_own, kind },
            KeyText::Recipient(recipient) => ToSeal { sealer: Box::new(recipient), is_own, kind },
        })
    }

    fn to_open(&self, origin: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        match (self.load(ring.reporter)?, origin) {
            (KeyText::KeyFile(key), _) => Ok(Some(Box::new(key))),
            (KeyText::Identity(identity), _) => Ok(Some(Box::new(identity))),
            (KeyText::Recipient(_), Origin::Offered) => Ok(None),
            (KeyText::Recipient(recipient), Origin::Named) => Err(self.only_seals(&recipient)),
        }
    }

    fn going(&self, _: Sisters, ring: &Keyring<'_>) -> Result<Going> {
        Ok(Going { is_own: slots_of(&self.load(ring.reporter)?), id: None })
    }

    fn recipient(&self, reporter: &Reporter) -> Option<Result<Recipient>> {
        Some(self.load(reporter).and_then(|key| {
            match key {
                KeyText::KeyFile(_) => Err(Failure::usage(format!("{self} is a key file, which has no public half"))
                    .hint("`waxseal key new --pair FILE` creates a key pair")),
                KeyText::Identity(identity) => Ok(identity.recipient().clone()),
                KeyText::Recipient(recipient) => Ok(recipient),
            }
        }))
    }

    fn show(&self, reporter: &Reporter) -> Option<Result<Done>> {
        Some(self.load(reporter).map(|key| shown(&self.to_string(), &key)))
    }
}

impl InFile {
    /// Reads the file only once, because it can be a pipe.
    fn load(&self, reporter: &Reporter) -> Result<KeyText> {
        let key = KeyText::load(&self.0).map_err(|error| match &error {
            // The file exists, so the hint must not suggest a new one.
            waxseal::Error::Io { source, .. } if source.kind() != ErrorKind::NotFound => {
                Failure::from(error).hint("make it readable for this user, or name another copy of it with -k")
            }
            _ => Failure::from(error).hint("`waxseal key new FILE` creates a key file"),
        })?;
        match &key {
            KeyText::KeyFile(_) => warn_if_readable_by_others("key file", &self.0, reporter),
            KeyText::Identity(_) => warn_if_readable_by_others("identity file", &self.0, reporter),
            KeyText::Recipient(_) => warn_if_writable_by_others(&self.0, reporter),
        }
        Ok(key)
    }

    fn only_seals(&self, recipient: &Recipient) -> Failure {
        let hint = match recipient.spec().kind() {
            SlotKind::X_WING => {
                "the identity file opens what is sealed to it: name the identity file with -k".to_owned()
            }
            _ => format!("AWS KMS has the private key: name it with -k {}", recipient.key_id()),
        };
        Failure::usage(format!("{self} is a recipient file, which can seal but cannot open")).hint(hint)
    }
}

fn slots_of(key: &KeyText) -> SlotTest {
    match key {
        KeyText::KeyFile(key) => {
            let id = key.id().to_owned();
            Box::new(move |slot| slot.kind == SlotKind::KEYFILE && slot.key_id == id)
        }
        KeyText::Identity(identity) => slots_of_recipient(identity.recipient()),
        KeyText::Recipient(recipient) => slots_of_recipient(recipient),
    }
}

fn slots_of_recipient(recipient: &Recipient) -> SlotTest {
    let recipient = recipient.clone();
    Box::new(move |slot| recipient.is_of(slot))
}

fn kind_of(key: &KeyText) -> SlotKind {
    match key {
        KeyText::KeyFile(_) => SlotKind::KEYFILE,
        KeyText::Identity(identity) => identity.recipient().spec().kind(),
        KeyText::Recipient(recipient) => recipient.spec().kind(),
    }
}

/// The public part of a key, for `key show`.
fn shown(name: &str, key: &KeyText) -> Done {
    let (what, does, public) = match key {
        KeyText::KeyFile(key) => return shown_key_file(name, key),
        KeyText::Identity(identity) => ("identity", "identity: opens and seals; secret", identity.recipient()),
        KeyText::Recipient(recipient) => ("recipient", "recipient file: seals only", recipient),
    };
    let (kind, spec, fingerprint) = (public.spec().kind().name(), public.spec().name(), public.fingerprint());
    let rows =
        [("file", does), ("kind", kind), ("key id", public.key_id()), ("spec", spec), ("fingerprint", &fingerprint)];
    let line = public.to_text(&[]);
    let fields = json!({
        "file": what,
        "kind": kind,
        "key_id": public.key_id(),
        "spec": spec,
        "fingerprint": fingerprint,
        "recipient": line.trim_end(),
    });
    done(name, &rows, public.key_id(), fields)
}

fn shown_key_file(name: &str, key: &KeyFile) -> Done {
    let kind = SlotKind::KEYFILE.name();
    let rows = [("file", "key file: opens and seals; secret"), ("kind", kind), ("key id", key.id())];
    let fields = json!({
        "file": "key file",
        "kind": kind,
        "key_id": key.id(),
        "spec": null,
        "fingerprint": null,
        "recipient": null,
    });
    done(name, &rows, key.id(), fields)
}

fn done(name: &str, rows: &[(&str, &str)], key_id: &str, fields: Value) -> Done {
    let mut text = format!("{name}\n");
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<13}{}", escape::text(value));
    }
    let more = Map::from_iter([("local_key".to_owned(), fields)]);
    Done { key: Some(key_id.to_owned()), stdout: Some(text), more, ..Done::default() }
}

/// Warns, but does not refuse: Kubernetes mounts secrets with mode 0644.
pub(super) fn warn_if_readable_by_others(what: &str, path: &Path, reporter: &Reporter) {
    let Some(mode) = mode_of(path).filter(|mode| mode & 0o044 != 0) else { return };
    let name = escape::path(path);
    reporter.warn(&format!("others may read the {what} {name} (mode {mode:04o}); run chmod 600 on it"));
}

/// Warns if others can replace a public key. They could then read everything that is sealed with it afterwards.
fn warn_if_writable_by_others(path: &Path, reporter: &Reporter) {
    let Some(mode) = mode_of(path).filter(|mode| mode & 0o022 != 0) else { return };
    let name = escape::path(path);
    reporter.warn(&format!(
        "others may write the recipient file {name} (mode {mode:04o}), and could then read what is sealed to it; \
         run chmod go-w on it"
    ));
}

/// The permissions of the file, if it is a regular file.
fn mode_of(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o777)
}
