//! What all functions that open have in common: keys, demands, and the names of objects in S3.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;
use waxseal::format::Pairs;
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::{Demands, Envelope, SealOptions};
use waxseal_aws_s3::S3Name;

use crate::aws::{self, KmsChoice, S3Settings};
use crate::errors::Result;
use crate::interrupt;
use crate::keys::{Key, each, openers, sealers};
use crate::process;
use crate::source::Source;

/// The keys that open, and what a file must have.
pub(crate) struct Access {
    pub(crate) openers: Vec<Arc<dyn KeyOpener>>,
    pub(crate) demands: Demands,
    /// Whether a key is on this machine, so that it opens at once.
    is_near: bool,
}

impl Access {
    pub(crate) fn new(
        py: Python<'_>,
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let demands = Demands::new().with_context(pairs(context)?).with_labels(pairs(labels)?);
        let (keys, kms) = (Key::all_of(keys)?, KmsChoice::of(kms)?);
        let is_near = !keys.is_empty() && keys.iter().all(Key::is_near);
        Ok(Self { openers: openers(py, &keys, &kms)?, demands, is_near })
    }

    /// Runs `open` with the keys and demands. While a key service is asked, signals are looked for.
    pub(crate) fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        open: impl FnOnce(&[&dyn KeyOpener], &Demands) -> waxseal::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Self { openers, demands, is_near } = self;
        let run = move || open(&each(&openers), &demands);
        Ok(if is_near { py.detach(run) } else { interrupt::wait(py, run)? }?)
    }
}

/// The keys that seal, and what is bound to the file.
pub(crate) struct Seal {
    pub(crate) sealers: Vec<Arc<dyn KeySealer>>,
    pub(crate) options: SealOptions,
    /// Whether all keys are on this machine.
    is_near: bool,
}

impl Seal {
    pub(crate) fn new(
        py: Python<'_>,
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let options = SealOptions::new().with_context(pairs(context)?).with_labels(pairs(labels)?);
        let (keys, kms) = (Key::all_of(keys)?, KmsChoice::of(kms)?);
        Ok(Self { sealers: sealers(py, &keys, &kms)?, options, is_near: keys.iter().all(Key::is_near) })
    }

    /// A new data key and its slots, for one file. While a key service is asked, signals are looked for.
    pub(crate) fn envelope(self, py: Python<'_>) -> Result<Envelope> {
        let Self { sealers, options, is_near } = self;
        let make = move || Envelope::new(&each(&sealers), &options);
        Ok(if is_near { py.detach(make) } else { interrupt::wait(py, make)? }?)
    }
}

/// A dict of names and values.
pub(crate) fn pairs(object: Option<&Bound<'_, PyAny>>) -> Result<Pairs> {
    let Some(object) = object.filter(|object| !object.is_none()) else { return Ok(Pairs::default()) };
    let pairs: HashMap<String, String> = object.extract()?;
    Ok(Pairs::new(pairs)?)
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

/// Opens an object with one request.
pub(crate) fn open(py: Python<'_>, name: &S3Name, s3: Option<&Bound<'_, PyAny>>) -> Result<Source> {
    let (settings, name) = (S3Settings::of(s3)?, name.clone());
    let object = interrupt::wait(py, move || settings.handle()?.object(&name))??;
    Ok(Source::Object(object, process::id()))
}
