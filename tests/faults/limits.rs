//! Limits of the process: on threads, memory and descriptors. If the program cannot work without more, this is an error
//! of the system, and nothing is lost.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use crate::cases::{Case, Goal, cases};
use crate::check::{nothing_is_lost, stderr_is_right};
use crate::cli_support::{NOBODY, WAXSEAL, is_root};
use crate::injector::{End, Fault, Ground, How, Injected};
use crate::skipped::skipped;

/// The signal after a failed allocation, in Rust and in C (SIGABRT).
const ABRT: i32 = 6;

/// A limit of `prlimit`, and its value.
type Limit = (&'static str, u64);

/// A fault for the checks that are shared with single faults. Writing to stderr never fails here.
const NONE: Fault = Fault { kind: "limit", number: 0, how: How::Short(0) };

/// A copy of the program that every user may run.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("waxseal");
        // Another process copies it. Otherwise a child of this process could still have the file open for writing, and
        // it could not be run.
        assert!(Command::new("cp").arg(WAXSEAL).arg(&path).status().unwrap().success());
        (dir, path)
    });
    path
}

/// An unused user id, counted down from [`NOBODY`], because the system counts processes for each user.
fn somebody() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id() % 64 * 512;
    NOBODY - (own + NEXT.fetch_add(1, Ordering::Relaxed) % 512)
}

/// The command line under a limit. It runs without root's privileges, because some limits do not apply to root.
fn limited(ground: &Ground, (name, value): Limit, args: &[String]) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--{name}={value}:{value}")).arg(program()).args(args);
    // Otherwise the allocator's arena for each thread would also count.
    command.env("MALLOC_ARENA_MAX", "1").env("PATH", "/usr/local/bin:/usr/bin:/bin");
    if is_root() {
        let user = somebody();
        let folder = ground.folder();
        fs::set_permissions(folder.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        for name in ground.names() {
            chown(folder.join(name), Some(user), Some(user)).unwrap();
        }
        chown(&folder, Some(user), Some(user)).unwrap();
        command.uid(user).gid(user);
    }
    command
}

/// With less memory, the system cannot start the program.
fn floor(name: &'static str, values: impl Iterator<Item = u64>) -> u64 {
    let starts = |value: &u64| {
        let ground = Ground::new(&[]);
        let ran = ground.run_in(limited(&ground, (name, *value), &["--version".into()]), None);
        ran.code == Some(0)
    };
    values.into_iter().find(starts).unwrap_or_else(|| panic!("the program starts with no {name}"))
}

const MIB: u64 = 1 << 20;

fn limits(steps: u64) -> Vec<Limit> {
    let threads = 1..=6;
    let descriptors = floor("nofile", 3..32);
    let memory = floor("as", (1..512).map(|mib| mib * MIB));
    let mut limits: Vec<Limit> = (descriptors..descriptors + 16).map(|value| ("nofile", value)).collect();
    limits.extend((0..steps).map(|step| ("as", memory + step * 96 * MIB / steps)));
    if is_root() {
        limits.extend(threads.map(|value| ("nproc", value)));
    } else {
        // All processes of the user count, and their number is not known.
        limits.push(("nproc", 1));
        skipped("limits of threads", "only none at all is tried without root's privileges");
    }
    limits
}

fn end_is_right(case: &Case, (name, _): Limit, end: End) -> bool {
    let has = |word: &str| case.args.iter().any(|arg| arg == word);
    match end {
        End::Exit(code) if code == case.code || code == 7 => true,
        // The command could not be started, or has failed for the same reason.
        End::Exit(9) => case.has_command(),
        // There is no room for a window: such an input cannot be mapped.
        End::Exit(2) => has("--input") && name == "as",
        End::Exit(4) => matches!(case.goal, Goal::Salvaged(_)),
        // This allocation cannot report its failure. The signal handler has cleaned up.
        End::Signal(signal) => signal == ABRT && name == "as",
        End::Exit(_) => false,
    }
}

fn check(case: &Case, limit: Limit, injected: &Injected, ground: &Ground) -> Result<(), String> {
    if !end_is_right(case, limit, injected.end) {
        return Err(format!("it ends with {:?}", injected.end));
    }
    if !stderr_is_right(injected, &NONE) {
        return Err("stderr is not one error".into());
    }
    nothing_is_lost(case, &NONE, injected, ground)
}

/// Each of `cases` under each limit. The memory grows in steps.
fn try_all(cases: &[Case], steps: u64) {
    let limits = limits(steps);
    let runs: Vec<(&Case, Limit)> =
        cases.iter().flat_map(|case| limits.iter().map(move |limit| (case, *limit))).collect();
    let wrong = Mutex::new(Vec::new());
    let ends = Mutex::new(BTreeMap::<String, usize>::new());
    let refused = AtomicUsize::new(0);
    crate::for_each(&runs, |(case, limit)| {
        let ground = Ground::new(&case.files);
        let ran = ground.run_in(limited(&ground, *limit, &case.args), case.stdin.as_deref());
        let end = ran.signal.map_or(End::Exit(ran.code.unwrap_or(-1)), End::Signal);
        refused.fetch_add(usize::from(end != End::Exit(case.code)), Ordering::Relaxed);
        *ends.lock().unwrap().entry(format!("{} {end:?}", limit.0)).or_default() += 1;
        let injected = Injected { end, ran, log: Vec::new() };
        if let Err(what) = check(case, *limit, &injected, &ground) {
            let (len, stderr) = (case.plain.len(), &injected.ran.stderr);
            wrong.lock().unwrap().push(format!("{what}: {limit:?} in {:?}, {len} B: {stderr}", case.args));
        }
    });
    let (wrong, ends) = (wrong.into_inner().unwrap(), ends.into_inner().unwrap());
    eprintln!("{} runs under {} limits, {} wrong; ends: {ends:?}", runs.len(), limits.len(), wrong.len());
    let told = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} of {} runs went wrong:\n{}", wrong.len(), runs.len(), told.join("\n"));
    assert!(refused.into_inner() > 0, "no limit was met");
}

#[test]
fn limits_lose_nothing() {
    let taken = |case: &Case| case.target() == Some("new") || case.plain.len() >= 40 * 1024;
    try_all(&cases().into_iter().filter(taken).collect::<Vec<_>>(), 8);
}

#[test]
#[ignore = "takes minutes"]
fn no_limit_loses_anything() {
    try_all(&cases(), 48);
}
