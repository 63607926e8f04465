//! `reseal`: a new data key for the content, in one pass. No plaintext leaves memory.

mod joint;

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use serde_json::Map;
use waxseal::engine::{Engine, Observer, Opened, Sealed, Sink, Source};
use waxseal::error::Unmet;
use waxseal::format::{Bank, Header, Pairs};
use waxseal::{Envelope, Error, SealOptions};

use self::joint::{HungUp, Seen, joint};
use super::open::Open;
use crate::Result;
use crate::args::{KeyArgs, OpenArgs, ResealArgs, SuiteArg};
use crate::escape::Name;
use crate::evidence::Evidence;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Input;
use crate::key_option;
use crate::keys::{Keyring, Sealers, Sealing, key_of};
use crate::once;
use crate::output::Content;
use crate::place::Place;
use crate::plan::{self, Job};
use crate::progress::Watch;
use crate::report::Done;
use crate::session::{Session, durability};
use crate::signals;

/// Opens the input with one key, and seals its content anew for others.
pub(crate) fn run(args: ResealArgs, session: &Session) -> Result<Exit> {
    let ResealArgs {
        keys, from, pairs, set_context, set_label, unset, suite, output, write, input, kms, accounts, ..
    } = args;
    key_option::opens_by("--from");
    let changes = Changes::parse(&set_context, &set_label, unset)?;
    let job = Job::named(Place::input(&input), Place::output(&output));
    let inputs = [job.input.clone()];
    let sealing = Sealing::named(&keys)?;
    let open_args = OpenArgs { keys: KeyArgs { keys: from }, kms, accounts };
    let open = Open::new(&open_args, &pairs, &inputs, session)?;
    once::check(&inputs, sealing.specs())?;
    let sealers = sealing.load(&Keyring { cloud: &open.cloud, reporter: &session.reporter })?;
    let mut forbidden = open.forbidden();
    forbidden.extend(sealing.forbidden());
    let reseal = Reseal { open, new: New { sealers, changes, suite } };
    let done = (|| {
        let input = job.input.open()?;
        let target = plan::target(&job, &input, write.force, &forbidden)?;
        let mode = target.sealed_mode(&input);
        let name = target.name();
        let mut output = target.open(Content::Ciphertext, mode, input.len())?;
        let durability = durability(write.no_sync);
        let (opened, evidence) = reseal.pass(&job.input.display(), &input, output.sink(durability))?;
        let stored = output.commit(durability, &session.reporter)?;
        Ok(reseal.done(&opened, evidence, name).of(&input).stored(stored))
    })();
    Ok(session.reporter.finished(Some(&job.input.name()), done))
}

/// What changes of a file's pairs and labels.
struct Changes {
    context: Pairs,
    labels: Pairs,
    unset: Vec<String>,
}

impl Changes {
    fn parse(context: &[String], labels: &[String], unset: Vec<String>) -> Result<Self> {
        let pairs = |texts: &[String], option: &str| {
            Pairs::parse(texts).map_err(|error| Failure::from(error).hint(format!("{option} takes NAME=VALUE")))
        };
        let (context, labels) = (pairs(context, "--set-context")?, pairs(labels, "--set-label")?);
        let set = |name: &str| context.iter().chain(labels.iter()).any(|(other, _)| other == name);
        if let Some(name) = unset.iter().find(|name| set(name)) {
            return Err(Failure::usage(format!("{name:?} is both set and unset")).hint("leave out one of the two"));
        }
        Ok(Self { context, labels, unset })
    }

    /// What the new file carries.
    fn apply(&self, bank: &Bank, suite: Option<SuiteArg>) -> waxseal::Result<SealOptions> {
        let old = &bank.binding;
        let carries = |name: &str| old.context.iter().chain(old.labels.iter()).any(|(other, _)| other == name);
        let missing: Vec<String> =
            self.unset.iter().filter(|name| !carries(name)).map(|name| format!("pair or label {name:?}")).collect();
        if !missing.is_empty() {
            return Err(Unmet::new(missing).into());
        }
        Ok(SealOptions::new()
            .with_suite(suite.map_or(old.suite, Into::into))
            .with_context(self.changed(&old.context, &self.context)?)
            .with_labels(self.changed(&old.labels, &self.labels)?))
    }

