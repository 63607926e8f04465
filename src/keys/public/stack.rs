//! Secrets that other crates leave on the stack.

use std::hint::black_box;

use zeroize::Zeroize;

/// More than the deepest call below uses, in builds without optimization too. A thread needs a stack above this size.
const DEPTH: usize = 256 * 1024;

/// Runs `work`, then overwrites the stack below the caller.
///
/// The crates of the key encapsulation wipe what they return, but not all that they computed on the way. What `work`
/// returns must hold no secret but on the heap.
pub(super) fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    overwrite();
    result
}

/// A frame of its own: inlined, it would be part of the caller's, and would not be overwritten.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

#[inline(never)]
fn overwrite() {
    let mut stack = [0_u8; DEPTH];
    black_box(&mut stack).zeroize();
    black_box(&stack);
}
