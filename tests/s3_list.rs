//! Listings: every key as it is, every page once.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::collections::BTreeSet;

use aws_sdk_s3::primitives::ByteStream;
use s3_sdk::{s3_client, s3_client_as};
use support::{PlainS3, S3_READER, S3Fault, S3Proxy, moto_s3, shared_seaweed};
use waxseal::error::{Error, ProviderCause, Result};
use waxseal_aws_s3::{Listed, S3, S3Name};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn list(s3: &S3, prefix: &str) -> Vec<Listed> {
    let prefix = S3Name::parse_prefix(prefix).expect("a prefix");
    s3.list(&prefix).collect::<Result<_>>().expect("a listing")
}

fn keys(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.name.key()).collect()
}

/// Every key that a store takes is listed as it is, and is opened by that name.
#[test]
fn odd_keys() {
    let odd = [
        "plain",
        "a b",
        "a+b",
        "a%20b",
        "a%2Fb",
        "a&b=c",
        "<tag>",
        "]]>",
        "\"quoted\"",
        "it's",
        "caf\u{e9}/\u{65e5}\u{672c}\u{8a9e}",
        "\u{1f980}",
        "tab\there",
        "bell\u{7}",
        "a;b?c#d",
        "~tilde*star!",
    ];
    // SeaweedFS makes a slash of a backslash, and moto knows no keys of several lines.
    let (of_seaweed, of_moto) = ("line\nend", "back\\slash");
    let (seaweed, moto) = (&shared_seaweed().url, &moto_s3().url);
    for (url, plain) in [(seaweed, PlainS3::at(seaweed)), (moto, PlainS3::at_moto(moto))] {
        let bucket = plain.new_bucket();
        // The SDK's own client, which signs these names, too.
        let client = s3_client(url);
        let further = if url == moto { of_moto } else { of_seaweed };
        let odd: BTreeSet<&str> = odd.into_iter().chain([further]).collect();
        for key in &odd {
            let put = client.put_object().bucket(&bucket).key(*key).body(ByteStream::from(key.as_bytes().to_vec()));
            run(put.send()).unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        }
        let s3 = S3::from_client(client);
        let listed = list(&s3, &format!("s3://{bucket}"));
        let found: BTreeSet<&str> = keys(&listed).into_iter().collect();
        assert_eq!(found, odd, "{url}");
        for prefix in ["a b", "a+", "a%2", "caf\u{e9}/", "<"] {
            let expected: BTreeSet<&str> = odd.iter().copied().filter(|key| key.starts_with(prefix)).collect();
            let listed = list(&s3, &format!("s3://{bucket}/{prefix}"));
            assert_eq!(keys(&listed).into_iter().collect::<BTreeSet<_>>(), expected, "{url} {prefix}");
        }
        for listed in &listed {
            assert!(listed.len == listed.name.key().len() as u64 && listed.modified.is_some(), "{listed:?}");
            let object = s3.object(&listed.name).expect("an object");
            assert_eq!(Some(object.etag()), listed.etag.as_deref(), "{listed:?}");
        }
    }
}

