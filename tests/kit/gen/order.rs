//! Demands, the prelude, the commitment, and the order of the checks.

use super::super::encode::{ARN, Make, Wrap, file_key, fixed, key_id, list};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    demands(out);
    demands_first(out);
    prelude(out);
    bound(out);
    later_checks(out);
}

fn carrying() -> Make {
    Make::with(|make| {
        make.pairs = list(&[("both", "pair"), ("env", "prod"), ("name", "caf\u{e9}")]);
        make.labels = list(&[("both", "label"), ("host", "a=b")]);
    })
}

fn demands(out: &mut Vec<Vector>) {
    let file = carrying();
    let mut add = |name: &str, pairs: &[&str], labels: &[&str], met: bool| {
        let name = format!("demand_{name}");
        let vector = match met {
            true => Vector::opens(&name, &file.plaintext, file.file()).musts("demand-equal"),
            false => Vector::fails(&name, Class::Demand, file.file()).musts("demand-unmet demand-equal"),
        };
        let vector = pairs.iter().fold(vector.key(1), |vector, demand| vector.pair(demand));
        out.push(labels.iter().fold(vector, |vector, demand| vector.label(demand)));
    };
    add("pair", &["env=prod"], &[], true);
    add("label", &[], &["host=a=b"], true);
    add("all", &["both=pair", "env=prod", "name=caf\u{e9}"], &["both=label", "host=a=b"], true);
    add("value", &["env=test"], &[], false);
    add("value_case", &["env=Prod"], &[], false);
    add("value_begins", &["env=pro"], &[], false);
    add("value_longer", &["env=prod!"], &[], false);
    add("key", &["stage=prod"], &[], false);
    add("key_case", &["ENV=prod"], &[], false);
    add("decomposed", &["name=cafe\u{301}"], &[], false);
    add("label_as_pair", &["host=a=b"], &[], false);
    add("pair_as_label", &[], &["env=prod"], false);
    add("pair_value_of_label", &["both=label"], &[], false);
    add("one_of_two", &["env=prod", "x=y"], &[], false);
    add("label_unmet", &["env=prod"], &["host=a"], false);
    let none = Make::with(|make| {
        make.pairs = vec![0, 0];
        make.labels = vec![0, 0];
    });
    let vector = Vector::fails("demand_of_none", Class::Demand, none.file()).key(1).pair("env=prod");
    out.push(vector.musts("demand-unmet").says("the file carries neither pairs nor labels"));
}

/// A demand that is not met ends the reading before any key is used, and after the least length.
fn demands_first(out: &mut Vec<Vector>) {
    let file = carrying();
    let tags = "demand-first open-order";
    let mut add = |name: &str, class: Class, body: Vec<u8>, comment: &str| {
        let vector = Vector::fails(name, class, body).pair("x=y").musts(tags).says(comment);
        out.extend([vector.clone(), Vector { name: format!("{name}_with_key"), ..vector.key(1) }]);
    };
    add("demand_before_slot", Class::Demand, file.file(), "the demand is not met");
    let prelude = file.file_with(|file| file[8192] ^= 1);
    add("demand_before_prelude", Class::Demand, prelude, "and the payload's salt is altered");
    let garbled = Make { slots: vec![Wrap::KeyOf(1, [7; 32])], ..file.clone() };
    add("demand_before_commitment", Class::Demand, garbled.file(), "and the slot holds another data key");
    let short = file.file_with(|file| file.truncate(8192 + 71));
    add("demand_after_length", Class::Truncated, short, "and the file ends before its first chunk does");
    let suite = Make { suite: 9, ..file.clone() };
    add("demand_after_header", Class::Header, suite.file(), "and the suite is unknown");
    let costly = Make { slots: vec![Wrap::Pass(b"phrase".to_vec(), [u32::MAX, 1, 1])], ..file };
    let vector = Vector::fails("demand_before_passphrase", Class::Demand, costly.file()).pass("phrase").pair("x=y");
    out.push(vector.musts(tags));
}

fn prelude(out: &mut Vec<Vector>) {
    let file = Make::default();
    for (name, at) in [("salt", 0), ("salt_end", 23), ("commitment", 24), ("commitment_end", 55)] {
        let body = file.file_with(|file| file[8192 + at] ^= 1);
        let vector = Vector::fails(&format!("prelude_{name}"), Class::Commitment, body).key(1);
        out.push(vector.musts("prelude-equal").says("one bit of the payload's first 56 bytes is flipped"));
        let body = file.altered(|bank| bank[24 + at] ^= 1);
        let vector = Vector::fails(&format!("prelude_bank_{name}"), Class::Commitment, body).key(1);
        out.push(vector.musts("prelude-equal").says("one bit of the prelude of both banks is flipped"));
        let mut body = file.altered(|bank| bank[24 + at] ^= 1);
        body[8192 + at] ^= 1;
        let vector = Vector::fails(&format!("prelude_all_{name}"), Class::Commitment, body).key(1);
        out.push(vector.musts("commitment-check").says("the same bit is flipped in both banks and in the payload"));
    }
    let other = Make::with(|make| {
        make.salt = fixed("another salt");
        make.plaintext = b"of another file with the same data key".to_vec();
    });
    let body = [file.banks(), other.payload()].concat();
    let vector = Vector::fails("prelude_other_payload", Class::Commitment, body).key(1);
    out.push(vector.musts("prelude-equal share-salt").says("the payload of another file of the same data key"));
    let body = Make::with(|make| make.slots.push(Wrap::Key(2))).file_with(|file| file[8192] ^= 1);
    let vector = Vector::fails("prelude_two_slots", Class::Commitment, body).key(1).key(2);
    out.push(vector.musts("prelude-final").says("no other slot can help"));
    let body = file.file_with(|file| file[8192] ^= 1);
    let vector = Vector::fails("prelude_after_slot", Class::Slot, body).key(2).musts("open-order");
    out.push(vector.says("the payload's salt is altered, but no slot gives a data key"));
}

