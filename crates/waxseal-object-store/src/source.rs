//! The sealed bytes of an answer, and the plaintext that they become.

use std::fs::File;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, GetResultPayload};
use waxseal::container::Plaintext;
use waxseal::format::CHUNK_LEN;
use waxseal::io::ReadAt;
use waxseal::{Error, Result};

use crate::trouble;
use crate::work::{self, PIECE, at_once, off_the_reactor};

/// A range of this length is opened by several threads.
const LONG: u64 = 4 * PIECE as u64;

/// The payload of an answer.
pub(crate) enum Source {
    /// An open file. It stays the same one, whatever happens to its name.
    File(Arc<File>),
    Stream(BoxStream<'static, Result<Bytes, StoreError>>),
    /// Bytes that are there already. The first one has this position in the sealed object.
    Memory(u64, Bytes),
}

/// Why bytes are not there.
pub(crate) enum Lost {
    Store(StoreError),
    Own(Error),
}

impl Lost {
    /// As the error of the object at `path`.
    pub(crate) fn of(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Own(error) => trouble::of(path, error),
        }
    }
}

impl From<StoreError> for Lost {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Source {
    pub(crate) fn of(payload: GetResultPayload) -> Self {
        match payload {
            #[cfg(not(target_arch = "wasm32"))]
            GetResultPayload::File(file, _) => Self::File(Arc::new(file)),
            GetResultPayload::Stream(stream) => Self::Stream(stream),
        }
    }

    /// All bytes of `sealed`, which is the range of the answer.
    pub(crate) async fn collect(self, sealed: &Range<u64>) -> Result<Bytes, Lost> {
        let len = len(sealed);
        match self {
            Self::File(file) => {
                let range = sealed.clone();
                Ok(off_the_reactor(move || read_file(&file, &range)).await.map_err(Lost::Own)?.into())
            }
            Self::Memory(start, bytes) => Ok(part(&bytes, start, sealed)),
            Self::Stream(stream) => {
                let mut reader = Reader { stream, rest: Bytes::new() };
                if let Some(first) = reader.stream.try_next().await? {
                    if first.len() == len {
                        return Ok(first);
                    }
                    reader.rest = first;
                }
                Ok(reader.take(len).await?.into())
            }
        }
    }

