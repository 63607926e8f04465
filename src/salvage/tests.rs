//! Every kind of damage. Every chunk that survived is found, and no other bytes come out.

#![expect(clippy::single_range_in_vec_init, reason = "lists of one range are what is compared")]

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::engine::Unobserved;
use crate::format::{SEALED_CHUNK_LEN, Suite};
use crate::keys::{KeyFile, KeySealer};
use crate::{SealOptions, SealWriter};

const HEADER: usize = 8192;
const START: usize = HEADER + PRELUDE_LEN;
const S: usize = SEALED_CHUNK_LEN;
/// The origin of a byte that is not from the file.
const FOREIGN: u32 = u32::MAX;

fn plaintext(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0] | 1 // never zero, so that holes can be recognized
    };
    (0..len).map(|_| next()).collect()
}

struct Sealed {
    key: KeyFile,
    plain: Vec<u8>,
    file: Vec<u8>,
}

fn seal(len: usize, suite: Suite) -> Sealed {
    let key = KeyFile::generate().unwrap();
    let plain = plaintext(len);
    let options = SealOptions::new().with_suite(suite);
    let mut writer = SealWriter::new(Vec::new(), &[&key as &dyn KeySealer], &options).unwrap();
    writer.write_all(&plain).unwrap();
    let file = writer.finish().unwrap();
    Sealed { key, plain, file }
}

/// A damaged file that knows the origin of each of its bytes, and a medium that cannot read some of them.
struct Damaged {
    bytes: Vec<u8>,
    origin: Vec<u32>,
    bad: Vec<Range<usize>>,
}

impl Damaged {
    fn of(sealed: &Sealed) -> Self {
        let origin = (0..u32::try_from(sealed.file.len()).unwrap()).collect();
        Self { bytes: sealed.file.clone(), origin, bad: Vec::new() }
    }

    fn replace(&mut self, range: Range<usize>, with: &[u8]) -> &mut Self {
        let range = range.start.min(self.bytes.len())..range.end.min(self.bytes.len());
        self.bytes.splice(range.clone(), with.iter().copied());
        self.origin.splice(range, with.iter().map(|_| FOREIGN));
        self
    }

    fn delete(&mut self, at: usize, len: usize) -> &mut Self {
        self.replace(at..at + len, &[])
    }

    fn insert(&mut self, at: usize, len: usize) -> &mut Self {
        let mut garbage = garbage(len);
        // If the last inserted byte equals the byte before the insertion, the chunk at `at - 1` is still complete. So
        // that byte is changed.
        if let (Some(last), Some(before)) = (garbage.last_mut(), at.checked_sub(1).and_then(|at| self.bytes.get(at))) {
            *last = if last == before { !*before } else { *last };
        }
        self.replace(at..at, &garbage)
    }

