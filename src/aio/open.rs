//! [`OpenReader`]: returns the plaintext of a file, one verified chunk after the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use zeroize::Zeroizing;

use super::BATCH;
use super::jobs::Jobs;
use crate::container::{Opened, Opening};
use crate::envelope::{Demands, OpenedBy};
use crate::error::{Error, Result, Tampered};
use crate::format::{CHUNK_LEN, FRONT_LEN, Front, Header, SEALED_CHUNK_LEN};
use crate::keys::{AsyncKeyOpener, KeyOpener};
use crate::payload::{ChunkIndex, ChunkOpener};

/// The sealed bytes of one piece of work.
const PIECE: usize = BATCH * SEALED_CHUNK_LEN;

/// Decrypts a waxseal file from any [`AsyncRead`], on several threads.
///
/// Every returned byte has been authenticated at its position. The end is authenticated, too. A truncated file ends
/// with an error after the verified part, and never with a normal end. After an error, every later read fails.
///
/// The reader reads up to 9 MiB ahead of what it returns. It returns bytes as soon as their chunk is complete.
pub struct OpenReader<R> {
    inner: R,
    header: Header,
    by: OpenedBy,
    opener: Arc<ChunkOpener>,
    /// Sealed bytes that are being collected, at the start of a buffer.
    sealed: Vec<u8>,
    collected: usize,
    /// The number of their first chunk. `None` after the format's limit.
    next: Option<ChunkIndex>,
    jobs: Jobs<Piece>,
    /// The piece whose plaintext is being returned, and how much of it was returned.
    ready: Piece,
    returned: usize,
    /// Buffers that can be used again.
    spare: Vec<Piece>,
    /// Nothing more is read, because the last chunk is being opened or because reading has failed.
    is_read: bool,
    /// It is returned after the plaintext that came before it.
    read_error: Option<io::Error>,
    /// An error is final. Every further read repeats it.
    broken: Option<Broken>,
}

enum Broken {
    Tampered(Tampered),
    Other(io::ErrorKind, String),
    /// A piece was lost.
    Panicked,
}

/// A piece of the file, and its plaintext as far as it is authentic. The buffers may be longer.
#[derive(Default)]
struct Piece {
    sealed: Vec<u8>,
    plaintext: Zeroizing<Vec<u8>>,
    len: usize,
    tampered: Option<Tampered>,
}

impl<R: AsyncRead + Unpin> OpenReader<R> {
    /// Reads the header, checks `demands`, tries `openers` in order on a blocking thread, and checks the commitment.
    ///
    /// # Errors
    /// As [`OpenReader::new`](crate::OpenReader::new) of the synchronous reader.
    pub async fn new(inner: R, openers: Vec<Arc<dyn KeyOpener>>, demands: &Demands) -> Result<Self> {
        let (opening, inner) = begin(inner, demands).await?;
        let begun = opening.begun().to_vec();
        Ok(Self::opened(super::open(opening, openers).await?, &begun, inner))
    }

