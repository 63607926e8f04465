//! Slots of public keys: shapes, which of them opens, and what is altered.

use super::super::encode::public::{self, Sent, identity_line, ml_kem_768_send, ml_kem_1024_send, recipient_id, seed};
use super::super::encode::{ARN, Make, Wrap, file_key, fixed, hex, key_id, message};
use super::super::vector::{Class, Vector};

/// A key of RSA_3072, PKCS #8, and 32 bytes that were encrypted to it once. OAEP is random.
const RSA_KEY: &[u8] = include_bytes!("../rsa_3072.der");
const RSA_SENT: &[u8] = include_bytes!("../rsa_3072.sent");
const RSA_SECRET: [u8; 32] = *b"a secret for the RSA slot of kit";

pub(crate) fn make(out: &mut Vec<Vector>) {
    shapes(out);
    duplicates(out);
    each_opens(out);
    secrets(out);
    altered(out);
    x_wing(out);
    identities(out);
}

fn slots(slots: Vec<Wrap>) -> Make {
    Make::with(|make| {
        make.bank_len = 16_384;
        make.slots = slots;
    })
}

fn arn(n: u8) -> String {
    ARN.replace("1234abcd", &format!("{n:08}"))
}

fn dz(n: u16) -> [u8; 64] {
    fixed::<32>(&format!("d {n}"))
        .iter()
        .chain(&fixed::<32>(&format!("z {n}")))
        .copied()
        .collect::<Vec<u8>>()
        .try_into()
        .unwrap()
}

/// What KMS would get for ML-KEM-768 (768), ML-KEM-1024 (1024), RSA_3072 (3072) and RSA_4096 (4096).
fn sent(key: u16) -> Sent {
    match key {
        768 => ml_kem_768_send(&public::ml_kem_768_spki(dz(768))[22..], fixed("m of ML-KEM-768")),
        1024 => ml_kem_1024_send(&public::ml_kem_1024_spki(dz(1024))[22..], fixed("m of ML-KEM-1024")),
        3072 => (RSA_SENT.to_vec(), RSA_SECRET),
        _ => ((0..16).flat_map(|n| fixed::<32>(&format!("RSA_4096 {n}"))).collect(), fixed("secret of RSA_4096")),
    }
}

fn kind(key: u16) -> u16 {
    if key < 3000 { 4 } else { 5 }
}

fn wrap(key: u16) -> Wrap {
    Wrap::Public(kind(key), ARN.into(), sent(key))
}

const KEYS: [u16; 4] = [768, 1024, 3072, 4096];

fn shapes(out: &mut Vec<Vector>) {
    let mut add = |name: String, tag: &str, wrap: Wrap| {
        let file = slots(vec![wrap, Wrap::Key(1)]);
        let vector = Vector::fails(&format!("public_{name}"), Class::Header, file.file()).key(1);
        out.push(vector.musts(&format!("{tag} bank-slots bank-malformed")));
    };
    let id = recipient_id(&public::x_wing_public(&seed(1)));
    for len in [0, 104, 488, 1088, 1191, 1193, 1224, 1671, 1673] {
        add(format!("ml_kem_size_{len}"), "public-size", Wrap::raw(4, ARN, vec![7; len]));
    }
    for len in [0, 384, 487, 489, 615, 617, 1192] {
        add(format!("rsa_size_{len}"), "public-size", Wrap::raw(5, ARN, vec![7; len]));
    }
    for len in [0, 1120, 1192, 1223, 1225] {
        add(format!("xwing_size_{len}"), "xwing-size", Wrap::raw(6, &id, vec![7; len]));
    }
    let bad = ["", "alias/x", &format!("{ARN}:x"), "arn:aws:kms:evil.example:123456789012:key/1", &id];
    for (at, arn) in bad.into_iter().enumerate() {
        add(format!("ml_kem_id_{at}"), "public-arn", Wrap::raw(4, arn, vec![7; 1192]));
        add(format!("rsa_id_{at}"), "public-arn", Wrap::raw(5, arn, vec![7; 488]));
    }
    let ids = [
        ("empty", String::new()),
        ("31", id[1..].into()),
        ("33", format!("{id}0")),
        ("upper", "A".repeat(32)),
        ("arn", ARN.into()),
    ];
    for (name, id) in ids {
        add(format!("xwing_id_{name}"), "xwing-id", Wrap::raw(6, id, vec![7; 1224]));
    }
}

