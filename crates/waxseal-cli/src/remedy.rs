//! The program's words for the remedies of the library: its options, its commands, and the AWS CLI's.

use waxseal::error::{Naming, Purpose, Remedy, RightKind};

use super::escape;
use super::key_option;

/// The hint for `remedy`.
pub(crate) fn hint(remedy: &Remedy) -> String {
    configuration(remedy).or_else(|| key(remedy)).or_else(|| material(remedy)).unwrap_or_else(|| remedy.to_string())
}

/// What to do about this machine, its settings and its network.
fn configuration(remedy: &Remedy) -> Option<String> {
    Some(match remedy {
        Remedy::CheckNetwork => {
            "check the network, --region, HTTPS_PROXY, NO_PROXY, AWS_CA_BUNDLE and AWS_ENDPOINT_URL_KMS".into()
        }
        Remedy::CheckSettings => {
            "check the AWS settings (docs/aws-configuration.md); `aws sts get-caller-identity` uses the same".into()
        }
        Remedy::CheckCredentials => {
            "try `aws sts get-caller-identity`; after `aws sso login`, or with other credentials, try again".into()
        }
        Remedy::StartSession { profile } => format!(
            "start a session and use its credentials: \
             eval \"$(aws configure export-credentials --profile {} --format env)\"",
            escape::shell(profile)
        ),
        Remedy::NameProfile => "name a profile that exists with --profile, or leave --profile out".into(),
        Remedy::ChooseRegion { region: None } => "set a region with --region or AWS_REGION".into(),
        Remedy::ChooseRegion { region: Some(region) } => format!("choose the region of the key: --region {region}"),
        _ => return None,
    })
}

/// What to do about a key.
fn key(remedy: &Remedy) -> Option<String> {
    Some(match remedy {
        Remedy::CheckName => "check the name, the account and --region".into(),
        Remedy::NameByFullId => "the alias or id names another key than the slot's: name the key by its ARN".into(),
        Remedy::Permit { action, by_context: false } => {
            format!("the caller needs {action} on the key in its IAM policy and the key policy")
        }
        Remedy::Permit { action, by_context: true } => format!(
            "the caller needs {action} on the key in its IAM policy and the key policy; \
             they may also require an encryption context"
        ),
        Remedy::Trust(naming) => format!("if you trust the owner of this key, {}", ways(naming)),
        Remedy::SkipIdentity(naming) => format!("to avoid the call to STS, {}", ways(naming)),
        Remedy::EnableKey { key, region } => {
            format!("enable it: aws kms enable-key --region {region} --key-id {}", by_id(key, region))
        }
        Remedy::CancelDeletion { key, region } => {
            let key = by_id(key, region);
            format!("cancel the deletion in time: aws kms cancel-key-deletion --region {region} --key-id {key}")
        }
        Remedy::ShowKey { key } => format!("`waxseal key show {key}` shows its state"),
        Remedy::AwaitRotation { key } => {
            format!("a rotation is in progress: `waxseal key show {key}` shows when it is done")
        }
        Remedy::ReplaceKey => {
            "only symmetric keys in KMS rotate; replace another key with `waxseal key create` and `waxseal rewrap --to`"
                .into()
        }
        Remedy::ConnectKeyStore => {
            "its key store outside of KMS is not connected or does not answer: `aws kms describe-custom-key-stores` shows why".into()
        }
        Remedy::CreateAlias { alias, key } => format!("create the alias: waxseal key alias {alias} {key}"),
        Remedy::UnwrapHere => "use --allow-unwrap: the data key is then unwrapped on this machine".into(),
        Remedy::UseKind(kind) => right_kind(kind)?,
        _ => return None,
    })
}

/// The key as an argument of commands that take no alias.
fn by_id(key: &str, region: &str) -> String {
    if key.starts_with("alias/") || key.contains(":alias/") {
        format!("$(aws kms describe-key --region {region} --key-id {key} --query KeyMetadata.KeyId --output text)")
    } else {
        key.to_owned()
    }
}

