//! Uploads to real object stores: whole or absent, whatever fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/s3_place.rs"]
mod s3_place;
#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s3_place::{PART, Place, cause, contents, replacing, small_parts, with_attempts};
use support::{REGION, S3Fault, S3Request, python};
use waxseal::Error;
use waxseal::error::ProviderCause;
use waxseal_aws_s3::{MIN_PART, UPLOAD_MARK, UploadOptions, UploadWarning};

#[test]
fn every_size_around_the_borders_comes_back_with_the_requests_that_it_needs() {
    let place = Place::new();
    let all = contents(3 * PART + 1);
    for len in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART - 1, 3 * PART, 3 * PART + 1] {
        place.proxy.take();
        let key = format!("of-{len}");
        let uploaded = place.upload(&key, &all[..len], small_parts()).unwrap();
        assert!(place.get(&key).unwrap() == all[..len], "{len}");
        let parts = if len <= PART { 0 } else { len.div_ceil(PART) };
        let expected = if parts == 0 {
            vec!["HeadObject", "PutObject"]
        } else {
            // The last look is for stores that ignore the condition of the last request.
            let ends = ["CompleteMultipartUpload", "CreateMultipartUpload", "HeadObject", "HeadObject"];
            ends.into_iter().chain(std::iter::repeat_n("UploadPart", parts)).collect()
        };
        assert_eq!(place.operations(), expected, "{len}");
        assert_eq!((uploaded.parts as usize, uploaded.len), (parts, len as u64));
        assert_eq!(uploaded.warnings, []);
        assert!(uploaded.confirmed, "SeaweedFS tells the checksum");
        let head = place.plain.head(&place.bucket, &key);
        assert_eq!(head.header("etag").unwrap(), uploaded.etag);
        assert_eq!(head.header("content-type"), Some("application/octet-stream"));
    }
    place.is_clean();
}

/// Other stores name themselves like AWS, and need not keep what AWS keeps.
#[test]
fn the_name_of_the_server_proves_nothing() {
    let place = Place::new();
    let like_aws = |answer: &mut support::S3Answer| answer.head.set("Server", Some("AmazonS3"));
    place.proxy.fail_when(|request| request.operation() == "HeadObject", 9, S3Fault::alter(like_aws));
    for (key, len, looks) in [("small", 3, 1), ("large", PART + 1, 2)] {
        place.proxy.take();
        place.upload(key, &contents(len), small_parts()).unwrap();
        let seen = place.operations().into_iter().filter(|operation| *operation == "HeadObject").count();
        assert_eq!(seen, looks, "{key}");
    }
}

#[test]
fn a_refusal_after_a_lost_answer_does_not_hide_that_the_object_is_there() {
    let place = Place::new();
    for (len, operation) in [(7, "PutObject"), (PART + 1, "CompleteMultipartUpload")] {
        // The object is made, its answer is lost, it cannot be seen, and then the credentials have expired.
        place.proxy.fail_when(move |request| request.operation() == operation, 1, S3Fault::CutAnswer(None));
        let expired = S3Fault::Answer(403, "ExpiredToken");
        place.proxy.fail_when(move |request| request.operation() == operation, 1, expired.clone());
        let key = format!("seen-{operation}");
        place.upload(&key, &contents(len), replacing(small_parts())).unwrap();
        place.proxy.heal();
        place.proxy.fail_when(move |request| request.operation() == operation, 1, S3Fault::CutAnswer(None));
        place.proxy.fail_when(move |request| [operation, "HeadObject"].contains(&request.operation()), 99, expired);
        let error = place.upload(&format!("unseen-{operation}"), &contents(len), replacing(small_parts())).unwrap_err();
        assert!(error.to_string().contains("not known"), "{error}");
        assert!(!place.operations().contains(&"AbortMultipartUpload"));
        place.proxy.heal();
        assert_eq!(place.get(&format!("unseen-{operation}")).unwrap().len(), len);
    }
}

