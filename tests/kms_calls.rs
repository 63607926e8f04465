//! Which calls reach KMS, and which never do. A proxy in front of an emulator counts them.

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use sdk::{binding, kms, kms_in, name, refusal};
use serde_json::json;
use support::{ACCOUNT, CountingProxy, REGION, counting_proxy, shared_moto};
use waxseal::container::{Opening, Sealing};
use waxseal::envelope::SealOptions;
use waxseal::error::{Naming, ProviderCause, Remedy, Result};
use waxseal::format::{Binding, Front, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::secret::DataKey;
use waxseal::{Demands, Envelope};
use waxseal_aws_kms::{AccountRule, KeyArn, KmsKey, KmsOpener, SourceRule};

fn proxy() -> CountingProxy {
    counting_proxy(&shared_moto().url)
}

/// A slot that the emulator wrapped under `key`, and the data key in it.
fn sealed(key: &str, binding: &Binding) -> (DataKey, Slot) {
    KmsKey::new(&kms(&shared_moto().url), name(key)).generate(binding).expect("sealing")
}

/// Opens a slot as a reader does: only if the opener matches.
fn open(opener: &KmsOpener, slot: &Slot, binding: &Binding) -> Option<Result<DataKey>> {
    opener.matches(slot).then(|| opener.open(slot, binding))
}

#[test]
fn sealing_and_opening_are_one_call_each() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    aws.alias("alias/one-call", &key);
    let kms = kms(&proxy.url);
    let id = key.rsplit('/').next().expect("an id");
    let alias_arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/one-call");
    for named in [key.as_str(), id, "alias/one-call", &alias_arn] {
        let binding = binding(&["env=prod"]);
        let (data_key, slot) = KmsKey::new(&kms, name(named)).generate(&binding).unwrap();
        assert_eq!(proxy.take(), ["GenerateDataKey"], "{named}");
        assert_eq!((slot.kind, slot.key_id.as_str()), (SlotKind::AWS_KMS, key.as_str()), "{named}");

        let opened = open(&KmsOpener::named(&kms, name(named)), &slot, &binding).unwrap().unwrap();
        assert_eq!(proxy.take(), ["Decrypt"], "{named}");
        assert!(opened.expose() == data_key.expose());
    }
}

#[test]
fn a_second_key_is_one_call_more() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let kms = kms(&proxy.url);
    let keys = [aws.create_key(), aws.create_key()].map(|key| KmsKey::new(&kms, name(&key)));
    let sealers = keys.each_ref().map(|key| key as &dyn KeySealer);
    let envelope = Envelope::new(&sealers, &SealOptions::default()).unwrap();
    assert_eq!(proxy.take(), ["GenerateDataKey", "Encrypt"]);

    let opened = envelope
        .slots()
        .iter()
        .map(|slot| KmsOpener::named(&kms, name(&slot.key_id)).open(slot, envelope.binding()).map(|key| *key.expose()));
    let opened: Vec<_> = opened.collect::<Result<_>>().unwrap();
    assert!(opened[0] == opened[1] && envelope.slots()[0].key_id != envelope.slots()[1].key_id);
}

#[test]
fn the_context_is_the_pairs_and_the_data_keys_name() {
    let aws = shared_moto().aws();
    let key = aws.create_key();
    let sealed_with = binding(&["env=prod", "host=db1"]);
    let (_, slot) = sealed(&key, &sealed_with);
    use base64::Engine as _;
    let blob = base64::engine::general_purpose::STANDARD.encode(&slot.wrapped);
    let context = json!({ "env": "prod", "host": "db1",
        "waxseal:data-key-id": sealed_with.data_key_id.to_string() });
    let answer = aws.kms("Decrypt", &json!({ "CiphertextBlob": blob, "EncryptionContext": context }));
    assert_eq!(answer["KeyId"], json!(key));

    // A different pair or a different data key id gives a different context.
    let opener = KmsOpener::named(&kms(&shared_moto().url), name(&key));
    for other in
        [binding(&["env=prod", "host=db1"]), Binding { context: binding(&["env=test"]).context, ..sealed_with }]
    {
        let error = refusal(opener.open(&slot, &other));
        assert_eq!(error.cause, ProviderCause::WrongCiphertext, "{error}");
    }
}

