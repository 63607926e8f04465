//! The program's targets: its start, a range of a huge file, memory, and the cost of a key service.
//!
//! ```sh
//! cargo bench --bench limits                        # 200 runs, 20 GiB through memory
//! cargo bench --bench limits -- --runs 50 --gib 2   # faster
//! ```
//!
//! A figure holds if its median is within the target. It holds "at best" if only its minimum is, which happens on a
//! busy machine. As a test, everything runs with tiny data. Linux only, because the peak of memory comes from /proc.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod huge;
mod kms;
mod process;

#[path = "../common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use waxseal::{Demands, OpenReaderAt};

use kms::FakeKms;
use process::Tool;

/// The delay of the key service in the comparison with a local key.
const KMS_DELAY: Duration = Duration::from_millis(30);
const RANGE: usize = 4096;

struct Options {
    runs: usize,
    /// Number of bytes that the program processes while its memory is measured.
    through: u64,
    /// Length of the file from which a range is read. The file is sparse and uses little space.
    huge: u64,
    /// Length of the file that is sealed with a local key and with a key in KMS.
    file: usize,
    rounds: usize,
    /// The program that was built with this bench, unless `--tool PATH` names another one.
    tool: PathBuf,
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let tool = after("--tool").map_or(env!("CARGO_BIN_EXE_waxseal"), String::as_str).into();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Options { runs: 2, through: 8 << 20, huge: 1 << 30, file: 2 << 20, rounds: 1, tool };
    }
    let number = |name: &str, default: u64| after(name).map_or(default, |text| text.parse().unwrap());
    let runs = usize::try_from(number("--runs", 200)).unwrap();
    Options { runs, through: number("--gib", 20) << 30, huge: 100 << 30, file: 256 << 20, rounds: 9, tool }
}

/// One line of the table.
struct Figure {
    name: &'static str,
    unit: &'static str,
    /// `None` for what is only told.
    target: Option<f64>,
    seen: Vec<f64>,
}

impl Figure {
    fn row(&self) -> String {
        let mut sorted = self.seen.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, median) = (sorted[0], sorted[sorted.len() / 2]);
        let holds = match self.target {
            None => "",
            Some(target) if median <= target => "yes",
            Some(target) if least <= target => "at best",
            Some(_) => "no",
        };
        let Self { name, unit, .. } = self;
        let target = self.target.map_or_else(|| "none".to_owned(), |target| format!("{target} {unit}"));
        format!("| {name} | {target} | {median:.2} | {least:.2} | {} | {holds} |", sorted.len())
    }
}

fn one_byte(tool: &Tool, options: &Options) -> [Figure; 2] {
    fs::write(tool.folder.join("one"), "1").unwrap();
    let (seal, open) =
        ("encrypt --no-sync -f -k file:key -o one.wax one", "decrypt --no-sync -f -k file:key -o out one.wax");
    let (sealing, opening) = (0..options.runs).map(|_| (tool.millis(seal), tool.millis(open))).unzip();
    [
        Figure { name: "encrypt one byte, exec to exit", unit: "ms", target: Some(5.0), seen: sealing },
        Figure { name: "decrypt one byte, exec to exit", unit: "ms", target: Some(5.0), seen: opening },
    ]
}

/// Sealing by hosts that cannot open. The randomness of RSA is AWS-LC's, whose generator must be seeded first.
fn one_byte_offline(tool: &Tool, options: &Options) -> [Figure; 4] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for name in ["example-kms.recipient", "example-public.recipient", "example-public.identity"] {
        fs::copy(root.join("spec").join(name), tool.folder.join(name)).unwrap();
    }
    let vector = fs::read(root.join("tests/testkit/recipient_rsa_3072")).unwrap();
    let hex = String::from_utf8_lossy(&vector)
        .lines()
        .find_map(|line| line.strip_prefix("recipient-hex: ").map(str::to_owned));
    let hex = hex.unwrap();
    let rsa: Vec<u8> = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    fs::write(tool.folder.join("rsa.recipient"), rsa).unwrap();
    let seal = |recipient: &str| format!("encrypt --no-sync -f -k file:{recipient} -o offline.wax one");
    let commands = [
        seal("example-kms.recipient"),
        seal("rsa.recipient"),
        seal("example-public.recipient"),
        "decrypt --no-sync -f -k file:example-public.identity -o out offline.wax".to_owned(),
    ];
    let mut seen = [const { Vec::new() }; 4];
    for _ in 0..options.runs {
        commands.iter().zip(&mut seen).for_each(|(command, seen)| seen.push(tool.millis(command)));
    }
    let [ml_kem, rsa, x_wing, opening] = seen;
    [
        Figure { name: "encrypt one byte to ML-KEM-768 (kind 4)", unit: "ms", target: Some(5.0), seen: ml_kem },
        Figure { name: "encrypt one byte to RSA_3072 (kind 5)", unit: "ms", target: None, seen: rsa },
        Figure { name: "encrypt one byte to X-Wing (kind 6)", unit: "ms", target: Some(5.0), seen: x_wing },
        Figure { name: "decrypt one byte with the identity", unit: "ms", target: Some(5.0), seen: opening },
    ]
}