    fn changed(&self, old: &Pairs, set: &Pairs) -> waxseal::Result<Pairs> {
        let kept = old.iter().filter(|(name, _)| !self.unset.iter().any(|unset| unset == name));
        let pairs: BTreeMap<&str, &str> = kept.chain(set.iter()).collect();
        Pairs::new(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
    }
}

/// What the new file gets.
struct New {
    sealers: Sealers,
    changes: Changes,
    suite: Option<SuiteArg>,
}

impl New {
    /// Waits until the old file's header is known to be authentic: its pairs go to the key service.
    fn envelope(&self, begun: &Receiver<Header>) -> waxseal::Result<Envelope> {
        let header = begun.recv().map_err(|_| Error::io("reading the input", std::io::Error::other(HungUp)))?;
        self.sealers.envelope(&self.changes.apply(header.bank(), self.suite)?)
    }
}

struct Reseal<'a> {
    open: Open<'a>,
    new: New,
}

impl Reseal<'_> {
    /// One pass, in two halves that work at once. The new file's end is sealed only after the old one's was
    /// authenticated.
    fn pass(&self, name: &str, input: &Input, sink: Sink<'_>) -> Result<(Opened, Evidence)> {
        let session = self.open.session;
        let watch = Watch::new(session.progress, name);
        let (openers, demands) = (self.open.openers(), self.open.demands());
        let seen = Seen::new(&watch);
        let (opened, sealed) = std::thread::scope(|scope| {
            let (mut feed, mut drain, begun) = joint(&seen);
            let (mut supply, seen, new) = (input.supply(), &seen, &self.new);
            let opening = move || {
                // An engine waits for its own threads, so each half has one.
                let opened = Engine::new().open(supply.source(), Sink::Stream(&mut feed), &openers, demands, seen)?;
                feed.finish();
                Ok(opened)
            };
            let opening = std::thread::Builder::new().spawn_scoped(scope, opening);
            let opening = opening.map_err(|error| Failure::io("starting a thread", error))?;
            let mut evidence = Evidence::default();
            let told = &mut evidence;
            let envelope = move || new.envelope(&begun).inspect(|envelope| *told = Evidence::sealed(envelope));
            let sealed = session.engine.seal(Source::Stream(&mut drain), sink, envelope, &Ending);
            let sealed = sealed
                .map(|Sealed { plaintext_len, file_len }| evidence.with_lengths(Some(plaintext_len), Some(file_len)));
            // The opening must not wait for a reader that has gone.
            drop(drain);
            let opened = opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<(waxseal::Result<Opened>, _), Failure>((opened, sealed))
        })?;
        let header = watch.finish();
        match (opened, sealed) {
            (Ok(opened), Ok(sealed)) => {
                self.open.warn(&opened.header, &opened.by.failed);
                Ok((opened, sealed))
            }
            (Err(error), _) if !HungUp::is(&error) => Err(self.open.explain(error, header, input)),
            (_, Err(error)) | (Err(error), _) => Err(error.into()),
        }
    }

    fn done(&self, opened: &Opened, evidence: Evidence, output: Option<Name>) -> Done {
        let old_key = key_of(&opened.header, opened.by.slot, opened.by.key.clone());
        let new_keys = self.new.sealers.names().join(", ");
        let note = output.as_ref().map(|output| format!("created {output}: {old_key} -> {new_keys}"));
        let more =
            Map::from_iter([("old_key".to_owned(), old_key.into()), ("new_key".to_owned(), new_keys.clone().into())]);
        let (request_id, key_material_id) = self.open.cloud.answered();
        let bytes = evidence.plaintext_bytes;
        Done {
            bytes,
            key: Some(new_keys),
            output,
            request_id,
            key_material_id,
            evidence,
            note,
            more,
            ..Done::default()
        }
    }
}

/// The other half shows the progress.
struct Ending;

impl Observer for Ending {
    fn ending(&self) {
        signals::check();
    }
}