#[test]
fn nothing_is_there_before_the_upload_is_complete() {
    let place = Place::new();
    let mut upload = place.s3.upload(&place.name("late"), small_parts()).unwrap();
    assert_eq!(upload.id(), None);
    upload.write_all(&contents(2 * PART + 1)).unwrap();
    assert!(place.get("late").is_none());
    assert_eq!(place.plain.uploads(&place.bucket).len(), 1);
    assert_eq!(place.s3.open_uploads()[0].id, upload.id().unwrap());
    upload.complete().unwrap();
    assert_eq!(place.get("late").unwrap().len(), 2 * PART + 1);
    place.is_clean();
}

#[test]
fn an_object_that_exists_is_replaced_only_if_that_was_asked_for() {
    let place = Place::new();
    for len in [3, PART + 3] {
        let key = format!("of-{len}");
        place.plain.put(&place.bucket, &key, b"old");
        place.proxy.take();
        let error = place.upload(&key, &contents(len), small_parts()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::AlreadyExists), "{error}");
        assert_eq!(place.get(&key).unwrap(), b"old");
        // It is noticed before the first part is sent.
        assert!(!place.operations().contains(&"UploadPart"));
        place.is_clean();
        place.upload(&key, &contents(len), replacing(small_parts())).unwrap();
        assert!(place.get(&key).unwrap() == contents(len));
    }
    place.is_clean();
}

#[test]
fn an_object_that_comes_at_the_last_moment_is_not_replaced() {
    let place = Place::new();
    for (len, last) in [(3, "PutObject"), (PART + 3, "CompleteMultipartUpload")] {
        let key = format!("of-{len}");
        let (plain, bucket, other) = (place.plain.clone(), place.bucket.clone(), key.clone());
        let put = move || drop(plain.put(&bucket, &other, b"other"));
        place.proxy.run_before(move |request| request.operation() == last, put);
        let error = place.upload(&key, &contents(len), small_parts()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::AlreadyExists), "{error}");
        assert_eq!(place.get(&key).unwrap(), b"other");
        place.is_clean();
    }
}

