//! The program's messages. Stderr is for people, and JSON lines are for scripts.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::error::ErrorKind;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value, json};
use waxseal::engine::Patient;

use super::Result;
use super::clock::{Began, Spent};
use super::escape::{self, Name};
use super::evidence::Evidence;
use super::exit::Exit;
use super::failure::Failure;
use super::in_the_clear;
use super::input::Input;
use super::ledger::Ledger;
use super::many::Tally;
use super::plan::Job;
use super::signals;
use super::store;
use super::streams;
use super::walk::Why;

/// Version of the JSON format. Fields may be added, but never changed.
const SCHEMA: u32 = 1;

/// Where JSON lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonTo {
    /// To stdout.
    Stdout,
    /// To stderr, because stdout carries data.
    Stderr,
}

/// In which form results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// To a user who is looking, and to nobody else.
    Silent,
    /// Also a line for each result to stderr (`--report`).
    Report,
    /// JSON lines.
    Json(JsonTo),
}

/// Which messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    /// Also results, if a user is looking.
    Normal,
    /// Only warnings and errors.
    Quiet,
}

/// The result of a finished input.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Bytes of plaintext.
    pub(crate) bytes: Option<u64>,
    /// The key that opened it, or the keys with which it was sealed.
    pub(crate) key: Option<String>,
    /// The path of the result.
    pub(crate) output: Option<Name>,
    /// The key service's id of the request.
    pub(crate) request_id: Option<String>,
    /// KMS's id of the key material that sealed or opened.
    pub(crate) key_material_id: Option<String>,
    /// What is known of the sealed file.
    pub(crate) evidence: Evidence,
    /// More fields for `--json`.
    pub(crate) more: Map<String, Value>,
    /// One line for a user at a terminal.
    pub(crate) note: Option<String>,
    /// Text for stdout without `--json`.
    pub(crate) stdout: Option<String>,
    /// Lines for stderr that the user must know. They are printed even if no terminal is used.
    pub(crate) details: Vec<String>,
    /// The reason why it is a failure although there is a result.
    pub(crate) shortfall: Option<Failure>,
}

impl Done {
    /// The output was there already, and `--skip-existing` leaves it as it is.
    pub(crate) fn skipped(job: &Job) -> Self {
        let note = Some(format!("{}: skipped, because {} exists", job.input.display(), job.output.display()));
        Self { output: Some(job.output.name()), note, ..Self::left_out(&job.input.name(), Why::Exists) }
    }

    /// It is left out, which is no failure.
    pub(crate) fn left_out(name: &Name, why: Why) -> Self {
        let note = (!why.is_told()).then(|| format!("{name}: skipped, because {}", why.text()));
        let more =
            Map::from_iter([("skipped".to_owned(), true.into()), ("skipped_because".to_owned(), why.word().into())]);
        Self { note, more, ..Self::default() }
    }

    /// Whether it was left out.
    pub(crate) fn is_skipped(&self) -> bool {
        self.more.contains_key("skipped")
    }

    /// Adds what a store says about the input.
    pub(crate) fn of(mut self, input: &Input) -> Self {
        if let Some(about) = input.about() {
            self.more.insert("input_object".to_owned(), about);
        }
        self
    }

    /// Adds what a store says about the new object.
    pub(crate) fn stored(mut self, about: Option<Value>) -> Self {
        if let Some(about) = about {
            self.more.insert("output_object".to_owned(), about);
        }
        self
    }

    /// What there is to tell and what went wrong, in one.
    fn parts(result: &Result<Self>) -> (Option<&Self>, Option<&Failure>) {
        match result {
            Ok(done) => (Some(done), done.shortfall.as_ref()),
            Err(failure) => (None, Some(failure)),
        }
    }
}

