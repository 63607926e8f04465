//! File systems that behave differently: each refuses an optional operation, reports other values, or loses the written
//! data on close. If an operation is only optional, the run succeeds without it. If the data is lost, the run fails and
//! leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::cases::{Case, Goal, cases};
use crate::check::errno::*;
use crate::check::{nothing_is_lost, stderr_is_right};
use crate::injector::{End, Fault, Ground, How, Injected, Mode};
use crate::skipped::skipped;

type Habits = &'static [(&'static str, i32)];

/// The block length that NFS reports, which is the length of its transfers.
const TRANSFER: i32 = 1 << 20;

/// First each behaviour alone, with each answer that real file systems give. Then several together, as in real file
/// systems.
const ALL: [Habits; 44] = [
    &[("chmod", EPERM)],
    &[("chmod", EOPNOTSUPP)],
    &[("chown", EPERM)],
    &[("attributes", EOPNOTSUPP)],
    &[("flock", ENOLCK)],
    &[("flock", EOPNOTSUPP)],
    &[("flock", ENOSYS)],
    &[("sync-folder", EINVAL)],
    &[("sync-folder", EOPNOTSUPP)],
    &[("sync-folder", ENOSYS)],
    &[("sync-folder", EBADF)],
    &[("open-folder", EACCES)],
    &[("link", EPERM)],
    &[("link", EINVAL)],
    &[("link", EOPNOTSUPP)],
    &[("no-replace", EPERM)],
    &[("no-replace", EINVAL)],
    &[("no-replace", EOPNOTSUPP)],
    &[("no-replace", ENOSYS)],
    &[("no-replace", EPERM), ("link", EPERM)],
    &[("no-replace", EINVAL), ("link", EINVAL)],
    &[("no-replace", EOPNOTSUPP), ("link", EOPNOTSUPP)],
    &[("tmpfile", EOPNOTSUPP)],
    &[("tmpfile", EISDIR)],
    &[("tmpfile", EINVAL)],
    &[("blocks", TRANSFER)],
    &[("allocate", EOPNOTSUPP)],
    &[("allocate", ENOSYS)],
    &[("advise", EINVAL)],
    &[("advise", ENOSYS)],
    &[("direct", EINVAL)],
    &[("lease", EINVAL)],
    &[("lease", EAGAIN)],
    &[("holes", EINVAL)],
    &[("copy", EXDEV)],
    &[("copy", EOPNOTSUPP)],
    &[("close", ENOSPC)],
    &[("close", EIO)],
    &[("close", EDQUOT)],
    // An object store that is mounted with FUSE.
    &[
        ("chmod", EPERM),
        ("chown", EPERM),
        ("attributes", EOPNOTSUPP),
        ("sync-folder", EINVAL),
        ("link", EPERM),
        ("no-replace", EINVAL),
        ("tmpfile", EOPNOTSUPP),
        ("allocate", EOPNOTSUPP),
        ("direct", EINVAL),
        ("lease", EINVAL),
        ("holes", EINVAL),
    ],
    // CIFS.
    &[
        ("chmod", EPERM),
        ("chown", EPERM),
        ("link", EOPNOTSUPP),
        ("no-replace", EINVAL),
        ("tmpfile", EOPNOTSUPP),
        ("sync-folder", EINVAL),
        ("blocks", TRANSFER),
    ],
    // NFS of an older version.
    &[
        ("no-replace", EINVAL),
        ("tmpfile", EOPNOTSUPP),
        ("allocate", EOPNOTSUPP),
        ("blocks", TRANSFER),
        ("lease", EAGAIN),
        ("holes", EINVAL),
    ],
    // FAT.
    &[
        ("chmod", EPERM),
        ("chown", EPERM),
        ("link", EPERM),
        ("tmpfile", EOPNOTSUPP),
        ("attributes", EOPNOTSUPP),
        ("allocate", EOPNOTSUPP),
    ],
    // A full object store, which reports this when the written data is sent.
    &[
        ("close", ENOSPC),
        ("chmod", EPERM),
        ("sync-folder", ENOSYS),
        ("link", EPERM),
        ("no-replace", EINVAL),
        ("tmpfile", EOPNOTSUPP),
    ],
];

fn has(habits: Habits, what: &str) -> bool {
    habits.iter().any(|(own, _)| *own == what)
}

fn is_in_place(case: &Case) -> bool {
    case.args[0] == "rewrap" && !case.args.iter().any(|arg| arg == "-o")
}

