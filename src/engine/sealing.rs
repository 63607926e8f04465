//! How a source is sealed: what is read first, which header it gets, and how many threads work.

use std::io::{Cursor, Read};

use super::seal::SealJob;
use super::sink::Output;
use super::source::{Flow, Input, Positioned};
use super::{Engine, Observer, SMALL_INPUT, Sealed, Sink, Source, UNIT};
use crate::container::{front_of, least_layout};
use crate::envelope::{Envelope, InputSize};
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, LARGE_INPUT};
use crate::io::checked;

fn reading(error: std::io::Error) -> Error {
    Error::io("reading the input", error)
}

pub(super) fn seal(
    engine: &Engine,
    source: Source<'_>,
    sink: Sink<'_>,
    envelope: impl FnOnce() -> Result<Envelope> + Send,
    observer: &dyn Observer,
) -> Result<Sealed> {
    let output = Output::new(sink)?;
    match Input::new(source)? {
        Input::At(file) if file.len < SMALL_INPUT as u64 && !file.is_mapped() => {
            observer.total(file.len);
            // Reads to the end, whatever the length says, because files in /proc have no length.
            let mut reader = file.reader();
            let prefix = read_prefix(&mut reader)?;
            file.check_unchanged().map_err(reading)?;
            seal_stream(engine, prefix, Box::new(reader), output, envelope()?, observer)
        }
        Input::At(file) => {
            observer.total(file.len);
            seal_file(engine, &file, output, envelope, observer)
        }
        Input::Ordered(mut stream) => {
            // The envelope comes first, so that a stream without data yet does not delay the error of a refused key.
            let envelope = envelope()?;
            let prefix = read_prefix(&mut stream)?;
            seal_stream(engine, prefix, stream, output, envelope, observer)
        }
    }
}

fn seal_file(
    engine: &Engine,
    file: &Positioned<'_>,
    output: Output<'_>,
    envelope: impl FnOnce() -> Result<Envelope>,
    observer: &dyn Observer,
) -> Result<Sealed> {
    let size = InputSize::of(file.len);
    let end = least_layout(size).file_len(file.len)?;
    let is_small = file.len < SMALL_INPUT as u64;
    let (prepared, envelope) = match is_small {
        true => (Ok(()), envelope()),
        false => engine.helpers.beside(|| output.expect(end), envelope),
    };
    let sealed = prepared.and(envelope).and_then(|envelope| {
        let front = front_of(&envelope, size)?;
        let job = SealJob::new(envelope.sealer(), Flow::At(file), (&output, UNIT), front, observer);
        if is_small {
            engine.run_small(|buffers| job.work(buffers));
        } else {
            engine.run(|buffers| job.work(buffers));
        }
        let lengths = job.finish()?;
        // For a stream, the end was sent only after this check.
        if !output.is_ordered() {
            file.check_unchanged().map_err(reading)?;
        }
        Ok(lengths)
    });
    end_sealing(sealed, output)
}

/// `prefix` was already read from `stream`. It is the complete input, or enough to decide on the header.
fn seal_stream(
    engine: &Engine,
    prefix: Vec<u8>,
    stream: Box<dyn Read + Send + '_>,
    output: Output<'_>,
    envelope: Envelope,
    observer: &dyn Observer,
) -> Result<Sealed> {
    let len = prefix.len() as u64;
    let prefix = Cursor::new(prefix);
    // After an end of input there is no further read. On a terminal, the user would have to type the end twice.
    let plaintext: Box<dyn Read + Send + '_> =
        if len < LARGE_INPUT { Box::new(prefix) } else { Box::new(prefix.chain(stream)) };
    let sealed = front_of(&envelope, InputSize::of(len)).and_then(|front| {
        let plaintext = Flow::Ordered(plaintext);
        let job = SealJob::new(envelope.sealer(), plaintext, (&output, UNIT), front, observer);
        if len < SMALL_INPUT as u64 {
            engine.run_small(|buffers| job.work(buffers));
        } else {
            engine.run(|buffers| job.work(buffers));
        }
        job.finish()
    });
    end_sealing(sealed, output)
}

fn end_sealing(sealed: Result<(u64, u64)>, output: Output<'_>) -> Result<Sealed> {
    match sealed {
        Ok((plaintext_len, end)) => {
            output.finish(end)?;
            Ok(Sealed { plaintext_len, file_len: end })
        }
        Err(error) => {
            output.abandon(0);
            Err(error)
        }
    }
}

/// Reads at most 4 MiB, which is enough to decide on the header's length.
fn read_prefix(reader: &mut impl Read) -> Result<Vec<u8>> {
    // A small file is read in one step, and its end in another one.
    let mut prefix = Vec::with_capacity(CHUNK_LEN);
    Checked(reader).take(LARGE_INPUT).read_to_end(&mut prefix).map_err(reading)?;
    Ok(prefix)
}

/// A reader whose returned counts are limited to the requested length.
struct Checked<'a, R>(&'a mut R);

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(out)?;
        checked(read, out.len())
    }
}
