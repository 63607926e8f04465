//! `salvage`: recovers the parts of a damaged file that authenticate, each at its own offset.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use waxseal::salvage::{HeaderSource, PlaintextEnd, Region, SalvageOptions, SalvageReport, salvage};

use super::open::{Open, warn_of_header};
use crate::Result;
use crate::args::SalvageArgs;
use crate::count::count;
use crate::escape::Name;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{NewFile, Target};
use crate::place::Place;
use crate::plan::overwrite;
use crate::progress::Watch;
use crate::report::Done;
use crate::session::{Session, durability};

/// The maximum number of missing parts in the text output. `--map` and `--json` have all of them.
const LISTED: usize = 20;

/// Salvages the input.
pub(crate) fn run(args: &SalvageArgs, session: &Session) -> Result<Exit> {
    let name = Place::input(&args.input);
    let open = Open::new(&args.open, &args.pairs, std::slice::from_ref(&name), session)?;
    Ok(session.reporter.finished(Some(&name.name()), rescue(&name, args, &open)))
}

fn rescue(name: &Place, args: &SalvageArgs, open: &Open<'_>) -> Result<Done> {
    let input = name.open()?;
    if !input.is_seekable() {
        return Err(Failure::usage("only a file can be salvaged, not a stream").hint("copy it to a file first"));
    }
    let mut forbidden = open.forbidden();
    forbidden.extend(input.identity().map(|identity| (identity, "input")));
    let at = |name: &Path| Target::at(&Place::output(name), overwrite(args.write.force), &forbidden);
    let output = at(&args.output)?;
    let map = args.map.as_ref().map(|name| at(name).map_err(of_map)).transpose()?;
    if map.as_ref().is_some_and(|map| map.is_same_place(&output)) {
        return Err(Failure::usage("the map and the output are the same file").hint("name another file with --map"));
    }
    let output = new_file(output)?;
    let map = map.map(|map| new_file(map).map_err(of_map)).transpose()?;
    let options = SalvageOptions::new().with_demands(open.demands().clone());
    let watch = Watch::new(open.session.progress, &name.display());
    let report = salvage(input.bytes(), output.file(), &open.openers(), &options, &watch);
    watch.finish();
    let report = match report {
        Ok(report) => report,
        Err(error) => return Err(open.explain(error, None, &input)),
    };
    let durability = durability(args.write.no_sync);
    output.commit(durability, &open.session.reporter)?;
    if let Some(map) = map {
        let written = report.write_ddrescue_map(&mut map.file());
        written.map_err(|error| Failure::io("writing the map", error))?;
        map.commit(durability, &open.session.reporter)?;
    }
    Ok(told(&report, args, open, &input).of(&input))
}

/// Creates a regular file. The output never goes to a pipe, because missing parts would look like content.
fn new_file(target: Target) -> Result<NewFile> {
    let Some((there, overwrite)) = target.into_file() else {
        let failure = Failure::usage("salvage can write only to a file, not to a pipe or a device");
        return Err(failure.hint("name a file with -o"));
    };
    NewFile::at(there, overwrite, 0o600)
}

/// The same failure, where the output is the map.
fn of_map(failure: Failure) -> Failure {
    Failure { hint: failure.hint.map(|hint| hint.replace("with -o", "with --map")), ..failure }
}

/// Reports all findings. It is a failure if anything is missing.
fn told(report: &SalvageReport, args: &SalvageArgs, open: &Open<'_>, input: &Input) -> Done {
    match &report.header {
        HeaderSource::Header(header) => warn_of_header(&open.session.reporter, header),
        _ => open
            .session
            .reporter
            .warn("no complete copy of the header is at its position; the file was opened with what is left"),
    }
    let (request_id, key_material_id) = open.cloud.answered();
    let slots = if let HeaderSource::Header(header) = &report.header { header.bank().slots.as_slice() } else { &[] };
    let evidence = Evidence {
        key_arn: Some(report.by.key.clone()).filter(|key| key.starts_with("arn:")),
        ..Evidence::of(&report.binding, slots)
    };
    let known = if let PlaintextEnd::Known(len) = report.end { Some(len) } else { None };
    let mut done = Done {
        evidence: evidence.with_lengths(known, Some(report.input_len)),
        bytes: Some(report.recovered_bytes()),
        key: Some(report.by.key.clone()),
        output: Some(Name::of(&args.output)),
        request_id,
        key_material_id,
        more: json_of(report),
        note: Some(format!("everything authenticates: {}", count(report.recovered_bytes(), "byte"))),
        ..Done::default()
    };
    if !report.is_complete() {
        let mut failure = Failure::new(Exit::Tampered, missing(report)).hint(hint(report, input));
        failure.failed_at = report.lost.first().map(|region| region.plaintext.start);
        done.shortfall = Some(failure);
        done.details = holes(&report.lost);
    }
    done
}

fn missing(report: &SalvageReport) -> String {
    let mut text = format!(
        "{} of {} recovered, {} missing in {}",
        report.recovered_bytes(),
        count(report.output_len(), "byte"),
        report.lost_bytes(),
        count(report.lost.len() as u64, "place"),
    );
    if let PlaintextEnd::Unknown { .. } = report.end {
        text.push_str(", and the original length is not known");
    }
    text
}

fn hint(report: &SalvageReport, input: &Input) -> String {
    let more = if report.search_cut_short { "; the search reached its limit and stopped early" } else { "" };
    let medium = if report.unreadable.is_empty() || !input.is_file() {
        ""
    } else {
        "; parts of the medium cannot be read: GNU ddrescue can try them again with the map of --map"
    };
    format!("the missing places are zeros in the output{medium}{more}")
}

fn holes(lost: &[Region]) -> Vec<String> {
    let mut lines: Vec<String> = lost.iter().take(LISTED).map(hole).collect();
    if lost.len() > LISTED {
        lines.push(format!(
            "and {}; --map and --json list all of them",
            count((lost.len() - LISTED) as u64, "more place")
        ));
    }
    lines
}

fn hole(region: &Region) -> String {
    let mut text = String::from("missing: ");
    let Region { plaintext, ciphertext } = region;
    let _ =
        write!(text, "plaintext {}..{}, file {}..{}", plaintext.start, plaintext.end, ciphertext.start, ciphertext.end);
    text
}

fn json_of(report: &SalvageReport) -> Map<String, Value> {
    let range = |range: &std::ops::Range<u64>| json!([range.start, range.end]);
    let region =
        |region: &Region| json!({"plaintext": range(&region.plaintext), "ciphertext": range(&region.ciphertext)});
    let shifts = report
        .shifts
        .iter()
        .map(|shift| json!({"plaintext": shift.plaintext, "ciphertext": shift.ciphertext, "bytes": shift.bytes}));
    let salvage = json!({
        "complete": report.is_complete(),
        "end_known": matches!(report.end, PlaintextEnd::Known(_)),
        "output_len": report.output_len(),
        "recovered_bytes": report.recovered_bytes(),
        "lost_bytes": report.lost_bytes(),
        "lost": report.lost.iter().map(region).collect::<Vec<_>>(),
        "surplus": report.surplus.iter().map(range).collect::<Vec<_>>(),
        "unreadable": report.unreadable.iter().map(range).collect::<Vec<_>>(),
        "shifts": shifts.collect::<Vec<_>>(),
        "search_cut_short": report.search_cut_short,
    });
    Map::from_iter([("salvage".to_owned(), salvage)])
}
