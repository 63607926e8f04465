//! `s3://BUCKET/KEY` wherever a command takes an input or an output: the real binary, a real object store, and a proxy
//! that counts requests and fails.
//!
//! The long run, of 500 signals at any moment:
//!
//! ```sh
//! cargo test --locked --test cli_s3 -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "figures of the long run")]

mod cli_support;
#[cfg(target_os = "linux")]
#[path = "faults/injector.rs"]
mod injector;
#[path = "cli_support/store.rs"]
mod store;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Ran, noise};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;
use store::Store;
use support::{S3_LISTER, S3Fault, S3Request};

const TERM: i32 = 15;
const MIB: usize = 1 << 20;
/// The smallest parts that S3 allows.
const PARTS: &str = "--part-size=5MiB";

fn seal<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["encrypt", "-k", "file:k"], rest].concat()
}

fn open<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["decrypt", "-k", "file:k"], rest].concat()
}

fn is(operation: &'static str) -> impl Fn(&S3Request) -> bool + Send + Sync + 'static {
    move |request| request.operation() == operation
}

#[test]
fn files_go_to_objects_and_come_back() {
    let store = Store::new();
    for (name, len) in [("empty", 0), ("small", 70_000), ("large", 17 * MIB + 5)] {
        let content = noise(len);
        store.place.write(name, &content);
        let object = format!("s3:dir/{name}.wax");
        store.ok(&seal(&[PARTS, "-o", &object, name]));
        assert!(store.ok(&open(&["-o", "-", &object])).stdout == content, "{name}: to stdout");
        store.ok(&open(&["-o", "back", &object]));
        assert!(store.place.read("back") == content, "{name}: to a file");
        // Beside its input: an object without the suffix.
        store.ok(&open(&[&object]));
        assert!(store.get(&format!("dir/{name}")).unwrap() == content, "{name}: to an object");
        // And the same the other way.
        store.ok(&seal(&["-f", &format!("s3:dir/{name}")]));
        assert!(store.ok(&open(&["-o", "-", &object])).stdout == content, "{name}: sealed from an object");
        fs::remove_file(store.place.path("back")).unwrap();
    }
    assert_eq!(store.uploads(), Vec::<String>::new());
}

#[test]
fn streams_and_commands_go_to_objects() {
    let store = Store::new();
    let content = noise(12 * MIB);
    store.place.write("in", &content);
    let args = seal(&[PARTS, "-o", "s3:piped"]);
    let ran = cli_support::feed(&mut store.command(&args), &content);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    store.ok(&seal(&[PARTS, "-o", "s3:command", "--from-command", "--", "cat", "in"]));
    for key in ["s3:piped", "s3:command"] {
        assert!(store.ok(&open(&["-o", "-", key])).stdout == content, "{key}");
    }
    let to_command = store.ok(&open(&["--to-command", "s3:piped", "--", "cat"]));
    assert!(to_command.stdout == content);
}

/// Stops the program at each of its questions for signals, sends a signal, and continues the program. The last question
/// is asked when everything else was sent, right before the request that makes the object.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_at_the_last_question_makes_no_object() {
    use injector::{Fault, How, Mode};
    let store = Store::new();
    store.place.write("small", noise(70_000));
    store.place.write("large", noise(17 * MIB + 5));
    for (args, parts) in [(seal(&["-o", "s3:out", "small"]), 0), (seal(&[PARTS, "-o", "s3:out", "large"]), 4)] {
        let (log, _) = traced(&store, Mode::Count, &args);
        let questions: usize = log.lines().find_map(|line| line.strip_prefix("count gate ")).unwrap().parse().unwrap();
        store.get("out").unwrap();
        store.plain.delete(&store.bucket, "out");
        for (number, signal) in (0..questions).flat_map(|number| [(number, 2), (number, TERM)]) {
            store.proxy.take();
            let fault = Fault { kind: "gate", number, how: How::Before(signal) };
            let (log, stderr) = traced(&store, Mode::Strike(fault), &args);
            let what = format!("question {number} of {questions}, signal {signal}: {log}{stderr}");
            assert!(log.contains("hit "), "{what}");
            assert!(log.lines().any(|line| line == format!("end signal {signal}")), "{what}");
            store.is_empty(&what);
            if number + 1 == questions {
                let sent = store.proxy.operations().iter().filter(|operation| **operation == "UploadPart").count();
                assert_eq!(sent, parts, "the question comes after the last part: {what}");
            }
        }
    }
}

