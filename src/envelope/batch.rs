//! One data key for several files (spec 10.6).

use std::sync::atomic::{AtomicU64, Ordering};

use super::seal::{Draft, Envelope, SealOptions, generator};
use crate::error::{Error, Result};
use crate::format::{DataKeyId, Pairs, Slot, SlotKind};
use crate::keys::KeySealer;
use crate::secret::DataKey;

/// So many files have one data key at most: 2^32. With so many random salts, two are equal with a probability below
/// 2^-128.
const FILES_MAX: u64 = 1 << 32;

/// Files that share a data key, so that one call to a key service is enough for all of them.
///
/// **The files are one access domain.** Whoever can open one of them can open all, and a later change of the keys of one
/// file cannot separate it from the others. The header of each file says so (flag bit 0), and binds it. All files have the
/// same pairs and the same [`data_key_id`](crate::format::Binding::data_key_id).
///
/// Only slots of the kind `aws-kms` are the same in all files. Every other key wraps the data key for each file anew, as
/// the specification demands.
///
/// # No nonce is used twice
///
/// Key and base nonce of a payload derive from the data key, the suite, the salt and the bound bytes. The data key is the
/// same in all files of a batch, so their salts must differ:
///
/// - [`Batch::envelope`] takes a new salt of 24 bytes from the operating system for each file. No function takes a salt
///   from its caller.
/// - An [`Envelope`] cannot be cloned, and sealing consumes it. A batch cannot be cloned either, and nobody can make one
///   with a data key that exists already. A data key is therefore used by one process, and in it by one batch.
/// - A batch makes at most 2^32 envelopes. Two of so many random salts are equal with a probability below 2^-128.
///
/// The argument needs a generator that does not repeat itself. A virtual machine that is copied while it runs needs a
/// kernel that notices it.
///
/// ```
/// use std::io::Write;
/// use waxseal::envelope::Batch;
/// use waxseal::keys::KeyFile;
/// use waxseal::{SealOptions, SealWriter};
///
/// let key = KeyFile::generate()?; // a key in AWS KMS would be called here once
/// let batch = Batch::new(&[&key], &SealOptions::new())?;
/// for text in ["one", "two"] {
///     let mut writer = SealWriter::with_envelope(Vec::new(), batch.envelope()?);
///     writer.write_all(text.as_bytes())?;
///     writer.finish()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be cloned:
///
/// ```compile_fail
/// fn twice<'a>(batch: waxseal::envelope::Batch<'a>) -> (waxseal::envelope::Batch<'a>, waxseal::envelope::Batch<'a>) {
///     (batch.clone(), batch)
/// }
/// ```
pub struct Batch<'a> {
    sealers: Vec<&'a dyn KeySealer>,
    options: SealOptions,
    data_key_id: DataKeyId,
    /// In key memory, and wiped with the batch.
    data_key: DataKey,
    /// For each sealer the slot that all files have, if there is one.
    shared: Vec<Option<Slot>>,
    files: AtomicU64,
}

impl<'a> Batch<'a> {
    /// Asks one of `sealers` for a data key. The rules of [`Envelope::new`] decide which one.
    ///
    /// Every sealer that [makes data keys](KeySealer::makes_data_keys) is called once, here.
    ///
    /// # Errors
    /// As [`Envelope::new`].
    pub fn new(sealers: &[&'a dyn KeySealer], options: &SealOptions) -> Result<Self> {
        let data_key_id = DataKeyId::random()?;
        let draft = Draft::of_batch(options, options.labels.clone(), data_key_id)?;
        let generator = generator(sealers.iter().map(|sealer| sealer.makes_data_keys()))?;
        let (data_key, first) = sealers[generator].generate(draft.binding())?;
        let mut first = Some(first);
        let mut shared = Vec::with_capacity(sealers.len());
        for (index, sealer) in sealers.iter().enumerate() {
            let slot = match first.take_if(|_| index == generator) {
                Some(slot) => Some(slot),
                None if sealer.makes_data_keys() => Some(sealer.wrap(&data_key, draft.binding())?),
                None => None,
            };
            shared.push(slot.filter(may_be_shared));
        }
        let (sealers, options) = (sealers.to_vec(), options.clone());
        Ok(Self { sealers, options, data_key_id, data_key, shared, files: AtomicU64::new(0) })
    }

    /// The envelope of the next file, with a salt of its own. Threads may call this at the same time.
    ///
    /// # Errors
    /// Those of the sealers that wrap the data key for each file. [`Error::Limit`] after 2^32 files.
    pub fn envelope(&self) -> Result<Envelope> {
        self.envelope_with_labels(self.options.labels.clone())
    }

    /// Like [`envelope`](Self::envelope), with other labels for this file. The pairs are those of the batch.
    ///
    /// # Errors
    /// As [`envelope`](Self::envelope).
    pub fn envelope_with_labels(&self, labels: Pairs) -> Result<Envelope> {
        self.count()?;
        let draft = Draft::of_batch(&self.options, labels, self.data_key_id)?;
        let slots = self.sealers.iter().zip(&self.shared).map(|(sealer, shared)| match shared {
            Some(slot) => Ok(slot.clone()),
            None => sealer.wrap(&self.data_key, draft.binding()),
        });
        let slots = slots.collect::<Result<_>>()?;
        draft.finish(&self.data_key, slots)
    }

    /// One file more, unless it is one too many.
    fn count(&self) -> Result<()> {
        let next = |files: u64| (files < FILES_MAX).then_some(files + 1);
        let counted = self.files.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        counted.map(drop).map_err(|_| Error::Limit(format!("{FILES_MAX} files at most share a data key")))
    }

    /// The id of the data key, which all files have in their headers.
    #[must_use]
    pub fn data_key_id(&self) -> DataKeyId {
        self.data_key_id
    }
}

/// Only a slot of this kind opens on files with other bound bytes: KMS binds it to the pairs and the data key's id, and to
/// nothing else.
fn may_be_shared(slot: &Slot) -> bool {
    slot.kind == SlotKind::AWS_KMS
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Batch<'_>>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyFile;

    #[test]
    fn no_file_too_many() {
        let key = KeyFile::generate().unwrap();
        let batch = Batch::new(&[&key], &SealOptions::new()).unwrap();
        batch.files.store(FILES_MAX - 1, Ordering::Relaxed);
        assert!(batch.envelope().is_ok());
        for _ in 0..2 {
            assert!(matches!(batch.envelope(), Err(Error::Limit(_))));
        }
        assert_eq!(batch.files.load(Ordering::Relaxed), FILES_MAX);
    }
}
