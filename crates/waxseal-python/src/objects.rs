//! What all functions have in common: names, keys, demands, and the objects in S3.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PyString};
use waxseal::error::{Error, Remedy};
use waxseal::format::Pairs;
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::{Demands, Envelope, SealOptions};
use waxseal_aws_s3::S3Name;

use crate::aws::{self, KmsChoice, S3Settings};
use crate::errors::{Result, naming};
use crate::interrupt;
use crate::keys::{Key, each, openers, sealers};
use crate::process;
use crate::source::{PyFile, Source};

/// What a caller gives to open or to seal a file.
struct Given {
    keys: Vec<Key>,
    kms: KmsChoice,
    context: Pairs,
    labels: Pairs,
}

impl Given {
    fn new(
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let named = Key::all_of(keys)?;
        // Without keys, those of the caller's own account are called. An empty list is more likely a mistake.
        if named.is_empty() && keys.is_some_and(|keys| !keys.is_none()) {
            let remedy = Remedy::Other("name a key with keys=".into());
            return Err(Error::setting("the list of keys is empty", remedy).into());
        }
        Ok(Self { keys: named, kms: KmsChoice::of(kms)?, context: pairs(context)?, labels: pairs(labels)? })
    }

    /// Whether all keys are on this machine. Then nobody has to wait for them.
    fn are_near(&self) -> bool {
        !self.keys.is_empty() && self.keys.iter().all(Key::is_near)
    }
}

/// Runs what asks keys. While a key service is asked, signals are looked for.
fn ask<T: Send + 'static>(
    py: Python<'_>,
    are_near: bool,
    run: impl FnOnce() -> waxseal::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(if are_near { py.detach(run) } else { interrupt::wait(py, run)? }?)
}

/// The keys that open, and what a file must have.
pub(crate) struct Access {
    pub(crate) openers: Vec<Arc<dyn KeyOpener>>,
    pub(crate) demands: Demands,
    are_near: bool,
}

impl Access {
    pub(crate) fn new(
        py: Python<'_>,
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let given = Given::new(keys, context, labels, kms)?;
        let (openers, are_near) = (openers(py, &given.keys, &given.kms)?, given.are_near());
        let demands = Demands::new().with_context(given.context).with_labels(given.labels);
        Ok(Self { openers, demands, are_near })
    }

    /// Runs `open` with the keys and demands.
    pub(crate) fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        open: impl FnOnce(&[&dyn KeyOpener], &Demands) -> waxseal::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Self { openers, demands, are_near } = self;
        ask(py, are_near, move || open(&each(&openers), &demands))
    }
}

/// The keys that seal, and what is bound to the file.
pub(crate) struct Seal {
    pub(crate) sealers: Vec<Arc<dyn KeySealer>>,
    pub(crate) options: SealOptions,
    are_near: bool,
}

impl Seal {
    pub(crate) fn new(
        py: Python<'_>,
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let given = Given::new(keys, context, labels, kms)?;
        let (sealers, are_near) = (sealers(py, &given.keys, &given.kms)?, given.are_near());
        let options = SealOptions::new().with_context(given.context).with_labels(given.labels);
        Ok(Self { sealers, options, are_near })
    }

    /// A new data key and its slots, for one file.
    pub(crate) fn envelope(self, py: Python<'_>) -> Result<Envelope> {
        let Self { sealers, options, are_near } = self;
        ask(py, are_near, move || Envelope::new(&each(&sealers), &options))
    }
}

/// A mapping of names to values.
pub(crate) fn pairs(object: Option<&Bound<'_, PyAny>>) -> Result<Pairs> {
    let Some(object) = object.filter(|object| !object.is_none()) else { return Ok(Pairs::default()) };
    let wrong = |what: &str| PyTypeError::new_err(format!("context and labels are mappings of str to str, not {what}"));
    let Ok(mapping) = object.cast::<PyMapping>() else {
        return Err(wrong(&object.get_type().name()?.to_string()).into());
    };
    let pairs: Vec<(String, String)> = mapping.items()?.extract().map_err(|_| wrong("of other types"))?;
    Ok(Pairs::new(pairs)?)
}

/// Whether an argument is a file object with this method, and no name of a file. Some names can read, too.
pub(crate) fn is_file(object: &Bound<'_, PyAny>, method: &str) -> PyResult<bool> {
    Ok(object.hasattr(method)? && !object.hasattr("__fspath__")?)
}

/// The path that an argument names: a str, bytes, or an object with `__fspath__`.
pub(crate) fn path(object: &Bound<'_, PyAny>) -> Result<PathBuf> {
    let name = object.py().import("os")?.call_method1("fspath", (object,))?;
    let path = match name.cast::<PyBytes>() {
        Ok(bytes) => OsString::from_vec(bytes.as_bytes().to_vec()).into(),
        Err(_) => name.extract::<PathBuf>()?,
    };
    usable(&path)?;
    Ok(path)
}

/// Refuses a name that the system cannot have, as `open` does.
pub(crate) fn usable(path: &std::path::Path) -> Result<()> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::Invalid(format!("the name of a file has a zero byte: {path:?}")).into());
    }
    Ok(())
}

/// The object in S3 that an argument names, if it is a str that begins as such a name.
pub(crate) fn named(file: &Bound<'_, PyAny>) -> Result<Option<S3Name>> {
    let Ok(text) = file.cast::<PyString>() else { return Ok(None) };
    // A text that is not UTF-8 is the name of a local file.
    match text.to_cow() {
        Ok(text) => aws::object_named(&text),
        Err(_) => Ok(None),
    }
}

/// The bytes that an argument names or is: a file object, an object in S3 or a path. A file that is only read in order is
/// returned as it is.
pub(crate) fn source(
    file: &Bound<'_, PyAny>,
    s3: Option<&Bound<'_, PyAny>>,
) -> Result<std::result::Result<Source, File>> {
    if is_file(file, "read")? {
        return Ok(Ok(Source::Python(Mutex::new(PyFile::new(file)?))));
    }
    let found = match named(file)? {
        Some(name) => object(file.py(), &name, s3).map(Ok),
        None => path(file).and_then(|path| Source::open(&path)),
    };
    naming(file, found)
}

/// Opens an object with one request.
fn object(py: Python<'_>, name: &S3Name, s3: Option<&Bound<'_, PyAny>>) -> Result<Source> {
    let (settings, name) = (S3Settings::of(s3)?, name.clone());
    let object = interrupt::wait(py, move || settings.handle()?.object(&name))??;
    Ok(Source::Object(object, process::id()))
}
