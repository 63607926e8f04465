//! Fetches one range of an object, also if the connection is cut several times.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::time::{Instant, timeout};
use waxseal::error::{Error, Result};

use crate::again::{Again, Patience};
use crate::failure::{self, Call};
use crate::range::{self, ContentRange};
use crate::{S3, S3Name};

/// An answer with at least this number of bytes is a success, even if it is then cut. Without such a minimum, a store
/// that cuts every answer would be asked forever.
const GAIN: u64 = 64 << 10;

/// If fewer bytes a second arrive, the request is given up, and the rest is asked for again. With 8 requests at the
/// same time, a connection of 4 KiB a second is fast enough.
pub(crate) const LEAST_SPEED: u64 = 512;

/// What identifies an object after the first answer.
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
    /// Too early, after this number of bytes.
    Cut(u64, Why),
}

/// Why an answer ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The connection was closed.
    Closed,
    /// Nothing came any more, or too little.
    Slow,
}

/// The pieces of an answer, as long as they come fast enough.
pub(crate) struct Pieces {
    body: ByteStream,
    pace: Pace,
}

/// What comes next.
pub(crate) enum Next {
    Piece(Bytes),
    /// The end of the answer, or of the connection.
    End,
    /// Nothing comes any more, or too little.
    Slow,
}

impl Pieces {
    /// The pieces of `body`. In each period of `idle`, some bytes must come.
    pub(crate) fn new(body: ByteStream, idle: Duration) -> Self {
        Self { body, pace: Pace { idle, since: Instant::now(), bytes: 0 } }
    }

    pub(crate) async fn next(&mut self) -> Next {
        let asked = Instant::now();
        match timeout(self.pace.idle, self.body.try_next()).await {
            Ok(Ok(Some(piece))) if self.pace.is_enough(piece.len(), asked, Instant::now()) => Next::Piece(piece),
            Err(_) | Ok(Ok(Some(_))) => Next::Slow,
            Ok(Ok(None) | Err(_)) => Next::End,
        }
    }
}

/// How many bytes have come in the current period.
struct Pace {
    idle: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Counts a piece. The wait for it began at `asked` and ended at `now`. `false` if a period is over and too little
    /// has come in it.
    fn is_enough(&mut self, piece: usize, asked: Instant, now: Instant) -> bool {
        self.bytes += piece as u64;
        let period = now - self.since;
        if period < self.idle {
            return true;
        }
        // If the process was stopped, it could not read. In this case, the wait is longer than its limit.
        let is_known = now - asked < self.idle;
        let least = u128::from(LEAST_SPEED) * self.idle.as_millis() / 1000;
        let is_enough = u128::from(self.bytes) >= least;
        (self.since, self.bytes) = (now, 0);
        is_enough || !is_known
    }
}

impl S3 {
    /// Fetches a range, which must be inside of the object and not empty. `take` gets the bytes in order, as they come.
    ///
    /// # Errors
    /// [`InputChanged`](waxseal::error::InputChanged) if the object was replaced or deleted; any error of S3.
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
                Ended::Cut(gained, why) => {
                    if gained >= GAIN {
                        patience.gained();
                    }
                    if !patience.again(Again::Soon).await {
                        return Err(match why {
                            Why::Closed => failure::cut(&fetch.call),
                            Why::Slow => failure::slow(&fetch.call),
                        });
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
        let mut pieces = Pieces::new(answer.body, self.s3.timeouts().idle);
        let mut gained = 0;
        loop {
            let missing = self.left.end - self.left.start;
            let ended = |why| Ok(if missing == 0 { Ended::Complete } else { Ended::Cut(gained, why) });
            let piece = match pieces.next().await {
                Next::Piece(piece) => piece,
                Next::End => return ended(Why::Closed),
                Next::Slow => return ended(Why::Slow),
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

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(20);

    fn seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Whether an answer is taken whose pieces of `len` bytes come every `every` seconds.
    fn is_taken(len: usize, every: u64) -> bool {
        let start = Instant::now();
        let mut pace = Pace { idle: IDLE, since: start, bytes: 0 };
        (1..=100)
            .all(|number| pace.is_enough(len, seconds(start, (number - 1) * every), seconds(start, number * every)))
    }

    #[test]
    fn an_answer_that_drips_is_given_up() {
        assert!(!is_taken(1, 5) && !is_taken(511, 1) && !is_taken(4 << 10, 10));
        assert!(is_taken(512, 1) && is_taken(11 << 10, 10) && is_taken(64 << 10, 19));
    }

    /// A process that was stopped reads what is there, and goes on.
    #[test]
    fn a_stopped_process_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace { idle: IDLE, since: start, bytes: 0 };
        assert!(pace.is_enough(1, start, seconds(start, 3_600)));
        assert!(!pace.is_enough(1, seconds(start, 3_601), seconds(start, 3_620)));
    }
}
