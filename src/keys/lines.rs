//! The text files that contain keys (spec 9.4): lines, comments, and one line with the key.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A key file has a few lines. A longer file is not a key file, and is not read.
const MAX_FILE: usize = 64 * 1024;

/// Reads a file, and parses it with `parse`.
pub(super) fn load<T>(path: &Path, what: &str, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let failed = |error| Error::io(format!("reading {what} {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    // The buffer never grows, so that no copy of a key remains in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE + 2));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    parse(&text).map_err(|error| match error {
        // What this build refuses is no fault of the file.
        Error::Provider(_) => error,
        _ => Error::Invalid(format!("{}: {error}", path.display())),
    })
}

/// Returns the one line that is neither empty nor a comment, or an error.
pub(super) fn only_line(text: &[u8]) -> Result<&str, &'static str> {
    if text.len() > MAX_FILE {
        return Err("it has more than 64 KiB");
    }
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| text.starts_with(mark)) {
        return Err("it starts with a byte order mark: save it as UTF-8 without one");
    }
    // A CR is part of a line end only before an LF. A comment may be in any encoding.
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(without_line_end);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let line = lines.next().ok_or("it contains no key")?;
    if lines.next().is_some() {
        return Err("it has more than one line that is not a comment");
    }
    if line.trim_ascii().len() < line.len() {
        return Err("its line has white space before or after the key: remove it");
    }
    std::str::from_utf8(line).map_err(|_| "its line is not text")
}

fn without_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line)
}

/// Parses lower-case hex digits that fill `out` exactly.
pub(super) fn parse_hex(digits: &str, out: &mut [u8]) -> Option<()> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * out.len() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(())
}

/// Appends lower-case hex digits.
pub(super) fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
}

/// Lower-case hex digits of data that is not secret.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each of `comments` becomes a line after `# `.
pub(super) fn put_comments(comments: &[&str], out: &mut Vec<u8>) {
    for comment in comments {
        out.extend_from_slice(format!("# {}\n", comment.replace(['\n', '\r'], " ")).as_bytes());
    }
}
