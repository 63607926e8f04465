//! Opening: one `Decrypt` or `Decapsulate` for a slot, and only if the caller named the key or allowed its account.
//!
//! Anyone who can write the file chooses the ARN in a slot. The ARN can therefore select nothing but a region of AWS's
//! form. A call to a stranger's key would tell the stranger who opens the file, when and from where.

mod dry_run;

use aws_sdk_kms::operation::decapsulate::DecapsulateOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec};
use waxseal::error::{Error, Naming, ProviderCause, ProviderError, Remedy, Result};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{AsyncKeyOpener, BoxFuture, KeyOpener, public};
use waxseal::secret::DataKey;
use waxseal_aws::name::is_account;

use super::client::{Kms, KmsCall};
use super::failure::{another_key, bad_answer};
use super::name::{KeyArn, KmsKeyName};
use super::operation::KmsOperation;
use super::seal::{answered_arn, context, decrypted, secret};
pub use dry_run::{Doubt, Permitted};
pub(super) use dry_run::{Told, would_decrypt};

/// Whose keys may open a file if no key is named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountRule {
    /// Keys of the account that the credentials belong to. `sts:GetCallerIdentity` says which account that is.
    Own,
    /// Keys of these accounts, 12 digits each. STS is not called.
    Ids(Vec<String>),
    /// Keys of any account. Whoever made the file can then learn that it is opened.
    Any,
}

/// Opens slots of the kinds `aws-kms`, `aws-kms-ml-kem` and `aws-kms-rsa`.
#[derive(Clone)]
pub struct KmsOpener {
    kms: Kms,
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Named(KmsKeyName),
    Account(AccountRule, Where),
}

/// The regions of the slots that an opener takes. Two openers split them, so that the near region is tried first.
#[derive(Clone, PartialEq, Eq)]
enum Where {
    Anywhere,
    In(String),
    NotIn(String),
}

/// One call that can give a slot's data key.
#[derive(Debug, Clone)]
struct Ask {
    region: String,
    key_id: String,
    /// The key that the answer must name.
    expected: KeyArn,
    /// Whether the caller named an alias or a bare id, which can be of another key than the slot's.
    by_alias: bool,
}

impl Ask {
    fn by_arn(arn: KeyArn) -> Self {
        Self { region: arn.region().to_owned(), key_id: arn.to_string(), expected: arn, by_alias: false }
    }
}

impl KmsOpener {
    /// An opener for the key that `name` names, and for no other key.
    #[must_use]
    pub fn named(kms: &Kms, name: KmsKeyName) -> Self {
        kms.warm_up();
        Self { kms: kms.clone(), rule: Rule::Named(name) }
    }

    /// Openers for keys of the accounts that `rule` allows. Give them to the reader in this order, because keys in the
    /// caller's region come first.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an account does not have 12 digits.
    pub fn by_account(kms: &Kms, rule: AccountRule) -> Result<Vec<Self>> {
        if let AccountRule::Ids(ids) = &rule
            && let Some(bad) = ids.iter().find(|id| !is_account(id))
        {
            return Err(Error::Invalid(format!("{bad:?} is not an AWS account: an account has 12 digits")));
        }
        let places = match kms.near_region() {
            None => vec![Where::Anywhere],
            Some(near) => vec![Where::In(near.clone()), Where::NotIn(near)],
        };
        let opener = |place| Self { kms: kms.clone(), rule: Rule::Account(rule.clone(), place) };
        Ok(places.into_iter().map(opener).collect())
    }

