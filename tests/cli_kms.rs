//! The program with keys in AWS KMS. Emulators take the place of KMS, and a proxy counts every call.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "cli_support/cloud.rs"]
mod cloud;
mod support;

use std::process::Command;

use cli_support::{Ran, feed, noise};
use cloud::Cloud;
use serde_json::{Value, json};
use support::{ACCOUNT, Fault, REGION, ministack, python, shared_moto};

fn moto() -> Cloud {
    Cloud::at(&shared_moto().url)
}

fn key(alias: &str) -> String {
    let aws = shared_moto().aws();
    let arn = aws.create_key();
    aws.alias(alias, &arn);
    arn
}

#[test]
fn one_call_to_seal_and_one_to_open() {
    let cloud = moto();
    let arn = key("alias/cli-one");
    let content = noise(100_000);
    cloud.place.write("in", &content);
    let told = cloud.json(&["encrypt", "--json", "-k", "alias/cli-one", "-c", "env=prod", "in"]);
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"]);
    assert!(told["aws_request_id"].is_string(), "{told}");
    for named in [
        "alias/cli-one",
        &arn,
        arn.rsplit('/').next().unwrap(),
        &format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/cli-one"),
    ] {
        let told = cloud.json(&["verify", "--json", "-k", named, "-c", "env=prod", "in.wax"]);
        assert_eq!(cloud.proxy.take(), ["Decrypt"], "{named}");
        assert_eq!((&told["ok"], &told["key"]), (&json!(true), &json!(arn)));
        assert!(told["aws_request_id"].is_string());
    }
    let opened = cloud.ok(&["decrypt", "-k", "alias/cli-one", "-o", "-", "in.wax"]);
    assert!(opened.stdout == content);
    cloud.proxy.take();
    let part = cloud.ok(&["cat", "-k", "alias/cli-one", "--range", "5..9", "in.wax"]);
    assert_eq!((part.stdout.as_slice(), cloud.proxy.take()), (&content[5..9], vec!["Decrypt".to_owned()]));
    // If a demand is not met, no call is made.
    assert_eq!(cloud.run(&["verify", "-k", "alias/cli-one", "-c", "env=test", "in.wax"]).code, Some(8));
    cloud.ok(&["inspect", "in.wax"]);
    assert!(cloud.proxy.take().is_empty());
}

#[test]
fn several_keys_and_the_variable() {
    let cloud = moto();
    key("alias/cli-a");
    key("alias/cli-b");
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", "alias/cli-a", "-k", "alias/cli-b", "-k", "file:k", "in"]);
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey", "Encrypt"]);
    // KMS generates the data key even if a local key is named first. The slots keep the order of the command line.
    let told = cloud.json(&["encrypt", "--json", "-k", "file:k", "-k", "alias/cli-a", "-o", "local-first.wax", "in"]);
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"]);
    assert!(told["aws_request_id"].is_string(), "{told}");
    let slots = cloud.json(&["inspect", "--json", "local-first.wax"])["header"]["slots"].clone();
    assert_eq!((&slots[0]["kind"], &slots[1]["kind"]), (&json!("keyfile"), &json!("aws-kms")));
    for key in ["file:k", "alias/cli-a"] {
        cloud.ok(&["verify", "-k", key, "local-first.wax"]);
    }
    cloud.proxy.take();
    // Local keys are tried first, so no call is made.
    cloud.ok(&["verify", "-k", "alias/cli-b", "-k", "file:k", "in.wax"]);
    let offered = cloud.command(&["verify", "in.wax"]).env("WAXSEAL_KEY", "alias/elsewhere,file:k").output().unwrap();
    assert!(offered.status.success() && cloud.proxy.take().is_empty());
    let sealed = cloud.command(&["encrypt", "-f", "in"]).env("WAXSEAL_KEY", "alias/cli-b").output().unwrap();
    assert!(sealed.status.success());
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"]);
    // For opening, the variable only offers keys. It does not exclude others.
    let opened = cloud.command(&["verify", "in.wax"]).env("WAXSEAL_KEY", "alias/cli-a").output().unwrap();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
}

