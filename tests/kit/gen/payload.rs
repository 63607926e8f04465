//! The payload: altered, moved, cut, and made amiss.

use super::super::encode::{CHUNK, Make, SEALED, fixed, text};
use super::super::vector::{Class, Vector};

/// Where the chunks begin in a file with banks of 4096 bytes.
const START: usize = 8192 + 56;

pub(crate) fn make(out: &mut Vec<Vector>) {
    flips(out);
    moves(out);
    cuts(out);
    ends(out);
    appended(out);
    made_amiss(out);
    empty(out);
}

fn of(suite: u16, len: usize) -> Make {
    Make::with(|make| {
        make.suite = suite;
        make.plaintext = text(len);
    })
}

fn both_suites(out: &mut Vec<Vector>, name: &str, len: usize, build: impl Fn(&mut Vec<u8>, &Make) -> Vector) {
    for suite in [1, 2] {
        let make = of(suite, len);
        let mut file = make.file();
        let vector = build(&mut file, &make);
        let name = format!("{name}_suite{suite}");
        out.push(Vector { name, body: file, ..vector }.key(1));
    }
}

/// What comes out before chunk `index` fails.
fn fails_at(make: &Make, index: usize, class: Class) -> Vector {
    Vector::fails("", class, Vec::new()).gives(&make.plaintext[..index * CHUNK])
}

fn flips(out: &mut Vec<Vector>) {
    let len = CHUNK + 50;
    let last = START + SEALED;
    let places = [
        ("chunk0_first", START, 0),
        ("chunk0_last", START + CHUNK - 1, 0),
        ("chunk0_tag", START + SEALED - 1, 0),
        ("chunk1_first", last, 1),
        ("chunk1_tag", last + 65, 1),
    ];
    for (name, at, failing) in places {
        both_suites(out, &format!("flip_{name}"), len, |file, make| {
            file[at] ^= 1;
            fails_at(make, failing, Class::Payload).musts("chunk-tag release-verified fail-loud seek-verified")
        });
    }
    let make = of(1, len);
    let body = make.file_with(|file| file[START..].fill(0));
    out.push(Vector::fails("zeroed_chunks", Class::Payload, body).key(1).musts("chunk-tag release-verified"));
    let body = make.file_with(|file| file[START + SEALED - 16..][..16].fill(0));
    out.push(Vector::fails("zeroed_tag", Class::Payload, body).key(1).musts("chunk-tag release-verified"));
}

fn moves(out: &mut Vec<Vector>) {
    let (zero, one, two) = (START, START + SEALED, START + 2 * SEALED);
    both_suites(out, "swap_chunks", 2 * CHUNK, |file, make| {
        let (first, second) = file[zero..two].split_at_mut(SEALED);
        first.swap_with_slice(second);
        fails_at(make, 0, Class::Payload).musts("chunk-tag release-verified")
    });
    both_suites(out, "repeat_chunk0", CHUNK + 10, |file, make| {
        let chunk = file[zero..one].to_vec();
        file.splice(one..one, chunk);
        fails_at(make, 1, Class::Payload).musts("chunk-tag fail-loud")
    });
    both_suites(out, "drop_chunk0", CHUNK + 10, |file, make| {
        file.drain(zero..one);
        fails_at(make, 0, Class::Payload).musts("chunk-tag end-truncated")
    });
    let make = of(1, 2 * CHUNK + 10);
    let body = make.file_with(|file| drop(file.drain(one..two)));
    out.push(Vector {
        name: "drop_chunk1".into(),
        body,
        ..fails_at(&make, 1, Class::Payload).key(1).musts("chunk-tag")
    });
    let body = make.file_with(|file| file.copy_within(zero..one, one));
    let vector = fails_at(&make, 1, Class::Payload).key(1).musts("chunk-tag");
    out.push(Vector { name: "chunk0_over_chunk1".into(), body, ..vector });
    let other = Make { salt: fixed("another salt"), ..make.clone() };
    let theirs = other.payload();
    let body = make.file_with(|file| file[one..two].copy_from_slice(&theirs[one - 8192..two - 8192]));
    let vector = fails_at(&make, 1, Class::Payload).key(1).musts("chunk-tag salt-once share-salt");
    let vector = Vector { name: "chunk_of_other_file".into(), body, ..vector };
    out.push(vector.says("chunk 1 of a file with the same data key and another salt"));
}

