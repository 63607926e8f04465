//! Tests of rewrap and repair: plans, a simulated disk, a state machine, and real files.

mod fixture;
mod machine;
mod plans;
#[cfg(unix)]
mod real;
mod repairs;
mod sim;
mod simulation;
#[cfg(unix)]
#[allow(clippy::duplicate_mod, reason = "a helper of a few lines for two folders of tests")]
#[path = "../../../tests/skipped/mod.rs"]
mod skipped;
mod streams;
