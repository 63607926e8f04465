//! Signals that end the program: it cleans up, then dies of that signal, so that a shell loop stops too.
//!
//! Everything that a killed program would leave behind is noted in one registry. Whoever changes it, or makes a result
//! count, holds the [gate] meanwhile: a signal that comes then waits until it is let go. One that came before is
//! obeyed first, so that nothing is ever committed after a signal. The handler itself cleans up, where no thread can
//! be started too; all it calls is safe in a signal.

#[cfg(target_os = "linux")]
mod children;
mod gate;
mod mapped;
mod system;

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use rustix::fs::{AtFlags, unlinkat};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use waxseal::io::Temporaries;

use self::gate::{Hold, Noted};
pub(crate) use self::mapped::map;
pub(crate) use self::system::{Blocked, block_all, die_with_parent};

/// So often the handler tries for the registry, which another thread's handler may have for a moment.
const TRIES: u32 = 1000;

/// What is to be undone when the process is told to die.
pub(crate) struct Registry {
    files: Vec<(Arc<OwnedFd>, CString)>,
    children: Vec<Pid>,
    terminal: Option<Terminal>,
}

/// A terminal that does not show what is typed.
struct Terminal {
    file: File,
    /// As it was, and is to be again.
    settings: Termios,
    /// Without echo, while the process is stopped and the terminal is as it was.
    quiet: Option<Termios>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { files: Vec::new(), children: Vec::new(), terminal: None });

/// Catches the signals that end a program, but for those that whoever started it wants ignored (`nohup`, a background
/// job). To be called before there is a second thread.
pub(crate) fn start() {
    system::start(on_signal);
}

extern "C" fn on_signal(number: i32) {
    // Between fork and exec, a child has this handler too: what is registered is not its own.
    if !system::is_here() {
        system::die_of(number);
    }
    match gate::note(number) {
        Noted::First => die(number),
        // `abort` does not go on when the handler returns.
        _ if number == system::ABORT => die(number),
        Noted::Held | Noted::Another => {}
    }
}

/// Cleans up and dies of signal `number`. Safe in a signal, as long as nobody holds the gate.
fn die(number: i32) -> ! {
    for _ in 0..TRIES {
        if let Some(registry) = try_lock() {
            registry.clean_up();
            break;
        }
        std::thread::yield_now();
    }
    system::die_of(number)
}

fn try_lock() -> Option<MutexGuard<'static, Registry>> {
    match REGISTRY.try_lock() {
        Ok(registry) => Some(registry),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The registry, locked: while it is held, no signal ends the process.
pub(crate) struct Locked {
    // Let go in this order: who holds the gate may wait for the lock, never the other way round.
    registry: MutexGuard<'static, Registry>,
    _hold: Hold,
}

impl Deref for Locked {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }
}

/// Gives the registry, locked.
pub(crate) fn registry() -> Locked {
    let hold = Hold::new();
    Locked { registry: REGISTRY.lock().unwrap_or_else(PoisonError::into_inner), _hold: hold }
}

/// Does `step`, which makes a result count, unless a signal came before: then this cleans up, dies, and never returns.
/// A signal that comes later finds the step done.
///
/// Where the caller holds the registry and a signal came, `step` is not done and [`io::ErrorKind::Interrupted`] comes
/// instead; the process dies as soon as the registry is let go.
///
/// # Errors
/// Those of `step`.
pub(crate) fn commit<T>(step: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let hold = Hold::new();
    let blocked = system::block();
    // A signal that nobody has taken yet; one that a thread has taken, whose handler may not have begun.
    if let Some(number) = system::pending() {
        gate::note(number);
    }
    system::wait_for_handlers(gate::has_come);
    if gate::has_come() {
        drop(hold);
        return Err(io::ErrorKind::Interrupted.into());
    }
    let done = step();
    drop(blocked);
    drop(hold);
    done
}

/// Leaves the signals to the other threads, the main one above all, as long as this thread lives and the result does.
/// For a thread that only works: a commit of another one then need not ask it what it has taken.
pub(crate) fn leave_to_others() -> impl Drop {
    system::Deaf::new()
}

