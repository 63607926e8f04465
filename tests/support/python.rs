//! The Python environment: made once under `target/`, by whichever test process comes first.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PINS: &str = include_str!("requirements.txt");

/// The interpreter of an environment that holds the pinned packages.
///
/// # Panics
/// Says what is missing where there is no `python3` with `venv` and `pip`, or the packages cannot be had.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        std::fs::create_dir_all(&folder).expect("a folder under target/");
        // Test binaries may run at once; the others wait here.
        let lock = File::create(folder.join("lock")).expect("a lock file under target/");
        lock.lock().expect("the lock of the Python environment");
        make(&folder);
        interpreter(&folder)
    })
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("venv/bin/python")
}

/// The stamp is written last: an environment without it is half-made.
fn make(folder: &Path) {
    let stamp = folder.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == PINS) {
        return;
    }
    let _ = std::fs::remove_file(&stamp);
    let _ = std::fs::remove_dir_all(folder.join("venv"));
    run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")), "python3 with its module venv");
    let pins = folder.join("requirements.txt");
    std::fs::write(&pins, PINS).expect("a file under target/");
    let mut pip = Command::new(interpreter(folder));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&pins);
    run(&mut pip, "pip, and a package index that has tests/support/requirements.txt");
    std::fs::write(&stamp, PINS).expect("a file under target/");
}

fn run(command: &mut Command, needed: &str) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "these tests need {needed}; {command:?} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("these tests need {needed}; {command:?}: {error}"),
    }
}
