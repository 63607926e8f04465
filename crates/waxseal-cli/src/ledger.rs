//! `--report`: one line for each input that is finished, and one for all of them.

use serde_json::Value;

use super::clock::Spent;
use super::count::count;
use super::escape::{self, Name};
use super::failure::Failure;
use super::report::Done;

/// What is counted for the last line.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// How many of each word, in the order in which they came first.
    words: Vec<(&'static str, u64)>,
    bytes: u64,
}

impl Ledger {
    /// The line for one input. `command` is the name of the command.
    pub(crate) fn line(
        &mut self,
        command: &str,
        file: Option<&Name>,
        spent: Spent,
        done: Option<&Done>,
        failure: Option<&Failure>,
    ) -> String {
        let word = match (failure, done) {
            (None, Some(done)) => word_of(command, done),
            _ => "failed",
        };
        match self.words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => self.words.push((word, 1)),
        }
        let mut line = format!("{} {word}", spent.started());
        file.iter().for_each(|file| line.push_str(&format!(" {file}")));
        let mut parts = Vec::new();
        if let Some(failure) = failure {
            parts.push(format!("{}, exit {}", failure.exit.kind(), failure.exit.code()));
        }
        if let Some(done) = done {
            self.bytes += if failure.is_none() { done.bytes.or(done.evidence.plaintext_bytes).unwrap_or(0) } else { 0 };
            done.output.iter().for_each(|output| line.push_str(&format!(" -> {output}")));
            parts.extend(facts(done));
        }
        let request = match failure {
            Some(failure) => failure.request_id.as_ref(),
            None => done.and_then(|done| done.request_id.as_ref()),
        };
        parts.extend(request.map(|id| format!("request {id}")));
        parts.push(spent.seconds());
        escape::text(&format!("{line}; {}", parts.join("; ")))
    }

    /// The line for several inputs.
    pub(crate) fn summary(&self, spent: Spent) -> Option<String> {
        let all: u64 = self.words.iter().map(|(_, count)| count).sum();
        let words: Vec<String> = self.words.iter().map(|(word, count)| format!("{count} {word}")).collect();
        (all > 1).then(|| {
            let (files, bytes) = (count(all, "file"), count(self.bytes, "byte"));
            format!("{} {files}: {}; {bytes} of plaintext; {}", spent.started(), words.join(", "), spent.seconds())
        })
    }
}

fn field<'a>(done: &'a Done, name: &str) -> &'a str {
    done.more.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What was done.
fn word_of(command: &str, done: &Done) -> &'static str {
    if done.is_skipped() {
        return "skipped";
    }
    match (field(done, "outcome"), field(done, "checked")) {
        ("unchanged", _) => return "unchanged",
        ("repaired" | "brought-together", _) => return "repaired",
        (_, "quick") => return "checked quickly",
        (_, "dry-run") => return "permitted",
        _ => {}
    }
    match command {
        "encrypt" | "direct encrypt" => "encrypted",
        "decrypt" | "direct decrypt" => "decrypted",
        "verify" => "verified",
        "inspect" => "inspected",
        "cat" => "read",
        "rewrap" => "rewrapped",
        "reseal" => "resealed",
        "salvage" => "salvaged",
        _ => "done",
    }
}

fn facts(done: &Done) -> Vec<String> {
    let evidence = &done.evidence;
    let mut facts = Vec::new();
    match keys(done) {
        Some(keys) => facts.push(format!("key {keys}")),
        None => facts.extend(done.key.iter().map(|key| match &evidence.key_arn {
            Some(arn) if !key.contains(arn.as_str()) => format!("key {key} ({arn})"),
            _ => format!("key {key}"),
        })),
    }
    let shared = if evidence.is_shared == Some(true) { " (shared)" } else { "" };
    facts.extend(evidence.data_key_id.iter().map(|id| format!("data key {id}{shared}")));
    match (evidence.plaintext_bytes, evidence.sealed_bytes) {
        (Some(plain), Some(sealed)) => facts.push(format!("{}, sealed {sealed}", count(plain, "byte"))),
        _ => facts.extend(done.bytes.map(|bytes| count(bytes, "byte"))),
    }
    facts
}

/// The keys before and after a change.
fn keys(done: &Done) -> Option<String> {
    let word = |change: &Value, name: &str| change.get(name).and_then(Value::as_str).map(str::to_owned);
    let one = |change: &Value| match (word(change, "old_key"), word(change, "new_key")) {
        (Some(old), Some(new)) => Some(format!("{old} -> {new}")),
        (None, Some(new)) => Some(format!("added {new}")),
        (Some(old), None) => Some(format!("removed {old}")),
        (None, None) => None,
    };
    let changes: Vec<String> = match done.more.get("changes").and_then(Value::as_array) {
        Some(changes) => changes.iter().filter_map(one).collect(),
        None => one(&Value::Object(done.more.clone())).into_iter().collect(),
    };
    (!changes.is_empty()).then(|| changes.join(", "))
}
