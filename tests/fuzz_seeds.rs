//! The fuzz targets run on their seeds, which are small and made here.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may end in a panic, and is small")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuzz::encode::public::{identity_line, ml_kem_768_spki, recipient_id, recipient_line, seed, x_wing_public};
use fuzz::encode::{ARN, CHEAP, MAGIC, Make, Wrap, file_key, key_line, list};
use fuzz::recipe;

/// So that no folder of seeds silently holds nothing.
const SEEDS: usize = 600;

type Seeds = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// An operand that names a place: anchor and offset.
fn place(anchor: u8, offset: u16) -> [u8; 3] {
    [anchor, offset.to_le_bytes()[0], offset.to_le_bytes()[1]]
}

/// Edits of every kind, each with a name.
fn edits() -> Vec<(&'static str, Vec<u8>)> {
    let op = |op: u8, operands: &[&[u8]]| [&[op], operands.concat().as_slice()].concat();
    let field = |field: u8, banks: u8, value: u16| op(9, &[&[field, banks], &value.to_le_bytes()]);
    vec![
        ("none", Vec::new()),
        ("flip_bank0", op(0, &[&place(0, 90), &[1]])),
        ("flip_bank1", op(0, &[&place(1, 90), &[1]])),
        ("flip_prelude", op(0, &[&place(2, 3), &[1]])),
        ("flip_chunk", op(0, &[&place(2, 60), &[1]])),
        ("flip_last_chunk", op(0, &[&place(3, 1), &[1]])),
        ("flip_end", op(0, &[&place(4, 1), &[0x80]])),
        ("write", op(1, &[&place(0, 130), &[3, 7, 7, 7]])),
        ("delete", op(2, &[&place(2, 56), &[16, 0]])),
        ("insert", op(3, &[&place(2, 56), &[2, 1, 2]])),
        ("copy_bank0", op(4, &[&place(0, 0), &[0, 16], &place(1, 0)])),
        ("copy_bank1", op(4, &[&place(1, 0), &[0, 16], &place(0, 0)])),
        ("copy_chunk", op(4, &[&place(2, 56), &[16, 64], &place(2, 56 + 16_400)])),
        ("cut", op(5, &[&place(4, 1)])),
        ("cut_chunk", op(5, &[&place(3, 0)])),
        ("cut_header", op(5, &[&place(2, 0)])),
        ("append", op(6, &[&[4, 0, 0, 0, 0]])),
        ("zero_bank0", op(7, &[&place(0, 0), &[0, 16], &[0]])),
        ("zero_bank1", op(7, &[&place(1, 0), &[0, 16], &[0]])),
        ("zero_both", [op(7, &[&place(0, 0), &[8, 0], &[0]]), op(7, &[&place(1, 0), &[8, 0], &[0]])].concat()),
        ("magic_4096", op(8, &[&place(5, 1)])),
        ("magic_16384", op(8, &[&place(5, 4)])),
        ("suite", field(1, 3, 2)),
        ("version", field(0, 0, 2)),
        ("bank_len", field(2, 3, 8192)),
        ("generation", field(4, 1, 9)),
        ("slot_count", field(6, 3, 2)),
        ("flags", field(12, 3, 1)),
        ("data_key_id", field(10, 3, 1)),
        ("salt", field(8, 3, 1)),
    ]
}

fn recipes() -> Vec<(String, Vec<u8>)> {
    let all = edits();
    let one = |base: usize, recheck: u8, (name, edit): &(&str, Vec<u8>)| {
        (format!("{base:02}_{recheck:02x}_{name}"), [&[base as u8, recheck], edit.as_slice()].concat())
    };
    // Each base once, each edit on a base or two, with and without the checks made right.
    let bases = (0..recipe::count()).map(|base| one(base, 0, &all[0]));
    let edited = all.iter().enumerate().flat_map(|(i, edit)| [one(i % recipe::count(), 0, edit), one(1, 0x3f, edit)]);
    bases.chain(edited).collect()
}

fn prefixed(prefix: &[u8]) -> Seeds {
    recipes().into_iter().map(|(name, recipe)| (name, [prefix, &recipe].concat())).collect()
}

fn of(seeds: impl IntoIterator<Item = (impl Into<String>, Vec<u8>)>) -> Seeds {
    seeds.into_iter().map(|(name, seed)| (name.into(), seed)).collect()
}

/// A bank up to where its slots end.
fn fields(make: &Make, number: u16) -> Vec<u8> {
    let mut bank = make.bank(number);
    bank.truncate(make.p() + make.slot_bytes().len());
    bank
}