/// Runs the program under the fault injector. Returns the injector's log, and what the program printed to stderr.
#[cfg(target_os = "linux")]
fn traced(store: &Store, mode: injector::Mode, args: &[&str]) -> (String, String) {
    let program = store.command(args);
    let log = tempfile::NamedTempFile::new().unwrap();
    let folder = store.place.path("").canonicalize().unwrap();
    let mut command = Command::new(injector::injector());
    command.arg(log.path()).arg(&folder).args(mode.arguments()).arg("--");
    command.arg(program.get_program()).args(program.get_args()).current_dir(folder);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ran: Ran = command.stdin(Stdio::null()).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "the injector: {}", ran.stderr);
    (fs::read_to_string(log.path()).unwrap(), ran.stderr)
}

#[test]
fn several_objects_in_one_call() {
    let store = Store::new();
    for name in ["a", "b", "c"] {
        store.place.write(name, name.repeat(1000));
        store.ok(&seal(&["-o", &format!("s3:dir.wax/{name}.wax"), name]));
    }
    store.ok(&open(&["s3:dir.wax/a.wax", "s3:dir.wax/b.wax", "s3:dir.wax/c.wax"]));
    for name in ["a", "b", "c"] {
        assert_eq!(store.get(&format!("dir.wax/{name}")).unwrap(), name.repeat(1000).as_bytes());
    }
    // They are there now.
    store.fails(&open(&["s3:dir.wax/a.wax", "s3:dir.wax/b.wax"]), 8, &["exists", "-f"]);
    store.ok(&open(&["--skip-existing", "s3:dir.wax/a.wax", "s3:dir.wax/b.wax"]));
    let ran = store.ok(&["verify", "-k", "file:k", "s3:dir.wax/a.wax", "s3:dir.wax/b.wax"]);
    assert_eq!(ran.text().lines().count(), 2, "{}", ran.text());
    store.fails(&open(&["s3:dir.wax/a"]), 2, &["does not end in .wax"]);
    store.fails(&open(&["-f", "s3:dir.wax/a.wax", "-o", "s3:dir.wax/a.wax"]), 2, &["is the input"]);
}

#[test]
fn an_object_is_resealed_and_salvaged() {
    let store = Store::new();
    let content = noise(MIB);
    store.place.write("in", &content);
    store.place.ok(&["key", "new", "k2"]);
    store.ok(&seal(&["-o", "s3:old", "in"]));
    store.ok(&["reseal", "--from", "file:k", "-k", "file:k2", "-o", "s3:new", "s3:old"]);
    assert!(store.ok(&["decrypt", "-k", "file:k2", "-o", "-", "s3:new"]).stdout == content);
    let mut damaged = store.get("old").unwrap();
    damaged[300_000] ^= 1;
    store.plain.put(&store.bucket, "damaged", &damaged);
    store.fails(&["salvage", "-k", "file:k", "-o", "rescued", "s3:damaged"], 4, &["missing"]);
    let rescued = store.place.read("rescued");
    let differ = rescued.iter().zip(&content).filter(|(one, other)| one != other).count();
    assert!(rescued.len() == content.len() && (1..=65_536).contains(&differ), "{differ}");
    store.fails(&["salvage", "-k", "file:k", "-o", "s3:rescued", "s3:damaged"], 2, &["only to a file"]);
}

