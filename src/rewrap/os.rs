//! [`HeaderFile`] on a real file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::Arc;

use super::file::HeaderFile;
use super::lease;
use super::settled::{Others, Stamp};
use crate::error::{Error, Result};
use crate::io::{
    AtomicFile, Destination, OpenFor, Overwrite, Temporaries, Untold, read_full_at, sync_folder, write_all_at,
};

/// The maximum length of a disk block.
const MAX_BLOCK: u64 = 65_536;
/// The assumed block length of an unknown disk.
const USUAL_BLOCK: u64 = 4096;

/// Why this file cannot be rewrapped in place, although a changed copy can be created elsewhere. It is the source of an
/// [`Error::Io`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuitable {
    /// Two rewraps at the same time would destroy each other's work, and here nothing can prevent that.
    #[error("a change in place needs a lock, and the file system has no locks ({0})")]
    NoLock(io::Error),
    /// The change needs a new file.
    #[error("the file must be copied, and a copy cannot replace a mount point")]
    MountPoint,
}

/// A regular file on disk, opened for a rewrap.
#[derive(Debug)]
pub struct DiskFile {
    body: Body,
    destination: Destination,
    temporaries: Arc<dyn Temporaries>,
}

/// The open file. A temporary file is removed on drop.
#[derive(Debug)]
enum Body {
    Named(File),
    Made(Box<AtomicFile>),
}

impl DiskFile {
    /// Opens the regular file at `path`. Symbolic links are followed.
    ///
    /// # Errors
    /// [`Error::NoInput`] when its folder exists and does not have it; [`Error::Io`] when it cannot be opened to read
    /// and write; [`Error::Invalid`] when it is no regular file, or
    /// when [`Destination::at`] does not follow a link on the way there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::at(Destination::at(path.as_ref())?)
    }

    /// Opens the regular file at `destination`.
    ///
    /// # Errors
    /// As [`DiskFile::open`].
    pub fn at(destination: Destination) -> Result<Self> {
        let failed = |error| Error::io(format!("opening {}", destination.path().display()), error);
        // The kind is checked before the file is opened, because opening a FIFO would wait for its other end.
        match destination.found() {
            None => return Err(failed(destination.not_found())),
            Some(found) if !found.is_file() => {
                return Err(Error::Invalid(format!("{} is not a regular file", destination.path().display())));
            }
            Some(_) => {}
        }
        let opened = destination.open(OpenFor::Change).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(destination.not_found()),
            _ => failed(error),
        });
        let body = Body::Named(opened?);
        Ok(Self { body, destination, temporaries: Arc::new(Untold) })
    }

    /// Reports a new file to `temporaries` from its creation until it has replaced this file or was removed.
    #[must_use]
    pub fn with_temporaries(mut self, temporaries: Arc<dyn Temporaries>) -> Self {
        self.temporaries = temporaries;
        self
    }

    /// A new, empty file in the same folder. The commit gives it the name that `name` makes of this file's name. It has
    /// this file's owner and mode, if the system allows it, or fewer permissions. `None` if the name exists.
    pub(super) fn create_new_beside(&self, name: impl FnOnce(&OsStr) -> OsString) -> Result<Option<AtomicFile>> {
        let failed = |error| Error::io("looking at the file and its folder", error);
        let there = self.destination.beside(name(self.destination.name())).map_err(failed)?;
        if there.found().is_some() {
            return Ok(None);
        }
        let like = self.file().metadata().map_err(failed)?;
        let mut made = AtomicFile::create_known(there, Overwrite::Refuse, 0o600, self.temporaries.clone())?;
        let mode = self.make_like(made.file(), &like);
        made.set_mode_to_be(mode.map_err(|error| Error::io("setting the owner of the new file", error))? & 0o777);
        Ok(Some(made))
    }

    /// Gives `made` this file's owner, access lists and attributes, and sets the mode for the commit. The owner comes
    /// first, because a change of owner clears mode bits. The mode comes last, so that nobody else can read the file
    /// before that.
    fn make_like(&self, made: &File, like: &Metadata) -> io::Result<u32> {
        let owner = give_owner(made, like)?;
        #[cfg(target_os = "linux")]
        let has_list = copy_attributes(self.file(), made, owner);
        #[cfg(not(target_os = "linux"))]
        let has_list = false;
        Ok(mode_for(like.mode() & 0o7777, owner, has_list))
    }

    fn file(&self) -> &File {
        match &self.body {
            Body::Named(file) => file,
            Body::Made(made) => made.file(),
        }
    }
}