fn headers() -> Seeds {
    let wraps = vec![Wrap::Key(1), Wrap::kms(ARN), Wrap::Pass(b"x".to_vec(), CHEAP), Wrap::raw(0x8000, "id", "w")];
    let entries: Vec<_> = (0..64).map(|i| (format!("k{i:02}"), "v".to_owned())).collect();
    let makes = [
        ("default", Make::default()),
        ("slots", Make::with(|make| make.slots = wraps)),
        ("lists", Make::with(|make| make.pairs = list(&entries))),
        ("no_lists", Make::with(|make| (make.pairs, make.labels) = (vec![0, 0], vec![0, 0]))),
        ("flags", Make::with(|make| make.flags = 1)),
        ("suite2", Make::with(|make| (make.suite, make.bank_len) = (2, 8192))),
        ("newer", Make::with(|make| make.version = 2)),
        ("generation", Make::with(|make| make.generation = u32::MAX)),
    ];
    let default = Make::default();
    let zero = fields(&default, 0);
    let len = (zero.len() as u16).to_le_bytes();
    let mut seeds = of([("raw_empty", vec![0]), ("raw_magic", [&[0], MAGIC.as_slice()].concat())]);
    for (name, make) in makes {
        seeds.insert(format!("one_{name}"), [&[1], fields(&make, 0).as_slice()].concat());
        seeds.insert(format!("two_{name}"), [&[2], &len[..], &zero, &fields(&make, 1)].concat());
    }
    seeds
}

fn texts() -> Seeds {
    let arns =
        [ARN, "arn:aws-cn:kms:r:123456789012:key/mrk-1", "arn:aws:kms:r:123456789012:alias/x", "arn:aws:kms:", ""];
    let pairs =
        ["a=1\nb=2", "A=1\nB=1\na=1", "aws:x=1", "WAXSEAL:x=1", "k=", "=v", "\u{e9}=\u{9f}", "k=a=b", "b=1\na=1", "x"];
    let arns = arns.iter().enumerate().map(|(i, text)| (format!("arn_{i}"), [&[0], text.as_bytes()].concat()));
    let pairs = pairs.iter().enumerate().map(|(i, text)| (format!("pairs_{i}"), [&[1], text.as_bytes()].concat()));
    of(arns.chain(pairs))
}

fn key_files() -> Seeds {
    let line = key_line(&file_key(1));
    let texts = [
        format!("{line}\n"),
        format!("# c\r\n\r\n{line}\r\n#"),
        line.clone(),
        format!("{line}\r"),
        format!("{line}\n{line}\n"),
        format!("\u{feff}{line}"),
        line.to_uppercase(),
        line[..80].to_owned(),
    ];
    of(texts.into_iter().enumerate().map(|(i, text)| (format!("{i}"), text.into_bytes())))
}

/// Identities, recipients of each kind, and some that break a rule.
fn key_texts() -> Seeds {
    let x_wing = x_wing_public(&seed(1));
    let kms = ml_kem_768_spki([7; 64]);
    let small: Vec<u8> =
        kms.iter().enumerate().map(|(at, byte)| if (22..1174).contains(&at) { 0 } else { *byte }).collect();
    let recipient = recipient_line(6, &recipient_id(&x_wing), &x_wing);
    let texts = [
        ("identity", identity_line(&seed(1))),
        ("identity_lines", format!("# c\r\n{}\r\n", identity_line(&seed(1)))),
        ("identity_upper", identity_line(&seed(1)).to_uppercase()),
        ("recipient_x_wing", recipient.clone()),
        ("recipient_wrapped", format!("{}\n{}", &recipient[..998], &recipient[998..])),
        ("recipient_other_id", recipient_line(6, &"0".repeat(32), &x_wing)),
        ("recipient_ml_kem", recipient_line(4, ARN, &kms)),
        ("recipient_ml_kem_small", recipient_line(4, ARN, &small)),
        ("recipient_as_rsa", recipient_line(5, ARN, &kms)),
        ("key", key_line(&file_key(1))),
        ("both", format!("{recipient}\n{}", identity_line(&seed(1)))),
        ("empty", String::new()),
    ];
    let whole = texts.iter().map(|(name, text)| ((*name).to_owned(), [&[0], text.as_bytes()].concat()));
    // Without its check digits, so that what a fuzzer changes has right ones.
    let body = |text: &str| text.rsplit_once(':').map_or_else(String::new, |(body, _)| body.to_owned());
    let bodies = texts.iter().filter(|(name, _)| !["both", "empty"].contains(name));
    let bodies = bodies.map(|(name, text)| (format!("{name}_body"), [&[1], body(text).as_bytes()].concat()));
    of(whole.chain(bodies))
}

