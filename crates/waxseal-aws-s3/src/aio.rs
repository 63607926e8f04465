//! Objects for programs on tokio: as `AsyncRead`, as `AsyncWrite`, and by ranges.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use waxseal::aio::ReadRange;
use waxseal::error::{Error, Result};

use super::object::Object;
use super::reader::ObjectStream;
use super::upload::{Upload, Uploaded};

type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl ReadRange for Object {
    type Bytes = Vec<u8>;

    async fn size(&self) -> io::Result<u64> {
        Ok(self.len())
    }

    async fn read_range(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        Ok(self.read_range_async(range).await?)
    }
}

/// An [`AsyncWrite`] into an [`Upload`].
///
/// The object appears when the writer is shut down, and only then. If the writer is dropped before, the upload is aborted.
/// A [`waxseal::aio::SealWriter`] shuts it down after the end of the file was sealed and written.
pub struct UploadWriter(Writing);

enum Writing {
    Open(Box<Upload>),
    Pushing(Step<(Box<Upload>, Result<()>)>),
    Completing(Step<Result<Uploaded>>),
    Done(Uploaded),
    Failed,
}

impl UploadWriter {
    /// Writes to `upload`.
    #[must_use]
    pub fn new(upload: Upload) -> Self {
        Self(Writing::Open(Box::new(upload)))
    }

    /// The object. `None` before the writer was shut down.
    #[must_use]
    pub fn uploaded(&self) -> Option<&Uploaded> {
        if let Writing::Done(uploaded) = &self.0 { Some(uploaded) } else { None }
    }

    /// Waits until the last bytes were taken.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Writing::Pushing(pushing) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let (upload, pushed) = ready!(pushing.as_mut().poll(cx));
        self.0 = if pushed.is_ok() { Writing::Open(upload) } else { Writing::Failed };
        Poll::Ready(pushed.map_err(io::Error::from))
    }
}

impl AsyncWrite for UploadWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_taken(cx))?;
        match std::mem::replace(&mut self.0, Writing::Failed) {
            Writing::Open(mut upload) => {
                let taken = Bytes::copy_from_slice(bytes);
                self.0 = Writing::Pushing(Box::pin(async move {
                    let pushed = upload.push_async(taken).await;
                    (upload, pushed)
                }));
                // It is polled here, so that a part is sent without waiting for the next call.
                match self.poll_taken(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(bytes.len())),
                }
            }
            other => {
                self.0 = other;
                Poll::Ready(Err(Error::ApiMisuse("writing to an upload that has ended or failed").into()))
            }
        }
    }

    /// Waits until all bytes are in the parts. A part that is not full stays in memory.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_taken(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_taken(cx))?;
        self.0 = match std::mem::replace(&mut self.0, Writing::Failed) {
            Writing::Open(upload) => Writing::Completing(Box::pin(upload.complete_async())),
            other => other,
        };
        match &mut self.0 {
            Writing::Completing(completing) => match ready!(completing.as_mut().poll(cx)) {
                Ok(uploaded) => self.0 = Writing::Done(uploaded),
                Err(error) => {
                    self.0 = Writing::Failed;
                    return Poll::Ready(Err(error.into()));
                }
            },
            Writing::Done(_) => {}
            _ => return Poll::Ready(Err(Error::ApiMisuse("ending an upload that has failed").into())),
        }
        Poll::Ready(Ok(()))
    }
}

/// An [`AsyncRead`] of a whole object, with several requests at the same time.
pub struct StreamReader {
    stream: Option<ObjectStream>,
    waiting: Option<Step<(ObjectStream, Result<Option<Bytes>>)>>,
    ready: Bytes,
}

impl StreamReader {
    /// Reads what `stream` gives.
    #[must_use]
    pub fn new(stream: ObjectStream) -> Self {
        Self { stream: Some(stream), waiting: None, ready: Bytes::new() }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            if let Some(mut stream) = self.stream.take() {
                self.waiting = Some(Box::pin(async move {
                    let next = stream.next().await;
                    (stream, next)
                }));
            }
            let Some(waiting) = &mut self.waiting else {
                return Poll::Ready(Err(Error::ApiMisuse("reading an object after an error").into()));
            };
            let (stream, next) = ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
            let Some(bytes) = next? else {
                self.stream = Some(stream);
                return Poll::Ready(Ok(()));
            };
            (self.stream, self.ready) = (Some(stream), bytes);
        }
        let len = self.ready.len().min(out.remaining());
        out.put_slice(&self.ready.split_to(len));
        Poll::Ready(Ok(()))
    }
}
