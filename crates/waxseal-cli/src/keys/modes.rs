//! Who else may read or write a key's file. Warned of, not refused: Kubernetes mounts secrets with 0644.
//!
//! Others may where the mode says so for everybody, or for a group that is neither root's nor one of the groups of this
//! process. A group of the process is how a mounted secret (0440) is meant to reach it. Root's group is as good as root;
//! it also stands where an access list (as of a credential of systemd) lets in one user. File systems that have no modes
//! show the same mode for every file, which says nothing, and chmod does nothing there.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::{getegid, getgroups};

use crate::escape;
use crate::report::Reporter;

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;

/// Warns of a secret that others may read.
pub(super) fn warn_if_readable_by_others(what: &str, path: &Path, reporter: &Reporter) {
    let Some(mode) = mode_for_others(path, READ) else { return };
    let name = escape::path(path);
    reporter.caution(&format!("others may read the {what} {name} (mode {mode:04o}); run chmod 600 on it"));
}

/// Whoever can replace a public key reads what is sealed from then on.
pub(super) fn warn_if_writable_by_others(path: &Path, reporter: &Reporter) {
    let Some(mode) = mode_for_others(path, WRITE) else { return };
    let name = escape::path(path);
    reporter.caution(&format!(
        "others may write the recipient file {name} (mode {mode:04o}) and so read what is sealed to it; \
         run chmod go-w on it"
    ));
}

/// The mode of a regular file that gives others this right.
fn mode_for_others(path: &Path, right: u32) -> Option<u32> {
    let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    let group_may = mode & (right << 3) != 0 && !is_own_group(metadata.gid());
    ((mode & right != 0 || group_may) && has_modes(path)).then_some(mode)
}

fn is_own_group(group: u32) -> bool {
    let others = || getgroups().unwrap_or_default();
    group == 0 || group == getegid().as_raw() || others().iter().any(|own| own.as_raw() == group)
}

#[cfg(target_os = "linux")]
fn has_modes(path: &Path) -> bool {
    rustix::fs::statfs(path).map_or(true, |system| {
        let kind = system.f_type.to_le_bytes().first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
        kind.is_none_or(|kind| !WITHOUT_MODES.contains(&kind))
    })
}

#[cfg(not(target_os = "linux"))]
fn has_modes(_: &Path) -> bool {
    true
}

/// The numbers that Linux has for them (statfs(2), `linux/magic.h`).
#[cfg(target_os = "linux")]
const WITHOUT_MODES: [u32; 9] = [
    // vfat, exfat
    0x4d44,
    0x2011_bab0,
    // NTFS, by both drivers of the kernel
    0x5346_544e,
    0x7366_746e,
    // 9p, as which virtual machines and WSL show the host's disks
    0x0102_1997,
    // WSL's own
    0x5346_4846,
    // VirtualBox's shared folders
    0x786f_4256,
    // Windows shares: CIFS, SMB 2 and later
    0xff53_4d42,
    0xfe53_4d42,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn the_rule() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        fs::write(&path, "x").unwrap();
        // The group of a new file is one of this process's.
        for (mode, read, write) in [
            (0o600, false, false),
            (0o440, false, false),
            (0o660, false, false),
            (0o644, true, false),
            (0o604, true, false),
            (0o602, false, true),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(mode_for_others(&path, READ).is_some(), read, "{mode:04o}");
            assert_eq!(mode_for_others(&path, WRITE).is_some(), write, "{mode:04o}");
        }
        assert_eq!(mode_for_others(folder.path(), READ), None);
        assert_eq!(mode_for_others(Path::new("/dev/null"), READ), None);
        assert!(is_own_group(0) && is_own_group(getegid().as_raw()) && !is_own_group(u32::MAX - 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_system_calls_a_file_system() {
        assert!(has_modes(Path::new("/proc")) && has_modes(Path::new("/missing")));
        assert!(WITHOUT_MODES.iter().all(|kind| u32::try_from(rustix::fs::PROC_SUPER_MAGIC) != Ok(*kind)));
    }
}
