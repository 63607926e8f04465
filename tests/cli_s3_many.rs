//! `-r` with prefixes of a store, as inputs and as outputs: the real binary, a real object store, and a proxy that counts
//! requests, fails, and lists what no honest store has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[path = "cli_support/store.rs"]
mod store;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cli_support::{Ran, noise};
use serde_json::{Value, json};
use store::Store;
use support::{S3Fault, S3Request};

const SEAL: [&str; 4] = ["encrypt", "-k", "file:k", "-r"];
const OPEN: [&str; 4] = ["decrypt", "-k", "file:k", "-r"];

/// Keys that mean something to a shell, a terminal, XML, a URL or a file system, but not to a store.
const ODD: [&str; 9] = [
    "plain",
    "a b/c+d%20e",
    "caf\u{e9}/\u{65e5}\u{672c}.txt",
    "line\nend",
    "<&>\"'",
    "-n/--",
    "deep/er/and/deeper/x",
    "...",
    "s3:/x",
];

fn args<'a>(command: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [command, rest].concat()
}

/// The lines of `--json`: those of inputs by the end of their name, and the summary.
#[track_caller]
fn told(ran: &Ran, top: &str) -> (BTreeMap<String, Value>, Value) {
    let mut lines: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap_or_else(|| panic!("no line: {}", ran.stderr));
    assert!(last["file"].is_null() && last["summary"].is_object(), "{last}");
    let below = |line: &Value| line["file"].as_str().unwrap().strip_prefix(top).unwrap().to_owned();
    (lines.into_iter().map(|line| (below(&line), line)).collect(), last["summary"].clone())
}

