//! Several runs in a row, with any fault at any step. The file always opens, and its slots are those before or after one
//! of the runs. Variants of rewrap with deliberate bugs lose files here, which shows that the test can fail.

use super::fixture::{KEYS, Planned, Sealed, checked, note_run, replace};
use super::sim::{Broken, Bypass, FAULTS, Fault, Machine, Quirk, Rng};
use crate::error::{Error, Result};
use crate::format::{Front, Header, Slot};
use crate::rewrap::{InPlace, Plan, Report, SlotChange};

/// More steps than a run has, so a fault at this step never happens.
pub(super) const STEPS: usize = 20;

/// The request of a run.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Replace(usize),
    Add(usize),
    RemoveLast,
    Nothing,
    Repair,
}

fn plan_for(ask: Ask, sealed: &Sealed, slots: &[Slot]) -> Vec<SlotChange> {
    let there = |key: usize| slots.contains(&sealed.wrappings[key]);
    match ask {
        Ask::Replace(key) if !there(key) => vec![replace(slots.len() - 1, &sealed.wrappings[key])],
        Ask::Add(key) if !there(key) => vec![SlotChange::Add(checked(&sealed.wrappings[key]))],
        Ask::RemoveLast if slots.len() > 1 => vec![SlotChange::Remove { slot: slots.len() - 1 }],
        _ => Vec::new(),
    }
}

fn run(machine: &Machine, sealed: &Sealed, ask: Ask, fault: Option<(usize, Fault)>) -> (Planned, Result<Report>) {
    let mut planned = None;
    let mut go = || {
        let mut session = InPlace::begin(machine.open(fault))?;
        if let Ask::Repair = ask {
            let before = session.header().bank().slots.clone();
            planned = Some((before.clone(), before));
            let repair = session.plan_repair(&[])?;
            session = session.repair(&repair)?;
        }
        let bank = session.header().bank();
        let plan = Plan::new(bank, plan_for(ask, sealed, &bank.slots))?;
        planned = Some((bank.slots.clone(), plan.slots().to_vec()));
        session.apply(&plan)
    };
    let result = go();
    (planned, result)
}

/// Whether a reader of `bytes` gets the payload, with slots that are in `allowed`.
fn opens(bytes: &[u8], payload: &[u8], allowed: &[Vec<Slot>]) -> bool {
    let Ok(header) = Header::read(&Front::new(bytes.to_vec())) else { return false };
    let start = header.bank_len().header_len();
    allowed.contains(&header.bank().slots) && bytes.get(start..) == Some(payload)
}

/// Counts of a simulation.
#[derive(Debug, Default)]
struct Tally {
    states: usize,
    lost: usize,
    runs: usize,
    completed: usize,
}

impl Tally {
    /// Checks the file as it is, after pages were dropped, and after several kinds of power cuts.
    fn look(&mut self, machine: &Machine, payload: &[u8], allowed: &[Vec<Slot>], seed: u64) {
        let mut see = |bytes: &[u8]| {
            self.states += 1;
            self.lost += usize::from(!opens(bytes, payload, allowed));
        };
        see(&machine.cached());
        let evicted = machine.fork(seed);
        see(&evicted.cached_after_eviction());
        for more in 0..3 {
            let stopped = machine.fork(seed ^ (more + 1));
            stopped.power_cut();
            see(&stopped.cached());
        }
    }

