//! Several inputs at once: most of the time of a small one is the key service's, or the disk's that syncs it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

use rustix::process::{Resource, getrlimit};

use super::folder::Entry;
use super::input::Identity;
use super::place::Place;
use super::signals;

/// So many inputs are worked on at once.
const AT_ONCE: usize = 16;
/// An input takes at most so many descriptors.
const DESCRIPTORS: u64 = 8;
/// So many are left to everything else.
const OTHER_DESCRIPTORS: u64 = 24;

/// Does `work` for each of `items`, on at most `limit` threads. What it tells comes to `told` on this thread as it is told.
pub(crate) fn over<I: Sync, R: Send>(
    limit: usize,
    items: &[I],
    work: impl Fn(&I, &mut dyn FnMut(R)) + Sync,
    mut told: impl FnMut(R),
) {
    let next = AtomicUsize::new(0);
    let turn = |tell: &mut dyn FnMut(R)| {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item, tell);
        }
    };
    let wanted = Some(items.len().min(limit)).filter(|wanted| *wanted > 1).unwrap_or(0);
    on_threads(wanted, &turn, &mut told);
}

/// `wanted` inputs, or as many as are usual, but not more than there are descriptors for.
pub(crate) fn at_once(wanted: Option<usize>) -> usize {
    let wanted = wanted.unwrap_or(AT_ONCE).max(1);
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS;
    usize::try_from(room).unwrap_or(wanted).clamp(1, wanted)
}

/// What two inputs can have in common, so that one is worked on after the other, as they were named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Common {
    /// What is read or written in order: a person or a program at its other end may wait for one before the other.
    Stream,
    /// A file, whatever its name.
    File(u64, u64),
    /// A name in a folder, whether a file has it yet or not.
    Name(u64, u64, OsString),
    /// An object in a store, whether it is there yet or not.
    Object(OsString),
    /// A file in a tree of outputs, whether it is there yet or not.
    Output(PathBuf),
}

impl Common {
    /// The file itself, whatever its name.
    pub(crate) fn of(identity: Identity) -> Option<Self> {
        match identity {
            Identity::File(device, inode) => Some(Self::File(device, inode)),
            Identity::Block(_) | Identity::Object(_) => None,
        }
    }
}

/// What an input and its output have in common with others.
pub(crate) fn in_common(input: &Place, output: Option<&Place>) -> Vec<Common> {
    let mut groups = Groups::default();
    groups.add(input, output);
    groups.known.into_keys().collect()
}

/// What is being worked on.
#[derive(Default)]
struct Claims {
    held: Mutex<HashSet<Common>>,
    freed: Condvar,
}

/// What one input has claimed, until it is dropped.
struct Claim<'a> {
    claims: &'a Claims,
    own: Vec<Common>,
}

impl Claims {
    /// Waits until nobody holds any of `own`.
    fn take(&self, own: Vec<Common>) -> Claim<'_> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held = |held: &mut HashSet<Common>| own.iter().any(|one| held.contains(one));
        let mut held = self.freed.wait_while(held, is_held).unwrap_or_else(PoisonError::into_inner);
        held.extend(own.iter().cloned());
        Claim { claims: self, own }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self.claims.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|one| !self.own.contains(one));
        self.claims.freed.notify_all();
    }
}

/// So many results can wait to be told.
const WAITING: usize = 64;

/// Does `work` for each of `items`, on at most `limit` threads, and takes an item only when a thread is free for it. What
/// is worked out comes to `told` on this thread. With one thread, everything happens in order.
///
/// An item waits for those before it that have one of its `claims`. The items after it wait as well, so their order stays.
pub(crate) fn stream<I: Send, R: Send>(
    limit: usize,
    items: impl Iterator<Item = I> + Send,
    claims: impl Fn(&I) -> Vec<Common> + Sync,
    work: impl Fn(I) -> R + Sync,
    mut told: impl FnMut(R),
) {
    let (items, held) = (Mutex::new(items.fuse()), Claims::default());
    let next = || {
        let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.next()?;
        let claim = held.take(claims(&item));
        Some((item, claim))
    };
    let turn = |tell: &mut dyn FnMut(R)| {
        while let Some((item, claim)) = next() {
            let worked_out = work(item);
            drop(claim);
            tell(worked_out);
        }
    };
    on_threads(if limit > 1 { limit } else { 0 }, &turn, &mut told);
}

