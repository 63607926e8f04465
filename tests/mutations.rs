//! Altered files: a great many are opened, and none gives another plaintext.
//!
//! ```text
//! cargo test --test mutations -- --include-ignored
//! ```

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may end in a panic, and is small")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::io::Write;

use fuzz::recipe::{Base, Recipe, bases};

/// How many altered files ended how.
#[derive(Default)]
struct Figures {
    tried: u64,
    refused: BTreeMap<String, u64>,
    survived: u64,
}

impl Figures {
    /// Opens an altered file of `base`. It may fail, or give what the unaltered file gives.
    fn try_one(&mut self, base: &Base, file: &[u8]) {
        if file == base.file {
            return;
        }
        self.tried += 1;
        let opened = fuzz::open(file);
        let [(plaintext, payload)] = base.versions.as_slice() else { panic!("a base with one plaintext") };
        match opened.error {
            None => {
                assert!(opened.plaintext == *plaintext && file.ends_with(payload), "an altered file was accepted");
                self.survived += 1;
            }
            Some(error) => {
                assert!(plaintext.starts_with(&opened.plaintext), "altered plaintext came out");
                let kind = error.split([':', ',', '(']).next().unwrap().replace(|c: char| c.is_ascii_digit(), "");
                *self.refused.entry(kind.trim().to_owned()).or_default() += 1;
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.survived += other.survived;
        other.refused.into_iter().for_each(|(kind, count)| *self.refused.entry(kind).or_default() += count);
    }

    fn report(&self, what: &str) {
        let mut text = format!("{what}: {} altered files tried, 0 accepted, ", self.tried);
        text += &format!("{} opened to the same plaintext from what was whole\n", self.survived);
        self.refused.iter().for_each(|(kind, count)| text += &format!("  {count:>9} {kind}\n"));
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}

/// xorshift64*: the same sequence on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// Base files with one plaintext and at most 64 KiB.
fn small() -> Vec<usize> {
    let fits = |base: &Base| base.versions.len() == 1 && base.file.len() < 1 << 16;
    (0..bases().len()).filter(|index| fits(&bases()[*index])).collect()
}

/// One to three edits at places that are mostly near something, and checks made right or left wrong.
fn random_recipe(random: &mut Random, small: &[usize]) -> Vec<u8> {
    let base = small[random.below(small.len() as u64) as usize];
    let recheck = if random.below(2) == 0 { 0 } else { 0x3f };
    let mut recipe = vec![base as u8, recheck];
    for _ in 0..=random.below(3) {
        recipe.push(random.below(10) as u8);
        for _ in 0..2 {
            let offset = if random.below(4) == 0 { random.below(1 << 14) } else { random.below(300) } as u16;
            recipe.push(random.below(6) as u8);
            recipe.extend(offset.to_le_bytes());
        }
        recipe.extend((0..random.below(4)).map(|_| random.next() as u8));
    }
    recipe
}

fn random_mutations(count: u64, what: &str) {
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get() as u64);
    let small = &small();
    let run = |thread: u64| {
        let (mut figures, mut random) = (Figures::default(), Random(0x9e37_79b9_7f4a_7c15 ^ (thread + 1)));
        while figures.tried < count.div_ceil(threads) {
            let bytes = random_recipe(&mut random, small);
            let recipe = Recipe::parse(&bytes);
            figures.try_one(recipe.base(), &recipe.file());
        }
        figures
    };
    let mut all = Figures::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
    });
    assert!(all.tried >= count && all.survived > 0 && all.refused.len() > 5);
    all.report(what);
}

/// Every file that is one flipped bit, or some bytes of the end, away.
fn exhaustive(base: &Base, bits: bool) -> Figures {
    let mut figures = Figures::default();
    for at in 0..base.file.len() {
        let mut file = base.file.clone();
        if bits {
            for bit in 0..8 {
                file[at] ^= 1 << bit;
                figures.try_one(base, &file);
                file[at] ^= 1 << bit;
            }
        }
        file.truncate(at);
        figures.try_one(base, &file);
        file.clone_from(&base.file);
        file.remove(at);
        figures.try_one(base, &file);
    }
    figures
}

#[test]
fn fifty_thousand() {
    random_mutations(50_000, "random edits");
}

#[test]
fn every_cut_and_every_lost_byte() {
    exhaustive(&bases()[1], false).report("every cut, and every byte lost");
}

#[test]
#[ignore = "takes minutes"]
fn a_million() {
    random_mutations(1_000_000, "random edits");
}

#[test]
#[ignore = "takes minutes"]
fn every_bit() {
    for base in &bases()[..3] {
        exhaustive(base, true).report("every bit flipped, every cut, every byte lost");
    }
}
