//! Objects in S3 as input and output of waxseal.
//!
//! [`S3::object`] opens an [`Object`] with one request. An [`Object`] reads ranges, as a [`waxseal::io::ReadAt`]. Its
//! [`ObjectReader`] reads the whole object, with several requests at the same time. [`S3::list`] lists the objects
//! under a prefix.
//!
//! [`S3::upload`] starts an [`Upload`], which writes an object in order, completely or not at all. [`S3::rewrap`] gives
//! an object new keys. The payload stays in S3.
//!
//! Blocking functions may also be used inside an async runtime. The functions with `_async` in their names, and
//! [`ObjectStream`], are for async code in any runtime. Each handle has its own runtime with two threads, which makes
//! all requests.
//!
//! Every answer is compared with the request. Every length in it is limited before memory is allocated for it. The
//! reason is that the answer may not be from S3, and that some stores ignore parts of a request.
//!
//! Programs on tokio use [`UploadWriter`] and [`StreamReader`] with the writers and readers of [`waxseal::aio`]. An
//! [`Object`] is a [`waxseal::aio::ReadRange`].

mod again;
mod aio;
mod attempt;
mod attributes;
mod client;
mod commit;
mod config;
mod crc;
mod failure;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod list;
mod name;
mod object;
mod range;
mod reader;
mod rewrap;
mod runtime;
mod server;
mod unsigned;
mod upload;

pub use aio::{StreamReader, UploadWriter};
pub use attributes::UPLOAD_MARK;
pub use client::S3;
pub use config::{S3Config, S3Timeouts};
pub use gate::Gate;
pub use list::{Listed, Listing};
pub use name::S3Name;
pub use object::Object;
pub use reader::{ObjectReader, ObjectStream, ReadOptions};
pub use rewrap::{RewrapOptions, RewrappedObject};
pub use upload::{
    Canceller, Encryption, GROWTH, MAX_PART, MAX_PARTS, MIN_PART, NotAborted, OpenUpload, Overwrite, Step, USUAL_PART,
    Upload, UploadOptions, UploadWarning, Uploaded, buffers,
};

/// The README's example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
