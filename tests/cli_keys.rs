//! Which keys seal a file, and which keys are tried to open it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use cli_support::{NOBODY, Place, Ran};

/// The 32 bytes and 64 digits of a key file.
fn key_of(place: &Place, name: &str) -> (Vec<u8>, String) {
    let text = String::from_utf8(place.read(name)).unwrap();
    let line = text.lines().find(|line| line.starts_with("waxseal-key-v1:")).unwrap();
    let digits = line.split(':').nth(1).unwrap().to_owned();
    let bytes = (0..32).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect();
    (bytes, digits)
}

#[test]
fn key_new_makes_a_key_and_never_overwrites() {
    let place = Place::new();
    let text = String::from_utf8(place.read("k")).unwrap();
    let (_, digits) = key_of(&place, "k");
    assert_eq!(digits.len(), 64);
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert!(comments.iter().any(|line| line.split(' ').any(|word| word.len() == 32)), "{text}");
    assert!(comments.iter().any(|line| line.contains("20") && line.contains('T') && line.contains('Z')), "{text}");
    assert_eq!(place.mode("k"), 0o600);
    for args in [&["key", "new", "k"][..], &["key", "new", "-f", "k"], &["key", "new", "/dev/zero"]] {
        place.fails(args, 8, &["exists"]);
    }
    place.fails(&["key", "new", "."], 2, &["folder"]);
    place.fails(&["key", "new", "-"], 2, &["stdout"]);
    place.fails(&["key", "new", "missing/k"], 7, &[]);
    assert_eq!(String::from_utf8(place.read("k")).unwrap(), text);
    place.ok(&["key", "new", "k2"]);
    assert_ne!(key_of(&place, "k2").1, digits);
    assert_eq!(place.names(), ["k", "k2"]);
}

#[test]
fn any_of_several_keys_opens() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.ok(&["key", "new", "stranger"]);
    place.write("pass", "correct horse\n");
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-k", "file:k2", "-k", "passphrase:file=pass", "in"]);
    for key in ["file:k", "file:k2", "passphrase:file=pass"] {
        assert_eq!(place.ok(&["decrypt", "-k", key, "-o", "-", "in.wax"]).stdout, b"content", "{key}");
    }
    let both = ["decrypt", "-k", "file:stranger", "-k", "file:k2", "-o", "-", "in.wax"];
    assert_eq!(place.ok(&both).stdout, b"content");
    let ran = place.fails(
        &["decrypt", "-k", "file:stranger", "-o", "-", "in.wax"],
        5,
        &["no key", "hint: ", "keyfile", "passphrase"],
    );
    assert!(ran.stdout.is_empty());
}

#[test]
fn one_trailing_newline_of_a_passphrase_file_is_dropped() {
    let place = Place::new();
    place.write("in", "content");
    place.write("pass", "word");
    place.ok(&["encrypt", "-k", "passphrase:file=pass", "in"]);
    let opens = |content: &str| {
        place.write("try", content);
        place.run(&["verify", "-k", "passphrase:file=try", "in.wax"])
    };
    assert_eq!(opens("word\n").code, Some(0));
    assert_eq!(opens("word").code, Some(0));
    for wrong in ["word\n\n", "word ", "Word", "word\r\n", "\nword"] {
        opens(wrong).failed(5, &["passphrase"]);
    }
    for unusable in ["", "\n", &"x".repeat(1025), &"x".repeat(100_000)] {
        opens(unusable).failed(2, &["1 to 1024 bytes"]);
    }
    assert_eq!(opens(&"x".repeat(1024)).code, Some(5));
}

