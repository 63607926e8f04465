//! Objects in S3 as input and output of waxseal.
//!
//! [`S3::object`] opens an [`Object`] with one request. It reads ranges, as a [`waxseal::io::ReadAt`], and the whole, by
//! an [`ObjectReader`] that has several ranges under way at once.
//!
//! [`S3::upload`] starts an [`Upload`], which writes an object in order, completely or not at all. [`S3::rewrap`] gives an
//! object new keys, and its payload stays where it is.

mod again;
mod attempt;
mod attributes;
mod client;
mod commit;
mod config;
mod crc;
mod failure;
mod fetch;
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
