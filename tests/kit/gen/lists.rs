//! Pairs and labels: the grammar of section 5.2.

use super::super::encode::{Make, counted_list, list};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    accepted(out);
    texts(out);
    orders(out);
    counts(out);
    lengths(out);
}

/// A file whose pairs, or whose labels, are `bytes`.
fn carrying(bytes: Vec<u8>, labels: bool) -> Make {
    Make::with(|make| {
        make.bank_len = 32_768;
        let target = if labels { &mut make.labels } else { &mut make.pairs };
        *target = bytes;
    })
}

fn both(out: &mut Vec<Vector>, name: &str, tag: &str, bytes: &[u8], comment: &str) {
    for (labels, place) in [(false, "pair"), (true, "label")] {
        let file = carrying(bytes.to_vec(), labels);
        let vector = Vector::fails(&format!("{place}_{name}"), Class::Header, file.file()).key(1);
        out.push(vector.musts(&format!("{tag} bank-lists bank-malformed")).says(comment));
    }
}

fn accepted(out: &mut Vec<Vector>) {
    let mut add = |name: &str, entries: &[(&str, &str)], comment: &str| {
        let file = Make::with(|make| {
            make.pairs = list(entries);
            make.labels = list(entries);
        });
        let vector = Vector::opens(&format!("lists_{name}"), &file.plaintext, file.file()).key(1);
        out.push(vector.musts("list-order list-case list-reserved list-control").says(comment));
    };
    add("same_key", &[("k", "1")], "a key may stand in both lists");
    add("prefix_order", &[("a", "1"), ("aa", "1"), ("b", "1")], "the shorter key is first");
    add("byte_order", &[("B", "1"), ("a", "1"), ("\u{e9}", "1"), ("\u{ffff}", "1"), ("\u{10000}", "1")], "by bytes");
    add("like_reserved", &[("aws", "1"), ("awsx:", "1"), ("waxseal", "1"), ("xaws:", "1")], "none is reserved");
    add("like_control", &[(" ", " "), ("~", "\u{a0}"), ("\u{a0}", "\u{2028}\u{feff}")], "none is a control character");
    add("odd", &[("=", "="), ("k=v", "\\\"'$`")], "any other character will do");
    add("case_beyond_ascii", &[("\u{c9}", "1"), ("\u{e9}", "1")], "lower-casing is that of ASCII");
    add("kelvin", &[("k", "1"), ("\u{212a}", "1")], "the Kelvin sign is not a K");
}

fn texts(out: &mut Vec<Vector>) {
    let bad_utf8: [(&str, &[u8]); 6] = [
        ("surrogate", &[0xed, 0xa0, 0x80]),
        ("overlong", &[0xc1, 0xa1]),
        ("overlong_nul", &[0xe0, 0x80, 0x80]),
        ("beyond_unicode", &[0xf4, 0x90, 0x80, 0x80]),
        ("cut_utf8", &[b'a', 0xe2, 0x82]),
        ("lone_continuation", &[0x80]),
    ];
    for (name, text) in bad_utf8 {
        both(out, &format!("key_{name}"), "list-utf8", &list(&[(text, b"v".as_slice())]), "the key is not UTF-8");
        both(out, &format!("value_{name}"), "list-utf8", &list(&[(b"k".as_slice(), text)]), "the value is not UTF-8");
    }
    for control in ['\0', '\n', '\u{1f}', '\u{7f}', '\u{80}', '\u{9f}'] {
        let text = format!("a{control}b");
        let code = u32::from(control);
        both(out, &format!("key_control_{code:02x}"), "list-control", &list(&[(text.as_str(), "v")]), "in the key");
        both(out, &format!("value_control_{code:02x}"), "list-control", &list(&[("k", text.as_str())]), "in the value");
    }
    both(out, "key_empty", "key-empty", &list(&[("", "v")]), "a key has at least one byte");
    both(out, "value_empty", "value-empty", &list(&[("k", "")]), "a value has at least one byte");
    for key in ["aws:x", "AWS:x", "aWs:", "waxseal:x", "WaxSeal:data-key-id", "waxseal:"] {
        let name = format!("reserved_{}_{}", if key.starts_with(['a', 'A']) { "aws" } else { "waxseal" }, key.len());
        let name = if key == "AWS:x" { "reserved_aws_upper".into() } else { name };
        both(out, &name, "list-reserved", &list(&[(key, "v")]), "the key is reserved");
    }
}

