//! Objects are read as they were when they were opened, through cuts, refusals and replacements; against real stores,
//! through a proxy that fails as told.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use s3_sdk::{s3_client, s3_client_as};
use support::{PlainS3, S3_LISTER, S3_READER, S3Fault, S3Proxy, S3Request, moto_s3, shared_seaweed};
use waxseal::error::{Error, InputChanged, ProviderCause, ProviderError, Result};
use waxseal::io::ReadAt as _;
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

    fn replace(&self, content: &[u8]) {
        self.plain.put(self.name.bucket(), self.name.key(), content);
    }
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
            let expected: &[&str] = if len == 0 { &["GetObject", "HeadObject"] } else { &["GetObject"] };
            assert_eq!(opened, expected, "{url} {len}");
            assert!(read(&object).expect("the content") == place.content, "{url} {len}");
            let more = (len.saturating_sub(FRONT) as u64).div_ceil(MANY.part_len);
            assert_eq!(place.proxy.count() as u64, opened.len() as u64 + more, "{url} {len}");
            object.check_unchanged().expect("the same");
        }
    }
}
