//! AWS-LC's FIPS module: whether this build uses it, and what it then refuses.
//!
//! With the feature `fips`, everything secret is computed by that module: AES-256-GCM, HKDF, SHA-256, ML-KEM, RSA-OAEP
//! and the random numbers. What the module does not have is refused: ChaCha20-Poly1305, passphrases (Argon2id) and
//! X-Wing. The feature wins over all other backends, because Cargo unites the features of all packages in a build.

use crate::error::{Error, ProviderCause, ProviderError, Remedy, Result};

/// Whether this is a build with the FIPS module.
pub const ENABLED: bool = cfg!(feature = "fips");

/// What to do about a refusal.
const OTHER_BUILD: &str = "use a build of waxseal without the feature `fips`";

/// Name and version of the FIPS module, as it states them. `None` in a build without it.
#[must_use]
pub fn module() -> Option<String> {
    #[cfg(feature = "fips")]
    return Some(format!("AWS-LC FIPS {}", aws_lc_rs::awslc_version()));
    #[cfg(not(feature = "fips"))]
    return None;
}

/// Checks that a build with the FIPS module has it, and that it is in its FIPS mode. Everything that seals or opens
/// calls this first. The module has then passed its own integrity test, because otherwise it ends the process.
///
/// # Errors
/// [`Error::Bug`] if it is not. In a build without the feature `fips`, never.
pub fn check() -> Result<()> {
    #[cfg(feature = "fips")]
    return in_fips_mode(aws_lc_rs::try_fips_mode().is_ok());
    #[cfg(not(feature = "fips"))]
    return Ok(());
}

#[cfg(feature = "fips")]
fn in_fips_mode(it_is: bool) -> Result<()> {
    if it_is { Ok(()) } else { Err(Error::Bug("this build is for the FIPS module, which is not in its FIPS mode")) }
}

/// Whether a passphrase can seal in this build.
///
/// # Errors
/// [`Error::Setting`] in a build with the FIPS module.
pub fn check_passphrase() -> Result<()> {
    if ENABLED { Err(not_to_seal("a passphrase (Argon2id)")) } else { Ok(()) }
}

/// What is refused as a key pair.
pub(crate) const X_WING: &str = "X-Wing (X25519 with ML-KEM)";

/// Whether new key pairs can be made in this build.
pub(crate) fn check_x_wing() -> Result<()> {
    if ENABLED { Err(not_to_seal(X_WING)) } else { Ok(()) }
}

/// `what` cannot be used to seal.
pub(crate) fn not_to_seal(what: &str) -> Error {
    let message = format!("{what} is refused: this build uses only what the FIPS module has");
    Error::setting(message, Remedy::Other(format!("choose something else, or {OTHER_BUILD}")))
}

/// `what` cannot be used to open a slot. `key` is the name of the key.
pub(crate) fn not_to_open(key: &str, what: &str) -> Error {
    let message = format!("{what} is refused: this build uses only what the FIPS module has");
    Box::new(ProviderError::new(ProviderCause::Unusable, key, message).with_hint(OTHER_BUILD)).into()
}

#[cfg(feature = "fips")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_module_is_in_its_fips_mode_and_names_itself() {
        check().unwrap();
        assert!(module().unwrap().starts_with("AWS-LC FIPS "), "{:?}", module());
    }

    #[test]
    fn nothing_is_done_outside_fips_mode() {
        assert!(in_fips_mode(true).is_ok());
        assert_eq!(in_fips_mode(false).unwrap_err().kind(), Kind::Bug);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let (sealing, opening) = (not_to_seal("this"), not_to_open("key", "that"));
        assert_eq!((sealing.kind(), opening.kind()), (Kind::Usage, Kind::NoKey));
        for error in [sealing, opening] {
            assert!(format!("{:?}", error.remedy()).contains("without the feature `fips`"), "{error:?}");
        }
    }
}
