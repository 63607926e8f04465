//! Runs every command, with success and with failure. No key, data key or passphrase is in the output, in what other
//! processes can see, or in a file that must not contain it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;
#[cfg(feature = "aws-kms")]
mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cli_support::{Place, noise};
use waxseal::envelope::read_header_at;
use waxseal::keys::{KeyFile, KeyOpener as _};

const PASSPHRASE: &str = "Tr0ub4dor&3-and-more";
/// Files whose purpose is to contain a secret.
const SECRET_FILES: [&str; 7] = ["k", "k2", "k3", "pass", "small", "wrong", "material"];

/// A folder, the output of all runs in it, and what other processes could see of these runs.
struct Session {
    place: Place,
    /// The URL of an emulator of AWS.
    endpoint: Option<String>,
    said: Vec<u8>,
    /// Command lines and environments.
    seen: Vec<u8>,
}

/// How a run must end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Well,
    Badly,
    /// The arguments contain a secret by mistake. The output must not repeat it.
    BadlyForItsArguments,
}
use Ends::{Badly, BadlyForItsArguments, Well};

impl Session {
    fn new(endpoint: Option<String>) -> Self {
        let session = Self { place: Place::new(), endpoint, said: Vec::new(), seen: Vec::new() };
        files(&session.place);
        session
    }

    /// Runs the command with each kind of output: as usual, with `-q` and with `--json`.
    fn run(&mut self, ends: Ends, args: &[&str]) {
        for (round, flags) in [&[][..], &["-q"], &["--json"]].into_iter().enumerate() {
            let (command, rest) = args.split_at(args.iter().position(|arg| *arg == "--").unwrap_or(args.len()));
            let args: Vec<&str> = command.iter().chain(flags).chain(rest).copied().collect();
            let (code, text) = self.run_once(&args, ends);
            // The second run and the third one may fail, because the output already exists.
            let well = code == Some(0) || round > 0 && ends == Well;
            assert!(well == (ends == Well) && code.is_some_and(|code| code != 1), "{args:?}: {code:?} {text}");
        }
    }

    fn run_once(&mut self, args: &[&str], ends: Ends) -> (Option<i32>, String) {
        let said = tempfile::tempfile().unwrap();
        let mut command = self.command(args);
        let mut child = command.stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap()).spawn().unwrap();
        let (code, seen) = watch(&mut child);
        let mut text = vec![0; usize::try_from(said.metadata().unwrap().len()).unwrap()];
        said.read_exact_at(&mut text, 0).unwrap();
        self.said.extend_from_slice(&text);
        if ends != BadlyForItsArguments {
            self.seen.extend(seen);
        }
        (code, String::from_utf8_lossy(&text).into_owned())
    }

    /// Sets every variable that could make a library print more.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        #[cfg(feature = "aws-kms")]
        support::clear_aws_environment(&mut command);
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        command.env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "eu-west-1");
        command.envs(self.endpoint.iter().map(|url| ("AWS_ENDPOINT_URL", url)));
        command
    }

    /// Searches for all secrets of the folder, and for those in `more`.
    fn assert_nothing_secret(&self, more: &[(String, Vec<u8>)]) {
        let mut secrets = data_keys(&self.place);
        assert!(secrets.len() > 3, "too few data keys: {}", secrets.len());
        let keys = ["k", "k2"].map(|name| (name.to_owned(), from_hex(&digits_of(&self.place, name))));
        secrets.extend(keys.into_iter().chain(more.iter().cloned()));
        secrets.push(("the passphrase".into(), PASSPHRASE.into()));
        let needles = Needles::new(&secrets);
        needles.assert_not_in("what was said", &self.said);
        if cfg!(target_os = "linux") {
            assert!(self.seen.windows(7).any(|window| window == b"decrypt"));
        } else {
            skipped::skipped("what others see", "the system shows nothing in /proc");
        }
        needles.assert_not_in("what others see", &self.seen);
        for name in self.place.names().iter().filter(|name| !SECRET_FILES.contains(&name.as_str())) {
            needles.assert_not_in(name, &self.place.read(name));
        }
    }
}

/// Many byte strings to search for at once, by their first 8 bytes. The search ignores case.
struct Needles(HashMap<[u8; 8], Vec<(String, Vec<u8>)>>);

impl Needles {
    fn new(secrets: &[(String, Vec<u8>)]) -> Self {
        let mut needles: HashMap<_, Vec<_>> = HashMap::new();
        for (what, secret) in secrets {
            for (how, needle) in forms(secret) {
                let needle = needle.to_ascii_lowercase();
                needles.entry(*needle.first_chunk().unwrap()).or_default().push((format!("{what} ({how})"), needle));
            }
        }
        Self(needles)
    }

