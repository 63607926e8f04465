//! Rewrap and repair of arbitrary headers. A file that opened before opens after it, and no payload changes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use waxseal::error::Result;
use waxseal::format::{Front, Header, PRELUDE_LEN};
use waxseal::keys::KeyFile;
use waxseal::rewrap::{HeaderFile, InPlace, Others, Plan, Request, Selector, Unwrap, rewrap_stream};

use super::recipe::Recipe;
use super::{check_authentic, encode, open, openers};

/// A disk in memory that never fails. It has files by number, and one of them has the name.
struct Disk {
    files: Vec<Vec<u8>>,
    named: usize,
    block: u64,
}

struct MemoryFile {
    disk: Rc<RefCell<Disk>>,
    number: usize,
}

impl HeaderFile for MemoryFile {
    fn lock(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_still_named(&mut self) -> io::Result<bool> {
        Ok(self.disk.borrow().named == self.number)
    }

    fn byte_len(&mut self) -> io::Result<u64> {
        Ok(self.disk.borrow().files[self.number].len() as u64)
    }

    fn block_size(&mut self) -> io::Result<u64> {
        Ok(self.disk.borrow().block)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.borrow();
        let from = disk.files[self.number].get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (start, mut disk) = (usize::try_from(offset).unwrap(), self.disk.borrow_mut());
        let file = &mut disk.files[self.number];
        file.resize(file.len().max(start + bytes.len()), 0);
        file[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn create_beside(&mut self) -> io::Result<Self> {
        let mut disk = self.disk.borrow_mut();
        disk.files.push(Vec::new());
        Ok(Self { disk: self.disk.clone(), number: disk.files.len() - 1 })
    }

    fn copy_tail(&mut self, offset: u64, successor: &mut Self, to: u64) -> io::Result<u64> {
        let tail = self.disk.borrow().files[self.number][usize::try_from(offset).unwrap()..].to_vec();
        successor.write_at(to, &tail)?;
        Ok(tail.len() as u64)
    }

    fn keep_others_out(&mut self) -> Others {
        Others::None
    }

    fn rename_over(&mut self, successor: &mut Self) -> io::Result<()> {
        self.disk.borrow_mut().named = successor.number;
        Ok(())
    }
}

/// The operation on the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Repair,
    RepairWithKeys,
    BringTogether,
    Add,
    Replace,
    Remove,
}

/// ```text
/// deed u8 | block size u8 | recipe
/// ```
pub fn rewrap(data: &[u8]) {
    let Some((&[deed, block], recipe)) = data.split_first_chunk::<2>() else { return };
    let deeds = [Deed::Repair, Deed::RepairWithKeys, Deed::BringTogether, Deed::Add, Deed::Replace, Deed::Remove];
    let deed = deeds[usize::from(deed) % deeds.len()];
    let recipe = Recipe::parse(recipe);
    let before = recipe.file();
    let block = [512, 4096, 65_536][usize::from(block) % 3];
    let disk = Rc::new(RefCell::new(Disk { files: vec![before.clone()], named: 0, block }));
    let done = in_place(MemoryFile { disk: disk.clone(), number: 0 }, deed);
    let after = disk.borrow().files[disk.borrow().named].clone();
    if done.is_err() {
        assert!(after == before, "a failed operation has changed the file");
        return;
    }
    check(&recipe, &before, &after, deed);
    if !matches!(deed, Deed::Repair | Deed::RepairWithKeys) {
        let mut passed = Vec::new();
        let report = rewrap_stream(&mut before.as_slice(), &mut passed, |header| plan(header, deed));
        assert!(report.is_ok(), "the operation fails only if the output is a stream");
        check(&recipe, &before, &passed, deed);
    }
}

fn in_place(file: MemoryFile, deed: Deed) -> Result<()> {
    let mut session = InPlace::begin(file)?;
    if matches!(deed, Deed::Repair | Deed::RepairWithKeys) {
        let keys = openers();
        let plan = session.plan_repair(if deed == Deed::Repair { &[] } else { &keys })?;
        return session.repair(&plan).map(drop);
    }
    let plan = plan(session.header(), deed)?;
    session.apply(&plan).map(drop)
}

fn plan(header: &Header, deed: Deed) -> Result<Plan> {
    let third = KeyFile::parse(encode::key_line(&encode::file_key(3)).as_bytes())?;
    let unwrap = Unwrap { openers: openers().to_vec(), sealer: &third, target: Some(&third) };
    let mut request = Request::default();
    match deed {
        Deed::Add => request.add.push(&unwrap),
        Deed::Replace => {
            request.from = Some(Selector::Slot(0));
            request.to = Some(&unwrap);
        }
        Deed::Remove => request.remove.push(Selector::Slot(0)),
        _ => {}
    }
    request.plan(header.bank())
}

fn header_of(file: &[u8]) -> Header {
    Header::read(&Front::new(file.to_vec())).expect("a header that can be read")
}

fn check(recipe: &Recipe<'_>, before: &[u8], after: &[u8], deed: Deed) {
    let (old, new) = (header_of(before), header_of(after));
    assert!(
        old.bank().binding == new.bank().binding && old.bank().prelude == new.bank().prelude,
        "bound bytes changed"
    );
    let payload = |file: &[u8], header: &Header| file[header.bank_len().header_len()..].to_vec();
    let (mut was, is) = (payload(before, &old), payload(after, &new));
    if deed == Deed::RepairWithKeys && was != is {
        was[..PRELUDE_LEN].copy_from_slice(&old.bank().prelude.to_bytes());
    }
    assert!(was == is, "the payload changed");
    if !matches!(deed, Deed::Repair | Deed::RepairWithKeys) {
        assert!(new.warnings().is_empty(), "the banks are not alike");
    }
    let (opened, opens) = (open(before), open(after));
    check_authentic(recipe, after, &opens);
    let kept = new.bank().slots.iter().any(|slot| openers().iter().any(|key| key.matches(slot)));
    if opened.error.is_none() && kept {
        assert!(opens.error.is_none() && opens.plaintext == opened.plaintext, "the file no longer opens");
    }
}
