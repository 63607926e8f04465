//! Inputs: files, stdin, objects in stores, and how each can be read.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::Value;
use waxseal::engine::{MappedFile, Patient, Source};
use waxseal::envelope::{read_front, read_header_at};
use waxseal::error::InputChanged;
use waxseal::format::{Front, Header, MAGIC};
use waxseal::io::{Destination, ReadAt, open_input};

use super::Result;
use super::args::Reading;
use super::escape::Name;
use super::failure::Failure;
use super::folder::open_regular;
use super::place::{Place, opened_name};
use super::store::{Object, ObjectName};
use super::{signals, streams};

/// What `--name` calls stdin. It is known before the first input is opened, and never changes.
static STDIN_NAME: OnceLock<Name> = OnceLock::new();

/// Calls stdin by another name in all that is said from now on.
pub(crate) fn call_stdin(name: &OsStr) {
    // It is called once, from the command line.
    let _ = STDIN_NAME.set(Name::of(name));
}

/// The name that the caller gave to stdin.
pub(crate) fn stdin_name() -> Option<Name> {
    STDIN_NAME.get().cloned()
}

impl Place {
    /// Opens it as an input.
    pub(crate) fn open(&self) -> Result<Input> {
        let file = match self {
            Self::Stream => streams::stdin(),
            Self::Path(path) => open_input(path),
            Self::Below(entry) => entry.open(),
            Self::Object(name) => return Ok(Input(What::Object(name.open()?, name.clone()))),
        };
        let file = file.map_err(|error| {
            let is_lost = error.kind() == io::ErrorKind::NotFound;
            let failure = Failure::io("opening the input", error);
            match is_lost {
                true => failure.hint("a folder on the way to it does not exist, or a symbolic link leads to nothing"),
                false => failure,
            }
        })?;
        Input::of(file)
    }

    /// Opens it, if it is a regular file or an object that can be read. A FIFO does not make it wait.
    pub(crate) fn open_whole(&self) -> Option<Input> {
        match self {
            Self::Stream => None,
            Self::Path(path) => Input::of(open_regular(path).ok()?).ok(),
            Self::Below(_) | Self::Object(_) => self.open().ok(),
        }
    }
}

impl Input {
    fn of(file: File) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| Failure::io("reading the size of the input", error))?;
        let source = Source::try_from_file(&file);
        Ok(Self(match source.map_err(|error| Failure::io("reading the current position in the input", error))? {
            Source::File(_) => What::File(file, metadata),
            _ => What::Stream(file, metadata),
        }))
    }
}

/// An open input.
pub(crate) struct Input(What);

enum What {
    /// It can be read at any position, from its start: a regular file that was not read from yet, or a block device.
    File(File, Metadata),
    /// A pipe, or anything else that can only be read in order.
    Stream(File, Metadata),
    /// An object in a store. It can be read at any position.
    Object(Box<dyn Object>, ObjectName),
}

impl Input {
    /// Whether it can be read at any position.
    pub(crate) fn is_seekable(&self) -> bool {
        !matches!(self.0, What::Stream(..))
    }

    /// The metadata of what is open on this machine.
    fn metadata(&self) -> Option<&Metadata> {
        match &self.0 {
            What::File(_, metadata) | What::Stream(_, metadata) => Some(metadata),
            What::Object(..) => None,
        }
    }

    /// Whether it is a folder, which can be opened but not read.
    pub(crate) fn is_dir(&self) -> bool {
        self.metadata().is_some_and(Metadata::is_dir)
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.metadata().is_some_and(Metadata::is_file)
    }