    /// The bytes `range` of the plaintext, in pieces. `range` ends at the end of the plaintext or before, and its sealed
    /// range is that of the answer. After an error, nothing follows.
    pub(crate) fn plaintext(
        self,
        plaintext: Arc<Plaintext>,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes, Lost>> {
        let pieces = Pieces(range.clone());
        match self {
            Self::File(file) => {
                let opened = stream::iter(pieces).map(move |piece| {
                    let (file, plaintext) = (Arc::clone(&file), Arc::clone(&plaintext));
                    off_the_reactor(move || {
                        let sealed = read_file(&file, &plaintext.sealed_range(piece.clone()))?;
                        open_piece(&plaintext, piece, sealed)
                    })
                });
                until_error(opened.buffered(at_once()).map_err(Lost::Own)).boxed()
            }
            Self::Memory(start, bytes) => {
                let sealed = part(&bytes, start, &plaintext.sealed_range(range));
                stream_of(stream::once(ready(Ok(sealed))).boxed(), plaintext, pieces)
            }
            Self::Stream(stream) => stream_of(stream, plaintext, pieces),
        }
    }

    /// The bytes of each of `wanted`. `sealed` is the range of the answer, and has the sealed ranges of all of them.
    pub(crate) async fn open_ranges(
        self,
        plaintext: &Arc<Plaintext>,
        sealed: &Range<u64>,
        wanted: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Lost> {
        let held = match self {
            Self::File(file) => Held::File(file),
            other => Held::Memory(sealed.start, other.collect(sealed).await?),
        };
        let job = |batch| open_batch(held.clone(), Arc::clone(plaintext), batch);
        let jobs: Vec<_> = batches(wanted).map(job).collect();
        // Bytes that nobody else holds can be opened in place.
        drop(held);
        let opened: Vec<Vec<Bytes>> = stream::iter(jobs).buffered(at_once()).try_collect().await?;
        Ok(opened.into_iter().flatten().collect())
    }
}

/// Sealed bytes that any number of jobs can read.
#[derive(Clone)]
enum Held {
    File(Arc<File>),
    Memory(u64, Bytes),
}

/// Ranges that one job opens: a long one, or several short ones.
fn batches(wanted: &[Range<u64>]) -> impl Iterator<Item = Vec<Range<u64>>> {
    let mut rest = wanted;
    std::iter::from_fn(move || {
        let mut total = 0;
        let taken = rest.iter().take_while(|range| {
            let first = total == 0;
            total += len(range).max(1);
            first || total <= PIECE
        });
        let (batch, later) = rest.split_at(taken.count());
        rest = later;
        (!batch.is_empty()).then(|| batch.to_vec())
    })
}

async fn open_batch(held: Held, plaintext: Arc<Plaintext>, batch: Vec<Range<u64>>) -> Result<Vec<Bytes>, Lost> {
    if let [range] = batch.as_slice()
        && range.end - range.start >= LONG
    {
        return Ok(vec![open_long(held, plaintext, range.clone()).await?]);
    }
    let total = batch.iter().map(len).sum();
    let opened = match held {
        Held::File(file) => {
            off_the_reactor(move || open_each(&plaintext, batch, |sealed| read_file(&file, sealed))).await
        }
        Held::Memory(start, bytes) => {
            let open = move || {
                let mut rest = bytes;
                let mut left = batch.len();
                open_each(&plaintext, batch, |sealed| {
                    let part = part(&rest, start, sealed);
                    left -= 1;
                    if left == 0 {
                        // The last part may be alone now. Then it is not copied.
                        rest = Bytes::new();
                    }
                    Ok(part.into())
                })
            };
            work::on(total, open).await
        }
    };
    opened.map_err(Lost::Own)
}

fn open_each(
    plaintext: &Plaintext,
    batch: Vec<Range<u64>>,
    mut sealed: impl FnMut(&Range<u64>) -> Result<Vec<u8>>,
) -> Result<Vec<Bytes>> {
    let open = |range: Range<u64>| {
        let sealed = sealed(&plaintext.sealed_range(range.clone()))?;
        open_piece(plaintext, range, sealed)
    };
    batch.into_iter().map(open).collect()
}

async fn open_long(held: Held, plaintext: Arc<Plaintext>, range: Range<u64>) -> Result<Bytes, Lost> {
    let source = match held {
        Held::File(file) => Source::File(file),
        Held::Memory(start, bytes) => Source::Memory(start, bytes),
    };
    let mut all = BytesMut::with_capacity(len(&range));
    let mut pieces = source.plaintext(plaintext, range);
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The pieces of a range of the plaintext. All but the first begin where a chunk begins.
struct Pieces(Range<u64>);

impl Iterator for Pieces {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        let start = self.0.start;
        if start >= self.0.end {
            return None;
        }
        let chunk = start - start % CHUNK_LEN as u64;
        self.0.start = self.0.end.min(chunk + PIECE as u64);
        Some(start..self.0.start)
    }
}

/// Opens `pieces`, one after the other in `stream`.
fn stream_of(
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    plaintext: Arc<Plaintext>,
    pieces: Pieces,
) -> BoxStream<'static, Result<Bytes, Lost>> {
    let reader = Reader { stream, rest: Bytes::new() };
    let of = Arc::clone(&plaintext);
    let sealed = stream::try_unfold((reader, pieces), move |(mut reader, mut pieces)| {
        let piece = pieces.next().map(|piece| (len(&of.sealed_range(piece.clone())), piece));
        async move {
            let Some((len, piece)) = piece else { return Ok(None) };
            let sealed = reader.take(len).await?;
            Ok(Some(((piece, sealed), (reader, pieces))))
        }
    });
    let opened = sealed.map(move |next: Result<_, Lost>| {
        let plaintext = Arc::clone(&plaintext);
        async move {
            let (piece, sealed) = next?;
            work::on(sealed.len(), move || open_piece(&plaintext, piece, sealed)).await.map_err(Lost::Own)
        }
    });
    until_error(opened.buffered(at_once())).boxed()
}

/// What follows an error is not passed on.
fn until_error<T>(stream: impl Stream<Item = Result<T, Lost>>) -> impl Stream<Item = Result<T, Lost>> {
    stream.scan(false, |failed, next| {
        let before = std::mem::replace(failed, *failed || next.is_err());
        ready((!before).then_some(next))
    })
}

/// Exact numbers of bytes of a stream.
struct Reader {
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    rest: Bytes,
}

impl Reader {
    async fn take(&mut self, len: usize) -> Result<Vec<u8>, Lost> {
        let mut taken = Vec::with_capacity(len);
        while taken.len() < len {
            if self.rest.is_empty() {
                self.rest = self.stream.try_next().await?.ok_or_else(|| Lost::Own(trouble::changed_input()))?;
                continue;
            }
            let now = self.rest.len().min(len - taken.len());
            taken.extend_from_slice(&self.rest[..now]);
            self.rest.advance(now);
        }
        Ok(taken)
    }
}

/// Opens the bytes `range` of the plaintext. `sealed` has the bytes of its sealed range.
fn open_piece(plaintext: &Plaintext, range: Range<u64>, mut sealed: Vec<u8>) -> Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    if sealed.len() != len(&plaintext.sealed_range(range.clone())) {
        return Err(trouble::changed_input());
    }
    let first = plaintext.chunk_of(range.start);
    plaintext.open_chunks(first, &mut sealed)?;
    let skip = usize::try_from(range.start - first.get() * CHUNK_LEN as u64).unwrap_or(usize::MAX);
    Ok(Bytes::from(sealed).slice(skip..skip + len(&range)))
}

fn read_file(file: &File, range: &Range<u64>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len(range)];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], range.start + done as u64) {
            Ok(0) => return Err(trouble::changed_input()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("reading the object", error)),
        }
    }
    Ok(bytes)
}

