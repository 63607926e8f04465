//! Mapped inputs: the same bytes as from inputs that are read, and what a guard says is heeded.
#![allow(unsafe_code, reason = "each test answers for its own file")]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::{InputChanged, PageLost};
use crate::io::{MapGuard, Vouched};
use crate::skipped::skipped;

fn mapped<'a>(file: &'a File, guard: &'a dyn MapGuard) -> Source<'a> {
    // SAFETY: nobody but the test has the file, and it cuts off no page that is read.
    Source::Mapped(unsafe { MappedFile::new(file, guard) }.unwrap())
}

fn seal(engine: &Engine, source: Source<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    engine.seal(source, Sink::Stream(&mut out), envelope, &Unobserved).map(|_| out)
}

#[test]
fn the_serial_writers_bytes() {
    let engine = engine();
    let windows = [6 << 20, 8 << 20, 10 << 20, 17 << 20].map(|edge: usize| [edge - 1, edge, edge + 1]);
    let sizes = round_trip::edges().into_iter().filter(|size| *size > 0).chain(windows.into_iter().flatten());
    for size in sizes {
        let plaintext = text(size);
        let (file, whole) = (file_of(&plaintext), serial_seal(&plaintext));
        assert!(seal(&engine, mapped(&file, &Vouched)).unwrap() == whole, "{size}");
        let out = tempfile::tempfile().unwrap();
        let sink = Sink::File(&out, Durability::Unsynced);
        let seen = Counting::default();
        let sealed = engine.seal(mapped(&file, &Vouched), sink, envelope, &seen).unwrap();
        assert_eq!((sealed.plaintext_len, sealed.file_len), (size as u64, whole.len() as u64));
        assert_eq!(seen.0.lock().unwrap().1, size as u64);
        assert!(content(&out) == whole, "{size}");
    }
}

#[test]
fn a_mapped_source_opens_like_a_file() {
    let plaintext = text(3_000_000);
    let file = file_of(&serial_seal(&plaintext));
    let (out, result) = engine_open(&engine(), mapped(&file, &Vouched));
    assert!(result.is_ok() && out == plaintext);
}

/// Loses a page of every window after so many, or knows no more windows.
struct Losing {
    windows: AtomicUsize,
    keeps: usize,
    knows: usize,
}

impl Losing {
    fn after(keeps: usize, knows: usize) -> Self {
        Self { windows: AtomicUsize::new(0), keeps, knows }
    }
}

impl MapGuard for Losing {
    fn mapped(&self, _: Range<usize>) -> Option<usize> {
        let number = self.windows.fetch_add(1, Ordering::Relaxed);
        (number < self.knows).then_some(number)
    }
    fn is_lost(&self, window: usize) -> bool {
        window > self.keeps
    }
    fn unmapped(&self, _: usize) {}
}

/// The error's source, where one of sealing is one of the input.
fn cause(ended: Result<Vec<u8>>) -> std::io::Error {
    let Err(Error::Io { action, source }) = ended else { panic!("no error of the input") };
    assert_eq!(action, "reading the input");
    source
}

#[test]
fn what_was_sealed_from_a_lost_page_is_not_used() {
    let engine = engine();
    for (size, keeps) in [(1, 0), (40_000, 0), (3 << 20, 0), (20 << 20, 1), (20 << 20, 2)] {
        let (file, guard) = (file_of(&text(size)), Losing::after(keeps, usize::MAX));
        // Window 0 is the one that was mapped for a try.
        let mut out = Vec::new();
        let ended = engine.seal(mapped(&file, &guard), Sink::Stream(&mut out), envelope, &Unobserved);
        assert!(cause(ended.map(|_| Vec::new())).get_ref().unwrap().is::<PageLost>(), "{size}");
        let whole = serial_seal(&text(size));
        assert!(whole.starts_with(&out) && out.len() < whole.len(), "{size}");
        let out = tempfile::tempfile().unwrap();
        let sink = Sink::File(&out, Durability::Unsynced);
        let guard = Losing::after(keeps, usize::MAX);
        assert!(engine.seal(mapped(&file, &guard), sink, envelope, &Unobserved).is_err());
        assert!(content(&out).is_empty(), "{size}");
    }
}

#[test]
fn windows_that_nobody_watches_over_are_read() {
    let engine = engine();
    let plaintext = text(30 << 20);
    let (file, whole) = (file_of(&plaintext), serial_seal(&plaintext));
    for knows in 1..4 {
        let guard = Losing::after(usize::MAX, knows);
        assert!(seal(&engine, mapped(&file, &guard)).unwrap() == whole, "{knows}");
        assert!(guard.windows.load(Ordering::Relaxed) > knows);
    }
}

#[test]
fn a_mapped_input_that_changes() {
    let engine = engine();
    for size in [1000, 3_000_000] {
        for grows in [true, false] {
            let file = file_of(&text(size));
            let envelope = || {
                std::thread::sleep(std::time::Duration::from_millis(20));
                let at = if grows { size as u64 } else { 7 };
                crate::io::write_all_at(&file, b"more", at).unwrap();
                envelope()
            };
            let mut out = Vec::new();
            let ended = engine.seal(mapped(&file, &Vouched), Sink::Stream(&mut out), envelope, &Unobserved);
            assert!(cause(ended.map(|_| Vec::new())).get_ref().unwrap().is::<InputChanged>());
            assert!(serial_open(&out).1.is_err(), "what was sent is no valid file");
        }
    }
}

/// Windows of huge pages are mapped and unmapped whole.
#[cfg(target_os = "linux")]
#[test]
fn an_input_of_huge_pages() {
    const LEN: usize = 12 << 20;
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::HUGETLB;
    let pages = rustix::fs::memfd_create("waxseal-test", flags).map(File::from);
    let pages = pages.and_then(|file| rustix::fs::ftruncate(&file, LEN as u64).map(|()| file));
    let Ok(file) = pages else { return skipped("an input of huge pages", "the system makes no such file") };
    // SAFETY: nobody but the test has the file.
    let Ok(mut map) = (unsafe { memmap2::MmapMut::map_mut(&file) }) else {
        return skipped("an input of huge pages", "the system has no huge pages to give (vm.nr_hugepages)");
    };
    let plaintext = text(LEN);
    map.copy_from_slice(&plaintext);
    drop(map);
    let whole = serial_seal(&plaintext);
    let before = maps_of("waxseal-test");
    assert!(seal(&engine(), mapped(&file, &Vouched)).unwrap() == whole);
    assert!(seal(&engine(), Source::File(&file)).unwrap() == whole);
    assert_eq!(maps_of("waxseal-test"), before, "a window is still mapped");
}

#[cfg(target_os = "linux")]
fn maps_of(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(name)).count()
}
