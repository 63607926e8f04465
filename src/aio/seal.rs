//! [`SealWriter`]: encrypts what is written to it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use zeroize::Zeroizing;

use super::jobs::Jobs;
use super::{BATCH, off_the_reactor};
use crate::container::front_of;
use crate::envelope::{Envelope, InputSize, SealOptions};
use crate::error::{Error, Result};
use crate::format::{CHUNK_LEN, LARGE_INPUT, MAX_PLAINTEXT, TAG_LEN};
use crate::keys::KeySealer;
use crate::payload::ChunkIndex;

/// The plaintext of one piece of work, in bytes.
const PIECE: usize = BATCH * CHUNK_LEN;

/// Encrypts what is written to it into `W`, on several threads.
///
/// The file is valid only after [`shutdown`](tokio::io::AsyncWriteExt::shutdown), which also shuts `W` down, or after
/// [`finish`](Self::finish), which does not. Call one of them only if the input is complete. If the writer is dropped
/// before that, every reader refuses the file.
///
/// Nothing is written to `W` before 4 MiB were received or the file is finished, because the size of the header depends
/// on that. Flushing writes all but the last part of less than 1 MiB, because a short chunk would end the file.
///
/// ```
/// use std::sync::Arc;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use waxseal::aio::{OpenReader, SealWriter};
/// use waxseal::keys::KeyFile;
/// use waxseal::{Demands, SealOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = Arc::new(KeyFile::generate()?);
/// let mut writer = SealWriter::new(Vec::new(), vec![key.clone()], &SealOptions::new()).await?;
/// writer.write_all(b"a backup").await?;
/// let file = writer.finish().await?;
///
/// let mut plaintext = String::new();
/// let mut reader = OpenReader::new(file.as_slice(), vec![key], &Demands::new()).await?;
/// reader.read_to_string(&mut plaintext).await?;
/// assert_eq!(plaintext, "a backup");
/// # Ok(())
/// # }
/// ```
pub struct SealWriter<W> {
    inner: W,
    envelope: Arc<Envelope>,
    /// Plaintext that is being collected.
    plaintext: Zeroizing<Vec<u8>>,
    /// The number of its first chunk. `None` after the format's limit.
    next: Option<ChunkIndex>,
    total: u64,
    jobs: Jobs<Piece>,
    /// Sealed bytes that wait until the header or earlier bytes are written.
    sealed: VecDeque<Vec<u8>>,
    /// What is being written, and how much of it was written.
    out: (Vec<u8>, usize),
    /// Buffers that can be used again.
    spare: Vec<Piece>,
    has_header: bool,
    state: State,
}

/// A piece of plaintext, and its sealed bytes.
struct Piece {
    plaintext: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

/// The state of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It takes plaintext.
    Open,
    /// The last chunk is being sealed.
    Ending,
    /// Everything was written to the inner writer and flushed.
    Ended,
    /// The inner writer was shut down, too.
    Closed,
    Failed,
}

impl<W: AsyncWrite + Unpin> SealWriter<W> {
    /// Asks one of `sealers` for a data key, and asks the others to wrap it, too. All are asked on a blocking thread.
    ///
    /// # Errors
    /// As [`Envelope::new`].
    pub async fn new(inner: W, sealers: Vec<Arc<dyn KeySealer>>, options: &SealOptions) -> Result<Self> {
        let options = options.clone();
        let envelope = off_the_reactor(move || {
            let sealers: Vec<&dyn KeySealer> = sealers.iter().map(|sealer| &**sealer).collect();
            Envelope::new(&sealers, &options)
        });
        Ok(Self::with_envelope(inner, envelope.await?))
    }

    /// Uses a prepared envelope, for example from [`Envelope::new_async`].
    pub fn with_envelope(inner: W, envelope: Envelope) -> Self {
        Self {
            inner,
            envelope: Arc::new(envelope),
            plaintext: Zeroizing::new(Vec::with_capacity(PIECE)),
            next: Some(ChunkIndex::FIRST),
            total: 0,
            jobs: Jobs::new(),
            sealed: VecDeque::new(),
            out: (Vec::new(), 0),
            spare: Vec::new(),
            has_header: false,
            state: State::Open,
        }
    }

    /// The file's header and slots, for a report.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The inner writer.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Seals the last chunk, writes the rest and flushes. The file is valid only after this call. The inner writer is
    /// returned, and is not shut down.
    ///
    /// # Errors
    /// [`Error::Io`], also if an earlier write has failed. [`Error::Limit`] above 4 PiB - 1 bytes.
    pub async fn finish(mut self) -> Result<W> {
        let ended = poll_fn(|cx| self.poll_end(cx)).await;
        ended.map_err(|error| Error::io("writing the output", error))?;
        Ok(self.inner)
    }

    /// Whether the size of the header is known.
    fn is_decided(&self) -> bool {
        self.total >= LARGE_INPUT || self.state != State::Open
    }

