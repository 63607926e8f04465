//! What a header says, without any key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use waxseal::container::Layout;
use waxseal::envelope::read_header_at;
use waxseal::error::Error;
use waxseal::format::{FRONT_LEN, Front, Header, Pairs, Sharing};
use waxseal::io::ReadAt;

use crate::errors::Result;
use crate::interrupt;
use crate::objects;
use crate::source::Source;

/// A wrapped data key of a file: which key opens it.
#[pyclass(frozen, eq, module = "pywaxseal")]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// `aws-kms`, `keyfile`, `passphrase`, `x-wing` and so on.
    #[pyo3(get)]
    kind: String,
    /// The number of the kind.
    #[pyo3(get)]
    kind_number: u16,
    /// The ARN or the id of the key. Empty for a passphrase.
    #[pyo3(get)]
    key_id: String,
    wrapped: Vec<u8>,
}

#[pymethods]
impl Slot {
    /// The wrapped data key. It is not secret.
    #[getter]
    fn wrapped_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.wrapped)
    }

    fn __repr__(&self) -> String {
        format!("Slot(kind={:?}, key_id={:?})", self.kind, self.key_id)
    }
}

/// The header of a sealed file. Without a key, nothing of it is authenticated.
#[pyclass(frozen, module = "pywaxseal")]
#[derive(Clone)]
pub(crate) struct Inspection {
    /// The wrapped data keys, in their order.
    #[pyo3(get)]
    slots: Vec<Slot>,
    /// The encryption context.
    #[pyo3(get)]
    context: BTreeMap<String, String>,
    /// The labels.
    #[pyo3(get)]
    labels: BTreeMap<String, String>,
    /// The cipher of the payload.
    #[pyo3(get)]
    suite: &'static str,
    /// The public id of the data key.
    #[pyo3(get)]
    data_key_id: String,
    /// Whether other files have the same data key.
    #[pyo3(get)]
    data_key_shared: bool,
    /// It increases with each rewrap.
    #[pyo3(get)]
    generation: u32,
    /// The length of the header in bytes.
    #[pyo3(get)]
    header_size: u64,
    /// The length of the file in bytes, if it is known.
    #[pyo3(get)]
    sealed_size: Option<u64>,
    /// The length of the plaintext according to the length of the file. Nothing proves it.
    #[pyo3(get)]
    plaintext_size_hint: Option<u64>,
    /// What is wrong with the header. The file can be read in spite of it.
    #[pyo3(get)]
    warnings: Vec<String>,
}

impl Inspection {
    pub(crate) fn of(header: &Header, sealed_size: Option<u64>) -> Self {
        let bank = header.bank();
        let slot = |slot: &waxseal::format::Slot| Slot {
            kind: slot.kind.name().into(),
            kind_number: slot.kind.0,
            key_id: slot.key_id.clone(),
            wrapped: slot.wrapped.clone(),
        };
        let end = sealed_size.and_then(|len| Layout::of(header).end(len).ok());
        Self {
            slots: bank.slots.iter().map(slot).collect(),
            context: map(&bank.binding.context),
            labels: map(&bank.binding.labels),
            suite: bank.binding.suite.name(),
            data_key_id: bank.binding.data_key_id.to_string(),
            data_key_shared: bank.binding.sharing == Sharing::Shared,
            generation: bank.generation,
            header_size: header.payload_offset(),
            sealed_size,
            plaintext_size_hint: end.map(|end| end.plaintext_len),
            warnings: header.warnings().iter().map(ToString::to_string).collect(),
        }
    }
}

fn map(pairs: &Pairs) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[pymethods]
impl Inspection {
    fn __repr__(&self) -> String {
        let keys: Vec<String> = self.slots.iter().map(Slot::__repr__).collect();
        format!("Inspection(suite={:?}, slots=[{}])", self.suite, keys.join(", "))
    }
}

/// Reads the header of a sealed file: a path, `s3://BUCKET/KEY`, or a file object. No key is needed.
#[pyfunction]
#[pyo3(signature = (file, *, s3 = None))]
pub(crate) fn inspect(py: Python<'_>, file: &Bound<'_, PyAny>, s3: Option<&Bound<'_, PyAny>>) -> Result<Inspection> {
    let source = match objects::source(file, s3)? {
        Ok(source) => source,
        Err(stream) => return Ok(interrupt::wait(py, move || of_stream(stream))??),
    };
    Ok(py.detach(|| of_source(&source))?)
}

fn of_source(source: &Source) -> waxseal::Result<Inspection> {
    let (_, header) = read_header_at(&mut |buffer, position| source.read_at(buffer, position))?;
    let size = source.size().map_err(|error| Error::io("finding the end of the input", error))?;
    Ok(Inspection::of(&header, Some(size)))
}

fn of_stream(stream: File) -> waxseal::Result<Inspection> {
    let mut front = Vec::new();
    let read = stream.take(FRONT_LEN as u64).read_to_end(&mut front);
    read.map_err(|error| Error::io("reading the header", error))?;
    let size = (front.len() < FRONT_LEN).then_some(front.len() as u64);
    Ok(Inspection::of(&Header::read(&Front::new(front))?, size))
}
