//! The operations of AWS that are called.

use std::fmt;

/// An operation of AWS KMS or of STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KmsOperation {
    /// STS: takes a role.
    AssumeRole,
    /// STS: takes a role with a token of an identity provider.
    AssumeRoleWithWebIdentity,
    /// Cancels the deletion of a key.
    CancelKeyDeletion,
    /// Creates an alias.
    CreateAlias,
    /// Creates a key.
    CreateKey,
    /// Opens a ciphertext of an ML-KEM key.
    Decapsulate,
    /// Opens a ciphertext of a symmetric key or an RSA key.
    Decrypt,
    /// Deletes imported key material.
    DeleteImportedKeyMaterial,
    /// Describes a key.
    DescribeKey,
    /// Disables a key.
    DisableKey,
    /// Enables a key.
    EnableKey,
    /// Encrypts a few bytes.
    Encrypt,
    /// Generates a data key.
    GenerateDataKey,
    /// STS: says whose credentials they are.
    GetCallerIdentity,
    /// Says how a key rotates.
    GetKeyRotationStatus,
    /// Gives the public key with which key material is wrapped.
    GetParametersForImport,
    /// Gives the public half of a key.
    GetPublicKey,
    /// Imports key material.
    ImportKeyMaterial,
    /// Lists the aliases of a key.
    ListAliases,
    /// Lists the materials of a key.
    ListKeyRotations,
    /// Wraps a data key for another key.
    ReEncrypt,
    /// Rotates a key now.
    RotateKeyOnDemand,
    /// Schedules the deletion of a key.
    ScheduleKeyDeletion,
    /// Makes an alias name another key.
    UpdateAlias,
}

impl KmsOperation {
    /// AWS's name of the operation (`GenerateDataKey`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AssumeRole => "AssumeRole",
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::CancelKeyDeletion => "CancelKeyDeletion",
            Self::CreateAlias => "CreateAlias",
            Self::CreateKey => "CreateKey",
            Self::Decapsulate => "Decapsulate",
            Self::Decrypt => "Decrypt",
            Self::DeleteImportedKeyMaterial => "DeleteImportedKeyMaterial",
            Self::DescribeKey => "DescribeKey",
            Self::DisableKey => "DisableKey",
            Self::EnableKey => "EnableKey",
            Self::Encrypt => "Encrypt",
            Self::GenerateDataKey => "GenerateDataKey",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::GetKeyRotationStatus => "GetKeyRotationStatus",
            Self::GetParametersForImport => "GetParametersForImport",
            Self::GetPublicKey => "GetPublicKey",
            Self::ImportKeyMaterial => "ImportKeyMaterial",
            Self::ListAliases => "ListAliases",
            Self::ListKeyRotations => "ListKeyRotations",
            Self::ReEncrypt => "ReEncrypt",
            Self::RotateKeyOnDemand => "RotateKeyOnDemand",
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::UpdateAlias => "UpdateAlias",
        }
    }

    /// The IAM action that allows it, or the actions.
    pub(super) fn action(self) -> String {
        match self {
            Self::AssumeRole | Self::AssumeRoleWithWebIdentity | Self::GetCallerIdentity => format!("sts:{self}"),
            Self::ReEncrypt => "kms:ReEncryptFrom and kms:ReEncryptTo".into(),
            operation => format!("kms:{operation}"),
        }
    }
}

impl fmt::Display for KmsOperation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
