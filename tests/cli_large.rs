//! Two GiB of real data go through files and through pipes. The opened data equals the input, and memory is bounded.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cli_support::Place;

const LEN: u64 = 2 << 30;
/// 2 banks of 65536 bytes, the prelude, and one tag for each chunk.
const SEALED_LEN: u64 = 131_072 + 56 + LEN + 16 * (LEN / 16_384 + 1);
const MAX_MEMORY: u64 = 64 << 20;

/// Fills `path` with the files of the Rust toolchain, repeated as often as necessary.
fn real_data(path: &Path) {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc is in the path");
    let root = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let mut out = File::create(path).unwrap();
    let mut left = LEN;
    for file in files.iter().cycle() {
        left -= std::io::copy(&mut File::open(file).unwrap().take(left), &mut out).unwrap();
        if left == 0 {
            break;
        }
    }
    out.flush().unwrap();
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() && entry.metadata().unwrap().len() > 0 {
            files.push(entry.path());
        }
    }
}

/// Waits until the process ends. Returns its maximum memory in bytes.
fn peak_memory(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn same(one: &Path, two: &Path) -> bool {
    let (mut one, mut two) = (BufReader::new(File::open(one).unwrap()), BufReader::new(File::open(two).unwrap()));
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut a).unwrap();
        if read == 0 {
            return two.read(&mut b).unwrap() == 0;
        }
        if two.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return false;
        }
    }
}

#[test]
fn two_gigabytes_of_real_files() {
    let place = Place::new();
    let (plain, sealed, piped, back) =
        (place.path("in"), place.path("in.wax"), place.path("piped"), place.path("back"));
    real_data(&plain);

    let peak = peak_memory(place.command(&["encrypt", "--no-sync", "-k", "file:k", "in"]).spawn().unwrap());
    assert!(peak > 0 && peak < MAX_MEMORY, "encrypting took {peak} bytes of memory");
    assert_eq!(sealed.metadata().unwrap().len(), SEALED_LEN);
    let decrypt = ["decrypt", "--no-sync", "-k", "file:k", "-o", "back", "in.wax"];
    let peak = peak_memory(place.command(&decrypt).spawn().unwrap());
    assert!(peak < MAX_MEMORY, "decrypting took {peak} bytes of memory");
    assert!(same(&plain, &back));
    std::fs::remove_file(&back).unwrap();
    std::fs::remove_file(&sealed).unwrap();

    // The same through pipes on both sides.
    let mut cat = Command::new("cat").arg(&plain).stdout(Stdio::piped()).spawn().unwrap();
    let mut encrypt = place.command(&["encrypt", "-k", "file:k"]);
    let encrypt = encrypt.stdin(cat.stdout.take().unwrap()).stdout(File::create(&piped).unwrap()).spawn().unwrap();
    let peak = peak_memory(encrypt);
    assert!(cat.wait().unwrap().success() && peak < MAX_MEMORY, "encrypting a pipe took {peak} bytes of memory");
    assert_eq!(piped.metadata().unwrap().len(), SEALED_LEN);
    let mut cat = Command::new("cat").arg(&piped).stdout(Stdio::piped()).spawn().unwrap();
    let mut decrypt = place.command(&["decrypt", "-k", "file:k"]);
    let decrypt = decrypt.stdin(cat.stdout.take().unwrap()).stdout(File::create(&back).unwrap()).spawn().unwrap();
    let peak = peak_memory(decrypt);
    assert!(cat.wait().unwrap().success() && peak < MAX_MEMORY, "decrypting a pipe took {peak} bytes of memory");
    assert!(same(&plain, &back));
}
