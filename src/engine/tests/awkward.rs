//! Readers and writers that return few bytes, fail, or change while the engine works.

use super::*;
use proptest::prelude::*;
use std::io;

/// Transfers 1..=most bytes per call, and fails at `fails_at`.
struct Awkward<T> {
    inner: T,
    most: usize,
    calls: usize,
    done: usize,
    fails_at: Option<usize>,
}

impl<T> Awkward<T> {
    fn new(inner: T, most: usize, fails_at: Option<usize>) -> Self {
        Self { inner, most, calls: 0, done: 0, fails_at }
    }

    fn next_len(&mut self, len: usize) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = len.min(1 + self.calls % self.most);
        match self.fails_at {
            Some(at) if self.done >= at => Err(io::Error::other("broken")),
            Some(at) => Ok(len.min(at - self.done)),
            None => Ok(len),
        }
    }
}

impl<T: Read> Read for Awkward<T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.next_len(out.len())?;
        let read = self.inner.read(&mut out[..len])?;
        self.done += read;
        Ok(read)
    }
}

impl<T: Write> Write for Awkward<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.next_len(bytes.len())?;
        let written = self.inner.write(&bytes[..len])?;
        self.done += written;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn one_byte_at_a_time() {
    let engine = engine();
    let plaintext = text(1_200_000);
    let whole = serial_seal(&plaintext);
    let (mut from, mut to) = (Awkward::new(plaintext.as_slice(), 1, None), Awkward::new(Vec::new(), 1, None));
    engine.seal(Source::Stream(&mut from), Sink::Stream(&mut to), envelope, &Unobserved).unwrap();
    assert!(to.inner == whole);
    let (mut from, mut to) = (Awkward::new(whole.as_slice(), 1, None), Awkward::new(Vec::new(), 1, None));
    let demands = Demands::default();
    engine.open(Source::Stream(&mut from), Sink::Stream(&mut to), &[&FixedKey], &demands, &Unobserved).unwrap();
    assert!(to.inner == plaintext);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn breaking_anywhere(size in 0usize..6_000_000, at in 0.0..1.0f64, most in 1usize..100_000, reads in any::<bool>()) {
        let most = most.max(size / 1000 + 1);
        let engine = engine();
        let plaintext = text(size);
        let whole = serial_seal(&plaintext);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the input")]
        let place = |len: usize| Some((len as f64 * at) as usize);
        let fails = |len: usize, this: bool| if this { place(len) } else { None };

        let mut from = Awkward::new(plaintext.as_slice(), most, fails(size, reads));
        let mut to = Awkward::new(Vec::new(), most, fails(whole.len(), !reads));
        let ended = engine.seal(Source::Stream(&mut from), Sink::Stream(&mut to), envelope, &Unobserved);
        prop_assert!(matches!(ended, Err(Error::Io { .. })), "no error of input or output");
        prop_assert!(whole.starts_with(&to.inner) && to.inner.len() < whole.len());

        let mut from = Awkward::new(whole.as_slice(), most, fails(whole.len(), reads));
        let mut to = Awkward::new(Vec::new(), most, fails(size.max(1), !reads));
        let demands = Demands::default();
        let ended = engine.open(Source::Stream(&mut from), Sink::Stream(&mut to), &[&FixedKey], &demands, &Unobserved);
        if reads || size > 0 {
            prop_assert!(matches!(ended, Err(Error::Io { .. })), "no error of input or output");
        }
        prop_assert!(plaintext.starts_with(&to.inner));
    }
}

/// Fails like a disk: after a position in the file, no byte can be read.
#[test]
fn an_error_of_the_reader_behind_a_bad_chunk_comes_second() {
    let plaintext = text(5 << 20);
    let mut whole = serial_seal(&plaintext);
    whole[131_072 + 56 + 10 * SEALED_CHUNK_LEN] ^= 1;
    let len = whole.len();
    let mut from = Awkward::new(whole.as_slice(), 50_000, Some(len - 100));
    let (out, result) = engine_open(&engine(), Source::Stream(&mut from));
    assert!(out == plaintext[..10 * CHUNK_LEN]);
    assert!(result.unwrap_err().contains("Chunk { index: 10,"));
}

