//! Tests of rewrap and repair: plans, a simulated disk, a state machine, and real files.

mod fixture;
mod machine;
mod plans;
#[cfg(unix)]
mod real;
mod repairs;
mod sim;
mod simulation;
mod streams;
