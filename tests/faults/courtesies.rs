//! File systems that refuse operations other than those on data, and file systems that report an error on close.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::cases::{Case, cases};
use crate::check::{check, errno};
use crate::counts;
use crate::injector::{End, Fault, Ground, How, Injected, Mode};

const ENOLCK: i32 = 37;
const TERM: i32 = 15;

/// The case of 40 KiB whose command line has these words.
fn case(args: &str) -> Case {
    let sorted = |mut words: Vec<String>| {
        words.sort();
        words
    };
    let words = sorted(args.split(' ').map(str::to_owned).collect());
    let is = |case: &Case| case.plain.len() == 40 * 1024 && sorted(case.args.clone()) == words;
    cases().into_iter().find(is).unwrap_or_else(|| panic!("no case {args}"))
}

fn struck(case: &Case, ground: &Ground, kind: &'static str, number: usize, how: How) -> Injected {
    let fault = Fault { kind, number, how };
    let injected = ground.inject(Mode::Strike(fault), &case.args, case.stdin.as_deref());
    assert!(injected.was_hit(), "{fault:?} in {:?}", case.args);
    assert_eq!(check(case, &fault, &injected, ground), Ok(()), "{fault:?}: {}", injected.ran.stderr);
    injected
}

#[test]
fn what_is_not_synced_is_said() {
    for args in ["encrypt -q -k file:k in", "encrypt -q -k file:k -f in", "decrypt -q -k file:k in.wax"] {
        let case = case(args);
        for (number, what) in [(0, "does not sync the output:"), (1, "does not sync the output's folder:")] {
            for errno in [errno::EINVAL, errno::ENOSYS, errno::EOPNOTSUPP, errno::EBADF] {
                let injected = struck(&case, &Ground::new(&case.files), "sync", number, How::Fail(errno));
                assert_eq!(injected.end, End::Exit(0), "{args}: {}", injected.ran.stderr);
                assert!(injected.ran.stderr.contains(what), "{args}: {:?}", injected.ran.stderr);
            }
        }
        // A failing disk is different: it is an error.
        let injected = struck(&case, &Ground::new(&case.files), "sync", 1, How::Fail(errno::EIO));
        assert_eq!(injected.end, End::Exit(7), "{args}");
    }
}

/// If a file system refuses a mode, no backup is lost. There is a warning about wider permissions than requested, but
/// not about narrower ones.
#[test]
fn a_mode_that_is_refused_is_said_where_it_is_wider() {
    let case = case("encrypt -q -k file:k in");
    for (mode, warning) in [(0o400, Some("permissions 600, wider than 400")), (0o644, None)] {
        for errno in [errno::EPERM, errno::EOPNOTSUPP, errno::ENOSYS] {
            let ground = Ground::new(&case.files);
            fs::set_permissions(ground.folder().join("in"), Permissions::from_mode(mode)).unwrap();
            let injected = struck(&case, &ground, "mode", 0, How::Broken(errno));
            assert_eq!(injected.end, End::Exit(0), "{}", injected.ran.stderr);
            match warning {
                Some(warning) => assert!(injected.ran.stderr.contains(warning), "{:?}", injected.ran.stderr),
                None => assert_eq!(injected.ran.stderr, ""),
            }
        }
    }
}

/// If there are neither links nor files without names, the content is copied into a file with a name.
#[test]
fn a_file_that_gets_no_name_is_not_lost() {
    for args in ["encrypt -q -k file:k in", "encrypt -q -k file:k -f in", "decrypt -q -k file:k in.wax"] {
        let case = case(args);
        for errno in [errno::EPERM, errno::EOPNOTSUPP, errno::ENOSYS, errno::EXDEV] {
            let injected = struck(&case, &Ground::new(&case.files), "link", 0, How::Broken(errno));
            assert_eq!((injected.end, injected.ran.stderr.as_str()), (End::Exit(0), ""), "{args}");
        }
    }
}

