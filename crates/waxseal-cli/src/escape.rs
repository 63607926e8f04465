//! Text from a file or a file name is escaped before it is printed. An attacker may have chosen it to control the
//! terminal.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A file's name for messages. If the text differs from the name, it also has the name's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    text: String,
    bytes: Option<Vec<u8>>,
}

impl Name {
    /// The name of a file, or of another object whose name need not be text.
    pub(crate) fn of(name: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        let text = os(name);
        let bytes = (text.as_bytes() != name.as_bytes()).then(|| name.as_bytes().to_vec());
        Self { text, bytes }
    }

    /// A name that is not a file's: stdin, or a key's name.
    pub(crate) fn plain(name: &str) -> Self {
        Self { text: text(name), bytes: None }
    }

    /// The text for messages.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes for programs: the name in base64, if the text is not exactly the name.
    pub(crate) fn base64(&self) -> Option<String> {
        self.bytes.as_ref().map(|bytes| STANDARD.encode(bytes))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Whether a terminal may do anything except show `c`, or shows nothing for it.
fn is_hostile(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Unicode's characters that are ignored in display (`Default_Ignorable_Code_Point`), format characters (`Cf`), line
/// and paragraph separators, blank letters, and code points that are not characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}'
        | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{13442}' | '\u{16fe4}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Text on one line, with hostile characters as `\u{...}`.
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

/// The same, but line ends are kept. For our own text of several lines with foreign words in it.
pub(crate) fn lines(several: &str) -> String {
    several.split('\n').map(text).collect::<Vec<_>>().join("\n")
}

/// A file name, with bytes that are not UTF-8 as `\xNN`.
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

/// A JSON text with hostile characters as `\uNNNN`. It has the same value, and is safe on a terminal.
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

/// One word for a POSIX shell, without quotes if it needs none.
pub(crate) fn word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:=-,@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) { word.to_owned() } else { shell(word) }
}

/// One word for a POSIX shell: nothing in it is expanded.
pub(crate) fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A path as one word of a command to be pasted. `None` if the name cannot be shown as it is.
pub(crate) fn pasted(path: &Path) -> Option<String> {
    let name = path.to_str().filter(|name| !name.is_empty() && text(name) == **name)?;
    // A program takes a name with such a start for an option.
    Some(if name.starts_with('-') { word(&format!("./{name}")) } else { word(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_path_is_the_same_path() {
        for (path, word) in [
            (&b"a.tar"[..], Some("a.tar")),
            (b"a b", Some("'a b'")),
            (b"it's", Some(r"'it'\''s'")),
            (b"-x", Some("./-x")),
            (b"-x y", Some("'./-x y'")),
            (b"a\n", None),
            (b"a\xff", None),
            ("\u{202e}a".as_bytes(), None),
            (b"", None),
        ] {
            assert_eq!(pasted(Path::new(OsStr::from_bytes(path))).as_deref(), word, "{path:?}");
        }
    }

    #[test]
    fn nothing_hostile_is_left() {
        assert_eq!(text("a\u{1b}[31m\u{202e}b\n\u{9b}é漢\""), "a\\u{1b}[31m\\u{202e}b\\u{a}\\u{9b}é漢\"");
        assert_eq!(lines("a\n\tb"), "a\n\\u{9}b");
        assert_eq!(os(OsStr::from_bytes(b"a\xffb\x07")), "a\\xffb\\u{7}");
        assert_eq!(shell("it's $(x)"), r"'it'\''s $(x)'");
        assert_eq!(["file:a.key", "", "a b", "$x"].map(word), ["file:a.key", "''", "'a b'", "'$x'"]);
    }

    /// Characters that a user does not see, although they are not control characters.
    #[test]
    fn nothing_invisible_is_left() {
        for c in "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{180f}\u{200b}\u{200d}\u{200e}\u{202a}\
                  \u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff0}\u{fffb}\
                  \u{110bd}\u{13430}\u{1bca0}\u{1d159}\u{1d173}\u{e0001}\u{e0020}\u{e007f}\u{e0100}\u{e01ef}\u{ffff}\u{10fffe}"
            .chars()
        {
            assert_eq!(text(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        // Usual text stays readable: letters, marks, wide blanks, emoji, private use.
        for shown in ["é漢 ß", "e\u{301}", "\u{1f600}", "한\u{1100}\u{1161}", "\u{3000}", "\u{2801}", "\u{e000}", "ا"]
        {
            assert_eq!(text(shown), shown);
        }
    }

    #[test]
    fn a_name_keeps_its_bytes_where_the_text_is_another() {
        for (name, text, base64) in [
            (&b"plain"[..], "plain", None),
            ("漢".as_bytes(), "漢", None),
            (b"\\xff", "\\xff", None),
            (b"a\xff", "a\\xff", Some("Yf8=")),
            (b"a\n", "a\\u{a}", Some("YQo=")),
        ] {
            let name = Name::of(OsStr::from_bytes(name));
            assert_eq!((name.text(), name.base64().as_deref()), (text, base64));
        }
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
