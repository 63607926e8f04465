//! `verify --quick` and `verify --dry-run`: what they check, what they do not check, and what they cost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[cfg(feature = "aws-kms")]
#[path = "cli_support/cloud.rs"]
mod cloud;
mod skipped;
#[cfg(feature = "aws-kms")]
mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use cli_support::{Place, Ran, WAXSEAL, noise};
use serde_json::{Value, json};
use waxseal::envelope::InputSize;
use waxseal::keys::{KeyFile, KeyOpener};
use waxseal::payload::{ChunkIndex, ChunkSealer, PayloadKeys};
use waxseal::{Envelope, SealOptions};

const CHUNK: u64 = 16_384;
const SEALED_CHUNK: u64 = CHUNK + 16;
/// The number of chunks before the last one in a file of 8 GiB.
const MANY: u64 = (8 << 30) / CHUNK;

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.text()).unwrap()
}

/// Makes a file of 8 GiB that has only a header, a hole and the last chunk. Returns the offset of the last chunk.
fn large_file(place: &Place, name: &str) -> u64 {
    let key = KeyFile::load(place.path("k")).unwrap();
    let envelope = Envelope::new(&[&key], &SealOptions::default()).unwrap();
    let mut front = envelope.header(InputSize::Large).unwrap();
    front.extend(envelope.prelude().to_bytes());
    let end = front.len() as u64 + MANY * SEALED_CHUNK;
    let mut last = [0; 7 + 16];
    let data_key = KeyOpener::open(&key, &envelope.slots()[0], envelope.binding()).unwrap();
    let bound = envelope.binding().bound_bytes().unwrap();
    let (keys, _) = PayloadKeys::derive(&data_key, envelope.binding().suite, &envelope.prelude().salt, &bound);
    ChunkSealer::new(keys).seal(ChunkIndex::new(MANY).unwrap(), b"the end", &mut last).unwrap();
    let file = File::create(place.path(name)).unwrap();
    file.write_all_at(&front, 0).unwrap();
    file.write_all_at(&last, end).unwrap();
    end
}

/// Runs the program. Also returns the number of bytes that it read. A shell's counters include those of its children
/// that have ended.
fn counted(place: &Place, args: &[&str]) -> (Ran, u64) {
    let script = r#""$@"; code=$?; cat /proc/$$/io >io; exit $code"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", WAXSEAL]).args(args).current_dir(place.path("")).env_remove("WAXSEAL_KEY");
    let ran = command.output().unwrap().into();
    let counters = String::from_utf8(place.read("io")).unwrap();
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    (ran, read.parse().unwrap())
}

#[test]
fn quick_reads_the_header_and_the_end() {
    let place = Place::new();
    large_file(&place, "large.wax");
    let args = ["verify", "--json", "--quick", "-k", "file:k", "large.wax"];
    let ran = if File::open("/proc/self/io").is_ok() {
        let (_, without) = counted(&place, &["--version"]);
        let (ran, read) = counted(&place, &args);
        assert!(read - without < 400_000, "{read} - {without}");
        assert!(read > 131_072, "the counter does not count");
        ran
    } else {
        skipped::skipped("quick_reads_the_header_and_the_end: the count", "there is no /proc/self/io");
        place.run(&args)
    };
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = json_of(&ran);
    assert_eq!(
        (&told["ok"], &told["checked"], &told["bytes"]),
        (&json!(true), &json!("quick"), &json!(MANY * CHUNK + 7))
    );
    let ran = place.ok(&["verify", "--quick", "-k", "file:k", "large.wax"]);
    assert!(ran.text().contains("large.wax: ok") && ran.text().contains("was not checked"), "{}", ran.text());
    assert_eq!(place.ok(&["verify", "-q", "--quick", "-k", "file:k", "large.wax"]).text(), "");
}

