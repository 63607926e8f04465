//! Compares this module with the serial writer and reader, at every edge.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;
use crate::envelope::{Demands, Envelope, SealOptions};
use crate::error::{Error, Tampered};
use crate::format::{FRONT_LEN, Front, SEALED_CHUNK_LEN};
use crate::keys::KeyFile;
use crate::payload::ChunkIndex;
use crate::stream::{OpenReader, SealWriter};

const CHUNK: u64 = crate::format::CHUNK_LEN as u64;

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect()
}

fn seal(key: &KeyFile, plaintext: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), &[key], &SealOptions::default()).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn opened(key: &KeyFile, file: &[u8]) -> Opened {
    let front = Front::new(file[..file.len().min(FRONT_LEN)].to_vec());
    Opening::read(front, &Demands::default()).unwrap().open(&[key]).unwrap()
}

fn part(file: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

fn plaintext(key: &KeyFile, file: &[u8]) -> Plaintext {
    let payload = opened(key, file).into_payload();
    let end = payload.end(file.len() as u64).unwrap();
    payload.with_end(&end, part(file, end.range.clone())).unwrap()
}

/// A key that always gives the same data key and slot, so that two files are equal.
struct DataKeyOf([u8; 32]);

impl crate::keys::KeySealer for DataKeyOf {
    fn name(&self) -> String {
        "fixed".into()
    }

    fn generate(&self, _: &crate::format::Binding) -> crate::Result<(crate::secret::DataKey, crate::format::Slot)> {
        let slot = crate::format::Slot { kind: crate::format::SlotKind(0x8000), key_id: "k".into(), wrapped: vec![1] };
        Ok((crate::secret::DataKey::from_slice(&self.0)?, slot))
    }

    fn wrap(&self, _: &crate::secret::DataKey, _: &crate::format::Binding) -> crate::Result<crate::format::Slot> {
        Err(Error::ApiMisuse("one key only"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// For every split of the plaintext, the output is a file that the serial reader opens correctly.
    #[test]
    fn pushing_in_any_pieces_gives_one_file(len in 0..80_000usize, piece in 1..40_000usize) {
        let (key, text) = (KeyFile::generate().unwrap(), text(len));
        let mut sealing = Sealing::new(Envelope::new(&[&key], &SealOptions::default()).unwrap());
        let mut file = Vec::new();
        for piece in text.chunks(piece) {
            sealing.push(piece, &mut file).unwrap();
        }
        prop_assert_eq!(sealing.plaintext_len(), len as u64);
        sealing.finish(&mut file).unwrap();
        let mut back = Vec::new();
        OpenReader::new(file.as_slice(), &[&key], &Demands::default()).unwrap().read_to_end(&mut back).unwrap();
        prop_assert!(back == text);
        prop_assert_eq!(plaintext_len_hint(file.len() as u64), Some(len as u64));
    }

    /// Several threads give the same bytes, also across the length from which on the header is longer.
    #[test]
    fn pushing_in_parallel_gives_the_same_file(
        pieces in prop::collection::vec((0..700_000usize, any::<bool>()), 1..12),
    ) {
        use crate::format::DataKeyId;
        let key = DataKeyOf([7; 32]);
        let begin = || {
            Sealing::new(Envelope::with_salt(&[&key], &SealOptions::default(), DataKeyId([1; 16]), [2; 24]).unwrap())
        };
        let (mut one, mut other, mut by_one, mut by_all) = (begin(), begin(), Vec::new(), Vec::new());
        let text = text(700_000);
        for (len, parallel) in pieces {
            one.push(&text[..len], &mut by_one).unwrap();
            let push = if parallel { Sealing::push_parallel } else { Sealing::push };
            push(&mut other, &text[..len], &mut by_all).unwrap();
            prop_assert_eq!(one.plaintext_len(), other.plaintext_len());
        }
        one.finish(&mut by_one).unwrap();
        other.finish(&mut by_all).unwrap();
        prop_assert!(by_one == by_all);
    }

    /// Any range opens from exactly the bytes that `sealed_range` gives.
    #[test]
    fn any_range_opens_from_its_own_bytes(
        len in prop_oneof![0..70_000u64, Just(CHUNK), Just(2 * CHUNK), Just(3 * CHUNK - 1)],
        start in 0..80_000u64, more in 0..80_000u64,
    ) {
        let (key, text) = (KeyFile::generate().unwrap(), text(usize::try_from(len).unwrap()));
        let file = seal(&key, &text);
        let plaintext = plaintext(&key, &file);
        prop_assert_eq!(plaintext.len(), len);
        let plain = start..start + more;
        let sealed = plaintext.sealed_range(plain.clone());
        let got = plaintext.open_range(plain.clone(), part(&file, sealed.clone())).unwrap();
        let (from, to) = (start.min(len), (start + more).min(len));
        prop_assert!(got == part(&text, from..to.max(from)));
        prop_assert!(sealed.end - sealed.start <= (more / CHUNK + 2) * SEALED_CHUNK_LEN as u64);
        if sealed.end > sealed.start {
            let short = &part(&file, sealed)[1..];
            prop_assert!(matches!(plaintext.open_range(plain, short), Err(Error::Tampered(_))));
        }
    }
}

#[test]
fn a_length_is_authenticated_before_it_is_believed() {
    let key = KeyFile::generate().unwrap();
    let mut file = seal(&key, &text(40_000));
    let payload = opened(&key, &file).into_payload();
    let end = payload.end(file.len() as u64).unwrap();
    file[usize::try_from(end.range.start).unwrap()] ^= 1;
    let tampered = payload.with_end(&end, part(&file, end.range.clone())).err().unwrap();
    assert_eq!(tampered, Tampered::LastChunk { index: 2, offset: 2 * CHUNK });
    // A file that claims to be longer than it is.
    let payload = opened(&key, &file).into_payload();
    let claimed = payload.end(9_000_000_000).unwrap();
    assert!(payload.with_end(&claimed, &[]).is_err());
}

/// The caller may change its fields. That must not truncate a file.
#[test]
fn a_full_chunk_ends_no_file() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&key, &text(40_000));
    let end_with = |index, plaintext_len| {
        let payload = opened(&key, &file).into_payload();
        let mut end = payload.end(file.len() as u64).unwrap();
        (end.index, end.plaintext_len) = (ChunkIndex::new(index).unwrap(), plaintext_len);
        let start = payload.chunk_at(end.index);
        payload.with_end(&end, part(&file, start..(start + SEALED_CHUNK_LEN as u64).min(file.len() as u64))).is_ok()
    };
    assert!(end_with(2, 40_000));
    for (index, plaintext_len) in [(0, CHUNK), (1, 2 * CHUNK), (1, 0), (2, 0), (2, u64::MAX)] {
        assert!(!end_with(index, plaintext_len), "{index} {plaintext_len}");
    }
}

#[test]
fn a_chunk_does_not_open_at_another_place() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&key, &text(70_000));
    let plaintext = plaintext(&key, &file);
    let second = plaintext.sealed_range(CHUNK..2 * CHUNK);
    let failed = plaintext.open_range(0..CHUNK, part(&file, second)).unwrap_err();
    assert!(matches!(failed, Error::Tampered(Tampered::Chunk { index: 0, .. })));
    // Nor may a short one in the middle.
    let mut short = part(&file, plaintext.sealed_range(69_999..70_000)).to_vec();
    assert!(plaintext.open_chunk(ChunkIndex::FIRST, &mut short).is_err());
    assert!(short.iter().all(|byte| *byte == 0));
}