#[test]
fn an_input_that_changes() {
    let engine = engine();
    for size in [1000, 3_000_000] {
        for change in [Change::Grow, Change::Shrink, Change::Touch] {
            let file = file_of(&text(size));
            let mut out = Vec::new();
            let envelope = || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                match change {
                    Change::Grow => write_at_end(&file),
                    Change::Shrink => file.set_len(size as u64 - 1).unwrap(),
                    Change::Touch => crate::io::write_all_at(&file, b"x", 7).unwrap(),
                }
                envelope()
            };
            let ended = engine.seal(Source::File(&file), Sink::Stream(&mut out), envelope, &Unobserved);
            // A small input is read completely before the key is used.
            if size > SMALL_INPUT {
                let Err(Error::Io { source, .. }) = ended else { panic!("{size}") };
                assert_eq!(source.to_string(), "the input changed while it was read");
                assert!(serial_open(&out).1.is_err(), "what was sent is no valid file");
            } else {
                assert!(ended.is_ok() && serial_open(&out).0 == text(size));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    Grow,
    Shrink,
    Touch,
}

fn write_at_end(file: &File) {
    let len = file.metadata().unwrap().len();
    crate::io::write_all_at(file, b"more", len).unwrap();
}

#[test]
fn an_envelope_that_fails() {
    for size in [10, 3_000_000] {
        let plaintext = text(size);
        let file = file_of(&plaintext);
        let refuse = || Err(Error::Invalid("no".into()));
        let mut reader = plaintext.as_slice();
        for source in [Source::File(&file), Source::Stream(&mut reader)] {
            let mut out = Vec::new();
            let ended = engine().seal(source, Sink::Stream(&mut out), refuse, &Unobserved);
            assert!(matches!(ended, Err(Error::Invalid(_))) && out.is_empty());
        }
        let out = file_of(b"before");
        let ended = engine().seal(Source::File(&file), Sink::from_file(&out), refuse, &Unobserved);
        assert!(ended.is_err() && content(&out) == b"before");
        let out = tempfile::tempfile().unwrap();
        let ended = engine().seal(Source::File(&file), Sink::File(&out, Durability::Synced), refuse, &Unobserved);
        assert!(ended.is_err());
        assert_takes(&out, 0);
    }
}

/// A refused key is the reported error, whatever the stream does. Here it never ends, is slow, or fails.
#[test]
fn an_envelope_that_fails_beside_a_stream() {
    struct Slow;
    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(std::time::Duration::from_millis(1));
            out[..1].fill(1);
            Ok(1)
        }
    }
    let refuse = || Err(Error::Invalid("no".into()));
    let mut broken = Awkward::new(io::repeat(1), 10, Some(0));
    for source in [Source::Stream(&mut Slow), Source::Stream(&mut broken)] {
        let begun = std::time::Instant::now();
        let ended = engine().seal(source, Sink::Nowhere, refuse, &Unobserved);
        assert!(matches!(ended, Err(Error::Invalid(_))));
        // Reading 4 MiB would take over an hour, because each byte takes a millisecond.
        assert!(begun.elapsed().as_secs() < 60);
    }
}

/// If the caller's writer panics, the call panics, and no thread waits for ever.
#[test]
fn a_panic_ends_the_call() {
    struct Panics(usize);
    impl Write for Panics {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            assert!(self.0 < 3 << 20, "on purpose");
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let file = file_of(&text(20 << 20));
    let ended = std::panic::catch_unwind(|| {
        engine().seal(Source::File(&file), Sink::Stream(&mut Panics(0)), envelope, &Unobserved).map(drop)
    });
    assert!(ended.is_err());
}

/// If such a count were accepted, old content of the buffer would be used as input, and one nonce would be used twice.
#[test]
fn a_reader_that_claims_more_than_it_was_asked_for() {
    struct Claims<'a>(&'a [u8]);
    impl Read for Claims<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(out)?;
            Ok(if self.0.is_empty() { out.len() + 1 } else { read })
        }
    }
    let refused = |ended: Result<()>| match ended {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::InvalidData),
        other => panic!("{other:?}"),
    };
    for size in [10, 6_000_000] {
        let plaintext = text(size);
        let mut out = Vec::new();
        let source = Source::Stream(&mut Claims(&plaintext));
        refused(engine().seal(source, Sink::Stream(&mut out), envelope, &Unobserved).map(drop));
        assert!(serial_open(&out).1.is_err());

        let whole = serial_seal(&plaintext);
        let (mut out, mut reader) = (Vec::new(), Claims(&whole));
        let (sink, demands) = (Sink::Stream(&mut out), Demands::default());
        refused(engine().open(Source::Stream(&mut reader), sink, &[&FixedKey], &demands, &Unobserved).map(drop));
        let opened = crate::OpenReader::new(Claims(&whole), &[&FixedKey], &demands)
            .and_then(|mut reader| reader.read_to_end(&mut Vec::new()).map_err(|error| Error::io("reading", error)));
        refused(opened.map(drop));
    }
}

/// The file changes while it is read, on each progress report. A stream must not get a complete file before the error.
#[test]
fn an_input_that_is_touched_sends_no_whole_file() {
    struct Touch<'a>(&'a File);
    impl Observer for Touch<'_> {
        fn advanced(&self, _: u64) {
            self.0.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    for size in [3_000_000, 9_000_000] {
        let file = file_of(&text(size));
        let mut out = Vec::new();
        let ended = engine().seal(Source::File(&file), Sink::Stream(&mut out), envelope, &Touch(&file));
        assert!(matches!(ended, Err(Error::Io { .. })));
        let (opened, end) = serial_open(&out);
        assert!(end.is_err() && text(size).starts_with(&opened) && opened.len() < size);
    }
}

