//! SHA-256 of banks, key files and fingerprints: by the FIPS module where the build has it.

/// A SHA-256 that is being computed.
pub(crate) struct Sha256(Inner);

#[cfg(not(feature = "fips"))]
type Inner = sha2::Sha256;
#[cfg(feature = "fips")]
type Inner = aws_lc_rs::digest::Context;

impl Sha256 {
    /// The hash of `bytes`.
    pub(crate) fn digest(bytes: impl AsRef<[u8]>) -> [u8; 32] {
        Self::new().chain_update(bytes).finalize()
    }

    /// Nothing was hashed so far.
    pub(crate) fn new() -> Self {
        #[cfg(not(feature = "fips"))]
        return Self(<Inner as sha2::Digest>::new());
        #[cfg(feature = "fips")]
        return Self(Inner::new(&aws_lc_rs::digest::SHA256));
    }

    /// Adds `bytes`.
    pub(crate) fn chain_update(mut self, bytes: impl AsRef<[u8]>) -> Self {
        #[cfg(not(feature = "fips"))]
        sha2::Digest::update(&mut self.0, bytes);
        #[cfg(feature = "fips")]
        self.0.update(bytes.as_ref());
        self
    }

    /// The hash.
    pub(crate) fn finalize(self) -> [u8; 32] {
        #[cfg(not(feature = "fips"))]
        return sha2::Digest::finalize(self.0).into();
        #[cfg(feature = "fips")]
        return self.0.finish().as_ref().try_into().unwrap_or_else(|_| unreachable!("SHA-256 has 32 bytes"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn gives_the_published_value() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(Sha256::digest("abc")), known);
        assert_eq!(hex(Sha256::new().chain_update("a").chain_update("bc").finalize()), known);
    }
}
