use super::*;
use crate::format::{DataKeyId, Pairs, Sharing, Suite};
use crate::keys::{KeyOpener, KeySealer};
use crate::secret::KEY_LEN;

use sha2::{Digest, Sha256};

pub(super) const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn hash(bytes: &[u8]) -> String {
    crate::keys::lines::hex(&Sha256::digest(bytes))
}

fn binding(id: u8) -> Binding {
    Binding {
        suite: Suite::Aes256Gcm,
        data_key_id: DataKeyId([id; 16]),
        sharing: Sharing::Exclusive,
        context: Pairs::parse(["project=demo"]).unwrap(),
        labels: Pairs::default(),
    }
}

fn identity(seed: &[u8]) -> Identity {
    let digits = crate::keys::lines::hex(seed);
    let line = format!("waxseal-identity-v1:x-wing:{digits}");
    Identity::parse(format!("{line}:{}", &hash(line.as_bytes())[..8]).as_bytes()).unwrap()
}

/// The public key as it is in a recipient file.
fn encoded(spec: PublicKeySpec, key: &[u8]) -> Vec<u8> {
    let (head, len, tail) = spec.encoding();
    assert_eq!(key.len(), len);
    [head, key, tail].concat()
}

fn is_altered(result: Result<DataKey>) -> bool {
    matches!(result, Err(Error::Tampered(Tampered::Slot { slot: 0 })))
}

/// The vectors of draft-connolly-cfrg-xwing-kem: seed, randomness, secret, and the hashes of public key and ciphertext.
#[test]
fn x_wing_gives_the_published_values() {
    let vectors = [
        [
            "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
            "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2\
             35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
            "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
            "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
            "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
        ],
        [
            "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
            "17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdef\
             aee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d",
            "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
            "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
            "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
        ],
        [
            "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
            "22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619\
             f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b",
            "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
            "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
            "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
        ],
    ];
    for [seed, randomness, shared, public, sent] in vectors {
        let identity = identity(&unhex(seed));
        assert_eq!(hash(identity.recipient().public_key()), public);
        let randomness: [u8; 64] = unhex(randomness).try_into().unwrap();
        let key = identity.recipient().public_key();
        let (made, secret) = kem::encapsulate_with(PublicKeySpec::XWing, key, &randomness).unwrap();
        assert_eq!((hash(&made).as_str(), secret.expose().as_slice()), (sent, unhex(shared).as_slice()));
        let seed = DataKey::from_slice(&unhex(seed)).unwrap();
        let opened = kem::open_x_wing(&seed, &made).unwrap().unwrap();
        assert_eq!(opened.expose(), secret.expose());
    }
}

#[test]
fn an_identity_opens_what_its_recipient_sealed() {
    let (one, two) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (data_key, slot) = one.recipient().generate(&binding(1)).unwrap();
    assert_eq!((slot.kind, slot.key_id.as_str(), slot.wrapped.len()), (SlotKind::X_WING, one.id(), 1224));
    assert!(one.matches(&slot) && !two.matches(&slot));
    assert_eq!(one.open(&slot, &binding(1)).unwrap().expose(), data_key.expose());
    assert!(is_altered(two.open(&slot, &binding(1))), "another identity");
    assert!(is_altered(one.open(&slot, &binding(2))), "grafted onto another file");
    let other = one.recipient().wrap(&data_key, &binding(1)).unwrap();
    assert_ne!(slot.wrapped[..1120], other.wrapped[..1120], "each wrapping has an encapsulation of its own");
    assert_ne!(slot.wrapped[1120..1144], other.wrapped[1120..1144], "each wrapping has a salt of its own");
    let foreign = [&other.wrapped[..1120], &slot.wrapped[1120..]].concat();
    assert!(is_altered(one.open(&Slot { wrapped: foreign, ..slot.clone() }, &binding(1))), "a foreign encapsulation");
    for at in [0, 1087, 1088, 1119, 1120, 1143, 1144, 1175, 1176, 1207, 1208, 1223] {
        let mut altered = slot.clone();
        altered.wrapped[at] ^= 1;
        assert!(is_altered(one.open(&altered, &binding(1))), "{at}");
    }
    for len in [0, 1, 104, 1223] {
        let cut = Slot { wrapped: slot.wrapped[..len].to_vec(), ..slot.clone() };
        assert!(is_altered(one.open(&cut, &binding(1))) && encapsulation(&cut).is_none(), "{len}");
    }
    // X25519 ignores the last bit of a key (RFC 7748). The context does not, so only one encapsulation fits a message.
    let mut twin = slot.clone();
    twin.wrapped[1119] ^= 0x80;
    assert!(is_altered(one.open(&twin, &binding(1))));
}

