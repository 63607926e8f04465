//! Objects in stores, as inputs and outputs. Each kind of store has one file, and one line in [`STORES`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use clap::Args as ClapArgs;
use serde_json::Value;
use waxseal::error::Remedy;
use waxseal::format::Header;
use waxseal::io::{Overwrite, ReadAt};
use waxseal::rewrap::{Plan, Report};

use super::Result;
use super::args::KmsArgs;

#[cfg_attr(not(feature = "aws-s3"), path = "store/without_s3.rs")]
mod s3;

/// The kinds of stores.
static STORES: [&dyn Store; 1] = [&s3::S3Store];

/// The options of stores, for commands that read or write objects.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    s3: s3::S3Args,
}

/// The options of stores, for commands that create objects.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct NewObjectArgs {
    #[command(flatten)]
    s3: s3::S3ObjectArgs,
}

/// Takes the options of the command line. They are set once, before the first object is named.
pub(crate) fn configure(options: Options<'_>) {
    s3::configure(options);
}

/// What the command line says about stores.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "aws-s3"), allow(dead_code, reason = "without a store, nobody reads it"))]
pub(crate) struct Options<'a> {
    /// For all objects.
    pub(crate) any: &'a StoreArgs,
    /// For new ones.
    pub(crate) new: Option<&'a NewObjectArgs>,
    /// Where keys are. Objects are there too, if the options do not say otherwise.
    pub(crate) keys: Option<&'a KmsArgs>,
}

