//! `decrypt`, and `encrypt -d`.

use super::open::Open;
use crate::Result;
use crate::args::{AccountArgs, DecryptArgs, EncryptArgs, OpenArgs};
use crate::escape::Name;
use crate::exit::Exit;
use crate::output::Content;
use crate::plan::{self, Direction, Job};
use crate::report::Done;
use crate::session::{Session, durability};

/// What was worth sealing is not made readable by a download's 0644.
const MODE: u32 = 0o600;

/// Opens each input.
pub(crate) fn run(args: &DecryptArgs, session: &Session) -> Result<Exit> {
    let jobs = plan::jobs(&args.files, Direction::Decrypt)?;
    let inputs: Vec<_> = jobs.iter().map(|job| job.input.clone()).collect();
    let open = Open::new(&args.open, &args.pairs, &inputs, session)?;
    Ok(session
        .each_at_once(&jobs, !args.files.write.no_sync || open.may_call(), Job::place, |job| decrypt(job, args, &open)))
}

fn decrypt(job: &Job, args: &DecryptArgs, open: &Open<'_>) -> Result<Done> {
    let mut input = job.input.open()?;
    let target = plan::target(job, &input, args.files.write.force, &open.forbidden())?;
    let path = target.path().map(Name::of);
    let output = target.open(Content::Plaintext, MODE)?;
    let durability = durability(args.files.write.no_sync);
    let done = open.open_into(&job.input.display(), &mut input, output.sink(durability))?;
    output.commit(durability, &open.session.reporter)?;
    open.session.say_where(job);
    let note = done.key.as_ref().map(|key| format!("{} was opened by {key}", job.input.display()));
    Ok(Done { output: path, note, ..done })
}

impl From<EncryptArgs> for DecryptArgs {
    /// `encrypt -d`: pairs and labels become demands; the suite is the file's.
    fn from(args: EncryptArgs) -> Self {
        let EncryptArgs { keys, pairs, files, suite: _, from_command: _, behind_dashes: _, decrypt, kms } = args;
        Self { open: OpenArgs { keys, kms, accounts: AccountArgs::default() }, pairs, files, decrypt }
    }
}
