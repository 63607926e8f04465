//! What rewrapping needs of a file, so that a simulated disk can stand in for a real one.

use std::io;

use super::settled::{Others, Stamp};

/// A file whose header is to change, and the folder that names it.
///
/// The methods are the steps of which a rewrap consists; between any two of them the machine may stop.
pub trait HeaderFile: Sized {
    /// Takes the exclusive advisory lock, without waiting. Dropping the file releases it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another holds it; whatever the system answers otherwise.
    fn lock(&mut self) -> io::Result<()>;

    /// Whether the path still names this file: a rewrap that held the lock before may have replaced it.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn is_still_named(&mut self) -> io::Result<bool>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn byte_len(&mut self) -> io::Result<u64>;

    /// The unit in which the file system writes, in bytes: what stands in another block, no torn write can reach.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn block_size(&mut self) -> io::Result<u64>;

    /// Brings everything written so far to the disk.
    ///
    /// # Errors
    /// Whatever the system answers. The cache cannot be believed then: it may call pages clean that never arrived.
    fn sync(&mut self) -> io::Result<()>;

    /// Brings the folder's entries to the disk, as far as the system allows.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// Reads what the disk holds, not what the cache believes, from `offset` on; fewer bytes than asked for are
    /// the end of the file. The cache is made to forget the range, as far as the system allows, so that the next
    /// reader sees the same. To be called after [`HeaderFile::sync`] alone.
    ///
    /// # Errors
    /// Whatever the system answers, as for a bad sector anywhere in the range.
    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the system answers. Any part may have been written then.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes an empty file beside this one, locked, with its mode and owner as far as the system allows, under a
    /// name that nobody takes for a result. It vanishes on drop unless it has taken this one's place.
    ///
    /// # Errors
    /// Whatever the system answers; also where the file has further names, which would keep the old header.
    fn create_beside(&mut self) -> io::Result<Self>;

    /// Copies everything from `offset` on into `successor`, from its byte `to` on. Returns the bytes copied.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn copy_tail(&mut self, offset: u64, successor: &mut Self, to: u64) -> io::Result<u64>;

    /// How the file looks, to tell whether it was written since. Looked at before the file is copied, and after.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn stamp(&mut self) -> io::Result<Stamp> {
        Ok(Stamp { len: self.byte_len()?, modified: None, changed: None })
    }

    /// Asks the system who else has the file open, and where that is nobody, to let nobody open it until
    /// [`HeaderFile::let_others_in`] is called or the file is dropped.
    fn keep_others_out(&mut self) -> Others {
        Others::Unknown
    }

    /// Ends what [`HeaderFile::keep_others_out`] began.
    fn let_others_in(&mut self) {}

    /// Gives this file's name to `successor`, which must have been synced.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn rename_over(&mut self, successor: &mut Self) -> io::Result<()>;
}
