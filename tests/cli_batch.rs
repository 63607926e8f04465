//! `encrypt --one-data-key`: one call makes the data key of all inputs, and one call opens them. Every call is counted.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "cli_support/cloud.rs"]
mod cloud;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use cloud::Cloud;
use serde_json::Value;
use support::{Fault, shared_moto};

const FILES: usize = 200;

fn cloud(alias: &str) -> Cloud {
    let aws = shared_moto().aws();
    aws.alias(alias, &aws.create_key());
    Cloud::at(&shared_moto().url)
}

/// Files `000` and so on, each with another content.
fn files(cloud: &Cloud, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("{number:03}")).collect();
    names.iter().for_each(|name| drop(cloud.place.write(name, format!("content of {name}"))));
    names
}

fn wax(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{name}.wax")).collect()
}

fn with<'a>(args: &[&'a str], names: &'a [String]) -> Vec<&'a str> {
    args.iter().copied().chain(names.iter().map(String::as_str)).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn field<'a>(lines: &'a [Value], name: &str) -> BTreeSet<&'a str> {
    lines.iter().map(|line| line[name].as_str().unwrap_or_default()).collect()
}

#[test]
fn one_call_seals_all_and_one_opens_all() {
    let cloud = cloud("alias/batch-all");
    let names = files(&cloud, FILES);
    let seal = ["encrypt", "--json", "--one-data-key", "-k", "alias/batch-all", "-k", "file:k", "-c", "env=prod"];
    // A slow answer, so that all threads are waiting for it.
    cloud.proxy.delay(Duration::from_millis(200));
    let told = lines(&cloud.ok(&with(&seal, &names)).text());
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"]);
    assert_eq!(told.len(), FILES);
    for name in ["data_key_id", "aws_request_id", "key_arn"] {
        assert!(field(&told, name).len() == 1 && !field(&told, name).contains(""), "{name}: {:?}", field(&told, name));
    }
    assert!(told.iter().all(|line| line["data_key_shared"] == true));
    let sealed = wax(&names);
    for args in [
        &["verify", "-k", "alias/batch-all"][..],
        &["verify", "--quick"],
        &["decrypt", "-f", "-k", "alias/batch-all", "-c", "env=prod"],
    ] {
        cloud.ok(&with(args, &sealed));
        let mut calls = cloud.proxy.take();
        // Without a key, STS says whose keys may be called.
        calls.retain(|call| call != "GetCallerIdentity");
        assert_eq!(calls, ["Decrypt"], "{args:?}");
    }
    cloud.proxy.delay(Duration::ZERO);
    names.iter().for_each(|name| assert_eq!(cloud.place.read(name), format!("content of {name}").into_bytes()));
    // Each opens alone, by each key.
    for name in [&sealed[0], &sealed[FILES - 1]] {
        cloud.ok(&["verify", "-k", "file:k", name]);
        assert!(cloud.proxy.take().is_empty());
        cloud.ok(&["verify", "-k", "alias/batch-all", name]);
        assert_eq!(cloud.proxy.take(), ["Decrypt"]);
    }
    // Local slots are wrapped for each file anew, and the salts differ.
    let told = lines(&cloud.ok(&with(&["inspect", "--json"], &sealed)).text());
    let of = |read: &dyn Fn(&Value) -> String| told.iter().map(read).collect::<BTreeSet<_>>().len();
    assert_eq!(of(&|line| line["header"]["salt"].to_string()), FILES);
    assert_eq!(of(&|line| line["header"]["commitment"].to_string()), FILES);
    assert_eq!(of(&|line| line["header"]["slots"][0]["wrapped_key"].to_string()), 1);
    assert_eq!(of(&|line| line["header"]["slots"][1]["wrapped_key"].to_string()), FILES);
    assert!(told.iter().all(|line| line["header"]["data_key_shared"] == true));
}

/// Without the option, each file has its own data key and its own calls.
#[test]
fn sharing_happens_only_if_asked_for() {
    let cloud = cloud("alias/batch-off");
    let names = files(&cloud, 3);
    let told = lines(&cloud.ok(&with(&["encrypt", "--json", "-k", "alias/batch-off"], &names)).text());
    assert_eq!((field(&told, "data_key_id").len(), cloud.proxy.take().len()), (3, 3));
    assert!(told.iter().all(|line| line["data_key_shared"] == false));
    cloud.ok(&with(&["verify", "-k", "alias/batch-off"], &wax(&names)));
    assert_eq!(cloud.proxy.take(), ["Decrypt"; 3]);
    // Two runs are two batches.
    let sealed = |name: &str| {
        cloud.ok(&["encrypt", "-f", "--one-data-key", "-k", "alias/batch-off", name]);
        lines(&cloud.ok(&["inspect", "--json", &format!("{name}.wax")]).text())[0]["header"]["data_key_id"].to_string()
    };
    assert!(sealed("000") != sealed("001"));
}

