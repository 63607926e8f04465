//! Encrypts a few bytes with KMS directly, without a container. The blobs are the same as those of `aws kms encrypt`.

use aws_sdk_kms::primitives::Blob;
use waxseal::error::{Error, Naming, ProviderCause, ProviderError, Remedy, Result};
use waxseal::format::{KMS_WRAPPED_MAX, Pairs};
use waxseal::secret::SecretBytes;
use waxseal_aws::words;

use super::client::{Kms, KmsCall, Target};
use super::failure::{another_key, bad_answer};
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;
use super::seal::{answered_arn, decrypted, pairs, secret};

/// `kms:Encrypt` encrypts at most this many bytes.
pub const DIRECT_MAX: usize = 4096;
/// The first bytes of the ciphertexts of KMS's symmetric keys. AWS does not document them, so they are used for hints
/// only.
const BLOB_HEADS: [[u8; 5]; 2] = [[1, 2, 2, 0, 0x78], [1, 2, 3, 0, 0x78]];

/// Whether `bytes` look like the output of `aws kms encrypt`. Use this for hints only.
#[must_use]
pub fn looks_like_kms_blob(bytes: &[u8]) -> bool {
    bytes.len() <= KMS_WRAPPED_MAX && BLOB_HEADS.iter().any(|head| bytes.starts_with(head))
}

impl Kms {
    /// Encrypts 1 to 4096 bytes with the key itself. The encryption context is `context` and nothing else.
    ///
    /// # Errors
    /// [`Error::Limit`] for another length; any error of KMS.
    pub fn direct_encrypt(
        &self,
        name: &KmsKeyName,
        plaintext: &SecretBytes,
        context: &Pairs,
    ) -> Result<(Vec<u8>, KeyArn)> {
        let len = plaintext.expose().len();
        if !(1..=DIRECT_MAX).contains(&len) {
            return Err(Error::Limit(format!("KMS encrypts 1 to {DIRECT_MAX} bytes directly, not {len}")));
        }
        let (this, name, context) = (self.clone(), name.clone(), pairs(context));
        let plaintext = SecretBytes::new(plaintext.expose().to_vec());
        self.block_on(async move {
            let Target { name, region } = this.target(&name).await?;
            let mut call = KmsCall::new(KmsOperation::Encrypt, &name, &region);
            let request = this.client(&region).await?.encrypt().key_id(name.to_string());
            let request = request.plaintext(Blob::new(plaintext.expose())).set_encryption_context(Some(context));
            let answer = this.call_with(&mut call, plaintext.expose(), |_| &[], || request.clone().send()).await?;
            let arn = answered_arn(&call, answer.key_id.as_deref())?;
            if !name.accepts(&arn, &region) {
                return Err(another_key(&call, "is by", &arn, plaintext.expose()));
            }
            let blob = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
            if blob.is_empty() { Err(bad_answer(&call, "has no ciphertext")) } else { Ok((blob, arn)) }
        })
    }

    /// Decrypts such a blob with the key `name`. Without a name, KMS finds the key from the blob, in the configured
    /// region. Returns the key's ARN as well.
    ///
    /// Without a name, the key must be of the caller's own account, which `sts:GetCallerIdentity` says. Otherwise an
    /// attacker could replace the blob by one of a key of the attacker's. Only KMS knows the key of a blob. A stranger's
    /// key is therefore called, and its answer refused.
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`] if `name` is `None` and the key is of another account; [`Error::Limit`] if the blob
    /// does not have 1 to 6144 bytes; [`Error::Setting`] if there is neither a name nor a region; any error of KMS.
    pub fn direct_decrypt(
        &self,
        name: Option<&KmsKeyName>,
        blob: &[u8],
        context: &Pairs,
    ) -> Result<(SecretBytes, KeyArn)> {
        if !(1..=KMS_WRAPPED_MAX).contains(&blob.len()) {
            return Err(Error::Limit(format!("a blob of KMS has 1 to {KMS_WRAPPED_MAX} bytes, not {}", blob.len())));
        }
        let (this, name, blob, context) = (self.clone(), name.cloned(), Blob::new(blob), pairs(context));
        self.block_on(async move {
            let target = match &name {
                Some(name) => Some(this.target(name).await?),
                None => None,
            };
            let region = match &target {
                Some(target) => target.region.clone(),
                None => this.any_region().await?,
            };
            // STS comes first: without the caller's account, the answer could not be checked.
            let caller = match &target {
                Some(_) => None,
                None => Some(this.caller(&region).await.map_err(without_sts)?),
            };
            let key = target.as_ref().map(|target| target.name.to_string());
            let mut call = KmsCall::new(KmsOperation::Decrypt, key.as_deref().unwrap_or("the blob's key"), &region);
            let request = this.client(&region).await?.decrypt().set_key_id(key).ciphertext_blob(blob);
            let request = request.set_encryption_context(Some(context));
            let answer = this.call_with(&mut call, &[], decrypted, || request.clone().send()).await?;
            let plaintext = SecretBytes::new(std::mem::take(&mut *secret(answer.plaintext)));
            let arn = answered_arn(&call, answer.key_id.as_deref())?;
            if let Some(caller) = caller.filter(|caller| (arn.partition(), arn.account()) != caller.owner()) {
                return Err(match words::holds(&arn.to_string(), plaintext.expose()) {
                    true => another_key(&call, "is by", &arn, plaintext.expose()),
                    false => of_stranger(&arn, caller.owner().1),
                });
            }
            match target {
                Some(target) if !target.name.accepts(&arn, &region) => {
                    Err(another_key(&call, "is by", &arn, plaintext.expose()))
                }
                _ => Ok((plaintext, arn)),
            }
        })
    }
}

fn without_sts(error: Error) -> Error {
    match error {
        Error::Provider(error) => {
            let naming = Naming::to_open(None, None);
            Error::Provider(Box::new(error.with_remedy(Remedy::SkipIdentity(naming))))
        }
        other => other,
    }
}

fn of_stranger(arn: &KeyArn, own: &str) -> Error {
    let message = format!("it is a key of account {}, but the credentials are of {own}", arn.account());
    let error = ProviderError::new(ProviderCause::NotAllowed, arn.to_string(), message);
    Box::new(error.with_remedy(Remedy::Trust(Naming::to_open(Some(arn.to_string()), None)))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs() {
        assert!(looks_like_kms_blob(&[1, 2, 2, 0, 0x78, 9, 9]) && looks_like_kms_blob(&[1, 2, 3, 0, 0x78]));
        assert!(!looks_like_kms_blob(&[1, 2, 2, 0]) && !looks_like_kms_blob(b"\x89WAX"));
        assert!(!looks_like_kms_blob(&[[1, 2, 2, 0, 0x78].as_slice(), &[0; KMS_WRAPPED_MAX]].concat()));
    }
}
