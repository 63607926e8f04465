//! Sealed files in Ballista: the processes of a cluster find their keys in a folder, and a session names one of them.
//!
//! A client, the scheduler and each executor register the same store. What travels between them is the *name* of a key.
//! The keys themselves are in files that the machine of each process already has.

mod engine;
mod store;
mod watch;

pub use engine::PinnedEngine;
pub use store::{KEY_NAME, Keys, SealedOptions};
pub use watch::watched;
