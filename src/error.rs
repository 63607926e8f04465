//! One error type. Each variant says who must act.

use std::io;

mod kind;
mod remedy;

pub use kind::Kind;
pub use remedy::{Naming, Purpose, Remedy, RightKind};

/// What can go wrong. Each variant says who must act.
///
/// The program maps every variant to an exit code. A library caller can do the same, with [`kind`](Self::kind).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a read, a write or a sync.
    #[error("{action}: {source}")]
    Io {
        /// The action that failed, in lower case (`reading the payload`).
        action: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// This version cannot read the header.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Authentication failed: the file was altered or truncated.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// No given key opens the file.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// The input does not exist, and the place where it would be does.
    #[error(transparent)]
    NoInput(#[from] NoInput),
    /// The file does not have a pair or label that the caller demands.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// A key service failed or refused.
    #[error(transparent)]
    Provider(#[from] Box<ProviderError>),
    /// The request exceeds a limit of the format.
    #[error("{0}")]
    Limit(String),
    /// An argument of the caller is malformed (a pair, a label, a key file, a passphrase).
    #[error("{0}")]
    Invalid(String),
    /// A setting or an argument of the caller is missing or cannot be used, and it is known what to set instead.
    #[error("{message}")]
    Setting {
        /// What is wrong.
        message: String,
        /// What to set.
        remedy: Box<Remedy>,
    },
    /// The caller broke the contract of the library. The caller has a bug.
    #[error("the waxseal library was used incorrectly: {0}")]
    ApiMisuse(&'static str),
    /// An invariant of this crate does not hold. The crate has a bug.
    #[error("waxseal has a bug: {0}")]
    Bug(&'static str),
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A setting that is missing or cannot be used, and what to set.
    pub fn setting(message: impl Into<String>, remedy: Remedy) -> Self {
        Error::Setting { message: message.into(), remedy: Box::new(remedy) }
    }

    /// An I/O error with what was being done.
    ///
    /// An error of this crate that was passed through [`std::io::Read`] is returned unchanged.
    pub fn io(action: impl Into<String>, source: io::Error) -> Self {
        match source.downcast::<Error>() {
            Ok(own) => own,
            Err(source) => Error::Io { action: action.into(), source },
        }
    }
}

impl From<Error> for io::Error {
    /// Readers and writers of this crate return [`std::io`] errors. The crate's own error is kept inside, and [`Error::io`]
    /// returns it.
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } => source,
            Error::NoInput(_) => io::Error::new(io::ErrorKind::NotFound, error),
            Error::Tampered(_) | Error::Format(_) => io::Error::new(io::ErrorKind::InvalidData, error),
            other => io::Error::other(other),
        }
    }
}

/// The input changed while it was read. This is the source of an [`Error::Io`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the input changed while it was read")]
pub struct InputChanged;

/// The input does not exist: its folder or bucket was found, and there is nothing of its name in it.
///
/// Everything else that keeps an input from being found is an [`Error::Io`]: a folder or bucket that is missing, a store
/// that does not say whether it has the object. Who reads a series of files to its end may take this error for the end,
/// and no other. A source of the caller's own answers it as `std::io::Error::from(Error::from(NoInput))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the input does not exist")]
pub struct NoInput;

/// The system could not give a page of an input that is mapped into memory. This is the source of an [`Error::Io`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a page of the mapped input could not be read")]
pub struct PageLost;

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The magic is at none of the six possible positions.
    #[error("not a waxseal file")]
    NotWaxseal,
    /// The magic is at one of these positions, but no copy of the header is complete.
    #[error("both copies of the header are damaged")]
    Damaged,
    /// The file ends before the end of its header.
    #[error("the file ends inside its header, after {len} of {header_len} bytes")]
    CutShort {
        /// Length of the file in bytes.
        len: u64,
        /// Length of the header in bytes, according to the header.
        header_len: u64,
    },
    /// An undamaged copy of the header breaks a rule of the format.
    #[error("malformed header: {field} at byte {offset}")]
    Malformed {
        /// The field.
        field: Field,
        /// Its position in the file, in bytes.
        offset: u64,
    },
    /// The file is of a newer version of the format.
    #[error("the file has format version {version}, this program reads version 1")]
    Newer {
        /// The version that the file states.
        version: u16,
    },
    /// This build does not have the file's suite, because it uses only what the FIPS module has.
    #[error("the file has suite {suite}, which is refused: this build uses only what the FIPS module has")]
    SuiteRefused {
        /// The name of the suite.
        suite: &'static str,
    },
}

