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
    /// [`Unmet`] with the names of all missing items.
    pub fn check(&self, binding: &Binding) -> Result<()> {
        let named = |kind: &'static str, names: Vec<&str>| {
            names.into_iter().map(|name| format!("{kind} {name:?}")).collect::<Vec<_>>()
        };
        let mut names = named("encryption context", binding.context.missing(&self.context));
        names.extend(named("label", binding.labels.missing(&self.labels)));
        if names.is_empty() { Ok(()) } else { Err(Unmet::new(names).into()) }
    }
}
