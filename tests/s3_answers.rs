//! S3's refusals become errors by cause, each with what to do; against real stores, and a proxy and a server that answer
//! in their place.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::time::Duration;

use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::error::CredentialsError;
use s3_sdk::{s3_client, s3_client_as, s3_settings};
use support::{
    PlainS3, REGION, Reply, S3_ACCESS_KEY, S3_LISTER, S3_SECRET_KEY, S3Fault, S3Proxy, http, liar, shared_seaweed,
};
use waxseal::error::{Error, ProviderCause, ProviderError, Remedy, Result};
use waxseal_aws_s3::{S3, S3Name, S3Timeouts};

#[track_caller]
fn refusal<T>(result: Result<T>) -> Box<ProviderError> {
    match result {
        Err(Error::Provider(error)) => error,
        Err(other) => panic!("another failure: {other:?}"),
        Ok(_) => panic!("no failure"),
    }
}

/// An object in the shared store.
fn object() -> (PlainS3, S3Name) {
    let plain = shared_seaweed().plain();
    let name = S3Name::new(plain.new_bucket(), "key").expect("a name");
    plain.put(name.bucket(), name.key(), b"text");
    (plain, name)
}

/// Nothing of a request or of an answer is in an error, but the store's own message and code.
#[track_caller]
fn tells_nothing(error: &ProviderError) {
    let all = format!("{error:?} {error}");
    for secret in [S3_SECRET_KEY, S3_ACCESS_KEY, "AWS4-HMAC", "Signature=", "HttpResponse", "SdkBody", "x-amz-"] {
        assert!(!all.contains(secret), "{secret} is in {all}");
    }
}

#[test]
fn what_the_store_refuses() {
    let (_, name) = object();
    let url = &shared_seaweed().url;
    let all = S3::from_client(s3_client(url));
    let missing = S3Name::new(name.bucket(), "missing").expect("a name");
    assert!(matches!(all.object(&missing), Err(Error::NoInput(_))));
    let no_bucket = S3Name::new("no-such-bucket-here", "key").expect("a name");
    let error = refusal(all.object(&no_bucket));
    assert_eq!((error.cause, error.key.as_str()), (ProviderCause::NotFound, "s3://no-such-bucket-here/key"));
    assert!(error.remedy.is_some() && error.message.starts_with("there is no such bucket"), "{error}");
    let error = refusal(S3::from_client(s3_client_as(url, S3_LISTER)).object(&name));
    assert_eq!(error.cause, ProviderCause::Denied);
    assert!(matches!(&error.remedy, Some(Remedy::Other(words)) if words.contains("s3:GetObject")), "{error:?}");
    for who in [("AKIDSTRANGER", S3_SECRET_KEY), (S3_ACCESS_KEY, "another")] {
        let error = refusal(S3::from_client(s3_client_as(url, who)).object(&name));
        assert_eq!((error.cause, error.remedy.clone()), (ProviderCause::Credentials, Some(Remedy::CheckCredentials)));
        tells_nothing(&error);
    }
    assert!(matches!(all.object(&S3Name::parse_prefix("s3://abc/").expect("a name")), Err(Error::Invalid(_))));
}

/// Refusals of AWS that the store does not know.
#[test]
fn what_only_aws_refuses() {
    use ProviderCause as C;
    let (_, name) = object();
    let proxy = S3Proxy::before(&shared_seaweed().url);
    let s3 = S3::from_client(s3_client(&proxy.url));
    for (status, code, cause, hint) in [
        (403, "AccessDenied", C::Denied, "s3:ListBucket"),
        (403, "InvalidObjectState", C::Rejected, "restore"),
        (403, "RequestTimeTooSkewed", C::ClockSkew, "clock"),
        (400, "ExpiredToken", C::Credentials, "credentials"),
        (403, "InvalidAccessKeyId", C::Credentials, "credentials"),
        (403, "SignatureDoesNotMatch", C::Credentials, "credentials"),
        (403, "QuotaExceeded", C::Rejected, "quota"),
        (507, "InsufficientStorage", C::Rejected, "space"),
        (400, "KMS.DisabledException", C::Disabled, "KMS key"),
        (501, "NotImplemented", C::Rejected, ""),
        (418, "SomethingNew", C::Rejected, ""),
    ] {
        proxy.take();
        proxy.fail([S3Fault::Answer(status, code)]);
        let error = refusal(s3.object(&name));
        let remedy = error.remedy.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(error.cause == cause && remedy.contains(hint), "{code}: {error:?}");
        assert_eq!(error.request_id.as_deref(), Some("4442587FB7D0A2F9"), "{code}");
        assert_eq!(proxy.take().len(), 1, "{code} does not pass");
        tells_nothing(&error);
    }
    // A deleted object of a bucket with versions, and a caller who may list.
    proxy.fail([S3Fault::Answer(404, "NoSuchKey")]);
    assert!(matches!(s3.object(&name), Err(Error::NoInput(_))));
}

