//! `rewrap` with local keys, `rewrap --repair`, and `salvage`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use cli_support::{Place, Ran, noise};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn json_of(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&place.run(args).text()).unwrap()
}

#[test]
fn local_keys_change_with_leave() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    let before = place.sealed("in.wax", &noise(30_000));
    place.fails(
        &["rewrap", "--to", "file:k2", "-k", "file:k", "in.wax"],
        2,
        &["unwrapped on this machine", "--allow-unwrap"],
    );
    assert!(place.read("in.wax") == before);
    let told = json_of(&place, &["rewrap", "--json", "--allow-unwrap", "--to", "file:k2", "-k", "file:k", "in.wax"]);
    assert_eq!((&told["ok"], &told["outcome"]), (&json!(true), &json!("changed")));
    let after = place.read("in.wax");
    assert!(after[8192..] == before[8192..] && after[..8192] != before[..8192]);
    place.ok(&["verify", "-k", "file:k2", "in.wax"]);
    place.fails(&["verify", "-k", "file:k", "in.wax"], 5, &[]);
    let again = place.ok(&["rewrap", "--allow-unwrap", "--to", "file:k2", "-k", "file:k2", "in.wax"]);
    assert_eq!(again.text(), "in.wax: unchanged\n");
    assert_eq!(place.ok(&["rewrap", "in.wax"]).text(), "in.wax: unchanged\n");
    place.write("pass", "word");
    place.ok(&["rewrap", "--allow-unwrap", "--add", "passphrase:file=pass", "-k", "file:k2", "in.wax"]);
    place.ok(&["verify", "-k", "passphrase:file=pass", "in.wax"]);
    place.ok(&["rewrap", "--remove", "file:k2", "in.wax"]);
    place.fails(&["rewrap", "--remove", "passphrase", "in.wax"], 2, &["last key"]);
    place.fails(&["rewrap", "--from", "file:k", "in.wax"], 2, &["--to"]);
    place.fails(&["rewrap", "--remove", "slot:x", "in.wax"], 2, &["hint: ", "slot:0"]);
    place.fails(&["rewrap", "-"], 2, &["-o"]);
    place.fails(&["rewrap", "missing.wax"], 10, &[]);
    place.write("text.wax", "text");
    place.fails(&["rewrap", "text.wax"], 3, &["not a waxseal file"]);
}

#[test]
fn a_wrong_key_changes_nothing() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    let before = place.sealed("in.wax", b"content");
    place.fails(&["rewrap", "--allow-unwrap", "--add", "file:k2", "-k", "file:k2", "in.wax"], 5, &["no key"]);
    place.fails(&["rewrap", "--allow-unwrap", "--to", "file:k2", "-k", "file:k2", "in.wax"], 5, &["no key"]);
    assert!(place.read("in.wax") == before);
}

#[test]
fn a_local_key_asks_which_slot_goes() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.ok(&["key", "new", "k3"]);
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-k", "file:k2", "in"]);
    let args = ["rewrap", "--allow-unwrap", "-k", "file:k", "--to", "file:k3", "in.wax"];
    place.fails(&args, 2, &["2 slots", "--from"]);
    place.ok(&[&args[..], &["--from", "file:k2"]].concat());
    place.ok(&["verify", "-k", "file:k3", "in.wax"]);
    place.fails(&["verify", "-k", "file:k2", "in.wax"], 5, &[]);
}

#[test]
fn a_copy_never_replaces_a_key_file() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.sealed("in.wax", b"content");
    let before = place.read("k2");
    let unwrap = ["--allow-unwrap", "-k", "file:k"];
    for named in [
        &["--to", "file:k2"][..],
        &["--add", "file:k2"],
        &["--remove", "file:k2"],
        &["--to", "file:k", "--from", "file:k2"],
    ] {
        let args = [&["rewrap", "-f", "-o", "k2"][..], &unwrap, named, &["in.wax"]].concat();
        place.fails(&args, 2, &["key file"]);
    }
    assert!(place.read("k2") == before);
}

