//! Who comes first, a signal or what makes a result count: one word, changed in one step each time.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How many threads hold the gate, and above [`SHIFT`] the first signal that has come.
static GATE: AtomicU32 = AtomicU32::new(0);
const SHIFT: u32 = 16;
const HOLDS: u32 = (1 << SHIFT) - 1;

thread_local! {
    /// A thread that holds the gate may take it again.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What a signal finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Nobody holds the gate, and nobody will again: the process is to die now.
    First,
    /// Who lets go of it last ends the process.
    Held,
    /// Another signal came before.
    Another,
}

/// Notes that signal `number` has come. Safe in a signal.
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

fn signal_of(gate: u32) -> i32 {
    (gate >> SHIFT).cast_signed()
}

/// As long as this lives, a signal does not end the process.
pub(super) struct Hold(());

impl Hold {
    /// Waits for the end of a process that is dying already.
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
    /// The last one ends a process that a signal has come to.
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth > 0 {
            return;
        }
        let before = GATE.fetch_sub(1, Ordering::SeqCst);
        match signal_of(before) {
            0 => {}
            signal if before & HOLDS == 1 => super::die(signal),
            _ => wait_for_the_end(),
        }
    }
}

fn wait_for_the_end() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
