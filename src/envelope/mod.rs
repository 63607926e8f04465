//! Connects a header with a data key: what a writer prepares before its first chunk, and what a reader must check before
//! its first chunk (spec 12 and 13).

/// The setters of pairs and labels, each with its documentation.
macro_rules! pairs_setters {
    ($context:literal, $labels:literal) => {
        #[doc = $context]
        #[must_use]
        pub fn with_context(mut self, context: Pairs) -> Self {
            self.context = context;
            self
        }

        #[doc = $labels]
        #[must_use]
        pub fn with_labels(mut self, labels: Pairs) -> Self {
            self.labels = labels;
            self
        }
    };
}

mod batch;
mod demands;
mod read;
mod seal;
#[cfg(test)]
mod tests;
mod unlock;

pub use batch::Batch;
pub use demands::Demands;
pub use read::{read_front, read_header_at};
pub use seal::{Draft, Envelope, InputSize, SealOptions};
pub use unlock::{OpenedBy, open_payload};
pub(crate) use unlock::{Right, Trial, Unlocked, unlock, unlock_async};
