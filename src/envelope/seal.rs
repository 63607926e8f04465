//! Sealing: a data key, its slots, and the header that contains them.

use crate::error::{Error, FormatError, Result};
use crate::fips;
use crate::format::{
    Bank, BankLen, BankNumber, Binding, DataKeyId, Front, Header, LARGE_INPUT, MAX_SLOTS, Pairs, Prelude, Sharing,
    Slot, Suite,
};
use crate::keys::{AsyncKeySealer, KeySealer};
use crate::payload::{ChunkSealer, PayloadKeys, check_suite};
use crate::secret::{DataKey, fill_random};

/// What a file contains in addition to its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealOptions {
    /// AEAD of the payload.
    pub suite: Suite,
    /// The encryption context: bound to the file, visible, sent to KMS and its audit log.
    pub context: Pairs,
    /// Labels: bound to the file, visible, sent nowhere.
    pub labels: Pairs,
}

impl SealOptions {
    /// AES-256-GCM, no pairs, no labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets another AEAD.
    #[must_use]
    pub fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    pairs_setters!("Sets the pairs of the encryption context.", "Sets the labels.");
}

/// The size of the input, as far as the header depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// Below 4 MiB: banks of 4096 bytes.
    Small,
    /// 4 MiB or more: banks of 65536 bytes, so that a key added later does not move the payload.
    Large,
}

impl InputSize {
    /// For an input of `len` bytes.
    #[must_use]
    pub fn of(len: u64) -> Self {
        if len < LARGE_INPUT { Self::Small } else { Self::Large }
    }

    pub(crate) fn least_bank(self) -> BankLen {
        match self {
            Self::Small => BankLen::MIN,
            Self::Large => BankLen::MAX,
        }
    }
}

/// A file without a data key so far: the bytes to which its slots will be bound, and its salt.
///
/// Use this if you fetch the data key and its wrappings yourself. [`Envelope::new`] does everything in one call.
pub struct Draft {
    binding: Binding,
    bound: Vec<u8>,
    salt: [u8; 24],
}

impl Draft {
    /// Generates the data key's id and the payload's salt.
    ///
    /// # Errors
    /// [`Error::Limit`] if pairs and labels are too large; [`Error::Io`] if the system has no randomness.
    pub fn new(options: &SealOptions) -> Result<Self> {
        Self::with_salt(options, DataKeyId::random()?, fresh_salt()?)
    }

    fn with_salt(options: &SealOptions, data_key_id: DataKeyId, salt: [u8; 24]) -> Result<Self> {
        let binding = Binding {
            suite: options.suite,
            data_key_id,
            sharing: Sharing::Exclusive,
            context: options.context.clone(),
            labels: options.labels.clone(),
        };
        Self::of_binding(binding, salt)
    }

    /// Of one of several files with this data key, with a salt of its own.
    pub(super) fn of_batch(options: &SealOptions, labels: Pairs, data_key_id: DataKeyId) -> Result<Self> {
        let (suite, context) = (options.suite, options.context.clone());
        Self::of_binding(Binding { suite, data_key_id, sharing: Sharing::Shared, context, labels }, fresh_salt()?)
    }

    fn of_binding(binding: Binding, salt: [u8; 24]) -> Result<Self> {
        check_suite(binding.suite).map_err(|error| match error {
            Error::Format(FormatError::SuiteRefused { suite }) => fips::not_to_seal(&format!("the suite {suite}")),
            other => other,
        })?;
        let bound = binding.bound_bytes()?;
        Ok(Self { binding, bound, salt })
    }

    /// The bytes that every slot of the file must be bound to.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Takes the data key and its wrappings, each made for [`binding`](Self::binding).
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] if there is no slot or one of a reserved kind. [`Error::Limit`] if the slots do not fit
    /// into a header.
    pub fn finish(self, data_key: &DataKey, slots: Vec<Slot>) -> Result<Envelope> {
        if slots.is_empty() {
            return Err(NO_KEY);
        }
        // A later revision may define these kinds. The file would then get another meaning.
        if slots.iter().any(|slot| slot.kind.is_reserved()) {
            return Err(Error::ApiMisuse("a sealer of a kind that is neither defined nor private"));
        }
        let (keys, commitment) = PayloadKeys::derive(data_key, self.binding.suite, &self.salt, &self.bound);
        let prelude = Prelude { salt: self.salt, commitment: *commitment.as_bytes() };
        let envelope = Envelope { binding: self.binding, slots, prelude, sealer: ChunkSealer::new(keys) };
        envelope.header(InputSize::Small)?;
        Ok(envelope)
    }
}

/// A salt for one file.
fn fresh_salt() -> Result<[u8; 24]> {
    let mut salt = [0; 24];
    fill_random(&mut salt)?;
    Ok(salt)
}

const NO_KEY: Error = Error::ApiMisuse("sealing without any key");

