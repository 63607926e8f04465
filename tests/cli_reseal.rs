//! `reseal` writes the same content with a new data key. If the old file is truncated or altered, there is no new file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use cli_support::{Place, feed, noise};
use serde_json::{Value, json};

const RESEAL: [&str; 7] = ["reseal", "--from", "file:k", "-k", "file:new", "-o", "out.wax"];

/// A folder with the old key `k` and the new key `new`.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["key", "new", "new"]);
    place
}

fn with(args: &[&str], more: &[&str]) -> Vec<String> {
    args.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
}

fn inspected(place: &Place, name: &str) -> Value {
    let told: Value = serde_json::from_str(&place.ok(&["inspect", "--json", name]).text()).unwrap();
    told["header"].clone()
}

#[test]
fn the_content_stays_and_the_data_key_does_not() {
    let place = place();
    for len in [0, 1, 16_383, 16_384, 16_385, (1 << 20) - 1, 1 << 20, (4 << 20) - 1, 4 << 20, 9_000_001] {
        let content = noise(len);
        let _ = fs::remove_file(place.path("old.wax"));
        place.sealed("old.wax", &content);
        let told = place.ok(&with(&RESEAL, &["--json", "-f", "old.wax"]));
        let told: Value = serde_json::from_str(&told.text()).unwrap();
        assert_eq!((&told["bytes"], &told["output"]), (&json!(len), &json!("out.wax")));
        for (field, file) in [("old_key", "file:k"), ("new_key", "file:new")] {
            let shown = place.ok(&["key", "show", "--json", file]).text();
            let id = told[field].as_str().unwrap().strip_prefix("key file ").unwrap();
            assert!(id.len() == 32 && shown.contains(id), "{told}");
        }
        let opened = place.ok(&["decrypt", "-k", "file:new", "-o", "-", "out.wax"]);
        assert!(opened.stdout == content, "{len}");
        place.fails(&["decrypt", "-k", "file:k", "-o", "-", "out.wax"], 5, &["no key"]);
        let (old, new) = (inspected(&place, "old.wax"), inspected(&place, "out.wax"));
        assert_ne!(old["data_key_id"], Value::Null);
        assert_ne!(old["data_key_id"], new["data_key_id"]);
        assert_eq!(place.read("old.wax").len(), place.read("out.wax").len(), "the same header");
    }
}

#[test]
fn pairs_labels_and_suite_are_kept_unless_they_are_changed() {
    let place = place();
    place.write("in", b"content");
    let args = ["encrypt", "-k", "file:k", "-c", "env=prod", "-l", "host=db1", "-l", "owner=a"];
    place.ok(&with(&args, &["--suite", "chacha20-poly1305", "in"]));
    let carried = |name: &str| {
        let seen = inspected(&place, name);
        (seen["suite"].clone(), seen["encryption_context"].clone(), seen["labels"].clone())
    };
    let before = carried("in.wax");
    assert!(before.1["env"] == "prod" && before.2["host"] == "db1", "{before:?}");
    place.ok(&with(&RESEAL, &["in.wax"]));
    assert_eq!(carried("out.wax"), before);
    let changes = ["--set-label", "owner=b", "--set-context", "year=2027", "--unset", "host", "--unset", "env"];
    place.ok(&with(&with(&RESEAL, &changes).iter().map(String::as_str).collect::<Vec<_>>(), &["-f", "in.wax"]));
    assert_eq!(carried("out.wax"), (before.0, json!({"year": "2027"}), json!({"owner": "b"})));
    place.ok(&with(&RESEAL, &["-f", "--suite", "aes-256-gcm", "in.wax"]));
    assert_ne!(carried("out.wax").0, json!("chacha20-poly1305"));
    assert_eq!(place.ok(&["decrypt", "-k", "file:new", "-o", "-", "out.wax"]).text(), "content");
}

#[test]
fn what_is_not_there_is_refused_and_nothing_is_created() {
    let place = place();
    place.write("in", b"content");
    place.ok(&["encrypt", "-k", "file:k", "-c", "env=prod", "in"]);
    place.fails(&with(&RESEAL, &["-c", "env=test", "in.wax"]), 8, &["env"]);
    place.fails(&with(&RESEAL, &["-l", "env=prod", "in.wax"]), 8, &["label \"env\""]);
    place.fails(&with(&RESEAL, &["--unset", "host", "in.wax"]), 8, &["pair or label \"host\""]);
    place.fails(&with(&RESEAL, &["--unset", "env", "--set-context", "env=a", "in.wax"]), 2, &["both set and unset"]);
    place.fails(&with(&RESEAL, &["--set-label", "env", "in.wax"]), 2, &["--set-label takes NAME=VALUE"]);
    place.fails(&with(&RESEAL, &["in"]), 3, &["in: "]);
    place.fails(&["reseal", "--from", "file:k", "-k", "file:new", "in.wax"], 2, &["--output"]);
    place.fails(&["reseal", "--from", "file:k", "-o", "out.wax", "in.wax"], 2, &["no key to encrypt with"]);
    place.fails(&["reseal", "--from", "file:k", "-k", "file:new", "-fo", "in.wax", "in.wax"], 2, &["is the input"]);
    place.fails(&["reseal", "--from", "file:k", "-k", "file:new", "-fo", "k", "in.wax"], 2, &["is the key file"]);
    place.fails(&["reseal", "--from", "file:k", "-k", "file:new", "-fo", "new", "in.wax"], 2, &["is the key file"]);
    let ran =
        place.fails(&["reseal", "--from", "file:new", "-k", "file:new", "-o", "out.wax", "in.wax"], 5, &["no key"]);
    assert!(ran.stderr.contains("--from") && !ran.stderr.contains("-k"), "{}", ran.stderr);
    place.write("out.wax", b"mine");
    place.fails(&with(&RESEAL, &["in.wax"]), 8, &["exists"]);
    assert_eq!(place.read("out.wax"), b"mine");
    assert_eq!(place.names(), ["in", "in.wax", "k", "new", "out.wax"]);
}

