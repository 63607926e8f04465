//! The handle on AWS KMS for the commands. It does nothing with AWS before a key or a slot needs it.

use std::sync::{Arc, Mutex, PoisonError};

use waxseal_aws_kms::{AccountRule, Kms, KmsCall, KmsConfig, KmsOpener, KmsOperation, KmsTimeouts};

use crate::Result;
use crate::args::{AccountArgs, KmsArgs};
use crate::in_the_clear::{self, Service};
use crate::report::Reporter;

/// A handle on KMS that remembers its calls.
pub(crate) struct Cloud {
    kms: Kms,
    calls: Arc<Mutex<Vec<KmsCall>>>,
}

impl Cloud {
    /// Configures the handle. This reads and connects nothing.
    pub(crate) fn new(args: &KmsArgs) -> Result<Self> {
        let mut config = KmsConfig::new();
        config.profile.clone_from(&args.profile);
        config.region.clone_from(&args.region);
        if let Some(timeout) = args.kms_timeout {
            config.timeouts = KmsTimeouts::within(timeout);
        }
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&calls);
        let kms = Kms::new(config)?.for_one_run().listening(move |call| {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        });
        Ok(Self { kms, calls })
    }

    /// The handle.
    pub(crate) fn kms(&self) -> &Kms {
        &self.kms
    }

    /// Openers for the keys of the allowed accounts.
    pub(crate) fn openers_by_account(&self, args: &AccountArgs, reporter: &Reporter) -> Result<Vec<KmsOpener>> {
        let rule = match (args.any_account, args.account.as_slice()) {
            (true, _) => {
                reporter.warn(
                    "--any-account: a stranger's key may be used, and its owner can then learn that you open the file",
                );
                AccountRule::Any
            }
            (false, []) => AccountRule::Own,
            (false, ids) => AccountRule::Ids(ids.to_vec()),
        };
        Ok(KmsOpener::by_account(&self.kms, rule)?)
    }

    /// AWS's id of the call that gave the data key, since the last time this was called.
    pub(crate) fn request_id(&self) -> Option<String> {
        self.answered().0
    }

    /// Forgets the calls that this thread made for another input.
    pub(crate) fn forget(&self) {
        self.taken();
    }

    /// This thread's calls since the last question: another one works on another input.
    fn taken(&self) -> Vec<KmsCall> {
        if self.kms.is_in_the_clear() {
            in_the_clear::found(Service::Kms);
        }
        let own = std::thread::current().id();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, others) =
            std::mem::take(&mut *calls).into_iter().partition(|call| call.thread.is_none_or(|thread| thread == own));
        *calls = others;
        taken
    }

    /// The same, with the id of the key material that the call used.
    pub(crate) fn answered(&self) -> (Option<String>, Option<String>) {
        let calls = self.taken();
        let decisive =
            calls.iter().find(|call| matches!(call.operation, KmsOperation::GenerateDataKey | KmsOperation::ReEncrypt));
        let decisive =
            decisive.or_else(|| calls.iter().rev().find(|call| call.operation != KmsOperation::GetCallerIdentity));
        decisive.map_or((None, None), |call| (call.request_id.clone(), call.key_material_id.clone()))
    }

    /// The key materials of the call with this id: that of the new key, and for a `ReEncrypt` that of the old key.
    pub(crate) fn materials_of(&self, request_id: &str) -> (Option<String>, Option<String>) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let call = calls.iter().rev().find(|call| call.request_id.as_deref() == Some(request_id));
        call.map_or((None, None), |call| (call.key_material_id.clone(), call.source_key_material_id.clone()))
    }
}
