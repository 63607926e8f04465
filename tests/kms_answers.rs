//! The result for each answer that KMS can give, and for no answer. A proxy answers in place of KMS.

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdk::{binding, kms, kms_in, name};
use serde_json::json;
use support::{ACCOUNT, CountingProxy, Fault, REGION, counting_proxy};
use waxseal::error::{Error, Naming, ProviderCause, ProviderError, Remedy, Result, RightKind};
use waxseal::format::{Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal_aws_kms::{AccountRule, KmsKey, KmsOpener};

const ID: &str = "12345678-90ab-cdef-1234-567890abcdef";
const MRK: &str = "mrk-1234567890abcdef1234567890abcdef";

fn arn(region: &str, id: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}")
}

fn slot(key: &str) -> Slot {
    Slot { kind: SlotKind::AWS_KMS, key_id: key.into(), wrapped: vec![9; 180] }
}

/// There is no server behind this proxy. A call without a prepared answer fails.
fn proxy() -> CountingProxy {
    counting_proxy("http://127.0.0.1:1")
}

fn answer(body: &serde_json::Value) -> Fault {
    Fault::Answer(200, body.to_string())
}

fn data_key(key: &str, len: usize) -> Fault {
    let plaintext = STANDARD.encode(vec![7; len]);
    answer(&json!({ "KeyId": key, "Plaintext": plaintext, "CiphertextBlob": STANDARD.encode([9; 180]) }))
}

#[track_caller]
fn refusal<T>(result: Result<T>) -> Box<ProviderError> {
    let error = sdk::refusal(result);
    assert!(!format!("{error:?}").contains(&STANDARD.encode([7; 16])[..8]), "a secret in {error:?}");
    error
}

