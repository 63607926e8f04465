//! A stream is read only once. Two inputs or keys must not share one.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::Result;
use super::escape;
use super::failure::Failure;
use super::keys::KeySpec;
use super::place::Place;
use super::streams;

/// Whether several readers can share the device, as they can share `/dev/null`, `/dev/zero` and `/dev/urandom`.
#[cfg(target_os = "linux")]
fn is_shared(device: u64) -> bool {
    const MEMORY_DEVICES: u32 = 1;
    rustix::fs::major(device) == MEMORY_DEVICES
}

/// Other systems have other numbers.
#[cfg(not(target_os = "linux"))]
fn is_shared(_: u64) -> bool {
    false
}

/// A source that cannot be read twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// Stdin that is a file. It could be opened again, but the user does not expect that.
    Stdin,
    /// A FIFO or a socket.
    Pipe(u64, u64),
    /// A terminal or another device.
    Device(u64),
}

impl Stream {
    fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_fifo() || kind.is_socket() {
            Some(Self::Pipe(metadata.dev(), metadata.ino()))
        } else if kind.is_char_device() && !is_shared(metadata.rdev()) {
            Some(Self::Device(metadata.rdev()))
        } else {
            None
        }
    }

    fn stdin() -> Result<Self> {
        let metadata = streams::stdin().and_then(|stdin: File| stdin.metadata());
        let metadata = metadata.map_err(|error| Failure::io("opening the input", error))?;
        Ok(Self::of(&metadata).unwrap_or(Self::Stdin))
    }

    fn at(place: &Place) -> Result<Option<Self>> {
        match place {
            Place::Stream => Self::stdin().map(Some),
            // If the source cannot be examined, it cannot be opened either, and the error is reported then.
            Place::Path(path) => Ok(std::fs::metadata(path).ok().as_ref().and_then(Self::of)),
            // A walk takes only regular files.
            Place::Below(_) | Place::Object(_) => Ok(None),
        }
    }
}

/// Refuses a stream that is used by two of the inputs and keys.
pub(crate) fn check<'a>(inputs: &[Place], keys: impl IntoIterator<Item = &'a KeySpec>) -> Result<()> {
    let mut seen: Vec<(Stream, String)> = Vec::new();
    let mut add = |stream: Option<Stream>, what: String| {
        let Some(stream) = stream else { return Ok(()) };
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == stream) {
            let failure = Failure::usage(format!("{other} and {what} are the same stream"));
            return Err(failure.hint("a stream can be read only once: use a file for one of them"));
        }
        seen.push((stream, what));
        Ok(())
    };
    for (path, what) in keys.into_iter().filter_map(|key| key.path()) {
        add(Stream::at(&Place::input(path))?, format!("the {what} {}", escape::path(path)))?;
    }
    for input in inputs {
        // If stdin is closed, the error is reported when the input is opened.
        add(Stream::at(input).ok().flatten(), format!("the input {}", input.display()))?;
    }
    Ok(())
}
