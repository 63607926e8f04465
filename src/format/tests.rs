//! Tests of banks, and of the decision which bank is used.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::binding::BINDING_MAX;
use super::pairs::MAX_PAIRS;
use super::*;
use crate::error::{Field, FormatError};

/// A change to a bank's bytes.
type Change = fn(&mut [u8]);

fn slot(kind: u16, key_id: &str, len: usize) -> Slot {
    Slot { kind: SlotKind(kind), key_id: key_id.into(), wrapped: vec![0x5a; len] }
}

fn bank(len: BankLen, number: BankNumber) -> Bank {
    let binding = Binding {
        suite: Suite::Aes256Gcm,
        data_key_id: DataKeyId([3; 16]),
        sharing: Sharing::Exclusive,
        context: Pairs::parse(["project=demo"]).unwrap(),
        labels: Pairs::parse(["host=a"]).unwrap(),
    };
    let slots = vec![slot(2, &"ab".repeat(16), 104), slot(0x8001, "", 0)];
    let prelude = Prelude { salt: [1; 24], commitment: [2; 32] };
    Bank { len, generation: 1, number, prelude, binding, slots }
}

/// Both banks, and the shortest payload.
fn file(len: BankLen) -> Vec<u8> {
    let mut bytes = bank(len, BankNumber::Zero).encode().unwrap();
    bytes.extend(bank(len, BankNumber::One).encode().unwrap());
    bytes.extend(bank(len, BankNumber::Zero).prelude.to_bytes());
    bytes.extend([0; 16]);
    bytes
}

fn read(bytes: &[u8]) -> Result<Header, FormatError> {
    Header::read(&Front::new(bytes.to_vec()))
}

/// Changes bytes of a bank and corrects its checksum.
fn forge(bytes: &mut [u8], place: usize, len: BankLen, change: impl FnOnce(&mut [u8])) {
    let bank = &mut bytes[place..place + len.get()];
    change(bank);
    let (content, checksum) = bank.split_at_mut(len.get() - CHECKSUM_LEN);
    checksum.copy_from_slice(&Sha256::digest(content));
}

