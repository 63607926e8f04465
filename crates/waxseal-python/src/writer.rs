//! Seals what is written into a file, which appears complete or not at all, or into a file object of Python.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use waxseal::container::Sealing;
use waxseal::error::Error;
use waxseal::io::{AtomicFile, Destination, Durability, Overwrite};
use waxseal_aws_s3::Overwrite as Replacing;
use zeroize::Zeroizing;

use crate::errors::Result;
use crate::interrupt;
use crate::leftover::Record;
use crate::objects::{self, Seal};
use crate::process::{self, lock};
use crate::sealer::{BATCH, Own, in_batches};
use crate::source::would_block;
use crate::upload::NewObject;

/// A file that is being sealed.
#[pyclass(frozen, module = "pywaxseal._native")]
pub(crate) struct Writer {
    /// Absent after the end, after a failure, and while it is used.
    writing: Mutex<Option<Writing>>,
}

struct Writing {
    /// Absent in no case but a drop.
    parts: Option<Parts>,
}

struct Parts {
    own: Own,
    /// Plaintext that is being collected.
    plaintext: Zeroizing<Vec<u8>>,
    /// Sealed bytes that are still to be written.
    sealed: Vec<u8>,
    /// The buffer for the next ones.
    next: Vec<u8>,
    target: Target,
}

enum Target {
    /// A file that gets its name at the end, and how many bytes it has.
    File { made: AtomicFile, written: u64, durability: Durability },
    /// An object in S3.
    Object(NewObject),
    /// A file object of Python.
    Python(Py<PyAny>),
}

impl Drop for Writing {
    /// A child of `fork` leaves the file of its parent alone: it may have a name that the drop would remove.
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take().filter(|parts| !parts.own.is_here()) {
            std::mem::forget(parts.target);
        }
    }
}

impl Writing {
    /// The object, if one is written.
    fn record(&self) -> Option<Arc<Record>> {
        match &self.parts.as_ref()?.target {
            Target::Object(object) => Some(object.record()),
            Target::File { .. } | Target::Python(_) => None,
        }
    }

    /// Gives up what was written, and says in the error what is left of it.
    fn failed<T>(self, py: Python<'_>, done: Result<T>) -> Result<T> {
        let record = self.record();
        drop(self);
        told(py, record.as_deref(), done)
    }
}

fn told<T>(py: Python<'_>, record: Option<&Record>, done: Result<T>) -> Result<T> {
    match record {
        Some(record) => record.told(py, done),
        None => done,
    }
}

impl Parts {
    /// Collects short writes. Long ones are sealed where they are.
    fn take(&mut self, py: Python<'_>, part: &[u8]) -> Result<()> {
        if self.plaintext.is_empty() && part.len() >= BATCH {
            return self.seal(py, part);
        }
        let room = BATCH - self.plaintext.len();
        let (now, later) = part.split_at(room.min(part.len()));
        self.plaintext.extend_from_slice(now);
        if self.plaintext.len() == BATCH {
            self.seal_collected(py)?;
        }
        self.plaintext.extend_from_slice(later);
        Ok(())
    }

    fn seal_collected(&mut self, py: Python<'_>) -> Result<()> {
        let mut plaintext = std::mem::take(&mut self.plaintext);
        let sealed = self.seal(py, &plaintext);
        plaintext.clear();
        self.plaintext = plaintext;
        sealed
    }

    /// Seals `plaintext`, and writes what was sealed before at the same time.
    fn seal(&mut self, py: Python<'_>, plaintext: &[u8]) -> Result<()> {
        let Self { own, sealed, next, target, .. } = self;
        next.clear();
        match target {
            Target::File { made, written, .. } => py.detach(|| {
                let mut write = || write_at(made, sealed, written);
                if plaintext.len() < BATCH / 8 {
                    write()?;
                    return own.push(plaintext, next);
                }
                let pool = process::threads()?.pool;
                let (written, made) = pool.install(|| rayon::join(write, || own.push(plaintext, next)));
                written.and(made)
            })?,
            Target::Object(object) => {
                *sealed = object.write(py, std::mem::take(sealed))?;
                py.detach(|| own.push(plaintext, next))?;
            }
            Target::Python(file) => {
                write_to(file.bind(py), sealed)?;
                py.detach(|| own.push(plaintext, next))?;
            }
        }
        std::mem::swap(sealed, next);
        Ok(())
    }

    /// Seals the end, and writes all that is left. Only then is the file valid.
    fn finish(mut self, py: Python<'_>) -> Result<Vec<String>> {
        self.seal_collected(py)?;
        let Self { own, mut sealed, target, .. } = self;
        match target {
            Target::File { made, mut written, durability } => {
                py.detach(|| {
                    own.sealing.finish(&mut sealed)?;
                    write_at(&made, &sealed, &mut written)
                })?;
                interrupt::check(py)?;
                let missed = py.detach(|| made.commit(durability))?;
                Ok(missed.iter().map(ToString::to_string).collect())
            }
            Target::Object(object) => {
                py.detach(|| own.sealing.finish(&mut sealed))?;
                object.complete(py, sealed)
            }
            Target::Python(file) => {
                py.detach(|| own.sealing.finish(&mut sealed))?;
                interrupt::check(py)?;
                write_to(file.bind(py), &sealed)?;
                Ok(Vec::new())
            }
        }
    }
}

fn write_at(made: &AtomicFile, bytes: &[u8], position: &mut u64) -> waxseal::Result<()> {
    let written = made.file().write_all_at(bytes, *position);
    written.map_err(|error| Error::io("writing the output", error))?;
    *position += bytes.len() as u64;
    Ok(())
}