/// Lets `threads` threads take turns. A thread that cannot be started is done without, and where none can, this thread
/// does it all.
fn on_threads<R: Send>(threads: usize, turn: &(impl Fn(&mut dyn FnMut(R)) + Sync), told: &mut dyn FnMut(R)) {
    let (sender, finished) = mpsc::sync_channel(WAITING);
    std::thread::scope(|scope| {
        let start = |sender: mpsc::SyncSender<R>| {
            // Nobody hears of it any more once the receiver has gone.
            let run = move || {
                let _deaf = signals::leave_to_others();
                turn(&mut |told| drop(sender.send(told)));
            };
            std::thread::Builder::new().spawn_scoped(scope, run).is_ok()
        };
        let started = (0..threads).take_while(|_| start(sender.clone())).count();
        drop(sender);
        if started == 0 {
            turn(told);
        }
        finished.iter().for_each(told);
    });
}

/// Finds what inputs have in common.
#[derive(Default)]
pub(crate) struct Groups {
    /// For each input, one of its group that was named before it, or itself.
    roots: Vec<usize>,
    known: HashMap<Common, usize>,
    folders: HashMap<PathBuf, Option<(u64, u64)>>,
}

impl Groups {
    /// The next input is read from `input`, and its output is written at `output`.
    pub(crate) fn add(&mut self, input: &Place, output: Option<&Place>) {
        let number = self.roots.len();
        self.roots.push(number);
        // Who writes nothing cannot disturb another one.
        let writes = output.is_some();
        for place in [Some(input), output].into_iter().flatten() {
            match place {
                Place::Stream => self.join(number, Common::Stream),
                Place::Path(path) => self.add_path(number, path, writes),
                Place::Below(entry) => self.add_entry(number, entry, writes),
                Place::Object(name) if writes => self.join(number, Common::Object(name.text().to_owned())),
                Place::Object(_) => {}
            }
        }
    }

    fn add_path(&mut self, number: usize, path: &Path, writes: bool) {
        match std::fs::metadata(path) {
            Ok(there) if !there.is_file() => self.join(number, Common::Stream),
            Ok(there) if writes => self.join(number, Common::File(there.dev(), there.ino())),
            _ => {}
        }
        if writes && let (Some((device, inode)), Some(name)) = (self.folder_of(path), path.file_name()) {
            self.join(number, Common::Name(device, inode, name.to_owned()));
        }
    }

    fn add_entry(&mut self, number: usize, entry: &Entry, writes: bool) {
        match entry.folder_identity() {
            _ if !writes => {}
            Some((device, inode)) => self.join(number, Common::Name(device, inode, entry.name().to_owned())),
            None => self.join(number, Common::Output(entry.path().to_owned())),
        }
    }

    fn folder_of(&mut self, path: &Path) -> Option<(u64, u64)> {
        let folder = match path.parent()? {
            none if none.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        if let Some(known) = self.folders.get(folder) {
            return *known;
        }
        let identity = std::fs::metadata(folder).ok().map(|folder| (folder.dev(), folder.ino()));
        self.folders.insert(folder.to_owned(), identity);
        identity
    }

    fn join(&mut self, number: usize, common: Common) {
        let other = *self.known.entry(common).or_insert(number);
        let (one, other) = (self.root(number), self.root(other));
        self.roots[one.max(other)] = one.min(other);
    }

    fn root(&self, mut number: usize) -> usize {
        while self.roots[number] != number {
            number = self.roots[number];
        }
        number
    }

    /// The numbers of the inputs, those of a group in their order.
    pub(crate) fn into_groups(self) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for number in 0..self.roots.len() {
            groups.entry(self.root(number)).or_default().push(number);
        }
        groups.into_values().collect()
    }
}

/// One at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turn {
    /// Waits for the turn. It ends when what is returned is dropped, on whichever thread.
    pub(crate) fn take(&self) -> Taken<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *self.free.wait_while(taken, |taken| *taken).unwrap_or_else(PoisonError::into_inner) = true;
        Taken(self)
    }
}

