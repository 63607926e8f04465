//! From parsed arguments to jobs: each input with its output. Errors that need no access to files are reported here,
//! before any job begins.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use waxseal::Demands;
use waxseal::container::Layout;
use waxseal::format::Pairs;

use super::Result;
use super::args::{FileArgs, PairArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::input::Input;
use super::output::{Forbidden, Overwrite, Target};
use super::place::Place;
use super::streams;

/// The direction of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Appends `.wax`.
    Encrypt,
    /// Removes `.wax`.
    Decrypt,
}

/// One input and its output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The input.
    pub(crate) input: Place,
    /// The output.
    pub(crate) output: Place,
    /// Whether the output's name was derived from the input's name.
    pub(crate) naming: Naming,
    /// Who chose the input.
    pub(crate) chosen: Chosen,
}

impl Job {
    /// The user named both.
    pub(crate) fn named(input: Place, output: Place) -> Self {
        Self { input, output, naming: Naming::Given, chosen: Chosen::Named }
    }

    /// Whether the output is there already. It appears only when it is complete.
    ///
    /// An empty one may be only a name: where a file system cannot name a file without replacing another one, a power
    /// cut can leave it. It counts only if it is all that there is to decrypt.
    ///
    /// # Errors
    /// The output of `encrypt` is there, but it is not a sealed file. So the input was not sealed. An output that cannot be
    /// read counts as sealed.
    pub(crate) fn is_done(&self, direction: Direction) -> Result<bool> {
        match (direction, self.output.whole_len()) {
            (_, None) => Ok(false),
            (Direction::Decrypt, Some(len)) => Ok(len > 0 || self.opens_to_nothing()),
            (Direction::Encrypt, Some(0)) => Ok(false),
            (Direction::Encrypt, Some(_)) if self.has_sealed_output() == Some(false) => {
                Err(self.output_is_not_sealed())
            }
            (Direction::Encrypt, Some(_)) => Ok(true),
        }
    }

    /// Whether the output is a sealed file. `None` if it cannot be read.
    fn has_sealed_output(&self) -> Option<bool> {
        let (output, name) = (self.output.open_whole()?, self.output.last()?);
        output.whether_sealed(name).ok()
    }

    fn output_is_unread(&self) -> Failure {
        let output = self.output.display();
        let failure = format!("the output {output} exists, and cannot be read: it may be a file that is not sealed");
        Failure::new(Exit::Io, failure).hint("remove that file, or name another output with -o")
    }

    fn output_is_not_sealed(&self) -> Failure {
        let output = self.output.display();
        let failure = Failure::new(Exit::Unmet, format!("the output {output} exists, and is not a sealed file"));
        failure.hint("rename that file, or name another output with -o")
    }

    /// Whether the input is so short that its plaintext is empty.
    fn opens_to_nothing(&self) -> bool {
        let Some(input) = self.input.open_whole() else { return false };
        let (len, header) = (input.len(), input.header());
        let end = len.zip(header.ok()).map(|(len, (_, header))| Layout::of(&header).end(len));
        matches!(end, Some(Ok(end)) if end.plaintext_len == 0)
    }

    /// Where it is read from, and where its output goes.
    pub(crate) fn place(&self) -> (&Place, Option<&Place>) {
        (&self.input, Some(&self.output))
    }

    /// Checks what `-f` would replace. The user has not written a derived name. What has it may be an input itself, which
    /// only has such a name. So `encrypt` replaces only a sealed file, and `decrypt` only a file that is not sealed.
    pub(crate) fn check_replaced(&self, direction: Direction) -> Result<()> {
        let is_there = || self.output.whole_len().is_some_and(|len| len > 0);
        if self.naming == Naming::Given || !is_there() {
            return Ok(());
        }
        match (direction, self.has_sealed_output()) {
            (Direction::Encrypt, None) => Err(self.output_is_unread()),
            (Direction::Encrypt, Some(false)) => Err(self.output_is_not_sealed()),
            (Direction::Decrypt, Some(true)) => {
                let failure = format!("the output {} exists, and is a sealed file", self.output.display());
                Err(Failure::new(Exit::Unmet, failure).hint("rename that file, or name another output with -o"))
            }
            _ => Ok(()),
        }
    }
}

impl Job {
    /// What `failure` is, without `-f`: where `-f` would be refused, the hint must not name it.
    pub(crate) fn without_force(&self, failure: Failure, direction: Direction) -> Failure {
        if !failure.offers_force {
            return failure;
        }
        match self.check_replaced(direction) {
            Err(refused) => Failure { exit: failure.exit, ..refused },
            Ok(()) => failure,
        }
    }
}

/// Who named an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The user.
    Given,
    /// It is derived from the input's name, in the same folder.
    Beside,
    /// It is derived from the input's name, in a tree of outputs.
    Below,
}

/// Who chose an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The user named it.
    Named,
    /// It was found below a folder that the user named.
    Found,
}

