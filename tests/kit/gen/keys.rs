//! Key files and passphrases: their texts, limits and wrappings.

use super::super::encode::{Make, Wrap, file_key, fixed, hex, key_id, key_line, message, sha256};
use super::super::vector::{Class, Vector};

pub(crate) fn make(out: &mut Vec<Vector>) {
    good_texts(out);
    bad_texts(out);
    keyfile_wrappings(out);
    passphrases(out);
    limits(out);
    passphrase_wrappings(out);
}

fn good_texts(out: &mut Vec<Vector>) {
    let line = key_line(&file_key(1));
    let texts: [(&str, Vec<u8>); 10] = [
        ("lf", format!("{line}\n").into()),
        ("crlf", format!("# c\r\n\r\n{line}\r\n").into()),
        ("no_end", line.clone().into()),
        ("comment_no_end", format!("{line}\n# end").into()),
        ("empty_lines", format!("\n\r\n\n{line}\n\n\r\n").into()),
        ("comments", format!("#\n#waxseal-key-v1:x\n{line}\n##\n").into()),
        ("comment_cr", format!("# a\rb\n{line}\n# c\r\r\n").into()),
        ("comment_nul", format!("# \0\u{7f}\n{line}\n").into()),
        ("comment_latin1", [b"# caf\xe9\n", line.as_bytes(), b"\n"].concat()),
        ("comment_utf8", format!("# \u{feff}\u{e9}\n{line}\n").into()),
    ];
    let file = Make::default();
    for (name, text) in texts {
        let vector = Vector::opens(&format!("keytext_{name}"), &file.plaintext, file.file()).key_text(text);
        out.push(vector.musts("keytext-one keytext-form"));
    }
}

fn bad_texts(out: &mut Vec<Vector>) {
    let key = file_key(1);
    let line = key_line(&key);
    let (start, check) = line.split_at(line.len() - 9);
    let flipped = line.replacen(":0", ":1", 1).replacen(&line[15..16], if &line[15..16] == "a" { "b" } else { "a" }, 1);
    let check_of_text = hex(&sha256(&line.as_bytes()[15..79])[..4]);
    let upper_key = format!("{}{}{check}", &line[..15], line[15..79].to_uppercase());
    let texts: [(&str, &str, String); 28] = [
        ("empty", "one", String::new()),
        ("only_comments", "one", "# one\n\n#two\n".into()),
        ("twice", "one", format!("{line}\n{line}\n")),
        ("two", "one", format!("{line}\n{}\n", key_line(&file_key(2)))),
        ("text_after", "one", format!("{line}\nx\n")),
        ("space_line", "one", format!("{line}\n \n")),
        ("bom", "form", format!("\u{feff}{line}\n")),
        ("bom_comment", "form", format!("\u{feff}# comment\n{line}\n")),
        ("leading_space", "form", format!(" {line}\n")),
        ("trailing_space", "form", format!("{line} \n")),
        ("trailing_tab", "form", format!("{line}\t\n")),
        ("trailing_cr", "form", format!("{line}\r")),
        ("two_cr", "form", format!("{line}\r\r\n")),
        ("cr_line", "one", format!("{line}\n\r")),
        ("cr_ends", "form", format!("# comment\r{line}\r")),
        ("nul", "form", format!("{line}\0\n")),
        ("indented_comment", "one", format!(" # comment\n{line}\n")),
        ("upper_key", "form", upper_key),
        ("upper_check", "form", format!("{start}{}\n", check.to_uppercase())),
        ("upper_prefix", "form", format!("{}\n", line.replacen("waxseal", "WAXSEAL", 1))),
        ("v2", "form", format!("{}\n", line.replacen("-v1:", "-v2:", 1))),
        ("digits_62", "form", format!("{}{check}\n", &start[..start.len() - 2])),
        ("digits_66", "form", format!("{start}00{check}\n")),
        ("check_7", "form", format!("{}\n", &line[..line.len() - 1])),
        ("check_9", "form", format!("{line}0\n")),
        ("no_check", "form", format!("{start}\n")),
        ("flipped", "check", format!("{flipped}\n")),
        ("check_of_text", "check", format!("{start}:{check_of_text}\n")),
    ];
    let file = Make::default();
    for (name, tag, text) in texts {
        let vector = Vector::fails(&format!("keytext_bad_{name}"), Class::Usage, file.file()).key_text(text);
        out.push(vector.musts(&format!("keytext-{tag}")));
    }
}

