//! Objects in stores, as inputs and outputs. Each kind of store has one file, and one line in [`STORES`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use waxseal::format::Header;
use waxseal::io::{Overwrite, ReadAt};
use waxseal::rewrap::{Plan, Report};

use super::Result;

/// The kinds of stores.
const STORES: &[&dyn Store] = &[];

/// A kind of store.
pub(crate) trait Store: fmt::Debug + Sync {
    /// The beginning of the names of its objects: `s3://`.
    fn scheme(&self) -> &'static str;

    /// Opens an object to read it.
    fn open(&self, name: &OsStr) -> Result<Box<dyn Object>>;

    /// The length of an object, if there is one. An error is reported when the object is opened.
    fn len(&self, name: &OsStr) -> Option<u64>;

    /// Checks an output. Nothing is created.
    fn check(&self, name: &OsStr, overwrite: Overwrite) -> Result<()>;

    /// Begins a new object. `len` is about how long it will be, if this is known.
    fn create(&self, name: &OsStr, overwrite: Overwrite, len: Option<u64>) -> Result<Box<dyn NewObject>>;

    /// Changes the header of an object in its place. `plan` is asked once.
    fn rewrap(
        &self,
        name: &OsStr,
        plan: &mut dyn FnMut(&Header) -> waxseal::Result<Plan>,
    ) -> Result<(Report, Option<Value>)>;
}

/// An object that is open for reading. All reads are of the version that was opened.
pub(crate) trait Object: ReadAt + Send + Sync {
    /// Reads it in order, from its start.
    fn reader(&self) -> Box<dyn Read + Send + '_>;

    /// What the store says about it, for `--json`.
    fn about(&self) -> Option<Value>;
}

/// An object that is being written, in order. If it is dropped, there is no object.
pub(crate) trait NewObject: Write + Send {
    /// Makes it exist. Returns what the store says about it, for `--json`.
    fn commit(self: Box<Self>) -> Result<Option<Value>>;
}

/// The name of an object.
#[derive(Clone)]
pub(crate) struct ObjectName {
    store: &'static dyn Store,
    text: OsString,
}

/// The object that `name` means, if it names one.
pub(crate) fn object(name: &OsStr) -> Option<ObjectName> {
    let is_of = |store: &&&'static dyn Store| name.as_bytes().starts_with(store.scheme().as_bytes());
    STORES.iter().find(is_of).map(|store| ObjectName { store: *store, text: name.to_owned() })
}

impl ObjectName {
    /// The complete name.
    pub(crate) fn text(&self) -> &OsStr {
        &self.text
    }

    /// The last part of the key, after the last `/`. `None` if it is empty.
    pub(crate) fn last(&self) -> Option<&OsStr> {
        let (_, last) = self.split();
        Some(OsStr::from_bytes(last)).filter(|last| !last.is_empty())
    }

    /// The same name with another last part.
    pub(crate) fn with_last(&self, last: &OsStr) -> Self {
        let mut text = OsStr::from_bytes(self.split().0).to_owned();
        text.push(last);
        Self { store: self.store, text }
    }

    /// Before and after the `/` that comes last. The scheme is never divided.
    fn split(&self) -> (&[u8], &[u8]) {
        let bytes = self.text.as_bytes();
        let scheme = self.store.scheme().len();
        let at = bytes.iter().rposition(|byte| *byte == b'/').map_or(scheme, |slash| scheme.max(slash + 1));
        bytes.split_at(at)
    }

    /// Opens it to read it.
    pub(crate) fn open(&self) -> Result<Box<dyn Object>> {
        self.store.open(&self.text)
    }

    /// Its length, if there is an object of this name.
    pub(crate) fn len(&self) -> Option<u64> {
        self.store.len(&self.text)
    }

    /// Checks it as an output. Nothing is created.
    pub(crate) fn check(&self, overwrite: Overwrite) -> Result<()> {
        self.store.check(&self.text, overwrite)
    }

    /// Begins a new object of this name.
    pub(crate) fn create(&self, overwrite: Overwrite, len: Option<u64>) -> Result<Box<dyn NewObject>> {
        self.store.create(&self.text, overwrite, len)
    }

    /// Changes its header in its place.
    pub(crate) fn rewrap(
        &self,
        plan: &mut dyn FnMut(&Header) -> waxseal::Result<Plan>,
    ) -> Result<(Report, Option<Value>)> {
        self.store.rewrap(&self.text, plan)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(out)
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ObjectName {}
