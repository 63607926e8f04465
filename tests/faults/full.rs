//! Real limits: a disk that is full, a file that may not grow, a medium that cannot be read.

use std::process::Command;

use crate::cases::{Case, Goal, Stream, cases};
use crate::check::{check, errno};
use crate::cli_support::{WAXSEAL, is_root};
use crate::injector::{End, Fault, Ground, How, Injected, Mode};

/// This is not a fault of the injector. Every failure must end like a failed write.
const LIMIT: Fault = Fault { kind: "write", number: 0, how: How::Broken(errno::ENOSPC) };

fn writing(largest: bool) -> Vec<Case> {
    let len = if largest { 3 * 1024 * 1024 } else { 40 * 1024 };
    let is_own = |case: &Case| case.target().is_some() && !case.is_written_by_command();
    cases().into_iter().filter(|case| case.code == 0 && is_own(case) && case.plain.len() == len).collect()
}

/// Runs `case` as a shell does after `before`.
fn run_after(before: &str, case: &Case, ground: &Ground) -> Injected {
    let script = format!("{before}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, WAXSEAL]).args(&case.args);
    let ran = ground.run_in(command, case.stdin.as_deref());
    let end = ran.code.map_or_else(|| End::Signal(ran.signal.unwrap()), End::Exit);
    Injected { end, ran, log: b"hit ".to_vec() }
}

/// `ulimit -f`, in units of 512 bytes. Its signal (SIGXFSZ) does not kill the program.
#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let key = cases().into_iter().find(|case| matches!(case.goal, Goal::Key(_))).unwrap();
    let limits = [0, 1, 8, 9, 16, 17, 50, 95, 200].into_iter();
    for (limit, case) in
        limits.flat_map(|limit| writing(false).into_iter().chain([key.clone()]).map(move |case| (limit, case)))
    {
        let ground = Ground::new(&case.files);
        let injected = run_after(&format!("ulimit -f {limit}"), &case, &ground);
        // Pipes and files that are changed in place need no new space.
        let result = check(&case, &LIMIT, &injected, &ground);
        assert_eq!(result, Ok(()), "{limit}: {:?}: {:?} {}", case.args, injected.end, injected.ran.stderr);
        assert!(limit > 0 || injected.end == End::Exit(7), "{:?}", case.args);
        assert!(limit < 200 || injected.end == End::Exit(0), "{:?}: {}", case.args, injected.ran.stderr);
    }
}

/// A file system in memory.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(ground: &Ground, kib: usize) -> Self {
        let folder = ground.folder();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&folder);
        let mounted = mount.output().expect("the test needs `mount`");
        assert!(mounted.status.success(), "the test needs a tmpfs: {}", String::from_utf8_lossy(&mounted.stderr));
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A user without the right to mount uses a namespace.
fn again_as_root(test: &str) {
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    let output = again.args(["--exact", test]).output().expect("the test needs root, or `unshare`");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "the test needs root, or a user namespace: {told}");
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    if !is_root() {
        return again_as_root("full::a_full_disk_leaves_what_was_there");
    }
    let (mut full, mut fitted) = (0, 0);
    for case in writing(true) {
        let held: usize = case.files.iter().map(|(_, bytes)| bytes.len().next_multiple_of(4096)).sum();
        for room in [0, 64, 2048, 3068, 8192] {
            let ground = Ground::new(&[]);
            let _disk = SmallDisk::mount(&ground, held / 1024 + room);
            ground.fill(&case.files);
            let injected = run_after(":", &case, &ground);
            let result = check(&case, &LIMIT, &injected, &ground);
            assert_eq!(result, Ok(()), "{room}: {:?}: {:?} {}", case.args, injected.end, injected.ran.stderr);
            full += usize::from(injected.end == End::Exit(7));
            fitted += usize::from(injected.end == End::Exit(0));
        }
    }
    assert!(full > 10 && fitted > 10, "{full} disks were full, {fitted} not");
}

/// If one read fails, it is repeated in smaller pieces. If all reads after some position fail, the data before it is
/// there.
#[test]
fn salvage_reads_around_what_cannot_be_read() {
    let case = writing(true).into_iter().find(|case| matches!(case.goal, Goal::Salvaged(_))).unwrap();
    let counted = Ground::new(&case.files).inject(Mode::Count, &case.args, None);
    assert!(matches!(case.stream, Stream::Words) && counted.end == End::Exit(0));
    let (mut whole, mut parts) = (0, Vec::new());
    let hows = [How::Fail(errno::EIO), How::Broken(errno::EIO)];
    for (number, how) in (0..16).flat_map(|number| hows.map(|how| (number, how))) {
        let fault = Fault { kind: "read", number, how };
        let ground = Ground::new(&case.files);
        let injected = ground.inject(Mode::Strike(fault), &case.args, None);
        assert_eq!(check(&case, &fault, &injected, &ground), Ok(()), "{fault:?} {}", injected.ran.stderr);
        match injected.end {
            End::Exit(0) => whole += 1,
            End::Exit(4) => {
                assert!(matches!(how, How::Broken(_)), "{fault:?} {}", injected.ran.stderr);
                let salvaged = ground.read("in").unwrap();
                parts.push(salvaged.iter().zip(&case.plain).filter(|(own, right)| own == right).count());
            }
            // The key file is read first, then the header.
            end => assert!(end == End::Exit(7) && number < 3, "{fault:?}: {end:?} {}", injected.ran.stderr),
        }
    }
    assert!(whole > 12, "{whole} whole");
    assert!(parts.len() > 2 && parts.iter().any(|part| *part > case.plain.len() / 2), "{parts:?}");
}
