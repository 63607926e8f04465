//! Serial writing and reading over [`std::io`]; also what the parallel engine is tested against.

mod open;
mod seal;
#[cfg(test)]
mod tests;

pub use open::{OpenReader, PayloadReader};
pub use seal::SealWriter;
