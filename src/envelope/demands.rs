//! The pairs and labels that a caller demands, checked before any key is used (spec 5.3).

use crate::error::{Result, Unmet};
use crate::format::{Binding, Pairs};

/// Pairs and labels that a file must have, byte for byte. The file may have more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demands {
    /// Required pairs of the encryption context.
    pub context: Pairs,
    /// Required labels.
    pub labels: Pairs,
}

impl Demands {
    /// Requires nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pairs_setters!(
        "Takes the pairs that the encryption context must hold.",
        "Takes the labels that the file must carry."
    );

    /// Checks them against a header.
    ///
    /// # Errors
    /// [`Unmet`] with all missing items, and with what the file has instead.
    pub fn check(&self, binding: &Binding) -> Result<()> {
        let mut unmet = Unmet::new(Vec::new());
        compare("encryption context", &self.context, &binding.context, &mut unmet);
        compare("label", &self.labels, &binding.labels, &mut unmet);
        if unmet.names.is_empty() { Ok(()) } else { Err(unmet.into()) }
    }
}

/// At most so many other items are shown for a name that the file does not have. It can have 64.
const SHOWN: usize = 4;

fn compare(kind: &'static str, demanded: &Pairs, there: &Pairs, unmet: &mut Unmet) {
    let missing = there.missing(demanded);
    for (name, value) in demanded.iter().filter(|(name, _)| missing.contains(name)) {
        unmet.names.push(format!("{kind} {:?}", pair(name, value)));
        unmet.carried.push(match there.iter().find(|(other, _)| *other == name) {
            Some((name, value)) => format!("{:?}", pair(name, value)),
            None => format!("no {kind} {name:?}{}", others(there)),
        });
    }
}

fn pair(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

fn others(there: &Pairs) -> String {
    let shown: Vec<String> = there.iter().take(SHOWN).map(|(name, value)| format!("{:?}", pair(name, value))).collect();
    match there.iter().count().saturating_sub(SHOWN) {
        _ if shown.is_empty() => String::new(),
        0 => format!(" but {}", shown.join(", ")),
        more => format!(" but {} and {more} more", shown.join(", ")),
    }
}
