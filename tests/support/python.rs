//! The Python environment. The first test process creates it under `target/`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PINS: &str = include_str!("requirements.txt");

/// The interpreter of an environment with the pinned packages.
///
/// # Panics
/// Panics with the missing requirement if there is no `python3` with `venv` and `pip`, or if packages cannot be
/// installed.
pub fn python() -> &'static Path {
    match try_python() {
        Ok(python) => python,
        Err(missing) => panic!("these tests need {missing}"),
    }
}

/// The interpreter of an environment for this project's own small KMS.
///
/// # Panics
/// As [`python`].
pub fn kms_python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let pins = include_str!("requirements-kms.txt");
    PYTHON
        .get_or_init(|| environment("kms-python", pins).unwrap_or_else(|missing| panic!("these tests need {missing}")))
}

/// The interpreter of an environment with the oldest packages that `spec/reader.py` supports.
///
/// # Panics
/// As [`python`].
pub fn old_python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let pins = include_str!("requirements-old.txt");
    PYTHON
        .get_or_init(|| environment("old-python", pins).unwrap_or_else(|missing| panic!("these tests need {missing}")))
}

/// The same as [`python`], for callers that do not need Python. The error says what is missing.
pub fn try_python() -> Result<&'static Path, &'static str> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(|| environment("python", PINS)).as_ref().map(PathBuf::as_path).map_err(String::as_str)
}

/// The interpreter of the environment `name` under `target/` with the packages `pins`. The error names what is missing.
pub fn environment(name: &str, pins: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder under target/");
    // Several test binaries may run at the same time. The others wait here.
    let lock = File::create(folder.join("lock")).expect("a lock file under target/");
    lock.lock().expect("the lock of the Python environment");
    make(&folder, pins)?;
    Ok(interpreter(&folder))
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("venv/bin/python")
}

/// The stamp is written last, so an environment without it is incomplete.
fn make(folder: &Path, pins: &str) -> Result<(), String> {
    let stamp = folder.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == pins) {
        return Ok(());
    }
    let _ = std::fs::remove_file(&stamp);
    let _ = std::fs::remove_dir_all(folder.join("venv"));
    run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")), "python3 with its module venv")?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, pins).expect("a file under target/");
    let mut pip = Command::new(interpreter(folder));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
    let lines = pins.lines().filter(|line| !line.starts_with('#'));
    // The hashes of a package stand after its name.
    let packages: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    run(&mut pip, &format!("pip, and a package index that has {}", packages.join(", ")))?;
    std::fs::write(&stamp, pins).expect("a file under target/");
    Ok(())
}

fn run(command: &mut Command, needed: &str) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{needed}; {command:?} ended with {}:\n{said}", output.status))
        }
        Err(error) => Err(format!("{needed}; {command:?}: {error}")),
    }
}
