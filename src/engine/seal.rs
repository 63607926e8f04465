//! Seals on all threads.
//!
//! ```text
//! output   | header, prelude, chunks ...  ch|unk, chunks ...  ch|unk, chunks, last chunk |
//! tasks    | 0                              | 1                 | 2                        |
//!          ^ start                          ^ multiples of the unit, in the output's own positions
//! ```
//!
//! Whole units are what a file system takes fastest. The chunk that straddles a cut is read and sealed once, while
//! the task is claimed, and its second part is handed to the next task. It must not be sealed by both neighbours,
//! each from its own read: an input that changed between the two would give two plaintexts under one nonce.
//!
//! A mapped input is sealed where it is. Who writes to it meanwhile decides what is sealed, and can do no more: the
//! tag is over the ciphertext, which is private, so that it always fits, and of two ciphertexts for one nonce only the
//! one in the buffer is ever sent. If a page is lost, zeros are in its place. Each task asks for that after it has
//! sealed and before it sends anything.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::buffers::Buffers;
use super::ordered::{Failures, TaskGuard};
use super::sink::Output;
use super::source::{Flow, Positioned};
use super::{Observer, PIECE_LEN};
use crate::container::Layout;
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, MAX_PLAINTEXT, SEALED_CHUNK_LEN, TAG_LEN};
use crate::io::{Window, read_full};
use crate::payload::{ChunkIndex, ChunkSealer};

/// Whether these bytes of plaintext end the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    More,
    Last,
}

/// One payload being sealed by several threads.
pub(super) struct SealJob<'a, 'o> {
    sealer: &'a ChunkSealer,
    /// The output is split at multiples of this.
    unit: usize,
    /// Where the chunks go.
    layout: Layout,
    file: Option<&'a Positioned<'a>>,
    claims: Mutex<Claims<'a>>,
    output: &'a Output<'o>,
    failures: Failures,
    observer: &'a dyn Observer,
}

/// The state at which the next task begins.
struct Claims<'a> {
    stream: Option<Box<dyn Read + Send + 'a>>,
    task: u64,
    chunk: u64,
    /// The position of the next task's output.
    position: u64,
    /// Bytes that are already sealed, and begin the next task's output.
    carried: Vec<u8>,
    /// The last window of a mapped input. Tasks are claimed in order, so the next one may be in it too.
    window: Option<Arc<Window<'a>>>,
    /// Plaintext and output length, once the last task is claimed.
    ended: Option<(u64, u64)>,
}

/// A stretch of chunks whose output no other task shares.
struct Task<'a> {
    number: u64,
    first: u64,
    position: u64,
    /// Bytes that are already at the front of the output.
    carried: usize,
    /// Bytes of plaintext that are still to be sealed.
    plain: usize,
    end: End,
    /// Bytes that come after the part that is still to be sealed.
    head: usize,
    /// Bytes of plaintext that are done after this task.
    done: u64,
    /// Where its plaintext is mapped.
    window: Option<Arc<Window<'a>>>,
}

impl<'a, 'o> SealJob<'a, 'o> {
    /// `front` is header and prelude. The payload's chunks follow, as in `layout`. `unit` is at most 1 MiB.
    pub(super) fn new(
        sealer: &'a ChunkSealer,
        plaintext: Flow<'a>,
        (output, unit): (&'a Output<'o>, usize),
        (front, layout): (Vec<u8>, Layout),
        observer: &'a dyn Observer,
    ) -> Self {
        let (file, stream) = plaintext.parts();
        let claims = Claims { stream, task: 0, chunk: 0, position: 0, carried: front, window: None, ended: None };
        let claims = Mutex::new(claims);
        Self { sealer, unit, layout, file, claims, output, failures: Failures::default(), observer }
    }

    /// The work of one thread: one task after the other, until there are none.
    pub(super) fn work(&self, buffers: &mut Buffers) {
        while let Some(task) = self.claim(buffers) {
            let guard = TaskGuard { task: task.number, output: self.output, failures: &self.failures };
            if let Err((chunk, error)) = self.seal_task(&task, buffers) {
                self.failures.add(chunk, error);
                self.output.close_behind(task.number);
            } else {
                self.observer.advanced(task.done);
            }
            drop(guard);
        }
    }

