//! No secret is ever printed, whatever a key service answers. Known secrets go into every call, and the endpoint gives
//! every kind of wrong answer. The tests search the output of the real program and the errors of the library.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "support/sdk.rs"]
mod sdk;
mod support;

use std::error::Error as _;
use std::io::Read as _;
use std::process::Command;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cli_support::{Place, noise};
use sdk::{binding, kms, name};
use serde_json::json;
use support::{ACCOUNT, REGION, Reply, http, liar};
use waxseal::format::{Pairs, Slot, SlotKind};
use waxseal::keys::{KeyFile, KeyOpener as _, KeySealer as _};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal_aws_kms::{KmsKey, KmsOpener};

const ID: &str = "12345678-90ab-cdef-1234-567890abcdef";
/// The tests search for each half of a secret, so they also find a part of it.
const HALF: usize = 16;

fn arn() -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{ID}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The forms in which a text may have a secret: raw, in hexadecimal, in base64, and as a list of numbers.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for half in secret.chunks(HALF) {
        let list: Vec<String> = half.iter().map(u8::to_string).collect();
        forms.extend([half.to_vec(), hex(half).into_bytes(), list.join(", ").into(), list.join(",").into()]);
        // In hexadecimal with dashes, like an id.
        forms.push(format!("{}-{}", hex(&half[..4]), hex(&half[4..6])).into_bytes());
    }
    for before in 0..3_usize {
        // Only the bytes whose base64 does not depend on their neighbours.
        let (from, to) = ((3 - before) % 3, (3 - before) % 3 + 27);
        forms.push(STANDARD_NO_PAD.encode(&secret[from..to]).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(&secret[from..to]).into_bytes());
    }
    forms
}

#[track_caller]
fn assert_silent(place: &str, text: &[u8], secret: &[u8]) {
    let text = text.to_ascii_lowercase();
    for form in forms(secret) {
        let form = form.to_ascii_lowercase();
        let found = text.windows(form.len()).any(|window| window == form);
        assert!(!found, "{place}: {}\n{}", String::from_utf8_lossy(&form), String::from_utf8_lossy(&text));
    }
}

/// A refusal in the form that the SDK expects.
fn refusal(code: &str, message: &str) -> Reply {
    Reply::Bytes(http(400, &[], json!({ "__type": code, "message": message }).to_string()))
}

