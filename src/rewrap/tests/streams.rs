//! Rewrapping while a file is copied.

use std::io::{self, Cursor, Read};

use super::fixture::{Sealed, checked, header_of, plan, private_slot, replace};
use crate::error::{Error, FormatError, Tampered};
use crate::rewrap::{Outcome, Place, Plan, Report, SlotChange, rewrap_stream};

fn passed(input: &[u8], change: Option<SlotChange>) -> Result<(Vec<u8>, Report), Error> {
    let mut output = Vec::new();
    let report = rewrap_stream(&mut Cursor::new(input), &mut output, |header| {
        Plan::new(header.bank(), change.into_iter().collect())
    })?;
    Ok((output, report))
}

#[test]
fn the_payload_passes_as_it_is() {
    for (bank_len, len) in [(4096, 0), (4096, 20_000), (4096, 700_000), (65_536, 1), (65_536, 700_000)] {
        let sealed = Sealed::new(bank_len, len, 1, 2);
        let (output, report) = passed(&sealed.bytes, Some(replace(0, &sealed.wrappings[3]))).unwrap();
        let header = header_of(&output);
        assert_eq!(report.outcome, Outcome::Changed(Place::NewFile));
        assert_eq!(report.payload_len, sealed.payload().len() as u64);
        assert!(header.warnings().is_empty());
        assert_eq!(header.bank().slots, [sealed.wrappings[3].clone(), sealed.wrappings[1].clone()]);
        assert!(&output[header.bank_len().header_len()..] == sealed.payload());
        // An unchanged file is copied, too, because the caller asked for an output.
        let (copy, report) = passed(&sealed.bytes, None).unwrap();
        assert!(copy == sealed.bytes && report.outcome == Outcome::Unchanged);
    }
}

#[test]
fn the_header_grows() {
    let sealed = Sealed::small(4096);
    let strange = private_slot(5000);
    let (output, _) = passed(&sealed.bytes, Some(SlotChange::Add(checked(&strange)))).unwrap();
    let header = header_of(&output);
    assert_eq!(header.bank_len().get(), 16_384);
    assert_eq!(header.bank().slots[2], strange);
    assert_eq!(header.bank().generation, sealed.bank.generation + 1);
    assert!(&output[32_768..] == sealed.payload());
}

#[test]
fn a_damaged_bank_is_whole_in_the_output() {
    let sealed = Sealed::small(4096);
    let mut damaged = sealed.bytes.clone();
    damaged[0] ^= 1;
    let (output, report) = passed(&damaged, None).unwrap();
    assert!(output == sealed.bytes);
    assert_eq!((report.outcome, report.warnings.len()), (Outcome::BroughtTogether(Place::NewFile), 1));
}

#[test]
fn refusals() {
    let sealed = Sealed::small(4096);
    let mut altered = sealed.bytes.clone();
    altered[8192] ^= 1;
    assert!(matches!(passed(&altered, None), Err(Error::Tampered(Tampered::Prelude))));
    for len in [0, 1, 55, 56, 71] {
        let cut = passed(&sealed.bytes[..8192 + len], None);
        assert!(matches!(cut, Err(Error::Tampered(Tampered::Truncated { .. }))), "{len}");
    }
    assert!(matches!(passed(&sealed.bytes[..8000], None), Err(Error::Format(FormatError::CutShort { .. }))));
    assert!(matches!(passed(b"hello", None), Err(Error::Format(FormatError::NotWaxseal))));
    let large = Sealed::new(65_536, 0, 1, 1);
    assert!(matches!(passed(&large.bytes[..131_072 + 71], None), Err(Error::Tampered(Tampered::Truncated { .. }))));
    let other = Sealed::new(4096, 10, 3, 1);
    let foreign = plan(&other.bank, replace(0, &other.wrappings[1]));
    let mut output = Vec::new();
    let result = rewrap_stream(&mut sealed.bytes.as_slice(), &mut output, |_| Ok(foreign));
    assert!(matches!(result, Err(Error::ApiMisuse(_))) && output.is_empty());
}

/// Returns one byte at a time, and then fails.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else { return Err(io::Error::other("gone")) };
        self.0 = rest;
        buffer[0] = *first;
        Ok(1)
    }
}

#[test]
fn a_failing_input_is_an_error() {
    let sealed = Sealed::new(4096, 200_000, 1, 1);
    let mut output = Vec::new();
    let result = rewrap_stream(&mut Trickle(&sealed.bytes), &mut output, |header| Plan::unchanged(header.bank()));
    assert!(matches!(result, Err(Error::Io { action, .. }) if action == "reading the input"));
}

/// Is interrupted by a signal before each read.
struct Interrupted<'a>(&'a [u8], bool);

impl Read for Interrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(buffer) }
    }
}

#[test]
fn an_interrupted_input_is_read_on() {
    let sealed = Sealed::new(4096, 200_000, 1, 1);
    let mut output = Vec::new();
    let mut input = Interrupted(&sealed.bytes, false);
    rewrap_stream(&mut input, &mut output, |header| Plan::unchanged(header.bank())).unwrap();
    assert!(output == sealed.bytes);
}

#[test]
fn a_header_that_no_reader_takes_is_not_written() {
    // A wrapped key of an unknown kind, with the magic at a position where a second bank could be.
    let sealed = Sealed::small(16_384);
    let mut hidden = private_slot(9000);
    let (output, _) = passed(&sealed.bytes, Some(SlotChange::Add(checked(&hidden)))).unwrap();
    let start = output.windows(16).position(|window| window == [0xa5; 16]).unwrap();
    hidden.wrapped[4096 - start..][..8].copy_from_slice(&crate::format::MAGIC);
    let refused = passed(&sealed.bytes, Some(SlotChange::Add(checked(&hidden))));
    assert!(matches!(refused, Err(Error::Format(FormatError::Malformed { .. }))), "{refused:?}");
}

/// If a reader claims more bytes than its buffer has, they are not used as input, and nothing panics.
#[test]
fn a_reader_that_claims_too_much_is_an_error() {
    struct Claims<'a>(&'a [u8], bool);
    impl std::io::Read for Claims<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = std::io::Read::read(&mut self.0, buffer)?;
            Ok(if self.1 && read == 0 { buffer.len() + 1 } else { read })
        }
    }
    let sealed = Sealed::small(4096);
    let longer = [sealed.bytes.as_slice(), &vec![0; 200_000]].concat();
    let keep = |header: &crate::format::Header| Plan::new(header.bank(), Vec::new());
    let result = rewrap_stream(&mut Claims(&longer, true), &mut Vec::new(), keep);
    assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
}
