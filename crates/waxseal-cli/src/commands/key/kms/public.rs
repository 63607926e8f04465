//! `key public`: a recipient file of a key in AWS KMS.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, json};
use time::OffsetDateTime;
use waxseal::engine::Durability;
use waxseal::error::{Error, ProviderCause};
use waxseal::keys::Recipient;

use super::super::stamp;
use super::kms_name;
use crate::Result;
use crate::args::KeyPublicArgs;
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys::Cloud;
use crate::output::{NewFile, Overwrite, Target};
use crate::report::{Done, Reporter};
use crate::session::Session;

/// Runs the command.
pub(super) fn public(args: &KeyPublicArgs, session: &Session) -> Result<Exit> {
    let name = kms_name(&args.key)?;
    let cloud = Cloud::new(&args.kms)?;
    let done = cloud.kms().public_key(&name).map_err(not_the_key).and_then(|recipient| {
        let written = write(&recipient, &args.output, &session.reporter)?;
        Ok(Done { request_id: cloud.request_id(), ..told(&recipient, &args.output, written) })
    });
    Ok(session.reporter.finished(Some(&Name::plain(&args.key)), done))
}

/// An answer with another key is a forgery, and not a refusal: whoever sent that key could open what is sealed to it.
fn not_the_key(error: Error) -> Failure {
    let forged = matches!(&error, Error::Provider(provider) if provider.cause == ProviderCause::BadAnswer);
    let failure = Failure::from(error);
    if forged { Failure { exit: Exit::Tampered, ..failure } } else { failure }
}

/// Where the recipient file is now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Made,
    Unchanged,
    Stdout,
}

fn write(recipient: &Recipient, path: &Path, reporter: &Reporter) -> Result<Written> {
    let target = match Target::at(path, Overwrite::Refuse, &Vec::new()) {
        Ok(Target::File(target, _)) => target,
        Ok(Target::Stdout) => return Ok(Written::Stdout),
        Ok(Target::Special(_)) => {
            return Err(Failure::new(Exit::Unmet, format!("{} exists and is not a file", escape::path(path))));
        }
        Err(failure) if failure.exit == Exit::Unmet => return compare(recipient, path),
        Err(failure) => return Err(failure),
    };
    let new = NewFile::at(target, Overwrite::Refuse, 0o644)?;
    let text = text(recipient);
    new.file().write_all(text.as_bytes()).map_err(|error| Failure::io("writing the recipient file", error))?;
    match new.commit(Durability::Synced, reporter) {
        Err(failure) if failure.exit == Exit::Unmet => compare(recipient, path),
        done => done.map(|()| Written::Made),
    }
}

/// Compares with the file that exists. It can have the same key. Another key is never replaced.
fn compare(recipient: &Recipient, path: &Path) -> Result<Written> {
    let name = escape::path(path);
    match Recipient::load(path) {
        Ok(there) if there == *recipient => Ok(Written::Unchanged),
        Ok(there) => Err(Failure::new(Exit::Unmet, format!("{name} exists and holds the key {}", there.key_id()))
            .hint("name another file; compare the fingerprints before you replace the old one")),
        Err(_) => {
            Err(Failure::new(Exit::Unmet, format!("{name} exists and is not a recipient file"))
                .hint("name another file"))
        }
    }
}

fn text(recipient: &Recipient) -> String {
    let what = format!("waxseal recipient file: {} key in AWS KMS", recipient.spec().name());
    let fingerprint = format!("fingerprint {}", recipient.fingerprint());
    let made = format!("created by waxseal at {}", stamp(OffsetDateTime::now_utc()));
    let warning =
        "this file can seal, but cannot open; anyone who can replace it can read what is sealed with it afterwards";
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
        note: (written == Written::Made).then(|| format!("created {name} ({spec}, fingerprint {fingerprint})")),
        more: Map::from_iter([("outcome".to_owned(), outcome.into()), ("recipient".to_owned(), shown)]),
        ..Done::default()
    }
}
