//! Checks every field of the requests with the SDK's own mocks. Also checks AWS's documented behaviour where the
//! emulators differ from it.

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use std::collections::HashMap;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::Region;
use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::decrypt::{DecryptError, DecryptOutput};
use aws_sdk_kms::operation::encrypt::EncryptOutput;
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::operation::re_encrypt::ReEncryptOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_sdk_kms::types::error::{DryRunOperationException, IncorrectKeyException};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use sdk::{binding, name};
use support::{ACCOUNT, REGION};
use waxseal::error::{Error, ProviderCause};
use waxseal::format::{Binding, Pairs, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::secret::DataKey;
use waxseal_aws_kms::{Kms, KmsKey, KmsOpener, context};

const ID: &str = "12345678-90ab-cdef-1234-567890abcdef";

fn arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

fn kms(rules: &[&Rule]) -> Kms {
    let client =
        mock_client!(aws_sdk_kms, RuleMode::MatchAny, rules, |config| config.region(Region::from_static(REGION)));
    Kms::from_clients(client, None)
}

fn slot(key: &str) -> Slot {
    Slot { kind: SlotKind::AWS_KMS, key_id: key.into(), wrapped: vec![9; 180] }
}

/// A file with a pair, which goes to KMS, and a label, which does not.
fn labelled() -> (Binding, HashMap<String, String>) {
    let binding = Binding { labels: Pairs::parse(["host=db1"]).expect("a label"), ..binding(&["env=prod"]) };
    let expected = [("env", "prod".to_owned()), ("waxseal:data-key-id", binding.data_key_id.to_string())];
    let expected: HashMap<_, _> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(context(&binding), expected);
    (binding, expected)
}

#[test]
fn generate_data_key() {
    let (binding, expected) = labelled();
    let rule = mock!(Client::generate_data_key)
        .match_requests(move |request| {
            request.key_id() == Some("alias/backup")
                && request.key_spec() == Some(&DataKeySpec::Aes256)
                && request.number_of_bytes().is_none()
                && request.encryption_context() == Some(&expected)
        })
        .then_output(|| {
            let output = GenerateDataKeyOutput::builder().key_id(arn(ID)).plaintext(Blob::new([7; 32]));
            output.ciphertext_blob(Blob::new([9; 180])).build()
        });
    let (data_key, made) = KmsKey::new(&kms(&[&rule]), name("alias/backup")).generate(&binding).unwrap();
    assert!(made == slot(&arn(ID)) && data_key.expose() == &[7; 32]);
    assert_eq!(rule.num_calls(), 1);
}

#[test]
fn encrypt() {
    let (binding, expected) = labelled();
    let rule = mock!(Client::encrypt)
        .match_requests(move |request| {
            request.key_id() == Some(arn(ID).as_str())
                && request.plaintext().is_some_and(|plaintext| plaintext.as_ref() == [7; 32])
                && request.encryption_context() == Some(&expected)
        })
        .then_output(|| EncryptOutput::builder().key_id(arn(ID)).ciphertext_blob(Blob::new([9; 180])).build());
    let data_key = DataKey::from_slice(&[7; 32]).unwrap();
    let made = KmsKey::new(&kms(&[&rule]), name(&arn(ID))).wrap(&data_key, &binding).unwrap();
    assert_eq!((made, rule.num_calls()), (slot(&arn(ID)), 1));
}

#[test]
fn decrypt_names_its_key() {
    let (binding, expected) = labelled();
    for named in [arn(ID), ID.into(), "alias/backup".into(), format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/backup")] {
        let (expected, key_id) = (expected.clone(), named.clone());
        let rule = mock!(Client::decrypt)
            .match_requests(move |request| {
                request.key_id() == Some(key_id.as_str())
                    && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == [9; 180])
                    && request.encryption_context() == Some(&expected)
            })
            .then_output(|| DecryptOutput::builder().key_id(arn(ID)).plaintext(Blob::new([7; 32])).build());
        let opened = KmsOpener::named(&kms(&[&rule]), name(&named)).open(&slot(&arn(ID)), &binding).unwrap();
        assert!(opened.expose() == &[7; 32] && rule.num_calls() == 1, "{named}");
    }
}

#[test]
fn re_encrypt_takes_slots_of_kind_1_alone() {
    let rule = mock!(Client::re_encrypt).then_output(|| ReEncryptOutput::builder().build());
    let kms = kms(&[&rule]);
    for (kind, len) in [(SlotKind::AWS_KMS_ML_KEM, 1192), (SlotKind::AWS_KMS_RSA, 488), (SlotKind::X_WING, 1224)] {
        let slot = Slot { kind, key_id: arn(ID), wrapped: vec![9; len] };
        let refused = kms.reencrypt(&slot, &binding(&[]), &name(&arn(ID)));
        assert!(matches!(refused, Err(Error::ApiMisuse(_))), "{}", kind.name());
    }
    assert_eq!(rule.num_calls(), 0);
}

#[test]
fn re_encrypt_sends_one_context_both_ways() {
    let (binding, expected) = labelled();
    let other = arn(&ID.replace('1', "2"));
    let (to, same) = (other.clone(), expected.clone());
    let rule = mock!(Client::re_encrypt)
        .match_requests(move |request| {
            request.source_key_id() == Some(arn(ID).as_str())
                && request.destination_key_id() == Some(to.as_str())
                && request.source_encryption_context() == Some(&expected)
                && request.destination_encryption_context() == Some(&expected)
                && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == [9; 180])
        })
        .then_output({
            let to = other.clone();
            move || {
                let output = ReEncryptOutput::builder().source_key_id(arn(ID)).key_id(&to);
                output.ciphertext_blob(Blob::new([8; 180])).build()
            }
        });
    let key = other.clone();
    // With DryRun, KMS says whether the new slot opens, and returns no plaintext.
    let dry_run = mock!(Client::decrypt)
        .match_requests(move |request| {
            request.dry_run() == Some(true)
                && request.key_id() == Some(key.as_str())
                && request.encryption_context() == Some(&same)
                && request.ciphertext_blob().is_some_and(|blob| blob.as_ref() == [8; 180])
        })
        .then_error(|| DecryptError::DryRunOperationException(DryRunOperationException::builder().build()));
    let (rotated, _) = kms(&[&rule, &dry_run]).reencrypt(&slot(&arn(ID)), &binding, &name(&other)).unwrap();
    assert_eq!((rotated, rule.num_calls()), (Slot { wrapped: vec![8; 180], ..slot(&other) }, 1));
    assert_eq!(dry_run.num_calls(), 1);
}

/// KMS returns this error if the alias now points to another key. The emulators do not.
#[test]
fn the_key_under_an_alias_is_another() {
    let rule = mock!(Client::decrypt).then_error(|| {
        let code = ErrorMetadata::builder().code("IncorrectKeyException").build();
        DecryptError::IncorrectKeyException(IncorrectKeyException::builder().meta(code).build())
    });
    let result = KmsOpener::named(&kms(&[&rule]), name("alias/moved")).open(&slot(&arn(ID)), &binding(&[]));
    let Err(Error::Provider(error)) = result else { panic!("no failure of the provider's") };
    assert_eq!(error.cause, ProviderCause::OtherKey, "{error}");
}
