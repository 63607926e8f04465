//! SDK clients for an object store, and the common start of the S3 tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use crate::support::{REGION, S3_ACCESS_KEY, S3_SECRET_KEY};

/// A client of the store at `url` that may do everything.
pub fn s3_client(url: &str) -> aws_sdk_s3::Client {
    s3_client_as(url, (S3_ACCESS_KEY, S3_SECRET_KEY))
}

/// A client of the store at `url` with an access key and its secret.
pub fn s3_client_as(url: &str, (access_key, secret): (&str, &str)) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(s3_settings(url, (access_key, secret)).build())
}

/// The settings of such a client.
pub fn s3_settings(url: &str, (access_key, secret): (&str, &str)) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(access_key, secret, None, None, "test"))
}
