//! Where the output goes. A run writes its complete output or nothing, and destroys no other file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Stdio;

use cli_support::{Place, WAXSEAL, is_root, noise, sealed_len};

const ENCRYPT: [&str; 3] = ["encrypt", "-k", "file:k"];
const DECRYPT: [&str; 3] = ["decrypt", "-k", "file:k"];

fn with<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, rest].concat()
}

#[test]
fn an_existing_output_is_kept_without_force() {
    let place = Place::new();
    place.write("in", "new");
    let old = place.sealed("in.wax", b"old one");
    place.fails(&with(&ENCRYPT, &["in"]), 8, &["in.wax exists", "hint: ", "-f"]);
    place.fails(&with(&ENCRYPT, &["-o", "in.wax", "in"]), 8, &["exists"]);
    assert!(place.read("in.wax") == old);
    place.ok(&with(&ENCRYPT, &["-f", "in"]));
    assert_eq!(place.read("in.wax").len(), sealed_len(3));
    place.fails(&with(&DECRYPT, &["in.wax"]), 8, &["exists"]);
    place.write("in", "other");
    place.ok(&with(&DECRYPT, &["-f", "in.wax"]));
    assert_eq!(place.read("in"), b"new");
    assert_eq!(place.names(), ["in", "in.wax", "k"]);
}

/// What `-f` would refuse, no hint names.
#[test]
fn the_hint_names_force_only_if_it_works() {
    let place = Place::new();
    place.write("in", "content");
    place.write("in.wax", "not sealed");
    place.sealed("b.wax", b"b");
    place.sealed("b", b"other");
    for (args, words) in
        [(with(&ENCRYPT, &["in"]), "is not a sealed file"), (with(&DECRYPT, &["b.wax"]), "is a sealed file")]
    {
        let without = place.fails(&args, 8, &[words, "hint: rename that file"]);
        assert!(!without.stderr.contains("-f"), "{}", without.stderr);
        let force = place.fails(&[&args[..], &["-f"]].concat(), 8, &[words]);
        assert_eq!(force.stderr, without.stderr);
    }
    // A name that the user gives is replaced.
    place.fails(&with(&ENCRYPT, &["-o", "in.wax", "in"]), 8, &["hint: replace it with -f"]);
    place.ok(&with(&ENCRYPT, &["-f", "-o", "in.wax", "in"]));
}

/// Another process creates the output while the program still reads its input.
#[test]
fn no_clobber_holds_to_the_last_moment() {
    let place = Place::new();
    let mut child = place
        .command(&with(&ENCRYPT, &["-o", "out.wax"]))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    place.wait_for_writing("");
    place.write("out.wax", "somebody else's");
    drop(child.stdin.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(8), "{stderr}");
    assert_eq!(place.read("out.wax"), b"somebody else's");
    assert_eq!(place.names(), ["k", "out.wax"]);
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let place = Place::new();
    let mut sealed = place.sealed("in.wax", &noise(100_000));
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    place.write("in.wax", &sealed);
    place.write("in", "old");
    place.fails(&with(&DECRYPT, &["-f", "in.wax"]), 4, &["authenticate"]);
    assert_eq!(place.read("in"), b"old");
    place.fails(&with(&DECRYPT, &["-o", "other", "in.wax"]), 4, &[]);
    assert_eq!(place.names(), ["in", "in.wax", "k"]);
}

#[test]
fn the_target_of_a_symlink_is_replaced() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    place.write("in", "content");
    place.write("d/target", "old");
    symlink("link2", place.path("link1")).unwrap();
    symlink("d/target", place.path("link2")).unwrap();
    place.fails(&with(&ENCRYPT, &["-o", "link1", "in"]), 8, &["exists"]);
    place.ok(&with(&ENCRYPT, &["-f", "-o", "link1", "in"]));
    assert!(place.path("link1").is_symlink() && place.path("link2").is_symlink());
    assert!(!place.path("d/target").is_symlink());
    assert_eq!(place.read("d/target").len(), sealed_len(7));
    symlink("d/not-yet", place.path("dangling")).unwrap();
    place.ok(&with(&ENCRYPT, &["-o", "dangling", "in"]));
    assert!(place.path("dangling").is_symlink() && place.exists("d/not-yet"));
    symlink("loop", place.path("loop")).unwrap();
    place.fails(&with(&ENCRYPT, &["-f", "-o", "loop", "in"]), 7, &["loop"]);
}

