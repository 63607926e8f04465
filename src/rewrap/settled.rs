//! Whether a file that will be copied is complete, or another program is still writing it.
//!
//! The copy replaces the file. If another program is still writing the file, it would continue to write into a file
//! without a name, and only the copy would remain, truncated at that moment. So there must be evidence that the file is
//! complete before it is copied:
//!
//! - the data key, if the end of the file authenticates with it: [`InPlace::prove_end`];
//! - otherwise the system, if it says that no other process on this machine has the file open;
//! - otherwise, if the system cannot say that, the time since the last write;
//! - otherwise the caller: [`InPlace::vouch`].
//!
//! In every case, the file's length and times must be unchanged right before the copy replaces it.

use std::io;
use std::time::{Duration, SystemTime};

use super::file::HeaderFile;
use super::plan::Plan;
use super::session::{InPlace, check_named, refused};
use super::unwrap::open_checked;
use crate::error::{Error, Result, Tampered};
use crate::keys::KeyOpener;
use crate::payload::ChunkOpener;

/// A program that writes without pauses of this length is detected by the modification time.
const QUIET: Duration = Duration::from_secs(10);

/// The length and times of a file. At least one of them differs after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// When the content last changed. `None` if the system does not tell.
    pub modified: Option<SystemTime>,
    /// When the content or metadata last changed, in seconds and nanoseconds. `None` if the system does not tell.
    pub changed: Option<(i64, i64)>,
}

/// Whether other processes have a file open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// No other process on this machine.
    None,
    /// Some other process, for reading or writing.
    Some,
    /// Not known: the system cannot tell, or may not tell this caller.
    Unknown,
}

fn is_at_rest(others: Others, stamp: &Stamp) -> bool {
    match others {
        Others::None => true,
        Others::Some => false,
        Others::Unknown => {
            let since = stamp.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
            since.is_some_and(|since| since >= QUIET)
        }
    }
}

impl<F: HeaderFile> InPlace<F> {
    /// Whether [`apply`](Self::apply) with `plan` copies the whole file. If so, there must be evidence that it is complete.
    ///
    /// # Errors
    /// The errors of [`apply`](Self::apply) that occur before anything is written.
    pub fn copies(&mut self, plan: &Plan) -> Result<bool> {
        match self.next_bank(plan) {
            Some((bank, _)) => Ok(self.room_in_place(&bank)?.is_some()),
            None => Ok(false),
        }
    }

    /// Proves that the file is complete: its last chunk authenticates with the data key from `openers`.
    ///
    /// # Errors
    /// [`Error::NoKey`] if no opener opens a slot. [`Error::Tampered`] if the end does not authenticate: the file is
    /// incomplete or damaged. [`Error::Io`] if the end cannot be read.
    pub fn prove_end(&mut self, openers: &[&dyn KeyOpener]) -> Result<()> {
        self.payload_prelude()?;
        let index = self.layout().end(self.len)?.index;
        let chunks = ChunkOpener::new(open_checked(self.header.bank(), openers)?.keys);
        let proven = self.authenticates(&chunks, index);
        if !proven.map_err(|error| Error::io("reading the end of the file", error))? {
            return Err(Tampered::LastChunk { index: index.get(), offset: index.plaintext_offset() }.into());
        }
        self.vouched = true;
        Ok(())
    }

    /// The caller guarantees that the file is complete and that no other program writes it.
    pub fn vouch(&mut self) {
        self.vouched = true;
    }

    /// Whether there is evidence that the file is complete and that no other program writes it.
    pub fn is_settled(&mut self) -> bool {
        if self.vouched {
            return true;
        }
        let others = self.file.keep_others_out();
        self.file.let_others_in();
        is_at_rest(others, &self.stamp)
    }

    pub(super) fn check_settled(&mut self) -> Result<()> {
        if self.is_settled() { Ok(()) } else { Err(unsettled()) }
    }

    /// Gives this file's name to `made`, a copy of it, unless the file has changed since.
    pub(super) fn hand_over(&mut self, made: &mut F) -> Result<()> {
        let failed = |error| Error::io("replacing the file with a new one", error);
        // From here on, no other process can open the file, if the system supports that.
        let others = self.file.keep_others_out();
        if !self.vouched && !is_at_rest(others, &self.stamp) {
            return Err(unsettled());
        }
        if self.file.stamp().map_err(failed)? != self.stamp {
            return Err(failed(io::Error::other("the file changed while it was copied")));
        }
        check_named(&mut self.file)?;
        self.file.rename_over(made).map_err(failed)?;
        self.file.let_others_in();
        Ok(())
    }
}

fn unsettled() -> Error {
    refused("another program has the file open, or it was written a moment ago: it may be incomplete")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_counts_where_the_system_tells_nothing_else() {
        let written = |ago| Stamp { len: 1, modified: SystemTime::now().checked_sub(ago), changed: None };
        let (old, fresh) = (written(QUIET), written(QUIET - Duration::from_secs(5)));
        let ahead = Stamp { modified: SystemTime::now().checked_add(QUIET), ..old.clone() };
        let timeless = Stamp { modified: None, ..old.clone() };
        assert!(is_at_rest(Others::Unknown, &old));
        for stamp in [&fresh, &ahead, &timeless] {
            assert!(!is_at_rest(Others::Unknown, stamp), "{stamp:?}");
            assert!(is_at_rest(Others::None, stamp) && !is_at_rest(Others::Some, stamp));
        }
        assert!(!is_at_rest(Others::Some, &old));
    }
}