#[test]
fn a_key_that_was_not_named_is_never_called() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let (mine, other) = (aws.create_key(), aws.create_key());
    let binding = binding(&[]);
    let (_, slot) = sealed(&other, &binding);
    let opener = KmsOpener::named(&kms(&proxy.url), name(&mine));
    assert!(!opener.matches(&slot));
    assert_eq!(refusal(opener.open(&slot, &binding)).cause, ProviderCause::NotAllowed);
    assert!(proxy.calls().is_empty());
}

#[test]
fn an_alias_that_points_elsewhere_does_not_open() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let (old, new) = (aws.create_key(), aws.create_key());
    aws.alias("alias/moved", &new);
    let binding = binding(&[]);
    let (_, slot) = sealed(&old, &binding);
    // KMS refuses with IncorrectKeyException. The emulator answers with the other key.
    let result = KmsOpener::named(&kms(&proxy.url), name("alias/moved")).open(&slot, &binding);
    let cause = refusal(result).cause;
    assert!(
        matches!(
            cause,
            ProviderCause::WrongCiphertext | ProviderCause::OtherKey | ProviderCause::BadAnswer | ProviderCause::Denied
        ),
        "{cause:?}"
    );
    assert_eq!(proxy.take(), ["Decrypt"]);
}

#[test]
fn without_a_name_only_the_callers_own_account_opens() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let binding = binding(&[]);
    let (data_key, slot) = sealed(&key, &binding);
    let kms = kms(&proxy.url);
    let own = KmsOpener::by_account(&kms, AccountRule::Own).unwrap();
    assert_eq!(own.iter().filter(|opener| opener.matches(&slot)).count(), 1, "exactly one opener matches a slot");
    assert!(own[0].open(&slot, &binding).unwrap().expose() == data_key.expose());
    assert_eq!(proxy.take(), ["GetCallerIdentity", "Decrypt"]);
    // The caller's identity does not change, so it is asked for only once.
    own[0].open(&slot, &binding).unwrap();
    assert_eq!(proxy.take(), ["Decrypt"]);

    let foreign = Slot { key_id: key.replace(ACCOUNT, "210987654321"), ..slot.clone() };
    let error = refusal(own[0].open(&foreign, &binding));
    assert_eq!(error.cause, ProviderCause::NotAllowed, "{error}");
    let naming = Naming::to_open(Some(foreign.key_id.clone()), Some("210987654321".into()));
    assert_eq!(error.remedy, Some(Remedy::Trust(naming)));
    assert!(proxy.calls().is_empty());
}

#[test]
fn named_accounts_need_no_sts_and_hostile_regions_no_call() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let binding = binding(&[]);
    let (_, slot) = sealed(&key, &binding);
    let kms = kms(&proxy.url);
    let ids = KmsOpener::by_account(&kms, AccountRule::Ids(vec![ACCOUNT.into()])).unwrap();
    assert!(open(&ids[0], &slot, &binding).unwrap().is_ok());
    assert_eq!(proxy.take(), ["Decrypt"]);
    let any = KmsOpener::by_account(&kms, AccountRule::Any).unwrap();
    assert!(open(&any[0], &slot, &binding).unwrap().is_ok());
    assert_eq!(proxy.take(), ["Decrypt"]);

    let others = KmsOpener::by_account(&kms, AccountRule::Ids(vec!["210987654321".into()])).unwrap();
    assert!(others.iter().all(|opener| !opener.matches(&slot)));
    assert!(KmsOpener::by_account(&kms, AccountRule::Ids(vec!["1234".into()])).is_err());

    // With each of these regions, the text is a key ARN by the format's grammar.
    for hostile in ["x", "evil-1", "eu-west-1-evil-example", "cn-north-1", "1", "--", "us-gov-west-1"] {
        let slot = Slot { key_id: key.replace(REGION, hostile), ..slot.clone() };
        assert!(waxseal::format::is_kms_key_arn(&slot.key_id));
        for opener in ids.iter().chain(&any) {
            assert!(!opener.matches(&slot), "{hostile}");
            assert_eq!(refusal(opener.open(&slot, &binding)).cause, ProviderCause::NotAllowed);
        }
    }
    assert!(proxy.calls().is_empty());
}