/// Prints all messages.
pub(crate) struct Reporter {
    json: Option<JsonTo>,
    /// The lines of `--report`, if they are requested.
    ledger: Option<Mutex<Ledger>>,
    volume: Volume,
    stderr_is_terminal: bool,
    /// The name of the command.
    command: String,
    began: Began,
    /// Warnings that belong to the next JSON line.
    warnings: Mutex<Vec<String>>,
    /// Whether it was said that a result could not be printed.
    has_lost_results: AtomicBool,
}

/// What was said of one of several inputs.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    warnings: Vec<String>,
    remarks: Vec<String>,
}

thread_local! {
    /// Where this thread works on one of several inputs: what was said of it, to be told with its result.
    static APART: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Whether `text` was put aside for the input that this thread works on.
fn put_aside(text: &str, list: impl FnOnce(&mut Heard) -> &mut Vec<String>) -> bool {
    APART.with_borrow_mut(|apart| apart.as_mut().map(|heard| list(heard).push(text.to_owned())).is_some())
}

/// Whether this thread works on one of several inputs.
pub(crate) fn is_one_of_several() -> bool {
    APART.with_borrow(Option::is_some)
}

impl Reporter {
    /// For the command with this name.
    pub(crate) fn new(form: Form, volume: Volume, command: &str) -> Self {
        let json = if let Form::Json(stream) = form { Some(stream) } else { None };
        Self {
            json,
            ledger: (form == Form::Report).then(Mutex::default),
            volume,
            stderr_is_terminal: io::stderr().is_terminal(),
            command: command.to_owned(),
            began: Began::now(),
            warnings: Mutex::default(),
            has_lost_results: AtomicBool::new(false),
        }
    }

    /// Whether a user may be shown more than warnings and errors.
    pub(crate) fn is_watched(&self) -> bool {
        self.stderr_is_terminal && self.json.is_none() && self.volume == Volume::Normal
    }

    /// A warning about a result that can be used in spite of it. Also printed with `--quiet`.
    pub(crate) fn warn(&self, warning: &str) {
        if put_aside(warning, |heard| &mut heard.warnings) {
            return;
        }
        if self.json.is_none() {
            say("warning", &escape::text(warning));
        }
        self.keep(warning.to_owned());
    }

    /// What was noted where no reporter was at hand.
    fn tell_what_was_noted(&self) {
        in_the_clear::cautions().iter().for_each(|caution| self.caution(caution));
        store::said().iter().for_each(|warning| self.warn(warning));
    }

    fn keep(&self, warning: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    fn kept(&self) -> Vec<String> {
        mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does `work` for one of several inputs: what it says is not told yet, but given back with its result.
    pub(crate) fn apart<T>(&self, work: impl FnOnce() -> T) -> (T, Heard) {
        APART.set(Some(Heard::default()));
        let done = work();
        (done, APART.take().unwrap_or_default())
    }

    /// Whether this thread works on one of several inputs.
    #[expect(clippy::unused_self, reason = "it is this reporter that hears of them")]
    pub(crate) fn is_one_of_several(&self) -> bool {
        is_one_of_several()
    }

    /// Tells what was said of `file`, before its result.
    pub(crate) fn relay(&self, file: &Name, heard: Heard) {
        for warning in heard.warnings {
            if self.json.is_none() {
                say("warning", &format!("{file}: {}", escape::text(&warning)));
            }
            self.keep(warning);
        }
        heard.remarks.iter().for_each(|remark| self.remark(remark));
    }

    /// Something to know that a person may have decided so. Not said when quiet.
    pub(crate) fn caution(&self, warning: &str) {
        if self.volume == Volume::Normal {
            self.warn(warning);
        }
    }

    /// A sentence that scripts do not need. It is printed even if no terminal is used.
    pub(crate) fn remark(&self, remark: &str) {
        if put_aside(remark, |heard| &mut heard.remarks) {
            return;
        }
        if self.json.is_none() && self.volume == Volume::Normal {
            to_stderr(&format!("waxseal: {}\n", escape::text(remark)));
        }
    }

    /// Reports the result for `file`, the only input, and returns its exit code.
    pub(crate) fn finished(&self, file: Option<&Name>, result: Result<Done>) -> Exit {
        self.finished_in(self.began.spent(), file, result)
    }

    /// Reports the result for `file`, which took this time, and returns its exit code.
    pub(crate) fn finished_in(&self, spent: Spent, file: Option<&Name>, result: Result<Done>) -> Exit {
        // What fails because the program is about to end is not reported.
        signals::wait_if_ending();
        self.tell_what_was_noted();
        let warnings = self.kept();
        let (done, failure) = Done::parts(&result);
        let exit = failure.map_or(Exit::Done, |failure| failure.exit);
        let told = match self.json {
            Some(stream) => write_json(stream, &json_object(self.told(spent), file, done, failure, &warnings)),
            None => {
                failure.into_iter().for_each(|failure| error(file, failure));
                let told = done.map_or(Ok(()), |done| self.result(done));
                let line = self.ledger().map(|ledger| { ledger }.line(&self.command, file, spent, done, failure));
                told.and(line.map_or(Ok(()), |line| report(&line)))
            }
        };
        let made = done.filter(|done| failure.is_none() && !done.is_skipped());
        self.after(told, exit, made.and_then(|done| done.output.as_ref()))
    }

    /// The exit code after a result was told. Of many results that cannot be printed, only the first is an error that is
    /// printed. `made` is the output that is complete in spite of it.
    fn after(&self, told: Result<()>, exit: Exit, made: Option<&Name>) -> Exit {
        let Err(mut failure) = told else { return exit };
        if let Some(made) = made {
            failure.message += &format!("; the output {made} is complete");
        }
        if !self.has_lost_results.swap(true, Ordering::Relaxed) {
            error(None, &failure);
        }
        exit.graver(failure.exit)
    }

    /// Reports an error that belongs to no input. Returns the exit code.
    pub(crate) fn fatal(&self, failure: &Failure) -> Exit {
        signals::wait_if_ending();
        self.tell_what_was_noted();
        match self.json {
            Some(stream) => {
                let warnings = self.kept();
                let object = json_object(self.told(self.began.spent()), None, None, Some(failure), &warnings);
                let _ = write_json(stream, &object);
            }
            None => {
                error(None, failure);
                if let Some(ledger) = self.ledger() {
                    let _ = report(&{ ledger }.line(&self.command, None, self.began.spent(), None, Some(failure)));
                }
            }
        }
        failure.exit
    }

    /// Sums up several results, if `--report` is given. Returns the exit code, which was `exit` before.
    pub(crate) fn close(&self, exit: Exit) -> Exit {
        let summary = self.ledger().and_then(|ledger| ledger.summary(self.began.spent()));
        self.after(summary.map_or(Ok(()), |line| report(&line)), exit, None)
    }

    /// Tells what was done with many inputs. Returns the exit code of the run, which is `empty` if there was no input.
    pub(crate) fn sum_up(&self, spent: Spent, exit: Exit, tally: &Tally, empty: Exit) -> Exit {
        let failure = match exit {
            Exit::Done if tally.is_empty() && empty != Exit::Done => {
                Some(Failure::new(empty, "no input was found").hint("check the name of the folder or the list"))
            }
            Exit::Done => None,
            exit => Some(Failure::new(exit, tally.failures())),
        };
        let exit = failure.as_ref().map_or(Exit::Done, |failure| failure.exit);
        match self.json {
            Some(stream) => {
                let done = Done { more: tally.json(), ..Done::default() };
                let object = json_object(self.told(spent), None, Some(&done), failure.as_ref(), &self.kept());
                self.after(write_json(stream, &object), exit, None)
            }
            None => {
                match failure.filter(|_| tally.is_empty()) {
                    Some(failure) => error(None, &failure),
                    None if tally.found_nothing() => self.remark(&format!("no input was found: {tally}")),
                    None if self.is_watched() && self.ledger.is_none() => self.remark(&tally.to_string()),
                    None => {}
                }
                exit
            }
        }
    }

    fn ledger(&self) -> Option<MutexGuard<'_, Ledger>> {
        self.ledger.as_ref().map(|ledger| ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The command, and the time of one of its inputs.
    fn told(&self, spent: Spent) -> Told<'_> {
        Told { command: Some(&self.command), spent }
    }

    fn result(&self, done: &Done) -> Result<()> {
        for line in &done.details {
            to_stderr(&format!("waxseal: {}\n", escape::text(line)));
        }
        if let Some(note) = done.note.as_ref().filter(|_| self.is_watched() && self.ledger.is_none()) {
            to_stderr(&format!("waxseal: {}\n", escape::text(note)));
        }
        match &done.stdout {
            Some(text) => to_stdout(text),
            None => Ok(()),
        }
    }

    /// Whether results are printed to stdout as lines for people (`FILE: ok`).
    pub(crate) fn is_verbose(&self) -> bool {
        self.json.is_none() && self.volume == Volume::Normal
    }
}

fn say(what: &str, text: &str) {
    to_stderr(&format!("waxseal: {what}: {text}\n"));
}

/// Something is left on another machine, and only the user can remove it.
#[cfg_attr(not(feature = "aws-s3"), allow(dead_code, reason = "only stores leave something elsewhere"))]
pub(crate) fn left_behind(what: &str) {
    to_stderr(&warning(what));
}

/// The line that [`left_behind`] prints.
#[cfg_attr(not(feature = "aws-s3"), allow(dead_code, reason = "only stores leave something elsewhere"))]
pub(crate) fn warning(what: &str) -> String {
    format!("waxseal: warning: {}\n", escape::text(what))
}

fn error(file: Option<&Name>, failure: &Failure) {
    let message = escape::text(&failure.message);
    match file {
        Some(file) => say("error", &format!("{file}: {message}")),
        None => say("error", &message),
    }
    if let Some(hint) = &failure.hint {
        to_stderr(&format!("hint: {}\n", escape::lines(hint)));
    }
}

fn report(line: &str) -> Result<()> {
    result_to_stderr(&format!("waxseal: report: {line}\n"))
}

/// What each line tells, whatever the result is.
#[derive(Clone, Copy)]
struct Told<'a> {
    /// The command, if the command line could be parsed.
    command: Option<&'a str>,
    spent: Spent,
}

fn json_object(
    told: Told<'_>,
    file: Option<&Name>,
    done: Option<&Done>,
    failure: Option<&Failure>,
    warnings: &[String],
) -> Value {
    let exit = failure.map_or(Exit::Done, |failure| failure.exit);
    let output = done.and_then(|done| done.output.as_ref());
    let mut object = json!({
        "schema": SCHEMA,
        "command": told.command,
        "started": told.spent.started(),
        "duration_ms": told.spent.millis(),
        "ok": failure.is_none(),
        "exit": exit.code(),
        "kind": exit.kind(),
        "file": file.map(Name::text),
        "file_bytes": file.and_then(Name::base64),
        "output": output.map(Name::text),
        "output_bytes": output.and_then(Name::base64),
        "key": done.and_then(|done| done.key.as_ref()),
        "warnings": warnings,
        "aws_request_id": match failure {
            Some(failure) => failure.request_id.as_ref(),
            None => done.and_then(|done| done.request_id.as_ref()),
        },
        "key_material_id": done.and_then(|done| done.key_material_id.as_ref()),
        "bytes": done.and_then(|done| done.bytes),
        "failed_at": failure.and_then(|failure| failure.failed_at),
        "message": failure.map(|failure| &failure.message),
        "hint": failure.and_then(|failure| failure.hint.as_ref()),
    });
    if let Some(fields) = object.as_object_mut() {
        let key = done.and_then(|done| done.key.as_deref());
        fields.extend(Evidence::json(done.map(|done| &done.evidence), key));
        fields.extend(done.map(|done| done.more.clone()).unwrap_or_default());
    }
    object
}

fn write_json(stream: JsonTo, object: &Value) -> Result<()> {
    let line = escape::json(&object.to_string()) + "\n";
    match stream {
        JsonTo::Stdout => to_stdout(&line),
        JsonTo::Stderr => result_to_stderr(&line),
    }
}

/// Writes results. It is an error if the reader has closed the pipe.
pub(crate) fn to_stdout(text: &str) -> Result<()> {
    let done = streams::stdout().and_then(|stdout| {
        Patient(&stdout).write_all(text.as_bytes())?;
        // This is a copy of the descriptor. Some file systems report a full disk only when a file is closed.
        waxseal::io::close(stdout)
    });
    done.map_err(|source| Failure::io("writing to stdout", source))
}

/// Writes a result that a program reads. A caller that has closed stderr does not want it.
fn result_to_stderr(text: &str) -> Result<()> {
    match Stderr.write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("writing to stderr", error)),
        _ => Ok(()),
    }
}

