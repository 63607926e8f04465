//! The fixed fields of a bank: version, suite, flags, counts, filling, lengths.

use super::super::encode::{MAGIC, Make, Wrap, recheck};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    versions(out);
    newer_beside(out);
    numbers(out);
    filling(out);
    fit(out);
}

fn versions(out: &mut Vec<Vector>) {
    for version in [0, 2, 256, 0xffff] {
        let file = Make::with(|make| make.version = version);
        let name = format!("version_{version}");
        out.push(Vector::fails(&name, Class::Newer, file.file()).key(1).musts("bank-version"));
    }
}

/// Version 2 of one bank, and what is wrong beside it.
fn newer_beside(out: &mut Vec<Vector>) {
    let good = Make::default();
    let newer = Make::with(|make| make.version = 2);
    let mut add = |name: &str, body: Vec<u8>, comment: &str| {
        let vector = Vector::fails(name, Class::Newer, body).key(1).musts("bank-version open-order");
        out.push(vector.says(comment));
    };
    let (ours, theirs) = (good.payload(), newer.payload());
    add("newer_bank0", [newer.bank(0), good.bank(1), ours.clone()].concat(), "bank 1 is valid and of version 1");
    add("newer_bank1", [good.bank(0), newer.bank(1), ours.clone()].concat(), "bank 0 is valid and of version 1");
    let damaged = [vec![0; 4096], newer.bank(1), theirs.clone()].concat();
    add("newer_bank1_bank0_damaged", damaged, "bank 0 is zeroed");
    let damaged = [newer.bank(0), vec![0; 4096], theirs.clone()].concat();
    add("newer_bank0_bank1_damaged", damaged, "bank 1 is zeroed");
    let strange = newer.altered(|bank| {
        bank[10..12].copy_from_slice(&[9, 9]);
        bank[20..22].copy_from_slice(&[0, 0]);
        bank[96..4064].fill(0xee);
    });
    add("newer_unknown_layout", strange, "nothing but what every version keeps is as in version 1");
    add("newer_cut", newer.bank(0), "the file ends behind bank 0, which is whole");
    let body = newer.file_with(|file| {
        file[4096..4104].fill(0);
        file[16..20].fill(7);
        recheck(file, 0, 4096);
    });
    add("newer_bank0_first", body, "bank 0 decides before anything else is looked at");
    let magic = Make::with(|make| {
        make.version = 2;
        make.salt[..8].copy_from_slice(&MAGIC);
    });
    add("newer_magic_elsewhere", magic.file(), "the magic stands at 8192 too; the version is looked at first");
    let vector = Vector::opens("newer_damaged", &good.plaintext, good.file_with(|file| file[8] = 2)).key(1);
    let vector = vector.warns("bank-0-damaged").musts("bank-damaged bank-warning");
    out.push(vector.says("bank 0 says version 2, but its check is wrong: it is damaged, not newer"));
}

fn numbers(out: &mut Vec<Vector>) {
    let mut add = |name: String, tag: &str, change: fn(&mut Make, u16), value: u16| {
        let file = Make::with(|make| change(make, value));
        out.push(Vector::fails(&name, Class::Header, file.file()).key(1).musts(&format!("{tag} bank-malformed")));
    };
    for suite in [0, 3, 0x100, 0xffff] {
        add(format!("suite_{suite}"), "bank-suite", |make, suite| make.suite = suite, suite);
    }
    for flags in [2, 3, 0x100, 0x8000] {
        add(format!("flags_{flags}"), "bank-flags", |make, flags| make.flags = flags, flags);
    }
    for count in [0, 17, 0x100, 0xffff] {
        let name = format!("slot_count_{count}");
        add(name, "bank-slot-count len-first limits-first", |make, count| make.slot_count = Some(count), count);
    }
    add("slot_count_more".into(), "slot-kind-zero", |make, count| make.slot_count = Some(count), 2);
    let less = |make: &mut Make, count| {
        make.slots.push(Wrap::Key(2));
        make.slot_count = Some(count);
    };
    add("slot_count_less".into(), "bank-filling", less, 1);
    let none = Make::with(|make| make.slots.clear());
    let vector = Vector::fails("slots_none", Class::Header, none.file()).key(1).musts("bank-slot-count bank-malformed");
    out.push(vector.says("slot_count is 0, and there is no slot"));
    let slots = |count: u8| {
        let file = Make::with(|make| {
            make.bank_len = 8192;
            make.slots = (1..=count).map(Wrap::Key).collect();
        });
        (file.file(), file.plaintext)
    };
    let (file, plaintext) = slots(16);
    let vector = Vector::opens("slots_16", &plaintext, file).key(16).musts("bank-slot-count");
    out.push(vector.says("sixteen slots, of which the last opens"));
    let vector = Vector::fails("slots_17", Class::Header, slots(17).0).key(1).musts("bank-slot-count bank-malformed");
    out.push(vector.says("seventeen slots, all whole"));
}

fn filling(out: &mut Vec<Vector>) {
    let file = Make::default();
    let end = file.p() + file.slot_bytes().len();
    for (name, at) in [("first", end), ("middle", 2048), ("last", 4063)] {
        let body = file.altered(|bank| bank[at] = 1);
        let name = format!("filling_{name}");
        out.push(Vector::fails(&name, Class::Header, body).key(1).musts("bank-filling bank-malformed"));
    }
}

/// Slots that end just before the check, and one byte later.
fn fit(out: &mut Vec<Vector>) {
    let fill = |room: usize| {
        Make::with(|make| {
            let used = make.p() + make.slot_bytes().len();
            make.slots.push(Wrap::raw(0x8000, "", vec![7; 4096 - 32 - used - 6 + room]));
        })
    };
    let (exact, beyond) = (fill(0), fill(1));
    let vector = Vector::opens("slots_fit", &exact.plaintext, exact.file()).key(1).musts("slots-fit");
    out.push(vector.says("the slots end at bank_len - 32: there is no filling"));
    let vector = Vector::fails("slots_fit_not", Class::Header, beyond.file()).key(1);
    out.push(vector.musts("slots-fit slot-length len-first").says("the last slot's end is one byte into the check"));
}
