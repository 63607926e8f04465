//! `key public`: the recipient file of an identity, or of a key in AWS KMS.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, json};
use time::OffsetDateTime;
use waxseal::engine::Durability;
use waxseal::format::Holder;
use waxseal::keys::Recipient;

use super::{file_place, kms, no_file, stamp};
use crate::Result;
use crate::args::KeyPublicArgs;
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{NewFile, Overwrite, Target};
use crate::report::{Done, Reporter};
use crate::session::Session;

/// Runs it.
pub(super) fn public(args: &KeyPublicArgs, session: &Session) -> Result<Exit> {
    let reporter = &session.reporter;
    let done = match keys::parse(&args.key)?.recipient(reporter) {
        Some(recipient) => recipient.and_then(|recipient| make(&recipient, &args.output, reporter)),
        None => kms::recipient(args, |recipient| make(recipient, &args.output, reporter))?,
    };
    Ok(reporter.finished(Some(&Name::of(Path::new(&args.key))), done))
}

fn make(recipient: &Recipient, path: &Path, reporter: &Reporter) -> Result<Done> {
    let written = write(recipient, path, reporter)?;
    Ok(told(recipient, path, written))
}

/// Where the recipient is now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Made,
    Unchanged,
    Stdout,
}

fn write(recipient: &Recipient, path: &Path, reporter: &Reporter) -> Result<Written> {
    let target = match Target::at(&file_place(path)?, Overwrite::Refuse, &Vec::new()) {
        Err(failure) if failure.exit == Exit::Unmet => return compare(recipient, path),
        target => target?,
    };
    if target.is_stdout() {
        return Ok(Written::Stdout);
    }
    let (there, overwrite) = target.into_file().ok_or_else(|| no_file(path))?;
    let new = NewFile::at(there, overwrite, 0o644)?;
    let text = text(recipient);
    new.file().write_all(text.as_bytes()).map_err(|error| Failure::io("writing the recipient file", error))?;
    match new.commit(Durability::Synced, reporter) {
        Err(failure) if failure.exit == Exit::Unmet => compare(recipient, path),
        done => done.map(|()| Written::Made),
    }
}

/// What is there already: the same key, or one that must not be replaced unasked.
fn compare(recipient: &Recipient, path: &Path) -> Result<Written> {
    let name = escape::path(path);
    match Recipient::load(path) {
        Ok(there) if there == *recipient => Ok(Written::Unchanged),
        Ok(there) => Err(Failure::new(Exit::Unmet, format!("{name} exists, and holds the key {}", there.key_id()))
            .hint("name another file; compare the fingerprints before you replace this one")),
        Err(_) => {
            Err(Failure::new(Exit::Unmet, format!("{name} exists, and is not a recipient file"))
                .hint("name another file"))
        }
    }
}

fn text(recipient: &Recipient) -> String {
    let what = match recipient.spec().kind().holder() {
        Some(Holder::AwsKms) => format!("waxseal recipient file: {} key in AWS KMS", recipient.spec().name()),
        _ => format!("waxseal recipient {}", recipient.key_id()),
    };
    let fingerprint = format!("fingerprint {}", recipient.fingerprint());
    let made = format!("made by waxseal at {}", stamp(OffsetDateTime::now_utc()));
    let warning =
        "anyone with this file can seal but not open; anyone who can replace it can read what is sealed later";
    recipient.to_text(&[&what, &fingerprint, &made, warning])
}

fn told(recipient: &Recipient, path: &Path, written: Written) -> Done {
    let (name, spec, fingerprint) = (Name::of(path), recipient.spec().name(), recipient.fingerprint());
    let outcome = if written == Written::Unchanged { "unchanged" } else { "made" };
    let shown = json!({ "kind": recipient.spec().kind().name(), "spec": spec, "fingerprint": fingerprint });
    Done {
        key: Some(recipient.key_id().to_owned()),
        output: Some(name.clone()).filter(|_| written != Written::Stdout),
        stdout: match written {
            Written::Made => None,
            Written::Unchanged => Some(format!("{name}: unchanged\n")),
            Written::Stdout => Some(text(recipient)),
        },
        note: (written == Written::Made).then(|| format!("made {name} ({spec}, fingerprint {fingerprint})")),
        more: Map::from_iter([("outcome".to_owned(), outcome.into()), ("recipient".to_owned(), shown)]),
        ..Done::default()
    }
}
