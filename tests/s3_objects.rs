//! Objects are read as they were when they were opened, through cuts, refusals and replacements; against real stores,
//! through a proxy that fails as told.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::io::Read as _;
use std::ops::Range;
use std::time::Duration;

use s3_sdk::s3_client;
use support::{PlainS3, S3Answer, S3Fault, S3Proxy, S3Request, moto_s3, shared_seaweed};
use waxseal::engine::{Engine, Sink, Source, Unobserved};
use waxseal::error::{Error, InputChanged, ProviderCause, ProviderError, Result};
use waxseal::io::ReadAt as _;
use waxseal::keys::KeyFile;
use waxseal::{Demands, Envelope, SealOptions};
use waxseal_aws_s3::{Object, ReadOptions, S3, S3Name, S3Timeouts};

const FRONT: usize = 131_144;
const MIB: u64 = 1 << 20;

/// Bytes without a period that a mistake could hide in.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// An object of its own in a store, and a handle whose requests go through a proxy.
struct Place {
    proxy: S3Proxy,
    plain: PlainS3,
    s3: S3,
    name: S3Name,
    content: Vec<u8>,
}

impl Place {
    fn new(len: usize) -> Self {
        let url = &shared_seaweed().url;
        Self::at(url, PlainS3::at(url), len)
    }

    fn at(url: &str, plain: PlainS3, len: usize) -> Self {
        let name = S3Name::new(plain.new_bucket(), "a folder/object").expect("a name");
        let content = content(len);
        plain.put(name.bucket(), name.key(), &content);
        let proxy = S3Proxy::before(url);
        let times =
            S3Timeouts { answer: Duration::from_secs(20), idle: Duration::from_secs(5), ..S3Timeouts::default() };
        let s3 = S3::from_client(s3_client(&proxy.url)).with_timeouts(times);
        Self { proxy, plain, s3, name, content }
    }

    #[track_caller]
    fn open(&self) -> Object {
        self.s3.object(&self.name).expect("an object")
    }

    /// Puts other content in its place, before the first request that matches.
    fn replace_before(&self, matches: impl Fn(&S3Request) -> bool + Send + Sync + 'static, content: Option<Vec<u8>>) {
        let (plain, name) = (self.plain.clone(), self.name.clone());
        self.proxy.run_before(matches, move || match content {
            Some(content) => drop(plain.put(name.bucket(), name.key(), &content)),
            None => plain.delete(name.bucket(), name.key()),
        });
    }

    /// The ranges of the requests since the last call of this.
    fn ranges(&self) -> Vec<Range<u64>> {
        self.proxy.take().iter().filter_map(range_of).collect()
    }

    fn with_times(&self, milliseconds: u64) -> S3 {
        let time = Duration::from_millis(milliseconds);
        let patience = Duration::from_secs(20);
        self.s3.with_timeouts(S3Timeouts { answer: time, idle: time, patience, ..S3Timeouts::default() })
    }
}

fn range_of(request: &S3Request) -> Option<Range<u64>> {
    let (first, last) = request.range()?.strip_prefix("bytes=")?.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<u64>().ok()? + 1)
}

/// Whether a request is for the part that begins there.
fn starts_at(position: u64) -> impl Fn(&S3Request) -> bool + Send + Sync + 'static {
    move |request| range_of(request).is_some_and(|range| range.start == position)
}

/// Small ranges, so that an object has many.
const MANY: ReadOptions = ReadOptions { part_len: MIB, parts: 4 };

fn read(object: &Object) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    object.reader_with(MANY).read_to_end(&mut bytes).map_err(|error| Error::io("reading", error))?;
    Ok(bytes)
}

#[track_caller]
fn is_changed<T>(result: Result<T>) {
    match result {
        Err(Error::Io { source, .. }) if source.get_ref().is_some_and(|inner| inner.is::<InputChanged>()) => {}
        Err(other) => panic!("another failure: {other:?}"),
        Ok(_) => panic!("no failure"),
    }
}