/// A bound byte is changed in both banks, and the checks are made right.
fn bound(out: &mut Vec<Vector>) {
    let file = Make::with(|make| {
        make.slots = vec![Wrap::Key(1), Wrap::pass("phrase"), Wrap::kms(ARN)];
    });
    let ways: [(&str, fn(&mut [u8])); 6] = [
        ("suite", |bank| bank[10] = 2),
        ("data_key_id", |bank| bank[80] ^= 1),
        ("data_key_id_end", |bank| bank[95] ^= 1),
        ("flags", |bank| bank[96] = 1),
        ("pair", |bank| bank[102] ^= 2),
        ("label", |bank| bank[125] ^= 1),
    ];
    for (name, way) in ways {
        let body = file.altered(way);
        let named = |opener: &str| format!("bound_{name}_{opener}");
        let tags = "bound-context bound-from-bank";
        let vector = Vector::fails(&named("kms"), Class::Commitment, body.clone()).data_key(&file.data_key, ARN);
        out.push(vector.musts(&format!("{tags} commitment-check")));
        let vector = Vector::fails(&named("keyfile"), Class::Slot, body.clone()).key(1).exit(4);
        out.push(vector.musts(tags).says("the wrapping is bound to the same bytes"));
        if name == "pair" {
            out.push(Vector::fails(&named("passphrase"), Class::Slot, body).pass("phrase").musts(tags));
        }
    }
    let moved = Make { labels: list(&[("project", "demo")]), pairs: list(&[("host", "example")]), ..file.clone() };
    let body = [moved.banks(), file.payload()].concat();
    let vector = Vector::fails("bound_lists_swapped", Class::Commitment, body).data_key(&file.data_key, ARN);
    out.push(vector.musts("bound-context commitment-check prelude-equal"));
    // What is not bound may change.
    let body = file.altered(|bank| bank[16..20].copy_from_slice(&[9, 8, 7, 6]));
    out.push(Vector::opens("unbound_generation", &file.plaintext, body).key(1).says("the generation is not bound"));
    let grown = Make { bank_len: 16_384, ..file.clone() };
    let body = [grown.banks(), file.payload()].concat();
    out.push(Vector::opens("unbound_bank_len", &file.plaintext, body).key(1).says("bank_len is not bound"));
}

/// What is wrong later does not matter where something is wrong earlier.
fn later_checks(out: &mut Vec<Vector>) {
    let file = Make::default();
    let tags = "open-order";
    let mut add = |name: &str, class: Class, body: Vec<u8>| {
        out.push(Vector::fails(&format!("order_{name}"), class, body).key(1).musts(tags));
    };
    add("length_before_slot", Class::Truncated, {
        let other = Make::with(|make| make.slots = vec![Wrap::Key(2)]);
        other.file()[..8192 + 71].to_vec()
    });
    add(
        "slot_before_chunk",
        Class::Slot,
        Make::with(|make| make.slots = vec![Wrap::Key(2)]).file_with(|file| {
            let last = file.len() - 1;
            file[last] ^= 1;
        }),
    );
    add("prelude_before_commitment", Class::Commitment, file.altered(|bank| bank[48] ^= 1));
    add("commitment_before_chunk", Class::Commitment, {
        let other = Make::with(|make| make.slots = vec![Wrap::KeyOf(1, [7; 32])]);
        other.file_with(|file| file[8250] ^= 1)
    });
    add(
        "prelude_before_chunk",
        Class::Commitment,
        file.file_with(|file| {
            file[8192] ^= 1;
            file[8250] ^= 1;
        }),
    );
    worst(out);
}

/// Several slots fail: the gravest decides, in whatever order they are tried.
fn worst(out: &mut Vec<Vector>) {
    let garbled = Wrap::raw(2, key_id(&file_key(2)), [7; 104]);
    let mut add = |name: &str, class: Class, exit: u8, other: Wrap, comment: &str| {
        for (order, slots) in [("first", [other.clone(), garbled.clone()]), ("last", [garbled.clone(), other])] {
            let body = Make::with(|make| make.slots = slots.to_vec()).file();
            let vector = Vector::fails(&format!("worst_{name}_{order}"), class, body).exit(exit).musts("slot-next");
            let vector = if order == "first" {
                vector.key(1).pass("phrase").key(2)
            } else {
                vector.key(2).pass("phrase").key(1)
            };
            out.push(vector.says(comment));
        }
    };
    let other = Wrap::KeyOf(1, [7; 32]);
    add("commitment", Class::Commitment, 4, other, "one slot gives another data key, one does not open");
    add(
        "keyfile",
        Class::Slot,
        4,
        Wrap::pass("another"),
        "the passphrase is wrong, and a key file's slot does not open",
    );
}
