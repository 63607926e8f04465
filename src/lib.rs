//! Envelope encryption of large files and streams. Each file gets its own data key, wrapped by a key service or a local
//! key. The payload follows the public standard C2SP chunked encryption. The header survives damage, and its keys can be
//! changed in place.
//!
//! # Which type do I need?
//!
//! | task | type |
//! | --- | --- |
//! | one file to another, on up to 8 cores | [`encrypt_file`], [`decrypt_file`]; [`FileOptions`] has the choices |
//! | write or read a stream | [`SealWriter`], [`OpenReader`] |
//! | read parts of a file | [`OpenReaderAt`] |
//! | pipes and streams on up to 8 cores, or your own threads | [`engine::Engine`] |
//! | seal a file from mapped memory | [`engine::Source::Mapped`], [`io::MappedFile`] |
//! | a stream or a range in a program on tokio | the module `aio` (feature `tokio`) |
//! | bytes that are in no file on this machine | [`container`]: the same without any I/O |
//! | a key in a local file | [`keys::KeyFile`] |
//! | a passphrase | [`keys::Passphrase`], [`keys::PassphraseOpener`] |
//! | a public key, which can seal but not open | [`keys::Recipient`], [`keys::Identity`] |
//! | a key in AWS KMS | the crate `waxseal-aws-kms` |
//! | sealed objects for DataFusion and others that use `object_store` | the crate `waxseal-object-store` |
//! | a key service of your own | [`keys::KeySealer`], [`keys::KeyOpener`]; `examples/own_key_service.rs` |
//! | set or require pairs and labels | [`SealOptions`], [`Demands`] |
//! | one data key for many files, to save calls to a key service | [`envelope::Batch`], [`keys::BatchOpener`], [`keys::AsyncBatchOpener`] |
//! | find out which keys open a file | [`envelope::read_front`], then [`format::Header`] |
//! | change the keys of a file | [`rewrap`] |
//! | read a damaged file | [`salvage()`] |
//! | an output file that is complete or absent | [`io::AtomicFile`] |
//!
//! Every reader authenticates each byte at its position before it returns it. At the end of a truncated file, every
//! reader fails. All errors have one type, [`enum@Error`]. Its variants say who must act.
//!
//! # From file to file
//!
//! These functions use up to 8 cores. The output file is either complete or absent. An existing file is not replaced.
//!
//! ```standalone_crate
//! use waxseal::format::Pairs;
//! use waxseal::keys::KeyFile;
//! use waxseal::{Demands, SealOptions, decrypt_file, encrypt_file};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # let folder = tempfile::tempdir()?;
//!     # std::env::set_current_dir(&folder)?;
//!     # std::fs::write("home.tar", "all that is mine")?;
//!     let key = KeyFile::generate()?; // `KeyFile::load` reads an existing key; `waxseal key new` creates one
//!     let labels = Pairs::parse(["host=db1"])?;
//!     encrypt_file("home.tar", "home.tar.wax", &[&key], &SealOptions::new().with_labels(labels.clone()))?;
//!
//!     let opened = decrypt_file("home.tar.wax", "again.tar", &[&key], &Demands::new().with_labels(labels))?;
//!     println!("{} bytes, opened by {}", opened.plaintext_len, opened.by.key);
//!     # assert_eq!(std::fs::read("again.tar")?, b"all that is mine");
//!     Ok(())
//! }
//! ```
//!
//! # A stream
//!
//! You write plaintext through any [`Write`](std::io::Write), and read it back through any [`Read`](std::io::Read).
//! Memory use is constant.
//!
//! ```
//! use std::io::{Read, Write};
//! use waxseal::keys::KeyFile;
//! use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = KeyFile::generate()?;
//!     let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::new())?;
//!     for day in 1..=3 {
//!         writeln!(writer, "day {day}: all is well")?;
//!     }
//!     let sealed = writer.finish()?; // without this call, no reader accepts the file as complete
//!
//!     let mut log = String::new();
//!     OpenReader::new(sealed.as_slice(), &[&key], &Demands::new())?.read_to_string(&mut log)?;
//!     assert!(log.ends_with("day 3: all is well\n"));
//!     Ok(())
//! }
//! ```
//!
//! # Random access
//!
//! The length is authenticated first. Then each read opens only the chunks of 16 KiB that it touches.
//!
//! ```
//! use std::io::{Cursor, Read, Seek, SeekFrom, Write};
//! use waxseal::keys::KeyFile;
//! use waxseal::{Demands, OpenReaderAt, SealOptions, SealWriter};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = KeyFile::generate()?;
//!     let mut writer = SealWriter::new(Vec::new(), &[&key], &SealOptions::new())?;
//!     for number in 0..100_000_u32 {
//!         writer.write_all(&number.to_be_bytes())?;
//!     }
//!     let sealed = Cursor::new(writer.finish()?); // a `File` works, too
//!
//!     let mut reader = OpenReaderAt::new(sealed, &[&key], &Demands::new())?;
//!     assert_eq!(reader.plaintext_len(), 400_000);
//!     reader.seek(SeekFrom::Start(4 * 77_777))?;
//!     let mut record = [0; 4];
//!     reader.read_exact(&mut record)?;
//!     assert_eq!(u32::from_be_bytes(record), 77_777);
//!     Ok(())
//! }
//! ```
//!
//! The folder `examples/` has these as programs, and one with your own key service.
//!
//! # Features
//!
//! The features `aws-lc` and `ring` are on by default. They compute the AEADs with AWS-LC and *ring*. With the feature
//! `pure-rust`, the AEADs are pure Rust, and give the same bytes. A build needs at least one of these features. Only a
//! build without `aws-lc` and `ring` needs no C compiler.
//!
//! With the feature `fips`, AWS-LC's FIPS module computes everything, and what it does not have is refused: see
//! [`fips`]. This feature wins over all others.
//!
//! The feature `tokio` adds the module `aio`, for programs on tokio.
//!
//! The library installs no signal handler, prints nothing and changes no state of the process. In this crate, only
//! [`engine`] and [`salvage()`] start threads. The module `aio` uses the threads of the caller's runtime.
//! [`encrypt_file`] and [`decrypt_file`] use the engine.

#[cfg(feature = "tokio")]
pub mod aio;
pub mod container;
mod digest;
pub mod engine;
pub mod envelope;
pub mod error;
#[cfg(unix)]
pub mod files;
pub mod fips;
pub mod format;
pub mod io;
pub mod keys;
pub mod payload;
pub mod rewrap;
pub mod salvage;
pub mod secret;
pub mod seek;
pub mod stream;

pub use envelope::{Demands, Envelope, SealOptions};
pub use error::{Error, Result};
#[cfg(unix)]
pub use files::{FileOptions, decrypt_file, encrypt_file};
pub use salvage::{SalvageOptions, SalvageReport, salvage};
pub use seek::OpenReaderAt;
pub use stream::{OpenReader, SealWriter};

#[cfg(not(any(feature = "rustcrypto", feature = "fips")))]
compile_error!("waxseal needs one of the features aws-lc (the default), ring, pure-rust and fips");

#[cfg(all(test, unix))]
#[path = "../tests/skipped/mod.rs"]
mod skipped;

/// The README's examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
