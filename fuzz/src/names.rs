//! Parsers of text. Each is compared with a second parser that is written in another way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waxseal::format::{Pairs, is_kms_key_arn};
use waxseal::keys::{KeyFile, KeyText, Recipient};

use super::encode::public::{checked, recipient_id};
use super::encode::{hex, key_id, sha256};

/// ```text
/// mode u8: 0, an ARN | 1, NAME=VALUE, one a line
/// ```
pub fn names(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if mode % 2 == 0 {
        assert_eq!(is_kms_key_arn(text), arn(text), "{text:?}");
    } else {
        pairs(&text.split('\n').collect::<Vec<_>>());
    }
}

/// The regular expression of the specification, step by step.
fn arn(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("arn:aws") else { return false };
    let (_, rest) = run(rest, |c| c.is_ascii_lowercase() || c == '-');
    let Some(rest) = rest.strip_prefix(":kms:") else { return false };
    let (region, rest) = run(rest, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let Some(rest) = rest.strip_prefix(':') else { return false };
    let (account, rest) = run(rest, |c| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix(":key/") else { return false };
    let (key, rest) = run(rest, |c| c.is_ascii_alphanumeric() || c == '-');
    (1..=32).contains(&region) && account == 12 && (1..=128).contains(&key) && rest.is_empty()
}

/// The number of characters of a class at the start, and the rest.
fn run(text: &str, class: impl Fn(char) -> bool) -> (usize, &str) {
    let len = text.find(|c| !class(c)).unwrap_or(text.len());
    (len, &text[len..])
}

fn pairs(lines: &[&str]) {
    // The second parser does not check the longest names and values.
    if lines.iter().any(|line| line.len() >= 65_000) {
        return;
    }
    let Ok(pairs) = Pairs::parse(lines) else {
        return assert!(broken(lines), "well-formed pairs are refused: {lines:?}");
    };
    assert!(!broken(lines), "ill-formed pairs are taken: {lines:?}");
    let sorted: Vec<_> = pairs.iter().collect();
    assert!(sorted.windows(2).all(|two| two[0].0.as_bytes() < two[1].0.as_bytes()));
    let mut given: Vec<_> = lines.iter().map(|line| line.split_once('=').unwrap()).collect();
    given.sort();
    assert_eq!(sorted, given, "a pair was changed");
    let owned = given.into_iter().rev().map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(Pairs::new(owned).unwrap(), pairs, "the result depends on the order");
}

fn broken(lines: &[&str]) -> bool {
    let control =
        |text: &str| text.bytes().any(|b| b < 0x20 || b == 0x7f) || ('\u{80}'..='\u{9f}').any(|c| text.contains(c));
    let lower: Vec<_> = lines.iter().map(|line| line.split('=').next().unwrap().to_ascii_lowercase()).collect();
    let twice = (1..lower.len()).any(|i| lower[..i].contains(&lower[i]));
    let reserved = lower.iter().any(|name| name.get(..4) == Some("aws:") || name.get(..8) == Some("waxseal:"));
    let shape = |line: &&str| line.find('=').is_some_and(|at| at > 0 && at + 1 < line.len());
    lines.len() > 64 || twice || reserved || !lines.iter().all(shape) || lines.iter().any(|line| control(line))
}

/// The text of a key file.
pub fn keyfile(data: &[u8]) {
    if data.len() > 65_536 {
        return;
    }
    match (KeyFile::parse(data), key_of(data)) {
        (Err(_), None) => {}
        (Ok(key), Some(expected)) => {
            assert_eq!(key.id(), key_id(&expected));
            let again = KeyFile::parse(key.to_text(&["a comment"]).expose()).unwrap();
            assert_eq!(again.id(), key.id());
        }
        (Ok(_), None) => panic!("an ill-formed key file is taken"),
        (Err(error), Some(_)) => panic!("a well-formed key file is refused: {error}"),
    }
}

/// The text of any key's file.
///
/// ```text
/// mode u8: 0, the text | else a line to which the check digits are added
/// ```
pub fn keytext(data: &[u8]) {
    let Some((mode, text)) = data.split_first() else { return };
    let with_check;
    let text = match std::str::from_utf8(text) {
        Ok(line) if mode % 2 == 1 => {
            with_check = checked(line);
            with_check.as_bytes()
        }
        _ => text,
    };
    if text.len() > 65_536 {
        return;
    }
    let line = only_line(text);
    match KeyText::parse(text) {
        Ok(KeyText::KeyFile(_)) => keyfile(text),
        Ok(KeyText::Identity(identity)) => {
            // What is accepted is written in the same way.
            assert_eq!(identity.to_text(&[]).expose().strip_suffix(b"\n"), line.as_deref());
        }
        Ok(KeyText::Recipient(recipient)) => {
            let line = line.expect("a recipient's line");
            assert!(sound(&String::from_utf8(line.clone()).unwrap(), &recipient), "an ill-formed recipient is taken");
            assert_eq!(recipient.to_text(&[]).trim_end().as_bytes(), line);
        }
        Err(_) => assert!(key_of(text).is_none(), "a well-formed key file is refused"),
    }
}

/// A recipient's line according to the specification, as far as possible without the tables.
fn sound(line: &str, recipient: &Recipient) -> bool {
    let at = line.rfind(':').unwrap();
    let (body, key) = line[..at].rsplit_once(':').unwrap();
    let (name, id) = body.strip_prefix("waxseal-recipient-v1:").unwrap().split_once(':').unwrap();
    let public = STANDARD.decode(key).unwrap();
    let named = match name {
        "x-wing" => id == recipient_id(&public) && public.len() == 1216,
        "aws-kms-ml-kem" => arn(id) && [1206, 1590].contains(&public.len()),
        "aws-kms-rsa" => arn(id) && [422, 550].contains(&public.len()),
        _ => false,
    };
    named && checked(&line[..at]) == line && STANDARD.encode(&public) == key && recipient.public_key() == public
}

/// The one line that is neither empty nor a comment.
fn only_line(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let bare = lines.map(|line| line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line)));
    let mut counts = bare.filter(|line| !line.is_empty() && line[0] != b'#');
    let line = counts.next()?;
    counts.next().is_none().then(|| line.to_vec())
}

/// According to the specification, byte for byte.
fn key_of(text: &[u8]) -> Option<[u8; 32]> {
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    for byte in text {
        line.push(*byte);
        if *byte == b'\n' {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            lines.push(std::mem::take(&mut line));
        }
    }
    lines.push(line);
    lines.retain(|line| !line.is_empty() && line[0] != b'#');
    let [line] = lines.as_slice() else { return None };
    if line.len() != 15 + 64 + 1 + 8 {
        return None;
    }
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(line[15..79].chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    let whole = format!("waxseal-key-v1:{}:{}", hex(&key), hex(&sha256(&key)[..4]));
    (whole.as_bytes() == line).then_some(key)
}
