//! Asks on the terminal, without echo.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use waxseal::Error;
use waxseal::secret::SecretBytes;

use super::signals;

/// Why a passphrase cannot be asked for, with what to do.
pub(crate) const NO_TERMINAL: &str = "there is no terminal to ask for the passphrase on";
/// What to do without a terminal.
pub(crate) const NO_TERMINAL_HINT: &str = "give it as -k passphrase:file=PATH";

/// One person answers one question at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// The process's terminal, if it has one; stdin and stdout may be anything.
pub(crate) fn terminal() -> Option<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty").ok()
}

/// Asks for a passphrase.
pub(crate) fn passphrase(question: &str) -> waxseal::Result<SecretBytes> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(terminal) = terminal() else { return Err(Error::Invalid(NO_TERMINAL.into())) };
    let failed = |error| Error::io("asking the terminal", error);
    let settings = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
    // A person who gives up with ctrl-c is to have the echo back.
    signals::registry().set_terminal(Some((terminal.try_clone().map_err(failed)?, settings.clone())));
    // `rpassword` asks before it turns the echo off: an answer that came at once would be shown.
    let mut quiet = settings.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
    let answer = tcsetattr(&terminal, OptionalActions::Now, &quiet).map_err(Into::into);
    let answer = answer.and_then(|()| rpassword::prompt_password(question));
    if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        // Ctrl-c: the thread that waits for signals ends the program, unless it is to ignore them.
        std::thread::sleep(Duration::from_secs(1));
    }
    let _ = tcsetattr(&terminal, OptionalActions::Now, &settings);
    signals::registry().set_terminal(None);
    let answer = answer.map_err(|error| Error::io("reading the passphrase from the terminal", error))?;
    Ok(SecretBytes::new(answer.into_bytes()))
}

/// Asks twice, because a mistyped passphrase would make a file that nobody opens.
pub(crate) fn new_passphrase() -> waxseal::Result<SecretBytes> {
    let first = passphrase("passphrase to encrypt with: ")?;
    let second = passphrase("the same again: ")?;
    if first.expose() != second.expose() {
        return Err(Error::Invalid("the two passphrases differ".into()));
    }
    Ok(first)
}

/// Asks a question; `None` without a terminal. Anything but yes is no.
pub(crate) fn confirm(question: &str) -> waxseal::Result<Option<bool>> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut terminal) = terminal() else { return Ok(None) };
    let failed = |error| Error::io("asking on the terminal", error);
    terminal.write_all(format!("{question} [y/N] ").as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer).map_err(failed)?;
    Ok(Some(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())))
}
