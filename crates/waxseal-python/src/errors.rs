//! Every error of waxseal becomes an exception here. The classes are in `python/pywaxseal/_errors.py`.

use std::io;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use waxseal::Error;
use waxseal::error::Kind;

use crate::words;

/// A failure on its way to Python.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of waxseal.
    Own(Error),
    /// An exception of the caller's own code, or of a signal's handler. It is raised as it is.
    Python(PyErr),
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// Says which input does not exist, as `open` does.
pub(crate) fn naming<T>(file: &Bound<'_, PyAny>, done: Result<T>) -> Result<T> {
    done.map_err(|failure| match failure {
        Failure::Own(error) if error.kind() == Kind::NoInput => {
            let py = file.py();
            let named = || {
                let exception = exception(py, &error)?;
                exception.value(py).setattr("filename", file)?;
                Ok(exception)
            };
            Failure::Python(named().unwrap_or_else(|error| error))
        }
        other => other,
    })
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Own(error) => match raised(&error) {
                Some(error) => error,
                None => Python::attach(|py| exception(py, &error).unwrap_or_else(|error| error)),
            },
        }
    }
}

/// An exception that the caller's code has raised, and that came here through a reader, a writer or a key.
fn raised(error: &Error) -> Option<PyErr> {
    match error {
        Error::Io { source, .. } => {
            let inner = source.get_ref()?.downcast_ref::<PyErr>()?;
            Some(Python::attach(|py| inner.clone_ref(py)))
        }
        Error::NoKey(no_key) => no_key.attempts.iter().find_map(|attempt| raised(&attempt.error)),
        _ => None,
    }
}

/// The error for an exception, for code that passes errors on.
pub(crate) fn passed_on(action: &str, error: PyErr) -> Error {
    Error::Io { action: action.into(), source: io::Error::other(error) }
}

/// The name of the class of an error.
pub(crate) fn class_of(error: &Error) -> &'static str {
    match error.kind() {
        // An object, and no key.
        Kind::NoKey if matches!(error, Error::Provider(provider) if words::is_of_store(provider)) => "IoError",
        Kind::Usage => "UsageError",
        Kind::Header => "FormatError",
        Kind::Tampered => "TamperedError",
        Kind::NoKey => "NoKeyError",
        Kind::Unavailable => "UnavailableError",
        Kind::Io if is_existing(error) => "ExistsError",
        Kind::Unmet if matches!(error, Error::Provider(_)) => "ExistsError",
        Kind::Io => "IoError",
        Kind::Unmet => "UnmetError",
        Kind::NoInput => "NotFoundError",
        _ => "Bug",
    }
}

fn is_existing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
}

/// The message. Of an output that exists, the system's words would say nothing more.
fn message_of(error: &Error) -> String {
    match error {
        Error::Io { action, .. } if is_existing(error) => {
            format!("{} exists", action.strip_prefix("making ").unwrap_or(action))
        }
        error => error.to_string(),
    }
}

/// The system's number of an error. waxseal finds some of them itself, and these numbers are the same everywhere.
fn errno_of(error: &Error) -> Option<i32> {
    let source = match error {
        Error::Io { source, .. } => source,
        Error::NoInput(_) => return Some(2),
        _ => return None,
    };
    source.raw_os_error().or_else(|| {
        Some(match source.kind() {
            io::ErrorKind::NotFound => 2,
            io::ErrorKind::PermissionDenied => 13,
            io::ErrorKind::ResourceBusy => 16,
            io::ErrorKind::AlreadyExists => 17,
            io::ErrorKind::IsADirectory => 21,
            _ => return None,
        })
    })
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    details.set_item("hint", words::hint(error))?;
    details.set_item("failed_at", error.failed_at())?;
    details.set_item("request_id", error.provider().and_then(|provider| provider.request_id.as_deref()))?;
    details.set_item("errno", errno_of(error))?;
    let make = py.import("pywaxseal._errors")?.getattr("make")?;
    let made = make.call((class_of(error), message_of(error)), Some(&details))?;
    Ok(PyErr::from_value(made))
}
