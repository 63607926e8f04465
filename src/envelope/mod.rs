//! Connects a header with a data key: what a writer prepares before its first chunk, and what a reader must check before
//! its first chunk (spec 12 and 13).

mod demands;
mod read;
mod seal;
#[cfg(test)]
mod tests;
mod unlock;

pub use demands::Demands;
pub use read::{read_front, read_header_at};
pub use seal::{Draft, Envelope, InputSize, SealOptions};
pub use unlock::{OpenedBy, open_payload};
pub(crate) use unlock::{Right, Trial, Unlocked, unlock, unlock_async};
