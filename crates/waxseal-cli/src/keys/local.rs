//! Key files and passphrase files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use waxseal::keys::KeyFile;
use waxseal::secret::SecretBytes;

use crate::cli::Result;
use crate::cli::escape;
use crate::cli::failure::Failure;
use crate::cli::report::Reporter;

/// A passphrase has at most this many bytes.
const MAX_PASSPHRASE: usize = 1024;

/// Reads a key file.
pub(crate) fn load_key_file(path: &Path, reporter: &Reporter) -> Result<KeyFile> {
    warn_if_readable_by_others("key file", path, reporter);
    KeyFile::load(path).map_err(|error| match &error {
        // A key file that is there is not to be made anew.
        waxseal::Error::Io { source, .. } if source.kind() != ErrorKind::NotFound => {
            Failure::from(error).hint("make it readable for this user, or name another copy of it with -k")
        }
        _ => Failure::from(error).hint("`waxseal key new FILE` creates a key file"),
    })
}

/// Reads a passphrase; exactly one newline at its end is dropped.
pub(super) fn read_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    warn_if_readable_by_others("passphrase file", path, reporter);
    let failed = |error| Failure::io(format!("reading the passphrase file {}", escape::path(path)), error);
    let file = File::open(path).map_err(failed)?;
    // The buffer never grows, so that no copy of the passphrase stays behind in freed memory.
    let mut bytes = Vec::with_capacity(MAX_PASSPHRASE + 64);
    file.take(MAX_PASSPHRASE as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(SecretBytes::new(bytes))
}

/// The same to seal with: what nobody can type is warned of, while another passphrase can still be taken.
pub(super) fn read_new_passphrase(path: &Path, reporter: &Reporter) -> Result<SecretBytes> {
    let passphrase = read_passphrase(path, reporter)?;
    if let Some(what) = untypable(passphrase.expose()) {
        let name = escape::path(path);
        reporter
            .warn(&format!("the passphrase file {name} {what}; this is part of the passphrase and cannot be typed"));
    }
    Ok(passphrase)
}

/// What of a passphrase no terminal gives, though an editor may have put it there unseen.
fn untypable(passphrase: &[u8]) -> Option<&'static str> {
    const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if MARKS.iter().any(|mark| passphrase.starts_with(mark)) {
        Some("begins with a byte order mark")
    } else if passphrase.ends_with(b"\r") {
        Some("ends in CR LF, and only the LF is removed")
    } else if passphrase.iter().any(|byte| b"\r\n".contains(byte)) {
        Some("has more than one line")
    } else {
        None
    }
}

/// Warned of, not refused: Kubernetes mounts secrets with 0644.
fn warn_if_readable_by_others(what: &str, path: &Path, reporter: &Reporter) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o044 != 0 {
        let name = escape::path(path);
        reporter.warn(&format!("others may read the {what} {name} (mode {mode:04o}); run chmod 600 on it"));
    }
}