#[test]
fn only_accounts_that_count_are_called() {
    let cloud = moto();
    let arn = key("alias/cli-account");
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &arn, "in"]);
    cloud.proxy.take();
    cloud.ok(&["verify", "in.wax"]);
    let mut calls = cloud.proxy.take();
    calls.sort();
    assert_eq!(calls, ["Decrypt", "GetCallerIdentity"]);
    cloud.ok(&["verify", "--account", ACCOUNT, "in.wax"]);
    assert_eq!(cloud.proxy.take(), ["Decrypt"]);
    let ran = cloud.run(&["verify", "--account", "999999999999", "in.wax"]);
    ran.failed(5, &["no key", &arn]);
    assert!(cloud.proxy.take().is_empty());
    let ran = cloud.ok(&["verify", "-q", "--any-account", "in.wax"]);
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("--any-account"), "no warning with `-q`");
    assert_eq!(cloud.proxy.take(), ["Decrypt"]);
    // The file's key is not the one that `-k` names, so no call is made.
    let other = key("alias/cli-account-2");
    cloud.run(&["verify", "-k", &other, "in.wax"]).failed(5, &[&arn]);
    assert!(cloud.proxy.take().is_empty());
    for bad in [&["--account", "12"][..], &["--account", "1", "--any-account"], &["--any-account", "-k", &arn]] {
        assert_eq!(cloud.run(&[&["verify"], bad, &["in.wax"]].concat()).code, Some(2), "{bad:?}");
    }
    assert_eq!(cloud.run(&["verify", "--region", "evil.example/", "in.wax"]).code, Some(2));
}

