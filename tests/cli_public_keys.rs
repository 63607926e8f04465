//! Key pairs and recipient files: who seals, and who can open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cli_support::{Place, Ran, WAXSEAL};
use serde_json::Value;
use waxseal::format::{Front, Header, Slot};
use waxseal::keys::{Identity, KeyOpener as _, Recipient, public};
use waxseal::payload::wrap_message;
use waxseal::rewrap::{Plan, Rewrapped, SlotChange, Verified, rewrap_file};
use waxseal::secret::DataKey;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A folder with the pair `id`, `id.pub`, and an input.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["key", "new", "--pair", "id"]);
    place.write("in", "content");
    place
}

fn with_variable(place: &Place, value: &str, args: &[&str]) -> Ran {
    place.command(args).env("WAXSEAL_KEY", value).output().unwrap().into()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text()))
}

/// The recipient file of a vector of the test kit.
fn recipient_of_kit(place: &Place, vector: &str) -> String {
    let text = fs::read(root().join("tests/testkit").join(vector)).unwrap();
    let text = String::from_utf8_lossy(&text);
    let hex = text.lines().find_map(|line| line.strip_prefix("recipient-hex: ")).unwrap().trim();
    let bytes: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    place.write(vector, bytes);
    format!("file:{vector}")
}

#[test]
fn a_pair_is_made_whole_or_not_at_all_and_never_overwrites() {
    let place = place();
    assert_eq!(place.names(), ["id", "id.pub", "in", "k"]);
    assert_eq!((place.mode("id"), place.mode("id.pub")), (0o600, 0o644));
    let identity = Identity::load(place.path("id")).unwrap();
    assert!(Recipient::load(place.path("id.pub")).unwrap() == *identity.recipient());
    let before = (place.read("id"), place.read("id.pub"));
    place.fails(&["key", "new", "--pair", "id"], 8, &["id exists", "never overwritten"]);
    place.fails(&["key", "new", "--pair", "-f", "id"], 8, &["never overwritten"]);
    fs::remove_file(place.path("id")).unwrap();
    place.fails(&["key", "new", "--pair", "id"], 8, &["id.pub exists"]);
    assert!(!place.exists("id"));
    fs::remove_file(place.path("id.pub")).unwrap();
    place.write("id", &before.0);
    place.fails(&["key", "new", "--pair", "id"], 8, &["id exists"]);
    assert_eq!((place.read("id"), place.exists("id.pub")), (before.0, false));
    place.fails(&["key", "new", "--pair", "-"], 2, &["stdout"]);
    place.fails(&["key", "new", "--pair", "missing/id"], 7, &[]);
    place.ok(&["key", "new", "--pair", "other"]);
    assert_ne!(place.read("other.pub"), before.1);
    assert_eq!(place.names(), ["id", "in", "k", "other", "other.pub"]);
}

/// Two runs create the same pair at the same time. One of them succeeds, and the two files belong together.
#[test]
fn of_two_that_make_one_pair_one_wins() {
    for _ in 0..20 {
        let place = Place::new();
        let mut runs: Vec<_> = (0..4)
            .map(|_| place.command(&["key", "new", "--pair", "id"]).stderr(Stdio::null()).spawn().unwrap())
            .collect();
        let codes: Vec<_> = runs.iter_mut().map(|run| run.wait().unwrap().code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 8))), "{codes:?}");
        let identity = Identity::load(place.path("id")).unwrap();
        assert!(Recipient::load(place.path("id.pub")).unwrap() == *identity.recipient());
        assert_eq!(place.names(), ["id", "id.pub", "k"]);
    }
}