/// Three pages, each asked for once, and only when it is needed.
#[test]
fn two_thousand_five_hundred_keys() {
    let server = shared_seaweed();
    let (plain, bucket) = (server.plain(), server.bucket());
    for number in 0..2500 {
        plain.put(&bucket, &format!("many/{number:04}"), b"");
    }
    plain.put(&bucket, "other", b"");
    let proxy = S3Proxy::before(&server.url);
    let s3 = S3::from_client(s3_client(&proxy.url));
    let listed = list(&s3, &format!("s3://{bucket}/many/"));
    assert!(keys(&listed).iter().enumerate().all(|(number, key)| *key == format!("many/{number:04}")));
    assert_eq!((listed.len(), proxy.operations()), (2500, vec!["ListObjectsV2"; 3]));
    assert_eq!(list(&s3, &format!("s3://{bucket}/many/24")).len(), 100);
    assert_eq!(list(&s3, &format!("s3://{bucket}/nothing")), []);
    proxy.take();
    let all = S3Name::parse_prefix(&format!("s3://{bucket}")).expect("a prefix");
    assert_eq!(s3.list(&all).take(1000).count(), 1000);
    assert_eq!(proxy.take().len(), 1);
    // A page that fails is asked for again.
    proxy.fail([S3Fault::slow_down(), S3Fault::CutAnswer(Some(1000)), S3Fault::Answer(500, "InternalError")]);
    assert_eq!(list(&s3, &format!("s3://{bucket}")).len(), 2501);
    run(async {
        let mut listing = s3.list(&all);
        let mut count = 0;
        while listing.next_async().await.expect("a listing").is_some() {
            count += 1;
        }
        assert_eq!(count, 2501);
    });
}

/// What a lying store makes of a page.
type Change = Box<dyn Fn(&str) -> String + Send + Sync>;

/// The store leads in a circle, or nowhere. After the error, the listing has ended.
#[test]
fn listings_that_lie() {
    let server = shared_seaweed();
    let (plain, bucket) = (server.plain(), server.bucket());
    for number in 0..3 {
        plain.put(&bucket, &number.to_string(), b"");
    }
    let truncated = |token: &str, text: &str| {
        let text = text.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated>");
        text.replace("</ListBucketResult>", &format!("{token}</ListBucketResult>"))
    };
    let circle = move |text: &str| truncated("<NextContinuationToken>again</NextContinuationToken>", text);
    let no_token = move |text: &str| truncated("", text);
    let changes: [(&str, Change); 5] = [
        ("repeats earlier pages", Box::new(circle)),
        ("token", Box::new(no_token)),
        ("without the prefix", Box::new(|text| text.replace("<Key>1</Key>", "<Key>x</Key>"))),
        ("without a length", Box::new(|text| text.replace("<Size>0</Size>", ""))),
        ("impossible key", Box::new(|text| text.replace("<Key>1</Key>", &format!("<Key>1{}</Key>", "x".repeat(1024))))),
    ];
    for (what, change) in changes {
        let proxy = S3Proxy::before(&server.url);
        let s3 = S3::from_client(s3_client(&proxy.url));
        let alter = S3Fault::alter(move |answer| answer.body = change(&String::from_utf8_lossy(&answer.body)).into());
        proxy.fail_when(|_| true, usize::MAX, alter);
        let prefix = if what == "without the prefix" { "1" } else { "" };
        let prefix = S3Name::prefix(bucket.as_str(), prefix).expect("a prefix");
        let mut listing = s3.list(&prefix);
        let error = listing.by_ref().take(1000).find_map(Result::err);
        let Some(Error::Provider(error)) = error else { panic!("{what}: {error:?}") };
        assert!(error.cause == ProviderCause::BadAnswer && error.message.contains(what), "{what}: {error}");
        assert!(listing.next().is_none() && proxy.take().len() <= 4, "{what}");
    }
}

#[test]
fn what_cannot_be_listed() {
    let server = shared_seaweed();
    let (bucket, s3) = (server.bucket(), S3::from_client(s3_client(&server.url)));
    let first = |s3: &S3, prefix: &str| {
        let listed = s3.list(&S3Name::parse_prefix(prefix).expect("a prefix")).next();
        match listed {
            Some(Err(Error::Provider(error))) => error,
            other => panic!("{prefix}: {other:?}"),
        }
    };
    assert_eq!(first(&s3, "s3://no-such-bucket-here/").cause, ProviderCause::NotFound);
    let reader = S3::from_client(s3_client_as(&server.url, S3_READER));
    let error = first(&reader, &format!("s3://{bucket}/"));
    assert_eq!(error.cause, ProviderCause::Denied);
    assert!(error.remedy.is_some_and(|remedy| remedy.to_string().contains("s3:ListBucket")));
}
