//! For fuzzers: arbitrary bytes become the answers of a store. What is checked here must be true for every store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use waxseal::error::Result;

use crate::runtime::wait;
use crate::{Object, ReadOptions, S3, S3Name, S3Timeouts};

/// Between two answers.
const NEXT: u8 = 0xff;
/// The number of objects of a listing that are read. A hostile listing can be endless.
const LISTED_MAX: usize = 5000;

/// Uses `data` as the answers of a store. If it begins with `L`, they are the answers for a listing. Otherwise they are
/// the answers for an object that is opened and read. The answers follow this first byte, with a byte `0xff` between
/// two answers. Each has its status in the first line, its headers in the next lines, an empty line, and its body.
/// Further requests get no answer.
///
/// # Panics
/// Panics if a result is not one that a caller may rely on.
pub fn answers(data: &[u8]) {
    static STORE: OnceLock<Mutex<(S3, Prepared)>> = OnceLock::new();
    let store = STORE.get_or_init(|| Mutex::new(store()));
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let (s3, prepared) = &*store;
    let Some((operation, answers)) = data.split_first() else { return };
    let answers = answers.split(|byte| *byte == NEXT).filter_map(answer).collect();
    *prepared.0.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    if *operation == b'L' {
        list(s3);
    } else if let Ok(object) = S3Name::new("bucket", "key").and_then(|name| s3.object(&name)) {
        read(&object);
    }
}

fn list(s3: &S3) {
    let Ok(prefix) = S3Name::prefix("bucket", "a") else { return };
    let mut listing = s3.list(&prefix);
    for listed in listing.by_ref().take(LISTED_MAX) {
        let Ok(listed) = listed else { break };
        assert!(listed.name.after(&prefix).is_some(), "{listed:?} is not under the prefix");
    }
}

fn read(object: &Object) {
    assert!(!object.etag().is_empty(), "an object without an ETag");
    let whole = wait(whole(object));
    assert!(whole.is_err() || whole.is_ok_and(|len| len == object.len()), "another length than the object's");
    let part = wait(object.read_range_async(10..100));
    let expected = object.len().clamp(10, 100) - 10;
    assert!(part.is_err() || part.is_ok_and(|bytes| bytes.len() as u64 == expected), "another length than the range's");
}

async fn whole(object: &Object) -> Result<u64> {
    let options = ReadOptions { part_len: 1 << 16, parts: 1 };
    let (mut stream, mut len) = (object.stream_of(0..object.len(), options), 0);
    while let Some(piece) = stream.next().await? {
        len += piece.len() as u64;
    }
    Ok(len)
}

fn store() -> (S3, Prepared) {
    let prepared = Prepared::default();
    let settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url("http://127.0.0.1:1")
        .force_path_style(true)
        .http_client(prepared.clone())
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "fuzzing"));
    // No request is repeated, because the fuzzer would spend all its time waiting.
    let timeouts = S3Timeouts { patience: Duration::ZERO, ..S3Timeouts::default() };
    (S3::from_client(Client::from_conf(settings.build())).with_timeouts(timeouts), prepared)
}

/// An answer of a store; `None` if it is not valid HTTP.
fn answer(data: &[u8]) -> Option<HttpResponse> {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let body = data.get(end + 2..).unwrap_or_default();
    let head = std::str::from_utf8(&data[..end]).ok()?;
    let mut lines = head.lines();
    let status: u16 = lines.next()?.parse().ok()?;
    let mut answer = HttpResponse::new(status.try_into().ok()?, SdkBody::from(body.to_vec()));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        // Text that is not a valid header cannot be received over HTTP.
        let _ = answer.headers_mut().try_append(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(answer)
}

/// Gives the prepared answers, one for each request.
#[derive(Debug, Clone, Default)]
struct Prepared(Arc<Mutex<VecDeque<HttpResponse>>>);

impl HttpClient for Prepared {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Prepared {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        HttpConnectorFuture::ready(answer.ok_or_else(|| ConnectorError::io("no further answer".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The answers of a well-behaved store lead to a result, so that others differ from it in little.
    #[test]
    fn good_answers_are_taken() {
        let (s3, prepared) = store();
        let give = |text: &[u8]| {
            *prepared.0.lock().unwrap() = text.split(|byte| *byte == NEXT).filter_map(answer).collect();
        };
        give(b"206\nETag: \"e\"\nContent-Range: bytes 0-4/5\nContent-Length: 5\n\nhello");
        let object = s3.object(&S3Name::new("bucket", "key").unwrap()).unwrap();
        assert_eq!((object.len(), wait(whole(&object)).unwrap()), (5, 5));
        give(
            b"200\n\n<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
              <NextContinuationToken>t</NextContinuationToken><Contents><Key>a+b</Key><Size>7</Size></Contents>\
              </ListBucketResult>\xff200\n\n<ListBucketResult><IsTruncated>false</IsTruncated>\
              <Contents><Key>a/c</Key><Size>0</Size></Contents></ListBucketResult>",
        );
        let listed: Vec<_> = s3.list(&S3Name::prefix("bucket", "a").unwrap()).map(Result::unwrap).collect();
        assert_eq!([listed[0].name.key(), listed[1].name.key()], ["a b", "a/c"]);
    }

    proptest! {
        #[test]
        fn objects(
            range in prop_oneof!["bytes 0-[0-9]{1,6}/[0-9]{1,20}", "[ -~]{0,30}", Just("bytes 0-4/5".to_owned())],
            etag in prop_oneof!["[ -~]{0,10}", Just("\"e\"".to_owned())],
            status in prop_oneof![Just(206_u16), Just(200), 100..600_u16],
            len in prop_oneof![Just("5".to_owned()), "-?[0-9]{0,20}"],
            body in proptest::collection::vec(0..=0xfe_u8, 0..10),
        ) {
            let one = [format!("{status}\nETag: {etag}\nContent-Range: {range}\nContent-Length: {len}\n\n").into_bytes(), body].concat();
            answers(&[b"O", one.as_slice(), &[NEXT], &one, &[NEXT], &one].concat());
        }

        #[test]
        fn listings(
            keys in proptest::collection::vec("a?[ -~]{0,12}", 0..5),
            size in prop_oneof![Just("1".to_owned()), "-?[0-9]{0,20}"],
            more in any::<bool>(),
            token in "[ -~]{0,5}",
        ) {
            let keys: String = keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")).collect();
            let page = format!(
                "200\n\n<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>\
                 <NextContinuationToken>{token}</NextContinuationToken>{keys}</ListBucketResult>"
            );
            let page = page.as_bytes();
            answers(&[b"L", page, &[NEXT], page, &[NEXT], page].concat());
        }

        #[test]
        fn anything(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            answers(&data);
        }
    }
}
