//! Runs the pieces of a document in one session of bash, in a folder of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::document::{Document, Piece};
use crate::services::Services;

/// How a piece ended.
pub(crate) struct Ran {
    pub(crate) output: String,
    pub(crate) code: i32,
}

/// The longest time for one document. A busy machine is slow, but does not hang.
const SECONDS: &str = "600";

/// What came of each piece: nothing if the session ended before.
pub(crate) fn run(document: &Document, services: &Services) -> Vec<Option<Ran>> {
    let pieces = services.folder().join("pieces");
    fs::create_dir(&pieces).unwrap();
    let script = fs::read_to_string(crate::support::root().join("tests/book/session.sh")).unwrap();
    let calls = document.pieces.iter().enumerate().map(|(number, piece)| {
        let (function, text) = match piece {
            Piece::Command { text, .. } => ("shown", text),
            Piece::Hidden { text, .. } => ("hidden", text),
            Piece::File { content, .. } => ("file", content),
        };
        fs::write(pieces.join(number.to_string()), text).unwrap();
        if let Piece::File { name, .. } = piece {
            fs::write(pieces.join(format!("{number}.name")), name).unwrap();
        }
        format!("__{function} {number}\n")
    });
    let script = script + &calls.collect::<String>();
    fs::write(services.folder().join("session.sh"), script).unwrap();
    // Everything that the session started ends with it.
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", SECONDS, "bash", "--noprofile", "--norc"])
        .arg(services.folder().join("session.sh"));
    command.arg(&pieces).current_dir(services.home()).env_clear().envs(services.environment());
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.expect("timeout and bash run");
    (0..document.pieces.len()).map(|number| result(&pieces, number, services)).collect()
}

fn result(pieces: &Path, number: usize, services: &Services) -> Option<Ran> {
    let code = fs::read_to_string(pieces.join(format!("{number}.code"))).ok()?;
    let output = fs::read(pieces.join(format!("{number}.out"))).unwrap_or_default();
    let output = String::from_utf8_lossy(&output).replace(services.home().to_str().unwrap(), "/home/me");
    Some(Ran { output, code: code.trim().parse().unwrap() })
}