/// The part of an undamaged copy of the header that breaks a rule. The text uses the spec's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The fields before the pairs.
    Fixed,
    /// The suite.
    Suite,
    /// The flags.
    Flags,
    /// The number of slots.
    SlotCount,
    /// The encryption context.
    Context,
    /// The labels.
    Labels,
    /// Encryption context and labels together are too long.
    BindingLen,
    /// Bytes after the slots that are not zero.
    Filling,
    /// A slot is incomplete.
    Slot,
    /// A slot's key id is not valid text.
    KeyIdText,
    /// A slot breaks this rule of its kind.
    SlotRule(&'static str),
    /// Two slots are for the same key.
    SlotTwice,
    /// The magic is at a position where no bank may be.
    Misplaced,
    /// The bound bytes of the two banks differ.
    BanksDisagree,
}

impl std::fmt::Display for Field {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Fixed => "fixed fields",
            Self::Suite => "suite",
            Self::Flags => "flags",
            Self::SlotCount => "number of slots",
            Self::Context => "encryption context",
            Self::Labels => "labels",
            Self::BindingLen => "length of encryption context and labels",
            Self::Filling => "filling that is not zero",
            Self::Slot => "slot",
            Self::KeyIdText => "slot key id is not UTF-8",
            Self::SlotRule(rule) => rule,
            Self::SlotTwice => "slot of a key that already has one",
            Self::Misplaced => "magic at a position where it is not allowed",
            Self::BanksDisagree => "bank 1 does not match bank 0",
        })
    }
}

/// What failed to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Tampered {
    /// The payload does not start with the salt and commitment that are in the header.
    #[error("the payload does not start with the salt and commitment that are in the header")]
    Prelude,
    /// The data key and the header do not match the commitment of the file.
    #[error("the commitment does not match: the header or the data key does not belong to this file")]
    Commitment,
    /// A key file's slot matched, but the wrapped data key does not authenticate.
    #[error("the wrapped data key of slot {slot} does not authenticate")]
    Slot {
        /// Index of the slot in the header.
        slot: usize,
    },
    /// A chunk's tag does not verify.
    #[error("chunk {index} does not authenticate (plaintext from byte {offset})")]
    Chunk {
        /// Number of the chunk, from zero.
        index: u64,
        /// Where the chunk's plaintext begins, in bytes.
        offset: u64,
    },
    /// The tag of the short chunk at the file's end does not verify: the file was altered, or truncated inside a chunk.
    #[error(
        "the last chunk, {index}, does not authenticate: the file is altered or truncated (plaintext from byte {offset})"
    )]
    LastChunk {
        /// Number of the chunk, from zero.
        index: u64,
        /// Where the chunk's plaintext begins, in bytes.
        offset: u64,
    },
    /// The file ends before its last chunk.
    #[error("the file is truncated: it ends before its last chunk (plaintext from byte {offset})")]
    Truncated {
        /// The lowest position, in bytes, at which plaintext is missing.
        offset: u64,
    },
    /// The chunk counter would exceed 2^38.
    #[error("the payload has more than 2^38 chunks")]
    TooLong,
}

/// No given key opens the file. The error says why each slot did not open.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", kind::verdict(.attempts), describe_attempts(.attempts))]
#[non_exhaustive]
pub struct NoKey {
    /// The slots that were tried. Empty if no slot matched a key.
    pub attempts: Vec<Attempt>,
}

impl NoKey {
    /// Creates the error from the slots that were tried.
    #[must_use]
    pub fn new(attempts: Vec<Attempt>) -> Self {
        Self { attempts }
    }
}

/// One slot that was tried and did not open.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Index of the slot in the header.
    pub slot: usize,
    /// The key's name, given by its opener; never secret.
    pub key: String,
    /// Why it did not open.
    pub error: Error,
}

impl Attempt {
    /// Records that `key` did not open slot number `slot`.
    #[must_use]
    pub fn new(slot: usize, key: String, error: Error) -> Self {
        Self { slot, key, error }
    }
}

fn describe_attempts(attempts: &[Attempt]) -> String {
    attempts.iter().fold(String::new(), |mut text, attempt| {
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&format!("slot {} ({}): {}", attempt.slot, attempt.key, attempt.error));
        text
    })
}