#[test]
fn two_at_once_are_refused() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    let file = File::open(place.path("in.wax")).unwrap();
    file.lock().unwrap();
    place.fails(&["rewrap", "in.wax"], 7, &["another rewrap"]);
}

#[test]
fn repair_puts_a_bank_back() {
    let place = Place::new();
    let whole = place.sealed("in.wax", &noise(10_000));
    for bank in [0, 4096] {
        let mut file = whole.clone();
        file[bank + 100..bank + 300].fill(0xff);
        place.write("in.wax", &file);
        let ran = place.ok(&["rewrap", "--repair", "in.wax"]);
        assert!(ran.stderr.contains("damaged"), "{}", ran.stderr);
        let kept = place.read(&format!("in.wax.replaced-bank{}", bank / 4096));
        assert!(kept == file[bank..bank + 4096]);
        let sum: String = Sha256::digest(&kept).iter().map(|byte| format!("{byte:02x}")).collect();
        let said = ran.text();
        assert!(said.contains(&format!("in.wax.replaced-bank{} (SHA-256 {sum})", bank / 4096)), "{said}");
        assert!(said.len() < 400, "{said}");
        assert!(place.read("in.wax") == whole);
    }
    let told = json_of(&place, &["rewrap", "--repair", "--json", "in.wax"]);
    assert_eq!(told["outcome"], "unchanged");
}

/// The bytes that a repair overwrites are nowhere else, so a later failure must not hide where they are kept. The
/// program checks for refusals before it writes.
#[test]
fn the_bytes_that_a_repair_replaced_are_told() {
    let place = Place::new();
    let whole = place.sealed("in.wax", &noise(10_000));
    let mut file = whole.clone();
    file[100..300].fill(0xff);
    place.write("in.wax", &file);
    place.fails(&["rewrap", "--repair", "--remove", "slot:0", "in.wax"], 2, &["last key"]);
    assert!(place.read("in.wax") == file, "a refused repair has changed the file");
    assert_eq!(place.names(), ["in.wax", "k"], "replaced bytes were kept");
    let ran = place.ok(&["rewrap", "-q", "--repair", "in.wax"]);
    assert!(ran.text().contains("in.wax.replaced-bank0"), "{}", ran.text());
    let ran = place.ok(&["rewrap", "-q", "in.wax"]);
    assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""), "quiet");
}

/// Damages bank 0 of `in.wax`. Returns the damaged bank.
fn damaged(place: &Place, whole: &[u8], filler: u8) -> Vec<u8> {
    let mut file = whole.to_vec();
    file[100..300].fill(filler);
    place.write("in.wax", &file);
    file[..4096].to_vec()
}

#[test]
fn what_a_repair_replaced_never_replaces_a_file() {
    let place = Place::new();
    let whole = place.sealed("in.wax", &noise(10_000));
    let first = damaged(&place, &whole, 1);
    place.ok(&["rewrap", "--repair", "in.wax"]);
    let second = damaged(&place, &whole, 2);
    let told = json_of(&place, &["rewrap", "--repair", "--json", "in.wax"]);
    assert_eq!(told["repaired"][0]["before_file"], "in.wax.replaced-bank0-2");
    assert!(place.read("in.wax.replaced-bank0") == first && place.read("in.wax.replaced-bank0-2") == second);
    // A symbolic link is a taken name, even if its target does not exist.
    std::os::unix::fs::symlink("elsewhere", place.path("in.wax.replaced-bank0-3")).unwrap();
    damaged(&place, &whole, 3);
    let told = json_of(&place, &["rewrap", "--repair", "--json", "in.wax"]);
    assert_eq!(told["repaired"][0]["before_file"], "in.wax.replaced-bank0-4");
    assert!(!place.exists("elsewhere"));
    // If every name is taken, nothing is overwritten, not even the damaged bank.
    for number in 5..=100 {
        place.write(&format!("in.wax.replaced-bank0-{number}"), "");
    }
    damaged(&place, &whole, 4);
    let before = place.read("in.wax");
    place.fails(&["rewrap", "--repair", "in.wax"], 7, &["replaced-bank0-100 are taken"]);
    assert!(place.read("in.wax") == before);
    for entry in place.names() {
        assert!(!entry.starts_with(".waxseal-"), "{entry}");
    }
}

