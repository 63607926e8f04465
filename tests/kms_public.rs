//! Keys with a public half (kinds 4 and 5) and the small KMS: the calls, the requests, and the result of each answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdk::{binding, kms, name, refusal};
use serde_json::{Value, json};
use support::{ACCOUNT, CountingProxy, Fault, REGION, Server, counting_proxy, small_kms};
use waxseal::error::{Error, ProviderCause, Remedy, Result, RightKind, Tampered};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::public::{PublicKeySpec, encapsulation};
use waxseal::keys::{KeyOpener, KeySealer, Recipient};
use waxseal::secret::DataKey;
use waxseal_aws_kms::{AccountRule, Kms, KmsOpener, NewKey};

const SPECS: [PublicKeySpec; 4] =
    [PublicKeySpec::MlKem768, PublicKeySpec::MlKem1024, PublicKeySpec::Rsa3072, PublicKeySpec::Rsa4096];

/// The small KMS behind a proxy. The proxy counts the calls, and can answer in place of KMS.
struct Cloud {
    server: Server,
    proxy: CountingProxy,
    kms: Kms,
}

impl Cloud {
    fn new() -> Self {
        let server = small_kms();
        let proxy = counting_proxy(&server.url);
        let kms = kms(&proxy.url);
        Self { server, proxy, kms }
    }

    fn create(&self, spec: PublicKeySpec, alias: &str) -> Recipient {
        let mut new = NewKey::new();
        new.public = Some(spec);
        let arn = self.kms.create_key_as(&new, alias).unwrap();
        let recipient = self.kms.public_key(&name(alias)).unwrap();
        assert_eq!((recipient.spec(), recipient.key_id()), (spec, arn.to_string().as_str()));
        recipient
    }

    fn named(&self, key: &str) -> KmsOpener {
        KmsOpener::named(&self.kms, name(key))
    }
}

fn operation(spec: PublicKeySpec) -> &'static str {
    if spec.kind() == SlotKind::AWS_KMS_ML_KEM { "Decapsulate" } else { "Decrypt" }
}

fn sealed(recipient: &Recipient, binding: &Binding) -> (DataKey, Slot) {
    let data_key = DataKey::random().unwrap();
    let slot = recipient.wrap(&data_key, binding).unwrap();
    (data_key, slot)
}

#[track_caller]
fn is_altered(result: Result<DataKey>) {
    assert!(
        matches!(result, Err(Error::Tampered(Tampered::Slot { .. }))),
        "{result:?}",
        result = result.map(|_| "opened")
    );
}

