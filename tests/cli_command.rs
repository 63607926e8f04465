//! `encrypt --from-command`, signals, and this program as a filter of tar.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli_support::{Place, Ran, WAXSEAL, noise};

fn from_command<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["encrypt", "-k", "file:k", "-o", "out.wax", "--from-command"], rest].concat()
}

fn sh(script: &str) -> Vec<&str> {
    from_command(&["--", "sh", "-c", script])
}

#[test]
fn what_a_command_prints_is_sealed() {
    let place = Place::new();
    place.write("in", noise(6_000_000));
    let ran = place.ok(&from_command(&["--", "cat", "in"]));
    assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (&b""[..], ""));
    assert!(place.ok(&["decrypt", "-k", "file:k", "-o", "-", "out.wax"]).stdout == place.read("in"));
    // Options after `--` belong to the command.
    place.ok(&[
        &["encrypt", "-f", "-k", "file:k", "-o", "out.wax", "--from-command", "--"][..],
        &["printf", "%s-%s", "-k", "--json"],
    ]
    .concat());
    assert_eq!(place.ok(&["decrypt", "-k", "file:k", "-o", "-", "out.wax"]).stdout, b"-k---json");
    assert_eq!(place.mode("out.wax"), 0o600);
}

#[test]
fn a_command_that_fails_leaves_no_output_and_the_old_file() {
    let place = Place::new();
    for (script, words) in [
        ("exit 3", "exit status 3"),
        ("head -c 9000000 /dev/zero; exit 1", "exit status 1"),
        ("echo half; kill -9 $$", "signal 9"),
    ] {
        place.fails(&sh(script), 9, &["the command sh failed", words, "hint: "]);
        assert_eq!(place.names(), ["k"]);
    }
    place.write("out.wax", "old");
    let args = [
        &["encrypt", "-f", "-k", "file:k", "-o", "out.wax", "--from-command", "--"][..],
        &["sh", "-c", "echo half; exit 1"],
    ]
    .concat();
    place.fails(&args, 9, &[]);
    assert_eq!(place.read("out.wax"), b"old");
    place.fails(&sh("true"), 8, &["exists"]);
    fs::remove_file(place.path("out.wax")).unwrap();
    place.fails(&from_command(&["--", "no-such-command"]), 9, &["no-such-command", "could not be started"]);
    // The command closes its output and then fails.
    place.fails(&sh("echo whole; exec >&-; sleep 0.2; exit 5"), 9, &["exit status 5"]);
    assert_eq!(place.names(), ["k"]);
}

#[test]
fn from_command_is_used_rightly_or_not_at_all() {
    let place = Place::new();
    place.fails(&from_command(&[]), 2, &["needs a command", "hint: "]);
    // Without `--`, the program would take the command's options as its own.
    place.fails(&from_command(&["touch", "-f", "ran"]), 2, &["after `--`", "hint: "]);
    place.fails(&from_command(&["touch", "--", "touch", "ran"]), 2, &["after `--`"]);
    place.fails(&["encrypt", "-k", "file:k", "--from-command", "--", "true"], 2, &["--output"]);
    place.fails(&["encrypt", "-d", "-k", "file:k", "-o", "x", "--from-command", "--", "true"], 2, &[]);
    place.fails(
        &["encrypt", "-k", "file:k", "-o", "k", "-f", "--from-command", "--", "touch", "ran"],
        2,
        &["key file"],
    );
    place.fails(&["encrypt", "-k", "file:no", "-o", "x", "--from-command", "--", "touch", "ran"], 7, &[]);
    assert_eq!(place.names(), ["k"], "the command has run");
}

