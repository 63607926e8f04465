//! Who must act on an error, in one word: also where several keys were tried, each with an error of its own.

use super::{Attempt, Error, ProviderCause, ProviderError, Remedy, Tampered};

/// The key's name in the attempts of a passphrase.
const PASSPHRASE: &str = "passphrase";

/// The kinds of errors. The exit codes of the program and the exceptions of the Python package follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// waxseal, or its caller, has a bug.
    Bug,
    /// What the caller gave cannot be used.
    Usage,
    /// The header cannot be read.
    Header,
    /// Authentication failed.
    Tampered,
    /// No key opens the file, or the key service refused.
    NoKey,
    /// A key service or a store cannot be reached or throttles. The same may succeed later.
    Unavailable,
    /// The system refused.
    Io,
    /// A condition of the caller is not met.
    Unmet,
    /// The input does not exist, and the place where it would be does.
    NoInput,
}

impl Error {
    /// Who must act.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Io { .. } => Kind::Io,
            Self::Format(_) => Kind::Header,
            Self::Tampered(_) => Kind::Tampered,
            Self::NoKey(no_key) => kind_of_attempts(&no_key.attempts),
            Self::NoInput(_) => Kind::NoInput,
            Self::Unmet(_) => Kind::Unmet,
            Self::Provider(provider) if provider.retryable() => Kind::Unavailable,
            Self::Provider(provider) if provider.cause == ProviderCause::AlreadyExists => Kind::Unmet,
            Self::Provider(_) => Kind::NoKey,
            Self::Limit(_) | Self::Invalid(_) | Self::Setting { .. } => Kind::Usage,
            Self::ApiMisuse(_) | Self::Bug(_) => Kind::Bug,
        }
    }

    /// The answer of the key service that decides the kind, also if several keys were tried.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderError> {
        match self {
            Self::Provider(provider) => Some(provider),
            Self::NoKey(no_key) => {
                let all = || no_key.attempts.iter().filter_map(|attempt| attempt.error.provider());
                let deciding = all().find(|provider| provider.tampered());
                let deciding = deciding.or_else(|| all().find(|provider| provider.retryable()));
                deciding.or_else(|| all().find(|provider| provider.remedy.is_some()))
            }
            _ => None,
        }
    }

    /// What to do, by the error or by the attempt that decides.
    #[must_use]
    pub fn remedy(&self) -> Option<&Remedy> {
        match (self, self.provider()) {
            (Self::Setting { remedy, .. }, _) => Some(remedy),
            (_, Some(provider)) => provider.remedy.as_ref(),
            (Self::NoKey(no_key), None) => no_key.attempts.iter().find_map(|attempt| attempt.error.remedy()),
            _ => None,
        }
    }

    /// The position in the plaintext where authentication failed, in bytes.
    #[must_use]
    pub fn failed_at(&self) -> Option<u64> {
        match self {
            Self::Tampered(
                Tampered::Chunk { offset, .. } | Tampered::LastChunk { offset, .. } | Tampered::Truncated { offset },
            ) => Some(*offset),
            _ => None,
        }
    }
}

/// An altered slot comes first. If another attempt could still open the file, the kind says "try again", not "no key"
/// (spec 12.2).
fn kind_of_attempts(attempts: &[Attempt]) -> Kind {
    let any = |is: fn(&ProviderError) -> bool| {
        attempts.iter().any(|attempt| matches!(&attempt.error, Error::Provider(provider) if is(provider)))
    };
    if any(ProviderError::tampered) {
        Kind::Tampered
    } else if any(ProviderError::retryable) {
        Kind::Unavailable
    } else if attempts.iter().any(|attempt| matches!(attempt.error, Error::Io { .. })) {
        // A key was not tried, because the system refused something that it needs.
        Kind::Io
    } else if attempts.iter().any(is_misconfigured) {
        Kind::Usage
    } else {
        Kind::NoKey
    }
}

/// What the attempts together say.
pub(super) fn verdict(attempts: &[Attempt]) -> &'static str {
    if kind_of_attempts(attempts) == Kind::Io { "a key could not be tried" } else { "no key opens this file" }
}

/// Whether a key was not tried because its configuration cannot be used. A passphrase has no configuration. It can only
/// be missing.
fn is_misconfigured(attempt: &Attempt) -> bool {
    match attempt.error {
        Error::Setting { .. } => true,
        Error::Invalid(_) => attempt.key != PASSPHRASE,
        _ => false,
    }
}
