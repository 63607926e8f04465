//! Many inputs: what is below folders (`-r`), and the names of a list (`--files-from`). They are found while the work goes
//! on, so that a tree or a list of any length takes little memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Result;
use super::args::{ManyArgs, is_stdin, is_stdout};
use super::clock::Began;
use super::count::count;
use super::escape::{self, Name};
use super::exit::Exit;
use super::failure::Failure;
use super::folder::{self, Part, Tree};
use super::input::Identity;
use super::known::Known;
use super::list::{Ending, List};
use super::outputs::{Above, Outputs, Top};
use super::parallel::{self, Common};
use super::place::{Place, opened_name, sealed_name};
use super::plan::{self, Chosen, Direction, Job, Naming};
use super::prefix::Objects;
use super::progress::Count;
use super::report::Done;
use super::session::Session;
use super::store::{self, ObjectName};
use super::streams;
use super::walk::{self, Seen, Walk, Why};

/// Which of the files below a folder are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// All. The command itself leaves out those that are sealed.
    Any,
    /// Those with the name of a sealed file.
    Sealed,
}

/// The inputs of a command that takes many.
pub(crate) struct Many {
    named: Vec<PathBuf>,
    is_recursive: bool,
    list: Option<(PathBuf, Ending)>,
    takes: Takes,
    outputs: Option<Outputs>,
}

/// An input that was found.
pub(crate) struct Found {
    /// Where it is.
    pub(crate) place: Place,
    /// Where its output goes. Without it, the output is beside the input.
    output: Option<Above>,
    chosen: Chosen,
}

impl Found {
    /// It with its output.
    pub(crate) fn job(&self, direction: Direction) -> Result<Job> {
        let chosen = self.chosen;
        let Some(above) = &self.output else {
            return Ok(Job { chosen, ..plan::beside(&self.place, direction)? });
        };
        let name = self.place.last().ok_or_else(|| names_no_file(&self.place.display()))?;
        let name = match direction {
            Direction::Encrypt => Some(sealed_name(name)),
            Direction::Decrypt => opened_name(name),
        };
        let name = name.ok_or_else(|| {
            self.place.names_no_output().hint("decrypt it in a run of its own, and name the output with -o")
        })?;
        Ok(Job { input: self.place.clone(), output: above.place(&name)?, naming: Naming::Below, chosen })
    }

    /// Its name below the top of the output tree, which the command changes in the same way for all.
    fn output_name(&self) -> Option<PathBuf> {
        Some(self.output.as_ref()?.path(self.place.last()?))
    }

    /// Whether it was listed, and is not there any more.
    fn is_gone(&self, failed: Option<&Failure>) -> bool {
        self.chosen == Chosen::Found && failed.is_some_and(|failure| failure.exit == Exit::NoInput)
    }

    /// What another input must not touch at the same time, if it has an output.
    pub(crate) fn claims(&self, direction: Direction) -> Vec<Common> {
        let job = self.job(direction);
        job.map_or_else(|_| Vec::new(), |job| parallel::in_common(&job.input, Some(&job.output)))
    }
}

/// What an input has in common with others, if it is only read: a stream has its turn.
pub(crate) fn read_only(found: &Found) -> Vec<Common> {
    parallel::in_common(&found.place, None)
}

fn names_no_file(name: &str) -> Failure {
    Failure::usage(format!("{name} names no file")).hint("use a run of its own for it, and name the output with -o")
}

impl Many {
    /// `None` if the command line names each input.
    pub(crate) fn of(args: &ManyArgs, inputs: &[PathBuf], takes: Takes) -> Result<Option<Self>> {
        if !args.recursive && args.files_from.is_none() {
            return Ok(None);
        }
        if inputs.is_empty() && args.files_from.is_none() {
            return Err(
                Failure::usage("-r needs a folder").hint("name a folder, for example: waxseal encrypt -r FOLDER")
            );
        }
        let ending = if args.null { Ending::Zero } else { Ending::Line };
        let list = args.files_from.clone().map(|list| (list, ending));
        let named = inputs.to_vec();
        Ok(Some(Self { named, is_recursive: args.recursive, list, takes, outputs: None }))
    }

