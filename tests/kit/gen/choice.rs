//! Two valid banks: which one counts.

use super::super::encode::{Make, Wrap, fixed, list, recheck};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    disagreeing(out);
    generations(out);
    older_serves(out);
    slots_differ(out);
}

fn disagreeing(out: &mut Vec<Vector>) {
    let good = Make::default();
    let ways: [(&str, fn(&mut Make)); 7] = [
        ("data_key_id", |make| make.data_key_id = fixed("another id")),
        ("suite", |make| make.suite = 2),
        ("flags", |make| make.flags = 1),
        ("pairs", |make| make.pairs = list(&[("project", "dem0")])),
        ("labels", |make| make.labels = list(&[("host", "exampl3")])),
        ("no_labels", |make| make.labels = vec![0, 0]),
        ("salt", |make| make.salt = fixed("another salt")),
    ];
    for (name, way) in ways {
        let other = Make::with(way);
        for (number, banks) in [(0, [other.bank(0), good.bank(1)]), (1, [good.bank(0), other.bank(1)])] {
            let body = [banks.concat(), good.payload()].concat();
            let vector = Vector::fails(&format!("disagree{number}_{name}"), Class::Header, body).key(1);
            out.push(vector.musts("banks-agree banks-equal"));
        }
    }
    // Bound bytes alone, with the prelude that the other bank has.
    for (name, at) in [("data_key_id", 80), ("flags", 96), ("pair", 102), ("label", 125), ("suite", 10)] {
        for (number, place) in [(0, 0), (1, 4096)] {
            let body = good.file_with(|file| {
                file[place + at] ^= if name == "suite" { 3 } else { 1 };
                recheck(file, place, 4096);
            });
            let vector = Vector::fails(&format!("disagree{number}_bound_{name}"), Class::Header, body).key(1);
            out.push(
                vector.musts("banks-agree").says("the preludes agree, and the bound bytes differ in one bit or two"),
            );
        }
    }
    let body = good.file_with(|file| {
        file[4096 + 48] ^= 1;
        recheck(file, 4096, 4096);
    });
    let vector = Vector::fails("disagree1_commitment", Class::Header, body).key(1).musts("banks-agree");
    out.push(vector.says("the preludes differ in the commitment"));
    let newer = Make::with(|make| {
        make.generation = 2;
        make.labels = vec![0, 0];
    });
    let body = [good.bank(0), newer.bank(1), newer.payload()].concat();
    let vector = Vector::fails("disagree_newer", Class::Header, body).key(1).musts("banks-agree");
    out.push(vector.says("bank 1 is newer, and the payload is its own"));
}

/// Bank 0 has a slot for key file 1, bank 1 one for key file 2.
fn generations(out: &mut Vec<Vector>) {
    let cases: [(&str, u32, u32, usize); 12] = [
        ("equal", 1, 1, 0),
        ("next", 1, 2, 1),
        ("before", 2, 1, 0),
        ("far", 1, 0x8000_0000, 1),
        ("half", 0, 0x8000_0000, 0),
        ("half_up", 1, 0x8000_0001, 0),
        ("half_back", 0x8000_0000, 0, 0),
        ("half_more", 0, 0x8000_0001, 0),
        ("half_less", 0x8000_0001, 0, 1),
        ("wrap", 0xffff_ffff, 0, 1),
        ("wrap_back", 0, 0xffff_ffff, 0),
        ("most", 0xffff_ffff, 0xffff_ffff, 0),
    ];
    for (name, g0, g1, counts) in cases {
        let bank = |number: u16, generation| {
            Make::with(|make| {
                make.generation = generation;
                make.slots = vec![Wrap::Key(1 + number as u8)];
            })
        };
        let (zero, one) = (bank(0, g0), bank(1, g1));
        let body = [zero.bank(0), one.bank(1), zero.payload()].concat();
        let comment = format!("generations {g0} and {g1}: bank {counts} counts");
        let [right, wrong] = if counts == 0 { [1, 2] } else { [2, 1] };
        let opens = Vector::opens(&format!("generation_{name}"), &zero.plaintext, body.clone()).key(right);
        let opens = opens.warns("banks-differ").musts("bank-newer bank-warning").says(&comment);
        let fails = Vector::fails(&format!("generation_{name}_retired"), Class::Slot, body).key(wrong);
        out.extend([opens, fails.warns("banks-differ").musts("bank-newer slots-of-one").says(&comment)]);
    }
}

/// The newer bank is damaged: the older one counts, with its slots.
fn older_serves(out: &mut Vec<Vector>) {
    let (old, new) = (
        Make::default(),
        Make::with(|make| {
            make.generation = 2;
            make.slots = vec![Wrap::Key(2)];
        }),
    );
    let body = [new.bank(0), old.bank(1), old.payload()].concat();
    for (name, place, right, wrong, warning) in
        [("newer", 0, 1, 2, "bank-0-damaged"), ("older", 4096, 2, 1, "bank-1-damaged")]
    {
        let mut body = body.clone();
        body[place + 50] ^= 1;
        let vector = Vector::opens(&format!("damaged_{name}"), &old.plaintext, body.clone()).key(right).warns(warning);
        out.push(vector.musts("bank-damaged slots-of-one"));
        let vector = Vector::fails(&format!("damaged_{name}_other_key"), Class::Slot, body).key(wrong).warns(warning);
        out.push(vector.musts("bank-damaged slots-of-one"));
    }
}

fn slots_differ(out: &mut Vec<Vector>) {
    let (good, more) = (Make::default(), Make::with(|make| make.slots.push(Wrap::Key(2))));
    let body = [good.bank(0), more.bank(1), good.payload()].concat();
    let vector = Vector::opens("slots_differ", &good.plaintext, body.clone()).key(1).warns("banks-differ");
    out.push(vector.musts("bank-warning bank-newer").says("equal generations, and one slot more in bank 1"));
    let vector = Vector::fails("slots_differ_other_key", Class::Slot, body).key(2).warns("banks-differ");
    out.push(vector.musts("slots-of-one bank-newer"));
    let newer = Make::with(|make| make.generation = 2);
    let body = [good.bank(0), newer.bank(1), good.payload()].concat();
    let vector = Vector::opens("generations_differ", &good.plaintext, body).key(1).warns("banks-differ");
    out.push(vector.musts("bank-warning").says("the banks differ in the generation alone"));
}
