//! The specification and the code have the same constants.

use super::bank::{self, BankLen};
use super::{binding, front, layout, pairs, slot};

fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_spec_and_the_code_have_the_same_constants() {
    let spec = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/spec/waxseal-v1.md")).unwrap();
    let rows = rows(&spec);
    let says = |cells: &[&str]| assert!(rows.iter().any(|row| row.starts_with(cells)), "the spec has no row {cells:?}");
    let magic = bank::MAGIC.map(|byte| format!("{byte:02X}")).join(" ");
    says(&["0", "8", "magic", &format!("`{magic}`"), "yes"]);
    says(&["8", "2", "version", &bank::VERSION.to_string(), "yes"]);
    let lens = BankLen::ALL.map(|len| len.get().to_string());
    let (last, others) = lens.split_last().unwrap();
    says(&["12", "4", "bank_len", &format!("{} or {last}", others.join(", ")), "no"]);
    says(&["20", "2", "slot_count", &format!("1 to {}", slot::MAX_SLOTS), "no"]);
    says(&["98", "2", "pair_count", &format!("0 to {}", pairs::MAX_PAIRS), "yes"]);
    says(&["bank_len - 32", &bank::CHECKSUM_LEN.to_string(), "check"]);
    says(&["2", "`keyfile`", "32 lower-case hexadecimal digits", &format!("{} bytes", slot::KEYFILE_WRAPPED_LEN)]);
    says(&["3", "`passphrase`", "empty", &format!("{} bytes", slot::PASSPHRASE_WRAPPED_LEN)]);
    says(&["chunks", &format!("2^{}", layout::MAX_CHUNKS.ilog2())]);
    says(&["plaintext", &format!("2^{} - 1 bytes", (layout::MAX_PLAINTEXT + 1).ilog2())]);
    says(&["header", &format!("{} bytes", BankLen::MAX.header_len())]);
    says(&["slots", &format!("1 to {}", slot::MAX_SLOTS)]);
    says(&["pairs; labels", &format!("{0}; {0}", pairs::MAX_PAIRS)]);
    says(&["p - 96 (flags, counts, pairs and labels)", &format!("{} bytes", binding::BINDING_MAX)]);
    says(&["KMS blob", &format!("1 to {} bytes", slot::KMS_WRAPPED_MAX)]);
    let read_most = format!("{} + {}", BankLen::MAX.header_len(), layout::MIN_PAYLOAD);
    says(&["bytes read before the first chunk", &read_most]);
    assert_eq!(front::FRONT_LEN, BankLen::MAX.header_len() + layout::MIN_PAYLOAD);
    let places = front::PLACES.map(|place| place.to_string()).join(", ").replace(", 65536", " and 65536");
    assert!(spec.contains(&format!("The six places are the offsets {places}.")), "the six places: {places}");
    let large = layout::LARGE_INPUT.to_string();
    assert!(spec.contains(&format!("4 MiB ({large} bytes) or more")), "the large input: {large}");
    let chunk = layout::CHUNK_LEN;
    assert!(spec.contains(&format!("cut into chunks of {chunk} bytes")), "the chunk: {chunk}");
}
