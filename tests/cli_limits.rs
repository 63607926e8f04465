//! The real program with less than it would take: no thread but its own, little memory, short files.
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

/// The program under a limit of `prlimit`, without root's privileges, to which not all limits apply.
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

/// As `ulimit -u 1` has it: no second thread, and no child.
fn alone(place: &Place, args: &[&str]) -> Ran {
    run(limited(place, "--nproc=1:1", args))
}

fn done(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// A folder whose files are the unprivileged user's.
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
    // Several files, which several threads would share.
    let change = ["rewrap", "--json", "--allow-unwrap", "-k", "file:mine", "--to", "file:next"];
    let ran = alone(&place, &[&change[..], &["a.wax", "b.wax", "missing", "c.wax"]].concat());
    assert_eq!(ran.code, Some(10), "{}", ran.stderr);
    assert_eq!(ran.text().lines().count(), 4, "{}", ran.text());
    for name in ["a.wax", "b.wax", "c.wax"] {
        done(&alone(&place, &["verify", "-k", "file:next", name]));
    }
    // Bytes that were put in, which salvage has to search for.
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

/// The thread for AWS KMS cannot be done without: that is an error, and not a bug.
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

/// One more, two more, and so on: whichever of the threads that the AWS library takes is the one that cannot be started,
/// and whether it looks up a name or reads a file.
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

/// What a file claims by its length takes no room before its end is authenticated.
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
        // Longer than this no file becomes, nor may room be got for one.
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
    // All at once would take 4 GiB. Arenas of the allocator would count, too.
    command.arg("--as=2147483648").arg(cli_support::WAXSEAL).env("MALLOC_ARENA_MAX", "1").current_dir(place.path(""));
    command.args(["rewrap", "--allow-unwrap", "-k", "passphrase:file=p", "--add", "file:k"]).args(&names);
    command.stdin(Stdio::null());
    done(&run(command));
    for name in &names {
        place.ok(&["verify", "-k", "file:k", name]);
    }
}

/// A file of which nearly all is a hole: it ends, though 100 GiB are not read in the time of a test.
#[test]
fn salvage_does_not_read_holes() {
    let place = Place::new();
    place.sealed("f.wax", &noise(40_000));
    fs::File::options().write(true).open(place.path("f.wax")).unwrap().set_len(100 << 30).unwrap();
    place.ok(&["salvage", "-k", "file:k", "-o", "out", "f.wax"]);
    assert!(place.read("out") == noise(40_000));
}