    /// The time of the last modification of a regular file.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.metadata().filter(|metadata| metadata.is_file()).and_then(|metadata| metadata.modified().ok())
    }

    /// The permissions for a file at `destination` that is sealed from it.
    pub(crate) fn sealed_mode(&self, destination: &Destination) -> u32 {
        self.metadata().map_or(0o600, |metadata| waxseal::files::sealed_mode(destination, metadata))
    }

    /// What must not be overwritten while it is read.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match &self.0 {
            What::File(_, metadata) | What::Stream(_, metadata) => Identity::of(metadata),
            What::Object(_, name) => Some(Identity::Object(name.text().to_owned())),
        }
    }

    /// What a store says about it, for `--json`.
    pub(crate) fn about(&self) -> Option<Value> {
        match &self.0 {
            What::Object(object, _) => object.about(),
            What::File(..) | What::Stream(..) => None,
        }
    }

    /// Its bytes, at their positions. A stream refuses each read.
    pub(crate) fn bytes(&self) -> &dyn ReadAt {
        match &self.0 {
            What::File(file, _) | What::Stream(file, _) => file,
            What::Object(object, _) => &**object,
        }
    }

    /// Reads with a position of its own. It begins at the start.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        let ahead = matches!(self.0, What::Object(..)).then(Ahead::default);
        Cursor { bytes: self.bytes(), position: 0, ahead }
    }

    /// Reads in order: a stream from where it is, anything else from its start.
    pub(crate) fn stream(&self) -> Box<dyn Read + Send + '_> {
        match &self.0 {
            What::File(file, _) | What::Stream(file, _) => Box::new(Patient(file)),
            What::Object(object, _) => object.reader(),
        }
    }

    /// What the engine reads.
    pub(crate) fn supply(&self) -> Supply<'_> {
        match &self.0 {
            What::File(file, _) => Supply::File(file),
            What::Stream(file, _) => Supply::Pipe(file),
            What::Object(object, _) => Supply::Reader(object.reader()),
        }
    }

    /// To be sealed, and mapped if `reading` says so.
    pub(crate) fn supply_by(&self, reading: Reading) -> Result<Supply<'_>> {
        match reading {
            // A mapped input is slower where it is not in memory, and little faster where it is: docs/performance.md.
            Reading::Auto | Reading::Read => Ok(self.supply()),
            // There is nothing to map.
            Reading::Map if self.has_nothing() => Ok(self.supply()),
            Reading::Map => self.mapped().map(Supply::Mapped).map_err(|error| {
                // The disk or its server has failed, so reading would fail too.
                if matches!(error.raw_os_error(), Some(libc::EIO | libc::ESTALE | libc::ENOTCONN)) {
                    return Failure::io("reading the input", error);
                }
                Failure::usage(format!("the input cannot be mapped: {error}")).hint("read it with --input read")
            }),
        }
    }

    /// Whether it is a regular file without content. Some files of the system have content but no length.
    fn has_nothing(&self) -> bool {
        self.is_file() && self.len() == Some(0) && matches!(self.bytes().read_at(&mut [0], 0), Ok(0))
    }

    fn mapped(&self) -> io::Result<MappedFile<'_>> {
        match &self.0 {
            What::File(file, _) => signals::map(file),
            What::Stream(..) | What::Object(..) => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// The whole length in bytes, where it can be known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.0 {
            What::File(_, metadata) if metadata.is_file() => Some(metadata.len()),
            What::File(file, _) => (&*file).seek(SeekFrom::End(0)).ok(),
            What::Stream(..) => None,
            What::Object(object, _) => object.size().ok(),
        }
    }

    /// Fails if a regular file or an object has changed since it was opened. For a file, it compares the length and the
    /// times of the last change.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let looks = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let (file, metadata) = match &self.0 {
            What::File(file, metadata) | What::Stream(file, metadata) => (file, metadata),
            What::Object(object, _) => {
                return object.check_unchanged().map_err(|error| Failure::io("reading the input", error));
            }
        };
        let now = file.metadata().map_err(|error| Failure::io("reading the size of the input", error))?;
        if !now.is_file() || looks(&now) == looks(metadata) {
            return Ok(());
        }
        Err(Failure::io("reading the input", io::Error::other(InputChanged)))
    }

    /// Whether it is a sealed file. If its name says so, the beginning may be damaged.
    pub(crate) fn is_sealed(&self, name: &OsStr) -> bool {
        self.whether_sealed(name).unwrap_or(false)
    }

    /// The same, if it is known.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn whether_sealed(&self, name: &OsStr) -> waxseal::Result<bool> {
        if opened_name(name).is_none() {
            let mut start = [0; MAGIC.len()];
            let read = self.bytes().read_at(&mut start, 0);
            let read = read.map_err(|error| waxseal::Error::io("reading the header", error))?;
            if read < start.len() || start != MAGIC {
                return Ok(false);
            }
        }
        match self.header() {
            Ok(_) => Ok(true),
            Err(error @ waxseal::Error::Io { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Reads the header and the bytes around it.
    pub(crate) fn header(&self) -> waxseal::Result<(Front, Header)> {
        if let What::Stream(file, _) = &self.0 {
            let front = read_front(&mut Patient(file))?;
            let header = Header::read(&front)?;
            return Ok((front, header));
        }
        read_header_at(&mut |buffer, position| self.bytes().read_at(buffer, position))
    }
}

/// What the engine reads of an input.
pub(crate) enum Supply<'a> {
    /// At positions.
    File(&'a File),
    /// At positions, in mapped memory.
    Mapped(MappedFile<'a>),
    /// In order.
    Pipe(&'a File),
    /// In order, from a store.
    Reader(Box<dyn Read + Send + 'a>),
}

impl Supply<'_> {
    /// The source for the engine.
    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::File(file) => Source::File(file),
            Self::Mapped(file) => Source::Mapped(*file),
            Self::Pipe(file) => Source::Pipe(file),
            Self::Reader(reader) => Source::Stream(reader),
        }
    }
}

/// Reads an input from a position of its own.
pub(crate) struct Cursor<'a> {
    bytes: &'a dyn ReadAt,
    position: u64,
    /// For what is far away.
    ahead: Option<Ahead>,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.ahead {
            Some(ahead) => ahead.read_at(self.bytes, buffer, self.position)?,
            None => self.bytes.read_at(buffer, self.position)?,
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// Bytes that are fetched before they are asked for. Each request takes time, so reads that follow each other fetch more
/// and more. In all, at most as much is fetched in vain as was used.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// Where they begin.
    start: u64,
    /// Where the last read ended, and how much it fetched.
    end: u64,
    fetched: usize,
}

impl Ahead {
    /// The most that is fetched at once.
    const MOST: usize = 8 << 20;

    fn read_at(&mut self, source: &dyn ReadAt, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = match self.take(buffer, position) {
            0 if position == self.end && self.fetched > 0 => {
                self.fetch(source, buffer.len().max(2 * self.fetched.min(Self::MOST / 2)), position)?;
                self.take(buffer, position)
            }
            0 => {
                self.fetched = buffer.len();
                source.read_at(buffer, position)?
            }
            taken => taken,
        };
        self.end = position + read as u64;
        Ok(read)
    }

    fn fetch(&mut self, source: &dyn ReadAt, len: usize, position: u64) -> io::Result<()> {
        self.bytes.resize(len, 0);
        let read = source.read_at(&mut self.bytes, position);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        (self.start, self.fetched) = (position, len);
        read.map(drop)
    }

    /// Copies what is there of what begins at `position`.
    fn take(&self, buffer: &mut [u8], position: u64) -> usize {
        let from = position.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let kept = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        let len = kept.len().min(buffer.len());
        buffer[..len].copy_from_slice(&kept[..len]);
        len
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(distance) => self.bytes.size()?.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Identifies a file, whatever its name is. A file must not be read and overwritten at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A regular file: device and inode.
    File(u64, u64),
    /// A block device.
    Block(u64),
    /// An object in a store: its name.
    Object(OsString),
}

impl Identity {
    /// `None` for objects that cannot be damaged in this way: pipes, terminals, `/dev/null`.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        if metadata.is_file() {
            Some(Self::File(metadata.dev(), metadata.ino()))
        } else if metadata.file_type().is_block_device() {
            Some(Self::Block(metadata.rdev()))
        } else {
            None
        }
    }

    /// The identity of the file at `path`, if there is one.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().and_then(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts the reads.
    struct Far(Vec<u8>, AtomicUsize);

    impl ReadAt for Far {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            self.1.fetch_add(1, Ordering::Relaxed);
            (&self.0[usize::try_from(position).unwrap().min(self.0.len())..]).read(buffer)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }

    #[test]
    fn reads_that_follow_each_other_fetch_more_and_more() {
        let far = Far((0..200_000_u32).map(|byte| byte.to_le_bytes()[0]).collect(), AtomicUsize::new(0));
        let mut cursor = Cursor { bytes: &far, position: 0, ahead: Some(Ahead::default()) };
        // Here and there: exactly what was asked for.
        for place in [150_000, 10, 90_000] {
            cursor.seek(SeekFrom::Start(place)).unwrap();
            let mut bytes = [0; 100];
            cursor.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[..], far.0[usize::try_from(place).unwrap()..][..100]);
        }
        assert_eq!(far.1.swap(0, Ordering::Relaxed), 3);
        cursor.seek(SeekFrom::Start(1)).unwrap();
        let mut rest = Vec::new();
        let mut bytes = [0; 777];
        while let read @ 1.. = cursor.read(&mut bytes).unwrap() {
            rest.extend_from_slice(&bytes[..read]);
        }
        assert_eq!(rest, far.0[1..]);
        assert!(far.1.load(Ordering::Relaxed) < 12);
    }
}
