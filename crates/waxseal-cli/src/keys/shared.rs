//! `--one-data-key`: the data key that all inputs of a run share.

use std::sync::OnceLock;

use waxseal::envelope::Batch;
use waxseal::{Envelope, SealOptions};

use super::kms::Cloud;
use super::sealing::Sealers;
use crate::Result;
use crate::failure::Failure;

/// Makes the envelopes of a run: each with a data key of its own, or all with the same.
pub(crate) struct Envelopes<'a> {
    sealers: &'a Sealers,
    options: &'a SealOptions,
    cloud: &'a Cloud,
    /// Made for the first input that needs it: if nothing is to be sealed, no key service is called.
    shared: Option<OnceLock<Result<Shared<'a>>>>,
}

/// A data key for all inputs, and the call that made it.
struct Shared<'a> {
    batch: Batch<'a>,
    request_id: Option<String>,
    key_material_id: Option<String>,
}

/// The envelope of the next input.
#[derive(Clone, Copy)]
pub(crate) struct Next<'e, 'a> {
    all: &'e Envelopes<'a>,
    shared: Option<&'e Shared<'a>>,
}

impl<'a> Envelopes<'a> {
    /// Each input has its own data key.
    pub(crate) fn new(sealers: &'a Sealers, options: &'a SealOptions, cloud: &'a Cloud) -> Self {
        Self { sealers, options, cloud, shared: None }
    }

    /// All inputs share a data key, if a key service makes one. Otherwise that would save nothing.
    pub(crate) fn sharing(self) -> Result<Self> {
        if !self.sealers.make_data_keys() {
            let failure =
                Failure::usage("no key makes a data key in a call to AWS KMS, so --one-data-key saves nothing");
            return Err(failure.hint("leave out --one-data-key, or name a symmetric key in AWS KMS with -k"));
        }
        Ok(Self { shared: Some(OnceLock::new()), ..self })
    }

    /// Makes the shared data key, if there is to be one. Others wait meanwhile. If it cannot be made, that is the failure
    /// of every input: it is not tried again.
    pub(crate) fn next(&self) -> Result<Next<'_, 'a>> {
        let shared = self.shared.as_ref().map(|shared| shared.get_or_init(|| self.make()).as_ref());
        Ok(Next { all: self, shared: shared.transpose().map_err(Clone::clone)? })
    }

    fn make(&self) -> Result<Shared<'a>> {
        self.cloud.forget();
        let batch = self.sealers.batch(self.options)?;
        let (request_id, key_material_id) = self.cloud.answered();
        Ok(Shared { batch, request_id, key_material_id })
    }
}

impl Next<'_, '_> {
    /// The envelope, with a slot for each key.
    pub(crate) fn envelope(&self) -> waxseal::Result<Envelope> {
        match self.shared {
            Some(shared) => shared.batch.envelope(),
            None => self.all.sealers.envelope(self.all.options),
        }
    }

    /// The id of the request that gave the data key, and the id of the key material.
    pub(crate) fn answered(&self) -> (Option<String>, Option<String>) {
        let own = self.all.cloud.answered();
        self.shared.map_or(own, |shared| (shared.request_id.clone(), shared.key_material_id.clone()))
    }
}