fn cuts(out: &mut Vec<Vector>) {
    let chunks = START + SEALED;
    // Length of the file, the failing chunk, the class.
    let cases = [
        ("tag_by_1", chunks + 65, 1, Class::Payload),
        ("last_to_16", chunks + 16, 1, Class::Payload),
        ("last_to_15", chunks + 15, 1, Class::Truncated),
        ("last_to_1", chunks + 1, 1, Class::Truncated),
        ("last_to_0", chunks, 1, Class::Truncated),
        ("chunk0_by_1", chunks - 1, 0, Class::Payload),
        ("chunk0_to_16", START + 16, 0, Class::Payload),
    ];
    for (name, len, failing, class) in cases {
        let tag =
            if class == Class::Truncated { "end-truncated last-short seek-length" } else { "chunk-tag seek-length" };
        both_suites(out, &format!("cut_{name}"), CHUNK + 50, |file, make| {
            file.truncate(len);
            fails_at(make, failing, class).musts(tag)
        });
    }
    let make = of(1, CHUNK + 50);
    let body = make.file_with(|file| {
        file[START] ^= 1;
        file.truncate(chunks);
    });
    let vector = Vector::fails("cut_and_flipped", Class::Payload, body).key(1).sized(Class::Truncated);
    out.push(vector.musts("end-truncated").says("chunk 0 is altered, and the end is cut off"));
}

/// The empty chunk that ends a plaintext of whole chunks.
fn ends(out: &mut Vec<Vector>) {
    both_suites(out, "no_empty_chunk", CHUNK, |file, make| {
        file.truncate(START + SEALED);
        fails_at(make, 1, Class::Truncated).musts("last-short end-truncated seek-length")
    });
    let make = of(1, CHUNK);
    let keys = make.keys();
    let mut add = |name: &str, last: Vec<u8>, comment: &str| {
        let body = make.file_with(|file| {
            file.truncate(START + SEALED);
            file.extend(last);
        });
        let vector = Vector { name: name.into(), body, ..fails_at(&make, 1, Class::Payload).key(1) };
        out.push(vector.musts("chunk-tag last-short").says(comment));
    };
    add("empty_chunk_zero", vec![0; 16], "the last chunk's tag is zero");
    add("empty_chunk_index0", keys.seal(0, b""), "the last chunk is made for place 0");
    add("empty_chunk_index2", keys.seal(2, b""), "the last chunk is made for place 2");
    let body = make.file_with(|file| file.extend(keys.seal(2, b"")));
    let vector = Vector { name: "two_ends".into(), body, ..fails_at(&make, 1, Class::Payload).key(1) };
    out.push(vector.musts("chunk-tag").says("a second empty chunk behind the last"));
    let make = of(1, 100);
    let body = make.file_with(|file| file.extend(make.keys().seal(1, b"more")));
    let vector = Vector::fails("chunk_after_short", Class::Payload, body).key(1);
    out.push(vector.musts("chunk-tag last-short").says("a chunk 1 behind the short chunk 0"));
}