/// Each message is one write, so that lines of several processes do not mix. A failure here cannot be reported.
fn to_stderr(text: &str) {
    let _ = Stderr.write_all(text.as_bytes());
}

/// Stderr. If it is closed, the standard library says that everything was written. If it is non-blocking, this waits. It
/// is not copied, because the message may be about having no free descriptor.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match (&stderr).write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the argument parser's text: help, the version, or an error in the command line.
pub(crate) fn answer_parser(answer: &clap::Error, arguments: &[OsString]) -> Exit {
    let text = answer.render();
    match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = if stdout_takes_colours() { text.ansi().to_string() } else { text.to_string() };
            match to_stdout(&text) {
                Ok(()) => Exit::Done,
                Err(failure) => {
                    error(None, &failure);
                    failure.exit
                }
            }
        }
        _ if asks_for_json(arguments) => {
            let failure = Failure::usage(plain(&text.to_string()).trim_end());
            let told = Told { command: None, spent: Began::now().spent() };
            let _ = write_json(JsonTo::Stderr, &json_object(told, None, None, Some(&failure), &[]));
            Exit::Usage
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            to_stderr(&text.to_string());
            Exit::Usage
        }
        _ => {
            to_stderr(&format!("waxseal: error: {}", escape::lines(&plain(&text.to_string()))));
            Exit::Usage
        }
    }
}