/// The output lacks the last chunk, whatever its length, so no reader accepts it as complete.
#[test]
fn a_command_that_fails_leaves_a_stream_that_no_reader_accepts() {
    let place = Place::new();
    let seal =
        |script: &str| place.run(&["encrypt", "-k", "file:k", "-o", "-", "--from-command", "--", "sh", "-c", script]);
    for bytes in [0_usize, 1, 16_384, 1 << 20, 4 << 20, (4 << 20) + 1, 9_000_000] {
        let script = format!("head -c {bytes} /dev/zero");
        let whole = seal(&script);
        assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""));
        assert_eq!(place.pipe(&["decrypt", "-k", "file:k"], &whole.stdout).stdout, vec![0; bytes]);
        for (end, words) in [("exit 3", "exit status 3"), ("kill -9 $$", "killed by signal 9")] {
            let ran = seal(&format!("{script}; {end}"));
            ran.failed(9, &["the command sh failed", words, "no reader accepts it"]);
            assert!(!ran.stderr.contains("above"), "it said nothing: {}", ran.stderr);
            assert!(ran.stdout.len() < whole.stdout.len(), "{bytes}");
            let code = place.pipe(&["verify", "-k", "file:k", "-"], &ran.stdout).code;
            assert!([Some(3), Some(4)].contains(&code), "{bytes}: {code:?}");
        }
    }
    // What the command prints on stderr is passed through.
    let ran = seal("echo sorry >&2; exit 3");
    assert!(ran.stderr.starts_with("sorry\n"), "{}", ran.stderr);
    // The data goes to stdout, so the lines of `--json` go to stderr.
    let args = ["encrypt", "--json", "-k", "file:k", "-o", "-", "--from-command", "--", "sh", "-c", "echo x; exit 3"];
    let ran = place.run(&args);
    assert!(ran.code == Some(9) && ran.stderr.contains("\"kind\":\"command-failed\""), "{}", ran.stderr);
}

