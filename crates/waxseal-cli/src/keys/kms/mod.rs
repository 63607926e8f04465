//! Keys in AWS KMS.

mod cloud;
mod unseen;

use std::ffi::OsStr;
use std::fmt;

use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{BatchOpener, KeyOpener};
use waxseal_aws_kms::{KeyArn, KmsKey, KmsKeyName, KmsOpener, looks_like_kms_blob};

pub(crate) use self::cloud::Cloud;
use self::unseen::ReEncrypted;
use super::by_hand;
use super::opening::Origin;
use super::provider::{Going, Key, KeySpec, Keyring, Provider, Sisters, SlotTest, Sources, ToSeal, Turn, Unseen};
use super::spec::FORMS;
use crate::Result;
use crate::args::AccountArgs;
use crate::failure::Failure;

/// Keys named by an ARN, `alias/NAME`, a UUID or `mrk-ID`.
pub(super) struct AwsKms;

impl Provider for AwsKms {
    /// A text that looks like a name of KMS but is not valid gets an error that says why.
    fn parse(&self, name: &OsStr) -> Option<Result<KeySpec>> {
        let text = name.to_str()?;
        match KmsKeyName::parse(text) {
            Ok(name) => Some(Ok(Box::new(InKms(name)))),
            Err(error) if ["arn:", "alias/", "mrk-"].iter().any(|start| text.starts_with(start)) => {
                Some(Err(Failure::from(error).hint(FORMS)))
            }
            Err(_) => None,
        }
    }

    /// The keys of the allowed accounts, whatever the variable names.
    fn offered(&self, args: &AccountArgs, ring: &Keyring<'_>) -> Result<Vec<Box<dyn KeyOpener>>> {
        let openers = ring.cloud.openers_by_account(args, ring.reporter)?;
        Ok(openers.into_iter().map(for_batches).collect())
    }

    fn by_hand(&self, slot: &Slot, binding: &Binding) -> Option<String> {
        by_hand::kms_command(slot, binding)
    }

    fn foreign(&self, start: &[u8]) -> Option<&'static str> {
        looks_like_kms_blob(start).then_some("it looks like a blob of `aws kms encrypt`: use `waxseal direct decrypt`")
    }
}

/// Files that share a data key cost one call in a run.
fn for_batches(opener: KmsOpener) -> Box<dyn KeyOpener> {
    Box::new(BatchOpener::new(opener))
}

/// The key in KMS that `text` names; `None` for a key of another kind.
pub(crate) fn named(text: &OsStr) -> Result<Option<KmsKeyName>> {
    super::parse(text)?;
    Ok(text.to_str().and_then(|text| KmsKeyName::parse(text).ok()))
}

struct InKms(KmsKeyName);

impl fmt::Display for InKms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Key for InKms {
    fn turn(&self) -> Turn {
        Turn::Service
    }

    fn to_seal(&self, ring: &Keyring<'_>) -> Result<ToSeal> {
        let sealer = Box::new(KmsKey::new(ring.cloud.kms(), self.0.clone()));
        Ok(ToSeal { sealer, is_own: slots_of_name(&self.0), kind: SlotKind::AWS_KMS })
    }

    /// If the key is only offered, its account decides, and not its name.
    fn to_open(&self, origin: Origin, ring: &Keyring<'_>) -> Result<Option<Box<dyn KeyOpener>>> {
        let opener = || for_batches(KmsOpener::named(ring.cloud.kms(), self.0.clone()));
        Ok((origin == Origin::Named).then(opener))
    }

    /// An alias could be of any slot's key, so KMS is asked which key it names.
    fn going(&self, sisters: Sisters, ring: &Keyring<'_>) -> Result<Going> {
        let arn = ring.cloud.kms().key_arn(&self.0)?;
        let id = Some(arn.to_string());
        let is_own: SlotTest = match sisters {
            Sisters::Too => Box::new(move |slot| arn_of(slot).is_some_and(|other| arn.matches(&other))),
            Sisters::Not => slots_of_arn(arn),
        };
        Ok(Going { is_own, id })
    }

    fn rewraps_unseen(&self) -> bool {
        true
    }

    fn unseen(&self, cloud: &Cloud, sources: &Sources<'_>) -> Option<Box<dyn Unseen>> {
        Some(Box::new(ReEncrypted::new(cloud.kms(), &self.0, sources)))
    }

    fn stated_id(&self) -> Option<String> {
        match &self.0 {
            KmsKeyName::KeyArn(arn) => Some(arn.to_string()),
            _ => None,
        }
    }
}

/// The key in KMS that a slot is wrapped for; `None` for slots of other kinds.
fn arn_of(slot: &Slot) -> Option<KeyArn> {
    let is_kms = [SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&slot.kind);
    if is_kms { KeyArn::parse(&slot.key_id).ok() } else { None }
}

fn slots_of_arn(own: KeyArn) -> SlotTest {
    Box::new(move |slot| arn_of(slot).is_some_and(|arn| arn == own))
}

/// An alias does not say which key it names, so no slot matches. KMS says it in its answer.
fn slots_of_name(name: &KmsKeyName) -> SlotTest {
    match name {
        KmsKeyName::KeyArn(arn) => slots_of_arn(arn.clone()),
        KmsKeyName::KeyId(id) => {
            let id = id.clone();
            Box::new(move |slot| arn_of(slot).is_some_and(|arn| arn.id() == id))
        }
        _ => Box::new(|_| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_forms_of_a_kms_key() {
        let parse = |text: &str| super::super::parse(OsStr::new(text));
        for good in [
            "alias/backups",
            "arn:aws:kms:eu-west-1:123456789012:alias/backups",
            "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
        ] {
            assert!(matches!(parse(good), Ok(key) if key.turn() == Turn::Service && key.to_string() == good), "{good}");
            assert!(matches!(named(OsStr::new(good)), Ok(Some(_))), "{good}");
        }
        for bad in ["arn:aws:kms:eu-west-1:123456789012:alias/", "arn:aws:s3:::x", "alias/", "mrk-x", "backups"] {
            assert!(matches!(parse(bad), Err(failure) if failure.exit == Exit::Usage), "{bad}");
        }
        assert!(matches!(named(OsStr::new("file:k")), Ok(None)));
    }
}
