//! Every size with every pair of source and sink: the bytes are the serial writer's, and they open again.

use super::*;
use proptest::prelude::*;

/// Sizes at which something changes: chunks, the header, tasks.
pub(super) fn edges() -> Vec<usize> {
    let mut sizes = vec![0, 1, 16_383, 16_384, 16_385, 32_768];
    for edge in [1 << 20, 2 << 20, 4 << 20] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    // Plaintext whose output ends exactly at the end of a unit, for a file and for a stream.
    for cut in [1 << 20, 2 << 20, 4 << 20, 5 << 20, 6 << 20] {
        let header = if cut > 4 << 20 { 131_072 } else { 8192 };
        let chunks = cut - header - 56;
        let sealed = SEALED_CHUNK_LEN;
        let plain = chunks / sealed * CHUNK_LEN + (chunks % sealed).saturating_sub(16);
        sizes.extend((plain - 17..=plain + 17).step_by(17));
        sizes.extend([chunks / sealed * CHUNK_LEN, chunks.div_ceil(sealed) * CHUNK_LEN]);
    }
    sizes
}

fn seal_on_every_path(engine: &Engine, plaintext: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let input = file_of(plaintext);
    let mut made = Vec::new();
    for (name, from_file) in [("file", true), ("stream", false)] {
        let mut reader = plaintext;
        let source = |reader| if from_file { Source::File(&input) } else { Source::Stream(reader) };
        let mut out = Vec::new();
        let seen = Counting::default();
        let sealed = engine.seal(source(&mut reader), Sink::Stream(&mut out), envelope, &seen).unwrap();
        assert_eq!((sealed.plaintext_len, sealed.file_len), (plaintext.len() as u64, out.len() as u64));
        assert_eq!(seen.0.lock().unwrap().1, plaintext.len() as u64);
        made.push((name, out));

        let out = tempfile::tempfile().unwrap();
        let mut reader = plaintext;
        let durability = if from_file { Durability::Synced } else { Durability::Unsynced };
        engine.seal(source(&mut reader), Sink::File(&out, durability), envelope, &Unobserved).unwrap();
        made.push((name, content(&out)));
    }
    made
}

fn open_on_every_path(engine: &Engine, file: &[u8], plaintext: &[u8]) {
    let input = file_of(file);
    for from_file in [true, false] {
        let source = |reader| if from_file { Source::File(&input) } else { Source::Stream(reader) };
        let demands = Demands::default();
        let mut out = Vec::new();
        let seen = Counting::default();
        let mut reader = file;
        let opened = engine.open(source(&mut reader), Sink::Stream(&mut out), &[&FixedKey], &demands, &seen).unwrap();
        assert!(out == plaintext);
        assert_eq!(opened.plaintext_len, plaintext.len() as u64);
        let (total, advanced, headers) = *seen.0.lock().unwrap();
        assert_eq!((advanced, headers), (file.len() as u64, 1));
        assert_eq!(total, if from_file { file.len() as u64 } else { 0 });

        let out = tempfile::tempfile().unwrap();
        let mut reader = file;
        let sink = Sink::File(&out, Durability::Unsynced);
        engine.open(source(&mut reader), sink, &[&FixedKey], &demands, &Unobserved).unwrap();
        assert!(content(&out) == plaintext);

        let mut reader = file;
        let opened = engine.open(source(&mut reader), Sink::Nowhere, &[&FixedKey], &demands, &Unobserved).unwrap();
        assert_eq!(opened.plaintext_len, plaintext.len() as u64);
    }
}

fn check(engine: &Engine, plaintext: &[u8]) {
    let serial = serial_seal(plaintext);
    let n = plaintext.len();
    let header = if n < 4 << 20 { 8192 } else { 131_072 };
    assert_eq!(serial.len(), header + 56 + n + 16 * (n / 16_384 + 1));
    for (path, made) in seal_on_every_path(engine, plaintext) {
        assert!(made == serial, "{path} of {n}");
    }
    open_on_every_path(engine, &serial, plaintext);
}

