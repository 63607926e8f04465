//! Objects in S3 as input and output of waxseal.
//!
//! [`S3::object`] opens an [`Object`] with one request. It reads ranges, as a [`waxseal::io::ReadAt`], and the whole, by
//! an [`ObjectReader`] that has several ranges under way at once.

mod again;
mod client;
mod config;
mod failure;
mod fetch;
mod list;
mod name;
mod object;
mod range;
mod reader;
mod runtime;

pub use client::S3;
pub use config::{S3Config, S3Timeouts};
pub use list::{Listed, Listing};
pub use name::S3Name;
pub use object::Object;
pub use reader::{ObjectReader, ObjectStream, ReadOptions};

/// The README's example is compiled as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
