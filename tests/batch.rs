//! Files that share a data key: what is the same in them, what must differ, and how often a key service is called.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::{ProptestConfig, any, proptest};
use waxseal::container::Opening;
use waxseal::envelope::Batch;
use waxseal::error::{Error, ProviderCause, ProviderError, Result, Tampered};
use waxseal::format::{Bank, BankNumber, Binding, Front, Header, Pairs, Sharing, Slot, SlotKind};
use waxseal::keys::{
    Argon2Cost, AsyncBatchOpener, AsyncKeyOpener, BatchOpener, BoxFuture, Identity, KeyFile, KeyOpener, KeySealer,
    Passphrase,
};
use waxseal::payload::{unwrap_message, wrap_message};
use waxseal::secret::{DataKey, SecretBytes};
use waxseal::{Demands, FileOptions, OpenReader, SealOptions, SealWriter, decrypt_file};

const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 19 * 1024, passes: 1, lanes: 1 };
const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";

/// A key service: it binds what it wraps to the pairs and the data key's id, as AWS KMS does, and counts its calls.
struct Service {
    key: DataKey,
    arn: String,
    generated: AtomicUsize,
    wrapped: AtomicUsize,
    opened: AtomicUsize,
    /// So many calls to open are refused first.
    refusals: AtomicUsize,
}

impl Service {
    fn new() -> Self {
        let none = AtomicUsize::default;
        let (generated, wrapped, opened, refusals) = (none(), none(), none(), none());
        Self { key: DataKey::random().unwrap(), arn: ARN.into(), generated, wrapped, opened, refusals }
    }

    fn context(binding: &Binding) -> Vec<u8> {
        let pairs: Vec<String> = binding.context.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
        [pairs.concat().into_bytes(), binding.data_key_id.0.to_vec()].concat()
    }

    fn slot(&self, data_key: &DataKey, binding: &Binding) -> Slot {
        let wrapped = wrap_message(&self.key, &Self::context(binding), data_key).unwrap();
        Slot { kind: SlotKind::AWS_KMS, key_id: self.arn.clone(), wrapped }
    }

    /// Calls to generate, to wrap and to open since the last question.
    fn calls(&self) -> (usize, usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.generated), take(&self.wrapped), take(&self.opened))
    }
}

impl KeySealer for Service {
    fn name(&self) -> String {
        "service".into()
    }

    fn makes_data_keys(&self) -> bool {
        true
    }

    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        self.generated.fetch_add(1, Ordering::SeqCst);
        let data_key = DataKey::random()?;
        let slot = self.slot(&data_key, binding);
        Ok((data_key, slot))
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        self.wrapped.fetch_add(1, Ordering::SeqCst);
        Ok(self.slot(data_key, binding))
    }
}

impl KeyOpener for Service {
    fn name(&self) -> String {
        "service".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::AWS_KMS && slot.key_id == self.arn
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        std::thread::yield_now();
        let refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let error = |cause| Box::new(ProviderError::new(cause, ARN, "no")).into();
        if refused.is_ok() {
            return Err(error(ProviderCause::Throttled));
        }
        unwrap_message(&self.key, &Self::context(binding), &slot.wrapped)
            .ok_or_else(|| error(ProviderCause::WrongCiphertext))
    }
}

fn seal(batch: &Batch<'_>, plaintext: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::with_envelope(Vec::new(), batch.envelope().unwrap());
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn open(file: &[u8], opener: &dyn KeyOpener) -> Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    OpenReader::new(file, &[opener], &Demands::new())?.read_to_end(&mut plaintext).unwrap();
    Ok(plaintext)
}

fn bank(file: &[u8]) -> Bank {
    Header::read(&Front::new(file.to_vec())).unwrap().bank().clone()
}

/// The same file with another bank in both places.
fn with_bank(file: &[u8], bank: &Bank) -> Vec<u8> {
    let len = bank.len.get();
    let [zero, one] =
        [BankNumber::Zero, BankNumber::One].map(|number| Bank { number, ..bank.clone() }.encode().unwrap());
    [&zero[..], &one[..], &file[2 * len..]].concat()
}