fn malformed(bytes: &[u8]) -> (String, u64) {
    match read(bytes) {
        Err(FormatError::Malformed { field, offset }) => (field.to_string(), offset),
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn every_flipped_bit_of_one_bank_is_survived() {
    let good = file(BankLen::MIN);
    let header = read(&good).unwrap();
    assert!(header.warnings().is_empty());
    // Miri is some thousand times slower.
    for bit in (0..2 * BankLen::MIN.get() * 8).step_by(if cfg!(miri) { 997 } else { 1 }) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damaged = read(&bytes).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        let number = if bit / 8 < BankLen::MIN.get() { BankNumber::Zero } else { BankNumber::One };
        assert!(matches!(damaged.warnings()[..], [Warning::BankDamaged(found, _)] if found == number), "bit {bit}");
        assert_eq!(damaged.bank().slots, header.bank().slots);
    }
}

#[test]
fn either_bank_may_be_lost() {
    // Miri would need half an hour for the others.
    for len in BankLen::ALL.into_iter().filter(|len| !cfg!(miri) || len.get() <= 8192) {
        for number in [0, 1] {
            for fill in [0, 0xff] {
                let mut bytes = file(len);
                bytes[number * len.get()..(number + 1) * len.get()].fill(fill);
                let header = read(&bytes).unwrap();
                assert_eq!((header.bank_len(), header.warnings().len()), (len, 1));
            }
            let hole = number * len.get()..number * len.get() + 1;
            let front = Front::with_unreadable(file(len), vec![hole]);
            assert_eq!(Header::read(&front).unwrap().warnings().len(), 1);
        }
        let mut bytes = file(len);
        bytes[9] ^= 1;
        bytes[len.get() + 100] ^= 1;
        assert_eq!(read(&bytes), Err(FormatError::Damaged));
        bytes[..len.header_len()].fill(0);
        assert_eq!(read(&bytes), Err(FormatError::NotWaxseal));
    }
}

#[test]
fn a_bank_at_the_other_ones_place_is_damage() {
    let good = file(BankLen::MIN);
    let (mut twice_zero, mut twice_one) = (good.clone(), good.clone());
    twice_zero.copy_within(..4096, 4096);
    twice_one.copy_within(4096..8192, 0);
    for bytes in [twice_zero, twice_one] {
        assert_eq!(read(&bytes).unwrap().bank().slots, read(&good).unwrap().bank().slots);
    }
}

#[test]
fn the_magic_stands_where_a_bank_may() {
    // Miri hashes slowly.
    let large = if cfg!(miri) { BankLen::ALL[3] } else { BankLen::MAX };
    let mut bytes = file(large);
    bytes[16_384..16_392].copy_from_slice(&MAGIC);
    forge(&mut bytes, 0, large, |_| {});
    // Filling that is not zero is reported first. After a bank, the wrong position is reported.
    assert_eq!(malformed(&bytes), ("filling that is not zero".into(), 16_384));
    let mut small = file(BankLen::MIN);
    small.resize(80_000, 0);
    small[65_536..65_544].copy_from_slice(&MAGIC);
    assert_eq!(malformed(&small), ("magic at a position where it is not allowed".into(), 65_536));
    small[0] = 0;
    assert_eq!(malformed(&small), ("magic at a position where it is not allowed".into(), 65_536));
    // The file lost its first bank, or has other bytes before it.
    assert_eq!(read(&file(BankLen::MIN)[4096..]), Err(FormatError::Damaged));
    let shifted = [vec![0; 4096], file(BankLen::MIN)].concat();
    assert!(matches!(read(&shifted), Err(FormatError::Malformed { .. })));
    let tar = [vec![0; 512], file(BankLen::MIN)].concat();
    assert_eq!(read(&tar), Err(FormatError::NotWaxseal));
}

#[test]
fn the_newer_generation_counts() {
    let generations =
        [(1, 1, 0), (1, 2, 1), (2, 1, 0), (u32::MAX, 0, 1), (0, u32::MAX, 0), (0, 1 << 31, 0), (1 << 31, 0, 0)];
    for (zero, one, counts) in generations {
        let mut bytes = file(BankLen::MIN);
        forge(&mut bytes, 0, BankLen::MIN, |bank| bank[16..20].copy_from_slice(&u32::to_le_bytes(zero)));
        forge(&mut bytes, 4096, BankLen::MIN, |bank| bank[16..20].copy_from_slice(&u32::to_le_bytes(one)));
        let header = read(&bytes).unwrap();
        assert_eq!(header.bank().number.get(), counts, "{zero} {one}");
        assert_eq!(header.warnings().is_empty(), zero == one);
    }
}

#[test]
fn banks_must_agree_in_what_is_bound() {
    for offset in [30, 60, 85, 96, 104] {
        let mut bytes = file(BankLen::MIN);
        forge(&mut bytes, 4096, BankLen::MIN, |bank| bank[offset] ^= 1);
        assert_eq!(malformed(&bytes).0, "bank 1 does not match bank 0", "{offset}");
    }
}

#[test]
fn newer_and_malformed_banks_have_no_fallback() {
    for place in [0, 4096] {
        let mut bytes = file(BankLen::MIN);
        forge(&mut bytes, place, BankLen::MIN, |bank| bank[8] = 2);
        assert_eq!(read(&bytes), Err(FormatError::Newer { version: 2 }));
        let changes: [(&str, Change); 7] = [
            ("suite", |bank| bank[10] = 3),
            ("flags", |bank| bank[96] = 2),
            ("number of slots", |bank| bank[20] = 0),
            ("number of slots", |bank| bank[20] = 17),
            ("encryption context", |bank| bank[98] = 65),
            ("encryption context", |bank| bank[101] = 0xff),
            ("filling that is not zero", |bank| bank[4000] = 1),
        ];
        for (field, change) in changes {
            let mut bytes = file(BankLen::MIN);
            forge(&mut bytes, place, BankLen::MIN, change);
            assert_eq!(malformed(&bytes).0, field);
        }
    }
}

#[test]
fn cut_headers() {
    let good = file(BankLen::MIN);
    assert_eq!(read(&[]), Err(FormatError::NotWaxseal));
    for len in [8, 15] {
        assert_eq!(read(&good[..len]), Err(FormatError::Damaged), "{len}");
    }
    // A length that no bank has says nothing. A file that is long enough for bank 0 was not cut in it.
    for (at, len) in [(13, 4095), (30, 4096), (30, 8191)] {
        let mut altered = good.clone();
        altered[at] ^= 1;
        altered[4096] ^= 1;
        assert_eq!(read(&altered[..len]), Err(FormatError::Damaged), "{at} {len}");
    }
    for len in [16, 4095, 4096, 5000, 8191] {
        assert!(matches!(read(&good[..len]), Err(FormatError::CutShort { header_len: 8192, .. })), "{len}");
    }
    assert!(read(&good[..8192]).is_ok());
}

#[test]
fn a_writer_leaves_room_for_keys_to_come() {
    let binding = bank(BankLen::MIN, BankNumber::Zero).binding;
    let fit = |slots: &[Slot], least| Bank::fitting_len(&binding, slots, least).map(BankLen::get).ok();
    let start = 80 + binding.bound_bytes().unwrap().len() - 12;
    let exact = |end: usize| vec![slot(0x8001, "", end - start - 6)];
    assert_eq!(fit(&exact(2048 - 32), BankLen::MIN), Some(4096));
    assert_eq!(fit(&exact(2048 - 31), BankLen::MIN), Some(8192));
    assert_eq!(fit(&exact(200), BankLen::MAX), Some(65_536));
    assert_eq!(fit(&exact(32_768 - 31), BankLen::MIN), Some(65_536));
    assert_eq!(fit(&exact(65_536 - 32), BankLen::MIN), Some(65_536));
    assert_eq!(fit(&exact(65_536 - 31), BankLen::MIN), None);
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let refused = |slots: Vec<Slot>| Bank { slots, ..bank(BankLen::MAX, BankNumber::Zero) }.encode().is_err();
    let keyfile = slot(2, &"ab".repeat(16), 104);
    assert!(refused(vec![]) && refused(vec![slot(0x8001, "", 1); 17]));
    assert!(refused(vec![keyfile.clone(), keyfile]) && refused(vec![slot(3, "", 148), slot(3, "", 148)]));
    assert!(refused(vec![slot(0, "", 1)]) && refused(vec![slot(1, "arn", 1)]) && refused(vec![slot(3, "x", 148)]));
    assert!(refused(vec![slot(9, "\u{80}", 1)]) && refused(vec![slot(9, "", 65_536)]));
    assert!(!refused(vec![slot(0x8001, "same", 1), slot(0x8001, "same", 1)]));
    let long = Pairs::parse([format!("n={}", "v".repeat(8190))]).unwrap();
    let binding = Binding { context: long, ..bank(BankLen::MIN, BankNumber::Zero).binding };
    assert!(binding.bound_bytes().is_err());
}

/// A binding whose pairs and labels, with counts and flags, have `len` bytes.
fn binding_of(len: usize) -> Binding {
    let base = Binding { labels: Pairs::default(), ..bank(BankLen::MIN, BankNumber::Zero).binding };
    let with =
        |value: usize| Binding { labels: Pairs::parse([format!("n={}", "v".repeat(value))]).unwrap(), ..base.clone() };
    let shortest = with(1).bound_bytes().unwrap().len() - 12 - 16;
    with(1 + len - shortest)
}

#[test]
fn the_longest_binding_is_written_and_read() {
    let longest = Bank { binding: binding_of(BINDING_MAX), ..bank(BankLen::MAX, BankNumber::Zero) };
    let bytes = longest.encode().unwrap();
    assert_eq!(Bank::decode(&bytes, 0).unwrap(), longest);
    assert!(binding_of(BINDING_MAX + 1).bound_bytes().is_err());
    // One byte more than a writer can write. The label's value is the last field before the slots.
    let mut longer = bytes;
    let end = 96 + BINDING_MAX;
    let value = BINDING_MAX + 96 - longer[..end].iter().rposition(|byte| *byte != b'v').unwrap() - 1;
    let len_at = end - value - 2;
    assert_eq!(usize::from(u16::from_le_bytes([longer[len_at], longer[len_at + 1]])), value);
    longer[len_at..len_at + 2].copy_from_slice(&u16::try_from(value + 1).unwrap().to_le_bytes());
    longer.insert(end, b'v');
    longer.remove(BankLen::MAX.get() - CHECKSUM_LEN);
    forge(&mut longer, 0, BankLen::MAX, |_| {});
    assert_eq!(Bank::decode(&longer, 0), Err(BankFault::Malformed { field: Field::BindingLen, offset: 96 }));
}

#[test]
fn as_many_pairs_as_may_be_are_read() {
    let many = Pairs::parse((0..MAX_PAIRS).map(|index| format!("n{index}=v"))).unwrap();
    let mut full = bank(BankLen::MIN, BankNumber::Zero);
    full.binding.context = many.clone();
    full.binding.labels = many;
    assert_eq!(Bank::decode(&full.encode().unwrap(), 0).unwrap(), full);
    assert!(!full.binding.context.is_empty() && Pairs::default().is_empty());
}

#[test]
fn a_bank_is_filled_to_the_last_byte_and_no_further() {
    let empty = bank(BankLen::MIN, BankNumber::Zero);
    let start = 80 + empty.binding.bound_bytes().unwrap().len() - 12;
    let with = |end: usize| Bank { slots: vec![slot(0x8001, "id", end - start - 8)], ..empty.clone() };
    let full = with(4096 - CHECKSUM_LEN);
    assert_eq!(Bank::decode(&full.encode().unwrap(), 0).unwrap(), full);
    for more in [1, 2, CHECKSUM_LEN, 2 * CHECKSUM_LEN] {
        assert!(with(4096 - CHECKSUM_LEN + more).encode().is_err(), "{more}");
    }
    // The length of the key id counts when a bank length is chosen.
    let fit = |slots: &[Slot]| Bank::fitting_len(&empty.binding, slots, BankLen::MIN).unwrap().get();
    assert_eq!(fit(&with(2048 - CHECKSUM_LEN).slots), 4096);
    assert_eq!(fit(&with(2048 - CHECKSUM_LEN + 1).slots), 8192);
}

#[test]
fn each_kind_of_slot_has_its_shape() {
    const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/k";
    let id = "0123456789abcdef".repeat(2);
    let good = [
        slot(1, ARN, 1),
        slot(1, ARN, KMS_WRAPPED_MAX),
        slot(2, &id, 104),
        slot(3, "", 148),
        slot(4, ARN, 1192),
        slot(4, ARN, 1672),
        slot(5, ARN, 488),
        slot(5, ARN, 616),
        slot(6, &id, 1224),
        slot(7, "any", 0),
        slot(0x8000, "", 9),
    ];
    let bad = [
        slot(0, "", 1),
        slot(1, "alias/x", 1),
        slot(1, ARN, 0),
        slot(1, ARN, KMS_WRAPPED_MAX + 1),
        slot(2, &id[1..], 104),
        slot(2, &id.replace('a', "A"), 104),
        slot(2, &id.replace('a', "g"), 104),
        slot(2, &id, 103),
        slot(2, &id, 105),
        slot(3, "x", 148),
        slot(3, "", 147),
        slot(3, "", 149),
        slot(4, &id, 1192),
        slot(4, ARN, 1191),
        slot(4, ARN, 1193),
        slot(4, ARN, 1671),
        slot(4, ARN, 1673),
        slot(4, ARN, 616),
        slot(5, "", 488),
        slot(5, ARN, 487),
        slot(5, ARN, 489),
        slot(5, ARN, 617),
        slot(5, ARN, 1192),
        slot(6, ARN, 1224),
        slot(6, &id.replace('a', "A"), 1224),
        slot(6, &id, 1223),
        slot(6, &id, 1225),
        slot(7, "line\nbreak", 0),
    ];
    let encodes = |slot: &Slot| Bank { slots: vec![slot.clone()], ..bank(BankLen::MAX, BankNumber::Zero) }.encode();
    for slot in good {
        assert!(encodes(&slot).is_ok(), "{slot:?}");
    }
    for slot in bad {
        assert!(encodes(&slot).is_err(), "{slot:?}");
    }
    assert!(encodes(&slot(9, &"k".repeat(65_536), 0)).is_err());
}

/// A KMS key is of one kind, so no two slots of kinds 1, 4 and 5 may have its ARN.
#[test]
fn no_key_has_two_slots() {
    const ARN: &str = "arn:aws:kms:eu-west-1:123456789012:key/k";
    let id = "0123456789abcdef".repeat(2);
    let encodes = |one: &Slot, two: &Slot| {
        let slots = vec![one.clone(), two.clone()];
        Bank { slots, ..bank(BankLen::ALL[1], BankNumber::Zero) }.encode().is_ok()
    };
    let kms = [slot(1, ARN, 7), slot(4, ARN, 1192), slot(4, ARN, 1672), slot(5, ARN, 488), slot(5, ARN, 616)];
    for one in &kms {
        for two in &kms {
            assert!(!encodes(one, two), "{} and {}", one.kind.name(), two.kind.name());
            let elsewhere = Slot { key_id: ARN.replace("west", "north"), ..two.clone() };
            assert!(encodes(one, &elsewhere), "{} and {}", one.kind.name(), two.kind.name());
        }
    }
    let pair = [slot(6, &id, 1224), slot(2, &id, 104)];
    assert!(!encodes(&pair[0], &pair[0]) && !encodes(&pair[1], &pair[1]) && encodes(&pair[0], &pair[1]));
    assert!(encodes(&slot(7, ARN, 7), &slot(7, ARN, 7)) && encodes(&slot(7, ARN, 7), &kms[1]));
}

#[test]
fn names_and_messages() {
    let kinds = [1, 2, 3, 4, 5, 6].map(SlotKind);
    let names = ["aws-kms", "keyfile", "passphrase", "aws-kms-ml-kem", "aws-kms-rsa", "x-wing"];
    assert_eq!(kinds.map(SlotKind::name), names);
    assert!(!kinds.iter().any(|kind| kind.is_reserved()));
    let others = [0, 7, 0x7fff, 0x8000].map(SlotKind);
    assert_eq!(others.map(SlotKind::name), ["unknown"; 4]);
    assert_eq!(others.map(SlotKind::is_reserved), [false, true, true, false]);
    assert_eq!([Suite::Aes256Gcm, Suite::ChaCha20Poly1305].map(Suite::name), ["aes-256-gcm", "chacha20-poly1305"]);
    assert_eq!(DataKeyId(*b"\0\x01\xab\xff 23456789abc").to_string(), "0001abff203233343536373839616263");
    let damaged = Warning::BankDamaged(BankNumber::One, Damage::Checksum).to_string();
    assert!(damaged.contains("bank 1") && damaged.contains("checksum"), "{damaged}");
    assert!(Warning::BanksDiffer.to_string().contains("differ"));
    for len in BankLen::ALL {
        assert_eq!(read(&file(len)).unwrap().payload_offset(), 2 * len.get() as u64);
    }
}

/// To repair a disk, an operator needs to know which sectors are bad and which banks were overwritten.
#[test]
fn what_could_not_be_read_is_told_from_what_is_wrong() {
    let warning = |bytes: &[u8], hole: Option<std::ops::Range<usize>>| {
        let front = Front::with_unreadable(bytes.to_vec(), hole.into_iter().collect());
        Header::read(&front).unwrap().warnings()
    };
    let good = file(BankLen::MIN);
    for (number, start) in [(BankNumber::Zero, 0), (BankNumber::One, 4096)] {
        let mut wiped = good.clone();
        wiped[start..start + 4096].fill(0);
        assert_eq!(warning(&wiped, None), [Warning::BankDamaged(number, Damage::NoMagic)]);
        for hole in [start..start + 1, start + 4095..start + 4096] {
            assert_eq!(warning(&good, Some(hole)), [Warning::BankDamaged(number, Damage::Unreadable)]);
        }
        // A hole in the payload does not affect the banks.
        assert_eq!(warning(&good, Some(8192..8193)), []);
    }
    // More bytes were read than any bank has, so the missing rest cannot hide a magic.
    let mut long = good;
    long[..4096].fill(0);
    long.resize(70_000, 0);
    assert_eq!(warning(&long, Some(65_536..66_000)), [Warning::BankDamaged(BankNumber::Zero, Damage::NoMagic)]);
    assert_eq!(warning(&long, Some(65_535..66_000)), [Warning::BankDamaged(BankNumber::Zero, Damage::Unreadable)]);
}

#[test]
fn a_hole_takes_its_own_bytes_alone() {
    let hole = 10..20;
    let front = Front::with_unreadable((0..40).collect(), vec![hole]);
    for (range, readable) in [
        (0..10, true),
        (0..11, false),
        (20..40, true),
        (19..40, false),
        (12..15, false),
        (5..30, false),
        (30..41, false),
    ] {
        assert_eq!(front.is_readable(&range), readable, "{range:?}");
        assert_eq!(front.get(range.clone()).is_some(), readable, "{range:?}");
    }
    for (place, len) in [(0, 10), (9, 1), (10, 0), (15, 0), (19, 0), (20, 20), (39, 1), (40, 0), (50, 0)] {
        assert_eq!(front.readable_from(place).len(), len, "{place}");
    }
    assert_eq!(front.readable_from(20)[0], 20);
}

/// The lengths that the specification has.
#[test]
fn constants() {
    assert_eq!(FRONT_LEN, 131_144);
    assert_eq!((MAX_CHUNKS, MAX_PLAINTEXT), (274_877_906_944, 4_503_599_627_370_495));
    assert_eq!(LARGE_INPUT, 4_194_304);
    assert_eq!([chunk_offset(0), chunk_offset(1), chunk_offset(3)], [56, 16_456, 49_256]);
    for plaintext in [0, 1, 16_383, 16_384, 1_000_000, MAX_PLAINTEXT] {
        let last = plaintext / CHUNK_LEN as u64;
        let sealed = plaintext - last * CHUNK_LEN as u64 + TAG_LEN as u64;
        assert_eq!(chunk_offset(last) + sealed, payload_len(plaintext).unwrap(), "{plaintext}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 =:/\u{a0}-\u{2ff}]{1,12}"
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec((text(), text()), 0..6).prop_filter_map("names clash", |pairs| Pairs::new(pairs).ok())
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    let any_slot = prop_oneof![
        "[0-9a-f]{32}".prop_map(|id| slot(2, &id, 104)),
        (1usize..300).prop_map(|len| slot(1, "arn:aws:kms:eu-west-1:123456789012:key/mrk-1", len)),
        Just(slot(3, "", 148)),
        (4u16.., text(), 0usize..300).prop_map(|(kind, id, len)| slot(kind, &id, len)),
    ];
    prop::collection::vec(any_slot, 1..8)
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_and_encodes_to_the_same(
        context in pairs(), labels in pairs(), slots in slots(), generation: u32, shared: bool, chacha: bool,
        // Miri hashes slowly.
        large in 0usize..if cfg!(miri) { 2 } else { 5 },
    ) {
        let mut one = bank(BankLen::ALL[large], BankNumber::One);
        one.binding.context = context;
        one.binding.labels = labels;
        one.binding.sharing = if shared { Sharing::Shared } else { Sharing::Exclusive };
        one.binding.suite = if chacha { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
        one.generation = generation;
        one.slots = slots;
        let Ok(bytes) = one.encode() else { return Ok(()) };
        let decoded = Bank::decode(&bytes, one.len.get()).unwrap();
        prop_assert_eq!(decoded.encode().unwrap(), bytes.clone());
        let bound = [&bytes[..12], &bytes[80..80 + decoded.binding.bound_bytes().unwrap().len() - 12]].concat();
        prop_assert_eq!(decoded.binding.bound_bytes().unwrap(), bound);
        prop_assert_eq!(decoded, one);
    }

    /// One content has one encoding: the encoder writes the same bytes that were decoded.
    #[test]
    fn what_decodes_is_canonical(changes in prop::collection::vec((0usize..400, any::<u8>()), 1..4)) {
        let mut bytes = bank(BankLen::MIN, BankNumber::Zero).encode().unwrap();
        forge(&mut bytes, 0, BankLen::MIN, |bank| for (at, byte) in changes { bank[at] = byte });
        if let Ok(decoded) = Bank::decode(&bytes, 0) {
            prop_assert_eq!(decoded.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_front_is_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..9000), magic in prop::option::of(0usize..6)) {
        if let Some(place) = magic.map(|index| PLACES[index]).filter(|place| place + 8 <= bytes.len()) {
            bytes[place..place + 8].copy_from_slice(&MAGIC);
        }
        prop_assert!(read(&bytes).is_err());
    }
}
