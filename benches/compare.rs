//! Whole programs on the same file in turn: this tool, `cp`, and of age, rage, openssl and gpg those that are installed.
//!
//! ```sh
//! cargo bench --bench compare                      # 1 GiB, 7 rounds
//! cargo bench --bench compare -- --mib 2048 --rounds 5
//! ```
//!
//! Every round runs every program once, each right after as much memory as it needs was touched and freed; medians of
//! the ratios to `cp` within a round are printed, and written to `benches/results/compare.md`. Synced stands beside
//! synced. A program that is not installed is named as missing. As a test it runs once, with 2 MiB.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One line of the table.
struct Contender {
    name: &'static str,
    /// The contender within the same group that it is compared with.
    against: &'static str,
    script: String,
    /// Seconds, a round each.
    seconds: Vec<f64>,
}

struct Options {
    mib: u64,
    rounds: usize,
    /// The program that was built with this bench, unless `--tool PATH` names another.
    tool: String,
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let named = arguments.iter().position(|argument| argument == "--tool").and_then(|at| arguments.get(at + 1));
    let tool = named.map_or(env!("CARGO_BIN_EXE_waxseal"), String::as_str).to_owned();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Options { mib: 2, rounds: 1, tool };
    }
    let rounds = value("--rounds").and_then(|rounds| usize::try_from(rounds).ok());
    Options { mib: value("--mib").unwrap_or(1024), rounds: rounds.unwrap_or(7), tool }
}

/// The toolchain's own files one after the other, as often as it takes.
fn make_input(path: &Path, len: u64) {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let mut folders = vec![PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim())];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() && entry.metadata().unwrap().len() > 0 => files.push(entry.path()),
                _ => {}
            }
        }
    }
    let (mut out, mut left) = (File::create(path).unwrap(), len);
    for file in files.iter().cycle().take_while(|_| len > 0) {
        left -= std::io::copy(&mut File::open(file).unwrap().take(left), &mut out).unwrap();
        if left == 0 {
            break;
        }
    }
    out.sync_all().unwrap();
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What runs, and the names of what is missing.
fn contenders(tool: &str) -> (Vec<Contender>, Vec<&'static str>) {
    let (mut all, mut missing) = (Vec::new(), Vec::new());
    let mut add = |name, against, script: String| {
        all.push(Contender { name, against, script, seconds: Vec::new() });
    };
    add("cp", "cp", "cp in out".into());
    add("waxseal encrypt --no-sync", "cp", format!("{tool} encrypt --no-sync -k file:k -o out in"));
    add("waxseal decrypt --no-sync", "cp", format!("{tool} decrypt --no-sync -k file:k -o out in.wax"));
    add("cp and sync", "cp and sync", "cp in out && sync out".into());
    add("waxseal encrypt", "cp and sync", format!("{tool} encrypt -k file:k -o out in"));
    add("waxseal decrypt", "cp and sync", format!("{tool} decrypt -k file:k -o out in.wax"));
    add("cat | cat", "cat | cat", "cat in | cat > out".into());
    add("cat | waxseal encrypt", "cat | cat", format!("cat in | {tool} encrypt -k file:k > out"));
    add("cat | waxseal decrypt", "cat | cat", format!("cat in.wax | {tool} decrypt -k file:k > out"));
    let mut peer = |program: &'static str, runs: [(&'static str, &str); 2]| {
        if installed(program) {
            runs.into_iter().for_each(|(name, script)| add(name, "cp", script.into()));
        } else {
            missing.push(program);
        }
    };
    for (program, runs) in [
        ("age", [("age encrypt", "age -R id.pub -o out in"), ("age decrypt", "age -d -i id -o out in.age")]),
        ("rage", [("rage encrypt", "rage -R id.pub -o out in"), ("rage decrypt", "rage -d -i id -o out in.age")]),
    ] {
        peer(program, runs);
    }
    let openssl = "openssl enc -aes-256-ctr -pbkdf2 -iter 1 -pass file:pw";
    let (seal, open) = (format!("{openssl} -in in -out out"), format!("{openssl} -d -in in.ssl -out out"));
    peer("openssl", [("openssl enc (no authentication)", &seal), ("openssl enc -d (no authentication)", &open)]);
    let gpg = "gpg --batch --yes --pinentry-mode loopback --passphrase-file pw --compress-algo none";
    let (seal, open) = (format!("{gpg} -o out -c in"), format!("{gpg} -o out -d in.gpg"));
    peer("gpg", [("gpg -c", &seal), ("gpg -d", &open)]);
    (all, missing)
}