/// Which key makes the data key. Limits are checked before any key service is called.
pub(super) fn generator(makes: impl ExactSizeIterator<Item = bool>) -> Result<usize> {
    match makes.len() {
        0 => Err(NO_KEY),
        1..=MAX_SLOTS => Ok(makes.into_iter().position(|makes| makes).unwrap_or(0)),
        _ => Err(Error::Limit(format!("a file has at most {MAX_SLOTS} keys"))),
    }
}

/// One file about to be written: its header and the sealer of its chunks.
///
/// It is used for one file and consumed by it, because a salt must never be used twice with one data key. So it
/// cannot be cloned:
///
/// ```compile_fail
/// fn twice(envelope: waxseal::Envelope) -> (waxseal::Envelope, waxseal::Envelope) {
///     (envelope.clone(), envelope)
/// }
/// ```
pub struct Envelope {
    binding: Binding,
    slots: Vec<Slot>,
    prelude: Prelude,
    sealer: ChunkSealer,
}

impl Envelope {
    /// Asks one of `sealers` for a data key, and asks the others to wrap it, too. Each of these keys opens the file.
    ///
    /// The data key comes from the first sealer that [makes data keys](KeySealer::makes_data_keys) itself. If there is no
    /// such sealer, it comes from the first one. The slots are in the order of `sealers`.
    ///
    /// # Errors
    /// [`Error::ApiMisuse`] without a sealer, [`Error::Limit`] with too many sealers or too large slots, and every error of
    /// the key services.
    pub fn new(sealers: &[&dyn KeySealer], options: &SealOptions) -> Result<Self> {
        Self::of_draft(Draft::new(options)?, sealers)
    }

    /// Like [`Envelope::new`] with a given salt, for known answers in tests. A salt must never be used twice with one
    /// data key.
    #[cfg(test)]
    pub(crate) fn with_salt(
        sealers: &[&dyn KeySealer],
        options: &SealOptions,
        data_key_id: DataKeyId,
        salt: [u8; 24],
    ) -> Result<Self> {
        Self::of_draft(Draft::with_salt(options, data_key_id, salt)?, sealers)
    }

    fn of_draft(draft: Draft, sealers: &[&dyn KeySealer]) -> Result<Self> {
        let generator = generator(sealers.iter().map(|sealer| sealer.makes_data_keys()))?;
        let (data_key, first) = sealers[generator].generate(draft.binding())?;
        let mut first = Some(first);
        let mut slots = Vec::with_capacity(sealers.len());
        for (index, sealer) in sealers.iter().enumerate() {
            slots.push(match first.take_if(|_| index == generator) {
                Some(slot) => slot,
                None => sealer.wrap(&data_key, draft.binding())?,
            });
        }
        draft.finish(&data_key, slots)
    }

    /// [`Envelope::new`] for key services that answer asynchronously.
    ///
    /// # Errors
    /// As [`Envelope::new`].
    pub async fn new_async(sealers: &[&dyn AsyncKeySealer], options: &SealOptions) -> Result<Self> {
        let draft = Draft::new(options)?;
        let generator = generator(sealers.iter().map(|sealer| sealer.makes_data_keys()))?;
        let (data_key, first) = sealers[generator].generate(draft.binding()).await?;
        let mut first = Some(first);
        let mut slots = Vec::with_capacity(sealers.len());
        for (index, sealer) in sealers.iter().enumerate() {
            slots.push(match first.take_if(|_| index == generator) {
                Some(slot) => slot,
                None => sealer.wrap(&data_key, draft.binding()).await?,
            });
        }
        draft.finish(&data_key, slots)
    }

    /// Both banks of a new file (spec 13.1). They are equal, with generation 1.
    ///
    /// # Errors
    /// [`Error::Limit`] if the slots do not fit into a header.
    pub fn header(&self, size: InputSize) -> Result<Vec<u8>> {
        let bank = |number| Bank {
            len: BankLen::MIN,
            generation: 1,
            number,
            prelude: self.prelude,
            binding: self.binding.clone(),
            slots: self.slots.clone(),
        };
        let len = Bank::fitting_len(&self.binding, &self.slots, size.least_bank())?;
        let mut header = Bank { len, ..bank(BankNumber::Zero) }.encode()?;
        header.extend(Bank { len, ..bank(BankNumber::One) }.encode()?);
        // A wrapped key may have the magic at a position of a bank: by chance once in 2^62, or by intent.
        if let Err(error) = Header::read(&Front::new(header.clone())) {
            return Err(Error::Limit(format!(
                "a key service returned a wrapped key that does not fit into a header ({error})"
            )));
        }
        Ok(header)
    }

    /// Salt and commitment, the first bytes of the payload.
    #[must_use]
    pub fn prelude(&self) -> &Prelude {
        &self.prelude
    }

    /// What the header binds.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The wrapped data keys.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Seals the chunks. Seal each index only once, or again with exactly the same plaintext.
    pub(crate) fn sealer(&self) -> &ChunkSealer {
        &self.sealer
    }
}