#[test]
fn the_variable() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.write("in", "content");
    let run =
        |value: &str, args: &[&str]| -> Ran { place.command(args).env("WAXSEAL_KEY", value).output().unwrap().into() };
    assert_eq!(run("file:k, file:k2", &["encrypt", "in"]).code, Some(0));
    assert_eq!(place.run(&["verify", "-k", "file:k2", "in.wax"]).code, Some(0));
    assert_eq!(run("file:k2", &["verify", "in.wax"]).code, Some(0));
    // -k replaces the variable.
    assert_eq!(run("file:k2", &["encrypt", "-f", "-k", "file:k", "in"]).code, Some(0));
    run("file:k2", &["verify", "in.wax"]).failed(5, &[]);
    run("file:k", &["verify", "-k", "file:k2", "in.wax"]).failed(5, &[]);
    assert_eq!(run("file:k", &["verify", "-k", "file:k2", "-k", "file:k", "in.wax"]).code, Some(0));
    // For opening, the variable only offers keys: a key that is missing does not stop the others.
    let ran = run("file:missing,file:k", &["verify", "in.wax"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("missing"), "{}", ran.stderr);
    run("file:missing", &["encrypt", "-f", "in"]).failed(7, &["missing"]);
    run("", &["encrypt", "-f", "in"]).failed(2, &["no key"]);
    run("nonsense", &["verify", "in.wax"]).failed(2, &["WAXSEAL_KEY", "file:"]);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let place = Place::new();
    place.write("in", "content");
    place.write("pass", "word");
    place.ok(&["encrypt", "-k", "passphrase:file=pass", "-o", "p.wax", "in"]);
    let run = |args: &[&str]| -> Ran {
        std::process::Command::new("setsid")
            .arg("-w")
            .arg(cli_support::WAXSEAL)
            .args(args)
            .current_dir(place.path(""))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
            .into()
    };
    run(&["encrypt", "-k", "passphrase", "in"]).failed(2, &["no terminal", "passphrase:file=PATH"]);
    run(&["verify", "-k", "passphrase", "p.wax"]).failed(5, &["no terminal"]);
    run(&["verify", "p.wax"]).failed(5, &["passphrase"]);
}

#[test]
fn a_key_file_that_others_may_read_is_warned_of() {
    let place = Place::new();
    place.write("in", "content");
    fs::set_permissions(place.path("k"), Permissions::from_mode(0o644)).unwrap();
    let ran = place.ok(&["encrypt", "-k", "file:k", "in"]);
    assert!(ran.stderr.contains("waxseal: warning: ") && ran.stderr.contains("0644"), "{}", ran.stderr);
    let warnings = |quiet: &[&str]| {
        let ran = place.ok(&[&["verify", "--json", "-k", "file:k", "in.wax"], quiet].concat());
        ran.text().contains("(mode 0644)")
    };
    assert!(warnings(&[]) && !warnings(&["-q"]));
    // `-q` turns off this warning, and no other.
    assert_eq!(place.ok(&["verify", "-q", "-k", "file:k", "in.wax"]).stderr, "");
    fs::set_permissions(place.path("k"), Permissions::from_mode(0o400)).unwrap();
    assert_eq!(place.ok(&["verify", "-k", "file:k", "in.wax"]).stderr, "");
}

/// Secrets are often mounted so that only a group of the process can read them. This gives no warning.
#[test]
fn a_group_that_is_this_process_own_is_not_others() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    let warned = |mut command: std::process::Command| {
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr.contains("others may read the key file k (mode 0440)")
    };
    let args = ["verify", "-k", "file:k", "in.wax"];
    fs::set_permissions(place.path("k"), Permissions::from_mode(0o440)).unwrap();
    assert!(!warned(place.command(&args)));
    if !cli_support::is_root() {
        skipped::skipped("a_group_that_is_this_process_own_is_not_others: other groups", "this needs root");
        return;
    }
    fs::set_permissions(place.path("in.wax"), Permissions::from_mode(0o444)).unwrap();
    let owned = |user, group| std::os::unix::fs::chown(place.path("k"), Some(user), Some(group)).unwrap();
    owned(0, NOBODY);
    assert!(!warned(place.unprivileged(&args)), "the group is the process's own");
    assert!(warned(place.command(&args)), "the group is neither root's nor the process's own");
    owned(NOBODY, 0);
    assert!(!warned(place.unprivileged(&args)), "the group is root's");
    owned(NOBODY, NOBODY - 1);
    assert!(warned(place.unprivileged(&args)), "other users are in the group");
}