    /// Length of the plaintext, and the position where the output ends.
    pub(super) fn finish(self) -> Result<(u64, u64)> {
        let claims = self.claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (self.failures.into_first(), claims.ended) {
            (Some((_, error)), _) => Err(error),
            (None, Some(lengths)) => Ok(lengths),
            (None, None) => Err(Error::Bug("sealing ended with a panic")),
        }
    }

    fn claim(&self, buffers: &mut Buffers) -> Option<Task<'a>> {
        let Ok(mut claims) = self.claims.lock() else {
            // The caller's reader panicked. Its next bytes may not follow the bytes that were read.
            self.failures.panicked();
            return None;
        };
        if claims.ended.is_some() || self.failures.any() {
            return None;
        }
        match self.claim_next(&mut claims, buffers) {
            Ok(task) => Some(task),
            Err(error) => {
                self.failures.add(claims.chunk, error);
                // Tasks that were claimed before are not affected.
                self.output.close_behind(claims.task);
                None
            }
        }
    }

    fn claim_next(&self, claims: &mut Claims<'a>, buffers: &mut Buffers) -> Result<Task<'a>> {
        self.observer.go_on().map_err(|error| Error::io("sealing", error))?;
        let first = numbered(claims.chunk)?;
        let first_at = self.layout.chunk_at(first);
        let unit = self.unit as u64;
        let cut = (first_at / unit + 1) * unit;
        let to_cut = to_usize(cut - first_at);
        let chunks = to_cut.div_ceil(SEALED_CHUNK_LEN);
        let whole = chunks * CHUNK_LEN;
        let reading = |error| Error::io("reading the input", error);
        let there = match &mut claims.stream {
            Some(stream) => read_full(stream.as_mut(), &mut buffers.input[..whole]).map_err(reading)?,
            None => to_usize((self.plaintext_len() - first.plaintext_offset()).min(whole as u64)),
        };
        let range = first.plaintext_offset()..first.plaintext_offset() + there as u64;
        let plaintext_end = range.end;
        let carried = claims.carried.len();
        buffers.output[..carried].copy_from_slice(&claims.carried);
        let mut task = Task {
            number: claims.task,
            first: claims.chunk,
            position: claims.position,
            carried,
            plain: there,
            end: if there < whole { End::Last } else { End::More },
            head: 0,
            done: there as u64,
            window: self.file.and_then(|file| file.window(&mut claims.window, range)),
        };
        if plaintext_end > MAX_PLAINTEXT {
            return Err(Error::Limit(format!("the input has more than {MAX_PLAINTEXT} bytes, the format's limit")));
        }
        claims.carried.clear();
        match task.end {
            End::Last => {
                claims.ended = Some((plaintext_end, self.layout.file_len(plaintext_end)?));
            }
            End::More => {
                let straddles = chunks * SEALED_CHUNK_LEN > to_cut;
                if straddles {
                    task.plain -= CHUNK_LEN;
                    task.head = to_cut - (chunks - 1) * SEALED_CHUNK_LEN;
                    self.seal_straddler(&task, &mut claims.carried, buffers).map_err(reading)?;
                }
                claims.position = cut;
            }
        }
        claims.task += 1;
        claims.chunk += chunks as u64;
        Ok(task)
    }

    /// Seals the chunk on the cut: its first part into the task's output, the rest to `carried`.
    fn seal_straddler(&self, task: &Task<'_>, carried: &mut Vec<u8>, buffers: &mut Buffers) -> io::Result<()> {
        let chunks_before = task.plain / CHUNK_LEN;
        let index = task.first + chunks_before as u64;
        let position = numbered(index)?.plaintext_offset();
        let buffer = &mut buffers.input[task.plain..][..CHUNK_LEN];
        let mut sealed = [0; SEALED_CHUNK_LEN];
        seal_chunk(self.sealer, index, self.plaintext(task, position, buffer)?, &mut sealed)?;
        self.check_window(task, position, buffer)?;
        let (head, tail) = sealed.split_at(task.head);
        buffers.output[task.carried + chunks_before * SEALED_CHUNK_LEN..][..head.len()].copy_from_slice(head);
        carried.extend_from_slice(tail);
        Ok(())
    }

    /// The plaintext at `position`: where it is mapped, or read into `buffer`. A stream's is in `buffer` already.
    fn plaintext<'b>(&self, task: &'b Task<'_>, position: u64, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let mapped = task.window.as_ref().and_then(|window| window.bytes(position, buffer.len()));
        match (mapped, self.file) {
            (Some(mapped), _) => return Ok(mapped),
            (None, Some(file)) => file.read_exact_at(buffer, position)?,
            (None, None) => {}
        }
        Ok(buffer)
    }

    /// Fails where a page of the task's window was lost, so that some of what was sealed is no plaintext. What `buffer`
    /// has room for, from `position` on, may be read to learn why.
    fn check_window(&self, task: &Task<'_>, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        match (&task.window, self.file) {
            (Some(window), Some(file)) if window.is_lost() => Err(file.why_lost(buffer, position)),
            _ => Ok(()),
        }
    }

    fn seal_task(&self, task: &Task<'_>, buffers: &mut Buffers) -> Result<(), (u64, Error)> {
        let failed = |error| (task.first, Error::io("reading the input", error));
        let made = self.seal_pieces(task, buffers)?;
        let position = numbered(task.first).map_err(|error| (task.first, error))?.plaintext_offset();
        self.check_window(task, position, &mut buffers.input[..task.plain]).map_err(failed)?;
        if task.end == End::Last && self.output.is_ordered() {
            // All earlier tasks have finished reading and writing. If the output is truncated here, it is not a valid
            // file.
            self.output.wait(task.number);
            if let Some(file) = self.file {
                file.check_unchanged().map_err(failed)?;
            }
            self.observer.ending();
        }
        let written = self.output.put(task.number, task.position, &buffers.output[..made + task.head]);
        written.map_err(|error| (task.first, Error::io("writing the output", error)))
    }

    /// Seals all of the task but the chunk that its claim has sealed; where in the output that ends.
    fn seal_pieces(&self, task: &Task<'_>, buffers: &mut Buffers) -> Result<usize, (u64, Error)> {
        let (mut read, mut made) = (0, task.carried);
        loop {
            let len = PIECE_LEN.min(task.plain - read);
            let first = task.first + (read / CHUNK_LEN) as u64;
            let failed = |error| (first, Error::io("reading the input", error));
            let position = numbered(first).map_err(|error| (first, error))?.plaintext_offset();
            // A file's pieces share memory that stays in the core's own cache.
            let at = if self.file.is_some() { 0 } else { read };
            let piece = self.plaintext(task, position, &mut buffers.input[at..][..len]).map_err(failed)?;
            read += len;
            let end = if read < task.plain { End::More } else { task.end };
            made += seal_piece(self.sealer, first, (piece, end), &mut buffers.output[made..]).map_err(failed)?;
            if read == task.plain {
                return Ok(made);
            }
        }
    }

    fn plaintext_len(&self) -> u64 {
        self.file.map_or(0, |file| file.len)
    }
}

