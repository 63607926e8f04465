//! A bucket of a test behind a proxy, and what is asked of it, for the tests that write objects.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of test binaries")]

use std::io::Write as _;

use waxseal::Error;
use waxseal::error::{InputChanged, ProviderCause};
use waxseal_aws_s3::{MIN_PART, Overwrite, S3, S3Name, UploadOptions, Uploaded};

use crate::s3_sdk::s3_client;
use crate::support::{PlainS3, S3Proxy, moto_s3, shared_seaweed};

/// The size of the parts in these tests.
pub const PART: usize = 5 << 20;

/// A bucket behind a proxy.
pub struct Place {
    pub plain: PlainS3,
    pub proxy: S3Proxy,
    pub bucket: String,
    pub s3: S3,
}

impl Place {
    /// In SeaweedFS.
    pub fn new() -> Self {
        let seaweed = shared_seaweed();
        Self::at(&seaweed.url, seaweed.plain())
    }

    /// In moto.
    pub fn in_moto() -> Self {
        let moto = moto_s3();
        Self::at(&moto.url, PlainS3::at_moto(&moto.url))
    }

    fn at(url: &str, plain: PlainS3) -> Self {
        let proxy = S3Proxy::before(url);
        let bucket = plain.new_bucket();
        let s3 = S3::from_client(s3_client(&proxy.url));
        Self { plain, proxy, bucket, s3 }
    }

    pub fn name(&self, key: &str) -> S3Name {
        S3Name::new(self.bucket.as_str(), key).unwrap()
    }

    /// Uploads `bytes` in writes of odd sizes.
    pub fn upload(&self, key: &str, bytes: &[u8], options: UploadOptions) -> waxseal::Result<Uploaded> {
        let mut upload = self.s3.upload(&self.name(key), options)?;
        for piece in bytes.chunks(1_000_003) {
            if let Err(error) = upload.write_all(piece) {
                return Err(Error::io("writing", error));
            }
        }
        upload.complete()
    }

    /// The object; `None` if there is none.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.plain.get(&self.bucket, key)
    }

    /// Nothing of an upload is left.
    #[track_caller]
    pub fn is_clean(&self) {
        assert_eq!(self.plain.uploads(&self.bucket), Vec::<String>::new());
        assert_eq!(self.s3.open_uploads(), Vec::new());
    }

    /// The operations since the last call, sorted.
    pub fn operations(&self) -> Vec<&'static str> {
        let mut operations: Vec<_> = self.proxy.take().iter().map(|request| request.operation()).collect();
        operations.sort_unstable();
        operations
    }
}

/// Contents that differ everywhere.
pub fn contents(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Parts of 5 MiB.
pub fn small_parts() -> UploadOptions {
    let mut options = UploadOptions::default();
    options.part_size = Some(MIN_PART);
    options
}

pub fn replacing(mut options: UploadOptions) -> UploadOptions {
    options.overwrite = Overwrite::Replace;
    options
}

/// Each request is sent so often at most.
pub fn with_attempts(mut options: UploadOptions, attempts: u32) -> UploadOptions {
    options.attempts = attempts;
    options
}

pub fn cause(error: &Error) -> Option<ProviderCause> {
    if let Error::Provider(error) = error { Some(error.cause) } else { None }
}

/// Whether the error says that the object is another one by now.
pub fn says_changed(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.get_ref().is_some_and(|inner| inner.is::<InputChanged>()))
}
