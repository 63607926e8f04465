//! Opens on all threads.
//!
//! Chunks are read into private memory and opened into other private memory. Only then are they written. A task has 64
//! chunks, so its plaintext begins at a multiple of 1 MiB.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use super::buffers::Buffers;
use super::ordered::{Failures, TaskGuard};
use super::sink::Output;
use super::source::{Flow, Positioned};
use super::{Observer, PIECE_CHUNKS};
use crate::container::Payload;
use crate::error::{Error, Result, Tampered};
use crate::format::SEALED_CHUNK_LEN;
use crate::io::read_full;
use crate::payload::{ChunkIndex, ChunkOpener};

/// One payload being opened by several threads.
pub(super) struct OpenJob<'a, 'o> {
    payload: &'a Payload,
    /// Number of chunks in a task.
    unit: usize,
    file: Option<&'a Positioned<'a>>,
    claims: Mutex<Claims<'a>>,
    output: &'a Output<'o>,
    failures: Failures,
    observer: &'a dyn Observer,
}

struct Claims<'a> {
    stream: Option<Box<dyn Read + Send + 'a>>,
    task: u64,
    /// Number of the next chunk. `None` if the limit is reached: then the chunk before it fails.
    chunk: Option<ChunkIndex>,
    ended: bool,
    /// Length of the plaintext. Known once the last chunk has been opened.
    plaintext_len: Option<u64>,
}

struct Task {
    number: u64,
    first: ChunkIndex,
    /// Length of the chunks in bytes.
    sealed: usize,
}

/// The result of opening consecutive chunks.
struct Opened {
    /// Length of the verified plaintext.
    plain: usize,
    /// The chunk that failed, and its error.
    failed: Option<(u64, Error)>,
    /// Whether the last chunk was short and verified.
    ended: bool,
}

impl<'a, 'o> OpenJob<'a, 'o> {
    /// Tasks have `unit` chunks, at most 64. The first chunk has number `first`, which is zero except in tests.
    pub(super) fn new(
        payload: &'a Payload,
        chunks: Flow<'a>,
        (output, unit): (&'a Output<'o>, usize),
        observer: &'a dyn Observer,
        first: ChunkIndex,
    ) -> Self {
        let (file, stream) = chunks.parts();
        let claims = Mutex::new(Claims { stream, task: 0, chunk: Some(first), ended: false, plaintext_len: None });
        Self { payload, unit, file, claims, output, failures: Failures::default(), observer }
    }

    /// The work of one thread: one task after the other, until there are none.
    pub(super) fn work(&self, buffers: &mut Buffers) {
        while let Some(task) = self.claim(buffers) {
            let guard = TaskGuard { task: task.number, output: self.output, failures: &self.failures };
            self.open_task(&task, buffers);
            drop(guard);
        }
    }

    /// The plaintext's length, or the first chunk that failed and its error.
    pub(super) fn finish(self) -> Result<u64, (u64, Error)> {
        let claims = self.claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (self.failures.into_first(), claims.plaintext_len) {
            (Some(failure), _) => Err(failure),
            (None, Some(len)) => Ok(len),
            (None, None) => Err((0, Error::Bug("opening ended with a panic"))),
        }
    }

    fn claim(&self, buffers: &mut Buffers) -> Option<Task> {
        let Ok(mut guard) = self.claims.lock() else {
            // The caller's reader panicked. Its next bytes may not follow the bytes that were read.
            self.failures.panicked();
            return None;
        };
        let claims = &mut *guard;
        if claims.ended || self.failures.any() {
            return None;
        }
        let first = claims.chunk?;
        if let Err(error) = self.observer.go_on() {
            self.failures.add(first.get(), Error::io("opening", error));
            self.output.close_behind(claims.task);
            return None;
        }
        let whole = self.unit * SEALED_CHUNK_LEN;
        let there = match (&mut claims.stream, self.file) {
            (Some(stream), _) => read_full(stream.as_mut(), &mut buffers.input[..whole]),
            (None, Some(file)) => {
                let left = file.len.saturating_sub(self.payload.chunk_at(first));
                Ok(usize::try_from(left).unwrap_or(usize::MAX).min(whole))
            }
            (None, None) => Ok(0),
        };
        let sealed = match there {
            Ok(there) => there,
            Err(error) => {
                self.failures.add(first.get(), Error::io("reading the input", error));
                self.output.close_behind(claims.task);
                return None;
            }
        };
        let task = Task { number: claims.task, first, sealed };
        claims.ended = sealed < whole;
        claims.task += 1;
        claims.chunk = ChunkIndex::new(first.get() + self.unit as u64);
        Some(task)
    }

