//! Names of objects: `s3://BUCKET/KEY`.

use std::fmt;

use waxseal::error::{Error, Result};

/// The beginning of every name.
const SCHEME: &str = "s3://";
/// S3's limit for a key, in bytes of UTF-8.
const KEY_MAX: usize = 1024;
/// S3's limits for a bucket's name, in bytes.
const BUCKET_MIN: usize = 3;
const BUCKET_MAX: usize = 63;

/// The name of an object in a bucket, or the prefix of the names of several.
///
/// A key is any text of 1 to 1,024 bytes. It is taken as it is: nothing in it is decoded, and `..` means nothing. A
/// prefix may be empty. It then means all objects of the bucket.
///
/// [`Display`](fmt::Display) is for messages: characters that a terminal does not show are escaped. [`S3Name::text`] is
/// the name itself.
///
/// ```
/// use waxseal_aws_s3::S3Name;
///
/// let name = S3Name::parse("s3://backups/2026/db.wax")?;
/// assert_eq!((name.bucket(), name.key()), ("backups", "2026/db.wax"));
/// let all = S3Name::parse_prefix("s3://backups")?;
/// assert_eq!(all.to_string(), "s3://backups/");
/// assert_eq!(all.join("2026/db.wax")?, name);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct S3Name {
    bucket: String,
    key: String,
}

impl S3Name {
    /// Whether `text` begins like the name of an object, whatever follows.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// The object that `s3://BUCKET/KEY` names.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it names none.
    pub fn parse(text: &str) -> Result<Self> {
        let name = Self::parse_prefix(text)?;
        name.check_is_object()?;
        Ok(name)
    }

    /// The objects whose names begin with `s3://BUCKET/PREFIX`. The prefix may be empty. In this case, the slash may be
    /// left out, too.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot begin the name of an object.
    pub fn parse_prefix(text: &str) -> Result<Self> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| {
            Error::Invalid(format!("{:?} is not the name of an object, which is s3://BUCKET/KEY", shortened(text)))
        })?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Self::prefix(bucket, key)
    }

    /// The object `key` in `bucket`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there can be no such bucket or key.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Result<Self> {
        let name = Self::prefix(bucket, key)?;
        name.check_is_object()?;
        Ok(name)
    }

    /// The objects in `bucket` whose keys begin with `prefix`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there can be no such bucket or key.
    pub fn prefix(bucket: impl Into<String>, prefix: impl Into<String>) -> Result<Self> {
        let (bucket, key) = (bucket.into(), prefix.into());
        if let Some(why) = bucket_fault(&bucket) {
            return Err(Error::Invalid(format!("{:?} is not the name of a bucket: {why}", shortened(&bucket))));
        }
        if key.len() > KEY_MAX {
            return Err(Error::Invalid(format!("a key in S3 has at most {KEY_MAX} bytes, not {}", key.len())));
        }
        Ok(Self { bucket, key })
    }

    /// An empty key names no object.
    pub(crate) fn check_is_object(&self) -> Result<()> {
        if self.key.is_empty() {
            return Err(Error::Invalid(format!("{self} names no object in the bucket")));
        }
        Ok(())
    }

    /// The object in the same bucket whose key is this one, and `rest` after it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that is too long for a key.
    pub fn join(&self, rest: &str) -> Result<Self> {
        Self::new(self.bucket.as_str(), format!("{}{rest}", self.key))
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key, or the prefix of keys.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The rest of the key after `prefix`; `None` if the name does not begin with it.
    #[must_use]
    pub fn after(&self, prefix: &S3Name) -> Option<&str> {
        self.key.strip_prefix(prefix.key.as_str()).filter(|_| self.bucket == prefix.bucket)
    }

    /// The name itself, which [`S3Name::parse_prefix`] reads again.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{SCHEME}{}/{}", self.bucket, self.key)
    }
}

impl fmt::Display for S3Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}/", self.bucket)?;
        // The standard library knows what a terminal shows. It also escapes these three, which are harmless here.
        for piece in self.key.split_inclusive(['"', '\'', '\\']) {
            let harmless = piece.ends_with(['"', '\'', '\\']);
            let (text, last) = piece.split_at(piece.len() - usize::from(harmless));
            write!(out, "{}{last}", text.escape_debug())?;
        }
        Ok(())
    }
}