#[test]
fn who_seals_cannot_open() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:id.pub", "in"]);
    place.fails(&["decrypt", "-k", "file:id.pub", "-o", "-", "in.wax"], 2, &["recipient file", "hint: the identity"]);
    place.fails(&["verify", "-k", "file:id.pub", "-k", "file:id", "in.wax"], 2, &["recipient file"]);
    let ran = place.ok(&["decrypt", "--json", "-k", "file:id", "-o", "out", "in.wax"]);
    assert_eq!(place.read("out"), b"content");
    let (line, identity) = (json(&ran), Identity::load(place.path("id")).unwrap());
    assert_eq!(line["slot_kind"], "x-wing");
    assert_eq!(line["key"], format!("identity {}", identity.id()));
    place.ok(&["key", "new", "--pair", "other"]);
    place.fails(&["verify", "-k", "file:other", "in.wax"], 5, &["no key", "x-wing"]);
    // An identity can also seal.
    place.ok(&["encrypt", "-f", "-k", "file:id", "-k", "file:k", "in"]);
    place.ok(&["verify", "-k", "file:id", "in.wax"]);
    let ran = place.ok(&["verify", "--json", "-k", "file:k", "in.wax"]);
    assert_eq!(json(&ran)["slot_kind"], "keyfile");
    // An identity and its recipient file are one key, and a key can have only one slot.
    place.fails(&["encrypt", "-f", "-k", "file:id", "-k", "file:id.pub", "in"], 2, &[]);
}

/// Alters each part of the slot in turn: the ML-KEM ciphertext, the X25519 key, and the message.
#[test]
fn an_altered_slot_is_tampering() {
    let place = place();
    for at in [0, 1087, 1088, 1119, 1120, 1223] {
        place.ok(&["encrypt", "-f", "-k", "file:id.pub", "in"]);
        rewrap_file(place.path("in.wax"), |header: &Header| {
            let mut slot = header.bank().slots[0].clone();
            slot.wrapped[at] ^= 1;
            let with = Rewrapped { slot, from: 0, verified: Verified::Not, request_id: None };
            Plan::new(header.bank(), vec![SlotChange::Replace { slot: 0, with }])
        })
        .unwrap();
        place.fails(&["verify", "-k", "file:id", "in.wax"], 4, &[]);
    }
}

