//! What a person at a terminal types and sees. `tests/support/terminal.py` is the terminal.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli_support;
mod skipped;

use std::process::Command;

use cli_support::{Place, Ran, WAXSEAL};

const TERMINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/terminal.py");

/// How a run on a terminal ended, what was on the screen, and the state of the terminal afterwards.
struct Seen {
    code: Option<i32>,
    screen: Vec<u8>,
    terminal: String,
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    fn shows(&self, bytes: &[u8]) -> bool {
        self.screen.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// `command` on a terminal that has these input modes.
fn terminal(place: &Place, modes: &str, command: &[&str]) -> Command {
    let mut terminal = Command::new("python3");
    terminal.args([TERMINAL, modes]).args(command).current_dir(place.path("")).env_remove("WAXSEAL_KEY");
    terminal.env("TERM", "xterm").env_remove("NO_COLOR");
    terminal
}

fn look(mut terminal: Command, answers: &[&[u8]]) -> Seen {
    let Ran { code, stdout, stderr, .. } = cli_support::feed(&mut terminal, &answers.join(&b'\n'));
    assert!(stderr.starts_with("settings: "), "{stderr}");
    Seen { code, screen: stdout, terminal: stderr }
}

/// The program's arguments, and an answer to each question.
fn answered(place: &Place, modes: &str, args: &[&str], answers: &[&[u8]]) -> Seen {
    let seen = look(terminal(place, modes, &[&[WAXSEAL], args].concat()), answers);
    assert_eq!(seen.terminal.trim(), "settings: as before left: 0", "{}", seen.text());
    for answer in answers.iter().filter(|answer| answer.len() > 3) {
        assert!(!seen.shows(answer), "an answer is shown: {}", seen.text());
    }
    seen
}

const SEAL: [&str; 6] = ["encrypt", "-f", "-k", "passphrase", "in", "-q"];
const BY_FILE: [&str; 4] = ["verify", "-k", "passphrase:file=pass", "in.wax"];

/// The spec's "as typed" (9.5): a typed passphrase equals a passphrase file with the same bytes.
#[test]
fn a_passphrase_is_taken_as_typed() {
    let place = Place::new();
    place.write("in", "content");
    if !cfg!(target_os = "linux") {
        skipped::skipped("a_passphrase_is_taken_as_typed: modes of the terminal", "their names are those of Linux");
    }
    let every: Vec<u8> = (1..=255).filter(|byte| !b"\n\r\x03\x04\x15\x16\x17\x1a\x1c\x7f".contains(byte)).collect();
    for (typed, modes) in [
        (&b"tab\tand\x01control"[..], ""),
        // On a terminal of Latin-1.
        (b"p\xe4ssword", ""),
        ("pässwörd 漢".as_bytes(), ""),
        (b"\xffP\xe4\xff SS\x13word\x11", "ISTRIP,PARMRK,INLCR,IUCLC,IXON"),
        (b" blanks at both ends ", ""),
        (&every, ""),
        (&[b'x'; 1024], ""),
    ] {
        let modes = if cfg!(target_os = "linux") { modes } else { "" };
        place.write("pass", typed);
        let seen = answered(&place, modes, &SEAL, &[typed, typed]);
        assert_eq!(seen.code, Some(0), "{typed:?}: {}", seen.text());
        place.ok(&BY_FILE);
        place.ok(&["encrypt", "-f", "-q", "-k", "passphrase:file=pass", "in"]);
        let seen = answered(&place, modes, &["verify", "-k", "passphrase", "in.wax"], &[typed]);
        assert_eq!(seen.code, Some(0), "{typed:?}: {}", seen.text());
    }
}

/// A terminal's editing of a line: one key erases a character, one key erases the line, and a quoted key is taken
/// literally.
#[test]
fn mistypes_can_be_taken_back() {
    let place = Place::new();
    place.write("in", "content");
    for (typed, meant) in
        [(&b"rigx\x7fht"[..], &b"right"[..]), (b"wrong\x15right", b"right"), (b"a\x16\x03b\x16\x7fc", b"a\x03b\x7fc")]
    {
        place.write("pass", meant);
        let seen = answered(&place, "", &SEAL, &[typed, typed]);
        assert_eq!(seen.code, Some(0), "{typed:?}: {}", seen.text());
        place.ok(&BY_FILE);
    }
}

/// However the run ends, the terminal has its old state, and no part of an answer is left for a shell to read.
#[test]
fn the_terminal_is_as_before() {
    let place = Place::new();
    place.write("in", "content");
    let long = [b'x'; 1025];
    let longer = [b'x'; 3000];
    for (answers, code, words) in [
        (&[&b"one"[..], b"other"][..], 2, "the two passphrases differ"),
        (&[&long, &long], 2, "1 to 1024 bytes"),
        (&[&longer], 2, "1 to 1024 bytes"),
        (&[b"half\x04\x04"], 7, "reading the passphrase"),
        (&[b"secret\x03"], 128 + 2, ""),
    ] {
        let seen = look(terminal(&place, "", &[&[WAXSEAL], &SEAL[..]].concat()), answers);
        assert_eq!(seen.code, Some(code), "{answers:?}: {}", seen.text());
        assert!(seen.text().contains(words), "{answers:?}: {}", seen.text());
        assert!(seen.terminal.starts_with("settings: as before"), "{answers:?}: {}", seen.terminal);
        // After ctrl-c or ctrl-d, the newline that the script types may be left.
        let left = seen.terminal.trim().ends_with("left: 0") || seen.terminal.trim().ends_with("left: 1");
        assert!(left && !seen.shows(b"half") && !seen.shows(b"secret"), "{answers:?}: {}", seen.terminal);
        assert!(!place.exists("in.wax"));
    }
}

/// Each file has up to three tries with one question each, and the question names the file.
#[test]
fn a_wrong_passphrase_is_asked_for_again() {
    let place = Place::new();
    place.write("in", "content");
    place.write("pass", "right-right");
    place.ok(&["encrypt", "-k", "passphrase:file=pass", "in"]);
    let (right, wrong) = (&b"right-right"[..], &b"wrong-wrong"[..]);
    for args in [&["verify", "-k", "passphrase", "in.wax"][..], &["decrypt", "-f", "in.wax"]] {
        for (answers, code) in [(&[right][..], 0), (&[wrong, b"", right], 0), (&[wrong, wrong, wrong], 5)] {
            let seen = answered(&place, "", args, answers);
            assert_eq!(seen.code, Some(code), "{args:?}: {}", seen.text());
            let wrong = answers.iter().filter(|answer| **answer != right).count();
            assert_eq!(seen.text().matches("that does not open in.wax (try ").count(), wrong.min(2), "{}", seen.text());
        }
    }
    // If the terminal gives no more answers, the questions end.
    let seen = look(terminal(&place, "", &[WAXSEAL, "verify", "in.wax"]), &[b"half\x04\x04"]);
    assert!(seen.code == Some(7) && seen.text().contains("reading the passphrase"), "{}", seen.text());
}

/// An empty line generates a passphrase. It is shown once, only on the terminal. It seals, and opens when it is typed.
#[test]
fn a_passphrase_is_generated_where_none_is_typed() {
    let place = Place::new();
    place.write("in", "content");
    let mut known = Vec::new();
    for _ in 0..2 {
        let script = format!("{WAXSEAL} encrypt -f -k passphrase in >said 2>&1");
        let seen = look(terminal(&place, "", &["sh", "-c", &script]), &[b""]);
        assert_eq!(seen.code, Some(0), "{}", seen.text());
        assert!(seen.terminal.starts_with("settings: as before left: 0"), "{}", seen.terminal);
        let text = seen.text();
        let is_one = |word: &&str| word.len() == 29 && word.split('-').all(|group| group.len() == 4);
        let shown: Vec<&str> = text.split_whitespace().filter(is_one).collect();
        let [passphrase] = shown[..] else { panic!("{text}") };
        assert!(passphrase.bytes().all(|byte| b"-0123456789abcdefghjkmnpqrstvwxyz".contains(&byte)), "{passphrase}");
        assert!(place.read("said").is_empty(), "the passphrase may be in a file");
        assert!(!text.contains("repeat the passphrase") && !text.contains("fewer than"), "{text}");
        place.write("pass", passphrase);
        place.ok(&BY_FILE);
        let seen = answered(&place, "", &["verify", "-k", "passphrase", "in.wax"], &[passphrase.as_bytes()]);
        assert_eq!(seen.code, Some(0), "{}", seen.text());
        known.push(passphrase.to_owned());
    }
    assert_ne!(known[0], known[1]);
}

#[test]
fn a_short_passphrase_is_warned_of() {
    let place = Place::new();
    place.write("in", "content");
    for (typed, is_short) in [(&b"seven-7"[..], true), (b"eight--8", false)] {
        let seen = answered(&place, "", &SEAL, &[typed, typed]);
        assert_eq!(seen.code, Some(0), "{}", seen.text());
        assert_eq!(seen.text().contains("warning: the passphrase has fewer than 8 characters"), is_short);
    }
}

/// <https://no-color.org>, and terminals without colours.
#[test]
fn help_is_coloured_where_that_is_wanted() {
    let place = Place::new();
    for (variable, value, coloured) in [
        ("TERM", "xterm", true),
        ("NO_COLOR", "", true),
        ("NO_COLOR", "1", false),
        ("NO_COLOR", "0", false),
        ("TERM", "dumb", false),
        ("TERM", "", false),
    ] {
        for args in [&["--help"][..], &["encrypt", "--help"], &["key", "-h"]] {
            let mut command = terminal(&place, "", &[&[WAXSEAL], args].concat());
            command.env(variable, value);
            let seen = look(command, &[]);
            assert_eq!((seen.code, seen.shows(b"\x1b")), (Some(0), coloured), "{variable}={value} {args:?}");
            assert!(seen.shows(b"Usage:"));
        }
    }
}

/// No bar is drawn in the first half second. So no rate can be higher than all bytes divided by half a second.
#[test]
fn the_first_rate_of_the_bar_is_one_that_can_be() {
    const PART: usize = 32 << 20;
    const MOST: f64 = (2 * PART) as f64 / 0.5;
    let place = Place::new();
    let script = format!(
        "{{ head -c {PART} /dev/zero; sleep 1; head -c {PART} /dev/zero; }} | {WAXSEAL} encrypt -k file:k -o out.wax"
    );
    let seen = look(terminal(&place, "", &["sh", "-c", &script]), &[]);
    let text = seen.text();
    assert_eq!(seen.code, Some(0), "{text}");
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    let rates = text.split("/s").filter_map(|before| {
        let mut words = before.rsplit(' ');
        let (unit, number) = (words.next()?, words.next()?);
        let unit = units.iter().find(|(name, _)| *name == unit).map_or(f64::INFINITY, |(_, bytes)| *bytes as f64);
        Some(number.parse::<f64>().ok()? * unit)
    });
    let rates: Vec<f64> = rates.collect();
    assert!(!rates.is_empty(), "no rate is shown: {text:?}");
    assert!(rates.iter().all(|rate| *rate <= MOST), "{rates:?}: {text:?}");
}

/// The progress bar of several files is erased before the question. The two pipes are read in the order of the command
/// line.
#[test]
fn a_question_has_a_line_of_its_own() {
    let place = Place::new();
    place.write("pass", "right-right");
    for (name, key) in [("a", "file:k"), ("b", "passphrase:file=pass")] {
        place.write(name, name);
        place.ok(&["encrypt", "-k", key, name]);
    }
    let script = format!(
        "mkfifo p q; {{ sleep 1; cat a.wax; }} > p & {{ sleep 2; cat b.wax; }} > q & \
         {WAXSEAL} verify -k file:k -k passphrase p q"
    );
    let seen = look(terminal(&place, "", &["sh", "-c", &script]), &[b"right-right"]);
    let text = seen.text();
    assert_eq!(seen.code, Some(0), "{text}");
    let (before, _) = text.split_once("passphrase: ").unwrap();
    assert!(before.contains("1/2 files"), "no bar is shown: {text:?}");
    assert!(before.ends_with("\x1b[2K") || before.ends_with(['\r', '\n']), "{text:?}");
}

/// Several inputs have one bar over their files and bytes, also if they are found during the work.
#[test]
fn several_inputs_have_one_bar() {
    let place = Place::new();
    place.sealed("a.wax", &[7; 3_000]);
    let pipes = format!(
        "mkfifo p q; {{ sleep 1; cat a.wax; }} > p & {{ sleep 2; cat a.wax; }} > q & {WAXSEAL} verify -k file:k p q"
    );
    let list = "{ sleep 1; echo a.wax; sleep 1; echo b.wax; }";
    let list = format!("cp a.wax b.wax; {list} | {WAXSEAL} verify -k file:k --files-from -");
    for (script, bar) in [(pipes, "1/2 files, "), (list, "1 files, ")] {
        let seen = look(terminal(&place, "", &["sh", "-c", &script]), &[]);
        let text = seen.text();
        assert_eq!(seen.code, Some(0), "{text}");
        assert!(text.contains(bar) && text.contains("11.00 KiB at "), "{text:?}");
        assert!(!text.contains("p 11.00 KiB"), "a bar of its own: {text:?}");
    }
}

/// A command that asks a question on the terminal, and reads the dump from stdin. All processes are in one group, as in
/// every pipeline.
const ASKS: &str = "cat > part; printf 'passphrase: ' > /dev/tty; \
    while [ -z \"$answer\" ]; do read answer < /dev/tty; done; echo $answer > answer";

/// `psql`, `ssh` and others ask on the terminal, not at stdin.
#[test]
fn a_command_that_gets_the_content_may_ask_on_the_terminal() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    let run = [WAXSEAL, "decrypt", "-q", "-k", "file:k", "--to-command", "in.wax", "--", "sh", "-c", ASKS];
    let seen = look(terminal(&place, "", &run), &[b"from a person"]);
    assert_eq!(seen.code, Some(0), "{}", seen.text());
    assert_eq!((place.read("answer"), place.read("part")), (b"from a person\n".to_vec(), b"content".to_vec()));
    // Ctrl-c ends all of them.
    let script = format!("{ASKS}; touch done");
    let run = [WAXSEAL, "decrypt", "-q", "-k", "file:k", "--to-command", "in.wax", "--", "sh", "-c", &script];
    let seen = look(terminal(&place, "", &run), &[b"\x03"]);
    assert_eq!(seen.code, Some(128 + 2), "{}", seen.text());
    assert!(!place.exists("done"));
}

/// Ctrl-z stops all of them, and `fg` continues them. The newline that is typed after `fg` is not the answer.
#[test]
fn a_command_that_gets_the_content_is_stopped_and_goes_on() {
    let place = Place::new();
    place.sealed("in.wax", b"content");
    place.write("asks", ASKS);
    let script = format!(
        "set -m; {WAXSEAL} decrypt -q -k file:k --to-command in.wax -- sh asks; echo \"stopped: $?\"; \
         printf 'passphrase: '; fg > /dev/null; echo \"ended: $?\""
    );
    let seen = look(terminal(&place, "", &["sh", "-c", &script]), &[b"\x1a", b"from a person"]);
    let text = seen.text();
    assert!(text.contains("stopped: 148") && text.contains("ended: 0"), "{text}");
    assert_eq!(place.read("answer"), b"from a person\n");
}