/// If a signal comes while the command runs, the last chunk is not written either.
#[test]
fn a_signal_withholds_the_last_chunk() {
    let place = Place::new();
    for signal in ["TERM", "INT", "KILL"] {
        let script =
            "trap 'exit 0' TERM INT; head -c 9000000 /dev/zero; touch printed; while echo; do sleep 0.01; done";
        let mut command =
            place.command(&["encrypt", "-k", "file:k", "-o", "-", "--from-command", "--", "sh", "-c", script]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let waiting = std::thread::spawn(|| child.wait_with_output().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !place.exists("printed") {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let ran: Ran = waiting.join().unwrap().into();
        assert!(ran.signal.is_some(), "{signal}: {:?}", ran.code);
        assert_eq!(place.pipe(&["verify", "-k", "file:k", "-"], &ran.stdout).code, Some(4), "{signal}");
        fs::remove_file(place.path("printed")).unwrap();
    }
}

/// If the disk is full, the program also ends the command. The error is the full disk, and not the command's end.
#[test]
fn our_own_failure_ends_the_command() {
    let place = Place::new();
    let begun = Instant::now();
    let args = [
        "encrypt",
        "-k",
        "file:k",
        "-o",
        "/dev/full",
        "--from-command",
        "--",
        "sh",
        "-c",
        "trap '' PIPE; while :; do head -c 9000000 /dev/zero 2>/dev/null; sleep 0.05; done",
    ];
    place.fails(&args, 7, &["No space left"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

struct Running(Child);

impl Running {
    /// Starts `command`, and waits until it writes its output file.
    fn start(place: &Place, command: &mut Command) -> Self {
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        place.wait_for_writing("");
        Self(child)
    }

    fn signal(self, signal: &str) -> Ran {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.0.wait_with_output().unwrap().into()
    }
}

#[test]
fn signals_clean_up_and_kill() {
    let place = Place::new();
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let mut command = place.command(&["encrypt", "-k", "file:k", "-o", "out.wax"]);
        let mut running = Running::start(&place, command.stdin(Stdio::piped()));
        let stdin = running.0.stdin.take();
        stdin.as_ref().unwrap().write_all(&noise(50_000)).unwrap();
        let ran = running.signal(name);
        assert_eq!((ran.code, ran.signal), (None, Some(number)), "{}", ran.stderr);
        assert_eq!(place.names(), ["k"]);
    }
}

#[test]
fn a_signal_leaves_the_old_file() {
    let place = Place::new();
    place.write("out.wax", "old");
    let mut command = place.command(&["encrypt", "-f", "-k", "file:k", "-o", "out.wax"]);
    let mut running = Running::start(&place, command.stdin(Stdio::piped()));
    let _stdin = running.0.stdin.take();
    assert_eq!(running.signal("TERM").signal, Some(15));
    assert_eq!(place.names(), ["k", "out.wax"]);
    assert_eq!(place.read("out.wax"), b"old");
}

#[test]
fn a_signal_ends_the_command_too() {
    let place = Place::new();
    let script = "echo $$ > pid; exec sleep 1000";
    let running = Running::start(&place, &mut place.command(&sh(script)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(place.path("pid")).unwrap_or_default().trim().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(running.signal("TERM").signal, Some(15));
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    let proc = format!("/proc/{}/stat", pid.trim());
    let alive = || fs::read_to_string(&proc).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        assert!(Instant::now() < deadline, "the command still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(place.names(), ["k", "pid"]);
}

/// `nohup` and shells start some programs with ignored signals. The program must not handle these signals.
#[test]
fn an_ignored_signal_stays_ignored() {
    let place = Place::new();
    let script = format!("trap '' HUP; exec {WAXSEAL} encrypt -k file:k -o out.wax");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(place.path("")).stdin(Stdio::piped());
    let mut running = Running::start(&place, &mut command);
    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(200));
    drop(running.0.stdin.take());
    assert!(running.0.wait().unwrap().success());
    assert_eq!(place.names(), ["k", "out.wax"]);
}

#[test]
fn kill_9_leaves_nothing_that_looks_like_a_result() {
    let place = Place::new();
    let mut command = place.command(&["encrypt", "-k", "file:k", "-o", "out.wax"]);
    let mut running = Running::start(&place, command.stdin(Stdio::piped()));
    let _stdin = running.0.stdin.take();
    assert_eq!(running.signal("KILL").signal, Some(9));
    let names = place.names();
    assert!(
        names.iter().all(|name| name == "k" || (name.starts_with(".waxseal-") && name.ends_with(".tmp"))),
        "{names:?}"
    );
}

#[test]
fn tar_creates_and_extracts_with_the_same_line() {
    let place = Place::new();
    fs::create_dir_all(place.path("folder/sub")).unwrap();
    place.write("folder/a", noise(300_000));
    place.write("folder/sub/b", "b");
    let tar = |args: &[&str], options: &str| {
        let program = format!("--use-compress-program={WAXSEAL} encrypt -k file:k{options}");
        let output = Command::new("tar").arg(program).args(args).current_dir(place.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output.stdout
    };
    for options in ["", " -c env=prod -l host=a", " --suite chacha20-poly1305"] {
        tar(&["-cf", "folder.tar.wax", "folder"], options);
        assert_eq!(&place.read("folder.tar.wax")[1..4], b"WAX");
        fs::create_dir(place.path("out")).unwrap();
        tar(&["-xf", "folder.tar.wax", "-C", "out"], options);
        assert_eq!(place.read("out/folder/a"), place.read("folder/a"));
        assert_eq!(place.read("out/folder/sub/b"), b"b");
        let listed = String::from_utf8(tar(&["-tf", "folder.tar.wax"], options)).unwrap();
        assert!(listed.contains("folder/sub/b"));
        fs::remove_dir_all(place.path("out")).unwrap();
    }
    // When tar reads the archive, the program decrypts, and the pairs of `-c` are demands.
    let program = format!("--use-compress-program={WAXSEAL} encrypt -k file:k -c env=test");
    let output = Command::new("tar").args([&program, "-tf", "folder.tar.wax"]).current_dir(place.path("")).output();
    assert!(!output.unwrap().status.success());
}

#[test]
fn decrypt_d_is_decrypt() {
    let place = Place::new();
    let sealed = place.sealed("in.wax", b"content");
    for args in [
        &["decrypt", "-d", "-k", "file:k"][..],
        &["encrypt", "-d", "-k", "file:k"],
        &["encrypt", "--decrypt", "-k", "file:k"],
    ] {
        assert_eq!(place.pipe(args, &sealed).stdout, b"content");
    }
    place.ok(&["encrypt", "-d", "-k", "file:k", "in.wax"]);
    assert_eq!(place.read("in"), b"content");
}
