//! The parallel engine: seals and opens between any source and any sink on all cores (spec 8).
//!
//! Bytes are the same as those of the serial [`crate::stream`], which is the engine's oracle.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::envelope::{Demands, Envelope};
use crate::error::{Attempt, Error, Result};
use crate::format::Header;
use crate::keys::KeyOpener;
use crate::stream::{OpenReader, SealWriter};

/// Where the input comes from.
pub enum Source<'a> {
    /// A regular file (or anything else that can be read at any position), from its start.
    File(&'a File),
    /// A pipe, or any other reader.
    Stream(&'a mut (dyn Read + Send)),
}

/// Where the output goes.
pub enum Sink<'a> {
    /// An empty regular file, written at its positions by several threads, and synced or not.
    File(&'a File, Durability),
    /// A pipe, or any other writer: written in order.
    Stream(&'a mut (dyn Write + Send)),
    /// Nowhere: everything is authenticated and nothing written.
    Nowhere,
}

/// Whether the output must survive a power cut when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Data and length are on the disk.
    #[default]
    Synced,
    /// That is left to the system.
    Unsynced,
}

/// Is told how the work goes on. Called from several threads.
pub trait Observer: Sync {
    /// The input's length in bytes, where it is known.
    fn total(&self, _bytes: u64) {}
    /// So many more bytes of input are done.
    fn advanced(&self, _bytes: u64) {}
    /// The header was read; its warnings are to be shown. Nothing is authenticated yet.
    fn header(&self, _header: &Header) {}
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
    /// The slot that opened.
    pub slot: usize,
    /// The name of the key that opened it.
    pub key: String,
    /// Slots that were tried before and did not open.
    pub failed: Vec<Attempt>,
    /// Bytes of plaintext, all authenticated.
    pub plaintext_len: u64,
}

/// The engine with its threads.
pub struct Engine {
    #[expect(dead_code, reason = "the serial path serves until the parallel one lands")]
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Engine {
    /// Threads are started when the first large input comes: one per core.
    #[must_use]
    pub fn new() -> Self {
        Self { pool: None }
    }

    /// Uses the caller's threads.
    #[must_use]
    pub fn with_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool) }
    }

    /// Seals `source` into `sink`. `envelope` is called at once, beside opening and reading.
    ///
    /// # Errors
    /// What `envelope` gives, [`Error::Io`], [`Error::Limit`]. The sink then holds no valid file.
    pub fn seal(
        &self,
        source: Source<'_>,
        sink: Sink<'_>,
        envelope: impl FnOnce() -> Result<Envelope> + Send,
        observer: &dyn Observer,
    ) -> Result<Sealed> {
        let mut file_in;
        let reader: &mut dyn Read = match source {
            Source::File(file) => {
                file_in = file;
                &mut file_in
            }
            Source::Stream(stream) => stream,
        };
        let mut counted = Counted { inner: writer_of(sink), count: 0 };
        let mut writer = SealWriter::with_envelope(&mut counted, envelope()?);
        let plaintext_len = copy(reader, &mut writer, observer)?;
        writer.finish()?;
        Ok(Sealed { plaintext_len, file_len: counted.count })
    }

    /// Opens `source` into `sink`: demands, then keys in order, then every chunk.
    ///
    /// # Errors
    /// As [`OpenReader::new`], [`Error::Tampered`], [`Error::Io`]. What a stream sink got by then is a verified
    /// prefix; a file sink is to be thrown away.
    pub fn open(
        &self,
        source: Source<'_>,
        sink: Sink<'_>,
        openers: &[&dyn KeyOpener],
        demands: &Demands,
        observer: &dyn Observer,
    ) -> Result<Opened> {
        let mut file_in;
        let reader: &mut dyn Read = match source {
            Source::File(file) => {
                file_in = file;
                &mut file_in
            }
            Source::Stream(stream) => stream,
        };
        let mut reader = OpenReader::new(reader, openers, demands)?;
        observer.header(reader.header());
        let mut writer = writer_of(sink);
        let plaintext_len = copy(&mut reader, &mut writer, observer)?;
        let (slot, key) = reader.opened_by();
        let (key, header) = (key.to_owned(), reader.header().clone());
        Ok(Opened { header, slot, key, failed: Vec::new(), plaintext_len })
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

fn writer_of(sink: Sink<'_>) -> Box<dyn Write + '_> {
    match sink {
        Sink::File(file, _) => Box::new(file),
        Sink::Stream(stream) => Box::new(stream),
        Sink::Nowhere => Box::new(io::sink()),
    }
}

struct Counted<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn copy(reader: &mut dyn Read, writer: &mut dyn Write, observer: &dyn Observer) -> Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("reading the input", error)),
        };
        writer.write_all(&buffer[..read]).map_err(|error| Error::io("writing the output", error))?;
        total += read as u64;
        observer.advanced(read as u64);
    }
}
