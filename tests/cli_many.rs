//! Folders (`-r`), lists (`--files-from`) and `-j`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cli_support::{Place, Ran, feed, is_root, noise};
use serde_json::{Value, json};

/// Files in folders, with their contents.
const TREE: [(&str, &str); 6] =
    [("t/a", "1"), ("t/.hidden", "2"), ("t/sub/b", "3"), ("t/sub/deep/er/c", "4"), ("t/sub/empty", ""), ("t/z z", "6")];

fn place_with_tree() -> Place {
    let place = Place::new();
    for (name, content) in TREE {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        place.write(name, content);
    }
    place
}

/// All files below `folder`, with their paths from it.
fn below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap() {
                there if there.is_dir() => folders.push(path),
                there if there.is_file() => {
                    drop(found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
                }
                _ => {}
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    below(folder).keys().map(|path| path.to_str().unwrap().to_owned()).collect()
}

/// The lines of `--json`: those of inputs by their file, and the summary, which is last.
fn told(ran: &Ran) -> (BTreeMap<String, Value>, Value) {
    let mut lines: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap_or_else(|| panic!("no line: {}", ran.stderr));
    assert!(last["file"].is_null() && last["summary"].is_object(), "{last}");
    assert!(lines.iter().all(|line| line.get("summary").is_none() && line["file"].is_string()));
    let count = lines.len();
    let by_file: BTreeMap<String, Value> =
        lines.into_iter().map(|line| (line["file"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(by_file.len(), count, "one line a file");
    (by_file, last["summary"].clone())
}

fn why(lines: &BTreeMap<String, Value>) -> BTreeMap<&str, &str> {
    let why = lines.iter().filter_map(|(name, line)| Some((name.as_str(), line.get("skipped_because")?.as_str()?)));
    why.collect()
}

#[test]
fn a_tree_is_sealed_beside_its_files_and_opened_again() {
    let place = place_with_tree();
    let ran = place.ok(&["encrypt", "-r", "--json", "-k", "file:k", "t"]);
    let (lines, summary) = told(&ran);
    assert_eq!(
        summary,
        json!({
            "inputs": 6, "done": 6, "failed": 0, "skipped": 0, "skipped_because": {}, "bytes": 5
        })
    );
    assert!(TREE.iter().all(|(name, _)| lines[*name]["output"] == format!("{name}.wax") && place.exists(name)));
    // Again: what is sealed is not sealed twice, and the others exist.
    let ran = place.ok(&["encrypt", "-r", "--skip-existing", "--json", "-k", "file:k", "t"]);
    let (lines, summary) = told(&ran);
    assert_eq!(summary["skipped_because"], json!({ "exists": 6, "sealed": 6 }));
    assert_eq!((why(&lines)["t/a"], why(&lines)["t/a.wax"]), ("exists", "sealed"));
    for args in [&["verify"][..], &["verify", "--quick"], &["inspect"]] {
        let mut args = args.to_vec();
        args.extend(["-r", "--json", "t"]);
        if args[0] == "verify" {
            args.extend(["-k", "file:k"]);
        }
        let (_, summary) = told(&place.ok(&args));
        assert_eq!(
            (&summary["done"], &summary["skipped_because"]),
            (&json!(6), &json!({ "not-sealed": 6 })),
            "{args:?}"
        );
    }
    TREE.iter().for_each(|(name, _)| fs::remove_file(place.path(name)).unwrap());
    place.ok(&["decrypt", "-r", "-k", "file:k", "t"]);
    TREE.iter().for_each(|(name, content)| assert_eq!(place.read(name), content.as_bytes(), "{name}"));
}

#[test]
fn a_tree_is_kept_below_the_output() {
    let place = place_with_tree();
    fs::set_permissions(place.path("t/sub"), fs::Permissions::from_mode(0o750)).unwrap();
    place.write("alone", "file");
    place.ok(&["encrypt", "-r", "-k", "file:k", "-o", "out", "t", "alone"]);
    let expected: Vec<_> =
        ["alone.wax", "t/.hidden.wax", "t/a.wax", "t/sub/b.wax", "t/sub/deep/er/c.wax", "t/sub/empty.wax", "t/z z.wax"]
            .map(str::to_owned)
            .to_vec();
    assert_eq!(names(&place.path("out")), expected);
    assert_eq!((place.mode("out/t/sub"), place.mode("out")), (0o750, 0o700));
    assert_eq!(names(&place.path("t")).len(), 6, "nothing was made beside the inputs");
    place.ok(&["decrypt", "-r", "-k", "file:k", "-o", "again", "out/t/"]);
    assert_eq!(below(&place.path("again/t")), below(&place.path("t")));
    assert_eq!((place.mode("again/t/sub"), place.mode("again/t/a")), (0o700, 0o600));
    // A second run finds everything there.
    let ran = place.run(&["decrypt", "-r", "--json", "-k", "file:k", "-o", "again", "out/t"]);
    let (lines, summary) = told(&ran);
    assert_eq!((ran.code, &summary["failed"]), (Some(8), &json!(6)));
    assert!(lines.values().all(|line| line["exit"] == 8));
    // `.` has no name of its own.
    place.ok(&["encrypt", "-r", "-k", "file:k", "-o", "dot", "t/sub/.."]);
    assert!(place.exists("dot/a.wax") && place.exists("dot/sub/b.wax"));
}

/// The outputs of a run are not its inputs, wherever they go.
#[test]
fn the_walk_does_not_follow_its_outputs() {
    for (output, top) in [("t/out", "t/out/t"), (".", "t")] {
        let place = place_with_tree();
        let ran = place.ok(&["encrypt", "-r", "--json", "-k", "file:k", "-o", output, "t"]);
        let (_, summary) = told(&ran);
        assert_eq!(summary["done"], 6, "{output}: {summary}");
        assert!(place.exists(&format!("{top}/sub/deep/er/c.wax")), "{output}");
        assert!(!names(&place.path("t")).iter().any(|name| name.ends_with(".wax.wax")));
        // Again: the folder of the outputs is not entered.
        let ran = place.run(&["encrypt", "-r", "--json", "-k", "file:k", "-o", output, "t"]);
        let (lines, summary) = told(&ran);
        assert_eq!((ran.code, &summary["done"]), (Some(8), &json!(0)));
        assert_eq!(why(&lines).get("t/out").copied(), (output == "t/out").then_some("output-folder"));
    }
    let place = place_with_tree();
    let ran = place.fails(&["encrypt", "-r", "-k", "file:k", "-o", "t/../t", "t"], 2, &["is this folder itself"]);
    assert!(ran.stderr.contains("hint: without -o"));
    assert_eq!(names(&place.path("t")).len(), 6);
}

#[test]
fn what_is_no_file_is_left_out_and_said() {
    let place = place_with_tree();
    place.write("outside", "secret");
    symlink("../outside", place.path("t/link")).unwrap();
    symlink("../t", place.path("t/loop")).unwrap();
    symlink("nowhere", place.path("t/dangling")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(place.path("t/fifo")).status().unwrap().success());
    place.write("t/.waxseal-00112233.tmp", "unfinished");
    let ran = place.ok(&["encrypt", "-r", "-k", "file:k", "t"]);
    for line in ["t/link: skipped: it is a symbolic link", "t/loop: skipped", "t/fifo: skipped: it is neither"] {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
    assert!(!place.exists("t/link.wax") && place.exists("t/a.wax"));
    assert!(place.run(&["encrypt", "-q", "-r", "-f", "-k", "file:k", "t"]).stderr.is_empty());
    let (lines, _) = told(&place.ok(&["encrypt", "-r", "-f", "--json", "-k", "file:k", "t"]));
    let why = why(&lines);
    assert_eq!((why["t/link"], why["t/dangling"], why["t/fifo"]), ("symlink", "symlink", "special"));
    assert_eq!(why["t/.waxseal-00112233.tmp"], "temporary");
    // A link that the user names is followed, as it is by other programs.
    symlink("t", place.path("named")).unwrap();
    let (_, summary) = told(&place.ok(&["verify", "-r", "--json", "-k", "file:k", "named"]));
    assert_eq!(summary["done"], 6);
    let ran = place.ok(&["encrypt", "-r", "-f", "--report", "-k", "file:k", "t"]);
    assert!(ran.stderr.contains(" skipped t/link; ") && ran.stderr.contains("6 encrypted"), "{}", ran.stderr);
}

/// Names that a terminal would obey, that are no text, or that look like options or stdin.
#[test]
fn hostile_names() {
    let place = Place::new();
    fs::create_dir(place.path("t")).unwrap();
    let hostile: [&[u8]; 6] = [b"a\nb", b"\x1b[2J", b"\xff\xfe", b"-", b"--help", b" "];
    for name in hostile {
        fs::write(place.path("t").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let ran = place.ok(&["encrypt", "-r", "--json", "-k", "file:k", "-o", "out", "t"]);
    assert!(!ran.stdout.contains(&0x1b) && ran.text().lines().count() == 7);
    fs::remove_dir_all(place.path("t")).unwrap();
    let ran = place.ok(&["decrypt", "-r", "--report", "-k", "file:k", "-o", ".", "out/t"]);
    assert!(!ran.stderr.contains('\x1b'));
    for name in hostile {
        assert_eq!(fs::read(place.path("t").join(OsStr::from_bytes(name))).unwrap(), name);
    }
    // The same as a list with zeros.
    let list: Vec<u8> = hostile.iter().flat_map(|name| [&b"t/"[..], name, b"\0"].concat()).collect();
    let ran = place.pipe(&["encrypt", "-k", "file:k", "--files-from", "-", "-0", "-o", "listed"], &list);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(below(&place.path("listed/t")).len(), 6);
}

#[test]
fn lists() {
    let place = place_with_tree();
    place.write("list", "t/a\r\n\nt/sub/b\nt/z z");
    let (lines, summary) = told(&place.ok(&["encrypt", "--json", "-k", "file:k", "--files-from", "list"]));
    assert_eq!(lines.keys().collect::<Vec<_>>(), ["t/a", "t/sub/b", "t/z z"]);
    assert_eq!(summary["done"], 3);
    // What a list names is taken as it is: no file is left out for its name or for being sealed.
    let (_, summary) = told(&place.ok(&["encrypt", "--json", "-k", "file:k", "--files-from", "list", "-o", "out"]));
    assert_eq!((&summary["done"], names(&place.path("out")).len()), (&json!(3), 3));
    assert!(place.exists("out/t/sub/b.wax"));
    let absolute = format!("{}\n", place.path("t/a").to_str().unwrap());
    let ran = place.pipe(&["encrypt", "-k", "file:k", "--files-from", "-", "-o", "abs"], absolute.as_bytes());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(names(&place.path("abs"))[0].ends_with("t/a.wax"));
    // No output leaves the folder.
    let ran = place.pipe(
        &["encrypt", "--json", "-k", "file:k", "--files-from", "-", "-o", "out/in"],
        b"t/../t/a\nout/../../etc/passwd\nt/a\nmissing\n-\n/dev/stdin\n",
    );
    let (lines, summary) = told(&ran);
    assert_eq!((ran.code, &summary["done"], &summary["failed"]), (Some(10), &json!(1), &json!(5)), "{}", ran.text());
    assert_eq!((&lines["t/../t/a"]["exit"], &lines["/dev/stdin"]["exit"]), (&json!(2), &json!(2)));
    assert_eq!((&lines["missing"]["exit"], &lines["./-"]["exit"]), (&json!(10), &json!(10)));
    // A folder in a list is one only with -r.
    place.write("folders", "t/sub\n");
    place.fails(&["encrypt", "-k", "file:k", "--files-from", "folders"], 7, &["t/sub"]);
    place.ok(&["encrypt", "-r", "-k", "file:k", "--files-from", "folders", "-o", "deep", "k"]);
    assert_eq!(names(&place.path("deep")), ["k.wax", "t/sub/b.wax", "t/sub/deep/er/c.wax", "t/sub/empty.wax"]);
    place.fails(&["encrypt", "-k", "file:k", "--files-from", "nolist"], 10, &["the list nolist of --files-from"]);
    place.fails(&["encrypt", "-k", "file:k", "-0", "t/a"], 2, &["--files-from"]);
}

/// A FIFO would wait for a program at its other end. As in a tree, nothing special is read.
#[test]
fn a_list_with_something_special_does_not_wait() {
    let place = place_with_tree();
    assert!(std::process::Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    symlink("fifo", place.path("link")).unwrap();
    place.write("list", "t/a\nfifo\nlink\n/dev/null\nt/z z\n");
    for command in ["encrypt", "verify", "inspect", "decrypt", "rewrap"] {
        let keys: &[&str] = match command {
            "inspect" => &[],
            "rewrap" => &["-k", "file:k", "--allow-unwrap", "--to", "file:k"],
            _ => &["-k", "file:k"],
        };
        let ran = place.run(&[&[command, "--json", "--files-from", "list"], keys].concat());
        let (lines, _) = told(&ran);
        for special in ["fifo", "link", "/dev/null"] {
            let line = &lines[special];
            assert_eq!(line["exit"], 2, "{command}: {line}");
            assert!(line["message"].as_str().unwrap().contains("neither a file nor a folder"), "{line}");
        }
    }
    assert!(place.exists("t/a.wax") && place.exists("t/z z.wax"));
    place.fails(&["encrypt", "-r", "-k", "file:k", "-o", "out", "fifo", "t"], 2, &["fifo: it is neither a file nor"]);
    assert_eq!(names(&place.path("out")).len(), 6);
}

/// The message says that the name is too long, and what to do.
#[test]
fn names_that_are_too_long_with_the_suffix() {
    let place = Place::new();
    let (long, short) = ("n".repeat(252), "m".repeat(251));
    fs::create_dir(place.path("d")).unwrap();
    for name in [&long, &short] {
        place.write(&format!("d/{name}"), "x");
    }
    let hint = "hint: use a run of its own for this input, and name the output with -o";
    let ran = place.fails(&["encrypt", "-k", "file:k", &format!("d/{long}")], 7, &["creating the output d/nnn", hint]);
    assert!(ran.stderr.contains("name too long"), "{}", ran.stderr);
    place.fails(&["encrypt", "-r", "-k", "file:k", "d"], 7, &["creating the output d/nnn", "name too long", hint]);
    let ran = place.fails(&["encrypt", "-r", "-k", "file:k", "-o", "o", "d"], 2, &["has 256 bytes", hint]);
    assert!(!ran.stderr.contains("making the folder") && !ran.stderr.contains("object"), "{}", ran.stderr);
    assert!(place.exists(&format!("d/{short}.wax")) && place.exists(&format!("o/d/{short}.wax")));
    place.ok(&["encrypt", "-k", "file:k", "-o", "out", &format!("d/{long}")]);
    let given = format!("d/{long}zzzz");
    place.fails(&["encrypt", "-k", "file:k", "-o", &given, "out"], 7, &["hint: name another output with -o"]);
}

/// Nothing to do is a success, except for a check: who asked for it must not take it for granted.
#[test]
fn nothing_at_all() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("list", "\n\n");
    for args in [&["-r", "empty"][..], &["--files-from", "list"]] {
        let with = |command: &str, more: &[&'static str]| {
            let words: Vec<String> = [&[command], more, args].concat().iter().map(|word| (*word).to_owned()).collect();
            place.run(&words)
        };
        for command in ["encrypt", "decrypt"] {
            let ran = with(command, &["-k", "file:k"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert!(ran.stderr.contains("no input was found") && ran.stdout.is_empty(), "{}", ran.stderr);
            let (lines, summary) = told(&with(command, &["-k", "file:k", "--json"]));
            assert_eq!((lines.len(), &summary["inputs"]), (0, &json!(0)));
        }
        assert_eq!(with("inspect", &[]).code, Some(0));
        let ran = with("verify", &["-k", "file:k"]);
        ran.failed(8, &["no input was found"]);
        let ran = with("verify", &["-k", "file:k", "--json"]);
        assert_eq!(ran.code, Some(8));
    }
    place.fails(&["encrypt", "-r", "-k", "file:k"], 2, &["-r needs a folder"]);
    place.fails(&["verify", "-r", "-k", "file:k"], 2, &["<IN>"]);
    place.fails(&["encrypt", "-r", "-k", "file:k", "-o", "-", "empty"], 2, &["several inputs cannot go to one output"]);
    place.write("file", "x");
    place.fails(&["encrypt", "-r", "-k", "file:k", "-o", "file", "empty"], 2, &["is not a folder"]);
    place.fails(&["encrypt", "-r", "-k", "file:k", "nothere"], 10, &["nothere"]);
}

/// A run that finds everything done says nothing to a script.
#[test]
fn all_that_exists_is_passed_over_in_silence() {
    let place = Place::new();
    fs::create_dir(place.path("in")).unwrap();
    place.write("in/a", "a");
    let again = ["encrypt", "-r", "--skip-existing", "-k", "file:k", "-o", "out", "in"];
    place.ok(&again);
    let ran = place.ok(&again);
    assert_eq!((ran.stderr.as_str(), ran.text().as_str()), ("", ""));
    let (lines, summary) = told(&place.ok(&[&again[..], &["--json"]].concat()));
    assert_eq!((lines.len(), &summary["skipped_because"]), (1, &json!({"exists": 1})));
    // A list with one file gives the same.
    place.write("list", "in/a\n");
    let listed = ["encrypt", "--skip-existing", "-k", "file:k", "-o", "out", "--files-from", "list"];
    assert_eq!(place.ok(&listed).stderr, "");
}

#[test]
fn one_failure_does_not_stop_the_rest() {
    let place = place_with_tree();
    place.ok(&["encrypt", "-r", "-k", "file:k", "-o", "s", "t"]);
    let mut bytes = place.read("s/t/a.wax");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    place.write("s/t/a.wax", &bytes);
    place.write("s/t/sub/junk.wax", "not sealed");
    let ran = place.run(&["decrypt", "-r", "--json", "-k", "file:k", "-o", "d", "s/t"]);
    let (lines, summary) = told(&ran);
    assert_eq!((ran.code, &summary["done"], &summary["failed"]), (Some(4), &json!(5), &json!(2)));
    assert_eq!((&lines["s/t/a.wax"]["exit"], &lines["s/t/sub/junk.wax"]["exit"]), (&json!(4), &json!(3)));
    assert_eq!(names(&place.path("d/t")).len(), 5);
}

#[test]
fn a_folder_that_cannot_be_read_is_a_failure() {
    let place = place_with_tree();
    fs::set_permissions(place.path("t/sub/deep"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(place.path("k"), fs::Permissions::from_mode(0o644)).unwrap();
    for folder in ["t", "t/sub"] {
        fs::set_permissions(place.path(folder), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let ran: Ran = place.unprivileged(&["encrypt", "-q", "-r", "--json", "-k", "file:k", "t"]).output().unwrap().into();
    fs::set_permissions(place.path("t/sub/deep"), fs::Permissions::from_mode(0o700)).unwrap();
    let (lines, summary) = told(&ran);
    assert_eq!((ran.code, &summary["done"], &summary["failed"]), (Some(7), &json!(5), &json!(1)), "{}", ran.text());
    assert_eq!(lines["t/sub/deep"]["exit"], 7);
}

/// `a` and a file that is only called `a.wax`: with `-f` as well, neither is lost.
#[test]
fn a_name_that_only_looks_like_an_output() {
    for jobs in ["1", "16"] {
        let place = Place::new();
        fs::create_dir(place.path("t")).unwrap();
        place.write("t/a", "one");
        place.write("t/a.wax", "two");
        let ran = place.run(&["encrypt", "-r", "-f", "-j", jobs, "--json", "-k", "file:k", "t"]);
        let (lines, _) = told(&ran);
        assert_eq!((ran.code, &lines["t/a"]["exit"]), (Some(8), &json!(8)), "{}", ran.text());
        assert_eq!((place.read("t/a"), place.read("t/a.wax")), (b"one".to_vec(), b"two".to_vec()));
        assert!(place.exists("t/a.wax.wax"));
        // A sealed file is replaced, as -f says.
        fs::remove_file(place.path("t/a.wax")).unwrap();
        place.ok(&["encrypt", "-k", "file:k", "t/a"]);
        let before = place.read("t/a.wax");
        place.ok(&["encrypt", "-r", "-f", "-j", jobs, "-k", "file:k", "t"]);
        assert!(place.read("t/a.wax") != before);
        // Sealed twice: the outer one is opened after the inner one.
        fs::remove_file(place.path("t/a")).unwrap();
        let ran = place.run(&["decrypt", "-r", "-j", jobs, "--json", "-k", "file:k", "t"]);
        let (lines, _) = told(&ran);
        assert_eq!((&lines["t/a.wax"]["exit"], &lines["t/a.wax.wax"]["exit"]), (&json!(0), &json!(8)));
        assert_eq!(place.read("t/a"), b"one");
    }
}

/// With one job, results come in the order of the walk: files before folders, by the bytes of their names.
#[test]
fn one_job_keeps_the_order() {
    let place = place_with_tree();
    for number in 0..100 {
        place.write(&format!("t/sub/{number:03}"), noise(number));
    }
    let order = |args: &[&str]| -> Vec<String> {
        let ran = place.ok(args);
        let lines = ran.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
        lines.iter().filter_map(|line| Some(line["file"].as_str()?.to_owned())).collect()
    };
    let mut expected: Vec<String> = ["t/.hidden", "t/a", "t/z z"].map(str::to_owned).to_vec();
    expected.extend((0..100).map(|number| format!("t/sub/{number:03}")));
    expected.extend(["t/sub/b", "t/sub/empty", "t/sub/deep/er/c"].map(str::to_owned));
    assert_eq!(order(&["encrypt", "-r", "-j", "1", "--json", "-k", "file:k", "-o", "out", "t"]), expected);
    let mut several = order(&["encrypt", "-r", "-f", "-j", "8", "--json", "-k", "file:k", "-o", "out", "t"]);
    several.sort();
    expected.sort();
    assert_eq!(several, expected);
    place.fails(&["encrypt", "-j", "0", "-k", "file:k", "t/a"], 2, &["1 to 64"]);
}

/// A file with two names is changed once.
#[test]
fn rewrap_changes_a_file_with_two_names_once() {
    let place = Place::new();
    for key in ["k2", "k3"] {
        place.ok(&["key", "new", key]);
    }
    fs::create_dir_all(place.path("t/sub")).unwrap();
    for name in ["a", "b"] {
        place.write(&format!("t/{name}"), name);
    }
    place.ok(&["encrypt", "-r", "-k", "file:k", "-k", "file:k2", "-k", "file:k3", "t"]);
    fs::hard_link(place.path("t/a.wax"), place.path("t/sub/again.wax")).unwrap();
    place.write("t/sub/other", "not sealed");
    let ran = place.ok(&["rewrap", "-r", "--json", "--remove", "slot:0", "t"]);
    let (lines, summary) = told(&ran);
    assert_eq!(
        (&summary["done"], &summary["skipped_because"]),
        (&json!(2), &json!({ "same-file": 1, "not-sealed": 3 }))
    );
    assert_eq!(lines["t/sub/again.wax"]["same_file_as"], "t/a.wax");
    let slots = |name: &str| {
        let ran = place.ok(&["inspect", "--json", name]);
        serde_json::from_str::<Value>(&ran.text()).unwrap()["header"]["slots"].as_array().unwrap().len()
    };
    assert_eq!((slots("t/a.wax"), slots("t/b.wax")), (2, 2));
    // A list that names a file twice.
    place.write("list", "t/a.wax\nt/../t/a.wax\nt/b.wax\n");
    let (_, summary) = told(&place.ok(&["rewrap", "--json", "--remove", "slot:0", "--files-from", "list"]));
    assert_eq!((&summary["done"], slots("t/a.wax"), slots("t/b.wax")), (&json!(2), 1, 1));
    place.fails(&["rewrap", "-r", "--to", "file:k", "--allow-unwrap", "-o", "x", "t"], 2, &["several inputs"]);
}

/// Inputs that are one file by hard links are sealed each for itself.
#[test]
fn hard_links_are_files_of_their_own() {
    let place = place_with_tree();
    fs::hard_link(place.path("t/a"), place.path("t/sub/same")).unwrap();
    let (_, summary) = told(&place.ok(&["encrypt", "-r", "--json", "-k", "file:k", "t"]));
    assert_eq!(summary["done"], 7);
    assert!(place.exists("t/a.wax") && place.exists("t/sub/same.wax"));
}

/// A link in the output tree does not lead an output elsewhere.
#[test]
fn an_output_does_not_leave_its_tree() {
    let place = place_with_tree();
    fs::create_dir_all(place.path("out/t")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    symlink("../../elsewhere", place.path("out/t/sub")).unwrap();
    symlink("../../elsewhere/file", place.path("out/t/a.wax")).unwrap();
    for force in [&["encrypt", "-r"][..], &["encrypt", "-r", "-f"]] {
        let args = [force, &["--json", "-k", "file:k", "-o", "out", "t"]].concat();
        let ran = place.run(&args);
        let (lines, _) = told(&ran);
        assert!(lines["t/sub/b"]["message"].as_str().unwrap().contains("symbolic link"), "{}", ran.text());
        assert_eq!(lines["t/sub/b"]["exit"], 8);
        assert_eq!(lines["t/a"]["exit"], 8, "{}", lines["t/a"]);
        assert!(names(&place.path("elsewhere")).is_empty());
    }
    assert_eq!(names(&place.path("out/t")), [".hidden.wax", "z z.wax"]);
}

#[test]
fn two_inputs_of_one_name_do_not_share_an_output() {
    let place = Place::new();
    for folder in ["x/docs", "y/docs"] {
        fs::create_dir_all(place.path(folder)).unwrap();
        place.write(&format!("{folder}/a"), folder);
    }
    let args = ["encrypt", "-r", "-f", "-k", "file:k", "-o", "out", "x/docs", "y/docs/"];
    place.fails(&args, 2, &["two inputs would have the name docs in out"]);
    assert!(!place.exists("out"));
}

/// Inputs from several places can meet in one output. The first one has it, also with `-f`.
#[test]
fn no_output_is_made_twice() {
    let place = place_with_tree();
    let absolute = place.path("t/a").to_str().unwrap().trim_start_matches('/').to_owned();
    fs::create_dir_all(place.path(&absolute).parent().unwrap()).unwrap();
    place.write(&absolute, "another file");
    let list = format!("/{absolute}\n{absolute}\nt/sub/b\n./t//sub/b\n");
    let ran =
        place.pipe(&["encrypt", "-f", "--json", "-k", "file:k", "-o", "out", "--files-from", "-"], list.as_bytes());
    let (lines, summary) = told(&ran);
    assert_eq!((ran.code, &summary["done"], &summary["failed"]), (Some(8), &json!(2), &json!(2)), "{}", ran.text());
    assert!(lines[&absolute]["message"].as_str().unwrap().contains("another input of this run"));
    place.ok(&["decrypt", "-k", "file:k", "-o", "again", &format!("out/{absolute}.wax")]);
    assert_eq!(place.read("again"), b"1");
}

/// An output that this user may not read is there all the same.
#[test]
fn an_output_that_cannot_be_read_exists() {
    let place = place_with_tree();
    place.ok(&["encrypt", "-r", "-k", "file:k", "t"]);
    fs::set_permissions(place.path("k"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path("t/a.wax"), fs::Permissions::from_mode(0o000)).unwrap();
    let args = ["encrypt", "-q", "-r", "--skip-existing", "--json", "-k", "file:k", "t"];
    let ran: Ran = place.unprivileged(&args).output().unwrap().into();
    let (lines, summary) = told(&ran);
    assert_eq!((why(&lines)["t/a"], &summary["skipped_because"]["exists"]), ("exists", &json!(6)), "{}", ran.text());
}

/// Somebody exchanges a folder of the tree for a link to another one, again and again. Nothing of the other one is ever
/// sealed, and nothing is written into it.
#[test]
fn a_race_with_links_leads_nowhere() {
    let place = Place::new();
    fs::create_dir_all(place.path("outside/sub")).unwrap();
    for number in 0..20 {
        place.write(&format!("outside/secret{number}"), "secret");
        fs::create_dir_all(place.path(format!("t/d{number}"))).unwrap();
        for file in 0..5 {
            place.write(&format!("t/d{number}/secret{file}"), "own");
        }
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (place, done) = (&place, &done);
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for number in 0..20 {
                    let (folder, kept) = (place.path(format!("t/d{number}")), place.path(format!("kept{number}")));
                    fs::rename(&folder, &kept).unwrap();
                    symlink("../outside", &folder).unwrap();
                    fs::remove_file(&folder).unwrap();
                    fs::rename(&kept, &folder).unwrap();
                }
            }
        });
        for round in 0..15 {
            let output = format!("out{round}");
            let beside = ["encrypt", "-r", "-f", "--no-sync", "-q", "-k", "file:k", "t"];
            let apart = ["encrypt", "-r", "--no-sync", "-q", "-k", "file:k", "-o", &output, "t"];
            let ran = if round % 2 == 0 { place.run(&beside) } else { place.run(&apart) };
            assert!([Some(0), Some(7)].contains(&ran.code), "{}", ran.stderr);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(names(&place.path("outside")).len(), 20, "{:?}", names(&place.path("outside")));
    for round in (1..15).step_by(2).filter(|round| place.exists(&format!("out{round}"))) {
        let opened = format!("opened{round}");
        place.run(&["decrypt", "-r", "-k", "file:k", "-o", &opened, &format!("out{round}")]);
        assert!(below(&place.path(&opened)).values().all(|content| content == b"own"));
    }
}

/// Files come and go during the walk. What is gone is no failure.
#[test]
fn a_tree_that_changes() {
    let place = place_with_tree();
    for number in 0..300 {
        place.write(&format!("t/sub/{number:03}"), noise(100));
    }
    for round in 0..3 {
        let output = format!("out{round}");
        let mut command =
            place.command(&["encrypt", "-r", "-q", "--json", "-j", "2", "-k", "file:k", "-o", &output, "t"]);
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in (0..300).rev() {
                    drop(fs::rename(place.path(format!("t/sub/{number:03}")), place.path(format!("t/n{number}"))));
                    drop(fs::rename(place.path(format!("t/n{number}")), place.path(format!("t/sub/{number:03}"))));
                }
            });
            let ran: Ran = command.output().unwrap().into();
            ran
        });
        let (lines, summary) = told(&ran);
        assert_eq!(summary["failed"], 0, "{:?}", lines.values().find(|line| line["ok"] == false));
        assert_eq!(ran.code, Some(0));
    }
}

/// Many names take little memory: they are found as they are worked on.
#[cfg(target_os = "linux")]
#[test]
fn a_long_list_is_not_held_in_memory() {
    let place = Place::new();
    place.ok(&["encrypt", "-k", "file:k", "-o", "f.wax", "k"]);
    let list = "f.wax\n".repeat(20_000);
    let script = "ulimit -v 400000; exec \"$0\" inspect -q --json --files-from - >told";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, cli_support::WAXSEAL]).current_dir(place.path(""));
    let ran = feed(&mut command, list.as_bytes());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = place.read("told");
    assert_eq!(told.iter().filter(|byte| **byte == b'\n').count(), 20_001);
}

/// The permissions of what is made do not open what was closed.
#[test]
fn folders_are_made_for_their_owner() {
    let place = place_with_tree();
    place.write("list", "t/sub/b\n");
    fs::set_permissions(place.path("t/sub"), fs::Permissions::from_mode(0o711)).unwrap();
    place.ok(&["encrypt", "-k", "file:k", "--files-from", "list", "-o", "listed"]);
    assert_eq!((place.mode("listed/t"), place.mode("listed/t/sub")), (0o700, 0o700));
    assert!(is_root() || fs::metadata(place.path("listed")).unwrap().uid() != 0);
}
