//! One range of an object, however often the connection is cut.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use tokio::time::timeout;
use waxseal::error::{Error, Result};

use crate::again::{Again, Patience};
use crate::failure::{self, Call};
use crate::range::{self, ContentRange};
use crate::{S3, S3Name};

/// An answer that brings so many bytes is a success, even if it is cut then. A store that cuts each answer earlier would
/// be asked without end.
const GAIN: u64 = 64 << 10;

/// What an object is known by from the first answer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) name: S3Name,
    pub(crate) etag: String,
    pub(crate) len: u64,
}

/// The state of a fetch.
struct Fetch<'a> {
    s3: &'a S3,
    pinned: &'a Pinned,
    /// What is still missing.
    left: Range<u64>,
    call: Call,
}

/// How an answer ended.
enum Ended {
    Complete,
    /// Too early, after so many bytes.
    Cut(u64),
}

impl S3 {
    /// Fetches a range, which must be inside of the object and not empty. `take` gets the bytes in order, as they come.
    ///
    /// # Errors
    /// [`InputChanged`](waxseal::error::InputChanged) if the object is another one by now; any error of S3.
    pub(crate) async fn fetch(
        &self,
        pinned: &Pinned,
        range: Range<u64>,
        mut take: impl FnMut(Bytes) -> Result<()> + Send,
    ) -> Result<()> {
        if range.start >= range.end || range.end > pinned.len {
            return Err(Error::Bug("a range outside of the object"));
        }
        let call = Call::new("GetObject", &pinned.name);
        let mut fetch = Fetch { s3: self, pinned, left: range, call };
        let mut patience = Patience::new(self.timeouts().patience);
        loop {
            let answer = fetch.ask(&mut patience).await?;
            match fetch.receive(answer, &mut take).await? {
                Ended::Complete => return Ok(()),
                Ended::Cut(gained) => {
                    if gained >= GAIN {
                        patience.gained();
                    }
                    if !patience.again(Again::Soon).await {
                        return Err(failure::cut(&fetch.call));
                    }
                }
            }
        }
    }
}

impl Fetch<'_> {
    async fn ask(&mut self, patience: &mut Patience) -> Result<GetObjectOutput> {
        let (pinned, range) = (self.pinned, range::header(&self.left));
        let send = |client: aws_sdk_s3::Client| {
            let request = client.get_object().bucket(pinned.name.bucket()).key(pinned.name.key());
            request.range(range.as_str()).if_match(pinned.etag.as_str()).send()
        };
        let answer = self.s3.send(&mut self.call, patience, send).await?.map_err(|error| {
            if failure::is_changed(&error) { failure::changed() } else { failure::failure(&self.call, &error) }
        })?;
        self.check(&answer)?;
        Ok(answer)
    }

    /// Some stores ignore conditions and ranges, so each answer is compared with what was asked for.
    fn check(&self, answer: &GetObjectOutput) -> Result<()> {
        if answer.e_tag() != Some(self.pinned.etag.as_str()) {
            return Err(match answer.e_tag() {
                Some(_) => failure::changed(),
                None => failure::bad_answer(&self.call, "has no ETag"),
            });
        }
        let expected = ContentRange { bytes: self.left.clone(), len: self.pinned.len };
        match answer.content_range() {
            None => return Err(failure::bad_answer(&self.call, "is not the range that was asked for")),
            Some(range) if ContentRange::parse(range).as_ref() != Some(&expected) => {
                return Err(failure::bad_answer(&self.call, "has another range than was asked for"));
            }
            Some(_) => {}
        }
        let len = self.left.end - self.left.start;
        if answer.content_length().is_some_and(|given| u64::try_from(given) != Ok(len)) {
            return Err(failure::bad_answer(&self.call, "has another length than its range"));
        }
        Ok(())
    }

    async fn receive(
        &mut self,
        answer: GetObjectOutput,
        take: &mut (impl FnMut(Bytes) -> Result<()> + Send),
    ) -> Result<Ended> {
        let mut body = answer.body;
        let idle = self.s3.timeouts().idle;
        let mut gained = 0;
        loop {
            let missing = self.left.end - self.left.start;
            let Ok(Ok(piece)) = timeout(idle, body.try_next()).await else {
                return Ok(if missing == 0 { Ended::Complete } else { Ended::Cut(gained) });
            };
            let Some(piece) = piece else {
                return Ok(if missing == 0 { Ended::Complete } else { Ended::Cut(gained) });
            };
            let len = piece.len() as u64;
            if len > missing {
                return Err(failure::bad_answer(&self.call, "has more bytes than its range"));
            }
            self.left.start += len;
            gained += len;
            take(piece)?;
        }
    }
}