fn redirect(status: u16, code: &str, header: &str, body: &str) -> S3Fault {
    let body = format!("<Error><Code>{code}</Code><Message>elsewhere</Message>{body}</Error>");
    S3Fault::Raw(http(status, &["Content-Type: application/xml", header], body))
}

/// The region of a signature.
fn signed_for(request: &support::S3Request) -> &str {
    let signature = request.head.header("authorization").unwrap_or_default();
    signature.split('/').nth(2).unwrap_or_default()
}

/// The bucket is in another region: that region is asked, once, and remembered.
#[test]
fn buckets_in_other_regions() {
    for (status, code, header, body) in [
        (301, "PermanentRedirect", "x-amz-bucket-region: eu-central-1", ""),
        (307, "TemporaryRedirect", "x-amz-bucket-region: eu-central-1", ""),
        (400, "AuthorizationHeaderMalformed", "x: y", "<Region>eu-central-1</Region>"),
    ] {
        let (_, name) = object();
        let proxy = S3Proxy::before(&shared_seaweed().url);
        let s3 = S3::from_client(s3_client(&proxy.url));
        assert_eq!(s3.redirected(name.bucket()), None);
        proxy.fail([redirect(status, code, header, body)]);
        s3.object(&name).expect("an object");
        let requests = proxy.take();
        assert_eq!(requests.iter().map(signed_for).collect::<Vec<_>>(), [REGION, "eu-central-1"], "{code}");
        assert_eq!(s3.redirected(name.bucket()).as_deref(), Some("eu-central-1"));
        s3.clone().object(&name).expect("an object");
        assert_eq!(proxy.take().iter().map(signed_for).collect::<Vec<_>>(), ["eu-central-1"], "it is remembered");
        // Another one is asked by no second redirect.
        proxy.fail([
            redirect(301, "PermanentRedirect", "x-amz-bucket-region: us-west-2", ""),
            redirect(301, "PermanentRedirect", "x-amz-bucket-region: us-east-2", ""),
        ]);
        let error = refusal(s3.object(&name));
        assert_eq!(error.remedy, Some(Remedy::ChooseRegion { region: Some("us-east-2".into()) }));
        assert_eq!(proxy.take().len(), 2);
    }
    // What is no region leads nowhere.
    let (_, name) = object();
    let proxy = S3Proxy::before(&shared_seaweed().url);
    let s3 = S3::from_client(s3_client(&proxy.url));
    for bad in ["evil.example", "eu-central-1.evil.example", "eu-central-1/", ""] {
        proxy.fail([redirect(301, "PermanentRedirect", &format!("x-amz-bucket-region: {bad}"), "")]);
        assert_eq!(refusal(s3.object(&name)).cause, ProviderCause::Rejected, "{bad}");
        assert_eq!((proxy.take().len(), s3.redirected(name.bucket())), (1, None), "{bad}");
    }
}

/// Who answers is not S3: a login page, a broken server, or one that never ends.
#[test]
fn answers_that_are_not_of_a_store() {
    let page = "<html><body>Please log in</body></html>";
    let endless = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\n\r\n<Error><Code>".to_vec();
    for (reply, cause) in [
        (Reply::Bytes(http(200, &[], page)), ProviderCause::BadAnswer),
        (Reply::Bytes(http(404, &[], page)), ProviderCause::Unreachable),
        (Reply::Bytes(http(302, &["Location: https://evil.example/"], page)), ProviderCause::Unreachable),
        (Reply::Bytes(b"no HTTP at all\r\n\r\n".to_vec()), ProviderCause::Unreachable),
        (Reply::Endless(endless), ProviderCause::Unreachable),
    ] {
        let server = liar(move |_| reply.clone());
        let times = S3Timeouts { patience: Duration::from_secs(1), ..S3Timeouts::default() };
        let s3 = S3::from_client(s3_client(&server.url)).with_timeouts(times);
        let error = refusal(s3.object(&S3Name::new("bucket", "key").expect("a name")));
        assert_eq!(error.cause, cause, "{error:?}");
        assert!(!format!("{error:?}").contains("log in") && !format!("{error:?}").contains("evil"), "{error:?}");
        assert!(server.sent() < 256 << 20, "{} bytes were taken", server.sent());
    }
}

#[test]
fn nobody_is_there() {
    let name = S3Name::new("bucket", "key").expect("a name");
    let nobody = S3::from_client(s3_client("http://127.0.0.1:1"));
    let error = refusal(nobody.object(&name));
    assert_eq!((error.cause, error.remedy.clone()), (ProviderCause::Unreachable, Some(Remedy::CheckNetwork)));
    assert!(error.message.contains("the connection was refused"), "{error}");
    let none = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("a canary")) });
    let settings = s3_settings(&shared_seaweed().url, (S3_ACCESS_KEY, S3_SECRET_KEY)).credentials_provider(none);
    let error = refusal(S3::from_client(aws_sdk_s3::Client::from_conf(settings.build())).object(&name));
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    assert_eq!(error.cause, ProviderCause::Credentials, "{error:?}");
}
