//! Real files: O_DIRECT, locks, renaming, and several rewraps at the same time.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use super::fixture::{KEYS, Sealed, checked, header_of, private_slot, replace};
use crate::error::{Error, Result};
use crate::rewrap::{
    DiskFile, HeaderFile, InPlace, Outcome, Place, Plan, Report, Request, Rewrapper, SlotChange, Unwrap, rewrap_file,
};
use crate::skipped::skipped;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn rewrap(path: &Path, change: SlotChange) -> Result<Report> {
    rewrap_file(path, |header| Plan::new(header.bank(), vec![change]))
}

fn payload_hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(&bytes[header_of(bytes).bank_len().header_len()..]).to_vec()
}

fn is_busy<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ResourceBusy)
}

#[test]
fn a_slot_is_replaced_in_place() {
    for (bank_len, len) in [(4096, 0), (4096, 100_000), (65_536, 100_000)] {
        let folder = folder();
        let path = folder.path().join("a.wax");
        let sealed = Sealed::new(bank_len, len, 1, 2);
        fs::write(&path, &sealed.bytes).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let report = rewrap(&path, replace(0, &sealed.wrappings[3])).unwrap();
        let after = fs::read(&path).unwrap();
        if fs::metadata(&path).unwrap().ino() == inode {
            assert_eq!(report.outcome, Outcome::Changed(Place::InPlace));
        }
        assert_eq!(payload_hash(&after), payload_hash(&sealed.bytes));
        assert_eq!(header_of(&after).bank().slots[0], sealed.wrappings[3]);
        // The header no longer names the retired key.
        let retired = KEYS[0].id().as_bytes();
        assert!(!after[..2 * bank_len].windows(retired.len()).any(|window| window == retired));
        let report = rewrap_file(&path, |header| Plan::unchanged(header.bank())).unwrap();
        assert_eq!(report.outcome, Outcome::Unchanged);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn the_header_grows_into_a_new_file() {
    let folder = folder();
    let (path, link) = (folder.path().join("a.wax"), folder.path().join("link.wax"));
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("a.wax", &link).unwrap();
    let report = rewrap(&link, SlotChange::Add(checked(&private_slot(5000)))).unwrap();
    assert_eq!(report.outcome, Outcome::Changed(Place::NewFile));
    let after = fs::read(&path).unwrap();
    assert_eq!(header_of(&after).bank_len().get(), 16_384);
    assert_eq!(payload_hash(&after), payload_hash(&sealed.bytes));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    // Another name would keep the old header, and the retired key in it.
    fs::hard_link(&path, folder.path().join("b.wax")).unwrap();
    let refused = rewrap(&path, SlotChange::Add(checked(&private_slot(20_000))));
    assert!(matches!(refused, Err(Error::Io { .. })));
    assert!(fs::read(&path).unwrap() == after);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_prelude_is_put_back() {
    // A short payload is copied for this, but a long one is not.
    for (bank_len, len, copied) in [(4096, 100_000, true), (65_536, 65 << 20, false)] {
        let folder = folder();
        let path = folder.path().join("a.wax");
        let sealed = Sealed::new(bank_len, len, 1, 1);
        let mut damaged = sealed.bytes.clone();
        damaged[2 * bank_len + 3] ^= 1;
        damaged[bank_len + 100] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mut session = InPlace::begin(DiskFile::open(&path).unwrap()).unwrap();
        let repair = session.plan_repair(&[&KEYS[0]]).unwrap();
        assert_eq!(repair.replaced.len(), 2);
        // Slots can be changed in the same session, too.
        let session = session.repair(&repair).unwrap();
        let plan = Plan::new(session.header().bank(), vec![replace(0, &sealed.wrappings[1])]).unwrap();
        session.apply(&plan).unwrap();
        let after = fs::read(&path).unwrap();
        assert!(after[2 * bank_len..] == sealed.bytes[2 * bank_len..]);
        assert_eq!(header_of(&after).bank().slots, plan.slots());
        assert_eq!(fs::metadata(&path).unwrap().ino() != inode, copied);
    }
}

/// Payloads up to 64 MiB are copied, so that a torn write cannot destroy the first chunk.
#[test]
fn the_longest_payload_that_is_copied() {
    let sealed = Sealed::new(65_536, 100_000, 1, 1);
    for (payload_len, copied) in [(64 << 20, true), ((64 << 20) + 1, false)] {
        let folder = folder();
        let path = folder.path().join("a.wax");
        let mut damaged = sealed.bytes.clone();
        damaged[131_072] ^= 1;
        fs::write(&path, &damaged).unwrap();
        // The first chunk proves that the payload belongs to the header. The rest may be anything.
        fs::File::options().write(true).open(&path).unwrap().set_len(131_072 + payload_len).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mut session = InPlace::begin(DiskFile::open(&path).unwrap()).unwrap();
        let repair = session.plan_repair(&[&KEYS[0]]).unwrap();
        session.repair(&repair).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.ino() != inode, meta.len()), (copied, 131_072 + payload_len));
    }
}

/// A program that is still writing the file would continue to write into a file without a name.
#[test]
fn a_file_that_somebody_has_open_is_not_copied() {
    let folder = folder();
    let path = folder.path().join("a.wax");
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes[..sealed.bytes.len() - 1000]).unwrap();
    let writer = fs::File::options().append(true).open(&path).unwrap();
    let grow = || rewrap(&path, SlotChange::Add(checked(&private_slot(5000))));
    assert!(is_busy(&grow()));
    assert_eq!(fs::metadata(&path).unwrap().len(), sealed.bytes.len() as u64 - 1000);
    // A change in place loses nothing.
    rewrap(&path, replace(0, &sealed.wrappings[3])).unwrap();
    io::Write::write_all(&mut &writer, &sealed.bytes[sealed.bytes.len() - 1000..]).unwrap();
    drop(writer);
    assert_eq!(grow().unwrap().outcome, Outcome::Changed(Place::NewFile));
    assert_eq!(payload_hash(&fs::read(&path).unwrap()), payload_hash(&sealed.bytes));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn two_at_once_lose_nothing() {
    let folder = folder();
    let path = folder.path().join("a.wax");
    let sealed = Sealed::new(4096, 50_000, 1, 1);
    fs::write(&path, &sealed.bytes).unwrap();
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for key in 1..8 {
            let (path, sealed, refused) = (&path, &sealed, &refused);
            scope.spawn(move || {
                // Every third run adds so much that a new file replaces the old one.
                let change = || match key % 3 {
                    0 => vec![
                        SlotChange::Add(checked(&sealed.wrappings[key])),
                        SlotChange::Add(checked(&private_slot(4000))),
                    ],
                    _ => vec![SlotChange::Add(checked(&sealed.wrappings[key]))],
                };
                loop {
                    let result = rewrap_file(path, |header| Plan::new(header.bank(), change()));
                    if !is_busy(&result) {
                        break result.map(drop).unwrap();
                    }
                    refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
        }
    });
    let after = fs::read(&path).unwrap();
    let header = header_of(&after);
    assert_eq!(header.bank().slots.len(), 1 + 7 + 2);
    assert!(sealed.wrappings.iter().all(|slot| header.bank().slots.contains(slot)));
    assert!(header.warnings().is_empty());
    assert_eq!(payload_hash(&after), payload_hash(&sealed.bytes));
}

#[test]
fn one_that_holds_the_file_keeps_others_out() {
    let folder = folder();
    let path = folder.path().join("a.wax");
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes).unwrap();
    let session = InPlace::begin(DiskFile::open(&path).unwrap()).unwrap();
    assert!(is_busy(&InPlace::begin(DiskFile::open(&path).unwrap())));
    drop(session);
    // A file that was opened, and was replaced before it was locked.
    let late = DiskFile::open(&path).unwrap();
    fs::write(folder.path().join("new"), &sealed.bytes).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert!(is_busy(&InPlace::begin(late)));
    let late = DiskFile::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(is_busy(&InPlace::begin(late)));
}

#[test]
fn reads_past_the_cache_give_what_was_written() {
    // The folder for temporary files, and one that is probably in memory, where O_DIRECT is not supported.
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| {
        skipped("reads_past_the_cache_give_what_was_written: in memory", "there is no /dev/shm");
        folder()
    });
    for folder in [folder(), in_memory] {
        let path = folder.path().join("file");
        for len in [0, 1, 511, 4096, 5000, 65_536, 131_128, 200_001] {
            let bytes: Vec<u8> = (0..=252).cycle().take(len).collect();
            fs::write(&path, &bytes).unwrap();
            let mut file = DiskFile::open(&path).unwrap();
            file.sync().unwrap();
            for (offset, count) in [(0, 131_128), (0, 100), (4096, 4096), (65_530, 16_400), (131_072, 56), (len, 10)] {
                let mut buffer = vec![0; count];
                let read = file.read_past_cache(offset as u64, &mut buffer).unwrap();
                let expected = &bytes[offset.min(len)..(offset + count).min(len)];
                assert!(&buffer[..read] == expected, "{len} bytes, {count} at {offset}: {read}");
            }
            // The write uses the same descriptor, with the same flags as before.
            file.write_at(3, b"abc").unwrap();
            file.sync().unwrap();
            let mut buffer = [0; 7];
            file.read_past_cache(1, &mut buffer).unwrap();
            assert_eq!(&buffer[2..5], b"abc");
        }
    }
}

