//! Asks the user on the terminal, without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use waxseal::Error;
use waxseal::secret::SecretBytes;

use super::{progress, signals};

/// Why the program cannot ask for a passphrase, and what to do.
pub(crate) const NO_TERMINAL: &str = "there is no terminal to ask for the passphrase";
/// What to do without a terminal.
pub(crate) const NO_TERMINAL_HINT: &str = "give it as -k passphrase:file=PATH";

/// A longer line is not accepted as an answer.
const MAX_LINE: usize = 1024;
/// The number of bytes in one read.
const CHUNK: usize = 512;

/// Only one question at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// The process's terminal, if it has one. Stdin and stdout may be anything.
pub(crate) fn terminal() -> Option<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty").ok()
}

/// Asks for a passphrase.
pub(crate) fn passphrase(question: &str) -> waxseal::Result<SecretBytes> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let _room = progress::make_room();
    let Some(terminal) = terminal() else { return Err(Error::Invalid(NO_TERMINAL.into())) };
    let failed = |error| Error::io("reading the passphrase from the terminal", error);
    // The echo is disabled before the question is printed. Otherwise an immediate answer would be shown.
    let _quiet = Quiet::begin(&terminal).map_err(failed)?;
    (&terminal).write_all(question.as_bytes()).map_err(failed)?;
    let line = read_line(&mut &terminal).map_err(failed)?;
    line.ok_or_else(|| Error::Invalid(format!("a passphrase has 1 to {MAX_LINE} bytes")))
}

/// A terminal without echo, until this is dropped or a signal ends the process.
struct Quiet<'a> {
    terminal: &'a File,
    settings: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let settings = tcgetattr(terminal)?;
        // If the user cancels with ctrl-c, the echo must be enabled again.
        signals::registry().set_terminal(Some((terminal.try_clone()?, settings.clone())));
        let quiet = Self { terminal, settings };
        tcsetattr(terminal, OptionalActions::Now, &quiet_settings(&quiet.settings))?;
        Ok(quiet)
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.settings);
        signals::registry().set_terminal(None);
    }
}

/// The terminal stays in line mode, so that the user can correct mistakes. No input byte is changed.
fn quiet_settings(settings: &Termios) -> Termios {
    let mut quiet = settings.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
    quiet.input_modes.remove(InputModes::ISTRIP | InputModes::INLCR | InputModes::IGNCR);
    quiet.input_modes.remove(InputModes::IXON | InputModes::PARMRK);
    #[cfg(target_os = "linux")]
    quiet.input_modes.remove(InputModes::IUCLC);
    // The Enter key sends a carriage return.
    quiet.input_modes.insert(InputModes::ICRNL);
    quiet
}

/// Reads a line and returns its bytes unchanged, without the newline. `None` if it is too long for an answer.
///
/// The line is always read to its end. Otherwise the next reader of the terminal would get the rest of a passphrase.
fn read_line(terminal: &mut impl Read) -> io::Result<Option<SecretBytes>> {
    // The buffer never grows, so that no copy remains in freed memory.
    let mut line = Vec::with_capacity(MAX_LINE + CHUNK);
    let ended = fill_line(terminal, &mut line);
    // From here on, the buffer is wiped in every case.
    let line = SecretBytes::new(line);
    Ok(ended?.then_some(line))
}

/// Whether `line` has the complete line.
fn fill_line(terminal: &mut impl Read, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut is_whole = true;
    loop {
        let start = line.len();
        line.resize(start + CHUNK, 0);
        let read = terminal.read(&mut line[start..]);
        line.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            // A line without an end may be only a part of the user's answer.
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let end = line[start..].iter().position(|byte| *byte == b'\n').map(|at| start + at);
        line.truncate(end.unwrap_or(line.len()));
        is_whole &= line.len() <= MAX_LINE;
        if end.is_some() {
            return Ok(is_whole);
        }
        line.truncate(MAX_LINE);
    }
}

