//! Reads and writes at positions, and reads until the buffer is full. No other module implements these.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// A large read that fails is repeated in pieces of this size, in bytes, so that a bad sector costs only one piece.
const PIECE: usize = 4096;

/// An object that several threads can read at any position: a file, a disk, or an object in a store.
///
/// ```
/// use std::io::{self, Read};
/// use waxseal::io::ReadAt;
///
/// struct Memory(Vec<u8>);
///
/// impl ReadAt for Memory {
///     fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
///         let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.0.len());
///         (&self.0[from..]).read(buffer)
///     }
///
///     fn size(&self) -> io::Result<u64> {
///         Ok(self.0.len() as u64)
///     }
/// }
/// ```
pub trait ReadAt: Sync {
    /// Reads like [`Read::read`], from `position` on.
    ///
    /// # Errors
    /// An error means that this range cannot be read. Other ranges may still be readable.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn size(&self) -> io::Result<u64>;

    /// The position of the first byte at or after `position` that may have been written. The bytes before it are a hole
    /// and read as zeros. `None` if nothing was written up to the end. If holes are not known, return `position`.
    ///
    /// # Errors
    /// An error means that holes are not known. Then everything is read.
    fn data_from(&self, position: u64) -> io::Result<Option<u64>> {
        Ok(Some(position))
    }