    /// Writes what is sealed to the inner writer. Ready when there is nothing to write at the moment.
    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let failed = |error| Error::io("writing the output", error);
        loop {
            if self.out.1 < self.out.0.len() {
                let rest = &self.out.0[self.out.1..];
                match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)).map_err(failed)? {
                    0 => return Poll::Ready(Err(failed(io::ErrorKind::WriteZero.into()))),
                    written => self.out.1 += written,
                }
                continue;
            }
            if !self.has_header && self.is_decided() {
                self.out = (front_of(&self.envelope, InputSize::of(self.total))?.0, 0);
                self.has_header = true;
                continue;
            }
            if self.has_header
                && let Some(sealed) = self.sealed.pop_front()
            {
                let written = std::mem::replace(&mut self.out, (sealed, 0)).0;
                self.keep(written);
                continue;
            }
            let Some(piece) = ready!(self.jobs.poll_next(cx)) else { return Poll::Ready(Ok(())) };
            let Piece { plaintext, sealed } = piece?;
            self.spare.push(Piece { plaintext, sealed: Vec::new() });
            self.sealed.push_back(sealed);
        }
    }

    /// Keeps the buffer of sealed bytes that were written.
    fn keep(&mut self, written: Vec<u8>) {
        if let Some(spare) = self.spare.iter_mut().find(|spare| spare.sealed.capacity() == 0) {
            spare.sealed = written;
        }
    }

    /// Ready if another piece can be sealed.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.jobs.has_room() {
            let passed = self.poll_pass(cx)?;
            if passed.is_pending() && !self.jobs.has_room() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes everything to the inner writer, except for a piece that is not full.
    fn poll_pass_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.plaintext.len() == PIECE {
            ready!(self.poll_room(cx))?;
            self.seal(false)?;
        }
        self.poll_pass(cx)
    }

    /// Starts to seal the collected plaintext. `ends`: its last chunk is the last one of the file, and may be empty.
    fn seal(&mut self, ends: bool) -> Result<()> {
        let first = self.next.ok_or_else(too_long)?;
        self.next = ChunkIndex::new(first.get() + BATCH as u64);
        let spare = self.spare.pop().unwrap_or_else(|| Piece { plaintext: Zeroizing::default(), sealed: Vec::new() });
        let plaintext = std::mem::replace(&mut self.plaintext, spare.plaintext);
        self.plaintext.clear();
        self.plaintext.reserve_exact(if ends { 0 } else { PIECE });
        let envelope = Arc::clone(&self.envelope);
        let mut sealed = spare.sealed;
        // If the runtime cannot start a thread, it panics. Then the piece is lost, and every later call must fail.
        let state = std::mem::replace(&mut self.state, State::Failed);
        self.jobs.push(plaintext.len(), move || {
            seal_piece(&envelope, first, &plaintext, ends, &mut sealed)?;
            Ok(Piece { plaintext, sealed })
        });
        self.state = state;
        Ok(())
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.state != State::Open {
            return Poll::Ready(Err(Error::ApiMisuse("writing to a writer that has ended or failed")));
        }
        if self.plaintext.len() == PIECE {
            ready!(self.poll_room(cx))?;
            self.seal(false)?;
        }
        let taken = bytes.len().min(PIECE - self.plaintext.len());
        self.plaintext.extend_from_slice(&bytes[..taken]);
        self.total += taken as u64;
        if self.plaintext.len() == PIECE && self.jobs.has_room() {
            self.seal(false)?;
        }
        // It does not matter here whether everything could be written.
        let _ = self.poll_pass(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.state {
            State::Ended | State::Closed => return Poll::Ready(Ok(())),
            State::Failed => return Poll::Ready(Err(Error::ApiMisuse("finishing a writer that has failed"))),
            State::Open => {
                ready!(self.poll_room(cx))?;
                self.seal(true)?;
                self.state = State::Ending;
            }
            State::Ending => {}
        }
        ready!(self.poll_pass(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx)).map_err(|error| Error::io("writing the output", error))?;
        self.state = State::Ended;
        Poll::Ready(Ok(()))
    }

    /// Remembers a failure, so that no later call can make the file valid.
    fn settled<T>(&mut self, poll: Poll<Result<T>>) -> Poll<io::Result<T>> {
        poll.map(|result| {
            result.map_err(|error| {
                self.state = State::Failed;
                error.into()
            })
        })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let finished = self.poll_finish(cx);
        self.settled(finished)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for SealWriter<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.poll_take(cx, bytes);
        self.settled(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state == State::Failed {
            return Poll::Ready(Err(Error::ApiMisuse("flushing a writer that has failed").into()));
        }
        let passed = self.poll_pass_all(cx);
        ready!(self.settled(passed))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        if self.state == State::Ended {
            let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
            let closed = closed.map_err(|error| Error::io("closing the output", error));
            ready!(self.settled(closed))?;
            self.state = State::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

/// Seals the chunks of `plaintext`, the first of which has number `first`.
fn seal_piece(envelope: &Envelope, first: ChunkIndex, plaintext: &[u8], ends: bool, out: &mut Vec<u8>) -> Result<()> {
    let (chunks, rest) = plaintext.as_chunks::<CHUNK_LEN>();
    let chunks = chunks.iter().map(<[u8; CHUNK_LEN]>::as_slice).chain(ends.then_some(rest));
    out.clear();
    out.reserve_exact(plaintext.len() + (plaintext.len() / CHUNK_LEN + 1) * TAG_LEN);
    let mut index = Some(first);
    for chunk in chunks {
        let number = index.ok_or_else(too_long)?;
        let from = out.len();
        out.resize(from + chunk.len() + TAG_LEN, 0);
        envelope.sealer().seal(number, chunk, &mut out[from..])?;
        index = number.next();
    }
    Ok(())
}

fn too_long() -> Error {
    Error::Limit(format!("the input has more than {MAX_PLAINTEXT} bytes, the format's limit"))
}
