//! `rewrap`: changes the keys of files without changing payloads, and repairs headers.

mod keys;
mod new_key;
mod seen;
mod told;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use waxseal::Error;
use waxseal::format::{FRONT_LEN, Header, Sharing, Slot};
use waxseal::io::{Destination, DestinationError};
use waxseal::keys::KeyOpener;
use waxseal::rewrap::{DiskFile, InPlace, Plan, Report, Request, rewrap_stream};

use self::keys::Keys;
use self::seen::Seen;
use crate::Result;
use crate::args::RewrapArgs;
use crate::clock::{Began, Spent};
use crate::escape::{self, Name};
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::folder::open_regular;
use crate::input::Identity;
use crate::many::{Found, Many, Takes};
use crate::output::{Content, foreign_link};
use crate::parallel::{self, Common};
use crate::place::Place;
use crate::plan::{self, Job};
use crate::progress::Count;
use crate::prompt;
use crate::report::{Done, Reporter};
use crate::session::{Session, durability};
use crate::signals::{self, Registered};
use crate::store::ObjectName;

/// Rewraps each input, or a copy of the one.
pub(crate) fn run(args: &RewrapArgs, session: &Session) -> Result<Exit> {
    let inputs: Vec<Place> = args.inputs.iter().map(|name| Place::input(name)).collect();
    let many = Many::of(&args.many, &args.inputs, Takes::Sealed)?;
    check(args, &inputs, many.is_some())?;
    let keys = Keys::load(args, &many.as_ref().map_or(inputs.clone(), Many::streams), session)?;
    let new_keys = keys.new_keys();
    let request = keys.request(&new_keys);
    let rewrap = Rewrap { args, request, openers: keys.openers(), keys: &keys, remark: OnceLock::new() };
    let exit = match (&args.output, inputs.as_slice()) {
        (Some(output), [input]) => {
            let job = Job::named(input.clone(), Place::output(output));
            let (result, warnings) = rewrap.copy(&job, &keys, &session.reporter);
            warnings.iter().for_each(|warning| session.reporter.warn(warning));
            let result = result.map(|done| keys.with_materials(done));
            session.reporter.finished(Some(&input.name()), result)
        }
        _ => match many {
            Some(many) => rewrap.found(many, session)?,
            None => rewrap.all(&inputs, session),
        },
    };
    if let Some(remark) = rewrap.remark.get().filter(|_| session.reporter.is_watched()) {
        session.reporter.remark(remark);
    }
    Ok(exit)
}

/// The inputs, grouped by the actual file. If a file is named twice, it is processed once. Otherwise `--remove slot:0`
/// would remove two slots.
fn by_file(inputs: &[Place]) -> Vec<Vec<&Place>> {
    let mut files: Vec<Vec<&Place>> = Vec::new();
    let mut known = HashMap::new();
    for input in inputs {
        let next = files.len();
        let place = input.identity().map_or(next, |identity| *known.entry(identity).or_insert(next));
        match files.get_mut(place) {
            Some(names) => names.push(input),
            None => files.push(vec![input]),
        }
    }
    files
}

/// Whether two names with the same identity name the same file or object.
fn are_one(one: &Place, other: &Place) -> bool {
    match (one.path(), other.path()) {
        (Some(one), Some(other)) => have_one_front(one, other),
        _ => one == other,
    }
}

/// Whether a change of one file also changes the other. Some network and user-space file systems give the same number
/// to two files, and such a file must not be left out.
pub(super) fn have_one_front(one: &Path, other: &Path) -> bool {
    // Anything can have taken the place of a file by now, also a FIFO.
    let front = |path: &Path| -> std::io::Result<_> {
        let file = open_regular(path)?;
        let (identity, mut front) = (Identity::of(&file.metadata()?), Vec::new());
        file.take(FRONT_LEN as u64).read_to_end(&mut front)?;
        Ok((identity, front))
    };
    matches!((front(one), front(other)), (Ok(one), Ok(other)) if one == other)
}

