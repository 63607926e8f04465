//! `decrypt`, and `encrypt -d`.

use waxseal::engine::Sink;

use super::open::Open;
use crate::Result;
use crate::args::{AccountArgs, DecryptArgs, EncryptArgs, OpenArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::many::{Found, Many, Takes};
use crate::output::{Content, Forbidden};
use crate::place::Place;
use crate::plan::{self, Direction, Job};
use crate::report::Done;
use crate::session::{Session, durability};
use crate::to_command::CommandInput;

/// A decrypted file is for its owner only, even if the sealed file was downloaded with mode 0644.
const MODE: u32 = 0o600;

/// Opens each input.
pub(crate) fn run(args: &DecryptArgs, session: &Session) -> Result<Exit> {
    if args.to_command {
        return to_command(args, session);
    }
    if let Some(many) = Many::of(&args.files.many, &args.files.inputs, Takes::Sealed)? {
        return all(many, args, session);
    }
    let jobs = plan::jobs(&args.files, Direction::Decrypt)?;
    let inputs: Vec<_> = jobs.iter().map(|job| job.input.clone()).collect();
    let open = Open::new(&args.open, &args.pairs, &inputs, session)?;
    Ok(session.each_at_once(&jobs, !args.files.write.no_sync || open.may_call(), Job::place, |job| {
        decrypt(job, args, &open, &Vec::new())
    }))
}

/// Opens each input that is found.
fn all(many: Many, args: &DecryptArgs, session: &Session) -> Result<Exit> {
    let streams = many.streams();
    let open = Open::new(&args.open, &args.pairs, &streams, session)?;
    let is_synced = !args.files.write.no_sync;
    let list: Forbidden = many.forbidden().into_iter().collect();
    let many = many.below(args.files.output.as_deref(), Direction::Decrypt, is_synced)?;
    let claims = |found: &Found| found.claims(Direction::Decrypt);
    let work = |found: &Found| decrypt(&found.job(Direction::Decrypt)?, args, &open, &list);
    many.each(session, is_synced || open.may_call(), Exit::Done, claims, work)
}

fn decrypt(job: &Job, args: &DecryptArgs, open: &Open<'_>, list: &Forbidden) -> Result<Done> {
    opened(job, args, open, list).map_err(|failure| job.without_force(failure, Direction::Decrypt))
}

fn opened(job: &Job, args: &DecryptArgs, open: &Open<'_>, list: &Forbidden) -> Result<Done> {
    if args.files.skip_existing && job.is_done(Direction::Decrypt)? {
        return Ok(Done::skipped(job));
    }
    let input = job.input.open()?;
    if args.files.write.force {
        job.check_replaced(Direction::Decrypt)?;
    }
    let target = plan::target(job, &input, args.files.write.force, &[open.forbidden(), list.clone()].concat())?;
    let output_name = target.name();
    let mut output = target.open(Content::Plaintext, MODE, input.len())?;
    output.keep_time(&job.input, &input);
    let durability = durability(args.files.write.no_sync);
    let done = open.open_into(&job.input.display(), &input, output.sink(durability))?;
    let stored = output.commit(durability, &open.session.reporter)?;
    open.session.say_where(job);
    let note = note(&job.input, &done);
    Ok(Done { output: output_name, note, ..done }.stored(stored))
}

fn note(input: &Place, done: &Done) -> Option<String> {
    done.key.as_ref().map(|key| format!("{} was opened by {key}", input.display()))
}

/// Opens one input into a command.
fn to_command(args: &DecryptArgs, session: &Session) -> Result<Exit> {
    let usage = |what: &str| {
        Failure::usage(format!("--to-command {what}")).hint("waxseal decrypt --to-command IN -- CMD ARG...")
    };
    let input = match args.files.inputs.as_slice() {
        // A command without `--` before it would lose its options to this program.
        _ if args.behind_dashes.is_empty() => return Err(usage("needs a command after `--`")),
        [] => Place::Stream,
        [input] => Place::input(input),
        _ => return Err(usage("takes one input, and the command after `--`")),
    };
    let open = Open::new(&args.open, &args.pairs, std::slice::from_ref(&input), session)?;
    let opened = input.open().and_then(|file| {
        let mut command = CommandInput::new(&args.behind_dashes);
        let opened = open.open_into(&input.display(), &file, Sink::Stream(&mut command));
        command.finish(opened, &session.reporter)
    });
    let opened = opened.map(|done| Done { note: note(&input, &done), ..done });
    Ok(session.reporter.finished(Some(&input.name()), opened))
}

impl From<EncryptArgs> for DecryptArgs {
    /// `encrypt -d`: pairs and labels become demands. The suite comes from the file.
    fn from(args: EncryptArgs) -> Self {
        let EncryptArgs { keys, pairs, files, behind_dashes, decrypt, kms, .. } = args;
        let open = OpenArgs { keys, kms, accounts: AccountArgs::default() };
        Self { open, pairs, files, to_command: false, behind_dashes, decrypt }
    }
}