/// Two slots must not name one key, whichever of the kinds 1, 4 and 5 they are of.
fn duplicates(out: &mut Vec<Vector>) {
    let of = |kind: u16, arn: &str| match kind {
        1 => Wrap::kms(arn),
        4 => Wrap::Public(4, arn.into(), sent(768)),
        _ => Wrap::Public(5, arn.into(), sent(3072)),
    };
    for (one, two) in [(1, 4), (1, 5), (4, 4), (4, 5), (5, 4), (5, 5)] {
        let file = slots(vec![of(one, ARN), Wrap::Key(1), of(two, ARN)]);
        let vector = Vector::fails(&format!("public_twice_{one}_{two}"), Class::Header, file.file()).key(1);
        out.push(vector.musts("slot-dup bank-slots"));
        let file = slots(vec![of(one, ARN), Wrap::Key(1), of(two, &arn(2))]);
        let vector = Vector::opens(&format!("public_two_{one}_{two}"), &file.plaintext, file.file()).key(1);
        out.push(vector.musts("slot-dup").says("the ARNs differ"));
    }
    let file = slots(vec![Wrap::Identity(1), Wrap::Key(1), Wrap::Identity(1)]);
    let vector = Vector::fails("public_twice_6_6", Class::Header, file.file()).key(1);
    out.push(vector.musts("slot-dup bank-slots"));
    let file = slots(vec![Wrap::Identity(1), Wrap::Identity(2), Wrap::Identity(3)]);
    let vector = Vector::opens("public_two_6_6", &file.plaintext, file.file()).identity(2);
    out.push(vector.musts("slot-dup xwing-match").says("three identities"));
    let id = recipient_id(&public::x_wing_public(&seed(1)));
    let file = slots(vec![Wrap::raw(2, &id, vec![7; 104]), Wrap::Identity(1)]);
    let vector = Vector::opens("public_id_of_keyfile", &file.plaintext, file.file()).identity(1);
    out.push(vector.musts("slot-dup").says("a key file's slot has the recipient's id: another kind names another key"));
}

/// One slot of each kind: any of them opens the file.
fn each_opens(out: &mut Vec<Vector>) {
    for suite in [1, 2] {
        let all = Make::with(|make| {
            make.suite = suite;
            make.bank_len = 16_384;
            make.slots = vec![
                Wrap::kms(&arn(1)),
                Wrap::Key(1),
                Wrap::pass("phrase"),
                Wrap::Public(4, arn(4), sent(1024)),
                Wrap::Public(5, arn(5), sent(3072)),
                Wrap::Identity(1),
                Wrap::raw(7, "id", "of a later kind"),
            ];
        });
        let opens = |name: &str| {
            let vector = Vector::opens(&format!("six_kinds_{name}_suite{suite}"), &all.plaintext, all.file());
            vector.musts("pk-open slot-skip").says("one slot of each kind, and one of a kind to come")
        };
        out.push(opens("aws_kms").data_key(&all.data_key, &arn(1)));
        out.push(opens("keyfile").key(1));
        out.push(opens("passphrase").pass("phrase"));
        out.push(opens("ml_kem").secret(&sent(1024).1, &arn(4)).private(&dz(1024), &arn(4)));
        out.push(opens("rsa").secret(&RSA_SECRET, &arn(5)).private(RSA_KEY, &arn(5)));
        out.push(opens("x_wing").identity(1));
        let none = Vector::fails(&format!("six_kinds_none_suite{suite}"), Class::Slot, all.file()).identity(2).key(2);
        out.push(none.musts("xwing-match keyfile-match").says("no key is of the file"));
    }
}

/// What a key service answers.
fn secrets(out: &mut Vec<Vector>) {
    for key in KEYS {
        let file = slots(vec![wrap(key)]);
        let vector = Vector::opens(&format!("public_{key}"), &file.plaintext, file.file()).secret(&sent(key).1, ARN);
        let vector = vector.musts("pk-open public-size public-arn");
        out.push(match key {
            768 | 1024 => vector.private(&dz(key), ARN).says("the private key is d and z of FIPS 203"),
            3072 => vector.private(RSA_KEY, ARN).says("the private key is PKCS #8"),
            _ => vector.says("the encapsulation is of nobody's key"),
        });
        let wrong = |name: &str, secret: &[u8], tags: &str, comment: &str| {
            let vector = Vector::fails(&format!("public_{key}_{name}"), Class::Slot, file.file()).exit(4);
            vector.secret(secret, ARN).musts(tags).says(comment)
        };
        let other: [u8; 32] = fixed("another secret");
        out.push(wrong("other_secret", &other, "pk-open", "as ML-KEM answers to an altered encapsulation"));
        for len in [0_usize, 16, 31, 33] {
            let secret: Vec<u8> = sent(key).1.iter().copied().chain([0]).take(len).collect();
            if len > 0 {
                out.push(wrong(&format!("secret_{len}"), &secret, "kms-answer-secret", "a secret of another length"));
            }
        }
        let file = slots(vec![Wrap::Public(kind(key), arn(2), sent(key))]);
        let vector = Vector::opens(&format!("public_{key}_other_arn"), &file.plaintext, file.file());
        out.push(vector.secret(&sent(key).1, &arn(2)).musts("pk-open").says("nothing rests on the key id"));
    }
}

