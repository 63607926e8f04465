//! A run leaves its complete output or nothing. The tests change folders and links during the run, use links of another
//! user, and write to mount points and block devices.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "says what could not be tried, and figures")]

mod cli_support;
mod skipped;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cli_support::{NOBODY, Place, Ran, WAXSEAL, is_root, noise, sealed_len};
use skipped::skipped;

const ENCRYPT: [&str; 4] = ["encrypt", "-f", "-k", "file:k"];

/// Whether this process is root. If it is not, the test is reported as skipped.
fn needs_root(test: &str) -> bool {
    if !is_root() {
        skipped(test, "it needs root");
    }
    is_root()
}

/// Starts an encryption of stdin into `output` in the folder `d`, and waits until the program writes the file.
fn begun(place: &Place, output: &str) -> Child {
    fs::create_dir(place.path("d")).unwrap();
    let mut command = place.command(&[&ENCRYPT[..], &["-o", output]].concat());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&noise(3_000_000)).unwrap();
    place.wait_for_writing("d");
    child
}

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn told_to(child: Child, signal: &str) -> Ran {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap().into()
}

/// During the run, the folder is renamed and a new folder gets its name. The program removes its own file from the
/// renamed folder.
#[test]
fn a_folder_that_is_renamed_keeps_nothing() {
    let place = Place::new();
    let child = begun(&place, "d/out.wax");
    fs::rename(place.path("d"), place.path("e")).unwrap();
    fs::create_dir(place.path("d")).unwrap();
    assert_eq!(told_to(child, "-TERM").signal, Some(15));
    assert_eq!((names(place.path("d")), names(place.path("e"))), (vec![], vec![]));
}

#[test]
fn a_folder_that_is_linked_elsewhere_gets_what_was_begun_in_it() {
    let place = Place::new();
    fs::create_dir_all(place.path("new")).unwrap();
    let mut child = begun(&place, "d/out.wax");
    fs::rename(place.path("d"), place.path("e")).unwrap();
    symlink("new", place.path("d")).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!((names(place.path("new")), names(place.path("e"))), (vec![], vec!["out.wax".to_owned()]));
    place.ok(&["verify", "-k", "file:k", "e/out.wax"]);
}

/// The kernel removes a file without a name when its process ends, even after SIGKILL.
#[test]
fn a_killed_run_leaves_nothing_of_a_new_file() {
    let place = Place::new();
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::WRONLY;
    if rustix::fs::open(place.path(""), flags, rustix::fs::Mode::RUSR).is_err() {
        return skipped("a_killed_run_leaves_nothing_of_a_new_file", "the file system has no O_TMPFILE");
    }
    let child = begun(&place, "d/out.wax");
    assert_eq!(told_to(child, "-KILL").signal, Some(9));
    assert_eq!(names(place.path("d")), [""; 0]);
}