/// Seals all chunks of `plaintext`. The first one has number `first`. Returns the number of bytes written.
fn seal_piece(sealer: &ChunkSealer, first: u64, (plaintext, end): (&[u8], End), out: &mut [u8]) -> io::Result<usize> {
    let (full, rest) = plaintext.as_chunks::<CHUNK_LEN>();
    let mut made = 0;
    for (index, chunk) in (first..).zip(full) {
        seal_chunk(sealer, index, chunk, &mut out[made..][..SEALED_CHUNK_LEN])?;
        made += SEALED_CHUNK_LEN;
    }
    if end == End::Last {
        let len = rest.len() + TAG_LEN;
        seal_chunk(sealer, first + full.len() as u64, rest, &mut out[made..][..len])?;
        made += len;
    }
    Ok(made)
}

fn seal_chunk(sealer: &ChunkSealer, index: u64, plaintext: &[u8], out: &mut [u8]) -> io::Result<()> {
    Ok(sealer.seal(numbered(index)?, plaintext, out)?)
}

/// Creates a chunk index. The caller has compared the number with the format's limit.
fn numbered(index: u64) -> Result<ChunkIndex> {
    ChunkIndex::new(index).ok_or(Error::Bug("a chunk beyond the format's limit"))
}

/// Converts a length that fits in a buffer.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