/// A new key does not open existing files. The user must find the old key.
#[test]
fn a_missing_key_file_is_not_answered_with_a_new_key_when_opening() {
    let place = Place::new();
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "in"]);
    let text = place.ok(&["key", "show", "file:k"]).text();
    let id = text.split_whitespace().find(|word| word.len() == 32).unwrap();
    let sealed = format!("in.wax is sealed for keyfile {id}; find the file with this id");
    for args in [
        &["decrypt", "-k", "file:lost", "-o", "out", "in.wax"][..],
        &["verify", "-k", "file:lost", "in.wax"],
        &["verify", "--quick", "-k", "file:lost", "missing.wax", "in.wax"],
        &["cat", "-k", "file:lost", "--range", "0..1", "in.wax"],
        &["salvage", "-k", "file:lost", "-o", "out", "in.wax"],
        &["rewrap", "-k", "file:lost", "--allow-unwrap", "--add", "file:k", "in.wax"],
    ] {
        let ran = place.fails(args, 7, &["lost", &sealed, "key show file:PATH"]);
        assert!(!ran.stderr.contains("key new"), "{}", ran.stderr);
    }
    // The same if the message cannot list the ids.
    for args in [&["decrypt", "-k", "file:lost"][..], &["rewrap", "--remove", "file:lost", "in.wax"]] {
        let ran = place.fails(args, 7, &["lost", "`waxseal inspect` shows the ids", "key show file:PATH"]);
        assert!(!ran.stderr.contains("key new"), "{}", ran.stderr);
    }
    assert!(!place.fails(&["key", "show", "file:lost"], 7, &["lost"]).stderr.contains("key new"));
    // The same if the file exists but contains no key, and if `WAXSEAL_KEY` offers a missing file.
    assert!(!place.fails(&["verify", "-k", "file:in", "in.wax"], 2, &["inspect"]).stderr.contains("key new"));
    let ran: Ran = place.command(&["verify", "in.wax"]).env("WAXSEAL_KEY", "file:lost").output().unwrap().into();
    ran.failed(5, &["lost", id, "key show file:PATH"]);
    assert!(!ran.stderr.contains("key new"), "{}", ran.stderr);
    // For sealing, the hint is to create a new key.
    place.fails(&["encrypt", "-k", "file:lost", "in"], 7, &["key new"]);
}

/// Anyone who has the file can try all short passphrases.
#[test]
fn a_short_passphrase_is_warned_of_when_it_seals() {
    let place = Place::new();
    place.write("in", "content");
    for (passphrase, is_short) in [("sevenly", true), ("äöüäöüä\n", true), ("8 letter", false), ("äöüäöüäö", false)]
    {
        fs::set_permissions(place.write("pass", passphrase), Permissions::from_mode(0o600)).unwrap();
        let ran = place.ok(&["encrypt", "-f", "-q", "-k", "passphrase:file=pass", "in"]);
        let warning = "waxseal: warning: the passphrase in pass has fewer than 8 characters";
        assert_eq!(ran.stderr.starts_with(warning), is_short, "{passphrase}: {}", ran.stderr);
        assert!(is_short || ran.stderr.is_empty(), "{}", ran.stderr);
        assert_eq!(place.ok(&["verify", "-k", "passphrase:file=pass", "in.wax"]).stderr, "");
    }
}

/// An editor may have added an invisible character. Nobody who types the passphrase later types this character.
#[test]
fn a_passphrase_file_that_cannot_be_typed_is_warned_of_when_it_seals() {
    let place = Place::new();
    place.write("in", "content");
    for (content, words) in [
        (&b"word-word\r\n"[..], "ends in CR LF"),
        (b"\xef\xbb\xbfword-word\n", "byte order mark"),
        (b"\xff\xfew\0o\0r\0d\0", "byte order mark"),
        (b"two\nlines\n", "more than one line"),
        (b"two\r\nlines", "more than one line"),
        (b"words, words\n", ""),
        (b"p\xe4ss\tword\x01\n", ""),
    ] {
        fs::set_permissions(place.write("pass", content), Permissions::from_mode(0o600)).unwrap();
        let ran = place.ok(&["encrypt", "-f", "-q", "-k", "passphrase:file=pass", "in"]);
        if words.is_empty() {
            assert_eq!(ran.stderr, "");
        } else {
            let warning = "waxseal: warning: the passphrase file pass ";
            assert!(ran.stderr.starts_with(warning) && ran.stderr.contains(words), "{}", ran.stderr);
            assert!(ran.stderr.contains("cannot be typed"), "{}", ran.stderr);
        }
        // The passphrase opens the file unchanged. At opening, a warning would be too late.
        assert_eq!(place.ok(&["verify", "-q", "-k", "passphrase:file=pass", "in.wax"]).stderr, "");
    }
    place.ok(&["encrypt", "-f", "-k", "file:k", "in"]);
    place.write("pass", "word\r\n");
    let args = ["rewrap", "-q", "-k", "file:k", "--allow-unwrap", "--add", "passphrase:file=pass", "in.wax"];
    assert!(place.ok(&args).stderr.contains("cannot be typed"));
}