#[test]
fn one_call_makes_the_data_key_of_all() {
    let (service, key) = (Service::new(), KeyFile::generate().unwrap());
    let second = Service { arn: ARN.replace("1111", "9999"), ..Service::new() };
    // The key file comes first, but the service makes the data key.
    let batch = Batch::new(&[&key, &service, &second], &SealOptions::new()).unwrap();
    let files: Vec<_> = (0..50_u8).map(|number| seal(&batch, &[number; 100])).collect();
    assert_eq!((service.calls(), second.calls()), ((1, 0, 0), (0, 1, 0)));
    for (number, file) in files.iter().enumerate() {
        for opener in [&key as &dyn KeyOpener, &service] {
            assert_eq!(open(file, opener).unwrap(), [u8::try_from(number).unwrap(); 100]);
        }
        assert_eq!(bank(file).binding.data_key_id, batch.data_key_id());
    }
}

/// What the specification demands of files that share a data key (10.6), and of their slots (9.3, 9.5, 9.7).
#[test]
fn all_that_must_differ_differs() {
    let (service, key, identity) = (Service::new(), KeyFile::generate().unwrap(), Identity::generate().unwrap());
    let passphrase = Passphrase::with_cost(SecretBytes::new(b"phrase".to_vec()), CHEAP).unwrap();
    let options = SealOptions::new().with_context(Pairs::parse(["env=prod", "host=a"]).unwrap());
    let batch = Batch::new(&[&service, &key, &passphrase, identity.recipient()], &options).unwrap();
    let files: Vec<_> = (0..8).map(|_| seal(&batch, &[0; 40_000])).collect();
    let mut seen = HashSet::new();
    let mut fresh = |what: &str, bytes: &[u8]| assert!(seen.insert(bytes.to_vec()), "{what} stands twice");
    let first = bank(&files[0]);
    for file in &files {
        let bank = bank(file);
        assert_eq!(bank.binding.sharing, Sharing::Shared);
        assert_eq!(bank.binding, first.binding);
        assert_eq!(bank.slots[0], first.slots[0], "the slot of the service is the same in all");
        fresh("the salt", &bank.prelude.salt);
        fresh("the commitment", &bank.prelude.commitment);
        fresh("the salt of a key file's wrapping", &bank.slots[1].wrapped[..24]);
        fresh("the salt of Argon2id", &bank.slots[2].wrapped[12..44]);
        fresh("the salt of a passphrase's wrapping", &bank.slots[2].wrapped[44..68]);
        fresh("an encapsulation", &bank.slots[3].wrapped[..1120]);
        fresh("a public key's message", &bank.slots[3].wrapped[1120..]);
        // The plaintext is zeros, so each chunk is the key stream. Equal ones would be a nonce that was used twice.
        for chunk in file[8192 + 56..].chunks(16_384 + 16) {
            fresh("a key stream", &chunk[..64]);
        }
        for opener in [&service as &dyn KeyOpener, &key, &passphrase, &identity] {
            assert!(open(file, opener).unwrap() == [0; 40_000], "{}", opener.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn files_of_a_batch_never_share_a_salt(count in 2usize..40, len in 0usize..3000, with_service: bool, byte: u8) {
        let (service, key) = (Service::new(), KeyFile::generate().unwrap());
        let sealers: &[&dyn KeySealer] = if with_service { &[&service, &key] } else { &[&key] };
        let batch = Batch::new(sealers, &SealOptions::new()).unwrap();
        let plaintext = vec![byte; len];
        let files: Vec<_> = (0..count).map(|_| seal(&batch, &plaintext)).collect();
        let salts: HashSet<_> = files.iter().map(|file| bank(file).prelude.salt).collect();
        let payloads: HashSet<_> = files.iter().map(|file| file[8192 + 56..].to_vec()).collect();
        assert_eq!((salts.len(), payloads.len()), (count, count));
        for file in &files {
            assert!(open(file, &key).unwrap() == plaintext);
            let other = open(file, &service);
            assert_eq!(other.is_ok(), with_service);
        }
    }

    #[test]
    fn threads_never_share_a_salt(threads in 2usize..8, _again in any::<u8>()) {
        let service = Service::new();
        let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
        let salts: Vec<[u8; 24]> = std::thread::scope(|scope| {
            let salts = || (0..50).map(|_| batch.envelope().unwrap().prelude().salt).collect::<Vec<_>>();
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(salts)).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(salts.iter().collect::<HashSet<_>>().len(), threads * 50);
    }
}

#[test]
fn labels_may_differ_and_are_bound() {
    let (service, key) = (Service::new(), KeyFile::generate().unwrap());
    let batch = Batch::new(&[&service, &key], &SealOptions::new()).unwrap();
    let labelled = |text: &str| {
        let envelope = batch.envelope_with_labels(Pairs::parse([text]).unwrap()).unwrap();
        SealWriter::with_envelope(Vec::new(), envelope).finish().unwrap()
    };
    let (one, two) = (labelled("name=one"), labelled("name=two"));
    let (first, mut second) = (bank(&one), bank(&two));
    assert_eq!((&first.slots[0], first.binding.data_key_id), (&second.slots[0], second.binding.data_key_id));
    for opener in [&service as &dyn KeyOpener, &key] {
        assert!(open(&one, opener).is_ok() && open(&two, opener).is_ok());
    }
    // Another label is another file: neither the shared slot nor the one of the key file opens it.
    second.binding.labels = first.binding.labels.clone();
    let forged = with_bank(&two, &second);
    assert!(matches!(open(&forged, &service), Err(Error::Tampered(Tampered::Commitment))));
    assert!(matches!(open(&forged, &key), Err(Error::Tampered(Tampered::Slot { slot: 1 }))));
}

#[test]
fn opening_a_batch_is_one_call() {
    let service = Service::new();
    let batches = [0, 1].map(|_| Batch::new(&[&service], &SealOptions::new()).unwrap());
    let files: Vec<_> = (0..40).map(|number| seal(&batches[number % 2], &[7; 100])).collect();
    service.calls();
    let opener = BatchOpener::new(&service);
    for file in &files {
        assert_eq!(open(file, &opener).unwrap(), [7; 100]);
    }
    assert_eq!(service.calls(), (0, 0, 2), "one call for each batch");
    // A file of its own is asked for as often as it is opened.
    let alone = SealWriter::new(Vec::new(), &[&service], &SealOptions::new()).unwrap().finish().unwrap();
    service.calls();
    for _ in 0..3 {
        open(&alone, &opener).unwrap();
    }
    assert_eq!(service.calls(), (0, 0, 3));
    // Nothing outlives the opener.
    drop(opener);
    open(&files[0], &BatchOpener::new(&service)).unwrap();
    assert_eq!(service.calls(), (0, 0, 1));
}

#[test]
fn threads_that_need_one_key_make_one_call() {
    let service = Service::new();
    let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
    let files: Vec<_> = (0..64).map(|_| seal(&batch, b"text")).collect();
    for _ in 0..50 {
        service.calls();
        let (opener, start) = (BatchOpener::new(&service), Barrier::new(16));
        std::thread::scope(|scope| {
            for part in files.chunks(4) {
                scope.spawn(|| {
                    start.wait();
                    part.iter().for_each(|file| assert_eq!(open(file, &opener).unwrap(), b"text"));
                });
            }
        });
        assert_eq!(service.calls(), (0, 0, 1));
    }
}

/// A call that fails is the failure of one file. It does not stop the others, and it is not remembered for ever.
#[test]
fn a_refusal_is_one_files() {
    let service = Service::new();
    let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
    let files: Vec<_> = (0..10).map(|_| seal(&batch, b"text")).collect();
    service.calls();
    service.refusals.store(3, Ordering::SeqCst);
    let opener = BatchOpener::new(&service);
    let opened = files.iter().filter(|file| open(file, &opener).is_ok()).count();
    assert_eq!((opened, service.calls()), (7, (0, 0, 4)));
}

/// A panic in the opener must not leave the others waiting.
#[test]
fn a_panic_leaves_nobody_waiting() {
    struct Panics<'a>(&'a Service, AtomicUsize);
    impl KeyOpener for Panics<'_> {
        fn name(&self) -> String {
            "panics".into()
        }
        fn matches(&self, slot: &Slot) -> bool {
            self.0.matches(slot)
        }
        fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
            assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "the first call");
            self.0.open(slot, binding)
        }
    }
    let service = Service::new();
    let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
    let file = seal(&batch, b"text");
    let opener = BatchOpener::new(Panics(&service, AtomicUsize::new(0)));
    let opened: Vec<bool> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&file, &opener).is_ok())).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(false)).collect()
    });
    assert_eq!(opened.iter().filter(|opened| **opened).count(), 7);
}

