//! Replaces [the keys in AWS KMS](../kms) in a build without them. Slots of KMS are still shown.

use std::ffi::OsStr;

use waxseal::format::{Binding, Slot};

use super::by_hand;
use super::provider::{KeySpec, Provider};
use crate::Result;
use crate::args::KmsArgs;

/// No keys.
pub(super) struct AwsKms;

impl Provider for AwsKms {
    fn parse(&self, _: &OsStr) -> Option<Result<KeySpec>> {
        None
    }

    fn by_hand(&self, slot: &Slot, binding: &Binding) -> Option<String> {
        by_hand::kms_command(slot, binding)
    }
}

/// No service.
pub(crate) struct Cloud;

impl Cloud {
    /// Nothing.
    #[expect(clippy::unnecessary_wraps, reason = "with AWS KMS its configuration can be wrong")]
    pub(crate) fn new(_: &KmsArgs) -> Result<Self> {
        Ok(Self)
    }

    /// None.
    #[expect(clippy::unused_self, reason = "with AWS KMS it has the calls")]
    pub(crate) fn answered(&self) -> (Option<String>, Option<String>) {
        (None, None)
    }

    /// None.
    #[expect(clippy::unused_self, reason = "with AWS KMS it has the calls")]
    pub(crate) fn forget(&self) {}

    /// None.
    #[expect(clippy::unused_self, reason = "with AWS KMS it has the calls")]
    pub(crate) fn materials_of(&self, _: &str) -> (Option<String>, Option<String>) {
        (None, None)
    }
}