/// An editor or a copy may have added what nobody sees.
#[test]
fn what_is_invisible_in_a_key_file_is_named() {
    let place = Place::new();
    place.write("in", "content");
    let key = String::from_utf8(place.read("k")).unwrap();
    let line = key.lines().find(|line| !line.starts_with('#')).unwrap();
    let mark = "it starts with a byte order mark";
    let space = "its line has white space before or after the key";
    for (text, words) in [
        (format!("\u{feff}{key}"), mark),
        (format!("\u{feff}{line}\n"), mark),
        (format!("{line} \n"), space),
        (format!("{line}\t"), space),
        (format!(" {line}\n"), space),
        (format!("{line}\r"), space),
    ] {
        fs::set_permissions(place.write("bad", text), Permissions::from_mode(0o600)).unwrap();
        place.fails(&["encrypt", "-k", "file:bad", "in"], 2, &[words]);
    }
}

/// Warnings and errors say whether a file is a key file or a passphrase file.
#[test]
fn a_passphrase_file_is_not_called_a_key_file() {
    let place = Place::new();
    place.write("in", "content");
    fs::set_permissions(place.write("pass", "word"), Permissions::from_mode(0o644)).unwrap();
    let ran = place.ok(&["encrypt", "-k", "passphrase:file=pass", "-o", "in.wax", "in"]);
    assert!(ran.stderr.contains("others may read the passphrase file pass (mode 0644)"), "{}", ran.stderr);
    let onto = |key: &str, name: &str| ["encrypt", "-f", "-k", key, "-o", name, "in"].map(str::to_owned);
    place.fails(&onto("passphrase:file=pass", "pass"), 2, &["the output pass is the passphrase file"]);
    place.fails(&onto("file:k", "k"), 2, &["the output k is the key file"]);
}

#[test]
fn bad_key_files() {
    let place = Place::new();
    place.write("in", "content");
    for (name, content) in [("empty", ""), ("text", "hello\n"), ("two", "waxseal-key-v1:0:0\nwaxseal-key-v1:0:0\n")] {
        place.write(name, content);
        place.fails(
            &["encrypt", "-k", &format!("file:{name}"), "in"],
            2,
            &["not a waxseal key, identity or recipient file", "hint: "],
        );
    }
    place.fails(&["encrypt", "-k", "file:missing", "in"], 7, &["missing"]);
    place.fails(&["encrypt", "-k", "file:k", "-k", "file:k", "in"], 2, &["twice"]);
    assert!(!place.exists("in.wax"));
}

/// With `ulimit -l 0`, as in many containers, keys cannot be locked in memory. Everything else is the same.
#[test]
fn where_no_memory_can_be_locked_keys_work() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    for file in ["k", "in.wax"] {
        fs::set_permissions(place.path(file), Permissions::from_mode(0o444)).unwrap();
    }
    place.unprivileged(&["--version"]).output().unwrap();
    let script = "ulimit -l 0 && exec ./waxseal decrypt -q -k file:k -o - in.wax";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script]).current_dir(place.path(""));
    if cli_support::is_root() {
        shell.uid(NOBODY).gid(NOBODY);
    }
    let ran: Ran = shell.output().unwrap().into();
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), &b"content"[..]), "{}", ran.stderr);
}

/// An altered slot of a matching key: the file is altered, and the key is not wrong.
#[test]
fn an_altered_slot() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", b"content");
    let text = String::from_utf8(place.read("k")).unwrap();
    let id = text.split_whitespace().find(|word| word.len() == 32).unwrap();
    let slot = sealed.windows(32).position(|window| window == id.as_bytes()).unwrap();
    let mut file = sealed;
    for bank in [0, 4096] {
        file[bank + slot + 32 + 2 + 70] ^= 1;
        let sum = {
            use sha2::{Digest, Sha256};
            Sha256::digest(&file[bank..bank + 4064])
        };
        file[bank + 4064..bank + 4096].copy_from_slice(&sum);
    }
    place.write("bad.wax", &file);
    place.fails(&["verify", "-k", "file:k", "bad.wax"], 4, &["slot 0"]);
}

/// Runs its arguments on their own terminal, and types a line of stdin at each question. Prints the number of
/// questions, the number of successes, and whether an answer was shown.
const ON_A_TERMINAL: &str = r#"
import os, pty, re, signal, sys
signal.alarm(60)
answers = sys.stdin.read().split("\n")
# An answer is for the file that the question names, or for any.
named = dict(answer.split("=", 1) for answer in answers if "=" in answer)
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
for more in pieces(terminal):
    # Failures say the word too, but not at the start of a line.
    asked = lambda said: (b"\n" + said).count(b"\npassphrase: ")
    for _ in range(asked(said + more) - asked(said)):
        files = re.findall(rb"(?:opens (\w+\.wax)|(\w+\.wax) needs a passphrase)", said + more)
        answer = named[b"".join(files[-1]).decode()] if named else answers.pop(0)
        os.write(terminal, answer.encode() + b"\n")
    said += more