/// A kept data key never takes the place of a check: each of these files has the slot of a file that was opened.
#[test]
fn a_kept_key_passes_every_check() {
    let service = Service::new();
    let options = SealOptions::new().with_context(Pairs::parse(["env=prod"]).unwrap());
    let batch = Batch::new(&[&service], &options).unwrap();
    let (good, other) = (seal(&batch, b"good"), seal(&batch, b"other"));
    let opener = BatchOpener::new(&service);
    open(&good, &opener).unwrap();
    assert_eq!(service.calls(), (1, 0, 1));
    // Demands come first.
    let demands = Demands::new().with_labels(Pairs::parse(["host=a"]).unwrap());
    assert!(matches!(OpenReader::new(good.as_slice(), &[&opener], &demands), Err(Error::Unmet(_))));
    // The commitment: another label, another salt, another payload.
    let mut forged = bank(&good);
    forged.binding.labels = Pairs::parse(["x=y"]).unwrap();
    assert!(matches!(open(&with_bank(&good, &forged), &opener), Err(Error::Tampered(Tampered::Commitment))));
    let swapped = [&good[..8192], &other[8192..]].concat();
    assert!(matches!(open(&swapped, &opener), Err(Error::Tampered(Tampered::Prelude))));
    assert_eq!(service.calls(), (0, 0, 0));
    // Other bytes of the slot, other pairs, another id or a file of its own: the service is asked, and refuses.
    let mut wrapped = bank(&good);
    wrapped.slots[0].wrapped[60] ^= 1;
    let mut pairs = bank(&good);
    pairs.binding.context = Pairs::parse(["env=test"]).unwrap();
    let mut id = bank(&good);
    id.binding.data_key_id.0[0] ^= 1;
    for forged in [wrapped, pairs, id] {
        assert!(open(&with_bank(&good, &forged), &opener).is_err());
        assert_eq!(service.calls(), (0, 0, 1));
    }
    let mut unshared = bank(&good);
    unshared.binding.sharing = Sharing::Exclusive;
    assert!(matches!(open(&with_bank(&good, &unshared), &opener), Err(Error::Tampered(Tampered::Commitment))));
    assert_eq!(service.calls(), (0, 0, 1), "no kept key for a file that is not of a batch");
    // Another key's slot is not this opener's, whatever it keeps.
    let mut arn = bank(&good);
    arn.slots[0].key_id = ARN.replace("1111", "9999");
    assert!(matches!(open(&with_bank(&good, &arn), &opener), Err(Error::NoKey(_))));
    assert_eq!(service.calls(), (0, 0, 0));
}