/// Pairs each input with its output.
pub(crate) fn jobs(files: &FileArgs, direction: Direction) -> Result<Vec<Job>> {
    let inputs: Vec<Place> = files.inputs.iter().map(|name| Place::input(name)).collect();
    let output = files.output.as_ref().map(|name| Place::output(name));
    match (output, inputs.as_slice()) {
        (Some(output), []) => Ok(vec![Job::named(Place::Stream, output)]),
        (Some(output), [input]) => Ok(vec![Job::named(input.clone(), output)]),
        (Some(_), _) => Err(Failure::usage("several inputs cannot go to one output")
            .hint("without -o, each output is created next to its input")),
        (None, [] | [Place::Stream]) => Ok(vec![Job::named(Place::Stream, Place::Stream)]),
        (None, several) => several.iter().map(|input| beside(input, direction)).collect(),
    }
}

pub(crate) fn beside(input: &Place, direction: Direction) -> Result<Job> {
    let output = match direction {
        Direction::Encrypt => input.sealed(),
        Direction::Decrypt => input.opened(),
    };
    let Some(output) = output else {
        return Err(Failure::usage("stdin cannot be one of several inputs").hint("use a separate run for stdin"));
    };
    Ok(Job { input: input.clone(), output: output?, naming: Naming::Beside, chosen: Chosen::Named })
}

/// Pairs and labels as demands.
pub(crate) fn demands(pairs: &PairArgs) -> Result<Demands> {
    Ok(Demands::new().with_context(context(pairs)?).with_labels(labels(pairs)?))
}

/// The pairs of the encryption context.
pub(crate) fn context(pairs: &PairArgs) -> Result<Pairs> {
    Pairs::parse(&pairs.context).map_err(|error| Failure::from(error).hint("-c takes NAME=VALUE"))
}

/// The labels.
pub(crate) fn labels(pairs: &PairArgs) -> Result<Pairs> {
    Pairs::parse(&pairs.labels).map_err(|error| Failure::from(error).hint("-l takes NAME=VALUE"))
}

/// Checks the output of `job`, whose input is open.
pub(crate) fn target(job: &Job, input: &Input, force: bool, keys: &Forbidden) -> Result<Target> {
    if job.output == Place::Stream {
        streams::stdout().map_err(|error| Failure::io("opening the output", error))?;
    }
    let mut forbidden = keys.clone();
    forbidden.extend(input.identity().map(|identity| (identity, "input")));
    match job.naming {
        Naming::Given => Target::at(&job.output, overwrite(force), &forbidden),
        Naming::Beside | Naming::Below => Target::derived(&job.output, overwrite(force), &forbidden),
    }
}

/// The meaning of `-f`.
pub(crate) fn overwrite(force: bool) -> Overwrite {
    if force { Overwrite::Replace } else { Overwrite::Refuse }
}

/// Whether a reader of stdout may be waiting for data that goes to a file beside the input.
///
/// If stdout and stderr are the same pipe (as in cron or a service's log), there is no such reader, and a success
/// prints nothing.
pub(crate) fn somebody_reads_stdout() -> bool {
    let what = |stream: rustix::fd::BorrowedFd<'_>| {
        let file = stream.try_clone_to_owned().ok().map(std::fs::File::from)?;
        file.metadata().ok()
    };
    let (Some(stdout), stderr) = (what(io::stdout().as_fd()), what(io::stderr().as_fd())) else { return false };
    let same = stderr.is_some_and(|stderr| (stderr.dev(), stderr.ino()) == (stdout.dev(), stdout.ino()));
    stdout.file_type().is_fifo() && !same
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn outputs(inputs: &[&str], output: Option<&str>, direction: Direction) -> Result<Vec<String>> {
        let files = FileArgs {
            inputs: inputs.iter().map(PathBuf::from).collect(),
            output: output.map(PathBuf::from),
            ..FileArgs::default()
        };
        Ok(jobs(&files, direction)?
            .iter()
            .map(|job| job.output.path().map_or("-".into(), |path| path.to_string_lossy().into_owned()))
            .collect())
    }

    #[test]
    fn names_of_outputs() {
        use Direction::{Decrypt, Encrypt};
        assert_eq!(outputs(&[], None, Encrypt).unwrap(), ["-"]);
        assert_eq!(outputs(&["-"], None, Decrypt).unwrap(), ["-"]);
        assert_eq!(outputs(&["d/a", "b"], None, Encrypt).unwrap(), ["d/a.wax", "b.wax"]);
        assert_eq!(outputs(&["d.wax/a.wax"], None, Decrypt).unwrap(), ["d.wax/a"]);
        assert_eq!(outputs(&["/dev/stdin"], None, Encrypt).unwrap(), ["-"]);
        assert_eq!(outputs(&["-.wax", "/dev/stdout.wax"], None, Decrypt).unwrap(), ["./-", "/dev/./stdout"]);
        assert_eq!(outputs(&["a"], Some("x"), Decrypt).unwrap(), ["x"]);
        for bad in [&["a"][..], &[".wax"], &["d/.wax"], &["a.WAX"], &["a.wax", "-"], &[".."]] {
            assert!(outputs(bad, None, Decrypt).is_err(), "{bad:?}");
        }
        assert!(outputs(&["a", "b"], Some("x"), Encrypt).is_err());
        assert!(outputs(&[".."], None, Encrypt).is_err());
    }
}
