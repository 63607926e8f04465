//! `Content-Range`: which bytes of an object an answer has.

use std::ops::Range;

/// The bytes of an answer, and the length of the whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) bytes: Range<u64>,
    pub(crate) len: u64,
}

impl ContentRange {
    /// Parses `bytes FIRST-LAST/LENGTH`. `None` for everything else, and for an impossible range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, len) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, len) = (number(first)?, number(last)?, number(len)?);
        (first <= last && last < len).then_some(Self { bytes: first..last + 1, len })
    }
}

/// Digits only: the standard library also takes a sign. S3's lengths are signed numbers of 64 bits.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= i64::MAX.unsigned_abs())
}

/// The value of a `Range` header.
pub(crate) fn header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        let parsed = ContentRange::parse("bytes 0-9/10").unwrap();
        assert_eq!(parsed, ContentRange { bytes: 0..10, len: 10 });
        for bad in [
            "",
            "bytes",
            "bytes ",
            "bytes 0-9",
            "bytes 0-9/*",
            "bytes */10",
            "bytes 0-10/10",
            "bytes 9-8/10",
            "bytes -9/10",
            "bytes 0-/10",
            "bytes +0-9/10",
            "bytes 0-9/+10",
            "bytes 0 -9/10",
            "bytes 0-9/10 ",
            "BYTES 0-9/10",
            "items 0-9/10",
            "bytes 0-9/10/11",
            "bytes 0-9-9/10",
            "bytes 0-0/0",
            "bytes 0-9/18446744073709551616",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes 0-9/9223372036854775808",
            "bytes 0x0-9/10",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in 0..i64::MAX as u64, more in 0..1_000_000_u64, rest in 0..1_000_000_u64) {
            let last = (first + more).min(i64::MAX as u64 - 1);
            let len = (last + 1 + rest).min(i64::MAX as u64);
            let parsed = ContentRange::parse(&format!("bytes {first}-{last}/{len}")).unwrap();
            prop_assert_eq!(&parsed, &ContentRange { bytes: first..last + 1, len });
            prop_assert_eq!(header(&parsed.bytes), format!("bytes={first}-{last}"));
        }

        #[test]
        fn no_text_is_believed(text in "(bytes )?[0-9*-]{0,21}-?[0-9]{0,21}/?[0-9*]{0,21}") {
            if let Some(parsed) = ContentRange::parse(&text) {
                prop_assert!(parsed.bytes.start < parsed.bytes.end && parsed.bytes.end <= parsed.len);
            }
        }
    }
}