#[test]
fn folders_inputs_and_keys_are_no_outputs() {
    let place = Place::new();
    place.write("in", "content");
    let key = place.read("k");
    fs::create_dir(place.path("d")).unwrap();
    fs::hard_link(place.path("in"), place.path("also-in")).unwrap();
    symlink("k", place.path("also-k")).unwrap();
    for output in ["d", "d/", "new/", ".", "/"] {
        place.fails(&with(&ENCRYPT, &["-f", "-o", output, "in"]), 2, &["folder", "hint: "]);
    }
    for output in ["in", "./in", "also-in"] {
        place.fails(&with(&ENCRYPT, &["-f", "-o", output, "in"]), 2, &["is the input"]);
    }
    for output in ["k", "d/../k", "also-k"] {
        place.fails(&with(&ENCRYPT, &["-f", "-o", output, "in"]), 2, &["is the key file"]);
    }
    place.write("pass", "secret");
    let passphrase = ["decrypt", "-k", "passphrase:file=pass", "-f", "-o", "pass", "in"];
    place.fails(&passphrase, 2, &["is the passphrase file"]);
    let stdin = fs::File::open(place.path("in")).unwrap();
    let status = place.command(&with(&ENCRYPT, &["-f", "-o", "in"])).stdin(stdin).status().unwrap();
    assert_eq!(status.code(), Some(2));
    assert_eq!((place.read("in"), place.read("k"), place.read("pass")), (b"content".to_vec(), key, b"secret".to_vec()));
    place.fails(&with(&ENCRYPT, &["-o", "missing/out", "in"]), 7, &["missing"]);
}

#[test]
fn a_fifo_and_a_device_are_written_as_they_are() {
    let place = Place::new();
    place.write("in", "content");
    let made = std::process::Command::new("mkfifo").arg(place.path("fifo")).status().unwrap();
    assert!(made.success());
    let path = place.path("fifo");
    let reader = std::thread::spawn(move || fs::read(path).unwrap());
    place.ok(&with(&ENCRYPT, &["-o", "fifo", "in"]));
    assert_eq!(reader.join().unwrap().len(), sealed_len(7));
    place.ok(&with(&ENCRYPT, &["-o", "/dev/zero", "in"]));
    place.fails(&with(&ENCRYPT, &["-o", "/dev/full", "in"]), 7, &["No space left"]);
    assert_eq!(place.names(), ["fifo", "in", "k"]);
    assert!(fs::metadata("/dev/zero").unwrap().file_type().is_char_device());
}

#[test]
fn a_name_that_is_only_the_suffix_names_no_output() {
    let place = Place::new();
    place.sealed(".wax", b"content");
    let ran = place.fails(&with(&DECRYPT, &[".wax"]), 2, &["nothing before .wax", "hint: name the output with -o"]);
    assert!(!ran.stderr.contains("does not end"), "{}", ran.stderr);
    place.fails(&with(&DECRYPT, &["k"]), 2, &["the name k does not end in .wax"]);
    place.ok(&with(&DECRYPT, &["-o", "out", ".wax"]));
    assert_eq!(place.read("out"), b"content");
}

/// The program writes a large output and a small one. It reports the error in both cases.
#[test]
fn a_full_disk_is_exit_7() {
    let place = Place::new();
    for size in [0, 5 * 1024 * 1024] {
        let sealed = place.pipe(&ENCRYPT, &noise(size)).stdout;
        for (args, input) in [(&ENCRYPT, noise(size)), (&DECRYPT, sealed)] {
            if size == 0 && args[0] == "decrypt" {
                continue;
            }
            let full = fs::File::create("/dev/full").unwrap();
            place.write("input", &input);
            let stdin = fs::File::open(place.path("input")).unwrap();
            let output = place.command(args).stdin(stdin).stdout(full).stderr(Stdio::piped()).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(7), "{stderr}");
            assert!(stderr.contains("No space left on device") && stderr.contains("hint: "), "{stderr}");
        }
    }
    place.write("input", "x");
    place.ok(&with(&ENCRYPT, &["input"]));
    let commands: [&[&str]; 5] = [
        &["verify", "-k", "file:k", "input.wax"],
        &["inspect", "input.wax"],
        &["cat", "-k", "file:k", "--range", "..", "input.wax"],
        &["--help"],
        &["completions", "bash"],
    ];
    for args in commands {
        let full = fs::File::create("/dev/full").unwrap();
        let ran: cli_support::Ran = place.command(args).stdout(full).output().unwrap().into();
        ran.failed(7, &["hint: free some space"]);
        assert!(!ran.stderr.contains("-o"), "{args:?} has no such use of -o: {}", ran.stderr);
    }
}

