//! The program seals one file for keys of all six kinds, with the small KMS. Each key alone opens the file. A slot that
//! was altered, moved or renamed does not open it.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "cli_support/cloud.rs"]
mod cloud;
mod support;

use cli_support::noise;
use cloud::Cloud;
use serde_json::{Value, json};
use waxseal::format::{Bank, Front, Header, Slot};

/// A key of one kind, and what is expected of its slot.
struct Kind {
    name: &'static str,
    seals: String,
    opens: String,
    /// The call that opens it.
    call: Option<&'static str>,
    /// The number of bytes before the message in the wrapped key. None for `aws-kms`, because the service makes the
    /// whole wrapped key.
    before: usize,
    /// The exit code after the slot was altered. A passphrase that does not open the slot may also be a wrong one.
    altered: i32,
}

/// The keys, in the order of their kinds' numbers.
fn kinds(cloud: &Cloud) -> [Kind; 6] {
    cloud.ok(&["key", "new", "--pair", "id"]);
    cloud.place.write("pass", "correct horse battery staple\n");
    let create = |alias: &str, more: &[&str]| {
        let args = [&["key", "create", "--alias", alias], more].concat();
        cloud.ok(&args).text().trim().to_owned()
    };
    let public = |spec: &str, file: &str| {
        let arn = create(&format!("alias/{file}"), &["--spec", spec]);
        cloud.ok(&["key", "public", &arn, "-o", file]);
        arn
    };
    let symmetric = create("alias/symmetric", &[]);
    let (ml_kem, rsa) = (public("ML_KEM_1024", "ml-kem"), public("RSA_3072", "rsa"));
    let kind = |name, (seals, opens): (&str, &str), call, before, altered| Kind {
        name,
        seals: seals.into(),
        opens: opens.into(),
        call,
        before,
        altered,
    };
    let pass = "passphrase:file=pass";
    [
        kind("aws-kms", (&symmetric, &symmetric), Some("Decrypt"), 0, 4),
        kind("keyfile", ("file:k", "file:k"), None, 0, 4),
        kind("passphrase", (pass, pass), None, 44, 5),
        kind("aws-kms-ml-kem", ("file:ml-kem", &ml_kem), Some("Decapsulate"), 1568, 4),
        kind("aws-kms-rsa", ("file:rsa", &rsa), Some("Decrypt"), 384, 4),
        kind("x-wing", ("file:id.pub", "file:id"), None, 1120, 4),
    ]
}

/// Seals `in` as `name` for all of them.
fn seal(cloud: &Cloud, kinds: &[Kind], name: &str) {
    let keys = kinds.iter().flat_map(|kind| ["-k", &kind.seals]);
    let args: Vec<&str> = ["encrypt", "-o", name, "-c", "env=prod"].into_iter().chain(keys).chain(["in"]).collect();
    cloud.ok(&args);
}

fn slots(cloud: &Cloud, name: &str) -> Vec<Slot> {
    Header::read(&Front::new(cloud.place.read(name))).unwrap().bank().slots.clone()
}

/// `in.wax` with some slots replaced, as anyone who can write the file can do.
fn change(cloud: &Cloud, changes: &[(usize, Slot)]) {
    let mut file = cloud.place.read("in.wax");
    let header = Header::read(&Front::new(file.clone())).unwrap();
    let old = header.bank();
    let mut slots = old.slots.clone();
    changes.iter().for_each(|(at, other)| slots[*at] = other.clone());
    for number in [old.number, old.number.other()] {
        let bank = Bank { number, slots: slots.clone(), ..old.clone() }.encode().unwrap();
        let at = usize::from(number.get()) * old.len.get();
        file[at..at + bank.len()].copy_from_slice(&bank);
    }
    cloud.place.write("in.wax", file);
}

#[test]
fn each_key_alone_opens_a_file_of_all_six_kinds() {
    let cloud = Cloud::small();
    let kinds = kinds(&cloud);
    let content = noise(100_000);
    cloud.place.write("in", &content);
    cloud.proxy.take();
    seal(&cloud, &kinds, "in.wax");
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"], "the public keys are not asked for");
    let found: Vec<_> = slots(&cloud, "in.wax").iter().map(|slot| slot.kind.name()).collect();
    assert_eq!(found, kinds.each_ref().map(|kind| kind.name));
    for kind in &kinds {
        let opened = cloud.ok(&["decrypt", "-k", &kind.opens, "-o", "-", "in.wax"]);
        assert!(opened.stdout == content, "{}", kind.name);
        assert_eq!(cloud.proxy.take(), kind.call.map(str::to_owned).as_slice(), "{}", kind.name);
        let told = cloud.json(&["verify", "--json", "-k", &kind.opens, "in.wax"]);
        assert_eq!(told["slot_kind"], kind.name, "{told}");
        cloud.proxy.take();
    }
    // The same with each slot as the only one.
    for kind in &kinds {
        cloud.place.write("alone.wax", cloud.place.read("in.wax"));
        let others = kinds.iter().filter(|other| other.name != kind.name);
        let removes = others.flat_map(|other| ["--remove", &other.seals]);
        let args: Vec<&str> = ["rewrap"].into_iter().chain(removes).chain(["alone.wax"]).collect();
        cloud.ok(&args);
        let left: Vec<_> = slots(&cloud, "alone.wax").iter().map(|slot| slot.kind.name()).collect();
        assert_eq!(left, [kind.name]);
        cloud.ok(&["verify", "-k", &kind.opens, "alone.wax"]);
    }
    cloud.server().conforms();
}