    /// The async version of [`KeyOpener::open`], for any runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn open_async(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.on_worker(async move { this.unwrap(&slot, &binding).await }).await
    }

    async fn unwrap(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let (arn, asks) = self.asks(slot).await?;
        match &self.rule {
            Rule::Account(AccountRule::Own, _) => self.unwrap_own(&arn, &asks, slot, binding).await,
            _ => self.open_by_one_of(&asks, slot, binding).await,
        }
    }

    /// The slot's key, and what may be asked to open the slot.
    async fn asks(&self, slot: &Slot) -> Result<(KeyArn, Vec<Ask>)> {
        let arn = KeyArn::parse(&slot.key_id)?;
        if !KeyOpener::matches(self, slot) {
            return Err(not_allowed(&arn, "the key was not named, and its account is not allowed"));
        }
        let asks = match &self.rule {
            Rule::Named(name) => self.asks_by_name(name, &arn).await?,
            Rule::Account(..) => self.asks_by_account(&arn).await?,
        };
        Ok((arn, asks))
    }

    /// The calls that the user's name allows for a slot (spec 10.3):
    ///
    /// > If a slot matches a named ARN, the named ARN MUST be the KeyId of the call, in that ARN's region.
    /// >
    /// > A user may name a key by an alias or a bare key id. That name is then the KeyId of the call, and the ARN in the
    /// > answer is compared with the slot's ARN (10.4).
    async fn asks_by_name(&self, name: &KmsKeyName, slot: &KeyArn) -> Result<Vec<Ask>> {
        let target = self.kms.target(name).await?;
        if let KmsKeyName::KeyArn(arn) = target.name {
            let sister = self.kms.configured_region().await?.filter(|_| arn.is_multi_region());
            let sister = sister.map(|region| arn.in_region(&region)).filter(|sister| *sister != arn);
            return Ok([arn].into_iter().chain(sister).filter(KeyArn::has_real_region).map(Ask::by_arn).collect());
        }
        let expected = if slot.is_multi_region() { slot.in_region(&target.region) } else { slot.clone() };
        if expected.region() != target.region || !expected.has_real_region() {
            let message = format!("the slot's key is in {}, and {name} in {}", slot.region(), target.region);
            let error = ProviderError::new(ProviderCause::NotFound, slot.to_string(), message);
            let region = Some(slot.region().to_owned());
            return Err(Box::new(error.with_remedy(Remedy::ChooseRegion { region })).into());
        }
        Ok(vec![Ask { region: target.region, key_id: target.name.to_string(), expected, by_alias: true }])
    }

    /// The slot's own key. A multi-Region key is called in the chosen region instead. If no region is chosen, it is also
    /// called in the configured region, in case its own region does not answer.
    async fn asks_by_account(&self, slot: &KeyArn) -> Result<Vec<Ask>> {
        let mut arns = match self.kms.chosen_region() {
            Some(region) if slot.is_multi_region() => vec![slot.in_region(region)],
            _ => vec![slot.clone()],
        };
        if let Some(region) = self.kms.configured_region().await?.filter(|_| slot.is_multi_region()) {
            arns.push(slot.in_region(&region));
        }
        arns.dedup();
        Ok(arns.into_iter().filter(KeyArn::has_real_region).map(Ask::by_arn).collect())
    }

    /// Only STS says for certain which account the caller has. The call to the key therefore waits for STS, so that no
    /// stranger's key is called. If the credentials themselves name the slot's account, both calls run at the same time,
    /// and the data key is still returned only if STS agrees.
    async fn unwrap_own(&self, slot_arn: &KeyArn, asks: &[Ask], slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let owner = async {
            let caller = self.kms.caller(slot_arn.region()).await.map_err(|error| without_sts(error, slot_arn))?;
            check_owner(slot_arn, &caller.partition, &caller.account)
        };
        match self.kms.stated_account().await {
            Some(account) => {
                check_owner(slot_arn, slot_arn.partition(), &account)?;
                let (owned, data_key) = tokio::join!(owner, self.open_by_one_of(asks, slot, binding));
                owned.and(data_key)
            }
            None => {
                owner.await?;
                self.open_by_one_of(asks, slot, binding).await
            }
        }
    }

    /// Makes the calls in order. The next call is made only if a region does not answer, or has an internal failure. A
    /// refusal is an answer. If all calls fail, the first error is returned.
    async fn open_by_one_of(&self, asks: &[Ask], slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let mut first = None;
        for ask in asks {
            match self.ask(ask, slot, binding).await {
                Err(Error::Provider(error))
                    if matches!(error.cause, ProviderCause::Unreachable | ProviderCause::Internal) =>
                {
                    first.get_or_insert(Error::Provider(error));
                }
                answer => return answer,
            }
        }
        Err(first.unwrap_or_else(|| no_region_to_call(slot)))
    }

    async fn ask(&self, ask: &Ask, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        match slot.kind {
            SlotKind::AWS_KMS => self.decrypt(ask, slot, binding).await,
            SlotKind::AWS_KMS_ML_KEM => public::finish(slot, &self.decapsulate(ask, slot).await?, binding),
            SlotKind::AWS_KMS_RSA => public::finish(slot, &self.decrypt_rsa(ask, slot).await?, binding),
            _ => Err(Error::ApiMisuse("a slot that is not of AWS KMS")),
        }
    }

    async fn decrypt(&self, ask: &Ask, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let mut call = KmsCall::new(KmsOperation::Decrypt, &ask.key_id, &ask.region);
        let request = self.kms.client(&ask.region).await?.decrypt().key_id(&ask.key_id);
        let request = request.ciphertext_blob(Blob::new(slot.wrapped.clone()));
        let request = request.set_encryption_context(Some(context(binding)));
        let answer = self.kms.call_with(&mut call, &[], decrypted, || request.clone().send()).await?;
        let plaintext = secret(answer.plaintext);
        let arn = answered_arn(&call, answer.key_id.as_deref())?;
        if arn != ask.expected {
            return Err(another_key(&call, "is by", &arn, &plaintext));
        }
        DataKey::from_slice(&plaintext).map_err(|_| bad_answer(&call, "has no data key of 32 bytes"))
    }

    /// The shared secret of a slot of kind 4. KMS has no encryption context for such keys, so none is sent. ML-KEM cannot
    /// say that a ciphertext is of another key. If the caller named an alias, the ARN in the answer decides.
    async fn decapsulate(&self, ask: &Ask, slot: &Slot) -> Result<DataKey> {
        let mut call = KmsCall::new(KmsOperation::Decapsulate, &ask.key_id, &ask.region);
        let request = self.kms.client(&ask.region).await?.decapsulate().key_id(&ask.key_id);
        let request = request.encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem);
        let request = request.shared_secret_ciphertext_blob(encapsulation(slot)?);
        let answer = self.kms.call_with(&mut call, &[], decapsulated, || request.clone().send()).await?;
        let shared = secret(answer.shared_secret);
        let arn = answered_arn(&call, answer.key_id.as_deref())?;
        if arn != ask.expected {
            let error = another_key(&call, "is by", &arn, &shared);
            return Err(if ask.by_alias { as_other_key(error) } else { error });
        }
        shared_secret(&call, &shared)
    }

    /// The shared secret of a slot of kind 5, also without an encryption context. If the caller named an alias, a
    /// ciphertext that does not decrypt can be of another key.
    async fn decrypt_rsa(&self, ask: &Ask, slot: &Slot) -> Result<DataKey> {
        let mut call = KmsCall::new(KmsOperation::Decrypt, &ask.key_id, &ask.region);
        let request = self.kms.client(&ask.region).await?.decrypt().key_id(&ask.key_id);
        let request = request.encryption_algorithm(EncryptionAlgorithmSpec::RsaesOaepSha256);
        let request = request.ciphertext_blob(encapsulation(slot)?);
        let answer = self.kms.call_with(&mut call, &[], decrypted, || request.clone().send()).await;
        let answer = answer.map_err(|error| if ask.by_alias { wrong_as_other_key(error) } else { error })?;
        let shared = secret(answer.plaintext);
        let arn = answered_arn(&call, answer.key_id.as_deref())?;
        if arn != ask.expected {
            return Err(another_key(&call, "is by", &arn, &shared));
        }
        shared_secret(&call, &shared)
    }
}