#[track_caller]
fn refusal<T>(result: Result<T>) -> Box<ProviderError> {
    match result {
        Err(Error::Provider(error)) => error,
        Err(other) => panic!("another failure: {other:?}"),
        Ok(_) => panic!("no failure"),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The first request tells everything, and fetches the first bytes. A shorter object needs no other request.
#[test]
fn every_length_on_every_store() {
    let (seaweed, moto) = (&shared_seaweed().url, &moto_s3().url);
    for (url, plain) in [(seaweed, PlainS3::at(seaweed)), (moto, PlainS3::at_moto(moto))] {
        for len in [0, 1, 100, FRONT - 1, FRONT, FRONT + 1, 3_000_000] {
            let place = Place::at(url, plain.clone(), len);
            let object = place.open();
            assert_eq!(object.len(), len as u64);
            assert_eq!(
                object.etag(),
                place.plain.head(place.name.bucket(), place.name.key()).header("etag").unwrap_or("")
            );
            assert!(object.modified().is_some() && object.name() == &place.name);
            let opened = place.proxy.operations();
            let expected: &[&str] = if len == 0 { &["GetObject", "GetObject"] } else { &["GetObject"] };
            assert_eq!(opened, expected, "{url} {len}");
            assert!(read(&object).expect("the content") == place.content, "{url} {len}");
            let more = (len.saturating_sub(FRONT) as u64).div_ceil(MANY.part_len);
            assert_eq!(place.proxy.count() as u64, opened.len() as u64 + more, "{url} {len}");
            object.check_unchanged().expect("the same");
        }
    }
}

/// Where the connection is cut: before and after the request reached the store, and at every kind of byte of the answer.
#[test]
fn what_is_cut_goes_on_where_it_was_cut() {
    let place = Place::new(3_000_000);
    let part = FRONT as u64;
    let cuts = [
        (S3Fault::Cut, 0),
        (S3Fault::CutAnswer(None), 0),
        (S3Fault::CutAnswer(Some(0)), 0),
        (S3Fault::CutAnswer(Some(1)), 1),
        (S3Fault::CutAnswer(Some(70_000)), 70_000),
        (S3Fault::CutAnswer(Some(part - 1)), part - 1),
    ];
    for (fault, after) in cuts.clone() {
        place.proxy.fail([fault]);
        let object = place.open();
        let ranges = place.ranges();
        assert_eq!(ranges, [0..part, after..part]);
        assert!(read(&object).expect("the content") == place.content);
        place.proxy.take();
    }
    for (fault, after) in cuts {
        let object = place.open();
        place.proxy.take();
        place.proxy.fail_when(starts_at(part + MIB), 1, fault);
        assert!(read(&object).expect("the content") == place.content);
        let mut ranges = place.ranges();
        ranges.sort_by_key(|range| (range.start, range.end));
        ranges.retain(|range| range.end == part + 2 * MIB);
        assert_eq!(ranges, [part + MIB..part + 2 * MIB, part + MIB + after..part + 2 * MIB]);
    }
    // Again and again, in one part.
    let object = place.open();
    place.proxy.fail_when(starts_at(part), 3, S3Fault::Cut);
    place.proxy.fail_when(|request| request.range().is_some(), 9, S3Fault::CutAnswer(Some(100_000)));
    assert!(read(&object).expect("the content") == place.content);
}

#[test]
fn a_store_that_is_not_well_is_asked_again() {
    let place = Place::new(1_000_000);
    let faults = || {
        [
            S3Fault::slow_down(),
            S3Fault::Answer(500, "InternalError"),
            S3Fault::Answer(400, "RequestTimeout"),
            S3Fault::Raw(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        ]
    };
    place.proxy.fail(faults());
    let object = place.open();
    assert_eq!(place.proxy.take().len(), 5);
    place.proxy.fail(faults());
    assert!(read(&object).expect("the content") == place.content);
    assert_eq!(place.proxy.take().len(), 5);
    place.proxy.fail(faults());
    object.check_unchanged().expect("the same");
}

#[test]
fn patience_ends() {
    let place = Place::new(1_000_000);
    let object = place.open();
    let little = S3Timeouts { patience: Duration::from_secs(2), ..S3Timeouts::default() };
    let s3 = place.s3.with_timeouts(little);
    place.proxy.fail_when(|_| true, usize::MAX, S3Fault::slow_down());
    let error = refusal(s3.object(&place.name));
    assert!(error.cause == ProviderCause::Throttled && error.remedy.is_some(), "{error:?}");
    assert!((2..9).contains(&place.proxy.take().len()));
    place.proxy.heal();
    place.proxy.fail_when(|_| true, usize::MAX, S3Fault::CutAnswer(Some(10)));
    let error = refusal(run(object.read_range_async(500_000..600_000)));
    assert_eq!(error.cause, ProviderCause::Unreachable);
    assert!(error.message.contains("several times"), "{error}");
    let ranges = place.ranges();
    assert_eq!(ranges.len(), 10, "each brings a little, and too little: {ranges:?}");
    place.proxy.heal();
    place.proxy.gone(true);
    let error = refusal(place.s3.object(&place.name));
    assert_eq!((error.cause, place.proxy.take().len()), (ProviderCause::Unreachable, 3));
}

/// It is asked again after a silence too: before the answer, and in the middle of it.
#[test]
fn silence_ends() {
    let place = Place::new(1_000_000);
    let s3 = place.with_times(400);
    for fault in [S3Fault::Silence, S3Fault::Stall(0), S3Fault::Stall(70_000)] {
        place.proxy.fail([fault.clone()]);
        let object = s3.object(&place.name).expect("an object");
        place.proxy.fail([fault]);
        assert!(read(&object).expect("the content") == place.content);
        assert_eq!(place.proxy.take().len(), 4);
    }
}

/// An answer that brings a few bytes a second is never silent. It is given up all the same, at the opening and later.
#[test]
fn an_answer_that_drips_is_asked_for_again() {
    let place = Place::new(1_000_000);
    let s3 = place.with_times(400);
    let drip = || S3Fault::Drip(Duration::from_millis(40));
    place.proxy.fail([drip()]);
    let object = s3.object(&place.name).expect("an object");
    place.proxy.fail([drip()]);
    assert!(read(&object).expect("the content") == place.content);
    let ranges = place.ranges();
    assert!(ranges.len() == 4 && ranges[1].start > 0 && ranges[1].end == FRONT as u64, "{ranges:?}");
    // A store that never does better is an error.
    let little =
        S3Timeouts { idle: Duration::from_millis(400), patience: Duration::from_secs(2), ..S3Timeouts::default() };
    place.proxy.fail_when(|_| true, usize::MAX, drip());
    let object = s3.with_timeouts(little).object(&place.name);
    let error = refusal(object);
    assert_eq!(error.cause, ProviderCause::Unreachable);
    assert!(error.message.contains("bytes a second, several times"), "{error}");
    place.proxy.heal();
}

/// Whatever replaces it, and wherever: what was read before is of the old object, and then the reading fails.
#[test]
fn a_replaced_object_is_never_mixed_in() {
    let (seaweed, moto) = (&shared_seaweed().url, &moto_s3().url);
    for (url, plain) in [(seaweed, PlainS3::at(seaweed)), (moto, PlainS3::at_moto(moto))] {
        let len = 5_000_000;
        let other: Vec<u8> = content(len).iter().map(|byte| !byte).collect();
        for new in [Some(other.clone()), Some(other[..len - 1].to_vec()), Some(vec![]), None] {
            for part in [0, 2, 4] {
                let place = Place::at(url, plain.clone(), len);
                let object = place.open();
                place.replace_before(starts_at(FRONT as u64 + part * MIB), new.clone());
                let mut bytes = Vec::new();
                let mut reader = object.reader_with(ReadOptions { parts: 1, ..MANY });
                let error = reader.read_to_end(&mut bytes).expect_err("another object");
                is_changed::<()>(Err(Error::io("reading", error)));
                assert!(bytes.len() as u64 == FRONT as u64 + part * MIB && place.content.starts_with(&bytes));
                assert!(reader.read(&mut [0]).is_err(), "it fails again");
                is_changed(object.check_unchanged().map_err(|error| Error::io("checking", error)));
                is_changed(run(object.read_range_async(1_000_000..1_000_001)));
            }
        }
    }
}

/// The connection is cut, and the object is another one when the rest is asked for; while it is opened, too.
#[test]
fn replaced_between_two_attempts() {
    for later in [false, true] {
        let place = Place::new(1_000_000);
        let object = later.then(|| place.open());
        let start = if later { FRONT as u64 } else { 0 };
        place.proxy.fail_when(starts_at(start), 1, S3Fault::CutAnswer(Some(1000)));
        place.replace_before(starts_at(start + 1000), Some(content(999_999)));
        is_changed(match object {
            Some(object) => read(&object).map(drop),
            None => place.s3.object(&place.name).map(drop),
        });
    }
}

#[test]
fn positioned_reads_ask_for_what_they_need() {
    let place = Place::new(1_000_000);
    let object = place.open();
    let etag = object.etag().to_owned();
    place.proxy.take();
    let front = FRONT as u64;
    for (range, asked) in [
        (0..10, None),
        (front - 1..front, None),
        (front - 1..front + 1, Some(front..front + 1)),
        (0..1_000_000, Some(front..1_000_000)),
        (500_000..504_096, Some(500_000..504_096)),
        (999_999..2_000_000, Some(999_999..1_000_000)),
        (1_000_000..1_000_001, None),
        (u64::MAX - 1..u64::MAX, None),
        (700_000..700_000, None),
    ] {
        let mut buffer = vec![0; usize::try_from(range.end - range.start).expect("small")];
        let len = object.read_at(&mut buffer, range.start).expect("bytes");
        let expected = place.content.get(usize::try_from(range.start).expect("64 bits")..).unwrap_or_default();
        let expected = &expected[..expected.len().min(buffer.len())];
        assert!(len == expected.len() && &buffer[..len] == expected, "{range:?}");
        let requests = place.proxy.take();
        assert!(requests.iter().all(|request| request.if_match() == Some(&*etag)));
        assert_eq!(requests.iter().filter_map(range_of).collect::<Vec<_>>(), Vec::from_iter(asked), "{range:?}");
        assert_eq!(run(object.read_range_async(range.clone())).expect("bytes"), expected, "{range:?}");
        place.proxy.take();
    }
}

/// Several ranges are under way, and no more of them than was said, however slow the reader is.
#[test]
fn ranges_overlap_and_are_bounded() {
    let place = Place::new(20 << 20);
    let object = place.open();
    place.proxy.delay(Duration::from_millis(50));
    place.proxy.most_at_once();
    assert!(read(&object).expect("the content") == place.content);
    let most = place.proxy.most_at_once();
    assert!((2..=MANY.parts).contains(&most), "{most} at once");
    place.proxy.delay(Duration::ZERO);
    place.proxy.take();
    let mut reader = object.reader_with(MANY);
    let mut some = vec![0; FRONT];
    reader.read_exact(&mut some).expect("the first bytes");
    assert_eq!(place.proxy.take(), [], "they are known");
    reader.read_exact(&mut [0]).expect("a byte");
    let enough = || {
        let requests = place.proxy.requests();
        let received: u64 = requests.iter().map(|request| request.received).sum();
        (requests.len(), received)
    };
    while enough().1 < MANY.part_len * MANY.parts as u64 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Nothing more comes while nobody reads.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(enough(), (MANY.parts, MANY.part_len * MANY.parts as u64));
    drop(reader);
    assert_eq!(place.proxy.take().len(), MANY.parts);
}

/// The store, or who stands before it, lies. Nothing of it is believed, and nothing is allocated for it.
#[test]
fn answers_that_do_not_match() {
    fn header(name: &'static str, value: Option<&'static str>) -> S3Fault {
        S3Fault::alter(move |answer: &mut S3Answer| answer.head.set(name, value))
    }
    let place = Place::new(1_000_000);
    let whole = place.content.clone();
    for (fault, what) in [
        (header("ETag", None), "no ETag"),
        (header("ETag", Some("W/\"1\"")), "cannot be used"),
        (header("ETag", Some("*")), "cannot be used"),
        (header("ETag", Some("\"a\tb\"")), "cannot be used"),
        (header("Content-Range", None), "not the range"),
        (header("Content-Range", Some("bytes 0-131143/99999999999999999999")), "impossible range"),
        (header("Content-Range", Some("bytes 1-131144/1000000")), "another range"),
        (header("Content-Range", Some("bytes 0-131142/1000000")), "another range"),
        (header("Content-Range", Some("bytes 0-131143/131143")), "impossible range"),
        (header("Content-Range", Some("bytes 0-99/100")), "another range"),
        (S3Fault::alter(|answer| answer.body.push(0)), "another range"),
    ] {
        place.proxy.fail([fault]);
        let error = refusal(place.s3.object(&place.name));
        assert!(error.cause == ProviderCause::BadAnswer && error.message.contains(what), "{what}: {error}");
    }
    // A length that no store has is only a number until bytes are asked for.
    place.proxy.fail([header("Content-Range", Some("bytes 0-131143/9223372036854775807"))]);
    assert_eq!(place.open().len(), i64::MAX.unsigned_abs());
    let object = place.open();
    let moved = |answer: &mut S3Answer| {
        answer.body.clear();
        answer.body.extend([7; 100_000]);
    };
    for (fault, what) in [
        (header("ETag", None), "no ETag"),
        (header("Content-Range", None), "not the range"),
        (header("Content-Range", Some("bytes 131145-1000000/1000000")), "another range"),
        (header("Content-Range", Some("bytes 131144-999999/1000001")), "another range"),
        (header("Content-Range", Some("bytes 131144-999998/1000000")), "another range"),
        (S3Fault::alter(moved), "another length"),
        (S3Fault::alter(|answer| answer.body.push(0)), "another length"),
        (
            S3Fault::alter(|answer| {
                answer.head.set("Content-Length", None);
                answer.body.push(0);
            }),
            "more bytes",
        ),
        (
            S3Fault::alter(move |answer| {
                answer.head.first = "HTTP/1.1 200 OK".into();
                answer.head.set("Content-Range", None);
                answer.body.clone_from(&whole);
            }),
            "not the range",
        ),
    ] {
        place.proxy.fail([fault]);
        let error = refusal(run(object.read_range_async(FRONT as u64..1_000_000)));
        assert!(error.cause == ProviderCause::BadAnswer && error.message.contains(what), "{what}: {error}");
    }
    place.proxy.fail([header("ETag", Some("\"another\""))]);
    is_changed(read(&object));
    // Too few bytes, and no length that tells it: the rest is asked for.
    place.proxy.take();
    place.proxy.fail([S3Fault::alter(|answer| {
        answer.head.set("Content-Length", None);
        answer.body.truncate(300_000);
    })]);
    let bytes = run(object.read_range_async(FRONT as u64..1_000_000)).expect("the rest");
    assert!(bytes == place.content[FRONT..]);
    assert_eq!(place.ranges(), [FRONT as u64..1_000_000, FRONT as u64 + 300_000..1_000_000]);
}

/// A store without ranges can hold small objects.
#[test]
fn a_small_object_as_a_whole() {
    let place = Place::new(5000);
    place.proxy.fail([S3Fault::alter(|answer| {
        answer.head.first = "HTTP/1.1 200 OK".into();
        answer.head.set("Content-Range", None);
    })]);
    assert!(read(&place.open()).expect("the content") == place.content);
}

/// The blocking functions in the middle of a caller's runtime, and the async ones.
#[test]
fn in_the_runtime_of_a_caller() {
    let place = Place::new(5_000_000);
    run(async {
        let object = place.open();
        assert!(read(&object).expect("the content") == place.content);
        assert_eq!(object.read_at(&mut [0; 100], 4_999_950).expect("bytes"), 50);
        let object = place.s3.object_async(&place.name).await.expect("an object");
        object.check_unchanged_async().await.expect("the same");
        let mut stream = object.stream_of(100_000..4_000_000, MANY);
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await.expect("bytes") {
            bytes.extend_from_slice(&piece);
        }
        assert!(bytes == place.content[100_000..4_000_000]);
        // A call that is given up leaves the stream as it was.
        place.proxy.delay(Duration::from_millis(20));
        let (mut stream, mut bytes, mut given_up) = (object.stream(), Vec::new(), 0);
        loop {
            tokio::select! {
                piece = stream.next() => match piece.expect("bytes") {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_micros(200)) => given_up += 1,
            }
        }
        assert!(bytes == place.content && given_up > 0);
    });
    // The last handle is dropped inside a runtime.
    run(async move { drop(place) });
}

/// Sealed on this machine, opened from the store: by ranges and as a stream, with a damaged first header too.
#[test]
fn sealed_files_are_opened_from_the_store() {
    let key = KeyFile::generate().expect("a key");
    let plaintext = content(3_000_000);
    let mut sealed = Vec::new();
    let envelope = || Envelope::new(&[&key], &SealOptions::default());
    let sink = Sink::Stream(&mut sealed);
    Engine::new().seal(Source::Stream(&mut plaintext.as_slice()), sink, envelope, &Unobserved).expect("sealed");
    for damage in [None, Some(100)] {
        let place = Place::new(1);
        if let Some(at) = damage {
            sealed[at] ^= 0xff;
        }
        place.plain.put(place.name.bucket(), place.name.key(), &sealed);
        let object = place.open();
        let mut reader = object.reader_with(MANY);
        for source in [Source::At(&object), Source::Stream(&mut reader)] {
            let mut opened = Vec::new();
            let sink = Sink::Stream(&mut opened);
            Engine::new().open(source, sink, &[&key], &Demands::default(), &Unobserved).expect("opened");
            assert!(opened == plaintext, "{damage:?}");
        }
    }
}

/// The engine's caller learns that the object was replaced, whichever way it is read. No plaintext is called complete.
#[test]
fn a_sealed_file_that_is_replaced_while_it_is_opened() {
    let key = KeyFile::generate().expect("a key");
    let plaintext = content(5_000_000);
    let seal = || {
        let mut sealed = Vec::new();
        let envelope = || Envelope::new(&[&key], &SealOptions::default());
        let sink = Sink::Stream(&mut sealed);
        Engine::new().seal(Source::Stream(&mut plaintext.as_slice()), sink, envelope, &Unobserved).expect("sealed");
        sealed
    };
    let (old, new) = (seal(), seal());
    assert!(old.len() == new.len() && old != new);
    for as_stream in [true, false] {
        let place = Place::new(1);
        place.plain.put(place.name.bucket(), place.name.key(), &old);
        let object = place.open();
        place.replace_before(
            |request| range_of(request).is_some_and(|range| range.start > 3_000_000),
            Some(new.clone()),
        );
        let mut reader = object.reader_with(MANY);
        let source = if as_stream { Source::Stream(&mut reader) } else { Source::At(&object) };
        let mut opened = Vec::new();
        let result = Engine::new().open(source, Sink::Stream(&mut opened), &[&key], &Demands::default(), &Unobserved);
        is_changed(result);
        assert!(opened.len() < plaintext.len() && plaintext.starts_with(&opened));
    }
}
