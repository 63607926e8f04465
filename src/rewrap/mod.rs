//! Changes a file's key slots in place, and repairs its header (spec 15).
//!
//! ```text
//! lock - path check - sync - read both banks past the cache - plan
//!      - write the bank that does not count - sync - read back past the cache - the other bank likewise
//! ```
//!
//! At every moment one complete, valid bank is on disk, in blocks that the current write does not touch. If the file
//! system's blocks are too large for that, or if the slots need more room, a new file replaces the old one. The payload is
//! never changed, except for the 56 bytes that [`InPlace::repair`] may restore.

mod file;
#[cfg(unix)]
mod keep;
#[cfg(unix)]
mod lease;
#[cfg(unix)]
mod os;
mod plan;
mod repair;
mod request;
mod session;
mod settled;
mod stream;
mod unwrap;
mod write;

#[cfg(test)]
mod tests;

pub use file::HeaderFile;
#[cfg(unix)]
pub use keep::Kept;
#[cfg(unix)]
pub use os::{DiskFile, Unsuitable};
pub use plan::{Change, Plan, SlotChange, SlotName};
pub use repair::{Part, RepairPlan, Replacement};
pub use request::{ReEncrypt, Request, Rewrapped, Rewrapper, Selector, Verified};
pub use session::InPlace;
pub use settled::{Others, Stamp};
pub use stream::{NewFront, rewrap_stream};
pub use unwrap::Unwrap;
pub use write::{Outcome, Place};

use crate::format::Warning;
#[cfg(unix)]
use crate::{error::Result, format::Header};

/// The result of a rewrap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What was written.
    pub outcome: Outcome,
    /// The slots that changed, with the key service's request ids. They prove the rotation.
    pub changes: Vec<Change>,
    /// What was wrong with the header before. If anything was written, that is repaired.
    pub warnings: Vec<Warning>,
    /// Length of the payload in bytes. The payload did not change.
    pub payload_len: u64,
    /// Length of the file in bytes, as it is now.
    pub file_len: u64,
}

/// Changes the slots of the file at `path` in one call: [`InPlace::begin`], `plan`, [`InPlace::apply`].
///
/// `plan` is called under the lock, with the header from the disk. It may ask the user and call key services, as
/// [`Request::plan`] does.
///
/// # Errors
/// As [`DiskFile::open`], [`InPlace::begin`], `plan` and [`InPlace::apply`].
#[cfg(unix)]
pub fn rewrap_file(path: impl AsRef<std::path::Path>, plan: impl FnOnce(&Header) -> Result<Plan>) -> Result<Report> {
    let session = InPlace::begin(DiskFile::open(path)?)?;
    let plan = plan(session.header())?;
    session.apply(&plan)
}
