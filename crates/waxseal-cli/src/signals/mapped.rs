//! SIGBUS, which comes where a page of a mapped input cannot be had: the file was made shorter, or its disk fails.
//!
//! The handler marks the window that the page is in, and maps zeros over all of it, so that the read succeeds. The
//! engine asks for the mark after it has sealed and before it uses what it has sealed. Any other SIGBUS ends the
//! program, as it does without a handler.
#![allow(unsafe_code, reason = "a handler with an address, and memory at a given place: each call is argued")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::{c_int, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use waxseal::io::{MapGuard, MappedFile};

use super::system;

/// "Hardware memory error detected in process but not consumed: action optional" (sigaction(2)).
const BUS_MCEERR_AO: c_int = 5;
/// More windows than the engine has workers: each of these has one at most.
const PLACES: usize = 32;

/// Where a window is. Changed by whoever has taken the place, and read by the handler at any time.
struct Place {
    is_taken: AtomicBool,
    /// Odd while the range is being changed, and another number after each change.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    is_lost: AtomicBool,
}

impl Place {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
        }
    }

    fn set(&self, window: Range<usize>) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.is_lost.store(false, Ordering::SeqCst);
        self.start.store(window.start, Ordering::SeqCst);
        self.end.store(window.end, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// The range, or an empty one while it is being changed. A window that is being read does not change.
    fn get(&self) -> Range<usize> {
        let before = self.version.load(Ordering::SeqCst);
        let range = self.start.load(Ordering::SeqCst)..self.end.load(Ordering::SeqCst);
        let is_whole = before.is_multiple_of(2) && self.version.load(Ordering::SeqCst) == before;
        if is_whole { range } else { 0..0 }
    }
}

static PLACE: [Place; PLACES] = [const { Place::new() }; PLACES];

/// The windows that the handler knows.
struct Places;

impl MapGuard for Places {
    fn mapped(&self, window: Range<usize>) -> Option<usize> {
        let take = |place: &Place| !place.is_taken.swap(true, Ordering::SeqCst);
        let number = PLACE.iter().position(take)?;
        PLACE[number].set(window);
        Some(number)
    }

    fn is_lost(&self, window: usize) -> bool {
        PLACE[window].is_lost.load(Ordering::SeqCst)
    }

    fn unmapped(&self, window: usize) {
        PLACE[window].set(0..0);
        PLACE[window].is_taken.store(false, Ordering::SeqCst);
    }
}

/// Takes `file` as an input that is mapped.
///
/// # Errors
/// Where it cannot be mapped.
pub(crate) fn map(file: &File) -> io::Result<MappedFile<'_>> {
    static HANDLER: OnceLock<bool> = OnceLock::new();
    if !HANDLER.get_or_init(catch) {
        return Err(io::Error::other("the system takes no handler for SIGBUS"));
    }
    // SAFETY: the handler is set, and stays. For an address in a window that `Places` knows, it marks the window and
    // then maps memory that can be read over it. Nothing else here maps memory at a given place. `system::start` has
    // unblocked SIGBUS before there was a second thread, and nothing blocks it.
    unsafe { MappedFile::new(file, &Places) }
}

/// Sets the handler; whether that was possible.
fn catch() -> bool {
    // SAFETY: a `sigaction` is plain numbers and an optional pointer, for which zeros are a value.
    let mut new: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
    new.sa_sigaction = handler as *const () as usize;
    new.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO;
    // SAFETY: the set is part of what was made above.
    unsafe { libc::sigfillset(&raw mut new.sa_mask) };
    // SAFETY: the action is whole. The handler has the type that SA_SIGINFO asks for, lives for ever, and does only
    // what is safe in a signal: atomics, and system calls that neither allocate nor wait for a lock.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const new, null_mut()) == 0 }
}

extern "C" fn on_bus_error(number: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the system gives a handler that was set with SA_SIGINFO a whole `siginfo_t`, which is there until the
    // handler returns.
    let info = unsafe { &*info };
    // News of a page that nobody reads now: whichever thread gets it holds no window. Who reads the page gets another
    // signal.
    if is_news(info.si_code) {
        return;
    }
    // What another process sends has no address, and a code that is not positive.
    if info.si_code > 0 {
        // SAFETY: the field is set for a SIGBUS that the system has sent for a memory access.
        let address = unsafe { info.si_addr() } as usize;
        if PLACE.iter().any(|place| replace(place, address)) {
            return;
        }
    }
    system::die_of(number);
}

/// Linux tells of a bad page of memory early, if it is configured to (`vm.memory_failure_early_kill`).
fn is_news(code: c_int) -> bool {
    cfg!(target_os = "linux") && code == BUS_MCEERR_AO
}

