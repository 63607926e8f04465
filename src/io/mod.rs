//! Reads and writes at positions ([`ReadAt`], [`WriteAt`]), and files that are either complete or absent. All other
//! modules use these.
//!
//! A [`Destination`] is an open folder and a name in it. An [`AtomicFile`] is written without that name, and gets it in
//! one step when it is committed. Neither resolves a path twice. If somebody renames the folder or replaces it by a
//! symbolic link, the output still goes to the original folder, and no temporary file remains elsewhere.
//!
//! A [`MappedFile`] is an input that is sealed from mapped memory.
//!
//! ```
//! use std::io::Write;
//! use waxseal::io::{AtomicFile, Destination, Durability, Overwrite};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("report");
//! let made = AtomicFile::create(Destination::at(&path)?, Overwrite::Refuse, 0o600)?;
//! made.file().write_all(b"all of it")?;
//! for missed in made.commit(Durability::Synced)? {
//!     eprintln!("warning: {missed}");
//! }
//! assert_eq!(std::fs::read(&path)?, b"all of it");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(unix)]
mod atomic;
#[cfg(unix)]
mod destination;
#[cfg(unix)]
mod input;
mod map;
#[cfg(unix)]
mod naming;
mod positioned;
#[cfg(unix)]
mod system;

#[cfg(unix)]
pub use atomic::{AtomicFile, Missed};
#[cfg(unix)]
pub use destination::{Destination, DestinationError, OpenFor};
#[cfg(unix)]
pub use input::open_input;
pub(crate) use map::Window;
pub use map::{MapGuard, MappedFile, Vouched};
#[cfg(unix)]
pub(crate) use naming::Untold;
#[cfg(unix)]
pub use naming::{Overwrite, Temporaries};
#[cfg(test)]
pub(crate) use positioned::read_with_a_bad_sector;
pub(crate) use positioned::{Around, checked, fill_at, read_around, read_full, read_full_at, write_all_at};
pub use positioned::{ReadAt, WriteAt};
#[cfg(unix)]
pub use system::close;
#[cfg(unix)]
pub(crate) use system::sync_folder;

/// Whether the output must survive a power cut when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Data and length are on the disk.
    #[default]
    Synced,
    /// The system has started to write them to the disk. The creator of the file syncs it, as [`AtomicFile::commit`]
    /// does.
    Started,
    /// The system decides when to write them.
    Unsynced,
}
