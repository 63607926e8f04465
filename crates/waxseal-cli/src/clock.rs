//! When the work on an input began, and how long it took.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// A beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {
    at: OffsetDateTime,
    /// The clock of `at` can be set while the work goes on. This one cannot.
    instant: Instant,
}

impl Began {
    /// Now.
    pub(crate) fn now() -> Self {
        Self { at: OffsetDateTime::now_utc(), instant: Instant::now() }
    }

    /// From the beginning until now.
    pub(crate) fn spent(self) -> Spent {
        Spent { at: self.at, lasted: self.instant.elapsed() }
    }
}

/// A time that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    at: OffsetDateTime,
    lasted: Duration,
}

impl Spent {
    /// The beginning in UTC, as in RFC 3339, always with milliseconds.
    pub(crate) fn started(self) -> String {
        let (date, time) = (self.at.date(), self.at.time());
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond()
        )
    }

    /// How long it took.
    pub(crate) fn millis(self) -> u64 {
        u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX)
    }

    /// The same in seconds, for a person.
    pub(crate) fn seconds(self) -> String {
        format!("{}.{:03} s", self.lasted.as_secs(), self.lasted.subsec_millis())
    }
}
