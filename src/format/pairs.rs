//! Pairs and labels (spec 5): `name = value`, in one canonical order, visible to everybody.

use crate::error::{Error, Result};

/// The maximum number of pairs. The same limit applies to labels.
pub(crate) const MAX_PAIRS: usize = 64;
/// Maximum length of a name or value in bytes, because lengths are u16.
const MAX_TEXT: usize = u16::MAX as usize;
/// Names with these beginnings, in upper or lower case, are reserved for waxseal and AWS.
const RESERVED: [&str; 2] = ["waxseal:", "aws:"];

/// Pairs of the encryption context, or labels: non-empty text without control characters, in ascending order of the
/// names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Sorts and checks `pairs` (spec 5).
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the wrong pair: an empty text, a control character, a reserved name, a name that
    /// occurs twice (upper and lower case are the same), or more than 64 pairs.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort();
        check(&pairs).map_err(|(index, rule)| match pairs.get(index) {
            Some((name, _)) => Error::Invalid(format!("pair {name:?}: {rule}")),
            None => Error::Invalid(rule.into()),
        })?;
        Ok(Self(pairs))
    }

    /// Parses `NAME=VALUE` texts. Each is split at the first `=`.
    ///
    /// # Errors
    /// As [`Pairs::new`]. Also for a text without `=`.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self> {
        let split = |text: S| match text.as_ref().split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::Invalid(format!("{:?} is not of the form NAME=VALUE", text.as_ref()))),
        };
        Self::new(texts.into_iter().map(split).collect::<Result<Vec<_>>>()?)
    }

    /// For a reader: keeps the order of the pairs.
    ///
    /// The error has the index of the pair that breaks a rule, and the rule.
    pub(super) fn canonical(pairs: Vec<(String, String)>) -> Result<Self, (usize, &'static str)> {
        check(&pairs)?;
        Ok(Self(pairs))
    }

    /// The pairs, in ascending order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of those pairs of `demanded` that are missing here. Pairs are compared byte for byte.
    #[must_use]
    pub fn missing<'a>(&self, demanded: &'a Pairs) -> Vec<&'a str> {
        demanded.0.iter().filter(|pair| !self.0.contains(pair)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Checks the grammar. The error has the index of the pair and the rule that it breaks.
fn check(pairs: &[(String, String)]) -> Result<(), (usize, &'static str)> {
    if pairs.len() > MAX_PAIRS {
        return Err((MAX_PAIRS, "there are more than 64 pairs"));
    }
    for (index, (name, value)) in pairs.iter().enumerate() {
        check_text(name).and_then(|()| check_text(value)).map_err(|rule| (index, rule))?;
        let lower = name.to_ascii_lowercase();
        if RESERVED.iter().any(|reserved| lower.starts_with(reserved)) {
            return Err((index, "the name is reserved"));
        }
        // Names that differ only in case need not be neighbours: `A`, `B`, `a`.
        if pairs[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
            return Err((index, "the name occurs twice, or differs from another name only in case"));
        }
        if index > 0 && pairs[index - 1].0 >= *name {
            return Err((index, "the names do not ascend"));
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("name and value must not be empty");
    }
    if text.len() > MAX_TEXT {
        return Err("name and value have at most 65535 bytes");
    }
    // `char::is_control` is Unicode's Cc: U+0000..1F and U+007F..9F.
    if text.chars().any(char::is_control) {
        return Err("name and value must not hold control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_refuses() {
        let pairs = Pairs::parse(["b=2", "a=1=1"]).unwrap();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", "1=1"), ("b", "2")]);
        for bad in
            [&["a"][..], &["=v"], &["a="], &["a=\u{7f}"], &["a=\u{9f}"], &["a\n=1"], &["Aws:x=1"], &["WAXSEAL:x=1"]]
        {
            assert!(matches!(Pairs::parse(bad), Err(Error::Invalid(_))), "{bad:?}");
        }
        for twice in [&["a=1", "a=2"][..], &["A=1", "B=1", "a=1"]] {
            assert!(Pairs::parse(twice).is_err(), "{twice:?}");
        }
        assert!(Pairs::parse(["awsx=1", "waxseal=1", "\u{a0}=\u{20}"]).is_ok());
        let many = |n: usize| Pairs::parse((0..n).map(|i| format!("n{i}=v")));
        assert!(many(64).is_ok() && many(65).is_err());
        let long = "x".repeat(65_536);
        assert!(Pairs::parse([format!("n={}", &long[1..])]).is_ok() && Pairs::parse([format!("n={long}")]).is_err());
    }

    #[test]
    fn a_reader_refuses_another_order() {
        let own = |name: &str| (name.to_owned(), "v".to_owned());
        assert_eq!(Pairs::canonical(vec![own("b"), own("a")]), Err((1, "the names do not ascend")));
    }

    #[test]
    fn demands_are_met_byte_for_byte() {
        let file = Pairs::parse(["env=prod", "host=a"]).unwrap();
        assert!(file.missing(&Pairs::parse(["env=prod"]).unwrap()).is_empty());
        assert_eq!(file.missing(&Pairs::parse(["env=Prod", "x=y"]).unwrap()), ["env", "x"]);
    }
}
