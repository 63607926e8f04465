//! A test that cannot run on a machine says so and is counted.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The variable that names a file for the same lines. `.ci/run` counts the lines of all test programs in it.
pub(crate) const LIST: &str = "WAXSEAL_SKIPPED";

/// Says that `what`, a test or a part of a test, does not run here, and why. The line goes directly to stderr, because
/// the test harness shows the output of a test only if the test fails.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("skipped: {what}: {why}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os(LIST) {
        let list = OpenOptions::new().create(true).append(true).open(list);
        list.and_then(|mut list| list.write_all(line.as_bytes())).expect("the list of what is skipped");
    }
}
