//! Passphrases that this program makes.
//!
//! They are 24 digits of Crockford's base 32 in groups of four, so 120 random bits: nobody guesses them, and they have
//! no letter that looks like a digit. A word list would be longer to type for the same strength.

use waxseal::Result;
use waxseal::secret::{SecretBytes, fill_random};

use crate::prompt;

/// No `i`, `l`, `o` and `u`.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_LEN: usize = 15;
const GROUP: usize = 4;
/// The digits, with a hyphen between two groups.
const LEN: usize = RANDOM_LEN * 8 / 5 + RANDOM_LEN * 8 / 5 / GROUP - 1;

/// Makes one, and shows it once, on the terminal and nowhere else.
pub(super) fn new_passphrase() -> Result<SecretBytes> {
    let mut random = vec![0; RANDOM_LEN];
    let filled = fill_random(&mut random);
    let random = SecretBytes::new(random);
    filled?;
    let passphrase = spell(random.expose());
    let before = "the new passphrase, hyphens included:\n\n    ";
    let after = "\n\nwrite it down now: it is not shown again, and it opens the file\n";
    prompt::show(&[before.as_bytes(), passphrase.expose(), after.as_bytes()])?;
    Ok(passphrase)
}

fn spell(random: &[u8]) -> SecretBytes {
    // The buffer never grows, so that no copy stays behind in freed memory.
    let mut text = Vec::with_capacity(LEN);
    for bytes in random.chunks_exact(5) {
        let bits = bytes.iter().fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        for digit in (0..8).rev() {
            if text.len() % (GROUP + 1) == GROUP {
                text.push(b'-');
            }
            let five = (bits >> (5 * digit)).to_le_bytes()[0] & 31;
            text.push(DIGITS[usize::from(five)]);
        }
    }
    SecretBytes::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        let text = |random: &[u8]| String::from_utf8(spell(random).expose().to_vec()).unwrap();
        assert_eq!(text(&[0; RANDOM_LEN]), "0000-0000-0000-0000-0000-0000");
        assert_eq!(text(&[0xff; RANDOM_LEN]), "zzzz-zzzz-zzzz-zzzz-zzzz-zzzz");
        // Twice the 32 digits, less the last sixteen: 00000 00001 00010 ... as bits.
        let counted = [0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf, 0x84, 0x65, 0x3a, 0x56, 0xd7];
        assert_eq!(text(&counted), "0123-4567-89ab-cdef-ghjk-mnpq");
        let mut seen = std::collections::HashSet::from([text(&[0; RANDOM_LEN])]);
        for bit in 0..RANDOM_LEN * 8 {
            let mut random = [0; RANDOM_LEN];
            random[bit / 8] = 1 << (bit % 8);
            let text = text(&random);
            assert_eq!((text.len(), text.len()), (LEN, text.trim().len()));
            assert!(seen.insert(text));
        }
    }
}