    /// One file: a run for each fault, then one without a fault.
    fn live(&mut self, sealed: &Sealed, machine: &Machine, faults: &[(usize, Fault)], rng: &mut Rng) {
        let mut allowed = vec![sealed.bank.slots.clone()];
        let asks = |rng: &mut Rng| match rng.below(8) {
            0..=3 => Ask::Replace(2 + rng.below(6)),
            4 => Ask::Add(2 + rng.below(6)),
            5 => Ask::RemoveLast,
            6 => Ask::Nothing,
            _ => Ask::Repair,
        };
        let rounds = faults.iter().copied().map(Some).chain([None]);
        for fault in rounds {
            let ask = asks(rng);
            let (planned, result) = run(machine, sealed, ask, fault);
            self.runs += 1;
            let known = note_run(&mut allowed, planned, result.is_ok(), machine.writes());
            self.lost += usize::from(!known);
            self.completed += usize::from(result.is_ok());
            self.look(machine, sealed.payload(), &allowed, rng.next());
            let both_alike = |bytes: &[u8]| {
                Header::read(&Front::new(bytes.to_vec())).is_ok_and(|header| header.warnings().is_empty())
            };
            // After a run that reports success, no old wrapping remains, not even after the next power cut.
            if result.is_ok() {
                let stopped = machine.fork(rng.next());
                stopped.power_cut();
                self.lost += usize::from(!both_alike(&stopped.cached()));
            }
            if fault.is_none() {
                self.lost += usize::from(result.is_err());
            }
        }
    }
}

/// Every fault at every step of two runs in a row, and a third run with a random fault.
fn simulate(sealed: &Sealed, block: usize, bypass: Bypass, broken: Broken, stride: usize) -> Tally {
    let mut tally = Tally::default();
    let direct = usize::from(bypass == Bypass::Direct);
    let mut rng = Rng::new((2 * block + sealed.bank.len.get() + direct) as u64);
    let all: Vec<(usize, Fault)> = (0..STEPS).flat_map(|step| FAULTS.map(|fault| (step, fault))).collect();
    for first in &all {
        for second in all.iter().skip(rng.below(stride)).step_by(stride) {
            let third = all[rng.below(all.len())];
            let machine = Machine::new(&sealed.bytes, block, bypass, rng.next()).broken(broken);
            tally.live(sealed, &machine, &[*first, *second, third], &mut rng);
        }
    }
    tally
}

#[test]
fn no_fault_loses_a_file() {
    let mut states = 0;
    for (bank_len, stride) in [(4096, 24), (8192, 80), (16_384, 80), (65_536, 160)] {
        let sealed = Sealed::small(bank_len);
        for block in [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536] {
            for bypass in [Bypass::Direct, Bypass::DropPages] {
                let tally = simulate(&sealed, block, bypass, Broken::default(), stride);
                assert_eq!(tally.lost, 0, "bank {bank_len}, block {block}, {bypass:?}: {tally:?}");
                assert!(tally.completed * 4 > tally.runs, "{tally:?}");
                states += tally.states;
            }
        }
    }
    assert!(states > 100_000, "{states}");
}

#[test]
fn broken_variants_do_lose_files() {
    let sealed = Sealed::small(4096);
    let lost = |broken, block, bypass| simulate(&sealed, block, bypass, broken, 4).lost;
    let through_cache = Broken { reads_through_cache: true, ..Broken::default() };
    assert!(lost(through_cache, 4096, Bypass::Direct) > 20);
    let no_first_sync = Broken { no_first_sync: true, ..Broken::default() };
    assert!(lost(no_first_sync, 4096, Bypass::DropPages) > 10);
    let both = Broken { no_first_sync: true, reads_through_cache: true, ..Broken::default() };
    assert!(lost(both, 4096, Bypass::Direct) > 20);
    let blind = Broken { ignores_block_size: true, ..Broken::default() };
    assert!(lost(blind, 16_384, Bypass::Direct) > 100);
}

#[test]
fn every_step_is_reached() {
    // This shows that step 19 is after the last step, and step 17 is before it.
    let sealed = Sealed::small(4096);
    for (block, steps) in [(4096, 12), (16_384, 13)] {
        let machine = Machine::new(&sealed.bytes, block, Bypass::Direct, 1);
        let (_, result) = run(&machine, &sealed, Ask::Replace(3), None);
        result.unwrap();
        assert_eq!(machine.steps(), steps, "block {block}");
        assert!(steps < STEPS);
    }
}

