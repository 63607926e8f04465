//! New keys for objects in real stores: the payload stays there, and nobody's object is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/s3_place.rs"]
mod s3_place;
#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use s3_place::{Place, cause, contents, replacing, says_changed};
use support::S3Fault;
use waxseal::error::{ProviderCause, Result};
use waxseal::format::{Front, Header};
use waxseal::keys::{KeyFile, KeyOpener};
use waxseal::rewrap::{Outcome, Plan, Request, Unwrap};
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
use waxseal_aws_s3::{RewrapOptions, RewrappedObject, UploadOptions, UploadWarning};

const MIB: u64 = 1 << 20;
const LARGE: usize = 12 << 20;

/// A sealed file and its keys.
struct Sealed {
    old: KeyFile,
    new: KeyFile,
    plaintext: Vec<u8>,
    bytes: Vec<u8>,
}

impl Sealed {
    fn of(len: usize) -> Self {
        let (old, new) = (KeyFile::generate().unwrap(), KeyFile::generate().unwrap());
        let plaintext = contents(len);
        let mut writer = SealWriter::new(Vec::new(), &[&old], &SealOptions::new()).unwrap();
        writer.write_all(&plaintext).unwrap();
        let bytes = writer.finish().unwrap();
        Self { old, new, plaintext, bytes }
    }

    /// Stores it with an upload of the crate.
    fn put(&self, place: &Place, key: &str) {
        place.upload(key, &self.bytes, replacing(UploadOptions::default())).unwrap();
        place.proxy.take();
    }

    fn plan(&self, header: &Header) -> Result<Plan> {
        let to = Unwrap { openers: vec![&self.old], sealer: &self.new, target: Some(&self.new) };
        Request { to: Some(&to), ..Request::default() }.plan(header.bank())
    }

    fn rewrap(&self, place: &Place, key: &str, options: RewrapOptions) -> Result<RewrappedObject> {
        let object = place.s3.object(&place.name(key))?;
        place.s3.rewrap(&object, |header| self.plan(header), options)
    }

    /// The object has the same payload, and only the new key opens it.
    #[track_caller]
    fn is_rewrapped(&self, bytes: &[u8]) {
        assert!(opens(bytes, &self.old).is_none());
        assert!(opens(bytes, &self.new).unwrap() == self.plaintext);
        assert!(payload(bytes) == payload(&self.bytes), "the payload is the same");
    }
}

fn payload(bytes: &[u8]) -> &[u8] {
    let header = Header::read(&Front::new(bytes.to_vec())).unwrap();
    &bytes[usize::try_from(header.payload_offset()).unwrap()..]
}

fn opens(bytes: &[u8], key: &dyn KeyOpener) -> Option<Vec<u8>> {
    let mut plaintext = Vec::new();
    OpenReader::new(bytes, &[key], &Demands::default()).ok()?.read_to_end(&mut plaintext).unwrap();
    Some(plaintext)
}

/// The requests of a rewrap of a large object, sorted. The first one in a bucket also finds out about conditions.
fn requests_of_large(is_first: bool) -> Vec<&'static str> {
    let mut requests = vec![
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "GetObject",
        "GetObject",
        "GetObjectTagging",
        "HeadObject",
        "UploadPart",
        "UploadPartCopy",
    ];
    if is_first {
        requests.insert(0, "CompleteMultipartUpload");
    }
    requests
}

