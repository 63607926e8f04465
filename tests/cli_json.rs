//! JSON lines and what `inspect` shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cli_support::schema::{CHECKED, LIST, check as schema_check};
use cli_support::{Place, noise};
use serde_json::Value;

const FIELDS: [&str; 26] = [
    "aws_request_id",
    "bytes",
    "command",
    "data_key_id",
    "duration_ms",
    "encryption_context",
    "exit",
    "failed_at",
    "file",
    "file_bytes",
    "hint",
    "key",
    "key_arn",
    "key_material_id",
    "kind",
    "labels",
    "message",
    "ok",
    "output",
    "output_bytes",
    "plaintext_bytes",
    "schema",
    "sealed_bytes",
    "sealed_for",
    "started",
    "warnings",
];

/// Set where this program runs itself.
const CHILD: &str = "WAXSEAL_TEST_CHILD";

/// Each line is an object with all fields, and `exit`, `ok` and `kind` agree.
fn lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for field in FIELDS {
            assert!(value.get(field).is_some(), "{field} is missing in {line}");
        }
        assert_eq!(value["schema"], 1);
        assert_eq!(value["ok"] == true, value["exit"] == 0);
        assert_eq!(value["ok"] == true, value["kind"] == "done");
        assert_eq!(value["ok"] == true, value["message"].is_null());
        value
    };
    text.lines().map(parse).collect()
}

/// The list counts what matches the schema. A process of its own has a list of its own.
#[test]
fn what_is_checked_is_counted_over_all_processes() {
    let place = Place::new();
    if std::env::var_os(CHILD).is_some() {
        place.ok(&["key", "show", "file:k", "--json"]);
        assert!(schema_check(&serde_json::json!({ "schema": 1, "command": "encrypt" })).is_err());
        return;
    }
    let list = place.path("list");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "what_is_checked_is_counted_over_all_processes"]).env(CHILD, "1").env(LIST, &list);
    for round in 1..=2 {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(std::fs::read_to_string(&list).unwrap(), "key show\n".repeat(round));
    }
}

#[test]
fn one_line_for_each_input() {
    let place = Place::new();
    place.write("a", noise(100));
    place.write("b", noise(200));
    let ran = place.ok(&["encrypt", "--json", "-k", "file:k", "a", "b"]);
    assert_eq!(ran.stderr, "");
    // Each line is printed when its input is finished, so the order can differ.
    let in_order = |text: &str| {
        let mut told = lines(text);
        told.sort_by_key(|line| line["file"].as_str().unwrap().to_owned());
        told
    };
    let told = in_order(&ran.text());
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["file"], &told[0]["output"], &told[0]["bytes"]), (&"a".into(), &"a.wax".into(), &100.into()));
    assert!(told[1]["key"].as_str().unwrap().starts_with("key file "));
    assert_eq!(told[0]["aws_request_id"], Value::Null);

    let mut altered = place.read("a.wax");
    *altered.last_mut().unwrap() ^= 1;
    place.write("a.wax", altered);
    let ran = place.run(&["verify", "--json", "-k", "file:k", "a.wax", "b.wax", "missing", "a"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(4), ""));
    let told = in_order(&ran.text());
    let seen: Vec<(&str, u64, &str)> = told
        .iter()
        .map(|line| (line["file"].as_str().unwrap(), line["exit"].as_u64().unwrap(), line["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("a", 3, "header"), ("a.wax", 4, "tampered"), ("b.wax", 0, "done"), ("missing", 10, "no-input")]);
    assert_eq!(told[1]["failed_at"], 0);
    assert!(told[1]["hint"].is_string() && told[2]["hint"].is_null() && told[2]["failed_at"].is_null());
}

#[test]
fn where_stdout_carries_data_lines_go_to_stderr() {
    let place = Place::new();
    let sealed = place.pipe(&["encrypt", "--json", "-k", "file:k"], b"content");
    assert_eq!(lines(&sealed.stderr)[0]["bytes"], 7);
    assert_eq!(&sealed.stdout[1..4], b"WAX");
    let opened = place.pipe(&["decrypt", "--json", "-k", "file:k", "-o", "-"], &sealed.stdout);
    assert_eq!(lines(&opened.stderr)[0]["file"], "-");
    assert_eq!(opened.stdout, b"content");
    place.write("in.wax", &sealed.stdout);
    let cat = place.ok(&["cat", "--json", "-k", "file:k", "--range", "1..3", "in.wax"]);
    assert_eq!((lines(&cat.stderr)[0]["bytes"].as_u64(), cat.stdout.as_slice()), (Some(2), &b"on"[..]));
    let failed = place.pipe(&["decrypt", "--json", "-k", "file:k"], b"foreign");
    assert_eq!((failed.code, lines(&failed.stderr)[0]["exit"].as_u64()), (Some(3), Some(3)));
}

#[test]
fn failures_before_any_input_are_lines_too() {
    let place = Place::new();
    place.write("a", "a");
    place.write("out", "there");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["encrypt", "--json", "--nonsense"], 2, "usage"),
        (&["encrypt", "--json", "a"], 2, "usage"),
        (&["encrypt", "-k", "file:k", "--json", "-o", "out", "a"], 8, "unmet"),
        (&["encrypt", "-k", "file:k", "--json", "-o", "new", "--from-command", "--", "false"], 9, "command-failed"),
        (&["--json", "key", "new", "k"], 8, "unmet"),
        (&["decrypt", "-k", "file:missing", "--json", "a.wax"], 7, "io"),
    ];
    for (args, code, kind) in cases {
        let ran = place.run(args);
        let told = lines(&(ran.text() + &ran.stderr));
        assert_eq!((ran.code, told.len()), (Some(code), 1), "{args:?}");
        assert_eq!((told[0]["exit"].as_i64(), told[0]["kind"].as_str()), (Some(code.into()), Some(kind)));
    }
    let told = lines(&place.ok(&["key", "new", "--json", "k2"]).text());
    assert_eq!(told[0]["output"], "k2");
}