#[test]
fn failures_have_causes_and_hints() {
    let cloud = moto();
    let arn = key("alias/cli-failing");
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &arn, "in"]);
    cloud.place.write("in.wax.old", cloud.place.read("in.wax"));
    // KMS refuses calls with a disabled key. The emulator does not, so the proxy answers.
    let disabled = || Fault::refusal("DisabledException", &format!("{arn} is disabled."));
    cloud.proxy.fail_on("Decrypt", disabled());
    cloud.run(&["decrypt", "-f", "-k", &arn, "in.wax"]).failed(5, &["disabled", "hint: "]);
    cloud.proxy.fail_on("GenerateDataKey", disabled());
    cloud.run(&["encrypt", "-f", "-k", &arn, "in"]).failed(5, &["disabled", "hint: "]);
    cloud.run(&["encrypt", "-f", "-k", "alias/nowhere", "in"]).failed(5, &[REGION]);
    // Each of the two runs repeats its call until its time is over.
    for _ in 0..200 {
        cloud.proxy.fail_on("Decrypt", Fault::refusal("ThrottlingException", "Rate exceeded"));
    }
    cloud.run(&["decrypt", "-f", "--kms-timeout", "1", "-k", &arn, "in.wax"]).failed(6, &["hint: "]);
    let told = cloud.json(&["verify", "--json", "--kms-timeout", "1", "-k", &arn, "in.wax"]);
    assert_eq!((&told["exit"], &told["kind"]), (&json!(6), &json!("unavailable")));
    let mut command = cloud.command(&["verify", "--kms-timeout", "0.5", "-k", &arn, "in.wax"]);
    let unreachable: Ran = command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").output().unwrap().into();
    unreachable.failed(6, &["hint: "]);
    let mut command = cloud.command(&["verify", "-k", &arn, "in.wax"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    Ran::from(command.output().unwrap()).failed(5, &["credentials", "hint: "]);
    assert_eq!(cloud.place.read("in.wax"), cloud.place.read("in.wax.old"));
    assert_eq!(cloud.place.names(), ["in", "in.wax", "in.wax.old", "k"]);
}

#[test]
fn rewrap_is_reencrypt_and_nothing_else() {
    let cloud = moto();
    let (old, new) = (key("alias/cli-old"), key("alias/cli-new"));
    let content = noise(50_000);
    cloud.place.write("in", &content);
    cloud.ok(&["encrypt", "-k", "alias/cli-old", "-c", "env=prod", "in"]);
    let before = cloud.place.read("in.wax");
    cloud.proxy.take();
    // If ARNs name the keys, no other call is made. If only an alias is named, the caller's account must be known.
    let told = cloud.json(&["rewrap", "--json", "--to", &new, "-o", "copy.wax", "in.wax"]);
    assert_eq!(
        (&told["new_key"], cloud.proxy.take()),
        (&json!(new), vec!["ReEncrypt".to_owned(), "Decrypt".to_owned()])
    );
    cloud.ok(&["rewrap", "--from", &old, "--to", "alias/cli-new", "-o", "copy2.wax", "in.wax"]);
    assert_eq!(cloud.proxy.take(), ["ReEncrypt", "Decrypt"]);
    let told = cloud.json(&["rewrap", "--json", "--to", "alias/cli-new", "in.wax"]);
    assert_eq!(cloud.proxy.take(), ["GetCallerIdentity", "ReEncrypt", "Decrypt"]);
    assert_eq!((&told["outcome"], &told["old_key"], &told["new_key"]), (&json!("changed"), &json!(old), &json!(new)));
    assert!(told["aws_request_id"].is_string() && told["changes"][0]["aws_request_id"].is_string(), "{told}");
    let after = cloud.place.read("in.wax");
    assert!(after[8192..] == before[8192..], "the payload has changed");
    let header = &after[..8192];
    assert!(!header.windows(old.len()).any(|window| window == old.as_bytes()), "the header still names the old key");
    assert!(cloud.ok(&["decrypt", "-k", &new, "-o", "-", "in.wax"]).stdout == content);
    cloud.run(&["verify", "-k", &old, "in.wax"]).failed(5, &[&new]);
    cloud.proxy.take();
    // The slot already has this key. With an ARN, no call is needed to find this out.
    let again = cloud.ok(&["rewrap", "--to", &new, "in.wax"]);
    assert_eq!((again.text().as_str(), cloud.proxy.take().len()), ("in.wax: unchanged\n", 0));
    let again = cloud.json(&["rewrap", "--json", "--to", "alias/cli-new", "in.wax"]);
    assert_eq!(again["outcome"], "unchanged");
    assert!(cloud.place.read("in.wax") == after);
    // `--from` names a key for which the file has no slot.
    cloud.run(&["rewrap", "--from", &old, "--to", &old, "in.wax"]).failed(2, &["no slot belongs to"]);
    // If a rotation is started again, it recognizes the files that are done.
    cloud.proxy.take();
    let resumed = cloud.ok(&["rewrap", "--from", "alias/cli-old", "--to", "alias/cli-new", "in.wax", "copy.wax"]);
    assert_eq!(resumed.text().matches(": unchanged").count(), 2, "{}", resumed.stderr);
    assert_eq!(cloud.proxy.take(), ["DescribeKey", "DescribeKey"], "each alias once");
    assert!(cloud.place.read("in.wax") == after);
    cloud.ok(&["rewrap", "--from", "alias/cli-new", "--to", &old, "in.wax"]);
    cloud.ok(&["verify", "-k", &old, "in.wax"]);
}

#[test]
fn rewrap_to_other_kinds_takes_leave() {
    let cloud = moto();
    let arn = key("alias/cli-kinds");
    cloud.place.ok(&["key", "new", "k2"]);
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", "file:k", "in"]);
    cloud.proxy.take();
    for refused in [&["--to", arn.as_str()][..], &["--add", "file:k2"], &["--add", &arn]] {
        let args = [&["rewrap"], refused, &["in.wax"]].concat();
        let ran = cloud.run(&args);
        ran.failed(2, &["unwrap"]);
    }
    assert!(cloud.proxy.take().is_empty());
    cloud.ok(&["rewrap", "--allow-unwrap", "-k", "file:k", "--add", &arn, "--add", "file:k2", "in.wax"]);
    assert_eq!(cloud.proxy.take(), ["Encrypt"]);
    for key in ["file:k", "file:k2", &arn] {
        cloud.ok(&["verify", "-k", key, "in.wax"]);
    }
    cloud.ok(&["rewrap", "--remove", "file:k", "--remove", "slot:2", "in.wax"]);
    cloud.run(&["verify", "-k", "file:k", "in.wax"]).failed(5, &[]);
    cloud.ok(&["verify", "-k", &arn, "in.wax"]);
    cloud.run(&["rewrap", "--remove", "alias/cli-kinds", "in.wax"]).failed(2, &["last key"]);
    cloud.run(&["rewrap", "--remove", "slot:7", "in.wax"]).failed(2, &["slot 7"]);
    cloud.ok(&["rewrap", "--allow-unwrap", "--add", "file:k", "in.wax"]);
    cloud.ok(&["verify", "-k", "file:k", "in.wax"]);
}

/// An ARN names exactly this key, even if `--region` selects another region for the calls.
#[test]
fn a_key_that_goes_is_named_by_its_arn_as_it_stands() {
    let cloud = moto();
    let arn = key("alias/cli-goes");
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &arn, "-k", "file:k", "in"]);
    let mut file = cloud.place.read("in.wax");
    let id = arn.rsplit('/').next().unwrap();
    let multi = format!("mrk-{}", "0".repeat(32));
    for bank in [0, 4096] {
        let place = file[bank..bank + 4096].windows(id.len()).position(|window| window == id.as_bytes()).unwrap();
        file[bank + place..bank + place + id.len()].copy_from_slice(multi.as_bytes());
        let sum = {
            use sha2::{Digest, Sha256};
            Sha256::digest(&file[bank..bank + 4064])
        };
        file[bank + 4064..bank + 4096].copy_from_slice(&sum);
    }
    cloud.place.write("in.wax", &file);
    cloud.proxy.take();
    let arn = arn.replace(id, &multi);
    let told = cloud.json(&["rewrap", "--json", "--region", "ap-south-1", "--remove", &arn, "in.wax"]);
    assert_eq!((&told["outcome"], &told["old_key"]), (&json!("changed"), &json!(arn)));
    assert!(cloud.proxy.take().is_empty());
}