    /// Puts the outputs below the folder or the prefix `output`, if there is one. A folder is made if it does not exist.
    pub(crate) fn below(mut self, output: Option<&Path>, direction: Direction, is_synced: bool) -> Result<Self> {
        let Some(path) = output else { return Ok(self) };
        let name = escape::path(path);
        if is_stdout(path) {
            return Err(Failure::usage("several inputs cannot go to one output").hint("name a folder with -o"));
        }
        if let Some(twice) = self.base_that_stands_twice() {
            let failure = Failure::usage(format!("two inputs would have the name {} in {name}", escape::os(twice)));
            return Err(failure.hint("use a run of its own for each, with its own -o"));
        }
        let keeps_modes = direction == Direction::Encrypt;
        if let Some(object) = store::object(path.as_os_str()) {
            self.outputs = Some(Outputs { top: Top::Prefix(object.prefix()?), keeps_modes });
            return Ok(self);
        }
        let tree = Tree::at(path, is_synced).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                let failure = Failure::usage(format!("the output {name} is not a folder"));
                failure.hint("with -r and --files-from, -o names a folder")
            }
            _ => Failure::io(format!("making the folder {name}"), error),
        })?;
        let identity = tree.identity().map_err(|error| Failure::io("looking at the folder of the outputs", error))?;
        self.outputs = Some(Outputs { top: Top::Folder(Arc::new(tree), identity), keeps_modes });
        Ok(self)
    }

    /// Whether a store is waited for. What a list names is not known yet.
    fn is_far(&self) -> bool {
        let writes = self.outputs.as_ref().is_some_and(|outputs| matches!(outputs.top, Top::Prefix(_)));
        writes || self.named.iter().any(|path| store::object(path.as_os_str()).is_some())
    }

    fn base_that_stands_twice(&self) -> Option<&OsStr> {
        // The objects of a bucket are put directly below the output.
        let is_bucket = |path: &Path| store::object(path.as_os_str()).is_some_and(|name| name.has_no_key());
        let named = self.named.iter().filter(|path| !is_bucket(path));
        let mut bases: Vec<&OsStr> = named.filter_map(|path| path.file_name()).collect();
        bases.sort_unstable();
        bases.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// The inputs that the command line names, and the list, if that is stdin.
    pub(crate) fn streams(&self) -> Vec<Place> {
        let list = self.list.as_ref().filter(|(path, _)| is_stdin(path)).map(|_| Place::Stream);
        self.named.iter().map(|path| Place::input(path)).chain(list).collect()
    }

    /// The list, which no output must replace while it is read.
    pub(crate) fn forbidden(&self) -> Option<(Identity, &'static str)> {
        let (path, _) = self.list.as_ref()?;
        let list = match is_stdin(path) {
            true => streams::stdin().and_then(|stdin| stdin.metadata()).ok().as_ref().and_then(Identity::of),
            false => Identity::at(path),
        };
        list.map(|list| (list, "list of --files-from"))
    }

    /// Does `work` for each input, several at once, as [`Session::each_at_once`] does. What a command leaves out is not a
    /// failure. Ends with a summary. If there was no input, the exit code is `empty`.
    ///
    /// Inputs with equal `claims` are worked on in their order.
    pub(crate) fn each(
        self,
        session: &Session,
        waits: bool,
        empty: Exit,
        claims: impl Fn(&Found) -> Vec<Common> + Sync,
        work: impl Fn(&Found) -> Result<Done> + Sync,
    ) -> Result<Exit> {
        let began = Began::now();
        let waits = waits || self.is_far();
        let steps = Steps::new(self)?;
        let (reporter, count) = (&session.reporter, Count::new(session.progress, None));
        let (mut exit, mut tally) = (Exit::Done, Tally::default());
        let claims = |step: &Step| if let Step::Take(found) = step { claims(found) } else { Vec::new() };
        let one = |step: Step| {
            let began = Began::now();
            let name = step.name();
            let (result, heard) = reporter.apart(|| settle(step, session, &work));
            (name, began.spent(), result, heard)
        };
        parallel::stream(session.at_once(waits), steps, claims, one, |(name, spent, result, heard)| {
            tally.add(&result);
            exit = exit.graver(count.finished(|| {
                reporter.relay(&name, heard);
                reporter.finished_in(spent, Some(&name), result)
            }));
        });
        count.end();
        Ok(reporter.sum_up(began.spent(), exit, &tally, empty))
    }
}