/// What to do about key material.
fn material(remedy: &Remedy) -> Option<String> {
    Some(match remedy {
        Remedy::ListMaterials { key } => format!("`waxseal key show {key}` lists the ids"),
        Remedy::ImportSameMaterial { key } => {
            format!("import the same material again: waxseal key import {key} --material FILE")
        }
        Remedy::ImportNextMaterial { key } => {
            format!("import its next material first: waxseal key import {key} --new-material --generate FILE")
        }
        Remedy::ImportAsNew => {
            "the key accepts only material that it has had before; use --new-material to import its next one".into()
        }
        Remedy::ImportIntoPrimary { primary } => {
            let key = primary.as_deref().unwrap_or("the primary key");
            format!(
                "import it into {key} first; then import the same material into each replica, without --new-material"
            )
        }
        Remedy::CreateForImport => "`waxseal key create --external` creates a key for imported material".into(),
        Remedy::ManageInKeyStore => "its material is in a key store outside of KMS, and is managed there".into(),
        _ => return None,
    })
}

fn right_kind(kind: &RightKind) -> Option<String> {
    Some(match kind {
        RightKind::SymmetricOrPublicHalf { key } => format!(
            "use a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT); for an ML-KEM or RSA key, \
             `waxseal key public {key} -o FILE` creates a recipient file, and -k file:FILE seals with it"
        ),
        RightKind::SymmetricOrSlots => {
            "use a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT), or the key of the slot".into()
        }
        RightKind::MlKem => "the slot is of an ML-KEM key, and this key is not one".into(),
        RightKind::SymmetricByService { key } => format!("seal with the key itself: waxseal encrypt -k {key}"),
        _ => return None,
    })
}

/// The options that name a key or allow its account.
fn ways(naming: &Naming) -> String {
    let option = match naming.purpose {
        Purpose::RewrapFrom => "--from",
        _ => key_option::to_open(),
    };
    let name = format!("name it with {option} {}", naming.key.as_deref().unwrap_or("KEY"));
    match &naming.account {
        Some(account) => format!("{name}, or allow its account with --account {account}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_with_options_name_them() {
        let trust = Remedy::Trust(Naming::to_open(Some("arn".into()), Some("1".into())));
        assert_eq!(
            hint(&trust),
            "if you trust the owner of this key, name it with -k arn, or allow its account with --account 1"
        );
        let skip = Remedy::SkipIdentity(Naming::to_rewrap("arn", "1"));
        assert!(hint(&skip).ends_with("name it with --from arn, or allow its account with --account 1"));
        assert!(hint(&Remedy::SkipIdentity(Naming::to_open(None, None))).ends_with("with -k KEY"));
        assert_eq!(hint(&Remedy::ImportAsNew).matches("--new-material").count(), 1);
    }

    /// AWS does not enable a key by an alias.
    #[test]
    fn a_key_is_enabled_by_its_id() {
        let enable = |key: &str| hint(&Remedy::EnableKey { key: key.into(), region: "eu-west-1".into() });
        assert!(enable("1234abcd").ends_with("--key-id 1234abcd"));
        assert!(enable("alias/a").ends_with(
            "--key-id $(aws kms describe-key --region eu-west-1 --key-id alias/a --query KeyMetadata.KeyId --output text)"
        ));
    }

    #[test]
    fn a_hostile_profile_stays_one_word() {
        let hint = hint(&Remedy::StartSession { profile: "a'; touch b; '".into() });
        assert!(hint.contains(r"--profile 'a'\''; touch b; '\''' --format env"), "{hint}");
    }

    #[test]
    fn other_remedies_keep_the_words_of_the_library() {
        for remedy in [Remedy::TryLater, Remedy::SetClock, Remedy::SetCredentialAgain, Remedy::Other("call us".into())]
        {
            assert_eq!(hint(&remedy), remedy.to_string());
        }
    }
}
