//! Which part of a service's message an error may repeat.
//!
//! AWS's own message says more than any sentence of this crate. But it comes from whoever answers at the endpoint, who has
//! seen the request, and perhaps a secret in it. A message is therefore shortened, and its control characters are escaped.
//! It is left out if it contains a part of a secret of the call. A text that the SDK makes of a request or an answer is
//! never repeated: [`crate::failure`] selects a sentence by the type of the error.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A message is cut after this many characters. AWS's longest sentences, about policies, have about 300.
const WORDS_MAX: usize = 400;
/// The names of AWS's errors have at most 55 letters.
const CODE_MAX: usize = 64;
/// AWS's ids of requests have 36 characters.
const ID_LEN: usize = 36;
/// Ids of an emulator have this many. A data key has 43 or 44 characters in base64, and 64 in hexadecimal.
const EMULATORS_ID_LEN: usize = 52;
/// So many letters and digits in a row can be a data key that this side has never seen. No name in AWS's messages has so
/// many.
const RUN_MAX: usize = 40;
/// A list of so many numbers can be a data key too. No message of AWS has such a list.
const LIST_MAX: usize = 8;
/// So many bytes of a secret in a row count as a part of it. Fewer bytes can be there by chance.
const PART: usize = 6;
/// A shorter secret, such as a PIN, can be in a message by chance. For such a secret, no message is repeated.
const SHORTEST: usize = 8;
/// A secret that is shorter than this is not searched for.
const FEWEST: usize = 4;

/// The part of a service's message that may be repeated, perhaps nothing. `secret` is the secret of the call.
#[must_use]
pub fn told(message: &str, secret: &[u8]) -> String {
    let mut cut: String = message.chars().take(WORDS_MAX).collect();
    if (1..SHORTEST).contains(&secret.len()) || holds(&cut, secret) {
        return String::new();
    }
    if cut.len() < message.len() {
        cut.push_str("...");
    }
    escaped(&without_runs(&without_lists(&cut)))
}

/// A service's name of an error; empty if it cannot be a name.
#[must_use]
pub fn code(code: &str) -> &str {
    let name = |byte: u8| byte.is_ascii_alphabetic() || byte == b'.';
    if code.len() <= CODE_MAX && code.bytes().all(name) { code } else { "" }
}

/// A service's id of a request; `None` if it cannot be an id.
#[must_use]
pub fn request_id(id: Option<&str>, secret: &[u8]) -> Option<String> {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_len = |len: usize| (1..=ID_LEN).contains(&len) || len == EMULATORS_ID_LEN;
    let id = id.filter(|id| is_len(id.len()) && id.bytes().all(part))?;
    (!holds(id, secret)).then(|| id.to_owned())
}

/// Whether `text` contains a part of `secret`: unchanged, in hexadecimal, in base64 or as a list of numbers.
#[must_use]
pub fn holds(text: &str, secret: &[u8]) -> bool {
    if secret.len() < FEWEST || text.is_empty() {
        return false;
    }
    holds_raw(text, secret) || holds_hex(text, secret) || holds_base64(text, secret) || holds_numbers(text, secret)
}

fn holds_raw(text: &str, secret: &[u8]) -> bool {
    // Also as Latin-1, with one character for each byte.
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(0)).collect();
    let len = secret.len().min(SHORTEST);
    let stands_in = |bytes: &[u8]| bytes.windows(len).any(|window| secret.windows(len).any(|part| part == window));
    stands_in(text.as_bytes()) || stands_in(&latin)
}

