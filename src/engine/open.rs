//! Opens on all threads.
//!
//! Chunks are read into private memory, opened there into memory that is private too, and only then written. Cut at
//! 64 chunks, the plaintext is cut at multiples of 1 MiB.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use super::buffers::Buffers;
use super::ordered::{Failures, TaskGuard};
use super::sink::Output;
use super::source::FileInput;
use super::{Observer, PIECE_CHUNKS};
use crate::envelope::read_full;
use crate::error::{Error, Result, Tampered};
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN};
use crate::payload::{ChunkIndex, ChunkOpener};

/// The chunks of a payload.
pub(super) enum Chunks<'a> {
    /// In a file, from a position on.
    At(&'a FileInput<'a>, u64),
    /// All that comes.
    Ordered(Box<dyn Read + Send + 'a>),
}

/// One payload being opened by several threads.
pub(super) struct OpenJob<'a, 'o> {
    opener: &'a ChunkOpener,
    /// Chunks in a task.
    unit: usize,
    file: Option<(&'a FileInput<'a>, u64)>,
    claims: Mutex<Claims<'a>>,
    output: &'a Output<'o>,
    failures: Failures,
    observer: &'a dyn Observer,
}

struct Claims<'a> {
    stream: Option<Box<dyn Read + Send + 'a>>,
    task: u64,
    chunk: u64,
    ended: bool,
    /// Length of the plaintext, once the last chunk has been opened.
    plaintext_len: Option<u64>,
}

struct Task {
    number: u64,
    first: u64,
    /// Bytes of chunks.
    sealed: usize,
}

/// How a stretch of chunks went.
struct Opened {
    /// Verified plaintext.
    plain: usize,
    /// The chunk that failed, and how.
    failed: Option<(u64, Error)>,
    /// Its last chunk was a short one, and verified.
    ended: bool,
}

impl<'a, 'o> OpenJob<'a, 'o> {
    /// Tasks of `unit` chunks, at most 64. The first of `chunks` has number `first`: zero, but for tests.
    pub(super) fn new(
        opener: &'a ChunkOpener,
        chunks: Chunks<'a>,
        (output, unit): (&'a Output<'o>, usize),
        observer: &'a dyn Observer,
        first: u64,
    ) -> Self {
        let (file, stream) = match chunks {
            Chunks::At(file, position) => (Some((file, position)), None),
            Chunks::Ordered(stream) => (None, Some(stream)),
        };
        let claims = Mutex::new(Claims { stream, task: 0, chunk: first, ended: false, plaintext_len: None });
        Self { opener, unit, file, claims, output, failures: Failures::default(), observer }
    }

    /// One thread's part: task after task, until there is none.
    pub(super) fn work(&self, buffers: &mut Buffers) {
        while let Some(task) = self.claim(buffers) {
            let guard = TaskGuard { task: task.number, output: self.output, failures: &self.failures };
            self.open_task(&task, buffers);
            drop(guard);
        }
    }

    /// The plaintext's length, or the first chunk that failed and how.
    pub(super) fn finish(self) -> Result<u64, (u64, Error)> {
        let claims = self.claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (self.failures.into_first(), claims.plaintext_len) {
            (Some(failure), _) => Err(failure),
            (None, Some(len)) => Ok(len),
            (None, None) => Err((0, Error::Bug("opening stopped in a panic"))),
        }
    }

    fn claim(&self, buffers: &mut Buffers) -> Option<Task> {
        let Ok(mut guard) = self.claims.lock() else {
            // The caller's reader panicked: what it would give next does not follow on what was read.
            self.failures.panicked();
            return None;
        };
        let claims = &mut *guard;
        if claims.ended || self.failures.any() {
            return None;
        }
        let whole = self.unit * SEALED_CHUNK_LEN;
        let there = match (&mut claims.stream, self.file) {
            (Some(stream), _) => read_full(stream.as_mut(), &mut buffers.input[..whole]),
            (None, Some((file, position))) => {
                let left = file.len.saturating_sub(position + claims.chunk * SEALED_CHUNK_LEN as u64);
                Ok(usize::try_from(left).unwrap_or(usize::MAX).min(whole))
            }
            (None, None) => Ok(0),
        };
        let sealed = match there {
            Ok(there) => there,
            Err(error) => {
                self.failures.add(claims.chunk, Error::io("reading the input", error));
                self.output.close_behind(claims.task);
                return None;
            }
        };
        let task = Task { number: claims.task, first: claims.chunk, sealed };
        claims.ended = sealed < whole;
        claims.task += 1;
        claims.chunk += self.unit as u64;
        Some(task)
    }

