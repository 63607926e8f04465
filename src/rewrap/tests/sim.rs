//! A simulated disk under a page cache, with one folder entry: power cuts, kills, failing writes and syncs.
//!
//! Data that was not synced may be on the disk, or not, or partly (by sectors), or its whole block may be garbage or
//! unreadable. After a failed sync, the cache marks pages as clean that were never written, and returns them until it
//! drops them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use crate::rewrap::{HeaderFile, Others, Stamp};

pub(super) const SECTOR: usize = 512;

/// xorshift64*: reproducible from a seed.
#[derive(Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process is killed. The machine continues and may write its cache to the disk.
    Kill,
    /// The machine stops.
    PowerCut,
    /// The call fails. A failed sync marks its pages clean, whatever arrived.
    Fail,
    /// The process is killed, and writing the cache to the disk fails without a report.
    KillAndLose,
}

pub(super) const FAULTS: [Fault; 4] = [Fault::Kill, Fault::PowerCut, Fault::Fail, Fault::KillAndLose];

/// How a read past the cache works on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bypass {
    /// With O_DIRECT: dirty pages of the range are written first, and then the disk is read.
    Direct,
    /// Clean pages are dropped, then the cache is read.
    DropPages,
}

/// Faults that are put into a rewrap, to test the tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) no_first_sync: bool,
    pub(super) reads_through_cache: bool,
    /// Assumes blocks of one byte, and so writes in place although a block has both banks.
    pub(super) ignores_block_size: bool,
}

/// Misbehaviour of a machine that is not reported as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quirk {
    /// From the second sync on, syncs report success but lose data.
    SyncsLie,
    /// A copy ends too early.
    CopyEndsEarly,
    /// Another program appends to the file while it is copied.
    GrowsWhileCopied,
    /// Another program truncates the file after its length was read.
    CutWhileRead,
    /// Another program changes bytes of the file while it is copied, but not its length.
    WrittenWhileCopied,
    /// Another process has the file open.
    HeldOpen,
    /// The system can tell neither who has the file open, nor when it was written.
    TellsNothing,
    /// Another program gives the file's name to its own file after writing has begun, and ignores the lock.
    LosesItsName,
}

#[derive(Clone, Default)]
struct Inode {
    disk: Vec<u8>,
    cache: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Sectors of the disk that are unreadable until they are written.
    bad: BTreeSet<usize>,
    locked: bool,
}

#[derive(Clone)]
struct World {
    inodes: BTreeMap<usize, Inode>,
    /// The inode that the name refers to, in the cache and on the disk.
    named: usize,
    named_on_disk: usize,
    block: usize,
    bypass: Bypass,
    broken: Broken,
    quirk: Option<Quirk>,
    rng: Rng,
    fault: Option<(usize, Fault)>,
    step: usize,
    synced_once: bool,
    /// Whether the process of the current run was killed.
    dead: bool,
    writes: usize,
    /// The number of writes by other programs.
    changed: i64,
}

/// A machine with one file.
#[derive(Clone)]
pub(super) struct Machine(Rc<RefCell<World>>);

impl Machine {
    pub(super) fn new(bytes: &[u8], block: usize, bypass: Bypass, seed: u64) -> Self {
        let inode = Inode { disk: bytes.to_vec(), cache: bytes.to_vec(), ..Inode::default() };
        Self(Rc::new(RefCell::new(World {
            inodes: BTreeMap::from([(0, inode)]),
            named: 0,
            named_on_disk: 0,
            block,
            bypass,
            broken: Broken::default(),
            quirk: None,
            rng: Rng::new(seed),
            fault: None,
            step: 0,
            synced_once: false,
            dead: false,
            writes: 0,
            changed: 0,
        })))
    }

    pub(super) fn broken(self, broken: Broken) -> Self {
        self.0.borrow_mut().broken = broken;
        self
    }

    pub(super) fn quirk(self, quirk: Quirk) -> Self {
        self.0.borrow_mut().quirk = Some(quirk);
        self
    }

    /// A copy of the complete machine, which then changes independently.
    pub(super) fn fork(&self, seed: u64) -> Self {
        let mut world = self.0.borrow().clone();
        world.rng = Rng::new(seed);
        Self(Rc::new(RefCell::new(world)))
    }

