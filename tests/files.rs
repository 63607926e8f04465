//! From one file to another: what is promised of the output, and the programs of `examples/`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../examples/files.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod files_example;
#[path = "../examples/own_key_service.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod own_key_service;
#[path = "../examples/random_reads.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod random_reads;
#[path = "../examples/stream.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod stream_example;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use own_key_service::{Vault, VaultKey};
use waxseal::error::{InputChanged, Result, Tampered};
use waxseal::format::{Binding, Pairs, Slot};
use waxseal::io::{Durability, Overwrite};
use waxseal::keys::{KeyFile, KeyOpener, KeySealer};
use waxseal::secret::DataKey;
use waxseal::{Demands, Error, FileOptions, OpenReader, SealOptions, SealWriter, decrypt_file, encrypt_file};

/// A folder with an input of some megabytes, and a key.
struct Place {
    folder: tempfile::TempDir,
    key: KeyFile,
    text: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let text: Vec<u8> = (0..3_000_001_u32).map(|number| number.to_le_bytes()[1]).collect();
        let place = Self { folder: tempfile::tempdir().unwrap(), key: KeyFile::generate().unwrap(), text };
        fs::write(place.at("in"), &place.text).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in the folder, temporary files too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn sealed(&self) -> PathBuf {
        encrypt_file(self.at("in"), self.at("sealed"), &[&self.key], &SealOptions::new()).unwrap();
        self.at("sealed")
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().mode() & 0o777
    }
}

/// Ends the work after so many pieces, or before the output gets its name.
struct Cancels {
    pieces: std::sync::atomic::AtomicUsize,
    commits: bool,
}

impl Cancels {
    fn after(pieces: usize) -> Self {
        Self { pieces: pieces.into(), commits: true }
    }
}

impl waxseal::engine::Observer for Cancels {
    fn go_on(&self) -> io::Result<()> {
        use std::sync::atomic::Ordering;
        let left = self.pieces.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("cancelled"))
    }

    fn committing(&self) -> io::Result<()> {
        if self.commits { Ok(()) } else { Err(io::Error::other("cancelled")) }
    }
}

#[test]
fn work_that_is_cancelled_leaves_everything_as_it_was() {
    let place = Place::new();
    let sealed = place.sealed();
    fs::write(place.at("out"), b"old").unwrap();
    let before = place.names();
    let late = || Cancels { pieces: 1000.into(), commits: false };
    for cancels in [Cancels::after(0), Cancels::after(1), Cancels::after(2), late()] {
        let files = FileOptions::new().with_overwrite(Overwrite::Replace).with_observer(&cancels);
        let encrypted = files.encrypt(place.at("in"), place.at("out"), &[&place.key], &SealOptions::new()).err();
        cancels.pieces.store(if cancels.commits { 1 } else { 1000 }, std::sync::atomic::Ordering::SeqCst);
        let decrypted = files.decrypt(&sealed, place.at("out"), &[&place.key], &Demands::new()).err();
        for failed in [encrypted, decrypted] {
            assert!(matches!(failed, Some(Error::Io { source, .. }) if source.to_string() == "cancelled"));
        }
        assert_eq!((place.names(), fs::read(place.at("out")).unwrap()), (before.clone(), b"old".to_vec()));
    }
    let cancels = Cancels::after(1000);
    let files = FileOptions::new().with_overwrite(Overwrite::Replace).with_observer(&cancels);
    files.decrypt(&sealed, place.at("out"), &[&place.key], &Demands::new()).unwrap();
    assert_eq!(fs::read(place.at("out")).unwrap(), place.text);
}

/// Does something while a file is being sealed, when its data key is made.
struct Meanwhile<F>(KeyFile, F);

impl<F: Fn() + Send + Sync> KeySealer for Meanwhile<F> {
    fn name(&self) -> String {
        "meanwhile".into()
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        (self.1)();
        self.0.wrap(data_key, binding)
    }
}

fn meanwhile<F: Fn() + Send + Sync>(act: F) -> Meanwhile<F> {
    Meanwhile(KeyFile::generate().unwrap(), act)
}

