//! The real program under limits: one thread, little memory, a maximum length of files.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cli_support::{NOBODY, Place, Ran, is_root, noise};
use waxseal::keys::{Argon2Cost, KeySealer, Passphrase};
use waxseal::secret::SecretBytes;
use waxseal::{SealOptions, SealWriter};

/// The program under a limit of `prlimit`. It runs without root's privileges, because some limits do not apply to root.
fn limited(place: &Place, limit: &str, args: &[&str]) -> Command {
    // Puts the program into the folder.
    drop(place.unprivileged::<&str>(&[]));
    let mut command = Command::new("prlimit");
    command.arg(limit).arg("./waxseal").args(args).current_dir(place.path(""));
    command.env_remove("WAXSEAL_KEY").stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn run(mut command: Command) -> Ran {
    let ran: Ran = command.output().expect("prlimit is in the path").into();
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// Like `ulimit -u 1`: the program can start no second thread and no child.
fn alone(place: &Place, args: &[&str]) -> Ran {
    run(limited(place, "--nproc=1:1", args))
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// A folder with key files that belong to the unprivileged user.
fn place() -> Place {
    let place = Place::new();
    for key in ["mine", "next"] {
        done(&place.unprivileged(&["key", "new", key]).output().unwrap().into());
    }
    place
}

#[test]
fn where_no_thread_can_be_started_one_does_all() {
    let place = place();
    let plain = noise(3 << 20);
    place.write("in", &plain);
    done(&alone(&place, &["encrypt", "-k", "file:mine", "-o", "a.wax", "in"]));
    for name in ["b.wax", "c.wax"] {
        done(&alone(&place, &["encrypt", "-k", "file:mine", "-o", name, "in"]));
    }
    let open = ["-k", "file:mine"];
    done(&alone(&place, &[&["decrypt", "-o", "out", "a.wax"], &open[..]].concat()));
    assert!(place.read("out") == plain);
    done(&alone(&place, &[&["verify", "a.wax", "b.wax"], &open[..]].concat()));
    let part = alone(&place, &[&["cat", "--range", "20000..70000", "a.wax"], &open[..]].concat());
    done(&part);
    assert!(part.stdout == plain[20_000..70_000]);
    done(&alone(&place, &["inspect", "a.wax"]));
    // Without the limit, several threads would share several files.
    let change = ["rewrap", "--json", "--allow-unwrap", "-k", "file:mine", "--to", "file:next"];
    let ran = alone(&place, &[&change[..], &["a.wax", "b.wax", "missing", "c.wax"]].concat());
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
    assert_eq!(ran.text().lines().count(), 4, "{}", ran.text());
    for name in ["a.wax", "b.wax", "c.wax"] {
        done(&alone(&place, &["verify", "-k", "file:next", name]));
    }
    // Bytes are inserted, so salvage has to search for the chunks after them.
    let mut moved = place.read("a.wax");
    moved.splice(1 << 20..1 << 20, noise(777));
    place.write("moved.wax", &moved);
    let ran = alone(&place, &["salvage", "-k", "file:next", "-o", "rescued", "moved.wax"]);
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    let rescued = place.read("rescued");
    let lost = rescued.iter().zip(&plain).filter(|(is, was)| is != was).count();
    assert!(rescued.len() == plain.len() && lost <= 16_384, "{lost} bytes are lost");
    assert!(!place.names().iter().any(|name| name.ends_with("tmp")), "{:?}", place.names());
}

/// Calls of AWS KMS need a thread. If it cannot be started, this is an error and not a bug.
#[cfg(feature = "aws-kms")]
#[test]
fn where_no_thread_can_be_started_kms_is_an_error() {
    let place = place();
    place.write("in", b"content");
    for args in [
        &["encrypt", "-k", "alias/a", "in"][..],
        &["direct", "decrypt", "-o", "in.wax", "in"],
        &["key", "show", "alias/a"],
    ] {
        let mut command = limited(&place, "--nproc=1:1", args);
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x").env("AWS_REGION", "us-east-1");
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        let ran = run(command);
        ran.failed(7, &["thread"]);
        assert!(!place.exists("in.wax"));
    }
}

/// The limit grows by one thread at a time, so each thread that the AWS library starts fails once. Some threads look up
/// a name or read a file.
#[cfg(feature = "aws-kms")]
#[test]
fn where_few_threads_can_be_started_kms_is_an_error() {
    let place = place();
    place.write("in", b"content");
    place.write("config", b"[default]\nregion = us-east-1\n");
    place.write("credentials", b"[default]\naws_access_key_id = x\naws_secret_access_key = x\n");
    let mut codes = std::collections::BTreeSet::new();
    for threads in 1..=6 {
        for args in [&["encrypt", "-k", "alias/a", "in"][..], &["key", "show", "alias/a"]] {
            for endpoint in ["http://127.0.0.1:9", "http://localhost:9", "https://localhost:9"] {
                let mut command = limited(&place, &format!("--nproc={threads}:{threads}"), args);
                command.env("AWS_CONFIG_FILE", "config").env("AWS_SHARED_CREDENTIALS_FILE", "credentials");
                command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_MAX_ATTEMPTS", "1");
                let ran = run(command);
                assert!(
                    matches!(ran.code, Some(6 | 7)),
                    "{threads} {args:?} {endpoint}: {:?} {}",
                    ran.code,
                    ran.stderr
                );
                assert_eq!(ran.stderr.matches("waxseal: error: ").count(), 1, "{}", ran.stderr);
                assert!(!place.exists("in.wax"));
                codes.extend(ran.code);
            }
        }
    }
    assert!(codes.contains(&7), "{codes:?}");
}

/// No disk space is reserved for the length that a file claims before the file's end is authenticated.
#[test]
fn a_claimed_length_takes_no_room() {
    let place = Place::new();
    let len = place.sealed("f.wax", &noise(40_000)).len();
    let file = fs::File::options().write(true).open(place.path("f.wax")).unwrap();
    file.set_len(9_000_000_000).unwrap();
    assert!(len < 100_000);
    for args in
        [["decrypt", "-k", "file:k", "-o", "out", "f.wax"], ["decrypt", "-fkfile:k", "-q", "-o", "out", "f.wax"]]
    {
        let mut command = Command::new("prlimit");
        // No file can become longer than this, and space for a longer file cannot be reserved.
        command.arg("--fsize=300000000").arg(cli_support::WAXSEAL).args(args).current_dir(place.path(""));
        let ran = run(command);
        assert_eq!(ran.code, Some(4), "{}", ran.stderr);
        assert!(!place.exists("out"));
    }
}

/// Each of these files asks for 512 MiB, and `rewrap` works on all of them at once.
#[test]
fn hostile_passphrase_slots_share_one_budget() {
    let place = Place::new();
    let cost = Argon2Cost { memory_kib: 512 * 1024, passes: 1, lanes: 1 };
    let passphrase = Passphrase::with_cost(SecretBytes::new(b"secret".to_vec()), cost).unwrap();
    let mut writer = SealWriter::new(Vec::new(), &[&passphrase as &dyn KeySealer], &SealOptions::new()).unwrap();
    std::io::Write::write_all(&mut writer, b"content").unwrap();
    let sealed = writer.finish().unwrap();
    place.write("p", b"secret");
    fs::set_permissions(place.path("p"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("{number}.wax")).collect();
    names.iter().for_each(|name| drop(place.write(name, &sealed)));
    let mut command = Command::new("prlimit");
    // All files at the same time would need 4 GiB. The limit also counts the allocator's arenas, so only one is
    // allowed.
    command.arg("--as=2147483648").arg(cli_support::WAXSEAL).env("MALLOC_ARENA_MAX", "1").current_dir(place.path(""));
    command.args(["rewrap", "--allow-unwrap", "-k", "passphrase:file=p", "--add", "file:k"]).args(&names);
    command.stdin(Stdio::null());
    done(&run(command));
    for name in &names {
        place.ok(&["verify", "-k", "file:k", name]);
    }
}

/// A passphrase needs 64 MiB. Too little memory says nothing about the key.
#[test]
fn where_memory_is_short_no_key_is_blamed() {
    let place = Place::new();
    place.write("in", b"content");
    place.write("p", b"a long passphrase");
    fs::set_permissions(place.path("p"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let key = ["-k", "passphrase:file=p"];
    place.ok(&[&["encrypt", "-o", "in.wax", "in"], &key[..]].concat());
    for args in [&["verify", "in.wax"][..], &["encrypt", "-o", "new.wax", "in"], &["rewrap", "in.wax"]] {
        let mut command = Command::new("prlimit");
        command.arg("--as=100000000").arg(cli_support::WAXSEAL).args(args).args(key).current_dir(place.path(""));
        if args[0] == "rewrap" {
            command.args(["--allow-unwrap", "--add", "file:k"]);
        }
        let ran = run(command);
        ran.failed(7, &["64 MiB for Argon2id", "out of memory"]);
        assert!(!ran.stderr.contains("no key opens") && !ran.stderr.contains("hint:"), "{}", ran.stderr);
    }
    assert!(!place.exists("new.wax"));
}

/// The environment may ask for any number of threads.
#[test]
fn the_threads_of_salvage_have_a_limit() {
    let place = Place::new();
    let plain = noise(4 << 20);
    place.sealed("f.wax", &plain);
    let mut command = place.command(&["salvage", "-q", "-k", "file:k", "-o", "out", "f.wax"]);
    let mut child = command.env("RAYON_NUM_THREADS", "3000").stdin(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        let told = fs::read_to_string(&status).unwrap_or_default();
        let threads = told.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        most = most.max(threads.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
    };
    assert!(ended.success() && most < 70, "{ended}: {most} threads");
    assert!(place.read("out") == plain);
}

/// Nearly all of the file is a hole. Salvage must skip the hole, because reading 100 GiB would take too long for a
/// test.
#[test]
fn salvage_does_not_read_holes() {
    let place = Place::new();
    place.sealed("f.wax", &noise(40_000));
    fs::File::options().write(true).open(place.path("f.wax")).unwrap().set_len(100 << 30).unwrap();
    place.ok(&["salvage", "-k", "file:k", "-o", "out", "f.wax"]);
    assert!(place.read("out") == noise(40_000));
}
