//! Errors of the program, with their messages and exit codes.

use std::io;

use waxseal::Error;
use waxseal::error::{FormatError, InputChanged, Kind, PageLost, Tampered};

use super::exit::Exit;
use super::key_option;
use super::remedy;
use super::store;

/// One failure: exit code, message, and what to do next.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened, in lower case and without a full stop.
    pub(crate) message: String,
    /// What the user can do.
    pub(crate) hint: Option<String>,
    /// The position in the plaintext where authentication failed, in bytes.
    pub(crate) failed_at: Option<u64>,
    /// The key service's id of the failed request.
    pub(crate) request_id: Option<String>,
    /// The system refused to open or to read the input.
    pub(crate) is_of_input: bool,
    /// An output has the name already. The hint says that `-f` replaces it.
    pub(crate) offers_force: bool,
}

impl Failure {
    /// A failure with this exit code.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            failed_at: None,
            request_id: None,
            is_of_input: false,
            offers_force: false,
        }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The output `name` exists, escaped already, and `-f` was not given.
    pub(crate) fn exists(name: &str) -> Self {
        let failure = Self::new(Exit::Unmet, format!("the output {name} exists"));
        Self { offers_force: true, ..failure.hint("replace it with -f, or name another output with -o") }
    }

    /// The system refused `action` (`reading the folder`).
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Error::io(action, source).into()
    }

    /// Adds what the user can do, unless a hint was set closer to the cause.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            exit: exit_of(&error),
            message: error.to_string(),
            hint: hint_of(&error),
            failed_at: error.failed_at(),
            request_id: error.provider().and_then(|provider| provider.request_id.clone()),
            is_of_input: matches!(&error, Error::Io { action, .. } if is_of_input(action)),
            offers_force: false,
        }
    }
}

/// Whether this was done to the input, which may have gone.
fn is_of_input(action: &str) -> bool {
    let reads = ["reading", "opening", "looking at", "finding the end", "locking"];
    reads.iter().any(|verb| action.starts_with(verb)) && !action.contains("output")
}

fn exit_of(error: &Error) -> Exit {
    match error.kind() {
        // An object, and no key.
        Kind::NoKey if matches!(error, Error::Provider(provider) if store::names_object(&provider.key)) => Exit::Io,
        Kind::Usage => Exit::Usage,
        Kind::Header => Exit::Header,
        Kind::Tampered => Exit::Tampered,
        Kind::NoKey => Exit::NoKey,
        Kind::Unavailable => Exit::Unavailable,
        Kind::Io => Exit::Io,
        Kind::Unmet => Exit::Unmet,
        Kind::NoInput => Exit::NoInput,
        _ => Exit::Bug,
    }
}

fn hint_of(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Io { source, .. } => return hint_of_io(source),
        Error::Format(FormatError::NotWaxseal) => "`waxseal encrypt` creates waxseal files; their names end in .wax",
        Error::Format(FormatError::CutShort { .. }) => "copy the file again: this copy is incomplete",
        Error::Format(FormatError::Newer { .. }) => "use a newer version of waxseal",
        Error::Format(FormatError::SuiteRefused { .. }) => "use a build of waxseal without the feature `fips`",
        Error::Format(_) => "use another copy of the file; `waxseal salvage` recovers what is left of a damaged file",
        Error::Tampered(Tampered::Prelude) => {
            "if the file was damaged, `waxseal rewrap --repair -k KEY` restores them if a chunk proves that they are right"
        }
        Error::Tampered(Tampered::Truncated { .. }) => {
            "compare its length with the original's and copy it again; `waxseal salvage` recovers what is there"
        }
        Error::Tampered(_) => {
            "use another copy of the file; `waxseal salvage` recovers the parts of this one that still authenticate"
        }
        Error::NoInput(_) => "its folder exists and has nothing of this name: check the name",
        Error::Unmet(_) => "`waxseal inspect` shows the pairs and labels of the file",
        Error::ApiMisuse(_) | Error::Bug(_) => "this is a bug in waxseal: please report it",
        _ if error.remedy().is_some() => {
            let of_store = error.provider().and_then(|provider| store::hint(&provider.key, provider.remedy.as_ref()?));
            return of_store.or_else(|| error.remedy().map(remedy::hint));
        }
        // Where the system refused something, another key is not what is missing.
        Error::NoKey(no_key)
            if !no_key.attempts.is_empty() && error.provider().is_none() && error.kind() != Kind::Io =>
        {
            return Some(format!(
                "`waxseal inspect` shows the keys that open the file; name one with {}",
                key_option::to_open()
            ));
        }
        _ => return None,
    };
    Some(hint.into())
}

