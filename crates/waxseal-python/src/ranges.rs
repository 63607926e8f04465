//! Ranges of a file whose sealed bytes the caller fetches.

use std::ops::Range;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use waxseal::Demands;
use waxseal::container::{Opened, Opening, Plaintext};
use waxseal::error::{Error, Tampered};
use waxseal::format::{FRONT_LEN, Front};
use waxseal::keys::KeyOpener;

use crate::errors::Result;
use crate::inspection::Inspection;
use crate::objects::Access;
use crate::parallel::open_sealed_parallel;
use crate::process;

/// Any range of a sealed file whose bytes come from a function: `fetch(start, end)` returns the sealed bytes from `start`
/// to `end`. `size` is the length of the sealed file. Its end is authenticated first.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Ranges {
    plaintext: Plaintext,
    fetch: Py<PyAny>,
    key: String,
    header: Inspection,
}

#[pymethods]
impl Ranges {
    #[new]
    #[pyo3(signature = (size, fetch, *, keys = None, context = None, labels = None, kms = None))]
    fn new(
        size: u64,
        fetch: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        context: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        kms: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let py = fetch.py();
        let access = Access::new(py, keys, context, labels, kms)?;
        let front = Front::new(fetched(fetch, &(0..size.min(FRONT_LEN as u64)))?);
        let open = move |openers: &[&dyn KeyOpener], demands: &Demands| -> waxseal::Result<Opened> {
            Opening::read(front, demands)?.open(openers)
        };
        let (payload, header, by) = access.run(py, open)?.into_parts();
        let end = payload.end(size).map_err(Error::from)?;
        let sealed = fetched(fetch, &end.range)?;
        let plaintext = payload.with_end(&end, &sealed).map_err(Error::from)?;
        let header = Inspection::of(&header, Some(size));
        Ok(Self { plaintext, fetch: fetch.clone().unbind(), key: by.key, header })
    }

    /// The length of the plaintext in bytes. It is authenticated.
    #[getter]
    fn size(&self) -> u64 {
        self.plaintext.len()
    }

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

    /// The sealed bytes, as `(start, end)`, that `open_range` needs for the plaintext from `start` to `end`.
    fn sealed_range(&self, start: u64, end: u64) -> (u64, u64) {
        let range = self.plaintext.sealed_range(start..end.max(start));
        (range.start, range.end)
    }

    /// Opens the plaintext from `start` to `end` of the sealed bytes that `sealed_range` has named. It fetches nothing.
    /// What is after the end of the file is left out.
    fn open_range<'py>(&self, start: u64, end: u64, sealed: &Bound<'py, PyAny>) -> Result<Bound<'py, PyBytes>> {
        let py = sealed.py();
        // `bytes` cannot change while it is opened.
        match sealed.cast::<PyBytes>() {
            Ok(sealed) => self.opened(py, start..end, sealed.as_bytes()),
            Err(_) => self.opened(py, start..end, &PyBuffer::<u8>::get(sealed)?.to_vec(py)?),
        }
    }

    /// Fetches and opens the plaintext from `start` to `end`. What is after the end of the file is left out.
    fn read_range<'py>(&self, py: Python<'py>, start: u64, end: u64) -> Result<Bound<'py, PyBytes>> {
        let range = self.plaintext.sealed_range(start..end.max(start));
        if range.is_empty() {
            return Ok(PyBytes::new(py, &[]));
        }
        let sealed = self.fetch.bind(py).call1((range.start, range.end))?;
        self.open_range(start, end, &sealed)
    }

    fn __repr__(&self) -> String {
        format!("Ranges(size={})", self.plaintext.len())
    }
}

impl Ranges {
    fn opened<'py>(&self, py: Python<'py>, plain: Range<u64>, sealed: &[u8]) -> Result<Bound<'py, PyBytes>> {
        let end = plain.end.min(self.plaintext.len());
        let range = self.plaintext.sealed_range(plain.start..end.max(plain.start));
        let expected = range.end - range.start;
        if sealed.len() as u64 > expected {
            return Err(
                Error::Invalid(format!("the range has {expected} sealed bytes, and not {}", sealed.len())).into()
            );
        }
        let len = usize::try_from(end.saturating_sub(plain.start)).unwrap_or(usize::MAX);
        let pool = process::threads()?.pool;
        let mut failed = None;
        let bytes = PyBytes::new_with(py, len, |out| {
            let (made, error) = py.detach(|| open_sealed_parallel(&self.plaintext, &pool, plain.start, sealed, out));
            if error.is_some() || made < len {
                failed = error.or_else(|| Some(Tampered::Truncated { offset: plain.start + made as u64 }.into()));
                return Err(PyValueError::new_err("not authentic"));
            }
            Ok(())
        });
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(bytes?),
        }
    }
}

/// The bytes that the caller's function returns for a range.
fn fetched(fetch: &Bound<'_, PyAny>, range: &Range<u64>) -> Result<Vec<u8>> {
    let bytes = fetch.call1((range.start, range.end))?;
    let bytes = match bytes.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        Err(_) => PyBuffer::<u8>::get(&bytes)?.to_vec(fetch.py())?,
    };
    if bytes.len() as u64 > range.end - range.start {
        return Err(Error::Invalid("fetch has returned more bytes than it was asked for".into()).into());
    }
    Ok(bytes)
}
