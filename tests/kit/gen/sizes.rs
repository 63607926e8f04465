//! Whole files: sizes, suites, lengths of banks.

use super::super::encode::{CHUNK, Make, Wrap, text};
use super::super::vector::Vector;

pub(crate) fn make(out: &mut Vec<Vector>) {
    plaintext_sizes(out);
    bank_lengths(out);
    example(out);
    minimal(out);
}

fn plaintext_sizes(out: &mut Vec<Vector>) {
    for suite in [1, 2] {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1] {
            let file = Make::with(|make| {
                make.suite = suite;
                make.plaintext = text(len);
            });
            let name = format!("size_{len}_suite{suite}");
            out.push(Vector::opens(&name, &file.plaintext, file.file()).key(1).musts("last-short bound-context"));
        }
    }
}

fn bank_lengths(out: &mut Vec<Vector>) {
    for (bank_len, suite) in [(8192, 2), (16_384, 1), (32_768, 2), (65_536, 1)] {
        let file = Make::with(|make| {
            make.bank_len = bank_len;
            make.suite = suite;
        });
        let name = format!("bank_len_{bank_len}");
        out.push(Vector::opens(&name, &file.plaintext, file.file()).key(1).musts("banks-equal gen-one read-most"));
    }
}

/// The example of the specification's section 20.
fn example(out: &mut Vec<Vector>) {
    let spec = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("spec");
    let body = std::fs::read(spec.join("example.wax")).unwrap();
    let key = std::fs::read(spec.join("example.key")).unwrap();
    let vector = Vector::opens("example", b"hello, waxseal\n", body).key_text(key);
    out.push(vector.pair("project=demo").label("host=example").says("the worked example of the specification"));
}

fn minimal(out: &mut Vec<Vector>) {
    let file = Make::with(|make| {
        make.pairs = vec![0, 0];
        make.labels = vec![0, 0];
        make.plaintext.clear();
        make.slots = vec![Wrap::Key(1)];
    });
    assert!(file.file().len() == 8264 && file.p() == 102);
    out.push(Vector::opens("smallest", b"", file.file()).key(1).says("8264 bytes, no pairs, no labels, no plaintext"));
    let shared = Make::with(|make| make.flags = 1);
    let vector = Vector::opens("shared_flag", &shared.plaintext, shared.file()).key(1).musts("bank-flags share-flag");
    out.push(vector.says("flag bit 0 says that other files have the same data key"));
}
