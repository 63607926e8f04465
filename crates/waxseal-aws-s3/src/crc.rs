//! CRC64NVME, the checksum that S3 verifies for each part and for the whole object.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

/// The checksum of the bytes so far.
#[derive(Debug, Clone)]
pub(crate) struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }
}

impl Crc64 {
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of two texts, one after the other.
pub(crate) fn joined(first: u64, second: u64, second_len: u64) -> u64 {
    checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_len)
}

/// The checksum of the second of two texts. It is computed from the checksum of both, one after the other, and from
/// that of the first.
pub(crate) fn without(both: u64, first: u64, second_len: u64) -> u64 {
    joined(first, 0, second_len) ^ both
}

/// Reads what [`in_base64`] writes.
pub(crate) fn from_base64(text: &str) -> Option<u64> {
    let bytes = aws_smithy_types::base64::decode(text).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// As S3 writes it.
pub(crate) fn in_base64(crc: u64) -> String {
    aws_smithy_types::base64::encode(crc.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_algorithm() {
        let (all, first, second) = (Crc64::of(b"123456789"), Crc64::of(b"1234"), Crc64::of(b"56789"));
        assert_eq!(all, 0xAE8B_1486_0A79_9888);
        assert_eq!(joined(first, second, 5), all);
        assert_eq!(joined(first, Crc64::of(b""), 0), first);
        let mut crc = Crc64::default();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.value(), all);
        assert_eq!(in_base64(all), "rosUhgp5mIg=");
        assert_eq!(in_base64(0), "AAAAAAAAAAA=");
        assert_eq!(without(all, first, 5), second);
        assert_eq!(without(first, first, 0), Crc64::of(b""));
        assert_eq!(from_base64(&in_base64(all)), Some(all));
        assert!(from_base64("AAAA").is_none() && from_base64("!").is_none());
    }
}