    fn open_task(&self, task: &Task, buffers: &mut Buffers) {
        let Opened { plain, failed, ended } = self.open_chunks(task, buffers);
        if failed.is_some() {
            // This is recorded before the wait, so that no later task gets its turn.
            self.output.close_behind(task.number);
        }
        if ended && self.output.is_ordered() {
            self.output.wait(task.number);
            self.observer.ending();
        }
        let position = task.first.plaintext_offset();
        let written = self.output.put(task.number, position, &buffers.output[..plain]);
        let unwritten = written.err().map(|error| (task.first.get(), Error::io("writing the output", error)));
        if let Some((chunk, error)) = unwritten.or(failed) {
            self.failures.add(chunk, error);
            self.output.close_behind(task.number);
            return;
        }
        if ended {
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            claims.plaintext_len = Some(position + plain as u64);
        }
        self.observer.advanced(task.sealed as u64);
    }

    fn open_chunks(&self, task: &Task, buffers: &mut Buffers) -> Opened {
        let mut done = Opened { plain: 0, failed: None, ended: false };
        let mut read = 0;
        loop {
            let len = (PIECE_CHUNKS * SEALED_CHUNK_LEN).min(task.sealed - read);
            let number = task.first.get() + (read / SEALED_CHUNK_LEN) as u64;
            let Some(first) = ChunkIndex::new(number) else {
                done.failed = Some((number, Tampered::TooLong.into()));
                return done;
            };
            let piece = match self.file {
                Some(file) => {
                    let piece = &mut buffers.input[..len];
                    match file.read_at(piece, self.payload.chunk_at(first)) {
                        // Fewer, if the file was truncated in the meantime. The chunk that is then short is not the
                        // last one.
                        Ok(there) => &piece[..there],
                        Err(error) => {
                            done.failed = Some((number, Error::io("reading the input", error)));
                            return done;
                        }
                    }
                }
                None => &buffers.input[read..][..len],
            };
            read += len;
            let last = read == task.sealed && task.sealed < self.unit * SEALED_CHUNK_LEN;
            let last = last || piece.len() < len;
            let part = open_piece(self.payload.opener(), number, piece, last, &mut buffers.output[done.plain..]);
            done.plain += part.plain;
            done.failed = part.failed;
            done.ended = part.ended;
            if done.failed.is_some() || done.ended || read >= task.sealed {
                return done;
            }
        }
    }
}

/// Opens all chunks in `sealed`. The first one has number `first`.
///
/// If `last`, they end with the payload's last chunk, which is short and may be empty.
fn open_piece(opener: &ChunkOpener, first: u64, sealed: &[u8], last: bool, out: &mut [u8]) -> Opened {
    let (full, rest) = sealed.as_chunks::<SEALED_CHUNK_LEN>();
    let mut done = Opened { plain: 0, failed: None, ended: false };
    let full = full.iter().map(|chunk| &chunk[..]);
    for (number, chunk) in (first..).zip(full.chain(last.then_some(rest))) {
        let index = ChunkIndex::new(number).ok_or(Tampered::TooLong).and_then(|index| index.of_len(chunk.len()));
        let opened = index.and_then(|index| opener.open_into(index, chunk, &mut out[done.plain..]));
        match opened {
            Ok(len) => done.plain += len,
            Err(tampered) => {
                done.failed = Some((number, tampered.into()));
                return done;
            }
        }
        done.ended = chunk.len() < SEALED_CHUNK_LEN;
    }
    done
}
