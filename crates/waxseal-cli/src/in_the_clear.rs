//! Services that are called over a network without encryption. The user may have decided it so. The program says it once
//! for each service, and not with `--quiet`.

use std::sync::{Mutex, PoisonError};

/// A service, as far as this must be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "aws-kms", feature = "aws-s3")),
    allow(dead_code, reason = "a build without a service does not call it")
)]
pub(crate) enum Service {
    /// AWS KMS.
    Kms,
    /// Amazon S3, or another store like it.
    S3,
}

impl Service {
    fn caution(self) -> String {
        let (name, variable, seen) = match self {
            Self::Kms => ("AWS KMS", "AWS_ENDPOINT_URL_KMS", "the data keys"),
            Self::S3 => ("S3", "AWS_ENDPOINT_URL_S3", "the names of objects and their bytes as they are stored"),
        };
        format!(
            "the connection to {name} is not encrypted, because its endpoint begins with http://: others on the network \
             can read {seen}; use an endpoint with https:// ({variable})"
        )
    }
}

/// What was found, and whether it was said.
static FOUND: Mutex<Vec<(Service, bool)>> = Mutex::new(Vec::new());

/// Notes that `service` is called without encryption.
#[cfg_attr(not(any(feature = "aws-kms", feature = "aws-s3")), expect(dead_code, reason = "no service is called"))]
pub(crate) fn found(service: Service) {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if !found.iter().any(|(known, _)| *known == service) {
        found.push((service, false));
    }
}

/// What was not said yet.
pub(crate) fn cautions() -> Vec<String> {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let new = found.iter_mut().filter(|(_, is_said)| !is_said);
    new.map(|(service, is_said)| {
        *is_said = true;
        service.caution()
    })
    .collect()
}