/// Checks the arguments without looking at the files' content.
fn check(args: &RewrapArgs, inputs: &[Place], is_many: bool) -> Result<()> {
    if args.output.is_some() && (inputs.len() > 1 || is_many) {
        return Err(
            Failure::usage("several inputs cannot go to one output").hint("without -o, each file is changed in place")
        );
    }
    if args.output.is_none() && inputs.contains(&Place::Stream) {
        return Err(never_in_place());
    }
    Ok(())
}

fn never_in_place() -> Failure {
    Failure::usage("stdin cannot be changed in place").hint("write a copy with the new keys with -o OUT")
}

/// What was done with a file, what is known of it, and what a store says about it.
type Changed = (Report, Evidence, Option<Value>);

/// The result for one input, and what was wrong with it before.
type Told = (Result<Done>, Vec<String>);

/// Data shared by all inputs.
struct Rewrap<'a> {
    args: &'a RewrapArgs,
    request: Request<'a>,
    openers: Vec<&'a dyn KeyOpener>,
    keys: &'a Keys<'a>,
    /// What a person must know of the keys that a file has now, and did not have together before.
    remark: OnceLock<&'static str>,
}

impl Rewrap<'_> {
    /// Processes several inputs at once, and reports each when it is finished.
    fn all(&self, inputs: &[Place], session: &Session) -> Exit {
        let count = Count::new(session.progress, Some(inputs.len()));
        let mut summary = told::Summary::default();
        let mut exit = Exit::Done;
        let work = |names: &Vec<&Place>, tell: &mut dyn FnMut((Name, Spent, Told))| self.file(names, tell);
        parallel::over(session.at_once(true), &by_file(inputs), work, |(file, spent, (result, warnings))| {
            summary.add(&result);
            let result = result.map(|done| told::audible(self.keys.with_materials(done), &session.reporter));
            exit = exit.graver(count.finished(|| {
                warnings.iter().for_each(|warning| session.reporter.warn(&format!("{file}: {warning}")));
                session.reporter.finished_in(spent, Some(&file), result)
            }));
        });
        count.end();
        if inputs.len() > 1 && session.reporter.is_watched() {
            session.reporter.remark(&summary.to_string());
        }
        exit
    }

    /// Processes what is found, and each file once.
    fn found(&self, many: Many, session: &Session) -> Result<Exit> {
        let seen = Seen::default();
        let claims = |found: &Found| {
            let file = found.place.identity().and_then(Common::of);
            parallel::in_common(&found.place, Some(&found.place)).into_iter().chain(file).collect()
        };
        let work = |found: &Found| {
            if let Some(first) = seen.before(&found.place) {
                return Ok(told::same_file(&found.place.name(), &first));
            }
            let (result, warnings) = self.in_place(&found.place);
            warnings.iter().for_each(|warning| session.reporter.warn(warning));
            if result.as_ref().is_ok_and(|done| done.shortfall.is_none()) {
                seen.remember(&found.place);
            }
            result.map(|done| told::audible(self.keys.with_materials(done), &session.reporter))
        };
        many.each(session, true, Exit::Done, claims, work)
    }

    /// One file, by all of its names.
    fn file(&self, names: &[&Place], tell: &mut dyn FnMut((Name, Spent, Told))) {
        let Some((place, again)) = names.split_first() else { return };
        let name = place.display();
        let began = Began::now();
        let told = self.in_place(place);
        let spent = began.spent();
        let again: Vec<_> = again
            .iter()
            .map(|further| {
                let further_name = further.display();
                let began = Began::now();
                let told = if are_one(place, further) {
                    (told::again(&further_name, &name, &told.0), Vec::new())
                } else {
                    self.in_place(further)
                };
                (further.name(), began.spent(), told)
            })
            .collect();
        tell((place.name(), spent, told));
        again.into_iter().for_each(tell);
    }

    fn in_place(&self, place: &Place) -> Told {
        let name = place.display();
        let mut repaired = None;
        let changed = match place {
            Place::Path(path) => input_at(path).and_then(|there| self.change(there, &name, &mut repaired)),
            Place::Below(entry) => {
                let there = entry.destination().map_err(|error| Failure::io("looking at the input", error));
                there.and_then(|there| self.change(there, &name, &mut repaired))
            }
            Place::Object(object) => self.change_object(object),
            Place::Stream => Err(never_in_place()),
        };
        match changed {
            Ok((report, evidence, stored)) => {
                let mut warnings = told::warnings(&report, repaired.as_ref());
                warnings.extend(repaired.iter().flat_map(told::Repaired::warnings));
                (Ok(told::done(&name, &report, evidence, repaired.as_ref()).stored(stored)), warnings)
            }
            Err(failure) => match &repaired {
                Some(repaired) => (Ok(told::cut_short(&name, repaired, hinted(failure))), Vec::new()),
                None => (Err(hinted(failure)), Vec::new()),
            },
        }
    }

    /// `repaired` describes the bytes that a repair overwrote or may have overwritten. It is reported even if a later
    /// step fails.
    fn change(&self, there: Destination, name: &str, repaired: &mut Option<told::Repaired>) -> Result<Changed> {
        let file = DiskFile::at(there)?.with_temporaries(Arc::new(Registered));
        let mut file = InPlace::begin(file)?;
        let warnings = file.header().warnings();
        let repair = if self.args.repair { Some(file.plan_repair(&self.openers)?) } else { None };
        // All checks come before the first write. The plan stays valid, because a repair changes no slot.
        let plan = self.plan(file.header(), name)?;
        let evidence = Evidence::of(&file.header().bank().binding, plan.slots());
        let repairs = repair.as_ref().map(|repair| file.repair_copies(repair)).transpose()?.unwrap_or(false);
        if repairs || file.copies(&plan)? {
            self.see_that_it_is_whole(&mut file)?;
        }
        if let Some(plan) = repair.filter(|repair| !repair.replaced.is_empty()) {
            let kept = file.keep_replaced(&plan)?;
            file = file.repair(&repaired.insert(told::Repaired { plan, kept }).plan)?;
        }
        let mut report = file.apply(&plan)?;
        report.warnings = warnings;
        Ok((report, evidence, None))
    }

    /// The store changes the header. The rest of the object does not come to this machine.
    fn change_object(&self, object: &ObjectName) -> Result<Changed> {
        if self.args.repair {
            let failure = Failure::usage("an object in a store cannot be repaired in its place");
            return Err(failure.hint("copy it to a file, repair the file, and copy it back"));
        }
        let mut evidence = Evidence::default();
        let (report, stored) = object.rewrap(&mut |header| {
            let plan = self.plan(header, &escape::os(object.text()))?;
            evidence = Evidence::of(&header.bank().binding, plan.slots());
            Ok(plan)
        })?;
        Ok((report, evidence, stored))
    }

    /// A new file will replace this one, so no other program may be writing it.
    fn see_that_it_is_whole(&self, file: &mut InPlace<DiskFile>) -> Result<()> {
        if self.args.yes {
            file.vouch();
        } else if !self.openers.is_empty() {
            match file.prove_end(&self.openers) {
                Ok(()) | Err(Error::NoKey(_)) => {}
                Err(error @ Error::Tampered(_)) => {
                    let hint = "the file must be copied, but its end does not authenticate: it is damaged or still being \
                                written; --yes copies it as it is";
                    return Err(Failure { hint: Some(hint.into()), ..error.into() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if file.is_settled() {
            return Ok(());
        }
        let what = "the file must be copied, but it may still be in use: a program has it open, or wrote \
                    to it a moment ago";
        let hint = "try again when no program has it open and 10 s after the last write; a key (--allow-unwrap -k KEY) proves \
                    that it is complete, and --yes continues without a proof";
        Err(Failure::new(Exit::Io, what).hint(hint))
    }

    /// Makes a copy of one input with the requested keys.
    fn copy(&self, job: &Job, keys: &Keys<'_>, reporter: &Reporter) -> Told {
        match self.copied(job, keys, reporter) {
            Ok(((report, evidence, stored), output)) => {
                let done = told::done(&job.input.display(), &report, evidence, None).stored(stored);
                (Ok(Done { output, stdout: None, ..done }), told::warnings(&report, None))
            }
            Err(failure) => (Err(hinted(failure)), Vec::new()),
        }
    }

    fn copied(&self, job: &Job, keys: &Keys<'_>, reporter: &Reporter) -> Result<(Changed, Option<Name>)> {
        let input = job.input.open()?;
        let target = plan::target(job, &input, self.args.write.force, &keys.forbidden())?;
        let mode = target.sealed_mode(&input);
        let name = target.name();
        let mut output = target.open(Content::Ciphertext, mode, input.len())?;
        let mut held = Held { inner: output.writer(), last: Vec::new() };
        let mut evidence = Evidence::default();
        let report = rewrap_stream(&mut input.stream(), &mut held, |header| {
            let plan = self.plan(header, &job.input.display())?;
            evidence = Evidence::of(&header.bank().binding, plan.slots());
            Ok(plan)
        })?;
        drop(held);
        input.check_unchanged()?;
        let stored = output.commit(durability(self.args.write.no_sync), reporter)?;
        Ok(((report, evidence, stored), name))
    }

    /// Asks the user first, and then the key services.
    fn plan(&self, header: &Header, file: &str) -> waxseal::Result<Plan> {
        let changes = self.request.to.is_some() || !self.request.add.is_empty() || !self.request.remove.is_empty();
        if changes && header.bank().binding.sharing == Sharing::Shared && !self.args.yes {
            confirm_shared(file)?;
        }
        let plan = self.request.plan(header.bank())?;
        let remark = |slots: &[Slot]| crate::keys::remark(slots.iter().map(|slot| slot.kind));
        if let (None, Some(remark)) = (remark(&header.bank().slots), remark(plan.slots())) {
            self.remark.get_or_init(|| remark);
        }
        Ok(plan)
    }
}

/// Holds back the last bytes until the end of the stream is known, so that a truncated stream does not look complete.
struct Held<W> {
    inner: W,
    last: Vec<u8>,
}

impl<W: Write> Write for Held<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(&self.last)?;
        self.last.clear();
        self.last.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Only at the end of the stream.
    fn flush(&mut self) -> io::Result<()> {
        signals::check();
        self.inner.write_all(&self.last)?;
        self.last.clear();
        self.inner.flush()
    }
}

/// If the file's slots do not allow the change, the hint names the slots. If no key opens it, the hint names the option:
/// `--from` alone opens nothing.
fn hinted(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NoKey => {
            failure.hint("name a key that opens the file with -k; --from and --remove only name the keys to remove")
        }
        Exit::Usage => {
            failure.hint("`waxseal inspect` shows the file's slots; --from and --remove take a KEY or slot:N of them")
        }
        _ => failure,
    }
}

fn confirm_shared(file: &str) -> waxseal::Result<()> {
    let what = "this file shares its data key with other files, and their keys do not change";
    match prompt::confirm(&format!("{file}: {what}. Continue?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::Invalid("not confirmed".into())),
        None => Err(Error::Invalid(format!("{what}: confirm with --yes"))),
    }
}

/// The actual path of the file. Another user's link could lead to any other file.
fn input_at(path: &Path) -> Result<Destination> {
    Destination::at(path).map_err(|error| match error {
        DestinationError::ForeignLink { link, owner } => foreign_link(&link, owner),
        other => Error::from(other).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_does_not_make_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other, missing] = ["one", "other", "missing"].map(|name| folder.path().join(name));
        std::fs::write(&one, vec![1; FRONT_LEN + 1]).unwrap();
        std::fs::hard_link(&one, &other).unwrap();
        assert!(have_one_front(&one, &other));
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&other, vec![1; FRONT_LEN - 1]).unwrap();
        assert!(!have_one_front(&one, &other));
        assert!(!have_one_front(&missing, &missing));
        // Nobody ever writes into it.
        assert!(std::process::Command::new("mkfifo").arg(&missing).status().unwrap().success());
        assert!(!have_one_front(&missing, &one));
    }
}