/// Puts zeros in the place of the window, if `address` is in it; whether the read can go on. Safe in a signal.
fn replace(place: &Place, address: usize) -> bool {
    let window = place.get();
    if !window.contains(&address) {
        return false;
    }
    // First the mark: who reads a zero from the new memory, on any thread, then finds it.
    place.is_lost.store(true, Ordering::SeqCst);
    let (prot, flags) = (ProtFlags::READ, MapFlags::PRIVATE | MapFlags::FIXED);
    // SAFETY: the window was mapped by the library, begins and ends with a page of its file system, and has nothing else
    // in it. It stays mapped meanwhile: this thread was reading it when the signal came, so it holds the window, which
    // is known here until nobody holds it. Whoever else reads there finds memory that can be read, before and after:
    // the system replaces it in one step. Linux and the other systems make this call without a lock of the process'
    // own, and without allocating in it.
    let replaced = unsafe { mmap_anonymous(window.start as *mut c_void, window.len(), prot, flags) };
    replaced.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use waxseal::engine::{Engine, Sink, Source, Unobserved};
    use waxseal::keys::KeyFile;
    use waxseal::{Envelope, SealOptions};

    /// Windows of other tests may be there at the same time.
    fn is_known(address: usize) -> bool {
        PLACE.iter().any(|place| place.get().contains(&address))
    }

    #[test]
    fn a_place_holds_one_window_after_another() {
        let (one, two) = (Places.mapped(0x10..0x20).unwrap(), Places.mapped(0x30..0x40).unwrap());
        assert!(one != two && is_known(0x10) && is_known(0x1f) && !is_known(0x20) && is_known(0x3f));
        PLACE[one].is_lost.store(true, Ordering::SeqCst);
        assert!(Places.is_lost(one) && !Places.is_lost(two));
        Places.unmapped(one);
        assert!(!is_known(0x10) && is_known(0x30));
        let again = Places.mapped(0x50..0x60).unwrap();
        assert!(!Places.is_lost(again), "a new window has lost nothing");
        Places.unmapped(again);
        Places.unmapped(two);
        assert!(!is_known(0x30) && !is_known(0x50));
    }

    /// Nobody reads the window then, so that it could be unmapped meanwhile.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn news_of_a_bad_page_replaces_nothing() {
        assert!(catch());
        // SAFETY: new memory, which is kept.
        let page = unsafe { mmap_anonymous(null_mut(), 4096, ProtFlags::READ, MapFlags::PRIVATE) }.unwrap() as usize;
        let window = Places.mapped(page..page + 4096).unwrap();
        for (code, is_lost) in [(BUS_MCEERR_AO, false), (libc::BUS_ADRERR, true)] {
            // SAFETY: plain numbers and pointers, for which zeros are a value.
            let mut info: siginfo_t = unsafe { mem::zeroed() };
            (info.si_signo, info.si_code) = (libc::SIGBUS, code);
            // SAFETY: it stays in the struct: the address comes after three numbers and a gap.
            let address = unsafe { (&raw mut info).cast::<usize>().add(2) };
            // SAFETY: it is aligned, and the struct is ours.
            unsafe { address.write(page) };
            let (process, thread) = (rustix::process::getpid(), rustix::thread::gettid());
            let (process, thread) = (process.as_raw_nonzero().get(), thread.as_raw_nonzero().get());
            let (call, info) = (libc::SYS_rt_tgsigqueueinfo, &raw const info);
            // SAFETY: the handler is set, and knows the window.
            let sent = unsafe { libc::syscall(call, process, thread, libc::SIGBUS, info) };
            assert_eq!((sent, Places.is_lost(window)), (0, is_lost), "code {code}");
        }
        Places.unmapped(window);
    }

    /// The file is cut after it was mapped, and before its first byte is read: every page of it is gone by then.
    #[test]
    fn a_file_that_is_cut_is_sealed_as_an_error() {
        let key = KeyFile::generate().unwrap();
        for (len, cut) in [(1, 0), (40_000, 0), (3 << 20, 0), (3 << 20, 1 << 20), (20 << 20, 9 << 20)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![7; len]).unwrap();
            let source = Source::Mapped(map(&file).unwrap());
            let envelope = || {
                file.set_len(cut).unwrap();
                Envelope::new(&[&key], &SealOptions::new())
            };
            let mut out = Vec::new();
            let sealed = Engine::new().seal(source, Sink::Stream(&mut out), envelope, &Unobserved);
            let error = sealed.err().unwrap().to_string();
            assert_eq!(error, "reading the input: the input changed while it was read", "{len} cut to {cut}");
        }
    }
}