/// X25519 with a key of small order gives zero for every private key, so the result is not secret.
#[test]
fn a_zero_result_of_x25519_does_not_open() {
    let seed = DataKey::from_slice(&[7; KEY_LEN]).unwrap();
    let identity = identity(seed.expose());
    let (mut sent, _) = kem::encapsulate(PublicKeySpec::XWing, identity.recipient().public_key()).unwrap();
    let small_order = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in small_order.map(unhex) {
        sent[1088..].copy_from_slice(&point);
        assert!(kem::open_x_wing(&seed, &sent).unwrap().is_none(), "{point:02x?}");
        // Sealing to such a key is refused, too, because nobody could open the file.
        let public = [&identity.recipient().public_key()[..1184], &point].concat();
        assert!(PublicKeySpec::of(SlotKind::X_WING, &public).is_err(), "{point:02x?}");
    }
    assert!(kem::open_x_wing(&seed, &sent[1..]).unwrap().is_none(), "cut");
}

/// FIPS 203, 7.2: lengths, and every coefficient below 3329.
#[test]
fn public_keys_that_break_a_rule_are_refused() {
    for (spec, coefficients) in
        [(PublicKeySpec::MlKem768, 768), (PublicKeySpec::MlKem1024, 1024), (PublicKeySpec::XWing, 768)]
    {
        let len = coefficients / 2 * 3;
        let mut key = vec![0; spec.encoding().1];
        *key.last_mut().unwrap() = 9;
        let refused = |key: &[u8]| PublicKeySpec::of(spec.kind(), &encoded(spec, key)).is_err();
        assert!(!refused(&key));
        for coefficient in [0, 1, coefficients - 2, coefficients - 1] {
            for value in [0_u16, 1, 3328, 3329, 4095] {
                let mut key = key.clone();
                let at = coefficient / 2 * 3;
                let [low, high] = value.to_le_bytes();
                match coefficient % 2 {
                    0 => (key[at], key[at + 1]) = (low, high),
                    _ => (key[at + 1], key[at + 2]) = (low << 4, low >> 4 | high << 4),
                }
                assert_eq!(refused(&key), value > 3328, "{spec:?}, coefficient {coefficient}, {value}");
            }
        }
        // The bytes after the coefficients are random.
        key[len..len + 32].fill(0xff);
        assert!(!refused(&key));
    }
    for spec in [PublicKeySpec::Rsa3072, PublicKeySpec::Rsa4096] {
        let refused = |first: u8, last: u8| {
            let mut modulus = vec![0x55; spec.encoding().1];
            (modulus[0], *modulus.last_mut().unwrap()) = (first, last);
            PublicKeySpec::of(spec.kind(), &encoded(spec, &modulus)).is_err()
        };
        assert!(!refused(0x80, 1) && refused(0x7f, 1) && refused(0x80, 0xfe));
    }
    for spec in PublicKeySpec::ALL {
        let good = encoded(spec, &vec![0x81; spec.encoding().1]);
        for len in [0, 1, good.len() - 1] {
            assert!(spec.key(&good[..len]).is_none());
        }
        assert!(spec.key(&[good.as_slice(), b"\0"].concat()).is_none() && spec.key(&good).is_some());
        if spec.kind() != SlotKind::X_WING {
            for at in 0..spec.encoding().0.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(spec.key(&bad).is_none(), "{spec:?}: byte {at} of the encoding");
            }
        }
    }
}

