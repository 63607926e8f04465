//! The readers and writers for tokio give the same bytes, and keep the same promises, as the synchronous ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use waxseal::aio::{OpenReader, RangeReader, ReadRange, SealWriter};
use waxseal::error::{Error, Tampered};
use waxseal::format::{FRONT_LEN, Pairs};
use waxseal::keys::{Argon2Cost, KeyFile, KeyOpener, KeySealer, Passphrase, PassphraseOpener};
use waxseal::secret::SecretBytes;
use waxseal::{Demands, Envelope, SealOptions};

fn runtime(several: bool) -> Runtime {
    if several { Builder::new_multi_thread().worker_threads(2).build() } else { Builder::new_current_thread().build() }
        .unwrap()
}

fn text(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn sealed(key: &KeyFile, plaintext: &[u8]) -> Vec<u8> {
    let mut writer = waxseal::SealWriter::new(Vec::new(), &[key], &SealOptions::new()).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn opened(key: &KeyFile, file: &[u8]) -> waxseal::Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    let mut reader = waxseal::OpenReader::new(file, &[key], &Demands::new())?;
    reader.read_to_end(&mut plaintext).map_err(|error| Error::io("reading", error))?;
    Ok(plaintext)
}

fn openers(key: &Arc<KeyFile>) -> Vec<Arc<dyn KeyOpener>> {
    vec![Arc::clone(key) as Arc<dyn KeyOpener>]
}

/// Takes and gives bytes in the given portions. A portion of zero is a `Pending` that wakes at once.
struct Slow<T> {
    inner: T,
    portions: Vec<usize>,
    turn: usize,
    /// It fails when so many bytes have passed.
    fails_at: Option<usize>,
    passed: usize,
    /// What was called, for the order of the calls.
    was_shut_down: Arc<AtomicU64>,
}

impl<T> Slow<T> {
    fn new(inner: T, portions: &[usize]) -> Self {
        let portions = if portions.iter().all(|portion| *portion == 0) { vec![1 << 20] } else { portions.to_vec() };
        Self { inner, portions, turn: 0, fails_at: None, passed: 0, was_shut_down: Arc::default() }
    }

    fn portion(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let portion = self.portions[self.turn % self.portions.len()];
        self.turn += 1;
        let left = self.fails_at.map_or(usize::MAX, |at| at - self.passed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("no more")));
        }
        if portion == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(portion.min(left)))
    }
}

impl AsyncWrite for Slow<Vec<u8>> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.portion(cx).map_ok(|portion| {
            let len = portion.min(bytes.len());
            self.inner.extend_from_slice(&bytes[..len]);
            self.passed += len;
            len
        })
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.was_shut_down.store(self.inner.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Slow<io::Cursor<Vec<u8>>> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.portion(cx).map_ok(|portion| {
            let mut bytes = vec![0; portion.min(out.remaining())];
            let len = Read::read(&mut self.inner, &mut bytes).unwrap();
            out.put_slice(&bytes[..len]);
            self.passed += len;
        })
    }
}

/// Bytes by range, with a count of what was fetched.
struct Ranges {
    bytes: Vec<u8>,
    fetched: Mutex<Vec<Range<u64>>>,
    gives_less: bool,
}

impl Ranges {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, fetched: Mutex::default(), gives_less: false }
    }
}

impl ReadRange for &Ranges {
    type Bytes = Vec<u8>;

    async fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    async fn read_range(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        assert!(!range.is_empty() && range.end <= self.bytes.len() as u64, "{range:?}");
        self.fetched.lock().unwrap().push(range.clone());
        tokio::task::yield_now().await;
        let to = usize::try_from(range.end).unwrap() - usize::from(self.gives_less);
        Ok(self.bytes[usize::try_from(range.start).unwrap()..to].to_vec())
    }
}

