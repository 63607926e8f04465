//! Damaged, cut and hidden banks.

use super::super::encode::{CHUNK, MAGIC, Make, SEALED, Wrap, fixed, recheck, text};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    one_damaged(out);
    wrong_place(out);
    both_damaged(out);
    malformed_beside(out);
    cut(out);
    magic_elsewhere(out);
    magic_in_slots(out);
    hidden(out);
}

/// One bank is damaged in every way that 6.1 knows; the other serves.
fn one_damaged(out: &mut Vec<Vector>) {
    let file = Make::default();
    let ways: [(&str, fn(&mut [u8])); 11] = [
        ("zeroed", |bank| bank.fill(0)),
        ("magic", |bank| bank[0] ^= 0x80),
        ("text_mode", |bank| bank[4] = b'\n'),
        ("version", |bank| bank[8] ^= 1),
        ("bank_len_4097", |bank| bank[12] = 1),
        ("bank_len_8192", |bank| bank[13] = 0x20),
        ("bank_len_0", |bank| bank[12..16].fill(0)),
        ("bank_len_most", |bank| bank[12..16].fill(0xff)),
        ("content", |bank| bank[90] ^= 1),
        ("filling", |bank| bank[3000] ^= 1),
        ("check", |bank| bank[4095] ^= 1),
    ];
    for number in [0, 1] {
        for (name, way) in ways {
            let body = file.file_with(|file| way(&mut file[number * 4096..][..4096]));
            let vector = Vector::opens(&format!("damaged{number}_{name}"), &file.plaintext, body).key(1);
            out.push(vector.warns(&format!("bank-{number}-damaged")).musts("bank-damaged bank-warning both-banks"));
        }
    }
    for (number, place) in [(0, 0), (1, 4096)] {
        let body = file.file_with(|file| {
            file[place] = 0x09;
            recheck(file, place, 4096);
        });
        let vector = Vector::opens(&format!("damaged{number}_magic_right_check"), &file.plaintext, body).key(1);
        let vector = vector.warns(&format!("bank-{number}-damaged")).musts("bank-damaged");
        out.push(vector.says("the magic is wrong, and the check fits it"));
    }
    for bank_len in [8192, 16_384, 32_768, 65_536] {
        let file = Make::with(|make| make.bank_len = bank_len);
        let body = file.file_with(|file| file[..4096].fill(0));
        let vector = Vector::opens(&format!("damaged0_len_{bank_len}"), &file.plaintext, body).key(1);
        out.push(vector.warns("bank-0-damaged").musts("bank-damaged bank-warning read-most"));
    }
    // bank_len is none of the five, and the check fits it.
    for (name, len) in [("2048", 2048), ("12288", 12_288), ("131072", 131_072)] {
        let body = file.file_with(|file| {
            let bank = Make::with(|make| make.bank_len = len).bank(0);
            let kept = bank.len().min(4096);
            file[..kept].copy_from_slice(&bank[..kept]);
        });
        let vector = Vector::opens(&format!("damaged0_len_of_{name}"), &file.plaintext, body).key(1);
        out.push(vector.warns("bank-0-damaged").musts("bank-damaged"));
    }
}