print(asked(said), said.count(b'"ok":true'), *[b"shown"] * (b"-one" in said))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// A mistyped passphrase does not make a file fail. After three wrong ones, the next file has three tries again,
/// because it may have another passphrase.
#[test]
fn a_mistyped_passphrase_is_asked_for_again() {
    let place = Place::new();
    place.write("pass", "the-right-one");
    let names = ["a", "b", "c", "d", "e"];
    names.iter().for_each(|name| drop(place.write(name, "content")));
    place.ok(&[&["encrypt", "-k", "passphrase:file=pass"][..], &names].concat());
    let sealed = names.map(|name| format!("{name}.wax"));
    for (answers, asked, good) in [
        ("the-right-one\n", 1, 5),
        ("the-wrong-one\nthe-right-one\n", 2, 5),
        ("the-wrong-one\n\nthe-right-one\n", 3, 5),
        ("the-wrong-one\nthe-wrong-one\nthe-wrong-one\nthe-right-one\n", 4, 4),
    ] {
        let ran = on_a_terminal(&place, &["verify", "-k", "passphrase", "--json"], &sealed, answers);
        assert_eq!(ran.text().trim(), format!("{asked} {good}"), "{answers:?}: {}", ran.stderr);
        assert_eq!(ran.code, Some(if good == 5 { 0 } else { 5 }), "{answers:?}");
    }
}

fn on_a_terminal(place: &Place, args: &[&str], sealed: &[String], answers: &str) -> Ran {
    let mut command = std::process::Command::new("python3");
    let script = [cli_support::PIECES, ON_A_TERMINAL].concat();
    command.args(["-c", &script, cli_support::WAXSEAL]).args(args).args(sealed).current_dir(place.path(""));
    cli_support::feed(command.env_remove("WAXSEAL_KEY"), answers.as_bytes())
}

/// Each passphrase is asked for once, in any order of the files, and no passphrase prevents another one.
#[test]
fn files_may_have_different_passphrases() {
    let place = Place::new();
    let names = ["a", "b", "c", "d"];
    for (name, passphrase) in names.iter().zip(["number-one", "number-two-one", "number-one", "number-two-one"]) {
        place.write(name, "content");
        place.write("pass", passphrase);
        place.ok(&["encrypt", "-k", "passphrase:file=pass", name]);
    }
    let sealed = names.map(|name| format!("{name}.wax"));
    // Several files are opened at once, so any of them may ask first. The question names it.
    let answers = "a.wax=number-one\nb.wax=number-two-one\nc.wax=number-one\nd.wax=number-two-one\n";
    let ran = on_a_terminal(&place, &["verify", "--json"], &sealed, answers);
    assert_eq!((ran.text().trim(), ran.code), ("2 4", Some(0)), "{}", ran.stderr);
    // A user who does not know the second passphrase is asked three times for each of its files.
    let answers = "number-one\n".repeat(7);
    let ran = on_a_terminal(&place, &["verify", "--json"], &sealed, &answers);
    assert_eq!((ran.text().trim(), ran.code), ("7 2", Some(5)), "{}", ran.stderr);
}

/// A key that is added and a key that replaces another say the same of the key that is missing.
#[test]
fn a_key_that_cannot_be_added_for_want_of_a_key() {
    let place = Place::new();
    place.sealed("f.wax", b"content");
    for key in ["other", "next"] {
        place.ok(&["key", "new", key]);
    }
    let change = ["rewrap", "--allow-unwrap", "-k", "file:other", "f.wax"];
    for new in ["--to", "--add"] {
        let ran = place.fails(&[&change[..], &[new, "file:next"]].concat(), 5, &["no key opens this file", "hint: "]);
        assert!(!ran.stderr.contains("not allowed"), "{}", ran.stderr);
    }
}

#[test]
fn a_rewrap_that_no_key_opens_names_the_option_that_opens() {
    let place = Place::new();
    place.sealed("f.wax", b"content");
    place.ok(&["key", "new", "next"]);
    let change = ["rewrap", "--allow-unwrap", "--from", "file:k", "--to", "file:next", "f.wax"];
    let ran = place.run(&change);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(ran.stderr.contains("\nhint: name a key that opens the file with -k; --from"), "{}", ran.stderr);
    place.ok(&[&change[..], &["-k", "file:k"]].concat());
}
