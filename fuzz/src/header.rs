//! The header's parser: what it accepts is canonical, and it uses the right bank.

use waxseal::format::{Bank, BankNumber, Front, Header};

use super::encode::{MAGIC, recheck};

const LENGTHS: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// ```text
/// mode u8: 0, raw bytes | 1, one bank's fields | 2, length u16 and both banks' fields
/// ```
pub fn header(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 3 {
        0 => whole(rest.to_vec()),
        1 => {
            let bank = filled(rest, 0);
            one(&bank, 0);
            let bank = filled(rest, 1);
            one(&bank, bank.len());
        }
        _ => {
            let Some((len, rest)) = rest.split_first_chunk::<2>() else { return };
            let (zero, one) = rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()));
            let mut file = filled(zero, 0);
            file.extend(filled(one, 1));
            file.extend([0; 72]);
            whole(file);
        }
    }
}

/// A bank with these fields, with filling and a right checksum. The magic is added.
fn filled(fields: &[u8], number: u16) -> Vec<u8> {
    let stated = fields.get(12..16).map_or(4096, |len| u32::from_le_bytes(len.try_into().unwrap()) as usize);
    let len = if LENGTHS.contains(&stated) { stated } else { 4096 };
    let mut bank = fields[..fields.len().min(len - 32)].to_vec();
    bank.resize(len, 0);
    bank[..8].copy_from_slice(&MAGIC);
    bank[12..16].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
    bank[22..24].copy_from_slice(&number.to_le_bytes());
    recheck(&mut bank, 0, len);
    bank
}

/// A valid bank has exactly one encoding, and its bound bytes are the ones in it.
fn one(bytes: &[u8], place: usize) {
    let Ok(bank) = Bank::decode(bytes, place) else { return };
    let len = bank.len.get();
    assert!(bank.encode().unwrap() == bytes[..len], "a bank that is valid and not canonical");
    let bound = bank.binding.bound_bytes().unwrap();
    assert!(bound[..12] == bytes[..12] && bound[12..] == bytes[80..80 + bound.len() - 12], "other bound bytes");
    assert!((34..=8220).contains(&bound.len()) && (1..=16).contains(&bank.slots.len()));
}

fn whole(file: Vec<u8>) {
    let Ok(header) = Header::read(&Front::new(file.clone())) else { return };
    let len = header.bank_len().get();
    assert!(file.len() >= 2 * len, "a file that is shorter than its header");
    let generation = |place: usize| u32::from_le_bytes(file[place + 16..place + 20].try_into().unwrap());
    let states = [BankNumber::Zero, BankNumber::One].map(|number| header.state(number).bank().is_some());
    for (valid, place) in states.into_iter().zip([0, len]) {
        if valid {
            one(&file[place..], place);
        }
    }
    let distance = i64::from(generation(len)) - i64::from(generation(0));
    let newer = (1..1 << 31).contains(&distance.rem_euclid(1 << 32));
    let counts = match states {
        [true, true] => usize::from(newer),
        [true, false] => 0,
        [false, true] => 1,
        [false, false] => panic!("a header without a valid bank"),
    };
    assert_eq!(usize::from(header.bank().number.get()), counts, "the wrong bank is used");
    let elsewhere = LENGTHS.iter().filter(|place| file.get(**place..**place + 8) == Some(&MAGIC));
    let elsewhere: Vec<_> = elsewhere.collect();
    assert!(elsewhere.is_empty() || elsewhere == [&len], "the magic is also at another place");
    let differ = states == [true, true]
        && (generation(0) != generation(len)
            || file[20..22] != file[len + 20..len + 22]
            || file[80..len - 32] != file[len + 80..2 * len - 32]);
    assert_eq!(header.warnings().is_empty(), states == [true, true] && !differ, "a warning too many or too few");
}
