//! The file operations of a rewrap, as a trait, so that a simulated disk can replace a real one.

use std::io;

use super::settled::{Others, Stamp};

/// A file with a header that will change, and its folder.
///
/// The methods are the steps of a rewrap. The machine may stop between any two of them.
pub trait HeaderFile: Sized {
    /// Takes the exclusive advisory lock, without waiting. Dropping the file releases it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process holds it. Otherwise any error of the system.
    fn lock(&mut self) -> io::Result<()>;

    /// Whether the path still refers to this file. An earlier holder of the lock may have replaced it.
    ///
    /// # Errors
    /// Any error of the system.
    fn is_still_named(&mut self) -> io::Result<bool>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn byte_len(&mut self) -> io::Result<u64>;

    /// The unit in which the file system writes, in bytes. A torn write cannot affect another block.
    ///
    /// # Errors
    /// Any error of the system.
    fn block_size(&mut self) -> io::Result<u64>;

    /// Writes all data to the disk (`fsync`).
    ///
    /// # Errors
    /// Any error of the system. After an error the cache is not reliable: it may mark pages as clean that were never
    /// written.
    fn sync(&mut self) -> io::Result<()>;

    /// Writes the folder's entries to the disk, if the system can.
    ///
    /// # Errors
    /// Any error of the system.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// Reads the content of the disk from `offset` on, and not the content of the cache. If fewer bytes than requested
    /// are returned, the file ends there. The range is dropped from the cache, if the system can do that, so that the
    /// next reader sees the same bytes. Call this only after [`HeaderFile::sync`].
    ///
    /// # Errors
    /// Any error of the system, for example a bad sector anywhere in the range.
    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Any error of the system. Any part of the bytes may have been written then.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Creates an empty locked file in the same folder, with this file's mode and owner if the system allows it. Its
    /// name shows that it is temporary. It is removed on drop, unless it has replaced this file.
    ///
    /// # Errors
    /// Any error of the system. Also an error if the file has other names, because these would keep the old header.
    fn create_beside(&mut self) -> io::Result<Self>;

    /// Copies all bytes from `offset` on into `successor`, starting at its byte `to`. Returns the number of bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn copy_tail(&mut self, offset: u64, successor: &mut Self, to: u64) -> io::Result<u64>;

    /// The file's length and times, to detect writes. They are compared before and after the file is copied.
    ///
    /// # Errors
    /// Any error of the system.
    fn stamp(&mut self) -> io::Result<Stamp> {
        Ok(Stamp { len: self.byte_len()?, modified: None, changed: None })
    }

    /// Asks the system whether another process has the file open. If none has, other opens wait until
    /// [`HeaderFile::let_others_in`] is called or the file is dropped.
    fn keep_others_out(&mut self) -> Others {
        Others::Unknown
    }

    /// Ends the effect of [`HeaderFile::keep_others_out`].
    fn let_others_in(&mut self) {}

    /// Gives this file's name to `successor`, which must be synced.
    ///
    /// # Errors
    /// Any error of the system.
    fn rename_over(&mut self, successor: &mut Self) -> io::Result<()>;
}
