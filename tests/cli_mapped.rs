//! Mapped inputs (`encrypt --input map`) give the same files as inputs that are read. If a mapped input is truncated,
//! there is an error and never a SIGBUS.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use cli_support::{Place, Ran, noise, sealed_len};
use rustix::process::{Pid, Signal, kill_process};
use skipped::skipped;

const MAP: [&str; 6] = ["encrypt", "-k", "file:k", "--no-sync", "--input", "map"];
const CHUNK: usize = 16_384;
const MIB: usize = 1 << 20;
/// Windows begin at its multiples.
const ALIGN: usize = 2 * MIB;
const WINDOW: usize = 8 * MIB;

fn mapping<'a>(more: &[&'a str]) -> Vec<&'a str> {
    MAP.into_iter().chain(more.iter().copied()).collect()
}

/// A run that waits in the middle of its input, because nobody reads its output. The pipe and the engine's threads hold
/// a few MiB of the output.
struct Stalled {
    child: Child,
    stdout: ChildStdout,
    got: Vec<u8>,
}

impl Stalled {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut got = vec![0; 4096];
        stdout.read_exact(&mut got).unwrap();
        Self { child, stdout, got }
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads the rest of the output.
    fn finish(mut self) -> Ran {
        self.stdout.read_to_end(&mut self.got).unwrap();
        let mut ran = Ran::from(self.child.wait_with_output().unwrap());
        ran.stdout = self.got;
        ran
    }
}

/// The output of a failed run does not open.
fn opens_nowhere(place: &Place, ran: &Ran) {
    let verified = place.pipe(&["verify", "-q", "-k", "file:k", "-"], &ran.stdout);
    assert_ne!(verified.code, Some(0), "a run that failed has sent a whole file");
}

#[test]
fn every_size_comes_back() {
    let place = Place::new();
    let mut sizes = vec![1, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1];
    for edge in [MIB, ALIGN, WINDOW - ALIGN, WINDOW, WINDOW + ALIGN, 2 * WINDOW] {
        sizes.extend([edge - CHUNK, edge - 1, edge, edge + 1, edge + CHUNK]);
    }
    let names: Vec<String> = sizes.iter().map(|size| format!("in{size}")).collect();
    for (name, size) in names.iter().zip(&sizes) {
        place.write(name, noise(*size));
    }
    for suite in ["aes-256-gcm", "chacha20-poly1305"] {
        // All files in one run: each file is mapped in its own windows.
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        place.ok(&mapping(&[&["-f", "--suite", suite], &inputs[..]].concat()));
        for (name, size) in names.iter().zip(&sizes) {
            let sealed = format!("{name}.wax");
            assert_eq!(place.read(&sealed).len(), sealed_len(*size), "{name}");
            place.ok(&["decrypt", "-f", "--no-sync", "-k", "file:k", "-o", "out", &sealed]);
            assert!(place.read("out") == place.read(name), "{name}");
        }
    }
}

/// How much of the file at `path` a process has mapped, in bytes.
fn mapped_bytes(process: Pid, path: &Path) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.as_raw_nonzero())).unwrap();
    let of_file = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap()));
    let len = |line: &str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        usize::from_str_radix(end, 16).unwrap() - usize::from_str_radix(start, 16).unwrap()
    };
    of_file.map(len).sum()
}

#[cfg(target_os = "linux")]
#[test]
fn a_mapped_input_is_mapped_in_windows() {
    let place = Place::new();
    let path = place.write("in", "");
    File::options().write(true).open(&path).unwrap().set_len(512 << 20).unwrap();
    let path = path.canonicalize().unwrap();
    for how in ["map", "read"] {
        let stalled = Stalled::start(&place, &["encrypt", "-k", "file:k", "--input", how, "-o", "-", "in"]);
        let mapped = mapped_bytes(stalled.id(), &path);
        kill_process(stalled.id(), Signal::TERM).unwrap();
        stalled.finish();
        match how {
            "map" => assert!((WINDOW..=10 * (WINDOW + ALIGN)).contains(&mapped), "{mapped} bytes are mapped"),
            _ => assert_eq!(mapped, 0),
        }
    }
}

