//! The process between this program and the command of `--to-command`.
//!
//! A pipe ends cleanly for its reader when the last process that can write to it has gone, whatever it died of: one
//! `kill -9` of this program, and the command takes what it has for the whole. So a second process holds the pipe open
//! too. It starts the command, and waits for one byte that says that everything was authenticated. Where the connection
//! to the program ends without that byte, it kills the command with all that descends from it, and only then lets go of
//! the pipe.
//!
//! All three stay in one process group: ctrl-c, ctrl-z and a password that the command asks for on the terminal work as
//! in any pipeline. What the command has started is found as it becomes a child of this process, also where it has left
//! the group or the session.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::exit::Exit;
use super::signals::{self, Blocked};

/// What the process is called. Whoever kills all processes of this program's name leaves it its work.
const NAME: &str = "pipe-guard";
/// Everything was authenticated: the command is to see the end.
const COMMIT: u8 = b'C';
/// So often the command is looked at, where the system does not tell of its end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Between two rounds of killing.
const PAUSE: Duration = Duration::from_millis(1);

/// What the guard tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The command runs.
    Started,
    /// It could not be started: the system's number of the error.
    NotStarted(i32),
    /// It has ended before its input did.
    EndedEarly(i32),
    /// It has ended after everything was authenticated; and whether it left some of its input unread.
    Ended(i32, bool),
}

const LEN: usize = 6;

impl Told {
    fn encode(self) -> [u8; LEN] {
        let (tag, number, unread) = match self {
            Self::Started => (b'S', 0, false),
            Self::NotStarted(number) => (b'F', number, false),
            Self::EndedEarly(status) => (b'e', status, false),
            Self::Ended(status, unread) => (b'E', status, unread),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [tag, u8::from(unread), a, b, c, d]
    }

    fn decode([tag, unread, number @ ..]: [u8; LEN]) -> Option<Self> {
        let number = i32::from_le_bytes(number);
        match tag {
            b'S' => Some(Self::Started),
            b'F' => Some(Self::NotStarted(number)),
            b'e' => Some(Self::EndedEarly(number)),
            b'E' => Some(Self::Ended(number, unread != 0)),
            _ => None,
        }
    }
}

/// This program's connection to its guard.
pub(crate) struct Guard {
    process: Child,
    connection: UnixStream,
}

impl Guard {
    /// Starts a guard, and it the command. Gives what can be written to, or why the command does not run.
    pub(crate) fn start(command: &[OsString]) -> io::Result<Result<(Self, OwnedFd), io::Error>> {
        // Should the guard itself be killed, its children become ours.
        adopt_orphans();
        let (connection, others) = UnixStream::pair()?;
        let mut guard = Command::new(own_program()?);
        guard.arg0(NAME).args(command).stdin(OwnedFd::from(others));
        let process = guard.spawn()?;
        // With it, this process' copy of the guard's end goes.
        drop(guard);
        let guard = Self { process, connection };
        let (told, pipe) = guard.receive_start()?;
        match (told, pipe) {
            (Told::Started, Some(pipe)) => Ok(Ok((guard, pipe))),
            (Told::NotStarted(number), _) => Ok(Err(io::Error::from_raw_os_error(number))),
            _ => Err(gone()),
        }
    }