fn hint_of_io(source: &io::Error) -> Option<String> {
    if source.get_ref().is_some_and(|cause| cause.is::<InputChanged>()) {
        let hint = "to seal a file that is still being written, use `cat FILE | waxseal encrypt -k KEY -o OUT`; \
                    to seal one consistent state of it, use a snapshot";
        return Some(hint.into());
    }
    if source.get_ref().is_some_and(|cause| cause.is::<PageLost>()) {
        return Some("read the file with `--input read`; if that fails too, its disk may be damaged".into());
    }
    if source.get_ref().is_some_and(|inner| inner.is::<waxseal::rewrap::Unsuitable>()) {
        return Some("`waxseal rewrap -o OUT` writes a changed copy instead".into());
    }
    let hint = match source.kind() {
        io::ErrorKind::BrokenPipe => "the program reading the output exited early",
        // Not every command has -o.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there, or write to another place",
        _ => return None,
    };
    Some(hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal::error::{Attempt, NoKey, ProviderCause, ProviderError, Unmet};

    #[test]
    fn every_culprit_has_its_code() {
        let provider = |cause| Error::from(Box::new(ProviderError::new(cause, "key", "said no")));
        let attempt = |cause| Attempt::new(0, "key".into(), provider(cause));
        let attempt_of = |key: &str, error| Attempt::new(0, key.into(), error);
        let (io, invalid) =
            (|| Error::io("starting a thread", io::Error::other("no")), || Error::Invalid("a setting".into()));
        let cases = [
            (Error::io("reading", io::Error::other("disk")), Exit::Io),
            (FormatError::Damaged.into(), Exit::Header),
            (Tampered::Prelude.into(), Exit::Tampered),
            (NoKey::new(Vec::new()).into(), Exit::NoKey),
            (NoKey::new(vec![attempt(ProviderCause::Denied)]).into(), Exit::NoKey),
            (
                NoKey::new(vec![attempt(ProviderCause::Denied), attempt(ProviderCause::Throttled)]).into(),
                Exit::Unavailable,
            ),
            (waxseal::error::NoInput.into(), Exit::NoInput),
            (Unmet::new(vec!["label x".into()]).into(), Exit::Unmet),
            (provider(ProviderCause::Disabled), Exit::NoKey),
            (Box::new(ProviderError::new(ProviderCause::Denied, "s3://b/k", "no")).into(), Exit::Io),
            (provider(ProviderCause::Unreachable), Exit::Unavailable),
            (NoKey::new(vec![attempt_of("alias/a", io())]).into(), Exit::Io),
            (NoKey::new(vec![attempt_of("alias/a", invalid())]).into(), Exit::Usage),
            (NoKey::new(vec![attempt_of("passphrase", invalid())]).into(), Exit::NoKey),
            (Error::Limit("too long".into()), Exit::Usage),
            (Error::Invalid("bad pair".into()), Exit::Usage),
            (Error::ApiMisuse("never"), Exit::Bug),
            (Error::Bug("never"), Exit::Bug),
        ];
        for (error, exit) in cases {
            let text = format!("{error:?}");
            assert_eq!(Failure::from(error).exit, exit, "{text}");
        }
    }

    #[test]
    fn an_output_that_fails_is_no_lost_input() {
        let is_of_input = |action: &str| Failure::io(action, io::ErrorKind::StorageFull.into()).is_of_input;
        for action in ["opening the input", "reading the input", "reading the header", "looking at the input"] {
            assert!(is_of_input(action), "{action}");
        }
        for action in ["writing the output", "opening the output", "making the folder for x", "syncing the output"] {
            assert!(!is_of_input(action), "{action}");
        }
    }

    #[test]
    fn the_nearest_hint_wins() {
        let error = ProviderError::new(ProviderCause::Disabled, "key", "it is disabled").with_hint("call the operator");
        let failure = Failure::from(Error::from(Box::new(error))).hint("something else");
        assert_eq!(failure.hint.as_deref(), Some("call the operator"));
    }
}
