//! The parallel engine: seals and opens between any source and any sink on all cores (spec 11).
//!
//! Bytes are the same as those of the serial [`crate::stream`], which is the engine's oracle.

mod buffers;
mod open;
mod opening;
mod ordered;
mod patient;
mod pool;
mod seal;
mod sealing;
mod sink;
mod source;
mod system;

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

pub use crate::io::{Durability, MappedFile, ReadAt, WriteAt};

use buffers::{Buffers, Shelf};
pub use patient::Patient;
use pool::Helpers;

use crate::envelope::{Demands, Envelope, OpenedBy};
use crate::error::Result;
use crate::format::{CHUNK_LEN, Header, SEALED_CHUNK_LEN};
use crate::keys::KeyOpener;

/// Below this many bytes of input, a second thread costs more than it brings.
const SMALL_INPUT: usize = 1 << 20;
/// A task's output, and what the output is cut at multiples of: what the largest pipe holds.
const UNIT: usize = 1 << 20;
/// Chunks that are read from a file at once, so that they are still in the core's own cache when they are worked on.
const PIECE_CHUNKS: usize = 16;
const PIECE_LEN: usize = PIECE_CHUNKS * CHUNK_LEN;

const _: () = assert!(UNIT / CHUNK_LEN * SEALED_CHUNK_LEN <= buffers::BUFFER_LEN);
const _: () = assert!(UNIT + crate::format::FRONT_LEN + SEALED_CHUNK_LEN <= buffers::BUFFER_LEN);

/// Where the input comes from.
#[non_exhaustive]
pub enum Source<'a> {
    /// A regular file (or anything else that can be read at any position), from its start.
    File(&'a File),
    /// A pipe, or any other file that is read from where it stands. A pipe gets a larger buffer.
    Pipe(&'a File),
    /// Any other reader.
    Stream(&'a mut (dyn Read + Send)),
    /// Anything else that can be read at any position, such as an object in a store. Several threads read at once, each
    /// about 256 KiB, roughly in order.
    At(&'a dyn ReadAt),
    /// A regular file that is sealed from mapped memory, from its start. To be opened, it is read as a
    /// [`File`](Self::File) is: what others can still change is not authenticated. Where the system refuses a window,
    /// that part is read too.
    Mapped(MappedFile<'a>),
}

/// Where the output goes.
#[non_exhaustive]
pub enum Sink<'a> {
    /// An empty regular file that nobody else writes, written at its positions by several threads, and synced or not.
    ///
    /// Its cursor stays where it is. After an error it is empty, or when opening holds a verified prefix at most.
    File(&'a File, Durability),
    /// A pipe, or any other file that is written in order. A pipe gets a larger buffer.
    Pipe(&'a File),
    /// Any other writer: written in order.
    Stream(&'a mut (dyn Write + Send)),
    /// Anything else that takes bytes at their positions, such as an object that a store puts together from parts.
    At(Box<dyn WriteAt + 'a>),
    /// Nowhere: everything is authenticated and nothing written.
    Nowhere,
}

/// Is told how the work goes on. Called from several threads.
pub trait Observer: Sync {
    /// The input's length in bytes, where it is known.
    fn total(&self, _bytes: u64) {}
    /// So many more bytes of input are done.
    fn advanced(&self, _bytes: u64) {}
    /// The header was read; its warnings are to be shown. Nothing is authenticated yet.
    fn header(&self, _header: &Header) {}
    /// A stream is about to get the last of its bytes, which make it whole. It gets them when this returns.
    fn ending(&self) {}
}

/// An observer that does not look.
pub struct Unobserved;
impl Observer for Unobserved {}

/// What was sealed.
pub struct Sealed {
    /// Bytes of plaintext.
    pub plaintext_len: u64,
    /// Bytes of the whole file.
    pub file_len: u64,
}

/// What was opened.
pub struct Opened {
    /// The header.
    pub header: Header,
    /// Which slot and key opened the file.
    pub by: OpenedBy,
    /// Bytes of plaintext, all authenticated.
    pub plaintext_len: u64,
}

/// The engine with its threads and buffers, for one file or many.
///
/// # The caller's code runs on the engine's threads
/// A stream's `read` and `write`, the [`Observer`] and what makes the envelope are called on the calling thread or on
/// one of the pool's, a stream's one call at a time and with a lock held. They must not wait for work of rayon's: no
/// parallel iterator, `join`, `scope` or `install`, on the engine's pool, the caller's or any other. A thread of a pool
/// that waits so takes up other work of its pool meanwhile; that may be the engine's next task, which waits for the
/// very lock that this thread holds, for ever. Waiting for a thread or a channel that needs none of the pool's threads
/// is fine. Who wants to read or write in parallel does so on threads of its own, behind a channel.
#[derive(Default)]
pub struct Engine {
    helpers: Helpers,
    shelf: Shelf,
}

impl Engine {
    /// Threads are started when the first large input comes: as many as keep every core busy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses the caller's threads. For the caller's own code that runs on them, see [`Engine`].
    ///
    /// The call may come from one of the pool's threads, or from any other; the pool may be busy, and have one thread.
    #[must_use]
    pub fn with_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { helpers: Helpers::given(pool), shelf: Shelf::default() }
    }

    /// Seals `source` into `sink`. `envelope` is called at once: beside opening and reading a file, and before a
    /// stream is read.
    ///
    /// # Errors
    /// What `envelope` gives, [`Io`](crate::Error::Io) (also when a file changes while it is read),
    /// [`Limit`](crate::Error::Limit). The sink then holds no valid file.
    pub fn seal(
        &self,
        source: Source<'_>,
        sink: Sink<'_>,
        envelope: impl FnOnce() -> Result<Envelope> + Send,
        observer: &dyn Observer,
    ) -> Result<Sealed> {
        sealing::seal(self, source, sink, envelope, observer)
    }

    /// Opens `source` into `sink`: demands, then keys in order, then every chunk.
    ///
    /// # Errors
    /// As [`OpenReader::new`](crate::OpenReader::new), [`Tampered`](crate::Error::Tampered),
    /// [`Io`](crate::Error::Io). What a stream sink got by then is a verified prefix; a file sink is to be thrown
    /// away.
    pub fn open(
        &self,
        source: Source<'_>,
        sink: Sink<'_>,
        openers: &[&dyn KeyOpener],
        demands: &Demands,
        observer: &dyn Observer,
    ) -> Result<Opened> {
        opening::open(self, source, sink, openers, demands, observer)
    }

    /// Runs `work` on every thread, with buffers of its own for each.
    fn run(&self, work: impl Fn(&mut Buffers) + Sync) {
        self.helpers.run(&|| {
            let mut buffers = self.shelf.take();
            work(&mut buffers);
            self.shelf.give_back(buffers);
        });
    }

    /// Runs `work` on the calling thread alone.
    fn run_small(&self, work: impl FnOnce(&mut Buffers)) {
        let mut buffers = self.shelf.take_small();
        work(&mut buffers);
        self.shelf.give_back(buffers);
    }
}

#[cfg(test)]
mod tests;