    fn overwrite(&mut self, at: usize, len: usize) -> &mut Self {
        // An earlier edit may have removed the byte at `at`.
        let at = at.min(self.bytes.len());
        let len = len.min(self.bytes.len() - at);
        let mut bytes = garbage(len);
        // The new bytes must differ from the old ones. A single random byte would be equal once in 256 runs.
        if bytes == self.bytes[at..at + len] {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        self.replace(at..at + len, &bytes)
    }

    fn zero(&mut self, at: usize, len: usize) -> &mut Self {
        let len = len.min(self.bytes.len().saturating_sub(at));
        self.replace(at..at + len, &vec![0; len])
    }

    /// The numbers of the sealed chunks that are complete and readable somewhere in the file.
    fn surviving(&self, sealed: &Sealed) -> Vec<usize> {
        let count = sealed.plain.len() / CHUNK_LEN + 1;
        let mut places = vec![usize::MAX; sealed.file.len()];
        for (place, origin) in self.origin.iter().enumerate().filter(|(_, origin)| **origin != FOREIGN) {
            places[*origin as usize] = place;
        }
        let whole = |index: &usize| {
            let from = START + index * S;
            let to = sealed.file.len().min(from + S);
            let place = places[from];
            let unread = |bad: &Range<usize>| {
                let bad = bad.start / 512 * 512..bad.end.div_ceil(512) * 512;
                bad.start < place + (to - from) && place < bad.end
            };
            place != usize::MAX
                && (from..to).all(|byte| places[byte] == place + byte - from)
                && !self.bad.iter().any(unread)
        };
        let mut surviving: Vec<usize> = (0..count).filter(whole).collect();
        // The last chunk is guaranteed to be found if it ends the file, or if the chunk before it is found. If bytes
        // right before it were lost and other bytes follow it, neither its position nor its length is known.
        let last = count - 1;
        let ends_file = self.origin.last().is_some_and(|origin| *origin as usize == sealed.file.len() - 1);
        let is_led_to = last == 0
            || (surviving.contains(&(last - 1)) && {
                let from = START + last * S;
                places[from] == places[from - 1] + 1
            });
        surviving.retain(|index| *index != last || ends_file || is_led_to);
        surviving
    }
}

impl ReadAt for Damaged {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let from = usize::try_from(position).unwrap().min(self.bytes.len());
        let to = self.bytes.len().min(from + buffer.len());
        if self.bad.iter().any(|bad| bad.start < to && from < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        buffer[..to - from].copy_from_slice(&self.bytes[from..to]);
        Ok(to - from)
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

fn garbage(len: usize) -> Vec<u8> {
    let mut bytes = plaintext(len + 7);
    bytes.drain(..7);
    bytes
}

fn run(sealed: &Sealed, damaged: &Damaged, options: &SalvageOptions) -> Result<(SalvageReport, Vec<u8>)> {
    let mut out = tempfile::tempfile().unwrap();
    let report = salvage(damaged, &out, &[&sealed.key], options, &Unobserved)?;
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut out).unwrap();
    out.read_to_end(&mut bytes).unwrap();
    check(sealed, damaged, &report, &bytes);
    Ok((report, bytes))
}

/// What is true for every salvage.
fn check(sealed: &Sealed, damaged: &Damaged, report: &SalvageReport, out: &[u8]) {
    assert_eq!(out.len() as u64, report.output_len());
    let mut regions: Vec<_> = report.recovered.iter().map(|region| (region, true)).collect();
    regions.extend(report.lost.iter().map(|region| (region, false)));
    regions.sort_by_key(|(region, _)| (region.plaintext.start, region.plaintext.end));
    let mut at = 0;
    for (region, found) in regions {
        assert_eq!(region.plaintext.start, at, "regions follow each other: {report:#?}");
        at = region.plaintext.end;
        let plain = usize::try_from(region.plaintext.start).unwrap()..usize::try_from(at).unwrap();
        if found {
            assert!(out[plain.clone()] == sealed.plain[plain], "what is written is the original, at its place");
        } else {
            assert!(out[plain].iter().all(|byte| *byte == 0), "what is missing is zero");
        }
        assert!(region.ciphertext.end <= report.input_len && region.ciphertext.start <= region.ciphertext.end);
    }
    assert_eq!(at, report.output_len());
    let complete = report.is_complete();
    assert_eq!(complete, out == sealed.plain);
    check_map(report);
    assert_eq!(report.input_len, damaged.bytes.len() as u64);
}

/// The map's blocks are consecutive from 0 to the end, and the missing parts are marked as bad.
fn check_map(report: &SalvageReport) {
    let mut map = Vec::new();
    report.write_ddrescue_map(&mut map).unwrap();
    let map = String::from_utf8(map).unwrap();
    let mut lines = map.lines().filter(|line| !line.starts_with('#'));
    let fields: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(fields, ["0x00000000", "+", "1"]);
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
    let (mut at, mut bad, mut last) = (0, Vec::new(), "");
    for line in lines {
        let [start, len, status] = line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        assert!(hex(start) == at && hex(len) > 0 && last != status, "{map}");
        (at, last) = (at + hex(len), status);
        if status == "-" {
            bad.push(hex(start)..at);
        }
    }
    assert_eq!(at, report.input_len);
    for lost in report.lost.iter().map(|region| &region.ciphertext).filter(|lost| !lost.is_empty()) {
        assert!(bad.iter().any(|bad| bad.start <= lost.start && lost.end <= bad.end), "{map}");
    }
}

/// Checks that every chunk that survived was found. Returns the report.
fn finds_all(sealed: &Sealed, damaged: &Damaged, options: &SalvageOptions) -> SalvageReport {
    let (report, _) = run(sealed, damaged, options).unwrap();
    for index in damaged.surviving(sealed) {
        let from = (index * CHUNK_LEN) as u64;
        let to = sealed.plain.len().min((index + 1) * CHUNK_LEN) as u64;
        let found = |region: &Region| region.plaintext.start <= from && to <= region.plaintext.end;
        assert!(report.recovered.iter().any(found), "chunk {index} survived and was not found: {report:#?}");
    }
    report
}

/// The FIPS module has only one.
const SUITES: [Suite; 2] =
    [Suite::Aes256Gcm, if cfg!(feature = "fips") { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }];

fn small() -> SalvageOptions {
    SalvageOptions::new().with_reach(40_000, 1 << 18, 1 << 20)
}

fn lost(report: &SalvageReport) -> Vec<Range<u64>> {
    let chunk = CHUNK_LEN as u64;
    report.lost.iter().map(|lost| lost.plaintext.start / chunk..lost.plaintext.end.div_ceil(chunk)).collect()
}

#[test]
fn an_undamaged_file_is_complete() {
    for suite in SUITES {
        for len in [0, 1, 16_383, 16_384, 5 * 16_384, 5 * 16_384 + 16_383] {
            let sealed = seal(len, suite);
            let none = SalvageOptions::new().with_max_failed_trials(0);
            let report = finds_all(&sealed, &Damaged::of(&sealed), &none);
            assert!(report.is_complete() && report.failed_trials == 0, "{len}: {report:#?}");
            assert!(report.surplus.is_empty() && report.shifts.is_empty() && report.unreadable.is_empty());
            assert_eq!(report.prelude, PreludeSource::Both);
            assert_eq!(report.recovered_bytes(), len as u64);
        }
    }
}

#[test]
fn a_bad_block_costs_one_chunk_or_two() {
    let sealed = seal(60 * 16_384 + 100, Suite::default());
    let (mut one, mut two) = (0, 0);
    for block in ((START / 4096 + 1)..(sealed.file.len() / 4096 - 4)).step_by(3) {
        let mut damaged = Damaged::of(&sealed);
        damaged.bad.push(block * 4096..(block + 1) * 4096);
        let report = finds_all(&sealed, &damaged, &small());
        match report.lost_bytes() {
            16_384 => one += 1,
            32_768 => two += 1,
            other => panic!("{other} bytes lost"),
        }
        assert_eq!(report.unreadable, [block as u64 * 4096..(block as u64 + 1) * 4096]);
        assert_eq!(report.end, PlaintextEnd::Known(sealed.plain.len() as u64));
    }
    assert!((70..80).contains(&(100 * one / (one + two))), "{one} times one chunk, {two} times two");
}

#[test]
fn bytes_lost_or_put_in_cost_one_chunk() {
    let sealed = seal(60 * 16_384 + 100, Suite::default());
    for len in [1, 7, 511, 512, 1000, 4096, 12_288] {
        for at in [START + 20 * S + 1, START + 20 * S + 3000] {
            let mut damaged = Damaged::of(&sealed);
            let report = finds_all(&sealed, damaged.delete(at, len), &small());
            assert_eq!(lost(&report), [20..21], "{len} bytes lost");
            assert_eq!(report.shifts.len(), 1);
            assert_eq!(report.shifts[0].bytes, -i64::try_from(len).unwrap());
            let mut damaged = Damaged::of(&sealed);
            let report = finds_all(&sealed, damaged.insert(at, len), &small());
            assert_eq!(lost(&report), [20..21], "{len} bytes put in");
            assert_eq!(report.shifts[0].bytes, i64::try_from(len).unwrap());
            let grid_alone = small().with_max_failed_trials(0);
            let report = run(&sealed, &damaged, &grid_alone).unwrap().0;
            assert!(report.lost_bytes() > 40 * 16_384 && report.search_cut_short);
        }
        // Between two chunks, no data is lost.
        let mut damaged = Damaged::of(&sealed);
        let report = finds_all(&sealed, damaged.insert(START + 20 * S, len), &small());
        assert!(report.is_complete());
        assert_eq!(report.surplus, [(START + 20 * S) as u64..(START + 20 * S + len) as u64]);
    }
}

#[test]
fn far_shifts_by_sectors_and_by_blocks() {
    let sealed = seal(200 * 16_384 + 100, Suite::default());
    for len in [512 * 129, 512 * 1001, 4096 * 300] {
        let mut damaged = Damaged::of(&sealed);
        damaged.delete(START + 50 * S + 77, len);
        let options = SalvageOptions::new().with_reach(0, 1 << 20, 1 << 21);
        assert!(lost(&finds_all(&sealed, &damaged, &options)).len() == 1);
        let mut damaged = Damaged::of(&sealed);
        damaged.insert(START + 50 * S + 77, len);
        assert_eq!(lost(&finds_all(&sealed, &damaged, &options)), [50..51]);
    }
}

#[test]
fn many_edits_and_bad_regions() {
    let sealed = seal(250 * 16_384 + 9000, SUITES[1]);
    let mut damaged = Damaged::of(&sealed);
    for edit in (1..24).rev() {
        let at = START + edit * 10 * S + edit * 500;
        match edit % 4 {
            0 => damaged.delete(at, 512),
            1 => damaged.insert(at, 100 * edit),
            2 => damaged.zero(at, 70_000),
            _ => damaged.overwrite(at, 40_000),
        };
    }
    let report = finds_all(&sealed, &damaged, &small());
    assert!(report.shifts.len() == 11 && !report.search_cut_short, "{report:#?}");
    assert_eq!(report.end, PlaintextEnd::Known(sealed.plain.len() as u64));
}

#[test]
fn a_shift_behind_a_large_bad_region() {
    let sealed = seal(250 * 16_384 + 9000, Suite::default());
    let mut damaged = Damaged::of(&sealed);
    damaged.zero(START + 10 * S, 150 * S).delete(START + 100 * S, 512);
    let report = finds_all(&sealed, &damaged, &small());
    assert_eq!(lost(&report), [10..160]);
}

#[test]
fn a_cut_tail_leaves_the_end_unknown() {
    let sealed = seal(20 * 16_384 + 5000, Suite::default());
    for cut in [1, 5000, 5016, 5017, 20_000] {
        let mut damaged = Damaged::of(&sealed);
        damaged.delete(sealed.file.len() - cut, cut);
        let report = finds_all(&sealed, &damaged, &small());
        assert!(matches!(report.end, PlaintextEnd::Unknown { .. }) && !report.is_complete());
        assert!(report.output_len() <= sealed.plain.len() as u64);
    }
}

#[test]
fn a_grown_tail_costs_nothing() {
    let sealed = seal(20 * 16_384 + 5000, Suite::default());
    for grown in [1, 512, 100_000] {
        let mut damaged = Damaged::of(&sealed);
        let end = sealed.file.len();
        let report = finds_all(&sealed, damaged.insert(end, grown), &small().with_max_failed_trials(0));
        assert!(report.is_complete());
        assert_eq!(report.surplus, [end as u64..(end + grown) as u64]);
        // Zeros, as in a file that was allocated before it was written. The last full chunks are damaged.
        let mut damaged = Damaged::of(&sealed);
        damaged.replace(end..end, &vec![0; grown]).zero(START + 17 * S, 3 * S);
        assert_eq!(lost(&finds_all(&sealed, &damaged, &small())), [17..20]);
    }
}

#[test]
fn the_end_is_found_behind_a_shift_in_the_last_full_chunk() {
    let sealed = seal(20 * 16_384 + 5000, Suite::default());
    let mut damaged = Damaged::of(&sealed);
    damaged.delete(START + 19 * S + 100, 333);
    let report = finds_all(&sealed, &damaged, &small());
    assert_eq!(lost(&report), [19..20]);
    assert_eq!(report.end, PlaintextEnd::Known(sealed.plain.len() as u64));
}

#[test]
fn a_damaged_prelude_and_a_damaged_bank() {
    let sealed = seal(5 * 16_384 + 5000, Suite::default());
    for at in [HEADER, HEADER + 30, HEADER + 55] {
        let mut damaged = Damaged::of(&sealed);
        damaged.overwrite(100, 1).overwrite(at, 1);
        let report = finds_all(&sealed, &damaged, &small());
        assert!(report.is_complete());
        assert_eq!(report.prelude, PreludeSource::HeaderOnly);
        let HeaderSource::Header(header) = &report.header else { panic!("bank 1 is whole") };
        assert_eq!(header.warnings().len(), 1);
    }
    let mut damaged = Damaged::of(&sealed);
    damaged.bad.extend([0..1, HEADER..HEADER + 1]);
    assert!(finds_all(&sealed, &damaged, &small()).lost.len() == 1, "the first chunk's sector");
}

#[test]
fn both_banks_damaged_in_their_filling() {
    let sealed = seal(5 * 16_384 + 5000, Suite::default());
    let mut damaged = Damaged::of(&sealed);
    damaged.overwrite(3000, 512).zero(4096 + 4064, 32).overwrite(0, 3);
    let report = finds_all(&sealed, &damaged, &small());
    assert!(report.is_complete());
    assert!(matches!(report.header, HeaderSource::Remains { check: Check::Wrong, .. }));
    // The bank's own prelude, too. The payload's copy is used.
    let report = finds_all(&sealed, damaged.overwrite(30, 4).overwrite(4096 + 60, 4), &small());
    assert!(report.is_complete());
    // Both copies of the slots. Nothing is left.
    damaged.overwrite(200, 100).overwrite(4096 + 200, 100);
    assert!(matches!(run(&sealed, &damaged, &small()), Err(Error::Tampered(_) | Error::NoKey(_) | Error::Format(_))));
}

#[test]
fn a_header_that_lost_or_gained_bytes() {
    let sealed = seal(5 * 16_384 + 5000, Suite::default());
    for at in [0, 8, 3000, 4096, 5000, HEADER - 10, HEADER] {
        for len in [1, 512, 4096, 5000] {
            let mut damaged = Damaged::of(&sealed);
            let report = finds_all(&sealed, damaged.insert(at, len), &small());
            assert!(report.is_complete(), "{len} bytes at {at}: {report:#?}");
            let mut damaged = Damaged::of(&sealed);
            let report = run(&sealed, damaged.delete(at, len), &small());
            // After the first bank's contents, one copy of the slots always remains.
            if at + len <= 4096 || at >= 3000 {
                let report = report.unwrap().0;
                let chunk_zero_lost = at + len > START;
                assert_eq!(report.lost.is_empty(), !chunk_zero_lost, "{len} bytes from {at}: {report:#?}");
            }
        }
    }
}

#[test]
fn other_keys_other_files_and_other_outputs() {
    let sealed = seal(16_384, Suite::default());
    let other = KeyFile::generate().unwrap();
    let damaged = Damaged::of(&sealed);
    let out = tempfile::tempfile().unwrap();
    let options = small();
    assert!(matches!(salvage(&damaged, &out, &[&other], &options, &Unobserved), Err(Error::NoKey(_))));
    crate::io::write_all_at(&out, b"x", 0).unwrap();
    assert!(matches!(salvage(&damaged, &out, &[&sealed.key], &options, &Unobserved), Err(Error::ApiMisuse(_))));
    // Windows does not open a folder as a file.
    #[cfg(unix)]
    {
        let folder = std::fs::File::open("/").unwrap();
        assert!(matches!(salvage(&damaged, &folder, &[&sealed.key], &options, &Unobserved), Err(Error::ApiMisuse(_))));
    }
    for bytes in [garbage(200_000), Vec::new(), vec![0; 9000]] {
        let damaged = Damaged { origin: vec![FOREIGN; bytes.len()], bytes, bad: Vec::new() };
        assert!(matches!(run(&sealed, &damaged, &options), Err(Error::Format(_))));
    }
    let mut damaged = Damaged::of(&sealed);
    damaged.bad.push(0..usize::MAX);
    assert!(matches!(run(&sealed, &damaged, &options), Err(Error::Io { .. })));
}

#[test]
fn the_search_ends() {
    let sealed = seal(30 * 16_384, Suite::default());
    let mut damaged = Damaged::of(&sealed);
    damaged.overwrite(START + 100, 40 * S);
    let report = run(&sealed, &damaged, &small().with_max_failed_trials(5000)).unwrap().0;
    assert!(report.search_cut_short && report.recovered.is_empty());
    assert!(report.failed_trials < 100_000, "{}", report.failed_trials);
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(usize),
    Zero(usize, usize),
    Delete(usize, usize),
    Insert(usize, usize),
    Bad(usize, usize),
    Cut(usize),
    Grow(usize),
}

fn edits(file_len: usize) -> impl Strategy<Value = Vec<Edit>> {
    // Bank 0 is not damaged here, because other tests cover both banks.
    let at = || 4096..file_len;
    let len = || prop_oneof![1..3000usize, (1..24usize).prop_map(|sectors| sectors * 512)];
    let edit = prop_oneof![
        at().prop_map(Edit::Flip),
        (at(), 1..60_000usize).prop_map(|(at, len)| Edit::Zero(at, len)),
        (at(), len()).prop_map(|(at, len)| Edit::Delete(at, len)),
        (at(), len()).prop_map(|(at, len)| Edit::Insert(at, len)),
        (at(), 1..9000usize).prop_map(|(at, len)| Edit::Bad(at, len)),
        (1..40_000usize).prop_map(Edit::Cut),
        (1..40_000usize).prop_map(Edit::Grow),
    ];
    prop::collection::vec(edit, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_survives_is_found(edits in edits(30 * S), extra in 0..16_384usize, chacha in any::<bool>()) {
        let suite = SUITES[usize::from(chacha)];
        let sealed = seal(30 * 16_384 + extra, suite);
        let mut damaged = Damaged::of(&sealed);
        for edit in edits {
            let end = damaged.bytes.len();
            match edit {
                Edit::Flip(at) => _ = damaged.overwrite(at, 1),
                Edit::Zero(at, len) => _ = damaged.zero(at, len),
                Edit::Delete(at, len) => _ = damaged.delete(at, len),
                Edit::Insert(at, len) => _ = damaged.insert(at, len),
                Edit::Bad(at, len) => damaged.bad.push(at..at + len),
                Edit::Cut(len) => _ = damaged.delete(end - len, len),
                Edit::Grow(len) => _ = damaged.insert(end, len),
            }
        }
        finds_all(&sealed, &damaged, &small());
    }
}