#[test]
fn what_a_repair_replaced_is_as_private_as_the_file() {
    let place = Place::new();
    let whole = place.sealed("in.wax", &noise(10_000));
    for mode in [0o600, 0o640, 0o644] {
        damaged(&place, &whole, 1);
        fs::set_permissions(place.path("in.wax"), Permissions::from_mode(mode)).unwrap();
        if cli_support::is_root() {
            chown(place.path("in.wax"), Some(12_345), Some(12_346)).unwrap();
        }
        let told = json_of(&place, &["rewrap", "--repair", "--json", "in.wax"]);
        let kept = fs::metadata(place.path(told["repaired"][0]["before_file"].as_str().unwrap())).unwrap();
        let own = fs::metadata(place.path("in.wax")).unwrap();
        assert_eq!((kept.mode() & 0o7777, kept.uid(), kept.gid()), (mode, own.uid(), own.gid()));
    }
    if !cli_support::is_root() {
        skipped::skipped("what_a_repair_replaced_is_as_private_as_the_file: the owner", "only root gives files away");
    }
}

#[test]
fn a_name_that_is_as_long_as_names_may_be_is_cut() {
    let place = Place::new();
    let name = format!("{}.wax", "x".repeat(251));
    let mut file = place.sealed(&name, &noise(10_000));
    file[100..300].fill(0xff);
    place.write(&name, &file);
    let told = json_of(&place, &["rewrap", "--repair", "--json", &name]);
    let kept = told["repaired"][0]["before_file"].as_str().unwrap().to_owned();
    assert!(kept.len() == 255 && kept.ends_with("x.replaced-bank0"), "{kept}");
    assert!(place.read(&kept) == file[..4096]);
}

#[test]
fn repair_of_the_prelude_takes_a_key() {
    let place = Place::new();
    let whole = place.sealed("in.wax", &noise(10_000));
    let mut file = whole.clone();
    file[8192..8200].fill(0);
    place.write("in.wax", &file);
    place.fails(&["verify", "-k", "file:k", "in.wax"], 4, &["rewrap --repair"]);
    place.fails(&["rewrap", "--repair", "in.wax"], 4, &["-k KEY"]);
    assert!(place.read("in.wax") == file);
    let told = json_of(&place, &["rewrap", "--repair", "-k", "file:k", "--json", "in.wax"]);
    assert_eq!((&told["outcome"], &told["repaired"][0]["part"]), (&json!("repaired"), &json!("salt and commitment")));
    assert!(place.read("in.wax") == whole);
    // The replaced bytes are few. The message contains them, and no file is written.
    place.write("in.wax", &file);
    let ran = place.ok(&["rewrap", "--repair", "-k", "file:k", "in.wax"]);
    assert!(ran.text().contains("were (base64): "), "{}", ran.text());
    assert_eq!(place.names(), ["in.wax", "k"]);
}

