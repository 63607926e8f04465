//! Which standard streams were open when the program started.
#![allow(unsafe_code, reason = "a look at the descriptors before Rust's start-up fills the gaps")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};

/// A bit for each of stdin, stdout and stderr that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The system's loader runs this before any Rust code.
///
/// Rust opens `/dev/null` in place of a closed standard stream. A reader would then find an empty file, and a writer
/// would lose its data and report success.
// SAFETY: the loader calls each entry of this section once, as a C function, before `main`. A C function may ignore the
// arguments. This one makes a system call and sets an atomic, and needs nothing of Rust's start-up code.
#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in 0..3 {
        // SAFETY: it only asks. For a closed descriptor, the answer is an error.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

fn opened(number: u8, name: &str, stream: impl AsFd) -> io::Result<File> {
    if CLOSED.load(Ordering::Relaxed) & (1 << number) != 0 {
        return Err(io::Error::other(format!("{name} is closed")));
    }
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Stdin.
///
/// # Errors
/// If it was closed when the program started.
pub(crate) fn stdin() -> io::Result<File> {
    opened(0, "stdin", io::stdin())
}

/// Stdout.
///
/// # Errors
/// If it was closed when the program started.
pub(crate) fn stdout() -> io::Result<File> {
    opened(1, "stdout", io::stdout())
}
