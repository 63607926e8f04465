//! Errors of this crate as errors of `object_store`, and back.
//!
//! What the wrapped store answers is passed on as it is, because its caller may compare or downcast it. No text of such
//! an error gets into a message of this crate: it can have a URL with credentials in it.

use std::error::Error as StdError;

use object_store::Error as StoreError;
use object_store::path::Path;
use waxseal::Error;
use waxseal::error::{FormatError, InputChanged};

/// The name of this store in `object_store::Error::Generic`.
const STORE: &str = "waxseal";

/// Why an object could not be sealed or opened. It is the source of an [`object_store::Error::Generic`], and its own
/// source is the error of waxseal. [`cause`] finds that one.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
#[non_exhaustive]
pub struct ObjectError {
    /// The name of the object.
    pub path: Path,
    /// What is wrong with it.
    pub source: Error,
}

/// The error of waxseal that is in `error`, at any depth. `None` if the error came from elsewhere, for example from the
/// wrapped store.
///
/// The type says what happened: [`Error::Tampered`] for an object that was altered or cut, [`Error::NoKey`] for keys
/// that do not open it, [`Error::Unmet`] for a label that it does not have, [`Error::Format`] for an object that is not
/// sealed.
#[must_use]
pub fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error of the object at `path`.
pub(crate) fn of(path: &Path, source: impl Into<Error>) -> StoreError {
    let error = ObjectError { path: path.clone(), source: source.into() };
    StoreError::Generic { store: STORE, source: Box::new(error) }
}

/// The object is not the one whose header was read, or an answer does not have the bytes that were asked for.
pub(crate) fn changed(path: &Path) -> StoreError {
    of(path, changed_input())
}

/// The same without the name of the object.
pub(crate) fn changed_input() -> Error {
    Error::io("reading the object", std::io::Error::other(InputChanged))
}

/// A range that the object does not have.
pub(crate) fn range(error: impl StdError + Send + Sync + 'static) -> StoreError {
    StoreError::Generic { store: STORE, source: Box::new(error) }
}

/// Whether `error` says that the object is no sealed one.
pub(crate) fn is_unsealed(error: &StoreError) -> bool {
    matches!(cause(error), Some(Error::Format(FormatError::NotWaxseal)))
}

/// Why a read of an object has to begin again, or has failed.
pub(crate) enum Trouble {
    /// Another object has the name by now.
    Replaced,
    Failed(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal::error::Tampered;

    #[test]
    fn the_cause_is_found_at_any_depth() {
        let error = of(&Path::from("a/b.parquet"), Tampered::Prelude);
        assert!(matches!(cause(&error), Some(Error::Tampered(Tampered::Prelude))));
        let deeper = std::io::Error::other(error);
        assert!(matches!(cause(&deeper), Some(Error::Tampered(Tampered::Prelude))));
        assert!(deeper.to_string().contains("a/b.parquet: the payload does not start"), "{deeper}");
        let other = StoreError::NotFound { path: "a".into(), source: "no".into() };
        assert!(cause(&other).is_none() && !is_unsealed(&other));
        assert!(is_unsealed(&of(&Path::from("a"), FormatError::NotWaxseal)));
    }
}