fn appended(out: &mut Vec<Vector>) {
    let cases: [(&str, usize); 5] = [("1", 1), ("16", 16), ("512", 512), ("chunk", SEALED), ("15", 15)];
    for (name, more) in cases {
        both_suites(out, &format!("append_{name}"), 100, |file, make| {
            file.extend(vec![0; more]);
            fails_at(make, 0, Class::Payload).musts("chunk-tag")
        });
    }
    let make = of(1, CHUNK);
    let body = make.file_with(|file| file.push(0));
    let vector = Vector { name: "append_to_empty_chunk".into(), body, ..fails_at(&make, 1, Class::Payload).key(1) };
    out.push(vector.musts("chunk-tag"));
    let make = of(1, 100);
    let body = [make.file(), make.file()].concat();
    let vector = Vector::fails("file_twice", Class::Payload, body).key(1).musts("chunk-tag");
    out.push(vector.says("the whole file once more behind itself"));
    // Bytes behind a full last block: the size alone tells that no whole payload ends here.
    let make = of(1, CHUNK - 1);
    let body = make.file_with(|file| file.extend([0; 1]));
    let vector = Vector::fails("append_to_15999", Class::Payload, body).key(1).sized(Class::Truncated);
    out.push(vector.musts("chunk-tag end-truncated").says("the file has now the size of whole chunks only"));
    let body = make.file_with(|file| file.extend([0; 10]));
    let vector = Vector::fails("append_9_beyond", Class::Payload, body).key(1).sized(Class::Truncated);
    out.push(vector.musts("chunk-tag end-truncated"));
}

/// Payloads of a writer that does something else than the standard.
fn made_amiss(out: &mut Vec<Vector>) {
    let make = of(1, 2 * CHUNK);
    let (first, second) = make.plaintext.split_at(CHUNK);
    let of_chunks = |chunks: &[Vec<u8>]| [make.banks(), make.prelude(), chunks.concat()].concat();
    let keys = make.keys();
    let mut add = |name: &str, failing: usize, body: Vec<u8>, comment: &str| {
        let vector = fails_at(&make, failing, Class::Payload).key(1).musts("chunk-tag").says(comment);
        out.push(Vector { name: format!("amiss_{name}"), body, ..vector });
    };
    let little = |index: u64, plaintext: &[u8]| keys.seal_with_aad(index.to_le_bytes(), plaintext, b"");
    let body = of_chunks(&[little(0, first), little(1, b"")]);
    add("little_endian", 1, body, "the counter is little-endian");
    let body = of_chunks(&[keys.seal(1, first), keys.seal(2, b"")]);
    add("from_one", 0, body, "chunks are counted from 1");
    let body = of_chunks(&[keys.seal(0, first), keys.seal(0, second), keys.seal(0, b"")]);
    add("same_nonce", 1, body, "every chunk has the base nonce");
    let tagged = |index: u64, plaintext: &[u8]| keys.seal_with_aad(index.to_be_bytes(), plaintext, b"waxseal");
    add("aad", 0, of_chunks(&[tagged(0, b"text")]), "associated data is not empty");
    let long = [first, b"x"].concat();
    add("long_chunk", 0, of_chunks(&[keys.seal(0, &long), keys.seal(1, b"")]), "chunk 0 has 16385 bytes");
    let body = of_chunks(&[keys.seal(0, &first[..100]), keys.seal(1, &first[100..])]);
    add("short_chunk", 0, body, "chunk 0 is short, and is not the last");
    let other = make.keys().with_aead_of(2);
    add("other_aead", 0, of_chunks(&[other.seal(0, b"text")]), "suite 1 with ChaCha20-Poly1305 under the same key");
    let body = of_chunks(&[first.to_vec(), b"".to_vec()]);
    add("plain", 0, body, "the chunks are not encrypted");
    let make = Make::with(|make| make.suite = 2);
    let payload = Make::default().payload();
    let body = [make.banks(), payload].concat();
    let vector = Vector::fails("amiss_other_suite", Class::Commitment, body).key(1).musts("prelude-equal bank-suite");
    out.push(vector.says("the banks are of suite 2, the payload is of suite 1"));
}

fn empty(out: &mut Vec<Vector>) {
    for suite in [1, 2] {
        let make = of(suite, 0);
        let body = make.file_with(|file| file[START] ^= 1);
        let vector = Vector::fails(&format!("empty_flip_suite{suite}"), Class::Payload, body).key(1);
        out.push(vector.musts("chunk-tag").says("an empty plaintext has a tag too"));
    }
    let make = of(1, 0);
    let body = make.file_with(|file| file.truncate(START + 15));
    out.push(Vector::fails("empty_cut", Class::Truncated, body).key(1).musts("payload-short end-truncated"));
}
