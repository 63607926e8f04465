//! `file:PATH`: a key file, an identity file or a recipient file. The first word of the line in the file says which.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use waxseal::format::{Holder, SlotKind};
use waxseal::keys::{KeyFile, KeyOpener, KeyText, Recipient};

use super::modes::{warn_if_readable_by_others, warn_if_writable_by_others};
use super::opening::{FIND, Origin};
use super::provider::{Going, Key, KeySpec, Keyring, Provider, Sisters, SlotTest, ToSeal, Turn};
use crate::Result;
use crate::escape;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::key_option;
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
        let key = self.load(Purpose::Seal, ring.reporter)?;
        let (is_own, kind) = (slots_of(&key), kind_of(&key));
        Ok(match key {
            KeyText::KeyFile(key) => ToSeal { sealer: Box::new(key), is_own, kind },
            KeyText::Identity(identity) => ToSeal { sealer: Box::new(identity), is_own, kind },
            KeyText::Recipient(recipient) => ToSeal { sealer: Box::new(recipient), is_own, kind },
        })
    }

    fn to_open(&self, origin: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        match (self.load(Purpose::Open, ring.reporter)?, origin) {
            (KeyText::KeyFile(key), _) => Ok(Some(Box::new(key))),
            (KeyText::Identity(identity), _) => Ok(Some(Box::new(identity))),
            (KeyText::Recipient(_), Origin::Offered) => Ok(None),
            (KeyText::Recipient(recipient), Origin::Named) => Err(self.only_seals(&recipient)),
        }
    }

    fn going(&self, _: Sisters, ring: &Keyring<'_>) -> Result<Going> {
        Ok(Going { is_own: slots_of(&self.load(Purpose::Name, ring.reporter)?), id: None })
    }

    fn recipient(&self, reporter: &Reporter) -> Option<Result<Recipient>> {
        Some(self.load(Purpose::Show, reporter).and_then(|key| {
            match key {
                KeyText::KeyFile(_) => Err(Failure::usage(format!("{self} is a key file, which has no public half"))
                    .hint("`waxseal key new --pair FILE` creates a key pair")),
                KeyText::Identity(identity) => Ok(identity.recipient().clone()),
                KeyText::Recipient(recipient) => Ok(recipient),
            }
        }))
    }

    fn show(&self, reporter: &Reporter) -> Option<Result<Done>> {
        Some(self.load(Purpose::Show, reporter).map(|key| shown(&self.to_string(), &key)))
    }
}

/// What a key is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To make a slot.
    Seal,
    /// To open a slot that exists: a new key would not.
    Open,
    /// To say which slots are meant.
    Name,
    /// To show it.
    Show,
}

impl InFile {
    /// Reads it once: it may be a pipe.
    fn load(&self, purpose: Purpose, reporter: &Reporter) -> Result<KeyText> {
        let key = KeyText::load(&self.0).map_err(|error| match (&error, purpose) {
            // A key file that is there is not to be made anew.
            (waxseal::Error::Io { source, .. }, _) if source.kind() != ErrorKind::NotFound => {
                Failure::from(error).hint("make it readable for this user, or name another copy of it")
            }
            // What this build refuses.
            (waxseal::Error::Provider(_), Purpose::Seal | Purpose::Show) => {
                Failure { exit: Exit::Usage, ..Failure::from(error) }
            }
            (waxseal::Error::Provider(_), _) => Failure::from(error),
            (_, Purpose::Seal) => Failure::from(error).hint("`waxseal key new FILE` creates a key file"),
            // What is to be opened says which key that takes.
            (waxseal::Error::Io { .. }, Purpose::Open) => Failure::from(error),
            (_, Purpose::Open | Purpose::Name) => Failure::from(error).hint(FIND),
            (_, Purpose::Show) => Failure::from(error),
        })?;
        match &key {
            KeyText::KeyFile(_) => warn_if_readable_by_others("key file", &self.0, reporter),
            KeyText::Identity(_) => warn_if_readable_by_others("identity file", &self.0, reporter),
            KeyText::Recipient(_) => warn_if_writable_by_others(&self.0, reporter),
        }
        Ok(key)
    }

    fn only_seals(&self, recipient: &Recipient) -> Failure {
        let option = key_option::to_open();
        let hint = match recipient.spec().kind().holder() {
            Some(Holder::AwsKms) => {
                format!("AWS KMS has the private key: name it with {option} {}", recipient.key_id())
            }
            _ => format!("the identity file opens what is sealed to it: name the identity file with {option}"),
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