/// All kinds of wrong answers. Most of them contain the secret.
fn lies(secret: &[u8]) -> Vec<(&'static str, Reply)> {
    let base64 = STANDARD.encode(secret);
    let shifted = STANDARD.encode([b"x", secret].concat());
    let latin: String = secret.iter().copied().map(char::from).collect();
    let ok = |body: serde_json::Value| Reply::Bytes(http(200, &[], body.to_string()));
    let uuid = hex(secret);
    let evil = format!(
        "arn:aws:kms:{REGION}:{ACCOUNT}:key/{}-{}-{}-{}-{}",
        &uuid[..8],
        &uuid[8..12],
        &uuid[12..16],
        &uuid[16..20],
        &uuid[20..32]
    );
    let blob = STANDARD.encode([9; 180]);
    let mut lies = vec![
        ("cut", Reply::Bytes(Vec::new())),
        ("cut in the head", Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec())),
        (
            "cut in the body",
            Reply::Bytes(
                [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"Plaintext\":\"", base64.as_bytes()].concat(),
            ),
        ),
        ("silence", Reply::Hang(Vec::new())),
        ("a head, and silence", Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{".to_vec())),
        ("slow", Reply::Drip(http(200, &[], "{}".repeat(200)))),
        ("garbage", Reply::Bytes([secret, b"\r\n\r\n", secret].concat())),
        ("a secret as status line", Reply::Bytes(format!("HTTP/1.1 {base64}\r\n\r\n").into_bytes())),
        ("a secret as header name", Reply::Bytes([b"HTTP/1.1 200 OK\r\n", secret, b": x\r\n\r\n"].concat())),
        ("a page", Reply::Bytes(http(200, &[], format!("<html>{base64}</html>")))),
        ("a page, forbidden", Reply::Bytes(http(403, &[], format!("<html>{base64}</html>")))),
        ("redirected", Reply::Bytes(http(302, &[&format!("Location: http://127.0.0.1:1/{base64}")], &base64))),
        ("broken", Reply::Bytes(http(503, &[], &base64))),
        ("packed", Reply::Bytes(http(200, &["Content-Encoding: gzip"], [&[0x1f, 0x8b, 8, 0], secret].concat()))),
        ("endless", Reply::Endless(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n\r\n".to_vec())),
        ("wrong types", ok(json!({ "KeyId": [base64], "Plaintext": { "x": base64 }, "CiphertextBlob": 1 }))),
        ("not base64", ok(json!({ "KeyId": arn(), "Plaintext": latin, "CiphertextBlob": "***" }))),
        ("half of JSON", Reply::Bytes(http(200, &[], format!("{{\"Plaintext\":\"{base64}\",")))),
        ("no key's name", ok(json!({ "KeyId": base64, "Plaintext": base64, "CiphertextBlob": blob }))),
        ("another key", ok(json!({ "KeyId": evil, "Plaintext": base64, "CiphertextBlob": blob }))),
        ("another length", ok(json!({ "KeyId": arn(), "Plaintext": STANDARD.encode([secret, b"x"].concat()) }))),
        ("the secret as code", refusal(&base64, "no")),
        ("the secret as code, in letters", refusal(&hex(secret), "no")),
        (
            "the secret as request id",
            Reply::Bytes(http(
                400,
                &[&format!("x-amzn-RequestId: {}", hex(&secret[..20]))],
                r#"{"__type":"X","message":"no"}"#,
            )),
        ),
        (
            "the state of a key",
            ok(json!({ "KeyMetadata": { "Arn": arn(), "KeyId": ID, "Origin": "EXTERNAL", "KeyState": base64 } })),
        ),
    ];
    for code in ["AccessDeniedException", "InvalidCiphertextException", "KMSInternalException", "Unheard"] {
        for text in [&base64, &shifted, &latin, &hex(secret), &hex(secret).to_uppercase(), &format!("{secret:?}")] {
            lies.push(("an echo", refusal(code, &format!("cannot encrypt {text} for you"))));
        }
    }
    lies
}

/// Texts that are not endpoints, and endpoints where nothing listens.
const ENDPOINTS: [&str; 13] = [
    "http://127.0.0.1:1",
    "localhost:4566",
    "127.0.0.1:1",
    "kms",
    "//127.0.0.1:1",
    "http://",
    "http://[::1",
    "http://127.0.0.1:99999",
    "ftp://127.0.0.1:1",
    "http://exa mple",
    "http://user:pass@127.0.0.1:1",
    " http://127.0.0.1:1",
    "https://127.0.0.1:1/%zz?x#y",
];

/// A command line, and the secret in its call.
struct Case {
    args: Vec<String>,
    /// The call that gets wrong answers. The other calls get right ones.
    operation: &'static str,
    secret: Vec<u8>,
}

struct Cases {
    place: Place,
    cases: Vec<Case>,
    parameters: String,
}

impl Cases {
    fn new() -> Self {
        let place = Place::new();
        place.write("f", noise(40_000));
        place.ok(&["encrypt", "-k", "file:k", "f"]);
        let data_key = data_key(&place, "f.wax");
        let secret = noise(32);
        place.write("secret", &secret);
        let arn = arn();
        let case = |operation, secret: &[u8], args: &[&str]| Case {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            operation,
            secret: secret.to_vec(),
        };
        let cases = vec![
            case("Encrypt", &data_key, &["rewrap", "--allow-unwrap", "-k", "file:k", "--add", &arn, "f.wax"]),
            case("Encrypt", &secret, &["direct", "encrypt", "-k", &arn, "-o", "x", "secret"]),
            case("GenerateDataKey", &secret, &["encrypt", "-k", &arn, "-o", "y", "f"]),
            case("Decrypt", &secret, &["direct", "decrypt", "-k", &arn, "-o", "z", "secret"]),
            case(
                "ImportKeyMaterial",
                &secret,
                &["key", "import", &arn, "--material", "secret", "--wrapping-key-spec", "RSA_2048"],
            ),
        ];
        let public = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap().public_key().as_der().unwrap();
        let parameters = json!({ "KeyId": arn, "ImportToken": "AAAA", "PublicKey": STANDARD.encode(public.as_ref()) });
        Self { place, cases, parameters: parameters.to_string() }
    }

    fn command(&self, case: &Case, endpoint: &str) -> Command {
        let mut command = self.place.command(&case.args);
        support::clear_aws_environment(&mut command);
        command.env("AWS_ENDPOINT_URL_KMS", endpoint).env("AWS_REGION", REGION).env("AWS_MAX_ATTEMPTS", "1");
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        command.args(["--kms-timeout", "1"]);
        command
    }

    /// Runs with the output for people and with the output for scripts.
    fn assert_silent(&self, case: &Case, what: &str, endpoint: &str) {
        for json in [false, true] {
            let mut command = self.command(case, endpoint);
            let ran = command.args(json.then_some("--json")).output().unwrap();
            let said = [ran.stdout, ran.stderr].concat();
            let place = format!("{} {what}", case.args.join(" "));
            assert!(!ran.status.success() && !said.is_empty(), "{place}: {}", String::from_utf8_lossy(&said));
            assert_ne!(ran.status.code(), Some(1), "{place}: {}", String::from_utf8_lossy(&said));
            assert_silent(&place, &said, &case.secret);
        }
    }
}

/// The data key of the file `name`, from the key file `k`.
fn data_key(place: &Place, name: &str) -> Vec<u8> {
    let bytes = place.read(name);
    let mut read = |buffer: &mut [u8], at: u64| bytes.get(usize::try_from(at).unwrap()..).unwrap_or(&[]).read(buffer);
    let (_, header) = waxseal::envelope::read_header_at(&mut read).unwrap();
    let key = KeyFile::load(place.path("k")).unwrap();
    key.open(&header.bank().slots[0], &header.bank().binding).unwrap().expose().to_vec()
}

#[test]
fn no_secret_is_said_by_the_program() {
    let cases = Cases::new();
    let before = cases.place.read("f.wax");
    std::thread::scope(|scope| {
        for case in &cases.cases {
            let cases = &cases;
            scope.spawn(move || {
                for (what, reply) in lies(&case.secret) {
                    let (operation, parameters) = (case.operation, cases.parameters.clone());
                    let described = json!({ "KeyMetadata": { "Arn": arn(), "KeyId": ID, "Origin": "EXTERNAL",
                        "KeyState": "Enabled" } });
                    let liar = liar(move |called| match called {
                        called if called == operation => reply.clone(),
                        "DescribeKey" => Reply::Bytes(http(200, &[], described.to_string())),
                        "GetParametersForImport" => Reply::Bytes(http(200, &[], &parameters)),
                        _ => Reply::Bytes(Vec::new()),
                    });
                    if is_failure(operation, what) {
                        cases.assert_silent(case, what, &liar.url);
                        assert!(liar.take().contains(&operation.to_owned()), "{what}: {operation} was not called");
                    }
                }
            });
        }
    });
    assert!(cases.place.read("f.wax") == before, "a failed rewrap has changed the file");
}

/// Whether the command must fail after this answer. `key import` uses nothing of the answer, and `direct decrypt`
/// accepts any length.
fn is_failure(operation: &str, what: &str) -> bool {
    let unused = ["wrong types", "not base64", "no key's name", "another key", "another length", "the state of a key"];
    match operation {
        "ImportKeyMaterial" => !unused.contains(&what),
        "Decrypt" => what != "another length",
        _ => true,
    }
}

#[test]
fn no_secret_is_said_about_an_endpoint_that_is_none() {
    let cases = Cases::new();
    for case in &cases.cases {
        for endpoint in ENDPOINTS {
            cases.assert_silent(case, endpoint, endpoint);
        }
    }
}

#[test]
fn no_secret_is_in_an_error_of_the_library() {
    let secret = noise(32);
    let slot = Slot { kind: SlotKind::AWS_KMS, key_id: arn(), wrapped: vec![9; 180] };
    for (what, reply) in lies(&secret) {
        if matches!(reply, Reply::Hang(_) | Reply::Drip(_)) {
            // Clients that the caller made have no timeout here, so the call would not end.
            continue;
        }
        let liar = liar(move |_| reply.clone());
        let kms = kms(&liar.url);
        let (key, binding) = (KmsKey::new(&kms, name(&arn())), binding(&[]));
        let data_key = DataKey::from_slice(&secret).unwrap();
        let errors = [
            key.wrap(&data_key, &binding).map(drop),
            key.generate(&binding).map(drop),
            KmsOpener::named(&kms, name(&arn())).open(&slot, &binding).map(drop),
            kms.direct_encrypt(&name(&arn()), &SecretBytes::new(secret.clone()), &Pairs::default()).map(drop),
            kms.direct_decrypt(Some(&name(&arn())), &[9; 180], &Pairs::default()).map(drop),
        ];
        for error in errors.into_iter().filter_map(Result::err) {
            let mut said = format!("{error} {error:?} {error:#?}");
            let mut source = error.source();
            while let Some(below) = source {
                said.push_str(&format!(" {below} {below:?}"));
                source = below.source();
            }
            assert_silent(what, said.as_bytes(), &secret);
        }
    }
}

/// The program reads an answer only up to a limit. Then it closes the connection.
#[test]
fn an_endless_answer_is_left() {
    let cases = Cases::new();
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n\r\n".to_vec();
    let liar = liar(move |_| Reply::Endless(head.clone()));
    let mut command = cases.place.command(&["encrypt", "-k", &arn(), "-o", "y", "f"]);
    support::clear_aws_environment(&mut command);
    command.env("AWS_ENDPOINT_URL", &liar.url).env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let ran: cli_support::Ran = command.output().unwrap().into();
    ran.failed(6, &["longer than any of AWS's", "hint: "]);
    // The kernel's buffers can have taken more than the program has read.
    assert!(liar.sent() < 32 << 20, "{} bytes were sent", liar.sent());
}
