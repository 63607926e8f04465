//! The service that a crate calls.

/// What this crate must know about a service of AWS.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in sentences (`AWS KMS`).
    pub name: &'static str,
    /// The variable for an endpoint of its own (`AWS_ENDPOINT_URL_KMS`).
    pub endpoint: &'static str,
    /// Its name in profiles (`kms`): in a section of services, and before its own settings.
    pub section: &'static str,
    /// The settings that a profile has for this service only, and the values of each. They are the indented lines after
    /// [`section`](Self::section).
    pub keys: &'static [(&'static str, &'static [&'static str])],
    /// The name of the thread that makes its calls. It begins with [`THREADS`](crate::helpers::THREADS) and has at most
    /// 15 bytes, because the system keeps no more.
    pub thread: &'static str,
}
