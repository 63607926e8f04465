//! One file to another, and the check of a file.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use waxseal::engine::{Engine, Opened, Sink, Source as Bytes};
use waxseal::error::{Error, Remedy};
use waxseal::io::{Durability, Overwrite};
use waxseal::keys::KeyOpener;
use waxseal::{Demands, Envelope, FileOptions};

use crate::errors::{Result, naming};
use crate::inspection::Inspection;
use crate::interrupt::{Stop, cancellable};
use crate::keys::each;
use crate::objects::{self, Access, Seal};
use crate::parallel;
use crate::process;
use crate::source::Source;

/// A file that was sealed.
#[pyclass(frozen, get_all, module = "pywaxseal")]
pub(crate) struct EncryptedFile {
    /// Bytes of plaintext.
    plaintext_size: u64,
    /// Bytes of the sealed file.
    sealed_size: u64,
    /// What the file system could not promise. The file exists and is complete.
    warnings: Vec<String>,
}

/// A file that was opened into another one.
#[pyclass(frozen, get_all, module = "pywaxseal")]
pub(crate) struct DecryptedFile {
    /// Bytes of plaintext, all authenticated.
    plaintext_size: u64,
    /// The name of the key that opened it.
    key: String,
    /// The header of the sealed file.
    header: Inspection,
    /// What the file system could not promise. The file exists and is complete.
    warnings: Vec<String>,
}

/// A file that was checked.
#[pyclass(frozen, get_all, module = "pywaxseal")]
pub(crate) struct VerifiedFile {
    /// Bytes of plaintext.
    plaintext_size: u64,
    /// The name of the key that opened it.
    key: String,
    /// The header, whose bound parts are authentic.
    header: Inspection,
    /// Whether only the header and the end were checked.
    quick: bool,
    /// The ETag of the object in S3: exactly this object was checked. `None` for anything else.
    e_tag: Option<String>,
    /// Its version id, if its bucket has versions.
    version_id: Option<String>,
}

#[pymethods]
impl EncryptedFile {
    fn __repr__(&self) -> String {
        format!("EncryptedFile(plaintext_size={}, sealed_size={})", self.plaintext_size, self.sealed_size)
    }
}

#[pymethods]
impl DecryptedFile {
    fn __repr__(&self) -> String {
        format!("DecryptedFile(plaintext_size={}, key={:?})", self.plaintext_size, self.key)
    }
}

#[pymethods]
impl VerifiedFile {
    fn __repr__(&self) -> String {
        let quick = if self.quick { "True" } else { "False" };
        format!("VerifiedFile(plaintext_size={}, key={:?}, quick={quick})", self.plaintext_size, self.key)
    }
}

fn files(overwrite: bool, sync: bool, stop: &Stop) -> waxseal::Result<FileOptions<'_>> {
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    let durability = if sync { Durability::Synced } else { Durability::Unsynced };
    let files = FileOptions::new().with_overwrite(overwrite).with_durability(durability);
    Ok(files.with_engine(process::threads()?.engine).with_observer(stop))
}

/// Seals the file `src` into the file `dst`, which appears complete or not at all. It uses all cores.
#[pyfunction]
#[pyo3(signature = (src, dst, *, keys, context = None, labels = None, overwrite = false, sync = true, kms = None))]
#[allow(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
pub(crate) fn encrypt_file(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    keys: &Bound<'_, PyAny>,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    overwrite: bool,
    sync: bool,
    kms: Option<&Bound<'_, PyAny>>,
) -> Result<EncryptedFile> {
    let (input, dst) = (local(src)?, local(dst)?);
    let Seal { sealers, options, .. } = Seal::new(py, Some(keys), context, labels, kms)?;
    let sealed = cancellable(py, move |stop| {
        let envelope = || Envelope::new(&each(&sealers), &options);
        files(overwrite, sync, stop)?.encrypt_with(input, dst, envelope)
    });
    let sealed = naming(src, sealed.and_then(|sealed| Ok(sealed?)))?;
    let warnings = sealed.missed.iter().map(ToString::to_string).collect();
    Ok(EncryptedFile { plaintext_size: sealed.plaintext_len, sealed_size: sealed.file_len, warnings })
}