/// A file that is truncated or altered anywhere gives no new file. In a stream, it gives an output that no reader
/// accepts.
/// `-k` names the new key, and `--from` the old one.
#[test]
fn hints_name_the_option_for_the_old_key() {
    let place = place();
    place.ok(&["key", "new", "--pair", "pair"]);
    place.sealed("old.wax", b"content");
    place.write("in", b"content");
    place.ok(&["encrypt", "-k", "file:pair.pub", "-o", "pair.wax", "in"]);
    for (args, hint) in [
        (
            ["reseal", "--from", "file:pair.pub", "-k", "file:new", "-o", "out.wax", "pair.wax"],
            "identity file with --from",
        ),
        (["reseal", "--from", "file:new", "-k", "file:new", "-o", "out.wax", "old.wax"], "one of these with --from"),
    ] {
        let ran = place.run(&args);
        let line = ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        assert!(line.contains(hint) && !line.contains("-k"), "{}", ran.stderr);
        assert!(!place.exists("out.wax"));
    }
    // With other commands, it is -k.
    place.fails(&["decrypt", "-k", "file:pair.pub", "-o", "x", "pair.wax"], 2, &["identity file with -k"]);
}

#[test]
fn an_old_file_that_is_not_whole_gives_no_new_one() {
    let place = place();
    let whole = place.sealed("old.wax", &noise(5_000_000));
    let header = 131_144;
    let places = [0, 10, header - 1, header, header + 16_400, 2_000_000, whole.len() - 16_401, whole.len() - 1];
    for at in places {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        for (kind, bytes) in [("cut", &whole[..at]), ("altered", &altered[..])] {
            place.write("bad.wax", bytes);
            let ran = place.run(&with(&RESEAL, &["bad.wax"]));
            if kind == "altered" && ran.code == Some(0) {
                assert!(at < header, "{at}: only the header has a second copy");
                fs::remove_file(place.path("out.wax")).unwrap();
                continue;
            }
            assert!([3, 4].map(Some).contains(&ran.code), "{kind} at {at}: {:?} {}", ran.code, ran.stderr);
            assert!(!place.exists("out.wax"), "{kind} at {at}");
            for input in ["bad.wax", "-"] {
                let args = ["reseal", "--from", "file:k", "-k", "file:new", "-o", "-", input];
                let ran = feed(&mut place.command(&args), bytes);
                assert!([3, 4].map(Some).contains(&ran.code), "{kind} at {at}: {:?} {}", ran.code, ran.stderr);
                let got = place.pipe(&["verify", "-k", "file:new", "-"], &ran.stdout);
                assert!([3, 4].map(Some).contains(&got.code), "{kind} at {at}: a reader accepts it");
            }
        }
    }
}

#[test]
fn pipes_and_outputs_that_fail() {
    let place = place();
    let content = noise(6_000_000);
    let whole = place.sealed("old.wax", &content);
    let args = ["reseal", "--from", "file:k", "-k", "file:new", "-o", "-", "-"];
    let ran = place.pipe(&args, &whole);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let opened = place.pipe(&["decrypt", "-k", "file:new"], &ran.stdout);
    assert!(opened.stdout == content);
    // If the reading half or the writing half fails, the other one does not wait for it.
    for input in ["old.wax", "-"] {
        let args = ["reseal", "--from", "file:k", "-k", "file:new", "-o", "-", input];
        let mut command = place.command(&args);
        command.stdin(File::open(place.path("old.wax")).unwrap()).stderr(Stdio::piped());
        let ended = command.stdout(File::create("/dev/full").unwrap()).output().unwrap();
        assert_eq!(ended.status.code(), Some(7), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(String::from_utf8_lossy(&ended.stderr).contains("writing the output"));
    }
}

#[test]
fn the_new_file_is_not_wider_open_than_the_old_one() {
    let place = place();
    place.sealed("old.wax", b"content");
    fs::set_permissions(place.path("old.wax"), fs::Permissions::from_mode(0o640)).unwrap();
    place.ok(&with(&RESEAL, &["old.wax"]));
    assert_eq!(place.mode("out.wax") & !0o640, 0);
}

/// A key that `-k` does not name cannot open the resealed file. The named keys can open it.
#[test]
fn several_keys_open_and_several_seal() {
    let place = place();
    place.ok(&["key", "new", "c"]);
    place.write("pass", "a long passphrase\n");
    place.write("in", b"content");
    place.ok(&["encrypt", "-k", "file:k", "-k", "passphrase:file=pass", "in"]);
    let args = ["reseal", "--from", "file:c", "--from", "passphrase:file=pass", "-k", "file:new", "-k", "file:c"];
    place.ok(&with(&args, &["-o", "out.wax", "in.wax"]));
    for key in ["file:new", "file:c"] {
        assert_eq!(place.ok(&["decrypt", "-k", key, "-o", "-", "out.wax"]).text(), "content");
    }
    for key in ["file:k", "passphrase:file=pass"] {
        place.fails(&["decrypt", "-k", key, "-o", "-", "out.wax"], 5, &["no key"]);
    }
}
