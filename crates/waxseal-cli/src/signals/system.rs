//! System calls for signals that have no safe functions.
#![allow(unsafe_code, reason = "handlers and masks of signals: each call is argued")]

use std::mem;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use libc::{c_int, sigset_t};

/// A handler. It may only do things that are safe in a signal handler.
type Handler = extern "C" fn(c_int);

/// The signal of `abort`, for example after a failed allocation.
pub(super) const ABORT: c_int = libc::SIGABRT;

/// The signals that end a program and can be caught.
const ENDING: &[c_int] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGABRT,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGXCPU,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGUSR1,
    libc::SIGUSR2,
    #[cfg(target_os = "linux")]
    libc::SIGPOLL,
    #[cfg(target_os = "linux")]
    libc::SIGPWR,
];

/// The signals that are caught, one bit for each.
static ANSWERED: AtomicU64 = AtomicU64::new(0);
/// The process to which the handlers belong.
static PROCESS: AtomicI32 = AtomicI32::new(0);

fn bit(signal: c_int) -> u64 {
    1 << (signal.unsigned_abs() & 63)
}

/// Catches the signals that end a program with `handler`. Signals that are ignored or blocked when the program starts
/// are left alone, because its caller wants that.
pub(super) fn start(handler: Handler) {
    PROCESS.store(rustix::process::getpid().as_raw_nonzero().get(), Ordering::SeqCst);
    // If SIGCHLD were ignored, the exit status of a child would be lost.
    set_action(libc::SIGCHLD, libc::SIG_DFL);
    // Writing beyond `ulimit -f` must give an error and a cleanup, and must not kill the program. SIGXFSZ is caught and
    // not ignored, because a started command would inherit an ignored signal.
    set_action(libc::SIGXFSZ, address(nothing));
    let mut own = empty_set();
    add(&mut own, libc::SIGURG);
    // Where it is blocked and a page of a mapped input is lost, the system kills the process.
    add(&mut own, libc::SIGBUS);
    set_mask(libc::SIG_UNBLOCK, &own);
    set_action(libc::SIGURG, address(on_call));
    let blocked = set_mask(libc::SIG_BLOCK, &empty_set());
    for signal in ENDING.iter().copied().filter(|signal| !has(&blocked, *signal) && !is_ignored(*signal)) {
        ANSWERED.fetch_or(bit(signal), Ordering::SeqCst);
        set_action(signal, address(handler));
    }
}

extern "C" fn nothing(_: c_int) {}

/// Whether this is the process to which the handlers belong, and not one of its children.
pub(super) fn is_here() -> bool {
    rustix::process::getpid().as_raw_nonzero().get() == PROCESS.load(Ordering::SeqCst)
}

fn address(handler: Handler) -> usize {
    handler as *const () as usize
}

