//! SDK clients for an emulator, and helper functions of the KMS tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use waxseal::error::{Error, ProviderError, Result};
use waxseal::format::{Binding, DataKeyId, Pairs, Sharing, Suite};
use waxseal_aws_kms::{Kms, KmsKeyName};

use crate::support::REGION;

/// A handle whose clients call `url`, with invalid credentials.
pub fn kms(url: &str) -> Kms {
    kms_in(url, REGION)
}

/// The same for another region.
pub fn kms_in(url: &str, region: &str) -> Kms {
    let (kms, sts) = clients(url, region);
    Kms::from_clients(kms, Some(sts))
}

/// The clients.
pub fn clients(url: &str, region: &str) -> (aws_sdk_kms::Client, aws_sdk_sts::Client) {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let kms = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(url)
        .http_client(http.clone())
        .credentials_provider(credentials.clone())
        .build();
    let sts = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(url)
        .http_client(http)
        .credentials_provider(credentials)
        .build();
    (aws_sdk_kms::Client::from_conf(kms), aws_sdk_sts::Client::from_conf(sts))
}

/// Expects the error of a key service, and returns it.
#[track_caller]
pub fn refusal<T>(result: Result<T>) -> Box<ProviderError> {
    match result {
        Err(Error::Provider(error)) => error,
        Err(other) => panic!("another failure: {other:?}"),
        Ok(_) => panic!("no failure"),
    }
}

/// A name that parses.
#[track_caller]
pub fn name(text: &str) -> KmsKeyName {
    KmsKeyName::parse(text).expect("a key's name")
}

/// The binding of a file. Each has its own data key id.
pub fn binding(pairs: &[&str]) -> Binding {
    Binding {
        suite: Suite::Aes256Gcm,
        data_key_id: DataKeyId::random().expect("randomness"),
        sharing: Sharing::Exclusive,
        context: Pairs::parse(pairs).expect("pairs"),
        labels: Pairs::default(),
    }
}