#[test]
fn only_so_many_keys_are_kept() {
    let service = Service::new();
    let files: Vec<_> = (0..65)
        .map(|_| {
            let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
            seal(&batch, b"text")
        })
        .collect();
    let opener = BatchOpener::new(&service);
    files.iter().take(64).for_each(|file| drop(open(file, &opener).unwrap()));
    service.calls();
    // The first was used again, so the second goes when one more comes.
    for (file, calls) in [(0, 0), (64, 1), (0, 0), (63, 0), (1, 1), (2, 1), (64, 0)] {
        open(&files[file], &opener).unwrap();
        assert_eq!(service.calls(), (0, 0, calls), "file {file}");
    }
}

#[test]
fn files_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let service = Service::new();
    let batch = Batch::new(&[&service], &SealOptions::new()).unwrap();
    let (options, opener) = (FileOptions::new(), BatchOpener::new(&service));
    for name in ["a", "b", "c"] {
        std::fs::write(at(name), name).unwrap();
        options.encrypt_with(at(name), at(&format!("{name}.wax")), || batch.envelope()).unwrap();
        decrypt_file(at(&format!("{name}.wax")), at(&format!("{name}.out")), &[&opener], &Demands::new()).unwrap();
        assert_eq!(std::fs::read_to_string(at(&format!("{name}.out"))).unwrap(), name);
    }
    assert_eq!(service.calls(), (1, 0, 1));
}