/// The result of one step.
fn settle(step: Step, session: &Session, work: impl Fn(&Found) -> Result<Done>) -> Result<Done> {
    let left_out = |name: &Name, why: Why| {
        if why.is_told() {
            session.reporter.remark(&format!("{name}: skipped: {}", why.text()));
        }
        Ok(Done::left_out(name, why))
    };
    match step {
        Step::Skip(name, why) => left_out(&name, why),
        Step::Fail(_, failure) => Err(failure),
        Step::Take(found) => {
            let result = work(&found);
            let failed = match &result {
                Ok(done) => done.shortfall.as_ref(),
                Err(failure) => Some(failure),
            };
            // Something else in its place can be refused as an input, too.
            let is_lost = |failure: &Failure| match failure.exit {
                // A full disk is no less full because the input has gone.
                Exit::Io => failure.is_of_input,
                Exit::NoInput | Exit::Usage => true,
                _ => false,
            };
            let is_lost = failed.is_some_and(is_lost);
            match &found.place {
                Place::Object(_) if found.is_gone(failed) => left_out(&found.place.name(), Why::Gone),
                Place::Below(entry) if is_lost && entry.is_gone() => left_out(&found.place.name(), Why::Gone),
                _ => result,
            }
        }
    }
}

/// What was done with all inputs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: u64,
    failed: u64,
    skipped: BTreeMap<String, u64>,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, result: &Result<Done>) {
        match result {
            Ok(done) if done.shortfall.is_none() => match done.more.get("skipped_because").and_then(Value::as_str) {
                Some(why) => *self.skipped.entry(why.to_owned()).or_default() += 1,
                None => {
                    self.done += 1;
                    self.bytes += done.bytes.or(done.evidence.plaintext_bytes).unwrap_or(0);
                }
            },
            _ => self.failed += 1,
        }
    }

    fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Whether there was nothing to do and nothing that failed.
    pub(crate) fn is_empty(&self) -> bool {
        self.done + self.failed == 0
    }

    /// Whether no input was found. One whose output exists was found.
    pub(crate) fn found_nothing(&self) -> bool {
        let found = [Why::Exists, Why::SameFile].iter().any(|why| self.skipped.contains_key(why.word()));
        self.is_empty() && !found
    }

    /// For `--json`.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let all = self.done + self.failed + self.skipped();
        let summary = json!({
            "inputs": all, "done": self.done, "failed": self.failed, "skipped": self.skipped(),
            "skipped_because": self.skipped, "bytes": self.bytes,
        });
        Map::from_iter([("summary".to_owned(), summary)])
    }

    /// What failed, as a sentence.
    pub(crate) fn failures(&self) -> String {
        let all = self.done + self.failed + self.skipped();
        format!("{} of {} failed", self.failed, count(all, "input"))
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} done ({})", count(self.done, "file"), count(self.bytes, "byte"))?;
        if self.failed > 0 {
            write!(out, ", {} failed", self.failed)?;
        }
        for (why, number) in &self.skipped {
            write!(out, ", {number} skipped ({why})")?;
        }
        Ok(())
    }
}