/// A folder like `/tmp`. It contains a link to `secret/file` that belongs to another user.
fn shared(place: &Place, link: &str) {
    for (folder, mode) in [("shared", 0o1777), ("secret", 0o700)] {
        fs::create_dir_all(place.path(folder)).unwrap();
        fs::set_permissions(place.path(folder), Permissions::from_mode(mode)).unwrap();
    }
    place.write("secret/file", "precious");
    symlink("../secret/file", place.path(link)).unwrap();
    lchown(place.path(link), Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn a_link_of_somebody_else_in_a_shared_folder_is_not_followed() {
    if !is_root() {
        return skipped("a_link_of_somebody_else_in_a_shared_folder_is_not_followed", "it needs root");
    }
    let place = Place::new();
    place.sealed("in.wax", b"content");
    place.write("in", "content");
    shared(&place, "shared/link");
    // A link of this user that leads to the other user's link.
    symlink("shared/link", place.path("own")).unwrap();
    symlink("../secret/new", place.path("shared/dangling")).unwrap();
    lchown(place.path("shared/dangling"), Some(NOBODY), Some(NOBODY)).unwrap();
    for link in ["shared/link", "own", "shared/dangling"] {
        let runs: [&[&str]; 7] = [
            &["rewrap", "--repair", link],
            &["encrypt", "-f", "-k", "file:k", "-o", link, "in"],
            &["decrypt", "-f", "-k", "file:k", "-o", link, "in.wax"],
            &["rewrap", "-f", "-o", link, "in.wax"],
            &["salvage", "-f", "-k", "file:k", "-o", link, "in.wax"],
            &["salvage", "-f", "-k", "file:k", "-o", "other", "--map", link, "in.wax"],
            &["key", "new", link],
        ];
        for args in runs {
            place.fails(args, 2, &["symbolic link", "65534", "hint: "]);
        }
        #[cfg(feature = "aws-kms")]
        generated(&place, link);
    }
    assert_eq!(place.read("secret/file"), b"precious");
    assert!(!place.exists("secret/new") && !place.exists("other"));
    // A link is followed if it belongs to the folder's owner, or to the user who runs the program.
    lchown(place.path("shared/link"), Some(0), Some(0)).unwrap();
    place.ok(&["encrypt", "-f", "-k", "file:k", "-o", "shared/link", "in"]);
    assert_eq!(place.read("secret/file").len(), sealed_len(7));
    let mut nobody = place.unprivileged(&["key", "new", "shared/dangling"]);
    fs::set_permissions(place.path("secret"), Permissions::from_mode(0o777)).unwrap();
    assert!(nobody.status().unwrap().success() && place.exists("secret/new"));
}

#[cfg(feature = "aws-kms")]
fn generated(place: &Place, link: &str) {
    let mut command = place.command(&["key", "import", "alias/a", "--generate", link]);
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x").env("AWS_REGION", "us-east-1");
    let ran: Ran = command.env("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9").output().unwrap().into();
    ran.failed(2, &["symbolic link", "65534"]);
}

/// A process group. Drop kills it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Another user swaps their own file and a link to root's file as fast as possible. Returns how often root's file was
/// replaced.
fn race(runs: usize) -> usize {
    let place = Place::new();
    place.write("in", "content");
    shared(&place, "shared/x");
    let secret = place.read("secret/file");
    let folder = place.path("shared");
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    let swap = "while :; do ln -sfn ../secret/file link; mv -T link x; : > plain; mv -f plain x; done 2>/dev/null";
    let mut other = Command::new("sh");
    let other = other.args(["-c", swap]).current_dir(&folder).uid(NOBODY).gid(NOBODY).process_group(0).spawn();
    let other = Group(other.unwrap());
    let mut replaced = 0;
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..runs {
        let ran = place.run(&[&ENCRYPT[..], &["-o", "shared/x", "in"]].concat());
        *ends.entry(ran.code).or_insert(0) += 1;
        if place.read("secret/file") != secret {
            replaced += 1;
            place.write("secret/file", &secret);
        }
        // If the run has created this file, it belongs to root, and the other user cannot rename it in a sticky folder.
        let _ = fs::remove_file(folder.join("x"));
    }
    drop(other);
    eprintln!("{runs} runs against a swapped link, {replaced} replaced a file; exit codes: {ends:?}");
    assert!(ends.len() > 1, "all runs ended in the same way: {ends:?}");
    replaced
}

#[test]
fn a_link_that_is_swapped_in_leads_nowhere() {
    if needs_root("a_link_that_is_swapped_in_leads_nowhere") {
        assert_eq!(race(150), 0);
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_link_that_is_swapped_in_leads_nowhere_in_2000_runs() {
    if needs_root("a_link_that_is_swapped_in_leads_nowhere_in_2000_runs") {
        assert_eq!(race(2000), 0);
    }
}

/// A file on which another one is mounted, as in containers.
struct Mounted(PathBuf);

impl Mounted {
    fn new(from: &Path, on: &Path) -> Option<Self> {
        let output = Command::new("mount").arg("--bind").args([from, on]).output().ok()?;
        output.status.success().then(|| Self(on.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_mount_point_is_recognised_before_the_work() {
    let place = Place::new();
    place.write("in", noise(10_000));
    let crowded = place.crowded();
    let sealed = place.read("in.wax");
    place.write("other", &sealed);
    place.write("sealed.wax", &sealed);
    place.write("out.wax", "");
    let (Some(_out), Some(_in)) = (
        Mounted::new(&place.path("other"), &place.path("out.wax")),
        Mounted::new(&place.path("other"), &place.path("in.wax")),
    ) else {
        return skipped("a_mount_point_is_recognised_before_the_work", "nothing can be mounted here");
    };
    let words = ["out.wax is a mount point", "hint: `-o - > out.wax`"];
    let command = ["-o", "out.wax", "--from-command", "--", "touch", "ran"];
    place.fails(&[&ENCRYPT[..], &command].concat(), 7, &words);
    assert!(!place.exists("ran"));
    place.fails(&["decrypt", "-f", "-k", "file:k", "-o", "out.wax", "sealed.wax"], 7, &words);
    // The command in the hint works.
    let out = File::create(place.path("out.wax")).unwrap();
    assert!(place.command(&["encrypt", "-k", "file:k", "-o", "-", "in"]).stdout(out).status().unwrap().success());
    place.ok(&["verify", "-k", "file:k", "out.wax"]);
    place.write("in.wax", &sealed);
    place.fails(&crowded, 7, &["a mount point", "hint: `waxseal rewrap -o OUT`"]);
    assert!(place.read("in.wax") == sealed);
    assert!(place.names().iter().all(|name| !name.starts_with(".waxseal")));
}

/// A loop device of 1 MiB. Drop detaches it.
struct Disk(String);

impl Disk {
    fn new(image: &Path) -> Option<Self> {
        fs::write(image, vec![0x77; 1 << 20]).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        output.status.success().then(|| Self(String::from_utf8(output.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_overwritten_with_force_alone() {
    let place = Place::new();
    place.write("in", noise(50_000));
    let Some(disk) = Disk::new(&place.path("image")) else {
        return skipped("a_block_device_is_overwritten_with_force_alone", "it needs a loop device");
    };
    let before = fs::read(&disk.0).unwrap();
    place.fails(&["encrypt", "-k", "file:k", "-o", &disk.0, "in"], 8, &["block device", "hint: overwrite it with -f"]);
    place.fails(&["key", "new", &disk.0], 8, &["exists"]);
    assert!(fs::read(&disk.0).unwrap() == before);
    for more in ["-q", "--no-sync"] {
        let ran = place.ok(&[&ENCRYPT[..], &[more, "-o", &disk.0, "in"]].concat());
        let first = format!("head -c {} ", sealed_len(50_000));
        assert_eq!(ran.stderr.contains(&first), more != "-q", "{}", ran.stderr);
        let now = fs::read(&disk.0).unwrap();
        assert!(now[sealed_len(50_000)..] == before[sealed_len(50_000)..]);
        place.write("copy.wax", &now[..sealed_len(50_000)]);
        place.ok(&["verify", "-k", "file:k", "copy.wax"]);
    }
    // The run without `--no-sync` has synced the device, so its bytes are in the image and not only in the device's
    // cache.
    assert!(fs::read(place.path("image")).unwrap()[..8] != before[..8]);
}

/// If the user can write to a folder but not read it, the program cannot open the folder to sync it. The output is
/// still written.
#[test]
fn a_folder_that_may_not_be_read_takes_an_output() {
    let place = Place::new();
    let mut unprivileged = place.unprivileged(&["key", "new", "box/k"]);
    fs::create_dir(place.path("box")).unwrap();
    fs::set_permissions(place.path("box"), Permissions::from_mode(0o333)).unwrap();
    let ran: Ran = unprivileged.output().unwrap().into();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    fs::set_permissions(place.path("box"), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(names(place.path("box")), ["k"]);
}

/// `/dev/fd/3` is a link that the kernel provides. Here it leads to a pipe, which has no path.
#[test]
fn a_descriptor_by_its_path_is_an_output() {
    let place = Place::new();
    place.write("in", "content");
    let script = format!("{WAXSEAL} encrypt -k file:k -o /dev/fd/3 in 3>&1 | cat > out.wax");
    assert!(Command::new("sh").args(["-c", &script]).current_dir(place.path("")).status().unwrap().success());
    place.ok(&["verify", "-k", "file:k", "out.wax"]);
}
