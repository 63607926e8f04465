//! Compares what a command printed with what the document says. Some things differ in every run, such as times and ids.
//! They are left out of both texts. `[..]` in the document stands for anything in a line, and the line `...` for any
//! lines.

use std::sync::OnceLock;

use regex::Regex;
use snapbox::assert::Action;
use snapbox::filter::NormalizeToExpected;
use snapbox::report::Palette;
use snapbox::{Assert, Data, IntoData as _};

/// What differs in every run, and what it becomes. The order counts.
const VARIABLE: [(&str, &str); 9] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"mrk-[0-9a-f]{32}", "MRK"),
    (r"[0-9a-f]{16,}", "HEX"),
    (r"[A-Za-z0-9+/]{60,}={0,2}", "BASE64"),
    (r"20[0-9]{2}-[01][0-9]-[0-3][0-9]", "DATE"),
    (r"[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?", "TIME"),
    (r"\b[0-9]+(\.[0-9]+)? m?s\b", "SECONDS"),
    (r"127\.0\.0\.1:[0-9]+", "ADDRESS"),
    (r"[ \t\r]+(\n|$)", "$1"),
];

fn plain(text: &str) -> String {
    static EXPRESSIONS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let expressions = EXPRESSIONS.get_or_init(|| {
        let ascii = |expression: &str| Regex::new(&format!("(?-u){expression}")).unwrap();
        VARIABLE.iter().map(|(expression, name)| (ascii(expression), *name)).collect()
    });
    let plain = expressions
        .iter()
        .fold(text.to_owned(), |text, (expression, name)| expression.replace_all(&text, *name).into_owned());
    plain.trim_end_matches('\n').to_owned()
}

/// The lines that differ, if the texts differ.
pub(crate) fn difference(printed: &str, expected: &str) -> Option<String> {
    let expected: Data = plain(expected).into_data();
    let printed = NormalizeToExpected::new().redact().normalize(plain(printed).into_data(), &expected);
    let assert = Assert::new().palette(Palette::plain()).action(Action::Verify).normalize_paths(false);
    assert.try_eq(Some(&"printed"), printed, expected.raw()).err().map(|difference| difference.to_string())
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn only_what_must_differ_may_differ() {
        let same = [
            ("a\n", "a"),
            ("", ""),
            ("at 2026-11-28T08:45:03.017Z", "at 2027-01-02T18:00:00Z"),
            ("key/a465595c-2bf2-4507-a142-e8523f079c33; 0.009 s", "key/00000000-2bf2-4507-a142-e8523f079c33; 12 s"),
            ("10fdb1436ced0816b5921c5595641486", "00000000000000000000000000000000"),
            ("one two three", "one [..] three"),
            ("a\nb\nc\nd", "a\n...\nd"),
        ];
        for (printed, expected) in same {
            assert_eq!(difference(printed, expected), None, "{printed:?} {expected:?}");
        }
        let different = [("a", ""), ("", "a"), ("a\nb", "a"), ("8270 bytes", "8271 bytes"), ("exit 5", "exit 6")];
        for (printed, expected) in different {
            let difference = difference(printed, expected).unwrap_or_default();
            let lines = [printed, expected].into_iter().flat_map(str::lines);
            assert!(lines.into_iter().all(|line| difference.contains(line)), "{difference}");
        }
    }
}
