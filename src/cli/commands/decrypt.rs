//! `decrypt`, and `encrypt -d`.

use super::open::Open;
use crate::cli::Result;
use crate::cli::args::{DecryptArgs, EncryptArgs};
use crate::cli::escape;
use crate::cli::exit::Exit;
use crate::cli::output::Content;
use crate::cli::plan::{self, Direction, Job};
use crate::cli::report::Done;
use crate::cli::session::{Session, durability};

/// What was worth sealing is not made readable by a download's 0644.
const MODE: u32 = 0o600;

/// Opens each input.
pub(crate) fn run(args: &DecryptArgs, session: &Session) -> Result<Exit> {
    let jobs = plan::jobs(&args.files, Direction::Decrypt)?;
    let open = Open::new(&args.keys, &args.pairs, session)?;
    Ok(session.each(&jobs, |job| job.input.display(), |job| decrypt(job, args, &open)))
}

fn decrypt(job: &Job, args: &DecryptArgs, open: &Open<'_>) -> Result<Done> {
    let mut input = job.input.open()?;
    let target = plan::target(job, &input, args.files.force, &open.forbidden())?;
    let path = target.path().map(escape::path);
    let mut output = target.open(Content::Plaintext, MODE)?;
    let durability = durability(args.files.no_sync);
    let opened = open.into_sink(&job.input.display(), &mut input, output.sink(durability))?;
    output.commit(durability)?;
    open.session.say_where(job);
    let note = Some(format!("{} was opened by {}", job.input.display(), opened.key));
    Ok(Done { bytes: Some(opened.plaintext_len), key: Some(opened.key), output: path, note, ..Done::default() })
}

impl From<EncryptArgs> for DecryptArgs {
    /// `encrypt -d`: pairs and labels become demands; the suite is the file's.
    fn from(args: EncryptArgs) -> Self {
        let EncryptArgs { keys, pairs, files, suite: _, from_command: _, decrypt } = args;
        Self { keys, pairs, files, decrypt }
    }
}
