//! Input that was truncated, changed, swapped or extended is refused on every path with the error of the serial reader.

use super::*;
use crate::format::{Prelude, TAG_LEN};
use crate::payload::ChunkIndex;
use crate::seek::PayloadReaderAt;
use std::io::Cursor;

fn opener() -> ChunkOpener {
    let prelude = Prelude { salt: [6; 24], commitment: [0; 32] };
    let data_key = DataKey::from_slice(&[3; 32]).unwrap();
    ChunkOpener::new(crate::payload::PayloadKeys::derive(&data_key, Default::default(), &prelude.salt, b"damage").0)
}

/// The chunks of a payload whose first chunk has number `first`.
fn sealed(plaintext: &[u8], first: u64) -> Vec<u8> {
    let data_key = DataKey::from_slice(&[3; 32]).unwrap();
    let (keys, _) = crate::payload::PayloadKeys::derive(&data_key, Default::default(), &[6; 24], b"damage");
    let sealer = crate::payload::ChunkSealer::new(keys);
    let (full, rest) = plaintext.as_chunks::<CHUNK_LEN>();
    let mut out = Vec::new();
    for (index, chunk) in (first..).zip(full.iter().map(|chunk| &chunk[..]).chain([rest])) {
        let start = out.len();
        out.resize(start + chunk.len() + TAG_LEN, 0);
        // Beyond the limit nothing can be sealed, so any bytes will do.
        if let Some(index) = ChunkIndex::new(index) {
            sealer.seal(index, chunk, &mut out[start..]).unwrap();
        }
    }
    out
}

/// The error of the seeking reader. It checks the end first, so its error may differ from the serial reader's.
fn seek_outcome(chunks: &[u8]) -> Outcome {
    let mut out = Vec::new();
    let file = [&[0; 56], chunks].concat();
    let result = PayloadReaderAt::new(Cursor::new(file), 0, opener()).and_then(|mut reader| {
        let result = reader.read_to_end(&mut out).map_err(|error| Error::io("reading the input", error));
        if result.is_err() {
            assert!(reader.read(&mut [0]).is_err(), "errors are sticky");
        }
        result
    });
    outcome(out, result.map(drop))
}

fn check(engine: &Engine, chunks: &[u8], unit: usize, plaintext: &[u8], what: &dyn std::fmt::Debug) -> String {
    let file = payload_file(chunks);
    let outcomes = payload_outcomes(engine, opener, (chunks, &file), unit, 0);
    assert_alike(&outcomes, what);
    let (out, result) = &outcomes[0].1;
    assert!(plaintext.starts_with(out), "{what:?}");
    let (out, sought) = seek_outcome(chunks);
    assert!(sought.is_err() && plaintext.starts_with(&out), "{what:?}");
    result.clone().unwrap_err()
}

#[test]
fn cut_at_every_byte() {
    let plaintext = text(2 * CHUNK_LEN + 5);
    let whole = sealed(&plaintext, 0);
    let engine = engine();
    let file = payload_file(&whole);
    for len in (0..whole.len()).rev() {
        let cut = &whole[..len];
        file.set_len((crate::format::PRELUDE_LEN + len) as u64).unwrap();
        // Near the boundaries, all paths are tested. Elsewhere, only those that need no new file.
        let near = (len + 20) % SEALED_CHUNK_LEN < 40 || len % 997 == 0;
        let error = if near {
            check(&engine, cut, 1 + len % 3, &plaintext, &len)
        } else {
            let serial = {
                let mut out = Vec::new();
                let mut reader = crate::stream::PayloadReader::new(cut, opener());
                let result = reader.read_to_end(&mut out).map_err(|error| Error::io("reading the input", error));
                outcome(out, result.map(drop))
            };
            let sought = seek_outcome(cut).1;
            assert_eq!(sought, serial.1, "{len}");
            for from_file in [true, false] {
                let payload = Payload::new(opener(), 0);
                let Input::At(input) = Input::new(Source::File(&file)).unwrap() else { unreachable!() };
                let chunks = if from_file { Flow::At(&input) } else { Flow::Ordered(Box::new(cut)) };
                let mut out = Vec::new();
                let output = Output::new(Sink::Stream(&mut out)).unwrap();
                let job = OpenJob::new(&payload, chunks, (&output, 1 + len % 3), &Unobserved, ChunkIndex::FIRST);
                engine.run_small(|buffers| job.work(buffers));
                let result = job.finish().map(drop).map_err(|(_, error)| error);
                drop(output);
                assert_eq!(outcome(out, result), serial, "{len}");
            }
            serial.1.unwrap_err()
        };
        let expected = if len % SEALED_CHUNK_LEN < TAG_LEN { "Truncated" } else { "LastChunk" };
        assert!(error.contains(expected), "{len}: {error}");
    }
}

#[test]
fn cut_at_every_chunk_of_many() {
    let plaintext = text(20 * CHUNK_LEN + 7);
    let whole = sealed(&plaintext, 0);
    for chunk in 0..=20 {
        for unit in [1, 4, 5, 64] {
            let error = check(&engine(), &whole[..chunk * SEALED_CHUNK_LEN], unit, &plaintext, &(chunk, unit));
            assert_eq!(error, format!("Tampered(Truncated {{ offset: {} }})", chunk * CHUNK_LEN));
        }
    }
}

