//! `encrypt`.

use waxseal::engine::{Sealed, Source};
use waxseal::{Envelope, SealOptions};

use crate::Result;
use crate::args::EncryptArgs;
use crate::escape::{self, Name};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::from_command::CommandOutput;
use crate::keys::{Cloud, Keyring, Sealers, Sealing, Turn};
use crate::once;
use crate::output::{Content, Forbidden, Output, Target};
use crate::plan::{self, Direction, Job};
use crate::progress::Watch;
use crate::report::Done;
use crate::session::{Session, durability};

/// Seals each input.
pub(crate) fn run(args: &EncryptArgs, session: &Session) -> Result<Exit> {
    let keys = Sealing::named(&args.keys)?;
    let options = SealOptions::new()
        .with_suite(args.suite.into())
        .with_context(plan::context(&args.pairs)?)
        .with_labels(plan::labels(&args.pairs)?);
    let jobs = if args.from_command { Vec::new() } else { plan::jobs(&args.files, Direction::Encrypt)? };
    // A command reads its own stdin, after the keys.
    let inputs: Vec<_> = jobs.iter().map(|job| job.input.clone()).collect();
    once::check(&inputs, keys.specs())?;
    let forbidden = keys.forbidden();
    let command = args.from_command.then(|| command_target(args, &forbidden)).transpose()?;
    let cloud = Cloud::new(&args.kms)?;
    let sealers = keys.load(&Keyring { cloud: &cloud, reporter: &session.reporter })?;
    if let Some(remark) = sealers.remark().filter(|_| session.reporter.is_watched()) {
        session.reporter.remark(remark);
    }
    let seal = Seal { args, options, cloud, sealers, forbidden, session };
    let waits = !args.files.write.no_sync || keys.specs().iter().any(|key| key.turn() != Turn::Local);
    Ok(match command {
        Some(target) => {
            let file = args.behind_dashes.first().map(Name::of);
            session.reporter.finished(file.as_ref(), seal.command(target))
        }
        None => session.each_at_once(&jobs, waits, Job::place, |job| seal.file(job)),
    })
}

/// The output of `--from-command` must be able to be nothing at all.
fn command_target(args: &EncryptArgs, forbidden: &Forbidden) -> Result<Target> {
    // A command without `--` before it would lose its options to this program.
    if !args.files.inputs.is_empty() || args.behind_dashes.is_empty() {
        let failure = Failure::usage("--from-command needs a command after `--` and no other input");
        return Err(failure.hint("waxseal encrypt -k KEY -o OUT --from-command -- CMD ARG..."));
    }
    let output = args.files.output.as_deref().unwrap_or("-".as_ref());
    match Target::at(output, plan::overwrite(args.files.write.force), forbidden)? {
        Target::Stdout => Err(Failure::usage("--from-command cannot write to stdout")
            .hint("name a file with -o: if the command fails, there must be no output")),
        target => Ok(target),
    }
}

/// What has become of the output of a command that failed.
fn hint(output: &Output, path: Option<&str>) -> String {
    match (output, path) {
        // What reads a FIFO may have got some of it, and sees from its end that it is not whole.
        (Output::Stream(_), Some(path)) => {
            format!(
                "the output in {path} is incomplete, and no reader accepts it; the command's own messages are above"
            )
        }
        _ => "nothing was written; the command's own messages are above".into(),
    }
}

/// What all inputs share.
struct Seal<'a> {
    args: &'a EncryptArgs,
    options: SealOptions,
    cloud: Cloud,
    sealers: Sealers,
    forbidden: Forbidden,
    session: &'a Session,
}

impl Seal<'_> {
    fn file(&self, job: &Job) -> Result<Done> {
        let input = job.input.open()?;
        let target = plan::target(job, &input, self.args.files.write.force, &self.forbidden)?;
        let mode = target.sealed_mode(&input);
        let path = target.path().map(Name::of);
        let output = target.open(Content::Ciphertext, mode)?;
        let (sealers, options) = (&self.sealers, &self.options);
        self.cloud.forget();
        let watch = Watch::new(self.session.progress_of(&input), &job.input.display());
        let sealed = match self.session.turn_of(&input) {
            None => self.seal(watch, input.source(), &output, || sealers.envelope(options))?,
            Some(turn) => {
                // The key is had before: the turn is too dear to wait for a key service in it.
                let envelope = sealers.envelope(options)?;
                let _taken = turn.take();
                self.seal(watch, input.source(), &output, || Ok(envelope))?
            }
        };
        output.commit(durability(self.args.files.write.no_sync), &self.session.reporter)?;
        self.session.say_where(job);
        Ok(self.done(&sealed, path))
    }

    fn command(&self, target: Target) -> Result<Done> {
        let command = &self.args.behind_dashes;
        let path = target.path().map(Name::of);
        // The output comes first: what cannot be written need not be produced.
        let output = target.open(Content::Ciphertext, 0o600)?;
        // Then the key, so that a refusal is told at once, and no command runs for nothing.
        let envelope = self.sealers.envelope(&self.options)?;
        let mut child = CommandOutput::start(command)?;
        let name = command.first().map(|word| escape::os(word)).unwrap_or_default();
        let watch = Watch::new(self.session.progress, &name);
        let sealed = self.seal(watch, Source::Stream(&mut child), &output, || Ok(envelope));
        // Its failure comes to the engine as a read error, and tells less there.
        let sealed = child
            .failure()
            .map_or(sealed, |failure| Err(failure.hint(hint(&output, path.as_ref().map(Name::text)))))?;
        output.commit(durability(self.args.files.write.no_sync), &self.session.reporter)?;
        Ok(self.done(&sealed, path))
    }

    fn seal(
        &self,
        watch: Watch<'_>,
        source: Source<'_>,
        output: &Output,
        envelope: impl FnOnce() -> waxseal::Result<Envelope> + Send,
    ) -> Result<Sealed> {
        let sink = output.sink(durability(self.args.files.write.no_sync));
        let sealed = self.session.engine.seal(source, sink, envelope, &watch);
        watch.finish();
        Ok(sealed?)
    }

    fn done(&self, sealed: &Sealed, output: Option<Name>) -> Done {
        let keys = self.sealers.names().join(", ");
        let note = output.as_ref().map(|output| format!("created {output} for {keys}"));
        let (request_id, key_material_id) = self.cloud.answered();
        let bytes = Some(sealed.plaintext_len);
        Done { bytes, key: Some(keys), output, request_id, key_material_id, note, ..Done::default() }
    }
}