#[test]
fn quick_finds_another_end_another_length_and_another_key() {
    let place = Place::new();
    let end = large_file(&place, "large.wax");
    place.ok(&["key", "new", "k2"]);
    let quick = ["verify", "--quick", "-k", "file:k", "large.wax"];
    place.ok(&quick);
    place.fails(&["verify", "--quick", "-k", "file:k2", "large.wax"], 5, &["hint: "]);
    place.fails(&["verify", "--quick", "-k", "file:k", "-l", "a=b", "large.wax"], 8, &[]);
    let file = File::options().write(true).open(place.path("large.wax")).unwrap();
    let len = file.metadata().unwrap().len();
    // Shorter by a byte, by the tag, by the last chunk, by many; longer by a byte, by a chunk.
    for other in [len - 1, len - 16, end, end - SEALED_CHUNK, end / 2, len + 1, len + SEALED_CHUNK] {
        file.set_len(other).unwrap();
        let told = json_of(&place.run(&[&quick[..], &["--json"]].concat()));
        assert_eq!((&told["exit"], &told["checked"]), (&json!(4), &json!("quick")), "{other}: {told}");
        file.set_len(len).unwrap();
        file.write_all_at(&[0; 23][..usize::try_from(len - end).unwrap()], end).unwrap();
    }
    place.fails(&quick, 4, &["hint: "]);
}

/// `--quick` does not check every chunk, and says so.
#[test]
fn quick_is_not_all() {
    let place = Place::new();
    let mut file = place.sealed("in.wax", &noise(100_000));
    let ran = place.ok(&["verify", "--json", "-k", "file:k", "in.wax"]);
    assert_eq!(json_of(&ran)["checked"], "all");
    file[8192 + 56 + 5] ^= 1;
    place.write("in.wax", &file);
    place.ok(&["verify", "--quick", "-k", "file:k", "in.wax"]);
    let ran = place.run(&["verify", "--json", "-k", "file:k", "in.wax"]);
    assert_eq!((&json_of(&ran)["exit"], &json_of(&ran)["checked"]), (&json!(4), &json!("all")));
    // The commitment is before the chunks. `--quick` checks it.
    file[8192 + 24] ^= 1;
    place.write("in.wax", &file);
    place.fails(&["verify", "--quick", "-k", "file:k", "in.wax"], 4, &["rewrap --repair"]);
}

#[test]
fn a_stream_has_no_end_to_look_at() {
    let place = Place::new();
    let file = place.sealed("in.wax", b"content");
    let ran = place.pipe(&["verify", "--quick", "-k", "file:k", "-"], &file);
    ran.failed(2, &["stream", "hint: "]);
    // If stdin is a file, its end can be checked.
    let mut command = place.command(&["verify", "--quick", "-k", "file:k", "-"]);
    assert!(command.stdin(File::open(place.path("in.wax")).unwrap()).status().unwrap().success());
}

#[cfg(feature = "aws-kms")]
mod dry_run {
    use super::*;
    use crate::cloud::Cloud;
    use crate::support::moto;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::io::Write;
    use waxseal::SealWriter;
    use waxseal::keys::{KeySealer, Recipient};

    /// The calls that `run` makes. Each of them must have DryRun.
    #[track_caller]
    fn calls_of(cloud: &Cloud, run: impl FnOnce()) -> Vec<String> {
        let before = cloud.server().calls().len();
        run();
        let mut asked = Vec::new();
        for call in &cloud.server().calls()[before..] {
            let operation = call["Operation"].as_str().unwrap();
            if operation != "GetCallerIdentity" {
                assert_eq!(call["Body"]["DryRun"], true, "{call}");
                asked.push(format!("{operation} {}", call["Body"]["KeyId"].as_str().unwrap()));
            }
        }
        asked
    }

    /// Creates a key, and seals a file `NAME.wax` for it. Returns the key's ARN.
    fn sealed(cloud: &Cloud, name: &str) -> String {
        let arn = cloud.server().aws().create_key();
        cloud.place.write(name, noise(50_000));
        cloud.ok(&["encrypt", "-k", &arn, "-c", "env=prod", name]);
        arn
    }