#[test]
fn each_command_makes_few_requests() {
    let store = Store::new();
    store.place.write("small", noise(70_000));
    store.place.write("large", noise(64 * MIB));
    assert_eq!(store.operations(&seal(&["-f", "-o", "s3:small.wax", "small"])), ["PutObject"]);
    let uploads = store.operations(&seal(&["-f", "--part-size=16MiB", "-o", "s3:large.wax", "large"]));
    assert_eq!(uploads.len(), 7, "{uploads:?}");
    assert_eq!(uploads.first(), Some(&"CreateMultipartUpload"));
    assert_eq!(uploads.last(), Some(&"CompleteMultipartUpload"));
    let fetched = |args: &[&str]| {
        let requests = store.requests(args);
        assert!(requests.iter().all(|request| request.operation() == "GetObject"), "{requests:?}");
        (requests.len(), requests.iter().map(|request| request.received).sum::<u64>())
    };
    let (requests, bytes) = fetched(&["inspect", "s3:large.wax"]);
    assert!(requests == 1 && bytes <= 131_144, "inspect: {requests}, {bytes}");
    let (requests, bytes) = fetched(&["verify", "--quick", "-k", "file:k", "s3:large.wax"]);
    assert!(requests <= 3 && bytes <= 300_000, "verify --quick: {requests}, {bytes}");
    let range = "--range=40000000..40004096";
    let (requests, bytes) = fetched(&["cat", "-k", "file:k", range, "s3:large.wax"]);
    assert!(requests <= 4 && bytes < 200 << 10, "cat: {requests}, {bytes}");
    // A long range is fetched in long pieces, and not much in vain.
    let (requests, bytes) = fetched(&["cat", "-k", "file:k", "--range=10000000..50000000", "s3:large.wax"]);
    assert!(requests <= 16 && bytes < 80_000_000, "cat: {requests}, {bytes}");
    let content = store.place.read("large");
    assert!(store.ok(&["cat", "-k", "file:k", range, "s3:large.wax"]).stdout == content[40_000_000..40_004_096]);
    let sealed = store.get("large.wax").unwrap().len() as u64;
    let (requests, bytes) = fetched(&open(&["-f", "-o", "/dev/null", "s3:large.wax"]));
    // Nothing is fetched twice.
    assert!(requests <= 12 && bytes <= sealed + 131_144, "decrypt: {requests}, {bytes} of {sealed}");
}

#[test]
fn a_new_object_has_what_the_options_say() {
    let store = Store::new();
    store.place.write("large", noise(6 * MIB));
    store.place.write("small", "small");
    let options = ["--storage-class=STANDARD_IA", "--sse=AES256", "--tag=owner=a b", "--tag=env=prod"];
    for (input, operation) in [("large", "CreateMultipartUpload"), ("small", "PutObject")] {
        let args = seal(&[&options[..], &[PARTS, "-f", "-o", "s3:out", input]].concat());
        let requests = store.requests(&args);
        let request = requests.iter().find(|request| request.operation() == operation).unwrap();
        let header = |name: &str| request.head.header(name).map(str::to_owned);
        assert_eq!(header("x-amz-storage-class").as_deref(), Some("STANDARD_IA"));
        assert_eq!(header("x-amz-server-side-encryption").as_deref(), Some("AES256"));
        assert_eq!(header("content-type").as_deref(), Some("application/octet-stream"));
        let tags = header("x-amz-tagging").unwrap();
        assert!(tags.contains("owner=a%20b") || tags.contains("owner=a+b"), "{tags}");
        assert!(tags.contains("env=prod"), "{tags}");
    }
}

/// Nothing can be done then. The object is not there, and the parts are.
#[test]
fn a_program_that_is_killed_leaves_no_object() {
    let store = Store::new();
    let mut child = sealing(&store, "s3:out");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&noise(12 * MIB)).unwrap();
    store.wait_for("UploadPart", 1);
    child.kill().unwrap();
    ended(child);
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[test]
fn an_object_is_replaced_only_when_asked() {
    let store = Store::new();
    store.place.write("in", noise(12 * MIB));
    store.place.write("small", "small");
    store.plain.put(&store.bucket, "there", b"old");
    for input in ["in", "small"] {
        let ran = store.fails(&seal(&[PARTS, "-o", "s3:there", input]), 8, &["exists", "-f"]);
        assert!(ran.stderr.contains("s3://"), "{}", ran.stderr);
        assert_eq!(store.get("there").unwrap(), b"old");
    }
    store.ok(&seal(&["-f", PARTS, "-o", "s3:there", "in"]));
    assert!(store.ok(&open(&["-o", "-", "s3:there"])).stdout == store.place.read("in"));
    // Somebody else is faster, at the last moment.
    for (input, request) in [("in", "CompleteMultipartUpload"), ("small", "PutObject")] {
        let (plain, bucket) = (store.plain.clone(), store.bucket.clone());
        store.proxy.run_before(is(request), move || drop(plain.put(&bucket, "raced", b"theirs")));
        store.fails(&seal(&[PARTS, "-o", "s3:raced", input]), 8, &["exists"]);
        assert_eq!(store.get("raced").unwrap(), b"theirs");
        store.plain.delete(&store.bucket, "raced");
    }
    assert_eq!(store.uploads(), Vec::<String>::new());
}

