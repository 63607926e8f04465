//! What the tests of the engines have in common: a store that writes down what is asked of it, a table whose rows are
//! known, and stores that seal it.

mod lake;
mod pinned;
mod table;
mod watched;

pub use lake::{LAKE, Lake, sealed, session};
pub use pinned::PinReads;
pub use table::{Layout, Table};
pub use watched::{Kind, Request, Watched};