/// The exit codes that are right.
fn right_ends(case: &Case, habits: Habits) -> &'static [i32] {
    match case.code {
        // A case that fails for another reason does not reach the commit.
        4 => &[4],
        8 => &[8],
        9 => &[9],
        // The only lock that is required (spec 15.1).
        _ if is_in_place(case) && has(habits, "flock") => &[7],
        // Data that was read back without the cache is on the disk, even if closing reports an error.
        _ if is_in_place(case) && has(habits, "close") => &[0, 7],
        // The output is another program's.
        _ if case.args.iter().any(|arg| arg == "--to-command") => &[0],
        _ if case.target().is_some() && has(habits, "close") => &[7],
        _ => &[0],
    }
}

/// A fault for the checks that are shared with single faults. It stands for no particular call.
const NONE: Fault = Fault { kind: "habit", number: 0, how: How::Short(0) };

fn check(case: &Case, habits: Habits, injected: &Injected, ground: &Ground) -> Result<(), String> {
    let right = right_ends(case, habits);
    if !right.iter().any(|code| injected.end == End::Exit(*code)) {
        return Err(format!("it ends with {:?}, not with {right:?}", injected.end));
    }
    if !stderr_is_right(injected, &NONE) {
        return Err("stderr is not one error".into());
    }
    nothing_is_lost(case, &NONE, injected, ground)?;
    if is_in_place(case) && has(habits, "flock") {
        let before = case.target().and_then(|name| Some((ground.read(name)?, case.before(name)?)));
        if before.is_some_and(|(now, before)| now != before) {
            return Err("a file without a lock was changed".into());
        }
        // A copy needs no lock. A repair always works in place.
        let word = if matches!(case.goal, Goal::Mended(..)) { "hint: " } else { "-o" };
        if !injected.ran.stderr.contains(word) {
            return Err(format!("the way out is not told: {word}"));
        }
    }
    Ok(())
}

/// What the calls of a run were refused.
fn hits(log: &[u8]) -> Vec<String> {
    let log = String::from_utf8_lossy(log).into_owned();
    log.lines().filter_map(|line| line.strip_prefix("hit ")?.split(' ').next().map(str::to_owned)).collect()
}

/// Each of `cases` on each file system.
fn try_all(cases: &[Case]) {
    let runs: Vec<(&Case, Habits)> = cases.iter().flat_map(|case| ALL.map(|habits| (case, habits))).collect();
    let wrong = Mutex::new(Vec::new());
    let met = Mutex::new(BTreeMap::<String, usize>::new());
    crate::for_each(&runs, |(case, habits)| {
        let ground = Ground::new(&case.files);
        let injected = ground.inject(Mode::Habits(habits), &case.args, case.stdin.as_deref());
        hits(&injected.log).into_iter().for_each(|what| *met.lock().unwrap().entry(what).or_default() += 1);
        if let Err(what) = check(case, habits, &injected, &ground) {
            let (len, stderr) = (case.plain.len(), &injected.ran.stderr);
            wrong.lock().unwrap().push(format!("{what}: {habits:?} in {:?}, {len} B: {stderr}", case.args));
        }
    });
    let (wrong, met) = (wrong.into_inner().unwrap(), met.into_inner().unwrap());
    let known: BTreeSet<&str> = ALL.iter().copied().flatten().map(|(what, _)| *what).collect();
    for what in known.iter().filter(|what| !met.contains_key(**what)) {
        skipped("file systems with other habits", &format!("no call of the program meets `{what}`"));
    }
    eprintln!("{} runs on file systems with other habits, {} wrong; calls: {met:?}", runs.len(), wrong.len());
    let told = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} of {} runs went wrong:\n{}", wrong.len(), runs.len(), told.join("\n"));
    for what in ["chmod", "flock", "sync-folder", "blocks", "close", "allocate", "advise"] {
        assert!(met.contains_key(what), "no call met {what}: {met:?}");
    }
}

#[test]
fn file_systems_with_other_habits_lose_nothing() {
    let cases = cases();
    // Space is allocated in advance only for large files.
    let is_large = |case: &Case| case.plain.len() > 1 << 20 && matches!(case.goal, Goal::Sealed(_) | Goal::Plain(_));
    let taken = |case: &Case| case.target() == Some("new") || case.plain.len() == 40 * 1024 || is_large(case);
    try_all(&cases.into_iter().filter(taken).collect::<Vec<_>>());
}