fn io_kind<T>(done: Result<T>) -> ErrorKind {
    match done.map(drop) {
        Err(Error::Io { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sealed_opens_again() {
    let place = Place::new();
    let labels = Pairs::parse(["host=db1"]).unwrap();
    let options = SealOptions::new().with_labels(labels.clone());
    let sealed = encrypt_file(place.at("in"), place.at("sealed"), &[&place.key], &options).unwrap();
    assert_eq!(sealed.plaintext_len, 3_000_001);
    assert_eq!(sealed.file_len, fs::metadata(place.at("sealed")).unwrap().len());
    let demands = Demands::new().with_labels(labels);
    let opened = decrypt_file(place.at("sealed"), place.at("out"), &[&place.key], &demands).unwrap();
    assert_eq!((opened.plaintext_len, opened.by.slot, opened.header.warnings().len()), (3_000_001, 0, 0));
    assert!(fs::read(place.at("out")).unwrap() == place.text);
    let unmet = Demands::new().with_context(Pairs::parse(["env=prod"]).unwrap());
    let refused = decrypt_file(place.at("sealed"), place.at("no"), &[&place.key], &unmet);
    assert!(matches!(refused, Err(Error::Unmet(_))));
    assert_eq!(place.names(), ["in", "out", "sealed"]);
}

#[test]
fn nothing_is_replaced_unless_that_is_asked_for() {
    let place = Place::new();
    let sealed = place.sealed();
    fs::write(place.at("out"), "mine").unwrap();
    symlink("out", place.at("link")).unwrap();
    let unasked = meanwhile(|| panic!("no key is needed for what cannot be"));
    for output in ["out", "link"] {
        let refused = encrypt_file(place.at("in"), place.at(output), &[&unasked], &SealOptions::new());
        assert_eq!(io_kind(refused), ErrorKind::AlreadyExists);
        let refused = decrypt_file(&sealed, place.at(output), &[&place.key], &Demands::new());
        assert_eq!(io_kind(refused), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(place.at("out")).unwrap(), b"mine");
    let replace = FileOptions::new().with_overwrite(Overwrite::Replace).with_durability(Durability::Unsynced);
    replace.decrypt(&sealed, place.at("link"), &[&place.key], &Demands::new()).unwrap();
    assert!(fs::read(place.at("out")).unwrap() == place.text);
    assert!(place.at("link").is_symlink());
    assert_eq!(place.names(), ["in", "link", "out", "sealed"]);
}

/// The name that was free at first is looked at again in the step that gives it.
#[test]
fn a_file_that_comes_meanwhile_is_not_replaced() {
    let place = Place::new();
    let key = meanwhile(|| fs::write(place.at("out"), "sooner").unwrap());
    let refused = encrypt_file(place.at("in"), place.at("out"), &[&key], &SealOptions::new());
    assert_eq!(io_kind(refused), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(place.at("out")).unwrap(), b"sooner");
    assert_eq!(place.names(), ["in", "out"]);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let place = Place::new();
    let sealed = place.sealed();
    let mut bytes = fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sealed, bytes).unwrap();
    fs::write(place.at("out"), "the night before").unwrap();
    let replace = FileOptions::new().with_overwrite(Overwrite::Replace);
    for output in ["out", "new"] {
        let failed = replace.decrypt(&sealed, place.at(output), &[&place.key], &Demands::new());
        assert!(matches!(failed, Err(Error::Tampered(Tampered::LastChunk { .. }))));
    }
    assert_eq!(fs::read(place.at("out")).unwrap(), b"the night before");
    assert_eq!(place.names(), ["in", "out", "sealed"]);
}

#[test]
fn an_input_that_changes_is_an_error() {
    let place = Place::new();
    let key = meanwhile(|| {
        let mut input = fs::OpenOptions::new().append(true).open(place.at("in")).unwrap();
        input.write_all(b"more").unwrap();
    });
    let failed = encrypt_file(place.at("in"), place.at("sealed"), &[&key], &SealOptions::new());
    let Err(Error::Io { source, .. }) = failed else { panic!("{failed:?}") };
    assert!(source.get_ref().is_some_and(|source| source.is::<InputChanged>()), "{source}");
    assert_eq!(place.names(), ["in"]);
}

#[test]
fn an_output_that_is_no_place_for_a_file_is_refused() {
    let place = Place::new();
    fs::create_dir(place.at("folder")).unwrap();
    fs::hard_link(place.at("in"), place.at("same")).unwrap();
    let replace = FileOptions::new().with_overwrite(Overwrite::Replace);
    for (output, message) in [
        ("folder", "is not a regular file"),
        ("folder/", "names a folder"),
        ("in", "is the input"),
        ("same", "is the input"),
    ] {
        let refused = replace.encrypt(place.at("in"), place.at(output), &[&place.key], &SealOptions::new());
        let Err(Error::Invalid(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains(message), "{output}: {text}");
    }
    assert!(fs::read(place.at("in")).unwrap() == place.text);
    let missing = encrypt_file(place.at("missing"), place.at("out"), &[&place.key], &SealOptions::new());
    assert!(matches!(missing, Err(Error::NoInput(_))), "{missing:?}");
    let lost = encrypt_file(place.at("nowhere/missing"), place.at("out"), &[&place.key], &SealOptions::new());
    assert_eq!(io_kind(lost), ErrorKind::NotFound);
}

#[test]
fn permissions_are_never_wider_than_the_input_has() {
    let place = Place::new();
    let group = fs::metadata(place.folder.path()).unwrap().mode() & 0o2000 == 0;
    assert!(group, "the folder hands its own group on");
    for mode in [0o600, 0o640, 0o644, 0o444] {
        place.set_mode("in", mode);
        let options = FileOptions::new().with_overwrite(Overwrite::Replace);
        options.encrypt(place.at("in"), place.at("sealed"), &[&place.key], &SealOptions::new()).unwrap();
        assert_eq!(place.mode("sealed"), mode);
        options.decrypt(place.at("sealed"), place.at("out"), &[&place.key], &Demands::new()).unwrap();
        assert_eq!(place.mode("out"), 0o600);
    }
    let chosen = FileOptions::new().with_mode(0o640);
    chosen.decrypt(place.at("sealed"), place.at("shared"), &[&place.key], &Demands::new()).unwrap();
    assert_eq!(place.mode("shared"), 0o640);
}

#[test]
fn a_pipe_is_an_input_but_no_output() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.at("pipe")).status().unwrap().success());
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(place.at("pipe"), &place.text).unwrap());
        encrypt_file(place.at("pipe"), place.at("sealed"), &[&place.key], &SealOptions::new()).unwrap();
    });
    assert_eq!(place.mode("sealed"), 0o600);
    let replace = FileOptions::new().with_overwrite(Overwrite::Replace);
    let refused = replace.decrypt(place.at("sealed"), place.at("pipe"), &[&place.key], &Demands::new());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    decrypt_file(place.at("sealed"), place.at("out"), &[&place.key], &Demands::new()).unwrap();
    assert!(fs::read(place.at("out")).unwrap() == place.text);
}