    /// The same with key services that answer asynchronously.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn new_async(inner: R, openers: &[&dyn AsyncKeyOpener], demands: &Demands) -> Result<Self> {
        let (opening, inner) = begin(inner, demands).await?;
        let begun = opening.begun().to_vec();
        Ok(Self::opened(opening.open_async(openers).await?, &begun, inner))
    }

    fn opened(opened: Opened, begun: &[u8], inner: R) -> Self {
        let (payload, header, by) = opened.into_parts();
        let mut sealed = vec![0; PIECE];
        sealed[..begun.len()].copy_from_slice(begun);
        Self {
            inner,
            header,
            by,
            opener: Arc::new(payload.into_opener()),
            sealed,
            collected: begun.len(),
            next: Some(ChunkIndex::FIRST),
            jobs: Jobs::new(),
            ready: Piece::default(),
            returned: 0,
            spare: Vec::new(),
            is_read: false,
            read_error: None,
            broken: None,
        }
    }

    /// The header, with its warnings.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which slot and key opened the file.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.by
    }

    /// Reads ahead, and starts to open what was read. Pending if the inner reader has no bytes at the moment.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_read && self.jobs.has_room() {
            if self.collected == PIECE {
                self.open(PIECE, false);
                continue;
            }
            let mut buffer = ReadBuf::new(&mut self.sealed[self.collected..]);
            let read = Pin::new(&mut self.inner).poll_read(cx, &mut buffer);
            let len = buffer.filled().len();
            match read {
                Poll::Ready(Ok(())) if len == 0 => self.open(self.collected, true),
                Poll::Ready(Ok(())) => self.collected += len,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => {
                    self.open_complete();
                    self.is_read = true;
                    self.read_error = Some(error);
                }
                Poll::Pending => {
                    // There are no more bytes at the moment. Complete chunks are opened without waiting for more.
                    if self.jobs.is_empty() {
                        self.open_complete();
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    /// Starts to open the complete chunks.
    fn open_complete(&mut self) {
        let complete = self.collected / SEALED_CHUNK_LEN * SEALED_CHUNK_LEN;
        if complete > 0 {
            self.open(complete, false);
        }
    }

    /// Starts to open the first `len` collected bytes. `ends`: the file ends with them.
    fn open(&mut self, len: usize, ends: bool) {
        let mut piece = self.spare.pop().unwrap_or_default();
        piece.sealed.resize(PIECE, 0);
        let rest = len..self.collected;
        self.collected = rest.len();
        piece.sealed[..rest.len()].copy_from_slice(&self.sealed[rest]);
        std::mem::swap(&mut self.sealed, &mut piece.sealed);
        let (first, opener) = (self.next, Arc::clone(&self.opener));
        self.next = first.and_then(|first| ChunkIndex::new(first.get() + (len / SEALED_CHUNK_LEN) as u64));
        self.is_read = ends;
        // If the runtime cannot start a thread, it panics. Then the piece is lost, and every later read must fail.
        self.broken = Some(Broken::Panicked);
        self.jobs.push(len, move || {
            piece.tampered = piece.open(&opener, first, len, ends).err();
            Ok(piece)
        });
        self.broken = None;
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            let rest = &self.ready.plaintext[self.returned..self.ready.len];
            if !rest.is_empty() {
                let len = rest.len().min(out.remaining());
                out.put_slice(&rest[..len]);
                self.returned += len;
                return Poll::Ready(Ok(()));
            }
            if let Some(tampered) = self.ready.tampered.take() {
                return Poll::Ready(Err(tampered.into()));
            }
            let filled = self.poll_fill(cx);
            if let Some(piece) = ready!(self.jobs.poll_next(cx)) {
                self.spare.push(std::mem::replace(&mut self.ready, piece?));
                self.returned = 0;
                continue;
            }
            // Everything that was read was returned.
            match self.read_error.take() {
                Some(error) => return Poll::Ready(Err(Error::io("reading the input", error))),
                None if self.is_read => return Poll::Ready(Ok(())),
                None => ready!(filled),
            }
        }
    }

    fn repeated(&self) -> Option<io::Error> {
        Some(match self.broken.as_ref()? {
            Broken::Tampered(tampered) => Error::Tampered(tampered.clone()).into(),
            Broken::Other(kind, text) => io::Error::new(*kind, text.clone()),
            Broken::Panicked => Error::ApiMisuse("reading from a reader that has panicked").into(),
        })
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for OpenReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.repeated() {
            return Poll::Ready(Err(error));
        }
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_give(cx, out).map_err(|error| {
            let tampered = if let Error::Tampered(tampered) = &error { Some(tampered.clone()) } else { None };
            let error = io::Error::from(error);
            self.broken = Some(match tampered {
                Some(tampered) => Broken::Tampered(tampered),
                None => Broken::Other(error.kind(), error.to_string()),
            });
            error
        })
    }
}

impl Piece {
    /// Opens the chunks in the first `len` bytes, the first of which has number `first`.
    fn open(
        &mut self,
        opener: &ChunkOpener,
        first: Option<ChunkIndex>,
        len: usize,
        ends: bool,
    ) -> Result<(), Tampered> {
        self.len = 0;
        self.plaintext.resize(BATCH * CHUNK_LEN, 0);
        let (chunks, rest) = self.sealed[..len].as_chunks::<SEALED_CHUNK_LEN>();
        // No file ends with a full chunk. So the last chunk is a short one, or it is missing.
        let chunks = chunks.iter().map(<[u8; SEALED_CHUNK_LEN]>::as_slice).chain(ends.then_some(rest));
        let mut index = first;
        for sealed in chunks {
            let number = index.ok_or(Tampered::TooLong)?.of_len(sealed.len())?;
            self.len += opener.open_into(number, sealed, &mut self.plaintext[self.len..])?;
            index = number.next();
        }
        Ok(())
    }
}

/// Reads the front and decides on the header.
async fn begin<R: AsyncRead + Unpin>(mut inner: R, demands: &Demands) -> Result<(Opening, R)> {
    let (mut bytes, mut len) = (vec![0; FRONT_LEN], 0);
    while len < bytes.len() {
        let mut buffer = ReadBuf::new(&mut bytes[len..]);
        match poll_fn(|cx| Pin::new(&mut inner).poll_read(cx, &mut buffer)).await {
            Ok(()) if buffer.filled().is_empty() => break,
            Ok(()) => len += buffer.filled().len(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading the header", error)),
        }
    }
    bytes.truncate(len);
    Ok((Opening::read(Front::new(bytes), demands)?, inner))
}