#[test]
fn what_comes_from_a_command_that_fails_is_no_object() {
    let store = Store::new();
    for script in ["exit 3", "head -c 30000000 /dev/zero; exit 1", "head -c 9000000 /dev/zero; kill -9 $$"] {
        let args = seal(&[PARTS, "-o", "s3:db.wax", "--from-command", "--", "sh", "-c", script]);
        store.fails(&args, 9, &["the command sh failed", "nothing was written"]);
        store.is_empty(script);
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_no_mixture() {
    let store = Store::new();
    store.place.write("in", noise(40 * MIB));
    store.ok(&seal(&["-o", "s3:a", "in"]));
    let other = store.get("a").unwrap();
    let (plain, bucket) = (store.plain.clone(), store.bucket.clone());
    let later = |request: &S3Request| request.operation() == "GetObject" && request.if_match().is_some();
    store.proxy.run_before(later, move || drop(plain.put(&bucket, "a", &[&other[..], b"more"].concat())));
    store.fails(&open(&["-o", "out", "s3:a"]), 7, &["changed"]);
    assert!(!store.place.exists("out"));
}

#[test]
fn refusals_have_their_codes() {
    let store = Store::new();
    store.place.write("in", "content");
    for args in
        [&open(&["-o", "out", "s3:nothing"])[..], &["inspect", "s3:nothing"], &["verify", "-k", "file:k", "s3:nothing"]]
    {
        let ran = store.run(args);
        assert_eq!(ran.code, Some(10), "{args:?}: {}", ran.stderr);
    }
    store.fails(&["inspect", "s3://no-such-bucket-here/key"], 7, &["there is no such bucket", "hint: check the name"]);
    let denied = |(key, secret): (&str, &str), args: &[&str]| -> Ran {
        let mut command = store.command(args);
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret).output().unwrap().into()
    };
    // Who may not read is not told whether there is an object, so this is not "no input".
    denied(S3_LISTER, &["inspect", "s3:nothing"]).failed(7, &["denied", "hint: allow the caller"]);
    denied(S3_LISTER, &seal(&["-o", "s3:nothing", "in"])).failed(7, &["denied", "hint: "]);
    denied(("AKIDUNKNOWN", "secret"), &["inspect", "s3:nothing"]).failed(7, &["hint: "]);
    for bad in ["s3://", "s3://bucket", "s3://bucket/", "s3:///key"] {
        let ran = store.run(&["inspect", bad]);
        assert_eq!(ran.code, Some(2), "{bad}: {}", ran.stderr);
    }
    store.fails(&["key", "new", "s3://bucket/key"], 2, &["a key is written to a file"]);
    store.fails(&seal(&["-o", "s3:x", "--part-size", "1MiB", "in"]), 2, &["5 MiB"]);
    store.fails(&seal(&["--input", "map", "-o", "-", "s3:nothing"]), 10, &[]);
    store.is_empty("refusals");
    store.proxy.gone(true);
    store.fails(&["inspect", "s3:nothing"], 6, &["hint: check the network, --s3-region"]);
    store.proxy.heal();
    // A local file may have such a name.
    fs::create_dir_all(store.place.path("s3:/bucket")).unwrap();
    store.ok(&seal(&["-o", "./s3://bucket/key", "in"]));
    assert!(store.place.exists("s3:/bucket/key"));
}

/// The upload costs money until somebody removes it, so its id and the command are named.
#[test]
fn an_upload_that_cannot_be_aborted_is_named() {
    let store = Store::new();
    store.proxy.fail_when(is("AbortMultipartUpload"), 1000, S3Fault::Answer(403, "AccessDenied"));
    let script = "head -c 30000000 /dev/zero; exit 1";
    let args = seal(&[PARTS, "-o", "s3:it's here", "--from-command", "--", "sh", "-c", script]);
    let ran = store.run(&args);
    assert_eq!(ran.code, Some(9), "{}", ran.stderr);
    let uploads = store.uploads();
    assert_eq!(uploads.len(), 1);
    let line = ran
        .stderr
        .lines()
        .find(|line| line.contains("aws s3api abort-multipart-upload"))
        .unwrap_or_else(|| panic!("{}", ran.stderr));
    assert!(line.contains(&uploads[0]), "{line}");
    // The line can be pasted: the shell reads the same words.
    let command = &line[line.find("aws s3api").unwrap()..];
    let words =
        Command::new("sh").args(["-c", &format!("aws() {{ printf '%s\\n' \"$@\"; }}; {command}")]).output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.lines().any(|word| word == "it's here"), "{words}");
}