/// Whether the terminal supports colours, and the user wants them (<https://no-color.org>).
fn stdout_takes_colours() -> bool {
    let has = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    io::stdout().is_terminal() && has("NO_COLOR").is_none() && has("TERM").is_some_and(|term| term != "dumb")
}

fn plain(text: &str) -> String {
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}

/// The command line could not be parsed, so this only searches the arguments.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// A panic is a bug. The message says so, without a backtrace, which users cannot use.
///
/// The panic message of another library may contain a request with a key in it, so it is not printed.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        // A panic in the AWS library becomes an error. Its message may contain a request.
        if std::thread::current().name().is_some_and(|name| name.starts_with("waxseal-aws")) {
            return;
        }
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let text = match info.location() {
            Some(place) if is_own(place.file()) => info.payload_as_str(),
            _ => None,
        };
        let text = text.unwrap_or("no message");
        say("error", &format!("a bug{}: {}", place.unwrap_or_default(), escape::text(text)));
        to_stderr("hint: this is a bug in waxseal: please report it with this line\n");
    }));
}

/// The compiler gives relative paths for this project's files, and absolute paths for others.
fn is_own(file: &str) -> bool {
    !file.starts_with('/') && !file.starts_with("vendor/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_project() {
        assert!(is_own(file!()) && is_own("src/cli/mod.rs"));
        assert!(!is_own("/root/.cargo/registry/src/index/hyper/src/lib.rs") && !is_own("vendor/hyper/src/lib.rs"));
    }
}
