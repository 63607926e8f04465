//! Opens any range of a file, on several threads.

use rayon::ThreadPool;
use rayon::prelude::*;
use waxseal::Demands;
use waxseal::container::{Opening, Plaintext};
use waxseal::envelope::{OpenedBy, read_header_at};
use waxseal::error::{Error, Result, Tampered};
use waxseal::format::{CHUNK_LEN, Header, SEALED_CHUNK_LEN, TAG_LEN};
use waxseal::io::ReadAt;
use waxseal::keys::KeyOpener;
use waxseal::payload::ChunkIndex;
use zeroize::Zeroize;

use crate::process;
use crate::source::Source;

/// The plaintext that one thread opens in a row.
pub(crate) const BLOCK: usize = 1 << 20;
/// The same for a store, where each read is a request.
pub(crate) const FAR_BLOCK: usize = 4 << 20;
/// The plaintext of one read of a file. Its sealed bytes stay in the core's own cache.
const PIECE: usize = 16 * CHUNK_LEN;
/// For fewer bytes, a second thread costs more time than it saves.
const SMALL: usize = 256 << 10;

/// Plaintext, wiped when it is dropped: as a slice, because a vector is wiped byte by byte.
#[derive(Default)]
pub(crate) struct Plain(pub(crate) Vec<u8>);

