//! `encrypt`.

use std::io;
use std::path::Path;

use waxseal::engine::{Sealed, Source};
use waxseal::{Envelope, SealOptions};

use crate::Result;
use crate::args::{EncryptArgs, Reading};
use crate::escape::{self, Name};
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::from_command::CommandOutput;
use crate::input;
use crate::keys::{Cloud, Envelopes, KeySpec, Keyring, Next, Sealers, Sealing, Turn};
use crate::many::{Found, Many, Takes};
use crate::once;
use crate::output::{Content, Forbidden, Output, Target};
use crate::place::Place;
use crate::plan::{self, Chosen, Direction, Job, Naming};
use crate::progress::Watch;
use crate::report::Done;
use crate::session::{Session, durability};
use crate::walk::Why;

/// Seals each input.
pub(crate) fn run(args: &EncryptArgs, session: &Session) -> Result<Exit> {
    let keys = Sealing::named(&args.keys)?;
    let options = SealOptions::new()
        .with_suite(args.suite.into())
        .with_context(plan::context(&args.pairs)?)
        .with_labels(plan::labels(&args.pairs)?);
    let many = Many::of(&args.files.many, &args.files.inputs, Takes::Any)?;
    let is_planned = !args.from_command && many.is_none();
    let jobs = if is_planned { plan::jobs(&args.files, Direction::Encrypt)? } else { Vec::new() };
    // The command reads stdin, after the keys.
    let inputs =
        jobs.iter().map(|job| job.input.clone()).chain(many.iter().flat_map(Many::streams)).collect::<Vec<_>>();
    once::check(&inputs, keys.specs())?;
    check_reading(args.reading, &inputs)?;
    let mut forbidden = keys.forbidden();
    let command = args.from_command.then(|| command_target(args, &forbidden)).transpose()?;
    let cloud = Cloud::new(&args.kms)?;
    let sealers = keys.load(&Keyring { cloud: &cloud, reporter: &session.reporter })?;
    let named: Option<Vec<String>> = keys.specs().iter().map(option_of).collect();
    let envelopes = Envelopes::new(&sealers, &options, &cloud);
    let envelopes = if args.one_data_key { envelopes.sharing()? } else { envelopes };
    let named = named.map(|named| named.join(" "));
    forbidden.extend(many.iter().filter_map(Many::forbidden));
    let seal = Seal { args, cloud: &cloud, sealers: &sealers, envelopes, forbidden, named, session };
    let waits = !args.files.write.no_sync || keys.specs().iter().any(|key| key.turn() != Turn::Local);
    if let Some(many) = many {
        let many = many.below(args.files.output.as_deref(), Direction::Encrypt, !args.files.write.no_sync)?;
        let claims = |found: &Found| found.claims(Direction::Encrypt);
        return many.each(session, waits, Exit::Done, claims, |found| seal.file(&found.job(Direction::Encrypt)?));
    }
    Ok(match command {
        Some(target) => {
            let file = input::stdin_name().or_else(|| args.behind_dashes.first().map(Name::of));
            session.reporter.finished(file.as_ref(), seal.command(target))
        }
        None => session.each_at_once(&jobs, waits, Job::place, |job| seal.file(job)),
    })
}

/// A key as an option of a command to be pasted. `None` if the name of its file cannot be shown as it is.
fn option_of(key: &KeySpec) -> Option<String> {
    let is_shown = key.path().is_none_or(|(path, _)| escape::pasted(path).is_some());
    is_shown.then(|| format!("-k {}", escape::word(&key.to_string())))
}

/// What is no file is refused before any work.
fn check_reading(reading: Reading, inputs: &[Place]) -> Result<()> {
    if reading == Reading::Map && inputs.contains(&Place::Stream) {
        return Err(Failure::usage("stdin cannot be mapped").hint("read it with --input read"));
    }
    Ok(())
}

/// The output of `--from-command`.
fn command_target(args: &EncryptArgs, forbidden: &Forbidden) -> Result<Target> {
    // Without `--` before the command, this program would take the command's options.
    if !args.files.inputs.is_empty() || args.behind_dashes.is_empty() {
        let failure = Failure::usage("--from-command needs a command after `--` and no other input");
        return Err(failure.hint("waxseal encrypt -k KEY -o OUT --from-command -- CMD ARG..."));
    }
    let output = args.files.output.as_ref().map_or(Place::Stream, |name| Place::output(name));
    Target::at(&output, plan::overwrite(args.files.write.force), forbidden)
}

/// What happened to the output of a command that failed.
fn hint(output: &Output, path: Option<&str>) -> String {
    match output.is_direct() {
        // Whoever reads a stream may have got some of it. The last chunk was withheld: it is seen not to be whole.
        true => format!("the output in {} is incomplete, and no reader accepts it", path.unwrap_or("stdout")),
        false => "nothing was written".into(),
    }
}

/// Data shared by all inputs.
struct Seal<'a> {
    args: &'a EncryptArgs,
    cloud: &'a Cloud,
    sealers: &'a Sealers,
    envelopes: Envelopes<'a>,
    forbidden: Forbidden,
    /// The keys as options of a command to be pasted, if they can be.
    named: Option<String>,
    session: &'a Session,
}