#[test]
fn every_flipped_bit() {
    let engine = engine();
    let plaintext = text(40);
    let whole = serial_seal(&plaintext);
    for bit in 8192 * 8..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let serial = serial_open(&bad);
        assert!(serial.0.is_empty());
        let error = serial.1.clone().unwrap_err();
        let expected = if bit / 8 < 8192 + 56 { "Prelude" } else { "LastChunk" };
        assert!(error.contains(expected), "{bit}: {error}");
        let file = file_of(&bad);
        assert_eq!(engine_open(&engine, Source::File(&file)), serial, "{bit}");
        assert_eq!(engine_open(&engine, Source::Stream(&mut bad.as_slice())), serial, "{bit}");
        let sought = crate::OpenReaderAt::new(Cursor::new(bad), &[&FixedKey], &Demands::default());
        assert_eq!(sought.map(drop).map_err(|error| format!("{error:?}")), serial.1, "{bit}");
    }
}

#[test]
fn flips_in_two_places_show_the_first() {
    let plaintext = text(40 * CHUNK_LEN + 100);
    let whole = sealed(&plaintext, 0);
    for (one, two) in [(0, 40), (7, 8), (13, 39), (39, 40), (40, 40)] {
        for unit in [1, 3, 16] {
            let mut bad = whole.clone();
            bad[one * SEALED_CHUNK_LEN + 5] ^= 1;
            bad[two * SEALED_CHUNK_LEN + 77] ^= 1;
            let error = check(&engine(), &bad, unit, &plaintext, &(one, two, unit));
            assert!(error.contains(&format!("index: {one},")), "{error}");
        }
    }
}

#[test]
fn swapped_repeated_and_appended_chunks() {
    let plaintext = text(6 * CHUNK_LEN + 9);
    let whole = sealed(&plaintext, 0);
    let (full, last) = whole.as_chunks::<SEALED_CHUNK_LEN>();
    let chunks: Vec<&[u8]> = full.iter().map(|chunk| &chunk[..]).chain([last]).collect();
    let rearranged: Vec<(&str, Vec<usize>)> = vec![
        ("swapped", vec![0, 2, 1, 3, 4, 5, 6]),
        ("repeated", vec![0, 1, 1, 2, 3, 4, 5, 6]),
        ("left out", vec![0, 1, 3, 4, 5, 6]),
        ("last first", vec![6, 0, 1, 2, 3, 4, 5]),
        ("last twice", vec![0, 1, 2, 3, 4, 5, 6, 6]),
        ("full behind the last", vec![0, 1, 2, 3, 4, 5, 6, 0]),
        ("only the last", vec![6]),
    ];
    for (what, order) in rearranged {
        for unit in [1, 2, 64] {
            let bad: Vec<u8> = order.iter().flat_map(|chunk| chunks[*chunk].iter().copied()).collect();
            check(&engine(), &bad, unit, &plaintext, &(what, unit));
        }
    }
    for extra in [1, 15, 16, 17, 16_400] {
        let bad = [whole.as_slice(), &vec![0; extra]].concat();
        check(&engine(), &bad, 2, &plaintext, &extra);
    }
}

#[test]
fn the_last_possible_chunk() {
    let plaintext = text(2 * CHUNK_LEN + 11);
    let max = crate::format::MAX_CHUNKS;
    for (first, fits) in [(max - 3, true), (max - 2, false), (max - 1, false)] {
        let chunks = sealed(&plaintext, first);
        // Only in streams, because most file systems cannot store a file of 4 PiB.
        let file = file_of(&[]);
        let outcomes = payload_outcomes(&engine(), opener, (&chunks, &file), 1, first);
        let streams: Vec<_> = outcomes.into_iter().filter(|(path, _)| !path.contains("file")).collect();
        assert_eq!(streams.len(), 2);
        let (_, (out, result)) = &streams[0];
        for (path, outcome) in &streams {
            assert_eq!(&outcome.1, result, "{path}");
        }
        if fits {
            assert!(out == &plaintext && result.is_ok());
        } else {
            assert_eq!(result.clone().unwrap_err(), "Tampered(TooLong)");
        }
    }
}

/// Complete large files, which have the large header, by file and by stream.
#[test]
fn large_files_damaged() {
    let plaintext = text(5 << 20);
    let whole = serial_seal(&plaintext);
    let engine = engine();
    let chunk = |index: usize| 131_072 + 56 + index * SEALED_CHUNK_LEN;
    let flips = [chunk(0), chunk(1) - 1, chunk(100), chunk(319) + 77, whole.len() - 1];
    let mut bad: Vec<Vec<u8>> = flips
        .iter()
        .map(|place| {
            let mut bad = whole.clone();
            bad[*place] ^= 0x80;
            bad
        })
        .collect();
    for len in [0, 7, 4096, 131_071, 131_072, 131_127, 131_128, chunk(3), chunk(200) + 5, whole.len() - 1] {
        bad.push(whole[..len].to_vec());
    }
    for bad in bad {
        let serial = serial_open(&bad);
        assert!(serial.1.is_err() && plaintext.starts_with(&serial.0));
        let file = file_of(&bad);
        assert_eq!(engine_open(&engine, Source::File(&file)).1, serial.1);
        let (out, result) = engine_open(&engine, Source::Stream(&mut bad.as_slice()));
        assert!(out == serial.0 && result == serial.1);
        let nowhere = engine.open(Source::File(&file), Sink::Nowhere, &[&FixedKey], &Demands::default(), &Unobserved);
        assert_eq!(nowhere.map(drop).map_err(|error| format!("{error:?}")), serial.1);
        // At the end, a file that is written at positions has only the verified part.
        let out = tempfile::tempfile().unwrap();
        let sink = Sink::from_file(&out);
        let ended =
            engine.open(Source::Stream(&mut bad.as_slice()), sink, &[&FixedKey], &Demands::default(), &Unobserved);
        assert!(ended.is_err() && content(&out) == serial.0);
    }
}
