//! Encrypts or decrypts one file to another on up to 8 cores, with the guarantees of the program.
//!
//! [`encrypt_file`] and [`decrypt_file`] make an output that appears whole or not at all. It is written without its
//! name, synced, and gets its name in one step; its folder is synced too. A file that exists is not replaced. An input
//! that changes while it is sealed is an error. The output of a regular file has its modification time. [`FileOptions`] has what can be chosen.
//!
//! ```
//! use waxseal::io::Overwrite;
//! use waxseal::keys::KeyFile;
//! use waxseal::{Demands, FileOptions, SealOptions};
//!
//! # let folder = tempfile::tempdir()?;
//! # let [plain, sealed] = ["plain", "sealed"].map(|name| folder.path().join(name));
//! # std::fs::write(&plain, "text")?;
//! let key = KeyFile::generate()?;
//! // One value for many files: it keeps its threads.
//! let files = FileOptions::new().with_overwrite(Overwrite::Replace);
//! files.encrypt(&plain, &sealed, &[&key], &SealOptions::new())?;
//! files.decrypt(&sealed, &plain, &[&key], &Demands::new())?;
//! # assert_eq!(std::fs::read(&plain)?, b"text");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::engine::{Engine, Observer, Sink, Source, Unobserved};
use crate::envelope::{Demands, Envelope, OpenedBy, SealOptions};
use crate::error::{Error, Result};
use crate::format::Header;
use crate::io::{AtomicFile, Destination, Durability, Missed, Overwrite, open_input};
use crate::keys::{KeyOpener, KeySealer};

/// A decrypted file is for its owner only, whatever permissions the sealed file has.
const OPENED_MODE: u32 = 0o600;

/// Seals the file `input` into a new file `output`. Any of `sealers` will open it.
///
/// The output has the input's permissions, or fewer ([`sealed_mode`]).
///
/// # Errors
/// As [`FileOptions::encrypt`].
pub fn encrypt_file(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    sealers: &[&dyn KeySealer],
    options: &SealOptions,
) -> Result<SealedFile> {
    FileOptions::new().encrypt(input, output, sealers, options)
}

/// Opens the file `input` into a new file `output`, which only its owner may read and write (0600).
///
/// # Errors
/// As [`FileOptions::decrypt`].
pub fn decrypt_file(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    openers: &[&dyn KeyOpener],
    demands: &Demands,
) -> Result<OpenedFile> {
    FileOptions::new().decrypt(input, output, openers, demands)
}

/// Describes a sealed file that was created.
#[derive(Debug)]
#[non_exhaustive]
pub struct SealedFile {
    /// Bytes of plaintext.
    pub plaintext_len: u64,
    /// Bytes of the complete file.
    pub file_len: u64,
    /// Warnings: what the file system refused. The file exists and is complete.
    pub missed: Vec<Missed>,
}

/// Describes a decrypted file that was created.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedFile {
    /// The header of the sealed file, with its warnings.
    pub header: Header,
    /// Which slot and key opened it.
    pub by: OpenedBy,
    /// Bytes of plaintext, all authenticated.
    pub plaintext_len: u64,
    /// Warnings: what the file system refused. The file exists and is complete.
    pub missed: Vec<Missed>,
}

/// Options for creating files. One value serves any number of files, also on several threads at once. It keeps its
/// threads and buffers for the next file.
#[derive(Clone)]
pub struct FileOptions<'a> {
    overwrite: Overwrite,
    durability: Durability,
    mode: Option<u32>,
    engine: Arc<Engine>,
    observer: &'a dyn Observer,
}

