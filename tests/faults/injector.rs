//! The fault injector `inject.c`. The first test that needs it builds it under `target/`.
#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::cli_support::{self, Ran, WAXSEAL};

/// What is done to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It returns an error.
    Fail(i32),
    /// The call and all later calls of its kind return an error.
    Broken(i32),
    /// It handles fewer bytes than requested.
    Short(u16),
    /// The process gets a signal before the call.
    Before(i32),
    /// The process gets a signal after the call.
    After(i32),
}

/// One fault: what happens to which call of which kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) number: usize,
    pub(crate) how: How,
}

/// What the injector is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Count,
    Record,
    Strike(Fault),
    /// The file system treats these operations differently each time. The number is an errno or a length.
    Habits(&'static [(&'static str, i32)]),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

/// A run under the injector.
pub(crate) struct Injected {
    pub(crate) end: End,
    pub(crate) ran: Ran,
    pub(crate) log: Vec<u8>,
}

impl Injected {
    /// Whether the call for the fault was made at all. Threads may divide the work differently in each run.
    pub(crate) fn was_hit(&self) -> bool {
        self.log.starts_with(b"hit ") || self.log.windows(5).any(|window| window == b"\nhit ")
    }
}

/// A folder in which the program works, and its log next to it.
pub(crate) struct Ground {
    dir: TempDir,
}

impl Ground {
    pub(crate) fn new(files: &[(String, Vec<u8>)]) -> Self {
        let ground = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(ground.dir.path().join("work")).unwrap();
        ground.fill(files);
        ground
    }

    pub(crate) fn fill(&self, files: &[(String, Vec<u8>)]) {
        for (name, bytes) in files {
            let path = self.folder().join(name);
            fs::write(&path, bytes).unwrap();
            if name.starts_with('k') {
                fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
            }
        }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        // The injector compares paths with the system's name of the folder.
        self.dir.path().canonicalize().unwrap().join("work")
    }

    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder().join(name)).ok()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Runs the program under the injector.
    pub(crate) fn inject(&self, mode: Mode, args: &[String], stdin: Option<&[u8]>) -> Injected {
        self.inject_into(WAXSEAL, mode, args, stdin)
    }

    /// The same with another program.
    pub(crate) fn inject_into(&self, program: &str, mode: Mode, args: &[String], stdin: Option<&[u8]>) -> Injected {
        let log = self.dir.path().join("log");
        let mut command = Command::new(injector());
        command.arg(&log).arg(self.folder()).args(mode.arguments()).args(["--", program]).args(args);
        let ran = self.run_in(command, stdin);
        assert_eq!((ran.code, ran.signal), (Some(0), None), "the injector: a hang? {mode:?} {args:?}: {}", ran.stderr);
        let log = fs::read(log).unwrap();
        let last = String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]).into_owned();
        let end = last.lines().find_map(|line| line.strip_prefix("end ")).unwrap();
        let end = match end.split_once(' ').unwrap() {
            ("exit", code) => End::Exit(code.parse().unwrap()),
            (_, signal) => End::Signal(signal.parse().unwrap()),
        };
        Injected { end, ran, log }
    }

    /// Runs the program alone.
    pub(crate) fn run(&self, args: &[String], stdin: Option<&[u8]>) -> Ran {
        let mut command = Command::new(WAXSEAL);
        command.args(args);
        self.run_in(command, stdin)
    }

    pub(crate) fn run_in(&self, mut command: Command, stdin: Option<&[u8]>) -> Ran {
        command.current_dir(self.folder()).env_remove("WAXSEAL_KEY");
        match stdin {
            Some(bytes) => cli_support::feed(&mut command, bytes),
            None => command.stdin(Stdio::null()).output().unwrap().into(),
        }
    }
}

impl Mode {
    pub(crate) fn arguments(self) -> Vec<String> {
        match self {
            Self::Count => vec!["count".into()],
            Self::Record => vec!["record".into()],
            Self::Habits(habits) => {
                let list = habits.iter().map(|(what, value)| format!("{what}={value}")).collect::<Vec<_>>();
                vec!["habits".into(), list.join(",")]
            }
            Self::Strike(Fault { kind, number, how }) => {
                let (how, value) = match how {
                    How::Fail(errno) => ("fail", errno),
                    How::Broken(errno) => ("broken", errno),
                    How::Short(by) => ("short", i32::from(by)),
                    How::Before(signal) => ("before", signal),
                    How::After(signal) => ("after", signal),
                };
                ["strike", kind, &number.to_string(), how, &value.to_string()].map(String::from).into()
            }
        }
    }
}

/// The injector's program.
///
/// # Panics
/// If there is no C compiler or no ptrace. The message says which one is missing.
pub(crate) fn injector() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = folder.join(format!("inject-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/faults/inject.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-o"]).arg(&made).arg(source);
        needs("a C compiler as `cc`", &mut compiler);
        let log = made.with_extension("log");
        // Several test programs may run at the same time. Each of them finds a complete injector with this name.
        let program = folder.join("inject");
        fs::rename(made, &program).unwrap();
        let mut probe = Command::new(&program);
        probe.arg(&log).arg(env!("CARGO_TARGET_TMPDIR")).args(["count", "--", "true"]);
        needs("ptrace and seccomp filters, which some containers forbid", &mut probe);
        fs::remove_file(log).unwrap();
        program
    })
}

fn needs(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("these tests need {what}: {error}"));
    assert!(output.status.success(), "these tests need {what}: {}", String::from_utf8_lossy(&output.stderr));
}