/// Lengths around every border: of chunks, of pieces of work, of the header that depends on the length.
const LENGTHS: [usize; 14] = [
    0,
    1,
    16_383,
    16_384,
    16_385,
    65_536,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (4 << 20) - 1,
    4 << 20,
    (4 << 20) + 1,
    5 << 20,
    (9 << 20) + 100_000,
];

#[test]
fn every_length_goes_both_ways() {
    let key = Arc::new(KeyFile::generate().unwrap());
    for several in [false, true] {
        runtime(several).block_on(async {
            for len in LENGTHS {
                let plaintext = text(len);
                let sealers: Vec<Arc<dyn KeySealer>> = vec![key.clone()];
                let mut writer = SealWriter::new(Vec::new(), sealers, &SealOptions::new()).await.unwrap();
                writer.write_all(&plaintext).await.unwrap();
                let file = writer.finish().await.unwrap();
                assert!(opened(&key, &file).unwrap() == plaintext, "{len}: sealed here, opened there");
                assert_eq!(file.len(), sealed(&key, &plaintext).len(), "{len}: the same header");
                let mut again = Vec::new();
                let mut reader = OpenReader::new(file.as_slice(), openers(&key), &Demands::new()).await.unwrap();
                reader.read_to_end(&mut again).await.unwrap();
                assert!(again == plaintext, "{len}: opened here");
                assert_eq!(reader.read(&mut [0; 10]).await.unwrap(), 0, "the end stays the end");
                let source = Ranges::new(file);
                let reader = RangeReader::new(&source, openers(&key), &Demands::new()).await.unwrap();
                assert_eq!(reader.len(), len as u64);
                assert!(reader.read_range(0..u64::MAX).await.unwrap() == plaintext, "{len}: as one range");
            }
        });
    }
}

#[test]
fn without_a_runtime() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let plaintext = text(3 << 20);
    let file = block_on(async {
        let mut writer = SealWriter::new(Vec::new(), vec![key.clone()], &SealOptions::new()).await.unwrap();
        writer.write_all(&plaintext).await.unwrap();
        writer.finish().await.unwrap()
    });
    let mut again = Vec::new();
    block_on(async {
        let mut reader = OpenReader::new(file.as_slice(), openers(&key), &Demands::new()).await.unwrap();
        reader.read_to_end(&mut again).await.unwrap()
    });
    assert!(again == plaintext);
}

/// Polls until it is ready, with no runtime around.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(ready) = future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            return ready;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_file_counts_only_after_the_end_was_asked_for() {
    let key = Arc::new(KeyFile::generate().unwrap());
    runtime(true).block_on(async {
        for len in [0, 100, 16_384, 1 << 20, 4 << 20, (6 << 20) + 5] {
            let mut inner = Slow::new(Vec::new(), &[1 << 20]);
            let was_shut_down = Arc::clone(&inner.was_shut_down);
            let envelope = Envelope::new(&[&*key], &SealOptions::new()).unwrap();
            let mut writer = SealWriter::with_envelope(&mut inner, envelope);
            writer.write_all(&text(len)).await.unwrap();
            writer.flush().await.unwrap();
            drop(writer);
            assert_eq!(was_shut_down.load(Ordering::Relaxed), 0);
            let refused = opened(&key, &inner.inner);
            assert!(matches!(refused, Err(Error::Format(_) | Error::Tampered(_))), "{len}: {refused:?}");
            if len >= 4 << 20 {
                assert!(inner.inner.len() > 4 << 20, "{len}: what is flushed has been written");
            }

            let mut inner = Slow::new(Vec::new(), &[1 << 20]);
            let was_shut_down = Arc::clone(&inner.was_shut_down);
            let envelope = Envelope::new(&[&*key], &SealOptions::new()).unwrap();
            let mut writer = SealWriter::with_envelope(&mut inner, envelope);
            writer.write_all(&text(len)).await.unwrap();
            writer.shutdown().await.unwrap();
            writer.shutdown().await.unwrap();
            assert!(writer.write(b"more").await.is_err());
            drop(writer);
            assert_eq!(was_shut_down.load(Ordering::Relaxed), inner.inner.len() as u64, "all is written before");
            assert!(opened(&key, &inner.inner).unwrap() == text(len));
        }
    });
}

