//! The settings for AWS KMS and S3. They hold no secret, so they can be pickled. The handles, which have threads and
//! connections, are made when they are first needed, and by each process for itself.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use waxseal::error::Error;
use waxseal_aws_kms::{KmsConfig, KmsTimeouts};
use waxseal_aws_s3::{S3Config, S3Name};

use crate::boto::Clients;
use crate::errors::Result;
use crate::process::PerProcess;

/// Settings that are given to the constructor, in its order: region, profile, endpoint and time limit.
type Given<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<f64>);

/// How AWS KMS is called.
#[derive(Clone)]
pub(crate) enum KmsChoice {
    /// By this package.
    Own(Arc<KmsSettings>),
    /// By the caller's client.
    Caller(Arc<Clients>),
}

pub(crate) struct KmsSettings {
    config: KmsConfig,
    timeout: Option<f64>,
    handle: PerProcess<waxseal_aws_kms::Kms>,
}

impl KmsSettings {
    fn new(config: KmsConfig, timeout: Option<f64>) -> Self {
        Self { config, timeout, handle: PerProcess::new() }
    }

    pub(crate) fn handle(&self) -> waxseal::Result<waxseal_aws_kms::Kms> {
        self.handle.get(|| waxseal_aws_kms::Kms::new(self.config.clone()))
    }
}

impl KmsChoice {
    /// What the argument `kms` says: nothing, settings, or a client or session of boto3.
    pub(crate) fn of(object: Option<&Bound<'_, PyAny>>) -> Result<Self> {
        static USUAL: PerProcess<Arc<KmsSettings>> = PerProcess::new();
        let Some(object) = object.filter(|object| !object.is_none()) else {
            return Ok(Self::Own(USUAL.get(|| Ok(Arc::new(KmsSettings::new(KmsConfig::new(), None))))?));
        };
        match object.cast::<Kms>() {
            Ok(kms) => Ok(Self::Own(Arc::clone(&kms.get().0))),
            Err(_) => Ok(Self::Caller(Arc::new(Clients::of(object)?))),
        }
    }
}

/// Settings for keys in AWS KMS. What is not given comes from the environment and the profiles, as for every AWS tool.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Kms(Arc<KmsSettings>);

#[pymethods]
impl Kms {
    #[new]
    #[pyo3(signature = (*, region = None, profile = None, endpoint_url = None, timeout = None))]
    fn new(
        region: Option<String>,
        profile: Option<String>,
        endpoint_url: Option<String>,
        timeout: Option<f64>,
    ) -> Result<Self> {
        let mut config = KmsConfig::new();
        (config.region, config.profile, config.endpoint) = (region, profile, endpoint_url);
        if let Some(seconds) = timeout {
            config.timeouts = KmsTimeouts::within(limit(seconds)?);
        }
        // It checks the settings, and reads and starts nothing.
        waxseal_aws_kms::Kms::new(config.clone())?;
        Ok(Self(Arc::new(KmsSettings::new(config, timeout))))
    }

    fn __repr__(&self) -> String {
        let (region, profile, endpoint, timeout) = self.given();
        format!("Kms({})", shown(&[("region", region), ("profile", profile), ("endpoint_url", endpoint)], timeout))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (region, profile, endpoint, timeout) = self.given();
        let make = py.import("pywaxseal._settings")?.getattr("make_kms")?;
        Ok((
            make,
            PyTuple::new(
                py,
                [
                    region.into_pyobject(py)?,
                    profile.into_pyobject(py)?,
                    endpoint.into_pyobject(py)?,
                    timeout.into_pyobject(py)?,
                ],
            )?,
        ))
    }
}

impl Kms {
    fn given(&self) -> Given<'_> {
        let config = &self.0.config;
        (config.region.as_deref(), config.profile.as_deref(), config.endpoint.as_deref(), self.0.timeout)
    }
}

/// A number of seconds that a call may take.
fn limit(seconds: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err(Error::Invalid("a time limit is a number of seconds above 0".into()).into()),
    }
}

/// The settings that were given. A string is shown as Python shows it, as far as they differ not.
fn shown(texts: &[(&str, Option<&str>)], timeout: Option<f64>) -> String {
    let texts = texts.iter().filter_map(|(name, value)| Some(format!("{name}={:?}", (*value)?)));
    texts.chain(timeout.map(|seconds| format!("timeout={seconds}"))).collect::<Vec<_>>().join(", ")
}

pub(crate) struct S3Settings {
    config: S3Config,
    handle: PerProcess<waxseal_aws_s3::S3>,
}

impl S3Settings {
    pub(crate) fn handle(&self) -> waxseal::Result<waxseal_aws_s3::S3> {
        self.handle.get(|| waxseal_aws_s3::S3::new(self.config.clone()))
    }

    /// Region, profile and endpoint, where they were given.
    pub(crate) fn given(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        let config = &self.config;
        (config.region.as_deref(), config.profile.as_deref(), config.endpoint.as_deref())
    }

    /// What the argument `s3` says: nothing, or settings.
    pub(crate) fn of(object: Option<&Bound<'_, PyAny>>) -> Result<Arc<Self>> {
        static USUAL: PerProcess<Arc<S3Settings>> = PerProcess::new();
        let Some(object) = object.filter(|object| !object.is_none()) else {
            let usual = || Ok(Arc::new(Self { config: S3Config::new(), handle: PerProcess::new() }));
            return Ok(USUAL.get(usual)?);
        };
        match object.cast::<S3>() {
            Ok(s3) => Ok(Arc::clone(&s3.get().0)),
            Err(_) => Err(PyTypeError::new_err("s3 takes pywaxseal.S3(...)").into()),
        }
    }
}

/// The object that a text names, if it is meant to name one.
pub(crate) fn object_named(text: &str) -> Result<Option<S3Name>> {
    if S3Name::is_meant(text) { Ok(Some(S3Name::parse(text)?)) } else { Ok(None) }
}

/// Settings for objects in S3. What is not given comes from the environment and the profiles, as for every AWS tool.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct S3(Arc<S3Settings>);

#[pymethods]
impl S3 {
    #[new]
    #[pyo3(signature = (*, region = None, profile = None, endpoint_url = None))]
    fn new(region: Option<String>, profile: Option<String>, endpoint_url: Option<String>) -> Result<Self> {
        let mut config = S3Config::new();
        (config.region, config.profile, config.endpoint) = (region, profile, endpoint_url);
        waxseal_aws_s3::S3::new(config.clone())?;
        Ok(Self(Arc::new(S3Settings { config, handle: PerProcess::new() })))
    }

    fn __repr__(&self) -> String {
        let (region, profile, endpoint) = self.0.given();
        format!("S3({})", shown(&[("region", region), ("profile", profile), ("endpoint_url", endpoint)], None))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (region, profile, endpoint) = self.0.given();
        let make = py.import("pywaxseal._settings")?.getattr("make_s3")?;
        Ok((make, PyTuple::new(py, [region, profile, endpoint])?))
    }
}
