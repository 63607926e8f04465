//! Opening: one `Decrypt` or `Decapsulate` for a slot, and only for a slot whose key was named or whose account is
//! allowed.
//!
//! The ARN in a slot comes from whoever could write the file. It never chooses an endpoint beyond a region of
//! AWS's form, and a call in a stranger's account would tell the stranger who opens the file, when and from where.

use aws_sdk_kms::operation::decapsulate::DecapsulateOutput;
mod dry_run;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec};
use waxseal::error::{Error, ProviderCause, ProviderError, Result};
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{KeyOpener, public};
use waxseal::secret::DataKey;

use super::client::{Kms, KmsCall, is_account};
use super::failure::{another_key, bad_answer};
use super::name::{KeyArn, KmsKeyName};
use super::seal::{answered_arn, context, decrypted, secret};
pub use dry_run::{Doubt, Permitted};
pub(super) use dry_run::{Told, would_decrypt};

/// Whose keys may open a file when no key is named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountRule {
    /// Those of the account that the credentials belong to, by `sts:GetCallerIdentity`.
    Own,
    /// Those of these accounts, 12 digits each; STS is not asked.
    Ids(Vec<String>),
    /// Anybody's. Whoever made the file may learn that it is being opened.
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

/// Which slots' regions an opener takes, so that near ones are tried first.
#[derive(Clone, PartialEq, Eq)]
enum Where {
    Anywhere,
    In(String),
    NotIn(String),
}

/// One way to ask for a slot's data key.
#[derive(Debug, Clone)]
struct Ask {
    region: String,
    key_id: String,
    /// What the answer has to name.
    expected: KeyArn,
    /// The user named an alias or a bare id, which may be another key's than the slot's.
    by_alias: bool,
}

impl Ask {
    fn by_arn(arn: KeyArn) -> Self {
        Self { region: arn.region().to_owned(), key_id: arn.to_string(), expected: arn, by_alias: false }
    }
}

impl KmsOpener {
    /// Opens with the key that `name` names, and with no other.
    #[must_use]
    pub fn named(kms: &Kms, name: KmsKeyName) -> Self {
        kms.warm_up();
        Self { kms: kms.clone(), rule: Rule::Named(name) }
    }

    /// Opens with keys of the accounts that `rule` allows. To be given to the reader in this order: those of the
    /// caller's region come first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an account that is not 12 digits.
    pub fn by_account(kms: &Kms, rule: AccountRule) -> Result<Vec<Self>> {
        if let AccountRule::Ids(ids) = &rule
            && let Some(bad) = ids.iter().find(|id| !is_account(id))
        {
            return Err(Error::Invalid(format!("{bad:?} is not an AWS account: it takes 12 digits")));
        }
        let places = match kms.near_region() {
            None => vec![Where::Anywhere],
            Some(near) => vec![Where::In(near.clone()), Where::NotIn(near)],
        };
        let opener = |place| Self { kms: kms.clone(), rule: Rule::Account(rule.clone(), place) };
        Ok(places.into_iter().map(opener).collect())
    }

    /// [`KeyOpener::open`] for a caller that awaits, in whatever runtime.
    ///
    /// # Errors
    /// As it.
    pub async fn open_async(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let (this, slot, binding) = (self.clone(), slot.clone(), binding.clone());
        self.kms.on_worker(async move { this.unwrap(&slot, &binding).await }).await
    }

    async fn unwrap(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let arn = KeyArn::parse(&slot.key_id)?;
        if !self.matches(slot) {
            return Err(not_allowed(&arn, "the key was not named, and its account is not allowed"));
        }
        let asks = match &self.rule {
            Rule::Named(name) => self.asks_by_name(name, &arn).await?,
            Rule::Account(..) => self.asks_by_account(&arn).await?,
        };
        match &self.rule {
            Rule::Account(AccountRule::Own, _) => self.unwrap_own(&arn, &asks, slot, binding).await,
            _ => self.open_by_one_of(&asks, slot, binding).await,
        }
    }

