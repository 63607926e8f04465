//! This tool and its peers: how each seals and opens, and which of them are installed.

use std::fs;

use crate::input;
use crate::options::Options;
use crate::support;
use crate::workplace::Workplace;

/// A program that seals `in` to `out`, and opens `sealed` to `out`. The keys are in the parent folder.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Its version text.
    pub(crate) version: String,
    pub(crate) seal: String,
    pub(crate) open: String,
    /// Name of the sealed file that is opened.
    pub(crate) sealed: &'static str,
    /// The same from standard input to standard output.
    pub(crate) seal_stream: String,
    pub(crate) open_stream: String,
}

/// The programs of the comparison.
pub(crate) struct Found {
    pub(crate) tool: Peer,
    pub(crate) peers: Vec<Peer>,
    /// This tool and the AWS Encryption CLI, with one key in an emulator of KMS.
    pub(crate) kms: Vec<Peer>,
    /// Whether programs can be limited to one core.
    pub(crate) taskset: bool,
    /// Name and reason.
    pub(crate) missing: Vec<(&'static str, String)>,
}

/// A requirement of a peer.
struct Needs {
    /// A program on the path.
    programs: &'static [&'static str],
    /// A command that prints the version.
    version: &'static str,
    /// A command that creates its keys.
    setup: &'static str,
    /// How it is installed.
    install: &'static str,
}

/// `sealing` and `opening` are the complete commands for streams. For files, text is appended.
fn peer(name: &'static str, sealed: &'static str, streams: [&str; 2], files: [&str; 2]) -> Peer {
    let [seal_stream, open_stream] = streams.map(str::to_owned);
    let [seal, open] = [format!("{seal_stream} {}", files[0]), format!("{open_stream} {}", files[1])];
    Peer { name, version: String::new(), seal, open, sealed, seal_stream, open_stream }
}

fn tool() -> (Peer, Needs) {
    let streams = ["waxseal encrypt --no-sync -k file:../wax.key", "waxseal decrypt --no-sync -k file:../wax.key"];
    let needs =
        Needs { programs: &["waxseal"], version: "waxseal --version", setup: "waxseal key new wax.key", install: "" };
    (peer("waxseal", "in.wax", streams, ["-o out in", "-o out in.wax"]), needs)
}

const OPENSSL: &str = "openssl enc -aes-256-ctr -pbkdf2 -iter 1 -pass file:../pw";
/// The passphrase is stretched as little as possible, because stretching is not compared.
const GPG: &str = "gpg --no-options --batch --yes --pinentry-mode loopback --passphrase-file ../pw --no-symkey-cache \
                   --s2k-count 1024 --cipher-algo AES256 --compress-algo none";
const COBBLESTONE: &str = "python ../cobblestone.py";

fn candidates() -> Vec<(Peer, Needs)> {
    let openssl = [OPENSSL, &format!("{OPENSSL} -d")];
    let gpg = [&format!("{GPG} -o out -c in"), &format!("{GPG} -o out -d in.gpg")];
    let cobblestone = ["seal", "open"].map(|what| format!("{COBBLESTONE} {what} ../cobblestone.key"));
    let age_files = ["-o out in", "-o out in.age"];
    vec![
        (
            peer("age", "in.age", ["age -R ../age.pub", "age -d -i ../age.key"], age_files),
            Needs {
                programs: &["age", "age-keygen"],
                version: "age --version",
                setup: "age-keygen -o age.key && age-keygen -y age.key > age.pub",
                install: "Debian has it as age",
            },
        ),
        (
            peer("rage", "in.rage", ["rage -R ../rage.pub", "rage -d -i ../rage.key"], ["-o out in", "-o out in.rage"]),
            Needs {
                programs: &["rage", "rage-keygen"],
                version: "rage --version",
                setup: "rage-keygen -o rage.key && rage-keygen -y rage.key > rage.pub",
                install: "cargo install rage --version 0.12.1 --locked --root target/tools",
            },
        ),
        (
            peer("openssl (unauthenticated)", "in.ssl", openssl, ["-in in -out out", "-in in.ssl -out out"]),
            Needs {
                programs: &["openssl"],
                version: "openssl version",
                setup: "true",
                install: "Debian has it as openssl",
            },
        ),
        (
            Peer {
                seal: gpg[0].clone(),
                open: gpg[1].clone(),
                ..peer("gpg", "in.gpg", [&format!("{GPG} -c"), &format!("{GPG} -d")], ["", ""])
            },
            Needs {
                programs: &["gpg", "gpgconf"],
                version: "gpg --version",
                setup: "true",
                install: "Debian has it as gnupg",
            },
        ),
        (
            peer(
                "cryptography.cobblestone",
                "in.cob",
                cobblestone.each_ref().map(String::as_str),
                ["in out", "in.cob out"],
            ),
            Needs {
                programs: &["python"],
                version: "python -c 'import cryptography, cryptography.cobblestone; print(cryptography.__version__)'",
                setup: "python cobblestone.py new cobblestone.key",
                install: "the bench does it if python3 has venv",
            },
        ),
    ]
}

