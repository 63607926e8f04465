//! "May I open this?": asks KMS about each file, and opens none.

use std::ffi::OsStr;

use waxseal::Demands;
use waxseal::container::Opening;
use waxseal::error::{Attempt, NoKey};
use waxseal::format::{Header, Slot, SlotKind};
use waxseal::keys::KeyOpener as _;
use waxseal_aws_kms::{KmsOpener, Permitted};

use super::super::open::{sealed_for, warn_of_header};
use super::line;
use crate::Result;
use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keys::{self, Cloud, KeySpec, Opening as Keys, Origin};
use crate::once;
use crate::place::Place;
use crate::plan;
use crate::report::Done;
use crate::session::Session;

/// Keys in KMS and demands, for any number of inputs.
pub(super) struct DryRun<'a> {
    session: &'a Session,
    cloud: Cloud,
    keys: Keys<'a>,
    openers: Vec<KmsOpener>,
    demands: Demands,
}

impl<'a> DryRun<'a> {
    /// Parses all arguments. No local key is read, and no call is made.
    pub(super) fn new(args: &'a VerifyArgs, inputs: &[Place], session: &'a Session) -> Result<Self> {
        let keys = Keys::named(&args.open)?;
        once::check(inputs, &[])?;
        let demands = plan::demands(&args.pairs)?;
        let cloud = Cloud::new(&args.open.kms)?;
        let openers = match keys.origin() {
            Origin::Named => named(&cloud, keys.specs())?,
            Origin::Offered => cloud.openers_by_account(&args.open.accounts, &session.reporter)?,
        };
        Ok(Self { session, cloud, keys, openers, demands })
    }

    /// Asks about the slots of one file in the order in which they would be tried, until KMS permits one.
    pub(super) fn file(&self, name: &Place) -> Result<Done> {
        self.cloud.forget();
        let input = name.open()?;
        let (front, header) = input.header()?;
        warn_of_header(&self.session.reporter, &header);
        let opening = Opening::with_header(front, header, &self.demands)?;
        let header = opening.header();
        if !header.bank().slots.iter().any(is_of_kms) {
            let what = "not checked: no key in AWS KMS opens it, and --dry-run does not check local keys";
            return Err(Failure::new(Exit::Unmet, what).hint(format!(
                "it is sealed for {}; `waxseal verify --quick` checks it with such a key",
                sealed_for(header.bank())
            )));
        }
        let (slot, permitted) = self.ask(header)?;
        if let Some(doubt) = permitted.doubt {
            self.session.reporter.warn(&format!("slot {slot}: {doubt}"));
        }
        let key = header.bank().slots.get(slot).map(|slot| slot.key_id.clone());
        let said = format!(
            "{}: permitted by {}; nothing was opened, and the content was not checked",
            name.display(),
            permitted.key
        );
        Ok(Done { key, request_id: self.cloud.request_id(), stdout: line(self.session, &said), ..Done::default() }
            .of(&input))
    }

    fn ask(&self, header: &Header) -> Result<(usize, Permitted)> {
        let bank = header.bank();
        let mut failed = Vec::new();
        for opener in &self.openers {
            for (index, slot) in bank.slots.iter().enumerate().filter(|(_, slot)| opener.may_ask(slot)) {
                match opener.dry_run(slot, &bank.binding) {
                    Ok(permitted) => {
                        self.tell(&failed);
                        return Ok((index, permitted));
                    }
                    Err(error) => failed.push(Attempt::new(index, opener.name(), error)),
                }
            }
        }
        let none_matched = failed.is_empty();
        let failure = Failure::from(waxseal::Error::from(NoKey::new(failed)));
        Err(match none_matched {
            true => failure.hint(format!("it is sealed for {}; {}", sealed_for(bank), self.keys.hint())),
            false => failure,
        })
    }

    fn tell(&self, failed: &[Attempt]) {
        for attempt in failed {
            let Attempt { slot, key, error, .. } = attempt;
            self.session.reporter.warn(&format!("slot {slot} would not open with {key}: {error}"));
        }
    }
}

fn named<'a>(cloud: &Cloud, specs: impl IntoIterator<Item = &'a KeySpec>) -> Result<Vec<KmsOpener>> {
    let mut openers = Vec::new();
    for spec in specs {
        let name = keys::kms::named(OsStr::new(&spec.to_string()))?;
        openers.extend(name.map(|name| KmsOpener::named(cloud.kms(), name)));
    }
    if openers.is_empty() {
        return Err(Failure::usage("--dry-run asks AWS KMS, but no key of -k is in AWS KMS")
            .hint("`waxseal verify --quick` checks with local keys"));
    }
    Ok(openers)
}

fn is_of_kms(slot: &Slot) -> bool {
    [SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&slot.kind)
}
