//! Stdin and stdout as other programs may leave them: closed, non-blocking, or used for two purposes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use cli_support::{Place, Ran, WAXSEAL, noise};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Runs `line` in a shell, because only a shell can close a descriptor.
fn sh(place: &Place, line: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", &line.replace("waxseal", WAXSEAL)]).current_dir(place.path("")).env_remove("WAXSEAL_KEY");
    command.stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn a_closed_stdin_is_no_empty_input() {
    let place = Place::new();
    sh(&place, "waxseal encrypt -k file:k -o e.wax <&-").failed(7, &["stdin is closed"]);
    sh(&place, "waxseal encrypt -k file:k -o e.wax /dev/stdin <&-").failed(7, &["stdin is closed"]);
    sh(&place, "waxseal encrypt -k file:/dev/stdin -o e.wax k <&-").failed(7, &["stdin is closed"]);
    assert_eq!(place.names(), ["k"]);
    place.write("old.wax", "old");
    sh(&place, "waxseal encrypt -f -k file:k -o old.wax <&-").failed(7, &[]);
    assert_eq!(place.read("old.wax"), b"old");
    for command in ["decrypt -o x", "verify -", "inspect -", "cat --range .. -"] {
        let key = if command.starts_with("inspect") { "" } else { "-k file:k" };
        sh(&place, &format!("waxseal {command} {key} <&-")).failed(7, &["stdin is closed"]);
    }
    sh(&place, "waxseal rewrap --allow-unwrap -k file:k --to file:k -o x - <&-").failed(7, &["stdin is closed"]);
    assert_eq!(place.names(), ["k", "old.wax"]);
}

#[test]
fn dev_null_is_an_empty_input() {
    let place = Place::new();
    assert_eq!(sh(&place, "waxseal encrypt -k file:k -o e.wax </dev/null").code, Some(0));
    // Python's subprocess.DEVNULL and systemd open it for reading and writing.
    assert_eq!(sh(&place, "waxseal encrypt -k file:k -o f.wax <>/dev/null").code, Some(0));
    for name in ["e.wax", "f.wax"] {
        assert!(place.ok(&["decrypt", "-k", "file:k", "-o", "-", name]).stdout.is_empty());
    }
}

#[test]
fn a_closed_stdout_loses_nothing_unsaid() {
    let place = Place::new();
    place.sealed("f.wax", b"content");
    place.write("f2", "content");
    for command in [
        "decrypt -k file:k -o - f.wax",
        "decrypt -k file:k < f.wax",
        "decrypt -k file:k -o /dev/stdout f.wax",
        "encrypt -k file:k -o - f2",
        "encrypt -k file:k < f2",
        "cat -k file:k --range .. f.wax",
        "inspect f.wax",
        "inspect --json f.wax",
        "verify -k file:k f.wax",
        "verify --json -k file:k f.wax",
        "rewrap --allow-unwrap -k file:k --add file:k -o - f.wax",
        "completions bash",
        "man",
        "reader",
        "--help",
    ] {
        let ran = sh(&place, &format!("waxseal {command} >&-"));
        assert_eq!(ran.code, Some(7), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("stdout is closed"), "{command}: {}", ran.stderr);
        // A user who does not want the output can redirect it to /dev/null.
        assert_eq!(sh(&place, &format!("waxseal {command} >/dev/null")).code, Some(0), "{command}");
    }
    // If the output goes to a file, stdout is not needed.
    assert_eq!(sh(&place, "waxseal encrypt -k file:k f2 >&-").code, Some(0));
    assert_eq!(sh(&place, "waxseal decrypt -k file:k f.wax >&- 2>&- <&-").code, Some(0));
    assert_eq!(place.read("f"), b"content");
}

#[test]
fn one_stream_is_not_read_for_two_things() {
    let place = Place::new();
    place.write("pass", "a passphrase");
    place.sealed("f.wax", b"content");
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    for stdin in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        for line in [
            format!("cat k | waxseal encrypt -k file:{stdin} -o g.wax"),
            format!("waxseal encrypt -k file:{stdin} -o g.wax < k"),
            format!("cat k | waxseal encrypt -k file:{stdin} -o g.wax /dev/stdin"),
            format!("cat pass | waxseal encrypt -k passphrase:file={stdin} -o g.wax -"),
            format!("cat k | waxseal encrypt -k file:{stdin} -k passphrase:file=/dev/fd/0 -o g.wax f.wax"),
            format!("cat k | waxseal decrypt -k file:{stdin} -o g"),
            format!("cat k | waxseal verify -k file:{stdin} -"),
            format!("cat k | waxseal cat -k file:{stdin} --range .. -"),
            format!("cat k | waxseal rewrap --allow-unwrap -k file:k --to file:{stdin} -o g.wax -"),
            format!("cat f.wax | waxseal inspect - {stdin}"),
            format!("cat k | WAXSEAL_KEY=file:{stdin} waxseal encrypt -o g.wax"),
        ] {
            let ran = sh(&place, &line);
            assert_eq!(ran.code, Some(2), "{line}: {}", ran.stderr);
            assert!(ran.stderr.contains("the same stream") && ran.stderr.contains("hint: "), "{line}: {}", ran.stderr);
        }
    }
    sh(&place, "waxseal encrypt -k file:fifo -o g.wax fifo").failed(2, &["the same stream"]);
    sh(&place, "waxseal encrypt -k file:fifo -k passphrase:file=./fifo -o g.wax k").failed(2, &["the same stream"]);
    assert_eq!(place.names(), ["f.wax", "fifo", "k", "pass"]);
    // Stdin has only one purpose here, so there is no error.
    assert_eq!(sh(&place, "cat k | waxseal encrypt -k file:/dev/stdin -o g.wax pass").code, Some(0));
    let two = "cat k | waxseal encrypt -k file:/dev/stdin -o h.wax --from-command -- echo content";
    assert_eq!(sh(&place, two).code, Some(0));
    place.ok(&["verify", "-k", "file:k", "g.wax", "h.wax"]);
}

