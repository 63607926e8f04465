//! The scripts of docs/recipes/postgresql: a real PostgreSQL archives its log with them, and recovers from it.
#![cfg(feature = "aws-kms")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cli_support::{Ran, WAXSEAL};
use support::{CountingProxy, Fault, Postgres, REGION, counting_proxy, postgres_programs, shared_moto};

const MARKER: &str = ".waxseal-archive";
const KEY: &str = "alias/wal";

/// A cluster, its archive, the scripts, and KMS behind a proxy that the test can stop.
struct Site {
    postgres: Postgres,
    kms: CountingProxy,
}

impl Site {
    fn new(postgres: Postgres) -> Self {
        let site = Self { postgres, kms: counting_proxy(&shared_moto().url) };
        for folder in ["bin", "archive"] {
            fs::create_dir(site.path(folder)).unwrap();
        }
        // Other processes write the files, because a file that this process has open for writing cannot be run.
        let recipes = support::root().join("docs/recipes/postgresql");
        let programs = [Path::new(WAXSEAL).to_owned(), recipes.join("archive-wal"), recipes.join("restore-wal")];
        assert!(Command::new("cp").args(programs).arg(site.path("bin")).status().unwrap().success());
        fs::write(site.archive().join(MARKER), "").unwrap();
        site.postgres.give(&site.archive());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.postgres.folder().join(name)
    }

    fn archive(&self) -> PathBuf {
        self.path("archive")
    }

    fn search_path(&self) -> String {
        format!("{}:{}:/usr/bin:/bin", self.path("bin").display(), postgres_programs().display())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PATH", self.search_path()),
            ("AWS_ENDPOINT_URL", self.kms.url.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ]
    }

    /// The lines in the server's configuration.
    fn line(&self, script: &str, archive: &Path, names: &str) -> String {
        let variables: Vec<String> =
            self.variables().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{} {script} {KEY} \"{}\" {names}", variables.join(" "), archive.display())
    }

    /// Runs a program as the server's user does.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.postgres.command("pg_isready");
        let mut shell = as_user(&mut command, "sh");
        support::clear_aws_environment(&mut shell);
        shell.args(["-c", "exec \"$@\"", "sh"]).args(args).envs(self.variables());
        shell.output().unwrap().into()
    }

    fn archive_wal(&self, key: &str, file: &Path, name: &str) -> Ran {
        self.run(&["archive-wal", key, self.archive().to_str().unwrap(), file.to_str().unwrap(), name])
    }

    fn restore_wal(&self, name: &str) -> Ran {
        let out = self.path("restored");
        self.run(&["restore-wal", KEY, self.archive().to_str().unwrap(), name, out.to_str().unwrap()])
    }

    /// Names in the archive.
    fn archived(&self) -> Vec<String> {
        let entries = fs::read_dir(self.archive()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != MARKER);
        names.sort();
        names
    }
}

