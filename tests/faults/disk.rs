//! A simulated disk that loses data that was not synced. It replays a recorded run up to the moment at which the
//! machine stops.
//!
//! Data that no sync has confirmed may be on the disk completely, not at all, or in part: in sectors or larger blocks,
//! in any order, and with an older length. Each name that no sync of the folder has confirmed may be there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::cli_support::noise;
use crate::injector::Ground;

/// The block that the file system reported to the program. A torn write may destroy this block, but nothing else.
const BLOCK: usize = 4096;
/// A write may be torn into pieces of these lengths.
const PIECES: [usize; 5] = [512, 1024, 4096, 16_384, 65_536];

/// Names and contents.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

type Inode = u64;

/// One call that changed something, or synced it.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Open {
        inode: Inode,
        name: String,
    },
    /// A file that has no name.
    Nameless {
        inode: Inode,
    },
    /// A file without a name gets one.
    Name {
        inode: Inode,
        name: String,
    },
    Write {
        inode: Inode,
        at: usize,
        data: Vec<u8>,
    },
    Length {
        inode: Inode,
        len: usize,
    },
    /// Everything before event number `begun` is on the disk now.
    Sync {
        inode: Inode,
        begun: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    /// A call that the test leaves out.
    Nothing,
}

/// A linear congruential generator: reproducible from a seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn half(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// How much of the data that was not synced is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    Everything,
    Some,
    /// The same, but blocks that were being written are garbage.
    Garbage,
}

impl Loss {
    pub(crate) const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::Garbage];
}

/// A folder before a run, and what the run did to it.
#[derive(Clone)]
pub(crate) struct Recording {
    folder: Inode,
    names: BTreeMap<String, Inode>,
    contents: BTreeMap<Inode, Vec<u8>>,
    pub(crate) events: Vec<Event>,
}

impl Recording {
    /// The folder as it is now.
    pub(crate) fn begin(ground: &Ground) -> Self {
        let inode = |name: &str| fs::metadata(ground.folder().join(name)).unwrap().ino();
        let names: BTreeMap<String, Inode> =
            ground.names().into_iter().map(|name| (name.clone(), inode(&name))).collect();
        let contents = names.iter().map(|(name, inode)| (*inode, ground.read(name).unwrap())).collect();
        Self { folder: inode(""), names, contents, events: Vec::new() }
    }

    pub(crate) fn with_log(self, log: &[u8]) -> Self {
        Self { events: parse(log), ..self }
    }

    /// As if the program had not synced its files, or the folder.
    pub(crate) fn without_syncs(mut self, of_folder: bool) -> Self {
        for event in &mut self.events {
            if matches!(event, Event::Sync { inode, .. } if (*inode == self.folder) == of_folder) {
                *event = Event::Nothing;
            }
        }
        self
    }

    /// The folder after the machine stopped after `done` events and was started again.
    pub(crate) fn stopped(&self, done: usize, loss: Loss, rng: &mut Rng) -> Image {
        let events = &self.events[..done];
        let names = self.names(events, loss, rng);
        names.into_iter().map(|(name, inode)| (name, self.content(events, inode, loss, rng))).collect()
    }

    fn names(&self, events: &[Event], loss: Loss, rng: &mut Rng) -> BTreeMap<String, Inode> {
        let mut names = self.names.clone();
        // The files that had names while the program ran. A new name may be on the disk even if an older one is not.
        let mut live = names.clone();
        let synced = synced(events, self.folder);
        for (number, event) in events.iter().enumerate() {
            let there = number < synced || lasts(loss, rng);
            let (from, to, moves) = match event {
                Event::Open { inode, name } => {
                    if live.insert(name.clone(), *inode).is_none() && there {
                        names.insert(name.clone(), *inode);
                    }
                    continue;
                }
                Event::Name { inode, name } => {
                    live.insert(name.clone(), *inode);
                    if there {
                        names.insert(name.clone(), *inode);
                    }
                    continue;
                }
                Event::Unlink { name } => {
                    live.remove(name);
                    if there {
                        names.remove(name);
                    }
                    continue;
                }
                Event::Rename { from, to } => (from, to, true),
                Event::Link { from, to } => (from, to, false),
                _ => continue,
            };
            let inode = live[from];
            live.insert(to.clone(), inode);
            if there {
                names.insert(to.clone(), inode);
            }
            if moves {
                live.remove(from);
                if there {
                    names.remove(from);
                }
            }
        }
        names
    }

