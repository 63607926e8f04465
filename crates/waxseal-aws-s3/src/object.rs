//! An object that was opened with one request, and is then read by ranges.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use waxseal::error::{Error, Result};
use waxseal::format::FRONT_LEN;
use waxseal::io::ReadAt;

use crate::again::Patience;
use crate::failure::{self, Call};
use crate::fetch::{Next, Pieces, Pinned};
use crate::range::{self, ContentRange};
use crate::{S3, S3Name};

/// An ETag becomes a header of each further request. Those of S3 have 34 to 40 characters.
const ETAG_MAX: usize = 256;

/// An object in S3, as it was when it was opened.
///
/// The first request fetches the first 131,144 bytes, in which a sealed file has its header, and they are kept. Every
/// later request asks for the same ETag. If the object has been replaced or deleted, it fails with
/// [`InputChanged`](waxseal::error::InputChanged), and bytes of two objects are never mixed.
///
/// Clones share the first bytes and the metadata.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) opened: Arc<Opened>,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) s3: S3,
    pub(crate) pinned: Pinned,
    /// The first bytes, or all of a shorter object.
    pub(crate) front: Bytes,
    about: About,
}

/// What S3 says about an object.
#[derive(Debug, Default)]
struct About {
    version_id: Option<String>,
    modified: Option<SystemTime>,
    content_type: Option<String>,
    storage_class: Option<String>,
    metadata: HashMap<String, String>,
}

impl About {
    fn of(answer: &GetObjectOutput) -> Self {
        Self {
            version_id: answer.version_id.clone(),
            modified: answer.last_modified.and_then(|time| SystemTime::try_from(time).ok()),
            content_type: answer.content_type.clone(),
            storage_class: answer.storage_class.as_ref().map(|class| class.as_str().to_owned()),
            metadata: answer.metadata.clone().unwrap_or_default(),
        }
    }
}

impl S3 {
    /// Opens an object, with one request.
    ///
    /// # Errors
    /// [`Error::NoInput`] if the bucket has no such object; [`Error::Invalid`] if `name` has no key; any error of S3.
    pub fn object(&self, name: &S3Name) -> Result<Object> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move { this.open(&name).await })
    }

    /// Opens an object, with one request.
    ///
    /// # Errors
    /// As [`S3::object`].
    pub async fn object_async(&self, name: &S3Name) -> Result<Object> {
        let (this, name) = (self.clone(), name.clone());
        self.on_runtime(async move { this.open(&name).await }).await
    }

    /// The length of an object. This takes one request, which fetches no content. `None` if there is no such object or
    /// no such bucket. The answer does not say which of the two is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `name` has no key; any other error of S3.
    pub fn len_of(&self, name: &S3Name) -> Result<Option<u64>> {
        let (this, name) = (self.clone(), name.clone());
        self.block_on(async move {
            name.check_is_object()?;
            let send = |client: aws_sdk_s3::Client| client.head_object().bucket(name.bucket()).key(name.key()).send();
            let mut call = Call::new("HeadObject", &name);
            match this.send(&mut call, &mut Patience::at_first(this.timeouts().patience), send).await? {
                Ok(answer) => Ok(answer.content_length().and_then(|len| u64::try_from(len).ok())),
                Err(error) if failure::status(&error) == 404 => Ok(None),
                Err(error) => Err(failure::failure(&call, &error)),
            }
        })
    }

    async fn open(&self, name: &S3Name) -> Result<Object> {
        name.check_is_object()?;
        let mut call = Call::new("GetObject", name);
        let mut patience = Patience::at_first(self.timeouts().patience);
        let wanted = range::header(&(0..FRONT_LEN as u64));
        let send = |client: aws_sdk_s3::Client| {
            client.get_object().bucket(name.bucket()).key(name.key()).range(wanted.as_str()).send()
        };
        match self.send(&mut call, &mut patience, send).await? {
            Ok(answer) => self.opened(&call, answer).await,
            // An empty object has no range.
            Err(error) if failure::status(&error) == 416 => self.open_empty(name).await,
            Err(error) => Err(failure::failure(&call, &error)),
        }
    }

    async fn opened(&self, call: &Call, answer: GetObjectOutput) -> Result<Object> {
        let (front_len, len) = front_len(call, &answer)?;
        let pinned = pin(call, answer.e_tag(), len)?;
        let about = About::of(&answer);
        let mut front = Vec::with_capacity(front_len);
        let mut pieces = Pieces::new(answer.body, self.timeouts().idle);
        // If the answer ends too early, the rest is requested below.
        while let Next::Piece(piece) = pieces.next().await {
            if piece.len() > front_len - front.len() {
                return Err(failure::bad_answer(call, "has more bytes than its range"));
            }
            front.extend_from_slice(&piece);
        }
        if front.len() < front_len {
            let missing = front.len() as u64..front_len as u64;
            self.fetch(&pinned, missing, |piece| {
                front.extend_from_slice(&piece);
                Ok(())
            })
            .await?;
        }
        Ok(Object { opened: Arc::new(Opened { s3: self.clone(), pinned, front: front.into(), about }) })
    }

    async fn open_empty(&self, name: &S3Name) -> Result<Object> {
        let mut call = Call::new("GetObject", name);
        let answer = self.get_empty(&mut call, None).await?;
        let pinned = pin(&call, answer.e_tag(), 0)?;
        let about = About::of(&answer);
        Ok(Object { opened: Arc::new(Opened { s3: self.clone(), pinned, front: Bytes::new(), about }) })
    }

    /// Asks for an object that is empty.
    async fn get_empty(&self, call: &mut Call, etag: Option<&str>) -> Result<GetObjectOutput> {
        let name = call.name.clone();
        let send = |client: aws_sdk_s3::Client| {
            let request = client.get_object().bucket(name.bucket()).key(name.key());
            request.set_if_match(etag.map(str::to_owned)).send()
        };
        let answer = self.send(call, &mut Patience::new(self.timeouts().patience), send).await?;
        match answer {
            Ok(answer) if answer.content_length() == Some(0) => Ok(answer),
            Ok(_) => Err(failure::changed()),
            Err(error) if failure::is_changed(&error) => Err(failure::changed()),
            Err(error) => Err(failure::failure(call, &error)),
        }
    }
}