/// Each edit on a file that is shared among threads too.
fn parallel() -> Seeds {
    let large = edits().into_iter().enumerate();
    let large =
        large.map(|(i, (name, edit))| (format!("large_{name}"), [&[0xf0 + i as u8 % 2, 0], edit.as_slice()].concat()));
    prefixed(&[]).into_iter().chain(large).collect()
}

/// Every deed on every edit; block sizes take turns.
fn rewraps() -> Seeds {
    let recipes = recipes();
    let deeds = (0..recipes.len()).map(|i| [(i % 6) as u8, (i / 6 % 3) as u8]);
    let mut seeds = of(recipes
        .into_iter()
        .zip(deeds)
        .map(|((name, recipe), deed)| (format!("{}{}_{name}", deed[0], deed[1]), [deed.as_slice(), &recipe].concat())));
    // Bank 0 held the magic in a slot, and is damaged just there: to mend it would end the file.
    for deed in [0, 1] {
        let recipe = [&[10, 0, 0], place(0, 8192).as_slice(), &[1]].concat();
        seeds.insert(format!("{deed}1_hidden_magic_damaged"), [&[deed, 1], recipe.as_slice()].concat());
    }
    seeds
}

/// Ranges of a [`fuzz::container`]: sound ones, one beyond all numbers, one to their end, and one backwards.
fn asked() -> Vec<u8> {
    let range = |kind: u8, start: u32, len: u32| [&[kind], &start.to_le_bytes()[..3], &len.to_le_bytes()[..3]].concat();
    let ranges = [
        range(0, 0, 10),
        range(0, 16_380, 20),
        range(0, 90, 40_000),
        range(1, 7, 9),
        range(2, 16_384, 0),
        range(3, 20_000, 10_000),
    ];
    [&[ranges.len() as u8], ranges.concat().as_slice()].concat()
}

fn made() -> BTreeMap<&'static str, Seeds> {
    let range = |start: u32, len: u32| [&start.to_le_bytes()[..3], &len.to_le_bytes()[..3]].concat();
    let ranges = [&[3], range(0, 10).as_slice(), &range(16_380, 20), &range(90, 40_000)].concat();
    BTreeMap::from([
        ("header", headers()),
        ("open_serial", prefixed(&[])),
        ("malleability", prefixed(&[])),
        ("split", prefixed(&[4, 1, 0, 255, 90])),
        ("parallel_vs_serial", parallel()),
        ("seek_vs_serial", prefixed(&ranges)),
        ("container", prefixed(&asked())),
        ("rewrap", rewraps()),
        ("names", texts()),
        ("keyfile", key_files()),
        ("keytext", key_texts()),
    ])
}

fn found(target: &str) -> Seeds {
    let entries = std::fs::read_dir(folder().join(target)).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn every_target_runs_on_its_seeds() {
    let mut count = 0;
    for (name, target) in fuzz::TARGETS {
        let seeds = found(name);
        assert!(seeds.len() >= 8, "{name} has {} seeds", seeds.len());
        count += seeds.len();
        seeds.values().for_each(|seed| target(seed));
    }
    assert_eq!(count, SEEDS);
}

#[test]
fn the_seeds_are_what_the_generator_makes() {
    let made = made();
    assert_eq!(made.len(), fuzz::TARGETS.len());
    for (target, seeds) in made {
        assert!(found(target) == seeds, "{target}");
        assert!(folder().join(format!("../fuzz_targets/{target}.rs")).is_file(), "{target}");
    }
}

/// For coverage: what `fuzz/run` found and kept.
#[test]
#[ignore = "needs what a fuzzer left in target/fuzz-corpus"]
fn every_target_runs_on_what_was_found() {
    for (name, target) in fuzz::TARGETS {
        let corpus = folder().join("../../target/fuzz-corpus").join(name);
        let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{name}");
        inputs.iter().for_each(|path| target(&std::fs::read(path).unwrap()));
    }
}

#[test]
#[ignore = "writes the seeds anew"]
fn regenerate() {
    for (target, seeds) in made() {
        let folder = folder().join(target);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, seed) in seeds {
            std::fs::write(folder.join(name), seed).unwrap();
        }
    }
}