/// The faults that a retry must survive.
fn passing_faults() -> Vec<(&'static str, S3Fault)> {
    vec![
        ("cut before", S3Fault::Cut),
        ("cut in the request", S3Fault::CutRequest(0)),
        ("cut in the answer", S3Fault::CutAnswer(Some(10))),
        ("lost answer", S3Fault::CutAnswer(None)),
        ("500", S3Fault::Answer(500, "InternalError")),
        ("500 in a 200", S3Fault::Answer(200, "InternalError")),
        ("503", S3Fault::slow_down()),
        ("502 of a proxy", S3Fault::Raw(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope".to_vec())),
    ]
}

#[test]
fn a_fault_at_any_request_is_survived() {
    let place = Place::new();
    let bytes = contents(2 * PART + 9);
    for (len, operation) in [
        (7, "PutObject"),
        (bytes.len(), "HeadObject"),
        (bytes.len(), "CreateMultipartUpload"),
        (bytes.len(), "UploadPart"),
        (bytes.len(), "CompleteMultipartUpload"),
    ] {
        for (what, fault) in passing_faults() {
            let key = format!("{operation}-{what}");
            place.proxy.fail_when(move |request| request.operation() == operation, 1, fault);
            let uploaded = place.upload(&key, &bytes[..len], small_parts()).unwrap_or_else(|e| panic!("{key}: {e}"));
            assert!(place.get(&key).unwrap() == bytes[..len], "{key}");
            assert_eq!(uploaded.etag, place.plain.head(&place.bucket, &key).header("etag").unwrap());
            // A lost answer to CreateMultipartUpload leaves an upload whose id nobody knows. It has no part, and it is said.
            if operation == "CreateMultipartUpload" && abort_empty(&place, &key) > 0 {
                assert_eq!(uploaded.warnings, [UploadWarning::UnfinishedUploadMayBeLeft], "{key}");
            }
            place.is_clean();
        }
    }
}

#[test]
fn an_upload_whose_id_was_lost_is_known_by_its_object() {
    let place = Place::new();
    let lose = |times| {
        place.proxy.fail_when(
            |request| request.operation() == "CreateMultipartUpload",
            times,
            S3Fault::CutAnswer(None),
        );
    };
    lose(1);
    place.upload("made", &contents(PART + 1), small_parts()).unwrap();
    // The new object's warning says it.
    assert_eq!(place.s3.lost_uploads(), []);
    lose(2);
    place.upload("failed", &contents(PART + 1), with_attempts(small_parts(), 2)).unwrap_err();
    assert_eq!(place.s3.lost_uploads(), [place.name("failed")]);
    assert_eq!(place.s3.open_uploads(), []);
}

/// Removes the uploads for `key`, and fails if one has a part. Returns their number.
fn abort_empty(place: &Place, key: &str) -> usize {
    let ids = place.plain.uploads(&place.bucket);
    for id in &ids {
        let target = format!("/{}/{}?uploadId={id}", place.bucket, key.replace(' ', "%20"));
        let parts = place.plain.send("GET", &target, &[], b"").unwrap();
        assert!(!parts.text().contains("<Part>"), "{}", parts.text());
        place.plain.send("DELETE", &target, &[], b"").unwrap();
    }
    ids.len()
}

#[test]
fn what_is_refused_for_good_leaves_nothing() {
    let place = Place::new();
    let bytes = contents(2 * PART + 9);
    for (len, operation) in [
        (7, "PutObject"),
        (bytes.len(), "CreateMultipartUpload"),
        (bytes.len(), "UploadPart"),
        (bytes.len(), "CompleteMultipartUpload"),
    ] {
        let key = format!("denied-{operation}");
        let fault = S3Fault::Answer(403, "AccessDenied");
        place.proxy.fail_when(move |request| request.operation() == operation, 1, fault);
        let error = place.upload(&key, &bytes[..len], small_parts()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::Denied), "{operation}: {error}");
        assert!(place.get(&key).is_none(), "{operation}");
        place.is_clean();
    }
}

#[test]
fn an_error_of_an_upload_names_the_region() {
    let place = Place::new();
    let mut upload = place.s3.upload(&place.name("gone"), with_attempts(small_parts(), 1)).unwrap();
    place.proxy.gone(true);
    let bytes = contents(PART);
    let error = (0..20).find_map(|_| upload.write_all(&bytes).err()).expect("an error in time");
    assert!(error.to_string().contains(&format!("AWS in {REGION} cannot be reached")), "{error}");
    place.proxy.gone(false);
}

#[test]
fn a_part_that_never_passes_ends_the_upload() {
    let place = Place::new();
    place.proxy.fail_when(|request| request.query.contains("partNumber=2"), 100, S3Fault::Answer(500, "InternalError"));
    let mut upload = place.s3.upload(&place.name("never"), with_attempts(small_parts(), 2)).unwrap();
    let bytes = contents(PART);
    let error = (0..20).find_map(|_| upload.write_all(&bytes).err()).expect("an error in time");
    assert!(matches!(Error::io("writing", error), Error::Provider(_)));
    // Afterwards it can only be aborted.
    assert!(upload.write_all(b"more").is_err());
    let error = upload.complete().unwrap_err();
    assert!(error.to_string().contains("aborted"), "{error}");
    assert!(place.get("never").is_none());
    place.is_clean();
}

#[test]
fn after_a_lost_answer_to_the_last_request_nothing_is_aborted_and_the_error_says_so() {
    let place = Place::new();
    let lost = |request: &S3Request| ["CompleteMultipartUpload", "HeadObject"].contains(&request.operation());
    place.proxy.fail_when(|request| request.operation() == "HeadObject" && request.number > 1, 100, S3Fault::Cut);
    place.proxy.fail_when(lost, 100, S3Fault::CutAnswer(None));
    let options = replacing(with_attempts(small_parts(), 2));
    let error = place.upload("lost", &contents(PART + 1), options).unwrap_err();
    assert!(error.to_string().contains("not known"), "{error}");
    assert!(!place.proxy.operations().contains(&"AbortMultipartUpload"));
    // It is there in fact.
    assert_eq!(place.get("lost").unwrap().len(), PART + 1);
    assert_eq!(place.s3.open_uploads().len(), 1, "it stays in the list, with its command");
    let Error::Provider(error) = error else { panic!("{error}") };
    let hint = error.remedy.unwrap().to_string();
    assert!(hint.contains("aws s3api abort-multipart-upload") && hint.contains(UPLOAD_MARK), "{hint}");
}

#[test]
fn an_answer_that_does_not_match_is_an_error() {
    let place = Place::new();
    let other = |answer: &mut support::S3Answer| {
        let text = String::from_utf8(std::mem::take(&mut answer.body)).unwrap();
        let (before, rest) = text.split_once("<ChecksumCRC64NVME>").unwrap();
        let (_, after) = rest.split_once('<').unwrap();
        answer.body = format!("{before}<ChecksumCRC64NVME>AAAAAAAAAAA=<{after}").into_bytes();
        answer.head.set("Content-Length", Some(&answer.body.len().to_string()));
    };
    place.proxy.fail_when(|request| request.operation() == "CompleteMultipartUpload", 1, S3Fault::alter(other));
    let error = place.upload("other-crc", &contents(PART + 1), small_parts()).unwrap_err();
    assert_eq!(cause(&error), Some(ProviderCause::BadAnswer), "{error}");
    let no_etag = |answer: &mut support::S3Answer| answer.head.set("Etag", None);
    place.proxy.fail_when(|request| request.operation() == "UploadPart", 1, S3Fault::alter(no_etag));
    let error = place.upload("no-etag", &contents(PART + 1), small_parts()).unwrap_err();
    assert_eq!(cause(&error), Some(ProviderCause::BadAnswer), "{error}");
    assert!(place.get("no-etag").is_none());
    place.is_clean();
    let bad_id = |answer: &mut support::S3Answer| {
        let text = String::from_utf8(std::mem::take(&mut answer.body)).unwrap();
        let (before, rest) = text.split_once("<UploadId>").unwrap();
        let (_, after) = rest.split_once('<').unwrap();
        answer.body = format!("{before}<UploadId>a b<{after}").into_bytes();
        answer.head.set("Content-Length", Some(&answer.body.len().to_string()));
    };
    place.proxy.fail_when(|request| request.operation() == "CreateMultipartUpload", 1, S3Fault::alter(bad_id));
    let error = place.upload("bad-id", &contents(PART + 1), small_parts()).unwrap_err();
    assert_eq!(cause(&error), Some(ProviderCause::BadAnswer), "{error}");
}

#[test]
fn dropped_aborted_or_in_a_panic_nothing_is_left() {
    let place = Place::new();
    let start = || {
        let mut upload = place.s3.upload(&place.name("gone"), small_parts()).unwrap();
        upload.write_all(&contents(2 * PART + 1)).unwrap();
        upload
    };
    drop(start());
    place.is_clean();
    start().abort().unwrap();
    place.is_clean();
    std::thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let _upload = start();
            panic!("as in a bug of the caller");
        });
        assert!(panicked.join().is_err());
    });
    place.is_clean();
    assert!(place.get("gone").is_none());
    // Without any request, there is nothing to abort.
    place.proxy.take();
    drop(place.s3.upload(&place.name("gone"), small_parts()).unwrap());
    assert_eq!(place.operations(), Vec::<&str>::new());
}