/// Opens the file `src` into the file `dst`, which appears complete or not at all. It uses all cores.
#[pyfunction]
#[pyo3(signature = (src, dst, *, keys = None, context = None, labels = None, overwrite = false, sync = true, kms = None))]
#[allow(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
pub(crate) fn decrypt_file(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    overwrite: bool,
    sync: bool,
    kms: Option<&Bound<'_, PyAny>>,
) -> Result<DecryptedFile> {
    let (input, dst) = (local(src)?, local(dst)?);
    let Access { openers, demands, .. } = Access::new(py, keys, context, labels, kms)?;
    let opened =
        cancellable(py, move |stop| files(overwrite, sync, stop)?.decrypt(input, dst, &each(&openers), &demands));
    let opened = naming(src, opened.and_then(|opened| Ok(opened?)))?;
    Ok(DecryptedFile {
        plaintext_size: opened.plaintext_len,
        key: opened.by.key,
        header: Inspection::of(&opened.header, None),
        warnings: opened.missed.iter().map(ToString::to_string).collect(),
    })
}

/// Checks that a key opens the file, and that all of it is authentic. With `quick`, only the header and the end are
/// checked. `path` is a path, `s3://BUCKET/KEY`, or a file object.
#[pyfunction]
#[pyo3(signature = (path, *, keys = None, quick = false, context = None, labels = None, kms = None, s3 = None))]
#[allow(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
pub(crate) fn verify(
    py: Python<'_>,
    path: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    quick: bool,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    kms: Option<&Bound<'_, PyAny>>,
    s3: Option<&Bound<'_, PyAny>>,
) -> Result<VerifiedFile> {
    let access = Access::new(py, keys, context, labels, kms)?;
    let Ok(source) = objects::source(path, s3)? else {
        return Err(Error::Invalid("only what can seek is verified: a file, and no pipe".into()).into());
    };
    let (e_tag, version_id) = match &source {
        Source::Object(object, _) => (Some(object.etag().to_owned()), object.version_id().map(str::to_owned)),
        Source::File(_) | Source::Python(_) => (None, None),
    };
    if quick {
        let opened = access.run(py, move |openers, demands| parallel::Opened::open(source, openers, demands))?;
        return Ok(VerifiedFile {
            plaintext_size: opened.len(),
            header: Inspection::of(&opened.header, None),
            key: opened.by.key,
            quick,
            e_tag,
            version_id,
        });
    }
    // All bytes are read here and opened on all threads, as a file object of Python needs it.
    if matches!(source, Source::Python(_)) {
        return by_reading(py, source, &each(&access.openers), &access.demands);
    }
    let Access { openers, demands, .. } = access;
    let opened = cancellable(py, move |stop| whole(&source, &each(&openers), &demands, stop))??;
    let header = Inspection::of(&opened.header, None);
    Ok(VerifiedFile { plaintext_size: opened.plaintext_len, key: opened.by.key, header, quick, e_tag, version_id })
}

fn whole(source: &Source, openers: &[&dyn KeyOpener], demands: &Demands, stop: &Stop) -> waxseal::Result<Opened> {
    let engine: Arc<Engine> = process::threads()?.engine;
    let mut reader;
    let bytes = match source {
        Source::File(file) => Bytes::from_file(file),
        Source::Object(object, _) => {
            reader = object.reader();
            Bytes::Stream(&mut reader)
        }
        Source::Python(_) => return Err(Error::Bug("a file object is read on the caller's thread")),
    };
    engine.open(bytes, Sink::Nowhere, openers, demands, stop)
}

fn by_reading(py: Python<'_>, source: Source, openers: &[&dyn KeyOpener], demands: &Demands) -> Result<VerifiedFile> {
    let opened = py.detach(|| parallel::Opened::open(source, openers, demands))?;
    let mut buffer = parallel::Plain::of_len(parallel::FAR_BLOCK);
    let mut at = 0;
    while at < opened.len() {
        py.check_signals()?;
        let len = usize::try_from(opened.len() - at).unwrap_or(usize::MAX).min(buffer.0.len());
        let (made, failed) = py.detach(|| opened.fill_parallel(at, &mut buffer.0[..len]));
        if let Some(error) = failed {
            return Err(error.into());
        }
        at += made as u64;
    }
    let header = Inspection::of(&opened.header, None);
    let (e_tag, version_id) = (None, None);
    Ok(VerifiedFile { plaintext_size: opened.len(), key: opened.by.key, header, quick: false, e_tag, version_id })
}

/// A path of this machine.
fn local(path: &Bound<'_, PyAny>) -> Result<PathBuf> {
    if objects::named(path)?.is_some() {
        let remedy = Remedy::Other("pywaxseal.open reads an object, and shutil.copyfileobj copies it".into());
        return Err(Error::setting("this function takes local files, and no objects in S3", remedy).into());
    }
    objects::path(path)
}