/// Reads a range of the huge file, with a new process and with a seeking reader.
fn range(tool: &Tool, options: &Options) -> [Figure; 2] {
    let places: Vec<u64> = (1..=64).map(|part| options.huge / 65 * part / RANGE as u64 * RANGE as u64).collect();
    let path = tool.folder.join("huge.wax");
    let key = huge::make(&path, options.huge, &places);
    fs::write(tool.folder.join("huge.key"), key.to_text(&[]).expose()).unwrap();

    let command = |place: &u64| format!("cat -k file:huge.key --range {place}..{} huge.wax", place + RANGE as u64);
    let processes = places.iter().cycle().take(options.runs).map(|place| tool.millis(&command(place))).collect();

    let mut reader = OpenReaderAt::new(File::open(&path).unwrap(), &[&key], &Demands::default()).unwrap();
    assert_eq!(reader.plaintext_len(), options.huge);
    let reads = places.iter().cycle().take(options.runs.min(places.len())).map(|place| {
        let begun = Instant::now();
        reader.seek(SeekFrom::Start(*place)).unwrap();
        reader.read_exact(&mut [0; RANGE]).unwrap();
        begun.elapsed().as_secs_f64() * 1e3
    });
    let reads = reads.collect();
    fs::remove_file(path).unwrap();
    [
        Figure { name: "4 KiB of 100 GiB, a process", unit: "ms", target: Some(5.0), seen: processes },
        Figure { name: "4 KiB of 100 GiB, a read of an open reader", unit: "ms", target: Some(1.0), seen: reads },
    ]
}

fn memory(tool: &Tool, options: &Options) -> [Figure; 2] {
    let input = tool.folder.join("sparse");
    File::create(&input).unwrap().set_len(options.through).unwrap();
    let sealing = tool.peak_of_file("encrypt -k file:key -o - sparse");
    let opening = tool.peak_of_pipe("encrypt -k file:key -o - sparse", "decrypt -k file:key");
    [
        Figure {
            name: "peak memory, encrypting a file to a stream",
            unit: "MiB",
            target: Some(64.0),
            seen: vec![sealing],
        },
        Figure {
            name: "peak memory, decrypting from pipe to pipe",
            unit: "MiB",
            target: Some(64.0),
            seen: vec![opening],
        },
    ]
}

fn first_byte(tool: &Tool, options: &Options) -> [Figure; 2] {
    let (mut plain, mut tls) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        plain.push(kms::millis_to_first_byte(tool, "http", b'P'));
        // The type of a TLS record for a handshake.
        tls.push(kms::millis_to_first_byte(tool, "https", 22));
    }
    [
        Figure { name: "exec to the first byte to KMS, http", unit: "ms", target: Some(5.0), seen: plain },
        Figure { name: "exec to the ClientHello to KMS, https", unit: "ms", target: Some(12.0), seen: tls },
    ]
}

/// Compares sealing with a slow key service and sealing with a local key.
fn kms_against_local(tool: &Tool, options: &Options) -> Figure {
    fs::write(tool.folder.join("file"), common::plaintext(options.file)).unwrap();
    let service = FakeKms::start(KMS_DELAY);
    let ratios = (0..options.rounds).map(|_| {
        let timed = |key: &str| {
            let _ = fs::remove_file(tool.folder.join("out"));
            // Idle memory may have been returned to the host. The next user of it would need extra time to get it back.
            std::hint::black_box(vec![1u8; options.file]);
            let begun = Instant::now();
            let arguments = format!("encrypt --no-sync -k {key} -o out file");
            let status = service.configure(tool.command(&arguments)).status().unwrap();
            assert!(status.success(), "{arguments}: {status}");
            begun.elapsed().as_secs_f64()
        };
        let local = timed("file:key");
        timed(kms::KEY) / local
    });
    let name = "encrypt 256 MiB, KMS answering in 30 ms against a local key";
    Figure { name, unit: "times", target: Some(1.3), seen: ratios.collect() }
}

fn main() {
    let options = options();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tool = Tool { path: options.tool.clone(), folder: folder.path().to_owned() };
    tool.millis("key new key");
    println!("| figure | target | median | least | runs | holds |\n| --- | --- | --- | --- | --- | --- |");
    let print = |figures: &[Figure]| figures.iter().for_each(|figure| println!("{}", figure.row()));
    print(&one_byte(&tool, &options));
    print(&one_byte_offline(&tool, &options));
    print(&range(&tool, &options));
    print(&memory(&tool, &options));
    print(&first_byte(&tool, &options));
    print(&[kms_against_local(&tool, &options)]);
}
