//! Where sealed bytes come from: a local file, an object in S3, or a file object of Python that can seek.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use waxseal::error::Error;
use waxseal::io::{ReadAt, open_input};
use waxseal_aws_s3::Object;

use crate::errors::Result;
use crate::process;

/// Sealed bytes that can be read at any position.
pub(crate) enum Source {
    /// A local file.
    File(File),
    /// An object in S3, and the process that opened it: the threads that read it are in this process only.
    Object(Object, u32),
    /// A file object of Python.
    Python(Mutex<PyFile>),
}

impl Source {
    /// Opens a file. Anything but a regular file or a block device is only read in order, and is returned as it is.
    pub(crate) fn open(path: &Path) -> Result<std::result::Result<Self, File>> {
        use std::os::unix::fs::FileTypeExt;
        let failed = |error| Error::io(format!("opening {}", path.display()), error);
        let file = open_input(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        Ok(if kind.is_file() || kind.is_block_device() {
            Ok(Self::File(file))
        } else if kind.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()).into());
        } else {
            Err(file)
        })
    }

    /// Whether several threads may read at the same time, without the interpreter.
    pub(crate) fn is_free(&self) -> bool {
        !matches!(self, Self::Python(_))
    }

    /// Whether it is far away, so that many reads should be under way at the same time.
    pub(crate) fn is_far(&self) -> bool {
        matches!(self, Self::Object(..))
    }
}

impl ReadAt for Source {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => ReadAt::read_at(file, buffer, position),
            Self::Object(object, process) if *process == process::id() => object.read_at(buffer, position),
            Self::Object(..) => Err(io::Error::from(Error::Invalid(
                "an object in S3 that was opened before a fork cannot be read after it: open it again".into(),
            ))),
            Self::Python(file) => process::lock(file).read_at(buffer, position),
        }
    }

    fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => ReadAt::size(file),
            Self::Object(object, _) => object.size(),
            Self::Python(file) => Ok(process::lock(file).size),
        }
    }
}

/// A file object of Python that can seek.
pub(crate) struct PyFile {
    file: Py<PyAny>,
    size: u64,
}

impl PyFile {
    pub(crate) fn new(file: &Bound<'_, PyAny>) -> PyResult<Self> {
        let size = file.call_method1("seek", (0, 2))?.extract::<Option<u64>>()?;
        let size = match size {
            Some(size) => size,
            // Some file objects do not say where they are.
            None => file.call_method0("tell")?.extract()?,
        };
        Ok(Self { file: file.clone().unbind(), size })
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = Python::try_attach(|py| {
            let file = self.file.bind(py);
            // The file belongs to the caller, who may have moved in it since the last read.
            file.call_method1("seek", (position,))?;
            read_once(file, buffer)
        });
        read.unwrap_or_else(|| Err(PyOSError::new_err("the interpreter ends"))).map_err(io::Error::other)
    }
}

/// One read of a file object. It gets no part of `buffer`: it could keep it.
pub(crate) fn read_once(file: &Bound<'_, PyAny>, buffer: &mut [u8]) -> PyResult<usize> {
    let bytes = file.call_method1("read", (buffer.len(),))?;
    if bytes.is_none() {
        return Err(would_block());
    }
    let too_many = || PyOSError::new_err("the file object has returned more than it was asked for");
    copied(&bytes, buffer)?.ok_or_else(too_many)
}

/// The error for a file object that does not wait.
pub(crate) fn would_block() -> PyErr {
    pyo3::exceptions::PyBlockingIOError::new_err("the file object does not wait: use one that does")
}

/// Copies `bytes` to the front of `buffer`. `None` if they are too many.
pub(crate) fn copied(bytes: &Bound<'_, PyAny>, buffer: &mut [u8]) -> PyResult<Option<usize>> {
    if let Ok(bytes) = bytes.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        let Some(into) = buffer.get_mut(..bytes.len()) else { return Ok(None) };
        into.copy_from_slice(bytes);
        return Ok(Some(bytes.len()));
    }
    let py = bytes.py();
    let bytes = PyBuffer::<u8>::get(bytes)?;
    let Some(into) = buffer.get_mut(..bytes.len_bytes()) else { return Ok(None) };
    bytes.copy_to_slice(py, into)?;
    Ok(Some(into.len()))
}