    #[test]
    fn one_call_asks_and_opens_nothing() {
        let cloud = Cloud::small();
        let arn = sealed(&cloud, "in");
        let decrypt = format!("Decrypt {arn}");
        let asked = calls_of(&cloud, || {
            let told = json_of(&cloud.ok(&["verify", "--json", "--dry-run", "-k", &arn, "in.wax"]));
            assert_eq!((&told["ok"], &told["checked"], &told["key"]), (&json!(true), &json!("dry-run"), &json!(arn)));
            assert_eq!((&told["bytes"], told["aws_request_id"].is_string()), (&Value::Null, true));
            assert_eq!(told["warnings"], json!([]));
        });
        assert_eq!(asked, [decrypt.as_str()]);
        // Without `-k`, the account decides. The demand is met.
        let asked = calls_of(&cloud, || {
            let ran = cloud.ok(&["verify", "--dry-run", "-c", "env=prod", "in.wax"]);
            assert!(ran.text().contains("permitted") && ran.text().contains("not checked"), "{}", ran.text());
        });
        assert_eq!(asked, [decrypt.as_str()]);
        // These command lines are refused before any call.
        let asked = calls_of(&cloud, || {
            cloud.run(&["verify", "--dry-run", "-c", "env=test", "in.wax"]).failed(8, &[]);
            cloud.run(&["verify", "--dry-run", "--account", "210987654321", "in.wax"]).failed(5, &["hint: "]);
            cloud.run(&["verify", "--dry-run", "-k", "file:k", "in.wax"]).failed(2, &["--quick"]);
            assert_eq!(cloud.run(&["verify", "--dry-run", "--quick", "in.wax"]).code, Some(2));
        });
        assert!(asked.is_empty(), "{asked:?}");
        // Only the header is read, so the start of a file is enough.
        let front = &cloud.place.read("in.wax")[..9000];
        cloud.place.write("front", front);
        cloud.ok(&["verify", "--dry-run", "-k", &arn, "front"]);
        cloud.server().conforms();
    }

    #[test]
    fn a_refusal_is_the_one_of_opening() {
        let cloud = Cloud::small();
        let arn = sealed(&cloud, "in");
        let verify = ["verify", "--dry-run", "-k", &arn, "in.wax"];
        let asked = calls_of(&cloud, || {
            cloud.server().fail("Decrypt", "AccessDeniedException", 1);
            cloud.run(&verify).failed(5, &["access is denied", "kms:Decrypt"]);
        });
        assert_eq!(asked.len(), 1);
        cloud.server().aws().kms("DisableKey", &json!({ "KeyId": arn }));
        let asked = calls_of(&cloud, || cloud.run(&verify).failed(5, &["disabled"]));
        assert_eq!(asked.len(), 1);
        cloud.server().aws().kms("EnableKey", &json!({ "KeyId": arn }));
        cloud.ok(&verify);
        // The header gets another encryption context, so the slot is like one from another file.
        let mut file = cloud.place.read("in.wax");
        for bank in [0, 4096] {
            use sha2::{Digest, Sha256};
            let at = (0..4000).find(|at| file[bank + at..].starts_with(b"prod")).unwrap();
            file[bank + at..bank + at + 4].copy_from_slice(b"test");
            let sum = Sha256::digest(&file[bank..bank + 4064]);
            file[bank + 4064..bank + 4096].copy_from_slice(&sum);
        }
        cloud.place.write("in.wax", &file);
        let opened = cloud.run(&["verify", "-k", &arn, "in.wax"]);
        let ran = cloud.run(&verify);
        ran.failed(opened.code.unwrap(), &["encryption context"]);
        cloud.server().conforms();
    }

    #[test]
    fn a_file_without_kms_is_not_checked() {
        let cloud = Cloud::small();
        let arn = sealed(&cloud, "in");
        cloud.place.sealed("local.wax", b"content");
        let asked = calls_of(&cloud, || {
            let told = json_of(&cloud.run(&["verify", "--json", "--dry-run", "local.wax"]));
            assert_eq!((&told["exit"], &told["checked"]), (&json!(8), &json!("dry-run")));
            cloud.run(&["verify", "--dry-run", "-k", &arn, "local.wax"]).failed(8, &["not checked", "keyfile"]);
        });
        assert!(asked.is_empty());
        // If one file cannot be checked, the others still are.
        let ran = cloud.run(&["verify", "--dry-run", "-k", &arn, "local.wax", "in.wax"]);
        ran.failed(8, &["local.wax"]);
        assert!(ran.text().contains("in.wax: permitted"));
        cloud.server().conforms();
    }