#[test]
fn opening_is_one_call_and_sealing_is_none() {
    let cloud = Cloud::new();
    for spec in SPECS {
        let alias = format!("alias/{}", spec.name());
        let recipient = cloud.create(spec, &alias);
        assert_eq!(cloud.proxy.take(), ["DescribeKey", "CreateKey", "CreateAlias", "GetPublicKey"]);
        let made = cloud.server.last_body("CreateKey");
        let usage = if operation(spec) == "Decapsulate" { "ENCAPSULATE_DECAPSULATE" } else { "ENCRYPT_DECRYPT" };
        assert_eq!((&made["KeySpec"], &made["KeyUsage"]), (&json!(spec.name()), &json!(usage)));
        let binding = binding(&["env=prod"]);
        let (data_key, slot) = sealed(&recipient, &binding);
        assert!(cloud.proxy.take().is_empty(), "sealing has made a call");

        let arn = recipient.key_id();
        let alias_arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:{alias}");
        for named in [arn, arn.rsplit('/').next().unwrap(), &alias, &alias_arn] {
            let opener = cloud.named(named);
            assert!(opener.matches(&slot));
            assert!(opener.open(&slot, &binding).unwrap().expose() == data_key.expose(), "{named}");
            assert_eq!(cloud.proxy.take(), [operation(spec)], "{named}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opened = runtime.block_on(cloud.named(arn).open_async(&slot, &binding)).unwrap();
        assert!(opened.expose() == data_key.expose());
        assert_eq!(cloud.proxy.take(), [operation(spec)]);
    }
    cloud.server.conforms();
}

/// Only slots of kind 1 send pairs to KMS. KMS refuses pairs for keys with a public half, and its log would contain
/// them.
#[test]
fn no_encryption_context_is_sent_for_kinds_4_and_5() {
    let cloud = Cloud::new();
    for spec in [PublicKeySpec::MlKem768, PublicKeySpec::Rsa3072] {
        let recipient = cloud.create(spec, &format!("alias/{}", spec.name()));
        let binding = binding(&["env=prod", "host=db1"]);
        let (_, slot) = sealed(&recipient, &binding);
        cloud.named(recipient.key_id()).open(&slot, &binding).unwrap();
        let sent = STANDARD.encode(encapsulation(&slot).unwrap());
        let expected = if operation(spec) == "Decapsulate" {
            let key = recipient.key_id();
            json!({ "KeyId": key, "SharedSecretCiphertextBlob": sent, "EncapsulationAlgorithm": "ML_KEM" })
        } else {
            let key = recipient.key_id();
            json!({ "KeyId": key, "CiphertextBlob": sent, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" })
        };
        assert_eq!(cloud.server.last_body(operation(spec)), expected, "another request");
    }
    cloud.server.conforms();
}

#[test]
fn without_a_name_the_account_rule_holds() {
    let cloud = Cloud::new();
    let recipient = cloud.create(PublicKeySpec::MlKem768, "alias/own");
    let binding = binding(&[]);
    let (data_key, slot) = sealed(&recipient, &binding);
    cloud.proxy.take();
    let own = KmsOpener::by_account(&cloud.kms, AccountRule::Own).unwrap();
    assert!(own[0].matches(&slot) && own[0].open(&slot, &binding).unwrap().expose() == data_key.expose());
    assert_eq!(cloud.proxy.take(), ["GetCallerIdentity", "Decapsulate"]);

    // The library calls no key of another account, no key that was not named, and no region that does not exist.
    for (from, to) in [(ACCOUNT, "210987654321"), (REGION, "evil-1")] {
        let foreign = Slot { key_id: slot.key_id.replace(from, to), ..slot.clone() };
        assert_eq!(refusal(own[0].open(&foreign, &binding)).cause, ProviderCause::NotAllowed, "{to}");
    }
    let other = cloud.server.aws().create_key();
    assert!(!cloud.named(&other).matches(&slot));
    assert_eq!(refusal(cloud.named(&other).open(&slot, &binding)).cause, ProviderCause::NotAllowed);
    assert!(cloud.proxy.calls().is_empty());
    let xwing = Slot { kind: SlotKind::X_WING, ..slot };
    assert!(own.iter().all(|opener| !opener.matches(&xwing)));
    cloud.server.conforms();
}

#[test]
fn an_altered_or_grafted_slot_does_not_open() {
    let cloud = Cloud::new();
    for spec in [PublicKeySpec::MlKem768, PublicKeySpec::MlKem1024, PublicKeySpec::Rsa3072] {
        let recipient = cloud.create(spec, &format!("alias/{}", spec.name()));
        let binding = binding(&["env=prod"]);
        let (_, slot) = sealed(&recipient, &binding);
        let opener = cloud.named(recipient.key_id());
        let flipped = |at: usize| {
            let mut wrapped = slot.wrapped.clone();
            wrapped[at] ^= 1;
            opener.open(&Slot { wrapped, ..slot.clone() }, &binding)
        };
        // KMS detects an altered RSA ciphertext, but never an altered ML-KEM ciphertext.
        if spec.kind() == SlotKind::AWS_KMS_ML_KEM {
            is_altered(flipped(0));
        } else {
            let error = refusal(flipped(0));
            assert!(error.cause == ProviderCause::WrongCiphertext && error.tampered(), "{error}");
        }
        let sent = encapsulation(&slot).unwrap().len();
        for at in [sent, sent + 24, sent + 60, slot.wrapped.len() - 1] {
            is_altered(flipped(at));
        }
        is_altered(opener.open(&slot, &sdk::binding(&["env=prod"])));
        // The slot's message after the encapsulation of another slot of the same key.
        let (_, other) = sealed(&recipient, &binding);
        let grafted = [&other.wrapped[..sent], &slot.wrapped[sent..]].concat();
        is_altered(opener.open(&Slot { wrapped: grafted, ..slot.clone() }, &binding));
    }
    cloud.server.conforms();
}

#[test]
fn answers_that_are_not_to_the_question() {
    let cloud = Cloud::new();
    for spec in [PublicKeySpec::MlKem768, PublicKeySpec::Rsa3072] {
        let recipient = cloud.create(spec, &format!("alias/{}", spec.name()));
        let binding = binding(&[]);
        let (_, slot) = sealed(&recipient, &binding);
        let other = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef");
        let field = if operation(spec) == "Decapsulate" { "SharedSecret" } else { "Plaintext" };
        let answers = [
            (json!({ "KeyId": recipient.key_id(), field: STANDARD.encode([7; 31]) }), "32 bytes"),
            (json!({ "KeyId": recipient.key_id(), field: STANDARD.encode([7; 33]) }), "32 bytes"),
            (json!({ "KeyId": recipient.key_id() }), "32 bytes"),
            (json!({ "KeyId": other, field: STANDARD.encode([7; 32]) }), "another key"),
            (json!({ "KeyId": "alias/x", field: STANDARD.encode([7; 32]) }), "ARN"),
            (json!({ field: STANDARD.encode([7; 32]) }), "ARN"),
        ];
        for (answer, words) in answers {
            cloud.proxy.fail_on(operation(spec), Fault::Answer(200, answer.to_string()));
            let error = refusal(cloud.named(recipient.key_id()).open(&slot, &binding));
            assert!(error.cause == ProviderCause::BadAnswer && error.tampered(), "{error}");
            assert!(error.message.contains(words), "{error}");
        }
        // If KMS returns another secret of 32 bytes, the slot's message does not authenticate.
        let answer = json!({ "KeyId": recipient.key_id(), field: STANDARD.encode([7; 32]) });
        cloud.proxy.fail_on(operation(spec), Fault::Answer(200, answer.to_string()));
        is_altered(cloud.named(recipient.key_id()).open(&slot, &binding));
    }
    cloud.server.conforms();
}

#[test]
fn a_refusal_is_no_alteration() {
    use ProviderCause as C;
    let cloud = Cloud::new();
    for spec in [PublicKeySpec::MlKem768, PublicKeySpec::Rsa3072] {
        let recipient = cloud.create(spec, &format!("alias/{}", spec.name()));
        let binding = binding(&[]);
        let (_, slot) = sealed(&recipient, &binding);
        let opener = cloud.named(recipient.key_id());
        let is_ml_kem = operation(spec) == "Decapsulate";
        let right = if is_ml_kem { RightKind::MlKem } else { RightKind::SymmetricOrSlots };
        let (key, region) = (recipient.key_id().to_owned(), REGION.to_owned());
        // Decapsulate has no encryption context.
        let permit = Remedy::Permit { action: format!("kms:{}", operation(spec)), by_context: !is_ml_kem };
        for (code, cause, remedy) in [
            ("InvalidKeyUsageException", C::WrongKeyType, Remedy::UseKind(right)),
            ("DisabledException", C::Disabled, Remedy::EnableKey { key, region }),
            ("NotFoundException", C::NotFound, Remedy::CheckName),
            ("AccessDeniedException", C::Denied, permit),
        ] {
            cloud.proxy.fail_on(operation(spec), Fault::refusal(code, ""));
            let error = refusal(opener.open(&slot, &binding));
            assert!(error.cause == cause && !error.tampered(), "{error}");
            assert_eq!(error.remedy, Some(remedy), "{code}");
        }
        cloud.proxy.fail_on(operation(spec), Fault::refusal("ValidationException", "no"));
        assert_eq!(refusal(opener.open(&slot, &binding)).cause, C::Rejected);
    }
    cloud.server.conforms();
}

/// An alias or a bare id may belong to another key. The error then says so, and not that the file is altered.
#[test]
fn an_alias_that_points_elsewhere_is_another_key() {
    let cloud = Cloud::new();
    for spec in [PublicKeySpec::MlKem768, PublicKeySpec::Rsa3072] {
        let alias = format!("alias/{}", spec.name());
        let recipient = cloud.create(spec, &alias);
        let other = cloud.create(spec, &format!("alias/other-{}", spec.name()));
        let binding = binding(&[]);
        let (data_key, slot) = sealed(&recipient, &binding);
        let pointed = cloud.kms.point_alias(&alias, &name(other.key_id())).unwrap();
        assert_eq!((pointed.key.to_string(), pointed.is_unchanged()), (other.key_id().to_owned(), false));
        cloud.proxy.take();
        let error = refusal(cloud.named(&alias).open(&slot, &binding));
        assert!(error.cause == ProviderCause::OtherKey && !error.tampered(), "{error}");
        assert_eq!(error.remedy, Some(Remedy::NameByFullId));
        assert_eq!(cloud.proxy.take(), [operation(spec)]);
        let opened = cloud.named(recipient.key_id()).open(&slot, &binding).unwrap();
        assert!(opened.expose() == data_key.expose());
    }
    cloud.server.conforms();
}

#[test]
fn keys_that_are_of_no_use_have_no_recipient_file() {
    let cloud = Cloud::new();
    let aws = cloud.server.aws();
    let of = |spec: &str, usage: &str| aws.create_key_with(&json!({ "KeySpec": spec, "KeyUsage": usage }));
    let keys = [
        (aws.create_key(), "symmetric"),
        (of("RSA_2048", "ENCRYPT_DECRYPT"), "RSA_2048"),
        (of("RSA_3072", "SIGN_VERIFY"), "SIGN_VERIFY"),
    ];
    for (key, words) in keys {
        cloud.proxy.take();
        let told = match cloud.kms.public_key(&name(&key)) {
            Err(Error::Invalid(told)) => told,
            Err(Error::Setting { message, remedy }) => {
                assert_eq!(*remedy, Remedy::UseKind(RightKind::SymmetricByService { key }));
                message
            }
            other => panic!("{words}: {other:?}"),
        };
        assert!(told.contains(words), "{told}");
        assert_eq!(cloud.proxy.take(), ["GetPublicKey"]);
    }
    let external = NewKey::default();
    for (new, words) in [
        (with(&external, |new| new.public = Some(PublicKeySpec::XWing)), "X-Wing"),
        (
            with(&external, |new| {
                new.public = Some(PublicKeySpec::MlKem768);
                new.origin = waxseal_aws_kms::KeyOrigin::External;
            }),
            "material",
        ),
    ] {
        let Err(Error::Invalid(told)) = cloud.kms.create_key_as(&new, "alias/never") else { panic!("{words}") };
        assert!(told.contains(words), "{told}");
    }
    assert!(cloud.proxy.calls().is_empty());
    cloud.server.conforms();
}

fn with(new: &NewKey, change: impl FnOnce(&mut NewKey)) -> NewKey {
    let mut new = new.clone();
    change(&mut new);
    new
}

/// An attacker who answers in place of KMS must not be able to return a key of another kind, or a key with no ARN or
/// another ARN.
#[test]
fn a_public_key_is_of_the_kind_that_the_answer_states() {
    let cloud = Cloud::new();
    let recipient = cloud.create(PublicKeySpec::MlKem768, "alias/kind");
    let longer = cloud.create(PublicKeySpec::MlKem1024, "alias/longer");
    let good = json!({
        "KeyId": recipient.key_id(), "PublicKey": STANDARD.encode(recipient.public_key()), "KeySpec": "ML_KEM_768",
        "KeyUsage": "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms": ["ML_KEM"],
    });
    let mut unsound = recipient.public_key().to_vec();
    unsound[22..25].fill(0xff);
    let changes = [
        ("KeySpec", json!("ML_KEM_1024"), "kind"),
        ("PublicKey", json!(STANDARD.encode(longer.public_key())), "kind"),
        ("PublicKey", json!(STANDARD.encode(unsound)), "sound"),
        ("PublicKey", json!(""), "sound"),
        ("KeyId", json!("alias/kind"), "ARN"),
        ("KeyId", Value::Null, "ARN"),
        ("KeyId", json!(longer.key_id()), "another key"),
    ];
    let ask = |answer: &Value| {
        cloud.proxy.fail_on("GetPublicKey", Fault::Answer(200, answer.to_string()));
        cloud.kms.public_key(&name(recipient.key_id()))
    };
    assert!(ask(&good).unwrap() == recipient);
    for (field, value, words) in changes {
        let mut answer = good.clone();
        answer[field] = value;
        let error = refusal(ask(&answer));
        assert!(error.cause == ProviderCause::BadAnswer && error.message.contains(words), "{field}: {error}");
    }
    for (field, value) in [("KeyUsage", json!("ENCRYPT_DECRYPT")), ("EncapsulationAlgorithms", json!([]))] {
        let mut answer = good.clone();
        answer[field] = value;
        assert!(matches!(ask(&answer), Err(Error::Invalid(_))), "{field}");
    }
    cloud.server.conforms();
}
