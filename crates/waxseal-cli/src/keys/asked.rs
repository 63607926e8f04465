//! Passphrases that a person types to open files with: asked for at the first slot that needs one, and remembered for
//! the files after it. Files may have different ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waxseal::Error;
use waxseal::error::ProviderCause;
use waxseal::format::{Binding, DataKeyId, Header, Slot, SlotKind};
use waxseal::keys::{KeyOpener, Passphrase};
use waxseal::secret::DataKey;

use super::in_turn::InTurn;
use crate::prompt;
use crate::report;

/// So often a passphrase is asked for, for each file.
const TRIES: usize = 3;

/// What is typed on the terminal.
#[derive(Default)]
pub(super) struct Asked {
    /// Those that have opened a file.
    known: Mutex<Vec<Arc<InTurn>>>,
    /// Held while a person is asked: one file at a time.
    person: Mutex<Person>,
}

#[derive(Default)]
struct Person {
    /// Files for which nothing right was typed. They are not asked for again.
    given_up: Vec<DataKeyId>,
    /// Whether the terminal gives no more answers.
    has_left: bool,
}

impl Asked {
    /// Tries those of the known passphrases that come after the first `tried`, and counts them.
    fn try_known(&self, slot: &Slot, binding: &Binding, tried: &mut usize) -> waxseal::Result<Option<DataKey>> {
        let known: Vec<_> = lock(&self.known).iter().skip(*tried).cloned().collect();
        for passphrase in known {
            *tried += 1;
            match passphrase.open(slot, binding) {
                Err(error) if is_mistyped(&error) => {}
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }

    /// Asks until a passphrase opens the slot, but not for ever.
    fn ask(&self, person: &mut Person, slot: &Slot, binding: &Binding, tried: usize) -> waxseal::Result<DataKey> {
        let file = name_of(binding.data_key_id);
        let mut question = match tried {
            // Several files are opened at once, and ask in any order.
            0 if report::is_one_of_several() => format!("{file} needs a passphrase\n"),
            0 => String::new(),
            _ => format!("no passphrase so far opens {file}\n"),
        };
        let mut wrong = no_passphrase();
        for count in 1..=TRIES {
            question.push_str("passphrase: ");
            let answer = prompt::passphrase(&question);
            person.has_left = matches!(answer, Err(Error::Io { .. }));
            let typed = answer.and_then(Passphrase::new).map(InTurn);
            let opened = typed.and_then(|typed| Ok((typed.open(slot, binding)?, typed)));
            match opened {
                Ok((key, typed)) => {
                    lock(&self.known).push(Arc::new(typed));
                    return Ok(key);
                }
                Err(error) if is_mistyped(&error) => wrong = error,
                Err(error) => return Err(error),
            }
            question = format!("that does not open {file} (try {count} of {TRIES})\n");
        }
        person.given_up.push(binding.data_key_id);
        Err(wrong)
    }
}

impl KeyOpener for Asked {
    fn name(&self) -> String {
        "passphrase".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::PASSPHRASE
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> waxseal::Result<DataKey> {
        let mut tried = 0;
        if let Some(key) = self.try_known(slot, binding, &mut tried)? {
            return Ok(key);
        }
        if prompt::terminal().is_none() {
            return Err(Error::Invalid(prompt::NO_TERMINAL.into()));
        }
        let mut person = lock(&self.person);
        // What was typed for another file meanwhile.
        if let Some(key) = self.try_known(slot, binding, &mut tried)? {
            return Ok(key);
        }
        if person.has_left || person.given_up.contains(&binding.data_key_id) {
            return Err(no_passphrase());
        }
        self.ask(&mut person, slot, binding, tried)
    }
}

/// An empty line, and one that is too long, are as mistyped as a wrong one.
fn is_mistyped(error: &Error) -> bool {
    match error {
        Error::Invalid(_) => true,
        Error::Provider(error) => error.cause == ProviderCause::WrongPassphrase,
        _ => false,
    }
}

fn no_passphrase() -> Error {
    Error::Invalid("no passphrase that opens it was entered".into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of the files that are being opened, for the question: a slot does not tell whose it is.
static NAMES: Mutex<VecDeque<(DataKeyId, String)>> = Mutex::new(VecDeque::new());
/// More are not opened at once.
const NAMES_KEPT: usize = 64;

/// The file called `name`, escaped already, has this header, and is about to be opened.
pub(crate) fn remember_name(header: &Header, name: &str) {
    let bank = header.bank();
    if bank.slots.iter().any(|slot| slot.kind == SlotKind::PASSPHRASE) {
        let mut names = lock(&NAMES);
        names.push_front((bank.binding.data_key_id, name.to_owned()));
        names.truncate(NAMES_KEPT);
    }
}

fn name_of(file: DataKeyId) -> String {
    let names = lock(&NAMES);
    let name = names.iter().find(|(known, _)| *known == file).map(|(_, name)| name.as_str());
    name.filter(|name| *name != "-").unwrap_or("the file").to_owned()
}
