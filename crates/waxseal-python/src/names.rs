//! The names of keys, as the program's option for keys takes them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use waxseal::error::{Error, Remedy, Result};
use waxseal_aws_kms::KmsKeyName;

const FORMS: &str = "a key file, identity or recipient file is `file:PATH`; other names are `passphrase:file=PATH`, and in \
                     AWS KMS an ARN, `alias/NAME`, a UUID or `mrk-ID`; pywaxseal.Passphrase takes a passphrase itself";

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// `file:PATH`
    File(PathBuf),
    /// `passphrase:file=PATH`
    PassphraseFile(PathBuf),
    /// A key in AWS KMS.
    Kms(KmsKeyName),
}

/// Parses the name of a key. An error does not repeat the text, which can be a key.
pub(crate) fn parse(text: &OsString) -> Result<Name> {
    let bytes = text.as_bytes();
    let path = |prefix: &[u8]| {
        let rest = bytes.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
        Some(PathBuf::from(OsString::from_vec(rest.to_vec())))
    };
    if let Some(path) = path(b"file:") {
        return Ok(Name::File(path));
    }
    if let Some(path) = path(b"passphrase:file=") {
        return Ok(Name::PassphraseFile(path));
    }
    if bytes.starts_with(b"passphrase") {
        return Err(refused("a passphrase is not taken as a text"));
    }
    match text.to_str().map(KmsKeyName::parse) {
        Some(Ok(name)) => Ok(Name::Kms(name)),
        Some(Err(error)) if ["arn:", "alias/", "mrk-"].iter().any(|start| bytes.starts_with(start.as_bytes())) => {
            Err(error)
        }
        // The name of a file is certainly not key material.
        _ if Path::new(text).is_file() => {
            Err(refused("this is the name of a file, and not of a key: write `file:` before it"))
        }
        _ => Err(refused("this is not a key's name")),
    }
}

fn refused(why: &str) -> Error {
    Error::setting(why, Remedy::Other(FORMS.into()))
}
