//! Sealed files for programs on tokio (feature `tokio`): [`SealWriter`] is an [`AsyncWrite`](tokio::io::AsyncWrite),
//! [`OpenReader`] is an [`AsyncRead`](tokio::io::AsyncRead), and [`RangeReader`] reads any range of a source that
//! returns bytes by range, for example an object in a store.
//!
//! All three use [`container`](crate::container), as the other readers and writers do. So the bytes and the guarantees
//! are the same. Sealing and opening of more than 64 KiB run on tokio's blocking threads. Several parts of 1 MiB are
//! worked on at once. Outside a runtime, all work is done on the thread that polls.
//!
//! There are two ways to use keys. `new` takes any [`KeySealer`](crate::keys::KeySealer) or [`KeyOpener`], and calls it
//! on a blocking thread, because a passphrase takes a second of computation.
//! [`Envelope::new_async`](crate::Envelope::new_async) and [`OpenReader::new_async`] are for key services that answer
//! asynchronously. To open many files that share a data key, use [`AsyncBatchOpener`](crate::keys::AsyncBatchOpener).

mod jobs;
mod open;
mod range;
mod seal;

pub use open::OpenReader;
pub use range::{RangeReader, ReadRange};
pub use seal::SealWriter;

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::container::{Opened, Opening};
use crate::error::{Error, Result};
use crate::format::CHUNK_LEN;
use crate::keys::KeyOpener;

/// Chunks that are sealed or opened in one piece of work.
const BATCH: usize = 64;

/// Up to this number of bytes of plaintext, a thread of the runtime does the work itself. This is faster than passing
/// it to another thread.
const SHORT: usize = 4 * CHUNK_LEN;

/// The error for work that the runtime did not run to its end.
const UNFINISHED: Error = Error::ApiMisuse("the runtime ended before its work");

/// Runs work that may take long. If there is a runtime, it runs on a blocking thread.
async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or(Err(UNFINISHED)),
        Err(_) => work(),
    }
}

/// Tries each opener on a blocking thread.
async fn open(opening: Opening, openers: Vec<Arc<dyn KeyOpener>>) -> Result<Opened> {
    off_the_reactor(move || {
        let openers: Vec<&dyn KeyOpener> = openers.iter().map(|opener| &**opener).collect();
        opening.open(&openers)
    })
    .await
}