/// The bytes `range` of the sealed object, of which `bytes` has those from `start` on. Fewer if they are not there.
pub(crate) fn part(bytes: &Bytes, start: u64, range: &Range<u64>) -> Bytes {
    let at = |position: u64| usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

fn len(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range() {
        let (chunk, piece) = (CHUNK_LEN as u64, PIECE as u64);
        assert_eq!(Pieces(7..7).count(), 0);
        let range = chunk + 5..3 * piece + 9;
        let pieces: Vec<_> = Pieces(range.clone()).collect();
        assert_eq!(pieces[0], chunk + 5..chunk + piece);
        assert!(pieces.windows(2).all(|two| two[0].end == two[1].start && two[1].start % chunk == 0));
        assert_eq!(pieces.last().unwrap().end, range.end);
    }

    #[test]
    fn batches_keep_the_order() {
        let short = |start: u64| start..start + 1000;
        let long = 0..PIECE as u64 * 9;
        let wanted: Vec<_> = (0..2000).map(short).chain([long.clone()]).chain((0..3).map(short)).collect();
        let batches: Vec<_> = batches(&wanted).collect();
        assert_eq!(batches.concat(), wanted);
        assert!(batches.contains(&vec![long]) && batches.len() < 8, "{}", batches.len());
        assert_eq!(super::batches(&[]).count(), 0);
    }

    #[tokio::test]
    async fn nothing_follows_an_error() {
        let items = [Ok(1), Err(Lost::Own(trouble::changed_input())), Ok(2)];
        let seen: Vec<_> = until_error(stream::iter(items)).collect().await;
        assert_eq!(seen.len(), 2);
        assert!(seen[0].is_ok() && seen[1].is_err());
    }
}