/// The answer to the last request is lost, and nobody can say whether the object is there. Nothing was refused.
#[test]
fn an_upload_with_an_unknown_end_is_described_as_it_is() {
    let store = Store::new();
    store.place.write("large", noise(12 * MIB));
    store.proxy.fail_when(is("CompleteMultipartUpload"), 1000, S3Fault::CutAnswer(None));
    store.proxy.fail_when(|request| request.operation() == "HeadObject" && request.number > 3, 1000, S3Fault::Cut);
    let args = seal(&[PARTS, "-f", "-o", "s3:out", "large"]);
    let ran: Ran = store.command(&args).env("AWS_MAX_ATTEMPTS", "1").output().unwrap().into();
    assert_eq!(ran.code, Some(6), "{}", ran.stderr);
    let line = ran.stderr.lines().find(|line| line.contains("may be left")).unwrap_or_default();
    assert!(line.contains("the answer to the last request was lost"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("S3 refused") && !ran.stderr.contains("aborting it failed"), "{}", ran.stderr);
}

/// The connection is not encrypted, and does not stay on this machine, as far as its address says. It is said once.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_in_the_clear_is_warned_of_once() {
    let store = Store::new();
    for name in ["a", "b"] {
        store.place.write(name, name);
    }
    let words = "the connection to S3 is not encrypted";
    let run = |more: &[&str], address: &str| -> Ran {
        let args = [&["encrypt", "-f", "-k", "file:k", "-o", "s3:out/", "--files-from", "list"], more].concat();
        store.place.write("list", "a\nb\n");
        let url = store.proxy.url.replace("127.0.0.1", address);
        let ran: Ran = store.command(&args).env("AWS_ENDPOINT_URL_S3", url).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    };
    // This address leads to this machine, but not each machine knows it.
    let ran = run(&[], "0.0.0.0");
    assert_eq!(ran.stderr.matches(words).count(), 1, "{}", ran.stderr);
    assert!(!run(&["-q"], "0.0.0.0").stderr.contains(words));
    assert!(!run(&[], "127.0.0.1").stderr.contains(words));
    let ran = run(&["--json"], "0.0.0.0");
    assert_eq!((ran.text().matches(words).count(), ran.stderr.as_str()), (1, ""), "{}", ran.text());
}

/// A program that seals what this test writes to it.
fn sealing(store: &Store, key: &str) -> Child {
    let mut command = store.command(&seal(&[PARTS, "-q", "-o", key]));
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// Sends SIGTERM, and some time later perhaps a second signal. The program ends by the last one.
fn ended_by_signals(child: Child, second: bool) -> Ran {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    if second {
        std::thread::sleep(Duration::from_millis(1500));
        kill_process(pid, Signal::INT).unwrap();
    }
    let ran = ended(child);
    let last = if second { Signal::INT } else { Signal::TERM };
    assert_eq!(ran.signal, Some(last.as_raw()), "{}", ran.stderr);
    ran
}

#[test]
fn a_signal_aborts_the_upload_and_ends_the_program() {
    let store = Store::new();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut child = sealing(&store, "s3:out");
        let mut input = child.stdin.take().unwrap();
        input.write_all(&noise(24 * MIB)).unwrap();
        store.wait_for("UploadPart", 2);
        assert_eq!(store.uploads().len(), 1);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ran = ended(child);
        assert_eq!(ran.signal, Some(signal.as_raw()), "{}", ran.stderr);
        assert_eq!(ran.stderr, "");
        drop(input);
        store.is_empty("after a signal");
        store.proxy.take();
    }
}

