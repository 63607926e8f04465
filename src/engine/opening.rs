//! How a source is opened: header, demands, keys, and then the chunks, on as many threads as are useful.

use std::io::{Cursor, Read};

use super::open::OpenJob;
use super::sink::Output;
use super::source::{Flow, Input, Positioned};
use super::{Engine, Observer, Opened, SMALL_INPUT, Sink, Source, UNIT};
use crate::container::{End, Opening, Payload};
use crate::envelope::{Demands, read_front, read_header_at};
use crate::error::Result;
use crate::format::{CHUNK_LEN, FRONT_LEN, Front, Header, SEALED_CHUNK_LEN};
use crate::keys::KeyOpener;
use crate::payload::ChunkIndex;
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
    let check = |front: Front, header: Header| {
        observer.header(&header);
        Opening::with_header(front, header, demands)
    };
    match Input::new(source)? {
        Input::At(input) => {
            observer.total(input.len);
            let (front, header) = read_header_at(&mut |buffer, at| input.read_some_at(buffer, at))?;
            let (payload, header, by) = check(front, header)?.open(openers)?.into_parts();
            observer.advanced(payload.chunk_at(ChunkIndex::FIRST));
            let plaintext_len = open_positioned(engine, &payload, &input, output, observer)?;
            Ok(Opened { header, by, plaintext_len })
        }
        Input::Ordered(mut stream) => {
            let front = read_front(&mut stream)?;
            let ended = front.bytes().len() < FRONT_LEN;
            let header = Header::read(&front)?;
            let opening = check(front, header)?;
            let chunks = begun_stream(opening.begun().to_vec(), stream, ended);
            let (payload, header, by) = opening.open(openers)?.into_parts();
            observer.advanced(payload.chunk_at(ChunkIndex::FIRST));
            let threads = if ended { Threads::One } else { Threads::All };
            let chunks = Flow::Ordered(chunks);
            let plaintext_len = open_chunks(engine, &payload, chunks, threads, output, observer)?;
            Ok(Opened { header, by, plaintext_len })
        }
    }
}

/// The bytes that were already read of the chunks, and then the rest of the stream, unless the stream has ended.
fn begun_stream<'a>(begun: Vec<u8>, stream: Box<dyn Read + Send + 'a>, ended: bool) -> Box<dyn Read + Send + 'a> {
    let begun = Cursor::new(begun);
    if ended { Box::new(begun) } else { Box::new(begun.chain(stream)) }
}

/// The number of threads that is useful.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    One,
    All,
}

fn open_positioned(
    engine: &Engine,
    payload: &Payload,
    input: &Positioned<'_>,
    output: Output<'_>,
    observer: &dyn Observer,
) -> Result<u64> {
    let threads = if input.len < SMALL_INPUT as u64 { Threads::One } else { Threads::All };
    // A large file that was truncated is refused at once, unless the caller may want its good part.
    if !output.is_ordered() {
        let end = payload.end(input.len)?;
        // Space is allocated only now, so that a file without a matching key uses no space. If the last chunk does not
        // confirm the claimed length, no space is allocated in advance, and the first chunk that fails ends the work.
        if threads == Threads::All && is_last_chunk(payload, input, &end) {
            output.expect(end.plaintext_len)?;
        }
    }
    open_chunks(engine, payload, Flow::At(input), threads, output, observer)
}

/// Whether the last chunk authenticates at its position. If so, the length is authenticated.
fn is_last_chunk(payload: &Payload, input: &Positioned<'_>, end: &End) -> bool {
    let mut sealed = Zeroizing::new([0; SEALED_CHUNK_LEN]);
    let len = usize::try_from(end.range.end - end.range.start).unwrap_or(SEALED_CHUNK_LEN).min(SEALED_CHUNK_LEN);
    match input.read_at(&mut sealed[..len], end.range.start) {
        Ok(read) if read == len => payload.opener().open(end.index, &mut sealed[..len]).is_ok(),
        // The error will be found again when this range is read.
        _ => false,
    }
}

fn open_chunks(
    engine: &Engine,
    payload: &Payload,
    chunks: Flow<'_>,
    threads: Threads,
    output: Output<'_>,
    observer: &dyn Observer,
) -> Result<u64> {
    let unit = UNIT / CHUNK_LEN;
    let job = OpenJob::new(payload, chunks, (&output, unit), observer, ChunkIndex::FIRST);
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
            output.abandon(ChunkIndex::new(chunk).map_or(0, ChunkIndex::plaintext_offset));
            Err(error)
        }
    }
}
