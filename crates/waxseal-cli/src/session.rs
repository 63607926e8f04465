//! Data shared by all inputs of one run.

use waxseal::engine::{Durability, Engine};

use super::Result;
use super::args::Args;
use super::escape::{self, Name};
use super::exit::Exit;
use super::plan::{self, Job, Naming};
use super::progress::Shown;
use super::report::{Done, JsonTo, Reporter, Volume};

/// The run: messages, the engine, and how outputs are treated.
pub(crate) struct Session {
    /// Prints all messages.
    pub(crate) reporter: Reporter,
    /// Seals and opens.
    pub(crate) engine: Engine,
    /// Whether a progress bar may be drawn.
    pub(crate) progress: Shown,
}

impl Session {
    /// Creates it from the parsed command line.
    pub(crate) fn new(args: &Args) -> Self {
        let json_to = if args.command.fills_stdout() { JsonTo::Stderr } else { JsonTo::Stdout };
        let volume = if args.global.quiet { Volume::Quiet } else { Volume::Normal };
        let reporter = Reporter::new(args.global.json.then_some(json_to), volume);
        let progress = if reporter.is_watched() && !args.global.no_progress { Shown::WhenSlow } else { Shown::Never };
        Self { reporter, engine: Engine::new(), progress }
    }

    /// If an output was written beside its input and a reader of stdout may be waiting for it, reports that.
    pub(crate) fn say_where(&self, job: &Job) {
        if job.naming == Naming::Beside && plan::somebody_reads_stdout() {
            let output = escape::path(&job.output);
            self.reporter.remark(&format!("nothing goes to stdout: the output is {output} (`-o -` writes to stdout)"));
        }
    }

    /// Does `work` for each of `items`. A failure does not stop the others. Returns the most serious exit code.
    pub(crate) fn each<T>(&self, items: &[T], name: impl Fn(&T) -> Name, work: impl Fn(&T) -> Result<Done>) -> Exit {
        items.iter().fold(Exit::Done, |gravest, item| {
            let result = work(item);
            gravest.graver(self.reporter.finished(Some(&name(item)), result))
        })
    }
}

/// The meaning of `--no-sync`.
pub(crate) fn durability(no_sync: bool) -> Durability {
    if no_sync { Durability::Unsynced } else { Durability::Synced }
}