    /// Starts a process that opens the file. `fault` happens at the given step.
    pub(super) fn open(&self, fault: Option<(usize, Fault)>) -> SimFile {
        let mut world = self.0.borrow_mut();
        world.fault = fault;
        world.step = 0;
        world.dead = false;
        world.synced_once = false;
        world.writes = 0;
        world.inodes.values_mut().for_each(|inode| inode.locked = false);
        SimFile { world: Rc::clone(&self.0), inode: world.named, temporary: false, holds_lock: false }
    }

    /// Starts a process while another one is running.
    pub(super) fn open_beside(&self) -> SimFile {
        let inode = self.0.borrow().named;
        SimFile { world: Rc::clone(&self.0), inode, temporary: false, holds_lock: false }
    }

    pub(super) fn power_cut(&self) {
        self.0.borrow_mut().power_cut();
    }

    /// The bytes that a reader gets now.
    pub(super) fn cached(&self) -> Vec<u8> {
        let world = self.0.borrow();
        world.inodes[&world.named].cache.clone()
    }

    /// The bytes that a reader gets after the system has dropped some of its clean pages.
    pub(super) fn cached_after_eviction(&self) -> Vec<u8> {
        let mut world = self.0.borrow_mut();
        let World { inodes, named, rng, block, .. } = &mut *world;
        let Some(inode) = inodes.get_mut(named) else { panic!("no file") };
        let blocks: Vec<usize> = (0..inode.cache.len().div_ceil(*block)).filter(|_| rng.below(2) == 0).collect();
        blocks.into_iter().for_each(|at| inode.evict(at, *block));
        inode.cache.clone()
    }

    /// Changes the file on the disk and in the cache, without notice to anybody.
    pub(super) fn damage(&self, change: impl Fn(&mut Vec<u8>)) {
        let mut world = self.0.borrow_mut();
        let named = world.named;
        let Some(inode) = world.inodes.get_mut(&named) else { panic!("no file") };
        change(&mut inode.disk);
        change(&mut inode.cache);
    }

    /// Makes sectors unreadable.
    pub(super) fn spoil(&self, range: std::ops::Range<usize>) {
        let mut world = self.0.borrow_mut();
        let named = world.named;
        let Some(inode) = world.inodes.get_mut(&named) else { panic!("no file") };
        inode.bad.extend(range.start / SECTOR..range.end.div_ceil(SECTOR));
    }

    /// Whether the disk has the same content as the cache.
    pub(super) fn is_settled(&self) -> bool {
        let world = self.0.borrow();
        let inode = &world.inodes[&world.named];
        inode.dirty.is_empty() && inode.disk == inode.cache && world.named == world.named_on_disk
    }

    /// The number of writes of the last run.
    pub(super) fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    /// The number of steps of the last run.
    pub(super) fn steps(&self) -> usize {
        self.0.borrow().step
    }

    /// Files whose names no reader uses.
    pub(super) fn strays(&self) -> usize {
        self.0.borrow().inodes.len() - 1
    }
}

impl Inode {
    /// The bytes of block number `at`, as far as they are in the cache.
    fn range(&self, at: usize, block: usize) -> std::ops::Range<usize> {
        at * block..((at + 1) * block).min(self.cache.len())
    }

    fn persist(&mut self, range: std::ops::Range<usize>) {
        if self.disk.len() < range.end {
            self.disk.resize(range.end, 0);
        }
        self.disk[range.clone()].copy_from_slice(&self.cache[range.clone()]);
        (range.start / SECTOR..range.end.div_ceil(SECTOR)).for_each(|sector| {
            self.bad.remove(&sector);
        });
    }

    fn flush(&mut self, at: usize, block: usize) {
        self.dirty.remove(&at);
        self.persist(self.range(at, block));
    }

    /// Drops a clean page, so that the disk's content is used again.
    fn evict(&mut self, at: usize, block: usize) {
        let range = self.range(at, block);
        if self.dirty.contains(&at) || self.disk.len() < range.end {
            return;
        }
        self.cache[range.clone()].copy_from_slice(&self.disk[range]);
    }

