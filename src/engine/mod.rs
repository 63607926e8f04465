//! The parallel engine. It seals and opens between any source and any sink on up to 8 cores (spec 11).
//!
//! The bytes are the same as those of the serial [`crate::stream`]. Tests compare the two.

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

/// For fewer bytes of input than this, a second thread costs more time than it saves.
const SMALL_INPUT: usize = 1 << 20;
/// The length of a task's output, and the unit at whose multiples the output is split. It is the size of the largest
/// pipe buffer.
const UNIT: usize = 1 << 20;
/// Number of chunks in one read of a file. They are still in the core's own cache when they are processed.
const PIECE_CHUNKS: usize = 16;
const PIECE_LEN: usize = PIECE_CHUNKS * CHUNK_LEN;

const _: () = assert!(UNIT / CHUNK_LEN * SEALED_CHUNK_LEN <= buffers::BUFFER_LEN);
const _: () = assert!(UNIT + crate::format::FRONT_LEN + SEALED_CHUNK_LEN <= buffers::BUFFER_LEN);

/// Where the input comes from.
#[non_exhaustive]
pub enum Source<'a> {
    /// A regular file, or anything else that can be read at any position. It is read from its start.
    File(&'a File),
    /// A pipe, or any other file that is read from its current position. A pipe gets a larger buffer.
    Pipe(&'a File),
    /// Any other reader.
    Stream(&'a mut (dyn Read + Send)),
    /// Anything else that can be read at any position, such as an object in a store. Several threads read at the same
    /// time, about 256 KiB each, roughly in order.
    At(&'a dyn ReadAt),
    /// A regular file that is sealed from mapped memory, from its start. To be opened, it is read as a
    /// [`File`](Self::File) is: what others can still change is not authenticated. Where the system refuses a window,
    /// that part is read too.
    Mapped(MappedFile<'a>),
}

/// Where the output goes.
#[non_exhaustive]
pub enum Sink<'a> {
    /// An empty regular file that no other program writes. Several threads write it at positions. It is synced on
    /// request.
    ///
    /// Its cursor does not move. After an error the file is empty. After an error in opening, it may instead have a
    /// verified prefix.
    File(&'a File, Durability),
    /// A pipe, or any other file that is written in order. A pipe gets a larger buffer.
    Pipe(&'a File),
    /// Any other writer. It is written in order.
    Stream(&'a mut (dyn Write + Send)),
    /// Anything else that takes bytes at positions, such as an object that a store assembles from parts.
    At(Box<dyn WriteAt + 'a>),
    /// No output: everything is authenticated and nothing is written.
    Nowhere,
}

/// Receives reports on the progress. Its methods are called from several threads.
pub trait Observer: Sync {
    /// The input's length in bytes, if it is known.
    fn total(&self, _bytes: u64) {}
    /// This many more bytes of input are done.
    fn advanced(&self, _bytes: u64) {}
    /// The header was read. The warnings should be shown to the user. Nothing is authenticated yet.
    fn header(&self, _header: &Header) {}
    /// Asked before each piece of work of about 1 MiB. An error ends the work: there is no output then. A program uses it
    /// to end work that a user cancels.
    ///
    /// # Errors
    /// Whatever the caller wants to get back, as the source of an [`Error::Io`](crate::Error::Io).
    fn go_on(&self) -> std::io::Result<()> {
        Ok(())
    }
    /// Asked by [`FileOptions`](crate::FileOptions) before a complete output gets its name. After an error, there is no
    /// output.
    ///
    /// # Errors
    /// As [`go_on`](Self::go_on).
    fn committing(&self) -> std::io::Result<()> {
        self.go_on()
    }
    /// The last bytes are about to be written to a stream, which then is complete. They are written when this returns.
    fn ending(&self) {}
}

/// An observer that ignores all reports.
pub struct Unobserved;
impl Observer for Unobserved {}

/// Describes a sealed file.
pub struct Sealed {
    /// Bytes of plaintext.
    pub plaintext_len: u64,
    /// Bytes of the complete file.
    pub file_len: u64,
}

/// Describes an opened file.
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
/// The engine calls a stream's `read` and `write`, the [`Observer`], and the function that creates the envelope, on the
/// calling thread or on a thread of the pool. A stream gets one call at a time, and the engine holds a lock during the
/// call. These functions must not wait for work of rayon: no parallel iterator, `join`, `scope` or `install`, neither
/// on the engine's pool, nor on the caller's, nor on any other. A pool thread that waits in this way runs other work of
/// its pool in the meantime. That may be the engine's next task, which waits for the lock that this same thread holds.
/// The result is a deadlock. Waiting for a thread or a channel is fine if it needs none of the pool's threads. To read
/// or write in parallel, use threads of your own and a channel.
#[derive(Default)]
pub struct Engine {
    helpers: Helpers,
    shelf: Shelf,
}

impl Engine {
    /// The threads start with the first large input. Their number keeps every core busy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses the caller's threads. See [`Engine`] for the rules for the caller's own code that runs on them.
    ///
    /// The call may come from a thread of the pool, or from any other thread. The pool may be busy, and may have only
    /// one thread.
    #[must_use]
    pub fn with_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { helpers: Helpers::given(pool), shelf: Shelf::default() }
    }

    /// Seals `source` into `sink`. `envelope` is called at once: while a file is opened and read, and before a stream
    /// is read.
    ///
    /// # Errors
    /// The errors of `envelope`, [`Io`](crate::Error::Io) (also if a file changes while it is read),
    /// [`Limit`](crate::Error::Limit). After an error, the sink has no valid file.
    pub fn seal(
        &self,
        source: Source<'_>,
        sink: Sink<'_>,
        envelope: impl FnOnce() -> Result<Envelope> + Send,
        observer: &dyn Observer,
    ) -> Result<Sealed> {
        sealing::seal(self, source, sink, envelope, observer)
    }

    /// Opens `source` into `sink`. First checks the demands, then tries the keys in order, then opens every chunk.
    ///
    /// # Errors
    /// As [`OpenReader::new`](crate::OpenReader::new), [`Tampered`](crate::Error::Tampered), [`Io`](crate::Error::Io).
    /// After an error, the bytes in a stream sink are a verified prefix. A file sink should be discarded.
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

    /// Runs `work` on every thread. Each thread has its own buffers.
    fn run(&self, work: impl Fn(&mut Buffers) + Sync) {
        self.helpers.run(&|| {
            let mut buffers = self.shelf.take();
            work(&mut buffers);
            self.shelf.give_back(buffers);
        });
    }

    /// Runs `work` on the calling thread only.
    fn run_small(&self, work: impl FnOnce(&mut Buffers)) {
        let mut buffers = self.shelf.take_small();
        work(&mut buffers);
        self.shelf.give_back(buffers);
    }
}

#[cfg(test)]
mod tests;