/// Looks for all programs. Each seals and opens a small file once.
pub(crate) fn find(workplace: &mut Workplace, options: &Options) -> Result<Found, String> {
    let root = workplace.folder().to_owned();
    fs::write(root.join("pw"), "a passphrase for a bench\n").unwrap();
    fs::write(root.join("cobblestone.py"), include_str!("cobblestone.py")).unwrap();
    input::make(workplace, &root.join("trial"), 100_000);
    let (tool, needs) = tool();
    let tool = try_out(workplace, tool, &needs).map_err(|error| format!("{}: {error}", options.tool))?;
    let mut found = Found { tool, peers: Vec::new(), kms: Vec::new(), taskset: true, missing: Vec::new() };
    for (peer, needs) in candidates() {
        let name = peer.name;
        match try_out(workplace, peer, &needs) {
            Ok(peer) => found.peers.push(peer),
            Err(why) => found.missing.push((name, why)),
        }
    }
    if let Err(why) = support::try_python() {
        found.missing.push(("the Python environment", why.to_owned()));
    }
    if workplace.shell(&root, "taskset -c 0 true").is_err() {
        found.taskset = false;
        found
            .missing
            .push(("taskset, and with it the series on one core", "not installed, or not allowed on core 0".into()));
    }
    if options.wants_kms() {
        match kms(workplace) {
            Ok(peers) => found.kms = peers,
            Err(why) => found.missing.push((AWS_CLI, why)),
        }
    }
    fs::remove_dir_all(root.join("trial")).unwrap();
    Ok(found)
}

/// Whether the opened file equals the input.
fn try_out(workplace: &Workplace, mut peer: Peer, needs: &Needs) -> Result<Peer, String> {
    if let Some(program) = needs.programs.iter().find(|program| !workplace.has(program)) {
        return Err(format!("{program} is not installed ({})", needs.install));
    }
    let root = workplace.folder();
    let version = workplace.shell(root, needs.version)?;
    peer.version =
        version.lines().next().and_then(|line| line.split(" (Library").next()).unwrap_or_default().trim().to_owned();
    workplace.shell(root, needs.setup)?;
    let Peer { seal, open, sealed, seal_stream, open_stream, .. } = &peer;
    let script = format!(
        "{seal} && mv out {sealed} && {open} && cmp in out && rm out && \
         cat in | {seal_stream} > out && mv out {sealed} && cat {sealed} | {open_stream} > out && cmp in out && rm out"
    );
    workplace.shell(&root.join("trial"), &script)?;
    Ok(peer)
}

const AWS_CLI: &str = "AWS Encryption CLI";
const AWS_PINS: &str = include_str!("requirements.txt");

/// Both with the same key, in an emulator.
fn kms(workplace: &mut Workplace) -> Result<Vec<Peer>, String> {
    support::try_python()?;
    let interpreter = support::environment("aws-encryption-cli", AWS_PINS)?;
    workplace.link(&interpreter.with_file_name("aws-encryption-cli"), "aws-encryption-cli");
    let key = workplace.start_kms();
    let ours = ["encrypt", "decrypt"].map(|what| format!("waxseal {what} --no-sync -k {key}"));
    let ours = peer("waxseal with KMS", "in.kms", ours.each_ref().map(String::as_str), ["-o out in", "-o out in.kms"]);
    let needs = Needs { programs: &["waxseal"], version: "waxseal --version", setup: "true", install: "" };
    let ours = try_out(workplace, ours, &needs)?;
    let more = format!("-S --commitment-policy require-encrypt-require-decrypt -w key={key}");
    let [seal, open] = ["-e", "-d"].map(|what| format!("aws-encryption-cli {what} {more}"));
    let theirs = Peer {
        name: AWS_CLI,
        version: String::new(),
        seal: format!("{seal} -i in -o out"),
        open: format!("{open} -i in.aws -o out"),
        sealed: "in.aws",
        seal_stream: format!("{seal} -i - -o -"),
        open_stream: format!("{open} -i - -o -"),
    };
    let needs = Needs {
        programs: &["aws-encryption-cli"],
        version: "aws-encryption-cli --version",
        setup: "true",
        install: "",
    };
    Ok(vec![ours, try_out(workplace, theirs, &needs)?])
}