/// A key is added only after the data key was checked with the file. ReEncrypt alone would rewrap any content of the
/// slot.
#[test]
fn a_key_is_added_only_with_the_data_key_checked() {
    let cloud = moto();
    let (one, two) = (key("alias/cli-add-1"), key("alias/cli-add-2"));
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &one, "in"]);
    cloud.proxy.take();
    cloud.run(&["rewrap", "--add", &two, "in.wax"]).failed(2, &["unwrapped on this machine", "--allow-unwrap"]);
    assert!(cloud.proxy.take().is_empty());
    cloud.ok(&["rewrap", "--allow-unwrap", "-k", &one, "--add", &two, "in.wax"]);
    assert_eq!(cloud.proxy.take(), ["Decrypt", "Encrypt"]);
    cloud.ok(&["verify", "-k", &two, "in.wax"]);
}

#[test]
fn many_files_in_one_rewrap() {
    let cloud = moto();
    let (old, new) = (key("alias/cli-many-old"), key("alias/cli-many-new"));
    let names: Vec<String> = (0..1000).map(|i| format!("f{i}")).collect();
    for name in &names {
        cloud.place.write(name, name);
    }
    let args: Vec<&str> = ["encrypt", "-k", &old].into_iter().chain(names.iter().map(String::as_str)).collect();
    cloud.ok(&args);
    cloud.proxy.take();
    let sealed: Vec<String> = names.iter().map(|name| format!("{name}.wax")).collect();
    let args: Vec<&str> = ["rewrap", "--json", "--to", &new, "missing.wax"]
        .into_iter()
        .chain(sealed.iter().map(String::as_str))
        .collect();
    let ran = cloud.run(&args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(10), ""));
    let told: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 1001);
    assert_eq!(
        told.iter().filter(|line| line["new_key"] == json!(new) && line["aws_request_id"].is_string()).count(),
        1000
    );
    assert_eq!(told.iter().filter(|line| line["exit"] == 10 && line["file"] == "missing.wax").count(), 1);
    let calls = cloud.proxy.take();
    let dry_runs = calls.iter().filter(|call| *call == "Decrypt").count();
    assert!(calls.len() == 2000 && dry_runs == 1000, "{calls:?}");
    let args: Vec<&str> = ["verify", "-k", &new].into_iter().chain(sealed.iter().map(String::as_str)).collect();
    cloud.ok(&args);
}

