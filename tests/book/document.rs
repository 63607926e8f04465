//! Reads the commands of a document, and what they print.
//!
//! - `<!-- book: WORDS -->` names what the document needs.
//! - A block `console` has commands (`$ `), each followed by its output. A command continues on the next line if it ends
//!   in `\`, if a heredoc is open, or if the next line begins with `> `.
//! - `<!-- run: COMMANDS -->` is run and not shown.
//! - `<!-- book: file NAME -->` before a block writes the block to a file.
//! - `<!-- book: skip REASON -->` before a block says why it is not run.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::support::root;

/// One thing that is done, in the order of the document. Lines count from 0.
pub(crate) enum Piece {
    Command { line: usize, text: String, output: String, lines: Range<usize> },
    Hidden { line: usize, text: String },
    File { line: usize, name: String, content: String },
}

impl Piece {
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::Command { line, .. } | Self::Hidden { line, .. } | Self::File { line, .. } => *line,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Command { text, .. } | Self::Hidden { text, .. } => text,
            Self::File { name, .. } => name,
        }
    }
}

pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) needs: Vec<String>,
    pub(crate) pieces: Vec<Piece>,
    /// The blocks that are not run, each with its reason.
    pub(crate) skips: Vec<String>,
    /// What is wrong with the form of the document.
    pub(crate) mistakes: Vec<String>,
}

/// What a comment says about the next block.
enum Next {
    File(String),
    Skip(String),
}

/// A fenced block. `inside` are the lines between the fences.
struct Block {
    language: String,
    indent: usize,
    inside: Range<usize>,
}

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Self {
        let mut document = Self {
            path: path.to_owned(),
            needs: Vec::new(),
            pieces: Vec::new(),
            skips: Vec::new(),
            mistakes: Vec::new(),
        };
        let lines: Vec<&str> = text.lines().collect();
        let (mut at, mut next) = (0, None);
        while at < lines.len() {
            if let Some(block) = block_at(&lines, at) {
                at = block.inside.end + 1;
                document.add_block(&lines, block, next.take());
            } else if let Some((comment, end)) = comment_at(&lines, at) {
                let said = document.add_comment(at, &comment);
                next = said.or(next);
                at = end;
            } else {
                if !lines[at].trim().is_empty() && next.take().is_some() {
                    document.mistake(at, "no block follows the comment directly");
                }
                at += 1;
            }
        }
        document
    }

    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{}", self.path.display(), line + 1)
    }

    fn mistake(&mut self, line: usize, what: &str) {
        let mistake = format!("{}: {what}\n", self.place(line));
        self.mistakes.push(mistake);
    }

    fn add_comment(&mut self, line: usize, comment: &str) -> Option<Next> {
        if let Some(commands) = comment.strip_prefix("run:") {
            self.pieces.push(Piece::Hidden { line, text: commands.trim().to_owned() });
            return None;
        }
        let words = comment.strip_prefix("book:")?.trim();
        match words.split_once(char::is_whitespace) {
            Some(("skip", reason)) => return Some(Next::Skip(reason.trim().to_owned())),
            Some(("file", name)) => return Some(Next::File(name.trim().to_owned())),
            _ if words == "skip" || words == "file" => self.mistake(line, "a comment without its reason or name"),
            _ if !self.needs.is_empty() => self.mistake(line, "a second list of what is needed"),
            _ => self.needs = words.split_whitespace().map(str::to_owned).collect(),
        }
        None
    }

    fn add_block(&mut self, lines: &[&str], block: Block, next: Option<Next>) {
        let start = block.inside.start;
        let inside = &lines[block.inside.clone()];
        let inside: Vec<&str> = inside.iter().map(|line| outdented(line, block.indent)).collect();
        let is_console = block.language == "console";
        match next {
            Some(Next::Skip(reason)) => {
                let skip = format!("{}: {reason}", self.place(start));
                self.skips.push(skip);
            }
            Some(Next::File(name)) => {
                let content = inside.iter().flat_map(|line| [*line, "\n"]).collect();
                self.pieces.push(Piece::File { line: start, name, content });
            }
            None if is_console && self.needs.is_empty() => {
                self.mistake(start, "commands before a comment that says what they need");
            }
            None if is_console => self.add_commands(start, &inside),
            None if !self.needs.is_empty() && ["sh", "bash", "shell"].contains(&block.language.as_str()) => {
                self.mistake(start, "commands that are not run, without a reason: `console` is run");
            }
            None => {}
        }
    }

    fn add_commands(&mut self, start: usize, inside: &[&str]) {
        let mut at = 0;
        while at < inside.len() {
            let Some(first) = inside[at].strip_prefix("$ ") else {
                self.mistake(start + at, "output without a command");
                return;
            };
            let (text, end) = whole_command(first, inside, at + 1);
            let len = inside[end..].iter().take_while(|line| !line.starts_with("$ ")).count();
            let output = inside[end..end + len].join("\n");
            let lines = start + end..start + end + len;
            self.pieces.push(Piece::Command { line: start + at, text, output, lines });
            at = end + len;
        }
    }

    /// Writes other outputs into the document, instead of the given lines.
    pub(crate) fn correct(&self, corrections: &[(Range<usize>, String)]) {
        let path = root().join(&self.path);
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (range, output) in corrections.iter().rev() {
            let before = &lines[range.start - 1];
            let indent = " ".repeat(before.len() - before.trim_start().len());
            let new: Vec<String> = output.lines().map(|line| format!("{indent}{line}").trim_end().to_owned()).collect();
            lines.splice(range.clone(), new);
        }
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }
}