impl Plain {
    /// Zeros.
    pub(crate) fn of_len(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// A file whose end is authenticated.
pub(crate) struct Opened {
    pub(crate) source: Source,
    pub(crate) plaintext: Plaintext,
    pub(crate) header: Header,
    pub(crate) by: OpenedBy,
}

/// How many bytes are authentic, and why not all are.
pub(crate) type Filled = (usize, Option<Error>);

impl Opened {
    /// Reads the header, checks the demands, tries the keys, and authenticates the end.
    pub(crate) fn open(source: Source, openers: &[&dyn KeyOpener], demands: &Demands) -> Result<Self> {
        let (front, header) = read_header_at(&mut |buffer, position| source.read_at(buffer, position))?;
        let (payload, header, by) = Opening::with_header(front, header, demands)?.open(openers)?.into_parts();
        let len = source.size().map_err(|error| Error::io("finding the end of the input", error))?;
        let end = payload.end(len)?;
        let mut sealed = vec![0; usize::try_from(end.range.end - end.range.start).unwrap_or(SEALED_CHUNK_LEN)];
        let read = read_full(&source, &mut sealed, end.range.start)
            .map_err(|error| Error::io("reading the last chunk", error))?;
        let plaintext = payload.with_end(&end, &sealed[..read])?;
        Ok(Self { source, plaintext, header, by })
    }

    /// The length of the plaintext in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.plaintext.len()
    }

    /// What one thread opens in a row.
    pub(crate) fn block(&self) -> usize {
        if self.source.is_far() { FAR_BLOCK } else { BLOCK }
    }

    /// Fills `out` with the plaintext from `start` on, on this thread. `out` ends with the plaintext or before.
    pub(crate) fn fill(&self, start: u64, out: &mut [u8]) -> Filled {
        let piece = if self.source.is_far() { FAR_BLOCK } else { PIECE };
        let (mut done, mut sealed) = (0, Vec::new());
        while done < out.len() {
            let at = start + done as u64;
            let len = to_boundary(at, piece).min(out.len() - done);
            if let Err(error) = self.read_sealed(at, len, &mut sealed) {
                return (done, Some(error));
            }
            let (made, failed) = open_sealed(&self.plaintext, at, &sealed, &mut out[done..][..len]);
            done += made;
            if failed.is_some() {
                return (done, failed);
            }
        }
        (done, None)
    }

    /// The same on several threads.
    pub(crate) fn fill_parallel(&self, start: u64, out: &mut [u8]) -> Filled {
        let threads = match process::threads() {
            Ok(threads) => threads,
            Err(error) => return (0, Some(error)),
        };
        if !self.source.is_free() {
            return self.fill_read_here(start, out, &threads.pool);
        }
        if out.len() <= SMALL {
            return self.fill(start, out);
        }
        let block = self.block();
        let pool = if self.source.is_far() { process::waiting_threads() } else { Ok(threads.pool) };
        match pool {
            Ok(pool) => pool.install(|| {
                let filled: Vec<_> = blocks(start, out, block)
                    .into_par_iter()
                    .map(|(at, out)| (out.len(), self.fill(at, out)))
                    .collect();
                joined(filled)
            }),
            Err(error) => (0, Some(error)),
        }
    }

    /// Reads on this thread, as a file object of Python needs it, and opens on all.
    fn fill_read_here(&self, start: u64, out: &mut [u8], pool: &ThreadPool) -> Filled {
        let (mut done, mut sealed) = (0, Vec::new());
        for (at, out) in blocks(start, out, FAR_BLOCK) {
            if let Err(error) = self.read_sealed(at, out.len(), &mut sealed) {
                return (done, Some(error));
            }
            let len = out.len();
            let (made, failed) = open_sealed_parallel(&self.plaintext, pool, at, &sealed, out);
            done += made;
            if failed.is_some() || made < len {
                return (done, failed);
            }
        }
        (done, None)
    }

    /// Reads the chunks with the plaintext of `len` bytes from `start` on.
    fn read_sealed(&self, start: u64, len: usize, sealed: &mut Vec<u8>) -> Result<()> {
        let range = self.plaintext.sealed_range(start..start + len as u64);
        sealed.resize(usize::try_from(range.end - range.start).unwrap_or(usize::MAX), 0);
        let read =
            read_full(&self.source, sealed, range.start).map_err(|error| Error::io("reading the payload", error))?;
        sealed.truncate(read);
        Ok(())
    }
}

/// Opens the plaintext from `start` on. `sealed` begins with the chunk that has this byte.
pub(crate) fn open_sealed(plaintext: &Plaintext, start: u64, sealed: &[u8], out: &mut [u8]) -> Filled {
    let (mut done, mut number) = (0, plaintext.chunk_of(start).get());
    let mut skip = usize::try_from(start - number * CHUNK_LEN as u64).unwrap_or(0);
    let mut chunks = sealed.chunks(SEALED_CHUNK_LEN);
    while done < out.len() {
        let opened = match (chunks.next(), ChunkIndex::new(number)) {
            (Some(chunk), Some(index)) => open_chunk(plaintext, index, chunk, skip, &mut out[done..]),
            // The file was cut after its end was authenticated.
            _ => Err(Tampered::Truncated { offset: start + done as u64 }),
        };
        match opened {
            Ok(made) => done += made,
            Err(tampered) => return (done, Some(tampered.into())),
        }
        (number, skip) = (number + 1, 0);
    }
    (done, None)
}

/// The same on several threads, if that is worth it.
pub(crate) fn open_sealed_parallel(
    plaintext: &Plaintext,
    pool: &ThreadPool,
    start: u64,
    sealed: &[u8],
    out: &mut [u8],
) -> Filled {
    if out.len() <= SMALL {
        return open_sealed(plaintext, start, sealed, out);
    }
    let first = plaintext.chunk_of(start).get();
    let place = |at: u64| {
        let from = usize::try_from(plaintext.chunk_of(at).get() - first).unwrap_or(usize::MAX);
        &sealed[from.saturating_mul(SEALED_CHUNK_LEN).min(sealed.len())..]
    };
    let open = |(at, out): (u64, &mut [u8])| (out.len(), open_sealed(plaintext, at, place(at), out));
    pool.install(|| joined(blocks(start, out, PIECE).into_par_iter().map(open).collect()))
}

/// Opens a chunk, and puts its plaintext without the first `skip` bytes into `out`, as far as there is room.
fn open_chunk(
    plaintext: &Plaintext,
    index: ChunkIndex,
    chunk: &[u8],
    skip: usize,
    out: &mut [u8],
) -> Result<usize, Tampered> {
    if skip == 0 && out.len() >= chunk.len().saturating_sub(TAG_LEN) {
        return plaintext.open_chunk_into(index, chunk, out);
    }
    let mut whole = Plain::of_len(CHUNK_LEN);
    let made = plaintext.open_chunk_into(index, chunk, &mut whole.0)?;
    let part = whole.0.get(skip..made).unwrap_or_default();
    let part = &part[..part.len().min(out.len())];
    out[..part.len()].copy_from_slice(part);
    Ok(part.len())
}

/// The bytes from `at` to the next multiple of `unit`.
pub(crate) fn to_boundary(at: u64, unit: usize) -> usize {
    unit - usize::try_from(at % unit as u64).unwrap_or(0)
}

/// Parts that end at multiples of `unit` of the plaintext.
fn blocks(start: u64, mut out: &mut [u8], unit: usize) -> Vec<(u64, &mut [u8])> {
    let (mut parts, mut at) = (Vec::new(), start);
    while !out.is_empty() {
        let len = to_boundary(at, unit).min(out.len());
        let (part, rest) = out.split_at_mut(len);
        parts.push((at, part));
        (out, at) = (rest, at + len as u64);
    }
    parts
}

/// What is authentic from the start on, and the first failure.
fn joined(parts: Vec<(usize, Filled)>) -> Filled {
    let mut done = 0;
    for (len, (made, failed)) in parts {
        done += made;
        if failed.is_some() || made < len {
            return (done, failed);
        }
    }
    (done, None)
}

/// Reads until `buffer` is full or the source ends.
pub(crate) fn read_full(source: &Source, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read_at(&mut buffer[done..], position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read.min(buffer.len() - done),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