#[test]
fn a_second_key_in_kms_is_called_once_too() {
    let cloud = cloud("alias/batch-one");
    let aws = shared_moto().aws();
    aws.alias("alias/batch-two", &aws.create_key());
    let names = files(&cloud, 20);
    cloud.ok(&with(&["encrypt", "--one-data-key", "-k", "alias/batch-one", "-k", "alias/batch-two"], &names));
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey", "Encrypt"]);
    for key in ["alias/batch-one", "alias/batch-two"] {
        cloud.ok(&with(&["verify", "-k", key], &wax(&names)));
        // An alias may be of either slot's key, so the first slot may be tried in vain.
        let calls = cloud.proxy.take();
        assert!(calls.contains(&"Decrypt".to_owned()), "{calls:?}");
    }
}

#[test]
fn what_it_cannot_do_is_refused() {
    let cloud = cloud("alias/batch-refused");
    let names = files(&cloud, 2);
    let ran = cloud.run(&with(&["encrypt", "--one-data-key", "-k", "file:k"], &names));
    ran.failed(2, &["--one-data-key saves nothing", "hint: leave out --one-data-key"]);
    assert!(!cloud.place.exists("000.wax"));
    let ran = cloud.run(&["encrypt", "--one-data-key", "-o", "x", "-k", "file:k", "--from-command", "--", "true"]);
    ran.failed(2, &["--one-data-key"]);
    let ran = cloud.run(&["encrypt", "-d", "--one-data-key", "-k", "file:k", "000.wax"]);
    ran.failed(2, &["--one-data-key"]);
    assert!(cloud.proxy.take().is_empty());
}

/// If the data key cannot be made, that is the failure of every file, and KMS is asked once.
#[test]
fn a_refused_data_key_fails_every_file_with_one_call() {
    let cloud = cloud("alias/batch-denied");
    let names = files(&cloud, 30);
    cloud.proxy.fail_on("GenerateDataKey", Fault::refusal("AccessDeniedException", "no"));
    let ran = cloud.run(&with(&["encrypt", "--json", "--one-data-key", "-k", "alias/batch-denied"], &names));
    assert_eq!((ran.code, cloud.proxy.take()), (Some(5), vec!["GenerateDataKey".to_owned()]));
    assert_eq!(lines(&ran.text()).len(), 30);
    assert!(names.iter().all(|name| !cloud.place.exists(&format!("{name}.wax"))));
}

/// A rerun that has nothing to do makes no call.
#[test]
fn nothing_to_seal_is_no_call() {
    let cloud = cloud("alias/batch-again");
    let names = files(&cloud, 5);
    let args = ["encrypt", "--skip-existing", "--one-data-key", "-k", "alias/batch-again"];
    cloud.ok(&with(&args, &names));
    assert_eq!(cloud.proxy.take(), ["GenerateDataKey"]);
    cloud.ok(&with(&args, &names));
    assert!(cloud.proxy.take().is_empty());
}

/// A rewrap changes each file by itself, and asks first. Unwrapping on this machine costs one call.
#[test]
fn rewrap_asks_and_changes_each() {
    let cloud = cloud("alias/batch-rewrap");
    let names = files(&cloud, 12);
    cloud.ok(&with(&["encrypt", "--one-data-key", "-k", "alias/batch-rewrap"], &names));
    cloud.proxy.take();
    let sealed = wax(&names);
    let add = ["rewrap", "--allow-unwrap", "-k", "alias/batch-rewrap", "--add", "file:k"];
    let ran = cloud.run(&with(&add, &sealed));
    ran.failed(2, &["shares its data key with other files", "--yes"]);
    assert!(cloud.proxy.take().is_empty());
    cloud.ok(&with(&[&add[..], &["--yes"]].concat(), &sealed));
    assert_eq!(cloud.proxy.take(), ["Decrypt"]);
    cloud.ok(&with(&["verify", "-k", "file:k"], &sealed));
    // ReEncrypt is called for each file: a slot that was not checked must not become the slot of several files.
    let aws = shared_moto().aws();
    aws.alias("alias/batch-new", &aws.create_key());
    cloud.ok(&with(&["rewrap", "--yes", "--from", "slot:0", "--to", "alias/batch-new"], &sealed));
    let calls = cloud.proxy.take();
    assert_eq!(calls.iter().filter(|call| *call == "ReEncrypt").count(), 12, "{calls:?}");
    cloud.ok(&with(&["verify", "-k", "alias/batch-new"], &sealed));
}