#[test]
fn a_part_on_its_way_at_the_abort_does_not_stay() {
    let place = Place::new();
    place.proxy.fail_when(|request| request.operation() == "UploadPart", 1, S3Fault::Delay(Duration::from_millis(100)));
    let mut upload = place.s3.upload(&place.name("gone"), small_parts()).unwrap();
    upload.write_all(&contents(2 * PART + 1)).unwrap();
    upload.abort().unwrap();
    place.is_clean();
    assert!(place.operations().iter().filter(|name| **name == "AbortMultipartUpload").count() >= 2);
}

#[test]
fn an_abort_that_fails_leaves_the_id_and_the_command() {
    let place = Place::new();
    let denied = S3Fault::Answer(403, "AccessDenied");
    place.proxy.fail_when(|request| request.operation() == "AbortMultipartUpload", 100, denied);
    let mut upload = place.s3.upload(&place.name("it's left"), small_parts()).unwrap();
    upload.write_all(&contents(PART + 1)).unwrap();
    let id = upload.id().unwrap();
    assert!(upload.abort().is_err());
    let left = place.s3.open_uploads();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, id);
    let command = left[0].abort_command();
    assert!(command.ends_with(&format!(r"--key 'it'\''s left' --upload-id {id}")), "{command}");
    // Later, the end of the program tries once more.
    place.proxy.heal();
    assert!(place.s3.abort_all(Duration::from_secs(20)).is_empty());
    place.is_clean();
}