#[test]
fn rewraps_on_a_file_system_in_memory_too() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return skipped("rewraps_on_a_file_system_in_memory_too", "there is no /dev/shm");
    };
    let path = folder.path().join("a.wax");
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes).unwrap();
    let unwrap = Unwrap { openers: vec![&KEYS[0]], sealer: &KEYS[6], target: Some(&KEYS[6]) };
    let request = Request { from: None, add: vec![&unwrap as &dyn Rewrapper], ..Request::default() };
    rewrap_file(&path, |header| request.plan(header.bank())).unwrap();
    let again = rewrap_file(&path, |header| request.plan(header.bank())).unwrap();
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!(header_of(&fs::read(&path).unwrap()).bank().slots.len(), 3);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = folder();
    assert!(matches!(DiskFile::open(folder.path()), Err(Error::Invalid(_))));
    assert!(matches!(DiskFile::open(folder.path().join("none")), Err(Error::NoInput(_))));
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(DiskFile::open(&socket), Err(Error::Invalid(_))));
}

#[test]
fn a_new_file_that_is_not_finished_vanishes() {
    let folder = folder();
    let path = folder.path().join("a.wax");
    fs::write(&path, b"x").unwrap();
    let mut file = DiskFile::open(&path).unwrap();
    let made = file.create_beside().unwrap();
    let is_result = |name: &str| !(name.starts_with(".waxseal-") && name.ends_with(".tmp"));
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| is_result(name)).count(), 1);
    drop(made);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_long_name_leaves_room_for_the_new_files() {
    let folder = folder();
    let path = folder.path().join("n".repeat(250));
    fs::write(&path, b"x").unwrap();
    let mut file = DiskFile::open(&path).unwrap();
    let mut made = file.create_beside().unwrap();
    made.write_at(0, b"yz").unwrap();
    file.rename_over(&mut made).unwrap();
    assert!(made.is_still_named().unwrap() && !file.is_still_named().unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"yz");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A folder's default access list may give more users access to a new file than to the old one.
#[cfg(target_os = "linux")]
#[test]
fn a_new_file_has_no_reader_more() {
    use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
    let folder = folder();
    let path = folder.path().join("a.wax");
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Version 2: tag, rights and id of the owner, a user, the group, the mask and others.
    let entries = [(1, 6, u32::MAX), (2, 6, 12_345), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([tag, 0, rights, 0]);
        list.extend(id.to_le_bytes());
    }
    let lists = (c"system.posix_acl_default", c"system.posix_acl_access");
    match fsetxattr(fs::File::open(folder.path()).unwrap(), lists.0, &list, XattrFlags::empty()) {
        Ok(()) => {}
        // If the file system has no access lists, there are no such readers.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            return skipped("a_new_file_has_no_reader_more", "the file system has no access lists");
        }
        Err(error) => panic!("{error}"),
    }
    let report = rewrap(&path, SlotChange::Add(checked(&private_slot(5000)))).unwrap();
    assert_eq!(report.outcome, Outcome::Changed(Place::NewFile));
    let found = fgetxattr(fs::File::open(&path).unwrap(), lists.1, &mut [0; 64][..]);
    assert_eq!(found, Err(rustix::io::Errno::NODATA));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_file_has_the_old_ones_attributes() {
    use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
    let folder = folder();
    let path = folder.path().join("a.wax");
    let sealed = Sealed::small(4096);
    fs::write(&path, &sealed.bytes).unwrap();
    let names = ["user.waxseal-one", "user.waxseal-two"];
    for name in names {
        match fsetxattr(fs::File::open(&path).unwrap(), name, name.as_bytes(), XattrFlags::empty()) {
            Ok(()) => {}
            // If the file system has no such attributes, there is nothing to copy.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                return skipped("a_new_file_has_the_old_ones_attributes", "the file system has no attributes");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let report = rewrap(&path, SlotChange::Add(checked(&private_slot(5000)))).unwrap();
    assert_eq!(report.outcome, Outcome::Changed(Place::NewFile));
    for name in names {
        let mut value = [0; 64];
        let len = fgetxattr(fs::File::open(&path).unwrap(), name, &mut value[..]).unwrap();
        assert_eq!(&value[..len], name.as_bytes());
    }
}