/// The input ends, and a signal has come before: the upload is not completed.
#[test]
fn nothing_is_completed_after_a_signal() {
    let store = Store::new();
    for run in 0..12 {
        let mut child = sealing(&store, "s3:out");
        let mut input = child.stdin.take().unwrap();
        input.write_all(&noise(12 * MIB)).unwrap();
        store.wait_for("UploadPart", 1);
        kill_process_group(Pid::from_child(&child), Signal::TERM).unwrap();
        drop(input);
        let ran = ended(child);
        assert_eq!(ran.signal, Some(TERM), "{run}: {}", ran.stderr);
        store.is_empty("after a signal");
        assert!(!store.proxy.take().iter().any(|request| request.operation() == "CompleteMultipartUpload"), "{run}");
    }
}

/// The whole input was read, and its last part is on its way.
#[test]
fn a_signal_before_the_last_part_has_arrived_is_obeyed() {
    let store = Store::new();
    for _ in 0..3 {
        store.place.write("in", noise(12 * MIB));
        let last = |request: &S3Request| request.operation() == "UploadPart" && request.query.contains("partNumber=3");
        store.proxy.fail_when(last, 1, S3Fault::Delay(Duration::from_millis(700)));
        let mut command = store.command(&seal(&[PARTS, "-q", "-o", "s3:out", "in"]));
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        store.wait_for("UploadPart", 3);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let ran = ended(child);
        assert_eq!((ran.signal, ran.stderr.as_str()), (Some(TERM), ""));
        store.is_empty("after a signal");
        assert!(!store.proxy.take().iter().any(|request| request.operation() == "CompleteMultipartUpload"));
    }
}

/// A signal that comes while S3 completes the upload finds it completed, or not begun.
#[test]
fn a_signal_during_the_completion_leaves_no_upload() {
    let store = Store::new();
    for (len, request) in [(12 * MIB, "CompleteMultipartUpload"), (70_000, "PutObject")] {
        store.place.write("in", noise(len));
        let child = store.command(&seal(&["-f", PARTS, "-o", "s3:out", "in"])).spawn().unwrap();
        let pid = Pid::from_child(&child);
        store.proxy.run_before(is(request), move || {
            kill_process(pid, Signal::TERM).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        });
        let ran = ended(child);
        assert_eq!(ran.signal, Some(TERM), "{request}: {}", ran.stderr);
        assert_eq!(store.uploads(), Vec::<String>::new());
        assert!(store.ok(&open(&["-o", "-", "s3:out"])).stdout == store.place.read("in"));
        store.plain.delete(&store.bucket, "out");
    }
}

/// The answer to the last request does not come: neither ten attempts nor ten minutes are waited for.
#[test]
fn a_signal_during_a_silent_completion_says_what_is_not_known() {
    let store = Store::new();
    let requests = [(12 * MIB, "CompleteMultipartUpload"), (70_000, "PutObject")];
    for ((len, request), second) in requests.into_iter().flat_map(|of| [(of, false), (of, true)]) {
        store.place.write("in", noise(len));
        store.proxy.fail_when(is(request), 1000, S3Fault::Silence);
        let mut command = store.command(&seal(&[PARTS, "-q", "-o", "s3:out", "in"]));
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        store.wait_for(request, 1);
        let (told, uploads) = (Instant::now(), store.uploads());
        let ran = ended_by_signals(child, second);
        assert!(told.elapsed() < Duration::from_secs(25), "{request}");
        assert!(
            ran.stderr.contains("it is not known whether") && ran.stderr.contains(&store.url("out")),
            "{}",
            ran.stderr
        );
        assert_eq!(uploads.len(), usize::from(request != "PutObject"));
        for upload in uploads {
            assert!(ran.stderr.contains("abort-multipart-upload") && ran.stderr.contains(&upload), "{}", ran.stderr);
            store.plain.send("DELETE", &format!("/{}/out?uploadId={upload}", store.bucket), &[], b"").unwrap();
        }
        assert_eq!(store.proxy.take().into_iter().filter(is(request)).count(), 1);
        store.proxy.heal();
    }
}