/// Shows `parts` on the terminal and nowhere else.
pub(crate) fn show(parts: &[&[u8]]) -> waxseal::Result<()> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let _room = progress::make_room();
    let Some(terminal) = terminal() else { return Err(Error::Invalid(NO_TERMINAL.into())) };
    let written = parts.iter().try_for_each(|part| (&terminal).write_all(part));
    written.map_err(|error| Error::io("showing the passphrase on the terminal", error))
}

/// Asks twice, because a mistyped passphrase would make a file that nobody opens. `None`: one is to be generated.
pub(crate) fn new_passphrase() -> waxseal::Result<Option<SecretBytes>> {
    let first = passphrase("an empty line generates a strong passphrase\npassphrase to encrypt with: ")?;
    if first.expose().is_empty() {
        return Ok(None);
    }
    let second = passphrase("repeat the passphrase: ")?;
    if first.expose() != second.expose() {
        return Err(Error::Invalid("the two passphrases differ".into()));
    }
    Ok(Some(first))
}

/// Asks a question. `None` without a terminal. Every answer except yes means no.
pub(crate) fn confirm(question: &str) -> waxseal::Result<Option<bool>> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let _room = progress::make_room();
    let Some(mut terminal) = terminal() else { return Ok(None) };
    let failed = |error| Error::io("asking on the terminal", error);
    terminal.write_all(format!("{question} [y/N] ").as_bytes()).map_err(failed)?;
    let answer = match read_line(&mut terminal) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
        answer => answer.map_err(failed)?,
    };
    let answer = answer.map(|answer| answer.expose().trim_ascii().to_ascii_lowercase());
    Ok(Some(answer.is_some_and(|answer| [&b"y"[..], b"yes"].contains(&answer.as_slice()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one piece at a time, as a terminal does.
    struct Pieces(Vec<io::Result<Vec<u8>>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0)?;
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            if count < piece.len() {
                self.0.insert(0, Ok(piece[count..].to_vec()));
            }
            Ok(count)
        }
    }

    fn read(pieces: Vec<io::Result<Vec<u8>>>) -> io::Result<Option<Vec<u8>>> {
        Ok(read_line(&mut Pieces(pieces))?.map(|line| line.expose().to_vec()))
    }

    #[test]
    fn a_line_is_every_byte_of_it() {
        let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
        let with_end = [all.as_slice(), b"\n"].concat();
        assert_eq!(read(vec![Ok(with_end.clone())]).unwrap(), Some(all.clone()));
        let bytes = with_end.iter().map(|byte| Ok(vec![*byte])).collect();
        assert_eq!(read(bytes).unwrap(), Some(all));
        assert_eq!(read(vec![Ok(b"\n".to_vec())]).unwrap(), Some(Vec::new()));
        let interrupted = || Err(ErrorKind::Interrupted.into());
        let pieces = vec![interrupted(), Ok(b"a".to_vec()), interrupted(), Ok(b"b\n".to_vec())];
        assert_eq!(read(pieces).unwrap(), Some(b"ab".to_vec()));
    }

    #[test]
    fn a_line_that_is_too_long_is_read_to_its_end() {
        for (len, fits) in [(MAX_LINE - 1, true), (MAX_LINE, true), (MAX_LINE + 1, false), (5 * MAX_LINE, false)] {
            let line = vec![b'x'; len];
            let mut pieces = Pieces(vec![Ok([line.as_slice(), b"\n"].concat()), Ok(b"next\n".to_vec())]);
            let answer = read_line(&mut pieces).unwrap();
            assert_eq!(answer.map(|answer| answer.expose() == line), fits.then_some(true), "{len}");
            assert_eq!(read_line(&mut pieces).unwrap().unwrap().expose(), b"next", "{len}");
        }
    }

    #[test]
    fn a_line_that_nobody_ends_is_none() {
        for pieces in [vec![], vec![Ok(b"half".to_vec())]] {
            assert_eq!(read(pieces).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
        let broken = vec![Ok(b"half".to_vec()), Err(io::Error::from_raw_os_error(5))];
        assert_eq!(read(broken).unwrap_err().raw_os_error(), Some(5));
    }
}
