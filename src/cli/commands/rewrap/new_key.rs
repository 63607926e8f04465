//! A key that slots are made for: by KMS unseen, where that can be, else with the data key in hand.

use waxseal::format::{Bank, Slot, SlotKind};
#[cfg(feature = "aws-kms")]
use waxseal::keys::aws_kms::{KeyArn, Kms, KmsKeyName};
use waxseal::rewrap::{Rewrapped, Rewrapper, Unwrap};
use waxseal::{Error, Result};

/// Which slots are a key's, as their public bytes tell.
pub(super) enum SlotMatch {
    /// None that can be told.
    None,
    /// All of a kind.
    Kind(SlotKind),
    /// Those of a key file's key.
    KeyFile(String),
    /// That of a KMS key.
    #[cfg(feature = "aws-kms")]
    Arn(KeyArn),
    /// That of a KMS key, or of its sister in another region.
    #[cfg(feature = "aws-kms")]
    Sisters(KeyArn),
    /// That of a KMS key's id, in whichever region.
    #[cfg(feature = "aws-kms")]
    KeyId(String),
}

impl SlotMatch {
    /// An alias does not tell: KMS does, when it answers.
    #[cfg(feature = "aws-kms")]
    pub(super) fn of_name(name: &KmsKeyName) -> Self {
        match name {
            KmsKeyName::KeyArn(arn) => Self::Arn(arn.clone()),
            KmsKeyName::KeyId(id) => Self::KeyId(id.clone()),
            _ => Self::None,
        }
    }

    /// A known key, with its sisters or without.
    #[cfg(feature = "aws-kms")]
    pub(super) fn of_arn(arn: KeyArn, sisters: bool) -> Self {
        if sisters { Self::Sisters(arn) } else { Self::Arn(arn) }
    }

    /// Whether `slot` is the key's.
    pub(super) fn is_met(&self, slot: &Slot) -> bool {
        #[cfg(feature = "aws-kms")]
        let arn = || KeyArn::parse(&slot.key_id).ok().filter(|_| slot.kind == SlotKind::AWS_KMS);
        match self {
            Self::None => false,
            Self::Kind(kind) => slot.kind == *kind,
            Self::KeyFile(id) => slot.kind == SlotKind::KEYFILE && slot.key_id == *id,
            #[cfg(feature = "aws-kms")]
            Self::Arn(own) => arn().is_some_and(|arn| arn == *own),
            #[cfg(feature = "aws-kms")]
            Self::Sisters(own) => arn().is_some_and(|arn| own.matches(&arn)),
            #[cfg(feature = "aws-kms")]
            Self::KeyId(id) => arn().is_some_and(|arn| arn.id() == id),
        }
    }
}

/// A key to come.
pub(super) struct NewKey<'a> {
    /// For people.
    pub(super) name: String,
    /// Its slots.
    pub(super) matches: &'a SlotMatch,
    /// Where it is a key of KMS: whose keys it may be rewrapped from.
    #[cfg(feature = "aws-kms")]
    pub(super) kms: Option<(&'a Kms, &'a KmsKeyName, SourceRule<'a>)>,
    /// The other way, where it was allowed.
    pub(super) unwrap: Option<Unwrap<'a>>,
}

impl Rewrapper for NewKey<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_target(&self, slot: &Slot) -> bool {
        self.matches.is_met(slot)
    }

    fn accepts(&self, slot: &Slot) -> bool {
        #[cfg(feature = "aws-kms")]
        if self.kms.is_some() && slot.kind == SlotKind::AWS_KMS {
            return true;
        }
        self.unwrap.as_ref().is_some_and(|unwrap| unwrap.accepts(slot))
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        #[cfg(feature = "aws-kms")]
        if let Some(done) = self.reencrypt(bank, slot) {
            return done;
        }
        match &self.unwrap {
            Some(unwrap) => unwrap.rewrap(bank, slot),
            None => Err(Error::Invalid(format!(
                "slot {slot} is not one that AWS KMS can rewrap: the data key must be unwrapped on this machine, \
                 which takes --allow-unwrap"
            ))),
        }
    }
}

#[cfg(feature = "aws-kms")]
pub(super) use with_kms::SourceRule;

#[cfg(feature = "aws-kms")]
mod with_kms {
    use std::sync::OnceLock;

    use waxseal::error::{ProviderCause, ProviderError};
    use waxseal::format::{Bank, Slot, SlotKind};
    use waxseal::keys::aws_kms::{KeyArn, Kms, KmsKeyName};
    use waxseal::rewrap::{Rewrapped, Verified};
    use waxseal::{Error, Result};

    use super::NewKey;
    use crate::cli::args::RewrapArgs;

    impl NewKey<'_> {
        /// By `ReEncrypt`; `None` where that cannot be, and the other way was allowed or the slot is no key of KMS.
        pub(super) fn reencrypt(&self, bank: &Bank, slot: usize) -> Option<Result<Rewrapped>> {
            let (kms, name, rule) = self.kms.as_ref()?;
            let source = bank.slots.get(slot).filter(|source| source.kind == SlotKind::AWS_KMS)?;
            let made = rule.check(source, kms).and_then(|()| kms.reencrypt(source, &bank.binding, name));
            match made {
                Ok((made, request_id)) => {
                    Some(Ok(Rewrapped { slot: made, from: slot, verified: Verified::Not, request_id }))
                }
                // Another region or partition.
                Err(Error::Provider(error)) if error.cause == ProviderCause::NotAllowed && self.unwrap.is_some() => {
                    None
                }
                Err(error) => Some(Err(error)),
            }
        }
    }

    /// Whose keys may be called as the source of a `ReEncrypt`. A slot's ARN comes from whoever could write the file.
    pub(in super::super) enum SourceRule<'a> {
        /// The caller named the slot's key, or allows anybody's.
        Any,
        /// Keys of these accounts.
        Accounts(&'a [String]),
        /// Keys of the new key's account.
        Account(String),
        /// Keys of the account that the credentials state. Where they state none, it cannot be known without a
        /// further call.
        Stated(OnceLock<Option<String>>),
    }

    impl<'a> SourceRule<'a> {
        /// From the command line.
        pub(in super::super) fn new(args: &'a RewrapArgs, to: &KmsKeyName, kms: &Kms) -> Self {
            let accounts = &args.open.accounts;
            if args.from.is_some() || accounts.any_account {
                return Self::Any;
            }
            if !accounts.account.is_empty() {
                return Self::Accounts(&accounts.account);
            }
            kms.warm_up();
            match to.to_string().split(':').nth(4) {
                Some(account) => Self::Account(account.to_owned()),
                None => Self::Stated(OnceLock::new()),
            }
        }

        fn check(&self, slot: &Slot, kms: &Kms) -> Result<()> {
            let arn = KeyArn::parse(&slot.key_id)?;
            let allowed = match self {
                Self::Any => true,
                Self::Accounts(ids) => ids.iter().any(|id| id == arn.account()),
                Self::Account(account) => account == arn.account(),
                Self::Stated(stated) => {
                    let stated = stated.get_or_init(|| kms.account_of_credentials());
                    stated.as_deref().is_none_or(|account| account == arn.account())
                }
            };
            if allowed {
                return Ok(());
            }
            let message = format!("it is a key of account {}, which was not named", arn.account());
            let hint = format!("if you trust it: --from {arn}, or --account {}", arn.account());
            let error = ProviderError::new(ProviderCause::NotAllowed, arn.to_string(), message);
            Err(Box::new(error.with_hint(hint)).into())
        }
    }
}
