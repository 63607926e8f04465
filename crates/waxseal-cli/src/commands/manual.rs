//! `man`: a manual page for each command.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use waxseal::engine::Durability;
use waxseal::io::Destination;

use crate::Result;
use crate::args::{Args, ManArgs};
use crate::count::count;
use crate::environment::VARIABLES;
use crate::escape::{self, Name};
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::output::{NewFile, Overwrite};
use crate::report::{Done, Reporter, to_stdout};
use crate::session::Session;

/// Every page of waxseal has it near its start.
const MARK: &[u8] = b"\n.TH waxseal";

/// Runs the command.
pub(crate) fn run(args: &ManArgs, session: &Session) -> Result<Exit> {
    let mut command = Args::command();
    command.build();
    if let Some(folder) = &args.all {
        let written = write_all(&command, folder, &session.reporter);
        return Ok(session.reporter.finished(Some(&Name::of(folder)), written));
    }
    let mut found = &command;
    for word in &args.command {
        found = found.find_subcommand(word).ok_or_else(|| {
            Failure::usage(format!("waxseal has no command {word}")).hint("`waxseal --help` lists the commands")
        })?;
    }
    to_stdout(&page(found)?)?;
    Ok(Exit::Done)
}

/// Writes all pages into `folder`. A page that waxseal wrote earlier is replaced, and no other file is.
fn write_all(command: &clap::Command, folder: &Path, reporter: &Reporter) -> Result<Done> {
    std::fs::read_dir(folder).map_err(|error| no_folder(folder, error))?;
    let mut pages = Vec::new();
    collect(command, &mut pages)?;
    // All are looked at before one is written.
    let places = pages.into_iter().map(|(name, text)| Ok((place(&folder.join(name))?, text)));
    let places = places.collect::<Result<Vec<_>>>()?;
    let number = places.len();
    for (place, text) in places {
        let new = NewFile::at(place, Overwrite::Replace, 0o644)?;
        new.file().write_all(text.as_bytes()).map_err(|error| Failure::io("writing a manual page", error))?;
        new.commit(Durability::Unsynced, reporter)?;
    }
    let note = format!("wrote {} to {}", count(number as u64, "manual page"), escape::path(folder));
    Ok(Done { output: Some(Name::of(folder)), note: Some(note), ..Done::default() })
}

fn no_folder(folder: &Path, error: io::Error) -> Failure {
    let missing = error.kind() == ErrorKind::NotFound;
    let failure = Failure::io(format!("opening the folder {}", escape::path(folder)), error);
    let folder = escape::pasted(folder).unwrap_or_else(|| "DIR".into());
    if missing { failure.hint(format!("create it first: mkdir -p {folder}")) } else { failure }
}

/// The pages of `command` and of the commands below it, by file name.
fn collect(command: &clap::Command, pages: &mut Vec<(PathBuf, String)>) -> Result<()> {
    pages.push((format!("{}.1", name_of(command)).into(), page(command)?));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| collect(below, pages))
}

/// `waxseal-key-new`.
fn name_of(command: &clap::Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// Where nothing is yet, or a page of waxseal.
fn place(path: &Path) -> Result<Destination> {
    let destination = Destination::at(path).map_err(waxseal::Error::from)?;
    let is_ours = match destination.found() {
        None => true,
        Some(found) => {
            found.is_file() && has_mark(path).map_err(|error| Failure::io("reading a manual page", error))?
        }
    };
    if is_ours {
        return Ok(destination);
    }
    let what = format!("{} exists and is not a manual page of waxseal", escape::path(path));
    Err(Failure::new(Exit::Unmet, what).hint("name another folder, or move that file away"))
}

fn has_mark(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(1024).read_to_end(&mut start)?;
    Ok(start.windows(MARK.len()).any(|part| part == MARK))
}

/// The manual page of `command`.
fn page(command: &clap::Command) -> Result<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let bare = command.clone().after_help(None::<&'static str>).version(None::<&'static str>);
    let man = Man::new(bare).source(concat!("waxseal ", env!("CARGO_PKG_VERSION"))).manual("waxseal manual");
    let mut out = Vec::new();
    man.render(&mut out).map_err(|error| Failure::io("rendering the manual page", error))?;
    let mut more = Roff::new();
    exit_status(&mut more);
    environment(&mut more, name_of(command) == "waxseal");
    examples(&mut more, help.strip_suffix(&exit::table()).unwrap_or(&help));
    see_also(&mut more, name_of(command));
    let more = more.render();
    // The definition of the apostrophe stands at the start of the page already.
    let (_, more) = more.split_once(".SH ").unwrap_or_default();
    let text = format!("{}.SH {more}", String::from_utf8_lossy(&out));
    // No name is broken, and no blank is stretched.
    let text = text.replacen("\n.SH NAME", "\n.nh\n.ad l\n.SH NAME", 1);
    // What is copied from a page must be what a shell understands: troff makes other characters of these.
    Ok(text.replace('`', r"\(ga").replace('~', r"\(ti").replace('^', r"\(ha"))
}

fn exit_status(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    for line in exit::table().lines() {
        match line.trim_start().split_once("  ") {
            Some((code, meaning)) if code.parse::<u8>().is_ok() => item(page, code, meaning),
            _ => paragraph(page, line.trim()),
        }
    }
}

fn environment(page: &mut Roff, is_main: bool) {
    page.control("SH", ["ENVIRONMENT"]);
    if is_main {
        VARIABLES.iter().for_each(|(names, text)| item(page, &names.join(", "), text));
    } else {
        page.text([bold("waxseal"), roman("(1) lists the environment variables.")]);
    }
}

/// The lines that begin with blanks are commands, which stay as they are. The others are sentences.
fn examples(page: &mut Roff, help: &str) {
    page.control("SH", ["EXAMPLES"]);
    for block in help.split("\n\n") {
        let (commands, words): (Vec<_>, Vec<_>) = block.lines().partition(|line| line.starts_with(' '));
        let words: Vec<_> = words.into_iter().filter(|line| *line != "Examples:").collect();
        if !commands.is_empty() {
            page.control("nf", []);
            for line in commands {
                page.text([roman(line.trim())]);
            }
            page.control("fi", []);
        }
        if !words.is_empty() {
            paragraph(page, &words.join("\n"));
        }
    }
}

fn see_also(page: &mut Roff, name: &str) {
    page.control("SH", ["SEE ALSO"]);
    let mut parts: Vec<Inline> = Vec::new();
    if let Some((above, _)) = name.rsplit_once('-') {
        parts.extend([bold(above), roman("(1). ")]);
    }
    parts.extend([bold("waxseal reader"), roman(" prints a reader of the format in Python.")]);
    page.text(parts);
}

fn item(page: &mut Roff, name: &str, text: &str) {
    page.control("TP", []);
    page.text([bold(name)]);
    page.text([roman(text)]);
}

fn paragraph(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.text([roman(text)]);
}
