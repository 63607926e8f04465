//! A state machine: any sequence of rewraps, repairs, damage, faults and power cuts.

use proptest::prelude::*;

use super::fixture::{KEYS, Planned, Sealed, checked, header_of, note_run, prelude_range, replace};
use super::sim::{Bypass, FAULTS, Fault, Machine};
use super::simulation::STEPS;
use crate::envelope::unlock;
use crate::error::{Error, Result, Tampered};
use crate::format::{Front, Header, PRELUDE_LEN, Slot};
use crate::keys::KeyOpener;
use crate::rewrap::{InPlace, Plan, SlotChange};

#[derive(Debug, Clone)]
enum Op {
    Replace {
        slot: usize,
        key: usize,
    },
    Add {
        key: usize,
    },
    Remove {
        slot: usize,
    },
    Nothing,
    Repair {
        with_key: bool,
    },
    /// Bank 0 or 1, at an offset that is reduced to the bank's length.
    DamageBank {
        bank: usize,
        at: usize,
    },
    DamagePrelude {
        at: usize,
    },
    PowerCut,
    Evict,
}

/// An operation, and the fault that happens during it.
type Step = (Op, Option<(usize, Fault)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        4 => (0usize..4, 0usize..8).prop_map(|(slot, key)| Op::Replace { slot, key }),
        2 => (0usize..8).prop_map(|key| Op::Add { key }),
        2 => (0usize..4).prop_map(|slot| Op::Remove { slot }),
        1 => Just(Op::Nothing),
        2 => any::<bool>().prop_map(|with_key| Op::Repair { with_key }),
        2 => (0usize..2, any::<usize>()).prop_map(|(bank, at)| Op::DamageBank { bank, at }),
        1 => (0..PRELUDE_LEN).prop_map(|at| Op::DamagePrelude { at }),
        1 => Just(Op::PowerCut),
        1 => Just(Op::Evict),
    ];
    let fault = prop::option::weighted(0.4, (0usize..16, prop::sample::select(FAULTS.to_vec())));
    prop::collection::vec((op, fault), 1..24)
}

/// What is known about the file from outside.
struct Model {
    sealed: Sealed,
    machine: Machine,
    /// The slots are one of these.
    allowed: Vec<Vec<Slot>>,
}

impl Model {
    fn new(block: usize, bypass: Bypass, seed: u64) -> Self {
        let sealed = Sealed::small(4096);
        let machine = Machine::new(&sealed.bytes, block, bypass, seed);
        let allowed = vec![sealed.bank.slots.clone()];
        Self { sealed, machine, allowed }
    }

    fn live(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, (op, fault): &Step) -> Result<(), TestCaseError> {
        match op {
            Op::PowerCut => self.machine.power_cut(),
            Op::Evict => drop(self.machine.cached_after_eviction()),
            Op::DamageBank { bank, at } => self.damage_bank(*bank, *at),
            Op::DamagePrelude { at } if self.settled() => {
                let at = prelude_range(&self.sealed.bank).start + at;
                self.machine.damage(|bytes| bytes[at] ^= 0x40);
            }
            Op::DamagePrelude { .. } => {}
            _ => self.run(op, *fault)?,
        }
        self.check()?;
        if self.settled() {
            // Both banks have the same slots, and nothing of another run is left.
            self.allowed = vec![header_of(&self.machine.cached()).bank().slots.clone()];
        }
        Ok(())
    }

    fn prelude_is_damaged(&self) -> bool {
        self.machine.cached()[prelude_range(&self.sealed.bank)] != self.sealed.bank.prelude.to_bytes()
    }

    /// Whether both banks are undamaged, on the disk too. Damage in two places at once is not covered by the guarantee.
    fn settled(&self) -> bool {
        let header = Header::read(&Front::new(self.machine.cached()));
        self.machine.is_settled() && header.is_ok_and(|header| header.warnings().is_empty())
    }

    fn damage_bank(&mut self, bank: usize, at: usize) {
        if self.settled() {
            let len = self.sealed.bank.len.get();
            self.machine.damage(|bytes| bytes[bank * len + at % len] ^= 0x40);
        }
    }

    fn run(&mut self, op: &Op, fault: Option<(usize, Fault)>) -> Result<(), TestCaseError> {
        let mut planned = None;
        let was_damaged = self.prelude_is_damaged();
        let result = self.rewrap(op, fault, &mut planned);
        let writes = self.machine.writes();
        let known = note_run(&mut self.allowed, planned, result.is_ok(), writes);
        prop_assert!(known, "planned from slots that no run left");
        match result {
            Ok(()) => {
                let bytes = self.machine.cached();
                prop_assert!(header_of(&bytes).warnings().is_empty());
                prop_assert!(!self.prelude_is_damaged());
            }
            Err(Error::Tampered(Tampered::Prelude)) => {
                // A fault may happen while the front is read in pieces around bad sectors.
                let excused = was_damaged || fault.is_some();
                prop_assert!(excused && writes == 0, "a whole file was refused, or one was written");
            }
            Err(Error::Io { .. }) => prop_assert!(fault.is_some(), "an I/O error that nobody caused"),
            Err(Error::Invalid(_)) => prop_assert_eq!(writes, 0),
            Err(other) => prop_assert!(false, "{}", other),
        }
        Ok(())
    }