/// Whole banks that stand where they must not.
fn wrong_place(out: &mut Vec<Vector>) {
    let file = Make::default();
    let mut add = |name: &str, banks: [Vec<u8>; 2], warning: &str, comment: &str| {
        let [zero, one] = banks;
        let vector = Vector::opens(name, &file.plaintext, [zero, one, file.payload()].concat()).key(1);
        out.push(vector.warns(warning).musts("bank-damaged bank-warning").says(comment));
    };
    add("bank0_twice", [file.bank(0), file.bank(0)], "bank-1-damaged", "bank_number of the second is 0");
    add("bank1_twice", [file.bank(1), file.bank(1)], "bank-0-damaged", "bank_number of the first is 1");
    add("bank_number_2", [file.bank(0), file.bank(2)], "bank-1-damaged", "bank_number of the second is 2");
    add("bank_number_256", [file.bank(256), file.bank(1)], "bank-0-damaged", "bank_number of the first is 256");
    let longer = Make::with(|make| make.bank_len = 8192).bank(1);
    add(
        "bank1_longer",
        [file.bank(0), longer[..4096].to_vec()],
        "bank-1-damaged",
        "bank 1 says 8192, and stands at 4096",
    );
    let large = Make::with(|make| make.bank_len = 8192);
    let small = [file.bank(1), vec![0; 4096]].concat();
    let body = [large.bank(0), small, large.payload()].concat();
    let vector = Vector::opens("bank1_shorter", &large.plaintext, body).key(1).warns("bank-1-damaged");
    out.push(vector.musts("bank-damaged").says("bank 1 says 4096, and stands at 8192"));
    let swapped = [file.bank(1), file.bank(0), file.payload()].concat();
    let vector = Vector::fails("banks_swapped", Class::Header, swapped).key(1).musts("bank-damaged");
    out.push(vector.says("each bank stands at the other's place"));
    // Bank 0 is damaged, and the only magic is that of a bank at a place that is not its length.
    let body = [vec![0; 8192], file.bank(1), file.payload()].concat();
    let vector = Vector::fails("bank1_late", Class::Header, body).key(1).musts("bank-damaged");
    out.push(vector.says("a whole bank 1 of 4096 bytes stands at 8192"));
}

fn both_damaged(out: &mut Vec<Vector>) {
    let file = Make::default();
    let mut add = |name: &str, body: Vec<u8>| {
        out.push(Vector::fails(name, Class::Header, body).key(1).musts("bank-damaged"));
    };
    add(
        "both_checks",
        file.file_with(|file| {
            file[4095] ^= 1;
            file[8191] ^= 1;
        }),
    );
    add("both_zeroed", file.file_with(|file| file[..8192].fill(0)));
    add(
        "both_magics",
        file.file_with(|file| {
            file[0] = 0x09;
            file[4096] = 0x09;
        }),
    );
    add(
        "both_content",
        file.file_with(|file| {
            file[300] ^= 1;
            file[4096 + 400] ^= 1;
        }),
    );
    add("unlike", text(9000));
    add("zeros", vec![0; 9000]);
    add("payload_alone", file.payload());
    add("one_byte_lost", file.file_with(|file| _ = file.remove(0)));
    add("one_byte_more", file.file_with(|file| file.insert(0, 0x89)));
}

/// A bank that is malformed ends the reading, whatever the other is.
fn malformed_beside(out: &mut Vec<Vector>) {
    let good = Make::default();
    let ways: [(&str, &str, fn(&mut [u8])); 5] = [
        ("suite", "bank-suite", |bank| bank[10] = 9),
        ("flags", "bank-flags", |bank| bank[96] = 4),
        ("pairs", "bank-lists", |bank| bank[102] = 7),
        ("slot", "bank-slots", |bank| bank[20] = 2),
        ("filling", "bank-filling", |bank| bank[4000] = 1),
    ];
    for (name, tag, way) in ways {
        let mut add = |name: String, change: &dyn Fn(&mut Vec<u8>)| {
            let vector = Vector::fails(&name, Class::Header, good.file_with(change)).key(1);
            out.push(vector.musts(&format!("bank-malformed {tag} both-banks")));
        };
        for number in [0, 1] {
            let place = number * 4096;
            let spoil = move |file: &mut Vec<u8>| {
                way(&mut file[place..place + 4096]);
                recheck(file, place, 4096);
            };
            add(format!("malformed{number}_{name}"), &spoil);
            add(format!("malformed{number}_{name}_other_damaged"), &|file: &mut Vec<u8>| {
                spoil(file);
                file[4096 - place..][..4096].fill(0);
            });
        }
    }
}

