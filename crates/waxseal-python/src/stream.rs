//! Reads what cannot seek, such as a pipe, in order.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Mutex;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PySlice};
use waxseal::error::Error;
use waxseal::keys::KeyOpener;
use waxseal::{Demands, OpenReader};

use crate::errors::Result;
use crate::inspection::Inspection;
use crate::interrupt;
use crate::objects::Access;
use crate::parallel::Plain;
use crate::process::lock;
use crate::source::read_once;

/// At most so much is opened for one read.
const MOST: usize = 1 << 20;
/// A file object is asked for so many sealed bytes.
const AT_ONCE: usize = 256 << 10;

/// A file that is read in order.
#[pyclass(frozen, module = "pywaxseal._native")]
pub(crate) struct StreamReader {
    /// Absent while it is read.
    reader: Mutex<Option<OpenReader<BufReader<Input>>>>,
    key: String,
    header: Inspection,
}

/// Sealed bytes in order.
pub(crate) enum Input {
    File(File),
    Python(Py<PyAny>),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Python(file) => {
                let read = Python::try_attach(|py| {
                    py.check_signals()?;
                    read_once(file.bind(py), buffer)
                });
                read.unwrap_or_else(|| Err(PyOSError::new_err("the interpreter ends"))).map_err(io::Error::other)
            }
        }
    }
}

#[pymethods]
impl StreamReader {
    /// The name of the key that opened the file.
    #[getter]
    fn key(&self) -> &str {
        &self.key
    }

    /// The header. What it binds is authentic.
    #[getter]
    fn header(&self) -> Inspection {
        self.header.clone()
    }

    /// Fills the buffer, as far as one read goes. 0 at the end, which is authenticated.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> Result<usize> {
        let want = PyBuffer::<u8>::get(buffer)?.item_count().min(MOST);
        interrupt::check(py)?;
        let busy = || PyRuntimeError::new_err("this file is being read by another thread or by the caller of this one");
        let mut reader = lock(&self.reader).take().ok_or_else(busy)?;
        let mut bytes = Plain::of_len(want);
        let read = py.detach(|| reader.read(&mut bytes.0));
        *lock(&self.reader) = Some(reader);
        let read = read.map_err(|error| Error::io("reading the input", error))?;
        let len = isize::try_from(read).map_err(|_| Error::Bug("a read that is too long"))?;
        let front = PyMemoryView::from(buffer)?.get_item(PySlice::new(py, 0, len, 1))?;
        PyBuffer::<u8>::get(&front)?.copy_from_slice(py, &bytes.0[..read])?;
        Ok(read)
    }
}

impl StreamReader {
    pub(crate) fn open(py: Python<'_>, input: Input, access: Access) -> Result<Self> {
        let input = BufReader::with_capacity(AT_ONCE, input);
        let open = move |openers: &[&dyn KeyOpener], demands: &Demands| OpenReader::new(input, openers, demands);
        let reader = access.run(py, open)?;
        let (key, header) = (reader.opened_by().key.clone(), Inspection::of(reader.header(), None));
        Ok(Self { reader: Mutex::new(Some(reader)), key, header })
    }
}

/// Opens a file object that can only be read in order.
#[pyfunction]
#[pyo3(signature = (file, *, keys = None, context = None, labels = None, kms = None))]
pub(crate) fn open_stream(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    context: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    kms: Option<&Bound<'_, PyAny>>,
) -> Result<StreamReader> {
    let access = Access::new(py, keys, context, labels, kms)?;
    StreamReader::open(py, Input::Python(file.clone().unbind()), access)
}
