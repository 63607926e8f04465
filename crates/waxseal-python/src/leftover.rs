//! What a failed upload may leave in S3. The caller is told, because it costs money until somebody removes it.

use std::sync::Arc;

use pyo3::prelude::*;
use waxseal::error::Result as OwnResult;
use waxseal_aws_s3::{OpenUpload, S3, S3Name, UploadWarning};

use crate::aws::S3Settings;
use crate::errors::{Failure, Result};

/// A handle whose list has the uploads of one piece of work alone.
pub(crate) struct Record {
    settings: Arc<S3Settings>,
    s3: S3,
}

impl Record {
    pub(crate) fn new(settings: &Arc<S3Settings>) -> OwnResult<Self> {
        Ok(Self { settings: Arc::clone(settings), s3: settings.handle()?.with_own_uploads() })
    }

    pub(crate) fn s3(&self) -> &S3 {
        &self.s3
    }

    /// Says it together with the error of work that has ended.
    pub(crate) fn told<T>(&self, py: Python<'_>, done: Result<T>) -> Result<T> {
        done.map_err(|failure| {
            let left = self.left(py);
            if left.is_empty() {
                return failure;
            }
            let error = PyErr::from(failure);
            // The error matters more than a note that cannot be added.
            let _ =
                py.import("pywaxseal._errors").and_then(|errors| errors.call_method1("tell", (left, error.value(py))));
            Failure::Python(error)
        })
    }

    /// What may be left, a sentence with a command for each.
    pub(crate) fn left(&self, py: Python<'_>) -> Vec<String> {
        let undecided = self.s3.undecided();
        let open = |OpenUpload { name, .. }: &OpenUpload| {
            let why = if undecided.contains(name) { " (the object may also be complete)" } else { "" };
            format!("an upload to {name} may be left, and costs money until it is aborted{why}")
        };
        let lost = |name: &S3Name| {
            let warning = UploadWarning::UnfinishedUploadMayBeLeft;
            format!("{name}: {warning}; this lists the unfinished uploads")
        };
        let uploads = self.s3.open_uploads().into_iter().map(|upload| (open(&upload), upload.abort_command()));
        let lost = self.s3.lost_uploads().into_iter().map(|name| (lost(&name), name.list_uploads_command()));
        uploads.chain(lost).map(|(what, command)| format!("{what}: {command}{}", self.options(py))).collect()
    }

    /// The settings that were given, as options of the AWS command line.
    fn options(&self, py: Python<'_>) -> String {
        let quoted =
            |text: &str| -> PyResult<String> { py.import("shlex")?.getattr("quote")?.call1((text,))?.extract() };
        let (region, profile, endpoint) = self.settings.given();
        let options = [("profile", profile), ("region", region), ("endpoint-url", endpoint)];
        let given = options.into_iter().filter_map(|(option, value)| Some((option, value?)));
        // At the end of the process, the module may be gone.
        given.filter_map(|(option, value)| Some(format!(" --{option} {}", quoted(value).ok()?))).collect()
    }
}
