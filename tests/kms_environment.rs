//! AWS's standard configuration. Each test runs again in its own process with its own environment.

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdk::{binding, name, refusal};
use serde_json::json;
use support::{
    ACCOUNT, Certificates, Fault, REGION, counting_proxy, in_child, moto_tls, run_in_child, shared_moto, tunnel,
};
use waxseal::error::{Error, ProviderCause, Remedy, Result};
use waxseal::format::{Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::secret::DataKey;
use waxseal_aws_kms::{AccountRule, KeyOrigin, KeyRegions, Kms, KmsConfig, KmsKey, KmsOpener, KmsTimeouts};

const CREDENTIALS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret")];
/// The variable with the key's name for the child.
const KEY: &str = "TEST_KEY";

fn key() -> String {
    std::env::var(KEY).expect("a key from the parent")
}

fn kms(config: KmsConfig) -> Kms {
    Kms::new(config).expect("a configuration")
}

fn in_region(region: &str) -> KmsConfig {
    let mut config = KmsConfig::new();
    config.region = Some(region.into());
    config
}

/// Seals and opens with `key`, by name.
fn round_trip(kms: &Kms, key: &str) -> Slot {
    let binding = binding(&[]);
    let (data_key, slot) = KmsKey::new(kms, name(key)).generate(&binding).expect("sealing");
    let opened = KmsOpener::named(kms, name(key)).open(&slot, &binding).expect("opening");
    assert!(opened.expose() == data_key.expose());
    slot
}

fn slot(key: &str) -> Slot {
    Slot { kind: SlotKind::AWS_KMS, key_id: key.into(), wrapped: vec![9; 180] }
}

fn open_own(key: &str) -> Result<DataKey> {
    let own = KmsOpener::by_account(&kms(KmsConfig::new()), AccountRule::Own)?;
    let opener = own.into_iter().find(|opener| opener.matches(&slot(key))).expect("a match");
    opener.open(&slot(key), &binding(&[]))
}

#[test]
fn by_variables_and_without_a_home() {
    if in_child() {
        // There is no home folder, and no region except the one in the key's ARN.
        assert!(std::env::var_os("HOME").is_none() && std::env::var_os("AWS_REGION").is_none());
        let started = Instant::now();
        round_trip(&kms(KmsConfig::new()), &key());
        assert!(started.elapsed() < Duration::from_secs(5), "the calls waited for something: {:?}", started.elapsed());
        let bare = KmsKey::new(&kms(KmsConfig::new()), name("alias/bare"));
        let Err(Error::Setting { remedy, .. }) = bare.generate(&binding(&[])) else {
            panic!("an alias needs a region")
        };
        assert_eq!(*remedy, Remedy::ChooseRegion { region: None });
        return;
    }
    let (server, key) = (shared_moto(), shared_moto().aws().create_key());
    let more = [("HOME", ""), (KEY, key.as_str()), ("AWS_ENDPOINT_URL_KMS", server.url.as_str())];
    run_in_child("by_variables_and_without_a_home", &[&CREDENTIALS[..], &more].concat());
}

#[test]
fn by_profile() {
    if in_child() {
        let mut config = KmsConfig::new();
        config.profile = Some("backup".into());
        assert_eq!(round_trip(&kms(config), "alias/by-profile").key_id, key());
        return;
    }
    let (server, key) = (shared_moto(), shared_moto().aws().create_key());
    shared_moto().aws().alias("alias/by-profile", &key);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let text = format!(
        "[profile backup]\nregion = {REGION}\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n\
         services = local\n[services local]\nkms =\n  endpoint_url = {}\n",
        server.url
    );
    std::fs::write(&file, text).unwrap();
    run_in_child("by_profile", &[("AWS_CONFIG_FILE", &file.to_string_lossy()), (KEY, &key)]);
}

#[test]
fn the_region_that_is_chosen_counts_for_multi_region_keys_alone() {
    if in_child() {
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = std::sync::Arc::clone(&heard);
        let kms = kms(in_region("eu-central-1"))
            .listening(move |call| sink.lock().unwrap().push((call.key.clone(), call.region.clone())));
        let sister = key().replace(REGION, "eu-central-1");
        // The server at the endpoint gives prepared answers.
        let sealer = KmsKey::new(&kms, name(&key()));
        let (_, slot) = sealer.generate(&binding(&[])).unwrap();
        assert_eq!(slot.key_id, sister);
        KmsOpener::named(&kms, name(&key())).open(&slot_of(&key()), &binding(&[])).unwrap();
        let by_account = KmsOpener::by_account(&kms, AccountRule::Any).unwrap();
        assert!(!by_account[0].matches(&slot_of(&key())) && by_account[0].matches(&slot));
        by_account[1].open(&slot_of(&key()), &binding(&[])).unwrap();
        let single = key().replace("mrk-1234567890abcdef1234567890abcdef", "12345678-90ab-cdef-1234-567890abcdef");
        KmsKey::new(&kms, name(&single)).generate(&binding(&[])).unwrap();
        let expected = |key: &str, region: &str| (key.to_owned(), region.to_owned());
        let at_sister = expected(&sister, "eu-central-1");
        assert_eq!(
            *heard.lock().unwrap(),
            [at_sister.clone(), at_sister.clone(), at_sister, expected(&single, REGION)]
        );
        return;
    }
    let home = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/mrk-1234567890abcdef1234567890abcdef");
    let single = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef");
    let sister = home.replace(REGION, "eu-central-1");
    let proxy = counting_proxy("http://127.0.0.1:1");
    let (plain, blob) = (STANDARD.encode([7; 32]), STANDARD.encode([9; 180]));
    let answer =
        |key: &str| Fault::Answer(200, json!({ "KeyId": key, "Plaintext": plain, "CiphertextBlob": blob }).to_string());
    proxy.fail([answer(&sister), answer(&sister), answer(&sister), answer(&single)]);
    let more = [(KEY, home.as_str()), ("AWS_ENDPOINT_URL_KMS", proxy.url.as_str())];
    run_in_child("the_region_that_is_chosen_counts_for_multi_region_keys_alone", &[&CREDENTIALS[..], &more].concat());
}

/// Another partition cannot have a replica of the key. This is a wrong setting and not a bug.
#[test]
fn a_chosen_region_of_another_partition_is_refused_without_a_call() {
    if in_child() {
        let kms = kms(in_region("cn-north-1"));
        let openers = KmsOpener::by_account(&kms, AccountRule::Any).unwrap();
        let opener = openers.iter().find(|opener| opener.matches(&slot_of(&key()))).expect("a match");
        let remedy = Some(Remedy::ChooseRegion { region: Some(REGION.into()) });
        for error in
            [opener.open(&slot_of(&key()), &binding(&[])).err(), opener.dry_run(&slot_of(&key()), &binding(&[])).err()]
        {
            let Some(Error::Provider(error)) = error else { panic!("{error:?}") };
            assert_eq!((error.cause, error.remedy), (ProviderCause::NotFound, remedy.clone()));
        }
        return;
    }
    let home = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/mrk-1234567890abcdef1234567890abcdef");
    let proxy = counting_proxy("http://127.0.0.1:1");
    let more = [(KEY, home.as_str()), ("AWS_ENDPOINT_URL_KMS", proxy.url.as_str())];
    run_in_child("a_chosen_region_of_another_partition_is_refused_without_a_call", &[&CREDENTIALS[..], &more].concat());
    assert!(proxy.calls().is_empty());
}

fn slot_of(key: &str) -> Slot {
    slot(key)
}

#[test]
fn no_credentials() {
    if in_child() {
        let error = refusal(KmsKey::new(&kms(in_region(REGION)), name("alias/x")).generate(&binding(&[])));
        assert_eq!(error.cause, ProviderCause::Credentials, "{error}");
        assert_eq!(error.message, "there are no AWS credentials");
        let error = refusal(open_own(&key()));
        assert_eq!(error.cause, ProviderCause::Credentials, "{error}");
        return;
    }
    let proxy = counting_proxy("http://127.0.0.1:1");
    let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef");
    run_in_child("no_credentials", &[("AWS_ENDPOINT_URL", proxy.url.as_str()), (KEY, key.as_str())]);
    assert!(proxy.calls().is_empty());
}

#[test]
fn a_time_for_the_whole_call() {
    if in_child() {
        let mut config = in_region(REGION);
        config.timeouts = KmsTimeouts::within(Duration::from_millis(500));
        let started = Instant::now();
        let error = refusal(KmsKey::new(&kms(config), name("alias/x")).generate(&binding(&[])));
        assert_eq!(error.cause, ProviderCause::Unreachable, "{error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        return;
    }
    let proxy = counting_proxy("http://127.0.0.1:1");
    proxy.fail(vec![Fault::Silence; 3]);
    let more = [("AWS_ENDPOINT_URL_KMS", proxy.url.as_str())];
    run_in_child("a_time_for_the_whole_call", &[&CREDENTIALS[..], &more].concat());
    assert_eq!(proxy.take()[0], "GenerateDataKey");
}

#[test]
fn credentials_that_state_their_account() {
    let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/12345678-90ab-cdef-1234-567890abcdef");
    if in_child() {
        match std::env::var(KEY).as_deref() {
            Ok("opens") => {
                let started = Instant::now();
                open_own(&key).unwrap();
                assert!(
                    started.elapsed() < Duration::from_millis(1900),
                    "the calls were made one after the other: {:?}",
                    started.elapsed()
                );
            }
            Ok("not by STS") => assert_eq!(refusal(open_own(&key)).cause, ProviderCause::NotAllowed),
            _ => assert_eq!(refusal(open_own(&key)).cause, ProviderCause::NotAllowed),
        }
        return;
    }
    let run = |stated: &str, by_sts: &str, expected: &str| {
        let proxy = counting_proxy("http://127.0.0.1:1");
        proxy.delay(Duration::from_secs(1));
        let plaintext = STANDARD.encode([7; 32]);
        proxy.fail_on("Decrypt", Fault::Answer(200, json!({ "KeyId": key, "Plaintext": plaintext }).to_string()));
        proxy.fail_on(
            "GetCallerIdentity",
            Fault::Answer(
                200,
                format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{by_sts}:user/u</Arn>\
                     <Account>{by_sts}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                ),
            ),
        );
        let more = [
            ("AWS_ENDPOINT_URL", proxy.url.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_ACCOUNT_ID", stated),
            (KEY, expected),
        ];
        run_in_child("credentials_that_state_their_account", &[&CREDENTIALS[..], &more].concat());
        let mut calls = proxy.take();
        calls.sort();
        calls
    };
    // Both calls are made at the same time.
    assert_eq!(run(ACCOUNT, ACCOUNT, "opens"), ["Decrypt", "GetCallerIdentity"]);
    // The account in the credentials is not enough. STS must confirm it before the data key is returned.
    assert_eq!(run(ACCOUNT, "210987654321", "not by STS"), ["Decrypt", "GetCallerIdentity"]);
    // The key belongs to another account, so no call is made.
    assert!(run("210987654321", ACCOUNT, "another's").is_empty());
}

#[test]
fn tls_by_a_proxy_with_a_bundle() {
    let host = format!("kms.{REGION}.amazonaws.com");
    if in_child() {
        let kms = kms(KmsConfig::new());
        let arn = kms.create_key(KeyOrigin::AwsKms, KeyRegions::Single, "alias/tls").unwrap();
        round_trip(&kms, &arn.to_string());
        return;
    }
    let certificates = Certificates::for_host(&host);
    let server = moto_tls(&certificates);
    let tunnel = tunnel(server.address());
    let bundle = certificates.bundle();
    // The SDK chooses AWS's own endpoint. The proxy connects it to the emulator.
    let more =
        [("HTTPS_PROXY", tunnel.url.as_str()), ("AWS_CA_BUNDLE", bundle.to_str().unwrap()), ("AWS_REGION", REGION)];
    run_in_child("tls_by_a_proxy_with_a_bundle", &[&CREDENTIALS[..], &more].concat());
    let hosts = tunnel.hosts();
    assert!(!hosts.is_empty() && hosts.iter().all(|asked| *asked == format!("{host}:443")), "{hosts:?}");
}

#[test]
fn tls_without_the_proxy_and_without_trust() {
    if in_child() {
        let result = KmsKey::new(&kms(KmsConfig::new()), name("alias/none")).generate(&binding(&[]));
        if std::env::var(KEY).as_deref() == Ok("bundle") {
            assert!(matches!(&result, Err(Error::Invalid(why)) if why.contains("AWS_CA_BUNDLE")));
            return;
        }
        let error = refusal(result);
        match std::env::var(KEY).as_deref() {
            Ok("reached") => assert_eq!(error.cause, ProviderCause::NotFound, "{error}"),
            _ => assert_eq!(error.cause, ProviderCause::Unreachable, "{error}"),
        }
        return;
    }
    let certificates = Certificates::for_host("localhost");
    let server = moto_tls(&certificates);
    let bundle = certificates.bundle();
    let run = |expected: &str, more: &[(&str, &str)]| {
        let base = [
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_KMS", server.url.as_str()),
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
            (KEY, expected),
        ];
        run_in_child("tls_without_the_proxy_and_without_trust", &[&CREDENTIALS[..], &base, more].concat());
    };
    let trusted = ("AWS_CA_BUNDLE", bundle.to_str().unwrap());
    run("reached", &[trusted, ("NO_PROXY", "127.0.0.1")]);
    run("unreachable: no proxy there", &[trusted]);
    run("unreachable: no trust", &[("NO_PROXY", "127.0.0.1")]);
    run("bundle", &[("NO_PROXY", "127.0.0.1"), ("AWS_CA_BUNDLE", "/nonexistent/bundle.pem")]);
}

#[test]
fn an_endpoint_on_this_machine_is_not_asked_for_by_proxy() {
    if in_child() {
        round_trip(&kms(KmsConfig::new()), &key());
        return;
    }
    let (server, key) = (shared_moto(), shared_moto().aws().create_key());
    let more = [
        (KEY, key.as_str()),
        ("AWS_ENDPOINT_URL_KMS", server.url.as_str()),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("ALL_PROXY", "http://127.0.0.1:1"),
    ];
    run_in_child("an_endpoint_on_this_machine_is_not_asked_for_by_proxy", &[&CREDENTIALS[..], &more].concat());
}
