//! Sealed files for programs on tokio (feature `tokio`): [`SealWriter`] is an [`AsyncWrite`](tokio::io::AsyncWrite),
//! [`OpenReader`] is an [`AsyncRead`](tokio::io::AsyncRead), and [`RangeReader`] reads any range of whatever gives bytes
//! by range, for example an object in a store.
//!
//! All three use [`container`](crate::container), so the bytes and the promises are the same as those of the other readers
//! and writers. Sealing and opening of more than 64 KiB run on tokio's blocking threads. Several parts of 1 MiB are worked
//! on at once. Outside a runtime, everything runs where it is polled.
//!
//! Keys are asked in one of two ways. `new` takes any [`KeySealer`](crate::keys::KeySealer) or [`KeyOpener`], and asks it
//! on a blocking thread, because a passphrase takes a second of computation. A key service that answers asynchronously is
//! asked by [`Envelope::new_async`](crate::Envelope::new_async) and [`OpenReader::new_async`].

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

/// Up to so many bytes of plaintext, a thread of the runtime does the work itself: it takes less time than the change of
/// threads.
const SHORT: usize = 4 * CHUNK_LEN;

/// The error for work that the runtime did not run to its end.
const UNFINISHED: Error = Error::ApiMisuse("the runtime ended before its work");

/// Runs what may take long on a blocking thread, if there is a runtime.
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