#[test]
fn a_broken_pipe_is_exit_7_on_every_command() {
    let place = Place::new();
    place.write("in", noise(1_000_000));
    place.ok(&with(&ENCRYPT, &["in"]));
    let commands = [
        "encrypt -k file:k < in",
        "encrypt -k file:k -o - in",
        "decrypt -k file:k < in.wax",
        "decrypt -k file:k -o - in.wax",
        "cat -k file:k --range .. in.wax",
        "reseal --from file:k -k file:k -o - in.wax",
        "verify -k file:k in.wax",
        "verify -k file:k --json in.wax",
        "inspect in.wax",
        "--help",
        "--version",
        "man",
        "reader",
        "completions zsh",
    ];
    for command in commands {
        // The reader is gone before the program starts.
        let script = format!("{{ sleep 0.1; {WAXSEAL} {command}; echo $? >&2; }} | true");
        let output =
            std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().last(), Some("7"), "{command}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains("a bug"), "{command}: {stderr}");
    }
}

/// The reader of the results is gone. This is one error, however many results there are.
#[test]
fn a_broken_pipe_is_told_once() {
    let place = Place::new();
    let names = ["a.wax", "b.wax", "c.wax", "d.wax"];
    names.iter().for_each(|name| drop(place.sealed(name, b"content")));
    for options in ["", "--json ", "--files-from list ", "--json --files-from list "] {
        place.write("list", names.join("\n"));
        let script =
            format!("{{ sleep 0.1; {WAXSEAL} verify -k file:k {options}{}; echo $? >&2; }} | true", names.join(" "));
        let output =
            std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.matches("writing to stdout").count(), 1, "{options}: {stderr}");
        assert_eq!((stderr.lines().count(), stderr.lines().last()), (3, Some("7")), "{options}: {stderr}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_exit_7() {
    let place = Place::new();
    place.write("in", "content");
    fs::create_dir(place.path("d")).unwrap();
    fs::set_permissions(place.path("d"), Permissions::from_mode(0o555)).unwrap();
    // Root can write in spite of the mode, but not in /proc.
    let output = if is_root() { "/proc/out.wax" } else { "d/out.wax" };
    place.fails(&with(&ENCRYPT, &["-o", output, "in"]), 7, &["waxseal: error: in: "]);
    let ran = place.fails(&with(&ENCRYPT, &["missing"]), 10, &["missing", "does not exist"]);
    assert!(ran.stdout.is_empty());
    place.fails(&with(&ENCRYPT, &["d"]), 7, &["hint: ", "tar"]);
    fs::set_permissions(place.path("d"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.names(), ["d", "in", "k"]);
    assert_eq!(fs::read_dir(place.path("d")).unwrap().count(), 0);
}

#[test]
fn dev_stdout_is_stdout() {
    let place = Place::new();
    place.write("in", "content");
    let ran = place.ok(&with(&ENCRYPT, &["-o", "/dev/stdout", "in"]));
    assert_eq!(ran.stdout.len(), sealed_len(7));
    let out = fs::File::create(place.path("out.wax")).unwrap();
    assert!(place.command(&with(&ENCRYPT, &["-o", "/dev/stdout", "in"])).stdout(out).status().unwrap().success());
    place.ok(&["verify", "-k", "file:k", "out.wax"]);
}

#[test]
fn modes() {
    let place = Place::new();
    for mode in [0o644, 0o600, 0o640, 0o666, 0o755, 0o400, 0o444] {
        place.write("in", "content");
        fs::set_permissions(place.path("in"), Permissions::from_mode(mode)).unwrap();
        place.ok(&with(&ENCRYPT, &["in"]));
        assert_eq!(place.mode("in.wax"), mode, "{mode:o}");
        fs::remove_file(place.path("in")).unwrap();
        fs::set_permissions(place.path("in.wax"), Permissions::from_mode(0o644)).unwrap();
        place.ok(&with(&DECRYPT, &["in.wax"]));
        assert_eq!(place.mode("in"), 0o600);
        fs::remove_file(place.path("in")).unwrap();
        fs::remove_file(place.path("in.wax")).unwrap();
    }
    place.sealed("piped.wax", b"content");
    assert_eq!(place.mode("piped.wax"), 0o600);
    assert_eq!(place.mode("k"), 0o600);
    place.write("in", "content");
    fs::set_permissions(place.path("in"), Permissions::from_mode(0o6755)).unwrap();
    place.ok(&with(&ENCRYPT, &["in"]));
    assert_eq!(place.mode("in.wax"), 0o755);
}

/// A file with mode 0640 must not become readable for another group.
#[test]
fn a_group_that_changes_takes_its_bits_with_it() {
    if !is_root() {
        return skipped::skipped("a_group_that_changes_takes_its_bits_with_it", "only root gives files to any group");
    }
    let place = Place::new();
    place.write("in", "content");
    std::os::unix::fs::chown(place.path("in"), None, Some(12_345)).unwrap();
    for (mode, expected) in [(0o640, 0o600), (0o644, 0o644), (0o660, 0o600)] {
        fs::set_permissions(place.path("in"), Permissions::from_mode(mode)).unwrap();
        place.ok(&with(&ENCRYPT, &["-f", "in"]));
        assert_eq!(place.mode("in.wax"), expected, "{mode:o}");
    }
}

#[test]
fn several_inputs_and_one_output_do_not_go_together() {
    let place = Place::new();
    place.write("a", "a");
    place.write("b", "b");
    place.fails(&with(&ENCRYPT, &["-o", "out", "a", "b"]), 2, &["several inputs"]);
    place.fails(&with(&ENCRYPT, &["a", "-"]), 2, &["stdin"]);
    place.fails(&with(&DECRYPT, &["a"]), 2, &[".wax", "-o"]);
    assert_eq!(place.names(), ["a", "b", "k"]);
}

/// Like gzip, xz and zstd, the program writes next to a named input. If stdout is a pipe, a note says so, because the
/// user may expect the data there. If stdout and stderr are the same stream, there is no note.
#[test]
fn a_named_input_never_goes_to_stdout() {
    let place = Place::new();
    place.write("in", "content");
    let ran = place.ok(&with(&ENCRYPT, &["in"]));
    assert!(ran.stdout.is_empty() && ran.stderr.contains("nothing goes to stdout") && ran.stderr.contains("in.wax"));
    let ran = place.ok(&with(&ENCRYPT, &["-f", "-q", "in"]));
    assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (&b""[..], ""));
    let script = format!("{WAXSEAL} encrypt -k file:k -f in 2>&1 | cat");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    let quiet = place.command(&with(&ENCRYPT, &["-f", "in"])).stdout(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8(quiet.stderr).unwrap(), "");
    let given = place.ok(&with(&ENCRYPT, &["-f", "-o", "in.wax", "in"]));
    assert_eq!(given.stderr, "");
}

#[test]
fn names_that_are_no_text_work() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let name = OsStr::from_bytes(b"-\xff\x1b[31m\n");
    fs::write(place.path(name), "content").unwrap();
    let args: Vec<&OsStr> = ["encrypt", "-k", "file:k", "--"].map(OsStr::new).into_iter().chain([name]).collect();
    let ran = place.ok(&args);
    assert!(ran.stderr.contains(r"-\xff\u{1b}[31m\u{a}.wax"), "{:?}", ran.stderr);
    let sealed = OsStr::from_bytes(b"-\xff\x1b[31m\n.wax");
    let args: Vec<&OsStr> = ["verify", "-k", "file:k", "--"].map(OsStr::new).into_iter().chain([sealed]).collect();
    assert_eq!(place.ok(&args).text(), "-\\xff\\u{1b}[31m\\u{a}.wax: ok\n");
}

