//! The output of a rewrap: the proof of a rotation.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use waxseal::container::Layout;
use waxseal::rewrap::{Change, Kept, Outcome, Part, RepairPlan, Replacement, Report, SlotName};

use crate::Result;
use crate::count::count;
use crate::escape::{self, Name};
use crate::evidence::Evidence;
use crate::failure::Failure;
use crate::report::{Done, Reporter};
use crate::walk::Why;

/// The parts that a repair replaced, or may have replaced, and where their old bytes are saved.
pub(super) struct Repaired {
    pub(super) plan: RepairPlan,
    pub(super) kept: Vec<Kept>,
}

impl Repaired {
    /// Each part, with the file that has its old bytes.
    fn parts(&self) -> impl Iterator<Item = (&Replacement, Option<&Kept>)> {
        let kept = |index| self.kept.iter().find(move |kept| kept.replacement == index);
        self.plan.replaced.iter().enumerate().map(move |(index, part)| (part, kept(index)))
    }

    fn words(&self, file: &str) -> String {
        self.parts().map(|(part, kept)| replaced_words(file, part, kept)).collect()
    }

    /// The guarantees that the file system could not give.
    pub(super) fn warnings(&self) -> Vec<String> {
        let told = |kept: &Kept| -> Vec<String> {
            kept.missed.iter().map(|missed| format!("{}: {missed}", escape::path(&kept.path))).collect()
        };
        self.kept.iter().flat_map(told).collect()
    }
}

/// The result for one input.
pub(super) fn done(file: &str, report: &Report, evidence: Evidence, repaired: Option<&Repaired>) -> Done {
    let changes: Vec<String> = report.changes.iter().map(change_words).collect();
    let note = (!changes.is_empty()).then(|| format!("{file}: {}", changes.join(", ")));
    let stdout = match (repaired, report.outcome) {
        (Some(repaired), _) => Some(repaired.words(file)),
        (None, Outcome::Unchanged) => Some(format!("{file}: unchanged\n")),
        (None, _) => None,
    };
    Done {
        request_id: report.changes.iter().find_map(|change| change.request_id.clone()),
        evidence: Evidence { key_arn: new_arn(report), ..evidence }
            .with_lengths(plaintext_len(report), Some(report.file_len)),
        more: json_of(report, repaired),
        note,
        stdout,
        ..Done::default()
    }
}

/// The first new key, if it is in AWS KMS.
fn new_arn(report: &Report) -> Option<String> {
    let new = report.changes.iter().find_map(|change| change.new.as_ref())?;
    Some(new.key_id.clone()).filter(|id| id.starts_with("arn:"))
}

/// By the length of the payload, which this command does not authenticate.
fn plaintext_len(report: &Report) -> Option<u64> {
    Layout::new(0).end(report.payload_len).ok().map(|end| end.plaintext_len)
}

/// Adds, for each call, the materials of the new key and of the old one. `of` finds them.
pub(super) fn with_materials(mut done: Done, of: impl Fn(&str) -> (Option<String>, Option<String>)) -> Done {
    let changes = done.more.get_mut("changes").and_then(Value::as_array_mut);
    for change in changes.into_iter().flatten().filter_map(Value::as_object_mut) {
        let id = change.get("aws_request_id").and_then(Value::as_str);
        let (new, old) = id.map_or((None, None), &of);
        change.insert("key_material_id".into(), new.into());
        change.insert("old_key_material_id".into(), old.into());
    }
    let (new, _) = done.request_id.as_deref().map_or((None, None), &of);
    Done { key_material_id: new, ..done }
}

/// A failure after a repair overwrote bytes, or may have. The result has the old bytes, because the file no longer has
/// them.
pub(super) fn cut_short(file: &str, repaired: &Repaired, failure: Failure) -> Done {
    Done {
        more: Map::from_iter([("repaired".to_owned(), repaired_json(Some(repaired)))]),
        stdout: Some(repaired.words(file)),
        shortfall: Some(failure),
        ..Done::default()
    }
}

/// Another name of the file `first`, with the same result. Nothing more is done for it.
pub(super) fn again(file: &str, first: &str, result: &Result<Done>) -> Result<Done> {
    let failed = match result {
        Ok(done) => done.shortfall.as_ref(),
        Err(failure) => Some(failure),
    };
    if let Some(failure) = failed {
        return Err(Failure::new(failure.exit, format!("it is the same file as {first}, which failed")));
    }
    let value = json!({
        "outcome": "unchanged", "old_key": null, "new_key": null, "changes": [], "repaired": [], "same_file_as": first,
    });
    let more = value.as_object().cloned().unwrap_or_default();
    let stdout = Some(format!("{file}: unchanged: the same file as {first}\n"));
    Ok(Done { more, stdout, ..Done::default() })
}

/// The same for an input that was found.
pub(super) fn same_file(file: &Name, first: &Name) -> Done {
    let mut done = Done::left_out(file, Why::SameFile);
    done.more.insert("same_file_as".to_owned(), first.text().into());
    done
}

/// With `--quiet`, an unchanged file is not reported.
pub(super) fn audible(done: Done, reporter: &Reporter) -> Done {
    if reporter.is_verbose() || !is_unchanged(&done) { done } else { Done { stdout: None, ..done } }
}