/// `program` as the user and in the folder that `like` has.
fn as_user(like: &mut Command, program: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    command.current_dir(like.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    if cli_support::is_root() {
        command.uid(support::SERVER).gid(support::SERVER);
    }
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

fn key_in_kms() {
    static KEY_MADE: std::sync::Once = std::sync::Once::new();
    KEY_MADE.call_once(|| {
        let aws = shared_moto().aws();
        let arn = aws.create_key();
        aws.alias(KEY, &arn);
    });
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const ROWS: &str = "select count(*), md5(string_agg(n::text, ',' order by n)) from t";

/// A cluster with an archive of its log and a base backup in `base.tar.wax`, and the content of the table at the end.
fn primary() -> (Site, String) {
    let mut site = Site::new(Postgres::stopped());
    let line = site.line("archive-wal", &site.archive(), "\"%p\" \"%f\"");
    site.postgres.configure(&format!("wal_level = replica\narchive_mode = on\narchive_command = '{line}'"));
    site.postgres.run();
    site.postgres.sql("create table t (n int primary key)");
    let base = site.path("base.tar.wax");
    let base = base.to_str().unwrap();
    let backup = ["waxseal", "encrypt", "-q", "-k", KEY, "-o", base, "--from-command", "--", "pg_basebackup"];
    let ran = site.run(&[&backup[..], &["-D", "-", "-F", "tar", "-X", "none", "-c", "fast"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for part in 0..6 {
        site.postgres.sql(&format!("insert into t select generate_series({}, {})", part * 1000, part * 1000 + 999));
        let segment = site.postgres.sql("select pg_walfile_name(pg_switch_wal())");
        wait_for(&site.postgres.log(), || site.archived().contains(&format!("{segment}.wax")));
    }
    let rows = site.postgres.sql(ROWS);
    assert!(rows.starts_with("6000|"), "{rows}");
    site.postgres.stop();
    (site, rows)
}

/// The base backup of `from` in its own folder, ready to be recovered with the archive of `from`.
fn restored(from: &Site, restore: &str) -> Postgres {
    let postgres = Postgres::empty();
    fs::create_dir(postgres.data()).unwrap();
    postgres.give(&postgres.data());
    fs::set_permissions(postgres.data(), fs::Permissions::from_mode(0o700)).unwrap();
    let script = format!(
        "waxseal decrypt -q -k {KEY} -o - base.tar.wax | tar -x -C {data} && touch {data}/recovery.signal",
        data = postgres.data().display()
    );
    let ran = from.run(&["sh", "-c", &script]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let folder = postgres.folder().display().to_string();
    postgres.configure(&format!(
        "archive_mode = off\nrestore_command = '{restore}'\nlisten_addresses = ''\nunix_socket_directories = '{folder}'"
    ));
    postgres
}

/// Runs the server of `postgres` until it ends by itself.
fn run_until_it_ends(postgres: &Postgres) -> String {
    let mut server = postgres.command("postgres");
    let log = postgres.folder().join("first.log");
    let file = fs::File::create(&log).unwrap();
    server.arg("-D").arg(postgres.data()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut server = server.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        match server.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            None => {
                server.kill().unwrap();
                panic!("the server still runs:\n{}", fs::read_to_string(&log).unwrap());
            }
        }
    };
    assert!(!status.success() && status.signal().is_none(), "{status}");
    fs::read_to_string(&log).unwrap()
}

/// KMS cannot be reached in the middle of a recovery. The server stops, and does not open the database without the
/// rest. When KMS can be reached again, the recovery ends, and every committed row is there.
#[test]
fn a_recovery_without_kms_stops_and_goes_on() {
    key_in_kms();
    let (site, rows) = primary();
    let restore = site.line("restore-wal", &site.archive(), "\"%f\" \"%p\"");
    let mut postgres = restored(&site, &restore);
    site.kms.cut_after(3);
    let log = run_until_it_ends(&postgres);
    assert_eq!(log.matches("restored log file").count(), 3, "{log}");
    assert!(log.contains("is not restored (waxseal ended with 6)") && log.contains("FATAL:"), "{log}");
    assert!(!log.contains("archive recovery complete"), "{log}");
    let control = postgres.command("pg_controldata").arg(postgres.data()).output().unwrap();
    let control = String::from_utf8(control.stdout).unwrap();
    assert!(control.contains("in archive recovery"), "{control}");
    site.kms.heal();
    postgres.run();
    wait_for("the recovery ends", || postgres.sql("select pg_is_in_recovery()") == "f");
    assert_eq!(postgres.sql(ROWS), rows);
    // The recovery ended at the end of the archive, and not earlier.
    assert!(postgres.log().contains("archive recovery complete"), "{}", postgres.log());
    postgres.sql("insert into t values (-1)");
}

/// The reason for the scripts: with a command that has one exit code for all failures, committed rows are lost without
/// any message.
#[test]
fn a_restore_command_without_the_difference_opens_early() {
    key_in_kms();
    let (site, rows) = primary();
    let naive = site.line("waxseal decrypt -q -f -o \"%p\" -k", Path::new("%f"), "");
    let naive = naive.replace("\"%f\"", &format!("\"{}/%f.wax\" || exit 1", site.archive().display()));
    let mut postgres = restored(&site, &naive);
    site.kms.cut_after(3);
    postgres.run();
    wait_for("the recovery ends", || postgres.sql("select pg_is_in_recovery()") == "f");
    assert_ne!(postgres.sql(ROWS), rows);
}

/// The exit code for each failure. PostgreSQL ends the recovery at exit code 1, so only a missing file may have it.
/// After a failure, the restored file does not exist.
#[test]
fn restore_wal_says_1_for_no_other_wrong_ending() {
    key_in_kms();
    let site = Site::new(Postgres::empty());
    let file = site.path("segment");
    fs::write(&file, cli_support::noise(100_000)).unwrap();
    for name in ["01", "02"] {
        assert_eq!(site.archive_wal(KEY, &file, name).code, Some(0));
    }
    let sealed = fs::read(site.archive().join("02.wax")).unwrap();
    fs::write(site.archive().join("02.wax"), &sealed[..sealed.len() / 2]).unwrap();
    fs::write(site.archive().join("03.wax"), &sealed[..3]).unwrap();
    for (ending, archive, name, own, code) in [
        ("cut", "archive", "02", "4", 126),
        ("cut in its header", "archive", "03", "3", 126),
        ("denied", "archive", "01", "5", 126),
        ("unreachable", "archive", "01", "6", 126),
        ("missing file", "archive", "04", "", 1),
        ("missing file and no service", "archive", "04", "", 1),
        ("missing folder", "nowhere", "01", "", 126),
        ("missing file in it", "nowhere", "04", "", 126),
    ] {
        match ending {
            "denied" => site.kms.fail_on("Decrypt", Fault::refusal("AccessDeniedException", "no")),
            "unreachable" | "missing file and no service" => site.kms.cut_after(0),
            _ => site.kms.heal(),
        }
        let (archive, out) = (site.path(archive), site.path("restored"));
        let ran = site.run(&["restore-wal", KEY, archive.to_str().unwrap(), name, out.to_str().unwrap()]);
        assert_eq!(ran.code, Some(code), "{ending}: {}", ran.stderr);
        assert!(
            own.is_empty() || ran.stderr.contains(&format!("(waxseal ended with {own})")),
            "{ending}: {}",
            ran.stderr
        );
        assert!(!out.exists(), "{ending}");
    }
    site.kms.heal();
    assert_eq!(site.restore_wal("01").code, Some(0));
}

/// 1 for a file that the archive does not have, and 126 or more for everything else.
#[test]
fn restore_wal_ends_the_archive_only_at_a_missing_file() {
    key_in_kms();
    let site = Site::new(Postgres::empty());
    let file = site.path("segment");
    fs::write(&file, cli_support::noise(100_000)).unwrap();
    let ok = |ran: Ran| assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ok(site.archive_wal(KEY, &file, "01"));
    ok(site.restore_wal("01"));
    assert_eq!(fs::read(site.path("restored")).unwrap(), fs::read(&file).unwrap());
    let code = |name: &str| site.restore_wal(name).code;
    assert_eq!(code("02"), Some(1));
    // KMS cannot be reached, or refuses.
    site.kms.cut_after(0);
    assert_eq!((code("01"), code("02")), (Some(126), Some(1)));
    site.kms.heal();
    site.kms.fail_on("Decrypt", Fault::refusal("AccessDeniedException", "no"));
    assert_eq!(code("01"), Some(126));
    // The file is damaged, truncated, or the file of another name, or it is no sealed file.
    let sealed = fs::read(site.archive().join("01.wax")).unwrap();
    let mut altered = sealed.clone();
    altered[50_000] ^= 1;
    for (name, bytes) in [("03", &altered[..]), ("04", &sealed[..60_000]), ("05", &sealed), ("06", b""), ("07", b"x")] {
        fs::write(site.archive().join(format!("{name}.wax")), bytes).unwrap();
        assert_eq!(code(name), Some(126), "{name}");
    }
    std::os::unix::fs::symlink("nowhere", site.archive().join("08.wax")).unwrap();
    fs::create_dir(site.archive().join("09.wax")).unwrap();
    assert_eq!((code("08"), code("09")), (Some(126), Some(126)));
    // The script is called with wrong arguments, without the program, or without the archive.
    assert_eq!(site.run(&["restore-wal", KEY, "archive", "01"]).code, Some(126));
    assert_eq!(site.run(&["env", "PATH=/usr/bin:/bin", "bin/restore-wal", KEY, "archive", "01", "x"]).code, Some(127));
    let locked = site.run(&["restore-wal", KEY, "archive", "01", "nowhere/x"]);
    assert_eq!(locked.code, Some(126), "{}", locked.stderr);
    fs::remove_file(site.archive().join(MARKER)).unwrap();
    assert_eq!((code("01"), code("02")), (Some(126), Some(126)));
    fs::remove_dir_all(site.archive()).unwrap();
    assert_eq!((code("01"), code("02")), (Some(126), Some(126)));
}

/// Archiving the same content again succeeds. Other content is an error. The file in the archive does not change.
#[test]
fn archive_wal_never_replaces_a_file() {
    key_in_kms();
    let site = Site::new(Postgres::empty());
    let (file, other) = (site.path("segment"), site.path("other"));
    fs::write(&file, cli_support::noise(100_000)).unwrap();
    fs::write(&other, cli_support::noise(99_999)).unwrap();
    let pair = site.path("pair");
    let (pair, public) = (pair.to_str().unwrap(), format!("file:{}.pub", pair.display()));
    assert_eq!(site.run(&["waxseal", "key", "new", "--pair", "archive/pair"]).code, Some(0));
    fs::rename(site.archive().join("pair"), pair).unwrap();
    fs::rename(site.archive().join("pair.pub"), format!("{pair}.pub")).unwrap();
    // First with a key that can also open, then with a key that can only seal.
    for (key, name) in [(KEY, "01"), (public.as_str(), "02")] {
        let sealed = site.archive().join(format!("{name}.wax"));
        let code = |file: &Path| site.archive_wal(key, file, name).code;
        assert_eq!(code(&file), Some(0), "{key}");
        let before = fs::read(&sealed).unwrap();
        let again = site.archive_wal(key, &file, name);
        assert!(again.code == Some(0) && again.stderr.contains("in the archive already"), "{}", again.stderr);
        assert_eq!(code(&other), Some(1), "{key}");
        assert_eq!(fs::read(&sealed).unwrap(), before, "{key}");
        // If somebody renames a file with the same content to this name, it does not count as this file.
        let moved = site.archive().join("03.wax");
        fs::copy(&sealed, &moved).unwrap();
        assert_eq!(site.archive_wal(key, &file, "03").code, Some(1), "{key}");
        fs::remove_file(moved).unwrap();
        // A file that is not sealed, and a sealed file that is truncated in its header.
        for bytes in [&b""[..], &before[..1000]] {
            fs::write(&sealed, bytes).unwrap();
            assert_eq!(code(&file), Some(1), "{key}");
            assert_eq!(fs::read(&sealed).unwrap(), bytes);
        }
    }
    // With a key that opens, damage in the content is found.
    assert_eq!(site.archive_wal(KEY, &file, "04").code, Some(0));
    let sealed = site.archive().join("04.wax");
    let mut bytes = fs::read(&sealed).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&sealed, &bytes).unwrap();
    assert_eq!(site.archive_wal(KEY, &file, "04").code, Some(1));
    // Without a file to seal, without the key service, or without the archive, nothing new appears.
    let before = site.archived();
    assert_eq!(site.archive_wal(KEY, &site.path("missing"), "05").code, Some(1));
    site.kms.cut_after(0);
    assert_eq!(site.archive_wal(KEY, &file, "05").code, Some(1));
    site.kms.heal();
    fs::remove_file(site.archive().join(MARKER)).unwrap();
    assert_eq!(site.archive_wal(KEY, &file, "05").code, Some(1));
    assert_eq!(site.archived(), before);
}
