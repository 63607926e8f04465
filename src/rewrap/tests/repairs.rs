//! Repair: what it restores, and what it must not change.

use super::fixture::{KEYS, Sealed, header_of, plan, prelude_range, private_slot, replace};
use super::sim::{Bypass, Machine};
use crate::error::{Error, Tampered};
use crate::format::{BankNumber, Front, Header, MAGIC, SEALED_CHUNK_LEN, Slot};
use crate::keys::KeyOpener;
use crate::rewrap::write::both_banks;
use crate::rewrap::{InPlace, Outcome, Part, Place, Plan, RepairPlan, Replacement};

const BANK: usize = 4096;

fn machine(bytes: &[u8], block: usize) -> Machine {
    Machine::new(bytes, block, Bypass::Direct, 1)
}

fn no_keys() -> [&'static dyn KeyOpener; 0] {
    []
}

/// The bytes that repair writes into a file of `bytes`. If it fails, the file must be unchanged.
fn repaired(bytes: &[u8], block: usize, openers: &[&dyn KeyOpener]) -> Result<(Vec<u8>, Vec<Part>), Error> {
    let machine = machine(bytes, block);
    let go = || {
        let mut session = InPlace::begin(machine.open(None))?;
        let plan = session.plan_repair(openers)?;
        let session = session.repair(&plan)?;
        assert!(session.header().warnings().is_empty());
        Ok(plan.replaced.into_iter().map(|part| part.part).collect())
    };
    match go() {
        Ok(parts) => {
            machine.power_cut();
            Ok((machine.cached(), parts))
        }
        Err(error) => {
            assert!(machine.cached() == bytes && machine.writes() == 0);
            Err(error)
        }
    }
}

fn is_prelude_error<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Tampered(Tampered::Prelude)))
}

/// If the magic is in a slot, where a hidden bank could be, an undamaged file is malformed. Damage there made it
/// readable.
#[test]
fn damage_that_keeps_a_file_readable_is_left_alone() {
    let sealed = Sealed::small(2 * BANK);
    let holding = |at: usize| {
        let mut bank = sealed.bank.clone();
        bank.slots.push(Slot { wrapped: [vec![0; at], MAGIC.to_vec()].concat(), ..private_slot(0) });
        [both_banks(&bank).unwrap(), sealed.payload().to_vec()].concat()
    };
    let first = holding(0).windows(8).rposition(|bytes| bytes == MAGIC).unwrap() - 2 * BANK;
    let whole = holding(BANK - first);
    assert!(whole[BANK..].starts_with(&MAGIC) && Header::read(&Front::new(whole.clone())).is_err());
    let mut damaged = whole;
    damaged[BANK] ^= 1;
    assert!(!header_of(&damaged).warnings().is_empty());
    for block in [512, 4096, 65_536] {
        for openers in [&no_keys()[..], &[&KEYS[0]]] {
            assert!(matches!(repaired(&damaged, block, openers), Err(Error::Format(_))), "block {block}");
        }
    }
}

#[test]
fn a_damaged_bank_comes_back_without_a_key() {
    let sealed = Sealed::small(BANK);
    for (at, number) in [(100, BankNumber::Zero), (0, BankNumber::Zero), (BANK + 5, BankNumber::One)] {
        for block in [1024, 4096, 65_536] {
            let mut damaged = sealed.bytes.clone();
            damaged[at] ^= 0x10;
            let (mended, parts) = repaired(&damaged, block, &no_keys()).unwrap();
            assert!(mended == sealed.bytes, "byte {at}, block {block}");
            assert_eq!(parts, [Part::Bank(number)]);
        }
    }
    assert_eq!(repaired(&sealed.bytes, 4096, &no_keys()).unwrap().1, []);
}

#[test]
fn the_prelude_comes_back_with_a_key() {
    let sealed = Sealed::small(BANK);
    for block in [4096, 16_384] {
        for also_a_bank in [None, Some(17), Some(BANK + 17)] {
            let mut damaged = sealed.bytes.clone();
            damaged[prelude_range(&sealed.bank)].fill(0);
            also_a_bank.into_iter().for_each(|at: usize| damaged[at] ^= 1);
            assert!(is_prelude_error(repaired(&damaged, block, &no_keys())));
            assert!(matches!(repaired(&damaged, block, &[&KEYS[7]]), Err(Error::NoKey(_))));
            let (mended, parts) = repaired(&damaged, block, &[&KEYS[7], &KEYS[1]]).unwrap();
            assert!(mended == sealed.bytes, "block {block}, {also_a_bank:?}");
            assert!(matches!(parts.last(), Some(Part::Prelude { chunk: 0, .. })));
        }
    }
}