#[test]
fn after_abort_all_no_upload_of_the_handle_completes() {
    let place = Place::new();
    let mut uploads: Vec<_> =
        (0..3).map(|n| place.s3.upload(&place.name(&n.to_string()), small_parts()).unwrap()).collect();
    uploads[0].write_all(&contents(2 * PART + 1)).unwrap();
    uploads[1].write_all(b"small").unwrap();
    let clone = place.s3.clone();
    let not_aborted = std::thread::spawn(move || clone.abort_all(Duration::from_secs(20))).join().unwrap();
    assert!(not_aborted.is_empty(), "{not_aborted:?}");
    place.is_clean();
    assert!(uploads[0].write_all(&contents(PART)).is_err());
    assert!(uploads.drain(..).all(|upload| upload.complete().is_err()));
    assert!(place.s3.upload(&place.name("new"), small_parts()).is_err());
    assert_eq!(place.plain.keys(&place.bucket), Vec::<String>::new());
}

#[test]
fn a_list_of_its_own_has_the_uploads_of_that_handle_alone() {
    let place = Place::new();
    let own = place.s3.with_own_uploads();
    let mut first = place.s3.upload(&place.name("x"), small_parts()).unwrap();
    let mut second = own.upload(&place.name("x"), small_parts()).unwrap();
    first.write_all(&contents(PART + 1)).unwrap();
    second.write_all(&contents(PART + 1)).unwrap();
    for (handle, upload) in [(&place.s3, &first), (&own, &second), (&own.clone(), &second)] {
        let ids: Vec<_> = handle.open_uploads().into_iter().map(|open| open.id).collect();
        assert_eq!(ids, [upload.id().unwrap()]);
    }
    assert_eq!(own.with_own_uploads().open_uploads(), []);
    assert!(own.abort_all(Duration::from_secs(20)).is_empty());
    assert!(second.complete().is_err());
    first.complete().unwrap();
    place.is_clean();
}

#[test]
fn abort_all_waits_for_what_is_being_completed_and_stops_what_is_not() {
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        let place = Place::new();
        let clone = place.s3.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let abort = move || {
            let (started, start) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                started.send(()).unwrap();
                sender.send(clone.abort_all(Duration::from_secs(30))).unwrap();
            });
            start.recv().unwrap();
        };
        place.proxy.run_before(move |request| request.operation() == operation, abort);
        let result = place.upload("raced", &contents(2 * PART + 1), small_parts());
        assert!(receiver.recv().unwrap().is_empty(), "{operation}");
        // Whoever wins: whole or absent, and the caller knows.
        match place.get("raced") {
            Some(bytes) => assert!(result.is_ok() && bytes == contents(2 * PART + 1), "{operation}"),
            None => assert!(result.is_err(), "{operation}"),
        }
        if operation == "CompleteMultipartUpload" {
            assert!(result.is_ok(), "a commit that has begun is waited for");
        }
        assert_eq!(place.plain.uploads(&place.bucket), Vec::<String>::new(), "{operation}");
    }
}