fn keyfile_wrappings(out: &mut Vec<Vector>) {
    let file = Make::default();
    let (bound, id, key) = (file.bound(), key_id(&file_key(1)), file_key(1));
    let mut add = |name: &str, tag: &str, wrapped: &[u8], comment: &str| {
        let body = Make::with(|make| make.slots = vec![Wrap::raw(2, &id, wrapped)]).file();
        let vector = Vector::fails(&format!("keyfile_{name}"), Class::Slot, body).key(1).exit(4);
        out.push(vector.musts(&format!("{tag} slot-next")).says(comment));
    };
    let (_, _, wrapped) = Wrap::Key(1).parts(&bound, &file.data_key);
    for (name, at) in [("salt", 0), ("commitment", 24), ("ciphertext", 56), ("tag", 103)] {
        let mut wrapped = wrapped.clone();
        wrapped[at] ^= 1;
        add(&format!("flip_{name}"), "keyfile-open", &wrapped, "one bit of the wrapping is flipped");
    }
    let context = |label: &[u8], bound: &[u8]| [label, bound].concat();
    let wrap = |suite, context: &[u8]| message(suite, &key, fixed("salt"), context, &file.data_key);
    let passphrase = wrap(1, &context(b"waxseal v1 passphrase\0", &bound));
    add("label", "keyfile-open", &passphrase, "wrapped with the label of passphrases");
    add("no_label", "keyfile-open", &wrap(1, &bound), "wrapped with the bound bytes alone as context");
    add("unbound", "keyfile-open", &wrap(1, b"waxseal v1 keyfile\0"), "wrapped without the bound bytes");
    let suite2 = wrap(2, &context(b"waxseal v1 keyfile\0", &bound));
    add("suite2", "keyfile-open", &suite2, "wrapped with ChaCha20-Poly1305");
    let other = Make::with(|make| make.data_key_id = fixed("another id"));
    let grafted = wrap(1, &context(b"waxseal v1 keyfile\0", &other.bound()));
    add("grafted", "keyfile-open", &grafted, "the slot of a file with another data_key_id");
    let mut forged = wrapped.clone();
    forged[24..56].copy_from_slice(&[0; 32]);
    add("no_commitment", "keyfile-open", &forged, "the tag is right, the commitment is zero");
    let vector = Make::with(|make| make.slots = vec![Wrap::KeyOf(1, fixed("another data key"))]);
    let vector = Vector::fails("keyfile_other_data_key", Class::Commitment, vector.file()).key(1);
    out.push(vector.musts("commitment-check slot-discard").says("the slot opens and gives another data key"));
}

fn with_passphrase(phrase: &[u8], cost: [u32; 3]) -> Make {
    Make::with(|make| make.slots = vec![Wrap::Pass(phrase.to_vec(), cost)])
}

fn passphrases(out: &mut Vec<Vector>) {
    let longest = [b'x'; 1024];
    let good: [(&str, &[u8]); 7] = [
        ("1", b"x"),
        ("1024", &longest),
        ("spaces", b" two  words "),
        ("line_feed", b"line\nfeed\n"),
        ("utf8", "pa\u{df}wort \u{1f511}".as_bytes()),
        ("not_utf8", &[0xff, 0xfe, 0x80]),
        ("nul", b"a\0b"),
    ];
    for (name, phrase) in good {
        let file = with_passphrase(phrase, [19_456, 1, 1]);
        let vector = Vector::opens(&format!("passphrase_{name}"), &file.plaintext, file.file()).pass(phrase);
        out.push(vector.musts("pass-length pass-open"));
    }
    let file = with_passphrase(b"", [19_456, 1, 1]);
    out.push(Vector::fails("passphrase_0", Class::Usage, file.file()).pass("").musts("pass-length"));
    let long = [b'x'; 1025];
    let file = with_passphrase(&long, [19_456, 1, 1]);
    out.push(Vector::fails("passphrase_1025", Class::Usage, file.file()).pass(long).musts("pass-length"));
    let composed = with_passphrase("caf\u{e9}".as_bytes(), [19_456, 1, 1]);
    let mut wrong = |name: &str, phrase: &str, comment: &str| {
        let vector = Vector::fails(name, Class::Slot, composed.file()).pass(phrase).musts("pass-open");
        out.push(vector.says(comment));
    };
    wrong("passphrase_wrong", "caff\u{e9}", "the passphrase is wrong");
    wrong("passphrase_case", "Caf\u{e9}", "the passphrase is wrong");
    wrong("passphrase_decomposed", "cafe\u{301}", "there is no Unicode normalization");
}

