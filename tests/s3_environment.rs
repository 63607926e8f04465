//! AWS's standard configuration for S3: each test runs again in a process of its own, with an environment of its own.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use s3_sdk::s3_client;
use support::{REGION, S3_ACCESS_KEY, S3_SECRET_KEY, in_child, run_in_child, shared_moto, shared_seaweed};
use waxseal::error::{Error, ProviderCause, Remedy};
use waxseal_aws_kms::{Kms, KmsConfig, KmsKeyName};
use waxseal_aws_s3::{S3, S3Config, S3Name};

/// The name of an object for the child.
const NAME: &str = "TEST_NAME";
const CONTENT: &[u8] = b"the content of an object";

fn name() -> S3Name {
    S3Name::parse(&std::env::var(NAME).expect("a name from the parent")).expect("a name")
}

/// Puts an object and returns its name.
fn object(bucket: &str) -> String {
    let store = shared_seaweed();
    let client = s3_client(&store.url);
    let put = async {
        // It can be there already.
        let _ = client.create_bucket().bucket(bucket).send().await;
        client.put_object().bucket(bucket).key("a/key").body(CONTENT.to_vec().into()).send().await.expect("an upload");
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(put);
    format!("s3://{bucket}/a/key")
}

#[test]
fn by_variables_and_without_a_region() {
    if in_child() {
        assert!(std::env::var_os("AWS_REGION").is_none());
        let s3 = S3::new(S3Config::new()).unwrap();
        assert_eq!(s3.object(&name()).unwrap().len(), CONTENT.len() as u64);
        return;
    }
    let (url, name) = (shared_seaweed().url.clone(), object("by-variables"));
    let environment = [
        ("AWS_ACCESS_KEY_ID", S3_ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", S3_SECRET_KEY),
        ("AWS_ENDPOINT_URL_S3", url.as_str()),
        (NAME, name.as_str()),
    ];
    run_in_child("by_variables_and_without_a_region", &environment);
}

/// The command of the profile notes that it ran.
#[cfg(unix)]
#[test]
fn a_command_for_credentials_runs_once_for_bucket_and_key() {
    if in_child() {
        let s3 = S3::new(S3Config::new()).unwrap();
        assert_eq!(s3.object(&name()).unwrap().len(), CONTENT.len() as u64);
        let kms = Kms::new(KmsConfig::new()).unwrap();
        kms.show_key(&KmsKeyName::parse(&std::env::var("TEST_KEY").unwrap()).unwrap()).expect("a key");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let answer = format!(r#"{{"Version": 1, "AccessKeyId": "{S3_ACCESS_KEY}", "SecretAccessKey": "{S3_SECRET_KEY}"}}"#);
    std::fs::write(path("command"), format!("echo ran >>'{}'\necho '{answer}'\n", path("runs"))).unwrap();
    let profile = format!("[default]\nregion = {REGION}\ncredential_process = sh {}\n", path("command"));
    std::fs::write(path("config"), profile).unwrap();
    let (key, name) = (shared_moto().aws().create_key(), object("one-command"));
    let environment = [
        ("AWS_CONFIG_FILE", path("config")),
        ("AWS_ENDPOINT_URL_S3", shared_seaweed().url.clone()),
        ("AWS_ENDPOINT_URL_KMS", shared_moto().url.clone()),
        ("PATH", std::env::var("PATH").unwrap()),
        ("TEST_KEY", key),
        (NAME, name),
    ];
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_in_child("a_command_for_credentials_runs_once_for_bucket_and_key", &environment);
    assert_eq!(std::fs::read_to_string(path("runs")).unwrap(), "ran\n");
}

#[test]
fn no_credentials() {
    if in_child() {
        let s3 = S3::new(S3Config::new()).unwrap();
        for _ in 0..2 {
            let Err(Error::Provider(error)) = s3.object(&name()) else { panic!("an object without credentials") };
            assert_eq!((error.cause, &error.remedy), (ProviderCause::Credentials, &Some(Remedy::CheckCredentials)));
            assert!(error.to_string().starts_with("s3://bucket: "), "{error}");
        }
        return;
    }
    let environment =
        [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_EC2_METADATA_DISABLED", "true"), (NAME, "s3://bucket/key")];
    run_in_child("no_credentials", &environment);
}
