//! Decides which comes first, a signal or a commit. It is one atomic word, and each change is one step.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The number of threads that hold the gate. The bits above [`SHIFT`] have the first signal that has come.
static GATE: AtomicU32 = AtomicU32::new(0);
const SHIFT: u32 = 16;
const HOLDS: u32 = (1 << SHIFT) - 1;

thread_local! {
    /// A thread that holds the gate may take it again.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What a signal handler finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// No thread holds the gate, and none can take it. The process must end now.
    First,
    /// The last thread that releases the gate ends the process.
    Held,
    /// Another signal came before this one.
    Another,
}

/// Records that signal `number` has come. Safe in a signal handler.
pub(super) fn note(number: i32) -> Noted {
    let signal = number.unsigned_abs() << SHIFT;
    let noted =
        GATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |gate| (signal_of(gate) == 0).then_some(gate | signal));
    match noted {
        Ok(before) if before & HOLDS == 0 => Noted::First,
        Ok(_) => Noted::Held,
        Err(_) => Noted::Another,
    }
}

/// Whether a signal has come.
pub(super) fn has_come() -> bool {
    signal_of(GATE.load(Ordering::SeqCst)) != 0
}

/// The first signal that has come.
pub(super) fn signal() -> Option<i32> {
    Some(signal_of(GATE.load(Ordering::SeqCst))).filter(|signal| *signal != 0)
}

fn signal_of(gate: u32) -> i32 {
    (gate >> SHIFT).cast_signed()
}

/// While this exists, no signal ends the process.
pub(super) struct Hold(());

impl Hold {
    /// Waits for the end of a process that is already ending.
    pub(super) fn new() -> Self {
        let depth = DEPTH.get();
        if depth == 0 {
            let before = GATE.fetch_add(1, Ordering::SeqCst);
            if signal_of(before) != 0 && before & HOLDS == 0 {
                wait_for_the_end();
            }
        }
        DEPTH.set(depth + 1);
        Self(())
    }
}

impl Drop for Hold {
    /// If a signal has come, the last thread ends the process.
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth > 0 {
            return;
        }
        let before = GATE.fetch_sub(1, Ordering::SeqCst);
        match signal_of(before) {
            0 => {}
            signal => {
                if before & HOLDS == 1 {
                    super::die(signal);
                }
                wait_for_the_end();
            }
        }
    }
}

fn wait_for_the_end() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