#[test]
fn a_failed_sync_ends_the_run_without_a_retry() {
    let sealed = Sealed::small(4096);
    // Step 6 syncs the first bank. Only this bank has been written.
    let machine = Machine::new(&sealed.bytes, 4096, Bypass::Direct, 1);
    let (_, result) = run(&machine, &sealed, Ask::Replace(3), Some((6, Fault::Fail)));
    assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    assert_eq!((machine.writes(), machine.steps()), (1, 7));
    // The first sync of a run fails, and nothing is written.
    let machine = Machine::new(&sealed.bytes, 4096, Bypass::Direct, 1);
    let (_, result) = run(&machine, &sealed, Ask::Replace(3), Some((2, Fault::Fail)));
    assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    assert_eq!((machine.writes(), machine.steps()), (0, 3));
}

#[test]
fn a_disk_that_lies_is_found_out_before_the_second_bank() {
    let sealed = Sealed::small(4096);
    let machine = Machine::new(&sealed.bytes, 4096, Bypass::Direct, 1).quirk(Quirk::SyncsLie);
    let (_, result) = run(&machine, &sealed, Ask::Replace(3), None);
    assert!(matches!(&result, Err(Error::Io { action, .. }) if action.contains("reading back")), "{result:?}");
    assert_eq!(machine.writes(), 1);
    machine.power_cut();
    assert!(opens(&machine.cached(), sealed.payload(), std::slice::from_ref(&sealed.bank.slots)));
}

/// In place and by a new file: the file that now has the name is not overwritten, and no run reports success.
#[test]
fn a_file_that_loses_its_name_is_a_failure() {
    let sealed = Sealed::small(4096);
    for block in [4096, 16_384] {
        let machine = Machine::new(&sealed.bytes, block, Bypass::Direct, 1).quirk(Quirk::LosesItsName);
        let (_, result) = run(&machine, &sealed, Ask::Replace(3), None);
        assert!(
            matches!(&result, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ResourceBusy),
            "{result:?}"
        );
        assert_eq!(machine.strays(), 0);
        assert!(block == 4096 || machine.cached() == sealed.bytes);
    }
}

#[test]
fn a_file_that_changes_while_it_is_copied_is_left_alone() {
    let sealed = Sealed::small(4096);
    for quirk in [Quirk::CopyEndsEarly, Quirk::GrowsWhileCopied] {
        let machine = Machine::new(&sealed.bytes, 16_384, Bypass::Direct, 1).quirk(quirk);
        let (_, result) = run(&machine, &sealed, Ask::Replace(3), None);
        assert!(matches!(&result, Err(Error::Io { source, .. }) if source.to_string().contains("changed")));
        assert!(machine.cached().starts_with(&sealed.bytes) && machine.strays() == 0);
    }
}

/// Only the times show that there was a write.
#[test]
fn a_file_that_is_written_while_it_is_copied_is_left_alone() {
    let sealed = Sealed::small(4096);
    let machine = Machine::new(&sealed.bytes, 16_384, Bypass::Direct, 1).quirk(Quirk::WrittenWhileCopied);
    let mut session = InPlace::begin(machine.open(None)).unwrap();
    // A guarantee of the caller does not help, either.
    session.vouch();
    let plan = Plan::new(session.header().bank(), vec![replace(0, &sealed.wrappings[3])]).unwrap();
    let result = session.apply(&plan);
    assert!(matches!(&result, Err(Error::Io { source, .. }) if source.to_string().contains("changed")));
    assert!(machine.cached() == sealed.bytes && machine.strays() == 0);
}

