//! `key`: making and managing keys.

#[cfg(feature = "aws-kms")]
mod kms;
#[cfg(feature = "aws-kms")]
mod manage;
#[cfg(feature = "aws-kms")]
mod public;
#[cfg(feature = "aws-kms")]
mod shown;

use std::io::Write;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use waxseal::engine::Durability;
use waxseal::keys::KeyFile;

use crate::cli::Result;
use crate::cli::args::KeyCommand;
use crate::cli::escape::{self, Name};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{NewFile, Overwrite, Target};
use crate::cli::report::{Done, Reporter};
use crate::cli::session::Session;

/// Runs the command.
pub(crate) fn run(command: &KeyCommand, session: &Session) -> Result<Exit> {
    match command {
        KeyCommand::New(args) => {
            let name = Name::of(&args.file);
            Ok(session.reporter.finished(Some(&name), make(&args.file, &session.reporter)))
        }
        #[cfg(feature = "aws-kms")]
        KeyCommand::Create(args) => kms::create(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Import(args) => kms::import(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::DeleteMaterial(args) => kms::delete_material(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Show(args) => kms::show(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Public(args) => public::public(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Rotate(args) => manage::rotate(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Alias(args) => manage::alias(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Disable(args) => manage::disable(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::Enable(args) => manage::enable(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::ScheduleDeletion(args) => manage::schedule_deletion(args, session),
        #[cfg(feature = "aws-kms")]
        KeyCommand::CancelDeletion(args) => manage::cancel_deletion(args, session),
    }
}

fn make(path: &Path, reporter: &Reporter) -> Result<Done> {
    let key = KeyFile::generate()?;
    let made = format!("made by waxseal at {}", stamp(OffsetDateTime::now_utc()));
    let id = format!("waxseal key file {}", key.id());
    let text = key.to_text(&[&id, &made, "whoever reads this file can open what it seals"]);
    write_new_secret(path, text.expose(), reporter)?;
    let name = Name::of(path);
    Ok(Done {
        key: Some(key.id().to_owned()),
        output: Some(name.clone()),
        note: Some(format!("made {name} (key file {}); keep a copy apart from what it seals", key.id())),
        ..Done::default()
    })
}

/// A new file of mode 0600, on the disk when this returns. Nothing that exists is ever overwritten: a lost key is
/// every backup lost.
fn write_new_secret(path: &Path, content: &[u8], reporter: &Reporter) -> Result<()> {
    let target = match Target::at(path, Overwrite::Refuse, &Vec::new()) {
        Ok(Target::File(target, _)) => target,
        Ok(Target::Stdout) => return Err(Failure::usage("a key is written to a file, not to stdout")),
        Ok(Target::Special(_)) => {
            return Err(Failure::new(Exit::Unmet, format!("{} exists and is no file", escape::path(path))));
        }
        Err(failure) if failure.exit == Exit::Unmet => return Err(never_overwritten(path)),
        Err(failure) => return Err(failure),
    };
    let new = NewFile::at(target, Overwrite::Refuse, 0o600)?;
    new.file().write_all(content).map_err(|error| Failure::io("writing the key file", error))?;
    match new.commit(Durability::Synced, reporter) {
        Err(failure) if failure.exit == Exit::Unmet => Err(never_overwritten(path)),
        done => done,
    }
}

fn never_overwritten(path: &Path) -> Failure {
    Failure::new(Exit::Unmet, format!("{} exists, and a key is never overwritten", escape::path(path)))
        .hint("name another file")
}

/// To the second, in UTC.
fn stamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
