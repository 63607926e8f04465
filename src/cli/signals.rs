//! SIGINT, SIGTERM and SIGHUP: clean up, then die of that signal, so that a shell loop stops too.
//!
//! Everything that a killed program would leave behind is noted in one registry. Its lock is held while a temporary
//! file is made or renamed, and by the cleaning thread until the process is dead: no moment is without an owner.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, Termios, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use waxseal::rewrap::Temporaries;

/// What is to be undone when the process is told to die.
pub(crate) struct Registry {
    files: Vec<PathBuf>,
    children: Vec<Pid>,
    terminal: Option<(File, Termios)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { files: Vec::new(), children: Vec::new(), terminal: None });

/// Gives the registry, locked: while it is held, no signal ends the process.
///
/// The first call starts the thread that waits for signals. Until then they do what they always do, which is right
/// as long as there is nothing to clean up.
pub(crate) fn registry() -> MutexGuard<'static, Registry> {
    static STARTED: Once = Once::new();
    STARTED.call_once(start);
    lock()
}

fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// `path` is removed on death.
    pub(crate) fn add_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// `path` is no longer ours.
    pub(crate) fn forget_file(&mut self, path: &Path) {
        self.files.retain(|file| file != path);
    }

    /// Whether `path` would be removed.
    #[cfg(test)]
    pub(crate) fn has_file(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file == path)
    }

    /// `child` is told to end on death.
    pub(crate) fn add_child(&mut self, child: Pid) {
        self.children.push(child);
    }

    /// `child` is about to be reaped: its number may soon be another's.
    pub(crate) fn forget_child(&mut self, child: Pid) {
        self.children.retain(|known| *known != child);
    }

    /// The terminal gets these settings back on death; `None`: it has them.
    pub(crate) fn set_terminal(&mut self, terminal: Option<(File, Termios)>) {
        self.terminal = terminal;
    }

    fn clean_up(&mut self) {
        for file in self.files.drain(..) {
            let _ = std::fs::remove_file(file);
        }
        for child in self.children.drain(..) {
            let _ = kill_process(child, Signal::TERM);
        }
        #[cfg(feature = "aws-kms")]
        waxseal::keys::aws_kms::end_credential_processes();
        if let Some((terminal, settings)) = self.terminal.take() {
            let _ = tcsetattr(terminal, OptionalActions::Now, &settings);
        }
    }
}

/// The registry, as the library's rewrap is given it.
#[derive(Debug)]
pub(crate) struct Registered;

impl Temporaries for Registered {
    fn make(&self, path: &Path, make: &mut dyn FnMut() -> io::Result<File>) -> io::Result<File> {
        let mut registry = registry();
        let file = make()?;
        registry.add_file(path);
        Ok(file)
    }

    fn gone(&self, path: &Path) {
        registry().forget_file(path);
    }
}

fn start() {
    let ignored = ignored_signals();
    let ours = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let Ok(mut signals) = Signals::new(ours) else { return };
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            let mut registry = lock();
            registry.clean_up();
            let _ = emulate_default_handler(signal);
        }
    };
    // Without the thread the handlers would only swallow the signals; a system that gives none gives no work either.
    let _ = std::thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(wait);
}

/// Signals that whoever started us wants ignored (`nohup`, a background job), as a bit mask.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