    fn assert_not_in(&self, place: &str, hay: &[u8]) {
        let hay = hay.to_ascii_lowercase();
        for (at, window) in hay.windows(8).enumerate() {
            for (what, needle) in self.0.get(window).into_iter().flatten() {
                assert!(!hay[at..].starts_with(needle), "{what} is in {place}, at {at}");
            }
        }
    }
}

/// Waits for the process. Returns its exit code, and what other processes could see of it.
fn watch(child: &mut Child) -> (Option<i32>, Vec<u8>) {
    let folder = format!("/proc/{}", child.id());
    let mut seen = Vec::new();
    loop {
        for name in ["cmdline", "environ", "comm"] {
            // Only root can read the environment of a hardened process.
            seen.extend(fs::read(format!("{folder}/{name}")).unwrap_or_default());
            seen.push(0);
        }
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), seen);
        }
        // If the process is slow, the first readings and the last one are enough.
        seen.truncate(20_000);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The usual ways to write a secret, complete or in halves.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    let list = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>();
    let mut forms = Vec::new();
    for part in secret.chunks(secret.len() / 2) {
        let part = if part.len() < 8 { secret } else { part };
        forms.push(("raw", part.to_vec()));
        forms.push(("hex", hex(part)));
        forms.push(("list", list(part).join(", ").into_bytes()));
        forms.push(("list", list(part).join(",").into_bytes()));
    }
    // In base64, the characters of the secret depend on the number of bytes before it, modulo 3. Characters that also
    // depend on a neighbouring byte are left out.
    for before in 0..3 {
        let shifted = [vec![0; before], secret.to_vec()].concat();
        let whole =
            |text: String| text.as_bytes()[before * 4 / 3 + usize::from(before > 0)..shifted.len() * 4 / 3].to_vec();
        forms.push(("base64", whole(STANDARD_NO_PAD.encode(&shifted))));
        forms.push(("base64url", whole(URL_SAFE_NO_PAD.encode(&shifted))));
    }
    forms
}

fn digits_of(place: &Place, name: &str) -> String {
    let text = String::from_utf8(place.read(name)).unwrap();
    let line = text.lines().find(|line| line.starts_with("waxseal-key-v1:")).unwrap();
    line.split(':').nth(1).unwrap().to_owned()
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..][..2], 16).unwrap()).collect()
}

/// The data keys of all sealed files in the folder.
fn data_keys(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in place.names().into_iter().filter(|name| name.ends_with(".wax")) {
        let bytes = place.read(&name);
        let mut read =
            |buffer: &mut [u8], at: u64| bytes.get(usize::try_from(at).unwrap()..).unwrap_or(&[]).read(buffer);
        let Ok((_, header)) = read_header_at(&mut read) else { continue };
        let bank = header.bank();
        for key in ["k", "k2"] {
            let key = KeyFile::load(place.path(key)).unwrap();
            let slot = bank.slots.iter().find(|slot| key.matches(slot));
            let opened = slot.map(|slot| key.open(slot, &bank.binding).unwrap());
            found.extend(opened.map(|data_key| (format!("the data key of {name}"), data_key.expose().to_vec())));
        }
    }
    found
}

/// Makes intact and damaged sealed files for the commands.
fn files(place: &Place) {
    place.write("pass", PASSPHRASE);
    place.write("wrong", "another passphrase");
    place.ok(&["key", "new", "k2"]);
    place.write("in", noise(20_000));
    place.ok(&["encrypt", "-k", "file:k", "-k", "passphrase:file=pass", "-l", "host=a", "in"]);
    let sealed = place.read("in.wax");
    let with = |name: &str, at: usize| {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        place.write(name, bytes);
    };
    with("bank.wax", 300);
    with("bank2.wax", 300);
    with("chunk.wax", 20_000);
    with("salt.wax", 8192);
    place.write("cut.wax", &sealed[..10_000]);
    place.write("foreign.wax", noise(10_000));
}