/// Parts of a wrapped key: the bytes before the message, and the message's salt, commitment, key and tag.
fn places(kind: &Kind, len: usize) -> Vec<usize> {
    let message = if kind.name == "aws-kms" { len } else { kind.before };
    let before = match kind.name {
        "keyfile" => Vec::new(),
        // In the salt of Argon2id. It is after the costs, which have their own rules.
        "passphrase" => vec![message - 1],
        _ => vec![0, message / 2, message - 1],
    };
    let of_message = [0, 23, 24, 55, 56, 88, 103].map(|at| message + at);
    before.into_iter().chain(of_message.into_iter().filter(|at| *at < len)).collect()
}

#[test]
fn a_slot_of_any_kind_that_was_altered_does_not_open() {
    let cloud = Cloud::small();
    let kinds = kinds(&cloud);
    cloud.place.write("in", "content");
    seal(&cloud, &kinds, "whole.wax");
    let whole = slots(&cloud, "whole.wax");
    seal(&cloud, &kinds, "other.wax");
    let theirs = slots(&cloud, "other.wax");
    for (number, kind) in kinds.iter().enumerate() {
        let fails = |what: &str, slot: Slot, code: i32| {
            cloud.place.write("in.wax", cloud.place.read("whole.wax"));
            change(&cloud, &[(number, slot)]);
            let ran = cloud.run(&["verify", "--json", "-k", &kind.opens, "in.wax"]);
            let told: Value = serde_json::from_str(&ran.text()).unwrap();
            assert_eq!(told["exit"], json!(code), "{}: {what}: {told}", kind.name);
            // The other keys open the file as before.
            let next = &kinds[if number == 1 { 5 } else { 1 }];
            cloud.ok(&["verify", "-k", &next.opens, "in.wax"]);
        };
        let own = &whole[number];
        for at in places(kind, own.wrapped.len()) {
            let mut slot = own.clone();
            slot.wrapped[at] ^= 1;
            fails(&format!("byte {at}"), slot, kind.altered);
        }
        // A slot of the same key, from another file.
        fails("grafted", theirs[number].clone(), kind.altered);
        if matches!(kind.name, "aws-kms-ml-kem" | "aws-kms-rsa" | "x-wing") {
            // Another file's encapsulation before this message, and the other way round.
            let (ours, foreign) = (&own.wrapped, &theirs[number].wrapped);
            for (sent, message) in [(foreign, ours), (ours, foreign)] {
                let wrapped = [&sent[..kind.before], &message[kind.before..]].concat();
                fails("a foreign encapsulation", Slot { wrapped, ..own.clone() }, kind.altered);
            }
        }
    }
    cloud.server().conforms();
}

/// The ARN decides which key is used. No key opens the slot of another key.
#[test]
fn swapped_arns_open_nothing() {
    let cloud = Cloud::small();
    let kinds = kinds(&cloud);
    let second = cloud.ok(&["key", "create", "--spec", "ML_KEM_1024", "--alias", "alias/second"]).text();
    cloud.ok(&["key", "public", second.trim(), "-o", "second"]);
    cloud.place.write("in", "content");
    let (ml_kem, rsa) = (&kinds[3], &kinds[4]);
    let swap = |one: &Slot, other: &Slot| Slot { key_id: other.key_id.clone(), ..one.clone() };
    let exits = |key: &str| cloud.json(&["verify", "--json", "-k", key, "in.wax"])["exit"].clone();
    // With two keys of the same kind, KMS returns a secret that opens nothing.
    cloud.ok(&["encrypt", "-k", "file:ml-kem", "-k", "file:second", "in"]);
    let own = slots(&cloud, "in.wax");
    change(&cloud, &[(0, swap(&own[0], &own[1])), (1, swap(&own[1], &own[0]))]);
    assert_eq!((exits(&ml_kem.opens), exits(second.trim())), (json!(4), json!(4)));
    // With keys of two kinds, KMS refuses the key for this use.
    cloud.ok(&["encrypt", "-f", "-k", "file:ml-kem", "-k", "file:rsa", "in"]);
    let own = slots(&cloud, "in.wax");
    change(&cloud, &[(0, swap(&own[0], &own[1])), (1, swap(&own[1], &own[0]))]);
    assert_eq!((exits(&ml_kem.opens), exits(&rsa.opens)), (json!(5), json!(5)));
    cloud.server().conforms();
}
