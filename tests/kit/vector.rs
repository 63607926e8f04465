//! One vector: what a reader is given, what it must say, and what may come out.

use std::path::{Path, PathBuf};

use super::encode::public::{identity_line, seed};
use super::encode::{file_key, hex, key_line, sha256};

/// How opening ends (specification 1.3). `Usage` is for what the user brings: a key file, a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    Header,
    Newer,
    Demand,
    Slot,
    Commitment,
    Payload,
    Truncated,
    Usage,
}

impl Class {
    const ALL: [(Self, &'static str, u8); 9] = [
        (Self::Success, "success", 0),
        (Self::Header, "header", 3),
        (Self::Newer, "newer", 3),
        (Self::Demand, "demand", 8),
        (Self::Slot, "slot", 5),
        (Self::Commitment, "commitment", 4),
        (Self::Payload, "payload", 4),
        (Self::Truncated, "truncated", 4),
        (Self::Usage, "usage", 2),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(crate) fn exit(self) -> u8 {
        Self::ALL[self as usize].2
    }

    pub(crate) fn parse(name: &str) -> Self {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name} is no class")).0
    }
}

/// A vector: header lines in order, and the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The order in which lines are written.
const ORDER: [&str; 20] = [
    "expect",
    "exit",
    "expect-sized",
    "warning",
    "plaintext-bytes",
    "plaintext-sha256",
    "keyfile",
    "keyfile-hex",
    "passphrase",
    "passphrase-hex",
    "identity",
    "identity-hex",
    "recipient-hex",
    "shared-secret",
    "private-key",
    "data-key",
    "pair",
    "label",
    "musts",
    "comment",
];

impl Vector {
    fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        assert!(ORDER.contains(&key), "{key}");
        self.lines.retain(|(known, _)| known != key);
        self.add(key, value)
    }

    fn add(mut self, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        assert!(!value.contains(['\n', '\r']) && value.trim() == value, "{key}: {value:?}");
        self.lines.push((key.into(), value));
        self.lines.sort_by_key(|(key, _)| ORDER.iter().position(|known| known == key));
        self
    }

    /// A vector that is to fail, and must give nothing.
    pub(crate) fn fails(name: &str, class: Class, body: Vec<u8>) -> Self {
        let vector = Self { name: name.into(), lines: Vec::new(), body };
        vector.set("expect", class.name()).set("exit", class.exit().to_string())
    }

    /// A vector that is to give `plaintext`.
    pub(crate) fn opens(name: &str, plaintext: &[u8], body: Vec<u8>) -> Self {
        Self::fails(name, Class::Success, body).gives(plaintext)
    }

    /// What comes out before the failure.
    pub(crate) fn gives(self, plaintext: &[u8]) -> Self {
        let hash = hex(&sha256(plaintext));
        self.set("plaintext-bytes", plaintext.len().to_string()).set("plaintext-sha256", hash)
    }

    pub(crate) fn exit(self, code: u8) -> Self {
        self.set("exit", code.to_string())
    }

    /// What a reader may say instead that looks at the file's size first.
    pub(crate) fn sized(self, class: Class) -> Self {
        self.set("expect-sized", class.name())
    }

    pub(crate) fn warns(self, warning: &str) -> Self {
        self.add("warning", warning)
    }

    pub(crate) fn key(self, n: u8) -> Self {
        self.add("keyfile", key_line(&file_key(n)))
    }

    /// Identity number `n`.
    pub(crate) fn identity(self, n: u8) -> Self {
        self.add("identity", identity_line(&seed(n)))
    }

    pub(crate) fn identity_text(self, text: impl AsRef<[u8]>) -> Self {
        self.add("identity-hex", hex(text.as_ref()))
    }

    /// A recipient file, which a writer reads before anything else.
    pub(crate) fn recipient_text(self, text: impl AsRef<[u8]>) -> Self {
        self.add("recipient-hex", hex(text.as_ref()))
    }

    /// What a key service answers for the encapsulation of the slot with this key id.
    pub(crate) fn secret(self, secret: &[u8], id: &str) -> Self {
        self.add("shared-secret", format!("{} {id}", hex(secret)))
    }

    /// The private key that the key service holds.
    pub(crate) fn private(self, key: &[u8], id: &str) -> Self {
        self.add("private-key", format!("{} {id}", hex(key)))
    }

    pub(crate) fn key_text(self, text: impl AsRef<[u8]>) -> Self {
        self.add("keyfile-hex", hex(text.as_ref()))
    }

    pub(crate) fn pass(self, phrase: impl AsRef<[u8]>) -> Self {
        match std::str::from_utf8(phrase.as_ref()) {
            Ok(text) if text.trim() == text && !text.is_empty() => self.add("passphrase", text),
            _ => self.add("passphrase-hex", hex(phrase.as_ref())),
        }
    }

    /// What a key service answers for the slot with this key id.
    pub(crate) fn data_key(self, key: &[u8], id: &str) -> Self {
        self.add("data-key", format!("{} {id}", hex(key)))
    }

    pub(crate) fn pair(self, demand: &str) -> Self {
        self.add("pair", demand)
    }

    pub(crate) fn label(self, demand: &str) -> Self {
        self.add("label", demand)
    }

    /// Tags of the specification that the vector is about.
    pub(crate) fn musts(self, tags: &str) -> Self {
        self.set("musts", tags)
    }

    pub(crate) fn says(self, comment: &str) -> Self {
        self.set("comment", comment)
    }

    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn one(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    pub(crate) fn expected(&self) -> Class {
        Class::parse(self.one("expect").unwrap())
    }

    pub(crate) fn expected_exit(&self) -> u8 {
        self.one("exit").unwrap().parse().unwrap()
    }

    /// Whether a reader that knows the file's size may end in `class`.
    pub(crate) fn may_end_in(&self, class: Class) -> bool {
        class == self.expected() || self.one("expect-sized").is_some_and(|name| class == Class::parse(name))
    }

    /// Length and SHA-256 of what may come out.
    pub(crate) fn allowed(&self) -> (usize, String) {
        match (self.one("plaintext-bytes"), self.one("plaintext-sha256")) {
            (Some(len), Some(hash)) => (len.parse().unwrap(), hash.into()),
            _ => (0, hex(&sha256(b""))),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.lines {
            out.extend_from_slice(format!("{key}: {value}\n").as_bytes());
        }
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&self.body, 10);
        let smaller = packed.len() < self.body.len();
        out.extend_from_slice(if smaller { b"compressed: zlib\n\n" } else { b"\n" });
        out.extend_from_slice(if smaller { &packed } else { &self.body });
        out
    }

    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Self {
        let split = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let (head, body) = (std::str::from_utf8(&bytes[..split]).unwrap(), &bytes[split + 2..]);
        let split = |line: &str| {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line:?}"));
            (key.to_owned(), value.to_owned())
        };
        let mut lines: Vec<_> = head.lines().map(split).collect();
        let packed = lines.iter().any(|(key, _)| key == "compressed");
        lines.retain(|(key, _)| key != "compressed");
        let body = if packed { miniz_oxide::inflate::decompress_to_vec_zlib(body).unwrap() } else { body.to_vec() };
        Self { name: name.into(), lines, body }
    }
}

/// The folder of the kit.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testkit")
}

/// All vectors of the folder, by name. Files with a dot in their name are not vectors.
pub(crate) fn read_folder() -> Vec<Vector> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.contains('.')).collect();
    names.sort();
    names.iter().map(|name| Vector::parse(name, &std::fs::read(folder().join(name)).unwrap())).collect()
}
