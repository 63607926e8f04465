//! Every line of `--json` that a test gets must match docs/json.schema.json.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/json.schema.json");
const PLACE: &str = "urn:waxseal:json:1";

/// The variable that names a file for the commands of the lines that were checked, one on each line. `.ci/run` counts
/// the lines of all test programs in it.
pub(crate) const LIST: &str = "WAXSEAL_JSON_LINES";

/// How many lines this process has checked.
pub(crate) static CHECKED: AtomicUsize = AtomicUsize::new(0);

/// Checks one line.
pub(crate) fn check(line: &Value) -> Result<(), String> {
    static COMPILED: OnceLock<(Schemas, SchemaIndex)> = OnceLock::new();
    let (schemas, index) = COMPILED.get_or_init(|| {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.enable_content_assertions();
        compiler.add_resource(PLACE, serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let index = compiler.compile(PLACE, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        (schemas, index)
    });
    CHECKED.fetch_add(1, Ordering::Relaxed);
    schemas.validate(line, *index).map_err(|error| format!("{error:#}"))?;
    list(line);
    Ok(())
}

/// Lines of several processes do not mix, because each is one short write to the end of the file.
fn list(line: &Value) {
    if let Some(list) = std::env::var_os(LIST) {
        let command = line["command"].as_str().unwrap_or("none");
        let list = OpenOptions::new().create(true).append(true).open(list);
        list.and_then(|mut list| list.write_all(format!("{command}\n").as_bytes()))
            .expect("the list of what is checked");
    }
}

/// Checks each line of JSON in what the program printed.
#[track_caller]
pub(crate) fn check_printed(printed: &[u8]) {
    for line in printed.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"")) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { continue };
        if value.get("schema").is_some() {
            check(&value).unwrap_or_else(|error| panic!("{error}\n{value}"));
        }
    }
}