#[test]
fn a_writer_that_failed_stays_failed() {
    let key = Arc::new(KeyFile::generate().unwrap());
    runtime(true).block_on(async {
        for fails_at in [0, 1, 10_000, 3 << 20, 5 << 20] {
            let mut inner = Slow { fails_at: Some(fails_at), ..Slow::new(Vec::new(), &[100_000]) };
            let envelope = Envelope::new(&[&*key], &SealOptions::new()).unwrap();
            let mut writer = SealWriter::with_envelope(&mut inner, envelope);
            let written = writer.write_all(&text(6 << 20)).await;
            let ended = writer.shutdown().await;
            assert!(written.is_err() || ended.is_err(), "{fails_at}");
            assert!(writer.write(b"more").await.is_err() && writer.flush().await.is_err());
            assert!(writer.shutdown().await.is_err());
            drop(writer);
            // Nothing is written after the failure, and what there is is no file.
            assert_eq!(inner.inner.len(), fails_at);
            assert!(opened(&key, &inner.inner).is_err());
        }
    });
}

/// If no thread can be started, the runtime panics. Whoever goes on gets no plaintext with a hole, and no file.
#[test]
fn a_panic_of_the_runtime_is_final() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let file = sealed(&key, &text(3 << 20));
    // No system has so much memory for the stack of a thread.
    let runtime = Builder::new_current_thread().thread_stack_size(1 << 50).build().unwrap();
    let panics = |poll: &mut dyn FnMut(&mut Context<'_>)| {
        let _entered = runtime.enter();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let poll = std::panic::AssertUnwindSafe(|| poll(&mut cx));
        assert!(std::panic::catch_unwind(poll).is_err());
    };
    let mut reader = block_on(OpenReader::new(&file[..], openers(&key), &Demands::new())).unwrap();
    let mut buffer = vec![0; 100];
    panics(&mut |cx| drop(Pin::new(&mut reader).poll_read(cx, &mut ReadBuf::new(&mut buffer))));
    for _ in 0..2 {
        assert!(block_on(reader.read(&mut buffer)).is_err());
    }
    let envelope = Envelope::new(&[&*key], &SealOptions::new()).unwrap();
    let mut writer = SealWriter::with_envelope(Vec::new(), envelope);
    panics(&mut |cx| drop(Pin::new(&mut writer).poll_write(cx, &text(1 << 20))));
    assert!(block_on(writer.write(b"more")).is_err() && block_on(writer.flush()).is_err());
    assert!(block_on(writer.finish()).is_err());
}

#[test]
fn damage_is_found_after_the_verified_part() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let plaintext = text((3 << 20) + 777);
    let file = sealed(&key, &plaintext);
    let first = file.len() - (plaintext.len() / 16_384 + 1) * 16 - plaintext.len();
    runtime(true).block_on(async {
        // The last bytes are missing, at and around the borders of chunks.
        for left in
            [first + 16, first + 17, first + 16_399, first + 16_400, first + 16_401, file.len() - 778, file.len() - 1]
        {
            let (read, error) = read_all(&key, file[..left].to_vec()).await;
            assert!(plaintext.starts_with(&read), "{left}");
            assert!(matches!(error, Some(Error::Tampered(_))), "{left}: {error:?}");
            assert_eq!(read.len(), (left - first) / 16_400 * 16_384, "{left}");
        }
        // One byte is another one.
        for chunk in [0, 1, 63, 64, 65, 127, 128, 191] {
            let mut file = file.clone();
            file[first + chunk * 16_400 + 5] ^= 1;
            let (read, error) = read_all(&key, file).await;
            assert!(read == plaintext[..chunk * 16_384]);
            let Some(Error::Tampered(Tampered::Chunk { index, .. })) = error else { panic!("{error:?}") };
            assert_eq!(index, chunk as u64);
        }
        // Bytes follow the end.
        let (read, error) = read_all(&key, [&file[..], &[0; 20]].concat()).await;
        assert!(read == plaintext[..192 * 16_384] && matches!(error, Some(Error::Tampered(_))));
    });
}

