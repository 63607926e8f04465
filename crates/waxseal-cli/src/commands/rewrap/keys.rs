//! The keys that a rewrap names: those that come, those that go, those that unwrap.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use waxseal::format::{Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::rewrap::{Request, Rewrapper, Selector, Unwrap};
#[cfg(feature = "aws-kms")]
use waxseal_aws_kms::{KeyArn, KmsKeyName};

#[cfg(feature = "aws-kms")]
use super::new_key::SourceRule;
use super::new_key::{NewKey, SlotMatch};
use super::told;
use crate::cli::Result;
use crate::cli::args::RewrapArgs;
use crate::cli::escape;
use crate::cli::failure::Failure;
use crate::cli::input::InputName;
use crate::cli::keys::{Cloud, KeySpec, Opening, Origin, forbidden, load_key_file, load_sealer};
use crate::cli::once;
use crate::cli::output::Forbidden;
use crate::cli::report::Done;
use crate::cli::session::Session;

/// What `--from` and `--remove` may name beside a key.
const SLOT: &[u8] = b"slot:";

/// Everything that was read for the command line's keys.
pub(super) struct Keys<'a> {
    args: &'a RewrapArgs,
    #[cfg(feature = "aws-kms")]
    cloud: Cloud,
    openers: Vec<Box<dyn KeyOpener>>,
    to: Option<Coming>,
    add: Vec<Coming>,
    from: Option<Going>,
    remove: Vec<Going>,
    /// Every key file that was named.
    forbidden: Forbidden,
    #[cfg(feature = "aws-kms")]
    sources: SourceRule,
}

/// A key that a slot is to be made for.
struct Coming {
    #[cfg(feature = "aws-kms")]
    spec: KeySpec,
    matches: SlotMatch,
    sealer: Box<dyn KeySealer>,
}

/// A key or a slot that goes.
struct Going {
    name: String,
    what: Which,
}

enum Which {
    Slot(usize),
    Key(SlotMatch),
}

/// How a key's slot is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By KMS, where it can; else as the other.
    Unseen,
    /// With the data key in hand, and checked against the commitment.
    Unwrapped,
}

/// Whether another region's sister of a multi-Region key is meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sisters {
    Too,
    Not,
}

impl<'a> Keys<'a> {
    /// Parses everything first, then reads keys, and resolves aliases that name what goes.
    pub(super) fn load(args: &'a RewrapArgs, session: &Session) -> Result<Self> {
        let parse = |key: &std::ffi::OsString| KeySpec::parse(key);
        let to = args.to.as_ref().map(parse).transpose()?;
        let add = args.add.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let from = args.from.as_ref().map(|key| Named::parse(key)).transpose()?;
        let remove = args.remove.iter().map(|key| Named::parse(key)).collect::<Result<Vec<_>>>()?;
        let opening = Opening::named(&args.open)?;
        // A key that is added is wrapped to a data key that is known to be the file's: KMS cannot tell unseen.
        let unwrapping = to.iter().filter(|spec| needs_unwrapping(spec)).chain(&add).next();
        if let Some(key) = unwrapping.filter(|_| !args.allow_unwrap) {
            return Err(Failure::usage(format!("to wrap the data key to {key}, it must be unwrapped on this machine"))
                .hint("--allow-unwrap allows that, with -k where a local key opens the file"));
        }
        let going = || from.iter().chain(&remove).filter_map(Named::key);
        let inputs: Vec<_> = args.inputs.iter().map(|path| InputName::new(path)).collect();
        once::check(&inputs, to.iter().chain(&add).chain(going()).chain(opening.specs()))?;
        let forbidden = forbidden(to.iter().chain(&add).chain(going()).chain(opening.specs()));
        let cloud = Cloud::new(&args.open.kms)?;
        let named = opening.origin() == Origin::Named;
        // Without a name, repair takes no key: it may not guess one.
        let needed = args.allow_unwrap || (args.repair && named);
        let openers = if needed { opening.load(&cloud, &session.reporter)? } else { Vec::new() };
        let coming = |spec| Coming::load(spec, &cloud, session);
        let (to, add) = (to.map(coming).transpose()?, add.into_iter().map(coming).collect::<Result<Vec<_>>>()?);
        let from = from.map(|name| name.load(Sisters::Too, &cloud, session)).transpose()?;
        let remove = remove.into_iter().map(|name| name.load(Sisters::Not, &cloud, session));
        let remove = remove.collect::<Result<Vec<_>>>()?;
        #[cfg(feature = "aws-kms")]
        let sources = source_rule(args, to.as_ref(), from.as_ref(), &opening);
        Ok(Self {
            args,
            #[cfg(feature = "aws-kms")]
            cloud,
            openers,
            to,
            add,
            from,
            remove,
            forbidden,
            #[cfg(feature = "aws-kms")]
            sources,
        })
    }

    /// Files that an output must not replace.
    pub(super) fn forbidden(&self) -> Forbidden {
        self.forbidden.clone()
    }

    /// Adds which key materials AWS's calls took.
    pub(super) fn with_materials(&self, done: Done) -> Done {
        #[cfg(feature = "aws-kms")]
        let of = |id: &str| self.cloud.materials_of(id);
        #[cfg(not(feature = "aws-kms"))]
        let of = |_: &str| (None, None);
        told::with_materials(done, of)
    }

    /// What may unwrap a data key or prove a repair.
    pub(super) fn openers(&self) -> Vec<&dyn KeyOpener> {
        self.openers.iter().map(AsRef::as_ref).collect()
    }

