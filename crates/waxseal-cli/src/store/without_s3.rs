//! Replaces [the objects in S3](s3.rs) in a build without them. No local file is read or written in their place.

use std::ffi::OsStr;

use clap::Args as ClapArgs;
use serde_json::Value;
use waxseal::error::Remedy;
use waxseal::format::Header;
use waxseal::io::Overwrite;
use waxseal::rewrap::{Plan, Report};

use super::{Names, NewObject, Object, Options, Store};
use crate::Result;
use crate::escape;
use crate::failure::Failure;

/// No options.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct S3Args {}

/// No options.
#[derive(Debug, Default, Clone, ClapArgs)]
pub(crate) struct S3ObjectArgs {}

/// Nothing.
pub(super) fn configure(_: Options<'_>) {}

/// No objects.
#[derive(Debug)]
pub(super) struct S3Store;

impl S3Store {
    fn refuse<T>(name: &OsStr) -> Result<T> {
        let failure = Failure::usage(format!("this build of waxseal cannot use objects in S3: {}", escape::os(name)));
        Err(failure.hint("use a build with the feature aws-s3; a local file of this name is ./s3://..."))
    }
}

impl Store for S3Store {
    fn scheme(&self) -> &'static str {
        "s3://"
    }

    fn hint(&self, _: &Remedy) -> Option<String> {
        None
    }

    fn open(&self, name: &OsStr) -> Result<Box<dyn Object>> {
        Self::refuse(name)
    }

    fn len(&self, _: &OsStr) -> Option<u64> {
        None
    }

    fn check(&self, name: &OsStr) -> Result<()> {
        Self::refuse(name)
    }

    fn create(&self, name: &OsStr, _: Overwrite, _: Option<u64>) -> Result<Box<dyn NewObject>> {
        Self::refuse(name)
    }

    fn rewrap(
        &self,
        name: &OsStr,
        _: &mut dyn FnMut(&Header) -> waxseal::Result<Plan>,
    ) -> Result<(Report, Option<Value>)> {
        Self::refuse(name)
    }

    fn check_prefix(&self, prefix: &OsStr) -> Result<()> {
        Self::refuse(prefix)
    }

    fn list(&self, prefix: &OsStr) -> Result<Names> {
        Self::refuse(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn an_object_is_refused_and_is_no_file() {
        let name = OsStr::new("s3://bucket/key");
        assert!(
            super::super::object(name).is_some() && super::super::object(OsStr::new("./s3://bucket/key")).is_none()
        );
        let failures = [S3Store.check(name).err(), S3Store.open(name).err()];
        assert!(failures.into_iter().flatten().all(|failure| failure.exit == Exit::Usage));
    }
}
