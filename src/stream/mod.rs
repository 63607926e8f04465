//! Serial writing and reading over [`std::io`]; also what the parallel engine is tested against.

mod open;
mod seal;
#[cfg(test)]
pub(crate) mod tests;

pub use open::{OpenReader, PayloadReader};
pub use seal::SealWriter;
