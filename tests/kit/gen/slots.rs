//! Slots: shapes, kinds, and which of them opens.

use super::super::encode::{ARN, CHEAP, MAGIC, Make, Wrap, file_key, fixed, key_id};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    kms(out);
    arns(out);
    broken_shapes(out);
    broken_ids(out);
    duplicates(out);
    other_kinds(out);
    next_slot(out);
    matching(out);
}

fn slots(slots: Vec<Wrap>) -> Make {
    Make::with(|make| {
        make.bank_len = 16_384;
        make.slots = slots;
    })
}

fn kms(out: &mut Vec<Vector>) {
    for len in [1, 6144] {
        let file = slots(vec![Wrap::raw(1, ARN, vec![5; len])]);
        let vector = Vector::opens(&format!("kms_blob_{len}"), &file.plaintext, file.file());
        out.push(vector.data_key(&file.data_key, ARN).musts("kms-blob kms-arn"));
    }
    for len in [0, 6145] {
        let file = slots(vec![Wrap::raw(1, ARN, vec![5; len]), Wrap::Key(1)]);
        let vector = Vector::fails(&format!("kms_blob_{len}"), Class::Header, file.file()).key(1);
        out.push(vector.musts("kms-blob bank-slots bank-malformed"));
    }
    let file = slots(vec![Wrap::kms(ARN)]);
    let wrong = Vector::fails("kms_other_data_key", Class::Commitment, file.file());
    let wrong = wrong.data_key(&fixed::<32>("another data key"), ARN).musts("commitment-check slot-discard");
    out.push(wrong.says("the key service gives the data key of another file"));
    for len in [16, 31, 33] {
        let wrong = Vector::fails(&format!("kms_data_key_{len}"), Class::Slot, file.file());
        let wrong = wrong.data_key(&vec![7; len], ARN).musts("open-order kms-answer-size");
        out.push(wrong.says("the key service gives a data key of another length"));
    }
    out.push(Vector::fails("kms_no_key", Class::Slot, file.file()).says("no key is offered").musts("kms-allowed"));
}

fn arns(out: &mut Vec<Vector>) {
    let longest = format!("arn:aws-us-gov-x:kms:{}:000000000000:key/{}", "r".repeat(32), "K".repeat(128));
    let good = [
        ("china", "arn:aws-cn:kms:cn-north-1:123456789012:key/1"),
        ("multi_region", "arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"),
        ("longest", longest.as_str()),
        ("shortest", "arn:aws:kms:-:000000000000:key/-"),
    ];
    for (name, arn) in good {
        let file = slots(vec![Wrap::kms(arn)]);
        let vector = Vector::opens(&format!("arn_{name}"), &file.plaintext, file.file());
        out.push(vector.data_key(&file.data_key, arn).musts("kms-arn"));
    }
    let region_33 = format!("arn:aws:kms:{}:123456789012:key/1", "r".repeat(33));
    let key_129 = format!("arn:aws:kms:r:123456789012:key/{}", "K".repeat(129));
    let bad = [
        ("alias", "arn:aws:kms:eu-west-1:123456789012:alias/key"),
        ("empty", ""),
        ("no_region", "arn:aws:kms::123456789012:key/1"),
        ("host_as_region", "arn:aws:kms:evil.example:123456789012:key/1"),
        ("path_as_region", "arn:aws:kms:r/x:123456789012:key/1"),
        ("upper_region", "arn:aws:kms:EU-WEST-1:123456789012:key/1"),
        ("region_33", region_33.as_str()),
        ("account_11", "arn:aws:kms:eu-west-1:12345678901:key/1"),
        ("account_13", "arn:aws:kms:eu-west-1:1234567890123:key/1"),
        ("account_letters", "arn:aws:kms:eu-west-1:12345678901a:key/1"),
        ("account_arabic", "arn:aws:kms:eu-west-1:12345678901\u{661}:key/1"),
        ("no_key", "arn:aws:kms:eu-west-1:123456789012:key/"),
        ("key_129", key_129.as_str()),
        ("more", "arn:aws:kms:eu-west-1:123456789012:key/1:x"),
        ("before", "xarn:aws:kms:eu-west-1:123456789012:key/1"),
        ("other_service", "arn:aws:s3:eu-west-1:123456789012:key/1"),
        ("partition_upper", "arn:AWS:kms:eu-west-1:123456789012:key/1"),
        ("partition_part_upper", "arn:aws-CN:kms:eu-west-1:123456789012:key/1"),
        ("partition_digit", "arn:aws1:kms:eu-west-1:123456789012:key/1"),
        ("bare_id", "1234abcd-12ab-34cd-56ef-1234567890ab"),
    ];
    for (name, arn) in bad {
        let file = slots(vec![Wrap::kms(arn), Wrap::Key(1)]);
        let vector = Vector::fails(&format!("arn_bad_{name}"), Class::Header, file.file()).key(1);
        out.push(vector.musts("kms-arn bank-slots bank-malformed kms-endpoint"));
    }
}