fn shell(folder: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env("GNUPGHOME", folder).stderr(Stdio::null());
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

/// Files that the peers need, made with the peers.
fn prepare(folder: &Path, tool: &str) {
    fs::write(folder.join("pw"), "a passphrase for a bench\n").unwrap();
    shell(folder, &format!("{tool} key new k && {tool} encrypt --no-sync -k file:k in"));
    let made_by = |program: &str, script: &str| {
        if installed(program) {
            shell(folder, script);
        }
    };
    let keygen = if installed("age") { "age-keygen" } else { "rage-keygen" };
    let age = if installed("age") { "age" } else { "rage" };
    made_by(age, &format!("{keygen} -o id && {keygen} -y id > id.pub && {age} -R id.pub -o in.age in"));
    made_by("openssl", "openssl enc -aes-256-ctr -pbkdf2 -iter 1 -pass file:pw -in in -out in.ssl");
    let gpg = "gpg --batch --yes --pinentry-mode loopback --passphrase-file pw --compress-algo none -o in.gpg -c in";
    made_by("gpg", gpg);
}

/// Memory that lay idle may have gone back to a host; whoever needs it next would pay for having it back.
fn warm_memory(len: usize) {
    std::hint::black_box(vec![1u8; len]);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(contenders: &[Contender], missing: &[&str], options: &Options) -> String {
    let mut text = format!("{} MiB in the page cache, {} rounds, medians.\n\n", options.mib, options.rounds);
    text.push_str("| program | seconds | against | ratio |\n| --- | --- | --- | --- |\n");
    for one in contenders {
        let base = contenders.iter().find(|other| other.name == one.against).unwrap();
        let ratios: Vec<f64> = one.seconds.iter().zip(&base.seconds).map(|(mine, base)| mine / base).collect();
        let (seconds, ratio) = (median(&one.seconds), median(&ratios));
        writeln!(
            text,
            "| {} | {seconds:.3} | {} | {ratio:.2} |",
            one.name.replace('|', "\\|"),
            one.against.replace('|', "\\|")
        )
        .unwrap();
    }
    if !missing.is_empty() {
        writeln!(text, "\nNot installed: {}.", missing.join(", ")).unwrap();
    }
    text
}

fn main() {
    let options = options();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tool = options.tool.as_str();
    make_input(&folder.path().join("in"), options.mib << 20);
    prepare(folder.path(), tool);
    let (mut all, missing) = contenders(tool);
    let memory = usize::try_from(options.mib << 20).unwrap().min(4 << 30);
    for round in 0..options.rounds {
        // Each round begins elsewhere, so that no program always follows the same one.
        let count = all.len();
        for step in 0..count {
            let one = &mut all[(step + round) % count];
            let _ = fs::remove_file(folder.path().join("out"));
            warm_memory(memory);
            let begun = Instant::now();
            shell(folder.path(), &one.script);
            one.seconds.push(begun.elapsed().as_secs_f64());
        }
    }
    let text = table(&all, &missing, &options);
    println!("{text}");
    if options.rounds > 1 {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
        fs::create_dir_all(&results).unwrap();
        File::create(results.join("compare.md")).unwrap().write_all(text.as_bytes()).unwrap();
    }
}
