//! The workers' memory: one pair of buffers for each worker, allocated once and used for every task.

use std::sync::{Mutex, PoisonError};

/// The minimum length of a buffer: a task's 1 MiB, and the header and prelude that the first task adds.
pub(super) const BUFFER_LEN: usize = (1 << 20) + (256 << 10);
/// The alignment of huge pages.
#[cfg(unix)]
const HUGE_PAGE: usize = 2 << 20;

/// A worker's memory.
pub(super) struct Buffers {
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    kind: Kind,
}

impl Buffers {
    fn new(kind: Kind) -> Self {
        let one = || match kind {
            Kind::Lasting => Buffer::huge(BUFFER_LEN),
            Kind::Small => Buffer::heap(BUFFER_LEN),
        };
        Self { input: one(), output: one(), kind }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// For many tasks: buffers in huge pages.
    Lasting,
    /// For small inputs: only the pages that are used are allocated.
    Small,
}

/// Private memory, initially zeros.
pub(super) enum Buffer {
    #[cfg(unix)]
    Huge(memmap2::MmapMut, usize),
    Heap(Vec<u8>),
}

impl Buffer {
    /// Allocates huge pages if the system has them. They cause one page fault instead of 512, and copies are faster.
    #[cfg(unix)]
    fn huge(len: usize) -> Self {
        match memmap2::MmapMut::map_anon(len + HUGE_PAGE) {
            Ok(map) => {
                let start = map.as_ptr().align_offset(HUGE_PAGE);
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Self::Huge(map, start)
            }
            Err(_) => Self::heap(len),
        }
    }

    #[cfg(not(unix))]
    fn huge(len: usize) -> Self {
        Self::heap(len)
    }

    fn heap(len: usize) -> Self {
        Self::Heap(vec![0; len])
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(unix)]
            Self::Huge(map, start) => &map[*start..*start + BUFFER_LEN],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            #[cfg(unix)]
            Self::Huge(map, start) => &mut map[*start..*start + BUFFER_LEN],
            Self::Heap(bytes) => bytes,
        }
    }
}

/// Buffers that no worker uses at the moment. Their number never exceeds the largest number of workers at one time.
///
/// Those of small inputs are kept, too. To clear and give back megabytes for each of many small files takes longer than to
/// seal them.
#[derive(Default)]
pub(super) struct Shelf {
    lasting: Mutex<Vec<Buffers>>,
    small: Mutex<Vec<Buffers>>,
}

impl Shelf {
    /// For a worker of many tasks.
    pub(super) fn take(&self) -> Buffers {
        pop(&self.lasting).unwrap_or_else(|| Buffers::new(Kind::Lasting))
    }

    /// For one small input.
    pub(super) fn take_small(&self) -> Buffers {
        pop(&self.small).or_else(|| pop(&self.lasting)).unwrap_or_else(|| Buffers::new(Kind::Small))
    }

    /// Returns the buffers for the next worker.
    pub(super) fn give_back(&self, buffers: Buffers) {
        let shelf = match buffers.kind {
            Kind::Lasting => &self.lasting,
            Kind::Small => &self.small,
        };
        shelf.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
    }
}

fn pop(shelf: &Mutex<Vec<Buffers>>) -> Option<Buffers> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker gets zeros of the full length, and what it gives back goes to the next worker of the same kind.
    fn are_used_again(take: fn(&Shelf) -> Buffers) {
        let shelf = Shelf::default();
        let mut first = take(&shelf);
        assert!(first.input[..] == vec![0; BUFFER_LEN][..]);
        (first.input[0], first.output[BUFFER_LEN - 1]) = (1, 2);
        let other = take(&shelf);
        assert_eq!((other.input[0], other.output[BUFFER_LEN - 1]), (0, 0));
        shelf.give_back(first);
        let again = take(&shelf);
        assert_eq!((again.input[0], again.output[BUFFER_LEN - 1]), (1, 2));
    }

    #[test]
    fn buffers_of_small_inputs_are_used_again() {
        are_used_again(Shelf::take_small);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the advice about huge pages")]
    fn lasting_buffers_are_used_again() {
        are_used_again(Shelf::take);
    }
}
