//! A regular file that is mapped into memory, one window after the other: its bytes are sealed where they are, without
//! a copy of their own.
//!
//! This is the one place of the library that maps a file. What is mapped is only ever sealed. Nothing is authenticated
//! there, since somebody else could change a byte between its check and its use; what is opened is read.
#![allow(unsafe_code, reason = "whoever maps a file answers for what others do to it")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

/// Windows begin at its multiples, so that the system can map a huge page of its cache as one.
const ALIGN: u64 = 2 << 20;
/// How much of the file a window has. Each worker has at most one, and together they are all that is mapped at once.
const WINDOW: u64 = 8 << 20;

#[cfg(unix)]
type Map = memmap2::Mmap;
#[cfg(not(unix))]
type Map = Vec<u8>;

/// Is told of each window, and tells which of them have lost a page.
///
/// A page is lost where the system cannot give what the file has there: the file was made shorter, or its disk fails.
/// The system then sends SIGBUS to the thread that reads. See [`MappedFile::new`].
pub trait MapGuard: Sync {
    /// A window was mapped at these addresses. Nobody has read there yet.
    ///
    /// Gives a number for it. `None`: it cannot be watched over, and must not be read. The engine then reads the file.
    fn mapped(&self, window: Range<usize>) -> Option<usize>;

    /// Whether a page of the window was lost, and something else was put in its place.
    fn is_lost(&self, window: usize) -> bool;

    /// The window is about to be unmapped. Nobody reads there any more.
    fn unmapped(&self, window: usize);
}

/// The guard of a file that nobody changes: see [`MappedFile::new`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Vouched;

impl MapGuard for Vouched {
    fn mapped(&self, _: Range<usize>) -> Option<usize> {
        Some(0)
    }

    fn is_lost(&self, _: usize) -> bool {
        false
    }

    fn unmapped(&self, _: usize) {}
}

/// A regular file that is sealed from mapped windows.
#[derive(Clone, Copy)]
pub struct MappedFile<'a> {
    file: &'a File,
    guard: &'a dyn MapGuard,
    align: u64,
}

impl<'a> MappedFile<'a> {
    /// Takes a file whose windows `guard` watches over. A first one is mapped, to see whether that can be done.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the file is empty or no regular one; otherwise the system's.
    ///
    /// # Safety
    /// Others can change a mapped file while it is read. As long as this value or a copy of it is in use, one of these
    /// must hold:
    ///
    /// - Nobody writes to the file, makes it shorter, or takes its disk away: the caller answers for that. Then `guard`
    ///   may be [`Vouched`].
    /// - The process has a handler for SIGBUS. Where the address is in a window that `guard` knows, the handler first
    ///   has [`MapGuard::is_lost`] answer `true` for that window from then on, and then maps readable memory over it.
    ///   Nothing else is ever mapped over a window. No thread that seals blocks SIGBUS. Bytes may still change while
    ///   they are sealed. That is no danger to memory: they are only passed to the cipher, which computes other bytes
    ///   from them into memory of its own.
    pub unsafe fn new(file: &'a File, guard: &'a dyn MapGuard) -> io::Result<Self> {
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if about.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is empty"));
        }
        let mapped = Self { file, guard, align: huge_page(file).unwrap_or(ALIGN).max(ALIGN) };
        mapped.window(0..1, about.len())?;
        Ok(mapped)
    }

    pub(crate) fn file(&self) -> &'a File {
        self.file
    }

    /// Maps a window that has `range`, and more after it. The file has `len` bytes.
    pub(crate) fn window(&self, range: Range<u64>, len: u64) -> io::Result<Window<'a>> {
        let from = range.start / self.align * self.align;
        // Whole huge pages, where the file system is made of them: it unmaps nothing less.
        let to = range.end.max(from.saturating_add(WINDOW)).min(len).next_multiple_of(self.align);
        let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let map = map(self.file, from, usize::try_from(to - from).map_err(out_of_range)?)?;
        let start = map.as_ptr() as usize;
        let number = self.guard.mapped(start..start + map.len());
        let number = number.ok_or_else(|| io::Error::other("there are too many windows"))?;
        Ok(Window { map, from, guard: self.guard, number })
    }
}

#[cfg(unix)]
fn map(file: &File, from: u64, len: usize) -> io::Result<Map> {
    let mut options = memmap2::MmapOptions::new();
    options.offset(from).len(len);
    // SAFETY: the map is new memory, for reading only, and lives as long as the value. What can go wrong is what others
    // do to the file, and for that the caller of `MappedFile::new` answers. A file that nobody changes is plain memory.
    // A page that is lost is replaced before the read goes on, so that every read of the window succeeds. That the
    // bytes behind a `&[u8]` may change is what the language forbids, because a compiler may read twice and rely on
    // the same answer. Only `Window::bytes` gives such a slice, and the engine gives it to one call that seals: no
    // branch, length or address depends on a byte of it, so that a second read could give another ciphertext, and
    // nothing else.
    let map = unsafe { options.map(file) }?;
    // Read-ahead as for `read`. A system without this advice maps all the same.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(map)
}