/// With `>>` or `1<>`, a shell can open the input file as stdout.
#[test]
fn stdout_is_never_the_input() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", b"content");
    place.write("in", "content");
    let append = |name: &str| fs::OpenOptions::new().append(true).open(place.path(name)).unwrap();
    for args in [
        &["decrypt", "-k", "file:k", "-o", "-", "in.wax"][..],
        &["cat", "-k", "file:k", "--range", "..", "in.wax"],
        &["rewrap", "-o", "-", "in.wax"],
    ] {
        let ran: cli_support::Ran = place.command(args).stdout(append("in.wax")).output().unwrap().into();
        ran.failed(2, &["stdout is the input"]);
    }
    let mut command = place.command(&["encrypt", "-k", "file:k", "-o", "-", "in"]);
    let ran: cli_support::Ran = command.stdout(append("in")).output().unwrap().into();
    ran.failed(2, &["stdout is the input"]);
    assert!(place.read("in.wax") == sealed && place.read("in") == b"content");
}

/// Other programs write to the same open file. The program writes at the current offset, and advances it.
#[test]
fn stdout_is_written_at_its_cursor() {
    let place = Place::new();
    let content = "content".repeat(100_000);
    place.sealed("in.wax", content.as_bytes());
    let script = format!("{{ echo before; {WAXSEAL} decrypt -k file:k -o - in.wax; echo; echo after; }} > out");
    let status = std::process::Command::new("sh").args(["-c", &script]).current_dir(place.path("")).status().unwrap();
    assert!(status.success());
    assert!(place.read("out") == format!("before\n{content}\nafter\n").into_bytes());
}
