//! Reads the front of a file, and decides on its header (spec 7).

use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, FormatError, Result};
use crate::format::{FRONT_LEN, Front, Header};
use crate::io::{Around, read_around, read_full};

/// A rewrap may be running. Damaged banks are read again this many times, with this pause, before they count as
/// damaged.
const RETRIES: usize = 3;
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Reads the front from a stream. A read error is final, because a stream cannot be read again.
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
        // Only these two cases can change by waiting, because a rewrap writes the same magic over the old one.
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
    let Around { bytes, unreadable, error } = read_around(read_at, FRONT_LEN);
    let lost = unreadable.iter().map(ExactSizeIterator::len).sum::<usize>();
    match error {
        // No byte could be read. That is not a damaged block, but a wrong or broken file.
        Some(error) if lost >= bytes.len() => Err(Error::io("reading the header", error)),
        _ => Ok(Front::with_unreadable(bytes, unreadable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_block_is_left_out() {
        let front = read_front_at(&mut crate::io::read_with_a_bad_sector).unwrap();
        assert_eq!(front.bytes().len(), 20_000);
        assert!(front.is_readable(&(0..8192)) && front.is_readable(&(12_288..20_000)));
        assert!(!front.is_readable(&(8191..8193)) && !front.is_readable(&(12_000..12_001)));
        let mut broken = |_: &mut [u8], _| Err(io::Error::other("no disk"));
        assert!(matches!(read_front_at(&mut broken), Err(Error::Io { .. })));
    }
}