/// Each part of a wrapped key is altered; the secret stays, as it does where the key service is lied to.
fn altered(out: &mut Vec<Vector>) {
    let id = recipient_id(&public::x_wing_public(&seed(1)));
    let keys = KEYS.map(|key| (format!("{key}"), kind(key), ARN.to_owned(), wrap(key)));
    let all = keys.into_iter().chain([("xwing".to_owned(), 6, id, Wrap::Identity(1))]);
    for (name, kind, id, wrap) in all {
        let file = Make::default();
        let (bound, data_key) = (file.bound(), file.data_key);
        let (_, _, wrapped) = wrap.parts(&bound, &data_key);
        let sent_len = wrapped.len() - 104;
        let secret = match &wrap {
            Wrap::Public(_, _, sent) => sent.1,
            _ => x_wing_sent().1,
        };
        let mut add = |what: &str, wrapped: &[u8], comment: &str| {
            let body = slots(vec![Wrap::raw(kind, &id, wrapped)]).file();
            let vector = Vector::fails(&format!("public_{name}_{what}"), Class::Slot, body).exit(4);
            let vector = if kind == 6 { vector.identity(1) } else { vector.secret(&secret, &id) };
            out.push(vector.musts("pk-open slot-next").says(comment));
        };
        let flips = [
            ("flip_first", 0),
            ("flip_sent", sent_len - 1),
            ("flip_salt", sent_len),
            ("flip_commitment", sent_len + 24),
            ("flip_ciphertext", sent_len + 56),
            ("flip_tag", sent_len + 103),
        ];
        for (what, at) in flips {
            let mut wrapped = wrapped.clone();
            wrapped[at] ^= 0x80;
            add(what, &wrapped, "one bit of the wrapping is flipped");
        }
        let sent = &wrapped[..sent_len];
        let mut with = |what: &str, context: &[u8], comment: &str| {
            let message = message(1, &secret, fixed("salt"), context, &data_key);
            add(what, &[sent, &message].concat(), comment);
        };
        let label = [b"waxseal v1 ", public::name(kind).as_bytes(), &[0]].concat();
        let other = Make::with(|make| make.labels = vec![0, 0]);
        with("grafted", &[&label, sent, &other.bound()].concat(), "the slot of a file with other labels");
        with("no_label", &[sent, &bound].concat(), "the context has no name");
        with("no_sent", &[label.as_slice(), &bound].concat(), "the context has no encapsulation");
        with("unbound", &[label.as_slice(), sent].concat(), "the context has no bound bytes");
        let other_label = [b"waxseal v1 ", public::name(if kind == 4 { 5 } else { 4 }).as_bytes(), &[0]].concat();
        with("other_label", &[&other_label, sent, &bound].concat(), "the context names another kind");
        let suite2 = message(2, &secret, fixed("salt"), &[label.as_slice(), sent, &bound].concat(), &data_key);
        add("suite2", &[sent, &suite2].concat(), "wrapped with ChaCha20-Poly1305");
        let (_, _, of_other) = wrap.parts(&bound, &fixed("another data key"));
        let vector = Vector::fails(
            &format!("public_{name}_other_data_key"),
            Class::Commitment,
            slots(vec![Wrap::raw(kind, &id, of_other)]).file(),
        );
        let vector = if kind == 6 { vector.identity(1) } else { vector.secret(&secret, &id) };
        out.push(vector.musts("commitment-check slot-discard").says("the slot opens and gives another data key"));
    }
}

fn x_wing_sent() -> Sent {
    public::x_wing_send(&public::x_wing_public(&seed(1)), fixed("m of X-Wing"), fixed("scalar of X-Wing"))
}