#[test]
fn at_most_four_parts_are_in_memory() {
    let place = Place::new();
    place.proxy.fail_when(|request| request.operation() == "UploadPart", 4, S3Fault::Silence);
    let mut upload = place.s3.upload(&place.name("slow"), small_parts()).unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let writer = std::thread::spawn(move || {
        let piece = contents(64 * 1024);
        while upload.write_all(&piece).is_ok() {
            counter.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let under_way = || place.proxy.operations().iter().filter(|name| **name == "UploadPart").count();
    while under_way() < 4 {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(under_way(), 4);
    assert_eq!(written.load(Ordering::SeqCst), 4 * PART, "the writer waits");
    assert!(place.s3.abort_all(Duration::from_secs(20)).is_empty());
    writer.join().unwrap();
    place.is_clean();
}

#[test]
fn attributes_reach_the_object() {
    let place = Place::new();
    for len in [3, PART + 3] {
        let key = format!("of-{len}");
        let mut options = small_parts();
        options.content_type = Some("text/plain".into());
        options.storage_class = Some("STANDARD_IA".into());
        options.metadata.insert("made-by".into(), "a test".into());
        options.tags.insert("team".into(), "a&b=c".into());
        place.upload(&key, &contents(len), options).unwrap();
        let head = place.plain.head(&place.bucket, &key);
        assert_eq!(head.header("content-type"), Some("text/plain"));
        assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(head.header("x-amz-meta-made-by"), Some("a test"));
        let tags = place.plain.send("GET", &format!("/{}/{key}?tagging", place.bucket), &[], b"").unwrap().text();
        assert!(tags.contains("<Key>team</Key><Value>a&amp;b=c</Value>"), "{tags}");
    }
}

#[test]
fn what_cannot_fit_is_refused_before_anything_is_sent() {
    let place = Place::new();
    let mut options = small_parts();
    options.len_hint = Some(10_000 * MIN_PART + 1);
    assert!(matches!(place.s3.upload(&place.name("k"), options), Err(Error::Limit(_))));
    let mut options = UploadOptions::default();
    options.part_size = Some(MIN_PART - 1);
    assert!(matches!(place.s3.upload(&place.name("k"), options), Err(Error::Invalid(_))));
    assert_eq!(place.operations(), Vec::<&str>::new());
}

#[test]
fn a_store_without_conditional_writes_is_looked_at_before_and_it_is_said() {
    let place = Place::new();
    let conditional = |request: &S3Request| request.head.header("if-none-match").is_some();
    for len in [3, PART + 3] {
        let key = format!("of-{len}");
        place.proxy.fail_when(conditional, 1, S3Fault::Answer(501, "NotImplemented"));
        let uploaded = place.upload(&key, &contents(len), small_parts()).unwrap();
        assert_eq!(uploaded.warnings, [UploadWarning::NoConditionalWrites]);
        // Now there is an object, which is not replaced.
        place.proxy.fail_when(conditional, 1, S3Fault::Answer(501, "NotImplemented"));
        let error = place.upload(&key, &contents(len), small_parts()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::AlreadyExists), "{error}");
        place.proxy.heal();
    }
    place.is_clean();
}

#[test]
fn moto_takes_what_seaweed_takes_and_boto3_reads_it() {
    let place = Place::in_moto();
    let bytes = contents(2 * PART + 5);
    place.upload("large", &bytes, small_parts()).unwrap();
    place.upload("small", b"small", small_parts()).unwrap();
    assert!(place.get("large").unwrap() == bytes);
    assert!(place.upload("small", b"other", small_parts()).is_err());
    place.is_clean();
    for place in [place, Place::new()] {
        place.upload("for-boto3", &bytes, small_parts()).unwrap();
        let script = "import sys, boto3, hashlib\n\
                      s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='eu-west-1',\n\
                      aws_access_key_id='AKIDEXAMPLE', aws_secret_access_key='secret')\n\
                      body = s3.get_object(Bucket=sys.argv[2], Key='for-boto3', ChecksumMode='ENABLED')['Body'].read()\n\
                      sys.stdout.buffer.write(body)";
        let mut boto3 = Command::new(python());
        let output = boto3.args(["-c", script, &place.proxy.url, &place.bucket]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == bytes);
    }
}

#[test]
fn an_upload_that_somebody_else_has_aborted_says_so() {
    let place = Place::new();
    let mut upload = place.s3.upload(&place.name("aborted"), small_parts()).unwrap();
    upload.write_all(&contents(PART + 1)).unwrap();
    let target = format!("/{}/aborted?uploadId={}", place.bucket, upload.id().unwrap());
    place.plain.send("DELETE", &target, &[], b"").unwrap();
    let error = upload.complete().unwrap_err();
    assert!(place.get("aborted").is_none(), "{error}");
    place.is_clean();
}

#[test]
fn the_async_twins_work_in_the_callers_runtime() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = contents(2 * PART + 1);
    runtime.block_on(async {
        let mut upload = place.s3.upload(&place.name("async"), small_parts()).unwrap();
        upload.push_async(bytes.clone().into()).await.unwrap();
        assert_eq!(upload.complete_async().await.unwrap().parts, 3);
        let mut upload = place.s3.upload(&place.name("aborted"), small_parts()).unwrap();
        upload.push_async(bytes.clone().into()).await.unwrap();
        upload.abort_async().await.unwrap();
    });
    assert!(place.get("async").unwrap() == bytes && place.get("aborted").is_none());
    place.is_clean();
}