#[test]
fn a_rewrap_without_locks_names_the_way_out() {
    let change = "rewrap -q --allow-unwrap -k file:k -k file:k2 --from file:k --to file:k2";
    let in_place = case(&format!("{change} in.wax"));
    for errno in [errno::ENOSYS, errno::EOPNOTSUPP, errno::EINVAL, ENOLCK] {
        let injected = struck(&in_place, &Ground::new(&in_place.files), "lock", 0, How::Broken(errno));
        let stderr = &injected.ran.stderr;
        assert_eq!(injected.end, End::Exit(7), "{stderr}");
        assert!(stderr.contains("has no locks") && stderr.contains("hint: `waxseal rewrap -o OUT`"), "{stderr}");
    }
    // The suggested command needs no lock.
    assert!(!counts(&case(&format!("{change} -o new.wax in.wax"))).contains_key("lock"));
}

/// Some file systems report a full disk only on close.
#[test]
fn an_error_at_the_close_leaves_what_was_there() {
    for args in [
        "encrypt -q -k file:k in",
        "encrypt -q -k file:k -f in",
        "decrypt -q -k file:k in.wax",
        "salvage -q -k file:k -o in in.wax",
        "rewrap -q --allow-unwrap -k file:k -k file:k2 --from file:k --to file:k2 -f -o new.wax in.wax",
    ] {
        let case = case(args);
        let target = case.target().unwrap();
        let mut kept = 0;
        for number in 0..counts(&case)["close"] {
            let ground = Ground::new(&case.files);
            let injected = struck(&case, &ground, "close", number, How::Fail(errno::ENOSPC));
            let is_kept = ground.read(target).as_deref() == case.before(target);
            kept += usize::from(injected.end == End::Exit(7) && is_kept);
        }
        assert!(kept > 0, "{args}: no error at a close is seen before the output counts");
    }
}

/// A disk in the ground's folder, as a device file.
struct Disk(String);

impl Disk {
    fn new(ground: &Ground) -> Option<Self> {
        fs::write(ground.folder().join("image"), vec![0; 1 << 20]).unwrap();
        let told = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).current_dir(ground.folder()).output().ok()?;
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
        };
        let disk = Self(told("losetup", &["--find", "--show", "image"])?);
        let numbers = told("stat", &["-c", "0x%t 0x%T", &disk.0])?;
        let (major, minor) = numbers.split_once(' ')?;
        told("mknod", &["disk", "b", major, minor])?;
        Some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A block device is synced, unless `--no-sync` is given. After a signal, it gets neither its last bytes nor its sync,
/// just as a file does not get its name.
#[test]
fn a_block_device_is_synced() {
    let plain = case("encrypt -q -k file:k in");
    let ground = Ground::new(&plain.files);
    let Some(_disk) = Disk::new(&ground) else {
        return crate::skipped::skipped("a_block_device_is_synced", "it needs a loop device");
    };
    let fault = Fault { kind: "sync", number: 0, how: How::Fail(errno::EIO) };
    for (more, end, is_hit) in [("-q", End::Exit(7), true), ("--no-sync", End::Exit(0), false)] {
        let args = ["encrypt", "-f", "-k", "file:k", more, "-o", "disk", "in"].map(str::to_owned);
        let injected = ground.inject(Mode::Strike(fault), &args, None);
        assert_eq!((injected.end, injected.was_hit()), (end, is_hit), "{more}: {}", injected.ran.stderr);
    }
    for number in 0..2 {
        let args = ["encrypt", "-f", "-k", "file:k", "-o", "disk", "in"].map(str::to_owned);
        let fault = Fault { kind: "gate", number, how: How::Before(TERM) };
        let injected = ground.inject(Mode::Strike(fault), &args, None);
        assert_eq!((injected.end, injected.was_hit()), (End::Signal(TERM), true), "{number}");
    }
}