#[test]
fn a_copy_is_rewrapped_in_passing() {
    let cloud = moto();
    let (old, new) = (key("alias/cli-copy-old"), key("alias/cli-copy-new"));
    cloud.place.write("in", noise(300_000));
    cloud.ok(&["encrypt", "-k", &old, "in"]);
    let before = cloud.place.read("in.wax");
    cloud.ok(&["rewrap", "--to", &new, "-o", "copy.wax", "in.wax"]);
    assert!(cloud.place.read("in.wax") == before);
    cloud.ok(&["verify", "-k", &new, "copy.wax"]);
    let piped = feed(&mut cloud.command(&["rewrap", "--to", &new, "-o", "-", "-"]), &before);
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    cloud.place.write("piped.wax", &piped.stdout);
    cloud.ok(&["verify", "-k", &new, "piped.wax"]);
    cloud.run(&["rewrap", "--to", &new, "-o", "copy.wax", "in.wax"]).failed(8, &["exists"]);
    cloud.run(&["rewrap", "--to", &new, "-f", "-o", "in.wax", "in.wax"]).failed(2, &["is the input"]);
    assert_eq!(cloud.run(&["rewrap", "--to", &new, "-"]).code, Some(2));
}

#[test]
fn with_several_kms_slots_to_needs_from() {
    let cloud = moto();
    let (one, two, three) = (key("alias/cli-s1"), key("alias/cli-s2"), key("alias/cli-s3"));
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &one, "-k", &two, "in"]);
    cloud.proxy.take();
    cloud.run(&["rewrap", "--to", &three, "in.wax"]).failed(2, &["hint: ", "--from"]);
    assert!(cloud.proxy.take().is_empty());
    cloud.ok(&["rewrap", "--from", &two, "--to", &three, "in.wax"]);
    cloud.ok(&["verify", "-k", &one, "in.wax"]);
    cloud.ok(&["verify", "-k", &three, "in.wax"]);
    cloud.ok(&["rewrap", "--from", "slot:0", "--to", &two, "in.wax"]);
    cloud.run(&["verify", "-k", &one, "in.wax"]).failed(5, &[]);
}

/// The header names a key of an unknown account. A rewrap must not call this key, because that account would see the
/// call.
#[test]
fn a_strangers_key_is_not_called_by_a_rewrap() {
    let cloud = moto();
    let (old, new) = (key("alias/cli-stranger-old"), key("alias/cli-stranger-new"));
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", &old, "in"]);
    let mut file = cloud.place.read("in.wax");
    for bank in [0, 4096] {
        let place = file[bank..bank + 4096].windows(12).position(|window| window == ACCOUNT.as_bytes()).unwrap();
        file[bank + place..bank + place + 12].copy_from_slice(b"666666666666");
        let sum = {
            use sha2::{Digest, Sha256};
            Sha256::digest(&file[bank..bank + 4064])
        };
        file[bank + 4064..bank + 4096].copy_from_slice(&sum);
    }
    cloud.place.write("in.wax", &file);
    cloud.proxy.take();
    cloud.run(&["rewrap", "--to", &new, "in.wax"]).failed(5, &["666666666666", "hint: ", "--account"]);
    cloud.run(&["rewrap", "--from", "slot:0", "--to", &new, "in.wax"]).failed(5, &["666666666666"]);
    cloud.run(&["rewrap", "--from", &old, "--to", &new, "in.wax"]).failed(2, &["no slot belongs to"]);
    cloud.run(&["rewrap", "-k", &old, "--to", &new, "in.wax"]).failed(5, &["666666666666"]);
    assert!(cloud.proxy.take().is_empty());
    // If nothing names an account, the program asks for the caller's own.
    let args = ["rewrap", "--from", "slot:0", "--to", "alias/cli-stranger-new", "in.wax"];
    cloud.run(&args).failed(5, &["666666666666", "hint: "]);
    assert_eq!(cloud.proxy.take(), ["GetCallerIdentity"]);
    // If the user names the other account's key, the program calls it.
    let theirs = old.replace(ACCOUNT, "666666666666");
    for named in [["--from", theirs.as_str()], ["-k", &theirs], ["--account", "666666666666"]] {
        assert_ne!(cloud.run(&[&["rewrap"][..], &named, &["--to", &new, "in.wax"]].concat()).code, Some(0));
        assert_eq!(cloud.proxy.take(), ["ReEncrypt"], "{named:?}");
    }
    assert!(cloud.place.read("in.wax") == file);
}

