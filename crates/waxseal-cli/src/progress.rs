//! Observes the engine: shows a progress bar if the work takes longer than a moment, and collects the header's
//! warnings.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};
use waxseal::engine::Observer;
use waxseal::format::Header;

use super::keys;
use super::parallel::{Taken, Turn};
use super::report;
use super::signals;

/// No bar is shown for work that takes less time than this.
const A_MOMENT: Duration = Duration::from_millis(500);
/// All bars of the program, so that they do not overwrite each other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
const KNOWN: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {rate} {rest} left";
const UNKNOWN: &str = "{msg} {bytes} {rate} {elapsed}";

/// Whether a bar may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// If the work takes longer than a moment.
    WhenSlow,
    /// Never.
    Never,
}

/// One input's progress.
pub(crate) struct Watch<'a> {
    shown: Shown,
    name: String,
    started: Instant,
    done: AtomicU64,
    /// 0 if it is not known.
    total: AtomicU64,
    bar: OnceLock<ProgressBar>,
    header: Mutex<Option<Header>>,
    turn: Option<&'a Turn>,
    taken: OnceLock<Taken<'a>>,
    /// The bar over all inputs, if this is one of several.
    overall: Option<Arc<Overall>>,
}

impl<'a> Watch<'a> {
    /// Of the input called `name`, escaped already.
    pub(crate) fn new(shown: Shown, name: &str) -> Self {
        Self {
            shown,
            name: name.to_owned(),
            started: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            bar: OnceLock::new(),
            header: Mutex::new(None),
            turn: None,
            taken: OnceLock::new(),
            overall: overall(),
        }
    }

    /// Has an input that is opened wait for its turn, once its key is there.
    pub(crate) fn in_turn(self, turn: Option<&'a Turn>) -> Self {
        Self { turn, ..self }
    }

    /// Ends the bar and gives the header, where one was read.
    pub(crate) fn finish(self) -> Option<Header> {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
        self.header.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, done: u64) {
        let bar = self.bar.get_or_init(|| {
            let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
            let template = if total.is_some() { KNOWN } else { UNKNOWN };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let style = style.with_key("rate", write_rate).with_key("rest", write_rest);
            let bar = BARS.add(ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()));
            bar.with_style(style).with_message(self.name.clone()).with_elapsed(self.started.elapsed())
        });
        bar.set_position(done);
    }
}

/// Bytes per second since the work began. `indicatif` starts to measure when the bar appears, so it would count the
/// earlier work as done in no time.
fn write_rate(state: &ProgressState, out: &mut dyn Write) {
    let _ = write!(out, "{}/s", HumanBytes(rate(state.pos(), state.elapsed())));
}

/// The remaining time at that rate.
fn write_rest(state: &ProgressState, out: &mut dyn Write) {
    let left = state.len().unwrap_or_default().saturating_sub(state.pos());
    let _ = match left.checked_div(rate(state.pos(), state.elapsed())) {
        Some(seconds) => write!(out, "{:#}", HumanDuration(Duration::from_secs(seconds))),
        None => write!(out, "?"),
    };
}

fn rate(done: u64, within: Duration) -> u64 {
    u64::try_from(u128::from(done) * 1000 / within.as_millis().max(1)).unwrap_or(u64::MAX)
}

impl Observer for Watch<'_> {
    fn total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    fn advanced(&self, bytes: u64) {
        // The first time it is on the input's own thread, after the key was had and before any chunk is read.
        if let Some(turn) = self.turn {
            self.taken.get_or_init(|| turn.take());
        }
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(overall) = &self.overall {
            overall.bytes.fetch_add(bytes, Ordering::Relaxed);
            overall.draw();
        }
        if self.shown == Shown::WhenSlow && self.started.elapsed() >= A_MOMENT {
            self.draw(done);
        }
    }

    fn header(&self, header: &Header) {
        keys::remember_name(header, &self.name);
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = Some(header.clone());
    }

    fn ending(&self) {
        signals::check();
    }
}

/// Takes all bars off the terminal while a person is asked there, until the result is dropped. The work goes on.
pub(crate) fn make_room() -> impl Drop {
    // It cannot fail where a bar is shown, and where none is, nothing is to be cleared.
    let _ = BARS.clear();
    BARS.set_draw_target(ProgressDrawTarget::hidden());
    BarsAgain
}

struct BarsAgain;

impl Drop for BarsAgain {
    fn drop(&mut self) {
        BARS.set_draw_target(ProgressDrawTarget::stderr());
    }
}

/// The bar over all inputs, if this thread works on one of several.
fn overall() -> Option<Arc<Overall>> {
    let overall = OVERALL.read().unwrap_or_else(PoisonError::into_inner);
    overall.clone().filter(|_| report::is_one_of_several())
}

/// The one bar over many inputs.
struct Overall {
    shown: Shown,
    is_added: AtomicBool,
    started: Instant,
    /// Bytes of all inputs, also of those that are not finished.
    bytes: AtomicU64,
    bar: ProgressBar,
}

/// The bar of this run, so that each input can add to it.
static OVERALL: RwLock<Option<Arc<Overall>>> = RwLock::new(None);

impl Overall {
    fn draw(&self) {
        if self.shown == Shown::Never || self.started.elapsed() < A_MOMENT {
            return;
        }
        if !self.is_added.swap(true, Ordering::Relaxed) {
            BARS.add(self.bar.clone());
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        let rate = rate(bytes, self.started.elapsed());
        self.bar.set_message(format!("{} at {}/s", HumanBytes(bytes), HumanBytes(rate)));
    }
}

/// Counts many inputs, and shows them in one bar.
pub(crate) struct Count(Arc<Overall>);

impl Count {
    /// Of `total` files. `None` if they are not all known yet.
    pub(crate) fn new(shown: Shown, total: Option<usize>) -> Self {
        let template = match total {
            Some(_) => "{wide_bar} {pos}/{len} files, {msg}, {eta} left",
            None => "{pos} files, {msg}, {elapsed}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let total = total.map(|total| total as u64);
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_style(style);
        let (is_added, started, bytes) = (AtomicBool::new(false), Instant::now(), AtomicU64::new(0));
        let overall = Arc::new(Overall { shown, is_added, started, bytes, bar });
        *OVERALL.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&overall));
        Self(overall)
    }

    /// One file is finished. `tell` may print.
    pub(crate) fn finished<T>(&self, tell: impl FnOnce() -> T) -> T {
        self.0.draw();
        let told = BARS.suspend(tell);
        self.0.bar.inc(1);
        told
    }

    /// All files are finished.
    pub(crate) fn end(&self) {
        self.0.bar.finish_and_clear();
    }
}
