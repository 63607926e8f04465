//! Seals a file into another one on up to 8 cores, or opens it again.
//!
//! ```sh
//! waxseal key new backup.key
//! cargo run --release --example files -- seal backup.key home.tar home.tar.wax
//! cargo run --release --example files -- open backup.key home.tar.wax again.tar
//! ```

use std::error::Error;
use std::path::Path;

use waxseal::io::Missed;
use waxseal::keys::KeyFile;
use waxseal::{Demands, FileOptions, SealOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [command, key, input, output] = args.as_slice() else { return Err("usage: files seal|open KEY IN OUT".into()) };
    run(command, key.as_ref(), input.as_ref(), output.as_ref())
}

pub(crate) fn run(command: &str, key: &Path, input: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let key = KeyFile::load(key)?;
    let files = FileOptions::new();
    match command {
        "seal" => warn(&files.encrypt(input, output, &[&key], &SealOptions::new())?.missed),
        "open" => warn(&files.decrypt(input, output, &[&key], &Demands::new())?.missed),
        other => return Err(format!("no command {other}").into()),
    }
    Ok(())
}

/// The file exists and is complete. Guarantees that the file system could not give are reported.
#[allow(clippy::print_stderr, reason = "an example says what happened")]
fn warn(missed: &[Missed]) {
    missed.iter().for_each(|missed| eprintln!("warning: {missed}"));
}