    fn rewrap(&self, op: &Op, fault: Option<(usize, Fault)>, planned: &mut Planned) -> Result<()> {
        let mut session = InPlace::begin(self.machine.open(fault))?;
        let bank = session.header().bank().clone();
        if let Op::Repair { with_key } = op {
            let keys: Vec<&dyn KeyOpener> =
                if *with_key { KEYS.iter().map(|key| key as &dyn KeyOpener).collect() } else { Vec::new() };
            let repair = session.plan_repair(&keys)?;
            *planned = Some((bank.slots.clone(), bank.slots.clone()));
            session = session.repair(&repair)?;
        }
        let plan = Plan::new(&bank, self.changes(op, bank.slots.len()))?;
        *planned = Some((bank.slots, plan.slots().to_vec()));
        session.apply(&plan).map(drop)
    }

    fn changes(&self, op: &Op, count: usize) -> Vec<SlotChange> {
        match op {
            Op::Replace { slot, key } => vec![replace(slot % count, &self.sealed.wrappings[*key])],
            Op::Add { key } => vec![SlotChange::Add(checked(&self.sealed.wrappings[*key]))],
            Op::Remove { slot } => vec![SlotChange::Remove { slot: slot % count }],
            _ => Vec::new(),
        }
    }

    /// The file opens with a key of its slots, now and after a power cut.
    fn check(&self) -> Result<(), TestCaseError> {
        let stopped = self.machine.fork(7);
        stopped.power_cut();
        let start = self.sealed.bank.len.header_len() + PRELUDE_LEN;
        for bytes in [self.machine.cached(), stopped.cached()] {
            let header = Header::read(&Front::new(bytes.clone()));
            prop_assert!(header.is_ok(), "lost: {:?}", header);
            let header = header.unwrap();
            prop_assert!(self.allowed.contains(&header.bank().slots), "slots that no run made");
            prop_assert!(bytes[start..] == self.sealed.bytes[start..], "the payload changed");
            let openers: Vec<&dyn KeyOpener> = KEYS.iter().map(|key| key as &dyn KeyOpener).collect();
            prop_assert!(unlock(header.bank(), &self.sealed.bank.prelude.to_bytes(), &openers).is_ok());
        }
        Ok(())
    }
}

fn live_through(steps: &[Step], block: usize, bypass: Bypass, seed: u64) -> Result<(), TestCaseError> {
    Model::new(block, bypass, seed).live(steps)
}

/// The file is then refused until the next repair.
#[test]
fn a_power_cut_takes_back_a_repair_that_was_not_synced() {
    let damage = (Op::DamagePrelude { at: 0 }, None);
    let repair = Op::Repair { with_key: true };
    let replace = (Op::Replace { slot: 0, key: 2 }, None);
    for (at, seed) in (0..STEPS).flat_map(|at| (0..8).map(move |seed| (at, seed))) {
        let killed = (repair.clone(), Some((at, Fault::Kill)));
        let steps = [damage.clone(), killed, (Op::PowerCut, None), replace.clone(), (repair.clone(), None)];
        live_through(&steps, 1024, Bypass::Direct, seed).unwrap();
    }
}

/// A power cut tears the bank of the first run, and the second run fails in the same bank. Where both banks have the same
/// bytes, the second run then completes the bank of the first one. So this is in spec 15.2, and the model allows it.
#[test]
fn a_failed_run_can_complete_the_bank_of_an_earlier_one() {
    let first = (Op::Replace { slot: 0, key: 2 }, Some((5, Fault::PowerCut)));
    let mut seen = [0; 3];
    for (at, seed) in [5, 12].into_iter().flat_map(|at| (0..500).map(move |seed| (at, seed))) {
        let mut model = Model::new(1024, Bypass::Direct, seed);
        let old = model.allowed[0].clone();
        let second = (Op::Replace { slot: 0, key: 3 }, Some((at, Fault::Fail)));
        model.live(&[first.clone(), second, (Op::PowerCut, None)]).unwrap();
        let slots = header_of(&model.machine.cached()).bank().slots.clone();
        let has = |key: usize| slots.contains(&model.sealed.wrappings[key]);
        let run = if slots == old {
            0
        } else if has(2) {
            1
        } else {
            2
        };
        seen[run] += 1;
        // The next run that succeeds leaves nothing of them.
        model.live(&[(Op::Replace { slot: 0, key: 4 }, None), (Op::PowerCut, None)]).unwrap();
        assert_eq!(model.allowed.len(), 1, "seed {seed}");
    }
    // The old slots, those of the first run, and those of the second.
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(400)))]
    #[test]
    fn any_history_leaves_a_file_that_opens(
        steps in steps(), block in prop::sample::select(vec![1024usize, 4096, 16_384, 65_536]),
        drops in any::<bool>(), seed in any::<u64>(),
    ) {
        live_through(&steps, block, if drops { Bypass::DropPages } else { Bypass::Direct }, seed)?;
    }
}