/// The lengths of the first answer and of the object. Memory is allocated only after they are known.
fn front_len(call: &Call, answer: &GetObjectOutput) -> Result<(usize, u64)> {
    let given = answer.content_length().and_then(|len| u64::try_from(len).ok());
    let (front, len) = match answer.content_range().map(ContentRange::parse) {
        Some(Some(range)) => {
            let front = range.len.min(FRONT_LEN as u64);
            if range.bytes != (0..front) || given.is_some_and(|given| given != front) {
                return Err(failure::bad_answer(call, "has another range than was asked for"));
            }
            (front, range.len)
        }
        Some(None) => return Err(failure::bad_answer(call, "has an impossible range")),
        // The answer is the whole object, which not all stores describe as a range. This is certain only if the object
        // is shorter than the range.
        None => match given {
            Some(len) if len < FRONT_LEN as u64 => (len, len),
            _ => return Err(failure::bad_answer(call, "is not the range that was asked for")),
        },
    };
    let front = usize::try_from(front).map_err(|_| Error::Bug("a front that is too long"))?;
    Ok((front, len))
}

/// Without an ETag, one object cannot be distinguished from another. A weak ETag does not mean that all bytes are the
/// same.
fn pin(call: &Call, etag: Option<&str>, len: u64) -> Result<Pinned> {
    let etag = etag.ok_or_else(|| failure::bad_answer(call, "has no ETag"))?;
    let is_plain = !etag.is_empty() && etag.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if !is_plain || etag.len() > ETAG_MAX || etag.starts_with("W/") || etag == "*" {
        return Err(failure::bad_answer(call, "has an ETag that cannot be used"));
    }
    Ok(Pinned { name: call.name.clone(), etag: etag.to_owned(), len })
}

impl Object {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &S3Name {
        &self.opened.pinned.name
    }

    /// Its length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "like a file")]
    pub fn len(&self) -> u64 {
        self.opened.pinned.len
    }