#[test]
fn answers_that_are_not_to_the_question() {
    let key = arn(REGION, ID);
    let other = arn(REGION, &ID.replace('1', "2"));
    let good = STANDARD.encode([9; 180]);
    let plaintext = STANDARD.encode([7; 32]);
    let answers = [
        data_key(&other, 32),
        data_key(ID, 32),
        data_key(&format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/x"), 32),
        data_key(&arn("us-east-1", ID), 32),
        data_key(&key, 16),
        data_key(&key, 33),
        data_key(&key, 0),
        answer(&json!({ "KeyId": key, "CiphertextBlob": good })),
        answer(&json!({ "Plaintext": plaintext, "CiphertextBlob": good })),
        answer(&json!({})),
    ];
    for wrong in &answers {
        let proxy = proxy();
        let kms = kms(&proxy.url);
        proxy.fail([wrong.clone(), wrong.clone()]);
        let error = refusal(KmsKey::new(&kms, name(&key)).generate(&binding(&[])));
        assert_eq!(error.cause, ProviderCause::BadAnswer, "{wrong:?}: {error}");
        assert_eq!(error.request_id.as_deref(), Some("fault-200"));
        let error = refusal(KmsOpener::named(&kms, name(&key)).open(&slot(&key), &binding(&[])));
        assert_eq!(error.cause, ProviderCause::BadAnswer, "{wrong:?}: {error}");
        assert_eq!(proxy.take(), ["GenerateDataKey", "Decrypt"]);
    }
}

#[test]
fn wrapped_keys_that_no_slot_can_hold() {
    let key = arn(REGION, ID);
    for len in [0, 6145] {
        let proxy = proxy();
        let blob = STANDARD.encode(vec![9; len]);
        proxy.fail([answer(&json!({ "KeyId": key, "Plaintext": STANDARD.encode([7; 32]), "CiphertextBlob": blob }))]);
        let error = refusal(KmsKey::new(&kms(&proxy.url), name(&key)).generate(&binding(&[])));
        assert_eq!(error.cause, ProviderCause::BadAnswer, "{error}");
    }
}

#[test]
fn a_rotation_that_comes_from_or_goes_to_another_key() {
    let (from, to) = (arn(REGION, ID), arn(REGION, &ID.replace('1', "2")));
    let blob = STANDARD.encode([8; 180]);
    let answers = [
        (json!({ "SourceKeyId": from, "KeyId": to, "CiphertextBlob": blob }), true),
        (json!({ "SourceKeyId": to, "KeyId": to, "CiphertextBlob": blob }), false),
        (json!({ "SourceKeyId": from, "KeyId": from, "CiphertextBlob": blob }), false),
        (json!({ "KeyId": to, "CiphertextBlob": blob }), false),
        (json!({ "SourceKeyId": from, "KeyId": to }), false),
        // The wrapped key of the old slot, and one that is too long for a slot.
        (json!({ "SourceKeyId": from, "KeyId": to, "CiphertextBlob": STANDARD.encode([9; 180]) }), false),
        (json!({ "SourceKeyId": from, "KeyId": to, "CiphertextBlob": STANDARD.encode([8; 6145]) }), false),
    ];
    for (body, good) in &answers {
        let proxy = proxy();
        proxy.fail([answer(body), Fault::refusal("DryRunOperationException", "would have succeeded")]);
        match kms(&proxy.url).reencrypt(&slot(&from), &binding(&[]), &name(&to)) {
            Ok((rotated, id)) => {
                assert!(*good, "{body}");
                assert_eq!((rotated.key_id.as_str(), rotated.wrapped.as_slice()), (to.as_str(), [8; 180].as_slice()));
                assert_eq!(id.as_deref(), Some("fault-200"));
            }
            Err(Error::Provider(error)) if error.cause == ProviderCause::BadAnswer => assert!(!good, "{body}: {error}"),
            Err(other) => panic!("{body}: {other}"),
        }
    }
}

/// The new slot may replace the only slot, so the library asks KMS whether the new one opens.
#[test]
fn a_rotation_whose_result_does_not_open() {
    let (from, to) = (arn(REGION, ID), arn(REGION, &ID.replace('1', "2")));
    let rotated = json!({ "SourceKeyId": from, "KeyId": to, "CiphertextBlob": STANDARD.encode([8; 180]) });
    for (fault, cause) in [
        (Fault::refusal("InvalidCiphertextException", ""), Some(ProviderCause::BadAnswer)),
        (Fault::refusal("IncorrectKeyException", ""), Some(ProviderCause::BadAnswer)),
        (Fault::refusal("DryRunOperationException", ""), None),
        (Fault::refusal("AccessDeniedException", "not authorized to perform: kms:Decrypt"), None),
        (Fault::Cut, Some(ProviderCause::Unreachable)),
    ] {
        let proxy = proxy();
        let kms = kms(&proxy.url);
        proxy.fail([answer(&rotated)]);
        proxy.fail(vec![fault.clone(); 3]);
        match (kms.reencrypt(&slot(&from), &binding(&[]), &name(&to)), cause) {
            (Ok((made, _)), None) => assert_eq!(made.wrapped, [8; 180]),
            (Err(Error::Provider(error)), Some(cause)) => assert_eq!(error.cause, cause, "{fault:?}: {error}"),
            (other, _) => panic!("{fault:?}: {other:?}"),
        }
    }
}

/// Each refusal is an event in an audit log and may raise an alarm. So the library asks only once for each key.
#[test]
fn who_may_not_decrypt_is_refused_once_a_key() {
    let (from, to) = (arn(REGION, ID), arn(REGION, &ID.replace('1', "2")));
    let rotated = answer(&json!({ "SourceKeyId": from, "KeyId": to, "CiphertextBlob": STANDARD.encode([8; 180]) }));
    let proxy = proxy();
    let kms = kms(&proxy.url);
    proxy.fail([rotated.clone(), Fault::refusal("AccessDeniedException", ""), rotated]);
    for _ in 0..2 {
        kms.reencrypt(&slot(&from), &binding(&[]), &name(&to)).unwrap();
    }
    assert_eq!(proxy.take(), ["ReEncrypt", "Decrypt", "ReEncrypt"]);
}

/// A captive portal or a proxy answers in place of AWS. This is a temporary failure, and the message says so.
#[test]
fn what_is_not_an_answer_of_aws() {
    let key = arn(REGION, ID);
    let page = "<html><body>Please log in</body></html>";
    for status in [200, 302, 403, 404, 511] {
        let proxy = proxy();
        proxy.fail(vec![Fault::Answer(status, page.into()); 3]);
        let error = refusal(KmsOpener::named(&kms(&proxy.url), name(&key)).open(&slot(&key), &binding(&[])));
        assert!(error.retryable(), "{status}: {error:?}");
        assert!(error.message.contains(&status.to_string()) && !error.message.contains("log in"), "{error}");
    }
}

#[test]
fn every_refusal_has_its_cause_and_a_remedy() {
    use ProviderCause as C;
    let key = arn(REGION, ID);
    let (named, region) = (|| key.clone(), || REGION.to_owned());
    let decrypt = Remedy::Permit { action: "kms:Decrypt".into(), by_context: true };
    let login = Some(Remedy::CheckCredentials);
    for (code, words, cause, remedy) in [
        ("AccessDeniedException", "User: x is not authorized to perform: kms:Decrypt", C::Denied, Some(decrypt)),
        (
            "DisabledException",
            "arn is disabled.",
            C::Disabled,
            Some(Remedy::EnableKey { key: named(), region: region() }),
        ),
        (
            "KMSInvalidStateException",
            "arn is pending deletion.",
            C::PendingDeletion,
            Some(Remedy::CancelDeletion { key: named(), region: region() }),
        ),
        (
            "KMSInvalidStateException",
            "arn is pending import.",
            C::PendingImport,
            Some(Remedy::ImportSameMaterial { key: named() }),
        ),
        ("KMSInvalidStateException", "arn is unavailable.", C::Rejected, Some(Remedy::ConnectKeyStore)),
        ("NotFoundException", "Key does not exist", C::NotFound, Some(Remedy::CheckName)),
        ("InvalidCiphertextException", "", C::WrongCiphertext, None),
        ("IncorrectKeyException", "", C::OtherKey, None),
        ("InvalidKeyUsageException", "", C::WrongKeyType, Some(Remedy::UseKind(RightKind::SymmetricOrSlots))),
        (
            "ExpiredTokenException",
            "The security token included in the request is expired",
            C::Credentials,
            login.clone(),
        ),
        ("UnrecognizedClientException", "The security token is invalid", C::Credentials, login),
        (
            "InvalidSignatureException",
            "Signature expired: 20200101T000000Z is now earlier",
            C::ClockSkew,
            Some(Remedy::SetClock),
        ),
    ] {
        let proxy = proxy();
        // If the clock is wrong, the SDK corrects the time and tries again. So there are several refusals.
        proxy.fail(vec![Fault::refusal(code, words); 3]);
        let error = refusal(KmsOpener::named(&kms(&proxy.url), name(&key)).open(&slot(&key), &binding(&[])));
        assert_eq!(error.cause, cause, "{code}: {error}");
        assert_eq!((error.key.as_str(), error.request_id.as_deref()), (key.as_str(), Some("fault-400")));
        assert!(!error.retryable() && error.to_string().contains(words), "{error}");
        assert_eq!(error.remedy, remedy, "{code}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let key = arn(REGION, ID);
    // The caller made the client, so the client's retry policy applies, even if AWS throttles.
    let throttled = Fault::refusal("ThrottlingException", "Rate exceeded");
    let broken = Fault::Answer(503, "<html>".into());
    for (fault, cause) in [
        (throttled, ProviderCause::Throttled),
        (broken, ProviderCause::Internal),
        (Fault::Cut, ProviderCause::Unreachable),
    ] {
        let proxy = proxy();
        let opener = KmsOpener::named(&kms(&proxy.url), name(&key));
        proxy.fail([fault.clone(), data_key(&key, 32)]);
        assert!(opener.open(&slot(&key), &binding(&[])).is_ok(), "{fault:?}");
        assert_eq!(proxy.take(), ["Decrypt"; 2]);
        proxy.fail(vec![fault.clone(); 3]);
        let error = refusal(opener.open(&slot(&key), &binding(&[])));
        assert_eq!(error.cause, cause, "{fault:?}: {error}");
        assert!(error.retryable());
        assert_eq!(proxy.take(), ["Decrypt"; 3]);
    }
}

#[test]
fn nothing_listens() {
    let key = arn(REGION, ID);
    let error = refusal(KmsKey::new(&kms("http://127.0.0.1:1"), name(&key)).generate(&binding(&[])));
    assert_eq!(error.cause, ProviderCause::Unreachable, "{error}");
    assert_eq!(error.remedy, Some(Remedy::CheckNetwork));
}

#[test]
fn a_sister_region_answers() {
    let (home, sister) = (arn(REGION, MRK), arn("eu-central-1", MRK));
    // The replica is named. Only this replica is called, and the answer must have its ARN.
    let proxy = proxy();
    let opener = KmsOpener::named(&kms(&proxy.url), name(&sister));
    proxy.fail([data_key(&sister, 32), data_key(&home, 32)]);
    assert!(opener.open(&slot(&home), &binding(&[])).is_ok());
    assert_eq!(refusal(opener.open(&slot(&home), &binding(&[]))).cause, ProviderCause::BadAnswer);
    assert_eq!(proxy.take(), ["Decrypt"; 2]);

    // Nothing is named, or the key in its home region. The home region is called first. If it does not answer, the
    // caller's region is called.
    let near = kms_in(&proxy.url, "eu-central-1");
    let by_account = KmsOpener::by_account(&near, AccountRule::Ids(vec![ACCOUNT.into()])).unwrap();
    for opener in [&by_account[1], &KmsOpener::named(&near, name(&home))] {
        assert!(opener.matches(&slot(&home)));
        proxy.fail([data_key(&home, 32)]);
        assert!(opener.open(&slot(&home), &binding(&[])).is_ok());
        assert_eq!(proxy.take(), ["Decrypt"]);
        proxy.fail([Fault::Cut, Fault::Cut, Fault::Cut, data_key(&sister, 32)]);
        assert!(opener.open(&slot(&home), &binding(&[])).is_ok());
        assert_eq!(proxy.take(), ["Decrypt"; 4]);
        let broken = Fault::Answer(503, "{}".into());
        proxy.fail([broken.clone(), broken.clone(), broken, data_key(&sister, 32)]);
        assert!(opener.open(&slot(&home), &binding(&[])).is_ok());
        assert_eq!(proxy.take(), ["Decrypt"; 4]);
        // A refusal is an answer, so the other region is not called.
        proxy.fail([Fault::refusal("AccessDeniedException", "no")]);
        assert_eq!(refusal(opener.open(&slot(&home), &binding(&[]))).cause, ProviderCause::Denied);
        assert_eq!(proxy.take(), ["Decrypt"]);
    }
    // A single-Region key has no replica.
    let single = arn(REGION, ID);
    proxy.fail(vec![Fault::Cut; 3]);
    let result = KmsOpener::named(&near, name(&single)).open(&slot(&single), &binding(&[]));
    assert_eq!(refusal(result).cause, ProviderCause::Unreachable);
    assert_eq!(proxy.take(), ["Decrypt"; 3]);
}

#[test]
fn an_alias_is_not_looked_for_in_another_region() {
    let proxy = proxy();
    let single = arn(REGION, ID);
    let opener = KmsOpener::named(&kms_in(&proxy.url, "eu-central-1"), name("alias/backup"));
    let error = refusal(opener.open(&slot(&single), &binding(&[])));
    let remedy = Remedy::ChooseRegion { region: Some("eu-west-1".into()) };
    assert_eq!((error.cause, error.remedy), (ProviderCause::NotFound, Some(remedy)));
    assert!(proxy.calls().is_empty());
}

#[test]
fn sts_decides() {
    let key = arn(REGION, ID);
    let identity = |partition: &str, account: &str| {
        let arn = format!("arn:{partition}:iam::{account}:user/u");
        Fault::Answer(
            200,
            format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>u</UserId>\
                 <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
        )
    };
    for (said, cause) in [
        (identity("aws", "210987654321"), ProviderCause::NotAllowed),
        (identity("aws-cn", ACCOUNT), ProviderCause::NotAllowed),
        (identity("aws", "12345"), ProviderCause::BadAnswer),
        (identity("", ACCOUNT), ProviderCause::BadAnswer),
    ] {
        let proxy = proxy();
        proxy.fail([said]);
        let own = KmsOpener::by_account(&kms(&proxy.url), AccountRule::Own).unwrap();
        let error = refusal(own[0].open(&slot(&key), &binding(&[])));
        assert_eq!(error.cause, cause, "{error}");
        assert_eq!(proxy.take(), ["GetCallerIdentity"]);
    }
    let proxy = proxy();
    proxy.fail(vec![Fault::Cut; 3]);
    let own = KmsOpener::by_account(&kms(&proxy.url), AccountRule::Own).unwrap();
    let error = refusal(own[0].open(&slot(&key), &binding(&[])));
    assert_eq!(error.cause, ProviderCause::Unreachable, "{error}");
    let naming = Naming::to_open(Some(key), Some(ACCOUNT.into()));
    assert_eq!(error.remedy, Some(Remedy::SkipIdentity(naming)));
}

/// The key's material is not in KMS. So the user must check the key store that has it.
#[test]
fn a_key_store_outside_of_kms_is_named() {
    let key = arn(REGION, ID);
    for words in [format!("{key} is unavailable."), "The external key store proxy did not respond in time.".into()] {
        let proxy = proxy();
        let kms = kms(&proxy.url);
        proxy.fail(vec![Fault::refusal("KMSInvalidStateException", &words); 2]);
        let sealing = refusal(KmsKey::new(&kms, name(&key)).generate(&binding(&[])));
        let opening = refusal(KmsOpener::named(&kms, name(&key)).open(&slot(&key), &binding(&[])));
        for error in [sealing, opening] {
            assert_eq!(error.cause, ProviderCause::Rejected);
            assert!(error.remedy == Some(Remedy::ConnectKeyStore), "{error:?}");
        }
        assert_eq!(proxy.take(), ["GenerateDataKey", "Decrypt"], "each is called once");
    }
}