/// What comes next.
enum Step {
    Take(Found),
    Skip(Name, Why),
    Fail(Name, Failure),
}

impl Step {
    fn name(&self) -> Name {
        match self {
            Self::Take(found) => found.place.name(),
            Self::Skip(name, _) | Self::Fail(name, _) => name.clone(),
        }
    }
}

/// All inputs, as they are found: those of the command line, and then those of the list.
struct Steps {
    named: std::vec::IntoIter<PathBuf>,
    list: Option<List<BufReader<File>>>,
    /// The name of the list.
    list_name: Name,
    /// What is being gone through: a folder, or a prefix of a store.
    source: Option<Box<dyn Iterator<Item = Seen> + Send>>,
    is_recursive: bool,
    takes: Takes,
    outputs: Option<Outputs>,
    /// Two inputs could have one output, where they do not all come from one folder.
    taken: Option<Known>,
}

impl Steps {
    fn new(many: Many) -> Result<Self> {
        let Many { named, is_recursive, list, takes, outputs } = many;
        let list_name = list.as_ref().map_or_else(|| Name::plain("-"), |(path, _)| Name::of(path));
        let list = list.map(|(path, ending)| List::open(&path, ending)).transpose()?;
        let is_mixed = outputs.is_some() && (list.is_some() || named.len() > 1);
        let (named, taken) = (named.into_iter(), is_mixed.then(Known::default));
        Ok(Self { named, list, list_name, source: None, is_recursive, takes, outputs, taken })
    }

    /// What a name means: a file, or the beginning of a walk. If it is of a list, its folders are kept below the outputs.
    fn begin(&mut self, path: &Path, is_listed: bool) -> Option<Step> {
        let fail = |failure| Some(Step::Fail(Name::of(path), failure));
        if is_stdin(path) {
            return fail(Failure::usage("stdin cannot be one of several inputs").hint("use a separate run for stdin"));
        }
        if let Place::Object(object) = Place::input(path) {
            return self.begin_object(object, is_listed).unwrap_or_else(fail);
        }
        let keeps = is_listed && self.outputs.is_some();
        let mut parts = match if keeps { folders_of(path) } else { Ok(Vec::new()) } {
            Ok(parts) => parts,
            Err(failure) => return fail(failure),
        };
        if self.is_recursive
            && let Place::Path(_) = Place::input(path)
            && let Ok(open) = folder::open_folder(path)
        {
            if let Some(outputs) = &self.outputs {
                if outputs.is(&open) {
                    let failure = Failure::usage("the folder for the outputs is this folder itself");
                    return fail(failure.hint("without -o, each output is created next to its input"));
                }
                parts.extend(path.file_name().map(|name| walk::part_of(outputs, name, &open)));
            }
            let (walk, failed) = Walk::new(path, open, parts, self.outputs.clone());
            self.source = Some(Box::new(walk));
            return failed.and_then(fail);
        }
        if is_special(path) {
            let failure = Failure::usage("it is neither a file nor a folder, and reading it may never end");
            return fail(failure.hint("use a run of its own for it, without -r and --files-from"));
        }
        let output = self.outputs.as_ref().map(|outputs| outputs.above(&parts));
        Some(Step::Take(Found { place: Place::input(path), output, chosen: Chosen::Named }))
    }

    /// What the name of an object means: what is below it, with `-r`, or the object. The key's folders are like those of a
    /// path.
    fn begin_object(&mut self, object: ObjectName, is_listed: bool) -> Result<Option<Step>> {
        if self.is_recursive {
            let prefix = object.prefix()?;
            let folders = if is_listed { prefix.folders().to_vec() } else { Vec::new() };
            let mut objects = Objects::new(prefix, &folders, self.outputs.clone())?;
            // A file can be named with `-r`, too, and whoever names one that is not there must hear of it.
            if object.is_prefix() || !objects.is_empty() {
                self.source = Some(Box::new(objects));
                return Ok(None);
            }
        }
        let folders = if is_listed { object.folders() } else { &[] };
        let output = self.outputs.as_ref().map(|outputs| outputs.above_key(folders)).transpose()?;
        Ok(Some(Step::Take(Found { place: Place::Object(object), output, chosen: Chosen::Named })))
    }

