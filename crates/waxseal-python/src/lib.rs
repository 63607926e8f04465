//! The native half of the Python package `pywaxseal`. The Python half in `python/pywaxseal/` makes file objects of it.
//!
//! Rules of this crate:
//!
//! - The interpreter is released for everything that reads, computes or waits.
//! - A lock is taken only while the interpreter is released. Its holder may have to wait for the interpreter.
//! - Bytes that Python code can change are copied before they are sealed. `bytes` cannot change, and is not copied.
//! - What was opened goes to memory that Python code cannot see before it is authenticated.
//! - After `fork`, no thread of the parent exists. Everything with threads is made anew in the child ([`process`]).

mod aws;
mod boto;
mod errors;
mod files;
mod inspection;
mod interrupt;
mod keys;
mod leftover;
mod names;
mod objects;
mod parallel;
mod process;
mod ranges;
mod reader;
mod rewrap;
mod sealer;
mod source;
mod stream;
mod upload;
mod words;
mod writer;

use pyo3::prelude::*;

/// The native half of `pywaxseal`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::aws::{Kms, S3};
    #[pymodule_export]
    use super::files::{DecryptedFile, EncryptedFile, VerifiedFile, decrypt_file, encrypt_file, verify};
    #[pymodule_export]
    use super::inspection::{Inspection, Slot, inspect};
    #[pymodule_export]
    use super::keys::{Identity, KeyFile, Passphrase, Recipient};
    #[pymodule_export]
    use super::process::{after_fork, before_fork};
    #[pymodule_export]
    use super::ranges::Ranges;
    #[pymodule_export]
    use super::reader::{Reader, open_reader};
    #[pymodule_export]
    use super::rewrap::{RewrapResult, rewrap};
    #[pymodule_export]
    use super::sealer::Sealer;
    #[pymodule_export]
    use super::stream::{StreamReader, open_stream};
    #[pymodule_export]
    use super::writer::{Writer, open_writer};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python code expects")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