fn limits(out: &mut Vec<Vector>) {
    let good = [("low", [19_456, 1, 1]), ("lanes_16", [19_456, 1, 16]), ("passes_16", [19_456, 16, 1])];
    for (name, cost) in good {
        let file = with_passphrase(b"phrase", cost);
        let vector = Vector::opens(&format!("cost_{name}"), &file.plaintext, file.file()).pass("phrase");
        out.push(vector.musts("pass-limits"));
    }
    let bad = [
        ("memory_below", [19_455, 1, 1]),
        ("memory_136", [136, 1, 1]),
        ("memory_0", [0, 1, 1]),
        ("memory_above", [1_048_577, 1, 1]),
        ("memory_most", [u32::MAX, 1, 1]),
        ("passes_0", [19_456, 0, 1]),
        ("passes_17", [19_456, 17, 1]),
        ("passes_most", [19_456, u32::MAX, 1]),
        ("lanes_0", [19_456, 1, 0]),
        ("lanes_17", [19_456, 1, 17]),
        ("lanes_most", [19_456, 1, u32::MAX]),
        ("product", [1_048_576, 5, 1]),
        ("product_by_one", [262_145, 16, 1]),
        ("product_wraps", [1 << 20, 1 << 12, 1]),
        ("all_most", [u32::MAX; 3]),
    ];
    for (name, cost) in bad {
        let file = with_passphrase(b"phrase", cost);
        let vector = Vector::fails(&format!("cost_{name}"), Class::Slot, file.file()).pass("phrase");
        out.push(
            vector.musts("pass-limits").says(&format!("memory {}, passes {}, lanes {}", cost[0], cost[1], cost[2])),
        );
    }
    let file = Make::with(|make| make.slots = vec![Wrap::Pass(b"phrase".to_vec(), [0; 3]), Wrap::Key(1)]);
    let vector = Vector::opens("cost_beside_keyfile", &file.plaintext, file.file()).key(1).musts("pass-limits");
    out.push(vector.says("parameters out of range do not make the bank malformed"));
}

fn passphrase_wrappings(out: &mut Vec<Vector>) {
    let file = with_passphrase(b"phrase", [19_456, 1, 1]);
    let (bound, data_key) = (file.bound(), file.data_key);
    let (_, _, wrapped) = file.slots[0].parts(&bound, &data_key);
    let mut add = |name: &str, wrapped: &[u8], comment: &str| {
        let body = Make::with(|make| make.slots = vec![Wrap::raw(3, "", wrapped)]).file();
        let vector = Vector::fails(&format!("passphrase_{name}"), Class::Slot, body).pass("phrase");
        out.push(vector.musts("pass-open").says(comment));
    };
    let flips = [("argon_salt", 12), ("salt", 44), ("commitment", 68), ("ciphertext", 100), ("tag", 147)];
    for (name, at) in flips {
        let mut wrapped = wrapped.clone();
        wrapped[at] ^= 1;
        add(&format!("flip_{name}"), &wrapped, "one bit of the wrapping is flipped");
    }
    let mut raised = wrapped.clone();
    raised[0] += 1;
    add("cost_altered", &raised, "the memory was changed after the wrapping");
    let other = Make::with(|make| make.labels = vec![0, 0]);
    let (_, _, grafted) = file.slots[0].parts(&other.bound(), &data_key);
    add("grafted", &grafted, "the slot of a file with other labels");
    let body = Make::with(|make| {
        let (_, _, wrapped) = file.slots[0].parts(&bound, &fixed("another data key"));
        make.slots = vec![Wrap::raw(3, "", wrapped)];
    });
    let vector = Vector::fails("passphrase_other_data_key", Class::Commitment, body.file()).pass("phrase");
    out.push(vector.musts("commitment-check slot-discard").says("the slot opens and gives another data key"));
}
