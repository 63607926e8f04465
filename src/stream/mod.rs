//! Serial writing and reading over [`std::io`]. Tests compare the parallel engine with these.

mod open;
mod seal;
#[cfg(test)]
pub(crate) mod tests;

pub use open::{OpenReader, PayloadReader};
pub use seal::SealWriter;
