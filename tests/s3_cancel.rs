//! Uploads that another thread cancels: a call that waits ends soon, and nothing is left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/s3_place.rs"]
mod s3_place;
#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::io::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use s3_place::{PART, Place, contents, small_parts};
use support::S3Fault;
use waxseal_aws_s3::{Gate, Upload};

/// Another thread writes `len` bytes, and drops the upload. The result of the writes comes when that is done.
fn written_elsewhere(mut upload: Upload, len: usize) -> Receiver<std::io::Result<()>> {
    let (done, result) = channel();
    std::thread::spawn(move || {
        let written = upload.write_all(&contents(len));
        drop(upload);
        done.send(written).unwrap();
    });
    result
}

/// A part without an answer has minutes to get one. A call that waits for it fails as soon as the upload is cancelled.
#[test]
fn another_thread_ends_a_call_that_waits() {
    for operation in ["CreateMultipartUpload", "UploadPart"] {
        let place = Place::new();
        let fault = if operation == "UploadPart" { S3Fault::Silence } else { S3Fault::Delay(Duration::from_secs(3)) };
        let (waits, waited) = std::sync::mpsc::channel();
        place.proxy.run_before(move |request| request.operation() == operation, move || waits.send(()).unwrap());
        place.proxy.fail_when(move |request| request.operation() == operation, 100, fault);
        let upload = place.s3.upload(&place.name("cancelled"), small_parts()).unwrap();
        let canceller = upload.canceller();
        let result = written_elsewhere(upload, 8 * PART);
        waited.recv_timeout(Duration::from_secs(60)).unwrap();
        canceller.cancel();
        let written = result.recv_timeout(Duration::from_secs(40)).unwrap();
        assert!(written.unwrap_err().to_string().contains("was aborted"), "{operation}");
        place.is_clean();
        assert!(place.get("cancelled").is_none());
    }
}

/// After a cancel, no request begins an upload, although many attempts are left.
#[test]
fn an_upload_that_was_cancelled_before_it_began_does_not_begin() {
    let place = Place::new();
    let (asks, asked) = std::sync::mpsc::channel();
    place.proxy.run_before(|request| request.operation() == "HeadObject", move || asks.send(()).unwrap());
    place.proxy.fail_when(|request| request.operation() == "HeadObject", 9, S3Fault::slow_down());
    let upload = place.s3.upload(&place.name("cancelled"), small_parts()).unwrap();
    let canceller = upload.canceller();
    let result = written_elsewhere(upload, 3 * PART);
    asked.recv_timeout(Duration::from_secs(60)).unwrap();
    canceller.cancel();
    assert!(result.recv_timeout(Duration::from_secs(10)).unwrap().is_err());
    // The handle has nothing left to do, so nothing can come later.
    assert!(place.s3.abort_all(Duration::from_secs(20)).is_empty());
    assert!(!place.proxy.operations().contains(&"CreateMultipartUpload"));
}

/// An abort does not wait for the id of an upload as long as S3 may take to tell it. Nothing is left then, either.
#[test]
fn an_id_that_comes_after_the_abort_is_aborted() {
    let place = Place::new();
    let late = S3Fault::Delay(Duration::from_secs(20));
    place.proxy.fail_when(|request| request.operation() == "CreateMultipartUpload", 1, late);
    let mut upload = place.s3.upload(&place.name("late"), small_parts()).unwrap();
    let canceller = upload.canceller();
    let (waits, waited) = std::sync::mpsc::channel();
    place.proxy.run_before(|request| request.operation() == "CreateMultipartUpload", move || waits.send(()).unwrap());
    let writing = std::thread::spawn(move || {
        assert!(upload.write_all(&contents(3 * PART)).is_err());
        assert!(upload.abort().is_err(), "it has no id yet");
    });
    waited.recv_timeout(Duration::from_secs(60)).unwrap();
    canceller.cancel();
    writing.join().unwrap();
    assert_eq!(place.s3.lost_uploads(), [place.name("late")]);
    let left = place.s3.abort_all(Duration::from_millis(50));
    let words = left.iter().map(|left| (left.is_undecided, left.to_string())).collect::<Vec<_>>();
    assert!(matches!(&words[..], [(false, words)] if words.contains("without any part may be left")), "{words:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !place.proxy.operations().contains(&"AbortMultipartUpload") || !place.s3.open_uploads().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(place.s3.lost_uploads(), []);
    place.is_clean();
}

/// Lets a request pass when it is told to.
#[derive(Debug)]
struct Held {
    asked: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Gate for Held {
    fn pass(&self, step: &mut dyn FnMut()) {
        self.asked.lock().unwrap().send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        step();
    }
}

/// An upload that is dropped while its gate is asked makes no object, although the gate opens then.
#[test]
fn after_its_drop_an_upload_makes_no_object() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let keys: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for key in &keys {
        let ((asks, asked), (go, may_go)) = (channel(), channel());
        let s3 = place.s3.with_gate(Arc::new(Held { asked: Mutex::new(asks), go: Mutex::new(may_go) }));
        let mut upload = s3.upload(&place.name(key), small_parts()).unwrap();
        upload.write_all(b"content").unwrap();
        runtime.block_on(async {
            let mut complete = Box::pin(upload.complete_async());
            let begun = tokio::time::timeout(Duration::from_millis(1), &mut complete).await;
            assert!(begun.is_err(), "its gate is closed");
            asked.recv_timeout(Duration::from_secs(20)).unwrap();
            drop(complete);
            go.send(()).unwrap();
        });
    }
    assert!(place.s3.abort_all(Duration::from_secs(20)).is_empty());
    assert_eq!(place.plain.keys(&place.bucket), Vec::<String>::new());
}