    fn receive_start(&self) -> io::Result<(Told, Option<OwnedFd>)> {
        let mut message = [0; LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut room = [IoSliceMut::new(&mut message)];
            match recvmsg(&self.connection, &mut room, &mut ancillary, RECEIVE) {
                Err(Errno::INTR) => {}
                received => break received?,
            }
        };
        let pipe = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Err(gone());
        }
        (&self.connection).read_exact(&mut message[received.bytes..]).map_err(|_| gone())?;
        // A descriptor that another program could inherit would keep the pipe open.
        pipe.iter().try_for_each(|pipe| rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::CLOEXEC))?;
        Ok((Told::decode(message).ok_or_else(gone)?, pipe))
    }

    /// What it tells next.
    pub(crate) fn receive(&self) -> io::Result<Told> {
        let mut message = [0; LEN];
        (&self.connection).read_exact(&mut message).map_err(|_| gone())?;
        Told::decode(message).ok_or_else(gone)
    }

    /// The connection, to wait for what it tells.
    pub(crate) fn connection(&self) -> &UnixStream {
        &self.connection
    }

    /// Lets the command see the end of its input.
    pub(crate) fn commit(&self) -> io::Result<()> {
        (&self.connection).write_all(&[COMMIT]).map_err(|_| gone())
    }

    /// Lets go of the guard: before [`Guard::commit`] this kills the command. Whether all of it has ended.
    pub(crate) fn end(self, patience: Duration) -> bool {
        let Self { mut process, connection } = self;
        drop(connection);
        let begun = std::time::Instant::now();
        loop {
            match process.try_wait() {
                Ok(Some(status)) if status.success() => return true,
                // It was killed itself, and what it has left is ours.
                Ok(Some(_)) | Err(_) => {
                    end_children();
                    return true;
                }
                Ok(None) if begun.elapsed() >= patience => return false,
                Ok(None) => std::thread::sleep(PAUSE),
            }
        }
    }
}

#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

fn gone() -> io::Error {
    io::Error::other("the process that guards the command has ended")
}

fn own_program() -> io::Result<std::path::PathBuf> {
    // By this name also where an update has replaced the file meanwhile.
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

#[cfg(target_os = "linux")]
fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

/// The command, where this process was started to be a guard.
pub(crate) fn asked(arguments: &[OsString]) -> Option<&[OsString]> {
    let (name, command) = arguments.split_first()?;
    (name.as_encoded_bytes() == NAME.as_bytes()).then_some(command)
}

/// Is the guard of `command`. Stdin is the connection to the program.
pub(crate) fn run(command: &[OsString]) -> Exit {
    // It outlives what ends the others of its group; the command gets none of this.
    let blocked = signals::block_all();
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"pipe-guard");
    adopt_orphans();
    match guard(command, &blocked) {
        Ok(()) => Exit::Done,
        Err(_) => {
            end_children();
            Exit::Io
        }
    }
}

fn guard(command: &[OsString], blocked: &Blocked) -> io::Result<()> {
    let program = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (reader, writer) = io::pipe()?;
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    match spawn(command, reader, blocked) {
        Ok(child) => {
            let mut watch = Watch { program, writer: Some(writer), child, ended: None };
            let done = watch.tell_start().and_then(|()| watch.watch());
            if done.is_err() {
                // Before the pipe is let go of with the rest.
                end_children();
            }
            done
        }
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
            (&program).write_all(&Told::NotStarted(number).encode())
        }
    }
}