/// After a reader has panicked, another thread must not read on and finish a valid file with other content.
#[test]
fn a_reader_that_panics_makes_no_file() {
    struct Panics<'a>(&'a [u8], Option<usize>);
    impl Read for Panics<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.1.is_some_and(|at| self.0.len() <= at) {
                // Only once. The next bytes would look like a good input that is shorter.
                self.1 = None;
                self.0 = &self.0[..10.min(self.0.len())];
                panic!("on purpose");
            }
            self.0.read(out)
        }
    }
    let plaintext = text(12_600_000);
    for left in [7 << 20, 3 << 20, 1 << 20] {
        let mut out = Vec::new();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut reader = Panics(&plaintext, Some(left));
            engine().seal(Source::Stream(&mut reader), Sink::Stream(&mut out), envelope, &Unobserved).map(drop)
        }));
        assert!(ended.is_err() && serial_open(&out).1.is_err());

        // When opening, the output is a prefix.
        let whole = serial_seal(&plaintext);
        let mut out = Vec::new();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut reader, sink) = (Panics(&whole, Some(left)), Sink::Stream(&mut out));
            let demands = Demands::default();
            engine().open(Source::Stream(&mut reader), sink, &[&FixedKey], &demands, &Unobserved).map(drop)
        }));
        assert!(ended.is_err() && plaintext.starts_with(&out) && out.len() < plaintext.len());
    }
}

/// After a failure, neither length nor allocated space remains. After a success, only the necessary space remains.
#[test]
fn no_room_is_kept() {
    let engine = engine();
    for size in [10, 3_000_000, 9_000_000] {
        let whole = serial_seal(&text(size));
        let open = |source: Source<'_>, openers: &[&dyn KeyOpener]| {
            let out = tempfile::tempfile().unwrap();
            let sink = Sink::File(&out, Durability::Unsynced);
            (engine.open(source, sink, openers, &Demands::default(), &Unobserved).is_ok(), out)
        };
        let mut damaged = whole.clone();
        damaged[whole.len() - 1] ^= 1;
        let [file, bad] = [file_of(&whole), file_of(&damaged)];
        for from_file in [true, false] {
            let (mut from, mut from_bad) = (whole.as_slice(), damaged.as_slice());
            let source = if from_file { Source::File(&file) } else { Source::Stream(&mut from) };
            let (opened, out) = open(source, &[]);
            assert!(!opened);
            assert_takes(&out, 0);
            let source = if from_file { Source::File(&bad) } else { Source::Stream(&mut from_bad) };
            let (opened, out) = open(source, &[&FixedKey]);
            assert!(!opened);
            // All chunks before the damaged one.
            assert_takes(&out, (size / CHUNK_LEN * CHUNK_LEN) as u64);
            let mut from = whole.as_slice();
            let source = if from_file { Source::File(&file) } else { Source::Stream(&mut from) };
            let (opened, out) = open(source, &[&FixedKey]);
            assert!(opened);
            assert_takes(&out, size as u64);
        }
    }
}

/// The file has this length, and uses little more space on the disk.
fn assert_takes(file: &File, len: u64) {
    let meta = file.metadata().unwrap();
    assert_eq!(meta.len(), len);
    #[cfg(unix)]
    assert!(std::os::unix::fs::MetadataExt::blocks(&meta) * 512 <= len.next_multiple_of(1 << 16));
}

/// Under `ulimit -f`, space is never allocated beyond the limit, and an output that is too long gives an error, not a
/// signal that kills the process. The limit applies to the process, so the test needs its own process.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_length_of_files() {
    const CHILD: &str = "WAXSEAL_TEST_FILE_LIMIT";
    if std::env::var_os(CHILD).is_none() {
        let this = "engine::tests::awkward::a_limit_on_the_length_of_files";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{:?}: {said}", child.status);
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const LIMIT: u64 = 8 << 20;
    let (fits, exceeds) = (text(7 << 20), text(9 << 20));
    let [input, too_long] = [file_of(&fits), file_of(&exceeds)];
    setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), ..getrlimit(Resource::Fsize) }).unwrap();
    let engine = engine();
    // On a file system in memory, allocating space beyond the limit counts as a write.
    for folder in [std::env::temp_dir(), "/dev/shm".into()].iter() {
        if !folder.is_dir() {
            crate::skipped::skipped("a_limit_on_the_length_of_files", "there is no /dev/shm");
            continue;
        }
        let seal = |source: Source<'_>| {
            let out = tempfile::tempfile_in(folder).unwrap();
            (engine.seal(source, Sink::File(&out, Durability::Unsynced), envelope, &Unobserved).map(drop), out)
        };
        for source in [Source::File(&input), Source::Stream(&mut fits.as_slice())] {
            let (sealed, out) = seal(source);
            assert!(sealed.is_ok() && content(&out) == serial_seal(&fits));
        }
        for source in [Source::File(&too_long), Source::Stream(&mut exceeds.as_slice())] {
            let (sealed, out) = seal(source);
            assert!(matches!(sealed, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::FileTooLarge));
            assert_takes(&out, 0);
        }
    }
}
