//! `key`: creating and managing keys.

#[cfg_attr(not(feature = "aws-kms"), path = "without_kms.rs")]
mod kms;
mod pair;
mod public;

use std::io::Write;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use waxseal::engine::Durability;
use waxseal::io::Destination;
use waxseal::keys::KeyFile;

use crate::Result;
use crate::args::{KeyCommand, KeyNewArgs};
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys;
use crate::output::{NewFile, Overwrite, Target};
use crate::place::Place;
use crate::report::{Done, Reporter};
use crate::session::Session;

/// Runs the command.
pub(crate) fn run(command: &KeyCommand, session: &Session) -> Result<Exit> {
    match command {
        KeyCommand::New(args) => {
            let name = Name::of(&args.file);
            let made = if args.pair { pair::make(args, &session.reporter) } else { make(args, &session.reporter) };
            Ok(session.reporter.finished(Some(&name), made))
        }
        KeyCommand::Kms(command) => kms::run(command, session),
        KeyCommand::Show(args) => match keys::parse(&args.key)?.show(&session.reporter) {
            Some(shown) => Ok(session.reporter.finished(Some(&Name::of(Path::new(&args.key))), shown)),
            None => kms::show(args, session),
        },
        KeyCommand::Public(args) => public::public(args, session),
    }
}

fn make(args: &KeyNewArgs, reporter: &Reporter) -> Result<Done> {
    let path = args.file.as_path();
    let key = KeyFile::generate()?;
    let made = format!("created by waxseal at {}", stamp(OffsetDateTime::now_utc()));
    let id = format!("waxseal key file {}", key.id());
    let text = key.to_text(&[&id, &made, "anyone who can read this file can open what it seals"]);
    write_new_secret(path, text.expose(), reporter)?;
    let name = Name::of(path);
    Ok(Done {
        key: Some(key.id().to_owned()),
        output: Some(name.clone()),
        note: Some(format!(
            "created {name} (key file {}); keep a copy of it, and not in the same place as the files that it seals",
            key.id()
        )),
        ..Done::default()
    })
}

/// Writes a new file with mode 0600, and syncs it. An existing file is never overwritten: if a key is lost, all backups
/// that it seals are lost.
fn write_new_secret(path: &Path, content: &[u8], reporter: &Reporter) -> Result<()> {
    let new = NewFile::at(new_place(path)?, Overwrite::Refuse, 0o600)?;
    new.file().write_all(content).map_err(|error| Failure::io("writing the key file", error))?;
    match new.commit(Durability::Synced, reporter) {
        Err(failure) if failure.exit == Exit::Unmet => Err(never_overwritten(path)),
        done => done,
    }
}

/// The place for a new file. There must be no file yet.
fn new_place(path: &Path) -> Result<Destination> {
    let target = match Target::at(&file_place(path)?, Overwrite::Refuse, &Vec::new()) {
        Err(failure) if failure.exit == Exit::Unmet => return Err(never_overwritten(path)),
        target => target?,
    };
    if target.is_stdout() {
        return Err(Failure::usage("a key is written to a file, not to stdout"));
    }
    target.into_file().map(|(there, _)| there).ok_or_else(|| no_file(path))
}

/// Keys stay on this machine.
fn file_place(path: &Path) -> Result<Place> {
    match Place::output(path) {
        Place::Object(object) => {
            let what = format!("a key is written to a file, not to {}", escape::os(object.text()));
            Err(Failure::usage(what).hint("name a file on this machine"))
        }
        place => Ok(place),
    }
}

fn no_file(path: &Path) -> Failure {
    Failure::new(Exit::Unmet, format!("{} exists and is not a file", escape::path(path)))
}

fn never_overwritten(path: &Path) -> Failure {
    Failure::new(Exit::Unmet, format!("{} exists, and a key is never overwritten", escape::path(path)))
        .hint("name another file")
}

/// The time in UTC, in seconds.
fn stamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