#[test]
fn a_multi_region_key_is_called_in_the_region_that_is_named() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let home = aws.create_key_with(&json!({ "MultiRegion": true }));
    let id = home.rsplit('/').next().expect("an id");
    aws.kms("ReplicateKey", &json!({ "KeyId": id, "ReplicaRegion": "eu-central-1" }));
    let sister = home.replace(REGION, "eu-central-1");
    let binding = binding(&[]);
    let (_, slot) = sealed(&home, &binding);
    assert_eq!(slot.key_id, home);
    for opener in [
        KmsOpener::named(&kms(&proxy.url), name(&sister)),
        KmsOpener::named(&kms_in(&proxy.url, "eu-central-1"), name(id)),
    ] {
        // The emulator finds the key in that region, but cannot open what its multi-Region keys have wrapped.
        // `kms_answers.rs` tests the result of the answer.
        let error = refusal(open(&opener, &slot, &binding).expect("a match"));
        assert_ne!(error.cause, ProviderCause::NotFound, "{error}");
        assert_eq!(proxy.take(), ["Decrypt"]);
    }
    let elsewhere = KmsOpener::named(&kms(&proxy.url), name(&home.replace(REGION, "us-east-1")));
    assert_eq!(refusal(elsewhere.open(&slot, &binding)).cause, ProviderCause::NotFound);
}

#[test]
fn rotation_is_one_reencrypt_and_one_dry_run() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let (old, new) = (aws.create_key(), aws.create_key());
    aws.alias("alias/rotated", &new);
    let binding = binding(&["env=prod"]);
    let (data_key, slot) = sealed(&old, &binding);
    let kms = kms(&proxy.url);
    for to in [new.as_str(), "alias/rotated"] {
        let (rotated, request_id) = kms.reencrypt(&slot, &binding, &name(to)).unwrap();
        assert_eq!(proxy.take(), ["ReEncrypt", "Decrypt"]);
        assert_eq!(rotated.key_id, new);
        assert!(request_id.is_some());
        let opened = KmsOpener::named(&kms, name(&new)).open(&rotated, &binding).unwrap();
        assert!(opened.expose() == data_key.expose());
        proxy.take();
    }
    let elsewhere = new.replace(REGION, "us-east-1");
    let error = refusal(kms.reencrypt(&slot, &binding, &name(&elsewhere)));
    assert_eq!(error.cause, ProviderCause::NotAllowed, "{error}");
    assert_eq!(error.remedy, Some(Remedy::UnwrapHere));
    assert!(proxy.calls().is_empty());
}

#[test]
fn the_listener_hears_each_call_with_its_request_id() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&heard);
    let kms = kms(&proxy.url).listening(move |call| sink.lock().unwrap().push(call.clone()));
    let binding = binding(&[]);
    let (_, slot) = KmsKey::new(&kms, name(&key)).generate(&binding).unwrap();
    KmsOpener::named(&kms, name(&key)).open(&slot, &binding).unwrap();
    let heard = heard.lock().unwrap();
    let operations: Vec<_> = heard.iter().map(|call| call.operation.name()).collect();
    assert_eq!(operations, ["GenerateDataKey", "Decrypt"]);
    assert!(
        heard.iter().all(|call| call.request_id.is_some() && call.key == key && call.region == REGION),
        "{heard:?}"
    );
}