    /// Its ETag, as S3 writes it: with quotation marks.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.opened.pinned.etag
    }

    /// Its version id, if the bucket has versions.
    #[must_use]
    pub fn version_id(&self) -> Option<&str> {
        self.opened.about.version_id.as_deref()
    }

    /// When it was stored.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.opened.about.modified
    }

    /// Its content type.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.opened.about.content_type.as_deref()
    }

    /// Its storage class; `None` for the standard one.
    #[must_use]
    pub fn storage_class(&self) -> Option<&str> {
        self.opened.about.storage_class.as_deref()
    }

    /// The user's metadata, by names without `x-amz-meta-`.
    #[must_use]
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.opened.about.metadata
    }

    /// The handle with which it was opened.
    #[must_use]
    pub fn s3(&self) -> &S3 {
        &self.opened.s3
    }

    /// The bytes of a range. The range may end after the object's end.
    ///
    /// # Errors
    /// [`Error::Io`] with [`InputChanged`](waxseal::error::InputChanged) if the object was replaced or deleted; any
    /// error of S3.
    pub async fn read_range_async(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let opened = Arc::clone(&self.opened);
        if let Some(kept) = opened.kept(&range) {
            return Ok(kept.to_vec());
        }
        self.opened.s3.on_runtime(async move { opened.read(range).await }).await
    }

    /// Fails if the object was replaced or deleted after it was opened.
    ///
    /// # Errors
    /// As [`Object::read_range_async`].
    pub async fn check_unchanged_async(&self) -> Result<()> {
        let opened = Arc::clone(&self.opened);
        self.opened.s3.on_runtime(async move { opened.check_unchanged().await }).await
    }
}

impl Opened {
    /// The part of a range that is inside of the object.
    fn inside(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.min(self.pinned.len);
        range.start.min(end)..end
    }

    /// The bytes of a range that needs no request.
    fn kept(&self, range: &Range<u64>) -> Option<Bytes> {
        let range = self.inside(range);
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let (from, to) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        (to <= self.front.len()).then(|| self.front.slice(from..to))
    }

    async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let range = self.inside(&range);
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| Error::Limit("the range is longer than this machine's memory".into()))?;
        let mut bytes = Vec::new();
        let refused = |_| Error::io("reading the object", io::ErrorKind::OutOfMemory.into());
        bytes.try_reserve_exact(len).map_err(refused)?;
        let start = range.start.max(self.front.len() as u64).min(range.end);
        bytes.extend(self.kept(&(range.start..start)).into_iter().flatten());
        if start < range.end {
            self.s3
                .fetch(&self.pinned, start..range.end, |piece| {
                    bytes.extend_from_slice(&piece);
                    Ok(())
                })
                .await?;
        }
        Ok(bytes)
    }

    async fn check_unchanged(&self) -> Result<()> {
        if self.pinned.len > 0 {
            return self.s3.fetch(&self.pinned, 0..1, |_| Ok(())).await;
        }
        let mut call = Call::new("GetObject", &self.pinned.name);
        let answer = self.s3.get_empty(&mut call, Some(&self.pinned.etag)).await?;
        if answer.e_tag() == Some(self.pinned.etag.as_str()) { Ok(()) } else { Err(failure::changed()) }
    }
}

/// Reads block the thread of the caller. They do not block the runtime.
impl ReadAt for Object {
    /// Fills the buffer, unless the object ends before. Each read outside of the first bytes is one request, so a caller
    /// should ask for as much as it needs at once.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let range = position..position.saturating_add(buffer.len() as u64);
        let bytes = match self.opened.kept(&range) {
            Some(kept) => kept,
            None => {
                let opened = Arc::clone(&self.opened);
                self.opened.s3.block_on(async move { opened.read(range).await })?.into()
            }
        };
        buffer.get_mut(..bytes.len()).ok_or(Error::Bug("more bytes than a buffer"))?.copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len())
    }

    /// One request, for one byte.
    fn check_unchanged(&self) -> io::Result<()> {
        let opened = Arc::clone(&self.opened);
        Ok(self.opened.s3.block_on(async move { opened.check_unchanged().await })?)
    }
}
