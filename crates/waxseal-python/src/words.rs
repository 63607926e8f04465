//! What to do about an error, in the words of this package. The text names arguments and functions, and no option of a
//! program.

use std::io;

use waxseal::Error;
use waxseal::error::{FormatError, InputChanged, Naming, ProviderError, Purpose, Remedy, RightKind, Tampered};

/// How the names of objects begin.
const STORE: &str = "s3://";

/// Whether an answer is about an object in a store, and not about a key.
pub(crate) fn is_of_store(provider: &ProviderError) -> bool {
    provider.key.starts_with(STORE)
}

/// What to do, where that is known.
pub(crate) fn hint(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Io { source, .. } => return hint_of_io(source),
        Error::Format(FormatError::NotWaxseal) => {
            "pywaxseal.encrypt_file makes sealed files; the name may be of another file"
        }
        Error::Format(FormatError::CutShort { .. }) => "copy the file again: this copy is incomplete",
        Error::Format(FormatError::Newer { .. }) => "use a newer version of pywaxseal",
        Error::Format(_) => "use another copy of the file; the program waxseal can salvage a damaged one",
        Error::Tampered(Tampered::Prelude) => "use another copy of the file; the program waxseal can repair its header",
        Error::Tampered(Tampered::Truncated { .. }) => "compare its length with the original's and copy it again",
        Error::Tampered(_) => "use another copy of the file; the program waxseal can salvage what still authenticates",
        Error::NoInput(_) => "its folder or bucket exists and has nothing of this name: check the name",
        Error::Unmet(_) => "pywaxseal.inspect shows the pairs and labels of the file",
        Error::ApiMisuse(_) | Error::Bug(_) => "this is a bug: please report it",
        _ => match (error.remedy(), error) {
            (Some(remedy), _) => return Some(of_remedy(remedy, error.provider().is_some_and(is_of_store))),
            (None, Error::NoKey(_)) => "pywaxseal.inspect shows the keys that open the file; name one with keys=",
            _ => return None,
        },
    };
    Some(hint.into())
}

fn hint_of_io(source: &io::Error) -> Option<String> {
    let inner = source.get_ref();
    if inner.is_some_and(|cause| cause.is::<InputChanged>()) {
        return Some("another program writes to it, or has replaced it: open it again when that is done".into());
    }
    match source.kind() {
        io::ErrorKind::AlreadyExists => Some("to replace it, open it with \"wb\", or pass overwrite=True".into()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space there, or write to another place".into())
        }
        _ => None,
    }
}

fn of_remedy(remedy: &Remedy, of_store: bool) -> String {
    let class = if of_store { "s3=pywaxseal.S3" } else { "kms=pywaxseal.Kms" };
    match remedy {
        Remedy::ChooseRegion { region: None } => format!("set a region: {class}(region=...), or AWS_REGION"),
        Remedy::ChooseRegion { region: Some(region) } => format!("choose its region: {class}(region={region:?})"),
        Remedy::NameProfile => format!("name a profile that exists: {class}(profile=...)"),
        Remedy::CheckSettings => "check the AWS settings: environment and profiles".into(),
        Remedy::Trust(naming) => format!("if you trust the owner of this key, {}", way(naming)),
        Remedy::SkipIdentity(naming) => format!("to avoid the call to STS, {}", way(naming)),
        Remedy::UnwrapHere => {
            "name keys that open it with keys=: the data key is then unwrapped on this machine".into()
        }
        Remedy::UseKind(RightKind::SymmetricOrPublicHalf { .. }) => {
            "use a symmetric key for encryption, or seal with the recipient file of this key".into()
        }
        other => other.to_string(),
    }
}

fn way(naming: &Naming) -> String {
    let argument = if naming.purpose == Purpose::RewrapFrom { "from_" } else { "keys" };
    match &naming.key {
        Some(key) => format!("name it: {argument}={key:?}"),
        None => format!("name the key with {argument}="),
    }
}
