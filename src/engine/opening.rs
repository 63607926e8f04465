//! How a source is opened: header, demands, keys, and then the chunks on as many threads as they are worth.

use std::io::{Cursor, Read};

use super::open::{Chunks, OpenJob};
use super::sink::Output;
use super::source::{FileInput, Input};
use super::{Engine, Observer, Opened, SMALL_INPUT, Sink, Source, UNIT, system};
use crate::envelope::{Demands, Unlocked, payload_prelude, read_front, read_header_at, unlock};
use crate::error::Result;
use crate::format::{CHUNK_LEN, FRONT_LEN, Front, Header, PRELUDE_LEN, SEALED_CHUNK_LEN, plaintext_len};
use crate::keys::KeyOpener;
use crate::payload::{ChunkIndex, ChunkOpener};
use zeroize::Zeroizing;

pub(super) fn open(
    engine: &Engine,
    source: Source<'_>,
    sink: Sink<'_>,
    openers: &[&dyn KeyOpener],
    demands: &Demands,
    observer: &dyn Observer,
) -> Result<Opened> {
    let output = Output::new(sink)?;
    let check = |front: &Front, header: &Header| -> Result<_> {
        observer.header(header);
        // The least length is looked at before what the caller demands (spec 12.1).
        let prelude = payload_prelude(front, header)?;
        demands.check(&header.bank().binding)?;
        Ok(prelude)
    };
    match Input::new(source)? {
        Input::At(file) => {
            observer.total(file.len);
            let (front, header) = read_header_at(&mut |buffer, at| system::read_at(file.file, buffer, at))?;
            let prelude = check(&front, &header)?;
            drop(front);
            let unlocked = unlock(header.bank(), &prelude, openers)?;
            let chunks_at = chunks_at(&header);
            observer.advanced(chunks_at);
            let len = open_file(engine, &unlocked.opener, (&file, chunks_at), output, observer)?;
            Ok(opened(header, unlocked, len))
        }
        Input::Ordered(mut stream) => {
            let front = read_front(&mut stream)?;
            let header = Header::read(&front)?;
            let prelude = check(&front, &header)?;
            let unlocked = unlock(header.bank(), &prelude, openers)?;
            let chunks_at = chunks_at(&header);
            observer.advanced(chunks_at);
            let begun = front.bytes().get(usize::try_from(chunks_at).unwrap_or(usize::MAX)..).unwrap_or_default();
            let ended = front.bytes().len() < FRONT_LEN;
            let chunks = begun_stream(begun.to_vec(), stream, ended);
            let small = if ended { Threads::One } else { Threads::All };
            let len = open_chunks(engine, &unlocked.opener, Chunks::Ordered(chunks), (small, 0), output, observer)?;
            Ok(opened(header, unlocked, len))
        }
    }
}

/// What was read of the chunks already, and then the rest of the stream, unless it has ended.
fn begun_stream<'a>(begun: Vec<u8>, stream: Box<dyn Read + Send + 'a>, ended: bool) -> Box<dyn Read + Send + 'a> {
    let begun = Cursor::new(begun);
    if ended { Box::new(begun) } else { Box::new(begun.chain(stream)) }
}

fn chunks_at(header: &Header) -> u64 {
    header.payload_offset() + PRELUDE_LEN as u64
}

fn opened(header: Header, unlocked: Unlocked, plaintext_len: u64) -> Opened {
    Opened { header, by: unlocked.by, plaintext_len }
}

/// How many threads the work is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    One,
    All,
}

fn open_file(
    engine: &Engine,
    opener: &ChunkOpener,
    (file, chunks_at): (&FileInput<'_>, u64),
    output: Output<'_>,
    observer: &dyn Observer,
) -> Result<u64> {
    let threads = if file.len < SMALL_INPUT as u64 { Threads::One } else { Threads::All };
    if threads == Threads::All {
        system::will_read_in_order(file.file);
    }
    // A terabyte that was cut off is refused at once, unless its good part may be wanted.
    if !output.is_ordered() {
        let payload_at = chunks_at - PRELUDE_LEN as u64;
        let end = plaintext_len(file.len.saturating_sub(payload_at))?;
        // Only now: who has no key takes no room. Nor does who claims a length that the last chunk does not bear out:
        // then room is got as chunks are written, and the first that fails ends it.
        if threads == Threads::All && is_last_chunk(opener, file, chunks_at, end) {
            output.expect(end)?;
        }
    }
    open_chunks(engine, opener, Chunks::At(file, chunks_at), (threads, 0), output, observer)
}

/// Whether the last chunk of a plaintext that ends at `end` authenticates in its place, and so that length with it.
fn is_last_chunk(opener: &ChunkOpener, file: &FileInput<'_>, chunks_at: u64, end: u64) -> bool {
    let number = end / CHUNK_LEN as u64;
    let position = chunks_at + number * SEALED_CHUNK_LEN as u64;
    let mut sealed = Zeroizing::new([0; SEALED_CHUNK_LEN]);
    let len = usize::try_from(file.len.saturating_sub(position)).unwrap_or(SEALED_CHUNK_LEN).min(SEALED_CHUNK_LEN);
    match file.read_at(&mut sealed[..len], position) {
        Ok(read) if read == len => {
            ChunkIndex::new(number).is_some_and(|index| opener.open(index, &mut sealed[..len]).is_ok())
        }
        // Who reads on there will tell.
        _ => false,
    }
}

/// Opens the chunks of a payload, of which the first has number `first`.
pub(super) fn open_chunks(
    engine: &Engine,
    opener: &ChunkOpener,
    chunks: Chunks<'_>,
    (threads, first): (Threads, u64),
    output: Output<'_>,
    observer: &dyn Observer,
) -> Result<u64> {
    let unit = UNIT / CHUNK_LEN;
    let job = OpenJob::new(opener, chunks, (&output, unit), observer, first);
    match threads {
        Threads::One => engine.run_small(|buffers| job.work(buffers)),
        Threads::All => engine.run(|buffers| job.work(buffers)),
    }
    match job.finish() {
        Ok(len) => {
            output.finish(len)?;
            Ok(len)
        }
        Err((chunk, error)) => {
            output.abandon(chunk.saturating_sub(first) * CHUNK_LEN as u64);
            Err(error)
        }
    }
}
