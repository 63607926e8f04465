//! A test that cannot run somewhere says so, and is counted: none passes in silence.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Names a file that gets the same lines, for who counts them over many test programs.
pub(crate) const LIST: &str = "WAXSEAL_SKIPPED";

/// Says that `what`, a test or a part of one, is not tried here, and why. It is said past the test harness, which shows
/// what a test prints only where that fails.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os(LIST) {
        let list = OpenOptions::new().create(true).append(true).open(list);
        list.and_then(|mut list| list.write_all(line.as_bytes())).expect("the list of what is skipped");
    }
}