#[test]
fn one_attempt_is_one_request() {
    let store = Store::new();
    store.place.write("large", noise(12 * MIB));
    store.place.write("small", "small");
    store.place.ok(&["key", "new", "k2"]);
    store.ok(&seal(&["-o", "s3:old", "large"]));
    let (large, small) = (seal(&[PARTS, "-o", "s3:out", "large"]), seal(&["-o", "s3:out", "small"]));
    let rewrap = vec!["rewrap", "-k", "file:k", "--allow-unwrap", "--from", "slot:0", "--to", "file:k2", "s3:old"];
    for (args, request, fault) in [
        (&small, "PutObject", S3Fault::slow_down()),
        (&large, "CreateMultipartUpload", S3Fault::CutAnswer(None)),
        (&rewrap, "CreateMultipartUpload", S3Fault::CutAnswer(None)),
    ] {
        store.proxy.take();
        store.proxy.fail_when(is(request), 1000, fault);
        let ran: Ran = store.command(args).env("AWS_MAX_ATTEMPTS", "1").output().unwrap().into();
        assert!(ran.code.is_some_and(|code| code > 0), "{args:?}: {}", ran.stderr);
        assert_eq!(store.proxy.take().into_iter().filter(is(request)).count(), 1, "{args:?}: {}", ran.stderr);
        // An upload whose id nobody knows is told of, although there is no object.
        let is_told = ran.stderr.contains("an unfinished upload without any part may be left");
        assert_eq!(is_told, request != "PutObject", "{}", ran.stderr);
        // Nothing proves which of the uploads it is, so none is aborted.
        let (bucket, key) = (&store.bucket, if args == &rewrap { "old" } else { "out" });
        let list = format!("aws s3api list-multipart-uploads --bucket {bucket} --prefix {key}");
        assert_eq!(ran.stderr.lines().any(|line| line.contains(&list)), is_told, "{}", ran.stderr);
        store.proxy.heal();
    }
}

