//! Numbers of things, in words.

/// `1 place`, `2 places`.
pub(crate) fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let words = [0, 1, 2].map(|number| count(number, "place"));
        assert_eq!(words, ["0 places", "1 place", "2 places"]);
    }
}
