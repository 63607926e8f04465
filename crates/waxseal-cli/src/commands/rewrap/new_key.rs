//! A key that slots are made for: by KMS unseen, where that can be, else with the data key in hand.

use waxseal::format::{Bank, Slot, SlotKind};
use waxseal::rewrap::{Rewrapped, Rewrapper, Unwrap};
use waxseal::{Error, Result};
#[cfg(feature = "aws-kms")]
use waxseal_aws_kms::{KeyArn, Kms, KmsKeyName};

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
    pub(super) kms: Option<(&'a Kms, &'a KmsKeyName, &'a SourceRule)>,
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

    #[cfg(feature = "aws-kms")]
    fn is_of_service(&self) -> bool {
        self.kms.is_some()
    }

    #[cfg(feature = "aws-kms")]
    fn has_slot(&self, bank: &Bank) -> Result<bool> {
        Ok(bank.slots.iter().any(|slot| self.is_target(slot)) || self.has_slot_by_alias(bank)?)
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> Result<Rewrapped> {
        #[cfg(feature = "aws-kms")]
        if let Some(done) = self.reencrypt(bank, slot) {
            return done;
        }
        match &self.unwrap {
            Some(unwrap) => unwrap.rewrap(bank, slot),
            None => Err(Error::Invalid(format!(
                "AWS KMS cannot rewrap slot {slot}: the data key must be unwrapped on this machine, \
                 which needs --allow-unwrap"
            ))),
        }
    }
}

#[cfg(feature = "aws-kms")]
pub(super) use with_kms::SourceRule;

#[cfg(feature = "aws-kms")]
mod with_kms {
    use std::sync::{Mutex, PoisonError};

    use waxseal::error::ProviderCause;
    use waxseal::format::{Bank, SlotKind};
    use waxseal::rewrap::{Rewrapped, Verified};
    use waxseal::{Error, Result};
    use waxseal_aws_kms::{AccountRule, KeyArn, KmsKeyName};

    use super::{NewKey, SlotMatch};
    use crate::cli::args::AccountArgs;

    impl NewKey<'_> {
        /// By `ReEncrypt`; `None` where that cannot be, and the other way was allowed or the slot is no key of KMS.
        pub(super) fn reencrypt(&self, bank: &Bank, slot: usize) -> Option<Result<Rewrapped>> {
            let (kms, name, rule) = self.kms.as_ref()?;
            let source = bank.slots.get(slot).filter(|source| source.kind == SlotKind::AWS_KMS)?;
            let made = rule.rule.check(source, kms).and_then(|()| kms.reencrypt(source, &bank.binding, name));
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

        /// A name that states no ARN is looked up once a run, and only where a slot could be its key's.
        pub(super) fn has_slot_by_alias(&self, bank: &Bank) -> Result<bool> {
            let Some((kms, name, rule)) = &self.kms else { return Ok(false) };
            if !bank.slots.iter().any(|slot| slot.kind == SlotKind::AWS_KMS) {
                return Ok(false);
            }
            let arn = once(&rule.target, || kms.key_arn(name))?;
            Ok(bank.slots.iter().any(|slot| SlotMatch::Arn(arn.clone()).is_met(slot)))
        }
    }

    /// Whose keys may be rewrapped from.
    pub(in super::super) struct SourceRule {
        rule: waxseal_aws_kms::SourceRule,
        /// The key that `--to` stands for, once it had to be asked for.
        target: Mutex<Option<KeyArn>>,
    }

    impl SourceRule {
        /// `to` is the new key's name, `named` the keys of `--from` and `-k`.
        pub(in super::super) fn new(args: &AccountArgs, to: Option<&KmsKeyName>, named: Vec<KeyArn>) -> Self {
            let accounts = if args.any_account {
                AccountRule::Any
            } else if !args.account.is_empty() {
                AccountRule::Ids(args.account.clone())
            } else {
                match to.and_then(KmsKeyName::account) {
                    Some(account) => AccountRule::Ids(vec![account.to_owned()]),
                    None => AccountRule::Own,
                }
            };
            Self { rule: waxseal_aws_kms::SourceRule::new(accounts, named), target: Mutex::default() }
        }
    }

    /// What `known` holds, else what `ask` answers. Files are worked on at once: the others wait for the one that asks.
    fn once<T: Clone>(known: &Mutex<Option<T>>, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(value) => Ok(value.clone()),
            None => Ok(known.insert(ask()?).clone()),
        }
    }
}