#[cfg(not(unix))]
fn map(_: &File, _: u64, _: usize) -> io::Result<Map> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How long a page is, where the file system is made of huge ones (`hugetlbfs`).
#[cfg(target_os = "linux")]
fn huge_page(file: &File) -> Option<u64> {
    const HUGETLBFS: i64 = 0x9584_58f6;
    let about = rustix::fs::fstatfs(file).ok()?;
    // What does not fit is something else.
    #[allow(clippy::useless_conversion, reason = "the fields' types are others on other processors")]
    let (kind, page) = (i64::try_from(about.f_type).ok()?, u64::try_from(about.f_bsize).ok()?);
    (kind & 0xffff_ffff == HUGETLBFS && page.is_power_of_two()).then_some(page)
}

#[cfg(not(target_os = "linux"))]
fn huge_page(_: &File) -> Option<u64> {
    None
}

/// A part of a file, in memory until this is dropped.
pub(crate) struct Window<'a> {
    map: Map,
    /// Where in the file it begins.
    from: u64,
    guard: &'a dyn MapGuard,
    number: usize,
}

impl Window<'_> {
    /// `len` bytes of the file from `position` on, if the window has them.
    ///
    /// For sealing alone: these bytes may change, and are zeros where a page was lost. What is made of them may be used
    /// only after [`is_lost`](Self::is_lost) has said `false`.
    pub(crate) fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(position.checked_sub(self.from)?).ok()?;
        self.map.get(start..start.checked_add(len)?)
    }

    /// Whether a page was lost. What was read before this call was the file's if the answer is `false`.
    pub(crate) fn is_lost(&self) -> bool {
        // The guard is asked after the bytes were read, on every processor. Who reads what the handler has put there
        // then finds that it was told of before.
        fence(Ordering::SeqCst);
        self.guard.is_lost(self.number)
    }

    /// Whether all of `range` is in it.
    pub(crate) fn has(&self, range: &Range<u64>) -> bool {
        self.from <= range.start && range.end <= self.from + self.map.len() as u64
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        // Before its addresses can be another's.
        self.guard.unmapped(self.number);
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn file_of(len: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at / 4096 % 251).unwrap()).collect();
        crate::io::write_all_at(&file, &bytes, 0).unwrap();
        file
    }

    fn vouched(file: &File) -> MappedFile<'_> {
        // SAFETY: nobody but the test has the file.
        unsafe { MappedFile::new(file, &Vouched) }.unwrap()
    }

    #[test]
    fn windows_hold_what_the_file_holds() {
        const MIB: u64 = 1 << 20;
        let len = (9 << 20) + 5;
        let file = file_of(len);
        let mapped = vouched(&file);
        for range in [0..1, 0..9 * MIB, 3 * MIB + 7..4 * MIB, 7 * MIB..9 * MIB + 5, 9 * MIB + 4..9 * MIB + 5] {
            let window = mapped.window(range.clone(), len as u64).unwrap();
            assert!(window.has(&range) && window.from.is_multiple_of(ALIGN) && !window.is_lost());
            let mut read = vec![0; usize::try_from(range.end - range.start).unwrap()];
            crate::io::read_full_at(&file, &mut read, range.start).unwrap();
            assert!(window.bytes(range.start, read.len()) == Some(read.as_slice()), "{range:?}");
            assert!(window.map.len() as u64 <= WINDOW.max(range.end - range.start) + ALIGN);
            assert!(!window.has(&(range.start..range.end + 16 * MIB)));
            assert!(window.bytes(range.start, 32 << 20).is_none() && window.bytes(u64::MAX, 1).is_none());
        }
    }

    /// Knows which windows there are.
    #[derive(Default)]
    struct Counting(Mutex<Vec<(usize, bool)>>);

    impl MapGuard for Counting {
        fn mapped(&self, window: Range<usize>) -> Option<usize> {
            let mut windows = self.0.lock().unwrap();
            assert!(window.start.is_multiple_of(4096) && window.len().is_multiple_of(4096));
            windows.push((window.start, true));
            (windows.len() < 4).then_some(windows.len() - 1)
        }
        fn is_lost(&self, window: usize) -> bool {
            window == 1
        }
        fn unmapped(&self, window: usize) {
            self.0.lock().unwrap()[window].1 = false;
        }
    }

    #[test]
    fn the_guard_knows_every_window() {
        let (file, guard) = (file_of(10_000), Counting::default());
        // SAFETY: nobody but the test has the file.
        let mapped = unsafe { MappedFile::new(&file, &guard) }.unwrap();
        let one = mapped.window(0..100, 10_000).unwrap();
        let two = mapped.window(5000..10_000, 10_000).unwrap();
        assert!(one.is_lost() && !two.is_lost());
        let known = |at: usize| guard.0.lock().unwrap()[at].1;
        assert_eq!([known(0), known(1), known(2)], [false, true, true]);
        drop(one);
        assert_eq!([known(1), known(2)], [false, true]);
        assert!(mapped.window(0..100, 10_000).is_err(), "what nobody watches over is not read");
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let refused = |file: &File| {
            // SAFETY: nothing is mapped.
            let made = unsafe { MappedFile::new(file, &Vouched) };
            made.err().map(|error| error.to_string())
        };
        assert_eq!(refused(&file_of(0)).as_deref(), Some("it is empty"));
        assert_eq!(refused(&File::open("/dev/null").unwrap()).as_deref(), Some("it is not a regular file"));
        assert_eq!(refused(&File::open("/").unwrap()).as_deref(), Some("it is not a regular file"));
    }
}
