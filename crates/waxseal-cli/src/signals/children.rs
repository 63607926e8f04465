//! Ends the commands that run for credentials (`credential_process`), from a signal handler.
//!
//! The AWS library starts them on the threads for AWS calls, and does not give their numbers to anybody. So they are
//! found in `/proc`, only with system calls and memory on the stack, because a handler must not allocate.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::process::{Pid, Signal, kill_process};

/// The names of the threads that start them begin with this, as the system shows them.
const THREADS: &[u8] = b"waxseal-aws";
/// The maximum number of processes that are found. A command for credentials starts a few.
const MOST: usize = 64;

/// The processes that were found. Children come after their parents.
struct Found {
    pids: [i32; MOST],
    count: usize,
}

/// Ends them and the processes that they have started.
pub(super) fn end_credential_processes() {
    let mut found = Found { pids: [0; MOST], count: 0 };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(tasks) = openat(rustix::fs::CWD, c"/proc/self/task", flags, Mode::empty()) else { return };
    each_task(tasks.as_fd(), &mut |task| {
        let mut name = [0; 32];
        if read(tasks.as_fd(), task, b"comm", &mut name).starts_with(THREADS) {
            found.children_of(tasks.as_fd(), task);
        }
    });
    // All are found before the first one is ended, because the children of an ended process cannot be found.
    let mut next = 0;
    while next < found.count {
        let mut path = [0; 48];
        let pid = found.pids[next];
        next += 1;
        let Some(path) = join(&mut path, &[b"/proc/", digits(pid, &mut [0; 12]), b"/task"]) else { continue };
        if let Ok(tasks) = openat(rustix::fs::CWD, path, flags, Mode::empty()) {
            each_task(tasks.as_fd(), &mut |task| found.children_of(tasks.as_fd(), task));
        }
    }
    for pid in &found.pids[..found.count] {
        // It may have ended in the meantime.
        let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
    }
}

fn each_task(tasks: BorrowedFd<'_>, with: &mut dyn FnMut(&[u8])) {
    let mut room = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(tasks, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_bytes();
        if name.first().is_some_and(u8::is_ascii_digit) {
            with(name);
        }
    }
}

impl Found {
    fn children_of(&mut self, tasks: BorrowedFd<'_>, task: &[u8]) {
        let mut text = [0; 1024];
        let text = read(tasks, task, b"children", &mut text);
        for pid in text.split(|byte| *byte == b' ').filter_map(number) {
            if self.count < MOST {
                self.pids[self.count] = pid;
                self.count += 1;
            }
        }
    }
}

/// The content of `TASK/FILE`, as far as it fits.
fn read<'a>(tasks: BorrowedFd<'_>, task: &[u8], file: &[u8], room: &'a mut [u8]) -> &'a [u8] {
    let mut path = [0; 48];
    let opened = join(&mut path, &[task, b"/", file])
        .and_then(|path| openat(tasks, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok());
    let len = opened.and_then(|opened| rustix::io::read(opened, &mut *room).ok()).unwrap_or(0);
    &room[..len.min(room.len())]
}

/// A path in its own memory.
fn join<'a>(room: &'a mut [u8; 48], parts: &[&[u8]]) -> Option<&'a CStr> {
    let mut at = 0;
    for part in parts {
        room.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    *room.get_mut(at)? = 0;
    CStr::from_bytes_until_nul(room).ok()
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok().filter(|pid| *pid > 0)
}

fn digits(pid: i32, room: &mut [u8; 12]) -> &[u8] {
    let (mut rest, mut at) = (pid.unsigned_abs(), room.len());
    while at > 0 {
        at -= 1;
        room[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    &room[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for pid in [1, 9, 10, 4_194_304, i32::MAX] {
            assert_eq!(number(digits(pid, &mut [0; 12])), Some(pid));
        }
    }

    /// Finds children by the thread's name, with their own children, but no other processes.
    #[test]
    fn only_children_of_such_threads_are_ended() {
        let mut other = Command::new("sleep").arg("300").spawn().unwrap();
        let name = String::from_utf8([THREADS, b"-x"].concat()).unwrap();
        let ended = std::thread::Builder::new().name(name).spawn(|| {
            let mut child = Command::new("sh").args(["-c", "sleep 300 & wait"]).spawn().unwrap();
            std::thread::scope(|scope| scope.spawn(end_credential_processes).join()).unwrap();
            child.wait().unwrap().signal()
        });
        assert_eq!(ended.unwrap().join().unwrap(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
