//! Seals what is pushed, for a target of the caller's own.

use std::sync::Mutex;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use waxseal::container::Sealing;
use waxseal::error::Error;

use crate::errors::Result;
use crate::interrupt;
use crate::objects::Seal;
use crate::parallel::Plain;
use crate::process::{self, lock};

/// At so many bytes, several threads seal. Between two looks for signals, so many are sealed.
pub(crate) const BATCH: usize = 4 << 20;

/// A sealing that belongs to one process. A child of `fork` has a copy of it, and must not use the same nonces for other
/// bytes.
pub(crate) struct Own {
    process: u32,
    pub(crate) sealing: Sealing,
}

impl Own {
    pub(crate) fn new(sealing: Sealing) -> Self {
        Self { process: process::id(), sealing }
    }

    /// Fails in any process but the one that made it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(Error::Invalid("sealing began before a fork, and goes on only in the process that began it".into()).into())
    }

    pub(crate) fn is_here(&self) -> bool {
        self.process == process::id()
    }

    /// Seals on all threads if that is worth it.
    pub(crate) fn push(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> waxseal::Result<()> {
        if plaintext.len() < BATCH / 8 {
            return self.sealing.push(plaintext, out);
        }
        let pool = process::threads()?.pool;
        pool.install(|| self.sealing.push_parallel(plaintext, out))
    }
}

/// Gives the bytes of `data` to `each`, at most [`BATCH`] at a time. `bytes` cannot change, and is not copied.
pub(crate) fn in_batches(
    data: &Bound<'_, PyAny>,
    each: &mut dyn FnMut(Python<'_>, &[u8]) -> Result<()>,
) -> Result<usize> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        for part in bytes.chunks(BATCH) {
            interrupt::check(py)?;
            each(py, part)?;
        }
        return Ok(bytes.len());
    }
    let view = PyMemoryView::from(data)?;
    // Bytes with gaps, and of kinds that Python has no name for, are put in order first.
    let Ok(view) = view.call_method1("cast", ("B",)) else {
        return in_batches(&view.call_method0("tobytes")?, each);
    };
    let len = view.len()?;
    let mut copy = Plain::default();
    for from in (0..len).step_by(BATCH) {
        interrupt::check(py)?;
        let to = len.min(from + BATCH);
        copy.0.resize(to - from, 0);
        let bounds = [from, to].map(isize::try_from);
        let [Ok(start), Ok(end)] = bounds else { return Err(Error::Bug("a buffer that is too long").into()) };
        let part = view.get_item(PySlice::new(py, start, end, 1))?;
        PyBuffer::<u8>::get(&part)?.copy_to_slice(py, &mut copy.0)?;
        each(py, &copy.0)?;
    }
    Ok(len)
}

/// Seals plaintext that is pushed, and returns the bytes of the file as they come. The file is valid only with what
/// `finish` returns.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Sealer {
    /// Absent after the end, after a failure, and while it is used.
    own: Mutex<Option<Own>>,
}

impl Sealer {
    fn take(&self) -> Result<Own> {
        let gone = || PyValueError::new_err("this sealer is finished, has failed, or is in use");
        Ok(lock(&self.own).take().ok_or_else(gone)?)
    }
}

#[pymethods]
impl Sealer {
    #[new]
    #[pyo3(signature = (*, keys, context = None, labels = None, kms = None))]
    fn new(
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let envelope = Seal::new(py, Some(keys), context, labels, kms)?.envelope(py)?;
        Ok(Self { own: Mutex::new(Some(Own::new(Sealing::new(envelope)))) })
    }

    /// Takes plaintext, and returns bytes of the file: about as many, or none yet.
    fn push<'py>(&self, data: &Bound<'py, PyAny>) -> Result<Bound<'py, PyBytes>> {
        let mut own = self.take()?;
        if let Err(error) = own.check() {
            *lock(&self.own) = Some(own);
            return Err(error);
        }
        let mut sealed = Vec::new();
        in_batches(data, &mut |py, part| Ok(py.detach(|| own.push(part, &mut sealed))?))?;
        *lock(&self.own) = Some(own);
        Ok(PyBytes::new(data.py(), &sealed))
    }

    /// Seals the end, and returns the rest of the file.
    fn finish<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        let own = self.take()?;
        if let Err(error) = own.check() {
            *lock(&self.own) = Some(own);
            return Err(error);
        }
        let mut sealed = Vec::new();
        py.detach(|| own.sealing.finish(&mut sealed))?;
        Ok(PyBytes::new(py, &sealed))
    }

    /// Bytes of plaintext that were pushed.
    #[getter]
    fn size(&self) -> Option<u64> {
        lock(&self.own).as_ref().map(|own| own.sealing.plaintext_len())
    }
}
