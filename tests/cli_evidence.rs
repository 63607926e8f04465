//! What a run leaves for a later check: the lines of `--report`, and the messages about unmet demands.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
#[cfg(feature = "aws-kms")]
#[path = "cli_support/cloud.rs"]
mod cloud;
#[cfg(feature = "aws-kms")]
mod support;

use cli_support::Place;

/// The lines of `--report`.
fn report(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.strip_prefix("waxseal: report: ")).collect()
}

#[test]
fn a_report_has_one_line_for_each_input_and_a_summary() {
    let place = Place::new();
    place.write("a", "one");
    place.write("b", "three");
    let args = ["encrypt", "-k", "file:k", "a", "b", "missing"];
    let silent = place.ok(&args[..5]);
    assert_eq!(report(&silent.stderr), [""; 0]);
    std::fs::remove_file(place.path("a.wax")).unwrap();
    let ran = place.run(&[&args[..], &["--report", "--skip-existing"]].concat());
    assert_eq!((ran.code, ran.text().as_str()), (Some(10), ""));
    let lines = report(&ran.stderr);
    assert_eq!(lines.len(), 4, "{}", ran.stderr);
    let line = |words: &str| lines.iter().find(|line| line.contains(words)).copied().unwrap_or_default();
    let sealed = line("Z encrypted a -> a.wax; key key file ");
    let lengths = format!("; 3 bytes, sealed {}; ", place.read("a.wax").len());
    assert!(sealed.contains("; data key ") && sealed.contains(&lengths) && sealed.ends_with(" s"), "{sealed}");
    assert!(!line("Z skipped b -> b.wax; ").is_empty(), "{}", ran.stderr);
    assert!(line("Z failed missing; ").contains("; no-input, exit 10; "), "{}", ran.stderr);
    let summary = lines[3];
    for words in ["Z 3 files: ", "1 encrypted", "1 skipped", "1 failed", "; 3 bytes of plaintext; "] {
        assert!(summary.contains(words), "{words:?} is not in {summary}");
    }
    assert!(ran.stderr.contains("waxseal: error: missing: "));
}

#[test]
fn every_command_on_files_reports() {
    let place = Place::new();
    place.write("in", "content");
    place.ok(&["key", "new", "k2"]);
    let cases: [(&[&str], &str); 9] = [
        (&["encrypt", "-k", "file:k", "in"], "encrypted in -> in.wax; "),
        (&["encrypt", "-d", "-k", "file:k", "-o", "x", "in.wax"], "decrypted in.wax -> x; "),
        (&["verify", "-k", "file:k", "in.wax"], "verified in.wax; "),
        (&["verify", "--quick", "-k", "file:k", "in.wax"], "checked quickly in.wax; "),
        (&["inspect", "in.wax"], "inspected in.wax; 7 bytes"),
        (&["cat", "-k", "file:k", "--range", "1..3", "in.wax"], "read in.wax; "),
        (&["salvage", "-k", "file:k", "-o", "saved", "in.wax"], "salvaged in.wax -> saved; "),
        (&["reseal", "--from", "file:k", "-k", "file:k2", "-o", "new", "in.wax"], "resealed in.wax -> new; key "),
        (&["rewrap", "--allow-unwrap", "-k", "file:k", "--to", "file:k2", "in.wax"], "rewrapped in.wax; key keyfile "),
    ];
    for (args, words) in cases {
        let ran = place.ok(&[args, &["--report", "-q"]].concat());
        let lines = report(&ran.stderr);
        assert_eq!((lines.len(), ran.stderr.lines().count()), (1, 1), "{args:?}: {}", ran.stderr);
        assert!(lines[0].contains(&format!("Z {words}")), "{args:?}: {}", ran.stderr);
        if ["reseal", "rewrap"].contains(&args[0]) {
            assert!(lines[0].contains(" -> keyfile ") || lines[0].contains(" -> key file "), "{}", ran.stderr);
        }
    }
    let ran = place.run(&["verify", "--report", "--json", "in.wax"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--report") && ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
}

#[test]
fn an_unmet_demand_says_what_the_file_has() {
    let place = Place::new();
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-l", "host=db2\u{202e}", "-c", "env=prod", "in"]);
    let ran = place.fails(
        &["verify", "-k", "file:k", "-l", "host=db1", "-l", "hots=x", "-c", "env=test", "in.wax"],
        8,
        &[r#"required encryption context "env=test", label "host=db1", label "hots=x"; it has "env=prod", "host=db2\"#],
    );
    assert!(ran.stderr.contains(r#"no label "hots" but "host=db2"#) && !ran.stderr.contains('\u{202e}'));
}

/// The example log in docs/evidence.md is what the program prints. Times, ids and lengths may differ.
#[cfg(feature = "aws-kms")]
#[test]
fn the_night_of_the_documentation() {
    let cloud = cloud::Cloud::small();
    let (server, place) = (cloud.server(), &cloud.place);
    let [old, new] = ["alias/backups", "alias/backups-new"].map(|alias| {
        let key = server.aws().create_key();
        server.aws().alias(alias, &key);
        key
    });
    place.write("db.sql", "a dump");
    place.write("home.tar", "an archive");
    let mut log = cloud.ok(&["encrypt", "-q", "--report", "-k", "alias/backups", "-l", "job=db", "db.sql"]).stderr;
    // KMS throttles twice, and the call is repeated.
    server.fail("GenerateDataKey", "ThrottlingException", 2);
    log += &cloud.ok(&["encrypt", "-q", "--report", "-k", "alias/backups", "-l", "job=home", "home.tar"]).stderr;
    server.fail("GenerateDataKey", "DisabledException", 1);
    log += &cloud.run(&["encrypt", "-f", "-q", "--report", "-k", "alias/backups", "-l", "job=db", "db.sql"]).stderr;
    log += &cloud.ok(&["rewrap", "-q", "--report", "--to", "alias/backups-new", "db.sql.wax", "home.tar.wax"]).stderr;
    if std::env::var_os("WAXSEAL_SHOW_NIGHT").is_some() {
        std::fs::write(std::env::var_os("WAXSEAL_SHOW_NIGHT").unwrap(), &log).unwrap();
    }
    assert!(log.contains(&format!("{old} -> {new}")), "{log}");
    let document = include_str!("../docs/evidence.md");
    let block = document.split("$ cat night.log\n").nth(1).unwrap().split("```").next().unwrap();
    let sorted = |text: &str| {
        let mut shapes: Vec<String> = text.lines().map(shape).collect();
        shapes.sort();
        shapes
    };
    assert_eq!(sorted(&log), sorted(block));
    // KMS received this number of calls. The request ids of the report can be compared with KMS's own log.
    let calls = server.calls();
    let seen = |operation: &str| calls.iter().filter(|call| call["Operation"] == operation).count();
    assert_eq!((seen("GenerateDataKey"), seen("ReEncrypt")), (5, 2));
}

/// Replaces each word that has a digit, because these words differ from run to run.
#[cfg(feature = "aws-kms")]
fn shape(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
