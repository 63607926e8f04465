//! When a request is sent again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What a failed request says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail in the same way.
    Never,
    /// No server could be reached.
    Unreached,
    /// The failure may be temporary.
    Soon,
    /// S3 asks for fewer requests.
    Slower,
}

/// The limit for temporary failures in a row.
const FAILURES: u32 = 10;
/// The limit if no server has ever been reached. The endpoint is probably wrong then.
const FAILURES_AT_FIRST: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const FIRST_WAIT_IF_THROTTLED: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often and how long a request is repeated.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    until: Instant,
    failures: u32,
    unreached_max: u32,
    /// The number of attempts that the environment allows.
    attempts_max: u32,
}

impl Patience {
    /// For the first request about an object.
    pub(crate) fn at_first(limit: Duration) -> Self {
        Self { unreached_max: FAILURES_AT_FIRST, ..Self::new(limit) }
    }

    /// For a request after others were answered.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, until: Instant::now() + limit, failures: 0, unreached_max: FAILURES, attempts_max: u32::MAX }
    }

    /// Sets the limit for attempts in a row, if there is one.
    pub(crate) fn at_most(&mut self, attempts: Option<u32>) {
        self.attempts_max = attempts.unwrap_or(u32::MAX);
    }

    /// An answer brought enough bytes. The time starts again.
    pub(crate) fn gained(&mut self) {
        (self.failures, self.until) = (0, Instant::now() + self.limit);
    }

    /// Waits until the request may be sent again. `false` if it may not.
    pub(crate) async fn again(&mut self, again: Again) -> bool {
        self.failures += 1;
        let (failures_max, first) = match again {
            Again::Never => return false,
            Again::Unreached => (self.unreached_max, FIRST_WAIT),
            Again::Soon => (FAILURES, FIRST_WAIT),
            Again::Slower => (u32::MAX, FIRST_WAIT_IF_THROTTLED),
        };
        let wait = wait_after(self.failures, first);
        let left = self.until.saturating_duration_since(Instant::now());
        if self.failures >= failures_max.min(self.attempts_max) || wait >= left {
            return false;
        }
        sleep(wait).await;
        true
    }
}

/// The wait after this number of failures. It doubles each time. Half of it is random, so that clients that failed at
/// the same time do not all repeat their requests at the same time.
fn wait_after(failures: u32, first: Duration) -> Duration {
    let most = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    // The standard library's random keys are good enough for a wait.
    let chance = f64::from((RandomState::new().hash_one(failures) >> 32) as u32) / f64::from(u32::MAX);
    most.mul_f64((1.0 + chance) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        for failures in 1..200 {
            let wait = wait_after(failures, FIRST_WAIT);
            let most = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT);
            assert!(wait >= most / 2 && wait <= most, "{failures}: {wait:?}");
        }
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        patience.failures = FAILURES - 2;
        patience.limit = Duration::ZERO;
        assert!(!patience.again(Again::Never).await);
        assert!(!patience.again(Again::Soon).await);
        patience.gained();
        assert!(!patience.again(Again::Slower).await, "no time is left");
        let mut first = Patience::at_first(Duration::from_secs(3600));
        assert!(first.again(Again::Unreached).await && first.again(Again::Unreached).await);
        assert!(!first.again(Again::Unreached).await);
        let mut limited = Patience::new(Duration::from_secs(3600));
        limited.at_most(Some(2));
        assert!(limited.again(Again::Slower).await && !limited.again(Again::Slower).await);
    }
}
