//! A store that is slow, and writes down which files are read. The tests kill an executor in the middle of its work.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use datafusion::object_store::ObjectStore;
use engines::Watched;

/// Adds the name of the object to the file `log` before each request to `store`, and waits.
///
/// # Errors
/// If the file cannot be created.
pub fn watched(store: impl ObjectStore, log: &Path, wait: Duration) -> std::io::Result<Arc<dyn ObjectStore>> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    Ok(Arc::new(Watched::new(Arc::new(store)).with_hook(move |_, path| {
        // Without its line, a test would wait in vain, and say so.
        let _ = writeln!(&log, "{path}");
        // The only task of this thread is to read. The executor asks for its work in another one.
        sleep(wait);
    })))
}