    /// The keys to come: first that of `--to`, if there is one.
    pub(super) fn new_keys(&self) -> Vec<NewKey<'_>> {
        let to = self.to.iter().map(|coming| self.new_key(coming, Way::Unseen));
        to.chain(self.add.iter().map(|coming| self.new_key(coming, Way::Unwrapped))).collect()
    }

    fn new_key<'k>(&'k self, coming: &'k Coming, way: Way) -> NewKey<'k> {
        #[cfg(not(feature = "aws-kms"))]
        let _ = way;
        let unwrap = self.args.allow_unwrap.then(|| Unwrap {
            openers: self.openers(),
            sealer: coming.sealer.as_ref(),
            target: None,
        });
        NewKey {
            name: coming.sealer.name(),
            matches: &coming.matches,
            #[cfg(feature = "aws-kms")]
            kms: match (&coming.spec, way) {
                (KeySpec::Kms(name), Way::Unseen) => Some((self.cloud.kms(), name, &self.sources)),
                _ => None,
            },
            unwrap,
        }
    }

    /// What is asked of every file.
    pub(super) fn request<'k>(&'k self, new_keys: &'k [NewKey<'k>]) -> Request<'k> {
        let (to, add) = new_keys.split_at(usize::from(self.to.is_some()));
        Request {
            from: self.from.as_ref().map(Going::selector),
            to: to.first().map(|key| key as &dyn Rewrapper),
            add: add.iter().map(|key| key as &dyn Rewrapper).collect(),
            remove: self.remove.iter().map(Going::selector).collect(),
        }
    }
}

impl Coming {
    fn load(spec: KeySpec, cloud: &Cloud, session: &Session) -> Result<Self> {
        let matches = match &spec {
            // A passphrase's slot does not tell whose it is.
            KeySpec::Passphrase | KeySpec::PassphraseFile(_) => SlotMatch::None,
            #[cfg(feature = "aws-kms")]
            KeySpec::Kms(name) => SlotMatch::of_name(name),
            KeySpec::File(path) => SlotMatch::KeyFile(load_key_file(path, &session.reporter)?.id().to_owned()),
        };
        let sealer = load_sealer(&spec, cloud, &session.reporter)?;
        Ok(Self {
            #[cfg(feature = "aws-kms")]
            spec,
            matches,
            sealer,
        })
    }
}

impl Going {
    /// The key of KMS that it is.
    #[cfg(feature = "aws-kms")]
    fn arn(&self) -> Option<&KeyArn> {
        match &self.what {
            Which::Key(SlotMatch::Arn(arn) | SlotMatch::Sisters(arn)) => Some(arn),
            _ => None,
        }
    }

    fn selector(&self) -> Selector<'_> {
        match &self.what {
            Which::Slot(slot) => Selector::Slot(*slot),
            Which::Key(matches) => {
                Selector::Key { name: self.name.clone(), matches: Box::new(|slot: &Slot| matches.is_met(slot)) }
            }
        }
    }
}

/// `KEY` or `slot:N`, parsed.
enum Named {
    Slot(usize),
    Key(KeySpec),
}

impl Named {
    fn key(&self) -> Option<&KeySpec> {
        match self {
            Self::Slot(_) => None,
            Self::Key(spec) => Some(spec),
        }
    }

    fn parse(text: &OsStr) -> Result<Self> {
        let Some(number) = text.as_bytes().strip_prefix(SLOT) else { return KeySpec::parse(text).map(Self::Key) };
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        number.map(Self::Slot).ok_or_else(|| {
            Failure::usage(format!("{} names no slot", escape::os(text)))
                .hint("slot:0 is the first, as `waxseal inspect` numbers them")
        })
    }

    fn load(self, sisters: Sisters, cloud: &Cloud, session: &Session) -> Result<Going> {
        #[cfg(not(feature = "aws-kms"))]
        let _ = (sisters, cloud);
        let spec = match self {
            Self::Slot(slot) => return Ok(Going { name: format!("slot {slot}"), what: Which::Slot(slot) }),
            Self::Key(spec) => spec,
        };
        let name = spec.to_string();
        let matches = match spec {
            KeySpec::File(path) => SlotMatch::KeyFile(load_key_file(&path, &session.reporter)?.id().to_owned()),
            KeySpec::Passphrase | KeySpec::PassphraseFile(_) => SlotMatch::Kind(SlotKind::PASSPHRASE),
            // An alias could be any slot's key: what goes must be known for certain.
            #[cfg(feature = "aws-kms")]
            KeySpec::Kms(name) => SlotMatch::of_arn(cloud.kms().key_arn(&name)?, sisters == Sisters::Too),
        };
        Ok(Going { name, what: Which::Key(matches) })
    }
}

/// What `--from` and `-k` name by an ARN may be called. An alias or an id of KMS's may be anybody's key, as a file has
/// it: the account decides there. So it does for `slot:N`, which says where a key stands, not whose it is.
#[cfg(feature = "aws-kms")]
fn source_rule(args: &RewrapArgs, to: Option<&Coming>, from: Option<&Going>, opening: &Opening<'_>) -> SourceRule {
    let mut named: Vec<KeyArn> = from.and_then(Going::arn).cloned().into_iter().collect();
    if opening.origin() == Origin::Named {
        named.extend(opening.specs().iter().filter_map(|spec| match spec {
            KeySpec::Kms(KmsKeyName::KeyArn(arn)) => Some(arn.clone()),
            _ => None,
        }));
    }
    let to = to.and_then(|to| match &to.spec {
        KeySpec::Kms(name) => Some(name),
        _ => None,
    });
    SourceRule::new(&args.open.accounts, to, named)
}

#[cfg(feature = "aws-kms")]
fn needs_unwrapping(spec: &KeySpec) -> bool {
    !matches!(spec, KeySpec::Kms(_))
}

#[cfg(not(feature = "aws-kms"))]
fn needs_unwrapping(_: &KeySpec) -> bool {
    true
}
