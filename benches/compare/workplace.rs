//! The folder under `target/` for all work, and the environment of all programs.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::support;

/// On drop, ends the background processes and removes the folder.
pub(crate) struct Workplace {
    folder: PathBuf,
    /// First the links to programs, then installed tools, the Python environment, and the user's path.
    path: OsString,
    kms: Option<Kms>,
    /// Only one comparison at a time.
    _lock: File,
}

/// An emulator of AWS KMS with one key.
struct Kms {
    server: support::Server,
    key: String,
}

impl Workplace {
    pub(crate) fn new(options: &Options) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        // Files of an interrupted run.
        let _ = fs::remove_dir_all(&folder);
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir(folder.join("gnupg")).unwrap();
        symlink(fs::canonicalize(&options.tool).unwrap(), bin.join("waxseal")).unwrap();
        symlink(std::env::current_exe().unwrap(), bin.join("bench")).unwrap();
        let python = support::try_python().ok().and_then(Path::parent).map(PathBuf::from);
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let tools = support::root().join("target/tools/bin");
        let folders = [bin, tools].into_iter().chain(python).chain(std::env::split_paths(&inherited));
        let path = std::env::join_paths(folders).unwrap();
        Self { folder, path, kms: None, _lock: lock }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds `program` to the path of all programs that run here.
    pub(crate) fn link(&self, program: &Path, name: &str) {
        symlink(program, self.folder.join("bin").join(name)).unwrap();
    }

    /// Starts an emulator. Returns its key's ARN.
    pub(crate) fn start_kms(&mut self) -> String {
        let server = support::moto();
        let key = server.aws().create_key();
        self.kms.insert(Kms { server, key }).key.clone()
    }

    /// `program`, to run in `folder`, without the user's AWS settings.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        support::clear_aws_environment(&mut command);
        command.current_dir(folder).env("PATH", &self.path).env("GNUPGHOME", self.folder.join("gnupg"));
        command.env("LC_ALL", "C");
        if let Some(kms) = &self.kms {
            command.env("AWS_ENDPOINT_URL_KMS", &kms.server.url);
            command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
            command.env("AWS_REGION", support::REGION).env("AWS_DEFAULT_REGION", support::REGION);
        }
        command
    }

    /// Runs a shell script. Returns its output, or the last line of its errors.
    pub(crate) fn shell(&self, folder: &Path, script: &str) -> Result<String, String> {
        let mut command = self.command("sh", folder);
        let output = command.args(["-c", script]).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(format!("{}: {last}", output.status))
    }

    /// Whether `program` is on the path.
    pub(crate) fn has(&self, program: &str) -> bool {
        std::env::split_paths(&self.path).any(|folder| folder.join(program).is_file())
    }

    /// Name of the file system of the output.
    pub(crate) fn file_system(&self) -> String {
        let name = self.shell(&self.folder, "df --output=fstype . | tail -n 1").unwrap_or_default();
        if name.trim().is_empty() { "a file system without a name".into() } else { name.trim().to_owned() }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // gpg starts an agent, which would keep running.
        let _ = self.shell(&self.folder, "gpgconf --kill all");
        let _ = fs::remove_dir_all(&self.folder);
    }
}
