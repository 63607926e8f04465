//! How a source is opened: header, demands, keys, and then the chunks on as many threads as they are worth.

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

/// What was read of the chunks already, and then the rest of the stream, unless it has ended.
fn begun_stream<'a>(begun: Vec<u8>, stream: Box<dyn Read + Send + 'a>, ended: bool) -> Box<dyn Read + Send + 'a> {
    let begun = Cursor::new(begun);
    if ended { Box::new(begun) } else { Box::new(begun.chain(stream)) }
}

/// How many threads the work is worth.
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
    // A terabyte that was cut off is refused at once, unless its good part may be wanted.
    if !output.is_ordered() {
        let end = payload.end(input.len)?;
        // Only now: who has no key takes no room. Nor does who claims a length that the last chunk does not bear out:
        // then room is got as chunks are written, and the first that fails ends it.
        if threads == Threads::All && is_last_chunk(payload, input, &end) {
            output.expect(end.plaintext_len)?;
        }
    }
    open_chunks(engine, payload, Flow::At(input), threads, output, observer)
}

/// Whether the last chunk authenticates in its place, and so the length with it.
fn is_last_chunk(payload: &Payload, input: &Positioned<'_>, end: &End) -> bool {
    let mut sealed = Zeroizing::new([0; SEALED_CHUNK_LEN]);
    let len = usize::try_from(end.range.end - end.range.start).unwrap_or(SEALED_CHUNK_LEN).min(SEALED_CHUNK_LEN);
    match input.read_at(&mut sealed[..len], end.range.start) {
        Ok(read) if read == len => payload.opener().open(end.index, &mut sealed[..len]).is_ok(),
        // Who reads on there will tell.
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