#[test]
fn salvage_rescues_what_authenticates() {
    let place = Place::new();
    let plain = noise(200_000);
    let mut file = place.sealed("in.wax", &plain);
    // Chunk 3 altered.
    file[8192 + 56 + 3 * 16_400 + 5] ^= 1;
    place.write("in.wax", &file);
    let ran = place.fails(
        &["salvage", "-k", "file:k", "-o", "out", "--map", "map", "in.wax"],
        4,
        &["49152..65536", "hint: "],
    );
    assert!(ran.stdout.is_empty());
    let out = place.read("out");
    assert_eq!(out.len(), plain.len());
    assert!(out[..49_152] == plain[..49_152] && out[65_536..] == plain[65_536..]);
    assert!(out[49_152..65_536].iter().all(|byte| *byte == 0));
    assert_eq!(place.mode("out"), 0o600);
    let map = String::from_utf8(place.read("map")).unwrap();
    assert!(map.lines().any(|line| line.ends_with("  -")), "{map}");
    let told = json_of(&place, &["salvage", "-f", "--json", "-k", "file:k", "-o", "out", "in.wax"]);
    assert_eq!((&told["exit"], &told["ok"], &told["failed_at"]), (&json!(4), &json!(false), &json!(49_152)));
    assert_eq!(told["salvage"]["lost"][0]["plaintext"], json!([49_152, 65_536]));
    assert_eq!((&told["bytes"], &told["output"]), (&json!(200_000 - 16_384), &json!("out")));
}

#[test]
fn salvage_of_a_whole_file_is_exit_0() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    let ran = place.ok(&["salvage", "-k", "file:k", "-o", "out", "in.wax"]);
    assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (&b""[..], ""));
    assert_eq!(place.read("out"), b"content");
    place.fails(&["salvage", "-k", "file:k", "-o", "out", "in.wax"], 8, &["exists"]);
}

#[test]
fn a_map_that_cannot_be_made_is_named_with_its_option() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    place.write("map", "mine");
    for (map, code) in [("map", 8), ("/dev/null", 2), ("in.wax", 2), ("nowhere/map", 7)] {
        let ran = place.run(&["salvage", "-k", "file:k", "-o", "out", "--map", map, "in.wax"]);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(!ran.stderr.contains("-o"), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("--map"), code != 7, "{}", ran.stderr);
        assert!(!place.exists("out"));
    }
    assert_eq!(place.read("map"), b"mine");
}

#[test]
fn salvage_never_writes_to_a_pipe_nor_reads_one() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    for output in ["-", "/dev/zero"] {
        place.fails(&["salvage", "-k", "file:k", "-o", output, "in.wax"], 2, &["not to a pipe"]);
    }
    place.fails(&["salvage", "-k", "file:k", "-f", "-o", "in.wax", "in.wax"], 2, &["is the input"]);
    for map in ["x", "./x", "../{}/x", "link"] {
        let map = map.replace("{}", &place.path("").file_name().unwrap().to_string_lossy());
        std::os::unix::fs::symlink("x", place.path("link")).unwrap();
        place.fails(&["salvage", "-k", "file:k", "-o", "x", "--map", &map, "in.wax"], 2, &["the same file"]);
        std::fs::remove_file(place.path("link")).unwrap();
    }
    place.fails(&["salvage", "-k", "file:k", "-o", "x", "/dev/zero"], 2, &["stream"]);
    place.ok(&["key", "new", "k2"]);
    place.fails(&["salvage", "-k", "file:k2", "-o", "x", "in.wax"], 5, &["keyfile"]);
    place.write("text", "text");
    place.fails(&["salvage", "-k", "file:k", "-o", "x", "text"], 3, &[]);
    assert_eq!(place.names(), ["in.wax", "k", "k2", "text"]);
}

