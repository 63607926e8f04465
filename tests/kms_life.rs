//! The life of a key with imported material. The tests also compare direct encryption by KMS with the AWS command line.

#[path = "support/sdk.rs"]
mod sdk;
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use sdk::{binding, kms, name, refusal};
use serde_json::json;
use support::{Fault, REGION, Server, counting_proxy, ministack, python, shared_moto};
use waxseal::error::{Error, ProviderCause, Remedy};
use waxseal::format::Pairs;
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::secret::SecretBytes;
use waxseal_aws_kms::{
    ImportAlgorithm, ImportKeySpec, ImportOptions, KeyOrigin, KeyRegions, KeyRotation, KmsKey, KmsOpener,
};

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

/// The AWS command line against `server`.
fn aws_cli(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(python().with_file_name("aws"));
    support::clear_aws_environment(&mut command);
    command.args(["--endpoint-url", &server.url, "--region", REGION, "--output", "text", "kms"]).args(arguments);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn output(mut command: Command) -> String {
    let output = command.output().expect("the AWS command line");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_key_with_material_of_its_own() {
    let server = ministack();
    let proxy = counting_proxy(&server.url);
    let kms = kms(&proxy.url);
    let arn = kms.create_key(KeyOrigin::External, KeyRegions::Single, "alias/own-material").unwrap();
    let (named, alias) = (name(&arn.to_string()), name("alias/own-material"));
    assert_eq!(kms.show_key(&alias).unwrap().state, "PendingImport");
    assert_eq!(kms.key_arn(&alias).unwrap(), arn);

    // Before the import, nothing can be sealed. The error says what to do.
    let binding = binding(&["env=prod"]);
    let error = refusal(KmsKey::new(&kms, named.clone()).generate(&binding));
    assert_eq!(error.cause, ProviderCause::PendingImport, "{error}");
    assert_eq!(error.remedy, Some(Remedy::ImportSameMaterial { key: arn.to_string() }));

    let material = secret(&[0x5a; 32]);
    assert_eq!(kms.import_material(&alias, &material, &ImportOptions::new()).unwrap().key, arn);
    let shown = kms.show_key(&alias).unwrap();
    assert_eq!((shown.state.as_str(), shown.origin.as_str()), ("Enabled", "EXTERNAL"));
    assert_eq!((shown.spec.as_str(), shown.usage.as_str()), ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"));
    assert_eq!(shown.aliases.unwrap_or_default(), ["alias/own-material"]);
    let (data_key, slot) = KmsKey::new(&kms, named.clone()).generate(&binding).unwrap();
    let opener = KmsOpener::named(&kms, named.clone());
    assert!(opener.open(&slot, &binding).unwrap().expose() == data_key.expose());

    // Without its material, the key opens nothing.
    assert_eq!(kms.delete_material(&alias, None).unwrap(), arn);
    assert_eq!(refusal(opener.open(&slot, &binding)).cause, ProviderCause::PendingImport);

    // KMS refuses different material, and the error contains its message. The emulator would accept it, so the proxy
    // answers. With the old material, old files open again.
    let words = "The key material does not match";
    proxy.fail_on("ImportKeyMaterial", Fault::refusal("IncorrectKeyMaterialException", words));
    let error = refusal(kms.import_material(&named, &secret(&[0x5b; 32]), &ImportOptions::new()));
    assert_eq!(error.cause, ProviderCause::Rejected, "{error}");
    assert!(error.message.contains(words), "{}", error.message);
    assert_eq!(error.remedy, Some(Remedy::ImportAsNew));
    kms.import_material(&named, &material, &ImportOptions::new()).unwrap();
    assert!(opener.open(&slot, &binding).unwrap().expose() == data_key.expose());
}

#[test]
fn every_way_to_wrap_material_and_an_expiry() {
    let server = ministack();
    let kms = kms(&server.url);
    let in_a_week = SystemTime::now() + Duration::from_secs(7 * 86_400);
    let ways = [
        (ImportAlgorithm::RsaesOaepSha256, ImportKeySpec::Rsa3072),
        (ImportAlgorithm::RsaesOaepSha1, ImportKeySpec::Rsa2048),
        (ImportAlgorithm::RsaesOaepSha1, ImportKeySpec::Rsa4096),
    ];
    for (index, (algorithm, wrapping_key)) in ways.into_iter().enumerate() {
        let alias = format!("alias/way-{index}");
        kms.create_key(KeyOrigin::External, KeyRegions::Single, &alias).unwrap();
        let mut options = ImportOptions::new();
        (options.algorithm, options.wrapping_key, options.valid_to) = (algorithm, wrapping_key, Some(in_a_week));
        kms.import_material(&name(&alias), &secret(&[3; 32]), &options).unwrap();
        let valid_to = kms.show_key(&name(&alias)).unwrap().valid_to.expect("an expiry");
        let off = valid_to.duration_since(in_a_week).unwrap_or_else(|error| error.duration());
        assert!(off < Duration::from_secs(2), "{off:?}");
    }
}

#[test]
fn what_cannot_be_imported_is_refused_before_any_call() {
    let proxy = counting_proxy(&shared_moto().url);
    let kms = kms(&proxy.url);
    let key = name("alias/never-called");
    for len in [0, 16, 31, 33, 64] {
        let result = kms.import_material(&key, &secret(&vec![1; len]), &ImportOptions::new());
        assert!(matches!(result, Err(Error::Invalid(_))), "{len}");
    }
    let mut past = ImportOptions::new();
    past.valid_to = Some(SystemTime::now() - Duration::from_secs(1));
    assert!(matches!(kms.import_material(&key, &secret(&[1; 32]), &past), Err(Error::Invalid(_))));
    for alias in ["own", "alias/", "alias/aws/mine", "alias/a b"] {
        let result = kms.create_key(KeyOrigin::AwsKms, KeyRegions::Single, alias);
        assert!(matches!(result, Err(Error::Invalid(_))), "{alias}");
    }
    assert!(proxy.calls().is_empty());

    // If KMS has generated a key's material, no material can be imported.
    let own = name(&shared_moto().aws().create_key());
    let error = refusal(kms.import_material(&own, &secret(&[1; 32]), &ImportOptions::new()));
    assert_eq!(error.cause, ProviderCause::WrongKeyType, "{error}");
    assert_eq!(refusal(kms.delete_material(&own, None)).cause, ProviderCause::WrongKeyType);
    assert_eq!(proxy.take(), ["DescribeKey", "DescribeKey"]);
}

#[test]
fn a_new_key_is_made_once() {
    let proxy = counting_proxy(&shared_moto().url);
    let kms = kms(&proxy.url);
    let arn = kms.create_key(KeyOrigin::AwsKms, KeyRegions::Multi, "alias/once").unwrap();
    assert_eq!(proxy.take(), ["DescribeKey", "CreateKey", "CreateAlias"]);
    assert!(arn.is_multi_region() && arn.region() == REGION);
    let error = refusal(kms.create_key(KeyOrigin::AwsKms, KeyRegions::Single, "alias/once"));
    assert_eq!(error.cause, ProviderCause::AlreadyExists, "{error}");
    assert_eq!(proxy.take(), ["DescribeKey"]);
}

#[test]
fn a_key_is_shown() {
    let (server, aws) = (shared_moto(), shared_moto().aws());
    let key = aws.create_key();
    aws.alias("alias/shown", &key);
    let kms = kms(&server.url);
    let shown = kms.show_key(&name("alias/shown")).unwrap();
    assert_eq!(
        (shown.arn.to_string(), shown.state.as_str(), shown.origin.as_str()),
        (key.clone(), "Enabled", "AWS_KMS")
    );
    assert_eq!((shown.rotation, shown.aliases), (KeyRotation::Off, Some(vec!["alias/shown".into()])));
    assert!(shown.created.is_some() && shown.valid_to.is_none() && shown.deletion.is_none());
    let id = key.rsplit('/').next();
    aws.kms("EnableKeyRotation", &json!({ "KeyId": id }));
    assert!(matches!(kms.show_key(&name(&key)).unwrap().rotation, KeyRotation::On(_)));
    aws.kms("ScheduleKeyDeletion", &json!({ "KeyId": id, "PendingWindowInDays": 7 }));
    let shown = kms.show_key(&name(&key)).unwrap();
    assert_eq!(shown.state, "PendingDeletion");
    assert!(shown.deletion.is_some_and(|at| at > SystemTime::now()));
}

#[test]
fn bytes_through_kms_itself_are_those_of_the_aws_command_line() {
    let (server, aws) = (shared_moto(), shared_moto().aws());
    let key = aws.create_key();
    let kms = kms(&server.url);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let context = Pairs::parse(["env=prod"]).unwrap();
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;

    // The library encrypts, and the AWS command line decrypts.
    let (blob, arn) = kms.direct_encrypt(&name(&key), &secret(b"token"), &context).unwrap();
    assert_eq!(arn.to_string(), key);
    std::fs::write(path("ours"), &blob).unwrap();
    let (ours, theirs) = (format!("fileb://{}", path("ours")), format!("fileb://{}", path("token")));
    let text = output(aws_cli(
        server,
        &["decrypt", "--ciphertext-blob", &ours, "--encryption-context", "env=prod", "--query", "Plaintext"],
    ));
    assert_eq!(base64.decode(text).unwrap(), b"token");

    // The AWS command line encrypts, and the library decrypts, with and without a named key.
    std::fs::write(path("token"), b"other token").unwrap();
    let text = output(aws_cli(
        server,
        &[
            "encrypt",
            "--key-id",
            &key,
            "--plaintext",
            &theirs,
            "--encryption-context",
            "env=prod",
            "--query",
            "CiphertextBlob",
        ],
    ));
    let blob = base64.decode(text).unwrap();
    for named in [Some(name(&key)), None] {
        let (plaintext, by) = kms.direct_decrypt(named.as_ref(), &blob, &context).unwrap();
        assert!(plaintext.expose() == b"other token" && by.to_string() == key);
    }
    let error = refusal(kms.direct_decrypt(None, &blob, &Pairs::default()));
    assert_eq!(error.cause, ProviderCause::WrongCiphertext, "{error}");
}

#[test]
fn the_aws_command_line_opens_a_slot_by_hand() {
    let (server, aws) = (shared_moto(), shared_moto().aws());
    let key = aws.create_key();
    let binding = binding(&["env=prod"]);
    let (data_key, slot) = KmsKey::new(&kms(&server.url), name(&key)).generate(&binding).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wrapped = folder.path().join("wrapped");
    std::fs::write(&wrapped, &slot.wrapped).unwrap();
    let blob = format!("fileb://{}", wrapped.display());
    let context = format!("env=prod,waxseal:data-key-id={}", binding.data_key_id);
    let arguments = [
        "decrypt",
        "--key-id",
        &key,
        "--ciphertext-blob",
        &blob,
        "--encryption-context",
        &context,
        "--query",
        "Plaintext",
    ];
    use base64::Engine as _;
    let opened = base64::engine::general_purpose::STANDARD.decode(output(aws_cli(server, &arguments))).unwrap();
    assert!(opened == data_key.expose());
}

#[test]
fn direct_lengths() {
    let proxy = counting_proxy(&shared_moto().url);
    let kms = kms(&proxy.url);
    let key = name(&shared_moto().aws().create_key());
    let none = Pairs::default();
    for len in [0, 4097] {
        assert!(matches!(kms.direct_encrypt(&key, &secret(&vec![1; len]), &none), Err(Error::Limit(_))));
    }
    for len in [0, 6145] {
        assert!(matches!(kms.direct_decrypt(Some(&key), &vec![1; len], &none), Err(Error::Limit(_))));
    }
    assert!(proxy.calls().is_empty());
    for len in [1, 4096] {
        let (blob, _) = kms.direct_encrypt(&key, &secret(&vec![1; len]), &none).unwrap();
        assert_eq!(kms.direct_decrypt(Some(&key), &blob, &none).unwrap().0.expose().len(), len);
    }
}
