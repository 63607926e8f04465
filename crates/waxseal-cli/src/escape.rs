//! What came from a file or a file name is escaped before it is printed: it may have been chosen by somebody who
//! wants the terminal to show, hide or do something else.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a terminal may do something else with `c` than show it.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Text on one line: hostile characters as `\u{...}`.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same, but line ends stay: for text of several lines of which only words are foreign.
pub(crate) fn lines(several: &str) -> String {
    several.split('\n').map(text).collect::<Vec<_>>().join("\n")
}

/// A file name; bytes that are not UTF-8 as `\xNN`.
pub(crate) fn os(name: &OsStr) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        out.push_str(&text(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path, as [`os`].
pub(crate) fn path(path: &Path) -> String {
    os(path.as_os_str())
}

/// A JSON text with hostile characters as `\uNNNN`: the same value, and safe on a terminal.
pub(crate) fn json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// One word for a POSIX shell: nothing in it is expanded.
pub(crate) fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_is_left() {
        assert_eq!(text("a\u{1b}[31m\u{202e}b\n\u{9b}é漢\""), "a\\u{1b}[31m\\u{202e}b\\u{a}\\u{9b}é漢\"");
        assert_eq!(lines("a\n\tb"), "a\n\\u{9}b");
        assert_eq!(os(OsStr::from_bytes(b"a\xffb\x07")), "a\\xffb\\u{7}");
        assert_eq!(shell("it's $(x)"), r"'it'\''s $(x)'");
    }

    #[test]
    fn json_keeps_its_value() {
        let hostile = "\u{202e}\u{7f}\u{e0041}\u{9b}é";
        let line = serde_json::Value::from(hostile).to_string();
        let escaped = json(&line);
        assert!(!escaped.chars().any(is_hostile), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
    }
}