fn x_wing(out: &mut Vec<Vector>) {
    let public_key = public::x_wing_public(&seed(1));
    let id = recipient_id(&public_key);
    let file = Make::default();
    // What anyone can make: zero is the result with every X25519 key.
    for (name, point) in [("zero", [0; 32]), ("one", [&[1][..], &[0; 31]].concat().try_into().unwrap())] {
        let (sent, ml_kem) = ml_kem_768_send(&public_key[..1184], fixed("m"));
        let secret = public::combine(&ml_kem, &[0; 32], &point, public_key[1184..].try_into().unwrap());
        let wrap = Wrap::Public(6, id.clone(), ([sent.as_slice(), &point].concat(), secret));
        let vector = Vector::fails(&format!("xwing_point_{name}"), Class::Slot, slots(vec![wrap]).file()).exit(4);
        out.push(vector.identity(1).musts("xwing-zero").says("a reader that takes the zero opens the slot"));
    }
    let (_, _, wrapped) = Wrap::Identity(1).parts(&file.bound(), &file.data_key);
    let other = recipient_id(&public::x_wing_public(&seed(2)));
    let renamed = slots(vec![Wrap::raw(6, &other, &wrapped)]);
    let vector = Vector::fails("xwing_renamed", Class::Slot, renamed.file()).identity(1).musts("xwing-match");
    out.push(vector.says("the slot would open with this identity, but carries the id of another"));
    let vector = Vector::fails("xwing_renamed_match", Class::Slot, renamed.file()).identity(2).exit(4);
    out.push(vector.musts("pk-open").says("the slot carries this identity's id, but is another's"));
    let garbled = slots(vec![Wrap::raw(6, &id, vec![7; 1224]), Wrap::Key(1)]);
    let vector = Vector::opens("xwing_garbled_next", &garbled.plaintext, garbled.file()).identity(1).key(1);
    out.push(vector.musts("slot-next pk-open").says("the identity's slot is garbled, the key file's opens"));
    let as_keyfile = slots(vec![Wrap::raw(7, &id, &wrapped), Wrap::raw(0x8006, key_id(&file_key(1)), &wrapped)]);
    let vector = Vector::fails("xwing_as_kind_7", Class::Slot, as_keyfile.file()).identity(1).key(1);
    out.push(vector.musts("slot-skip").says("all but the kind is a slot of the identity"));
}

fn identities(out: &mut Vec<Vector>) {
    let line = identity_line(&seed(1));
    let body = &line[..line.len() - 9];
    let file = slots(vec![Wrap::Identity(1)]);
    let good = [("lf", format!("{line}\n")), ("crlf", format!("# c\r\n\r\n{line}\r\n#")), ("no_end", line.clone())];
    for (name, text) in good {
        let vector = Vector::opens(&format!("identity_{name}"), &file.plaintext, file.file()).identity_text(text);
        out.push(vector.musts("identity-one identity-form"));
    }
    let checked = public::checked;
    let bad = [
        ("empty", "one", String::new()),
        ("twice", "one", format!("{line}\n{line}\n")),
        (
            "recipient_before",
            "one",
            format!(
                "{}\n{line}\n",
                public::recipient_line(
                    6,
                    &recipient_id(&public::x_wing_public(&seed(1))),
                    &public::x_wing_public(&seed(1))
                )
            ),
        ),
        ("bom", "form", format!("\u{feff}{line}\n")),
        ("leading_space", "form", format!(" {line}\n")),
        ("trailing_space", "form", format!("{line} \n")),
        ("upper", "form", checked(&body.to_uppercase())),
        ("v2", "form", checked(&body.replace("-v1:", "-v2:"))),
        ("no_kind", "form", checked(&body.replace(":x-wing:", ":"))),
        ("other_kind", "form", checked(&body.replace(":x-wing:", ":aws-kms-ml-kem:"))),
        ("digits_62", "form", checked(&body[..body.len() - 2])),
        ("digits_66", "form", checked(&format!("{body}00"))),
        ("no_check", "form", body.to_owned()),
        ("check_9", "form", format!("{line}0")),
        ("check_of_seed", "check", format!("{body}:{}", hex(&super::super::encode::sha256(&seed(1))[..4]))),
        ("other_seed", "check", format!("{}{}", identity_line(&seed(2)).split_at(body.len()).0, &line[body.len()..])),
        ("key_file", "form", super::super::encode::key_line(&file_key(1))),
    ];
    for (name, tag, text) in bad {
        let vector = Vector::fails(&format!("identity_bad_{name}"), Class::Usage, file.file()).identity_text(text);
        out.push(vector.musts(&format!("identity-{tag}")));
    }
}
