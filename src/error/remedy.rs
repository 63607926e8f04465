//! What to do next, as a value. The library names no option and no command: a program has its own words for each.

use std::fmt;

/// What the caller, or the operator of a key service, can do about an error.
///
/// `Display` says it in words that fit any program. A program that has options or commands for it matches the variants
/// and uses its own words. Key ids, accounts and regions are as the key service writes them, and are never secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Try the same again later.
    TryLater,
    /// Set the clock of this machine.
    SetClock,
    /// Check the network, and the settings for region, proxy, certificates and endpoint.
    CheckNetwork,
    /// Check the settings of the key service.
    CheckSettings,
    /// Check the credentials: log in again, or use others.
    CheckCredentials,
    /// Set the credential again, without blanks and line ends.
    SetCredentialAgain,
    /// The role of the profile needs an MFA code: start a session, and use its credentials.
    StartSession {
        /// The profile.
        profile: String,
    },
    /// Name a profile that exists.
    NameProfile,
    /// Choose a region.
    ChooseRegion {
        /// The region to choose; `None` if it is not known.
        region: Option<String>,
    },
    /// Check the key's name, account and region.
    CheckName,
    /// Name the key by its full id: the name that was used is of another key.
    NameByFullId,
    /// Allow the caller to perform an action on the key.
    Permit {
        /// The action, or several, as the key service names them.
        action: String,
        /// Whether the permission can also depend on the encryption context.
        by_context: bool,
    },
    /// Name the key, or allow its account, if the owner of the key is to be trusted.
    Trust(Naming),
    /// Name the key, or allow its account: the caller's own account, which could not be found out, is then not needed.
    SkipIdentity(Naming),
    /// Enable the key.
    EnableKey {
        /// The key.
        key: String,
        /// Its region.
        region: String,
    },
    /// Cancel the deletion of the key before its date.
    CancelDeletion {
        /// The key.
        key: String,
        /// Its region.
        region: String,
    },
    /// Look at the state of the key.
    ShowKey {
        /// The key.
        key: String,
    },
    /// Look at the state of the key: it says when the rotation that is under way is done.
    AwaitRotation {
        /// The key.
        key: String,
    },
    /// Replace the key by a new one: it cannot rotate.
    ReplaceKey,
    /// Look up the ids of the materials of the key.
    ListMaterials {
        /// The key.
        key: String,
    },
    /// Import the key material that the key had before.
    ImportSameMaterial {
        /// The key.
        key: String,
    },
    /// Import the next key material before the rotation.
    ImportNextMaterial {
        /// The key.
        key: String,
    },
    /// Import the material as new material: the key did not have it before.
    ImportAsNew,
    /// Import the material into the primary key first, then into each replica, and there not as new material.
    ImportIntoPrimary {
        /// The primary key; `None` if it is not known.
        primary: Option<String>,
    },
    /// Create a key for imported key material.
    CreateForImport,
    /// Manage the material in the key store outside of the key service, which has it.
    ManageInKeyStore,
    /// Connect the key store outside of the key service, which has the key.
    ConnectKeyStore,
    /// Create the alias, which the new key does not have yet.
    CreateAlias {
        /// The alias.
        alias: String,
        /// The key that it is to name.
        key: String,
    },
    /// Unwrap the data key on this machine, and wrap it again for the new key.
    UnwrapHere,
    /// Use a key of the right kind.
    UseKind(RightKind),
    /// Words of a key service that has no variant here.
    Other(String),
}

/// A key that the caller can name, or whose account it can allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Naming {
    /// The key; `None` if it is not known.
    pub key: Option<String>,
    /// The key's account, if an account can be allowed in place of the key.
    pub account: Option<String>,
    /// What the key is used for.
    pub purpose: Purpose,
}

impl Naming {
    /// A key that is to open.
    #[must_use]
    pub fn to_open(key: Option<String>, account: Option<String>) -> Self {
        Self { key, account, purpose: Purpose::Open }
    }

    /// A key whose slot is to be rewrapped by the key service.
    #[must_use]
    pub fn to_rewrap(key: impl Into<String>, account: impl Into<String>) -> Self {
        Self { key: Some(key.into()), account: Some(account.into()), purpose: Purpose::RewrapFrom }
    }
}

/// What a key is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// It opens a file.
    Open,
    /// Its slot is rewrapped for another key.
    RewrapFrom,
}

/// Which kind of key a request takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RightKind {
    /// A symmetric key for encryption. The key that was named may have a public half, which seals without a request.
    SymmetricOrPublicHalf {
        /// The key that was named.
        key: String,
    },
    /// A symmetric key for encryption, or the key of the slot.
    SymmetricOrSlots,
    /// The ML-KEM key of the slot.
    MlKem,
    /// The symmetric key that was named has no public half: the key service itself seals with it.
    SymmetricByService {
        /// The key that was named.
        key: String,
    },
}