/// Writes all bytes into a file object, which may take a part of them.
fn write_to(file: &Bound<'_, PyAny>, mut bytes: &[u8]) -> PyResult<()> {
    while !bytes.is_empty() {
        let (now, _) = bytes.split_at(bytes.len().min(BATCH));
        let answer = file.call_method1("write", (PyBytes::new(file.py(), now),))?;
        let taken = if answer.is_none() {
            // A raw file has taken nothing, because it would have to wait. Other file objects do not say how many bytes
            // they took, because they always take all.
            if is_raw(file)? {
                return Err(would_block());
            }
            now.len()
        } else {
            answer.extract::<usize>().unwrap_or(0)
        };
        if taken == 0 || taken > now.len() {
            return Err(PyOSError::new_err("the file object has not taken the bytes"));
        }
        bytes = &bytes[taken..];
    }
    Ok(())
}

fn is_raw(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    file.is_instance(&file.py().import("io")?.getattr("RawIOBase")?)
}

impl Writer {
    fn take(&self) -> Result<Writing> {
        let gone = || PyValueError::new_err("this file is closed, its writing has failed, or it is in use");
        let writing = lock(&self.writing).take().ok_or_else(gone)?;
        if let Some(parts) = &writing.parts
            && let Err(error) = parts.own.check()
        {
            *lock(&self.writing) = Some(writing);
            return Err(error);
        }
        Ok(writing)
    }
}

#[pymethods]
impl Writer {
    /// Takes all bytes of a buffer. After an error the file is lost.
    fn write(&self, data: &Bound<'_, PyAny>) -> Result<usize> {
        let mut writing = self.take()?;
        let taken = match &mut writing.parts {
            Some(parts) => in_batches(data, &mut |py, part| parts.take(py, part)),
            None => Err(Error::Bug("a writer without parts").into()),
        };
        match taken {
            Ok(taken) => {
                *lock(&self.writing) = Some(writing);
                Ok(taken)
            }
            failed => writing.failed(data.py(), failed),
        }
    }

    /// Seals the end, and gives the file its name. Returns what the file system could not promise.
    fn commit(&self, py: Python<'_>) -> Result<Vec<String>> {
        let mut writing = self.take()?;
        if let Err(error) = interrupt::check(py) {
            return writing.failed(py, Err(error));
        }
        let record = writing.record();
        match writing.parts.take() {
            Some(parts) => told(py, record.as_deref(), parts.finish(py)),
            None => Err(Error::Bug("a writer without parts").into()),
        }
    }

    /// Ends the writing without a valid file. It never fails, and waits until S3 has nothing of an object. Returns what
    /// may be left there.
    fn discard(&self, py: Python<'_>) -> Vec<String> {
        let Some(writing) = lock(&self.writing).take() else { return Vec::new() };
        let is_here = writing.parts.as_ref().is_some_and(|parts| parts.own.is_here());
        let record = writing.record().filter(|_| is_here);
        drop(writing);
        record.map_or_else(Vec::new, |record| record.left(py))
    }

    /// Bytes of plaintext that were written.
    fn tell(&self) -> Result<u64> {
        let writing = lock(&self.writing);
        let parts = writing.as_ref().and_then(|writing| writing.parts.as_ref());
        let parts = parts.ok_or_else(|| PyValueError::new_err("this file is closed, or its writing has failed"))?;
        Ok(parts.own.sealing.plaintext_len() + parts.plaintext.len() as u64)
    }
}

/// Begins to seal into a path, an object in S3 or a file object.
#[pyfunction]
#[pyo3(signature = (file, *, keys, overwrite, context = None, labels = None, kms = None, s3 = None, sync = true))]
#[allow(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
pub(crate) fn open_writer(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    overwrite: bool,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    kms: Option<&Bound<'_, PyAny>>,
    s3: Option<&Bound<'_, PyAny>>,
    sync: bool,
) -> Result<Writer> {
    let seal = Seal::new(py, keys, context, labels, kms)?;
    let target = if objects::is_file(file, "write")? {
        Target::Python(file.clone().unbind())
    } else if let Some(name) = objects::named(file)? {
        let overwrite = if overwrite { Replacing::Replace } else { Replacing::Refuse };
        Target::Object(NewObject::create(py, name, s3, overwrite)?)
    } else {
        let path = objects::path(file)?;
        let durability = if sync { Durability::Synced } else { Durability::Unsynced };
        Target::File { made: py.detach(|| create(&path, overwrite))?, written: 0, durability }
    };
    let own = Own::new(Sealing::new(seal.envelope(py)?));
    let parts = Parts { own, plaintext: Zeroizing::default(), sealed: Vec::new(), next: Vec::new(), target };
    Ok(Writer { writing: Mutex::new(Some(Writing { parts: Some(parts) })) })
}

/// A file without a name so far. A file that is replaced gives it its permissions.
fn create(path: &Path, overwrite: bool) -> waxseal::Result<AtomicFile> {
    let destination = Destination::at(path)?;
    let name = || path.display();
    let mode = match destination.found() {
        None => new_mode(),
        Some(there) if !there.is_file() => {
            return Err(Error::Invalid(format!("the output {} is not a regular file", name())));
        }
        Some(_) if !overwrite => {
            return Err(Error::io(format!("making {}", name()), io::ErrorKind::AlreadyExists.into()));
        }
        Some(_) if destination.is_mount_point() => {
            return Err(Error::io(format!("making {}", name()), io::ErrorKind::ResourceBusy.into()));
        }
        Some(there) => there.permissions().mode() & 0o777,
    };
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    AtomicFile::create(destination, overwrite, mode)
}

/// The permissions that `open` gives to a new file. The mask is read and not set, because other threads use it.
fn new_mode() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).map_or(0o600, |mask| 0o666 & !mask)
}