fn broken_shapes(out: &mut Vec<Vector>) {
    let mut add = |name: &str, tag: &str, wrap: Wrap| {
        let file = slots(vec![wrap, Wrap::Key(1)]);
        let vector = Vector::fails(&format!("slot_{name}"), Class::Header, file.file()).key(1);
        out.push(vector.musts(&format!("{tag} bank-slots bank-malformed")));
    };
    let id = key_id(&file_key(2));
    add("kind_0", "slot-kind-zero", Wrap::raw(0, "", ""));
    add("kind_0_full", "slot-kind-zero", Wrap::raw(0, "id", "wrapped"));
    for len in [0, 103, 105] {
        add(&format!("keyfile_size_{len}"), "keyfile-size", Wrap::raw(2, &id, vec![7; len]));
    }
    let ids = [
        ("empty", String::new()),
        ("31", id[1..].into()),
        ("33", format!("{id}0")),
        ("upper", id.to_uppercase()),
        ("not_hex", format!("g{}", &id[1..])),
        ("space", format!(" {}", &id[1..])),
    ];
    for (name, id) in ids {
        add(&format!("keyfile_id_{name}"), "keyfile-id", Wrap::raw(2, id, vec![7; 104]));
    }
    add("passphrase_id", "pass-id", Wrap::raw(3, "x", vec![7; 148]));
    for len in [0, 44, 147, 149] {
        add(&format!("passphrase_size_{len}"), "pass-size", Wrap::raw(3, "", vec![7; len]));
    }
    let beyond = |field: &[u8]| Wrap::Bytes(field.to_vec());
    add("id_leaves_bank", "slot-length len-first", beyond(&[0, 0x80, 0xff, 0xff]));
    add("wrapped_leaves_bank", "slot-length len-first limits-first", beyond(&[0, 0x80, 0, 0, 0xff, 0xff]));
}

fn broken_ids(out: &mut Vec<Vector>) {
    let mut add = |name: String, tag: &str, kind: u16, id: &[u8]| {
        let file = slots(vec![Wrap::raw(kind, id, "wrapped"), Wrap::Key(1)]);
        let vector = Vector::fails(&name, Class::Header, file.file()).key(1);
        out.push(vector.musts(&format!("{tag} bank-slots")));
    };
    for kind in [7, 0x8000] {
        let utf8: [(&str, &[u8]); 3] =
            [("surrogate", &[0xed, 0xa0, 0x80]), ("overlong", &[0xc0, 0x80]), ("latin1", &[b'a', 0xe9])];
        for (name, id) in utf8 {
            add(format!("slot_kind{kind:x}_id_{name}"), "slot-utf8", kind, id);
        }
        for control in ['\0', '\n', '\u{7f}', '\u{85}'] {
            let name = format!("slot_kind{kind:x}_id_control_{:02x}", u32::from(control));
            add(name, "slot-control", kind, format!("id{control}").as_bytes());
        }
    }
    add("slot_kms_id_newline".into(), "slot-control kms-arn", 1, format!("{ARN}\n").as_bytes());
    add("slot_keyfile_id_newline".into(), "slot-control keyfile-id", 2, format!("{}\n", key_id(&[1; 32])).as_bytes());
}

fn duplicates(out: &mut Vec<Vector>) {
    let mut add = |name: &str, tag: &str, twins: [Wrap; 2]| {
        let [first, second] = twins;
        let file = slots(vec![first, Wrap::Key(1), second]);
        let vector = Vector::fails(&format!("slots_{name}"), Class::Header, file.file()).key(1);
        out.push(vector.musts(&format!("{tag} bank-slots")));
    };
    add("kms_twice", "slot-dup", [Wrap::kms(ARN), Wrap::raw(1, ARN, "another")]);
    add("keyfile_twice", "slot-dup", [Wrap::Key(2), Wrap::KeyOf(2, [9; 32])]);
    add("passphrase_twice", "slot-one-passphrase", [Wrap::pass("one"), Wrap::Pass(b"two".to_vec(), [19_457, 1, 1])]);
    let file = slots(vec![Wrap::kms(ARN), Wrap::kms(&ARN.replace("eu-west-1", "eu-west-2")), Wrap::Key(1)]);
    let vector = Vector::opens("slots_kms_two", &file.plaintext, file.file()).key(1).musts("slot-dup");
    out.push(vector.says("two KMS slots whose ARNs differ in the region"));
}