#[test]
fn warnings_are_in_the_line() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", b"content");
    sealed[300] ^= 1;
    place.write("in.wax", sealed);
    let ran = place.ok(&["verify", "--json", "-k", "file:k", "in.wax"]);
    let told = lines(&ran.text());
    assert!(told[0]["warnings"][0].as_str().unwrap().contains("bank 0 is damaged"));
    assert_eq!(ran.stderr, "");
}

/// Commands that work on files, each with a success and a failure. [`Place`] checks every line against the schema.
#[test]
fn every_line_is_as_the_schema_says() {
    use std::sync::atomic::Ordering;
    let place = Place::new();
    place.write("in", "content");
    let cases: [(&[&str], i32); 16] = [
        (&["encrypt", "-k", "file:k", "-l", "host=a", "-c", "env=b", "in"], 0),
        (&["encrypt", "-k", "file:k", "in"], 8),
        (&["decrypt", "-k", "file:k", "-o", "x", "in.wax"], 0),
        (&["verify", "-k", "file:k", "in.wax"], 0),
        (&["verify", "-k", "file:k", "--quick", "in"], 3),
        (&["inspect", "in.wax"], 0),
        (&["inspect", "in"], 3),
        (&["cat", "-k", "file:k", "--range", "1..3", "in.wax"], 0),
        (&["salvage", "-k", "file:k", "-o", "saved", "in.wax"], 0),
        (&["salvage", "-k", "file:k", "-o", "saved", "in.wax"], 8),
        (&["key", "new", "k2"], 0),
        (&["key", "show", "file:k2"], 0),
        (&["reseal", "--from", "file:k", "-k", "file:k2", "-o", "new", "in.wax"], 0),
        (&["rewrap", "--allow-unwrap", "-k", "file:k", "--to", "file:k2", "in.wax"], 0),
        (&["rewrap", "--to", "file:k2", "in.wax"], 2),
        (&["verify", "--nonsense"], 2),
    ];
    for (args, code) in cases {
        let before = CHECKED.load(Ordering::Relaxed);
        let ran = place.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.text(), ran.stderr);
        assert!(CHECKED.load(Ordering::Relaxed) > before, "{args:?}");
        let told = lines(if ran.stderr.is_empty() { ran.text() } else { ran.stderr }.as_str()).remove(0);
        let words = if args.len() > 2 && args[0] == "key" { args[..2].join(" ") } else { args[0].to_owned() };
        assert_eq!(told["command"], if args[1] == "--nonsense" { Value::Null } else { words.into() });
        if code == 0 && ["encrypt", "decrypt", "verify", "cat", "salvage", "rewrap"].contains(&args[0]) {
            assert_eq!(told["labels"], serde_json::json!({ "host": "a" }), "{told}");
            assert_eq!(told["encryption_context"], serde_json::json!({ "env": "b" }));
            assert_eq!((told["plaintext_bytes"].as_u64(), told["sealed_bytes"].as_u64()), (Some(7), Some(8271)));
            assert_eq!(told["sealed_for"][0]["kind"], "keyfile");
        }
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let place = Place::new();
    place.write("in", "content");
    let good = lines(&place.ok(&["encrypt", "--json", "-k", "file:k", "in"]).text()).remove(0);
    assert_eq!(schema_check(&good), Ok(()));
    for (field, wrong) in [
        ("surplus", Value::Null),
        ("exit", 3.into()),
        ("kind", "io".into()),
        ("message", "failed".into()),
        ("started", "yesterday".into()),
        ("duration_ms", (-1).into()),
        ("labels", "host=a".into()),
        ("key_arn", "alias/x".into()),
    ] {
        let mut line = good.clone();
        line[field] = wrong;
        assert!(schema_check(&line).is_err(), "{field}");
    }
    let mut line = good;
    line.as_object_mut().unwrap().remove("started");
    assert!(schema_check(&line).is_err());
}

