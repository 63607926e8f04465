//! What every backend must do. The known answers were computed with Python's `hmac`.

use super::*;
use crate::format::{CHUNK_LEN, SEALED_CHUNK_LEN};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(byte: u8) -> DataKey {
    DataKey::from_slice(&[byte; KEY_LEN]).unwrap()
}

fn derive(suite: Suite) -> (PayloadKeys, Commitment) {
    PayloadKeys::derive(&key(9), suite, &[1; 24], b"context")
}

#[test]
fn hkdf_gives_the_known_answer() {
    let mut out = [0; 130];
    hkdf_expand_sha512(&[7; 32], &[b"in", b"fo"], &mut out);
    // From the end of the first block, through the second one, into the third one.
    let known = "05fae4e0328d087e1d2fdde66ea2cd0756294c8b4d82bda218fc1f0902dc6a8825f9bab11341d326\
                 d522cbb2738f223fdeb05316ae3216f0bc99e47809bfddc9b3c937819059";
    assert_eq!(hex(&out[60..]), known);
}

#[test]
fn the_schedule_gives_the_known_answers() {
    let known = [
        (
            Suite::Aes256Gcm,
            "6cb7544f3f2dbb7028e18f90",
            "df5479d239a33bdc60b3e9b99c0ac4f4e13cb0b2fed2216570eb90579419b0ab",
        ),
        (
            Suite::ChaCha20Poly1305,
            "2f779bfe1644d6c57370a931",
            "0f1f7203954fb797464447c3a8e3d8df6475a8e70169179634e04ccf4e0efd7e",
        ),
    ];
    for (suite, nonce, committed) in known {
        let (keys, commitment) = derive(suite);
        assert_eq!(hex(keys.base_nonce.as_slice()), nonce);
        assert_eq!(hex(commitment.as_bytes()), committed);
        let mut other = *commitment.as_bytes();
        assert!(commitment.matches(&other));
        other[31] ^= 1;
        assert!(!commitment.matches(&other));
    }
}

#[test]
fn chunk_numbers_count_up() {
    let first = ChunkIndex::FIRST;
    assert_eq!((first.get(), first.next().map(ChunkIndex::get)), (0, Some(1)));
    assert_eq!(
        ChunkIndex::new(7).unwrap().next().map(|index| (index.get(), index.plaintext_offset())),
        Some((8, 131_072))
    );
}

#[test]
fn a_chunk_of_every_length_opens() {
    let (sealer, opener) = (ChunkSealer::new(derive(Suite::default()).0), ChunkOpener::new(derive(Suite::default()).0));
    let index = ChunkIndex::new(5).unwrap();
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN] {
        let text = vec![0x5a; len];
        let mut sealed = vec![0; len + TAG_LEN];
        sealer.seal(index, &text, &mut sealed).unwrap();
        assert_eq!(opener.open(index, &mut sealed.clone()).unwrap(), text);
        let mut tried = sealed.clone();
        assert!(opener.try_open(index, &mut tried));
        assert_eq!(tried[..len], text);
        assert!(!opener.try_open(ChunkIndex::FIRST, &mut sealed.clone()));
        assert!(sealer.seal(index, &text, &mut vec![0; len + TAG_LEN + 1]).is_err());
    }
}

/// A chunk that is too long is refused, even if its first bytes are a valid chunk.
#[test]
fn no_chunk_has_another_length() {
    let (sealer, opener) = (derive(Suite::default()).0, ChunkOpener::new(derive(Suite::default()).0));
    let mut long = vec![0; SEALED_CHUNK_LEN + 1];
    sealer.aead.seal(*sealer.base_nonce, &[0x5a; CHUNK_LEN + 1], &mut long);
    let full = Tampered::Chunk { index: 0, offset: 0 };
    assert!(!opener.try_open(ChunkIndex::FIRST, &mut long.clone()));
    assert_eq!(opener.open_into(ChunkIndex::FIRST, &long, &mut [0; CHUNK_LEN + 1]), Err(full.clone()));
    assert_eq!(opener.open(ChunkIndex::FIRST, &mut long).unwrap_err(), full);
    let cut = Tampered::Truncated { offset: 0 };
    assert!(!opener.try_open(ChunkIndex::FIRST, &mut [0; TAG_LEN - 1]));
    assert_eq!(opener.open(ChunkIndex::FIRST, &mut [0; TAG_LEN - 1]).unwrap_err(), cut);
    let last = Tampered::LastChunk { index: 0, offset: 0 };
    assert_eq!(opener.open(ChunkIndex::FIRST, &mut [0; TAG_LEN]).unwrap_err(), last);
    assert_eq!(opener.open(ChunkIndex::FIRST, &mut vec![0; SEALED_CHUNK_LEN]).unwrap_err(), full);
}

#[test]
fn a_message_opens_under_its_key_and_context_alone() {
    let message = wrap_message(&key(1), b"context", &key(2)).unwrap();
    let opened = |message: &[u8]| unwrap_message(&key(1), b"context", message).map(|key| *key.expose());
    assert_eq!(opened(&message), Some([2; KEY_LEN]));
    assert!(unwrap_message(&key(3), b"context", &message).is_none());
    assert!(unwrap_message(&key(1), b"other", &message).is_none());
    for at in [0, 30, 60, 103] {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert_eq!(opened(&changed), None, "{at}");
    }
    assert_eq!(opened(&message[..103]), None);
    assert_eq!(opened(&[message.as_slice(), &[0]].concat()), None);
    // A salt is never used twice with one input key.
    assert_ne!(wrap_message(&key(1), b"context", &key(2)).unwrap()[..24], message[..24]);
}

/// Features choose the backend, and Cargo unites the features of all packages in a build. So a test run for one backend
/// states which one it expects. If the processor decides, it states several, separated by commas.
#[test]
#[allow(clippy::print_stdout, reason = "which backend was tested is worth a line")]
fn the_backend_is_the_expected_one() {
    let backend = format!("{:?}", Backend::default());
    println!("the AEADs are by {backend}");
    if let Ok(expected) = std::env::var("WAXSEAL_EXPECT_BACKEND") {
        assert!(expected.split(',').any(|name| name == backend), "{backend} is used, {expected} was expected");
    }
}
