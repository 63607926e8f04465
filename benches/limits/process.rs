//! The program as a process: its run time and its memory.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program, and its working folder.
pub(crate) struct Tool {
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Tool {
    /// Removes the caller's environment, which may name keys, proxies and a real AWS account.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments.split_whitespace()).current_dir(&self.folder).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The time from exec to exit.
    pub(crate) fn millis(&self, arguments: &str) -> f64 {
        let mut command = self.command(arguments);
        let begun = Instant::now();
        let status = command.status().unwrap();
        let took = begun.elapsed().as_secs_f64() * 1e3;
        assert!(status.success(), "{arguments}: {status}");
        took
    }

    /// Maximum memory at one time, in MiB.
    pub(crate) fn peak_of_file(&self, arguments: &str) -> f64 {
        peak(self.command(arguments).spawn().unwrap(), arguments)
    }

    /// The same for `arguments`. The program reads the output of `feeder`, and writes into a pipe that is emptied.
    pub(crate) fn peak_of_pipe(&self, feeder: &str, arguments: &str) -> f64 {
        let mut feeding = self.command(feeder).stdout(Stdio::piped()).spawn().unwrap();
        let input = feeding.stdout.take().unwrap();
        let mut child = self.command(arguments).stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let emptying = std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()).unwrap());
        let peak = peak(child, arguments);
        emptying.join().unwrap();
        assert!(feeding.wait().unwrap().success(), "{feeder}");
        peak
    }
}

/// Reads the kernel's own maximum until the process ends. An increase in the last moment is missed.
fn peak(mut child: Child, arguments: &str) -> f64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        let status = fs::read_to_string(&path).unwrap_or_default();
        // A process that has ended but was not waited for does not have this line.
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = line.map_or(peak, |kib| peak.max(kib.parse::<f64>().unwrap() / 1024.0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{arguments}: {status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
