//! What each of these readers does as a program, apart from the vectors.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use waxseal::error::Error;
use waxseal::format::{Binding, Slot, SlotKind};
use waxseal::keys::{KeyFile, KeySealer, Recipient};
use waxseal::secret::DataKey;
use waxseal::{SealOptions, SealWriter};

use crate::kit::encode::{hex, sha256};
use crate::support::{Server, root};

/// A program under test, its folder, and a key file `key` in it.
pub(crate) struct Program<'a> {
    pub(crate) command: &'a dyn Fn() -> Command,
    folder: tempfile::TempDir,
    key: KeyFile,
}

impl<'a> Program<'a> {
    pub(crate) fn new(command: &'a dyn Fn() -> Command) -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyFile::generate().unwrap());
        std::fs::write(folder.path().join("key"), key.to_text(&[]).expose()).unwrap();
        Self { command, folder, key }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = (self.command)();
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Seals `content` as `name` for the key file.
    fn seal(&self, name: &str, content: &[u8]) -> Vec<u8> {
        self.seal_for(name, content, &[&self.key], &SealOptions::new())
    }

    pub(crate) fn seal_for(
        &self,
        name: &str,
        content: &[u8],
        keys: &[&dyn KeySealer],
        options: &SealOptions,
    ) -> Vec<u8> {
        let mut writer = SealWriter::new(Vec::new(), keys, options).unwrap();
        writer.write_all(content).unwrap();
        let sealed = writer.finish().unwrap();
        std::fs::write(self.path(name), &sealed).unwrap();
        sealed
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let blocks = (0..len.div_ceil(32)).flat_map(|block| sha256(&block.to_le_bytes()));
    blocks.take(len).collect()
}

#[track_caller]
fn ends(output: &Output, code: i32, start: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && errors.starts_with(start), "{:?}: {errors}", output.status);
    assert!(errors.lines().count() <= 2, "{errors}");
}

/// The example of the specification, through a pipe and into a file.
pub(crate) fn opens_the_worked_example(command: &dyn Fn() -> Command) {
    let program = Program::new(command);
    let spec = root().join("spec");
    let example = |demand: &str, out: &Path| {
        let args = ["--keyfile", "example.key", "-c", "project=demo", "-l", demand, "example.wax"];
        program.command(&args).arg(out).current_dir(&spec).output().unwrap()
    };
    let output = example("host=example", Path::new("-"));
    ends(&output, 0, "");
    assert_eq!(output.stdout, b"hello, waxseal\n");
    ends(&example("host=example", &program.path("out")), 0, "");
    assert_eq!(std::fs::read(program.path("out")).unwrap(), b"hello, waxseal\n");
    ends(&example("host=another", &program.path("no")), 8, "reader: demand: ");
    ends(&program.run(&["--keyfile", "key"]), 2, "reader: usage: ");
    ends(&program.run(&["--keyfiles", "key", "in", "-"]), 2, "reader: usage: ");
    assert_eq!(program.names(), ["key", "out"]);
}

/// Exit code 10 has one meaning: the folder was found, and it does not have the input (spec 1.3).
pub(crate) fn tells_a_missing_input_from_other_errors(command: &dyn Fn() -> Command) {
    let program = Program::new(command);
    std::fs::write(program.path("file"), "").unwrap();
    std::os::unix::fs::symlink("nothing", program.path("link")).unwrap();
    for (name, code) in [("none.wax", 10), ("none/none.wax", 7), ("file/none.wax", 7), ("link", 7), ("none/", 7)] {
        ends(&program.run(&["--keyfile", "key", name, "-"]), code, "reader: io: ");
    }
    ends(&program.run(&["--keyfile", "none.key", "file", "-"]), 7, "reader: io: ");
    ends(&program.run(&["--keyfile", "key", "/dev/null", "-"]), 2, "reader: usage: ");
    ends(&program.run(&["--keyfile", "key", "file", "-"]), 3, "reader: header: ");
}

/// The output is complete, or it is what it was before.
pub(crate) fn writes_all_or_nothing(command: &dyn Fn() -> Command) {
    let program = Program::new(command);
    let content = noise(100_000);
    let mut sealed = program.seal("in", &content);
    std::fs::write(program.path("old"), "old").unwrap();
    std::os::unix::fs::symlink("old", program.path("link")).unwrap();
    for refused in ["link", "in", "."] {
        ends(&program.run(&["--keyfile", "key", "in", refused]), 2, "reader: usage: ");
    }
    assert!(program.path("link").is_symlink() && std::fs::read(program.path("in")).unwrap() == sealed);
    let cut = sealed.len() - 20_000;
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    std::fs::write(program.path("altered"), &sealed).unwrap();
    std::fs::write(program.path("cut"), &sealed[..cut]).unwrap();
    let there = program.names();
    for (name, code) in [("altered", 4), ("cut", 4), ("none", 10)] {
        ends(&program.run(&["--keyfile", "key", name, "old"]), code, "reader: ");
        ends(&program.run(&["--keyfile", "key", name, "new"]), code, "reader: ");
        assert_eq!(std::fs::read(program.path("old")).unwrap(), b"old");
    }
    assert_eq!(program.names(), there, "nothing stays behind");
    ends(&program.run(&["--keyfile", "key", "in", "old"]), 0, "");
    assert!(std::fs::read(program.path("old")).unwrap() == content);
    assert_eq!(program.names(), there);
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The temporary file has plaintext. A process that is stopped while it writes is ended by a signal.
pub(crate) fn a_signal_leaves_no_file(command: &dyn Fn() -> Command) {
    let program = Program::new(command);
    program.seal("in", &vec![7; 40 << 20]);
    let mut ended = Vec::new();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT].into_iter().cycle().take(30) {
        let mut child = program.command(&["--keyfile", "key", "in", "out"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !program.names().iter().any(|name| name.starts_with(".reader-")) && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "nothing is written");
        }
        // A process that has ended was too fast. It is run again.
        let _ = kill_process(pid(&child), Signal::STOP);
        let is_early = !program.path("out").exists();
        let _ = kill_process(pid(&child), signal);
        let _ = kill_process(pid(&child), Signal::CONT);
        let status = child.wait().unwrap();
        let left = program.names().into_iter().filter(|name| name.starts_with(".reader-")).collect::<Vec<_>>();
        assert!(left.is_empty(), "{signal:?} leaves {left:?}");
        if is_early && !program.path("out").exists() {
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{status}");
            ended.push(signal);
        }
        let _ = std::fs::remove_file(program.path("out"));
        if ended.len() >= 3 {
            return;
        }
    }
    panic!("the program was never stopped while it wrote: {ended:?}");
}

/// The most memory that the program used, in MiB, while it opened `len` bytes. The pipe has only the end of them left.
pub(crate) fn peak_memory(command: &dyn Fn() -> Command, len: usize) -> u64 {
    let program = Program::new(command);
    program.seal("in", &vec![7; len]);
    let mut child = program.command(&["--keyfile", "key", "in", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    // A pipe holds 64 KiB, so the program still waits for the rest to be taken.
    let taken = std::io::copy(&mut out.by_ref().take(len as u64 - (256 << 10)), &mut std::io::sink()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let rest = std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success() && taken + rest == len as u64);
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Opens the sealed files of every release, with each key that `takes` accepts by file, suite and kind. Returns how many
/// times a file was opened.
pub(crate) fn opens_the_corpus(command: &dyn Fn() -> Command, takes: &dyn Fn(&str, u64, &str) -> bool) -> usize {
    let (program, corpus) = (Program::new(command), root().join("tests/corpus"));
    let mut opened = 0;
    for version in std::fs::read_to_string(corpus.join("sets")).unwrap().lines() {
        let set = corpus.join(version.split(' ').next().unwrap());
        let manifest: Value = serde_json::from_slice(&std::fs::read(set.join("manifest.json")).unwrap()).unwrap();
        for file in manifest["files"].as_array().unwrap() {
            let (name, suite) = (file["file"].as_str().unwrap(), file["suite"].as_u64().unwrap());
            for opener in file["openers"].as_array().unwrap() {
                let kind = opener["kind"].as_str().unwrap();
                if !takes(name, suite, kind) {
                    continue;
                }
                let output =
                    program.command(&[]).args(corpus_key(&program, &set, opener)).arg(set.join(name)).arg("-").output();
                let output = output.unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{name}, {kind}: {errors}");
                assert_eq!(file["plaintext_sha256"], hex(&sha256(&output.stdout)), "{name}, {kind}");
                let warning = errors.trim().strip_prefix("reader: warning: ");
                assert_eq!(warning, file["warning"].as_str(), "{name}, {kind}");
                opened += 1;
            }
        }
    }
    opened
}

fn corpus_key(program: &Program<'_>, set: &Path, opener: &Value) -> [String; 2] {
    let beside = || set.join(opener["file"].as_str().unwrap()).into_os_string().into_string().unwrap();
    let option = match opener["kind"].as_str().unwrap() {
        "keyfile" => return ["--keyfile".into(), beside()],
        "x-wing" => return ["--identity".into(), beside()],
        "passphrase" => return ["--passphrase-file".into(), beside()],
        "aws-kms" => "--data-key",
        _ => "--shared-secret",
    };
    std::fs::write(program.path("answer"), opener["answer"].as_str().unwrap()).unwrap();
    [option.into(), format!("{}=answer", opener["arn"].as_str().unwrap())]
}

/// A key of the small KMS that seals slots of kind 1.
pub(crate) struct KmsKey<'a> {
    pub(crate) server: &'a Server,
    pub(crate) arn: String,
}

impl KeySealer for KmsKey<'_> {
    fn name(&self) -> String {
        self.arn.clone()
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot, Error> {
        let mut context: serde_json::Map<_, _> =
            binding.context.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        context.insert("waxseal:data-key-id".into(), hex(&binding.data_key_id.0).into());
        let plaintext = STANDARD.encode(data_key.expose());
        let asked = json!({ "KeyId": self.arn, "Plaintext": plaintext, "EncryptionContext": context });
        let answer = self.server.aws().kms("Encrypt", &asked);
        let wrapped = STANDARD.decode(answer["CiphertextBlob"].as_str().unwrap()).unwrap();
        Ok(Slot { kind: SlotKind::AWS_KMS, key_id: self.arn.clone(), wrapped })
    }
}

/// A recipient whose private key of the given spec is in the small KMS, and its ARN.
pub(crate) fn kms_recipient(server: &Server, spec: &str) -> (Recipient, String) {
    let (kind, usage) = match spec.starts_with("RSA") {
        true => ("aws-kms-rsa", "ENCRYPT_DECRYPT"),
        false => ("aws-kms-ml-kem", "ENCAPSULATE_DECAPSULATE"),
    };
    let arn = server.aws().create_key_with(&json!({ "KeySpec": spec, "KeyUsage": usage }));
    let answer = server.aws().kms("GetPublicKey", &json!({ "KeyId": arn }));
    let line = format!("waxseal-recipient-v1:{kind}:{arn}:{}", answer["PublicKey"].as_str().unwrap());
    let check = hex(&sha256(line.as_bytes())[..4]);
    (Recipient::parse(format!("{line}:{check}\n").as_bytes()).unwrap(), arn)
}