    /// Writes a dirty block to the disk after the process no longer waits for it.
    fn arrive_or_not(&mut self, at: usize, block: usize, rng: &mut Rng) {
        self.dirty.remove(&at);
        let range = self.range(at, block);
        match rng.below(8) {
            0 | 1 => {}
            2 | 3 => self.persist(range),
            4..=6 => {
                for start in range.clone().step_by(SECTOR).filter(|_| rng.below(2) == 0).collect::<Vec<_>>() {
                    self.persist(start..range.end.min(start + SECTOR));
                }
            }
            // The power was cut while the block was written, so its old content is lost.
            _ => {
                self.persist(range.clone());
                self.disk[range.clone()].fill(0x6b);
                if rng.below(2) == 0 {
                    self.bad.extend(range.start / SECTOR..range.end.div_ceil(SECTOR));
                }
            }
        }
    }
}

impl World {
    fn power_cut(&mut self) {
        self.dead = true;
        self.named = if self.rng.below(2) == 0 { self.named } else { self.named_on_disk };
        self.named_on_disk = self.named;
        let (block, rng) = (self.block, &mut self.rng);
        for inode in self.inodes.values_mut() {
            for at in inode.dirty.clone() {
                inode.arrive_or_not(at, block, rng);
            }
            inode.cache.clone_from(&inode.disk);
            inode.locked = false;
        }
    }

    /// The machine continues: pages are written, stay dirty, or get lost.
    fn kill(&mut self, lose: bool) {
        self.dead = true;
        let (block, rng) = (self.block, &mut self.rng);
        for inode in self.inodes.values_mut() {
            for at in inode.dirty.clone() {
                match rng.below(3) {
                    0 => inode.flush(at, block),
                    1 if lose => inode.arrive_or_not(at, block, rng),
                    _ => {}
                }
            }
        }
    }

    /// Counts a step. Returns the fault that happens there, if any.
    fn enter(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("the process is gone"));
        }
        let step = self.step;
        self.step += 1;
        Ok(self.fault.filter(|(at, _)| *at == step).map(|(_, fault)| fault))
    }

    /// A step that does not change the disk.
    fn plain_step(&mut self) -> io::Result<()> {
        match self.enter()? {
            None => Ok(()),
            Some(fault) => Err(self.strike(fault)),
        }
    }

    fn strike(&mut self, fault: Fault) -> io::Error {
        match fault {
            Fault::Kill => self.kill(false),
            Fault::KillAndLose => self.kill(true),
            Fault::PowerCut => self.power_cut(),
            Fault::Fail => {}
        }
        io::Error::other(format!("{fault:?}"))
    }

    fn inode(&mut self, inode: usize) -> &mut Inode {
        let Some(inode) = self.inodes.get_mut(&inode) else { panic!("an inode that was never made") };
        inode
    }
}

/// A process's open file on the simulated machine.
#[derive(Debug)]
pub(super) struct SimFile {
    world: Rc<RefCell<World>>,
    inode: usize,
    temporary: bool,
    holds_lock: bool,
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "World at step {}", self.step)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        if world.dead {
            return;
        }
        if self.holds_lock {
            world.inode(self.inode).locked = false;
        }
        if self.temporary {
            world.inodes.remove(&self.inode);
        }
    }
}

