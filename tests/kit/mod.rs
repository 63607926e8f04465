//! The public test kit: what makes its vectors, and what runs them.

#![allow(dead_code, reason = "each test crate uses a part of this")]
#![allow(clippy::type_complexity, reason = "tables of small functions")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may end in a panic, and is small")]

pub(crate) mod encode;
pub(crate) mod r#gen;
pub(crate) mod run;
pub(crate) mod vector;