impl HeaderFile for DiskFile {
    fn lock(&mut self) -> io::Result<()> {
        self.file().try_lock().map_err(|error| match error {
            TryLockError::Error(error) if has_no_locks(&error) => {
                io::Error::new(io::ErrorKind::Unsupported, Unsuitable::NoLock(error))
            }
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        })
    }

    fn is_still_named(&mut self) -> io::Result<bool> {
        let own = self.file().metadata()?;
        // There are two checks: the path as other programs resolve it, and the name in the open folder, which is the
        // one that will be replaced.
        let is_at_path = match std::fs::metadata(self.destination.path()) {
            Ok(named) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(is_at_path && self.destination.names(&own)?)
    }

    fn byte_len(&mut self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn block_size(&mut self) -> io::Result<u64> {
        let system = rustix::fs::fstatvfs(self.file())?;
        Ok(disk_block(if system.f_frsize == 0 { system.f_bsize } else { system.f_frsize }))
    }

    fn stamp(&mut self) -> io::Result<Stamp> {
        let meta = self.file().metadata()?;
        let changed = Some((meta.ctime(), meta.ctime_nsec()));
        Ok(Stamp { len: meta.len(), modified: meta.modified().ok(), changed })
    }

    fn keep_others_out(&mut self) -> Others {
        lease::take(self.file())
    }

    fn let_others_in(&mut self) {
        lease::give_back(self.file());
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file().sync_all()
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        sync_folder(self.destination.folder(), self.file()).map(drop)
    }

    fn read_past_cache(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        past_cache::read(self.file(), offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.body {
            Body::Named(file) => self.temporaries.commit(&mut || write_all_at(file, bytes, offset)),
            Body::Made(made) => write_all_at(made.file(), bytes, offset),
        }
    }

    fn create_beside(&mut self) -> io::Result<Self> {
        let like = self.file().metadata()?;
        if like.nlink() > 1 {
            return Err(io::Error::other("the file must be copied, and its other hard links would keep the old file"));
        }
        if self.destination.is_mount_point() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, Unsuitable::MountPoint));
        }
        let (destination, temporaries) = (self.destination.clone(), self.temporaries.clone());
        let made = AtomicFile::create_nameable(destination.clone(), Overwrite::Replace, 0o600, temporaries.clone())?;
        let mut made = Self { body: Body::Made(Box::new(made)), destination, temporaries };
        made.lock()?;
        let mode = self.make_like(made.file(), &like)?;
        // If the file system does not store modes, it gives both files its fixed mode.
        let _ = made.file().set_permissions(Permissions::from_mode(mode));
        Ok(made)
    }

    fn copy_tail(&mut self, offset: u64, successor: &mut Self, to: u64) -> io::Result<u64> {
        let (mut own, mut other) = (self.file(), successor.file());
        match past_cache::drop_pages(own) {
            // The system does not support this advice. Every reader of the file gets the same cached pages, so they can
            // be copied.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            done => done?,
        }
        own.seek(SeekFrom::Start(offset))?;
        other.seek(SeekFrom::Start(to))?;
        // Between two files, the system copies or shares the blocks if it can.
        io::copy(&mut own, &mut other)
    }

    fn rename_over(&mut self, successor: &mut Self) -> io::Result<()> {
        match &mut successor.body {
            Body::Made(made) => made.name_as_it_is(),
            Body::Named(_) => Err(io::Error::other("the file has its name already")),
        }
    }
}

/// The block length that a file system reports, in bytes. Network and user-space file systems report their transfer
/// length in the same field, 1 MiB and more. It says nothing about the disk behind them. They write complete pages.
fn disk_block(reported: u64) -> u64 {
    if reported > MAX_BLOCK { USUAL_BLOCK } else { reported.max(1) }
}

/// Whether the file system has no locks, as is the case for some network file systems and FUSE.
fn has_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const NONE: [Errno; 5] = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOLCK, Errno::BADF];
    Errno::from_io_error(error).is_some_and(|errno| NONE.contains(&errno))
}

/// Whether a new file has the old file's owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Same,
    OtherUser,
    OtherGroup,
}

/// Gives `made` the owner and the group of `like`. If the user may not change the owner, the group may still be
/// possible.
fn give_owner(made: &File, like: &Metadata) -> io::Result<Owner> {
    let (user, group) = (like.uid(), like.gid());
    if fchown(made, Some(user), Some(group)).is_err() {
        let _ = fchown(made, None, Some(group));
    }
    // Some file systems report success although they refused the change, so the result is read back.
    let made = made.metadata()?;
    Ok(match (made.uid() == user, made.gid() == group) {
        (true, true) => Owner::Same,
        (false, true) => Owner::OtherUser,
        (_, false) => Owner::OtherGroup,
    })
}