    fn seen(&self, seen: Seen) -> Step {
        match seen {
            Seen::File(entry, _) if self.takes == Takes::Sealed && opened_name(entry.name()).is_none() => {
                Step::Skip(Name::of(entry.path()), Why::NotSealed)
            }
            Seen::File(entry, output) => {
                Step::Take(Found { place: Place::Below(entry), output, chosen: Chosen::Found })
            }
            Seen::Object(name, _) if self.takes == Takes::Sealed && name.last().and_then(opened_name).is_none() => {
                Step::Skip(Name::of(name.text()), Why::NotSealed)
            }
            Seen::Object(name, output) => {
                Step::Take(Found { place: Place::Object(name), output, chosen: Chosen::Found })
            }
            Seen::Skipped(path, why) => Step::Skip(Name::of(path), why),
            Seen::Failed(path, failure) => Step::Fail(Name::of(path), failure),
        }
    }

    fn next_of_list(&mut self) -> Option<Option<Step>> {
        match self.list.as_mut()?.next()? {
            // A name in a list is a file, also if it would be stdin on the command line.
            Ok(path) if path.as_os_str() == "-" => Some(self.begin(Path::new("./-"), true)),
            Ok(path) => Some(self.begin(&path, true)),
            Err(failure) => Some(Some(Step::Fail(self.list_name.clone(), failure))),
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let step = self.advance()?;
        let (Some(taken), Step::Take(found)) = (&mut self.taken, &step) else { return Some(step) };
        match found.output_name().is_none_or(|name| taken.add(name.as_os_str())) {
            true => Some(step),
            false => {
                let failure = Failure::new(Exit::Unmet, "another input of this run has the same output");
                Some(Step::Fail(step.name(), failure.hint("use a run of its own for it, with its own -o")))
            }
        }
    }
}

impl Steps {
    fn advance(&mut self) -> Option<Step> {
        loop {
            if let Some(source) = &mut self.source {
                match source.next() {
                    Some(seen) => return Some(self.seen(seen)),
                    None => self.source = None,
                }
            }
            let begun = match self.named.next() {
                Some(path) => self.begin(&path, false),
                None => self.next_of_list()?,
            };
            if begun.is_some() {
                return begun;
            }
        }
    }
}

/// Whether there is a FIFO, a socket or a device. Opening a FIFO waits for the program at its other end.
fn is_special(path: &Path) -> bool {
    let there = std::fs::metadata(path).map(|there| there.file_type());
    there.is_ok_and(|kind| !kind.is_file() && !kind.is_dir())
}

/// The folders of a path from a list, below the top of the output tree. No output leaves the tree.
fn folders_of(path: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for component in path.parent().unwrap_or(Path::new("")).components() {
        match component {
            Component::Normal(name) => parts.push(Part::private(name)),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                let failure = Failure::usage("the path has `..`, which would lead out of the folder for the outputs");
                return Err(failure.hint("list the path without `..`, or leave out -o"));
            }
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_list_stay_below_the_output() {
        let parts = |path: &str| {
            let parts = folders_of(Path::new(path)).ok()?;
            Some(parts.iter().map(|part| part.name.to_str().unwrap().to_owned()).collect::<Vec<_>>().join("/"))
        };
        for (path, expected) in
            [("a", ""), ("./a", ""), ("/a", ""), ("x/y/a", "x/y"), ("/x//y/./a", "x/y"), ("a/..b/c", "a/..b")]
        {
            assert_eq!(parts(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["../a", "x/../a", "/../a", "x/../../etc/a"] {
            assert_eq!(parts(path), None, "{path}");
        }
    }
}