fn encapsulation(slot: &Slot) -> Result<Blob> {
    let sent = public::encapsulation(slot).ok_or(Error::ApiMisuse("a slot that is not of a public key"))?;
    Ok(Blob::new(sent))
}

fn decapsulated(answer: &DecapsulateOutput) -> &[u8] {
    answer.shared_secret().map(Blob::as_ref).unwrap_or_default()
}

fn shared_secret(call: &KmsCall, secret: &[u8]) -> Result<DataKey> {
    DataKey::from_slice(secret).map_err(|_| bad_answer(call, "has no shared secret of 32 bytes"))
}

/// > For a slot of kind 4 or 5, the user may have named an alias or a bare key id, which may belong to another key.
fn as_other_key(error: Error) -> Error {
    match error {
        Error::Provider(mut error) => {
            error.cause = ProviderCause::OtherKey;
            Error::Provider(Box::new(error.with_remedy(Remedy::NameByFullId)))
        }
        other => other,
    }
}

fn wrong_as_other_key(error: Error) -> Error {
    match &error {
        Error::Provider(provider) if provider.cause == ProviderCause::WrongCiphertext => as_other_key(error),
        _ => error,
    }
}

impl AsyncKeyOpener for KmsOpener {
    fn name(&self) -> String {
        KeyOpener::name(self)
    }

