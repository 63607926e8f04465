//! Serial writing and reading over [`std::io`]. Tests compare the parallel engine with these.

mod open;
mod seal;
#[cfg(test)]
mod tests;

pub use open::{OpenReader, PayloadReader};
pub use seal::SealWriter;
