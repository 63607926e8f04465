//! Reads the front of a file, and decides on its header (spec 7).

use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, FormatError, Result};
use crate::format::{FRONT_LEN, Front, Header};

/// Damage is looked for again in pieces of this size, which divides every bank.
const BLOCK: usize = 4096;
/// A rewrap may be under way: banks are read again this often, this far apart, before they count as damaged.
const RETRIES: usize = 3;
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Reads the front from a stream. A read error is final: a stream cannot be asked again.
///
/// # Errors
/// [`Error::Io`].
pub fn read_front(reader: &mut impl Read) -> Result<Front> {
    let mut bytes = vec![0; FRONT_LEN];
    let len = read_full(reader, &mut bytes).map_err(|error| Error::io("reading the header", error))?;
    bytes.truncate(len);
    Ok(Front::new(bytes))
}

/// Reads front and header of something that can be read at any position.
///
/// `read_at(buffer, position)` reads like [`Read::read`], into private memory. Parts that cannot be read count as damaged.
/// Damaged or differing banks are read again before they are reported.
///
/// # Errors
/// [`FormatError`] when there is no usable header.
pub fn read_header_at(read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>) -> Result<(Front, Header)> {
    let mut retries = 0;
    loop {
        let front = read_front_at(read_at)?;
        let header = Header::read(&front);
        // A rewrap writes the same magic over the magic, so only these two can pass by waiting.
        let may_pass = match &header {
            Ok(header) => !header.warnings().is_empty(),
            Err(error) => *error == FormatError::Damaged,
        };
        if !may_pass || retries == RETRIES {
            return Ok((front, header?));
        }
        retries += 1;
        sleep(RETRY_AFTER);
    }
}

fn read_front_at(read_at: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>) -> Result<Front> {
    let mut bytes = vec![0; FRONT_LEN];
    if let Ok(len) = fill_at(read_at, &mut bytes, 0) {
        bytes.truncate(len);
        return Ok(Front::new(bytes));
    }
    let (mut end, mut unreadable, mut last_error) = (0, Vec::new(), None);
    for start in (0..FRONT_LEN).step_by(BLOCK) {
        let block = start..FRONT_LEN.min(start + BLOCK);
        match fill_at(read_at, &mut bytes[block.clone()], start as u64) {
            Ok(len) if len < block.len() => {
                end = end.max(start + len);
                break;
            }
            Ok(_) => end = block.end,
            Err(error) => {
                end = block.end;
                unreadable.push(block);
                last_error = Some(error);
            }
        }
    }
    bytes.truncate(end);
    match last_error {
        // Nothing at all could be read: that is no damaged block but a wrong or broken file.
        Some(error) if unreadable.len() * BLOCK >= end => Err(Error::io("reading the header", error)),
        _ => Ok(Front::with_unreadable(bytes, unreadable)),
    }
}

/// Reads until `buffer` is full or the end is met; the number of bytes read.
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

/// Reads until `buffer` is full or the end is met; the number of bytes. A short read is not the end.
pub(crate) fn read_full(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    fill_at(&mut |buffer, _| reader.read(buffer), buffer, 0)
}

/// What a reader says it read into `room` bytes.
///
/// A count beyond that is a reader's bug. Were it believed, what the buffer holds of old would pass for input, and
/// chunk numbers would be counted from a length that never was.
pub(crate) fn checked(read: usize, room: usize) -> io::Result<usize> {
    if read <= room {
        return Ok(read);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the reader reports more bytes than it was asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_block_is_left_out() {
        let mut read_at = |buffer: &mut [u8], position: u64| {
            let range = position..position + buffer.len() as u64;
            if range.start < 9000 && 8192 < range.end {
                return Err(io::Error::other("bad sector"));
            }
            let len = buffer.len().min(20_000usize.saturating_sub(usize::try_from(position).unwrap()));
            buffer[..len].fill(7);
            Ok(len)
        };
        let front = read_front_at(&mut read_at).unwrap();
        assert_eq!(front.bytes().len(), 20_000);
        assert!(front.is_readable(&(0..8192)) && front.is_readable(&(12_288..20_000)));
        assert!(!front.is_readable(&(8191..8193)) && !front.is_readable(&(12_000..12_001)));
        let mut broken = |_: &mut [u8], _| Err(io::Error::other("no disk"));
        assert!(matches!(read_front_at(&mut broken), Err(Error::Io { .. })));
    }
}
