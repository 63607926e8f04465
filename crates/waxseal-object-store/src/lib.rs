//! Wraps any [`object_store::ObjectStore`]. Its objects are sealed by waxseal, and the wrapper shows their plaintext.
//!
//! ```
//! use std::sync::Arc;
//! use object_store::memory::InMemory;
//! use object_store::path::Path;
//! use object_store::{ObjectStore, ObjectStoreExt};
//! use waxseal::keys::KeyFile;
//! use waxseal_object_store::{Keys, WaxsealStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Arc::new(KeyFile::generate()?);
//! let store = WaxsealStore::builder(Arc::new(InMemory::new())).with_keys(Keys::new().with_key(key)).build();
//! let path = Path::from("lake/part-0.parquet");
//! store.put(&path, "a hundred rows".into()).await?;
//! assert_eq!(store.get_range(&path, 2..9).await?, "hundred");
//! assert_eq!(store.head(&path).await?.size, 14);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - **Authentic bytes.** Each byte was authenticated at its position before it is returned. After an error, a stream
//!   ends. An altered, cut or swapped object gives an error, never other bytes.
//! - **Authentic lengths.** [`ObjectMeta::size`](object_store::ObjectMeta::size) of `get`, `head` and the lists is the
//!   length of the plaintext, and was authenticated. [`Sizes::Guessed`] is a choice that gives this up.
//! - **One object, never a mixture.** All bytes of one `get` or `get_ranges` are of one object. If it was replaced after
//!   its header was read, it is opened anew, once. If that happens again, the read is an error
//!   ([`InputChanged`](waxseal::error::InputChanged)).
//! - **Complete or absent.** A new object is visible after `put` or `complete`, and at no time before.
//!
//! # What is not
//!
//! - Names, the number of objects, their approximate lengths, tags and attributes are visible in the wrapped store.
//! - The content of an object is not bound to its name, so that it can be copied and renamed. Whoever can write to the
//!   wrapped store can therefore swap objects that have the same keys, and bring back an older object.
//!   [`Keys::bound_to`] prevents the swap.
//! - ETags and versions are those of the sealed objects. Two objects with the same content have different ones.
//!
//! # Operations
//!
//! | operation | requests of the wrapped store |
//! | --- | --- |
//! | `get`, first time, up to 131,144 sealed bytes | 1 |
//! | `get`, first time, longer | 3: the front, the last chunk, the range |
//! | `get`, object known | 1 |
//! | `get_ranges` | as `get`, and one for each group of ranges that are less than 1 MiB apart |
//! | `head` | 1 or 2 the first time; 1 if the object is known |
//! | `list` | those of the list, and for each object that is not known 1, or 2 at the same time |
//! | `put` | 1 |
//! | `put_multipart` | as many parts as the caller gives, or fewer |
//! | `copy`, `rename`, `delete` | those of the wrapped store; nothing is opened |
//!
//! The last chunk is asked for while the key service is called. Each object that is opened the first time costs one call
//! of its key, and each new object one. Several operations that open one object at the same time share one opening.
//! [`Builder::with_cache`] says how long an object stays known.
//!
//! **Conditions** (`if_match`, `PutMode::Create`, `PutMode::Update` and so on) are passed on to the wrapped store, as are
//! versions, attributes, tags and extensions. `object_store` has no conditions for multipart uploads: `complete` replaces
//! an object that exists.
//!
//! **Lists** show only sealed objects. Another object is an error in the list, or is left out ([`Unsealed::Skip`]).
//!
//! **Errors** of the wrapped store are passed on unchanged: `NotFound`, `AlreadyExists`, `Precondition`, `NotModified`
//! and all others. Errors of waxseal are an [`object_store::Error::Generic`], and [`cause`] finds the
//! [`waxseal::Error`] in it.
//!
//! **Threads.** More than 64 KiB are sealed and opened on the blocking threads of the caller's tokio runtime, several
//! pieces of 1 MiB at once. Outside a runtime, everything runs where it is polled.
//!
//! # Features
//!
//! `aws-lc` and `ring`, both on by default, are those of waxseal: the AEADs at hardware speed. Without them, they are
//! pure Rust.
//!
//! # Versions
//!
//! The version of this crate is that of `object_store`: 0.14 is for `object_store` 0.14, and 0.13 is for 0.13. Both have
//! the same sources.

mod builder;
mod cache;
mod get;
mod keys;
mod list;
mod multipart;
mod opened;
mod openings;
mod pin;
mod put;
mod shared;
mod source;
mod store;
mod together;
mod trouble;
mod work;

pub use builder::{Builder, Sizes, Unsealed};
pub use keys::{Keys, KeysFor};
pub use store::WaxsealStore;
pub use trouble::{ObjectError, cause};

/// The README's examples are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
