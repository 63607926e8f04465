//! The input files of the programs.

use std::fs::{self, File};
use std::io::{Read, Write as _};
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
    let sysroot = workplace.shell(workplace.folder(), "rustc --print sysroot").unwrap();
    let mut files = files(Path::new(sysroot.trim()));
    files.reverse();
    write_in_pieces(&mut Chain { left: files, file: None, again: Vec::new() }.take(len), &folder.join("in"));
}

/// The content of files, one after another, again and again.
struct Chain {
    /// The next file is the last one here.
    left: Vec<PathBuf>,
    file: Option<File>,
    again: Vec<PathBuf>,
}

impl std::io::Read for Chain {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.file.as_mut().map_or(Ok(0), |file| file.read(buffer))? {
                0 => {}
                read => return Ok(read),
            }
            if self.left.is_empty() {
                self.left = self.again.drain(..).rev().collect();
            }
            let Some(path) = self.left.pop() else { return Ok(0) };
            self.file = Some(File::open(&path)?);
            self.again.push(path);
        }
    }
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

/// Writes the file again in large pieces.
fn rewrite(path: &Path) {
    let new = path.with_extension("new");
    write_in_pieces(&mut File::open(path).unwrap(), &new);
    fs::rename(new, path).unwrap();
}

/// Syncs the file at the end, because only clean pages can be dropped.
fn write_in_pieces(from: &mut impl Read, path: &Path) {
    let (mut to, mut piece) = (File::create(path).unwrap(), Vec::with_capacity(PIECE));
    loop {
        piece.clear();
        from.by_ref().take(PIECE as u64).read_to_end(&mut piece).unwrap();
        if piece.is_empty() {
            break;
        }
        to.write_all(&piece).unwrap();
    }
    to.sync_all().unwrap();
}