#[test]
fn direct_blobs_are_those_of_the_aws_command_line() {
    let cloud = moto();
    key("alias/cli-direct");
    cloud.place.write("in", "a token");
    cloud.ok(&["direct", "encrypt", "-k", "alias/cli-direct", "-c", "app=web", "-o", "blob", "in"]);
    assert_eq!(cloud.proxy.take(), ["Encrypt"]);
    let aws = |args: &[&str]| -> Ran {
        let mut command = Command::new(python().with_file_name("aws"));
        support::clear_aws_environment(&mut command);
        command.args(["--endpoint-url", &shared_moto().url, "--region", REGION, "--output", "text", "kms"]).args(args);
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.current_dir(cloud.place.path("")).output().unwrap().into()
    };
    let there = aws(&[
        "decrypt",
        "--ciphertext-blob",
        "fileb://blob",
        "--encryption-context",
        "app=web",
        "--query",
        "Plaintext",
    ]);
    assert_eq!(there.text().trim(), "YSB0b2tlbg==", "{}", there.stderr);
    let back =
        aws(&["encrypt", "--key-id", "alias/cli-direct", "--plaintext", "fileb://in", "--query", "CiphertextBlob"]);
    use base64::Engine as _;
    cloud.place.write("theirs", base64::engine::general_purpose::STANDARD.decode(back.text().trim()).unwrap());
    assert_eq!(cloud.ok(&["direct", "decrypt", "-o", "-", "theirs"]).stdout, b"a token");
    assert_eq!(cloud.ok(&["direct", "decrypt", "-k", "alias/cli-direct", "theirs"]).stdout, b"a token");
    cloud.ok(&["direct", "decrypt", "-c", "app=web", "-o", "out", "blob"]);
    assert_eq!((cloud.place.read("out"), cloud.place.mode("out")), (b"a token".to_vec(), 0o600));
    cloud.run(&["direct", "decrypt", "-c", "app=other", "-o", "-", "blob"]).failed(5, &[]);
    cloud.proxy.take();
    for len in [0, 4097, 100_000] {
        cloud.place.write("big", noise(len));
        cloud
            .run(&["direct", "encrypt", "-k", "alias/cli-direct", "-o", "x", "big"])
            .failed(2, &["4096", "waxseal encrypt"]);
    }
    cloud.run(&["direct", "encrypt", "-k", "file:k", "-o", "x", "in"]).failed(2, &["hint: "]);
    assert!(cloud.proxy.take().is_empty() && !cloud.place.exists("x"));
    cloud.place.write("big", noise(4096));
    cloud.ok(&["direct", "encrypt", "-k", "alias/cli-direct", "-o", "x", "big"]);
    assert!(cloud.ok(&["direct", "decrypt", "-o", "-", "x"]).stdout == noise(4096));
    // Without `-k`, an answer from a key of another account is refused, and its plaintext is not written.
    let stranger = format!("arn:aws:kms:{REGION}:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab");
    let answer = json!({ "KeyId": stranger, "Plaintext": "YSB0b2tlbg==", "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" });
    cloud.proxy.take();
    cloud.proxy.fail_on("Decrypt", Fault::Answer(200, answer.to_string()));
    let ran = cloud.run(&["direct", "decrypt", "-o", "strangers", "blob"]);
    ran.failed(5, &["a key of account 999999999999", &format!("-k {stranger}")]);
    assert_eq!(cloud.proxy.take(), ["GetCallerIdentity", "Decrypt"]);
    assert!(!cloud.place.exists("strangers"));
    // Each command recognizes the other command's files, and names the right command.
    cloud.place.sealed("sealed.wax", b"content");
    cloud.run(&["direct", "decrypt", "-o", "-", "sealed.wax"]).failed(2, &["waxseal decrypt"]);
    cloud.place.write("aws.blob", [&[1, 2, 2, 0, 0x78][..], &noise(150)].concat());
    cloud
        .run(&["decrypt", "-k", "file:k", "-o", "-", "aws.blob"])
        .failed(3, &["aws kms encrypt", "waxseal direct decrypt"]);
}