/// What is read, and the error after it. The error is repeated.
async fn read_all(key: &Arc<KeyFile>, file: Vec<u8>) -> (Vec<u8>, Option<Error>) {
    let mut reader = OpenReader::new(io::Cursor::new(file), openers(key), &Demands::new()).await.unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).await.err().map(|error| Error::io("reading", error));
    if let Some(error) = &error {
        let again = Error::io("reading", reader.read(&mut [0; 1]).await.unwrap_err());
        assert_eq!(again.to_string(), error.to_string());
    }
    (read, error)
}

#[test]
fn a_read_error_comes_after_what_was_read_before_it() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let plaintext = text(3 << 20);
    let file = sealed(&key, &plaintext);
    runtime(true).block_on(async {
        for fails_at in [FRONT_LEN + 1, 200_000, 2 << 20] {
            let inner = Slow { fails_at: Some(fails_at), ..Slow::new(io::Cursor::new(file.clone()), &[50_000]) };
            let mut reader = OpenReader::new(inner, openers(&key), &Demands::new()).await.unwrap();
            let mut read = Vec::new();
            let error = reader.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.to_string(), "no more");
            assert_eq!(reader.read(&mut [0; 1]).await.unwrap_err().to_string(), "no more");
            assert!(
                plaintext.starts_with(&read) && read.len() + 32_768 > fails_at - FRONT_LEN,
                "{fails_at}: {}",
                read.len()
            );
        }
    });
}

/// A complete chunk is returned although the next one has not arrived.
#[test]
fn what_has_arrived_is_not_kept_back() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let plaintext = text(400_000);
    let file = sealed(&key, &plaintext);
    runtime(false).block_on(async {
        let (mut to, from) = tokio::io::duplex(1 << 20);
        to.write_all(&file[..200_000]).await.unwrap();
        let mut reader = OpenReader::new(from, openers(&key), &Demands::new()).await.unwrap();
        let mut read = vec![0; 150_000];
        reader.read_exact(&mut read).await.unwrap();
        // The next chunk is not complete.
        let mut rest = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            let mut out = ReadBuf::new(&mut buffer);
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut reader).poll_read(cx, &mut out))).await;
            match polled {
                Poll::Pending => break,
                Poll::Ready(polled) => polled.unwrap(),
            }
            rest.extend_from_slice(out.filled());
        }
        assert!(read.len() + rest.len() >= 180_224, "{}", rest.len());
        to.write_all(&file[200_000..]).await.unwrap();
        drop(to);
        reader.read_to_end(&mut rest).await.unwrap();
        assert!([read, rest].concat() == plaintext);
    });
}

#[test]
fn keys_that_take_long_and_demands() {
    let cheap = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };
    let phrase = || SecretBytes::new(b"a long phrase".to_vec());
    let labels = Pairs::parse(["host=db1"]).unwrap();
    runtime(false).block_on(async {
        let sealers: Vec<Arc<dyn KeySealer>> = vec![Arc::new(Passphrase::with_cost(phrase(), cheap).unwrap())];
        let options = SealOptions::new().with_labels(labels.clone());
        let mut writer = SealWriter::new(Vec::new(), sealers, &options).await.unwrap();
        writer.write_all(b"text").await.unwrap();
        let file = writer.finish().await.unwrap();
        let openers = || -> Vec<Arc<dyn KeyOpener>> { vec![Arc::new(PassphraseOpener::new(move || Ok(phrase())))] };
        let demands = Demands::new().with_labels(labels);
        let reader = OpenReader::new(file.as_slice(), openers(), &demands).await.unwrap();
        assert_eq!(reader.opened_by().slot, 0);
        let other = Demands::new().with_labels(Pairs::parse(["host=db2"]).unwrap());
        let unmet = OpenReader::new(file.as_slice(), openers(), &other).await;
        assert!(matches!(unmet, Err(Error::Unmet(_))));
        let source = Ranges::new(file.clone());
        assert!(matches!(RangeReader::new(&source, openers(), &other).await, Err(Error::Unmet(_))));
        let none = OpenReader::new(file.as_slice(), Vec::new(), &demands).await;
        assert!(matches!(none, Err(Error::NoKey(_))));
    });
}

