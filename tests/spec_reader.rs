//! `spec/reader.py`, which was written from the specification alone, opens the worked example.

mod support;

use std::path::Path;
use std::process::{Command, Output};

fn reader(arguments: &[&str]) -> Output {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let mut command = Command::new(support::python());
    command.current_dir(spec).arg("reader.py").args(arguments).output().expect("python runs")
}

#[test]
fn opens_the_worked_example() {
    let output = reader(&["--keyfile", "example.key", "-c", "project=demo", "-l", "host=example", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn opens_it_with_the_bare_data_key() {
    let key = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example.data-key");
    std::fs::write(&key, (0..32).collect::<Vec<u8>>()).expect("a file under target/");
    let output = reader(&["--data-key-file", key.to_str().expect("a plain path"), "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()));
}

#[test]
fn refuses_an_unmet_demand_before_any_key() {
    let output = reader(&["-l", "host=another", "example.wax", "-"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(8), 0));
}

/// Such a demand is the caller's mistake, whatever the file has (spec 5.3).
#[test]
fn a_demand_that_breaks_the_grammar_is_a_usage_error() {
    let wrong: [&[&str]; 7] = [
        &["-c", "=x"],
        &["-l", "=x"],
        &["-c", "project="],
        &["-c", "project"],
        &["-l", "AWS:host=example"],
        &["-c", "project=de\u{7f}mo"],
        &["-c", "project=demo", "-c", "Project=demo"],
    ];
    for demands in wrong {
        let output = reader(&[demands, &["example.wax", "-"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{demands:?}: {errors}");
        assert!(errors.starts_with("reader: usage: "), "{demands:?}: {errors}");
    }
}

/// Exit code 10 has one meaning: the folder was found, and it does not have the input (spec 1.3).
#[cfg(unix)]
#[test]
fn only_an_input_that_its_folder_does_not_have_is_missing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader-input");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("a folder under target/");
    std::fs::write(folder.join("file"), "").expect("a file under target/");
    std::os::unix::fs::symlink("nothing", folder.join("link")).expect("a link under target/");
    for (name, code) in [("none.wax", 10), ("none/none.wax", 7), ("file/none.wax", 7), ("link", 7), ("none/", 7)] {
        let input = folder.join(name);
        let output = reader(&["--keyfile", "example.key", input.to_str().expect("a plain path"), "-"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{name}: {errors}");
        assert!(errors.starts_with("reader: io: "), "{name}: {errors}");
    }
    let output = reader(&["--keyfile", "none.key", "example.wax", "-"]);
    assert_eq!(output.status.code(), Some(7), "a key file is no input");
}

/// A passphrase file is read as the program reads it: one LF at its end is dropped, and nothing else.
#[test]
fn takes_a_passphrase_file_as_the_program_does() {
    use waxseal::keys::Passphrase;
    use waxseal::secret::SecretBytes;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (passphrase, content) in [
        (&b"word\r"[..], &b"word\r\n"[..]),
        (b"word", b"word\n"),
        (b"word\n", b"word\n\n"),
        (b"\xef\xbb\xbfword", b"\xef\xbb\xbfword"),
    ] {
        let key = Passphrase::new(SecretBytes::new(passphrase.to_vec())).expect("a passphrase");
        let mut writer = waxseal::SealWriter::new(Vec::new(), &[&key], &waxseal::SealOptions::new()).expect("a writer");
        std::io::Write::write_all(&mut writer, b"content").expect("memory");
        let [sealed, file] = ["typed.wax", "typed.pass"].map(|name| folder.join(name));
        std::fs::write(&sealed, writer.finish().expect("memory")).expect("a file under target/");
        std::fs::write(&file, content).expect("a file under target/");
        let output = reader(&["--passphrase-file", file.to_str().expect("text"), sealed.to_str().expect("text"), "-"]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"content".as_slice()), "{content:?}");
    }
}

#[test]
fn opens_the_example_of_public_keys() {
    let output = reader(&["--identity", "example-public.identity", "-c", "project=demo", "example-public.wax", "-"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"hello, waxseal\n".as_slice()), "{errors}");
    // What `aws kms decapsulate --query SharedSecret --output text` prints.
    let secret = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example.shared-secret");
    std::fs::write(&secret, "9t7LeZvOzZUqW1f6NJK2x7Xq70RXaWHWNrikl30qRVE=\n").expect("a file under target/");
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000004";
    let given = format!("--shared-secret={arn}={}", secret.to_str().expect("a plain path"));
    for recipient in ["example-public.recipient", "example-kms.recipient"] {
        let output = reader(&[given.as_str(), "--recipient", recipient, "example-public.wax", "-"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"hello, waxseal\n".as_slice()),
            "{errors}"
        );
    }
}

/// The reader, without what it knows of kinds 4 to 6: a reader by the rules of before.
const OF_THREE_KINDS: &str = r#"
import re, sys
text = open("reader.py").read()
for pattern, other in [
    (r",\s+4: ARN\.fullmatch.*?== 1224}", "}"),
    (r"{1, 4, 5} if kind in \(1, 4, 5\) else {kind}", "{kind}"),
    (r"kind > 6 or", "kind > 3 or"),
    (r"        if kind in \(4, 5\) and .*?(?=        if kind == 3)", ""),
]:
    text, count = re.subn(pattern, other, text, flags=re.S)
    assert count == 1, pattern
exec(compile(text, "reader.py", "exec"))
"#;

/// Slots of public keys are skipped by who does not know them, whatever their shape; the key file opens.
#[test]
fn who_knows_three_kinds_opens_a_file_of_more() {
    use waxseal::format::{Bank, Front, Header};
    use waxseal::keys::{Identity, KeyFile, Recipient};
    let (spec, folder) = (Path::new("spec"), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let vector = std::fs::read("tests/testkit/recipient_rsa_3072").expect("a vector");
    let vector = String::from_utf8_lossy(&vector);
    let digits = vector.lines().find_map(|line| line.strip_prefix("recipient-hex: ")).expect("a recipient");
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
    let rsa = Recipient::parse(&(0..digits.len() / 2).map(byte).collect::<Vec<_>>()).expect("a recipient");
    let ml_kem = Recipient::load(spec.join("example-kms.recipient")).expect("a recipient");
    let identity = Identity::load(spec.join("example-public.identity")).expect("an identity");
    let key = KeyFile::generate().expect("a key");
    let sealers: [&dyn waxseal::keys::KeySealer; 4] = [&ml_kem, &rsa, identity.recipient(), &key];
    let options = waxseal::SealOptions::new();
    let mut writer = waxseal::SealWriter::new(Vec::new(), &sealers, &options).expect("a writer");
    std::io::Write::write_all(&mut writer, b"content").expect("memory");
    let mut file = writer.finish().expect("memory");
    let paths = ["kinds.wax", "kinds.key", "odd.wax"].map(|name| folder.join(name));
    let [whole, key_file, odd] = paths.each_ref().map(|path| path.to_str().expect("text"));
    std::fs::write(whole, &file).expect("a file under target/");
    std::fs::write(key_file, key.to_text(&[]).expose()).expect("a file under target/");
    // Who knows kind 4 finds this one malformed.
    let header = Header::read(&Front::new(file.clone())).expect("a header");
    let mut bank = header.bank().clone();
    bank.slots[0].kind = waxseal::format::SlotKind(7);
    bank.slots[0].wrapped.truncate(1000);
    for number in [bank.number, bank.number.other()] {
        let mut bytes = Bank { number, ..bank.clone() }.encode().expect("a bank");
        let at = bytes
            .windows(1002)
            .position(|slot| slot[..2] == 1000_u16.to_le_bytes() && slot[2..] == bank.slots[0].wrapped[..]);
        let kind = at.expect("the slot") - bank.slots[0].key_id.len() - 4;
        bytes[kind..kind + 2].copy_from_slice(&4_u16.to_le_bytes());
        let end = bytes.len() - 32;
        let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum);
        let place = usize::from(number.get()) * bank.len.get();
        file[place..place + bytes.len()].copy_from_slice(&bytes);
    }
    std::fs::write(odd, &file).expect("a file under target/");
    let older = |arguments: &[&str]| {
        let mut command = Command::new(support::python());
        command.current_dir(spec).args(["-c", OF_THREE_KINDS]).args(arguments).output().expect("python runs")
    };
    let told = |output: &Output| (output.status.code(), output.stdout == b"content");
    let by_key = |file| ["--keyfile", key_file, file, "-"];
    let by_identity = ["--identity", "example-public.identity", whole, "-"];
    assert_eq!([told(&reader(&by_key(whole))), told(&reader(&by_identity))], [(Some(0), true); 2]);
    let opened = older(&by_key(whole));
    assert_eq!(told(&opened), (Some(0), true), "{}", String::from_utf8_lossy(&opened.stderr));
    assert_eq!(told(&older(&by_identity)), (Some(5), false), "it knows no kind 6");
    assert_eq!(told(&reader(&by_key(odd))), (Some(3), false));
    assert_eq!(told(&older(&by_key(odd))), (Some(0), true));
}

/// What a user of the module writes. `code` comes after the imports.
fn module(code: &str) -> String {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let code = format!("import io, sys\nimport reader\n{code}");
    let output = Command::new(support::python()).current_dir(spec).args(["-B", "-c", &code]).output();
    let output = output.expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `import reader` runs nothing, and the file that it gives can seek. One key alone needs no list.
#[test]
fn as_a_module_it_gives_a_file_that_can_seek() {
    let told = module(
        r#"
with io.BufferedReader(reader.Sealed("example.wax", keyfile="example.key", c=["project=demo"])) as file:
    print(file.read(5), file.seek(-8, io.SEEK_END), file.read(), file.read(), file.raw.size)
assert file.closed and file.raw.file.closed
try: reader.Sealed("example.wax", keyfile=["example.key"], l="host=another")
except reader.Fail as error: print(error.kind, error.code)
"#,
    );
    assert_eq!(told, "b'hello' 7 b'waxseal\\n' b'' 15\ndemand 8\n");
}

/// The last chunk decides on the length, so it is the first that is opened, and a damaged one gives no file.
#[test]
fn no_length_is_told_before_the_last_chunk_has_verified() {
    let told = module(
        r#"
import os, tempfile
whole = open("example.wax", "rb").read()
for name, altered in [("cut", whole[:-8]), ("longer", whole + b"x"), ("other", whole[:-1] + bytes([whole[-1] ^ 1]))]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(altered); file.flush()
        try: print("accepted", reader.Sealed(file.name, keyfile="example.key").size)
        except reader.Fail as error: print(name, error.kind)
"#,
    );
    assert_eq!(told, "cut payload\nlonger payload\nother payload\n");
}

/// Without a package, one sentence says which, and how to get it; the exit code is that of usage.
#[test]
fn a_missing_package_is_named() {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let run = |hidden: &str, arguments: &str| {
        let code = format!(
            "import runpy, sys\nsys.modules[{hidden:?}] = None\nsys.argv = ['reader.py', *{arguments:?}.split()]\n\
             runpy.run_path('reader.py', run_name='__main__')"
        );
        let output = Command::new(support::python()).current_dir(&spec).args(["-B", "-c", &code]).output();
        let output = output.expect("python runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, errors) = run("cryptography.exceptions", "example.wax -");
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.starts_with("reader: usage: this needs the Python package cryptography: pip install "), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    let (code, errors) =
        run("cryptography.hazmat.primitives.asymmetric.mlkem", "--identity example-public.identity example.wax -");
    assert_eq!(code, Some(2), "{errors}");
    let words = "an identity needs the Python package cryptography>=48: pip install 'cryptography>=48'";
    assert_eq!(errors, format!("reader: usage: {words}\n"));
    // The same two for the functions that a file's slot decides on.
    let told = module(
        r#"
sys.modules["boto3"] = sys.modules["cryptography.hazmat.primitives.kdf.argon2"] = sys.modules["argon2.low_level"] = None
for call in (lambda: reader.open_kms(b"", b"", None), lambda: reader.argon2id(b"word", bytes(32), 19456, 2, 1)):
    try: call()
    except reader.Fail as error: print(error.code, error)
"#,
    );
    let [kms, passphrase] = ["boto3", "cryptography>=44"];
    let words =
        |what: &str, package: &str| format!("2 {what} needs the Python package {package}: pip install '{package}'\n");
    assert_eq!(told, words("--kms", kms) + &words("a passphrase", passphrase));
}

/// The payload and a wrapped key are messages of the public standard: another implementation of it opens them.
#[test]
fn another_implementation_of_the_standard_opens_the_payload() {
    let told = module(
        r#"
from cryptography.cobblestone import Cobblestone256Decryptor
with open("example.wax", "rb") as file:
    bank, _ = reader.read_banks(file.fileno())
    file.seek(2 * bank.length)
    wrapped = next(wrapped for kind, _, wrapped in bank.slots if kind == 2)
    _, key = reader.load_keyfile("example.key")
    unwrap = Cobblestone256Decryptor(key, b"waxseal v1 keyfile\0" + bank.bound)
    opener = Cobblestone256Decryptor(unwrap.update(wrapped) + unwrap.finalize(), bank.bound)
    print(opener.update(file.read()) + opener.finalize())
"#,
    );
    assert_eq!(told, "b'hello, waxseal\\n'\n");
}

/// A device or a link at the place of the output is not replaced, and neither is the input.
#[test]
fn the_reader_replaces_only_a_file_that_is_not_its_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let sealed = std::fs::read("spec/example.wax").expect("the example");
    std::fs::write(path("in.wax"), &sealed).expect("a file");
    std::fs::write(path("old"), "old").expect("a file");
    std::os::unix::fs::symlink("old", path("link")).expect("a link");
    std::os::unix::fs::symlink("in.wax", path("to-input")).expect("a link");
    let run = |out: &Path| {
        let [from, out] = [path("in.wax"), out.to_owned()].map(|path| path.to_str().expect("text").to_owned());
        let output = reader(&["--keyfile", "example.key", &from, &out]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for refused in ["link", "to-input", "in.wax", ""] {
        let (code, words) = run(&path(refused));
        assert!(code == Some(2) && words.starts_with("reader: usage: "), "{refused}: {code:?} {words}");
    }
    assert_eq!(std::fs::read(path("in.wax")).expect("the input"), sealed);
    assert!(path("link").is_symlink() && path("to-input").is_symlink());
    assert_eq!(std::fs::read(path("old")).expect("a file"), b"old");
    assert_eq!(run(&path("old")).0, Some(0));
    assert_eq!(run(&path("new")).0, Some(0));
    for file in ["old", "new"] {
        assert_eq!(std::fs::read(path(file)).expect("the output"), b"hello, waxseal\n");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 5, "nothing stays behind");
}

/// The temporary file has plaintext.
#[test]
fn a_signal_leaves_no_file_of_the_reader() {
    let told = module(
        r#"
import os, signal, tempfile
for number in signal.SIGTERM, signal.SIGHUP:
    signal.signal(number, signal.SIG_DFL)
    def chunks(chunk):
        yield chunk(0)
        print(len(os.listdir(folder)), end=" ")
        os.kill(os.getpid(), number)
        yield b""
    reader.plaintext = chunks
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["reader", "--keyfile", "example.key", "example.wax", folder + "/out"]
        try: reader.main()
        except SystemExit as error: print(error.code, os.listdir(folder))
"#,
    );
    assert_eq!(told, "1 143 []\n1 129 []\n");
}

#[test]
fn the_readers_file_refuses_what_no_file_does() {
    let told = module(
        r#"
file = reader.Sealed("example.wax", keyfile="example.key")
print(file.seek(0, 2), file.seek(10**20), file.read(5))
for place in (0, -1), (0, 3), (-1, 0), (-16, 2), (-10**30, 1):
    try: print("accepted", place, file.seek(*place))
    except ValueError: pass
file.seek(0); file.close()
try: print("accepted", file.read(1))
except ValueError as error: print(error)
for given in "arn", b"example.key":
    try: reader.prepare(shared_secret=given)
    except reader.Fail as error: print(error.kind, error)
try: reader.prepare(shared_secret="arn=example.key")
except reader.Fail as error: print(error.kind, error)
"#,
    );
    let usage = "usage --shared-secret takes ARN=FILE\n";
    let words =
        format!("15 100000000000000000000 b''\nthe file is closed\n{usage}{usage}usage example.key: not base64\n");
    assert_eq!(told, words);
}
