//! The input files of the programs.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::options::show_size;
use crate::peers::Found;
use crate::series::Series;
use crate::workplace::Workplace;

/// The page cache keeps a file in pieces as large as the writes that created it. Small pieces are slower to read.
const PIECE: usize = 128 << 10;

/// A folder with a plaintext of `len` bytes, and with the sealed files that `series` name.
pub(crate) fn prepare(workplace: &Workplace, len: u64, series: &[&Series], found: &Found) -> PathBuf {
    eprintln!("making files of {}", show_size(len));
    let folder = workplace.folder().join("files");
    make(workplace, &folder, len);
    let used = |name: &str| series.iter().flat_map(|one| &one.runs).any(|run| run.uses(name));
    for peer in std::iter::once(&found.tool).chain(&found.peers).chain(&found.kms).filter(|peer| used(peer.sealed)) {
        workplace.shell(&folder, &format!("{} && mv out {}", peer.seal, peer.sealed)).unwrap();
        rewrite(&folder.join(peer.sealed));
    }
    folder
}

/// A new folder. Its file `in` contains the files of the Rust toolchain, repeated as often as necessary.
pub(crate) fn make(workplace: &Workplace, folder: &Path, len: u64) {
    fs::create_dir(folder).unwrap();
    let path = folder.join("in");
    let sysroot = workplace.shell(workplace.folder(), "rustc --print sysroot").unwrap();
    let files = files(Path::new(sysroot.trim()));
    let (mut out, mut left) = (File::create(&path).unwrap(), len);
    for file in files.iter().cycle() {
        left -= std::io::copy(&mut File::open(file).unwrap().take(left), &mut out).unwrap();
        if left == 0 {
            break;
        }
    }
    rewrite(&path);
}

/// All files below `folder` that are not empty, always in the same order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() && entry.metadata().unwrap().len() > 0 => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "the toolchain has no files");
    found
}

/// Writes the file again in large pieces, and syncs it, because only clean pages can be dropped.
fn rewrite(path: &Path) {
    let new = path.with_extension("new");
    let (mut from, mut to) = (File::open(path).unwrap(), File::create(&new).unwrap());
    let mut piece = vec![0; PIECE];
    loop {
        let mut len = 0;
        while len < PIECE {
            match from.read(&mut piece[len..]).unwrap() {
                0 => break,
                read => len += read,
            }
        }
        if len == 0 {
            break;
        }
        to.write_all(&piece[..len]).unwrap();
    }
    to.sync_all().unwrap();
    fs::rename(new, path).unwrap();
}