#[test]
fn a_range_fetches_only_what_it_needs() {
    let key = Arc::new(KeyFile::generate().unwrap());
    let plaintext = text(10 << 20);
    let source = Ranges::new(sealed(&key, &plaintext));
    runtime(true).block_on(async {
        let reader = Arc::new(RangeReader::new(&source, openers(&key), &Demands::new()).await.unwrap());
        assert_eq!(source.fetched.lock().unwrap().len(), 2, "the front and the end");
        source.fetched.lock().unwrap().clear();
        assert_eq!(reader.read_range(5_000_000..5_004_096).await.unwrap(), plaintext[5_000_000..5_004_096]);
        assert!(reader.read_range(11 << 20..12 << 20).await.unwrap().is_empty());
        let fetched = std::mem::take(&mut *source.fetched.lock().unwrap());
        assert_eq!(fetched.len(), 1);
        assert!(fetched[0].end - fetched[0].start <= 2 * 16_400);
    });
    let short = Ranges { gives_less: true, ..Ranges::new(source.bytes.clone()) };
    runtime(false).block_on(async {
        let refused = RangeReader::new(&short, openers(&key), &Demands::new()).await;
        assert!(matches!(refused, Err(Error::Io { .. })));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes come and go, the file is the same and opens to the same.
    #[test]
    fn in_any_portions(
        len in prop_oneof![0..100_000usize, (0..6usize << 20)],
        gives in prop::collection::vec(1..300_000usize, 1..6),
        takes in prop::collection::vec(prop_oneof![Just(0usize), 1..200_000usize], 1..6),
        several in any::<bool>(),
    ) {
        let key = Arc::new(KeyFile::generate().unwrap());
        let plaintext = text(len);
        let (file, again) = runtime(several).block_on(async {
            let envelope = Envelope::new(&[&*key], &SealOptions::new()).unwrap();
            let mut writer = SealWriter::with_envelope(Slow::new(Vec::new(), &takes), envelope);
            let (mut rest, mut turn) = (plaintext.as_slice(), 0);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(gives[turn % gives.len()].min(rest.len()));
                writer.write_all(now).await.unwrap();
                (rest, turn) = (later, turn + 1);
            }
            let file = writer.finish().await.unwrap().inner;
            let inner = Slow::new(io::Cursor::new(file.clone()), &takes);
            let mut reader = OpenReader::new(inner, openers(&key), &Demands::new()).await.unwrap();
            let mut again = Vec::new();
            reader.read_to_end(&mut again).await.unwrap();
            (file, again)
        });
        prop_assert!(opened(&key, &file).unwrap() == plaintext);
        prop_assert!(again == plaintext);
    }

    #[test]
    fn any_range(len in 0..400_000usize, from in 0..500_000u64, size in 0..200_000u64) {
        let key = Arc::new(KeyFile::generate().unwrap());
        let plaintext = text(len);
        let source = Ranges::new(sealed(&key, &plaintext));
        let read = runtime(false).block_on(async {
            let reader = RangeReader::new(&source, openers(&key), &Demands::new()).await.unwrap();
            reader.read_range(from..from + size).await.unwrap()
        });
        let within = |place: u64| usize::try_from(place).unwrap().min(len);
        prop_assert!(read == plaintext[within(from)..within(from + size)]);
    }
}
