//! The forms of regions and accounts.

/// Whether `text` has the form of AWS's regions: `eu-west-1`, `us-gov-east-1`, `eusc-de-east-1`.
///
/// A region becomes part of the endpoint's host name. This form keeps dots, slashes and `@` out of it.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let mut words: Vec<&str> = text.split('-').collect();
    let Some(number) = words.pop() else { return false };
    let lower = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    text.len() <= 32
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (2..=4).contains(&words.len())
        && (2..=4).contains(&words[0].len())
        && words.iter().all(lower)
}

/// Whether `text` is an AWS account: twelve digits.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        for good in
            ["eu-west-1", "us-gov-east-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-12", "mx-central-1"]
        {
            assert!(is_region(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "eu-1",
            "eu-west-",
            "eu-west-1-",
            "eu--1",
            "evil-1",
            "e-west-1",
            "eu-west-100",
            "eu-WEST-1",
            "x.y-z-1",
        ] {
            assert!(!is_region(bad), "{bad}");
        }
    }
}