#[test]
fn rewrap_takes_recipient_files() {
    let place = place();
    for name in ["a", "b"] {
        place.ok(&["key", "new", "--pair", name]);
    }
    place.ok(&["encrypt", "-k", "file:k", "in"]);
    let add = ["rewrap", "--add", "file:a.pub", "in.wax"];
    place.fails(&add, 2, &["--allow-unwrap"]);
    place.ok(&[&add[..], &["--allow-unwrap", "-k", "file:k"]].concat());
    place.ok(&["verify", "-k", "file:a", "in.wax"]);
    let before = place.read("in.wax");
    place.ok(&[&add[..], &["--allow-unwrap", "-k", "file:k"]].concat());
    assert!(place.read("in.wax") == before, "the key already had a slot");
    // The identity opens the file, and the recipient of another identity takes its place.
    place.ok(&["rewrap", "--allow-unwrap", "-k", "file:a", "--from", "file:a.pub", "--to", "file:b.pub", "in.wax"]);
    place.fails(&["verify", "-k", "file:a", "in.wax"], 5, &[]);
    place.ok(&["verify", "-k", "file:b", "in.wax"]);
    place.fails(
        &["rewrap", "--allow-unwrap", "-k", "file:b.pub", "--add", "file:a.pub", "in.wax"],
        2,
        &["cannot open"],
    );
    // The public half of a key is enough to remove the key's slot.
    fs::remove_file(place.path("b")).unwrap();
    place.ok(&["rewrap", "--remove", "file:b.pub", "in.wax"]);
    place.ok(&["verify", "-k", "file:k", "in.wax"]);
    let shown = json(&place.ok(&["inspect", "--json", "in.wax"]));
    let kinds: Vec<_> = shown["header"]["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].clone()).collect();
    assert_eq!(kinds, ["keyfile"]);
}

#[test]
fn in_the_variable_a_recipient_seals_and_is_passed_over() {
    let place = place();
    assert_eq!(with_variable(&place, "file:id.pub", &["encrypt", "in"]).code, Some(0));
    with_variable(&place, "file:id.pub", &["verify", "in.wax"]).failed(5, &["no key"]);
    let ran = with_variable(&place, "file:id.pub, file:id", &["verify", "in.wax"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // A file that is not a key of any kind is still an error.
    place.write("bad", "waxseal-recipient-v1:x-wing:0:0:0\n");
    with_variable(&place, "file:bad", &["verify", "in.wax"]).failed(2, &["recipient"]);
}

#[test]
fn a_file_that_others_may_change_or_read_is_warned_of() {
    let place = place();
    let chmod = |name: &str, mode| fs::set_permissions(place.path(name), Permissions::from_mode(mode)).unwrap();
    for (mode, warned) in [(0o644, false), (0o664, false), (0o646, true), (0o444, false)] {
        chmod("id.pub", mode);
        let ran = place.ok(&["encrypt", "-f", "-k", "file:id.pub", "in"]);
        assert_eq!(ran.stderr.contains("others may write the recipient file id.pub"), warned, "{}", ran.stderr);
        assert_eq!(place.ok(&["encrypt", "-q", "-f", "-k", "file:id.pub", "in"]).stderr, "");
    }
    for (mode, warned) in [(0o640, false), (0o644, true)] {
        chmod("id", mode);
        let ran = place.ok(&["verify", "-k", "file:id", "in.wax"]);
        let warning = "others may read the identity file id (mode 0644)";
        assert_eq!(ran.stderr.contains(warning), warned, "{}", ran.stderr);
    }
}

#[test]
fn key_show_tells_what_is_public() {
    let place = place();
    let identity = Identity::load(place.path("id")).unwrap();
    let secret = String::from_utf8(place.read("id")).unwrap();
    let seed =
        secret.lines().find_map(|line| line.strip_prefix("waxseal-identity-v1:x-wing:")).unwrap()[..64].to_owned();
    for (name, what) in [("id", "identity"), ("id.pub", "recipient")] {
        let key = format!("file:{name}");
        let ran = place.ok(&["key", "show", &key]);
        for word in ["x-wing", "X-Wing", identity.id(), "fingerprint"] {
            assert!(ran.text().contains(word), "{word}: {}", ran.text());
        }
        let as_json = place.ok(&["key", "show", "--json", &key]);
        let shown = json(&as_json)["local_key"].clone();
        assert_eq!((&shown["file"], &shown["spec"]), (&Value::from(what), &Value::from("X-Wing")));
        assert_eq!(shown["fingerprint"], identity.recipient().fingerprint());
        // This line is enough to create a lost recipient file again.
        let line = shown["recipient"].as_str().unwrap();
        assert!(Recipient::parse(line.as_bytes()).unwrap() == *identity.recipient());
        assert!(!ran.text().contains(&seed[..16]) && !as_json.text().contains(&seed[..16]));
    }
    let key = json(&place.ok(&["key", "show", "--json", "file:k"]))["local_key"].clone();
    assert_eq!((&key["kind"], &key["fingerprint"]), (&Value::from("keyfile"), &Value::Null));
    let digits = String::from_utf8(place.read("k")).unwrap();
    let digits = digits.lines().find_map(|line| line.strip_prefix("waxseal-key-v1:")).unwrap()[..64].to_owned();
    let text = place.ok(&["key", "show", "file:k"]).text();
    assert!(text.contains(key["key_id"].as_str().unwrap()) && !text.contains(&digits[..16]), "{text}");
    let kms = format!("file:{}", root().join("spec/example-kms.recipient").display());
    let shown = json(&place.ok(&["key", "show", "--json", &kms]))["local_key"].clone();
    assert_eq!((&shown["kind"], &shown["spec"]), (&Value::from("aws-kms-ml-kem"), &Value::from("ML_KEM_768")));
    place.fails(&["key", "show", "file:in"], 2, &["waxseal-recipient-v1"]);
    place.fails(&["key", "show", "file:missing"], 7, &["missing"]);
    place.fails(&["key", "show", "passphrase"], 2, &["hint"]);
}

#[test]
fn inspect_shows_how_a_public_keys_slot_is_opened_by_hand() {
    let place = place();
    let keys = ["recipient_ml_kem_1024", "recipient_rsa_3072"].map(|vector| recipient_of_kit(&place, vector));
    place.ok(&["encrypt", "-k", &keys[0], "-k", "file:id.pub", "in"]);
    let text = place.ok(&["inspect", "in.wax"]).text();
    for words in ["aws-kms-ml-kem", "x-wing", "aws kms decapsulate ", "--shared-secret ARN=shared.secret"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("--data-key-file"), "{text}");
    place.ok(&["encrypt", "-f", "-k", &keys[1], "in"]);
    let text = place.ok(&["inspect", "in.wax"]).text();
    assert!(text.contains("--encryption-algorithm RSAES_OAEP_SHA_256"), "{text}");
}

/// Runs the program on a terminal, and expects success. Returns what the terminal shows.
fn on_terminal(place: &Place, args: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/support/terminal.py")).args(["", WAXSEAL]).args(args);
    command.current_dir(place.path("")).env_remove("WAXSEAL_KEY");
    let ran = cli_support::feed(&mut command, b"");
    assert_eq!(ran.code, Some(0), "{} {}", ran.text(), ran.stderr);
    ran.text()
}

/// On a terminal, there is a remark: a quantum computer that breaks the one RSA slot opens the file.
#[test]
fn one_rsa_slot_beside_others_is_remarked_on() {
    let place = place();
    let rsa = recipient_of_kit(&place, "recipient_rsa_4096");
    let ml_kem = format!("file:{}", root().join("spec/example-kms.recipient").display());
    let encrypts = |keys: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["-k", key]);
        let args: Vec<&str> = ["encrypt", "-f", "in"].into_iter().chain(keys).collect();
        on_terminal(&place, &args).contains("quantum")
    };
    assert!(encrypts(&[&rsa, "file:id.pub"]) && encrypts(&[&ml_kem, &rsa]));
    assert!(!encrypts(&[&ml_kem, "file:id.pub"]) && !encrypts(&[&rsa]));
    let ran = place.ok(&["encrypt", "-f", "-k", &rsa, "-k", "file:id.pub", "in"]);
    assert!(!ran.stderr.contains("quantum"), "a remark without a terminal");
}

/// A rewrap makes the same remark if it adds RSA to other slots, in place or in a copy. It makes no remark if the file
/// had both before.
#[test]
fn a_rewrap_that_adds_rsa_to_others_is_remarked_on() {
    let place = place();
    let rsa = recipient_of_kit(&place, "recipient_rsa_4096");
    let sealed = || place.ok(&["encrypt", "-f", "-k", "file:id.pub", "-k", "file:k", "in"]);
    let add = |key: &str, more: &[&str]| {
        let args = ["rewrap", "--allow-unwrap", "-k", "file:k", "--add", key, "in.wax"];
        on_terminal(&place, &[&args[..], more].concat()).matches("quantum").count()
    };
    sealed();
    assert_eq!(add(&rsa, &["-o", "copy.wax"]), 1);
    assert_eq!(add(&rsa, &[]), 1);
    place.ok(&["key", "new", "--pair", "other"]);
    assert_eq!(add("file:other.pub", &[]), 0, "the file had both before");
    sealed();
    assert_eq!(add("file:other.pub", &[]), 0);
    let ran = place.ok(&["rewrap", "--allow-unwrap", "-k", "file:k", "--add", &rsa, "in.wax"]);
    assert!(!ran.stderr.contains("quantum"), "a remark without a terminal");
}

/// A lost recipient file can be created again from its identity.
#[test]
fn key_public_writes_the_recipient_file_of_an_identity() {
    let place = place();
    let lost = Recipient::load(place.path("id.pub")).unwrap();
    fs::remove_file(place.path("id.pub")).unwrap();
    let told = json(&place.ok(&["key", "public", "--json", "file:id", "-o", "id.pub"]));
    assert_eq!((&told["outcome"], &told["output"]), (&Value::from("made"), &Value::from("id.pub")));
    assert_eq!((&told["key"], &told["recipient"]["kind"]), (&Value::from(lost.key_id()), &Value::from("x-wing")));
    assert!(Recipient::load(place.path("id.pub")).unwrap() == lost);
    assert_eq!(place.mode("id.pub"), 0o644);
    place.ok(&["encrypt", "-k", "file:id.pub", "in"]);
    place.ok(&["verify", "-k", "file:id", "in.wax"]);
    assert_eq!(place.ok(&["key", "public", "file:id", "-o", "id.pub"]).text(), "id.pub: unchanged\n");
    // The command prints only the public half. It never overwrites another file, in particular not the identity.
    let printed = place.ok(&["key", "public", "file:id", "-o", "-"]).stdout;
    assert!(Recipient::parse(&printed).unwrap() == lost && Identity::parse(&printed).is_err());
    let before = place.read("id");
    place.fails(&["key", "public", "file:id", "-o", "id"], 8, &["is not a recipient file"]);
    place.ok(&["key", "new", "--pair", "other"]);
    place.fails(&["key", "public", "file:other", "-o", "id.pub"], 8, &["holds the key"]);
    assert!(place.read("id") == before && Recipient::load(place.path("id.pub")).unwrap() == lost);
    place.fails(&["key", "public", "file:k", "-o", "new"], 2, &["no public half", "hint: "]);
    place.fails(&["key", "public", "passphrase", "-o", "new"], 2, &["hint: "]);
    place.fails(&["key", "public", "file:missing", "-o", "new"], 7, &["missing"]);
    assert!(!place.exists("new"));
}

/// Runs the program with `args` under strace. Returns the exit code and the system calls for the network and for files.
fn traced(place: &Place, args: &[&str]) -> (Option<i32>, String) {
    let log = place.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=%network,%file", "-o"]).arg(&log).arg(WAXSEAL).args(args);
    command.current_dir(place.path("")).env_remove("WAXSEAL_KEY").env("HOME", place.path("home"));
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_REGION", "eu-west-1").env("AWS_MAX_ATTEMPTS", "1");
    let ran = command.output().expect("this test needs strace");
    (ran.status.code(), fs::read_to_string(log).expect("the trace"))
}

/// Sealing for recipients makes no connection, and does not read the AWS configuration in the home folder.
#[cfg(target_os = "linux")]
#[test]
fn recipients_alone_are_sealed_to_offline() {
    let place = place();
    fs::create_dir_all(place.path("home/.aws")).unwrap();
    place.write("home/.aws/config", "[default]\nregion = eu-west-1\n");
    place.write("home/.aws/credentials", "[default]\naws_access_key_id = AKIAX\naws_secret_access_key = x\n");
    let kms = format!("file:{}", root().join("spec/example-kms.recipient").display());
    let rsa = recipient_of_kit(&place, "recipient_rsa_3072");
    let reaches =
        |trace: &str| ["connect(", "socket(", "sendto(", ".aws"].into_iter().find(|word| trace.contains(word));
    for keys in [&["file:id.pub"][..], &[&kms], &[&rsa], &[&kms, &rsa, "file:id.pub"]] {
        let mut args = vec!["encrypt", "-f", "in"];
        keys.iter().for_each(|key| args.extend(["-k", key]));
        let (code, trace) = traced(&place, &args);
        assert_eq!(code, Some(0), "{trace}");
        assert!(trace.contains("\"in\""), "the trace is not whole: {trace}");
        assert_eq!(reaches(&trace), None, "{keys:?}: {trace}");
    }
    // With a key in KMS, the trace has both. So this test can fail.
    #[cfg(feature = "aws-kms")]
    {
        let (code, trace) = traced(&place, &["encrypt", "-f", "--kms-timeout", "5", "-k", "alias/x", "in"]);
        assert_eq!(code, Some(6), "{trace}");
        assert!(trace.contains("connect(") && trace.contains(".aws/config"), "{trace}");
    }
}

/// Runs `script` with an independent implementation of X-Wing. Returns the JSON that it prints.
fn with_noble(place: &Place, name: &str, script: &str, args: &[&str]) -> Vec<u8> {
    const PACKAGE: &str = "@noble/post-quantum@0.7.1";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("noble");
    fs::create_dir_all(&folder).unwrap();
    // Several test programs may run at the same time. The others wait here.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(PACKAGE) {
        fs::write(folder.join("package.json"), "{\"private\": true}").unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--save-exact", PACKAGE]).current_dir(&folder);
        let made = npm.output().expect("this test needs npm");
        assert!(made.status.success(), "this test needs {PACKAGE}: {}", String::from_utf8_lossy(&made.stderr));
        fs::write(&stamp, PACKAGE).unwrap();
    }
    drop(lock);
    let path = folder.join(name);
    fs::write(&path, script).unwrap();
    let mut node = Command::new("node");
    node.arg(&path).args(args).current_dir(place.path(""));
    let ran: Ran = node.output().expect("this test needs node").into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

/// From our seed, the other implementation derives the same key pair. It decapsulates the secret that opens our slot.
#[test]
fn another_implementation_of_x_wing_opens() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:id.pub", "-l", "a=b", "in"]);
    let header = Header::read(&Front::new(place.read("in.wax"))).unwrap();
    let slot = &header.bank().slots[0];
    let sent = public::encapsulation(slot).unwrap();
    place.write("in.json", serde_json::to_vec(&sent).unwrap());
    let printed = with_noble(&place, "open.mjs", NOBLE_OPENS, &["id", "id.pub", "in.json"]);
    let secret: Vec<u8> = serde_json::from_slice(&printed).unwrap();
    let secret = DataKey::from_slice(&secret).unwrap();
    public::finish(slot, &secret, &header.bank().binding).expect("their secret opens our slot");
}

