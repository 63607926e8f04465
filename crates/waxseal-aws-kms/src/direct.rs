//! A few bytes through KMS itself, without a container: the blob that `aws kms encrypt` makes.

use aws_sdk_kms::primitives::Blob;
use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::format::{KMS_WRAPPED_MAX, Pairs};
use waxseal::secret::SecretBytes;

use super::client::{Kms, KmsCall, Target};
use super::failure::{another_key, bad_answer};
use super::name::{KeyArn, KmsKeyName};
use super::seal::{answered_arn, decrypted, pairs, secret};
use super::words;

/// `kms:Encrypt` takes at most this many bytes.
pub const DIRECT_MAX: usize = 4096;
/// The ciphertexts of KMS's symmetric keys begin so. Nothing documents it, so it serves hints alone.
const BLOB_HEADS: [[u8; 5]; 2] = [[1, 2, 2, 0, 0x78], [1, 2, 3, 0, 0x78]];

/// Whether `bytes` look like what `aws kms encrypt` writes. Good for a hint, and for nothing else.
#[must_use]
pub fn looks_like_kms_blob(bytes: &[u8]) -> bool {
    bytes.len() <= KMS_WRAPPED_MAX && BLOB_HEADS.iter().any(|head| bytes.starts_with(head))
}

impl Kms {
    /// Encrypts 1 to 4096 bytes with the key itself. `context` alone is the encryption context.
    ///
    /// # Errors
    /// [`Error::Limit`] for another length; whatever KMS answers.
    pub fn direct_encrypt(&self, name: &KmsKeyName, plaintext: &SecretBytes, context: &Pairs) -> Result<Vec<u8>> {
        let len = plaintext.expose().len();
        if !(1..=DIRECT_MAX).contains(&len) {
            return Err(Error::Limit(format!("KMS encrypts 1 to {DIRECT_MAX} bytes itself, not {len}")));
        }
        let (this, name, context) = (self.clone(), name.clone(), pairs(context));
        let plaintext = SecretBytes::new(plaintext.expose().to_vec());
        self.block_on(async move {
            let Target { name, region } = this.target(&name).await?;
            let mut call = KmsCall::new("Encrypt", &name, &region);
            let request = this.client(&region).await?.encrypt().key_id(name.to_string());
            let request = request.plaintext(Blob::new(plaintext.expose())).set_encryption_context(Some(context));
            let answer = this.call_with(&mut call, plaintext.expose(), |_| &[], || request.clone().send()).await?;
            let arn = answered_arn(&call, answer.key_id.as_deref())?;
            if !name.accepts(&arn, &region) {
                return Err(another_key(&call, "is by", &arn, plaintext.expose()));
            }
            let blob = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
            if blob.is_empty() { Err(bad_answer(&call, "has no ciphertext")) } else { Ok(blob) }
        })
    }

    /// Decrypts such a blob, with the key that is named or, without a name, the one that the blob tells KMS, in
    /// the configured region. Returns the key's ARN too.
    ///
    /// Without a name the key must be of the caller's own account, by `sts:GetCallerIdentity`: whoever may have the
    /// caller use a key of his could put a blob of his own in the place of any. KMS alone knows which key it is, so a
    /// stranger's is called, and only then refused.
    ///
    /// # Errors
    /// [`ProviderCause::NotAllowed`] for a key that was not named, and is another account's;
    /// [`Error::Limit`] unless the blob has 1 to 6144 bytes; [`Error::Invalid`] without a name and a region;
    /// whatever KMS answers.
    pub fn direct_decrypt(
        &self,
        name: Option<&KmsKeyName>,
        blob: &[u8],
        context: &Pairs,
    ) -> Result<(SecretBytes, KeyArn)> {
        if !(1..=KMS_WRAPPED_MAX).contains(&blob.len()) {
            return Err(Error::Limit(format!(
                "what KMS itself encrypts has 1 to {KMS_WRAPPED_MAX} bytes, not {}",
                blob.len()
            )));
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
            // Before the call: who cannot know whose key may answer does not ask.
            let caller = match &target {
                Some(_) => None,
                None => Some(this.caller(&region).await.map_err(without_sts)?),
            };
            let key = target.as_ref().map(|target| target.name.to_string());
            let mut call = KmsCall::new("Decrypt", key.as_deref().unwrap_or("the blob's key"), &region);
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
        Error::Provider(error) => Error::Provider(Box::new(error.with_hint("without asking STS: -k KEY"))),
        other => other,
    }
}

fn of_stranger(arn: &KeyArn, own: &str) -> Error {
    let message = format!("it is a key of account {}, the credentials are of {own}", arn.account());
    let error = ProviderError::new(ProviderCause::NotAllowed, arn.to_string(), message);
    Box::new(error.with_hint(format!("if you trust it: -k {arn}"))).into()
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
