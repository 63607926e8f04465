//! One file under the lock, and the header that its disk holds.

use std::io;

use super::file::HeaderFile;
use super::settled::Stamp;
use crate::container::Layout;
use crate::error::{Error, FormatError, Result, Tampered};
use crate::format::{FRONT_LEN, Front, Header, PRELUDE_LEN};
use crate::io::{Around, read_around};

/// A file whose header may be changed. It is locked, synced, and was read from the disk, not from the cache.
///
/// What changes it consumes it: after a failed write or sync the session is over, and nothing is tried again.
#[derive(Debug)]
pub struct InPlace<F> {
    pub(super) file: F,
    pub(super) front: Front,
    pub(super) header: Header,
    pub(super) len: u64,
    /// How the file looked before it was read.
    pub(super) stamp: Stamp,
    /// Whether somebody answers for the file's being whole.
    pub(super) vouched: bool,
}

impl<F: HeaderFile> InPlace<F> {
    /// Takes the lock and reads the header from the disk. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] if another rewrap is changing the file or has replaced it, if the file cannot be synced, or if it
    /// cannot be read. [`Error::Format`] if it has no header to change.
    pub fn begin(mut file: F) -> Result<Self> {
        file.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => refused("another rewrap is changing the file"),
            _ => Error::io("locking the file", error),
        })?;
        // Whoever held the lock before may have put a new file in this one's place.
        check_named(&mut file)?;
        // What an interrupted run left in the cache may not be on disk; nor may its renaming.
        file.sync().map_err(|error| Error::io("syncing the file before it is changed", error))?;
        file.sync_folder().map_err(|error| Error::io("syncing the folder before the file is changed", error))?;
        Self::read(file)
    }

    /// Reads a locked and synced file.
    pub(super) fn read(mut file: F) -> Result<Self> {
        let failed = |error| Error::io("reading the header", error);
        let stamp = file.stamp().map_err(failed)?;
        let len = file.byte_len().map_err(failed)?;
        let (front, unreadable) = read_front(&mut file, len).map_err(failed)?;
        let header = match (Header::read(&front), unreadable) {
            (Ok(header), _) => header,
            // What could not be read may be a header: the disk is to blame, and a later run may see more.
            (Err(FormatError::NotWaxseal | FormatError::Damaged), Some(error)) => return Err(failed(error)),
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Self { file, front, header, len, stamp, vouched: false })
    }

    /// The header, as it is on the disk.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload's first 56 bytes; `None` where they cannot be read.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] when the file is too short to have a payload.
    pub(super) fn payload_prelude(&self) -> Result<Option<&[u8; PRELUDE_LEN]>, Tampered> {
        self.layout().carried(&self.front, self.len)
    }

    /// Where the parts of the payload are.
    pub(super) fn layout(&self) -> Layout {
        Layout::of(&self.header)
    }

    /// Without this, a header that was copied over another file would have its second copy written into that
    /// file's payload.
    ///
    /// # Errors
    /// [`Tampered::Prelude`] when the payload does not begin with what the header repeats.
    pub(super) fn check_prelude(&self) -> Result<()> {
        match self.payload_prelude()? {
            Some(bytes) if *bytes == self.header.bank().prelude.to_bytes() => Ok(()),
            _ => Err(Tampered::Prelude.into()),
        }
    }
}

/// What writes by renaming, as other programs do, heeds no lock: a change to a file that has lost its name would be
/// lost with it, or would take the newer one's place.
///
/// # Errors
/// [`Error::Io`] of the kind [`io::ErrorKind::ResourceBusy`].
pub(super) fn check_named<F: HeaderFile>(file: &mut F) -> Result<()> {
    match file.is_still_named().map_err(|error| Error::io("checking the file's name again", error))? {
        true => Ok(()),
        false => Err(refused("another file has just replaced this file")),
    }
}

pub(super) fn refused(why: &'static str) -> Error {
    Error::Io { action: "rewrapping".into(), source: io::Error::new(io::ErrorKind::ResourceBusy, why) }
}

/// Reads the front past the cache, around parts that cannot be read, which hold zeros then. Gives the error with them.
fn read_front<F: HeaderFile>(file: &mut F, len: u64) -> io::Result<(Front, Option<io::Error>)> {
    let len = usize::try_from(len).unwrap_or(FRONT_LEN).min(FRONT_LEN);
    let mut read_at = |buffer: &mut [u8], position| file.read_past_cache(position, buffer);
    let Around { mut bytes, mut unreadable, error } = read_around(&mut read_at, len);
    let read = bytes.len();
    if read < len {
        if error.is_none() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was truncated while it was read"));
        }
        // Beside a bad sector: what is missing is one of the parts that could not be read.
        bytes.resize(len, 0);
        unreadable.push(read..len);
    }
    Ok((Front::with_unreadable(bytes, unreadable), error))
}
