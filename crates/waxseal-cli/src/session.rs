//! Data shared by all inputs of one run.

use waxseal::engine::{Durability, Engine};

use super::Result;
use super::args::Args;
use super::clock::Began;
use super::escape::Name;
use super::exit::Exit;
use super::input::Input;
use super::parallel::{self, Groups, Turn};
use super::place::Place;
use super::plan::{self, Job, Naming};
use super::progress::{Count, Shown};
use super::report::{Done, Form, JsonTo, Reporter, Volume};

/// The run: messages, the engine, and how outputs are treated.
pub(crate) struct Session {
    /// Prints all messages.
    pub(crate) reporter: Reporter,
    /// Seals and opens.
    pub(crate) engine: Engine,
    /// Whether a progress bar may be drawn.
    pub(crate) progress: Shown,
    /// Of several inputs, one that all threads work on has the engine for itself.
    heavy: Turn,
    /// How many inputs are to be worked on at once, if the user says so.
    jobs: Option<usize>,
}

/// From this length on, the engine takes several threads for an input, and buffers for each.
const HEAVY: u64 = 1 << 20;

impl Session {
    /// Creates it from the parsed command line.
    pub(crate) fn new(args: &Args) -> Self {
        let json_to = if args.command.fills_stdout() { JsonTo::Stderr } else { JsonTo::Stdout };
        let volume = if args.global.quiet { Volume::Quiet } else { Volume::Normal };
        let form = match (args.global.json, args.global.report) {
            (true, _) => Form::Json(json_to),
            (false, true) => Form::Report,
            (false, false) => Form::Silent,
        };
        let reporter = Reporter::new(form, volume, &args.name);
        let progress = if reporter.is_watched() && !args.global.no_progress { Shown::WhenSlow } else { Shown::Never };
        Self { reporter, engine: Engine::new(), progress, heavy: Turn::default(), jobs: args.command.jobs() }
    }

    /// If an output was written beside its input and a reader of stdout may be waiting for it, reports that.
    pub(crate) fn say_where(&self, job: &Job) {
        if job.naming == Naming::Beside && plan::somebody_reads_stdout() {
            let output = job.output.display();
            self.reporter.remark(&format!("nothing goes to stdout: the output is {output} (`-o -` writes to stdout)"));
        }
    }

    /// The turn that `input` has to wait for, where other inputs are worked on at the same time. A stream has none: what
    /// its other end waits for may be another input's result.
    pub(crate) fn turn_of(&self, input: &Input) -> Option<&Turn> {
        let heavy = input.is_seekable() && input.len().is_none_or(|len| len >= HEAVY);
        (self.reporter.is_one_of_several() && heavy).then_some(&self.heavy)
    }

    /// Whether an input may have a progress bar of its own. Several have one bar together.
    pub(crate) fn progress_of_one(&self) -> Shown {
        if self.reporter.is_one_of_several() { Shown::Never } else { self.progress }
    }

    /// Does `work` for each of `items`, several at once; one failure does not stop the others. Each is told of as it is
    /// finished. Gives the gravest exit code.
    ///
    /// `waits`: whether there is anything to wait for, a disk or a key service. If not, threads would only cost time.
    ///
    /// `place` gives where an item is read from, and where its output goes. Items that have a file or a name in common,
    /// and all that are streams, are worked on in their order.
    pub(crate) fn each_at_once<T: Sync>(
        &self,
        items: &[T],
        waits: bool,
        place: impl for<'i> Fn(&'i T) -> (&'i Place, Option<&'i Place>) + Sync,
        work: impl Fn(&T) -> Result<Done> + Sync,
    ) -> Exit {
        let name = |item: &T| place(item).0.name();
        let limit = self.at_once(waits);
        if items.len() < 2 || limit < 2 {
            return self.each(items, name, work);
        }
        let mut groups = Groups::default();
        for (input, output) in items.iter().map(&place) {
            groups.add(input, output);
        }
        let count = Count::new(self.progress, Some(items.len()));
        let mut exit = Exit::Done;
        let work_on = |group: &Vec<usize>, tell: &mut dyn FnMut(_)| {
            for item in group.iter().filter_map(|number| items.get(*number)) {
                let began = Began::now();
                let (result, heard) = self.reporter.apart(|| work(item));
                tell((name(item), began.spent(), result, heard));
            }
        };
        parallel::over(limit, &groups.into_groups(), work_on, |(name, spent, result, heard)| {
            exit = exit.graver(count.finished(|| {
                self.reporter.relay(&name, heard);
                self.reporter.finished_in(spent, Some(&name), result)
            }));
        });
        count.end();
        exit
    }

    /// How many inputs are worked on at once. `waits`: whether there is anything to wait for.
    pub(crate) fn at_once(&self, waits: bool) -> usize {
        match self.jobs {
            None if !waits => 1,
            jobs => parallel::at_once(jobs),
        }
    }

    /// Does `work` for each of `items`, in their order; one failure does not stop the others. Gives the gravest exit code.
    pub(crate) fn each<T>(&self, items: &[T], name: impl Fn(&T) -> Name, work: impl Fn(&T) -> Result<Done>) -> Exit {
        items.iter().fold(Exit::Done, |gravest, item| {
            let began = Began::now();
            let result = work(item);
            gravest.graver(self.reporter.finished_in(began.spent(), Some(&name(item)), result))
        })
    }
}

/// The meaning of `--no-sync`.
pub(crate) fn durability(no_sync: bool) -> Durability {
    if no_sync { Durability::Unsynced } else { Durability::Synced }
}
