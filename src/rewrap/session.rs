//! One locked file, and the header that is on its disk.

use std::io;

use super::file::HeaderFile;
use super::settled::Stamp;
use crate::container::Layout;
use crate::error::{Error, FormatError, Result, Tampered};
use crate::format::{FRONT_LEN, Front, Header, PRELUDE_LEN};
use crate::io::{Around, read_around};

/// A file whose header may be changed. It is locked and synced. Its header was read from the disk, not from the cache.
///
/// Every change consumes the session. After a failed write or sync there is no retry.
#[derive(Debug)]
pub struct InPlace<F> {
    pub(super) file: F,
    pub(super) front: Front,
    pub(super) header: Header,
    pub(super) len: u64,
    /// The file's length and times before it was read.
    pub(super) stamp: Stamp,
    /// Whether the caller guarantees that the file is complete.
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
        // An earlier holder of the lock may have replaced the file.
        check_named(&mut file)?;
        // Data and renames of an interrupted run may be in the cache only.
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
            // A part that cannot be read may contain a header. So this is an error of the disk, and a later run may
            // succeed.
            (Err(FormatError::NotWaxseal | FormatError::Damaged), Some(error)) => return Err(failed(error)),
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Self { file, front, header, len, stamp, vouched: false })
    }

    /// The header that is on the disk.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload's first 56 bytes. `None` if they cannot be read.
    ///
    /// # Errors
    /// [`Tampered::Truncated`] if the file is too short to have a payload.
    pub(super) fn payload_prelude(&self) -> Result<Option<&[u8; PRELUDE_LEN]>, Tampered> {
        self.layout().carried(&self.front, self.len)
    }

    /// Where the parts of the payload are.
    pub(super) fn layout(&self) -> Layout {
        Layout::of(&self.header)
    }

    /// Without this check, if a header was copied over another file, its second bank would be written into that file's
    /// payload.
    ///
    /// # Errors
    /// [`Tampered::Prelude`] if the payload does not begin with the salt and commitment from the header.
    pub(super) fn check_prelude(&self) -> Result<()> {
        match self.payload_prelude()? {
            Some(bytes) if *bytes == self.header.bank().prelude.to_bytes() => Ok(()),
            _ => Err(Tampered::Prelude.into()),
        }
    }
}

/// Other programs that write by renaming ignore the lock. If the file has lost its name, a change to it would be lost,
/// or it would replace the newer file.
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

/// Reads the front past the cache. Parts that cannot be read are skipped and become zeros. Also returns the error for
/// them.
fn read_front<F: HeaderFile>(file: &mut F, len: u64) -> io::Result<(Front, Option<io::Error>)> {
    let len = usize::try_from(len).unwrap_or(FRONT_LEN).min(FRONT_LEN);
    let mut read_at = |buffer: &mut [u8], position| file.read_past_cache(position, buffer);
    let Around { mut bytes, mut unreadable, error } = read_around(&mut read_at, len);
    let read = bytes.len();
    if read < len {
        if error.is_none() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was truncated while it was read"));
        }
        // Next to a bad sector: the missing bytes are one of the parts that could not be read.
        bytes.resize(len, 0);
        unreadable.push(read..len);
    }
    Ok((Front::with_unreadable(bytes, unreadable), error))
}