    /// > An alias or a UUID under `-k` goes to Decrypt as its KeyId; the answer's ARN must be the slot's.
    /// > Both ids begin with `mrk-` and only the regions differ; then the user's ARN is called, in its region,
    /// > and the answer must carry that one.
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
            return Err(Box::new(error.with_hint(format!("--region {}", slot.region()))).into());
        }
        Ok(vec![Ask { region: target.region, key_id: target.name.to_string(), expected, by_alias: true }])
    }

    /// The slot's own key; a multi-Region key in the chosen region instead, or in the configured one as well,
    /// should its home not answer.
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

    /// The caller's account is known for certain only from STS. So that no key of a stranger's is ever called,
    /// the call waits for it, unless the credentials themselves state the slot's account: then both run at
    /// once, and STS still decides whether the data key is handed out.
    async fn unwrap_own(&self, slot_arn: &KeyArn, asks: &[Ask], slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let owner = async {
            let caller = self.kms.caller(slot_arn.region()).await.map_err(|error| with_sts_hint(error, slot_arn))?;
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

    /// Asks in order, and goes on only where a region does not answer, or fails by its own fault. A refusal is an
    /// answer. The first failure is the one to tell.
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
        Err(first.unwrap_or(Error::Bug("a slot without a region to call")))
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
        let mut call = KmsCall::new("Decrypt", &ask.key_id, &ask.region);
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

    /// The shared secret of a slot of kind 4. No encryption context is sent: KMS has none for such keys, and ML-KEM
    /// never says that a ciphertext is another key's, so under an alias the answer's ARN decides.
    async fn decapsulate(&self, ask: &Ask, slot: &Slot) -> Result<DataKey> {
        let mut call = KmsCall::new("Decapsulate", &ask.key_id, &ask.region);
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

    /// The shared secret of a slot of kind 5; likewise. Under an alias, a ciphertext that does not decrypt may be another
    /// key's.
    async fn decrypt_rsa(&self, ask: &Ask, slot: &Slot) -> Result<DataKey> {
        let mut call = KmsCall::new("Decrypt", &ask.key_id, &ask.region);
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

/// > Where the user named an alias or a bare key id for a slot of kind 4 or 5, that name may be of another key.
fn as_other_key(error: Error) -> Error {
    match error {
        Error::Provider(mut error) => {
            error.cause = ProviderCause::OtherKey;
            let hint = "the alias or id names another key than the slot's: name the key by its ARN";
            Error::Provider(Box::new(error.with_hint(hint)))
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

impl KeyOpener for KmsOpener {
    fn name(&self) -> String {
        match &self.rule {
            Rule::Named(name) => name.to_string(),
            Rule::Account(AccountRule::Own, _) => "AWS KMS, keys of this account".into(),
            Rule::Account(AccountRule::Ids(ids), _) => format!("AWS KMS, keys of {}", ids.join(", ")),
            Rule::Account(AccountRule::Any, _) => "AWS KMS, keys of any account".into(),
        }
    }

    /// With [`AccountRule::Own`] a slot matches whose account is not known to be another: that shows in
    /// [`KeyOpener::open`], before the key is called.
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
    Err(not_allowed(slot, &format!("it is a key of account {}, the credentials are of {account}", slot.account())))
}

fn not_allowed(slot: &KeyArn, message: &str) -> Error {
    let hint = format!("if you trust it: -k {slot}, or --account {}", slot.account());
    Box::new(ProviderError::new(ProviderCause::NotAllowed, slot.to_string(), message).with_hint(hint)).into()
}

fn with_sts_hint(error: Error, slot: &KeyArn) -> Error {
    match error {
        Error::Provider(error) if error.retryable() || error.cause == ProviderCause::Denied => {
            let hint = format!("without asking STS: -k {slot}, or --account {}", slot.account());
            Error::Provider(Box::new(error.with_hint(hint)))
        }
        other => other,
    }
}
