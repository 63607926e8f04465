//! Work that takes longer than a reactor should wait.

use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::Handle;
use waxseal::format::CHUNK_LEN;
use waxseal::{Error, Result};

/// Chunks that are opened or sealed in one piece of work.
pub(crate) const BATCH: usize = 64;

/// The plaintext of one piece of work, in bytes.
pub(crate) const PIECE: usize = BATCH * CHUNK_LEN;

/// Up to so many bytes, the thread of the runtime does the work itself: it takes less time than the change of threads.
pub(crate) const SHORT: usize = 4 * CHUNK_LEN;

/// More threads than this do not help one stream.
const MOST: usize = 8;

/// How many pieces of one stream are worked on at once. This bounds its memory. It is one more than there are cores: a
/// core has its next piece while the result of the last one is passed on.
pub(crate) fn at_once() -> usize {
    available_parallelism().map_or(1, NonZero::get).min(MOST) + 1
}

/// Runs what may take long on a blocking thread of the caller's runtime. Outside a runtime, it runs where it is.
pub(crate) async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or(Err(UNFINISHED)),
        Err(_) => work(),
    }
}

/// Work on `len` bytes: where it is, if there are few.
pub(crate) async fn on<T: Send + 'static>(len: usize, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if len > SHORT { off_the_reactor(work).await } else { work() }
}

/// The error for work that the runtime did not run to its end.
const UNFINISHED: Error = Error::ApiMisuse("the runtime ended before its work");