fn spawn(command: &[OsString], reader: PipeReader, blocked: &Blocked) -> io::Result<Child> {
    let (name, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(reader);
    signals::die_with_parent(&mut command, blocked);
    command.spawn()
}

/// The guard, while the command runs.
struct Watch {
    program: UnixStream,
    /// As long as it is here, the command sees no end.
    writer: Option<PipeWriter>,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Watch {
    /// Sends the end of the pipe that can be written to. It is the same pipe as long as one of both has it open.
    fn tell_start(&self) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = self.writer.as_ref().map(|writer| [writer.as_fd()]);
        if let Some(files) = &files {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        let message = Told::Started.encode();
        sendmsg(&self.program, &[IoSlice::new(&message)], &mut ancillary, SendFlags::empty())?;
        Ok(())
    }

    fn watch(&mut self) -> io::Result<()> {
        let child = Pid::from_child(&self.child);
        #[cfg(target_os = "linux")]
        let end = rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty()).ok();
        #[cfg(not(target_os = "linux"))]
        let end: Option<OwnedFd> = None;
        loop {
            let mut waited = vec![PollFd::new(&self.program, PollFlags::IN)];
            let end = end.as_ref().filter(|_| self.ended.is_none());
            waited.extend(end.map(|end| PollFd::new(end, PollFlags::IN)));
            let timeout = (end.is_none() && self.ended.is_none()).then_some(&LOOK);
            match poll(&mut waited, timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_told = !waited[0].revents().is_empty();
            if self.ended.is_none() {
                self.ended = self.child.try_wait()?;
                if let Some(status) = self.ended {
                    (&self.program).write_all(&Told::EndedEarly(status.into_raw()).encode())?;
                }
            }
            if is_told {
                return match (&self.program).read(&mut [0]) {
                    // It writes nothing but `COMMIT`.
                    Ok(1) => self.committed(),
                    _ => {
                        if self.ended.is_none() {
                            let _ = kill_process(child, Signal::KILL);
                        }
                        end_children();
                        Ok(())
                    }
                };
            }
        }
    }

    /// Lets go of the pipe, and waits for the command.
    fn committed(&mut self) -> io::Result<()> {
        let reader = self.writer.as_ref().and_then(|writer| reopen(writer, OpenOptions::new().read(true)));
        self.writer = None;
        let status = match self.ended {
            Some(status) => status,
            None => wait(&mut self.child, &self.program)?,
        };
        let unread = reader.is_some_and(is_left_unread);
        (&self.program).write_all(&Told::Ended(status.into_raw(), unread).encode())
    }
}

/// Waits for the command. Should the program be told to end meanwhile, the command is told so too.
fn wait(child: &mut Child, program: &UnixStream) -> io::Result<ExitStatus> {
    let mut is_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let mut waited = [PollFd::new(program, PollFlags::IN)];
        let waited = if is_told { &mut waited[..0] } else { &mut waited[..] };
        match poll(waited, Some(&LOOK)) {
            Ok(1) => {
                is_told = true;
                kill_process(Pid::from_child(child), Signal::TERM)?;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Another descriptor of the same pipe.
fn reopen(pipe: &impl AsRawFd, how: &OpenOptions) -> Option<File> {
    let mut how = how.clone();
    how.custom_flags(libc::O_NONBLOCK);
    how.open(format!("/proc/self/fd/{}", pipe.as_raw_fd())).ok()
}

/// Whether there is something in the pipe that nobody can read any more.
fn is_left_unread(reader: File) -> bool {
    if !rustix::io::ioctl_fionread(&reader).is_ok_and(|bytes| bytes > 0) {
        return false;
    }
    // What the command has started may still read.
    let Some(writer) = reopen(&reader, OpenOptions::new().write(true)) else { return false };
    drop(reader);
    let mut waited = [PollFd::new(&writer, PollFlags::OUT)];
    poll(&mut waited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && waited[0].revents().contains(PollFlags::ERR)
}

/// Kills all children, and those that they leave, until there are none.
///
/// Only children are killed: their numbers stay their own until they are reaped here. Whatever cannot be killed is
/// waited for, as long as it takes.
fn end_children() {
    loop {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        loop {
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn children() -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let numbers = lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>());
    numbers.filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        for told in [
            Told::Started,
            Told::NotStarted(2),
            Told::EndedEarly(256),
            Told::EndedEarly(9),
            Told::Ended(0, true),
            Told::Ended(i32::MAX, false),
        ] {
            assert_eq!(Told::decode(told.encode()), Some(told));
        }
        assert_eq!(Told::decode([0; LEN]), None);
    }

    #[test]
    fn only_its_own_name_makes_a_guard() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(asked(&words(&[NAME, "cat", "-n"])), Some(&words(&["cat", "-n"])[..]));
        assert_eq!(asked(&words(&["waxseal", NAME])), None);
        assert_eq!(asked(&[]), None);
    }
}
