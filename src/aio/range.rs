//! [`RangeReader`]: reads any range of a file that is fetched by ranges. The length is authenticated first (spec 14).

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{SHORT, off_the_reactor};
use crate::container::{Opened, Opening, Plaintext};
use crate::envelope::{Demands, OpenedBy};
use crate::error::{Error, InputChanged, Result};
use crate::format::{FRONT_LEN, Front, Header};
use crate::keys::{AsyncKeyOpener, KeyOpener};

/// A source that returns bytes by range, such as an object in a store.
///
/// All answers must be of the same content. If objects in the store can change, compare the object's version, and
/// return an error if it is another one.
pub trait ReadRange: Send + Sync {
    /// The bytes of an answer.
    type Bytes: AsRef<[u8]> + Send;

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// Any error of the store.
    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send;

    /// The bytes of `range`, which is not empty and ends at the length or before. All of them must be returned.
    ///
    /// # Errors
    /// Any error of the store.
    fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Self::Bytes>> + Send;
}

/// Decrypts ranges of a waxseal file. One reader serves many tasks at once.
///
/// Opening fetches the first 131,144 bytes and the last chunk, so the length is authenticated before it is used. After
/// that, a read fetches only the chunks of 16 KiB that it needs, in one request. It has no cache.
///
/// ```
/// use std::io;
/// use std::ops::Range;
/// use std::sync::Arc;
/// use waxseal::aio::{RangeReader, ReadRange};
/// # use std::io::Write;
/// # use waxseal::keys::KeyFile;
/// # use waxseal::{Demands, SealOptions, SealWriter};
///
/// struct Object(Vec<u8>);
///
/// impl ReadRange for Object {
///     type Bytes = Vec<u8>;
///     async fn size(&self) -> io::Result<u64> {
///         Ok(self.0.len() as u64)
///     }
///     async fn read_range(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
///         Ok(self.0[range.start as usize..range.end as usize].to_vec())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let key = Arc::new(KeyFile::generate()?);
/// # let mut writer = SealWriter::new(Vec::new(), &[&*key], &SealOptions::new())?;
/// # writer.write_all(&[b'.'; 100_000])?;
/// # writer.write_all(b"the end")?;
/// # let object = Object(writer.finish()?);
/// let reader = RangeReader::new(object, vec![key], &Demands::new()).await?;
/// assert_eq!(reader.len(), 100_007);
/// assert_eq!(reader.read_range(100_000..100_007).await?, b"the end");
/// # Ok(())
/// # }
/// ```
pub struct RangeReader<S> {
    source: S,
    header: Header,
    by: OpenedBy,
    plaintext: Arc<Plaintext>,
}

impl<S: ReadRange> RangeReader<S> {
    /// Reads the header, checks `demands`, tries `openers` in order on a blocking thread, and checks the commitment and
    /// the end.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Unmet`] before any key is used, [`Error::NoKey`], [`Error::Tampered`],
    /// [`Error::Io`].
    pub async fn new(source: S, openers: Vec<Arc<dyn KeyOpener>>, demands: &Demands) -> Result<Self> {
        let (opening, len) = begin(&source, demands).await?;
        let opened = super::open(opening, openers).await?;
        Self::opened(source, opened, len).await
    }

    /// The same with key services that answer asynchronously.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn new_async(source: S, openers: &[&dyn AsyncKeyOpener], demands: &Demands) -> Result<Self> {
        let (opening, len) = begin(&source, demands).await?;
        let opened = opening.open_async(openers).await?;
        Self::opened(source, opened, len).await
    }

    async fn opened(source: S, opened: Opened, len: u64) -> Result<Self> {
        let (payload, header, by) = opened.into_parts();
        let end = payload.end(len)?;
        let sealed = fetch(&source, end.range.clone(), "reading the last chunk").await?;
        let plaintext = Arc::new(payload.with_end(&end, sealed.as_ref())?);
        Ok(Self { source, header, by, plaintext })
    }

    /// The header, with its warnings.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which slot and key opened the file.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.by
    }

    /// The source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Length of the plaintext in bytes, authenticated.
    pub fn len(&self) -> u64 {
        self.plaintext.len()
    }

    /// Whether the plaintext is empty.
    pub fn is_empty(&self) -> bool {
        self.plaintext.is_empty()
    }

    /// The bytes `range` of the plaintext. Bytes after its end are left out.
    ///
    /// The memory needed is twice the length of the range, so ask for large ranges in parts.
    ///
    /// # Errors
    /// [`Error::Io`]. [`Error::Tampered`] if a chunk of the range does not authenticate at its position: no bytes are
    /// returned then.
    pub async fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = self.plaintext.sealed_range(range.clone());
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let sealed = fetch(&self.source, wanted, "reading the payload").await?;
        let sealed = sealed.as_ref();
        if sealed.len() <= SHORT {
            return self.plaintext.open_range(range, sealed);
        }
        let (plaintext, sealed) = (Arc::clone(&self.plaintext), sealed.to_vec());
        off_the_reactor(move || plaintext.open_range(range, &sealed)).await
    }
}

/// Reads the front and decides on the header.
async fn begin<S: ReadRange>(source: &S, demands: &Demands) -> Result<(Opening, u64)> {
    let len = source.size().await.map_err(|error| Error::io("reading the size of the input", error))?;
    let front = match len.min(FRONT_LEN as u64) {
        0 => Vec::new(),
        front => fetch(source, 0..front, "reading the header").await?.as_ref().to_vec(),
    };
    Ok((Opening::read(Front::new(front), demands)?, len))
}

/// Fetches exactly the bytes of `range`.
async fn fetch<S: ReadRange>(source: &S, range: Range<u64>, action: &str) -> Result<S::Bytes> {
    let len = range.end - range.start;
    let bytes = source.read_range(range).await.map_err(|error| Error::io(action, error))?;
    if bytes.as_ref().len() as u64 != len {
        return Err(Error::io(action, io::Error::other(InputChanged)));
    }
    Ok(bytes)
}
