//! Objects in S3 as input and output of waxseal.
//!
//! [`S3::object`] opens an [`Object`] with one request. It reads ranges, as a [`waxseal::io::ReadAt`], and the whole, by
//! an [`ObjectReader`] that has several ranges under way at once. [`S3::list`] lists the objects under a prefix.
//!
//! [`S3::upload`] starts an [`Upload`], which writes an object in order, completely or not at all. [`S3::rewrap`] gives an
//! object new keys, and its payload stays where it is.
//!
//! Blocking functions may be used inside an async runtime. Those with `_async` in their names, and [`ObjectStream`], are
//! for async code in any runtime. All requests are made on a runtime of the handle's own, with two threads.
//!
//! Every answer is compared with what was asked for, and has a limit before anything is allocated for it: who answers
//! need not be S3, and stores differ in what they keep.
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
    Encryption, GROWTH, MAX_PART, MAX_PARTS, MIN_PART, NotAborted, OpenUpload, Overwrite, Step, USUAL_PART, Upload,
    UploadOptions, UploadWarning, Uploaded, buffers,
};

/// The README's example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