/// If a block has both banks, the file is copied, so there must be evidence that it is complete.
#[test]
fn a_file_that_may_still_be_written_is_not_copied() {
    let sealed = Sealed::small(4096);
    for quirk in [Quirk::HeldOpen, Quirk::TellsNothing] {
        for block in [4096, 16_384] {
            let machine = Machine::new(&sealed.bytes, block, Bypass::Direct, 1).quirk(quirk);
            let (_, result) = run(&machine, &sealed, Ask::Replace(3), None);
            assert_eq!(result.is_ok(), block == 4096, "{quirk:?}");
            assert_eq!(machine.cached() == sealed.bytes, block != 4096);
            assert_eq!(machine.strays(), 0);
        }
        let machine = Machine::new(&sealed.bytes, 16_384, Bypass::Direct, 1).quirk(quirk);
        for vouched in [false, true] {
            let mut session = InPlace::begin(machine.open(None)).unwrap();
            if vouched {
                session.vouch()
            } else {
                session.prove_end(&[&KEYS[0]]).unwrap()
            };
            let key = if vouched { 4 } else { 3 };
            let plan = Plan::new(session.header().bank(), vec![replace(1, &sealed.wrappings[key])]).unwrap();
            assert!(session.copies(&plan).unwrap());
            session.apply(&plan).unwrap();
        }
        assert!(machine.cached().ends_with(sealed.payload()));
    }
}

/// The end of a truncated file never authenticates, whatever its length is.
#[test]
fn the_end_of_a_cut_file_proves_nothing() {
    let sealed = Sealed::small(4096);
    let prove = |cut: usize, keys: &[&dyn crate::keys::KeyOpener]| {
        let machine = Machine::new(&sealed.bytes[..sealed.bytes.len() - cut], 16_384, Bypass::Direct, 1);
        InPlace::begin(machine.open(None)).unwrap().prove_end(keys)
    };
    assert!(prove(0, &[&KEYS[0]]).is_ok());
    assert!(matches!(prove(0, &[&KEYS[7]]), Err(Error::NoKey(_))));
    for cut in [1, 100, 3616, 3632, 3633, 10_000, 20_000, 20_032, 20_033] {
        assert!(matches!(prove(cut, &[&KEYS[0]]), Err(Error::Tampered(_))), "{cut}");
    }
}

#[test]
fn what_was_cut_while_it_was_read_is_no_zeros() {
    let sealed = Sealed::small(4096);
    let machine = || Machine::new(&sealed.bytes, 4096, Bypass::Direct, 1).quirk(Quirk::CutWhileRead);
    let cut = InPlace::begin(machine().open(None));
    assert!(matches!(cut, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof));
    // The file is read in pieces around a bad sector, and the last piece ends early.
    let spoilt = machine();
    spoilt.spoil(0..512);
    let session = InPlace::begin(spoilt.open(None)).unwrap();
    let len = sealed.bytes.len();
    assert_eq!(session.front.bytes().len(), len);
    assert!(session.front.is_readable(&(4096..8192)) && !session.front.is_readable(&(len - 100..len)));
}

#[test]
fn a_failed_new_file_leaves_nothing() {
    let sealed = Sealed::small(4096);
    // Step 4 reads the front, and reads it again in pieces.
    for step in (0..13).filter(|step| *step != 4) {
        let machine = Machine::new(&sealed.bytes, 16_384, Bypass::Direct, 1);
        let (_, result) = run(&machine, &sealed, Ask::Replace(3), Some((step, Fault::Fail)));
        assert!(result.is_err(), "step {step}");
        // The last step syncs the folder. By then the new file has its name, and the old file has none.
        assert_eq!(machine.strays(), usize::from(step == 12), "step {step}");
    }
}

#[test]
fn a_second_rewrap_is_refused_while_one_runs() {
    let sealed = Sealed::small(4096);
    for block in [4096, 16_384] {
        let machine = Machine::new(&sealed.bytes, block, Bypass::Direct, 1);
        let first = InPlace::begin(machine.open(None)).unwrap();
        let late = machine.open_beside();
        let refused = InPlace::begin(machine.open_beside());
        assert!(matches!(&refused, Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ResourceBusy));
        let plan = Plan::new(first.header().bank(), vec![SlotChange::Add(checked(&sealed.wrappings[4]))]).unwrap();
        first.apply(&plan).unwrap();
        // It had opened the old file, and gets the lock now. If the file was replaced, it must not write.
        assert_eq!(InPlace::begin(late).is_ok(), block == 4096);
        let second = InPlace::begin(machine.open_beside()).unwrap();
        assert_eq!(second.header().bank().slots.len(), 3);
    }
}