/// Other files that have the same data key are not changed. The user must confirm this before the rewrap.
#[test]
fn a_shared_data_key_asks_to_be_confirmed() {
    let place = Place::new();
    place.ok(&["key", "new", "k2"]);
    place.write("in", "content");
    place.ok(&["encrypt", "-k", "file:k", "-k", "file:k2", "in"]);
    let mut file = place.read("in.wax");
    for bank in [0, 4096] {
        file[bank + 96] = 1;
        let sum = Sha256::digest(&file[bank..bank + 4064]);
        file[bank + 4064..bank + 4096].copy_from_slice(&sum);
    }
    place.write("in.wax", &file);
    let args = ["rewrap", "--remove", "slot:1", "in.wax"];
    let mut command = std::process::Command::new("setsid");
    command.arg("-w").arg(cli_support::WAXSEAL).args(args).current_dir(place.path(""));
    let ran: cli_support::Ran = command.output().unwrap().into();
    ran.failed(2, &["shares", "--yes"]);
    assert!(place.read("in.wax") == file);
    place.ok(&["rewrap", "--yes", "--remove", "slot:1", "in.wax"]);
    assert!(place.read("in.wax") != file);
    assert!(place.ok(&["inspect", "in.wax"]).text().contains("shared with other files"));
}

/// The user cannot give files to other users. The new file keeps the group if the user is a member of it. Otherwise no
/// other group gets the rights of the old group.
#[test]
fn a_new_file_of_another_user() {
    let place = Place::new();
    place.write("in", noise(1000));
    let args = place.crowded();
    for entry in place.names() {
        fs::set_permissions(place.path(entry), Permissions::from_mode(0o666)).unwrap();
    }
    let sealed = place.read("in.wax");
    let root = cli_support::is_root();
    if !root {
        skipped::skipped("a_new_file_of_another_user: the users", "only root makes files of other users and groups");
    }
    let replaced = |own_group: u32, folder_mode: u32, mode: u32| {
        let mut command = place.unprivileged(&args);
        fs::remove_file(place.path("in.wax")).unwrap();
        place.write("in.wax", &sealed);
        if root {
            // A folder with the setgid bit gives its own group to new files. The user is not a member of that group.
            command.gid(own_group);
            chown(place.path("in.wax"), Some(0), Some(12_345)).unwrap();
        }
        fs::set_permissions(place.path(""), Permissions::from_mode(folder_mode)).unwrap();
        fs::set_permissions(place.path("in.wax"), Permissions::from_mode(mode)).unwrap();
        let old = fs::metadata(place.path("in.wax")).unwrap();
        let ran: Ran = command.output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let new = fs::metadata(place.path("in.wax")).unwrap();
        assert_ne!(new.ino(), old.ino());
        (new.gid() == old.gid(), place.mode("in.wax"))
    };
    // A member of the group. This user can write the file only as a member.
    assert_eq!(replaced(12_345, 0o2777, 0o660), (true, 0o660));
    // A user who is not a member of the group.
    let other = if root { (false, 0o666) } else { (true, 0o676) };
    assert_eq!(replaced(cli_support::NOBODY, 0o777, 0o676), other);
}

#[test]
fn a_file_that_is_named_twice_is_changed_once() {
    let place = Place::new();
    for key in ["k2", "k3"] {
        place.ok(&["key", "new", key]);
    }
    place.write("in", noise(1000));
    place.ok(&["encrypt", "-k", "file:k", "-k", "file:k2", "-k", "file:k3", "in"]);
    fs::hard_link(place.path("in.wax"), place.path("link.wax")).unwrap();
    std::os::unix::fs::symlink("in.wax", place.path("symlink.wax")).unwrap();
    let names = ["in.wax", "./in.wax", "link.wax", "symlink.wax"];
    let ran = place.ok(&[&["rewrap", "--json", "--remove", "slot:0"][..], &names].concat());
    let lines: Vec<Value> = ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["changed", "unchanged", "unchanged", "unchanged"]);
    assert_eq!((&lines[3]["file"], &lines[3]["same_file_as"]), (&json!("symlink.wax"), &json!("in.wax")));
    assert_eq!(json_of(&place, &["inspect", "--json", "in.wax"])["header"]["slots"].as_array().unwrap().len(), 2);
    let ran = place.fails(&["rewrap", "--remove", "slot:7", "in.wax", "in.wax"], 2, &["the same file as in.wax"]);
    assert!(!ran.stderr.contains("another rewrap"), "{}", ran.stderr);
}