#[test]
fn every_size_gets_its_new_key() {
    let place = Place::new();
    let at_5_mib = (5 << 20) - 8192 - 32 - 16 * 321;
    for (number, len) in [LARGE, 0, 1000, at_5_mib - 70_000, at_5_mib, at_5_mib + 70_000].into_iter().enumerate() {
        let sealed = Sealed::of(len);
        let key = format!("of-{len}");
        sealed.put(&place, &key);
        let done = sealed.rewrap(&place, &key, RewrapOptions::default()).unwrap();
        let requests = place.proxy.take();
        let bytes = place.get(&key).unwrap();
        sealed.is_rewrapped(&bytes);
        let new = done.new.unwrap();
        assert_eq!(new.len, bytes.len() as u64);
        assert_eq!(new.etag, place.plain.head(&place.bucket, &key).header("etag").unwrap());
        assert!(new.confirmed && new.warnings.is_empty());
        assert_eq!((done.report.file_len, done.report.payload_len), (new.len, payload(&bytes).len() as u64));
        // What went through this machine.
        let (sent, received) = requests
            .iter()
            .fold((0, 0), |(sent, received), request| (sent + request.sent, received + request.received));
        assert!(sent < 6 * MIB && received < 6 * MIB, "{sent} and {received} bytes for {len}");
        assert_eq!(requests.iter().map(|request| request.sent).max(), Some(done.sent));
        let mut operations: Vec<_> = requests.iter().map(|request| request.operation()).collect();
        operations.sort_unstable();
        if len == LARGE {
            assert_eq!(operations, requests_of_large(number == 0));
            assert_eq!(done.copies, 1);
        } else if bytes.len() as u64 <= 5 * MIB {
            let reads = usize::from(bytes.len() > 131_144);
            let mut expected = vec!["GetObject"; 1 + reads];
            expected.extend(["GetObjectTagging", "HeadObject", "PutObject"]);
            assert_eq!(operations, expected, "{len}");
        } else {
            assert_eq!(operations, requests_of_large(false), "{len}");
        }
    }
    place.is_clean();
}

#[test]
fn a_small_object_as_the_first_one() {
    let place = Place::new();
    let sealed = Sealed::of(1000);
    sealed.put(&place, "small");
    sealed.rewrap(&place, "small", RewrapOptions::default()).unwrap();
    sealed.is_rewrapped(&place.get("small").unwrap());
    place.is_clean();
}

#[test]
fn nothing_is_written_if_nothing_changes() {
    let place = Place::new();
    let sealed = Sealed::of(LARGE);
    sealed.put(&place, "same");
    let object = place.s3.object(&place.name("same")).unwrap();
    let plan = |header: &Header| Request::default().plan(header.bank());
    let done = place.s3.rewrap(&object, plan, RewrapOptions::default()).unwrap();
    assert_eq!((done.report.outcome, done.new), (Outcome::Unchanged, None));
    assert_eq!(done.report.file_len, sealed.bytes.len() as u64);
    assert_eq!(place.operations(), ["GetObject"]);
}

