//! `--from-command`: the output of a command is the input, and its failure is the program's failure.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::Result;
use super::escape;
use super::exit::Exit;
use super::failure::Failure;
use super::signals;

/// After SIGTERM, a command gets this much time before SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Size of the pipe from the command, in bytes.
#[cfg(target_os = "linux")]
const PIPE_LEN: usize = 1 << 20;

/// Reads the output of a command. It returns the end of input only if the command has succeeded. Otherwise it returns
/// an error, so that truncated output is never sealed as a complete file.
pub(crate) struct CommandOutput {
    name: String,
    child: Child,
    stdout: Option<ChildStdout>,
    /// How the command ended, once it has ended.
    ended: Option<ExitStatus>,
}

impl CommandOutput {
    /// Starts `command` with its arguments. It inherits stdin and stderr.
    pub(crate) fn start(command: &[OsString]) -> Result<Self> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::usage("--from-command needs a command after `--`"))?;
        let name = escape::os(program);
        // The child is started under the lock. For a signal, it is either not started yet or already registered.
        let mut registry = signals::registry();
        let spawned = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| {
            Failure::new(Exit::CommandFailed, format!("the command {name} could not be started: {error}"))
        })?;
        registry.add_child(Pid::from_child(&child));
        let stdout = child.stdout.take();
        // This may fail. With the default size of 64 KiB, the two processes would wait for each other more often.
        #[cfg(target_os = "linux")]
        if let Some(stdout) = &stdout {
            let _ = rustix::pipe::fcntl_setpipe_size(stdout, PIPE_LEN);
        }
        Ok(Self { name, child, stdout, ended: None })
    }

    /// The command's failure, once [`Read`] has returned it.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let status = self.ended?;
        if status.success() {
            return None;
        }
        let how = describe(status);
        Some(Failure::new(Exit::CommandFailed, format!("the command {} failed: {how}", self.name)))
    }

    /// Waits without reaping the child, so that no other process gets its number before the registry has removed it.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        let exited = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        while let Err(rustix::io::Errno::INTR) = exited() {}
        signals::registry().forget_child(pid);
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

/// How a command failed.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "for an unknown reason".into(),
    }
}

impl Read for CommandOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.stdout else {
            return match self.failure() {
                Some(failure) => Err(io::Error::other(failure.message)),
                None => Ok(0),
            };
        };
        let read = stdout.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.stdout = None;
            self.reap()?;
            return self.read(buffer);
        }
        Ok(read)
    }
}

impl Drop for CommandOutput {
    /// If its output is no longer needed, the command is ended: first by the closed pipe, and then by a signal.
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.stdout = None;
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            match waitid(WaitId::Pid(pid), options) {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let _ = kill_process(pid, Signal::KILL);
                    break;
                }
                _ => break,
            }
        }
        let _ = self.reap();
    }
}
