//! Sealing: one `GenerateDataKey` for each file, and one `Encrypt` for each further key.

use std::collections::HashMap;

use aws_sdk_kms::operation::decrypt::DecryptOutput;
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use waxseal::error::Result;
use waxseal::format::{Binding, KMS_WRAPPED_MAX, Pairs, Slot, SlotKind};
use waxseal::keys::{AsyncKeySealer, BoxFuture, KeySealer};
use waxseal::secret::DataKey;
use zeroize::Zeroizing;

use super::client::{Kms, KmsCall, Target};
use super::failure::{another_key, bad_answer};
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;

/// The pair that names the data key in every audit record.
const DATA_KEY_ID: &str = "waxseal:data-key-id";

/// A key in KMS that seals.
#[derive(Clone)]
pub struct KmsKey {
    kms: Kms,
    name: KmsKeyName,
}

impl KmsKey {
    /// The key that `name` names. Calls [`Kms::warm_up`].
    #[must_use]
    pub fn new(kms: &Kms, name: KmsKeyName) -> Self {
        kms.warm_up();
        Self { kms: kms.clone(), name }
    }

    /// The async version of [`KeySealer::generate`], for any runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn generate_async(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let (this, context) = (self.clone(), context(binding));
        self.kms.on_worker(async move { this.generate_data_key(context).await }).await
    }

    /// The async version of [`KeySealer::wrap`], for any runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn wrap_async(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        let (this, data_key, context) = (self.clone(), DataKey::from_slice(data_key.expose())?, context(binding));
        self.kms.on_worker(async move { this.encrypt(&data_key, context).await }).await
    }

    async fn generate_data_key(&self, context: HashMap<String, String>) -> Result<(DataKey, Slot)> {
        let Target { name, region } = self.kms.target(&self.name).await?;
        let mut call = KmsCall::new(KmsOperation::GenerateDataKey, &name, &region);
        let request = self.kms.client(&region).await?.generate_data_key().key_id(name.to_string());
        let request = request.key_spec(DataKeySpec::Aes256).set_encryption_context(Some(context));
        let answer = self.kms.call_with(&mut call, &[], generated, || request.clone().send()).await?;
        // The secret is taken first. It is then wiped even if the rest of the answer is wrong.
        let plaintext = secret(answer.plaintext);
        let slot = slot(&call, &name, answer.key_id.as_deref(), answer.ciphertext_blob, &plaintext)?;
        let data_key = DataKey::from_slice(&plaintext).map_err(|_| bad_answer(&call, "has no data key of 32 bytes"))?;
        Ok((data_key, slot))
    }

    async fn encrypt(&self, data_key: &DataKey, context: HashMap<String, String>) -> Result<Slot> {
        let Target { name, region } = self.kms.target(&self.name).await?;
        let mut call = KmsCall::new(KmsOperation::Encrypt, &name, &region);
        let request = self.kms.client(&region).await?.encrypt().key_id(name.to_string());
        let request = request.plaintext(Blob::new(*data_key.expose())).set_encryption_context(Some(context));
        let answer = self.kms.call_with(&mut call, data_key.expose(), |_| &[], || request.clone().send()).await?;
        slot(&call, &name, answer.key_id.as_deref(), answer.ciphertext_blob, data_key.expose())
    }
}

impl KeySealer for KmsKey {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn makes_data_keys(&self) -> bool {
        true
    }

    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let (this, context) = (self.clone(), context(binding));
        self.kms.block_on(async move { this.generate_data_key(context).await })
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        let (this, data_key, context) = (self.clone(), DataKey::from_slice(data_key.expose())?, context(binding));
        self.kms.block_on(async move { this.encrypt(&data_key, context).await })
    }
}

impl AsyncKeySealer for KmsKey {
    fn name(&self) -> String {
        KeySealer::name(self)
    }

    fn makes_data_keys(&self) -> bool {
        true
    }

    fn generate<'a>(&'a self, binding: &'a Binding) -> BoxFuture<'a, Result<(DataKey, Slot)>> {
        Box::pin(self.generate_async(binding))
    }

    fn wrap<'a>(&'a self, data_key: &'a DataKey, binding: &'a Binding) -> BoxFuture<'a, Result<Slot>> {
        Box::pin(self.wrap_async(data_key, binding))
    }
}

/// The KMS encryption context of a file: its pairs, and the id of its data key (spec 10.2).
///
/// > The KMS encryption context consists of the file's pairs and one more pair
#[must_use]
pub fn context(binding: &Binding) -> HashMap<String, String> {
    let mut context = pairs(&binding.context);
    context.insert(DATA_KEY_ID.to_owned(), binding.data_key_id.to_string());
    context
}

pub(super) fn pairs(pairs: &Pairs) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The secret bytes of an answer, wiped when dropped. Empty if the answer has none.
pub(super) fn secret(blob: Option<Blob>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default())
}

fn generated(answer: &GenerateDataKeyOutput) -> &[u8] {
    answer.plaintext().map(Blob::as_ref).unwrap_or_default()
}

/// The plaintext of an answer.
pub(super) fn decrypted(answer: &DecryptOutput) -> &[u8] {
    answer.plaintext().map(Blob::as_ref).unwrap_or_default()
}

/// Makes a slot of an answer. The answer must name a key that can be the one that was named, and the slot has its ARN.
/// `secret` is a secret that no error may contain.
pub(super) fn slot(
    call: &KmsCall,
    name: &KmsKeyName,
    arn: Option<&str>,
    wrapped: Option<Blob>,
    secret: &[u8],
) -> Result<Slot> {
    let arn = answered_arn(call, arn)?;
    if !name.accepts(&arn, &call.region) {
        return Err(another_key(call, "is by", &arn, secret));
    }
    let wrapped = wrapped.map(Blob::into_inner).unwrap_or_default();
    if !(1..=KMS_WRAPPED_MAX).contains(&wrapped.len()) {
        return Err(bad_answer(call, &format!("has a wrapped key of {} bytes", wrapped.len())));
    }
    Ok(Slot { kind: SlotKind::AWS_KMS, key_id: arn.to_string(), wrapped })
}

/// The ARN of the key that the answer names.
pub(super) fn answered_arn(call: &KmsCall, arn: Option<&str>) -> Result<KeyArn> {
    KeyArn::parse(arn.unwrap_or_default()).map_err(|_| bad_answer(call, "does not name a key by its ARN"))
}