/// Files that end in or just behind the header.
fn cut(out: &mut Vec<Vector>) {
    let file = Make::with(|make| make.plaintext.clear());
    for len in [0, 7, 8, 15, 16, 100, 4095, 4096, 4104, 8191] {
        let body = file.file()[..len].to_vec();
        let vector = Vector::fails(&format!("cut_{len:04}"), Class::Header, body).key(1);
        out.push(vector.musts(if len < 4096 { "bank-damaged" } else { "header-short" }));
    }
    for len in [8192, 8193, 8247, 8248, 8263] {
        let vector = Vector::fails(&format!("cut_{len}"), Class::Truncated, file.file()[..len].to_vec()).key(1);
        out.push(vector.musts("payload-short"));
    }
    let large = Make::with(|make| make.bank_len = 65_536);
    for (name, len, class) in [
        ("bank0", 65_536, Class::Header),
        ("bank1", 131_071, Class::Header),
        ("payload", 131_072 + 71, Class::Truncated),
    ] {
        let vector = Vector::fails(&format!("cut_large_{name}"), class, large.file()[..len].to_vec()).key(1);
        out.push(vector.musts("header-short payload-short"));
    }
    let body = large.file_with(|file| {
        file[..4096].fill(0);
        file.truncate(131_071);
    });
    out.push(Vector::fails("cut_large_bank0_damaged", Class::Header, body).key(1).musts("bank-damaged"));
    let body = file.file_with(|file| {
        file[..4096].fill(0);
        file.truncate(4096 + 2000);
        recheck(file, 4096, 2000);
    });
    let vector = Vector::fails("cut_bank1_right_check", Class::Header, body).key(1).musts("bank-damaged");
    out.push(vector.says("bank 0 is zeroed; bank 1 is cut, and the last 32 bytes are the check of what is left"));
    let body = file.file_with(|file| {
        file[..4096].fill(0);
        file.truncate(8263);
    });
    let vector = Vector::fails("cut_8263_bank0_damaged", Class::Truncated, body).key(1).warns("bank-0-damaged");
    out.push(vector.musts("payload-short"));
}

/// The magic at one of the six places, in the payload: by a salt, or by a plaintext chosen for it.
fn magic_elsewhere(out: &mut Vec<Vector>) {
    let salted = Make::with(|make| make.salt[..8].copy_from_slice(&MAGIC));
    let vector = Vector::fails("magic_in_salt", Class::Header, salted.file()).key(1);
    out.push(vector.musts("magic-places six-places magic-write").says("the salt begins with the magic, at 8192"));
    let body = salted.file_with(|file| file[..4096].fill(0));
    let vector = Vector::fails("magic_in_salt_bank0_damaged", Class::Header, body).key(1);
    out.push(vector.musts("magic-two").says("bank 0 is zeroed; the magic stands at 4096 and at 8192"));
    for place in [16_384, 32_768, 65_536] {
        let file = with_magic_at(place);
        let vector = Vector::fails(&format!("magic_in_payload_{place}"), Class::Header, file.file()).key(1);
        out.push(
            vector.musts("magic-places six-places").says("the plaintext was chosen so that a chunk holds the magic"),
        );
    }
    let file = with_magic_at(32_768);
    let body = file.file_with(|file| file[..4096].fill(0));
    let vector = Vector::fails("magic_in_payload_bank0_damaged", Class::Header, body).key(1);
    out.push(vector.musts("magic-two six-places"));
    let body = file.file_with(|file| file[..8192].fill(0));
    let vector = Vector::fails("magic_in_payload_both_damaged", Class::Header, body).key(1);
    out.push(vector.musts("bank-damaged").says("the only magic is that of the payload, and no bank"));
    let near = with_magic_at(16_385);
    let vector = Vector::opens("magic_near_place", &near.plaintext, near.file()).key(1);
    out.push(vector.musts("magic-places").says("the magic stands one byte behind a place"));
    let body = Make::default().file_with(|file| file[4096..4104].copy_from_slice(&[0; 8]));
    let vector = Vector::opens("magic_not_at_bank1", &text(100), body).key(1).warns("bank-1-damaged");
    out.push(vector.musts("magic-places").says("bank 1 has no magic"));
}