#[test]
fn the_last_chunk_speaks_where_the_first_is_gone() {
    let sealed = Sealed::small(BANK);
    let payload = 2 * BANK + 56;
    let mut damaged = sealed.bytes.clone();
    damaged[2 * BANK..payload + 100].fill(0xee);
    let (mended, parts) = repaired(&damaged, 4096, &[&KEYS[0]]).unwrap();
    assert!(matches!(parts.as_slice(), [Part::Prelude { chunk: 1, .. }]));
    assert!(mended[..payload] == sealed.bytes[..payload] && mended[payload..] == damaged[payload..]);
    // With the last chunk changed too, nothing proves that header and payload belong together.
    *damaged.last_mut().unwrap() ^= 1;
    assert!(is_prelude_error(repaired(&damaged, 4096, &[&KEYS[0]])));
    // In a truncated file, the last complete chunk can be the proof.
    let long = Sealed::new(BANK, 50_000, 1, 1);
    let mut cut = long.bytes[..payload + 2 * SEALED_CHUNK_LEN + 9].to_vec();
    cut[2 * BANK..payload + 1].fill(0);
    let (_, parts) = repaired(&cut, 4096, &[&KEYS[0]]).unwrap();
    assert!(matches!(parts.as_slice(), [Part::Prelude { chunk: 1, .. }]));
}

#[test]
fn the_shortest_files() {
    for len in [0, 1, 16_383, 16_384] {
        let sealed = Sealed::new(BANK, len, 1, 1);
        let mut damaged = sealed.bytes.clone();
        damaged[2 * BANK] ^= 1;
        damaged[9] ^= 1;
        assert!(repaired(&damaged, 4096, &[&KEYS[0]]).unwrap().0 == sealed.bytes, "{len}");
    }
    let sealed = Sealed::new(BANK, 0, 1, 1);
    let cut = &sealed.bytes[..sealed.bytes.len() - 1];
    assert!(matches!(repaired(cut, 4096, &[&KEYS[0]]), Err(Error::Tampered(Tampered::Truncated { offset: 0 }))));
}

#[test]
fn a_header_over_another_file_of_the_same_data_key_is_left_alone() {
    // Same data key and binding, but another salt. So the header does not belong to this payload.
    let (ours, other) = (Sealed::small(BANK), Sealed::new(BANK, 20_000, 2, 2));
    assert!(ours.bank.binding == other.bank.binding && ours.bank.prelude != other.bank.prelude);
    let mut copied = ours.bytes.clone();
    copied[..2 * BANK].copy_from_slice(&other.bytes[..2 * BANK]);
    for damage in [None, Some(3000), Some(BANK + 3000)] {
        let mut copied = copied.clone();
        damage.into_iter().for_each(|at: usize| copied[at] ^= 1);
        for openers in [&[][..], &[&KEYS[0] as &dyn KeyOpener, &KEYS[1]]] {
            assert!(is_prelude_error(repaired(&copied, 4096, openers)), "{damage:?}");
        }
        // A rewrap does not change it, either: its second bank could be another file's payload.
        let machine = machine(&copied, 4096);
        let session = InPlace::begin(machine.open(None)).unwrap();
        let plan = plan(session.header().bank(), replace(0, &other.wrappings[5]));
        assert!(is_prelude_error(session.apply(&plan)));
        assert_eq!(machine.writes(), 0);
    }
    // One bank over the first bank of another file: the two banks do not match.
    let mut half = ours.bytes.clone();
    half[..BANK].copy_from_slice(&other.bytes[..BANK]);
    assert!(matches!(repaired(&half, 4096, &[&KEYS[0]]), Err(Error::Format(_))));
}

#[test]
fn a_larger_header_over_a_smaller_file_writes_nothing_into_its_payload() {
    let (small, large) = (Sealed::new(BANK, 200_000, 1, 1), Sealed::new(65_536, 200_000, 2, 1));
    let mut copied = small.bytes.clone();
    copied[..65_536].copy_from_slice(&large.bytes[..65_536]);
    // Bank 1 would overwrite chunks of the payload.
    assert!(is_prelude_error(repaired(&copied, 4096, &no_keys())));
    assert!(is_prelude_error(repaired(&copied, 4096, &[&KEYS[0]])));
}

#[test]
fn unreadable_sectors_count_as_damage() {
    let sealed = Sealed::small(BANK);
    for range in [0..512, 3584..4096, BANK..BANK + 512, BANK..2 * BANK] {
        let machine = machine(&sealed.bytes, 512);
        machine.spoil(range.clone());
        let mut session = InPlace::begin(machine.open(None)).unwrap();
        assert_eq!(session.header().warnings().len(), 1);
        let plan = session.plan_repair(&no_keys()).unwrap();
        let [replaced] = plan.replaced.as_slice() else { panic!("{plan:?}") };
        assert_eq!((&replaced.before, replaced.after.len()), (&None, BANK));
        let session = session.repair(&plan).unwrap();
        assert!(session.header().warnings().is_empty(), "{range:?}");
    }
    let machine = machine(&sealed.bytes, 512);
    machine.spoil(0..sealed.bytes.len());
    assert!(matches!(InPlace::begin(machine.open(None)), Err(Error::Io { .. })));
}