/// From "create a key with my own material" to "it opens again", as the guide tells it.
#[test]
fn the_life_of_a_key() {
    let server = ministack();
    let cloud = Cloud::at(&server.url);
    let made = cloud.ok(&["key", "create", "--external", "--alias", "alias/life"]).text();
    let arn = made.trim();
    assert!(arn.starts_with("arn:aws:kms:") && arn.contains(":key/") && made == format!("{arn}\n"));
    cloud.run(&["key", "create", "--external", "--alias", "alias/life"]).failed(8, &["exists"]);
    let shown = cloud.ok(&["key", "show", "alias/life"]).text();
    assert!(shown.contains("pending import") && shown.contains("waxseal key import"), "{shown}");
    cloud.place.write("in", "content");
    cloud.run(&["encrypt", "-k", "alias/life", "in"]).failed(5, &["hint: "]);
    cloud.ok(&["key", "import", "alias/life", "--generate", "material"]);
    assert_eq!((cloud.place.read("material").len(), cloud.place.mode("material")), (32, 0o600));
    cloud.run(&["key", "import", "alias/life", "--generate", "material"]).failed(8, &["never overwritten"]);
    cloud.ok(&["encrypt", "-k", "alias/life", "in"]);
    assert_eq!(cloud.run(&["key", "delete-material", "alias/life"]).code, Some(2));
    cloud.ok(&["key", "delete-material", "alias/life", "--yes"]);
    cloud.run(&["decrypt", "-f", "-k", "alias/life", "in.wax"]).failed(5, &["pending import", "waxseal key import"]);
    let mut material = cloud.command(&["key", "import", "alias/life", "--material", "-"]);
    assert_eq!(feed(&mut material, &cloud.place.read("material")).code, Some(0));
    assert_eq!(cloud.ok(&["decrypt", "-k", "alias/life", "-o", "-", "in.wax"]).stdout, b"content");
    let shown = cloud.json(&["key", "show", "--json", arn]);
    assert_eq!((&shown["kms_key"]["state"], &shown["kms_key"]["origin"]), (&json!("Enabled"), &json!("EXTERNAL")));
    assert_eq!(shown["kms_key"]["arn"], arn);
    for len in [0, 31, 33] {
        cloud.place.write("bad", noise(len));
        cloud.run(&["key", "import", "alias/life", "--material", "bad"]).failed(2, &["32 bytes", "hint: "]);
    }
    for bad in [
        &["key", "import", "alias/life"][..],
        &["key", "import", "alias/life", "--material", "material", "--generate", "x"],
        &["key", "import", "file:k", "--material", "material"],
        &["key", "import", "alias/life", "--material", "material", "--valid-to", "tomorrow"],
        &["key", "import", "alias/life", "--material", "material", "--valid-to", "2001-01-01T00:00:00Z"],
        &["key", "import", "alias/life", "--material", "material", "--wrapping-algorithm", "ROT13"],
        &["key", "create", "--alias", "life"],
    ] {
        let ran = cloud.run(bad);
        assert_eq!(ran.code, Some(2), "{bad:?} {}", ran.stderr);
    }
    let secret = cloud.place.read("material");
    let said = shown.to_string() + &made;
    assert!(!said.as_bytes().windows(32).any(|window| window == secret));
}