impl Seal<'_> {
    fn file(&self, job: &Job) -> Result<Done> {
        self.sealed(job).map_err(|failure| job.without_force(failure, Direction::Encrypt))
    }

    fn sealed(&self, job: &Job) -> Result<Done> {
        if self.args.files.skip_existing && job.is_done(Direction::Encrypt)? {
            return Ok(Done::skipped(job));
        }
        let input = job.input.open()?;
        if input.is_dir() {
            return Err(self.is_folder(&job.input));
        }
        if job.chosen == Chosen::Found && job.input.last().is_some_and(|name| input.is_sealed(name)) {
            return Ok(self.is_sealed_already(job));
        }
        if self.args.files.write.force {
            job.check_replaced(Direction::Encrypt)?;
        }
        let mut supply = input.supply_by(self.args.reading)?;
        let target = plan::target(job, &input, self.args.files.write.force, &self.forbidden)?;
        let mode = target.sealed_mode(&input);
        let name = target.name();
        let mut output = target.open(Content::Ciphertext, mode, input.len())?;
        output.keep_time(&job.input, &input);
        self.cloud.forget();
        let next = self.envelopes.next()?;
        let watch = Watch::new(self.session.progress_of_one(), &job.input.display());
        let sealed = match self.session.turn_of(&input) {
            None => self.seal(watch, supply.source(), &mut output, || next.envelope())?,
            Some(turn) => {
                // The key comes first: nobody waits for a key service while others wait for the turn.
                let envelope = next.envelope()?;
                let _taken = turn.take();
                self.seal(watch, supply.source(), &mut output, || Ok(envelope))?
            }
        };
        let stored = output.commit(durability(self.args.files.write.no_sync), &self.session.reporter)?;
        self.session.say_where(job);
        Ok(self.done(sealed, next, name).of(&input).stored(stored))
    }

    /// Whoever looks for it in the tree of the outputs later must know why it is not there.
    fn is_sealed_already(&self, job: &Job) -> Done {
        let name = job.input.name();
        let done = Done::left_out(&name, Why::Sealed);
        if job.naming != Naming::Below {
            return done;
        }
        self.session.reporter.remark(&format!("{name}: skipped: {}", Why::Sealed.text()));
        Done { note: None, ..done }
    }

    /// The hint is the line that seals the folder with the same keys. It notices if tar fails. A name that cannot be shown
    /// as it is cannot be pasted: then the hint has words in its place.
    fn is_folder(&self, input: &Place) -> Failure {
        let failure = Failure::io("reading the input", io::ErrorKind::IsADirectory.into());
        let folder = match input {
            Place::Path(folder) => folder.to_str().map(|name| Path::new(name.trim_end_matches('/'))),
            Place::Stream | Place::Below(_) | Place::Object(_) => None,
        };
        failure.hint(match (&self.named, folder.and_then(escape::pasted)) {
            (Some(keys), Some(folder)) => format!(
                "pack the folder first: `waxseal encrypt {keys} -o {folder}.tar.wax --from-command -- tar -c {folder}`"
            ),
            _ => "pack the folder first: `waxseal encrypt -k KEY -o FOLDER.tar.wax --from-command -- tar -c FOLDER`"
                .into(),
        })
    }

    fn command(&self, target: Target) -> Result<Done> {
        let command = &self.args.behind_dashes;
        let output_name = target.name();
        // The output is opened first, because without an output no input is needed.
        let mut output = target.open(Content::Ciphertext, 0o600, None)?;
        // The key is next, so that a refusal is reported at once and the command does not run in vain.
        let next = self.envelopes.next()?;
        let envelope = next.envelope()?;
        let mut child = CommandOutput::start(command)?;
        let name = command.first().map(|word| escape::os(word)).unwrap_or_default();
        let watch = Watch::new(self.session.progress, &name);
        let sealed = self.seal(watch, Source::Stream(&mut child), &mut output, || Ok(envelope));
        // Its failure comes to the engine as a read error, and tells less there.
        let sealed = child
            .failure()
            .map_or(sealed, |failure| Err(failure.hint(hint(&output, output_name.as_ref().map(Name::text)))))?;
        let stored = output.commit(durability(self.args.files.write.no_sync), &self.session.reporter)?;
        Ok(self.done(sealed, next, output_name).stored(stored))
    }

    fn seal(
        &self,
        watch: Watch<'_>,
        source: Source<'_>,
        output: &mut Output,
        envelope: impl FnOnce() -> waxseal::Result<Envelope> + Send,
    ) -> Result<(Sealed, Evidence)> {
        let sink = output.sink(durability(self.args.files.write.no_sync));
        let mut evidence = Evidence::default();
        let envelope = || envelope().inspect(|envelope| evidence = Evidence::sealed(envelope));
        let sealed = self.session.engine.seal(source, sink, envelope, &watch);
        watch.finish();
        let sealed = sealed?;
        let evidence = evidence.with_lengths(Some(sealed.plaintext_len), Some(sealed.file_len));
        Ok((sealed, evidence))
    }

    fn done(&self, (sealed, evidence): (Sealed, Evidence), next: Next<'_, '_>, output: Option<Name>) -> Done {
        let keys = self.sealers.names().join(", ");
        let note = output.as_ref().map(|output| format!("created {output} for {keys}"));
        let (request_id, key_material_id) = next.answered();
        let bytes = Some(sealed.plaintext_len);
        Done { bytes, key: Some(keys), output, request_id, key_material_id, evidence, note, ..Done::default() }
    }
}