#[test]
fn nothing_secret_is_ever_said() {
    let mut session = Session::new(None);
    let digits = digits_of(&session.place, "k");
    let line = format!("waxseal-key-v1:{digits}:");
    let bare = format!("passphrase:{PASSPHRASE}");
    let base64 = STANDARD_NO_PAD.encode(from_hex(&digits));
    let look = "cat /proc/$PPID/cmdline /proc/$PPID/environ /proc/$$/cmdline /proc/$$/environ >&2; echo content";
    let fail = "env >&2; exit 3";
    let from = |out, script| ["encrypt", "-k", "file:k", "-o", out, "--from-command", "--", "sh", "-c", script];
    for (ends, args) in [
        (Well, &["key", "new", "k3"][..]),
        (Badly, &["key", "new", "k"]),
        (Well, &["encrypt", "-f", "-k", "file:k", "-k", "passphrase:file=pass", "-o", "again.wax", "in"]),
        (Well, &["encrypt", "-f", "-k", "file:k2", "--suite", "chacha20-poly1305", "-o", "chacha.wax", "in"]),
        (Badly, &["encrypt", "-k", "file:k", "in"]),
        (Badly, &["encrypt", "-k", "file:pass", "-o", "new.wax", "in"]),
        (Badly, &["encrypt", "-k", "passphrase", "-o", "new.wax", "in"]),
        (Badly, &["encrypt", "-k", "file:k", "-o", "missing/new.wax", "in"]),
        (Well, &from("command.wax", look)),
        (Badly, &from("failed.wax", fail)),
        (Well, &["decrypt", "-f", "-k", "file:k", "-o", "out", "in.wax"]),
        (Well, &["decrypt", "-f", "-k", "passphrase:file=pass", "-o", "out", "in.wax"]),
        (Badly, &["decrypt", "-f", "-k", "file:k2", "-o", "out", "in.wax"]),
        (Badly, &["decrypt", "-f", "-k", "passphrase:file=wrong", "-o", "out", "in.wax"]),
        (Badly, &["decrypt", "-f", "-k", "passphrase:file=k", "-o", "out", "in.wax"]),
        (Badly, &["decrypt", "-f", "-k", "file:k", "-o", "out", "chunk.wax"]),
        (Badly, &["decrypt", "-f", "-k", "file:k", "-o", "out", "salt.wax"]),
        (Badly, &["decrypt", "-f", "-k", "file:k", "-o", "out", "cut.wax"]),
        (Badly, &["decrypt", "-f", "-k", "file:k", "-l", "host=b", "-o", "out", "in.wax"]),
        (Well, &["verify", "-k", "file:k", "in.wax", "bank.wax"]),
        (Badly, &["verify", "-k", "file:k", "in.wax", "chunk.wax", "foreign.wax", "missing.wax"]),
        (Well, &["inspect", "in.wax", "bank.wax", "chunk.wax"]),
        (Badly, &["inspect", "foreign.wax"]),
        (Well, &["cat", "-k", "file:k", "--range", "10..20", "in.wax"]),
        (Badly, &["cat", "-k", "file:k", "--range", "10..20", "chunk.wax"]),
        (Well, &["salvage", "-f", "-k", "file:k", "-o", "out", "--map", "map", "bank.wax"]),
        (Badly, &["salvage", "-f", "-k", "file:k", "-o", "out", "chunk.wax"]),
        (Badly, &["salvage", "-f", "-k", "file:k", "-o", "out", "foreign.wax"]),
        (Badly, &["rewrap", "-k", "file:k", "--to", "file:k2", "in.wax"]),
        (Badly, &["rewrap", "-k", "file:k2", "--allow-unwrap", "--add", "file:k2", "in.wax"]),
        (Well, &["rewrap", "-k", "file:k", "--allow-unwrap", "--from", "file:k", "--to", "file:k2", "in.wax"]),
        (Well, &["rewrap", "-k", "file:k2", "--allow-unwrap", "--add", "file:k", "in.wax"]),
        (Well, &["rewrap", "--remove", "file:k", "-f", "-o", "copy.wax", "in.wax"]),
        (Well, &["rewrap", "--repair", "bank.wax"]),
        (Well, &["rewrap", "--repair", "-k", "file:k", "salt.wax"]),
        (Badly, &["rewrap", "--repair", "foreign.wax"]),
        (Well, &["reseal", "-f", "--from", "file:k", "-k", "file:k2", "-o", "copy.wax", "bank.wax"]),
        (Badly, &["reseal", "-f", "--from", "file:k", "-k", "file:k2", "-o", "copy.wax", "chunk.wax"]),
        (
            Badly,
            &["reseal", "-f", "-c", "not=there", "--from", "file:k", "-k", "file:k2", "-o", "copy.wax", "bank.wax"],
        ),
        (Well, &["completions", "bash"]),
        (Well, &["man"]),
        (Well, &["man", "key", "new"]),
        (Well, &["reader"]),
        (Well, &["--help"]),
        (Well, &["--version"]),
        (Badly, &["nonsense"]),
        (BadlyForItsArguments, &["verify", "-k", &line, "in.wax"]),
        (BadlyForItsArguments, &["verify", "-k", &digits, "in.wax"]),
        (BadlyForItsArguments, &["verify", "-k", &base64, "in.wax"]),
        (BadlyForItsArguments, &["encrypt", "-k", &bare, "in"]),
    ] {
        session.run(ends, args);
    }
    session.assert_nothing_secret(&[("k3".into(), from_hex(&digits_of(&session.place, "k3")))]);
}