/// The file does not meet a condition of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file does not have the required {}{}", .names.join(", "), describe_carried(.carried))]
#[non_exhaustive]
pub struct Unmet {
    /// The missing items, as `encryption context "NAME=VALUE"` or `label "NAME=VALUE"`.
    pub names: Vec<String>,
    /// For each missing item, what the file has instead: `"NAME=OTHER"`, or `no label "NAME"`. It is empty if that is
    /// not known. None of it is authenticated.
    pub carried: Vec<String>,
}

impl Unmet {
    /// Creates the error from the names of the missing items.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names, carried: Vec::new() }
    }
}

fn describe_carried(carried: &[String]) -> String {
    if carried.is_empty() { String::new() } else { format!("; it has {}", carried.join(", ")) }
}

/// A failure of a key service. The cause says what kind of failure it is, and the remedy what to do next.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{key}: {message}")]
#[non_exhaustive]
pub struct ProviderError {
    /// What kind of failure it is.
    pub cause: ProviderCause,
    /// The key that the call was about.
    pub key: String,
    /// What happened. If the service sent a message, it is in the service's words.
    pub message: String,
    /// What to do next, where that is known.
    pub remedy: Option<Remedy>,
    /// The service's own id of the request, for its operators.
    pub request_id: Option<String>,
}

impl ProviderError {
    /// A failure of `cause` for `key`. Line ends in the service's message become spaces.
    #[must_use]
    pub fn new(cause: ProviderCause, key: impl Into<String>, message: impl Into<String>) -> Self {
        let message = on_one_line(message.into());
        Self { cause, key: key.into(), message, remedy: None, request_id: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Adds what to do next, where that is known.
    #[must_use]
    pub fn with_some_remedy(mut self, remedy: Option<Remedy>) -> Self {
        self.remedy = remedy.or(self.remedy);
        self
    }

    /// Adds what to do next in words of the service's own, for what [`Remedy`] has no variant.
    #[must_use]
    pub fn with_hint(self, words: impl Into<String>) -> Self {
        self.with_remedy(Remedy::Other(words.into()))
    }

    /// Adds the service's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// Whether the file itself may be the cause: somebody altered its wrapped key, or the answer did not come from the
    /// service (spec 12.2).
    #[must_use]
    pub fn tampered(&self) -> bool {
        matches!(self.cause, ProviderCause::WrongCiphertext | ProviderCause::BadAnswer)
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self.cause, ProviderCause::Throttled | ProviderCause::Unreachable | ProviderCause::Internal)
    }
}

/// Replaces each line end, with the spaces around it, by one space.
fn on_one_line(text: String) -> String {
    const ENDS: [char; 7] = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    if !text.contains(ENDS) {
        return text;
    }
    text.split(ENDS).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The kinds of failure of a key service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderCause {
    /// The caller may not use the key in this way, or not with this encryption context.
    Denied,
    /// The key is disabled.
    Disabled,
    /// The key is scheduled for deletion.
    PendingDeletion,
    /// The key has no imported material.
    PendingImport,
    /// There is no such key (in that region).
    NotFound,
    /// The wrapped key or its encryption context is not the one that the service wrapped.
    WrongCiphertext,
    /// Another key wrapped the data key.
    OtherKey,
    /// The key cannot do this (asymmetric, HMAC, wrong usage).
    WrongKeyType,
    /// There are no credentials, or they have expired.
    Credentials,
    /// The clocks of the two sides differ too much.
    ClockSkew,
    /// Too many requests.
    Throttled,
    /// The service cannot be reached, or did not answer in time.
    Unreachable,
    /// The service had an internal failure.
    Internal,
    /// The service's answer does not match the request (another key, another length).
    BadAnswer,
    /// A rule of the caller forbids the call (an account that is not allowed).
    NotAllowed,
    /// The object to create already exists (an alias).
    AlreadyExists,
    /// The passphrase is wrong for this slot.
    WrongPassphrase,
    /// The slot needs more work or memory than this program allows.
    Unusable,
    /// Anything else that the service refused.
    Rejected,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_errors_survive_a_trip_through_io() {
        let there = io::Error::from(Error::Tampered(Tampered::Prelude));
        assert!(matches!(Error::io("reading", there), Error::Tampered(Tampered::Prelude)));
        assert!(matches!(Error::io("opening", Error::from(NoInput).into()), Error::NoInput(_)));
        let plain = Error::io("reading", io::Error::other("disk"));
        assert_eq!(plain.to_string(), "reading: disk");
    }
}