/// `file` is the name as people can read it. If this differs from the name, `file_bytes` has the name's bytes.
#[test]
fn a_name_that_is_no_text_can_be_had() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).unwrap());
    for (name, text) in [
        (&b"a\xff\xfeb"[..], Some(r"a\xff\xfeb")),
        (b"a\n", Some(r"a\u{a}")),
        ("a\u{3164}b\u{2800}".as_bytes(), Some(r"a\u{3164}b\u{2800}")),
        ("漢 plain".as_bytes(), None),
        (br"a\xff", None),
    ] {
        let path = OsStr::from_bytes(name);
        std::fs::write(place.path(path), "content").unwrap();
        let sealed = [name, b".wax"].concat();
        let args = ["encrypt", "--json", "-k", "file:k", "--"].map(OsStr::new);
        let told = lines(&place.ok(&[&args[..], &[path]].concat()).text()).remove(0);
        assert_eq!(bytes(&told["file_bytes"]), text.map(|_| name.to_vec()), "{told}");
        assert_eq!(bytes(&told["output_bytes"]), text.map(|_| sealed.clone()), "{told}");
        assert_eq!(told["file"], text.unwrap_or(path.to_str().unwrap_or_default()));
        let sealed = OsStr::from_bytes(&sealed);
        for args in
            [&["verify", "-k", "file:k"][..], &["inspect"], &["rewrap", "--repair"], &["verify", "-k", "file:no"]]
        {
            let args: Vec<&OsStr> = args.iter().chain(&["--json", "--"]).map(OsStr::new).chain([sealed]).collect();
            let told = place.run(&args).text();
            let told = serde_json::from_str::<Value>(told.lines().next().unwrap()).unwrap();
            if told["file"].is_null() {
                continue;
            }
            assert_eq!(bytes(&told["file_bytes"]), text.map(|_| sealed.as_bytes().to_vec()), "{args:?}: {told}");
        }
        std::fs::remove_file(place.path(path)).unwrap();
    }
}

/// With an invisible character, two names would look the same. The program shows such a character as an escape.
#[test]
fn names_that_look_alike_do_not() {
    let place = Place::new();
    for c in ['\u{3164}', '\u{115f}', '\u{1160}', '\u{ffa0}', '\u{2800}', '\u{34f}', '\u{2066}', '\u{e0041}'] {
        let ran = place.fails(&["verify", "-k", "file:k", &format!("in{c}.wax")], 10, &[]);
        let shown = format!("in\\u{{{:x}}}.wax: ", u32::from(c));
        assert!(ran.stderr.contains(&shown) && !ran.stderr.contains(c), "{:?}", ran.stderr);
    }
}

#[test]
fn inspect_shows_the_header() {
    let place = Place::new();
    place.write("in", noise(5_000_000));
    place.write("pass", "word");
    place.ok(&["encrypt", "-k", "file:k", "-k", "passphrase:file=pass", "-c", "env=prod", "-l", "host=a", "in"]);
    let told = &lines(&place.ok(&["inspect", "--json", "in.wax"]).text())[0];
    let header = &told["header"];
    assert_eq!(header["suite"], "aes-256-gcm");
    assert_eq!(header["encryption_context"], serde_json::json!({"env": "prod"}));
    assert_eq!(header["labels"], serde_json::json!({"host": "a"}));
    assert_eq!(header["header_len"], 131_072);
    assert_eq!(header["plaintext_len"], 5_000_000);
    assert_eq!(told["bytes"], 5_000_000);
    assert_eq!(header["data_key_shared"], false);
    assert_eq!(header["authenticated"], false);
    let file = place.read("in.wax");
    let id: String = file[80..96].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header["data_key_id"], id);
    assert_eq!(header["slots"][0]["kind"], "keyfile");
    assert_eq!(header["slots"][1]["kind"], "passphrase");
    assert_eq!(header["slots"][1]["argon2id"], serde_json::json!({ "memory_kib": 65_536, "passes": 3, "lanes": 4 }));
    assert_eq!(header["slots"][0]["argon2id"], Value::Null);
    let wrapped = STANDARD.decode(header["slots"][0]["wrapped_key"].as_str().unwrap()).unwrap();
    assert!(wrapped.len() == 104 && file.windows(104).any(|window| window == wrapped));
    let text = place.ok(&["inspect", "in.wax"]).text();
    for words in [
        "env = prod",
        "host = a",
        &id,
        "keyfile",
        "passphrase",
        "cost of a guess (Argon2id): 65536 KiB of memory, 3 passes, 4 lanes",
        "131072",
        "5000000",
        "authenticated",
        &STANDARD.encode(&wrapped),
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn inspect_takes_streams_and_bare_headers() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", &noise(5_000_000));
    let whole = lines(&place.pipe(&["inspect", "--json", "-"], &sealed).text()).remove(0);
    assert_eq!(whole["header"]["plaintext_len"], Value::Null);
    for len in [131_072, 131_072 + 56] {
        let bare = lines(&place.pipe(&["inspect", "--json", "-"], &sealed[..len]).text()).remove(0);
        assert_eq!(bare["header"]["slots"], whole["header"]["slots"]);
        place.write("bare", &sealed[..len]);
        place.ok(&["inspect", "bare"]);
    }
    place.pipe(&["inspect", "-"], &sealed[..131_071]).failed(3, &["inside its header"]);
}

