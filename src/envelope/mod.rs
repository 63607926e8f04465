//! Ties a header to a data key: what a writer prepares before its first chunk, and what a reader must have
//! checked before its first chunk (spec 9 and 10).

mod demands;
mod seal;
mod unlock;

pub use demands::Demands;
pub use seal::{Envelope, InputSize, SealOptions};
pub use unlock::{Unlocked, unlock};
