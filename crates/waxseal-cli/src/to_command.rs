//! `--to-command`: a command that gets the content, and sees its end only if everything was authenticated.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Result;
use super::escape;
use super::exit::Exit;
use super::failure::Failure;
use super::from_command::describe;
use super::guard::{Guard, Told};
use super::report::Reporter;
use super::signals;

/// What cannot be killed within this time is left to the guard, which keeps the end from it as long as it lives.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the content. The command is started with the first byte: by then a key has opened the file, and the content's
/// first part has been authenticated.
pub(crate) struct CommandInput<'a> {
    command: &'a [OsString],
    name: String,
    running: Option<Running>,
    /// The command's own failure, once [`Write`] has met it.
    failure: Option<Failure>,
}

struct Running {
    guard: Guard,
    pipe: File,
    /// How the command has ended, where it did so early.
    ended: Option<ExitStatus>,
}

impl<'a> CommandInput<'a> {
    /// For `command`, which has a first word.
    pub(crate) fn new(command: &'a [OsString]) -> Self {
        let name = command.first().map(|word| escape::os(word)).unwrap_or_default();
        Self { command, name, running: None, failure: None }
    }

    /// Where everything was authenticated, lets the command see the end, and waits for it. Otherwise kills it.
    pub(crate) fn finish<T>(mut self, opened: Result<T>, reporter: &Reporter) -> Result<T> {
        let own = self.failure.take();
        let failure = match (own, opened) {
            (None, Ok(opened)) => return self.commit(reporter).map(|()| opened),
            (Some(failure), _) => failure,
            (None, Err(failure)) => {
                let name = &self.name;
                let what = match self.running {
                    Some(_) => format!("the command {name} was killed and saw no end of its input"),
                    None => format!("the command {name} was not started"),
                };
                Failure { message: format!("{}; {what}", failure.message), ..failure }
            }
        };
        if let Some(running) = self.running.take() {
            // Its end of the pipe is open until all have ended.
            self.end(running.guard, reporter);
        }
        Err(failure)
    }

    fn commit(mut self, reporter: &Reporter) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Err(Failure::new(Exit::Bug, "the command was never started"));
        };
        let told = signals::commit(|| running.guard.commit()).and_then(|()| {
            // The guard has let go of its own.
            drop(running.pipe);
            loop {
                // It may first tell of an end before this was all: the command has had enough by then, or has not.
                if let Told::Ended(status, unread) = running.guard.receive()? {
                    return Ok((ExitStatus::from_raw(status), unread));
                }
            }
        });
        let failure = match told {
            Ok((status, unread)) => self.failure_of(status, unread),
            Err(error) => Some(Failure::io("waiting for the command", error)),
        };
        self.end(running.guard, reporter);
        failure.map_or(Ok(()), Err)
    }

    fn end(&self, guard: Guard, reporter: &Reporter) {
        if !guard.end(PATIENCE) {
            reporter.warn(&format!(
                "processes of the command {} cannot be killed; as long as they run, they see no end of their input",
                self.name
            ));
        }
    }

    /// Why it is a failure that the command ended so.
    fn failure_of(&self, status: ExitStatus, unread: bool) -> Option<Failure> {
        let how = match (status.success(), unread) {
            (true, false) => return None,
            (true, true) => "ended before it had read all of its input".into(),
            (false, _) => format!("failed: {}", describe(status)),
        };
        Some(Failure::new(Exit::CommandFailed, format!("the command {} {how}", self.name)))
    }

    fn start(&mut self) -> io::Result<&mut Running> {
        if self.running.is_none() {
            match Guard::start(self.command)? {
                Ok((guard, pipe)) => {
                    // So that a command that has failed is noticed although what it started keeps the pipe full.
                    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
                    self.running = Some(Running { guard, pipe: pipe.into(), ended: None });
                }
                Err(error) => {
                    let message = format!("the command {} could not be started: {error}", self.name);
                    self.failure = Some(Failure::new(Exit::CommandFailed, message));
                    return Err(error);
                }
            }
        }
        self.running.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Running {
    /// Writes some of `bytes`. `None`: the command takes no more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.pipe).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => return written.map(Some),
            }
            let connection = self.guard.connection();
            let mut waited = [PollFd::new(&self.pipe, PollFlags::OUT), PollFd::new(connection, PollFlags::IN)];
            match poll(&mut waited, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !waited[1].revents().is_empty() && !self.wait()?.success() {
                return Ok(None);
            }
        }
    }

    /// How the command has ended, or will.
    fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        match self.guard.receive()? {
            Told::EndedEarly(status) => Ok(*self.ended.insert(ExitStatus::from_raw(status))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Write for CommandInput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let running = self.start()?;
        if let Some(written) = running.write(bytes)? {
            return Ok(written);
        }
        // A command that has closed its input, and goes on, is left to it: it has seen no end.
        let status = running.wait()?;
        self.failure = self.failure_of(status, true);
        Err(io::ErrorKind::BrokenPipe.into())
    }

    /// Also for a content of no bytes the command is run.
    fn flush(&mut self) -> io::Result<()> {
        self.start().map(|_| ())
    }
}

impl Drop for CommandInput<'_> {
    /// After a panic.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.guard.end(PATIENCE);
        }
    }
}
