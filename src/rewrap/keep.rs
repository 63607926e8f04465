//! Keeps what a repair is about to overwrite: it stands nowhere else afterwards.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::os::DiskFile;
use super::repair::{Part, RepairPlan};
use super::session::InPlace;
use crate::error::{Error, Result};
use crate::io::{Durability, Missed};

/// Longest name that file systems commonly take, in bytes.
const NAME_MAX: usize = 255;
/// So many names are tried for one bank.
const TRIES: u32 = 100;

/// A file that holds a bank as it was.
#[derive(Debug)]
#[non_exhaustive]
pub struct Kept {
    /// Which replacement of the plan it belongs to.
    pub replacement: usize,
    /// Where it is, for people.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// What the file system could not do.
    pub missed: Vec<Missed>,
}

impl InPlace<DiskFile> {
    /// Writes each bank that `plan` replaces into a file of its own beside the input, `NAME.replaced-bank0` or
    /// `NAME.replaced-bank1`, as whole files on the disk. They have the input's owner and mode, never wider. No file is
    /// replaced: where there is one of that name, `-2` is added to it, then `-3`, and so on. What is short, a salt and a
    /// commitment, and what cannot be read is not kept.
    ///
    /// # Errors
    /// [`Error::Io`]: also of the kind [`io::ErrorKind::AlreadyExists`] where 100 names are taken.
    pub fn keep_replaced(&self, plan: &RepairPlan) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for (replacement, part) in plan.replaced.iter().enumerate() {
            if let (Part::Bank(number), Some(before)) = (&part.part, &part.before) {
                let (path, missed) = self.keep(&format!(".replaced-bank{}", number.get()), before)?;
                let sha256 = Sha256::digest(before).into();
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
                // Somebody was quicker.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, format!("all names up to {suffix}-{TRIES} are taken"));
        Err(Error::io("keeping the bytes that a repair replaces", taken))
    }
}

/// The name with `suffix`, cut where it would be too long for a file system.
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