/// Why `bucket` cannot be a bucket's name. The name becomes a part of a host's name, so nothing else may pass.
fn bucket_fault(bucket: &str) -> Option<&'static str> {
    let is_part = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    if !(BUCKET_MIN..=BUCKET_MAX).contains(&bucket.len()) {
        return Some("it has 3 to 63 characters");
    }
    if !bucket.bytes().all(|byte| is_part(byte) || byte == b'-' || byte == b'.') {
        return Some("it has lower-case letters, digits, dashes and dots only");
    }
    let ends = [bucket.as_bytes()[0], bucket.as_bytes()[bucket.len() - 1]];
    if !ends.into_iter().all(is_part) || bucket.contains("..") || bucket.contains(".-") || bucket.contains("-.") {
        return Some("each of its parts begins and ends with a letter or a digit");
    }
    if bucket.parse::<std::net::Ipv4Addr>().is_ok() {
        return Some("it is an IP address");
    }
    None
}

/// A text for a message, which may be anything.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, bucket, key) in [
            ("s3://abc/d", "abc", "d"),
            ("s3://a-b.c1/d//e/", "a-b.c1", "d//e/"),
            ("s3://abc/ /../%20?x#y&+", "abc", " /../%20?x#y&+"),
            ("s3://abc/\u{e9}\n\u{202e}", "abc", "\u{e9}\n\u{202e}"),
        ] {
            let name = S3Name::parse(text).unwrap();
            assert_eq!((name.bucket(), name.key(), name.text().as_str()), (bucket, key, text));
            assert_eq!(S3Name::new(bucket, key).unwrap(), name);
        }
        for text in ["s3://abc", "s3://abc/"] {
            assert!(S3Name::parse(text).is_err());
            assert_eq!(S3Name::parse_prefix(text).unwrap().text(), "s3://abc/");
        }
    }

    #[test]
    fn what_is_no_name() {
        let long = format!("s3://{}/k", "a".repeat(64));
        for text in [
            "",
            "abc/d",
            "s3:/abc/d",
            "S3://abc/d",
            "s3:///d",
            "s3://ab/d",
            "s3://Abc/d",
            "s3://a_c/d",
            "s3://a..c/d",
            "s3://-bc/d",
            "s3://ab-/d",
            "s3://a.-c/d",
            "s3://10.0.0.1/d",
            "s3://a b/d",
            "s3://abc:80/d",
            "s3://a@bc/d",
            "s3://abc%2fd/e",
            "s3://\u{e9}bc/d",
            "https://abc/d",
            &long,
        ] {
            let error = S3Name::parse(text).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{text}: {error:?}");
        }
        assert!(S3Name::parse(&format!("s3://abc/{}", "k".repeat(1024))).is_ok());
        assert!(S3Name::parse(&format!("s3://abc/{}", "k".repeat(1025))).is_err());
        assert!(S3Name::parse(&format!("s3://abc/{}", "\u{e9}".repeat(513))).is_err());
        let error = S3Name::parse(&format!("nothing {}\u{1b}[31m", "x".repeat(10_000))).unwrap_err().to_string();
        assert!(error.len() < 300 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn messages_are_one_harmless_line() {
        let name = S3Name::new("abc", "it's \"a\" \\ caf\u{e9} \u{65e5}\n\u{1b}[31m\u{202e}\u{200b}").unwrap();
        assert_eq!(name.to_string(), "s3://abc/it's \"a\" \\ caf\u{e9} \u{65e5}\\n\\u{1b}[31m\\u{202e}\\u{200b}");
    }

    #[test]
    fn prefixes() {
        let prefix = S3Name::parse_prefix("s3://abc/a/").unwrap();
        let name = prefix.join("b/c").unwrap();
        assert_eq!(name.text(), "s3://abc/a/b/c");
        assert_eq!(name.after(&prefix), Some("b/c"));
        assert_eq!(name.after(&S3Name::parse_prefix("s3://abcd/a/").unwrap()), None);
        assert_eq!(prefix.after(&name), None);
        assert!(
            S3Name::is_meant("s3://")
                && S3Name::is_meant("S3://x")
                && !S3Name::is_meant("s3:/")
                && !S3Name::is_meant("")
        );
    }
}