impl HeaderFile for SimFile {
    fn lock(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.plain_step()?;
        if std::mem::replace(&mut world.inode(self.inode).locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.holds_lock = true;
        Ok(())
    }

    fn is_still_named(&mut self) -> io::Result<bool> {
        let mut world = self.world.borrow_mut();
        world.plain_step()?;
        let lost = world.quirk == Some(Quirk::LosesItsName) && world.writes > 0;
        Ok(world.named == self.inode && !lost)
    }

    fn byte_len(&mut self) -> io::Result<u64> {
        let mut world = self.world.borrow_mut();
        let cut = world.quirk == Some(Quirk::CutWhileRead);
        let inode = world.inode(self.inode);
        let len = inode.cache.len();
        if cut {
            inode.cache.truncate(len - 100);
            inode.disk.truncate(len - 100);
        }
        Ok(len as u64)
    }

    fn block_size(&mut self) -> io::Result<u64> {
        let world = self.world.borrow();
        Ok(if world.broken.ignores_block_size { 1 } else { world.block as u64 })
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let first = !std::mem::replace(&mut world.synced_once, true);
        if first && world.broken.no_first_sync {
            return Ok(());
        }
        let fault = world.enter()?;
        let World { inodes, rng, block, quirk, .. } = &mut *world;
        let Some(inode) = inodes.get_mut(&self.inode) else { panic!("no such inode") };
        match fault {
            None if !first && *quirk == Some(Quirk::SyncsLie) => {
                inode.dirty.clear();
                Ok(())
            }
            None => {
                inode.dirty.clone().into_iter().for_each(|at| inode.flush(at, *block));
                Ok(())
            }
            Some(Fault::Fail) => {
                inode.dirty.clone().into_iter().for_each(|at| inode.arrive_or_not(at, *block, rng));
                Err(io::Error::other("sync failed"))
            }
            Some(fault) => Err(world.strike(fault)),
        }
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.plain_step()?;
        world.named_on_disk = world.named;
        Ok(())
    }

    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.plain_step()?;
        let (block, bypass, through_cache) = (world.block, world.bypass, world.broken.reads_through_cache);
        let inode = world.inode(self.inode);
        let start = usize::try_from(offset).unwrap().min(inode.cache.len());
        let range = start..(start + buffer.len()).min(inode.cache.len());
        let blocks = range.start / block..range.end.div_ceil(block);
        if !through_cache {
            blocks.clone().for_each(|at| inode.evict(at, block));
            if bypass == Bypass::Direct {
                inode.dirty.clone().range(blocks).for_each(|at| inode.flush(*at, block));
            }
            let clean = |sector: &usize| !inode.dirty.contains(&(sector * SECTOR / block));
            if (range.start / SECTOR..range.end.div_ceil(SECTOR)).any(|at| inode.bad.contains(&at) && clean(&at)) {
                return Err(io::Error::other("unreadable sector"));
            }
        }
        let source = if through_cache || bypass == Bypass::DropPages { &inode.cache } else { &inode.disk };
        buffer[..range.len()].copy_from_slice(&source[range.clone()]);
        Ok(range.len())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let fault = world.enter()?;
        world.writes += 1;
        let cut = match fault {
            None | Some(Fault::PowerCut) => bytes.len(),
            Some(_) => world.rng.below(bytes.len() + 1),
        };
        let block = world.block;
        let inode = world.inode(self.inode);
        let start = usize::try_from(offset).unwrap();
        let end = start + cut;
        if inode.cache.len() < end {
            inode.cache.resize(end, 0);
        }
        inode.cache[start..end].copy_from_slice(&bytes[..cut]);
        inode.dirty.extend(start / block..end.div_ceil(block));
        match fault {
            None => Ok(()),
            Some(fault) => Err(world.strike(fault)),
        }
    }

    fn create_beside(&mut self) -> io::Result<Self> {
        let mut world = self.world.borrow_mut();
        world.plain_step()?;
        let inode = world.inodes.keys().max().unwrap() + 1;
        world.inodes.insert(inode, Inode { locked: true, ..Inode::default() });
        Ok(Self { world: Rc::clone(&self.world), inode, temporary: true, holds_lock: true })
    }

    fn copy_tail(&mut self, offset: u64, successor: &mut Self, to: u64) -> io::Result<u64> {
        let quirk = self.world.borrow().quirk;
        let mut tail = self.world.borrow_mut().inode(self.inode).cache[usize::try_from(offset).unwrap()..].to_vec();
        match quirk {
            Some(Quirk::CopyEndsEarly) => drop(tail.pop()),
            Some(Quirk::WrittenWhileCopied) => self.world.borrow_mut().changed += 1,
            Some(Quirk::GrowsWhileCopied) => self.world.borrow_mut().inode(self.inode).cache.push(0),
            _ => {}
        }
        successor.write_at(to, &tail)?;
        Ok(tail.len() as u64)
    }

    fn stamp(&mut self) -> io::Result<Stamp> {
        let mut world = self.world.borrow_mut();
        let len = world.inode(self.inode).cache.len() as u64;
        Ok(Stamp { len, modified: None, changed: Some((world.changed, 0)) })
    }

    fn keep_others_out(&mut self) -> Others {
        match self.world.borrow().quirk {
            Some(Quirk::HeldOpen) => Others::Some,
            Some(Quirk::TellsNothing) => Others::Unknown,
            _ => Others::None,
        }
    }

    fn rename_over(&mut self, successor: &mut Self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let fault = world.enter()?;
        if fault != Some(Fault::Fail) {
            world.named = successor.inode;
            successor.temporary = false;
        }
        match fault {
            None => Ok(()),
            Some(fault) => Err(world.strike(fault)),
        }
    }
}
