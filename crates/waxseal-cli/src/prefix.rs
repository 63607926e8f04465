//! The objects below a prefix of a store, for `-r`. They are listed while the work goes on.

use std::ffi::OsStr;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::Result;
use super::failure::Failure;
use super::outputs::{Above, Outputs, Top};
use super::store::{Listed, Listing, ObjectName, Prefix};
use super::walk::{Seen, Why};

/// A listing, and where the outputs of its objects go.
pub(crate) struct Objects {
    prefix: Prefix,
    listing: Peekable<Listing>,
    outputs: Option<Outputs>,
    /// What stands before the rest of each key, below the top of the outputs.
    kept: Vec<u8>,
    /// The folder of the last object. Most often, the next one is in it, too.
    last: Option<(Vec<u8>, Above)>,
}

impl Objects {
    /// Begins to list `prefix`. Its outputs go below `folders`, which is empty or ends in `/`. The last part of the prefix
    /// is kept, as that of a folder is.
    pub(crate) fn new(prefix: Prefix, folders: &[u8], outputs: Option<Outputs>) -> Result<Self> {
        let mut kept = folders.to_vec();
        if let Some(base) = prefix.base() {
            kept.extend_from_slice(base.as_bytes());
            kept.push(b'/');
        }
        if let Some(outputs) = &outputs {
            if matches!(&outputs.top, Top::Prefix(top) if *top == prefix) {
                let failure = Failure::usage("the prefix for the outputs is this prefix itself");
                return Err(failure.hint("without -o, each output is created next to its input"));
            }
            outputs.above_key(&kept)?;
        }
        let listing = prefix.list()?.peekable();
        Ok(Self { prefix, listing, outputs, kept, last: None })
    }

    /// Whether there is no object below the prefix. An error is not known to be none.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.listing.peek().is_none()
    }

    fn object(&mut self, listed: Listed) -> Seen {
        let Listed { name, len } = listed;
        let shown = || PathBuf::from(name.text());
        let rest = self.prefix.rest(&name).unwrap_or_default();
        if self.is_output(&name) {
            return Seen::Skipped(shown(), Why::OutputFolder);
        }
        // One with content has no name for its output, and fails for that.
        if len == 0 && name.last().is_none() {
            return Seen::Skipped(shown(), Why::FolderMarker);
        }
        let folders = &rest[..rest.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)];
        match self.above(folders) {
            Ok(above) => Seen::Object(name, above),
            Err(failure) => Seen::Failed(shown(), failure),
        }
    }

    /// Whether an earlier run, or this one, put it where the outputs go. If the inputs are a part of the tree of the
    /// outputs, this does not tell them apart.
    fn is_output(&self, name: &ObjectName) -> bool {
        match self.outputs.as_ref().map(|outputs| &outputs.top) {
            Some(Top::Prefix(top)) => top.is_below(&self.prefix) && top.rest(name).is_some(),
            _ => false,
        }
    }

    fn above(&mut self, folders: &[u8]) -> Result<Option<Above>> {
        let Some(outputs) = &self.outputs else { return Ok(None) };
        match &self.last {
            Some((last, above)) if last == folders => Ok(Some(above.clone())),
            _ => {
                let above = outputs.above_key(&[&self.kept, folders].concat())?;
                self.last = Some((folders.to_vec(), above.clone()));
                Ok(Some(above))
            }
        }
    }
}

impl Iterator for Objects {
    type Item = Seen;

    fn next(&mut self) -> Option<Seen> {
        Some(match self.listing.next()? {
            Ok(listed) => self.object(listed),
            Err(failure) => Seen::Failed(OsStr::new(self.prefix.text()).into(), failure),
        })
    }
}
