//! Secrets that other crates leave on the stack.

use std::hint::black_box;

use zeroize::Zeroize;

/// More stack than the deepest call below uses, also in builds without optimization. A thread's stack must be larger.
const DEPTH: usize = 256 * 1024;

/// Runs `work`, then overwrites the stack below the caller.
///
/// The crates for key encapsulation wipe their results, but not all intermediate values. If the result of `work` has a
/// secret, the secret must be on the heap.
pub(super) fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    overwrite();
    result
}

/// A separate stack frame. If this were inlined, its frame would be part of the caller's and would not be overwritten.
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