fn orders(out: &mut Vec<Vector>) {
    let cases: [(&str, &str, &[(&str, &str)]); 6] = [
        ("descending", "list-order", &[("b", "1"), ("a", "1")]),
        ("twice", "list-order", &[("a", "1"), ("a", "2")]),
        ("twice_equal", "list-order", &[("a", "1"), ("a", "1")]),
        ("longer_first", "list-order", &[("aa", "1"), ("a", "1")]),
        ("case_neighbours", "list-case", &[("KEY", "1"), ("key", "1")]),
        ("case_apart", "list-case", &[("A", "1"), ("B", "1"), ("a", "1")]),
    ];
    for (name, tag, entries) in cases {
        both(out, name, tag, &list(entries), "strictly ascending, and no two alike but for case");
    }
    let signed = list(&[("\u{e9}", "1"), ("z", "1")]);
    both(out, "signed_order", "list-order", &signed, "bytes are compared unsigned");
    let utf16 = list(&[("\u{10000}", "1"), ("\u{ffff}", "1")]);
    both(out, "utf16_order", "list-order", &utf16, "bytes are compared, not UTF-16 units");
}

fn counts(out: &mut Vec<Vector>) {
    let entries = |count: usize| (0..count).map(|i| (format!("k{i:02}"), "v".to_owned())).collect::<Vec<_>>();
    let full = Make::with(|make| {
        make.pairs = list(&entries(64));
        make.labels = list(&entries(64));
    });
    out.push(Vector::opens("lists_64", &full.plaintext, full.file()).key(1).musts("list-count").pair("k63=v"));
    both(out, "count_65", "list-count", &list(&entries(65)), "65 whole entries");
    both(out, "count_ffff", "list-count len-first limits-first", &counted_list(0xffff, &entries(3)), "65535 of three");
    both(out, "count_more", "list-fit", &counted_list(4, &entries(3)), "what follows is read as an entry");
}

fn lengths(out: &mut Vec<Vector>) {
    // 8192 = flags 2 + counts 4 + two entries of 4 + 1 + the values.
    let sized = |extra: usize| {
        Make::with(|make| {
            make.bank_len = 32_768;
            make.pairs = list(&[("k", "v".repeat(4000).as_str())]);
            make.labels = list(&[("k", "v".repeat(8192 - 6 - 10 - 4000 + extra).as_str())]);
        })
    };
    let (most, more) = (sized(0), sized(1));
    assert_eq!(most.p() - 96, 8192);
    out.push(Vector::opens("bound_8192", &most.plaintext, most.file()).key(1).musts("bound-size"));
    let vector = Vector::fails("bound_8193", Class::Header, more.file()).key(1).musts("bound-size bank-lists");
    out.push(vector.says("p - 96 is 8193"));
    let key_beyond = [&[1, 0][..], &[0xff, 0xff], b"k"].concat();
    both(out, "key_leaves_bank", "list-fit len-first", &key_beyond, "the key has 65535 bytes");
    let value_beyond = [&[1, 0][..], &[1, 0], b"k", &[0xff, 0xff], b"v"].concat();
    both(out, "value_leaves_bank", "list-fit len-first", &value_beyond, "the value has 65535 bytes");
    // The value ends inside the check, of a bank that is just long enough to hold it.
    let file = Make::with(|make| {
        make.pairs = list(&[("k", "v".repeat(4096 - 107 - 20).as_str())]);
        make.labels = Vec::new();
        make.slots.clear();
        make.slot_count = Some(1);
    });
    let vector = Vector::fails("pair_into_check", Class::Header, file.file()).key(1).musts("list-fit len-first");
    out.push(vector.says("the value ends inside the check"));
}