#[test]
fn inspect_tells_a_foreign_payload() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", b"content");
    sealed[8192] ^= 1;
    place.write("in.wax", sealed);
    let ran = place.ok(&["inspect", "in.wax"]);
    assert!(ran.stderr.contains("warning") && ran.text().contains("not the same as in the header"));
    place.fails(&["verify", "-k", "file:k", "in.wax"], 4, &["salt and commitment"]);
}

/// An attacker has chosen every part of the header that is shown.
#[test]
fn hostile_headers_are_escaped() {
    let place = Place::new();
    let hostile = "x\u{202e}gpj.\u{2066}\u{feff}\u{200b}";
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-c", &format!("{hostile}={hostile}"), "-l", &format!("l={hostile}"), "in"]);
    for args in [
        &["inspect", "in.wax"][..],
        &["inspect", "--json", "in.wax"],
        &["verify", "-k", "file:k", "-c", &format!("{hostile}=no"), "in.wax"],
    ] {
        let ran = place.run(args);
        let said = ran.text() + &ran.stderr;
        assert!(said.contains("202e"), "{said}");
        for c in ['\u{202e}', '\u{2066}', '\u{feff}', '\u{200b}', '\u{1b}'] {
            assert!(!said.contains(c), "{c:?} in {said:?}");
        }
    }
    let told = lines(&place.ok(&["inspect", "--json", "in.wax"]).text());
    assert_eq!(told[0]["header"]["labels"]["l"], hostile, "JSON keeps the value");
    let name = "a\u{1b}]0;title\u{7}.wax";
    let ran = place.run(&["verify", "-k", "file:k", name]);
    assert!(!ran.stderr.contains('\u{1b}') && ran.stderr.contains("a\\u{1b}]0;title\\u{7}.wax"), "{:?}", ran.stderr);
    let ran = place.run(&["verify", "--no\u{1b}[31m"]);
    assert!(ran.code == Some(2) && !ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

/// A line of `--json` or `--report` that is lost is a failure. Who closes stderr does not want it.
#[test]
fn a_result_that_cannot_be_printed_is_exit_7() {
    let place = Place::new();
    place.write("in", "content");
    let run = |args: &str, to: &str| {
        let script = format!("exec {} {args} -k file:k {to}", cli_support::WAXSEAL);
        let ran: cli_support::Ran =
            std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap().into();
        ran
    };
    for (args, full, code) in [
        ("encrypt --json -o - in", "2>/dev/full", 7),
        ("encrypt -f --report -o in.wax in", "2>/dev/full", 7),
        ("encrypt -f --report -o in.wax in", "2>&-", 0),
        ("encrypt --json -o - in", "2>&-", 0),
        ("encrypt -f -o in.wax in", "2>/dev/full", 0),
    ] {
        assert_eq!(run(args, full).code, Some(code), "{args} {full}");
    }
    // The output has its name before its result is printed.
    std::fs::remove_file(place.path("in.wax")).unwrap();
    let ran = run("encrypt --json in", ">/dev/full");
    ran.failed(7, &["writing to stdout", "the output in.wax is complete"]);
    place.ok(&["verify", "-k", "file:k", "in.wax"]);
    let ran = run("encrypt --json --skip-existing in", ">/dev/full");
    ran.failed(7, &["writing to stdout"]);
    assert!(!ran.stderr.contains("is complete"), "{}", ran.stderr);
}