#[test]
fn a_caller_inside_tokio_may_block_and_may_await() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let kms = kms(&proxy.url);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (sealer, opener) = (KmsKey::new(&kms, name(&key)), KmsOpener::named(&kms, name(&key)));
        let binding = binding(&[]);
        let (data_key, slot) = sealer.generate(&binding).unwrap();
        assert!(opener.open_async(&slot, &binding).await.unwrap().expose() == data_key.expose());
        let (data_key, slot) = sealer.generate_async(&binding).await.unwrap();
        assert!(opener.open(&slot, &binding).unwrap().expose() == data_key.expose());
        let wrapped = sealer.wrap_async(&data_key, &binding).await.unwrap();
        let (rotated, _) = kms.reencrypt_async(&wrapped, &binding, &name(&key)).await.unwrap();
        assert!(opener.open(&rotated, &binding).unwrap().expose() == data_key.expose());
    });
}

/// The traits of the library for key services that answer asynchronously.
#[test]
fn an_envelope_may_await() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let kms = kms(&proxy.url);
    let (sealer, opener) = (KmsKey::new(&kms, name(&key)), KmsOpener::named(&kms, name(&key)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (envelope, opened) = runtime.block_on(async {
        let envelope = Envelope::new_async(&[&sealer], &SealOptions::new()).await.unwrap();
        let mut file = Vec::new();
        let mut sealing = Sealing::new(envelope);
        sealing.push(b"text", &mut file).unwrap();
        let slots = sealing.envelope().slots().to_vec();
        sealing.finish(&mut file).unwrap();
        let opening = Opening::read(Front::new(file), &Demands::new()).unwrap();
        (slots, opening.open_async(&[&opener]).await.unwrap())
    });
    assert_eq!((envelope[0].key_id.as_str(), opened.by().key.as_str()), (key.as_str(), key.as_str()));
    assert_eq!(proxy.take(), ["GenerateDataKey", "Decrypt"]);
}

#[test]
fn fifty_at_once() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let key = aws.create_key();
    let sealer = KmsKey::new(&kms(&proxy.url), name(&key));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(|| sealer.generate(&binding(&[])).unwrap().1)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap().key_id == key));
    });
    assert_eq!(proxy.take(), vec!["GenerateDataKey"; 50]);
}

#[test]
fn a_stranger_s_key_is_no_source_of_a_reencrypt() {
    let (proxy, aws) = (proxy(), shared_moto().aws());
    let own = aws.create_key();
    let slot = |arn: &str| Slot { kind: SlotKind::AWS_KMS, key_id: arn.to_owned(), wrapped: vec![1] };
    let theirs = own.replace(ACCOUNT, "666666666666");
    let kms = kms(&proxy.url);
    let arn = |text: &str| KeyArn::parse(text).unwrap();

    let rule = SourceRule::new(AccountRule::Own, Vec::new());
    rule.check(&slot(&own), &kms).unwrap();
    let error = refusal(rule.check(&slot(&theirs), &kms));
    assert_eq!(error.cause, ProviderCause::NotAllowed, "{error}");
    rule.check(&slot(&own), &kms).unwrap();
    assert_eq!(proxy.take(), ["GetCallerIdentity"], "one call for each handle");

    SourceRule::new(AccountRule::Own, vec![arn(&theirs)]).check(&slot(&theirs), &kms).unwrap();
    SourceRule::new(AccountRule::Any, Vec::new()).check(&slot(&theirs), &kms).unwrap();
    let ids = SourceRule::new(AccountRule::Ids(vec![ACCOUNT.into()]), vec![arn(&own)]);
    ids.check(&slot(&own), &kms).unwrap();
    assert_eq!(refusal(ids.check(&slot(&theirs), &kms)).cause, ProviderCause::NotAllowed);
    assert!(proxy.calls().is_empty(), "a call, although the key or its account is named");
}