/// Dies if a signal has come: to be called before a stream gets what makes it whole.
pub(crate) fn check() {
    let _ = commit(|| Ok(()));
}

impl Registry {
    /// `name` in `folder` is removed on death.
    pub(crate) fn add_file(&mut self, folder: &Arc<OwnedFd>, name: &OsStr) {
        // The name of a file that stands there holds no NUL.
        self.files.extend(CString::new(name.as_bytes()).map(|name| (Arc::clone(folder), name)));
    }

    /// `name` in `folder` is no longer ours.
    pub(crate) fn forget_file(&mut self, folder: &Arc<OwnedFd>, name: &OsStr) {
        self.files.retain(|(own, known)| !(Arc::ptr_eq(own, folder) && known.as_bytes() == name.as_bytes()));
    }

    /// Whether a file `name` would be removed.
    #[cfg(test)]
    pub(crate) fn has_file(&self, name: &OsStr) -> bool {
        self.files.iter().any(|(_, known)| known.as_bytes() == name.as_bytes())
    }

    /// `child` is told to end on death.
    pub(crate) fn add_child(&mut self, child: Pid) {
        self.children.push(child);
    }

    /// `child` is about to be reaped: its number may soon be another's.
    pub(crate) fn forget_child(&mut self, child: Pid) {
        self.children.retain(|known| *known != child);
    }

    /// The terminal gets these settings back on death, and while the process is stopped; `None`: it has them.
    pub(crate) fn set_terminal(&mut self, terminal: Option<(File, Termios)>) {
        self.terminal = terminal.map(|(file, settings)| Terminal { file, settings, quiet: None });
        match self.terminal {
            Some(_) => system::catch_stops(on_stop, on_continue),
            None => system::leave_stops(),
        }
    }

    /// Safe in a signal.
    fn clean_up(&self) {
        for (folder, name) in &self.files {
            let _ = unlinkat(folder, name.as_c_str(), AtFlags::empty());
        }
        for child in &self.children {
            let _ = kill_process(*child, Signal::TERM);
        }
        #[cfg(target_os = "linux")]
        children::end_credential_processes();
        if let Some(terminal) = &self.terminal {
            let _ = tcsetattr(&terminal.file, OptionalActions::Now, &terminal.settings);
        }
    }
}

impl Terminal {
    /// Shows what is typed, and remembers how it was hidden.
    fn show(&mut self) {
        if self.quiet.is_none() {
            self.quiet = tcgetattr(&self.file).ok();
        }
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.settings);
    }

    /// Hides it again. In the background the terminal is the shell's.
    fn hide(&mut self) {
        if tcgetpgrp(&self.file).is_ok_and(|group| group == getpgrp())
            && let Some(quiet) = self.quiet.take()
        {
            let _ = tcsetattr(&self.file, OptionalActions::Now, &quiet);
        }
    }
}

/// Ctrl-z while a passphrase is asked for: the shell gets its terminal as it was.
extern "C" fn on_stop(_: i32) {
    with_terminal(Terminal::show);
    system::stop(on_stop);
    with_terminal(Terminal::hide);
}

/// `fg`.
extern "C" fn on_continue(_: i32) {
    with_terminal(Terminal::hide);
}

fn with_terminal(change: impl FnOnce(&mut Terminal)) {
    if let Some(mut registry) = try_lock()
        && let Some(terminal) = &mut registry.terminal
    {
        change(terminal);
    }
}

/// The registry, as the library is given it.
#[derive(Debug)]
pub(crate) struct Registered;

impl Temporaries for Registered {
    fn make(
        &self,
        folder: &Arc<OwnedFd>,
        name: &OsStr,
        make: &mut dyn FnMut() -> io::Result<File>,
    ) -> io::Result<File> {
        let mut registry = registry();
        let file = make()?;
        registry.add_file(folder, name);
        Ok(file)
    }

    fn gone(&self, folder: &Arc<OwnedFd>, name: &OsStr) {
        registry().forget_file(folder, name);
    }

    fn commit(&self, step: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        commit(step)
    }
}
