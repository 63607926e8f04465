//! Keys to open with, and their order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use waxseal::error::ProviderCause;
use waxseal::format::{Binding, DataKeyId, Header, Slot, SlotKind};
use waxseal::keys::{KeyOpener, Passphrase};
use waxseal::secret::{DataKey, SecretBytes};

use super::cloud::Cloud;
use super::local::{load_key_file, read_passphrase};
use super::spec::{KeySpec, VARIABLE};
use crate::cli::Result;
use crate::cli::args::OpenArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Forbidden;
use crate::cli::prompt;
use crate::cli::report::Reporter;

/// Where the keys to open with come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `-k`: only these are tried, and each must be there.
    Named,
    /// Nothing was named: the variable's local keys are offered, then KMS keys by their account, and a passphrase
    /// is asked for.
    Offered,
}

/// Keys to open with.
pub(crate) struct Opening<'a> {
    args: &'a OpenArgs,
    specs: Vec<KeySpec>,
    origin: Origin,
}

impl<'a> Opening<'a> {
    /// `-k` filters; without it the variable only offers.
    pub(crate) fn named(args: &'a OpenArgs) -> Result<Self> {
        let specs = KeySpec::named(&args.keys)?;
        if specs.is_empty() {
            return Ok(Self { args, specs: KeySpec::from_variable()?, origin: Origin::Offered });
        }
        Ok(Self { args, specs, origin: Origin::Named })
    }

    /// The keys, as they were named.
    pub(crate) fn specs(&self) -> &[KeySpec] {
        &self.specs
    }

    /// Whether the caller named the keys.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Files that an output must not replace.
    pub(crate) fn forbidden(&self) -> Forbidden {
        super::forbidden(&self.specs)
    }

    /// Reads the local keys. Order: local keys, KMS keys, a passphrase that is asked for only when a slot needs it.
    pub(crate) fn load(&self, cloud: &Cloud, reporter: &Reporter) -> Result<Vec<Box<dyn KeyOpener>>> {
        let mut openers: Vec<Box<dyn KeyOpener>> = Vec::new();
        for spec in &self.specs {
            match load_local(spec, reporter) {
                Ok(opener) => openers.extend(opener),
                Err(failure) if self.origin == Origin::Offered && failure.exit == Exit::Io => {
                    reporter.warn(&format!("{VARIABLE}: {}", failure.message));
                }
                Err(failure) => return Err(failure),
            }
        }
        let asks = match self.origin {
            Origin::Named => {
                openers.extend(cloud.named_openers(&self.specs));
                self.specs.contains(&KeySpec::Passphrase)
            }
            Origin::Offered => {
                openers.extend(cloud.openers_by_account(&self.args.accounts, reporter)?);
                prompt::terminal().is_some()
            }
        };
        if asks {
            openers.push(Box::new(Asked::default()));
        }
        Ok(openers)
    }

    /// What to do where no slot of a file matched any key.
    pub(crate) fn hint(&self) -> &'static str {
        match self.origin {
            Origin::Named => "name one of these with -k; without -k others are tried too",
            Origin::Offered => "name one of these with -k",
        }
    }
}

fn load_local(spec: &KeySpec, reporter: &Reporter) -> Result<Option<Box<dyn KeyOpener>>, Failure> {
    Ok(match spec {
        KeySpec::File(path) => Some(Box::new(load_key_file(path, reporter)?)),
        KeySpec::PassphraseFile(path) => Some(Box::new(Passphrase::new(read_passphrase(path, reporter)?)?)),
        _ => None,
    })
}

/// So often a run asks for the passphrase that files are to open with.
const TRIES: u32 = 3;

/// Asks for the passphrase at the first slot that needs it, and remembers it for the next file, unless it has opened
/// none yet: then it was mistyped, it may be, and is asked for again.
#[derive(Default)]
struct Asked {
    answer: Mutex<Answer>,
    /// Until it has opened a slot, a passphrase is tried on one file at a time: a mistyped one is one file's failure.
    unproven: Mutex<()>,
}

#[derive(Default)]
struct Answer {
    known: Option<SecretBytes>,
    tries: u32,
    /// Whether it has opened a slot.
    proven: bool,
    /// The file whose slots it did not open. To one file's further slots the same answer goes.
    failed_on: Option<DataKeyId>,
}

impl Asked {
    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The passphrase for `file`.
    fn passphrase(&self, file: DataKeyId) -> waxseal::Result<SecretBytes> {
        let mut answer = self.answer();
        let mistyped = !answer.proven && answer.failed_on.is_some_and(|other| other != file);
        if answer.known.is_none() || (mistyped && answer.tries < TRIES) {
            if answer.tries == TRIES {
                return Err(waxseal::Error::Invalid(format!("no passphrase was given in {TRIES} tries")));
            }
            answer.tries += 1;
            answer.failed_on = None;
            answer.known = None;
            answer.known = Some(prompt::passphrase("passphrase: ")?);
        }
        let copy = answer.known.as_ref().map(|secret| secret.expose().to_vec()).unwrap_or_default();
        Ok(SecretBytes::new(copy))
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
        let proven = self.answer().proven;
        let _unproven = (!proven).then(|| self.unproven.lock().unwrap_or_else(PoisonError::into_inner));
        let typed = self.passphrase(binding.data_key_id)?;
        let opened = Passphrase::new(typed).and_then(|passphrase| passphrase.open(slot, binding));
        let mistyped = match &opened {
            // An empty line is as mistyped as a wrong one.
            Err(waxseal::Error::Invalid(_)) => true,
            Err(waxseal::Error::Provider(error)) => error.cause == ProviderCause::WrongPassphrase,
            _ => false,
        };
        let mut answer = self.answer();
        answer.proven |= opened.is_ok();
        if mistyped {
            answer.failed_on = Some(binding.data_key_id);
        }
        opened
    }
}

/// The key that opened `slot`, by its own name: an ARN says more than the alias or the rule that led to it.
pub(crate) fn key_of(header: &Header, slot: usize, name: String) -> String {
    match header.bank().slots.get(slot) {
        Some(slot) if [SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&slot.kind) => {
            slot.key_id.clone()
        }
        _ => name,
    }
}
