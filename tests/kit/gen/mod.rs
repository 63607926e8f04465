//! Generators of the vectors. Each makes a few files that differ in one thing.

mod banks;
mod choice;
mod fields;
mod keys;
mod lists;
mod order;
mod payload;
mod public;
mod recipients;
mod sizes;
mod slots;

use super::vector::Vector;

pub(crate) fn all() -> Vec<Vector> {
    let mut vectors = Vec::new();
    let groups: [fn(&mut Vec<Vector>); 11] = [
        sizes::make,
        fields::make,
        lists::make,
        slots::make,
        keys::make,
        banks::make,
        choice::make,
        order::make,
        payload::make,
        public::make,
        recipients::make,
    ];
    groups.iter().for_each(|group| group(&mut vectors));
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}