impl Default for FileOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> FileOptions<'a> {
    /// The defaults: no file is replaced, the output is synced, and up to 8 cores are used.
    #[must_use]
    pub fn new() -> Self {
        Self {
            overwrite: Overwrite::Refuse,
            durability: Durability::Synced,
            mode: None,
            engine: Arc::new(Engine::new()),
            observer: &Unobserved,
        }
    }

    /// Whether an existing output may be replaced. The old file stays unchanged until the new one is complete.
    #[must_use]
    pub fn with_overwrite(mut self, overwrite: Overwrite) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether the output must survive a power cut when the call returns.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The output's permissions, in place of those that follow from the input.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Uses an engine that runs on the caller's threads.
    #[must_use]
    pub fn with_engine(mut self, engine: Arc<Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// Reports progress to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Seals the file `input` into the file `output`.
    ///
    /// `input` may also be a block device, a named pipe or another special file. `output` must be a regular file or
    /// must not exist. For a pipe or a device, use [`Engine::seal`].
    ///
    /// # Errors
    /// [`Error::NoInput`] when the input's folder exists and does not have it; [`Error::Io`] of the kind [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the output exists and may not be
    /// replaced, and with [`InputChanged`](crate::error::InputChanged) as its source when somebody wrote to the input;
    /// [`Error::Invalid`] when `output` cannot be a file, or is the input; and those of [`Envelope::new`]. Nothing was
    /// made then, and a file that was there is as it was, unless the message says that the output is written.
    pub fn encrypt(
        &self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
        sealers: &[&dyn KeySealer],
        options: &SealOptions,
    ) -> Result<SealedFile> {
        self.encrypt_with(input, output, || Envelope::new(sealers, options))
    }

    /// Like [`encrypt`](Self::encrypt), with an envelope of your own: `|| batch.envelope()` of a
    /// [`Batch`](crate::envelope::Batch), for example. It is asked for when input and output are open.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt), and those of `envelope`.
    pub fn encrypt_with(
        &self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
        envelope: impl FnOnce() -> Result<Envelope> + Send,
    ) -> Result<SealedFile> {
        let input = Input::open(input.as_ref())?;
        let destination = self.place(output.as_ref(), &input.metadata)?;
        let mode = self.mode.unwrap_or_else(|| sealed_mode(&destination, &input.metadata));
        let mut made = AtomicFile::create(destination, self.overwrite, mode)?;
        input.give_time(&mut made);
        let sealed = self.engine.seal(input.source()?, self.sink(&made), envelope, self.observer)?;
        let missed = self.commit(made)?;
        Ok(SealedFile { plaintext_len: sealed.plaintext_len, file_len: sealed.file_len, missed })
    }

    /// Opens the file `input` into the file `output`. They may be the same kinds of files as in
    /// [`encrypt`](Self::encrypt).
    ///
    /// # Errors
    /// The errors of [`encrypt`](Self::encrypt) that concern files, and those of [`Engine::open`]. After an error there
    /// is no output, not even the part that was authenticated before the error.
    pub fn decrypt(
        &self,
        input: impl AsRef<Path>,
        output: impl AsRef<Path>,
        openers: &[&dyn KeyOpener],
        demands: &Demands,
    ) -> Result<OpenedFile> {
        let input = Input::open(input.as_ref())?;
        let destination = self.place(output.as_ref(), &input.metadata)?;
        let mut made = AtomicFile::create(destination, self.overwrite, self.mode.unwrap_or(OPENED_MODE))?;
        input.give_time(&mut made);
        let opened = self.engine.open(input.source()?, self.sink(&made), openers, demands, self.observer)?;
        let missed = self.commit(made)?;
        Ok(OpenedFile { header: opened.header, by: opened.by, plaintext_len: opened.plaintext_len, missed })
    }

    /// The destination of the output. It is checked before any work, and refused if it cannot be a file.
    fn place(&self, output: &Path, input: &Metadata) -> Result<Destination> {
        let destination = Destination::at(output)?;
        let Some(there) = destination.found() else { return Ok(destination) };
        let name = output.display();
        let refused = |kind: io::ErrorKind| Err(Error::io(format!("making {name}"), kind.into()));
        if (there.dev(), there.ino()) == (input.dev(), input.ino()) {
            Err(Error::Invalid(format!("the output {name} is the input")))
        } else if !there.is_file() {
            Err(Error::Invalid(format!("the output {name} is not a regular file")))
        } else if self.overwrite == Overwrite::Refuse {
            refused(io::ErrorKind::AlreadyExists)
        } else if destination.is_mount_point() {
            refused(io::ErrorKind::ResourceBusy)
        } else {
            Ok(destination)
        }
    }

    /// A caller that cancels the work gets no output, also if all bytes are written.
    fn commit(&self, made: AtomicFile) -> Result<Vec<Missed>> {
        self.observer.committing().map_err(|error| Error::io("making the output", error))?;
        made.commit(self.durability)
    }

    /// The commit syncs the file. Until then, the system may write the bytes whenever it likes.
    fn sink<'f>(&self, made: &'f AtomicFile) -> Sink<'f> {
        match self.durability {
            Durability::Unsynced => Sink::File(made.file(), Durability::Unsynced),
            Durability::Synced | Durability::Started => Sink::File(made.file(), Durability::Started),
        }
    }
}

/// An open input, and its state when it was opened.
struct Input {
    file: File,
    metadata: Metadata,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("opening {}", path.display()), error);
        let file = open_input(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self { file, metadata })
    }

    /// As gzip, xz and zstd do.
    fn give_time(&self, made: &mut AtomicFile) {
        if let Some(modified) = self.metadata.modified().ok().filter(|_| self.metadata.is_file()) {
            made.set_modified(modified);
        }
    }

    fn source(&self) -> Result<Source<'_>> {
        Source::try_from_file(&self.file).map_err(|error| Error::io("looking at the input", error))
    }
}

/// The permissions for a file at `destination` that is sealed from `input`: the input's, or fewer.
///
/// A special file has no useful permissions. If the input is one, the sealed file is for the owner only.
#[must_use]
pub fn sealed_mode(destination: &Destination, input: &Metadata) -> u32 {
    if !input.is_file() {
        return 0o600;
    }
    let mode = input.mode() & 0o777;
    // The group's bits apply to the input's group. A new file may have another one: that of its process or of a set-gid
    // folder.
    let folder = destination.folder_metadata().ok().filter(|folder| folder.mode() & 0o2000 != 0);
    let own = folder.map_or_else(|| rustix::process::getegid().as_raw(), |folder| folder.gid());
    let group = if own == input.gid() { 0o070 } else { (mode & 0o007) << 3 };
    mode & (0o707 | group)
}