/// Checks the search itself: it finds a secret in each form.
#[test]
fn a_secret_that_is_there_is_found() {
    let secret: Vec<u8> = (100..132).collect();
    let needles = Needles::new(&[("it".into(), secret.clone())]);
    let upper = secret.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let said = [
        [b"x", secret.as_slice(), b"y"].concat(),
        secret[16..].to_vec(),
        format!("a key: {upper}.").into_bytes(),
        format!("{secret:?}").into_bytes(),
        STANDARD_NO_PAD.encode([b"ab", secret.as_slice(), b"c"].concat()).into_bytes(),
        STANDARD_NO_PAD.encode([b"a", secret.as_slice()].concat()).into_bytes(),
        URL_SAFE_NO_PAD.encode(&secret).into_bytes(),
    ];
    for said in &said {
        assert!(std::panic::catch_unwind(|| needles.assert_not_in("here", said)).is_err(), "{said:?}");
    }
    needles.assert_not_in("here", &noise(100_000));
}

/// The same with AWS: key material, and data keys that KMS makes.
#[cfg(feature = "aws-kms")]
#[test]
fn nothing_secret_is_said_with_keys_in_aws_kms() {
    let mut session = Session::new(Some(support::shared_moto().url.clone()));
    session.place.write("small", PASSPHRASE);
    for (ends, args) in [
        (Well, &["key", "create", "--alias", "alias/secrets"][..]),
        (Badly, &["key", "create", "--alias", "alias/secrets"]),
        (Well, &["key", "show", "alias/secrets"]),
        (Badly, &["key", "show", "alias/none"]),
        (Well, &["encrypt", "-f", "-k", "alias/secrets", "-k", "file:k", "-o", "kms.wax", "in"]),
        (Badly, &["encrypt", "-f", "-k", "alias/none", "-k", "file:k", "-o", "none.wax", "in"]),
        (Well, &["decrypt", "-f", "-k", "alias/secrets", "-o", "out", "kms.wax"]),
        (Well, &["verify", "kms.wax"]),
        (Badly, &["verify", "-k", "alias/none", "kms.wax"]),
        (Well, &["inspect", "kms.wax"]),
        (Well, &["rewrap", "-k", "file:k", "--allow-unwrap", "--add", "alias/secrets", "in.wax"]),
        (Well, &["rewrap", "--from", "alias/secrets", "--to", "alias/secrets", "kms.wax"]),
        (Badly, &["rewrap", "--from", "alias/secrets", "--to", "alias/none", "kms.wax"]),
        (Well, &["direct", "encrypt", "-f", "-k", "alias/secrets", "-o", "blob", "small"]),
        (Well, &["direct", "decrypt", "-f", "-k", "alias/secrets", "-o", "wrong", "blob"]),
        (Badly, &["direct", "decrypt", "-f", "-k", "alias/secrets", "-c", "a=b", "-o", "wrong", "blob"]),
        (Badly, &["key", "import", "alias/secrets", "--material", "k"]),
    ] {
        if ends == Badly || args[1] != "create" {
            session.run(ends, args);
        } else {
            assert_eq!(session.run_once(args, ends).0, Some(0));
        }
    }
    // Only this other emulator supports imported key material.
    let ministack = support::ministack();
    session.endpoint = Some(ministack.url.clone());
    let import = ["key", "import", "alias/import"];
    for (ends, args) in [
        (Well, &["key", "create", "--external", "--alias", "alias/import"][..]),
        (Well, &[&import[..], &["--generate", "material"]].concat()),
        (Badly, &[&import[..], &["--generate", "material"]].concat()),
        (Well, &[&import[..], &["--material", "material"]].concat()),
        (Badly, &[&import[..], &["--material", "small"]].concat()),
        (Well, &["key", "show", "alias/import"]),
        (Well, &["key", "delete-material", "alias/import", "--yes"]),
        (Badly, &["key", "delete-material", "alias/import"]),
        (Badly, &["encrypt", "-f", "-k", "alias/import", "-k", "file:k", "-o", "import.wax", "in"]),
    ] {
        let (code, text) = session.run_once(args, ends);
        assert_eq!(code == Some(0), ends == Well, "{args:?}: {text}");
        session.run_once(&[args, &["--json"]].concat(), ends);
    }
    session.assert_nothing_secret(&[("the material".into(), session.place.read("material"))]);
}