fn other_kinds(out: &mut Vec<Vector>) {
    let mut add = |name: &str, more: Vec<Wrap>, comment: &str| {
        let file = slots([more, vec![Wrap::Key(1)]].concat());
        let vector = Vector::opens(&format!("skip_{name}"), &file.plaintext, file.file()).key(1);
        out.push(vector.musts("slot-skip").says(comment));
    };
    for kind in [7, 0x7fff, 0x8000, 0xffff] {
        add(&format!("kind_{kind:x}"), vec![Wrap::raw(kind, "id", "wrapped")], "a kind that a reader does not know");
    }
    add("empty", vec![Wrap::raw(8, "", "")], "key id and wrapped data key of an unknown kind may be empty");
    add("equal", vec![Wrap::raw(7, "id", "a"), Wrap::raw(7, "id", "a")], "slots of an unknown kind may be equal");
    add("unicode", vec![Wrap::raw(0x8001, "schl\u{fc}ssel \u{1f511}", "")], "a key id is UTF-8");
    add("like_keyfile", vec![Wrap::raw(9, key_id(&file_key(1)), vec![7; 104])], "the key id is that of the key file");
    add("long", vec![Wrap::raw(0x9000, "i".repeat(4000), vec![1; 5000])], "a post-quantum slot is large");
    add("magic", vec![Wrap::raw(0x9000, "", MAGIC)], "the magic stands in the slot, at none of the six places");
    let only = slots(vec![Wrap::raw(0x8000, "id", "wrapped")]);
    out.push(Vector::fails("skip_all", Class::Slot, only.file()).key(1).pass("x").musts("slot-skip"));
    let file = Make::default();
    let (_, id, wrapped) = Wrap::Key(1).parts(&file.bound(), &file.data_key);
    for kind in [9, 0x8002] {
        let alike = slots(vec![Wrap::raw(kind, &id, &wrapped)]);
        let vector = Vector::fails(&format!("skip_keyfile_as_kind_{kind:x}"), Class::Slot, alike.file()).key(1);
        out.push(vector.musts("slot-skip").says("all but the kind is a slot of the key file"));
    }
    let private = Vector::opens("private_kind", &only.plaintext, only.file()).data_key(&only.data_key, "id");
    out.push(private.says("a reader that knows the private kind opens it"));
}

/// A slot that fails, and one that opens.
fn next_slot(out: &mut Vec<Vector>) {
    let mut add = |name: &str, bad: Wrap, tag: &str, comment: &str| {
        for (order, first) in [("first", true), ("last", false)] {
            let pair = if first { vec![bad.clone(), Wrap::Key(1)] } else { vec![Wrap::Key(1), bad.clone()] };
            let file = slots(pair);
            let vector = Vector::opens(&format!("next_{name}_{order}"), &file.plaintext, file.file());
            out.push(vector.key(2).pass("phrase").key(1).musts(&format!("slot-next {tag}")).says(comment));
        }
    };
    let garbled = Wrap::raw(2, key_id(&file_key(2)), vec![7; 104]);
    add("garbled", garbled, "keyfile-open", "the slot of key file 2 is garbled");
    let other = Wrap::KeyOf(2, fixed("another data key"));
    add("other_data_key", other, "slot-discard commitment-check", "the slot of key file 2 holds another data key");
    add("wrong_passphrase", Wrap::pass("another"), "pass-open", "the passphrase is wrong");
    let costly = Wrap::Pass(b"phrase".to_vec(), [u32::MAX, 1, 1]);
    add("costly_passphrase", costly, "pass-limits", "the passphrase's slot asks for 4 TiB");
}

/// A key file is tried on its own slot only.
fn matching(out: &mut Vec<Vector>) {
    let file = Make::default();
    let vector = Vector::fails("keyfile_other", Class::Slot, file.file()).key(2).musts("keyfile-match");
    out.push(vector.says("another key file"));
    out.push(Vector::fails("no_opener", Class::Slot, file.file()).says("no key is offered"));
    out.push(Vector::fails("passphrase_none", Class::Slot, file.file()).pass("x").says("no slot has a passphrase"));
    let (_, _, wrapped) = Wrap::Key(1).parts(&file.bound(), &file.data_key);
    let renamed = slots(vec![Wrap::raw(2, key_id(&file_key(2)), &wrapped)]);
    let vector = Vector::fails("keyfile_renamed", Class::Slot, renamed.file()).key(1).musts("keyfile-match");
    out.push(vector.says("the slot would open with this key file, but carries the id of another"));
    let vector = Vector::fails("keyfile_renamed_match", Class::Slot, renamed.file()).key(2).exit(4);
    out.push(vector.musts("keyfile-open").says("the slot carries this key file's id, but another wrapped it"));
    let all = Make::with(|make| {
        make.bank_len = 8192;
        make.slots = vec![Wrap::raw(0x8000, "p", "w"), Wrap::pass("phrase"), Wrap::kms(ARN), Wrap::Key(1)];
    });
    let opens = |name: &str| Vector::opens(name, &all.plaintext, all.file()).says("any one slot opens the file");
    out.push(opens("any_slot_keyfile").key(1));
    out.push(opens("any_slot_passphrase").pass("phrase"));
    out.push(opens("any_slot_kms").data_key(&all.data_key, ARN));
    let suite2 = Make::with(|make| {
        make.suite = 2;
        make.slots = vec![Wrap::Pass(b"phrase".to_vec(), CHEAP), Wrap::kms(ARN)];
    });
    let opens = |name: &str| Vector::opens(name, &suite2.plaintext, suite2.file());
    out.push(opens("suite2_passphrase").pass("phrase").says("suite 2 wraps with Cobblestone-256 too"));
    out.push(opens("suite2_kms").data_key(&suite2.data_key, ARN));
}
