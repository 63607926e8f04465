//! Signals that end the program. The program cleans up and then ends by the same signal, so that a shell loop stops
//! too.
//!
//! One registry has everything that a killed program would leave behind. A thread that changes the registry or commits
//! a result holds the [gate]. A signal that comes in this time waits until the gate is released. A signal that came
//! before is handled first, so that nothing is ever committed after a signal. The handler itself cleans up, because it
//! may be impossible to start a thread. It only uses calls that are safe in a signal handler.

#![cfg_attr(
    not(feature = "aws-s3"),
    allow(dead_code, unused_imports, reason = "only stores leave something elsewhere")
)]

#[cfg(target_os = "linux")]
mod children;
mod gate;
mod mapped;
mod remote;
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
pub(crate) use self::remote::{Unfinished, unfinished};
pub(crate) use self::system::{Blocked, block_all, die_with_parent};

/// The number of attempts of the handler to lock the registry. A handler on another thread may hold it for a moment.
const TRIES: u32 = 1000;

/// What must be undone if a signal ends the process.
pub(crate) struct Registry {
    files: Vec<(Arc<OwnedFd>, CString)>,
    children: Vec<Pid>,
    remote: Vec<Arc<dyn Unfinished>>,
    terminal: Option<Terminal>,
}

/// A terminal without echo.
struct Terminal {
    file: File,
    /// The settings that must be restored.
    settings: Termios,
    /// The settings without echo. Used while the process is stopped and the terminal has the old settings.
    quiet: Option<Termios>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { files: Vec::new(), children: Vec::new(), remote: Vec::new(), terminal: None });

/// Catches the signals that end a program. Signals that the caller of the program ignores are left alone (`nohup`, a
/// background job). Call this before there is a second thread.
pub(crate) fn start() {
    system::start(on_signal);
}

extern "C" fn on_signal(number: i32) {
    // Between fork and exec, a child has this handler too, but the registered objects do not belong to it.
    if !system::is_here() {
        system::die_of(number);
    }
    match gate::note(number) {
        Noted::First => die(number),
        // `abort` ends the process when the handler returns.
        _ if number == system::ABORT => die_at_once(number),
        Noted::Held => remote::note_hold(),
        Noted::Another if remote::has_waited() => die_at_once(number),
        Noted::Another => {}
    }
}

/// Cleans up, and ends the process by signal `number`. If something on another machine must be undone first, it only
/// sees to that, and returns. Safe in a signal handler, as long as no thread holds the gate.
fn die(number: i32) {
    with_registry(Registry::clean_up);
    if number == system::ABORT || !remote::wake() {
        die_at_once(number);
    }
}

/// Cleans up on this machine only, and ends the process by signal `number`. Safe in a signal handler.
fn die_at_once(number: i32) -> ! {
    with_registry(Registry::clean_up);
    remote::tell_what_is_left();
    system::die_of(number)
}

/// Safe in a signal handler.
fn with_registry(work: impl FnOnce(&Registry)) {
    for _ in 0..TRIES {
        if let Some(registry) = try_lock() {
            return work(&registry);
        }
        std::thread::yield_now();
    }
}

/// Whether a signal has asked the process to end. Nothing can be committed any more.
pub(crate) fn has_come() -> bool {
    gate::has_come()
}

/// If a signal has asked the process to end, waits for the end. So no message and no exit code comes after a signal.
pub(crate) fn wait_if_ending() {
    if gate::has_come() {
        drop(Hold::new());
    }
}

fn try_lock() -> Option<MutexGuard<'static, Registry>> {
    match REGISTRY.try_lock() {
        Ok(registry) => Some(registry),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The locked registry. While it is locked, no signal ends the process.
pub(crate) struct Locked {
    // The registry is dropped first. A holder of the gate may wait for the lock, but a holder of the lock must not wait
    // for the gate.
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

/// Locks the registry.
pub(crate) fn registry() -> Locked {
    let hold = Hold::new();
    Locked { registry: REGISTRY.lock().unwrap_or_else(PoisonError::into_inner), _hold: hold }
}

/// Does `step`, which commits a result. If a signal came before, it cleans up instead, ends the process, and never
/// returns. A signal that comes later finds the step done.
///
/// If the caller holds the registry and a signal came, `step` is not done, and the error is
/// [`io::ErrorKind::Interrupted`]. The process ends as soon as the registry is unlocked.
///
/// # Errors
/// Those of `step`.
pub(crate) fn commit<T>(step: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let hold = Hold::new();
    let blocked = system::block();
    // Where many threads commit, this may take long: what is sent until it is this thread's turn is obeyed.
    let turn = system::turn();
    // A pending signal, and a signal that a thread has accepted but whose handler may not have started.
    if let Some(number) = system::pending() {
        gate::note(number);
    }
    system::wait_for_handlers(gate::has_come, turn);
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
    /// Registers the file `name` in `folder`. It is removed if a signal ends the process.
    pub(crate) fn add_file(&mut self, folder: &Arc<OwnedFd>, name: &OsStr) {
        // The name of an existing file has no NUL.
        self.files.extend(CString::new(name.as_bytes()).map(|name| (Arc::clone(folder), name)));
    }

    /// Removes `name` in `folder` from the registry.
    pub(crate) fn forget_file(&mut self, folder: &Arc<OwnedFd>, name: &OsStr) {
        self.files.retain(|(own, known)| !(Arc::ptr_eq(own, folder) && known.as_bytes() == name.as_bytes()));
    }

    /// Whether the file `name` would be removed.
    #[cfg(test)]
    pub(crate) fn has_file(&self, name: &OsStr) -> bool {
        self.files.iter().any(|(_, known)| known.as_bytes() == name.as_bytes())
    }

    /// Registers `child`. It gets a signal if a signal ends the process.
    pub(crate) fn add_child(&mut self, child: Pid) {
        self.children.push(child);
    }

    /// Removes `child`, which is about to be reaped. After that, another process may get its number.
    pub(crate) fn forget_child(&mut self, child: Pid) {
        self.children.retain(|known| *known != child);
    }

    /// Registers the terminal's settings. They are restored at the end of the process and while it is stopped. `None`
    /// removes them.
    pub(crate) fn set_terminal(&mut self, terminal: Option<(File, Termios)>) {
        self.terminal = terminal.map(|(file, settings)| Terminal { file, settings, quiet: None });
        match self.terminal {
            Some(_) => system::catch_stops(on_stop, on_continue),
            None => system::leave_stops(),
        }
    }

    /// Safe in a signal handler.
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
    /// Enables the echo, and saves the settings without echo.
    fn show(&mut self) {
        if self.quiet.is_none() {
            self.quiet = tcgetattr(&self.file).ok();
        }
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.settings);
    }

    /// Disables the echo again. In the background, the terminal belongs to the shell.
    fn hide(&mut self) {
        if tcgetpgrp(&self.file).is_ok_and(|group| group == getpgrp())
            && let Some(quiet) = self.quiet.take()
        {
            let _ = tcsetattr(&self.file, OptionalActions::Now, &quiet);
        }
    }
}

/// Ctrl-z while the program asks for a passphrase: the shell gets the terminal with its old settings.
extern "C" fn on_stop(_: i32) {
    with_terminal(Terminal::show);
    system::stop(on_stop);
    with_terminal(Terminal::hide);
}

/// The process continues (`fg`).
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

/// The registry, in the form that the library expects.
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