/// If the first wrapping contains the magic, a second one is made. The number of attempts is limited.
#[test]
fn a_wrapping_never_holds_the_magic() {
    let mut made = 0;
    let wrapped = without_magic(|| {
        made += 1;
        Ok(if made < 3 { [b"x".as_slice(), &MAGIC, b"y"].concat() } else { vec![made] })
    });
    assert_eq!(wrapped.unwrap(), [3]);
    assert!(matches!(without_magic(|| Ok(MAGIC.to_vec())), Err(Error::Limit(_))));
}

#[test]
fn slots_of_other_kinds_are_no_public_key_slots() {
    let slot = |kind: u16, len: usize| Slot { kind: SlotKind(kind), key_id: ARN.into(), wrapped: vec![1; len] };
    for (kind, len) in [(1, 1192), (2, 104), (3, 148), (4, 488), (5, 1192), (6, 1192), (7, 1224)] {
        let slot = slot(kind, len);
        assert!(encapsulation(&slot).is_none(), "{kind}");
        let secret = DataKey::random().unwrap();
        assert!(matches!(finish(&slot, &secret, &binding(1)), Err(Error::ApiMisuse(_))), "{kind}");
    }
    assert_eq!(encapsulation(&slot(4, 1672)).unwrap().len(), 1568);
    assert_eq!(encapsulation(&slot(5, 616)).unwrap().len(), 512);
}

/// AWS KMS is based on AWS-LC. Here AWS-LC has the private keys.
#[cfg(feature = "aws-lc")]
mod with_aws_lc {
    use super::*;

    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::kem::{Algorithm, Ciphertext, DecapsulationKey, ML_KEM_768, ML_KEM_1024};
    use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    /// Seals, opens with `private`, and checks that altered slots fail.
    fn round_trip(spec: PublicKeySpec, spki: &[u8], private: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        let recipient = Recipient::from_kms(ARN, spki).unwrap();
        assert_eq!(recipient.spec(), spec);
        assert_eq!(Recipient::parse(recipient.to_text(&["c"]).as_bytes()).unwrap(), recipient);
        let (data_key, slot) = recipient.generate(&binding(1)).unwrap();
        assert!(recipient.is_of(&slot) && slot.kind == spec.kind() && slot.key_id == ARN);
        let open = |slot: &Slot, binding: &Binding| {
            let secret = private(encapsulation(slot).unwrap()).map(|secret| DataKey::from_slice(&secret).unwrap());
            secret.map(|secret| finish(slot, &secret, binding))
        };
        assert_eq!(open(&slot, &binding(1)).unwrap().unwrap().expose(), data_key.expose());
        assert!(is_altered(open(&slot, &binding(2)).unwrap()), "grafted onto another file");
        let sent = spec.encapsulation_len();
        let other = recipient.wrap(&data_key, &binding(1)).unwrap();
        assert_ne!(slot.wrapped[..sent], other.wrapped[..sent]);
        let foreign = [&other.wrapped[..sent], &slot.wrapped[sent..]].concat();
        assert!(is_altered(open(&Slot { wrapped: foreign, ..slot.clone() }, &binding(1)).unwrap()));
        for at in [0, sent - 1, sent, sent + 24, sent + 56, sent + 103] {
            let mut altered = slot.clone();
            altered.wrapped[at] ^= 1;
            // RSA refuses an altered ciphertext; ML-KEM gives another secret.
            assert!(open(&altered, &binding(1)).is_none_or(is_altered), "{at}");
        }
        // The ARN is not bound. It only says which key is asked, and no security depends on it.
        let renamed = Slot { key_id: ARN.replace("west", "north"), ..slot.clone() };
        assert_eq!(open(&renamed, &binding(1)).unwrap().unwrap().expose(), data_key.expose());
    }

