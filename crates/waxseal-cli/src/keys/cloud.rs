//! AWS KMS, as far as the command line is concerned. Nothing of AWS is touched before a key or a slot needs it.

#[cfg(feature = "aws-kms")]
pub(crate) use with_kms::Cloud;
#[cfg(not(feature = "aws-kms"))]
pub(crate) use without_kms::Cloud;

#[cfg(feature = "aws-kms")]
mod with_kms {
    use std::sync::{Arc, Mutex, PoisonError};

    use waxseal::keys::KeyOpener;
    use waxseal_aws_kms::{AccountRule, Kms, KmsCall, KmsConfig, KmsOpener, KmsTimeouts};

    use super::super::spec::KeySpec;
    use crate::cli::Result;
    use crate::cli::args::{AccountArgs, KmsArgs};
    use crate::cli::report::Reporter;

    /// A handle on KMS that remembers its calls.
    pub(crate) struct Cloud {
        kms: Kms,
        calls: Arc<Mutex<Vec<KmsCall>>>,
    }

    impl Cloud {
        /// Configures the handle; nothing is read or connected.
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

        /// Openers for the KMS keys among `specs`.
        pub(crate) fn named_openers(&self, specs: &[KeySpec]) -> Vec<Box<dyn KeyOpener>> {
            let names = specs.iter().filter_map(|spec| match spec {
                KeySpec::Kms(name) => Some(name.clone()),
                _ => None,
            });
            names.map(|name| Box::new(KmsOpener::named(&self.kms, name)) as Box<dyn KeyOpener>).collect()
        }

        /// Openers for the keys of the accounts that count.
        pub(crate) fn openers_by_account(
            &self,
            args: &AccountArgs,
            reporter: &Reporter,
        ) -> Result<Vec<Box<dyn KeyOpener>>> {
            let openers = self.kms_openers_by_account(args, reporter)?;
            Ok(openers.into_iter().map(|opener| Box::new(opener) as Box<dyn KeyOpener>).collect())
        }

        /// The same, by their own type.
        pub(crate) fn kms_openers_by_account(&self, args: &AccountArgs, reporter: &Reporter) -> Result<Vec<KmsOpener>> {
            let rule = match (args.any_account, args.account.as_slice()) {
                (true, _) => {
                    reporter.warn("--any-account: keys of strangers are used, who may learn that the file is opened");
                    AccountRule::Any
                }
                (false, []) => AccountRule::Own,
                (false, ids) => AccountRule::Ids(ids.to_vec()),
            };
            Ok(KmsOpener::by_account(&self.kms, rule)?)
        }

        /// AWS's id of the call that gave the data key since the last question.
        pub(crate) fn request_id(&self) -> Option<String> {
            let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
            let decisive = calls.iter().find(|call| matches!(call.operation, "GenerateDataKey" | "ReEncrypt"));
            let decisive = decisive.or_else(|| calls.iter().rev().find(|call| call.operation != "GetCallerIdentity"));
            decisive.and_then(|call| call.request_id.clone())
        }
    }
}

#[cfg(not(feature = "aws-kms"))]
mod without_kms {
    use waxseal::keys::KeyOpener;

    use super::super::spec::KeySpec;
    use crate::cli::Result;
    use crate::cli::args::{AccountArgs, KmsArgs};
    use crate::cli::report::Reporter;

    /// This build has no KMS.
    pub(crate) struct Cloud;

    impl Cloud {
        /// Nothing.
        pub(crate) fn new(_: &KmsArgs) -> Result<Self> {
            Ok(Self)
        }

        /// None.
        pub(crate) fn named_openers(&self, _: &[KeySpec]) -> Vec<Box<dyn KeyOpener>> {
            Vec::new()
        }

        /// None.
        pub(crate) fn openers_by_account(&self, _: &AccountArgs, _: &Reporter) -> Result<Vec<Box<dyn KeyOpener>>> {
            Ok(Vec::new())
        }

        /// None.
        pub(crate) fn request_id(&self) -> Option<String> {
            None
        }
    }
}