#[test]
fn attributes_are_kept() {
    let place = Place::new();
    for (key, len) in [("small", 1000), ("large", LARGE)] {
        let sealed = Sealed::of(len);
        let headers = [
            ("content-type", "application/x-dump"),
            ("content-disposition", "attachment; filename=dump"),
            ("content-language", "de"),
            ("cache-control", "no-store"),
            ("x-amz-meta-run", "2026-11-28"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-tagging", "team=a%26b&stage=prod"),
        ];
        place.plain.put_with(&place.bucket, key, &headers, &sealed.bytes);
        sealed.rewrap(&place, key, RewrapOptions::default()).unwrap();
        let head = place.plain.head(&place.bucket, key);
        for (name, value) in &headers[..6] {
            assert_eq!(head.header(name), Some(*value), "{name} of {key}");
        }
        let tags = place.plain.send("GET", &format!("/{}/{key}?tagging", place.bucket), &[], b"").unwrap().text();
        assert!(tags.contains("<Key>team</Key><Value>a&amp;b</Value>"), "{tags}");
        assert!(tags.contains("<Key>stage</Key><Value>prod</Value>"), "{tags}");
        sealed.is_rewrapped(&place.get(key).unwrap());
    }
}

#[test]
fn an_object_that_is_replaced_or_deleted_at_any_moment_stays_as_it_is() {
    let place = Place::new();
    let (small, large) = (Sealed::of(1000), Sealed::of(LARGE));
    for (sealed, operations) in
        [(&large, &requests_of_large(false)[..]), (&small, &["GetObjectTagging", "HeadObject", "PutObject"][..])]
    {
        for operation in operations {
            for deletes in [false, true] {
                let key = format!("{operation}-{deletes}-{}", sealed.bytes.len());
                sealed.put(&place, &key);
                let object = place.s3.object(&place.name(&key)).unwrap();
                let (plain, bucket, name, watched) =
                    (place.plain.clone(), place.bucket.clone(), key.clone(), *operation);
                let act = move || {
                    if deletes { plain.delete(&bucket, &name) } else { drop(plain.put(&bucket, &name, b"new")) }
                };
                place.proxy.run_before(move |request| request.operation() == watched, act);
                let error =
                    place.s3.rewrap(&object, |header| sealed.plan(header), RewrapOptions::default()).unwrap_err();
                assert!(says_changed(&error), "{key}: {error}");
                assert_eq!(place.get(&key), (!deletes).then(|| b"new".to_vec()), "{key}");
                place.is_clean();
            }
        }
    }
}

#[test]
fn a_fault_at_any_request_is_survived() {
    let place = Place::new();
    let sealed = Sealed::of(LARGE);
    let mut operations = requests_of_large(false);
    operations.dedup();
    for operation in operations {
        for (what, fault) in [
            ("cut", S3Fault::Cut),
            ("lost answer", S3Fault::CutAnswer(None)),
            ("500", S3Fault::Answer(500, "InternalError")),
            ("500 in a 200", S3Fault::Answer(200, "InternalError")),
            ("503", S3Fault::slow_down()),
        ] {
            if what == "500 in a 200" && matches!(operation, "GetObject" | "HeadObject" | "GetObjectTagging") {
                continue;
            }
            let key = format!("{operation}-{what}");
            sealed.put(&place, &key);
            place.proxy.fail_when(move |request| request.operation() == operation, 1, fault);
            let done = sealed.rewrap(&place, &key, RewrapOptions::default()).unwrap_or_else(|e| panic!("{key}: {e}"));
            sealed.is_rewrapped(&place.get(&key).unwrap());
            if operation == "CreateMultipartUpload" && what == "lost answer" {
                assert_eq!(done.new.unwrap().warnings, [UploadWarning::UnfinishedUploadMayBeLeft]);
                let ids = place.plain.uploads(&place.bucket);
                let target = format!("/{}/CreateMultipartUpload-lost%20answer?uploadId={}", place.bucket, ids[0]);
                place.plain.send("DELETE", &target, &[], b"").unwrap();
            }
            place.is_clean();
        }
    }
}

#[test]
fn what_is_refused_leaves_the_old_object() {
    let place = Place::new();
    let sealed = Sealed::of(LARGE);
    sealed.put(&place, "old");
    for operation in
        ["GetObjectTagging", "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"]
    {
        let denied = S3Fault::Answer(403, "AccessDenied");
        place.proxy.fail_when(move |request| request.operation() == operation, 1, denied);
        let error = sealed.rewrap(&place, "old", RewrapOptions::default()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::Denied), "{operation}: {error}");
        assert!(place.get("old").unwrap() == sealed.bytes);
        place.is_clean();
    }
}

#[test]
fn a_copy_with_other_bytes_is_noticed() {
    let place = Place::new();
    let sealed = Sealed::of(LARGE);
    sealed.put(&place, "old");
    let other = |answer: &mut support::S3Answer| {
        let text = String::from_utf8(std::mem::take(&mut answer.body)).unwrap();
        let (before, rest) = text.split_once("<ChecksumCRC64NVME>").unwrap();
        let (_, after) = rest.split_once('<').unwrap();
        answer.body = format!("{before}<ChecksumCRC64NVME>AAAAAAAAAAA=<{after}").into_bytes();
        answer.head.set("Content-Length", Some(&answer.body.len().to_string()));
    };
    place.proxy.fail_when(|request| request.operation() == "UploadPartCopy", 1, S3Fault::alter(other));
    let error = sealed.rewrap(&place, "old", RewrapOptions::default()).unwrap_err();
    assert_eq!(cause(&error), Some(ProviderCause::BadAnswer), "{error}");
    assert!(place.get("old").unwrap() == sealed.bytes);
    place.is_clean();
}

#[test]
fn a_first_part_that_was_not_stored_as_it_was_sent_is_noticed() {
    let place = Place::new();
    let sealed = Sealed::of(LARGE);
    sealed.put(&place, "old");
    for (name, value) in [("x-amz-checksum-crc64nvme", Some("AAAAAAAAAAA=")), ("ETag", None)] {
        let other = move |answer: &mut support::S3Answer| answer.head.set(name, value);
        place.proxy.fail_when(|request| request.operation() == "UploadPart", 1, S3Fault::alter(other));
        let error = sealed.rewrap(&place, "old", RewrapOptions::default()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::BadAnswer), "{name}: {error}");
        assert!(place.get("old").unwrap() == sealed.bytes);
        place.is_clean();
    }
}

