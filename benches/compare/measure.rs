//! One run of one program, measured.
//!
//! The system adds up the resources of all children of a process. So each run has its own process between this one and
//! the program. That process is the bench itself, in another mode.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::system;
use crate::workplace::Workplace;

/// The first argument for this mode. A script follows.
pub(crate) const MODE: &str = "measure-in-this-process";

/// The resources of one run.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// Wall-clock time, from before the start of the program to after its end.
    pub(crate) seconds: f64,
    /// Processor time of the program and all its children, user and system.
    pub(crate) cpu: f64,
    /// Maximum resident memory of the largest process.
    pub(crate) peak_kib: u64,
}

/// The program of `script`. A shell runs it only if it needs one, because starting a shell takes as long as encrypting
/// 1 KiB.
fn command(script: &str) -> Command {
    if script.contains(['|', '>', '&', '"']) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        return command;
    }
    let mut words = script.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("true"));
    command.args(words);
    command
}

fn output(command: &mut Command) -> Result<Output, String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    output.map_err(|error| error.to_string()).and_then(checked)
}

fn checked(output: Output) -> Result<Output, String> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("{}: {last}", output.status))
}

/// Runs `script`, and prints its figures.
pub(crate) fn run_here(script: &str) -> Result<(), String> {
    let mut command = command(script);
    let begun = Instant::now();
    output(&mut command)?;
    let seconds = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|error| error.to_string())?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("{seconds} {micros} {}", system::kib(usage.max_rss()));
    Ok(())
}

/// Runs `script` in `folder`, measured.
pub(crate) fn run(workplace: &Workplace, folder: &Path, script: &str) -> Result<Figure, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = workplace.command(this, folder);
    let output = command.args([MODE, script]).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8(checked(output)?.stdout).unwrap_or_default();
    let mut words = text.split_whitespace();
    let mut next = || words.next().ok_or_else(|| format!("no figures: {text}"));
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    Ok(Figure {
        seconds: next()?.parse().map_err(|error: std::num::ParseFloatError| wrong(&error))?,
        cpu: next()?.parse::<f64>().map_err(|error| wrong(&error))? / 1e6,
        peak_kib: next()?.parse().map_err(|error: std::num::ParseIntError| wrong(&error))?,
    })
}