fn is(operation: &'static str) -> impl Fn(&S3Request) -> bool + Send + Sync + 'static {
    move |request| request.operation() == operation
}

/// Writes `files` below `folder`.
fn write_all(store: &Store, folder: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) {
    for (name, content) in files {
        let path = store.place.path(folder).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn odd() -> Vec<(String, Vec<u8>)> {
    let content = |(number, name): (usize, &&str)| ((*name).to_owned(), format!("{number} {name}").into_bytes());
    ODD.iter().enumerate().map(content).collect()
}

#[track_caller]
fn has_all(store: &Store, folder: &str) {
    for (name, content) in odd() {
        let path = store.place.path(folder).join(&name);
        assert_eq!(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())), content);
    }
}

/// Puts these objects into the first page of the next listing, before those that are there.
fn lists_too(store: &Store, keys: &[(&str, usize)]) {
    let entry = |(key, len): &(&str, usize)| format!("<Contents><Key>{key}</Key><Size>{len}</Size></Contents>");
    let more: String = keys.iter().map(entry).collect();
    let change = move |answer: &mut support::S3Answer| {
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert!(body.contains("<Contents>"), "{body}");
        answer.body = body.replacen("<Contents>", &format!("{more}<Contents>"), 1).into_bytes();
    };
    store.proxy.fail_when(is("ListObjectsV2"), 1, S3Fault::alter(change));
}

#[test]
fn trees_go_to_prefixes_and_come_back() {
    let store = Store::new();
    write_all(&store, "t", odd());
    // Files to a prefix, which needs no slash.
    store.ok(&args(&SEAL, &["-o", "s3:p", "t"]));
    assert!(store.get("p/t/<&>\"'.wax").is_some() && store.get("p/t/line\nend.wax").is_some());
    // A prefix to files, below its last part.
    store.ok(&args(&OPEN, &["-o", "back", "s3:p/t"]));
    has_all(&store, "back/t");
    // A prefix to a prefix.
    store.ok(&args(&OPEN, &["-o", "s3:open/", "s3:p/t/"]));
    for (name, content) in odd() {
        assert_eq!(store.get(&format!("open/t/{name}")), Some(content), "{name}");
    }
    // Beside the inputs.
    store.ok(&args(&SEAL, &["s3:open/"]));
    let ran = store.ok(&["verify", "-k", "file:k", "-r", "--json", "s3:open"]);
    let (_, summary) = told(&ran, &store.url("open/"));
    assert_eq!((&summary["done"], &summary["skipped_because"]), (&json!(9), &json!({ "not-sealed": 9 })));
    store.ok(&["inspect", "-r", "s3:open"]);
    // A bucket puts its objects directly below the output.
    store.ok(&args(&OPEN, &["-o", "all", "s3:"]));
    has_all(&store, "all/p/t");
    has_all(&store, "all/open/t");
    assert_eq!(store.uploads(), Vec::<String>::new());
}

#[test]
fn a_prefix_is_like_a_folder() {
    let store = Store::new();
    for key in ["db/a", "db2", "db2/a", "d"] {
        store.plain.put(&store.bucket, key, b"content");
    }
    store.ok(&args(&SEAL, &["s3:db"]));
    assert_eq!(store.keys(), ["d", "db/a", "db/a.wax", "db2", "db2/a"]);
    // A second run finds what is sealed.
    let (lines, summary) = told(&store.ok(&args(&SEAL, &["--skip-existing", "--json", "s3:db"])), &store.url("db/"));
    assert_eq!(summary["skipped_because"], json!({ "exists": 1, "sealed": 1 }), "{lines:?}");
    // What is no prefix is an object, as a file can be named with -r.
    store.ok(&args(&SEAL, &["s3:d"]));
    assert!(store.get("d.wax").is_some());
    store.fails(&args(&SEAL, &["s3:nothing"]), 10, &["nothing"]);
    // An empty prefix is like an empty folder.
    fs::create_dir(store.place.path("empty")).unwrap();
    for empty in ["s3:nothing/", "empty"] {
        let ran = store.ok(&args(&SEAL, &[empty]));
        assert!(ran.stderr.contains("no input was found"), "{}", ran.stderr);
        store.fails(&["verify", "-k", "file:k", "-r", empty], 8, &[]);
    }
    store.fails(&args(&SEAL, &["-o", "s3:db/", "s3:db"]), 2, &["this prefix itself"]);
    store.fails(&args(&SEAL, &["-o", "out", "s3:x/db", "s3:y/db/"]), 2, &["two inputs", "db"]);
    store.fails(&args(&SEAL, &["s3://no"]), 2, &["bucket"]);
    store.fails(&args(&SEAL, &["-o", "s3://no", "s3:db"]), 2, &["bucket"]);
    store.fails(&args(&SEAL, &["s3://no-such-bucket-here/x"]), 7, &["there is no such bucket"]);
}

#[test]
fn no_key_leads_out_of_the_output_folder() {
    let store = Store::new();
    write_all(&store, "t", [("ok".to_owned(), b"content".to_vec())]);
    store.ok(&args(&SEAL, &["-o", "s3:p/", "t"]));
    let long = format!("p/t/{}/x.wax", "n".repeat(256));
    let long_name = format!("p/t/{}.wax", "n".repeat(256));
    let bad = [
        "p/t/../evil.wax",
        "p/t/../../../evil.wax",
        "p/t//evil.wax",
        "p/t/./evil.wax",
        "p/t/x%2F..%2Fevil.wax",
        "p/t/...wax",
        "p/t/..wax",
        "p/t/a%00b/evil.wax",
        "p/t/a%00b.wax",
        &long,
        &long_name,
    ];
    lists_too(&store, &bad.map(|key| (key, 100)));
    let ran = store.run(&args(&OPEN, &["--json", "-o", "a/out", "s3:p/t"]));
    fs::create_dir(store.place.path("a")).unwrap();
    assert_eq!(ran.code, Some(7), "the folder above the output is not made: {}", ran.stderr);
    store.proxy.heal();
    lists_too(&store, &bad.map(|key| (key, 100)));
    let ran = store.run(&args(&OPEN, &["--json", "-o", "a/out", "s3:p/t"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let (lines, summary) = told(&ran, &store.url("p/t/"));
    assert_eq!((&summary["done"], &summary["failed"]), (&json!(1), &json!(bad.len())), "{}", ran.text());
    for (name, line) in lines.iter().filter(|(name, _)| *name != "ok.wax") {
        let why = if name.len() > 255 { "the name of the output is too long" } else { "the part" };
        let message = line["message"].as_str().unwrap();
        assert_eq!((&line["exit"], message.contains(why)), (&json!(2), true), "{name}: {message}");
    }
    assert_eq!(fs::read(store.place.path("a/out/t/ok")).unwrap(), b"content");
    for (folder, names) in [("a", 1), ("a/out", 1), ("a/out/t", 1)] {
        assert_eq!(fs::read_dir(store.place.path(folder)).unwrap().count(), names, "{folder}");
    }
    assert!(!store.place.exists("evil"));
    // The name of the prefix is a part of the output, too.
    store.fails(&args(&OPEN, &["-o", "a/out", "s3:p/t/../"]), 2, &["the part \"..\""]);
}

#[test]
fn a_file_and_a_folder_of_one_name_lose_nothing() {
    let store = Store::new();
    write_all(&store, "in", [("x".to_owned(), b"x".to_vec())]);
    store.ok(&args(&SEAL, &["-o", "s3:", "in"]));
    let sealed = store.get("in/x.wax").unwrap();
    for key in ["p/a.wax", "p/a/b.wax"] {
        store.plain.put(&store.bucket, key, &sealed);
    }
    for force in [&[][..], &["-f"]] {
        let ran = store.run(&args(&OPEN, &args(force, &["--json", "-o", "out", "s3:p"])));
        let (_, summary) = told(&ran, &store.url("p/"));
        assert!(matches!(ran.code, Some(2 | 8)), "{:?} {}", ran.code, ran.stderr);
        // Also a run that may replace files replaces no folder, and the other way round.
        assert_eq!((&summary["done"], &summary["failed"]), (&json!(1), &json!(1)), "{}", ran.text());
        let (file, folder) = (store.place.path("out/p/a"), store.place.path("out/p/a/b"));
        assert!(fs::read(&file).or_else(|_| fs::read(&folder)).unwrap() == b"x");
    }
}

#[test]
fn folder_markers_are_left_out() {
    let store = Store::new();
    store.plain.put(&store.bucket, "p/a", b"content");
    let marked = [("p/", 0), ("p/sub/", 0)];
    lists_too(&store, &marked);
    let ran = store.ok(&args(&SEAL, &["--json", "s3:p"]));
    let (lines, summary) = told(&ran, &store.url("p/"));
    assert_eq!((&summary["done"], &summary["skipped_because"]), (&json!(1), &json!({ "folder-marker": 2 })));
    assert_eq!(lines["sub/"]["skipped_because"], json!("folder-marker"));
    for line in ran.text().lines() {
        cli_support::schema::check(&serde_json::from_str(line).unwrap()).unwrap();
    }
    // It has content, which must not be left out in silence.
    lists_too(&store, &[("p/sub/", 7)]);
    let ran = store.fails(&args(&SEAL, &["--skip-existing", "s3:p"]), 2, &["names no file"]);
    assert!(ran.stderr.contains("p/sub/"), "{}", ran.stderr);
    // Nothing that is sealed has such a name.
    lists_too(&store, &[("p/sub/", 7)]);
    let (lines, _) = told(&store.ok(&args(&OPEN, &["--skip-existing", "--json", "s3:p"])), &store.url("p/"));
    assert_eq!(lines["sub/"]["skipped_because"], json!("not-sealed"));
}

#[test]
fn a_listing_that_fails_in_the_middle_is_a_failure() {
    let store = Store::new();
    for number in 0..30 {
        store.plain.put(&store.bucket, &format!("p/{number}"), b"content");
    }
    for (status, code, exit) in [(403, "AccessDenied", 7), (400, "InvalidArgument", 7)] {
        // The store says that there is more, and then does not give it.
        store.proxy.fail_when(
            is("ListObjectsV2"),
            1,
            S3Fault::alter(|answer| {
                let body = String::from_utf8(answer.body.clone()).unwrap();
                let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>";
                assert!(body.contains("<IsTruncated>false</IsTruncated>"), "{body}");
                answer.body = body.replace("<IsTruncated>false</IsTruncated>", more).into_bytes();
            }),
        );
        store.proxy.fail_when(is("ListObjectsV2"), 1000, S3Fault::Answer(status, code));
        let out = format!("s3:{status}/");
        let ran = store.run(&args(&SEAL, &["--json", "-o", &out, "s3:p"]));
        store.proxy.heal();
        assert_eq!(ran.code, Some(exit), "{}", ran.stderr);
        let (lines, summary) = told(&ran, &store.url("p/"));
        assert_eq!((&summary["done"], &summary["failed"]), (&json!(30), &json!(1)), "{}", ran.text());
        assert_eq!((&lines[""]["ok"], &lines[""]["exit"]), (&json!(false), &json!(exit)));
        for number in 0..30 {
            assert!(store.get(&format!("{status}/p/{number}.wax")).is_some());
        }
    }
}

/// There are two pages, and the second is asked for after outputs were created.
#[test]
fn outputs_below_the_input_prefix_are_not_inputs() {
    const MANY: usize = 1010;
    let store = Store::new();
    write_all(&store, "a", (0..MANY).map(|number| (number.to_string(), number.to_string().into_bytes())));
    store.ok(&args(&SEAL, &["-o", "s3:in/", "a"]));
    for run in ["", "-f"] {
        let rest = ["--json", "-o", "s3:in/b/", "s3:in/", run];
        let ran = store.ok(&args(&OPEN, &rest[..rest.len() - usize::from(run.is_empty())]));
        let (lines, summary) = told(&ran, &store.url("in/"));
        assert_eq!(summary["done"], json!(MANY), "{}", ran.stderr);
        let out =
            |(name, line): &(&String, &Value)| name.starts_with("b/") && line["skipped_because"] != "output-folder";
        assert_eq!(lines.iter().find(out), None);
    }
    for number in [0, 7, MANY - 1] {
        assert_eq!(store.get(&format!("in/b/in/a/{number}")), Some(number.to_string().into_bytes()));
        assert_eq!(store.get(&format!("in/b/in/b/in/a/{number}")), None);
    }
}

#[test]
fn a_run_again_uploads_nothing() {
    let store = Store::new();
    write_all(&store, "t", (0..20).map(|number| (format!("d/{number}"), noise(number * 100))));
    let again = |command: &[&str], rest: &[&str]| {
        store.ok(&args(command, rest));
        let rest = args(&["--skip-existing", "--json"], rest);
        let requests = store.requests(&args(command, &rest));
        let writes = requests.iter().filter(|request| request.method != "GET" && request.method != "HEAD").count();
        assert_eq!(writes, 0, "{command:?} {rest:?}");
        let ran = store.ok(&args(command, &rest));
        let summary = serde_json::from_str::<Value>(ran.text().lines().last().unwrap()).unwrap()["summary"].clone();
        assert_eq!((&summary["done"], &summary["skipped_because"]["exists"]), (&json!(0), &json!(20)), "{summary}");
    };
    again(&SEAL, &["-o", "s3:p/", "t"]);
    again(&OPEN, &["-o", "s3:q/", "s3:p/t"]);
    again(&OPEN, &["-o", "out", "s3:p/t"]);
    again(&OPEN, &["s3:p/t"]);
    // What is missing is made.
    store.plain.delete(&store.bucket, "p/t/d/7.wax");
    let requests = store.requests(&args(&SEAL, &["--skip-existing", "-o", "s3:p/", "t"]));
    assert_eq!(requests.iter().filter(|request| request.method == "PUT").count(), 1);
}

#[test]
fn several_at_once() {
    let store = Store::new();
    write_all(&store, "t", (0..40).map(|number| (number.to_string(), noise(100))));
    store.proxy.delay(Duration::from_millis(20));
    for (jobs, least, most) in [("-j1", 1, 1), ("-j4", 2, 4), ("-j16", 5, 16)] {
        let store_now = store.proxy.most_at_once();
        store.ok(&args(&SEAL, &["-f", jobs, "--no-sync", "-o", "s3:p/", "t"]));
        let seen = store.proxy.most_at_once();
        assert!(seen >= least.max(store_now) && seen <= most, "{jobs}: {seen}");
    }
    let ran = store.ok(&["verify", "-k", "file:k", "-r", "-j1", "--json", "s3:p"]);
    let files: Vec<String> = ran
        .text()
        .lines()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).unwrap()["file"].as_str()?.to_owned()))
        .collect();
    assert!(files.is_sorted() && files.len() == 40, "in the order of the store: {files:?}");
}

#[test]
fn five_hundred_objects_get_new_keys_in_one_call() {
    const MANY: usize = 500;
    let store = Store::new();
    store.place.ok(&["key", "new", "k2"]);
    write_all(&store, "t", (0..MANY).map(|number| (format!("{}/{number}", number % 7), noise(number))));
    store.ok(&args(&SEAL, &["-o", "s3:p/", "t"]));
    store.plain.put(&store.bucket, "p/t/other", b"not sealed");
    store.proxy.take();
    let rewrap =
        ["rewrap", "-r", "--json", "-k", "file:k", "--allow-unwrap", "--from", "file:k", "--to", "file:k2", "s3:p"];
    let ran = store.ok(&rewrap);
    let requests = store.proxy.take();
    let (lines, summary) = told(&ran, &store.url("p/"));
    assert_eq!((&summary["done"], &summary["skipped_because"]), (&json!(MANY), &json!({ "not-sealed": 1 })));
    assert_eq!(lines.len(), MANY + 1);
    let mut counts = BTreeMap::new();
    requests.iter().for_each(|request| *counts.entry(request.operation()).or_insert(0_usize) += 1);
    let count = |operation: &str| counts.get(operation).copied().unwrap_or_default();
    // Until one object has shown that the store checks conditions, the others of the first 16 ask, too.
    let (all, asked): (usize, _) = (counts.values().sum(), count("CreateMultipartUpload"));
    assert!(asked <= 16 && count("PutObject") + asked == MANY, "{counts:?}");
    assert!(count("ListObjectsV2") == 1 && count("GetObject") == MANY && all <= 4 * MANY + 4 * asked + 1, "{counts:?}");
    let (_, summary) = told(&store.ok(&["verify", "-k", "file:k2", "-r", "--json", "s3:p"]), &store.url("p/"));
    assert_eq!(summary["done"], json!(MANY));
    // What has the new key already stays as it is.
    let again = store.requests(&rewrap);
    assert!(again.iter().all(|request| request.method == "GET" || request.method == "HEAD"));
}

#[test]
fn lists_name_objects_too() {
    let store = Store::new();
    for key in ["x/y/a", "b", "x/sub/1", "x/sub/2"] {
        store.plain.put(&store.bucket, key, key.as_bytes());
    }
    write_all(&store, "dir", [("local".to_owned(), b"local".to_vec())]);
    let list = [store.url("x/y/a"), "dir/local".to_owned(), store.url("b")].join("\n");
    store.place.write("list", &list);
    let seal = ["encrypt", "-k", "file:k", "--files-from", "list"];
    store.ok(&args(&seal, &["-o", "out"]));
    store.ok(&args(&seal, &["-o", "s3:out/"]));
    store.ok(&seal);
    for name in ["x/y/a", "dir/local", "b"] {
        assert!(store.place.exists(&format!("out/{name}.wax")), "{name}");
        assert!(store.get(&format!("out/{name}.wax")).is_some(), "{name}");
    }
    assert!(store.get("x/y/a.wax").is_some() && store.get("b.wax").is_some() && store.place.exists("dir/local.wax"));
    // With -r, a name can be a prefix, and its place is kept.
    store.place.write("list", [store.url("x/sub"), store.url("b")].join("\n"));
    store.ok(&args(&seal, &["-r", "-o", "out2"]));
    for name in ["x/sub/1", "x/sub/2", "b"] {
        assert!(store.place.exists(&format!("out2/{name}.wax")), "{name}");
    }
    // One name twice: the second has the same output, and a rewrap is done once.
    store.place.write("list", [store.url("b.wax"), store.url("b.wax")].join("\n"));
    let open = ["decrypt", "-k", "file:k", "-f", "--files-from", "list", "-o", "out3"];
    store.fails(&open, 8, &["the same output"]);
    let add = ["--add", "file:k2", "-k", "file:k", "--allow-unwrap"];
    store.place.ok(&["key", "new", "k2"]);
    let ran = store.ok(&args(&["rewrap", "--files-from", "list", "--json"], &add));
    let (_, summary) = told(&ran, &store.url("b.wax"));
    assert_eq!((&summary["done"], &summary["skipped_because"]), (&json!(1), &json!({ "same-file": 1 })));
    assert!(!Path::new(&store.place.path("out3/x")).exists());
}

#[test]
fn an_object_that_is_removed_meanwhile_is_skipped() {
    let store = Store::new();
    for key in ["p/a", "p/b"] {
        store.plain.put(&store.bucket, key, b"content");
    }
    let (plain, bucket) = (store.plain.clone(), store.bucket.clone());
    store.proxy.run_before(is("GetObject"), move || plain.delete(&bucket, "p/b"));
    let ran = store.ok(&args(&SEAL, &["-j1", "--json", "s3:p"]));
    let (lines, summary) = told(&ran, &store.url("p/"));
    assert_eq!((&summary["done"], &lines["b"]["skipped_because"]), (&json!(1), &json!("gone")), "{summary}");
}
