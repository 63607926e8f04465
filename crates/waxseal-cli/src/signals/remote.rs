//! What is unfinished on other machines, such as an upload. It can only be undone over the network, which a signal
//! handler must not use.
//!
//! While something is unfinished, a signal ends the process in two steps. The handler cleans up on this machine, wakes
//! a thread, and returns. From then on no thread can commit anything. The thread undoes what is unfinished in a bounded
//! time, says what is left, and ends the process by the signal. A later signal ends the process at once.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{gate, system, try_lock};
use crate::report;

/// So long the thread tries to undo what is unfinished.
const PATIENCE: Duration = Duration::from_secs(8);
/// So long before its end, each part of that work says what it could not undo.
const TO_TELL: Duration = Duration::from_millis(500);
/// Some programs send a signal twice, to the process and to its group. Within this time, the second one is ignored.
const DOUBLED_MS: i64 = 1_000;

/// Something on another machine that is not finished, and must not be left there.
pub(crate) trait Unfinished: Send + Sync {
    /// Undoes it within this time. Says what is left, and how it is removed.
    fn undo(&self, within: Duration) -> Vec<String>;

    /// What would be left now. It must not wait.
    fn left(&self) -> Vec<String>;
}

/// What is left if there is no time to undo it. The thread sets it before it begins.
static LEFT: OnceLock<String> = OnceLock::new();
/// What is left if the process ends while a first signal waits for a commit.
static LEFT_BY_COMMIT: OnceLock<String> = OnceLock::new();
/// What the thread is woken for.
const UNDO: u8 = 0;
const PREPARE: u8 = 1;
/// The same, where nobody has asked before.
const UNKNOWN: &str = "waxseal: warning: an unfinished upload may be left in the store: look for it, and abort it\n";

/// How much is unfinished.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// When the first signal came, in milliseconds since [`Waker::since`]. 0: none has come.
static FIRST: AtomicI64 = AtomicI64::new(0);
static WAKER: OnceLock<Waker> = OnceLock::new();

struct Waker {
    /// The end of the pipe that wakes the thread.
    pipe: OwnedFd,
    since: Instant,
}

/// Registers something that is about to begin. From now on, it is undone if a signal ends the process.
///
/// # Errors
/// If the thread cannot be started that would undo it.
pub(crate) fn unfinished(what: &Arc<dyn Unfinished>) -> io::Result<()> {
    start()?;
    let mut registry = super::registry();
    registry.remote.push(Arc::clone(what));
    COUNT.store(registry.remote.len(), Ordering::SeqCst);
    Ok(())
}

/// Starts the thread, once.
fn start() -> io::Result<()> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if WAKER.get().is_some() {
        return Ok(());
    }
    let (waiting, pipe) = io::pipe()?;
    std::thread::Builder::new().name("waxseal-undo".into()).spawn(move || {
        let _deaf = super::leave_to_others();
        let mut byte = [0];
        loop {
            match rustix::io::read(&waiting, &mut byte) {
                Ok(1) if byte == [PREPARE] => prepare(),
                Ok(1) => undo_all(),
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        }
    })?;
    // It was empty, and nobody else sets it.
    let _ = WAKER.set(Waker { pipe: pipe.into(), since: Instant::now() });
    Ok(())
}

/// Whether anything is unfinished. Safe in a signal handler.
pub(super) fn is_any() -> bool {
    COUNT.load(Ordering::SeqCst) > 0
}

/// Wakes the thread, which will end the process. Returns whether it was woken. Safe in a signal handler.
pub(super) fn wake() -> bool {
    if !is_any() {
        return false;
    }
    note_time();
    WAKER.get().is_some_and(|waker| rustix::io::write(&waker.pipe, &[UNDO]).is_ok())
}

/// A first signal waits for a commit. Safe in a signal handler.
pub(super) fn note_hold() {
    note_time();
    if let Some(waker) = WAKER.get().filter(|_| is_any()) {
        let _ = rustix::io::write(&waker.pipe, &[PREPARE]);
    }
}

fn note_time() {
    let _ = FIRST.compare_exchange(0, now_ms(), Ordering::SeqCst, Ordering::SeqCst);
}

/// Whether a signal that comes now, after another one, ends the process at once. Safe in a signal handler.
pub(super) fn has_waited() -> bool {
    let first = FIRST.load(Ordering::SeqCst);
    is_any() && first != 0 && now_ms() - first >= DOUBLED_MS
}

fn now_ms() -> i64 {
    let millis = WAKER.get().map_or(0, |waker| waker.since.elapsed().as_millis());
    i64::try_from(millis).unwrap_or(i64::MAX).max(1)
}

fn all() -> Vec<Arc<dyn Unfinished>> {
    try_lock().map(|registry| registry.remote.clone()).unwrap_or_default()
}

/// The lines that a handler prints.
fn lines(all: &[Arc<dyn Unfinished>]) -> String {
    all.iter().flat_map(|what| what.left()).map(|left| report::warning(&left)).collect()
}

/// A commit may last. If a second signal ends the process, the handler says what is left.
fn prepare() {
    let left = lines(&all());
    if !left.is_empty() {
        let _ = LEFT_BY_COMMIT.set(left);
    }
}

/// Undoes everything at once, and ends the process.
fn undo_all() {
    let all = all();
    // Where the patience of the caller is shorter, a handler says this.
    let _ = LEFT.set(lines(&all));
    let deadline = Instant::now() + PATIENCE;
    let (tell, told) = channel();
    for (number, what) in all.iter().enumerate() {
        let (what, tell) = (Arc::clone(what), tell.clone());
        let undo = move || {
            let _deaf = super::leave_to_others();
            // Nobody hears it after the deadline.
            let _ = tell.send((number, what.undo(PATIENCE.saturating_sub(TO_TELL))));
        };
        // Where no thread can be started, what is left is said below.
        let _ = std::thread::Builder::new().spawn(undo);
    }
    drop(tell);
    let mut waiting: Vec<_> = all.iter().map(Some).collect();
    while let Ok((number, left)) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        waiting[number] = None;
        left.iter().for_each(|left| report::left_behind(left));
    }
    waiting.into_iter().flatten().flat_map(|what| what.left()).for_each(|left| report::left_behind(&left));
    if let Some(number) = gate::signal() {
        system::die_of(number);
    }
}

/// Says what may be left on other machines. Safe in a signal handler.
pub(super) fn tell_what_is_left() {
    if is_any() {
        let told = LEFT.get().or_else(|| LEFT_BY_COMMIT.get()).map_or(UNKNOWN, String::as_str);
        let _ = rustix::io::write(rustix::stdio::stderr(), told.as_bytes());
    }
}