    #[test]
    fn ml_kem_keys_open_what_is_sealed_to_them() {
        let keys: [(PublicKeySpec, &'static Algorithm<_>); 2] =
            [(PublicKeySpec::MlKem768, &ML_KEM_768), (PublicKeySpec::MlKem1024, &ML_KEM_1024)];
        for (spec, algorithm) in keys {
            let private = DecapsulationKey::generate(algorithm).unwrap();
            let public = private.encapsulation_key().unwrap().key_bytes().unwrap().as_ref().to_vec();
            round_trip(spec, &encoded(spec, &public), |sent| {
                Some(private.decapsulate(Ciphertext::from(sent)).unwrap().as_ref().to_vec())
            });
        }
    }

    #[test]
    fn rsa_keys_open_what_is_sealed_to_them() {
        for (spec, size) in [(PublicKeySpec::Rsa3072, KeySize::Rsa3072), (PublicKeySpec::Rsa4096, KeySize::Rsa4096)] {
            let private = PrivateDecryptingKey::generate(size).unwrap();
            let spki = private.public_key().as_der().unwrap().as_ref().to_vec();
            let private = OaepPrivateDecryptingKey::new(private).unwrap();
            round_trip(spec, &spki, |sent| {
                let mut out = vec![0; private.min_output_size()];
                let opened = private.decrypt(&OAEP_SHA256_MGF1SHA256, sent, &mut out, None);
                opened.ok().map(|opened| opened.to_vec())
            });
        }
        let small = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki = small.public_key().as_der().unwrap().as_ref().to_vec();
        assert!(matches!(Recipient::from_kms(ARN, &spki), Err(Error::Invalid(_))), "RSA_2048");
    }
}

/// A build without AWS-LC reads the recipient, and its error says why it cannot seal to it.
#[cfg(not(feature = "aws-lc"))]
#[test]
fn rsa_needs_aws_lc() {
    let mut modulus = vec![0x81; 384];
    modulus[0] = 0xc1;
    let recipient = Recipient::from_kms(ARN, &encoded(PublicKeySpec::Rsa3072, &modulus)).unwrap();
    assert!(matches!(recipient.generate(&binding(1)), Err(Error::Invalid(_))));
}

mod texts {
    use super::*;

    fn checked(line: &str) -> String {
        format!("{line}:{}", &hash(line.as_bytes())[..8])
    }

    fn refused(text: &str) -> String {
        match Recipient::parse(text.as_bytes()) {
            Err(Error::Invalid(why)) => why,
            _ => panic!("taken: {text}"),
        }
    }

    #[test]
    fn recipients_round_trip() {
        let identity = identity(&[7; 32]);
        let text = identity.recipient().to_text(&["made\nby hand"]);
        assert!(text.starts_with("# made by hand\nwaxseal-recipient-v1:x-wing:") && text.lines().count() == 2);
        for text in [text.clone(), text.replace('\n', "\r\n"), format!("\n# c\n{}\n", text.trim_end())] {
            assert_eq!(Recipient::parse(text.as_bytes()).unwrap(), *identity.recipient());
        }
        assert_eq!(identity.recipient().fingerprint(), identity.id());
    }

    #[test]
    fn recipients_that_break_a_rule_are_refused() {
        let identity = identity(&[7; 32]);
        let text = identity.recipient().to_text(&[]);
        let line = text.trim_end();
        let body = &line[..line.len() - 9];
        let (head, key) = body.rsplit_once(':').unwrap();
        // Four bits of the last character before the padding are not used.
        let odd = key.replace("==", "").trim_end().to_owned();
        let mut loose: Vec<char> = odd.chars().collect();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let last = alphabet.find(*loose.last().unwrap()).unwrap();
        *loose.last_mut().unwrap() = alphabet.chars().nth(last + 1).unwrap();
        let loose: String = loose.into_iter().collect();
        let bad = [
            String::new(),
            format!("{line}\n{line}"),
            format!("\u{feff}{line}"),
            format!(" {line}"),
            format!("{line} "),
            format!("{line}:"),
            line[..line.len() - 1].into(),
            line.to_uppercase(),
            // A mail program wraps lines in this way.
            format!("{}\n{}", &line[..998], &line[998..]),
            body.into(),
            checked(&body.replace("-v1:", "-v2:")),
            checked(&body.replace(":x-wing:", ":X-Wing:")),
            checked(&body.replace(":x-wing:", ":keyfile:")),
            checked(&body.replace(":x-wing:", ":aws-kms-ml-kem:")),
            checked(&body.replace(":x-wing:", "::")),
            checked(&body.replace(identity.id(), &"0".repeat(32))),
            checked(&body.replace(identity.id(), &identity.id().to_uppercase())),
            checked(&body.replace(identity.id(), "")),
            checked(&format!("{head}:{odd}")),
            checked(&format!("{head}:{loose}==")),
            checked(&format!("{head}:{key}A")),
            checked(&format!("{head}: {key}")),
            checked(&format!("{head}:{}", key.replace('A', "-"))),
            checked(&format!("{head}:{}\u{20}{}", &key[..64], &key[64..])),
            checked(&format!("{head}:")),
            checked(&format!("{head}:{}", &key[4..])),
            format!("{body}:00000000"),
            format!("{body}:{}", checked(body)[body.len() + 1..].to_uppercase()),
        ];
        for text in bad.iter().filter(|text| *text != line) {
            refused(text);
        }
        let both = [text.as_bytes(), identity.to_text(&[]).expose()].concat();
        assert!(Recipient::parse(&both).is_err() && Identity::parse(&both).is_err());
        assert!(Recipient::parse(&[b'#'; 70_000]).is_err() && Recipient::parse(b"\xff").is_err());
    }

    #[test]
    fn kms_recipients_carry_an_arn() {
        let spki = encoded(PublicKeySpec::MlKem768, &[0; 1184]);
        let recipient = Recipient::from_kms(ARN, &spki).unwrap();
        let line = recipient.to_text(&[]).trim_end().to_owned();
        assert_eq!(Recipient::parse(line.as_bytes()).unwrap(), recipient);
        assert_eq!((recipient.key_id(), recipient.fingerprint().len()), (ARN, 32));
        let body = &line[..line.len() - 9];
        for id in ["alias/x", "", "1234abcd-12ab-34cd-56ef-1234567890ab", &format!("{ARN}:x"), &format!("x{ARN}")] {
            refused(&checked(&body.replace(ARN, id)));
            assert!(Recipient::from_kms(id, &spki).is_err());
        }
        refused(&checked(&body.replace("aws-kms-ml-kem", "aws-kms-rsa")));
        refused(&checked(&body.replace("aws-kms-ml-kem", "x-wing")));
        refused(&checked(&body.replace("aws-kms-ml-kem", "aws-kms")));
    }

    #[test]
    fn identities_are_refused_without_being_repeated() {
        let identity = Identity::generate().unwrap();
        let good = String::from_utf8(identity.to_text(&[]).expose().to_vec()).unwrap();
        let line = good.trim_end();
        let digits = &line["waxseal-identity-v1:x-wing:".len()..][..64];
        let flipped = line.replacen(&digits[..1], if digits.starts_with('0') { "1" } else { "0" }, 1);
        let bad = [
            format!("{line}\n{line}"),
            line.to_uppercase(),
            line.replace("-v1:", "-v2:"),
            line.replace(":x-wing:", ":ml-kem:"),
            line[..line.len() - 9].into(),
            format!("{line}0"),
            format!(" {line}"),
            flipped,
            checked(&line[..line.len() - 11]),
            checked(&format!("{}00", &line[..line.len() - 9])),
        ];
        for text in &bad {
            let Err(Error::Invalid(why)) = Identity::parse(text.as_bytes()) else { panic!("taken") };
            assert!(!why.contains(&digits[1..20]), "{why}");
        }
        assert_eq!(Identity::parse(good.replace('\n', "\r\n").as_bytes()).unwrap().id(), identity.id());
    }
}
