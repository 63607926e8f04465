//! The option that names keys to open with, for hints. It is `-k`, if the command has no other one.

use std::sync::OnceLock;

static OPTION: OnceLock<&str> = OnceLock::new();

/// The option.
pub(crate) fn to_open() -> &'static str {
    OPTION.get().copied().unwrap_or("-k")
}

/// This command has another option for keys to open with. Call it before the first key is read.
pub(crate) fn opens_by(option: &'static str) {
    // A run has one command.
    let _ = OPTION.set(option);
}