    fn matches(&self, slot: &Slot) -> bool {
        KeyOpener::matches(self, slot)
    }

    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, Result<DataKey>> {
        Box::pin(self.open_async(slot, binding))
    }
}

impl KeyOpener for KmsOpener {
    fn name(&self) -> String {
        match &self.rule {
            Rule::Named(name) => name.to_string(),
            Rule::Account(AccountRule::Own, _) => "AWS KMS, keys of this account".into(),
            Rule::Account(AccountRule::Ids(ids), _) => format!("AWS KMS, keys of {}", ids.join(", ")),
            Rule::Account(AccountRule::Any, _) => "AWS KMS, keys of any account".into(),
        }
    }

    /// With [`AccountRule::Own`], slots of all accounts match. [`KeyOpener::open`] then checks the account before it
    /// calls the key.
    fn matches(&self, slot: &Slot) -> bool {
        if ![SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&slot.kind) {
            return false;
        }
        let Ok(arn) = KeyArn::parse(&slot.key_id) else { return false };
        let allowed = match &self.rule {
            Rule::Named(name) => name.may_be(&arn),
            Rule::Account(rule, place) => {
                let in_place = match place {
                    Where::Anywhere => true,
                    Where::In(region) => arn.region() == region,
                    Where::NotIn(region) => arn.region() != region,
                };
                let account = match rule {
                    AccountRule::Own | AccountRule::Any => true,
                    AccountRule::Ids(ids) => ids.iter().any(|id| id == arn.account()),
                };
                in_place && account
            }
        };
        allowed && arn.has_real_region()
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.block_on(async move { this.unwrap(&slot, &binding).await })
    }
}

fn check_owner(slot: &KeyArn, partition: &str, account: &str) -> Result<()> {
    if (slot.partition(), slot.account()) == (partition, account) {
        return Ok(());
    }
    Err(not_allowed(slot, &format!("it is a key of account {}, but the credentials are of {account}", slot.account())))
}

fn not_allowed(slot: &KeyArn, message: &str) -> Error {
    let error = ProviderError::new(ProviderCause::NotAllowed, slot.to_string(), message);
    Box::new(error.with_remedy(Remedy::Trust(naming(slot)))).into()
}

/// STS is not needed if the caller names the key or allows its account.
fn without_sts(error: Error, slot: &KeyArn) -> Error {
    match error {
        Error::Provider(error) if error.retryable() || error.cause == ProviderCause::Denied => {
            Error::Provider(Box::new(error.with_remedy(Remedy::SkipIdentity(naming(slot)))))
        }
        other => other,
    }
}

fn naming(slot: &KeyArn) -> Naming {
    Naming::to_open(Some(slot.to_string()), Some(slot.account().to_owned()))
}

/// The chosen region and the key are in different partitions of AWS (`cn-north-1` and `arn:aws:`).
fn no_region_to_call(slot: &Slot) -> Error {
    let message = "the chosen region is in another partition of AWS than the key";
    let region = KeyArn::parse(&slot.key_id).ok().map(|arn| arn.region().to_owned());
    let error = ProviderError::new(ProviderCause::NotFound, &slot.key_id, message);
    Box::new(error.with_remedy(Remedy::ChooseRegion { region })).into()
}
