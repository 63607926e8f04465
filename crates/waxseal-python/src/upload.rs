//! An object in S3 that is being written. It appears complete or not at all.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use waxseal::error::{Error, Result as OwnResult};
use waxseal_aws_s3::{Gate, Overwrite, S3Name, Upload, UploadOptions};

use crate::aws::S3Settings;
use crate::errors::Result;
use crate::interrupt;
use crate::leftover::Record;

/// After a signal, no object is made.
#[derive(Debug, Default)]
pub(crate) struct Cancelled(AtomicBool);

impl Cancelled {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Gate for Cancelled {
    fn pass(&self, step: &mut dyn FnMut()) {
        if !self.has_closed() {
            step();
        }
    }

    fn has_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// An object that is being written. If it is dropped, the upload is aborted, and this waits for S3. Other threads run
/// meanwhile.
pub(crate) struct NewObject {
    /// Absent after a failure.
    upload: Option<Upload>,
    record: Arc<Record>,
    cancelled: Arc<Cancelled>,
}

impl NewObject {
    /// Sends nothing, unless an existing object is to be refused: then a long upload would be in vain.
    pub(crate) fn create(
        py: Python<'_>,
        name: S3Name,
        s3: Option<&Bound<'_, PyAny>>,
        overwrite: Overwrite,
    ) -> Result<Self> {
        let settings = S3Settings::of(s3)?;
        let cancelled = Arc::new(Cancelled::default());
        let gate = Arc::clone(&cancelled);
        let (upload, record) = interrupt::wait(py, move || {
            let record = Record::new(&settings)?;
            let s3 = record.s3().with_gate(gate);
            // A caller who may not look may still write.
            if overwrite == Overwrite::Refuse && matches!(s3.len_of(&name), Ok(Some(_))) {
                return Err(Error::io(format!("making {name}"), io::ErrorKind::AlreadyExists.into()));
            }
            let mut options = UploadOptions::default();
            options.overwrite = overwrite;
            OwnResult::Ok((s3.upload(&name, options)?, Arc::new(record)))
        })??;
        Ok(Self { upload: Some(upload), record, cancelled })
    }

    /// Appends `bytes`, and returns their buffer, empty.
    ///
    /// After a signal, the upload is aborted, and this waits for S3.
    pub(crate) fn write(&mut self, py: Python<'_>, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        let mut upload = self.take()?;
        let canceller = upload.canceller();
        let append = move || -> OwnResult<_> {
            append(&mut upload, &bytes)?;
            bytes.clear();
            Ok((upload, bytes))
        };
        let (upload, bytes) = interrupt::wait_to_the_end(py, append, || canceller.cancel())??;
        self.upload = Some(upload);
        Ok(bytes)
    }

    /// Appends the last bytes, and makes the object. Returns warnings.
    ///
    /// After a signal, the object is not made, unless the request that makes it was already under way.
    pub(crate) fn complete(mut self, py: Python<'_>, bytes: Vec<u8>) -> Result<Vec<String>> {
        let mut upload = self.take()?;
        let (cancelled, canceller) = (Arc::clone(&self.cancelled), upload.canceller());
        let complete = move || {
            append(&mut upload, &bytes)?;
            upload.complete()
        };
        let cancel = || {
            cancelled.set();
            // This has no effect once the last request is under way.
            canceller.cancel();
        };
        let uploaded = interrupt::wait_to_the_end(py, complete, cancel)??;
        Ok(uploaded.warnings.iter().map(ToString::to_string).collect())
    }

    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }

    fn take(&mut self) -> OwnResult<Upload> {
        self.upload.take().ok_or(Error::Bug("an upload that has failed is used"))
    }
}

impl Drop for NewObject {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            interrupt::drop_detached(upload);
        }
    }
}

fn append(upload: &mut Upload, bytes: &[u8]) -> OwnResult<()> {
    upload.write_all(bytes).map_err(|error| Error::io("writing the output", error))
}