    /// Fails if the content has changed since this value was created. If that cannot be detected, return `Ok`.
    ///
    /// # Errors
    /// An error that contains [`InputChanged`](crate::error::InputChanged) means that the content has changed.
    fn check_unchanged(&self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        (**self).read_at(buffer, position)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn data_from(&self, position: u64) -> io::Result<Option<u64>> {
        (**self).data_from(position)
    }

    fn check_unchanged(&self) -> io::Result<()> {
        (**self).check_unchanged()
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self, buffer, position);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self, buffer, position);
        #[cfg(not(any(unix, windows)))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("no positioned reads: {position}, {buffer:?}")));
    }

    /// The length of a block device is found only by a seek to its end. The cursor is restored after it.
    fn size(&self) -> io::Result<u64> {
        let meta = self.metadata()?;
        if meta.is_file() {
            return Ok(meta.len());
        }
        let mut file = self;
        let cursor = file.stream_position()?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(cursor))?;
        Ok(len)
    }

    /// Moves the file's cursor. No read here uses the cursor.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"))]
    fn data_from(&self, position: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(position)) {
            Ok(data) => Ok(Some(data)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A destination for a complete output. The bytes come at their positions and from several threads. Examples are a
/// file, or an object that a store assembles from parts.
///
/// Every byte comes exactly once, in any order. Each call except the one with the output's end brings 1 MiB that starts
/// at a multiple of 1 MiB. At the end there is one call of [`finish`](Self::finish) or [`abandon`](Self::abandon). If
/// the value is dropped without either call, for example after a panic, the output must not be kept.
pub trait WriteAt: Sync {
    /// The output will end at `end` or slightly later. Space may be allocated for it. Not called if the length is not
    /// known.
    ///
    /// # Errors
    /// An error ends the work, for example if there is no space.
    fn expect(&self, _end: u64) -> io::Result<()> {
        Ok(())
    }

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// An error ends the work.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// All bytes up to `end` have been written. The output is complete, and may appear only now.
    ///
    /// # Errors
    /// An error means that the output is not complete.
    fn finish(self: Box<Self>, end: u64) -> io::Result<()>;

    /// The work has failed. The bytes before `end` are good: verified plaintext if a file was opened. If a file was
    /// sealed, none are good.
    fn abandon(self: Box<Self>, end: u64);
}

/// Writes all of `bytes` at a position of `file`.
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_at(file, bytes, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                position += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_at(file, bytes, position);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_write(file, bytes, position);
    #[cfg(not(any(unix, windows)))]
    {
        let _ = (file, bytes, position);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reads until `buffer` is full or the input ends. Returns the number of bytes read.
pub(crate) fn fill_at(
    read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>,
    buffer: &mut [u8],
    position: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read_at(&mut buffer[done..], position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += checked(read, buffer.len() - done)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Like [`fill_at`], but for any [`ReadAt`].
pub(crate) fn read_full_at(source: &(impl ReadAt + ?Sized), buffer: &mut [u8], position: u64) -> io::Result<usize> {
    fill_at(&mut |buffer, position| source.read_at(buffer, position), buffer, position)
}

/// Reads until `buffer` is full or the input ends. Returns the number of bytes. A short read is not the end.
pub(crate) fn read_full(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    fill_at(&mut |buffer, _| reader.read(buffer), buffer, 0)
}

/// The count that a reader returned for a read into `room` bytes.
///
/// A larger count is a bug of the reader. If it were accepted, old content of the buffer would be used as input, and
/// chunk numbers would be computed from a wrong length.
pub(crate) fn checked(read: usize, room: usize) -> io::Result<usize> {
    if read <= room {
        return Ok(read);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the reader claims more bytes than it was asked for"))
}

/// The bytes that could be read, and the ranges that could not.
pub(crate) struct Around {
    /// The bytes. The parts that could not be read are zeros.
    pub(crate) bytes: Vec<u8>,
    /// The ranges that could not be read.
    pub(crate) unreadable: Vec<Range<usize>>,
    /// The error for them. `None` if everything could be read.
    pub(crate) error: Option<io::Error>,
}

/// Reads up to `len` bytes from the start in one read. If that fails, reads in pieces.
pub(crate) fn read_around(read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>, len: usize) -> Around {
    let mut bytes = vec![0; len];
    let error = match fill_at(read_at, &mut bytes, 0) {
        Ok(read) => {
            bytes.truncate(read);
            return Around { bytes, unreadable: Vec::new(), error: None };
        }
        Err(error) => error,
    };
    let (mut end, mut unreadable) = (0, Vec::new());
    for start in (0..len).step_by(PIECE) {
        let piece = start..len.min(start + PIECE);
        end = piece.end;
        match fill_at(read_at, &mut bytes[piece.clone()], start as u64) {
            Ok(read) if read < piece.len() => {
                end = start + read;
                break;
            }
            Ok(_) => {}
            Err(_) => {
                bytes[piece.clone()].fill(0);
                unreadable.push(piece);
            }
        }
    }
    bytes.truncate(end);
    // The pieces may be readable although the read as a whole failed.
    let error = (!unreadable.is_empty()).then_some(error);
    Around { bytes, unreadable, error }
}

/// Reads a file of 20,000 sevens in which the bytes from 8192 to 9000 cannot be read.
#[cfg(test)]
pub(crate) fn read_with_a_bad_sector(buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let range = position..position + buffer.len() as u64;
    if range.start < 9000 && 8192 < range.end {
        return Err(io::Error::other("bad sector"));
    }
    let len = buffer.len().min(20_000usize.saturating_sub(usize::try_from(position).unwrap()));
    buffer[..len].fill(7);
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_piece_is_left_out() {
        let around = read_around(&mut read_with_a_bad_sector, 100_000);
        assert_eq!(around.bytes.len(), 20_000);
        assert_eq!(around.unreadable, std::iter::once(8192..12_288).collect::<Vec<_>>());
        assert!(around.error.is_some() && around.bytes[8192..12_288].iter().all(|byte| *byte == 0));
        assert!(around.bytes[..8192].iter().chain(&around.bytes[12_288..]).all(|byte| *byte == 7));
    }

    #[test]
    fn short_reads_interruptions_and_false_counts() {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, b"0123456789", 0).unwrap();
        let mut calls = 0;
        let mut halting = |buffer: &mut [u8], position: u64| {
            calls += 1;
            if calls % 2 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let room = buffer.len().min(3);
            ReadAt::read_at(&file, &mut buffer[..room], position)
        };
        let mut buffer = [0; 16];
        assert_eq!(fill_at(&mut halting, &mut buffer, 1).unwrap(), 9);
        assert_eq!(&buffer[..9], b"123456789");
        let mut boasting = |buffer: &mut [u8], _| Ok(buffer.len() + 1);
        assert_eq!(fill_at(&mut boasting, &mut buffer, 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_length_of_a_file_leaves_its_cursor_alone() {
        let mut file = tempfile::tempfile().unwrap();
        write_all_at(&file, &[0; 5000], 0).unwrap();
        file.seek(SeekFrom::Start(3)).unwrap();
        assert_eq!((ReadAt::size(&file).unwrap(), file.stream_position().unwrap()), (5000, 3));
    }
}