impl fmt::Display for Remedy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartSession { profile } => {
                write!(out, "start a session for the role of the profile {profile:?}, and use its credentials")
            }
            Self::ChooseRegion { region: None } => out.write_str("choose a region"),
            Self::ChooseRegion { region: Some(region) } => write!(out, "choose the region {region}"),
            Self::Permit { action, by_context } => permit(out, action, *by_context),
            Self::Trust(naming) => write!(out, "if you trust the owner of the key, {naming}"),
            Self::SkipIdentity(naming) => write!(out, "{naming}; then the caller's account is not needed"),
            Self::EnableKey { key, region } => write!(out, "enable the key {key} in {region}"),
            Self::CancelDeletion { key, region } => {
                write!(out, "cancel the deletion of the key {key} in {region} before its date")
            }
            Self::ShowKey { key } => write!(out, "look at the state of the key {key}"),
            Self::AwaitRotation { key } => {
                write!(out, "wait until the rotation is done: the state of the key {key} shows it")
            }
            Self::ListMaterials { key } => write!(out, "look up the ids of the materials of the key {key}"),
            Self::ImportSameMaterial { key } => write!(out, "import the same material again into the key {key}"),
            Self::ImportNextMaterial { key } => write!(out, "import the next material into the key {key} first"),
            Self::ImportIntoPrimary { primary } => write!(
                out,
                "import the material into {} first, then into each replica, and there not as new material",
                primary.as_deref().unwrap_or("the primary key")
            ),
            Self::CreateAlias { alias, key } => write!(out, "create the alias {alias} for the key {key}"),
            Self::UseKind(kind) => kind.fmt(out),
            Self::Other(words) => out.write_str(words),
            plain => out.write_str(plain.sentence()),
        }
    }
}

impl Remedy {
    /// The words for a remedy that has no details.
    fn sentence(&self) -> &'static str {
        match self {
            Self::TryLater => "try again later",
            Self::SetClock => "set this machine's clock",
            Self::CheckNetwork => "check the network, and the settings for region, proxy, certificates and endpoint",
            Self::CheckSettings => "check the settings of the key service",
            Self::CheckCredentials => "check the credentials: log in again, or use others",
            Self::SetCredentialAgain => "set it again, without blanks and line ends",
            Self::NameProfile => "name a profile that exists",
            Self::CheckName => "check the name, the account and the region of the key",
            Self::NameByFullId => "name the key by its full id, because the name that was used is of another key",
            Self::ReplaceKey => "replace the key by a new one, because only symmetric keys rotate",
            Self::ImportAsNew => "import it as new material, because the key did not have it before",
            Self::CreateForImport => "create a key for imported key material",
            Self::ManageInKeyStore => "manage the material in the key store that has it, outside of the key service",
            Self::ConnectKeyStore => "connect the key store that has the key, outside of the key service",
            Self::UnwrapHere => "unwrap the data key on this machine, and wrap it again for the new key",
            // All others have details.
            _ => "",
        }
    }
}

fn permit(out: &mut fmt::Formatter<'_>, action: &str, by_context: bool) -> fmt::Result {
    write!(out, "allow the caller {action} on the key, in its IAM policy and in the key policy")?;
    out.write_str(if by_context { "; these can also require an encryption context" } else { "" })
}

impl fmt::Display for Naming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(out, "name the key {key}")?,
            None => out.write_str("name the key")?,
        }
        match &self.account {
            Some(account) => write!(out, ", or allow keys of the account {account}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RightKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SymmetricOrPublicHalf { key } => {
                write!(out, "use a symmetric key for encryption, or seal with the public half of {key}, if it has one")
            }
            Self::SymmetricOrSlots => out.write_str("use a symmetric key for encryption, or the key of the slot"),
            Self::MlKem => out.write_str("use the ML-KEM key that the slot names"),
            Self::SymmetricByService { key } => {
                write!(out, "seal with {key} itself: for a symmetric key, the key service wraps the data key")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remedy_has_words_of_its_own() {
        let key = || "k".to_owned();
        let all = [
            Remedy::TryLater,
            Remedy::SetClock,
            Remedy::CheckNetwork,
            Remedy::CheckSettings,
            Remedy::CheckCredentials,
            Remedy::SetCredentialAgain,
            Remedy::StartSession { profile: key() },
            Remedy::NameProfile,
            Remedy::ChooseRegion { region: None },
            Remedy::ChooseRegion { region: Some("r".into()) },
            Remedy::CheckName,
            Remedy::NameByFullId,
            Remedy::Permit { action: "a".into(), by_context: true },
            Remedy::Permit { action: "a".into(), by_context: false },
            Remedy::Trust(Naming::to_open(Some(key()), None)),
            Remedy::Trust(Naming::to_open(Some(key()), Some("1".into()))),
            Remedy::SkipIdentity(Naming::to_open(None, None)),
            Remedy::SkipIdentity(Naming::to_rewrap("k", "1")),
            Remedy::EnableKey { key: key(), region: "r".into() },
            Remedy::CancelDeletion { key: key(), region: "r".into() },
            Remedy::ShowKey { key: key() },
            Remedy::AwaitRotation { key: key() },
            Remedy::ReplaceKey,
            Remedy::ListMaterials { key: key() },
            Remedy::ImportSameMaterial { key: key() },
            Remedy::ImportNextMaterial { key: key() },
            Remedy::ImportAsNew,
            Remedy::ImportIntoPrimary { primary: None },
            Remedy::ImportIntoPrimary { primary: Some(key()) },
            Remedy::CreateForImport,
            Remedy::ManageInKeyStore,
            Remedy::ConnectKeyStore,
            Remedy::CreateAlias { alias: "a".into(), key: key() },
            Remedy::UnwrapHere,
            Remedy::UseKind(RightKind::SymmetricOrPublicHalf { key: key() }),
            Remedy::UseKind(RightKind::SymmetricOrSlots),
            Remedy::UseKind(RightKind::MlKem),
            Remedy::UseKind(RightKind::SymmetricByService { key: key() }),
            Remedy::Other("call the operator".into()),
        ];
        let mut words: Vec<String> = all.iter().map(Remedy::to_string).collect();
        assert!(words.iter().all(|words| words.len() > 10 && !words.ends_with('.')), "{words:?}");
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all.len(), "{words:?}");
        assert_eq!(
            all[15].to_string(),
            "if you trust the owner of the key, name the key k, or allow keys of the account 1"
        );
    }
}
