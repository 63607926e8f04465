//! Throttled calls: they are sent again until their time is used up, and all calls of a handle slow down together.
//!
//! The SDK sends a call up to three times and then gives up; where many programs share a quota, that is too early. So a
//! call that AWS throttled is sent anew, after a random part of a wait that doubles. Each refusal also widens the gap
//! that all calls of the handle keep to each other: sixteen threads do not ask sixteen times as often as one.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::{Instant, sleep, timeout_at};

use waxseal::error::{ProviderCause, ProviderError, Remedy};

/// The longest wait after the first refusal. Each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The gap between two calls of a handle after the first refusal.
const FIRST_GAP: Duration = Duration::from_millis(10);
/// No gap is longer.
const LONGEST_GAP: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// How often the call under way was sent.
    static SENT: Arc<AtomicU32>;
}

/// How a call ended.
pub struct Sent<A> {
    /// `None` where there was no answer in time.
    pub answer: Option<A>,
    /// How often it was sent.
    tries: u32,
    /// Whether AWS asked for fewer requests at least once.
    refused: bool,
    took: Duration,
}

impl<A> Sent<A> {
    /// Adds to an error how long was tried.
    #[must_use]
    pub fn told(&self, operation: &str, mut error: ProviderError) -> ProviderError {
        if !self.refused {
            return error;
        }
        let tried = format!("sent {} times in {:.1} s", self.tries, self.took.as_secs_f64());
        if error.cause == ProviderCause::Throttled {
            error.message = format!("{}; {operation} was {tried}", error.message);
        } else if self.answer.is_none() {
            error.cause = ProviderCause::Throttled;
            error.message = format!("AWS asks for fewer requests; {operation} was {tried}");
            error.remedy = Some(Remedy::TryLater);
        }
        error
    }
}

impl Pace {
    /// Sends a call, again where it is throttled, until `deadline`. If it is not `patient`, only once: then the SDK alone
    /// tries again.
    pub async fn send<O, E, F>(
        &self,
        patient: bool,
        deadline: Instant,
        is_throttled: impl Fn(&SdkError<E, HttpResponse>) -> bool,
        send: impl Fn() -> F,
    ) -> Sent<Result<O, SdkError<E, HttpResponse>>>
    where
        F: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
    {
        let (pace, begun, sent) = (self, Instant::now(), Arc::new(AtomicU32::new(0)));
        let (mut refused, mut rounds, mut last) = (false, 0, false);
        let mut wait = if patient { pace.turn(begun) } else { Duration::ZERO };
        let answer = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if wait >= left {
                // Once more, in what is left.
                (wait, last) = (left.mul_f64((1.0 + chance()) / 2.0), true);
            }
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let at = Instant::now();
            let answer = timeout_at(deadline, SENT.scope(Arc::clone(&sent), send())).await.ok();
            match &answer {
                Some(Err(error)) if is_throttled(error) => {
                    refused = true;
                    pace.refused(at, Instant::now());
                    if !patient || last {
                        break answer;
                    }
                }
                Some(Ok(_)) => {
                    pace.answered();
                    break answer;
                }
                _ => break answer,
            }
            rounds += 1;
            wait = longest_wait(rounds).mul_f64(chance()) + pace.turn(Instant::now());
        };
        Sent { answer, tries: sent.load(Ordering::Relaxed), refused, took: begun.elapsed() }
    }
}

/// The longest wait after so many rounds: a random part of it is waited, so that those who were refused together do not
/// come back together.
fn longest_wait(rounds: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << rounds.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

/// From 0 up to 1. The standard library's random keys are good enough for a wait.
fn chance() -> f64 {
    let number = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(number >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

/// How fast the calls of a handle follow each other.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing, as long as nothing was refused.
    gap: Duration,
    /// When it was widened last.
    widened: Option<Instant>,
    /// When the next call may be sent.
    next: Option<Instant>,
}

impl Pace {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a call waits for its turn.
    fn turn(&self, now: Instant) -> Duration {
        let mut state = self.state();
        if state.gap.is_zero() {
            return Duration::ZERO;
        }
        let at = state.next.map_or(now, |next| next.max(now));
        let wait = at - now;
        if wait > LONGEST_WAIT {
            // More wait already than are worth keeping in order.
            return LONGEST_WAIT.mul_f64(chance());
        }
        state.next = Some(at + state.gap);
        wait
    }

    /// A call that was sent at `sent` was throttled. Several that were under way at once are one sign.
    fn refused(&self, sent: Instant, now: Instant) {
        let mut state = self.state();
        if state.widened.is_none_or(|widened| sent >= widened) {
            state.gap = (state.gap * 2).clamp(FIRST_GAP, LONGEST_GAP);
            state.widened = Some(now);
        }
    }

    /// One was answered: a little faster again.
    fn answered(&self) {
        let mut state = self.state();
        state.gap = state.gap.mul_f64(0.9);
        if state.gap < FIRST_GAP / 10 {
            state.gap = Duration::ZERO;
        }
    }
}

/// Counts how often a call is sent, the SDK's own attempts too.
#[derive(Debug)]
pub struct Counted;

#[dyn_dispatch_hint]
impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Other calls than those of `Pace::send` count nowhere.
        let _ = SENT.try_with(|sent| sent.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_bound() {
        assert_eq!(longest_wait(1), FIRST_WAIT);
        for rounds in 1..200 {
            let (one, next) = (longest_wait(rounds), longest_wait(rounds + 1));
            assert!(next == (one * 2).min(LONGEST_WAIT), "{rounds}: {one:?} {next:?}");
        }
        assert_eq!(longest_wait(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn chances_are_spread_over_all_of_their_range() {
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let chance = chance();
            assert!((0.0..1.0).contains(&chance), "{chance}");
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9")]
            let tenth = (chance * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|count| (500..2_000).contains(count)), "{tenths:?}");
    }

    /// Whatever comes in whatever order: no wait beyond the bound, and none at all once nothing is refused any more.
    #[test]
    fn a_pace_is_bounded_and_recovers() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.turn(start), Duration::ZERO);
        let mut now = start;
        for round in 0..5_000_u32 {
            now += Duration::from_millis(u64::from(round % 7));
            match round % 3 {
                0 => pace.refused(now, now),
                1 => pace.answered(),
                _ => {}
            }
            assert!(pace.turn(now) <= LONGEST_WAIT);
            assert!(pace.state().gap <= LONGEST_GAP);
        }
        (0..200).for_each(|_| pace.answered());
        assert_eq!(pace.turn(now), Duration::ZERO);
    }

    /// Sixteen calls that were under way together are refused together, and the next sixteen come one after another.
    #[test]
    fn calls_of_a_handle_follow_each_other_after_a_refusal() {
        let (pace, start) = (Pace::default(), Instant::now());
        let answered = start + Duration::from_millis(1);
        (0..16).for_each(|_| pace.refused(start, answered));
        assert_eq!(pace.state().gap, FIRST_GAP);
        let waits: Vec<Duration> = (0..16).map(|_| pace.turn(answered)).collect();
        assert!(waits.windows(2).all(|pair| pair[1] - pair[0] == FIRST_GAP), "{waits:?}");
        pace.refused(answered, answered);
        assert_eq!(pace.state().gap, FIRST_GAP * 2);
    }
}
