//! Readers that were written from the specification alone: what they are given, and what is wrong with their answers.
//! A crate with this module also has `kit`.
#![allow(dead_code, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod program;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kit::encode::{hex, sha256};
use crate::kit::run::unhex;
use crate::kit::vector::{Class, Vector};

/// How a reader takes a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataKey {
    /// 32 bytes in a file, for every slot.
    Raw,
    /// What the command line tool of AWS prints, for the slot with one key id.
    Answer,
}

/// The arguments of a reader. The files that they name are written into `folder`.
pub(crate) fn arguments(vector: &Vector, folder: &Path, data_key: DataKey) -> Vec<String> {
    let mut args = Vec::new();
    let mut add = |option: &str, content: &[u8]| {
        let path = folder.join(format!("{}.{}", vector.name, args.len()));
        std::fs::write(&path, content).unwrap();
        let path = path.into_os_string().into_string().unwrap();
        match option.contains('=') {
            true => args.push(format!("{option}={path}")),
            false => args.extend([option.into(), path]),
        }
    };
    for (key, value) in &vector.lines {
        match key.as_str() {
            "keyfile" => add("--keyfile", value.as_bytes()),
            "keyfile-hex" => add("--keyfile", &unhex(value)),
            // One line feed at the very end is not part of the passphrase.
            "passphrase" => add("--passphrase-file", &[value.as_bytes(), b"\n"].concat()),
            "passphrase-hex" => add("--passphrase-file", &[unhex(value).as_slice(), b"\n"].concat()),
            "identity" => add("--identity", value.as_bytes()),
            "identity-hex" => add("--identity", &unhex(value)),
            "recipient-hex" => add("--recipient", &unhex(value)),
            "data-key" if data_key == DataKey::Raw => add("--data-key-file", &unhex(value.split_once(' ').unwrap().0)),
            "data-key" | "shared-secret" => {
                let (answer, id) = value.split_once(' ').unwrap();
                let answer = format!("{}\n", STANDARD.encode(unhex(answer)));
                add(&format!("--{key}={id}"), answer.as_bytes());
            }
            _ => {}
        }
    }
    let demands =
        |option: &str, key: &str| vector.all(key).flat_map(|demand| [option.into(), demand.to_owned()]).collect();
    let demands: [Vec<String>; 2] = [demands("-c", "pair"), demands("-l", "label")];
    args.extend(demands.concat());
    let input = folder.join(&vector.name);
    std::fs::write(&input, &vector.body).unwrap();
    args.extend([input.into_os_string().into_string().unwrap(), "-".into()]);
    args
}

/// What a reader said: exit code, standard error, length and hash of what came out.
pub(crate) type Answer = (u8, String, usize, String);

pub(crate) fn fault_of(vector: &Vector, (exit, errors, len, hash): &Answer, knows_size: bool) -> Option<String> {
    let lines = || errors.lines().filter_map(|line| line.strip_prefix("reader: "));
    let class = lines().find_map(|line| line.split_once(": ").filter(|(class, _)| *class != "warning"));
    let class = class.map_or("success", |(class, _)| class);
    let expected = vector.expected();
    let is_expected = class == expected.name() && *exit == vector.expected_exit();
    let is_allowed = is_expected || knows_size && vector.may_end_in(Class::parse(class));
    if !is_allowed {
        return Some(format!("ends in {class}, exit code {exit}, not in {expected:?}: {errors}"));
    }
    let is_early = knows_size && expected != Class::Success && *len == 0;
    if (*len, hash.clone()) != vector.allowed() && !is_early {
        return Some(format!("gives {len} bytes that are not those expected"));
    }
    let warnings = lines().filter_map(|line| line.strip_prefix("warning: ")).map(|warning| match warning {
        "bank 0 is damaged" => "bank-0-damaged",
        "bank 1 is damaged" => "bank-1-damaged",
        _ => "banks-differ",
    });
    let same = warnings.eq(vector.all("warning"));
    // Who has no `Sealed` is not told of its warning.
    let is_silent = matches!(expected, Class::Header | Class::Newer) || knows_size && expected != Class::Success;
    (!same && !is_silent).then(|| format!("warns otherwise: {errors}"))
}

pub(crate) fn faults_of(vectors: &[Vector], answers: &[Answer], knows_size: bool) -> String {
    let faults = vectors.iter().zip(answers).filter_map(|(vector, answer)| {
        fault_of(vector, answer, knows_size).map(|fault| format!("{}: {fault}", vector.name))
    });
    faults.collect::<Vec<_>>().join("\n")
}

/// Runs `command` for each vector, on a few threads.
pub(crate) fn answers_of(command: &(impl Fn() -> Command + Sync), vectors: &[Vector]) -> Vec<Answer> {
    let folder = tempfile::tempdir().unwrap();
    let answer = |vector: &Vector| {
        let output = command().args(arguments(vector, folder.path(), DataKey::Answer)).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let code = u8::try_from(output.status.code().unwrap()).unwrap();
        (code, errors, output.stdout.len(), hex(&sha256(&output.stdout)))
    };
    std::thread::scope(|scope| {
        let parts = vectors.chunks(vectors.len().div_ceil(4));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| part.iter().map(answer).collect())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Vec<Answer>>>().concat()
    })
}