fn outdented(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    &line[spaces.min(indent)..]
}

/// The fenced block that begins at this line.
fn block_at(lines: &[&str], at: usize) -> Option<Block> {
    let line = lines[at].trim_start();
    let fence = &line[..line.len() - line.trim_start_matches('`').len()];
    if fence.len() < 3 {
        return None;
    }
    let ends = |line: &&str| line.trim().starts_with(fence) && line.trim().trim_start_matches('`').is_empty();
    let len = lines[at + 1..].iter().take_while(|line| !ends(line)).count();
    let language = line[fence.len()..].split([',', ' ']).next().unwrap_or_default().to_owned();
    Some(Block { language, indent: lines[at].len() - line.len(), inside: at + 1..at + 1 + len })
}

/// The text of the comment that begins at this line, and the line after its end.
fn comment_at(lines: &[&str], at: usize) -> Option<(String, usize)> {
    let first = lines[at].trim_start().strip_prefix("<!--")?;
    let len = lines[at..].iter().take_while(|line| !line.contains("-->")).count();
    let text = if len == 0 { first.to_owned() } else { [&[first], &lines[at + 1..=at + len]].concat().join("\n") };
    let text = text.split("-->").next().unwrap_or_default();
    Some((text.trim().to_owned(), at + len + 1))
}

/// A command with the lines on which it continues, and the line after it.
fn whole_command(first: &str, inside: &[&str], mut at: usize) -> (String, usize) {
    let mut text = first.to_owned();
    let mut ends: Vec<String> = heredocs(first);
    while let Some(line) = inside.get(at) {
        if let Some(end) = ends.first() {
            if line.trim_start_matches('\t') == end {
                ends.remove(0);
            }
            text = format!("{text}\n{line}");
        } else if text.ends_with('\\') || line.starts_with("> ") {
            let line = line.strip_prefix("> ").unwrap_or(line);
            ends = heredocs(line);
            text = format!("{text}\n{line}");
        } else {
            break;
        }
        at += 1;
    }
    (text, at)
}

/// The words that end the heredocs of this line.
fn heredocs(line: &str) -> Vec<String> {
    let words = line.split("<<").skip(1).filter(|rest| !rest.starts_with('<'));
    let word = |rest: &str| {
        let rest = rest.trim_start_matches('-').trim_start();
        let word = rest.split(|c: char| c.is_whitespace() || ";|&)>".contains(c)).next().unwrap_or_default();
        word.trim_matches(['\'', '"']).to_owned()
    };
    words.map(word).filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(Path::new("x.md"), text)
    }

    fn shown(document: &Document) -> Vec<(usize, String, String)> {
        let of = |piece: &Piece| match piece {
            Piece::Command { line, text, output, lines } => {
                assert_eq!(lines.len(), if output.is_empty() { 0 } else { output.lines().count() });
                (*line, text.clone(), output.clone())
            }
            Piece::Hidden { line, text } => (*line, format!("({text})"), String::new()),
            Piece::File { line, name, content } => (*line, name.clone(), content.clone()),
        };
        document.pieces.iter().map(of).collect()
    }

    #[test]
    fn commands_and_outputs_are_told_apart() {
        let text = "<!-- book: kms jq -->\n<!-- run:\na\nb\n-->\n- x\n\n  ```console\n  $ one \\\n    two\n  1\n\n  2\n  \
                    $ cat <<'E' <<F\n  $ x\n  E\n  F\n  $ for\n  > do\n  ```\n";
        let document = parse(text);
        assert_eq!(document.needs, ["kms", "jq"]);
        assert_eq!(document.mistakes, [""; 0]);
        let found = shown(&document);
        let found: Vec<_> = found.iter().map(|(line, text, output)| (*line, text.as_str(), output.as_str())).collect();
        let expected = [
            (1, "(a\nb)", ""),
            (8, "one \\\n  two", "1\n\n2"),
            (13, "cat <<'E' <<F\n$ x\nE\nF", ""),
            (17, "for\ndo", ""),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_run_has_a_reason() {
        let block = "```console\n$ a\n```\n";
        assert_eq!(parse(block).mistakes.len(), 1);
        assert_eq!(parse(&format!("<!-- book: skip x -->\n\n{block}")).skips, ["x.md:4: x"]);
        assert_eq!(parse(&format!("<!-- book: skip -->\n{block}")).mistakes.len(), 2);
        assert_eq!(parse("<!-- book: run -->\n```sh\na\n```\n").mistakes.len(), 1);
        assert_eq!(parse("```sh\na\n```\n").mistakes.len(), 0);
        assert_eq!(parse("<!-- book: run -->\n```console\na\n```\n").mistakes.len(), 1);
        assert_eq!(parse("<!-- book: skip x -->\ntext\n").mistakes.len(), 1);
        let file = parse("<!-- book: file a/b -->\n```ini\n[x]\n```\n");
        assert_eq!(shown(&file), [(2, "a/b".to_owned(), "[x]\n".to_owned())]);
    }
}