/// A shell runs the line that `inspect` prints, and gets the data key. `spec/reader.py` opens the file with this key.
#[test]
fn the_data_key_can_be_had_by_hand() {
    let cloud = moto();
    key("alias/cli-by-hand");
    let content = noise(40_000);
    cloud.place.write("in", &content);
    let odd = "it's $(touch x) \"`é";
    cloud.ok(&["encrypt", "-k", "alias/cli-by-hand", "-c", &format!("odd={odd}"), "-c", "env=prod", "in"]);
    let text = cloud.ok(&["inspect", "in.wax"]).text();
    let line = text.lines().find(|line| line.contains("aws kms decrypt")).unwrap().trim();
    let told = cloud.json(&["inspect", "--json", "in.wax"]);
    assert_eq!(told["header"]["slots"][0]["by_hand"], line);
    let script = format!("PATH=\"{}:$PATH\"; {line}", python().parent().unwrap().display());
    let mut shell = Command::new("sh");
    support::clear_aws_environment(&mut shell);
    shell.args(["-c", &script]).current_dir(cloud.place.path("")).env("AWS_ENDPOINT_URL", &shared_moto().url);
    shell.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let ran: Ran = shell.output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!((cloud.place.read("data.key").len(), cloud.place.mode("data.key")), (32, 0o600));
    assert!(!cloud.place.exists("x"));
    let reader = support::root().join("spec/reader.py");
    let mut command = Command::new(python());
    command.arg(reader).args(["--data-key-file", "data.key", "in.wax", "out"]).current_dir(cloud.place.path(""));
    let ran: Ran = command.output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(cloud.place.read("out") == content);
}

/// If the hint named the wrong key, the user would change the wrong key.
#[test]
fn of_two_keys_the_hint_names_the_one_that_failed() {
    let cloud = moto();
    let (old, new) = (key("alias/cli-hint-old"), key("alias/cli-hint-new"));
    cloud.place.write("in", "content");
    cloud.ok(&["encrypt", "-k", "alias/cli-hint-old", "in"]);
    for (disabled, other) in [(&old, &new), (&new, &old)] {
        cloud.proxy.fail_on("ReEncrypt", Fault::refusal("DisabledException", &format!("{disabled} is disabled.")));
        let ran = cloud.run(&["rewrap", "--from", &old, "--to", &new, "in.wax"]);
        ran.failed(5, &[&format!("enable-key --region {REGION} --key-id {disabled}")]);
        assert!(!ran.stderr.contains(other.as_str()), "{}", ran.stderr);
    }
}

/// Over such a connection, others can read the data keys.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_in_the_clear_is_warned_of_once() {
    let cloud = moto();
    key("alias/cli-clear");
    ["a", "b"].iter().for_each(|name| drop(cloud.place.write(name, name)));
    let words = "the connection to AWS KMS is not encrypted";
    let run = |more: &[&str], address: &str| -> String {
        let url = cloud.proxy.url.replace("127.0.0.1", address);
        let args = [&["encrypt", "-f", "-k", "alias/cli-clear", "a", "b"], more].concat();
        let ran: Ran = cloud.command(&args).env("AWS_ENDPOINT_URL", url).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr
    };
    let told = run(&[], "0.0.0.0");
    assert_eq!(told.matches(words).count(), 1, "{told}");
    assert!(told.contains("data keys"), "{told}");
    assert!(!run(&["-q"], "0.0.0.0").contains(words) && !run(&[], "127.0.0.1").contains(words));
}
