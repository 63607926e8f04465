//! Runs the real program in its own folder.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod schema;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const WAXSEAL: &str = env!("CARGO_BIN_EXE_waxseal");

/// The start of a Python script that runs the program on its own terminal. `pieces` yields what the terminal shows,
/// until its last process has ended.
pub(crate) const PIECES: &str = r#"
import os
def pieces(terminal):
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:
            return
        if not more:
            return
        yield more
"#;

/// A user and a group without privileges.
pub(crate) const NOBODY: u32 = 65_534;

/// A folder with a key file `k`.
pub(crate) struct Place {
    dir: TempDir,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.ok(&["key", "new", "k"]);
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// Names of everything in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Whether a process writes a new file in `folder`: one without a name, or with a temporary name.
    pub(crate) fn is_written_to(&self, folder: &str) -> bool {
        let folder = self.path(folder).canonicalize().unwrap();
        let is_made = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.parent() == Some(&folder)
                && (name.starts_with(".waxseal-") || (name.starts_with('#') && name.ends_with(" (deleted)")))
        };
        let list =
            |path: PathBuf| fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        list(folder.clone()).any(|path| is_made(&path))
            || list("/proc".into())
                .flat_map(|process| list(process.join("fd")))
                .any(|open| fs::read_link(open).is_ok_and(|path| is_made(&path)))
    }

    /// Waits until a process writes a new file in `folder`.
    pub(crate) fn wait_for_writing(&self, folder: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_written_to(folder) {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The program in this folder, without the caller's `WAXSEAL_KEY`, and with an empty stdin.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(WAXSEAL);
        command.args(args).current_dir(self.dir.path()).env_remove("WAXSEAL_KEY").stdin(Stdio::null());
        command
    }

    /// The same as [`Place::command`], without root's privileges. The program is copied into the folder, and every user
    /// may write to the folder. The files keep their owners.
    pub(crate) fn unprivileged<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let program = self.path("waxseal");
        if !program.exists() {
            // Another process copies the program. Otherwise a child of another test could inherit the descriptor, and a
            // file that is open for writing cannot be run.
            assert!(Command::new("cp").arg(WAXSEAL).arg(&program).status().unwrap().success());
            fs::set_permissions(self.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).env_remove("WAXSEAL_KEY").stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs and expects success.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    /// Runs with `input` at stdin.
    pub(crate) fn pipe<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Ran {
        feed(&mut self.command(args), input)
    }

    /// Runs, and expects this exit code and an error with each of `words`.
    pub(crate) fn fails<S: AsRef<OsStr>>(&self, args: &[S], code: i32, words: &[&str]) -> Ran {
        let ran = self.run(args);
        ran.failed(code, words);
        ran
    }

    /// Seals `in` as `in.wax` with the key file `k`. Returns the arguments of a rewrap that adds the maximum number of
    /// keys. The labels leave no space for them, so the rewrap needs a longer header, and therefore a new file.
    pub(crate) fn crowded(&self) -> Vec<String> {
        let labels = (10..17).map(|number| format!("-llabel{number}={}", "x".repeat(239)));
        let args = ["encrypt", "-k", "file:k", "in"].map(str::to_owned);
        self.ok(&args.into_iter().chain(labels).collect::<Vec<_>>());
        let args = ["rewrap", "-k", "file:k", "--allow-unwrap", "in.wax"].map(str::to_owned);
        let added = (0..15).map(|number| {
            self.ok(&["key", "new", &format!("k{number}")]);
            format!("--add=file:k{number}")
        });
        args.into_iter().chain(added).collect()
    }

    /// Seals `content` as `name` with the key file `k`.
    pub(crate) fn sealed(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let ran = self.pipe(&["encrypt", "-k", "file:k", "-o", name], content);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        self.read(name)
    }
}

impl Ran {
    /// Expects this exit code, and an error of the program with each of `words`.
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
        assert!(self.stderr.contains("waxseal: error: "), "{:?}", self.stderr);
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

impl From<Output> for Ran {
    /// Also checks the lines of JSON in the output.
    #[track_caller]
    fn from(output: Output) -> Self {
        schema::check_printed(&output.stdout);
        schema::check_printed(&output.stderr);
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Writes `input` to the command's stdin, and reads its output at the same time.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Ran {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finish(child, input)
}

fn finish(mut child: Child, input: &[u8]) -> Ran {
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that refuses its input does not read the rest of it.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap().into()
    })
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Size of the sealed file for an input of `len` bytes, by the formula of the documents.
pub(crate) fn sealed_len(len: usize) -> usize {
    header_len(len) + 56 + len + 16 * (len / 16_384 + 1)
}

pub(crate) fn header_len(len: usize) -> usize {
    if len < 4 * 1024 * 1024 { 8192 } else { 131_072 }
}

/// Whether this process is root. Root can write in spite of the mode, so tests of modes prove nothing.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