/// While the program waits, most of its input is not read yet. Every page after the cut is gone. Without a handler, the
/// first access to such a page would end the process.
#[test]
fn an_input_that_is_cut_while_it_is_mapped_is_an_error() {
    let place = Place::new();
    for cut in [0, 5000, 9 * MIB, 31 * MIB + 1, 32 * MIB - 1] {
        let path = place.write("in", noise(32 * MIB));
        let before = place.names();
        let stalled = Stalled::start(&place, &mapping(&["-o", "-", "in"]));
        File::options().write(true).open(&path).unwrap().set_len(cut as u64).unwrap();
        let ran = stalled.finish();
        assert_eq!(ran.signal, None, "cut to {cut}");
        ran.failed(7, &["in: reading the input: the input changed while it was read\n", "hint: ", "snapshot"]);
        assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
        opens_nowhere(&place, &ran);
        assert_eq!(place.names(), before);
    }
}

/// The same from file to file. The input is truncated at a random moment.
#[test]
fn a_cut_at_any_moment_leaves_all_or_nothing() {
    let place = Place::new();
    let path = place.write("in", "");
    fs::create_dir(place.path("d")).unwrap();
    let mut failed = 0;
    for round in 0..24 {
        File::options().write(true).open(&path).unwrap().set_len(48 << 20).unwrap();
        let child = place.command(&mapping(&["-o", "d/out", "in"])).stderr(Stdio::piped()).spawn().unwrap();
        if round % 2 == 0 {
            while !place.is_written_to("d") && !place.exists("d/out") {
                std::thread::yield_now();
            }
        } else {
            std::thread::sleep(std::time::Duration::from_millis(round * 2));
        }
        File::options().write(true).open(&path).unwrap().set_len(if round % 3 == 0 { 0 } else { 40 << 20 }).unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        match ran.code {
            Some(0) => drop(place.ok(&["verify", "-q", "-k", "file:k", "d/out"])),
            // It was truncated after the program had looked at its length, and before it mapped the first window.
            Some(2) => ran.failed(2, &["it is empty"]),
            code => {
                assert_eq!((code, ran.signal), (Some(7), None), "{}", ran.stderr);
                ran.failed(7, &["the input changed while it was read"]);
                failed += 1;
            }
        }
        let made = fs::read_dir(place.path("d")).unwrap().count();
        assert_eq!(made, usize::from(place.exists("d/out")), "something else is left");
        let _ = fs::remove_file(place.path("d/out"));
    }
    assert!(failed > 0, "no file was cut in time");
}

#[test]
fn a_mapped_input_that_grows_or_changes_is_an_error() {
    let place = Place::new();
    for grows in [true, false] {
        let path = place.write("in", noise(16 * MIB));
        let stalled = Stalled::start(&place, &mapping(&["-o", "-", "in"]));
        let mut file = File::options().append(grows).write(true).open(&path).unwrap();
        file.write_all(b"one line more\n").unwrap();
        let ran = stalled.finish();
        ran.failed(7, &["the input changed while it was read", "hint: "]);
        opens_nowhere(&place, &ran);
    }
}