#[test]
fn a_store_that_ignores_conditions_is_refused_unless_that_is_allowed() {
    let place = Place::in_moto();
    for (key, len) in [("large", LARGE), ("small", 1000)] {
        let sealed = Sealed::of(len);
        sealed.put(&place, key);
        let error = sealed.rewrap(&place, key, RewrapOptions::default()).unwrap_err();
        assert_eq!(cause(&error), Some(ProviderCause::Rejected), "{error}");
        assert!(error.to_string().contains("conditions"), "{error}");
        assert!(place.get(key).unwrap() == sealed.bytes);
        place.is_clean();
        let mut options = RewrapOptions::default();
        options.allow_unconditional = true;
        let done = sealed.rewrap(&place, key, options).unwrap();
        assert_eq!(done.new.unwrap().warnings, [UploadWarning::NoConditionalWrites]);
        sealed.is_rewrapped(&place.get(key).unwrap());
        place.is_clean();
    }
}

/// SeaweedFS 4.48 compares the ETag of a multipart upload, and makes the object some time later. An overwrite in between
/// is lost, once in about a thousand attempts on a busy machine. No program can prevent that, so such an attempt counts
/// apart. Every request that makes an object has the condition.
#[test]
fn a_concurrent_overwrite_is_never_lost() {
    let place = Place::new();
    let (small, large) = (Sealed::of(1000), Sealed::of(6 << 20));
    let (mut won, mut lost, mut by_the_store) = (0, 0, 0);
    for attempt in 0..200_u64 {
        let sealed = if attempt % 4 == 0 { &large } else { &small };
        sealed.put(&place, "contested");
        let object = place.s3.object(&place.name("contested")).unwrap();
        let theirs = format!("theirs {attempt}").into_bytes();
        let put = || drop(place.plain.put(&place.bucket, "contested", &theirs));
        let rewrap = || place.s3.rewrap(&object, |header| sealed.plan(header), RewrapOptions::default());
        let result = std::thread::scope(|scope| {
            if attempt % 20 == 0 {
                let result = rewrap();
                put();
                return result;
            }
            scope.spawn(|| {
                // Over the whole time of a rewrap.
                let longest = if attempt % 4 == 0 { 120_000 } else { 15_000 };
                std::thread::sleep(Duration::from_micros(attempt.wrapping_mul(7_919) % longest));
                put();
            });
            rewrap()
        });
        match &result {
            Ok(_) => won += 1,
            Err(error) => {
                assert!(says_changed(error), "{error}");
                lost += 1;
            }
        }
        let makes = |request: &&support::S3Request| {
            ["PutObject", "CompleteMultipartUpload"].contains(&request.operation()) && request.status == Some(200)
        };
        let requests = place.proxy.take();
        let made: Vec<_> = requests.iter().filter(makes).map(support::S3Request::if_match).collect();
        assert_eq!(made, vec![Some(object.etag()); usize::from(result.is_ok())], "attempt {attempt}");
        if place.get("contested").unwrap() != theirs {
            assert_eq!(requests.iter().rfind(makes).unwrap().operation(), "CompleteMultipartUpload");
            by_the_store += 1;
        }
    }
    place.is_clean();
    assert!(won > 0 && lost > 0, "both orders happen: {won} and {lost}");
    assert!(by_the_store < 5, "{by_the_store} overwrites were lost");
}

#[test]
fn versions_are_told_and_the_old_one_keeps_the_old_key() {
    let place = Place::new();
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let answer = place.plain.send("PUT", &format!("/{}?versioning", place.bucket), &[], on).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (key, len) in [("small", 1000), ("large", LARGE)] {
        let sealed = Sealed::of(len);
        sealed.put(&place, key);
        let done = sealed.rewrap(&place, key, RewrapOptions::default()).unwrap();
        let (old, new) = (done.old_version_id.unwrap(), done.new.unwrap().version_id.unwrap());
        assert_ne!(old, new);
        let of = |version: &str| {
            place.plain.send("GET", &format!("/{}/{key}?versionId={version}", place.bucket), &[], b"").unwrap().body
        };
        assert!(of(&old) == sealed.bytes);
        sealed.is_rewrapped(&of(&new));
    }
}