#[test]
fn the_systems_names_for_streams_mean_them() {
    let place = Place::new();
    place.write("in", noise(50_000));
    for stdin in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let sealed = place.pipe(&["encrypt", "-k", "file:k", stdin], &place.read("in"));
        assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
        let opened = place.pipe(&["decrypt", "-k", "file:k", stdin], &sealed.stdout);
        assert!(opened.stdout == place.read("in"));
    }
    for stdout in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let sealed = place.ok(&["encrypt", "-k", "file:k", "-o", stdout, "in"]);
        assert!(place.pipe(&["decrypt", "-k", "file:k", "-o", stdout], &sealed.stdout).stdout == place.read("in"));
    }
    assert!(!std::path::Path::new("/dev/stdin.wax").exists());
}

#[test]
fn a_file_that_is_called_like_stdout_is_a_file() {
    let place = Place::new();
    place.sealed("./-.wax", b"content");
    let ran = place.ok(&["decrypt", "-k", "file:k", "--", "-.wax"]);
    assert!(ran.stdout.is_empty());
    assert_eq!(place.read("-"), b"content");
    place.ok(&["decrypt", "-f", "-k", "file:k", "./-.wax"]);
    assert_eq!(place.names(), ["-", "-.wax", "k"]);
}

/// The process that made the pipe may have made it non-blocking, as Node.js and many event loops do.
#[test]
fn what_would_block_is_waited_for() {
    let place = Place::new();
    let content = noise(3_000_000);
    for (sealing, small) in [(true, true), (true, false), (false, true), (false, false)] {
        let content = if small { &content[..40_000] } else { &content[..] };
        let input = if sealing { content.to_vec() } else { place.sealed("x.wax", content) };
        let _ = std::fs::remove_file(place.path("x.wax"));
        let command = if sealing { "encrypt" } else { "decrypt" };
        let output = through_slow_pipes(&place, &[command, "-k", "file:k"], &input);
        let back = if sealing { place.pipe(&["decrypt", "-k", "file:k"], &output).stdout } else { output };
        assert!(back == content, "{command} {small}");
    }
    let sealed = place.sealed("x.wax", &content);
    let copied = through_slow_pipes(
        &place,
        &["rewrap", "--allow-unwrap", "-k", "file:k", "--add", "file:k", "-o", "-", "-"],
        &sealed,
    );
    assert!(place.pipe(&["decrypt", "-k", "file:k"], &copied).stdout == content);
    assert!(through_slow_pipes(&place, &["cat", "-k", "file:k", "--range", "..", "x.wax"], b"") == content);
}

/// The program's ends of both pipes are non-blocking. The processes at the other ends are slow.
fn through_slow_pipes(place: &Place, args: &[&str], input: &[u8]) -> Vec<u8> {
    let ((stdin, mut feeder), (mut reader, stdout)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let nonblocking = |end: BorrowedFd<'_>| fcntl_setfl(end, fcntl_getfl(end).unwrap() | OFlags::NONBLOCK).unwrap();
    [stdin.as_fd(), stdout.as_fd()].into_iter().for_each(nonblocking);
    let mut command = place.command(args);
    let mut child = command.stdin(stdin).stdout(stdout).spawn().unwrap();
    drop(command);
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in input.chunks(1_000_000) {
                std::thread::sleep(Duration::from_millis(60));
                let _ = feeder.write_all(piece);
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        output
    });
    assert!(child.wait().unwrap().success(), "{args:?}");
    output
}

#[test]
fn a_fifo_that_a_failed_command_wrote_to_has_got_something() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    let line = "cat fifo > got & waxseal encrypt -k file:k -o fifo --from-command -- sh -c \
                'head -c 9000000 /dev/zero; exit 3'; code=$?; wait; exit $code";
    let ran = sh(&place, line);
    ran.failed(9, &["exit status 3", "fifo is incomplete"]);
    assert!(!ran.stderr.contains("nothing was written"), "{}", ran.stderr);
    assert!(place.read("got").len() > 4_000_000);
    place.fails(&["verify", "-k", "file:k", "got"], 4, &[]);
}
