//! The content of an object, in order, with several requests at the same time.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use waxseal::error::{Error, Result};

use crate::Object;
use crate::object::Opened;
use crate::runtime::{Task, wait};

/// A shorter piece is joined with the next one. Otherwise it might keep a buffer of a few hundred KiB in memory.
const PIECE: usize = 64 << 10;

/// How an object is read in order.
///
/// At most `part_len * parts` bytes are in memory. In addition, the network library needs about 400 KiB for each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// The length of each range, in bytes.
    pub part_len: u64,
    /// The number of ranges that are being fetched or wait to be read.
    pub parts: usize,
}

impl Default for ReadOptions {
    /// 8 ranges of 8 MiB.
    fn default() -> Self {
        Self { part_len: 8 << 20, parts: 8 }
    }
}

/// The content of an object, in order, for a caller in any runtime. The ranges are fetched on the handle's own runtime.
///
/// The first request is made when the bytes that were fetched at the opening are used up. When this is dropped, all
/// requests end.
#[derive(Debug)]
pub struct ObjectStream {
    opened: Arc<Opened>,
    options: ReadOptions,
    /// The bytes that were fetched at the opening and were not returned yet.
    front: Bytes,
    parts: VecDeque<Part>,
    /// The range that was not requested yet.
    left: Range<u64>,
    failed: bool,
}

/// A range that is being fetched.
#[derive(Debug)]
struct Part {
    task: Task<()>,
    pieces: mpsc::UnboundedReceiver<Bytes>,
}

impl Object {
    /// The content, in order, for code that blocks.
    #[must_use]
    pub fn reader(&self) -> ObjectReader {
        self.reader_with(ReadOptions::default())
    }

    /// The same with other ranges.
    #[must_use]
    pub fn reader_with(&self, options: ReadOptions) -> ObjectReader {
        ObjectReader { stream: self.stream_of(0..self.len(), options), piece: Bytes::new() }
    }

    /// The content, in order, for async code.
    #[must_use]
    pub fn stream(&self) -> ObjectStream {
        self.stream_of(0..self.len(), ReadOptions::default())
    }

    /// A range of the content, in order. The range may end after the object's end.
    #[must_use]
    pub fn stream_of(&self, range: Range<u64>, options: ReadOptions) -> ObjectStream {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        let opened = Arc::clone(&self.opened);
        let kept = opened.front.len() as u64;
        let at = |position: u64| usize::try_from(position.min(kept)).unwrap_or(opened.front.len());
        let front = opened.front.slice(at(start)..at(end));
        let left = start.max(kept).min(end)..end;
        ObjectStream { options, front, parts: VecDeque::new(), left, failed: false, opened }
    }
}

impl ObjectStream {
    /// The next bytes; `None` at the end. If the future is dropped, no bytes are lost: call it again.
    ///
    /// # Errors
    /// [`Error::Io`] with [`InputChanged`](waxseal::error::InputChanged) if the object was replaced or deleted; any
    /// error of S3. After an error, every call fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.failed {
            return Err(Error::ApiMisuse("a read after a failed one"));
        }
        if !self.front.is_empty() {
            return Ok(Some(std::mem::take(&mut self.front)));
        }
        let next = self.receive().await;
        if next.is_err() {
            self.failed = true;
            self.parts.clear();
        }
        next
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.start_parts()?;
            let Some(part) = self.parts.front_mut() else { return Ok(None) };
            if let Some(piece) = part.pieces.recv().await {
                return Ok(Some(piece));
            }
            // The part has ended. This returns its error, if there is one.
            (&mut part.task).await?;
            self.parts.pop_front();
        }
    }

    fn start_parts(&mut self) -> Result<()> {
        while self.parts.len() < self.options.parts.max(1) && !self.left.is_empty() {
            let end = self.left.start.saturating_add(self.options.part_len.max(1)).min(self.left.end);
            let range = self.left.start..end;
            let (sender, pieces) = mpsc::unbounded_channel();
            let opened = Arc::clone(&self.opened);
            let task = self.opened.s3.spawn(async move { opened.send_pieces(range, sender).await })?;
            self.parts.push_back(Part { task, pieces });
            self.left.start = end;
        }
        Ok(())
    }
}

impl Opened {
    /// Fetches a range. Short pieces are put together.
    async fn send_pieces(&self, range: Range<u64>, pieces: mpsc::UnboundedSender<Bytes>) -> Result<()> {
        let mut short = BytesMut::new();
        // This fails if the reader was dropped. Then this task ends, too.
        let send = |piece: Bytes| drop(pieces.send(piece));
        self.s3
            .fetch(&self.pinned, range, |piece| {
                if piece.len() >= PIECE && short.is_empty() {
                    send(piece);
                    return Ok(());
                }
                short.extend_from_slice(&piece);
                if short.len() >= PIECE {
                    send(std::mem::take(&mut short).freeze());
                }
                Ok(())
            })
            .await?;
        if !short.is_empty() {
            send(short.freeze());
        }
        Ok(())
    }
}

/// The content of an object, in order, as a [`Read`]. It blocks the thread of the caller. It does not block the
/// runtime.
#[derive(Debug)]
pub struct ObjectReader {
    stream: ObjectStream,
    piece: Bytes,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() {
            match wait(self.stream.next())? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}