const NOBLE_OPENS: &str = r##"
import { readFileSync } from "node:fs";
import { ml_kem768_x25519 as xWing } from "@noble/post-quantum/hybrid.js";
const [identity, recipient, sent] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const line = (text) => text.split("\n").find((line) => line && !line.startsWith("#")).split(":");
const seed = new Uint8Array(Buffer.from(line(identity)[2], "hex"));
const { publicKey, secretKey } = xWing.keygen(seed);
if (Buffer.from(publicKey).toString("base64") !== line(recipient)[3]) throw new Error("another public key");
console.log(JSON.stringify([...xWing.decapsulate(new Uint8Array(JSON.parse(sent)), secretKey)]));
"##;

/// The other implementation encapsulates to our recipient file. The program opens a file whose slot has that
/// encapsulation.
#[test]
fn what_another_implementation_of_x_wing_seals_is_opened() {
    let place = place();
    place.ok(&["encrypt", "-k", "file:id.pub", "-l", "a=b", "in"]);
    let printed = with_noble(&place, "seal.mjs", NOBLE_SEALS, &["id.pub"]);
    let (sent, secret): (Vec<u8>, Vec<u8>) = serde_json::from_slice(&printed).unwrap();
    assert_eq!(sent.len(), 1120);
    let secret = DataKey::from_slice(&secret).unwrap();
    let identity = Identity::load(place.path("id")).unwrap();
    // The test builds the context itself, as the specification says.
    let theirs = |sent: &[u8], header: &Header| {
        let bank = header.bank();
        let data_key = identity.open(&bank.slots[0], &bank.binding).unwrap();
        let context = [b"waxseal v1 x-wing\0", sent, &bank.binding.bound_bytes().unwrap()].concat();
        let wrapped = [sent, &wrap_message(&secret, &context, &data_key).unwrap()].concat();
        let slot = Slot { wrapped, ..bank.slots[0].clone() };
        let with = Rewrapped { slot, from: 0, verified: Verified::Not, request_id: None };
        Plan::new(bank, vec![SlotChange::Replace { slot: 0, with }])
    };
    let before = place.read("in.wax");
    rewrap_file(place.path("in.wax"), |header: &Header| theirs(&sent, header)).unwrap();
    assert!(place.read("in.wax")[..4096] != before[..4096]);
    let ran = place.ok(&["decrypt", "-k", "file:id", "-o", "-", "in.wax"]);
    assert_eq!(ran.stdout, b"content");
    // The context contains the encapsulation. So the same secret with another encapsulation opens nothing.
    let mut other = sent.clone();
    other[0] ^= 1;
    place.write("in.wax", &before);
    rewrap_file(place.path("in.wax"), |header: &Header| theirs(&other, header)).unwrap();
    place.fails(&["verify", "-k", "file:id", "in.wax"], 4, &[]);
}

const NOBLE_SEALS: &str = r##"
import { readFileSync } from "node:fs";
import { ml_kem768_x25519 as xWing } from "@noble/post-quantum/hybrid.js";
const text = readFileSync(process.argv[2], "utf8");
const key = text.split("\n").find((line) => line && !line.startsWith("#")).split(":")[3];
const { cipherText, sharedSecret } = xWing.encapsulate(new Uint8Array(Buffer.from(key, "base64")));
console.log(JSON.stringify([[...cipherText], [...sharedSecret]]));
"##;