/// Drops a rewrap of the object `dropped` three seconds after its start.
fn drop_a_rewrap(place: &Place, sealed: &Sealed) {
    sealed.put(place, "dropped");
    let object = place.s3.object(&place.name("dropped")).unwrap();
    let front = Front::new(sealed.bytes[..131_144].to_vec());
    let made = waxseal::rewrap::NewFront::of(&front, |header| sealed.plan(header)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let work = place.s3.rewrap_async(&object, made, RewrapOptions::default());
        assert!(tokio::time::timeout(Duration::from_secs(3), work).await.is_err());
    });
}

#[track_caller]
fn soon(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The answer to the first request of this operation comes when the rewrap was dropped.
fn late(place: &Place, operation: &'static str) {
    let fault = S3Fault::Delay(Duration::from_secs(6));
    place.proxy.fail_when(move |request| request.operation() == operation, 1, fault);
}

#[test]
fn a_rewrap_that_is_dropped_leaves_nothing() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    place.proxy.fail_when(|request| request.operation() == "UploadPartCopy", 1, S3Fault::Silence);
    drop_a_rewrap(&place, &sealed);
    soon(|| place.s3.open_uploads().is_empty());
    place.is_clean();
    assert!(place.get("dropped").unwrap() == sealed.bytes);
}

#[test]
fn a_rewrap_that_is_dropped_before_it_knows_the_id_of_its_upload_leaves_nothing() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    late(&place, "CreateMultipartUpload");
    drop_a_rewrap(&place, &sealed);
    soon(|| place.proxy.operations().contains(&"AbortMultipartUpload"));
    soon(|| place.plain.uploads(&place.bucket).is_empty());
    soon(|| place.s3.open_uploads().is_empty());
    place.is_clean();
    assert!(place.get("dropped").unwrap() == sealed.bytes);
}

#[test]
fn a_rewrap_that_is_dropped_while_it_is_being_completed_ends_one_way_or_the_other() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    // Afterwards it is known that the store checks conditions. So no rewrap asks for that any more.
    sealed.put(&place, "first");
    sealed.rewrap(&place, "first", RewrapOptions::default()).unwrap();
    late(&place, "CompleteMultipartUpload");
    drop_a_rewrap(&place, &sealed);
    assert_eq!(place.s3.undecided(), [place.name("dropped")]);
    soon(|| place.s3.undecided().is_empty());
    sealed.is_rewrapped(&place.get("dropped").unwrap());
    place.is_clean();
}

#[test]
fn a_rewrap_that_is_dropped_while_it_gives_up_leaves_nothing() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    let refused = S3Fault::Answer(400, "InvalidRequest");
    place.proxy.fail_when(|request| request.operation() == "UploadPartCopy", 1, refused);
    place.proxy.fail_when(|request| request.operation() == "AbortMultipartUpload", 1, S3Fault::Silence);
    drop_a_rewrap(&place, &sealed);
    soon(|| place.s3.open_uploads().is_empty());
    place.is_clean();
    assert!(place.get("dropped").unwrap() == sealed.bytes);
}

/// The store needs longer for its refusal than an abort waits.
#[test]
fn a_rewrap_that_is_dropped_and_then_refused_leaves_nothing() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    sealed.put(&place, "first");
    sealed.rewrap(&place, "first", RewrapOptions::default()).unwrap();
    let fault = S3Fault::Delay(Duration::from_secs(22));
    place.proxy.fail_when(|request| request.operation() == "CompleteMultipartUpload", 1, fault);
    drop_a_rewrap(&place, &sealed);
    place.upload("dropped", b"of another writer", replacing(UploadOptions::default())).unwrap();
    assert_eq!(place.s3.undecided(), [place.name("dropped")]);
    soon(|| place.s3.undecided().is_empty());
    soon(|| place.s3.open_uploads().is_empty());
    place.is_clean();
    assert!(place.get("dropped").unwrap() == b"of another writer");
}

/// S3 may store a part that was under way when its upload was aborted. So the abort is sent again.
#[test]
fn a_copy_on_its_way_at_the_drop_does_not_stay() {
    let (place, sealed) = (Place::new(), Sealed::of(LARGE));
    let fault = S3Fault::Delay(Duration::from_secs(6));
    place.proxy.fail_when(|request| request.operation() == "UploadPartCopy", 1, fault);
    drop_a_rewrap(&place, &sealed);
    soon(|| place.s3.open_uploads().is_empty());
    place.is_clean();
    let aborts = place.proxy.operations().iter().filter(|name| **name == "AbortMultipartUpload").count();
    assert_eq!(aborts, 2);
}