/// A turn that is not over.
#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(jobs: &[(&Path, Option<&Path>)]) -> Vec<Vec<usize>> {
        let mut groups = Groups::default();
        for (input, output) in jobs {
            groups.add(&Place::input(input), output.map(Place::output).as_ref());
        }
        groups.into_groups()
    }

    #[test]
    fn what_has_a_file_or_a_name_in_common_is_one_group() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::fs::hard_link(at("a"), at("a2")).unwrap();
        std::os::unix::fs::symlink(at("c"), at("b.wax")).unwrap();
        let [a, a2, b, c] = ["a", "a2", "b", "c"].map(at);
        let [a_wax, a2_wax, b_wax, c_wax] = ["a.wax", "a2.wax", "b.wax", "c.wax"].map(at);
        let roundabout = folder.path().join(".").join("a");
        // Each for itself.
        assert_eq!(groups(&[(&a, Some(&a_wax)), (&b, Some(&at("b.out")))]), [vec![0], vec![1]]);
        // The same again, by another name, and a link to it.
        assert_eq!(groups(&[(&a, Some(&a_wax)), (&roundabout, Some(&at("x")))]), [vec![0, 1]]);
        assert_eq!(groups(&[(&a, Some(&a_wax)), (&a2, Some(&a2_wax))]), [vec![0, 1]]);
        // The output of one is the input of another: there already, or not yet.
        assert_eq!(groups(&[(&b, Some(&b_wax)), (&a, Some(&a_wax)), (&c, Some(&c_wax))]), [vec![0, 2], vec![1]]);
        assert_eq!(groups(&[(&a, Some(&a_wax)), (&a_wax, Some(&at("y")))]), [vec![0, 1]]);
        // What joins two groups makes them one, in the order of the names.
        let all = [(&*a, Some(&*a_wax)), (&*c, Some(&*c_wax)), (&*a_wax, Some(&*c_wax))];
        assert_eq!(groups(&all), [vec![0, 1, 2]]);
        // Who only reads may read one file twice.
        assert_eq!(groups(&[(&a, None), (&a, None)]), [vec![0], vec![1]]);
    }

    #[test]
    fn streams_are_one_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let null = Path::new("/dev/null");
        let jobs = [(Path::new("-"), None), (&*file, None), (null, None), (&*file, Some(null))];
        assert_eq!(groups(&jobs), [vec![0, 2, 3], vec![1]]);
    }

    #[test]
    fn each_item_is_worked_on_once() {
        let items: Vec<usize> = (0..1_000).collect();
        let mut seen = Vec::new();
        over(16, &items, |item, tell| tell(*item), |item| seen.push(item));
        seen.sort_unstable();
        assert_eq!(seen, items);
    }

    /// Items that have something in common are worked on in their order, whatever the others do.
    #[test]
    fn a_stream_keeps_the_order_of_what_belongs_together() {
        let log = Mutex::new(Vec::new());
        let claims = |item: &u64| vec![Common::File(0, item % 5)];
        let work = |item: u64| {
            std::thread::yield_now();
            log.lock().unwrap().push(item);
            item
        };
        for limit in [1, 16] {
            let mut told = Vec::new();
            stream(limit, 0..1_000_u64, claims, work, |item| told.push(item));
            let log = std::mem::take(&mut *log.lock().unwrap());
            for rest in 0..5 {
                assert!(log.iter().filter(|item| *item % 5 == rest).is_sorted());
            }
            assert!(limit > 1 || told.is_sorted());
            told.sort_unstable();
            assert!(told.iter().copied().eq(0..1_000));
        }
    }

    /// What is not worked on yet is not taken, and results do not pile up.
    #[test]
    fn a_stream_is_not_read_ahead() {
        let (taken, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = (0..10_000).inspect(|_| {
            taken.fetch_add(1, Ordering::SeqCst);
        });
        stream(
            4,
            items,
            |_| Vec::new(),
            |item| item,
            |_| {
                let ahead = taken.load(Ordering::SeqCst) - told.fetch_add(1, Ordering::SeqCst);
                assert!(ahead <= WAITING + 8, "{ahead}");
            },
        );
        assert_eq!(told.into_inner(), 10_000);
    }

    #[test]
    fn a_turn_is_one_at_a_time() {
        let (turn, inside) = (Turn::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _taken = turn.take();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