/// What a person should know, although it belongs to no error: an upload that is left, for example.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says something that the next message of the program tells as a warning. A value that is dropped has no reporter.
#[cfg_attr(not(feature = "aws-s3"), expect(dead_code, reason = "only stores say anything"))]
fn say(what: String) {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// What was said since the last call.
pub(crate) fn said() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A kind of store.
pub(crate) trait Store: fmt::Debug + Sync {
    /// The beginning of the names of its objects: `s3://`.
    fn scheme(&self) -> &'static str;

    /// The hint for a remedy, where keys have other options.
    fn hint(&self, remedy: &Remedy) -> Option<String>;

    /// Opens an object to read it.
    fn open(&self, name: &OsStr) -> Result<Box<dyn Object>>;

    /// The length of an object, if there is one. An error is reported when the object is opened.
    fn len(&self, name: &OsStr) -> Option<u64>;

    /// Checks the name of an output. Nothing is asked and created.
    fn check(&self, name: &OsStr) -> Result<()>;

    /// Begins a new object. `len` is about how long it will be, if this is known.
    fn create(&self, name: &OsStr, overwrite: Overwrite, len: Option<u64>) -> Result<Box<dyn NewObject>>;

    /// Changes the header of an object in its place. `plan` is asked once.
    fn rewrap(
        &self,
        name: &OsStr,
        plan: &mut dyn FnMut(&Header) -> waxseal::Result<Plan>,
    ) -> Result<(Report, Option<Value>)>;

    /// Checks what the names of several objects begin with. Nothing is asked.
    fn check_prefix(&self, prefix: &OsStr) -> Result<()>;

    /// Begins to list the objects whose names begin with `prefix`: the name and the length of each. After an error, the
    /// listing has ended.
    fn list(&self, prefix: &OsStr) -> Result<Names>;
}

/// The names of objects, with their lengths.
pub(crate) type Names = Box<dyn Iterator<Item = Result<(OsString, u64)>> + Send>;

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

/// Whether an error about this name is about an object.
pub(crate) fn names_object(name: &str) -> bool {
    object(OsStr::new(name)).is_some()
}

/// What to do about an error with this name, in a store's own words.
pub(crate) fn hint(name: &str, remedy: &Remedy) -> Option<String> {
    object(OsStr::new(name))?.store.hint(remedy)
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

    /// The folders in the key, with the `/` after the last one.
    pub(crate) fn folders(&self) -> &[u8] {
        let (before, _) = self.split();
        &before[self.key_at().min(before.len())..]
    }

    /// Where the key begins: after the `/` that follows the bucket.
    fn key_at(&self) -> usize {
        let (bytes, scheme) = (self.text.as_bytes(), self.store.scheme().len());
        let slash = bytes.iter().skip(scheme).position(|byte| *byte == b'/');
        slash.map_or(bytes.len(), |slash| scheme + slash + 1)
    }

    /// Whether the name can only be that of several objects: a bucket, or what ends in `/`.
    pub(crate) fn is_prefix(&self) -> bool {
        self.text.as_bytes().ends_with(b"/") || self.has_no_key()
    }

    /// Whether it names a bucket only.
    pub(crate) fn has_no_key(&self) -> bool {
        self.key_at() == self.text.len()
    }

    /// What is below it, as if it were a folder.
    pub(crate) fn prefix(&self) -> Result<Prefix> {
        let mut name = self.clone();
        let is_complete = name.text.as_bytes().ends_with(b"/") && name.text.len() > name.store.scheme().len();
        if !is_complete {
            name.text.push("/");
        }
        self.store.check_prefix(&name.text)?;
        Ok(Prefix(name))
    }

    /// Opens it to read it.
    pub(crate) fn open(&self) -> Result<Box<dyn Object>> {
        self.store.open(&self.text)
    }

    /// Its length, if there is an object of this name.
    pub(crate) fn len(&self) -> Option<u64> {
        self.store.len(&self.text)
    }

    /// Checks the name of an output. Nothing is asked and created.
    pub(crate) fn check(&self) -> Result<()> {
        self.store.check(&self.text)
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

/// What the names of several objects begin with. It ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix(ObjectName);

/// An object of a listing.
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: ObjectName,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// The objects below a prefix, as they are found. After an error, it has ended.
pub(crate) type Listing = Box<dyn Iterator<Item = Result<Listed>> + Send>;

impl Prefix {
    /// The prefix itself.
    pub(crate) fn text(&self) -> &OsStr {
        self.0.text()
    }

    /// The last part of it. A bucket has none.
    pub(crate) fn base(&self) -> Option<&OsStr> {
        let key = &self.0.text.as_bytes()[self.0.key_at()..];
        let last = key.strip_suffix(b"/")?.rsplit(|byte| *byte == b'/').next()?;
        Some(OsStr::from_bytes(last)).filter(|last| !last.is_empty())
    }

    /// The folders above its last part, with the `/` after the last one.
    pub(crate) fn folders(&self) -> &[u8] {
        let key = &self.0.text.as_bytes()[self.0.key_at()..];
        &key[..key.len() - self.base().map_or(key.len(), |base| base.len() + 1)]
    }

    /// The rest of the name of an object below it.
    pub(crate) fn rest<'a>(&self, name: &'a ObjectName) -> Option<&'a [u8]> {
        name.text.as_bytes().strip_prefix(self.0.text.as_bytes())
    }

    /// Whether it is below `other`.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        other.rest(&self.0).is_some_and(|rest| !rest.is_empty())
    }

    /// A prefix below it.
    pub(crate) fn join(&self, below: &[u8]) -> Self {
        Self(self.object(OsStr::from_bytes(below)))
    }

    /// The object `name` below it.
    pub(crate) fn object(&self, name: &OsStr) -> ObjectName {
        let mut object = self.0.clone();
        object.text.push(name);
        object
    }

    /// Begins to list the objects below it.
    pub(crate) fn list(&self) -> Result<Listing> {
        let store = self.0.store;
        let names = store.list(&self.0.text)?;
        Ok(Box::new(
            names.map(move |listed| listed.map(|(text, len)| Listed { name: ObjectName { store, text }, len })),
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names() {
        let prefix = |text: &str| {
            let name = object(OsStr::new(text)).unwrap();
            let mut complete = name.clone();
            complete.text.push(if text.len() > 5 && text.ends_with('/') { "" } else { "/" });
            (name.is_prefix(), Prefix(complete))
        };
        for (text, is_prefix, complete, folders, base) in [
            ("s3://b", true, "s3://b/", "", None),
            ("s3://b/", true, "s3://b/", "", None),
            ("s3://b/db", false, "s3://b/db/", "", Some("db")),
            ("s3://b/x/db/", true, "s3://b/x/db/", "x/", Some("db")),
            ("s3://b/x//", true, "s3://b/x//", "", None),
            ("s3://b//x", false, "s3://b//x/", "/", Some("x")),
        ] {
            let (is, prefix) = prefix(text);
            assert_eq!((is, prefix.text(), prefix.base()), (is_prefix, OsStr::new(complete), base.map(OsStr::new)));
            assert_eq!(prefix.folders(), folders.as_bytes(), "{text}");
        }
        let [all, db, db2] = ["s3://b", "s3://b/db", "s3://b/db2"].map(|text| prefix(text).1);
        assert!(db.is_below(&all) && !all.is_below(&db) && !db2.is_below(&db) && !db.is_below(&db));
        let name = object(OsStr::new("s3://b/x/y/a")).unwrap();
        assert_eq!((name.folders(), all.rest(&name)), (&b"x/y/"[..], Some(&b"x/y/a"[..])));
        assert_eq!(object(OsStr::new("s3://b")).unwrap().folders(), b"");
    }
}