fn holds_hex(text: &str, secret: &[u8]) -> bool {
    // Dashes, colons and blanks between the digits are ignored.
    let digits: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    secret.windows(PART.min(secret.len())).any(|part| digits.contains(&hex(part)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn holds_base64(text: &str, secret: &[u8]) -> bool {
    let standard = text.replace('-', "+").replace('_', "/");
    // The encoded text can have bytes before the secret. One of three alignments is always right.
    (0..3).filter_map(|skipped| secret.get(skipped..)).any(|rest| {
        rest.chunks_exact(3).collect::<Vec<_>>().windows(PART / 3).any(|groups| {
            let part = STANDARD_NO_PAD.encode(groups.concat());
            standard.contains(&part)
        })
    })
}

fn holds_numbers(text: &str, secret: &[u8]) -> bool {
    let list: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    list.contains(',')
        && secret.windows(PART.min(secret.len())).any(|part| {
            let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
            list.contains(&numbers.join(","))
        })
}

/// `text` without anything that can be key bytes in hexadecimal or base64.
fn without_runs(text: &str) -> String {
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let len = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(len);
        out.push_str(if run.len() >= RUN_MAX { "[...]" } else { run });
        let next = after.find(in_run).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

/// `text` without anything that can be key bytes in a list of numbers.
fn without_lists(text: &str) -> String {
    let in_list = |c: char| c.is_ascii_digit() || c == ',' || c.is_whitespace();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (list, after) = rest.split_at(rest.find(|c| !in_list(c)).unwrap_or(rest.len()));
        out.push_str(if list.matches(',').count() >= LIST_MAX { "[...]" } else { list });
        let (words, after) = after.split_at(after.find(in_list).unwrap_or(after.len()));
        out.push_str(words);
        rest = after;
    }
    out
}

/// `text` on one line: line ends and tabs become blanks, other control characters become `\u{...}`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        for c in word.chars() {
            if c.is_control() { out.extend(c.escape_unicode()) } else { out.push(c) }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    /// No two bytes are alike, and none is a letter.
    fn secret() -> Vec<u8> {
        (0..32).map(|number| 0x80 + number * 3).collect()
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let secret = secret();
        let numbers = format!("{secret:?}");
        let latin: String = secret.iter().copied().map(char::from).collect();
        let uuid = format!("{}-{}-{}", hex(&secret[..4]), hex(&secret[4..6]), hex(&secret[6..8]));
        let forms = [
            hex(&secret),
            hex(&secret).to_uppercase(),
            STANDARD.encode(&secret),
            URL_SAFE.encode(&secret),
            STANDARD.encode([b"a", secret.as_slice()].concat()),
            STANDARD.encode([b"ab", secret.as_slice()].concat()),
            hex(&secret[20..27]),
            numbers,
            latin,
            uuid,
        ];
        for form in &forms {
            let message = format!("The plaintext {form} is not welcome");
            assert!(holds(&message, &secret), "{form}");
            assert_eq!(told(&message, &secret), "", "{form}");
        }
        assert!(holds("my secret words", b"secret words"));
        assert_eq!(told("a sentence", b"1234"), "", "a short one may come up by chance");
        assert!(holds("pin 1234", b"1234") && !holds("a name", b"1234") && !holds("a", b"a"));
        assert!(!holds("a sentence", b"") && !holds("", b"1234"));
        assert!(request_id(Some(&hex(&secret[..10])), &secret).is_none());
    }

    #[test]
    fn what_may_be_key_bytes_is_left_out() {
        let numbers = format!("{:?}", secret());
        assert_eq!(told(&format!("it is {numbers}, 1, 2, 3"), b""), "it is [[...]], 1, 2, 3");
        for form in [hex(&secret()), STANDARD.encode(secret())] {
            assert_eq!(told(&format!("it is {form}, or not"), b""), "it is [...], or not");
            assert_eq!(code(&form), "");
            assert!(request_id(Some(&form), b"").is_none() && request_id(Some(&form[..40]), b"").is_none());
        }
    }

    #[test]
    fn a_message_stays_as_it_is_but_for_its_form() {
        let message = "User: arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_AdministratorAccess_0123456789abcdef/x \
                       is not authorized to perform: kms:Decrypt on resource: \
                       arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(told(message, &secret()), message);
        assert_eq!(told("a\r\n\tb \u{1b}[31m", &secret()), "a b \\u{1b}[31m");
        let long = told(&"word ".repeat(100_000), &secret());
        assert!(long.len() < WORDS_MAX + 4 && long.ends_with("..."));
        assert_eq!(code("AccessDeniedException"), "AccessDeniedException");
        assert_eq!((code("<html>"), code("a b")), ("", ""));
        let id = "12345678-90ab-cdef-1234-567890abcdef";
        assert_eq!(request_id(Some(id), &secret()).as_deref(), Some(id));
        assert!(request_id(Some(""), b"").is_none() && request_id(Some("a b"), b"").is_none());
    }
}