    #[test]
    fn one_call_for_each_slot_that_is_tried() {
        let cloud = Cloud::small();
        let [one, two, three] = [(); 3].map(|()| cloud.server().aws().create_key());
        cloud.place.write("in", "content");
        cloud.ok(&["encrypt", "-k", &one, "-k", "file:k", "-k", &two, "-k", &three, "in"]);
        let call = |arn: &str| format!("Decrypt {arn}");
        assert_eq!(calls_of(&cloud, || drop(cloud.ok(&["verify", "--dry-run", "in.wax"]))), [call(&one)]);
        cloud.server().aws().kms("DisableKey", &json!({ "KeyId": one }));
        let asked = calls_of(&cloud, || {
            let told = json_of(&cloud.ok(&["verify", "--json", "--dry-run", "in.wax"]));
            assert_eq!(told["key"], json!(two));
            assert!(told["warnings"][0].as_str().unwrap().contains("disabled"), "{told}");
        });
        assert_eq!(asked, [call(&one), call(&two)]);
        // A key that was not named is not called.
        assert_eq!(
            calls_of(&cloud, || cloud.run(&["verify", "--dry-run", "-k", &one, "in.wax"]).failed(5, &[])),
            [call(&one)]
        );
        cloud.server().conforms();
    }

    #[test]
    fn public_keys_are_asked_by_their_own_calls() {
        let cloud = Cloud::small();
        let aws = cloud.server().aws();
        for (spec, usage, operation) in
            [("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "Decapsulate"), ("RSA_3072", "ENCRYPT_DECRYPT", "Decrypt")]
        {
            let arn = aws.create_key_with(&json!({ "KeySpec": spec, "KeyUsage": usage }));
            let public = aws.kms("GetPublicKey", &json!({ "KeyId": arn }))["PublicKey"].as_str().unwrap().to_owned();
            let recipient = Recipient::from_kms(&arn, &STANDARD.decode(public).unwrap()).unwrap();
            let sealers: [&dyn KeySealer; 1] = [&recipient];
            let mut writer = SealWriter::new(Vec::new(), &sealers, &SealOptions::default()).unwrap();
            writer.write_all(b"content").unwrap();
            cloud.place.write("in.wax", writer.finish().unwrap());
            let call = [format!("{operation} {arn}")];
            assert_eq!(calls_of(&cloud, || drop(cloud.ok(&["verify", "--dry-run", "-k", &arn, "in.wax"]))), call);
            assert_eq!(calls_of(&cloud, || drop(cloud.ok(&["verify", "--dry-run", "in.wax"]))), call);
            cloud.server().fail(operation, "AccessDeniedException", 1);
            let denied = || cloud.run(&["verify", "--dry-run", "in.wax"]).failed(5, &[&format!("kms:{operation}")]);
            assert_eq!(calls_of(&cloud, denied), call);
            // KMS does not compare an alias with the slot, so there is a warning.
            let alias = format!("alias/{}", spec.to_lowercase());
            aws.alias(&alias, &arn);
            let told = json_of(&cloud.ok(&["verify", "--json", "--dry-run", "-k", &alias, "in.wax"]));
            assert!(told["warnings"][0].as_str().unwrap().contains("alias"), "{told}");
        }
        cloud.server().conforms();
    }

    /// The server ignores DryRun and returns the data key. The program wipes the answer, and warns.
    #[test]
    fn a_server_without_dry_run_is_told_of() {
        let cloud = Cloud::with(moto());
        let arn = sealed(&cloud, "in");
        let told = json_of(&cloud.ok(&["verify", "--json", "--dry-run", "-k", &arn, "in.wax"]));
        assert_eq!((&told["ok"], &told["key"]), (&json!(true), &json!(arn)));
        assert!(told["warnings"][0].as_str().unwrap().contains("DryRun"), "{told}");
    }
}