    fn content(&self, events: &[Event], inode: Inode, loss: Loss, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.contents.get(&inode).cloned().unwrap_or_default();
        let synced = synced(events, inode);
        let mut unsure = BTreeSet::new();
        let mut sure_len = content.len();
        for (number, event) in events.iter().enumerate() {
            let is_synced = number < synced;
            match event {
                Event::Write { inode: own, at, data } if *own == inode => {
                    if is_synced || loss == Loss::Nothing {
                        put(&mut content, *at, data);
                    } else if loss != Loss::Everything {
                        put_pieces(&mut content, *at, data, rng);
                        unsure.extend(at / BLOCK..(at + data.len()).div_ceil(BLOCK));
                    }
                }
                Event::Length { inode: own, len } if *own == inode && (is_synced || lasts(loss, rng)) => {
                    content.resize(*len, 0);
                }
                // The system may use an inode number again. It then belongs to another file.
                Event::Open { inode: own, .. } | Event::Nameless { inode: own }
                    if *own == inode && !self.contents.contains_key(&inode) =>
                {
                    content.clear()
                }
                _ => {}
            }
            if is_synced {
                sure_len = content.len();
            }
        }
        if loss == Loss::Garbage {
            spoil(&mut content, &unsure, rng);
        }
        // The length on the disk is older than the data.
        if matches!(loss, Loss::Some | Loss::Garbage) && content.len() > sure_len && rng.half() {
            let lost = rng.below(content.len() - sure_len + 1);
            content.truncate(content.len() - lost);
        }
        content
    }
}

fn lasts(loss: Loss, rng: &mut Rng) -> bool {
    match loss {
        Loss::Nothing => true,
        Loss::Everything => false,
        Loss::Some | Loss::Garbage => rng.half(),
    }
}

/// All events before this one that concern `inode` have reached the disk.
fn synced(events: &[Event], inode: Inode) -> usize {
    let syncs = events.iter().filter_map(|event| match event {
        Event::Sync { inode: own, begun } if *own == inode => Some(*begun),
        _ => None,
    });
    syncs.max().unwrap_or(0)
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    content.resize(content.len().max(at + data.len()), 0);
    content[at..at + data.len()].copy_from_slice(data);
}

/// All of it, nothing, or some pieces.
fn put_pieces(content: &mut Vec<u8>, at: usize, data: &[u8], rng: &mut Rng) {
    match rng.below(3) {
        0 => put(content, at, data),
        1 => {}
        _ => {
            let piece = PIECES[rng.below(PIECES.len())];
            for (number, bytes) in data.chunks(piece).enumerate() {
                if rng.half() {
                    put(content, at + number * piece, bytes);
                }
            }
        }
    }
}

fn spoil(content: &mut [u8], blocks: &BTreeSet<usize>, rng: &mut Rng) {
    for block in blocks {
        let start = (block * BLOCK).min(content.len());
        let end = (start + BLOCK).min(content.len());
        if rng.below(4) == 0 {
            content[start..end].copy_from_slice(&noise(end - start));
        }
    }
}

fn parse(log: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rest = log;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8(rest[..end].to_vec()).unwrap();
        rest = &rest[end + 1..];
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        let inode = || words[1].parse::<Inode>().unwrap();
        let word = |at: usize| words[at].to_owned();
        events.push(match words[0] {
            "open" => Event::Open { inode: inode(), name: word(2) },
            "nameless" => Event::Nameless { inode: inode() },
            "name" => Event::Name { inode: inode(), name: word(2) },
            "write" => {
                let (data, behind) = rest.split_at(number(3));
                rest = behind.strip_prefix(b"\n").unwrap();
                Event::Write { inode: inode(), at: number(2), data: data.to_vec() }
            }
            "length" => Event::Length { inode: inode(), len: number(2) },
            "sync" => Event::Sync { inode: inode(), begun: number(2) },
            "rename" => Event::Rename { from: word(1), to: word(2) },
            "link" => Event::Link { from: word(1), to: word(2) },
            "unlink" => Event::Unlink { name: word(1) },
            "end" => continue,
            other => panic!("the injector's log says {other}"),
        });
    }
    events
}
