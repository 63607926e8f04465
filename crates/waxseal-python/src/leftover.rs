//! What a failed upload may leave in S3. The caller is told in notes of the exception, because it costs money until
//! somebody removes it.

use std::sync::Arc;

use pyo3::prelude::*;
use waxseal_aws_s3::{OpenUpload, S3Name, UploadWarning};

use crate::aws::S3Settings;
use crate::errors::{Failure, Result};

/// The object of an upload, and the settings with which it is reached.
pub(crate) struct Aim {
    pub(crate) settings: Arc<S3Settings>,
    pub(crate) name: S3Name,
}

impl Aim {
    /// Adds notes to the error of an upload that has ended.
    pub(crate) fn told<T>(&self, py: Python<'_>, done: Result<T>) -> Result<T> {
        done.map_err(|failure| {
            let left = self.left(py);
            if left.is_empty() {
                return failure;
            }
            let error = PyErr::from(failure);
            for note in left {
                // The error matters more than a note that cannot be added.
                let _ = error.value(py).call_method1("add_note", (note,));
            }
            Failure::Python(error)
        })
    }

    /// What may be left, a sentence with a command for each.
    pub(crate) fn left(&self, py: Python<'_>) -> Vec<String> {
        let Ok(s3) = self.settings.handle() else { return Vec::new() };
        let name = &self.name;
        let why = if s3.undecided().contains(name) { " (the object may also be complete)" } else { "" };
        let open = |upload: OpenUpload| {
            let command = upload.abort_command();
            format!("an upload to {name} may be left, and costs money until it is aborted{why}: {command}")
        };
        let lost = |name: S3Name| {
            let (warning, command) = (UploadWarning::UnfinishedUploadMayBeLeft, name.list_uploads_command());
            format!("{name}: {warning}; this lists the unfinished uploads: {command}")
        };
        let uploads = s3.open_uploads().into_iter().filter(|upload| upload.name == *name && !upload.is_in_use);
        let lost = s3.lost_uploads().into_iter().filter(|lost| lost == name).map(lost);
        uploads.map(open).chain(lost).map(|told| told + &self.options(py)).collect()
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
