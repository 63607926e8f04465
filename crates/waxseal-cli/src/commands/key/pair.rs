//! `key new --pair`: an identity file, which opens and seals, and its recipient file, which only seals.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};
use time::OffsetDateTime;
use waxseal::engine::Durability;
use waxseal::io::Destination;
use waxseal::keys::Identity;

use super::{never_overwritten, new_place, stamp};
use crate::Result;
use crate::args::KeyNewArgs;
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Identity as FileIdentity;
use crate::output::{NewFile, Overwrite};
use crate::report::{Done, Reporter};
use crate::signals;

/// The recipient file has the name of the identity file with this suffix.
const SUFFIX: &str = ".pub";

/// Creates both files or none.
pub(super) fn make(args: &KeyNewArgs, reporter: &Reporter) -> Result<Done> {
    let secret = args.file.as_path();
    let public = with_suffix(secret);
    let (secret_place, public_place) = (new_place(secret)?, new_place(&public)?);
    let identity = Identity::generate()?;
    let made = format!("created by waxseal at {}", stamp(OffsetDateTime::now_utc()));
    let id = identity.id();
    let names = [format!("waxseal identity {id}"), format!("waxseal recipient {id}")];
    let text =
        identity.to_text(&[&names[0], &made, "anyone who can read this file can open what is sealed to its recipient"]);
    let public_text = identity.recipient().to_text(&[&names[1], &made, "public: it can seal, but cannot open"]);
    let secret_file = Made::write(secret, secret_place, 0o600, text.expose())?;
    let public_file = Made::write(&public, public_place, 0o644, public_text.as_bytes())?;
    // A later signal waits until both files exist, or none.
    let done = signals::commit(|| Ok(commit_both(secret_file, public_file, reporter)));
    done.map_err(|error| Failure::io("creating the key pair", error))??;
    let (name, public) = (Name::of(secret), Name::of(&public));
    Ok(Done {
        key: Some(id.to_owned()),
        output: Some(name.clone()),
        more: [("recipient_file".to_owned(), public.text().into())].into_iter().collect(),
        note: Some(format!("created {name} and {public} (identity {id}); keep {name} away from the hosts that seal")),
        ..Done::default()
    })
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    name.into()
}

/// A file that is written but has no name yet.
struct Made<'a> {
    file: NewFile,
    trace: Trace<'a>,
}

/// How a file is found again after it got its name.
struct Trace<'a> {
    path: &'a Path,
    folder: Arc<OwnedFd>,
    name: OsString,
    is: Option<FileIdentity>,
}

impl<'a> Made<'a> {
    fn write(path: &'a Path, place: Destination, mode: u32, content: &[u8]) -> Result<Self> {
        let (folder, name) = (Arc::clone(place.folder()), place.name().to_owned());
        let file = NewFile::at(place, Overwrite::Refuse, mode)?;
        file.file().write_all(content).map_err(|error| Failure::io("writing the key file", error))?;
        let is = file.file().metadata().ok().as_ref().and_then(FileIdentity::of);
        Ok(Self { file, trace: Trace { path, folder, name, is } })
    }

    fn commit(self, reporter: &Reporter) -> (Trace<'a>, Result<()>) {
        let done = match self.file.commit(Durability::Synced, reporter) {
            Err(failure) if failure.exit == Exit::Unmet => Err(never_overwritten(self.trace.path)),
            done => done,
        };
        (self.trace, done)
    }
}

impl Trace<'_> {
    /// Removes the file if it exists and is the one that was created here. A failure can come after it got its name.
    fn remove(&self, failure: Failure) -> Failure {
        if self.is.is_none() || FileIdentity::at(self.path) != self.is {
            return failure;
        }
        match unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) => failure,
            Err(error) => {
                let name = escape::path(self.path);
                Failure { message: format!("{}; {name} could not be removed: {error}", failure.message), ..failure }
            }
        }
    }
}

/// Gives both files their names, the identity file first. If the machine stops between the two, the recipient file can be
/// made from the identity file. Nobody could open what a recipient file without its identity file seals.
fn commit_both(secret: Made<'_>, public: Made<'_>, reporter: &Reporter) -> Result<()> {
    let (secret, done) = secret.commit(reporter);
    done.map_err(|failure| secret.remove(failure))?;
    let (public, done) = public.commit(reporter);
    done.map_err(|failure| secret.remove(public.remove(failure)))
}