/// The three programs read each other's files.
#[test]
fn the_examples_do_what_they_say() {
    let place = Place::new();
    let key = place.at("key");
    fs::write(&key, place.key.to_text(&[]).expose()).unwrap();
    files_example::run("seal", &key, &place.at("in"), &place.at("sealed")).unwrap();
    let mut opened = Vec::new();
    stream_example::run("open", &key, fs::File::open(place.at("sealed")).unwrap(), &mut opened).unwrap();
    assert!(opened == place.text);
    let mut sealed = Vec::new();
    stream_example::run("seal", &key, place.text.as_slice(), &mut sealed).unwrap();
    fs::write(place.at("streamed"), sealed).unwrap();
    files_example::run("open", &key, &place.at("streamed"), &place.at("out")).unwrap();
    assert!(fs::read(place.at("out")).unwrap() == place.text);
    let mut part = Vec::new();
    random_reads::run(&key, &place.at("streamed"), 1_000_000, 50_000, &mut part).unwrap();
    assert!(part == place.text[1_000_000..1_050_000]);
    for (offset, len) in [(3_000_000, 2), (u64::MAX, 1)] {
        assert!(random_reads::run(&key, &place.at("streamed"), offset, len, io::sink()).is_err());
    }
    assert!(files_example::run("seal", Path::new("/dev/null"), &place.at("in"), &place.at("no")).is_err());
}

#[test]
fn a_key_service_of_ones_own_seals_and_opens() {
    let mut vault = Vault::default();
    ["one", "other"].iter().for_each(|name| vault.create(name).unwrap());
    let [one, other, missing] = ["one", "other", "none"].map(|name| VaultKey { vault: &vault, name });
    let seal = |key: &VaultKey<'_>| {
        let mut writer = SealWriter::new(Vec::new(), &[key], &SealOptions::new())?;
        writer.write_all(b"text").unwrap();
        writer.finish()
    };
    let sealed = seal(&one).unwrap();
    let open = |key: &dyn KeyOpener| {
        let mut text = String::new();
        let mut reader = OpenReader::new(sealed.as_slice(), &[key], &Demands::new())?;
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        Ok(text)
    };
    assert_eq!(open(&one).unwrap(), "text");
    assert!(matches!(open(&other), Err(Error::NoKey(no_key)) if no_key.attempts.is_empty()));
    assert!(matches!(seal(&missing), Err(Error::Provider(_))));
    let stranger = {
        let mut vault = Vault::default();
        vault.create("one").unwrap();
        vault
    };
    let failed = open(&VaultKey { vault: &stranger, name: "one" });
    assert!(matches!(failed, Err(Error::Tampered(Tampered::Slot { slot: 0 }))), "{failed:?}");
}