/// The mode of `like`, or fewer permissions. If the group differs, a user can be in the group of one file and among the
/// others of the other file. So group and others get only the permissions that both had. If the old file had an access
/// list, its mode does not say what the group may do.
fn mode_for(like: u32, owner: Owner, has_list: bool) -> u32 {
    match owner {
        Owner::Same => like,
        Owner::OtherUser => like & 0o777,
        Owner::OtherGroup if has_list => like & 0o700,
        Owner::OtherGroup => {
            let both = (like >> 3) & like & 0o007;
            like & 0o700 | both << 3 | both
        }
    }
}

/// Copies access lists, security labels and user attributes, if the system allows it. Returns whether there is an
/// access list.
#[cfg(target_os = "linux")]
fn copy_attributes(from: &File, to: &File, owner: Owner) -> bool {
    /// An access list says what the file's group may do, whichever group that is.
    const LISTS: &[u8] = b"system.";
    // A new file may have an access list from its folder, which the old file need not have had.
    let _ = rustix::fs::fremovexattr(to, c"system.posix_acl_access");
    let mut names = vec![0; 65_536];
    let Ok(len) = rustix::fs::flistxattr(from, &mut names[..]) else { return false };
    let mut value = vec![0; 65_536];
    let mut has_list = false;
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        has_list |= name.starts_with(LISTS);
        if name.starts_with(LISTS) && owner == Owner::OtherGroup {
            continue;
        }
        if let Ok(len) = rustix::fs::fgetxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..len], rustix::fs::XattrFlags::empty());
        }
    }
    has_list
}

/// Reads the content of the disk.
#[cfg(target_os = "linux")]
mod past_cache {
    use super::{File, MAX_BLOCK, io};
    use rustix::fs::{Advice, OFlags};
    use std::num::NonZeroU64;
    use std::os::unix::fs::FileExt;

    /// Alignment of direct reads in the file and in memory. It is the largest alignment that disks require. With a
    /// larger one, a bad sector would make more bytes unreadable.
    const ALIGN: usize = 4096;

    /// Reads with O_DIRECT. If the file system does not support it, reads through the cache after dropping all of the
    /// file's pages.
    pub(super) fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // A clean page with wrong content would be given to the next reader. We would get it too, if the file system
        // accepts O_DIRECT and still reads through its cache. Dropping the page loses nothing. Only complete pages are
        // dropped.
        let start = offset / MAX_BLOCK * MAX_BLOCK;
        let end = (offset + buffer.len() as u64).next_multiple_of(MAX_BLOCK);
        let _ = rustix::fs::fadvise(file, start, NonZeroU64::new(end - start), Advice::DontNeed);
        let flags = rustix::fs::fcntl_getfl(file)?;
        let direct = match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
            Ok(()) => {
                let direct = read_direct(file, offset, buffer);
                rustix::fs::fcntl_setfl(file, flags)?;
                direct
            }
            Err(error) => Err(error.into()),
        };
        match direct {
            Err(error) if refuses_direct(&error) => {
                drop_pages(file)?;
                super::read_full_at(file, buffer, offset)
            }
            done => done,
        }
    }

    pub(super) fn refuses_direct(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
    }

    /// Dirty pages cannot be dropped, so they are written first.
    pub(super) fn drop_pages(file: &File) -> io::Result<()> {
        file.sync_data()?;
        Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
    }

    /// Reads an aligned range into an aligned buffer.
    pub(super) fn read_direct(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let skipped = usize::try_from(offset % ALIGN as u64).map_err(io::Error::other)?;
        let wanted = skipped + buffer.len();
        let mut room = vec![0; wanted.next_multiple_of(ALIGN) + ALIGN];
        let start = room.as_ptr().align_offset(ALIGN);
        let aligned = &mut room[start..start + wanted.next_multiple_of(ALIGN)];
        let mut filled = 0;
        while filled < wanted {
            match file.read_at(&mut aligned[filled..], offset - skipped as u64 + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // After the end of the file, the position is not aligned.
                Err(error) if refuses_direct(&error) && filled > 0 && at_end(file, offset, skipped, filled) => break,
                Err(error) => return Err(error),
            }
        }
        let count = filled.saturating_sub(skipped).min(buffer.len());
        buffer[..count].copy_from_slice(&aligned[skipped..skipped + count]);
        Ok(count)
    }

    pub(super) fn at_end(file: &File, offset: u64, skipped: usize, filled: usize) -> bool {
        file.metadata().is_ok_and(|meta| meta.len() <= offset - skipped as u64 + filled as u64)
    }
}