    fn open_task(&self, task: &Task, buffers: &mut Buffers) {
        let Opened { plain, failed, ended } = self.open_chunks(task, buffers);
        if failed.is_some() {
            // Before waiting for the turn: nobody behind may get one.
            self.output.close_behind(task.number);
        }
        if ended && self.output.is_ordered() {
            self.output.wait(task.number);
            self.observer.ending();
        }
        let position = task.first * CHUNK_LEN as u64;
        let written = self.output.put(task.number, position, &buffers.output[..plain]);
        let unwritten = written.err().map(|error| (task.first, Error::io("writing the output", error)));
        if let Some((chunk, error)) = unwritten.or(failed) {
            self.failures.add(chunk, error);
            self.output.close_behind(task.number);
            return;
        }
        if ended {
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.plaintext_len = Some(task.first * CHUNK_LEN as u64 + plain as u64);
        }
        self.observer.advanced(task.sealed as u64);
    }

    fn open_chunks(&self, task: &Task, buffers: &mut Buffers) -> Opened {
        let mut done = Opened { plain: 0, failed: None, ended: false };
        let mut read = 0;
        loop {
            let len = (PIECE_CHUNKS * SEALED_CHUNK_LEN).min(task.sealed - read);
            let first = task.first + (read / SEALED_CHUNK_LEN) as u64;
            let piece = match self.file {
                Some((file, position)) => {
                    let piece = &mut buffers.input[..len];
                    match file.read_at(piece, position + first * SEALED_CHUNK_LEN as u64) {
                        // Fewer where the file was cut meanwhile: the chunk that is short then is no last one.
                        Ok(there) => &piece[..there],
                        Err(error) => {
                            done.failed = Some((first, Error::io("reading the input", error)));
                            return done;
                        }
                    }
                }
                None => &buffers.input[read..][..len],
            };
            read += len;
            let last = read == task.sealed && task.sealed < self.unit * SEALED_CHUNK_LEN;
            let last = last || piece.len() < len;
            let part = open_piece(self.opener, first, piece, last, &mut buffers.output[done.plain..]);
            done.plain += part.plain;
            done.failed = part.failed;
            done.ended = part.ended;
            if done.failed.is_some() || done.ended || read >= task.sealed {
                return done;
            }
        }
    }
}

/// Opens all chunks of `sealed`, of which the first has number `first`.
///
/// Where `last`, they end with the payload's last chunk: a short one, of zero bytes at the worst.
fn open_piece(opener: &ChunkOpener, first: u64, sealed: &[u8], last: bool, out: &mut [u8]) -> Opened {
    let (full, rest) = sealed.as_chunks::<SEALED_CHUNK_LEN>();
    let mut done = Opened { plain: 0, failed: None, ended: false };
    let full = full.iter().map(|chunk| &chunk[..]);
    for (number, chunk) in (first..).zip(full.chain(last.then_some(rest))) {
        let is_full = chunk.len() == SEALED_CHUNK_LEN;
        // A full chunk is followed by another one, for which there must be a number.
        let index = ChunkIndex::new(number).filter(|index| !is_full || index.next().is_some());
        let opened =
            index.ok_or(Tampered::TooLong).and_then(|index| opener.open_into(index, chunk, &mut out[done.plain..]));
        match opened {
            Ok(len) => done.plain += len,
            Err(tampered) => {
                done.failed = Some((number, tampered.into()));
                return done;
            }
        }
        done.ended = !is_full;
    }
    done
}