#[test]
fn edges_on_every_path() {
    let engine = engine();
    let all = text(7 << 20);
    for size in edges() {
        check(&engine, &all[..size]);
    }
}

/// A thread of the caller's own pool may call, and one thread is enough.
#[test]
fn inside_a_pool_of_one_thread() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let engine = Engine::with_pool(Arc::clone(&pool));
    pool.install(|| check(&engine, &text(5 << 20)));
}

#[test]
fn with_its_own_threads() {
    check(&Engine::new(), &text(9_000_001));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_size(size in 0usize..10_000_000) {
        check(&engine(), &text(size));
    }
}

/// Such as standard output: a shell may write more after the program, and other programs may write at the same time.
#[test]
fn a_file_that_was_opened_elsewhere() {
    use std::io::{Seek, SeekFrom};
    let engine = engine();
    for plaintext in [text(100), text(5_000_000)] {
        let mut out = file_of(&[9; 5003]);
        out.seek(SeekFrom::Start(5000)).unwrap();
        let sink = Sink::from_file(&out);
        assert!(matches!(sink, Sink::Pipe(_)));
        engine.seal(Source::File(&file_of(&plaintext)), sink, envelope, &Unobserved).unwrap();
        // As if another program continued to write: its bytes come after the output.
        out.write_all(b"next").unwrap();
        let made = content(&out);
        assert!(made[..5000].iter().all(|byte| *byte == 9));
        let (sealed, next) = made[5000..].split_at(made.len() - 5000 - 4);
        assert_eq!(next, b"next");
        assert!(sealed == serial_seal(&plaintext));
    }
}

#[cfg(unix)]
#[test]
fn files_are_taken_as_what_they_are() {
    use std::io::{Seek, SeekFrom};
    let path = tempfile::NamedTempFile::new().unwrap();
    let appending = File::options().append(true).open(path.path()).unwrap();
    assert!(matches!(Sink::from_file(&appending), Sink::Pipe(_)));
    let reading = File::open(path.path()).unwrap();
    assert!(matches!(Source::from_file(&reading), Source::File(_)));
    (&reading).seek(SeekFrom::Start(1)).unwrap();
    assert!(matches!(Source::from_file(&reading), Source::Pipe(_)));
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    assert!(matches!(Sink::from_file(&null), Sink::Pipe(_)));
    assert!(matches!(Source::from_file(&null), Source::Pipe(_)));
    // A device works as a sink, synced or not.
    Engine::new().seal(Source::File(&path.reopen().unwrap()), Sink::Pipe(&null), envelope, &Unobserved).unwrap();
}

#[cfg(unix)]
#[test]
fn through_pipes_on_both_sides() {
    let engine = &engine();
    let plaintext = &text(6_000_000);
    let (from, to) = std::io::pipe().unwrap();
    let (back, out) = std::io::pipe().unwrap();
    let [from, to, back, out] = [from.into(), to.into(), back.into(), out.into()].map(|fd: std::os::fd::OwnedFd| fd);
    let files = [from, to, back, out].map(File::from);
    let [from, mut to, mut back, out] = files;
    std::thread::scope(|scope| {
        scope.spawn(move || to.write_all(plaintext).unwrap());
        scope.spawn(move || engine.seal(Source::from_file(&from), Sink::from_file(&out), envelope, &Unobserved));
        let mut made = Vec::new();
        back.read_to_end(&mut made).unwrap();
        assert!(made == serial_seal(plaintext));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn files_without_a_length_are_read_to_their_end() {
    let file = File::open("/proc/self/status").unwrap();
    let mut out = Vec::new();
    let sealed = engine().seal(Source::from_file(&file), Sink::Stream(&mut out), envelope, &Unobserved).unwrap();
    assert!(sealed.plaintext_len > 100);
    assert!(serial_open(&out).0.starts_with(b"Name:"));
}
