//! Texts of recipient files. They open nothing: the file beside is opened with its key file.

use super::super::encode::public::{
    checked, identity_line, ml_kem_768_spki, ml_kem_1024_spki, recipient_id, recipient_line, seed, x_wing_public,
};
use super::super::encode::{ARN, Make, fixed};
use super::super::vector::{Class, Vector};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

const RSA_HEADS: [(usize, &str); 2] = [
    (384, "308201a2300d06092a864886f70d01010105000382018f003082018a0282018100"),
    (512, "30820222300d06092a864886f70d01010105000382020f003082020a0282020100"),
];

fn dz() -> [u8; 64] {
    [fixed::<32>("d"), fixed::<32>("z")].concat().try_into().unwrap()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A modulus that nobody can factor and nobody made.
fn rsa(size: usize, first: u8, last: u8) -> Vec<u8> {
    let (len, head) = RSA_HEADS[size];
    let mut modulus: Vec<u8> = (0..len / 32).flat_map(|n| fixed::<32>(&format!("modulus {n}"))).collect();
    (modulus[0], modulus[len - 1]) = (first, last);
    [unhex(head), modulus, vec![2, 3, 1, 0, 1]].concat()
}

pub(crate) fn make(out: &mut Vec<Vector>) {
    good(out);
    bad_texts(out);
    bad_keys(out);
}

fn good(out: &mut Vec<Vector>) {
    let x_wing = x_wing_public(&seed(1));
    let line = recipient_line(6, &recipient_id(&x_wing), &x_wing);
    let texts = [
        ("x_wing", format!("{line}\n")),
        ("crlf", format!("# c\r\n\r\n{line}\r\n# c")),
        ("no_end", line),
        ("ml_kem_768", recipient_line(4, ARN, &ml_kem_768_spki(dz()))),
        ("ml_kem_1024", recipient_line(4, ARN, &ml_kem_1024_spki(dz()))),
        ("rsa_3072", recipient_line(5, ARN, &rsa(0, 0x80, 1))),
        ("rsa_4096", recipient_line(5, ARN, &rsa(1, 0xff, 0xff))),
    ];
    let file = Make::default();
    for (name, text) in texts {
        let vector = Vector::opens(&format!("recipient_{name}"), &file.plaintext, file.file()).key(1);
        out.push(vector.recipient_text(text).musts("recipient-one recipient-form recipient-der recipient-id"));
    }
}

fn bad_texts(out: &mut Vec<Vector>) {
    let public = x_wing_public(&seed(1));
    let id = recipient_id(&public);
    let line = recipient_line(6, &id, &public);
    let body = &line[..line.len() - 9];
    let kms = recipient_line(4, ARN, &ml_kem_768_spki(dz()));
    let kms_body = &kms[..kms.len() - 9];
    let (head, base64) = body.rsplit_once(':').unwrap();
    let texts = [
        ("empty", "one", String::new()),
        ("twice", "one", format!("{line}\n{line}\n")),
        ("two", "one", format!("{line}\n{kms}\n")),
        ("identity_after", "one", format!("{line}\n{}\n", identity_line(&seed(1)))),
        ("wrapped", "one", format!("{}\n{}\n", &line[..998], &line[998..])),
        ("bom", "form", format!("\u{feff}{line}\n")),
        ("leading_space", "form", format!(" {line}\n")),
        ("trailing_space", "form", format!("{line} \n")),
        ("upper_prefix", "form", checked(&body.replacen("waxseal", "WAXSEAL", 1))),
        ("v2", "form", checked(&body.replacen("-v1:", "-v2:", 1))),
        ("kind_unknown", "form", checked(&body.replacen(":x-wing:", ":p-384:", 1))),
        ("kind_keyfile", "form", checked(&body.replacen(":x-wing:", ":keyfile:", 1))),
        ("kind_empty", "form", checked(&body.replacen(":x-wing:", "::", 1))),
        ("no_check", "form", body.to_owned()),
        ("check_9", "form", format!("{line}0")),
        ("identity", "form", identity_line(&seed(1))),
        ("arn_alias", "form", checked(&kms_body.replace(":key/", ":alias/"))),
        ("arn_more", "form", checked(&kms_body.replace(ARN, &format!("{ARN}:x")))),
        ("arn_before", "form", checked(&kms_body.replace(ARN, &format!("x:{ARN}")))),
        ("arn_on_x_wing", "form", checked(&body.replace(&id, ARN))),
        ("check", "check", format!("{body}:00000000")),
        ("check_of_body", "check", format!("{body}:{}", &recipient_id(body.as_bytes())[..8])),
        ("other_id", "id", checked(&body.replace(&id, &"0".repeat(32)))),
        ("upper_id", "id", checked(&body.replace(&id, &id.to_uppercase()))),
        ("no_padding", "base64", checked(body.trim_end_matches('='))),
        ("url_base64", "base64", checked(&format!("{head}:{}", URL_SAFE.encode(&public)))),
        ("base64_space", "base64", checked(&format!("{head}:{} {}", &base64[..64], &base64[64..]))),
        ("base64_bits", "base64", checked(&format!("{head}:{}", loose(base64)))),
        ("base64_more", "base64", checked(&format!("{head}:{base64}AAAA"))),
        ("base64_empty", "base64", checked(&format!("{head}:"))),
    ];
    add(out, texts);
}

/// The same bytes: bits that are not used are set in the last character.
fn loose(base64: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bare = base64.trim_end_matches('=');
    let (start, last) = bare.split_at(bare.len() - 1);
    let next = alphabet.as_bytes()[alphabet.find(last).unwrap() + 1];
    format!("{start}{}{}", char::from(next), "=".repeat(base64.len() - bare.len()))
}

fn bad_keys(out: &mut Vec<Vector>) {
    let x_wing = x_wing_public(&seed(1));
    let of_x_wing = |public: &[u8]| recipient_line(6, &recipient_id(public), public);
    let with = |public: &[u8], at: usize, bytes: &[u8]| {
        let mut public = public.to_vec();
        public[at..at + bytes.len()].copy_from_slice(bytes);
        public
    };
    let (small, large) = (ml_kem_768_spki(dz()), ml_kem_1024_spki(dz()));
    let big = |coefficient: usize| if coefficient == 0 { [0x01, 0xfd] } else { [0x1f, 0xd0] };
    let texts = [
        ("x_wing_first", "ml-kem", of_x_wing(&with(&x_wing, 0, &big(0)))),
        ("x_wing_last", "ml-kem", of_x_wing(&with(&x_wing, 1150, &big(1)))),
        ("ml_kem_768_first", "ml-kem", recipient_line(4, ARN, &with(&small, 22, &big(0)))),
        ("ml_kem_768_last", "ml-kem", recipient_line(4, ARN, &with(&small, 22 + 1150, &big(1)))),
        ("ml_kem_1024_first", "ml-kem", recipient_line(4, ARN, &with(&large, 22, &big(0)))),
        ("ml_kem_1024_last", "ml-kem", recipient_line(4, ARN, &with(&large, 22 + 1534, &big(1)))),
        ("x25519_zero", "x25519", of_x_wing(&with(&x_wing, 1184, &[0; 32]))),
        ("x25519_one", "x25519", of_x_wing(&with(&x_wing, 1184, &[&[1][..], &[0; 31]].concat()))),
        ("rsa_even", "rsa", recipient_line(5, ARN, &rsa(0, 0x80, 2))),
        ("rsa_short", "rsa", recipient_line(5, ARN, &rsa(0, 0x7f, 1))),
        ("rsa_4096_even", "rsa", recipient_line(5, ARN, &rsa(1, 0x80, 2))),
        ("rsa_exponent", "der", recipient_line(5, ARN, &with(&rsa(0, 0x80, 1), 33 + 384, &[2, 3, 1, 0, 3]))),
        ("rsa_as_ml_kem", "der", recipient_line(4, ARN, &rsa(0, 0x80, 1))),
        ("ml_kem_as_rsa", "der", recipient_line(5, ARN, &small)),
        (
            "ml_kem_512",
            "der",
            recipient_line(
                4,
                ARN,
                &[&unhex("30820332300b06096086480165030404010382032100")[..], &small[22..22 + 800]].concat(),
            ),
        ),
        ("der_long_form", "der", recipient_line(4, ARN, &[&[0x30, 0x83, 0, 4, 0xb2], &small[4..]].concat())),
        ("der_cut", "der", recipient_line(4, ARN, &small[..small.len() - 1])),
        ("der_more", "der", recipient_line(4, ARN, &[small.as_slice(), &[0]].concat())),
        ("bare_key", "der", recipient_line(4, ARN, &small[22..])),
        ("x_wing_cut", "der", of_x_wing(&x_wing[..1215])),
        ("x_wing_more", "der", of_x_wing(&[x_wing.as_slice(), &[0]].concat())),
        (
            "pem",
            "base64",
            checked(&format!("waxseal-recipient-v1:aws-kms-ml-kem:{ARN}:-----BEGIN{}", STANDARD.encode(&small))),
        ),
    ];
    add(out, texts);
}

fn add<const N: usize>(out: &mut Vec<Vector>, texts: [(&str, &str, String); N]) {
    let file = Make::default();
    for (name, tag, text) in texts {
        let vector = Vector::fails(&format!("recipient_bad_{name}"), Class::Usage, file.file()).key(1);
        out.push(vector.recipient_text(text).musts(&format!("recipient-{tag}")));
    }
}