/// The upload begins, and its id does not come: the program says that an upload may be left, and how to look for it.
#[test]
fn a_signal_while_an_upload_begins_says_what_may_be_left() {
    let store = Store::new();
    for second in [false, true] {
        store.proxy.fail_when(is("CreateMultipartUpload"), 1000, S3Fault::Silence);
        let mut child = sealing(&store, "s3:out");
        let mut input = child.stdin.take().unwrap();
        // The program reads no further than its memory reaches.
        let writing = std::thread::spawn(move || input.write_all(&noise(12 * MIB)));
        store.wait_for("CreateMultipartUpload", 1);
        let told = Instant::now();
        let ran = ended_by_signals(child, second);
        let _ = writing.join().unwrap();
        assert!(told.elapsed() < Duration::from_secs(20));
        let list = format!("aws s3api list-multipart-uploads --bucket {} --prefix out", store.bucket);
        for words in ["an unfinished upload without any part may be left", &list] {
            assert_eq!(ran.stderr.matches(words).count(), 1, "{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("may be complete"), "{}", ran.stderr);
        store.proxy.heal();
        store.is_empty("nothing was created");
        store.proxy.take();
    }
}

/// The store does not answer any more. The program still ends soon, and says what is left.
#[test]
fn a_signal_ends_the_program_where_the_store_is_gone() {
    let store = Store::new();
    for second in [false, true] {
        let mut child = sealing(&store, "s3:out");
        let mut input = child.stdin.take().unwrap();
        input.write_all(&noise(12 * MIB)).unwrap();
        store.wait_for("UploadPart", 1);
        let uploads = store.uploads();
        store.proxy.fail_when(is("AbortMultipartUpload"), 1000, S3Fault::Silence);
        let told = Instant::now();
        let ran = ended_by_signals(child, second);
        assert!(told.elapsed() < Duration::from_secs(20));
        assert!(ran.stderr.contains(&uploads[0]) && ran.stderr.contains("abort-multipart-upload"), "{}", ran.stderr);
        store.proxy.heal();
        for upload in uploads {
            let target = format!("/{}/out?uploadId={upload}", store.bucket);
            store.plain.send("DELETE", &target, &[], b"").unwrap();
        }
        store.proxy.take();
    }
}

#[test]
fn a_rewrap_is_done_by_the_store() {
    let store = Store::new();
    let content = noise(40 * MIB);
    store.place.write("in", &content);
    store.place.ok(&["key", "new", "k2"]);
    store.ok(&seal(&["-o", "s3:large", "in"]));
    store.place.write("in", "small");
    store.ok(&seal(&["-o", "s3:small", "in"]));
    let args = ["rewrap", "-k", "file:k", "--allow-unwrap", "--from", "slot:0", "--to", "file:k2"];
    let requests = store.requests(&[&args[..], &["s3:large", "s3:small", "s3:small"]].concat());
    let (sent, received): (Vec<u64>, Vec<u64>) =
        requests.iter().map(|request| (request.sent, request.received)).unzip();
    let (sent, received) = (sent.iter().sum::<u64>(), received.iter().sum::<u64>());
    assert!(sent < 6 * MIB as u64 && received < 6 * MIB as u64, "{sent} {received}");
    assert!(store.ok(&["decrypt", "-k", "file:k2", "-o", "-", "s3:large"]).stdout == content);
    assert_eq!(store.ok(&["decrypt", "-k", "file:k2", "-o", "-", "s3:small"]).stdout, b"small");
    store.fails(&open(&["-o", "-", "s3:large"]), 5, &[]);
    assert_eq!(store.uploads(), Vec::<String>::new());
    store.fails(&["rewrap", "--repair", "s3:large"], 2, &["cannot be repaired"]);
}

#[test]
fn json_lines_tell_of_the_object() {
    let store = Store::new();
    store.place.write("in", noise(12 * MIB));
    let line = &store.json(&seal(&["--json", PARTS, "-o", "s3:out", "in"]))[0];
    assert_eq!(line["output"], json!(store.url("out")));
    let object = &line["output_object"];
    assert!(object["etag"].is_string() && object["parts"].as_u64().unwrap() >= 3, "{line}");
    let line = &store.json(&["verify", "--json", "--quick", "-k", "file:k", "s3:out"])[0];
    assert_eq!(line["input_object"]["etag"], object["etag"], "{line}");
    let line = &store.json(&["inspect", "--json", "s3:out"])[0];
    assert_eq!(line["input_object"]["etag"], object["etag"], "{line}");
}

/// 500 runs that are told to die at any moment: of a command that goes on, of one that fails, and of one that succeeds.
#[test]
#[ignore = "it takes minutes"]
fn no_moment_leaves_anything() {
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(500_u64);
    let store = Store::new();
    store.place.write("in", noise(11 * MIB));
    let args = |script: &'static str| seal(&["-q", PARTS, "-o", "s3:out", "--from-command", "--", "sh", "-c", script]);
    let began = Instant::now();
    store.ok(&args("cat in"));
    // Some of the moments are after the end.
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap() * 5 / 4;
    store.plain.delete(&store.bucket, "out");
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for run in 0..runs {
        let scripts = ["cat in; while :; do sleep 0.002; done", "cat in; exit 1", "cat in"];
        let script = scripts[usize::try_from(run % 3).unwrap()];
        let child = store.command(&args(script)).process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(run * 7919 % whole));
        kill_process_group(Pid::from_child(&child), if run % 2 == 0 { Signal::INT } else { Signal::TERM }).unwrap();
        let ran = ended(child);
        let what = format!("{script}: {:?} {:?}", ran.code, ran.signal);
        let (keys, uploads) = (store.keys(), store.uploads());
        assert!(uploads.is_empty(), "run {run}: {what}: {uploads:?}: {}", ran.stderr);
        let is_there = !keys.is_empty();
        // A success that a signal follows is a success. Nothing else makes an object.
        assert!(!is_there || script == "cat in", "run {run}: {what}");
        assert!(is_there || ran.code != Some(0), "run {run}: {what}");
        if is_there {
            store.ok(&["verify", "-q", "-k", "file:k", "s3:out"]);
            store.plain.delete(&store.bucket, "out");
        }
        *ends.entry(format!("{what}, an object: {is_there}")).or_default() += 1;
    }
    eprintln!("{ends:#?}");
}
