//! Saves the bytes that a repair will overwrite, because there is no other copy of them.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::os::DiskFile;
use super::repair::{Part, RepairPlan};
use super::session::InPlace;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::io::{Durability, Missed};

/// The maximum length of a name on most file systems, in bytes.
const NAME_MAX: usize = 255;
/// The number of names that are tried for one bank.
const TRIES: u32 = 100;

/// A file with the old bytes of a bank.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kept {
    /// The index of its replacement in the plan.
    pub replacement: usize,
    /// Its path, for messages.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// The guarantees that the file system could not give.
    pub missed: Vec<Missed>,
}

impl InPlace<DiskFile> {
    /// Saves each bank that `plan` replaces in its own file beside the input, `NAME.replaced-bank0` or
    /// `NAME.replaced-bank1`. Each file is complete and synced. It has the input's owner and mode, or fewer
    /// permissions. No file is replaced: if the name exists, `-2` is appended to it, then `-3`, and so on. Salt and
    /// commitment are short and are not saved. Bytes that cannot be read are not saved, either.
    ///
    /// # Errors
    /// [`Error::Io`]. Its kind is [`io::ErrorKind::AlreadyExists`] if 100 names exist already.
    pub fn keep_replaced(&self, plan: &RepairPlan) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for (replacement, part) in plan.replaced.iter().enumerate() {
            if let (Part::Bank(number), Some(before)) = (&part.part, &part.before) {
                let (path, missed) = self.keep(&format!(".replaced-bank{}", number.get()), before)?;
                let sha256 = Sha256::digest(before);
                kept.push(Kept { replacement, path, sha256, missed });
            }
        }
        Ok(kept)
    }

    fn keep(&self, suffix: &str, bytes: &[u8]) -> Result<(PathBuf, Vec<Missed>)> {
        for number in 1..=TRIES {
            let suffix = if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") };
            let Some(made) = self.file.create_new_beside(|name| with_suffix(name, &suffix))? else { continue };
            let path = made.destination().path().to_owned();
            made.file().write_all(bytes).map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
            match made.commit(Durability::Synced) {
                Ok(missed) => return Ok((path, missed)),
                // Another process created the file first.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, format!("all names up to {suffix}-{TRIES} are taken"));
        Err(Error::io("saving the bytes that the repair replaces", taken))
    }
}

/// The name with `suffix`, shortened if it would be too long for a file system.
fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let name = name.as_bytes();
    let room = NAME_MAX.saturating_sub(suffix.len()).min(name.len());
    OsString::from_vec([&name[..room], suffix.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit() {
        assert_eq!(with_suffix(OsStr::new("a.wax"), ".replaced-bank1"), "a.wax.replaced-bank1");
        let long = "x".repeat(NAME_MAX);
        let name = with_suffix(OsStr::new(&long), ".replaced-bank1-2");
        assert!(name.len() == NAME_MAX && name.as_bytes().ends_with(b"x.replaced-bank1-2"));
    }
}