#[test]
fn a_caller_may_fetch_the_data_key() {
    let key = KeyFile::generate().unwrap();
    let file = seal(&key, b"content");
    let front = || Front::new(file.clone());
    let opening = Opening::read(front(), &Demands::default()).unwrap();
    let (index, slot) = opening.candidates().next().unwrap();
    let data_key = crate::keys::KeyOpener::open(&key, slot, &opening.header().bank().binding).unwrap();
    let opened = opening.open_with(index, "mine", data_key).unwrap();
    assert_eq!((opened.by().slot, opened.by().key.as_str()), (0, "mine"));
    let other = crate::secret::DataKey::random().unwrap();
    let failed = Opening::read(front(), &Demands::default()).unwrap().open_with(0, "mine", other);
    assert!(matches!(failed.err(), Some(Error::Tampered(Tampered::Commitment))));
}

/// Polls a future that is always ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn asynchronous_keys_do_what_the_others_do() {
    use crate::format::{Binding, Slot};
    use crate::keys::{AsyncKeyOpener, AsyncKeySealer, BoxFuture, KeyOpener, KeySealer};
    use crate::secret::DataKey;
    struct Slow(KeyFile);
    impl AsyncKeySealer for Slow {
        fn name(&self) -> String {
            KeySealer::name(&self.0)
        }
        fn wrap<'a>(&'a self, data_key: &'a DataKey, binding: &'a Binding) -> BoxFuture<'a, crate::Result<Slot>> {
            Box::pin(async { self.0.wrap(data_key, binding) })
        }
    }
    impl AsyncKeyOpener for Slow {
        fn name(&self) -> String {
            KeyOpener::name(&self.0)
        }
        fn matches(&self, slot: &Slot) -> bool {
            self.0.matches(slot)
        }
        fn open<'a>(&'a self, slot: &'a Slot, binding: &'a Binding) -> BoxFuture<'a, crate::Result<DataKey>> {
            Box::pin(async { KeyOpener::open(&self.0, slot, binding) })
        }
    }
    let (one, two) = (Slow(KeyFile::generate().unwrap()), Slow(KeyFile::generate().unwrap()));
    let sealers: [&dyn AsyncKeySealer; 2] = [&one, &two];
    let mut sealing = Sealing::new(now(Envelope::new_async(&sealers, &SealOptions::default())).unwrap());
    let mut file = Vec::new();
    sealing.push(b"content", &mut file).unwrap();
    sealing.finish(&mut file).unwrap();
    let opening = Opening::read(Front::new(file.clone()), &Demands::default()).unwrap();
    let opened = now(opening.open_async(&[&two])).unwrap();
    assert_eq!(opened.by().slot, 1);
    assert_eq!(self::plaintext(&two.0, &file).len(), 7);
}

