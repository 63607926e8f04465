//! Sealed files without I/O: bytes in, bytes out. All readers and writers of this crate are built on this module. Use
//! it, for example, for an object store or in a browser.
//!
//! ```text
//! opening   Opening      the front of a file, its header, the demands met; no key used yet
//!           -> Opened    the commitment checked: chunks can be opened
//!           -> Plaintext the end authenticated: the length is known, and any range can be asked for
//! sealing   Sealing      plaintext pushed in, the file's bytes come out; valid only after `finish`
//! ```
//!
//! Nothing here blocks or waits. Memory is allocated only for the caller's data. All types are `Send + Sync`: an
//! [`Opened`] or a [`Plaintext`] in an [`Arc`](std::sync::Arc) can serve many threads or tasks at once.
//!
//! ```
//! use waxseal::container::{Opening, Sealing};
//! use waxseal::format::{FRONT_LEN, Front};
//! use waxseal::keys::KeyFile;
//! use waxseal::{Demands, Envelope, SealOptions};
//!
//! // Sealing: push plaintext, and take the bytes that come out.
//! let key = KeyFile::generate()?;
//! let mut sealing = Sealing::new(Envelope::new(&[&key], &SealOptions::default())?);
//! let mut object = Vec::new();
//! sealing.push(&[7; 100_000], &mut object)?;
//! sealing.finish(&mut object)?;
//!
//! // Reading a range: the front, then the last chunk, then only the chunks that are needed.
//! let front = Front::new(object[..object.len().min(FRONT_LEN)].to_vec());
//! let opened = Opening::read(front, &Demands::default())?.open(&[&key])?;
//! let end = opened.payload().end(object.len() as u64)?;
//! let (from, to) = (end.range.start as usize, end.range.end as usize);
//! let plaintext = opened.into_payload().with_end(&end, &object[from..to])?;
//! let sealed = plaintext.sealed_range(50_000..50_010);
//! let bytes = plaintext.open_range(50_000..50_010, &object[sealed.start as usize..sealed.end as usize])?;
//! assert_eq!(bytes, [7; 10]);
//! # Ok::<(), waxseal::Error>(())
//! ```

mod in_order;
mod layout;
mod opening;
mod payload;
mod plaintext;
mod sealing;
#[cfg(test)]
mod tests;

pub use in_order::InOrder;
pub(crate) use layout::prelude_of;
pub use layout::{End, Layout};
pub use opening::{Opened, Opening};
pub use payload::Payload;
pub use plaintext::Plaintext;
pub use sealing::Sealing;
pub(crate) use sealing::{front_of, least_layout};

use crate::format::{BankLen, LARGE_INPUT};

/// Estimated length of the plaintext of a file of `file_len` bytes, from its length only. Use it only for a progress
/// bar or a buffer. `None` if this crate does not write files of that length.
///
/// It is not known whether the end authenticates, or how long the header is. The estimate uses the header that a writer
/// gives to a file with few keys.
#[must_use]
pub fn plaintext_len_hint(file_len: u64) -> Option<u64> {
    let with = |bank: BankLen| Layout::new(bank.header_len() as u64).end(file_len).ok().map(|end| end.plaintext_len);
    with(BankLen::MAX).filter(|len| *len >= LARGE_INPUT).or_else(|| with(BankLen::MIN))
}