fn empty_set() -> sigset_t {
    // SAFETY: a `sigset_t` is plain numbers, for which zeros are valid.
    let mut set: sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is ours and initialized.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

fn add(set: &mut sigset_t, signal: c_int) {
    // SAFETY: the set is initialized. The call refuses a number that is not a signal.
    unsafe { libc::sigaddset(set, signal) };
}

fn has(set: &sigset_t, signal: c_int) -> bool {
    // SAFETY: the set is initialized. The call refuses a number that is not a signal.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Changes which signals this thread blocks. Returns the signals that it blocked before.
fn set_mask(how: c_int, set: &sigset_t) -> sigset_t {
    let mut before = empty_set();
    // SAFETY: both sets live as long as the call.
    unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    before
}

/// `action` is SIG_DFL or the address of a [`Handler`]. While the handler runs, all other signals wait.
fn set_action(signal: c_int, action: usize) {
    // SAFETY: a `sigaction` is plain numbers and an optional pointer, for which zeros are valid.
    let mut new: libc::sigaction = unsafe { mem::zeroed() };
    new.sa_sigaction = action;
    new.sa_flags = libc::SA_RESTART;
    // SAFETY: the set is part of what was made above.
    unsafe { libc::sigfillset(&raw mut new.sa_mask) };
    // SAFETY: the action is complete. The handler has the type that the flags require, exists for ever, and does only
    // what is safe in a signal handler: atomics, and system calls that neither allocate nor wait for a lock.
    unsafe { libc::sigaction(signal, &raw const new, null_mut()) };
}

fn is_ignored(signal: c_int) -> bool {
    // SAFETY: a `sigaction` is plain numbers and an optional pointer, for which zeros are valid.
    let mut now: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: nothing is changed, and there is memory for the answer.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Lets the system do its default action for `signal` once, on the calling thread.
fn take_default(signal: c_int) {
    set_action(signal, libc::SIG_DFL);
    let mut own = empty_set();
    add(&mut own, signal);
    set_mask(libc::SIG_UNBLOCK, &own);
    // SAFETY: the signal has its default action, or is sent to nobody.
    unsafe { libc::raise(signal) };
}

/// Ends the process by `signal`. Safe in a signal handler.
pub(super) fn die_of(signal: c_int) -> ! {
    take_default(signal);
    // The first process of a container cannot be killed by its own signal. It ends with the exit code of a shell.
    // SAFETY: it ends the process without running other code.
    unsafe { libc::_exit(128 + signal) }
}

/// Stops the process as ctrl-z does, and returns when it continues. Safe in a signal handler.
pub(super) fn stop(handler: Handler) {
    take_default(libc::SIGTSTP);
    set_action(libc::SIGTSTP, address(handler));
}

/// Calls `stop` when ctrl-z stops the process, and `go_on` when it continues.
pub(super) fn catch_stops(stop: Handler, go_on: Handler) {
    if !is_ignored(libc::SIGTSTP) {
        set_action(libc::SIGTSTP, address(stop));
        set_action(libc::SIGCONT, address(go_on));
    }
}

/// Ends [`catch_stops`].
pub(super) fn leave_stops() {
    if !is_ignored(libc::SIGTSTP) {
        set_action(libc::SIGTSTP, libc::SIG_DFL);
        set_action(libc::SIGCONT, libc::SIG_DFL);
    }
}

/// The mask of a thread, which is set again on drop.
pub(crate) struct Blocked(sigset_t);

/// Blocks the caught signals in this thread.
pub(super) fn block() -> Blocked {
    let answered = ANSWERED.load(Ordering::SeqCst);
    let mut set = empty_set();
    ENDING.iter().filter(|signal| answered & bit(**signal) != 0).for_each(|signal| add(&mut set, *signal));
    Blocked(set_mask(libc::SIG_BLOCK, &set))
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(libc::SIG_SETMASK, &self.0);
    }
}

/// Blocks every signal that can be, in this thread and in those that it starts.
pub(crate) fn block_all() -> Blocked {
    let mut all = empty_set();
    // SAFETY: the set is ours, and whole.
    unsafe { libc::sigfillset(&raw mut all) };
    Blocked(set_mask(libc::SIG_BLOCK, &all))
}

/// Has `command` run with the mask that was there before `blocked`, and killed when the thread that starts it has
/// ended.
pub(crate) fn die_with_parent(command: &mut std::process::Command, blocked: &Blocked) {
    use std::os::unix::process::CommandExt as _;
    #[cfg(target_os = "linux")]
    let parent = rustix::process::getpid();
    let mask = blocked.0;
    let ask = move || {
        set_mask(libc::SIG_SETMASK, &mask);
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It has ended already: nobody will tell.
        #[cfg(target_os = "linux")]
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes three system calls, and none of them allocates or takes a lock.
    unsafe { command.pre_exec(ask) };
}

/// A signal that has been sent and that no thread has taken yet, where this one blocks it.
pub(super) fn pending() -> Option<c_int> {
    let answered = ANSWERED.load(Ordering::SeqCst);
    let mut set = empty_set();
    // SAFETY: the set is ours and initialized.
    unsafe { libc::sigpending(&raw mut set) };
    ENDING.iter().copied().find(|signal| answered & bit(*signal) != 0 && has(&set, *signal))
}

#[cfg(target_os = "linux")]
pub(super) use calls::{Deaf, on_call, turn, wait_for_handlers};

#[cfg(not(target_os = "linux"))]
use nothing as on_call;

/// Other systems cannot send a signal to a thread by its number. There, a signal is not detected if a thread has
/// accepted it and its handler has not started.
#[cfg(not(target_os = "linux"))]
pub(super) fn wait_for_handlers(_: fn() -> bool, _: Turn) {}

/// There, no thread calls the others.
#[cfg(not(target_os = "linux"))]
pub(super) struct Turn;

#[cfg(not(target_os = "linux"))]
pub(super) fn turn() -> Turn {
    Turn
}

/// A thread that blocks the signals until it ends.
#[cfg(not(target_os = "linux"))]
pub(super) struct Deaf;

#[cfg(not(target_os = "linux"))]
impl Deaf {
    /// This thread blocks them from now on.
    pub(super) fn new() -> Self {
        std::mem::forget(block());
        Self
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for Deaf {
    fn drop(&mut self) {}
}

/// Between the moment in which a thread takes a signal and the first step of its handler, nothing tells of it: the
/// signal is no longer pending. So every other thread is called by a signal of its own, which waits while another's
/// handler runs. A thread that has answered had begun none, or has ended it.
#[cfg(target_os = "linux")]
mod calls {
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    use libc::{c_int, pid_t};

    /// The number of threads that are signalled at once.
    const AT_ONCE: usize = 64;
    /// A thread that does not answer in this time is waiting inside the system, perhaps for a disk, and has not
    /// accepted a signal.
    const PATIENCE: Duration = Duration::from_secs(2);

    static CALLED: [AtomicI32; AT_ONCE] = [const { AtomicI32::new(0) }; AT_ONCE];
    static CALLING: Mutex<()> = Mutex::new(());
    /// Threads that block the signals, and so take none: calling each of them at each commit would cost more than the
    /// commit.
    static DEAF: Mutex<Vec<pid_t>> = Mutex::new(Vec::new());

    /// A thread that blocks the signals until it ends.
    pub(in super::super) struct Deaf(pid_t);

    impl Deaf {
        /// This thread blocks them from now on. What it had taken before, its handler has dealt with when this returns.
        pub(in super::super) fn new() -> Self {
            // To the end of the thread: a signal that it took later would have to be looked for again.
            std::mem::forget(super::block());
            let own = rustix::thread::gettid().as_raw_nonzero().get();
            DEAF.lock().unwrap_or_else(PoisonError::into_inner).push(own);
            Self(own)
        }
    }

    impl Drop for Deaf {
        /// Another thread may soon have the number.
        fn drop(&mut self) {
            DEAF.lock().unwrap_or_else(PoisonError::into_inner).retain(|deaf| *deaf != self.0);
        }
    }

    /// Answers.
    pub(in super::super) extern "C" fn on_call(_: c_int) {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        for called in &CALLED {
            let _ = called.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// One thread at a time calls the others.
    pub(in super::super) fn turn() -> MutexGuard<'static, ()> {
        CALLING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all handlers that have started or were about to start have ended, or until `enough` is true.
    pub(in super::super) fn wait_for_handlers(enough: fn() -> bool, _turn: MutexGuard<'static, ()>) {
        // Without a handler, no thread would answer.
        if super::ANSWERED.load(Ordering::SeqCst) == 0 {
            return;
        }
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let Ok(entries) = std::fs::read_dir("/proc/self/task") else { return };
        let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let deaf = DEAF.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let others: Vec<pid_t> = numbers.filter(|number| *number != own && !deaf.contains(number)).collect();
        for others in others.chunks(AT_ONCE) {
            for (called, other) in CALLED.iter().zip(others) {
                called.store(*other, Ordering::SeqCst);
                if !call(*other, libc::SIGURG) {
                    called.store(0, Ordering::SeqCst);
                }
            }
            wait(enough);
        }
    }

    fn wait(enough: fn() -> bool) {
        let begun = Instant::now();
        let unanswered = |called: &&AtomicI32| called.load(Ordering::SeqCst) != 0;
        while CALLED.iter().any(|called| unanswered(&called)) && !enough() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_micros(20));
            for called in CALLED.iter().filter(unanswered) {
                let other = called.load(Ordering::SeqCst);
                // The thread has ended in the meantime.
                if other != 0 && !call(other, 0) {
                    called.store(0, Ordering::SeqCst);
                }
            }
        }
        CALLED.iter().for_each(|called| called.store(0, Ordering::SeqCst));
    }

    /// Sends `signal` to a thread of this process. Returns whether there is a thread with that number.
    fn call(thread: pid_t, signal: c_int) -> bool {
        let process = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: it sends a signal that this process handles, or none, to one of its own threads or to no thread.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) == 0 }
    }
}
