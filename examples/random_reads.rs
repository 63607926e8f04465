//! Writes a part of a sealed file to stdout. It reads only the necessary part of the file.
//!
//! ```sh
//! cargo run --release --example random_reads -- backup.key home.tar.wax 1000000 4096 | xxd
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use waxseal::keys::KeyFile;
use waxseal::{Demands, OpenReaderAt};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [key, file, offset, len] = args.as_slice() else {
        return Err("usage: random_reads KEY FILE OFFSET LEN".into());
    };
    run(key.as_ref(), file.as_ref(), offset.parse()?, len.parse()?, io::stdout().lock())
}

pub(crate) fn run(key: &Path, file: &Path, offset: u64, len: u64, mut out: impl Write) -> Result<(), Box<dyn Error>> {
    let key = KeyFile::load(key)?;
    let mut reader = OpenReaderAt::new(File::open(file)?, &[&key], &Demands::new())?;
    let all = reader.plaintext_len();
    // The length is authenticated, so the file was not truncated.
    if offset.checked_add(len).is_none_or(|end| end > all) {
        return Err(format!("the file has {all} bytes").into());
    }
    reader.seek(SeekFrom::Start(offset))?;
    io::copy(&mut reader.take(len), &mut out)?;
    Ok(out.flush()?)
}