/// A file of bank_len 4096 whose ciphertext holds the magic at `place`.
fn with_magic_at(place: usize) -> Make {
    let at = place - 8192 - 56;
    let (chunk, within) = (at / SEALED, at % SEALED);
    let start = chunk * CHUNK + within;
    assert!(within + 8 <= CHUNK);
    let mut file = Make::with(|make| make.plaintext = text(start + 20));
    let sealed = file.payload();
    for i in 0..8 {
        file.plaintext[start + i] ^= sealed[place - 8192 + i] ^ MAGIC[i];
    }
    assert_eq!(file.file()[place..place + 8], MAGIC);
    file
}

/// The magic at one of the six places, inside a bank.
fn magic_in_slots(out: &mut Vec<Vector>) {
    let holding = |bank_len: u32, place: usize| {
        Make::with(|make| {
            make.bank_len = bank_len;
            let before = make.p() + make.slot_bytes().len() + 6;
            make.slots.push(Wrap::raw(0x8000, "", [vec![0; place - before], MAGIC.to_vec()].concat()));
        })
    };
    for (bank_len, place) in [(8192, 4096), (65_536, 32_768)] {
        let file = holding(bank_len, place);
        assert_eq!(file.file()[place..place + 8], MAGIC);
        let vector = Vector::fails(&format!("magic_in_slot_{place}"), Class::Header, file.file()).key(1);
        out.push(vector.musts("magic-places six-places magic-write"));
        let body = file.file_with(|file| file[..2048].fill(0));
        let vector = Vector::fails(&format!("magic_in_slot_{place}_bank0_damaged"), Class::Header, body).key(1);
        out.push(vector.musts("magic-two six-places"));
    }
    // In bank 1 of 4096 bytes no place lies inside; of 8192 bytes none either; of 32768 bytes none but its start.
    let file = holding(8192, 4097);
    let vector = Vector::opens("magic_in_slot_4097", &file.plaintext, file.file()).key(1);
    out.push(vector.musts("magic-places").says("the magic stands one byte behind a place"));
}

/// A second file inside an unknown slot: its own bank 1 at 4096, its own payload at 8192.
fn hidden(out: &mut Vec<Vector>) {
    let inner = Make::with(|make| {
        make.plaintext = b"a second plaintext".to_vec();
        make.salt = fixed("the inner salt");
    });
    let outer = Make::with(|make| {
        make.bank_len = 32_768;
        let before = make.p() + make.slot_bytes().len() + 6;
        let inside = [vec![0; 4096 - before], inner.bank(1), inner.payload()].concat();
        make.slots.push(Wrap::raw(0x8000, "", inside));
    });
    let tags = "magic-places magic-two six-places slots-of-one";
    let mut add = |name: &str, body: Vec<u8>, comment: &str| {
        out.push(Vector::fails(name, Class::Header, body).key(1).musts(tags).says(comment));
    };
    add("hidden_bank", outer.file(), "a whole bank 1 stands at 4096, inside a slot of bank 0");
    add("hidden_bank_bank0_damaged", outer.file_with(|file| file[0] = 0), "the same, bank 0 damaged: two magics");
    let cut = outer.file_with(|file| {
        file[0] = 0;
        file[32_768..].fill(0);
    });
    let vector = Vector::fails("hidden_bank_alone", Class::Payload, cut[..].to_vec()).key(1).warns("bank-0-damaged");
    out.push(
        vector
            .musts("chunk-tag")
            .says("bank 0 and the outer bank 1 are gone: the inner file is what is left, with zeros behind"),
    );
}