/// The data key comes from the key service that makes data keys. The slots keep the order of the keys.
#[test]
fn the_first_key_that_makes_data_keys_makes_it() {
    use crate::format::{Binding, Slot, SlotKind};
    use crate::keys::KeySealer;
    use crate::secret::DataKey;
    struct Service(u8);
    impl KeySealer for Service {
        fn name(&self) -> String {
            "service".into()
        }
        fn makes_data_keys(&self) -> bool {
            self.0 > 1
        }
        fn generate(&self, _: &Binding) -> crate::Result<(DataKey, Slot)> {
            Ok((DataKey::from_slice(&[self.0; 32])?, self.slot(b"made")))
        }
        fn wrap(&self, data_key: &DataKey, _: &Binding) -> crate::Result<Slot> {
            Ok(self.slot(&data_key.expose()[..1]))
        }
    }
    impl Service {
        fn slot(&self, wrapped: &[u8]) -> Slot {
            Slot { kind: SlotKind(0x8000), key_id: self.0.to_string(), wrapped: wrapped.to_vec() }
        }
    }
    let sealers: [&dyn KeySealer; 3] = [&Service(1), &Service(2), &Service(3)];
    let envelope = Envelope::new(&sealers, &SealOptions::default()).unwrap();
    let wrapped: Vec<_> = envelope.slots().iter().map(|slot| slot.wrapped.as_slice()).collect();
    assert_eq!(wrapped, [&[2][..], b"made", &[2]]);
}