/// If no chunk can be read, that does not show which file the header belongs to.
#[test]
fn what_cannot_be_read_is_no_proof_of_anything() {
    let sealed = Sealed::small(BANK);
    let mut damaged = sealed.bytes.clone();
    damaged[2 * BANK + 10] ^= 1;
    let machine = machine(&damaged, 512);
    machine.spoil(2 * BANK + 512..damaged.len());
    let mut session = InPlace::begin(machine.open(None)).unwrap();
    assert!(matches!(session.plan_repair(&[&KEYS[0]]), Err(Error::Io { .. })));
    assert_eq!(machine.writes(), 0);
}

#[test]
fn rewrap_mends_what_an_interrupted_run_left() {
    let sealed = Sealed::small(BANK);
    for (at, block, place) in [(50, 4096, Place::InPlace), (BANK + 50, 65_536, Place::NewFile)] {
        let mut damaged = sealed.bytes.clone();
        damaged[at] ^= 1;
        let machine = machine(&damaged, block);
        let session = InPlace::begin(machine.open(None)).unwrap();
        let unchanged = Plan::unchanged(session.header().bank()).unwrap();
        let report = session.apply(&unchanged).unwrap();
        assert_eq!(report.outcome, Outcome::BroughtTogether(place));
        assert_eq!(report.payload_len, sealed.payload().len() as u64);
        assert!(machine.cached() == sealed.bytes && machine.writes() >= 1);
        // After that, nothing is left to repair.
        let session = InPlace::begin(machine.open(None)).unwrap();
        assert_eq!(session.apply(&unchanged).unwrap().outcome, Outcome::Unchanged);
        assert_eq!(machine.writes(), 0);
    }
}

#[test]
fn a_plan_for_another_file_is_refused() {
    let (one, two) = (Sealed::small(BANK), Sealed::new(BANK, 20_000, 2, 2));
    let mut damaged = one.bytes.clone();
    damaged[70] ^= 1;
    let repair = InPlace::begin(machine(&damaged, 4096).open(None)).unwrap().plan_repair(&no_keys()).unwrap();
    let mut other = two.bytes.clone();
    other[70] ^= 1;
    for bytes in [&one.bytes, &other] {
        let machine = machine(bytes, 4096);
        let session = InPlace::begin(machine.open(None)).unwrap();
        assert!(matches!(session.repair(&repair), Err(Error::ApiMisuse(_))));
        assert_eq!(machine.writes(), 0);
    }
    let session = InPlace::begin(machine(&two.bytes, 4096).open(None)).unwrap();
    let plan = plan(&one.bank, replace(0, &one.wrappings[5]));
    assert!(matches!(session.apply(&plan), Err(Error::ApiMisuse(_))));
}

/// A caller that shows a plan to the user may later pass a changed plan.
#[test]
fn a_plan_that_was_altered_is_refused() {
    let sealed = Sealed::small(BANK);
    let mut damaged = sealed.bytes.clone();
    damaged[70] ^= 1;
    damaged[2 * BANK] ^= 1;
    let mut session = InPlace::begin(machine(&damaged, 4096).open(None)).unwrap();
    let [bank, prelude] = session.plan_repair(&[&KEYS[0]]).unwrap().replaced.try_into().unwrap();
    let whole = sealed.bytes[BANK..2 * BANK].to_vec();
    let altered = [
        Replacement { offset: 512, ..bank.clone() },
        Replacement { after: [&bank.after[..4000], &[1; 96]].concat(), ..bank.clone() },
        Replacement { part: Part::Bank(BankNumber::One), ..bank.clone() },
        // The bank that is used must not be written, not even with its own bytes.
        Replacement { part: Part::Bank(BankNumber::One), offset: BANK as u64, after: whole, ..bank.clone() },
        Replacement { offset: prelude.offset + 1, ..prelude.clone() },
        Replacement { after: vec![0; 56], ..prelude.clone() },
    ];
    let refused = |replaced: Vec<Replacement>| {
        let machine = machine(&damaged, 4096);
        let session = InPlace::begin(machine.open(None)).unwrap();
        let refused = matches!(session.repair(&RepairPlan { replaced }), Err(Error::ApiMisuse(_)));
        assert!(!refused || machine.writes() == 0);
        refused
    };
    for mut part in altered {
        let start = usize::try_from(part.offset).unwrap();
        part.before = Some(damaged[start..start + part.after.len()].to_vec());
        assert!(refused(vec![part.clone()]), "{:?} at {}", part.part, part.offset);
    }
    assert!(refused(vec![Replacement { before: None, ..bank.clone() }]));
    assert!(!refused(vec![bank, prelude]));
}

#[test]
fn the_generation_wraps_around() {
    let sealed = Sealed::small(BANK);
    let bank = crate::format::Bank { generation: u32::MAX, ..sealed.bank.clone() };
    let mut bytes = crate::rewrap::write::both_banks(&bank).unwrap();
    bytes.extend_from_slice(sealed.payload());
    let machine = machine(&bytes, 4096);
    let session = InPlace::begin(machine.open(None)).unwrap();
    let plan = plan(session.header().bank(), replace(1, &sealed.wrappings[4]));
    session.apply(&plan).unwrap();
    let header = header_of(&machine.cached());
    assert_eq!((header.bank().generation, &header.bank().slots[1]), (0, &sealed.wrappings[4]));
}