#[test]
#[ignore = "takes minutes"]
fn no_habit_loses_anything() {
    try_all(&cases());
}

/// Makes each call, and prints its result.
const CALLS: &str = r#"
import ctypes, fcntl, os
def tell(what, call):
    try:
        print(what, call() or 0)
    except OSError as error:
        print(what, error.errno)
try:
    folder = os.open(".", os.O_RDONLY)
except OSError:
    folder = os.open(".", os.O_PATH)
file = os.open("new", os.O_RDWR | os.O_CREAT)
tell("chmod", lambda: os.fchmod(file, 0o600))
tell("chown", lambda: os.fchown(file, -1, -1))
tell("attributes", lambda: os.setxattr(file, "user.a", b"b"))
tell("flock", lambda: fcntl.flock(file, fcntl.LOCK_EX))
tell("sync-folder", lambda: os.fsync(folder))
tell("sync-file", lambda: os.fsync(file))
tell("open-folder", lambda: os.close(os.open(os.getcwd(), os.O_RDONLY)))
tell("open-path", lambda: os.close(os.open(".", os.O_PATH)))
tell("link", lambda: os.link(f"/proc/self/fd/{file}", "linked", dst_dir_fd=folder, follow_symlinks=True))
libc = ctypes.CDLL(None, use_errno=True)
rename = lambda flags: ctypes.get_errno() if libc.renameat2(folder, b"new", folder, b"other", flags) else 0
tell("no-replace", lambda: rename(1))
tell("exchange", lambda: rename(2))
tell("tmpfile", lambda: os.close(os.open(".", os.O_TMPFILE | os.O_RDWR, dir_fd=folder)))
tell("direct", lambda: fcntl.fcntl(file, fcntl.F_SETFL, os.O_DIRECT))
tell("lease", lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK))
tell("holes", lambda: os.lseek(file, 0, os.SEEK_HOLE))
tell("seek", lambda: os.lseek(file, 0, os.SEEK_SET))
tell("allocate", lambda: os.posix_fallocate(file, 0, 1))
tell("advise", lambda: os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED))
tell("copy", lambda: os.copy_file_range(file, file, 0, 0, 0))
tell("blocks", lambda: os.fstatvfs(file).f_frsize)
reader = os.open("k", os.O_RDONLY)
tell("close-reader", lambda: os.close(reader))
tell("close", lambda: os.close(file))
tell("elsewhere", lambda: os.fsync(os.open("/", os.O_RDONLY)))
"#;

/// Checks the behaviour that the tests above need, also for calls that the program does not make.
#[test]
fn the_layer_refuses_what_it_is_told_to() {
    const EVERY: Habits = &[
        ("chmod", 101),
        ("chown", 102),
        ("attributes", 103),
        ("flock", 104),
        ("sync-folder", 105),
        ("open-folder", 106),
        ("link", 107),
        ("no-replace", 108),
        ("tmpfile", 109),
        ("direct", 110),
        ("lease", 111),
        ("holes", 112),
        ("allocate", 113),
        ("advise", 114),
        ("copy", 115),
        ("close", 116),
        ("blocks", TRANSFER),
    ];
    let known: BTreeSet<&str> = ALL.iter().copied().flatten().map(|(what, _)| *what).collect();
    assert_eq!(known, EVERY.iter().map(|(what, _)| *what).collect());
    let ground = Ground::new(&[("k".into(), b"x".to_vec())]);
    // `-I`: otherwise Python also looks for its modules in the current folder.
    let args = ["-I".into(), "-c".into(), CALLS.to_owned()];
    // A folder that cannot be opened cannot be synced either.
    let (alone, together): (Vec<_>, Vec<_>) = EVERY.iter().partition(|(what, _)| *what == "open-folder");
    for habits in [alone, together] {
        let habits: Habits = habits.leak();
        let injected = ground.inject_into("python3", Mode::Habits(habits), &args, None);
        assert_eq!(injected.end, End::Exit(0), "{}", injected.ran.stderr);
        let text = injected.ran.text();
        let told: BTreeMap<&str, i32> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(what, is)| (what, is.parse().unwrap()))
            .collect();
        for (what, value) in habits {
            assert_eq!(told[*what], *value, "{what}: {told:?}");
        }
        for other in ["sync-file", "open-path", "seek", "close-reader", "elsewhere"] {
            assert_eq!(told[other], 0, "{other}: {told:?}");
        }
        assert!(hits(&injected.log).iter().all(|hit| has(habits, hit)), "{habits:?}");
    }
}
