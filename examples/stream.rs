//! Seals data from a pipe, or opens it again.
//!
//! ```sh
//! tar -c home | cargo run --release --example stream -- seal backup.key | ssh store 'cat >home.tar.wax'
//! ssh store 'cat home.tar.wax' | cargo run --release --example stream -- open backup.key | tar -x
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::path::Path;

use waxseal::keys::KeyFile;
use waxseal::{Demands, OpenReader, SealOptions, SealWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [command, key] = args.as_slice() else { return Err("usage: stream seal|open KEY <IN >OUT".into()) };
    run(command, key.as_ref(), io::stdin().lock(), io::stdout().lock())
}

pub(crate) fn run(
    command: &str,
    key: &Path,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<(), Box<dyn Error>> {
    let key = KeyFile::load(key)?;
    match command {
        "seal" => {
            let mut writer = SealWriter::new(output, &[&key], &SealOptions::new())?;
            io::copy(&mut input, &mut writer)?;
            // The file is complete only now. If the writer is dropped before, no reader accepts the file as complete.
            output = writer.finish()?;
        }
        // The output before an error is authentic but incomplete. If you need all of it, check the result.
        "open" => {
            io::copy(&mut OpenReader::new(input, &[&key], &Demands::new())?, &mut output)?;
        }
        other => return Err(format!("no command {other}").into()),
    }
    Ok(output.flush()?)
}