/// An input that cannot be mapped is refused before there is an output, and the hint says what to do. By default such
/// an input is read.
#[test]
fn what_cannot_be_mapped_is_refused_and_read_by_default() {
    let place = Place::new();
    place.write("empty", "");
    let refused = |args: &[&str], why: &str| {
        let before = place.names();
        let ran = place.fails(&mapping(args), 2, &[why, "hint: read it with --input read\n"]);
        assert_eq!((ran.stderr.lines().count(), ran.stdout.len()), (2, 0), "{}", ran.stderr);
        assert_eq!(place.names(), before);
    };
    refused(&["-o", "out", "-"], "stdin cannot be mapped");
    refused(&[], "stdin cannot be mapped");
    refused(&["-o", "out", "/dev/stdin"], "stdin cannot be mapped");
    refused(&["-o", "out", "/dev/zero"], "it is not a regular file");
    // There is nothing to map in an empty file.
    place.ok(&mapping(&["-o", "out", "empty"]));
    assert_eq!(place.ok(&["cat", "-k", "file:k", "--range", "..", "out"]).stdout, b"");
    let mut readable = vec!["empty"];
    #[cfg(target_os = "linux")]
    {
        refused(&["-o", "out", "/proc/self/status"], "it is empty");
        // The file has a length, but its file system cannot map files.
        let setting = "/sys/kernel/mm/transparent_hugepage/enabled";
        match Path::new(setting).exists() {
            true => refused(&["-o", "out", setting], "the input cannot be mapped: No such device"),
            false => skipped("a file whose file system has no mappings", "there is no such setting in /sys"),
        }
        readable.extend(["/proc/self/status", setting].into_iter().filter(|path| Path::new(path).exists()));
    }
    for input in readable {
        for how in ["auto", "read"] {
            place.ok(&["encrypt", "-f", "-k", "file:k", "--input", how, "-o", "out", input]);
            place.ok(&["verify", "-q", "-k", "file:k", "out"]);
        }
    }
    place.fails(&mapping(&["-o", "out2", "--from-command", "--", "true"]), 2, &["--input", "--from-command"]);
    place.fails(&["encrypt", "-k", "file:k", "--input", "tape", "empty"], 2, &["auto", "map", "read"]);
    assert!(!place.exists("out2"));
}

#[test]
fn a_pipe_is_refused_and_read_by_default() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.path("fifo")).status().unwrap().success());
    std::thread::scope(|scope| {
        let fed = || {
            // A program that refuses the input may have ended before the input is written.
            let _ = fs::write(place.path("fifo"), noise(3 * MIB));
        };
        scope.spawn(fed);
        place.fails(&mapping(&["-o", "out", "fifo"]), 2, &["it is not a regular file", "--input read"]);
        scope.spawn(fed);
        place.ok(&["encrypt", "-k", "file:k", "-o", "out", "fifo"]);
    });
    place.ok(&["decrypt", "-k", "file:k", "-o", "back", "out"]);
    assert!(place.read("back") == noise(3 * MIB));
}

/// An input that cannot be mapped does not stop the others.
#[test]
fn of_several_inputs_each_has_its_own_end() {
    let place = Place::new();
    for (name, len) in [("a", 3 * MIB), ("c", 100), ("empty", 0)] {
        place.write(name, noise(len));
    }
    std::os::unix::fs::symlink("/dev/null", place.path("b")).unwrap();
    let ran = place.run(&mapping(&["a", "b", "c", "empty"]));
    ran.failed(2, &["b: the input cannot be mapped: it is not a regular file"]);
    assert!(!place.exists("b.wax"));
    place.ok(&["verify", "-q", "-k", "file:k", "a.wax", "c.wax", "empty.wax"]);
}

#[test]
fn a_signal_ends_it_in_the_middle() {
    let place = Place::new();
    place.write("in", noise(32 * MIB));
    let before = place.names();
    // A SIGBUS from another process does not concern a page of this program.
    for signal in [Signal::TERM, Signal::BUS] {
        let stalled = Stalled::start(&place, &mapping(&["-o", "-", "in"]));
        kill_process(stalled.id(), signal).unwrap();
        let ran = stalled.finish();
        assert_eq!(ran.signal, Some(signal.as_raw()), "{}", ran.stderr);
        opens_nowhere(&place, &ran);
        assert_eq!(place.names(), before);
    }
    fs::create_dir(place.path("d")).unwrap();
    File::options().write(true).open(place.path("in")).unwrap().set_len(512 << 20).unwrap();
    let child = place.command(&mapping(&["-o", "d/out", "in"])).stderr(Stdio::piped()).spawn().unwrap();
    place.wait_for_writing("d");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.signal, Some(Signal::TERM.as_raw()), "{}", ran.stderr);
    assert_eq!(fs::read_dir(place.path("d")).unwrap().count(), 0);
}
