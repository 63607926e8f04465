//! `cat`: writes a range of the plaintext to stdout.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use waxseal::engine::{Patient, Sink};
use waxseal::{Error, OpenReader, OpenReaderAt};

use super::open::Open;
use crate::Result;
use crate::args::{ByteRange, CatArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::check_stdout;
use crate::place::Place;
use crate::report::Done;
use crate::session::Session;
use crate::streams;

/// Writes the range.
pub(crate) fn run(args: &CatArgs, session: &Session) -> Result<Exit> {
    let name = Place::input(&args.input);
    let open = Open::new(&args.open, &args.pairs, std::slice::from_ref(&name), session)?;
    Ok(session.reporter.finished(Some(&name.name()), cat(&name, args.range, &open)))
}

fn cat(name: &Place, range: ByteRange, open: &Open<'_>) -> Result<Done> {
    let input = name.open()?;
    let mut forbidden = open.forbidden();
    forbidden.extend(input.identity().map(|identity| (identity, "input")));
    check_stdout(&forbidden)?;
    let stdout = streams::stdout().map_err(|error| Failure::io("opening the output", error))?;
    if input.is_seekable() {
        seek(&input, range, stdout, open)
    } else if range.end < u64::MAX {
        start(&input, range, stdout, open)
    } else {
        pass(&name.display(), &input, range, stdout, open)
    }
}

/// Opens only the chunks of the range, and the last chunk for the length.
fn seek(input: &Input, range: ByteRange, stdout: File, open: &Open<'_>) -> Result<Done> {
    let reader = OpenReaderAt::new(input.cursor(), &open.openers(), open.demands());
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return Err(open.explain(error, None, input)),
    };
    let by = reader.opened_by();
    open.warn(reader.header(), &by.failed);
    let done = open.done(reader.header(), by.slot, by.key.clone(), reader.plaintext_len());
    let start = range.start.min(reader.plaintext_len());
    reader.seek(SeekFrom::Start(start)).map_err(|error| Error::io("reading the input", error))?;
    let most = range.end.min(reader.plaintext_len()).saturating_sub(start);
    let passed = copy(&mut reader, most, &mut Patient(&stdout))?;
    closed(stdout)?;
    Ok(Done { bytes: Some(passed), ..done }.of(input))
}

/// Reads a stream only as far as the range needs it. What comes after the range is not looked at.
fn start(input: &Input, range: ByteRange, stdout: File, open: &Open<'_>) -> Result<Done> {
    let mut reader = match OpenReader::new(input.stream(), &open.openers(), open.demands()) {
        Ok(reader) => reader,
        Err(error) => return Err(open.explain(error, None, input)),
    };
    let by = reader.opened_by();
    open.warn(reader.header(), &by.failed);
    let done = open.done(reader.header(), by.slot, by.key.clone(), 0);
    // The end was not read, so the lengths are not known.
    let evidence = done.evidence.clone().with_lengths(None, None);
    copy(&mut reader, range.start, &mut io::sink())?;
    let passed = copy(&mut reader, range.end - range.start, &mut Patient(&stdout))?;
    closed(stdout)?;
    Ok(Done { bytes: Some(passed), evidence, ..done })
}

/// Reads a stream to its end, so that all of it is authenticated, and lets the range through.
fn pass(name: &str, input: &Input, range: ByteRange, stdout: File, open: &Open<'_>) -> Result<Done> {
    let mut window = Window { inner: Patient(&stdout), range, position: 0, passed: 0 };
    let done = open.open_into(name, input, Sink::Stream(&mut window))?;
    let passed = window.passed;
    closed(stdout)?;
    Ok(Done { bytes: Some(passed), ..done })
}

/// Copies at most `most` bytes; fewer if the content ends before. Returns their number.
fn copy(reader: &mut impl Read, most: u64, out: &mut impl Write) -> Result<u64> {
    let (mut left, mut buffer) = (most, vec![0; 1 << 16]);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = reader.read(&mut buffer[..want]).map_err(|error| Error::io("reading the input", error))?;
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read]).map_err(|error| Error::io("writing to stdout", error))?;
        left -= read as u64;
    }
    Ok(most - left)
}

/// Some file systems report a full disk only when a file is closed.
fn closed(stdout: File) -> Result<()> {
    waxseal::io::close(stdout).map_err(|error| Failure::io("closing stdout", error))
}

/// Writes only the bytes of a range.
struct Window<W> {
    inner: W,
    range: ByteRange,
    position: u64,
    passed: u64,
}

impl<W: Write> Write for Window<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let within =
            |place: u64| usize::try_from(place.saturating_sub(self.position)).unwrap_or(usize::MAX).min(bytes.len());
        let part = &bytes[within(self.range.start)..within(self.range.end)];
        self.inner.write_all(part)?;
        self.position += bytes.len() as u64;
        self.passed += part.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_lets_its_range_through() {
        for (start, end, expected) in [(0, 3, "012"), (2, 7, "23456"), (4, 4, ""), (8, u64::MAX, "89"), (20, 30, "")] {
            for size in 1..=10 {
                let range = ByteRange { start, end };
                let mut window = Window { inner: Vec::new(), range, position: 0, passed: 0 };
                for piece in b"0123456789".chunks(size) {
                    window.write_all(piece).unwrap();
                }
                assert_eq!(window.inner, expected.as_bytes());
                assert_eq!(window.passed, expected.len() as u64);
            }
        }
    }
}
