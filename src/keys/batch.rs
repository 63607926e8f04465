//! Opening the files of a batch (spec 10.6) with one call to a key service.

mod waiting;

pub use waiting::AsyncBatchOpener;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::KeyOpener;
use crate::error::Result;
use crate::format::{Binding, DataKeyId, Pairs, Sharing, Slot, SlotKind};
use crate::secret::DataKey;

/// The number of data keys that are kept at most. Each of them takes a page of locked memory.
const KEPT: usize = 64;

/// An opener that keeps the data keys of batches, and asks the opener inside it only once for each of them.
///
/// Use it for as long as one job takes: the data keys are in key memory until it is dropped. While it exists, it opens
/// further files of a batch even if the key service would meanwhile refuse that.
///
/// A data key is kept only if the file says that it is shared (flag bit 0) and the slot is of the kind `aws-kms`. It is
/// used again only for a slot with the same bytes on a file with the same pairs and the same data key's id. These are
/// all the bytes that the key service saw, so its answer would be the same. Every file is still checked like any other
/// one: against the demands, by [`matches`](KeyOpener::matches) of the opener inside, and against its own commitment. A
/// kept key skips none of these checks.
///
/// If several threads need the same data key, one of them asks, and the others wait for its answer. If the answer is an
/// error, it is the error of this one file. The other files ask for themselves, without waiting for each other, until one
/// of them gets the data key.
///
/// At most 64 data keys are kept. The one that was not used for the longest time goes first.
///
/// In async code, use [`AsyncBatchOpener`]: this opener blocks the thread while another one asks.
///
/// ```
/// use waxseal::envelope::Batch;
/// use waxseal::keys::{BatchOpener, KeyFile};
/// use waxseal::{Demands, OpenReader, SealOptions, SealWriter};
///
/// let key = KeyFile::generate()?;
/// let batch = Batch::new(&[&key], &SealOptions::new())?;
/// let file = SealWriter::with_envelope(Vec::new(), batch.envelope()?).finish()?;
///
/// let opener = BatchOpener::new(key); // useful with an opener for keys in AWS KMS
/// OpenReader::new(file.as_slice(), &[&opener], &Demands::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchOpener<O> {
    inner: O,
    kept: Mutex<Shelf>,
    answered: Condvar,
}

/// The data keys that are kept or asked for. Those that were used last are last.
#[derive(Default)]
struct Shelf(VecDeque<Kept>);

/// A data key, and all bytes that decide which one it is.
struct Kept {
    slot: Slot,
    context: Pairs,
    data_key_id: DataKeyId,
    state: State,
}

enum State {
    /// A thread asks for it.
    Asked,
    /// It was asked for, and the answer was an error.
    Refused,
    Known(DataKey),
}

/// What a caller has to do for a data key.
enum Turn {
    /// Nothing: it is there.
    Done(DataKey),
    /// It asks, and others wait for it.
    Asks,
    /// It asks for itself.
    Alone,
}

impl Kept {
    fn is_of(&self, slot: &Slot, binding: &Binding) -> bool {
        self.slot == *slot && self.context == binding.context && self.data_key_id == binding.data_key_id
    }
}

impl<O> BatchOpener<O> {
    /// Asks `inner`, and keeps what it answers.
    #[must_use]
    pub fn new(inner: O) -> Self {
        Self { inner, kept: Mutex::default(), answered: Condvar::new() }
    }

    /// The opener inside.
    #[must_use]
    pub fn inner(&self) -> &O {
        &self.inner
    }

    fn kept(&self) -> MutexGuard<'_, Shelf> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, slot: &Slot, binding: &Binding) -> Result<Turn> {
        let mut kept = self.kept();
        loop {
            match kept.turn(slot, binding)? {
                Some(turn) => return Ok(turn),
                None => kept = self.answered.wait(kept).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn settle(&self, slot: &Slot, binding: &Binding, state: State) {
        self.kept().settle(slot, binding, Some(state));
        self.answered.notify_all();
    }
}

/// Whether the data key of `slot` may be kept.
fn is_of_batch(slot: &Slot, binding: &Binding) -> bool {
    slot.kind == SlotKind::AWS_KMS && binding.sharing == Sharing::Shared
}

impl Shelf {
    /// `None` if the caller waits for the answer to another one.
    fn turn(&mut self, slot: &Slot, binding: &Binding) -> Result<Option<Turn>> {
        let Some(at) = self.0.iter().position(|known| known.is_of(slot, binding)) else {
            let (slot, context) = (slot.clone(), binding.context.clone());
            self.0.push_back(Kept { slot, context, data_key_id: binding.data_key_id, state: State::Asked });
            return Ok(Some(Turn::Asks));
        };
        match &self.0[at].state {
            State::Known(key) => {
                let key = DataKey::from_slice(key.expose())?;
                let used = self.0.remove(at);
                self.0.extend(used);
                Ok(Some(Turn::Done(key)))
            }
            State::Refused => Ok(Some(Turn::Alone)),
            State::Asked => Ok(None),
        }
    }

    /// Keeps the answer for this slot, and lets go of what was not used for the longest time. Without an answer, the next
    /// caller asks.
    fn settle(&mut self, slot: &Slot, binding: &Binding, state: Option<State>) {
        let at = self.0.iter().position(|known| known.is_of(slot, binding));
        if let (Some(known), Some(state)) = (at.and_then(|at| self.0.remove(at)), state) {
            self.0.push_back(Kept { state, ..known });
        }
        while self.0.len() > KEPT
            && let Some(oldest) = self.0.iter().position(|known| !matches!(known.state, State::Asked))
        {
            self.0.remove(oldest);
        }
    }
}

/// A question that others wait for. It ends with an answer in any case, also with a panic.
struct Asking<'a, O> {
    opener: &'a BatchOpener<O>,
    slot: &'a Slot,
    binding: &'a Binding,
    state: State,
}

impl<O> Drop for Asking<'_, O> {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Refused);
        self.opener.settle(self.slot, self.binding, state);
    }
}

impl<O: KeyOpener> KeyOpener for BatchOpener<O> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.inner.matches(slot)
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        // The opener inside refuses a slot that it may not open.
        if !is_of_batch(slot, binding) || !self.inner.matches(slot) {
            return self.inner.open(slot, binding);
        }
        match self.turn(slot, binding)? {
            Turn::Done(key) => Ok(key),
            Turn::Alone => {
                let key = self.inner.open(slot, binding)?;
                self.settle(slot, binding, State::Known(DataKey::from_slice(key.expose())?));
                Ok(key)
            }
            Turn::Asks => {
                let mut asking = Asking { opener: self, slot, binding, state: State::Refused };
                let key = self.inner.open(slot, binding)?;
                asking.state = State::Known(DataKey::from_slice(key.expose())?);
                Ok(key)
            }
        }
    }
}