fn is_unchanged(done: &Done) -> bool {
    done.more.get("outcome").is_some_and(|outcome| outcome == "unchanged")
}

/// What was wrong before.
pub(super) fn warnings(report: &Report, repaired: Option<&Repaired>) -> Vec<String> {
    let mended = if report.outcome == Outcome::Unchanged && repaired.is_none() { "" } else { "; now repaired" };
    report.warnings.iter().map(|warning| format!("{warning}{mended}")).collect()
}

/// The number of files for each result.
#[derive(Debug, Default)]
pub(super) struct Summary {
    changed: usize,
    unchanged: usize,
    failed: usize,
}

impl Summary {
    pub(super) fn add(&mut self, result: &Result<Done>) {
        match result {
            Ok(done) if done.shortfall.is_some() => self.failed += 1,
            Ok(done) if is_unchanged(done) => self.unchanged += 1,
            Ok(_) => self.changed += 1,
            Err(_) => self.failed += 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} changed, {} unchanged, {} failed",
            count(self.changed as u64, "file"),
            self.unchanged,
            self.failed
        )
    }
}

fn name_of(slot: &SlotName) -> String {
    match slot.key_id.as_str() {
        "" => slot.kind.name().to_owned(),
        id if id.starts_with("arn:") => id.to_owned(),
        id => format!("{} {id}", slot.kind.name()),
    }
}

fn change_words(change: &Change) -> String {
    let id = change.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
    match (change.old.as_ref().map(name_of), change.new.as_ref().map(name_of)) {
        (Some(old), Some(new)) => format!("{old} -> {new}{id}"),
        (None, Some(new)) => format!("added {new}{id}"),
        (Some(old), None) => format!("removed {old}"),
        (None, None) => String::new(),
    }
}

/// Where the old bytes are saved. A few bytes are shown directly, because a repair overwrites them.
fn replaced_words(file: &str, part: &Replacement, kept: Option<&Kept>) -> String {
    let what = match &part.part {
        Part::Bank(number) => format!("header bank {} was damaged and is restored from the other one", number.get()),
        Part::Prelude { key, chunk } => {
            format!(
                "salt and commitment are restored from the header; chunk {chunk} and {} prove that they are right",
                escape::text(key)
            )
        }
    };
    let were = match kept {
        Some(kept) => format!("the old bytes are in {} (SHA-256 {})", escape::path(&kept.path), hex(&kept.sha256)),
        None => {
            let (start, before) = difference(part);
            format!("the old bytes from {start} on were (base64): {before}")
        }
    };
    format!("{file}: {what}; {were}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The range from the first changed byte to the last.
fn difference(part: &Replacement) -> (u64, String) {
    let Some(before) = &part.before else { return (part.offset, "unreadable".into()) };
    let differs: Vec<usize> = before
        .iter()
        .zip(&part.after)
        .enumerate()
        .filter(|(_, (one, two))| one != two)
        .map(|(index, _)| index)
        .collect();
    match (differs.first(), differs.last()) {
        (Some(first), Some(last)) => (part.offset + *first as u64, STANDARD.encode(&before[*first..=*last])),
        _ => (part.offset, String::new()),
    }
}

fn json_of(report: &Report, repaired: Option<&Repaired>) -> Map<String, Value> {
    let outcome = match (repaired, report.outcome) {
        (_, Outcome::Changed(_)) => "changed",
        (Some(_), _) => "repaired",
        (None, Outcome::BroughtTogether(_)) => "brought-together",
        (None, Outcome::Unchanged) => "unchanged",
    };
    let change = |change: &Change| {
        json!({
            "old_key": change.old.as_ref().map(name_of),
            "new_key": change.new.as_ref().map(name_of),
            "aws_request_id": change.request_id,
        })
    };
    let first = report.changes.first();
    let value = json!({
        "outcome": outcome,
        "old_key": first.and_then(|change| change.old.as_ref()).map(name_of),
        "new_key": first.and_then(|change| change.new.as_ref()).map(name_of),
        "changes": report.changes.iter().map(change).collect::<Vec<_>>(),
        "repaired": repaired_json(repaired),
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn repaired_json(repaired: Option<&Repaired>) -> Value {
    repaired.map(|repaired| repaired.parts().map(replaced_json).collect::<Vec<_>>()).unwrap_or_default().into()
}

fn replaced_json((part, kept): (&Replacement, Option<&Kept>)) -> Value {
    let name = match part.part {
        Part::Bank(number) => format!("bank {}", number.get()),
        Part::Prelude { .. } => "salt and commitment".to_owned(),
    };
    let file = kept.map(|kept| Name::of(&kept.path));
    json!({
        "part": name,
        "offset": part.offset,
        "before": part.before.as_ref().map(|bytes| STANDARD.encode(bytes)),
        "after": STANDARD.encode(&part.after),
        "before_file": file.as_ref().map(Name::text),
        "before_file_bytes": file.as_ref().and_then(Name::base64),
        "before_sha256": kept.map(|kept| hex(&kept.sha256)),
    })
}