/// The same service, which answers after some turns of other tasks. The first calls never end, if `hangs` says so.
struct Slow {
    service: Service,
    hangs: AtomicUsize,
}

impl Slow {
    fn new(hangs: usize) -> Self {
        Self { service: Service::new(), hangs: hangs.into() }
    }
}

impl AsyncKeyOpener for Slow {
    fn name(&self) -> String {
        "slow service".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        self.service.matches(slot)
    }

    fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, Result<DataKey>> {
        Box::pin(async move {
            let answer = self.service.open(slot, binding);
            if self.hangs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                std::future::pending::<()>().await;
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            answer
        })
    }
}

async fn open_async(file: Vec<u8>, opener: &AsyncBatchOpener<Slow>) -> Result<()> {
    Opening::read(Front::new(file), &Demands::new())?.open_async(&[opener]).await.map(drop)
}

/// On one thread, a task that blocked while it waits would wait for ever.
#[test]
fn tasks_that_need_one_key_make_one_call() {
    use tokio::runtime::Builder;
    let one = Builder::new_current_thread().build().unwrap();
    let two = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for runtime in [one, two] {
        let opener = Arc::new(AsyncBatchOpener::new(Slow::new(0)));
        let service = &opener.inner().service;
        let batches = [0, 1].map(|_| Batch::new(&[service], &SealOptions::new()).unwrap());
        let files: Vec<_> = (0..64).map(|number| seal(&batches[number % 2], b"text")).collect();
        let alone = SealWriter::new(Vec::new(), &[service], &SealOptions::new()).unwrap().finish().unwrap();
        service.calls();
        runtime.block_on(async {
            let task = |file: &Vec<u8>| {
                let (file, opener) = (file.clone(), Arc::clone(&opener));
                tokio::spawn(async move { open_async(file, &opener).await })
            };
            let tasks: Vec<_> = files.iter().map(task).collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            assert_eq!(service.calls(), (0, 0, 2), "one call for each batch");
            for file in [&alone, &alone, &files[0]] {
                open_async(file.clone(), &opener).await.unwrap();
            }
            assert_eq!(service.calls(), (0, 0, 2), "a file of its own is asked for each time");
        });
    }
}

#[test]
fn a_refusal_is_one_tasks() {
    let opener = AsyncBatchOpener::new(Slow::new(0));
    let service = &opener.inner().service;
    let batch = Batch::new(&[service], &SealOptions::new()).unwrap();
    let files: Vec<_> = (0..10).map(|_| seal(&batch, b"text")).collect();
    service.calls();
    service.refusals.store(3, Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let opened = files.iter().filter(|file| runtime.block_on(open_async(file.to_vec(), &opener)).is_ok()).count();
    assert_eq!((opened, service.calls()), (7, (0, 0, 4)));
}

/// Counts how often a task was woken.
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn if_the_task_that_asks_is_dropped_another_one_asks() {
    let opener = AsyncBatchOpener::new(Slow::new(1));
    let service = &opener.inner().service;
    let batch = Batch::new(&[service], &SealOptions::new()).unwrap();
    let (one, two) = (seal(&batch, b"one"), seal(&batch, b"two"));
    service.calls();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut asks = Box::pin(open_async(one, &opener));
    let mut waits = Box::pin(open_async(two, &opener));
    assert!(asks.as_mut().poll(&mut context).is_pending());
    for _ in 0..3 {
        assert!(waits.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!((service.calls(), woken.0.load(Ordering::SeqCst)), ((0, 0, 1), 0));
    drop(asks);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "the one that waits goes on");
    let opened = (0..100).find_map(|_| match waits.as_mut().poll(&mut context) {
        Poll::Ready(opened) => Some(opened),
        Poll::Pending => None,
    });
    opened.expect("an end").unwrap();
    assert_eq!(service.calls(), (0, 0, 1));
}