/// On other systems, the best that safe, portable calls can do is to sync and to read.
#[cfg(not(target_os = "linux"))]
mod past_cache {
    use super::{File, io};

    pub(super) fn read(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        drop_pages(file)?;
        super::read_full_at(file, buffer, offset)
    }

    pub(super) fn drop_pages(file: &File) -> io::Result<()> {
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    fn file_of(len: usize) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (file, bytes)
    }

    #[test]
    fn what_is_transferred_at_once_is_no_block() {
        for (reported, block) in [(512, 512), (4096, 4096), (65_536, 65_536), (65_537, 4096), (1 << 20, 4096), (0, 1)] {
            assert_eq!(disk_block(reported), block);
        }
    }

    #[test]
    fn a_mode_never_becomes_wider() {
        assert_eq!(mode_for(0o6775, Owner::Same, true), 0o6775);
        assert_eq!(mode_for(0o6775, Owner::OtherUser, true), 0o775);
        for (like, mode) in [(0o640, 0o600), (0o644, 0o644), (0o664, 0o644), (0o604, 0o600), (0o2676, 0o666)] {
            assert_eq!(mode_for(like, Owner::OtherGroup, false), mode, "{like:o}");
        }
        for (like, mode) in [(0o2676, 0o600), (0o755, 0o700), (0o044, 0)] {
            assert_eq!(mode_for(like, Owner::OtherGroup, true), mode, "{like:o}");
        }
    }

    /// Reads a range of a file from the disk, with O_DIRECT if the file system supports it, and with each method alone.
    fn reads_the_range(len: usize, offset: usize, wanted: usize) {
        let (file, bytes) = file_of(len);
        let right = &bytes[offset.min(len)..(offset + wanted).min(len)];
        let read_by = |read: fn(&File, u64, &mut [u8]) -> io::Result<usize>| {
            let mut buffer = vec![0xee; wanted];
            let count = read(&file, offset as u64, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], right, "{len} {offset} {wanted}");
            assert!(buffer[count..].iter().all(|byte| *byte == 0xee), "{len} {offset} {wanted}");
        };
        read_by(past_cache::read);
        read_by(|file, offset, buffer| read_full_at(file, buffer, offset));
        #[cfg(target_os = "linux")]
        {
            let flags = rustix::fs::fcntl_getfl(&file).unwrap();
            assert!(!flags.contains(rustix::fs::OFlags::DIRECT));
            read_by(past_cache::read_direct);
        }
    }

    #[test]
    fn ranges_at_the_edges() {
        for len in [0, 1, 4095, 4096, 4097, 8192, 12_295] {
            for offset in [0, 1, 4064, 4095, 4096, 4097, 8191, 8192, 16_384] {
                for wanted in [0, 1, 31, 32, 4096, 4097, 8192] {
                    reads_the_range(len, offset, wanted);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_range(len in 0usize..150_000, offset in 0usize..160_000, wanted in 0usize..140_000) {
            reads_the_range(len, offset, wanted);
        }
    }

    /// Reads of 4 KiB in a file of 5000 bytes. The second read reaches the end, and the first does not.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_end_of_the_file_is_where_the_reads_came_to() {
        let (file, _) = file_of(5000);
        for (offset, skipped, filled, is_end) in [
            (0, 0, 4999, false),
            (0, 0, 5000, true),
            (4096, 0, 903, false),
            (4096, 0, 904, true),
            (4100, 4, 904, true),
            (4100, 4, 903, false),
            (8192, 0, 1, true),
        ] {
            assert_eq!(past_cache::at_end(&file, offset, skipped, filled), is_end, "{offset} {skipped} {filled}");
        }
    }

    /// Which failures lead to a read through the cache, and which are errors.
    #[test]
    #[cfg(target_os = "linux")]
    fn only_a_refusal_of_direct_reads_is_one() {
        use rustix::io::Errno;
        for (errno, refuses) in [
            (Errno::INVAL, true),
            (Errno::OPNOTSUPP, true),
            (Errno::IO, false),
            (Errno::ACCESS, false),
            (Errno::AGAIN, false),
        ] {
            assert_eq!(past_cache::refuses_direct(&errno.into()), refuses, "{errno}");
        }
    }
}
