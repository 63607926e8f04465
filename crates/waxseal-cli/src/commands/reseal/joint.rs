//! Joins an opening to a sealing: verified plaintext goes from one thread to the other, through memory only.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use waxseal::engine::Observer;
use waxseal::format::Header;

/// So many blocks wait between the two. Each has at most the 1 MiB that the engine writes at once.
const WAITING: usize = 4;

/// What goes through.
enum Piece {
    Plain(Vec<u8>),
    /// The opening has succeeded, so this is the authenticated end.
    End,
}

/// Both ends, and what the sealing waits for before it begins.
pub(super) fn joint<'a>(seen: &'a Seen<'_>) -> (Feed<'a>, Drain, Receiver<Header>) {
    let (pieces, arriving) = sync_channel(WAITING);
    let (give_back, used) = channel();
    let (begin, begun) = channel();
    let feed = Feed { pieces, used, begin: Some(begin), seen_header: &seen.header };
    (feed, Drain { arriving, give_back, block: Vec::new(), read: 0, ended: false }, begun)
}

/// Shows the opening's progress, and keeps the header that it reads.
pub(super) struct Seen<'a> {
    watch: &'a dyn Observer,
    header: OnceLock<Header>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(watch: &'a dyn Observer) -> Self {
        Self { watch, header: OnceLock::new() }
    }
}

impl Observer for Seen<'_> {
    fn total(&self, bytes: u64) {
        self.watch.total(bytes);
    }

    fn advanced(&self, bytes: u64) {
        self.watch.advanced(bytes);
    }

    fn header(&self, header: &Header) {
        self.watch.header(header);
        // It is read once.
        let _ = self.header.set(header.clone());
    }
}

/// The end that the opening writes to.
pub(super) struct Feed<'a> {
    pieces: SyncSender<Piece>,
    /// Blocks to be filled again: new memory for each would cost its page faults.
    used: Receiver<Vec<u8>>,
    begin: Option<Sender<Header>>,
    seen_header: &'a OnceLock<Header>,
}

impl Feed<'_> {
    /// The opening has succeeded: only now does the other end see the end. Without this call it sees an error.
    pub(super) fn finish(mut self) {
        self.begin();
        // Where nobody listens any more, the sealing has failed, and that is told.
        let _ = self.pieces.send(Piece::End);
    }

    /// A chunk was authenticated, so the header is authentic too: it may decide what is sealed.
    fn begin(&mut self) {
        if let (Some(begin), Some(header)) = (self.begin.take(), self.seen_header.get()) {
            let _ = begin.send(header.clone());
        }
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin();
        let mut block = self.used.try_recv().unwrap_or_default();
        block.clear();
        block.extend_from_slice(bytes);
        self.pieces.send(Piece::Plain(block)).map_err(|_| io::Error::other(HungUp))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end that the sealing reads from.
pub(super) struct Drain {
    arriving: Receiver<Piece>,
    give_back: Sender<Vec<u8>>,
    block: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for Drain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            if self.ended {
                return Ok(0);
            }
            match self.arriving.recv().map_err(|_| io::Error::other(HungUp))? {
                Piece::End => self.ended = true,
                Piece::Plain(block) => {
                    let used = std::mem::replace(&mut self.block, block);
                    self.read = 0;
                    let _ = self.give_back.send(used);
                }
            }
        }
        let read = (&self.block[self.read..]).read(out)?;
        self.read += read;
        Ok(read)
    }
}

/// The other end has failed. Its own error says why.
#[derive(Debug)]
pub(super) struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the other half of the work has failed")
    }
}

impl std::error::Error for HungUp {}

impl HungUp {
    /// Whether `error` only says this.
    pub(super) fn is(error: &waxseal::Error) -> bool {
        match error {
            waxseal::Error::Io { source, .. } => source.get_ref().is_some_and(|inner| inner.is::<Self>()),
            _ => false,
        }
    }
}
