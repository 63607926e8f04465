//! The keys of a rewrap: new keys, keys to remove, and keys that unwrap.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use waxseal::format::Slot;
use waxseal::keys::KeyOpener;
use waxseal::rewrap::{Request, Rewrapper, Selector, Unwrap};

use super::super::open::hint_for_lost_key;
use super::new_key::NewKey;
use super::told;
use crate::Result;
use crate::args::RewrapArgs;
use crate::escape;
use crate::failure::Failure;
use crate::keys::{
    self, Cloud, KeySpec, Keyring, Opening, Origin, Sisters, SlotTest, Sources, ToSeal, Unseen, forbidden,
};
use crate::once;
use crate::output::Forbidden;
use crate::place::Place;
use crate::report::Done;
use crate::session::Session;

/// What `--from` and `--remove` accept in addition to a key.
const SLOT: &[u8] = b"slot:";

/// What was read for the keys of the command line.
pub(super) struct Keys<'a> {
    args: &'a RewrapArgs,
    openers: Vec<Box<dyn KeyOpener>>,
    to: Option<Coming>,
    add: Vec<Coming>,
    from: Option<Going>,
    remove: Vec<Going>,
    /// All key files that were named.
    forbidden: Forbidden,
    cloud: Cloud,
}

/// A key that gets a new slot.
struct Coming {
    key: ToSeal,
    unseen: Option<Box<dyn Unseen>>,
}

/// A key or slot that will be removed.
struct Going {
    name: String,
    what: Which,
}

enum Which {
    Slot(usize),
    Key { is_own: SlotTest, id: Option<String> },
}

impl<'a> Keys<'a> {
    /// Parses all arguments first, and then reads the keys and resolves the aliases of keys to remove.
    pub(super) fn load(args: &'a RewrapArgs, inputs: &[Place], session: &Session) -> Result<Self> {
        let parse = |key: &std::ffi::OsString| keys::parse(key);
        let to = args.to.as_ref().map(parse).transpose()?;
        let add = args.add.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let from = args.from.as_ref().map(|key| Named::parse(key)).transpose()?;
        let remove = args.remove.iter().map(|key| Named::parse(key)).collect::<Result<Vec<_>>>()?;
        let opening = Opening::named(&args.open)?;
        // An added key must wrap a data key that is known to be the file's. KMS cannot check this without showing it.
        let unwrapping = to.iter().filter(|key| !key.rewraps_unseen()).chain(&add).next();
        if let Some(key) = unwrapping.filter(|_| !args.allow_unwrap) {
            return Err(Failure::usage(format!(
                "to wrap the data key with {key}, it must be unwrapped on this machine"
            ))
            .hint("allow this with --allow-unwrap; if a local key opens the file, also name it with -k"));
        }
        let going = || from.iter().chain(&remove).filter_map(Named::key);
        once::check(inputs, to.iter().chain(&add).chain(going()).chain(opening.specs()))?;
        let forbidden = forbidden(to.iter().chain(&add).chain(going()).chain(opening.specs()));
        let cloud = Cloud::new(&args.open.kms)?;
        let ring = Keyring { cloud: &cloud, reporter: &session.reporter };
        let named = opening.origin() == Origin::Named;
        // Without a name, a repair uses no key, because it must not guess one.
        let needed = args.allow_unwrap || (args.repair && named);
        let load = || opening.load(&ring).map_err(|failure| hint_for_lost_key(failure, inputs));
        let openers = if needed { load()? } else { Vec::new() };
        let seal = |key: &KeySpec| key.to_seal(&ring);
        let sealers = to.as_ref().map(seal).transpose()?;
        let add = add.iter().map(|key| Ok(Coming { key: seal(key)?, unseen: None })).collect::<Result<Vec<_>>>()?;
        let from = from.map(|name| name.load(Sisters::Too, &ring)).transpose()?;
        let remove = remove.into_iter().map(|name| name.load(Sisters::Not, &ring)).collect::<Result<Vec<_>>>()?;
        let sources = sources(args, from.as_ref(), &opening);
        let unseen = to.as_ref().and_then(|key| key.unseen(&cloud, &sources));
        let to = sealers.map(|key| Coming { key, unseen });
        Ok(Self { args, openers, to, add, from, remove, forbidden, cloud })
    }

    /// Files that an output must not replace.
    pub(super) fn forbidden(&self) -> Forbidden {
        self.forbidden.clone()
    }

    /// Adds which key materials the AWS calls used.
    pub(super) fn with_materials(&self, done: Done) -> Done {
        told::with_materials(done, |id| self.cloud.materials_of(id))
    }

    /// The keys that may unwrap a data key or prove a repair.
    pub(super) fn openers(&self) -> Vec<&dyn KeyOpener> {
        self.openers.iter().map(AsRef::as_ref).collect()
    }

    /// The new keys. The key of `--to` comes first, if there is one.
    pub(super) fn new_keys(&self) -> Vec<NewKey<'_>> {
        self.to.iter().chain(&self.add).map(|coming| self.new_key(coming)).collect()
    }

    fn new_key<'k>(&'k self, coming: &'k Coming) -> NewKey<'k> {
        let unwrap = self.args.allow_unwrap.then(|| Unwrap {
            openers: self.openers(),
            sealer: coming.key.sealer.as_ref(),
            target: None,
        });
        NewKey { name: coming.key.sealer.name(), is_own: &coming.key.is_own, unseen: coming.unseen.as_deref(), unwrap }
    }

    /// The request for every file.
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

impl Going {
    fn selector(&self) -> Selector<'_> {
        match &self.what {
            Which::Slot(slot) => Selector::Slot(*slot),
            Which::Key { is_own, .. } => {
                Selector::Key { name: self.name.clone(), matches: Box::new(|slot: &Slot| is_own(slot)) }
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
        let Some(number) = text.as_bytes().strip_prefix(SLOT) else { return keys::parse(text).map(Self::Key) };
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        number.map(Self::Slot).ok_or_else(|| {
            Failure::usage(format!("{} names no slot", escape::os(text)))
                .hint("slot:0 is the first slot; `waxseal inspect` shows the numbers")
        })
    }

    fn load(self, sisters: Sisters, ring: &Keyring<'_>) -> Result<Going> {
        let key = match self {
            Self::Slot(slot) => return Ok(Going { name: format!("slot {slot}"), what: Which::Slot(slot) }),
            Self::Key(key) => key,
        };
        let going = key.going(sisters, ring)?;
        Ok(Going { name: key.to_string(), what: Which::Key { is_own: going.is_own, id: going.id } })
    }
}

/// The keys that may be called because `--from` and `-k` name them by an ARN. An alias or an id in a file may belong to
/// anybody's key, so the account decides. The same is true for `slot:N`, which names a position and not an owner.
fn sources<'a>(args: &'a RewrapArgs, from: Option<&Going>, opening: &Opening<'_>) -> Sources<'a> {
    let from = from.and_then(|from| match &from.what {
        Which::Key { id, .. } => id.clone(),
        Which::Slot(_) => None,
    });
    let mut named: Vec<String> = from.into_iter().collect();
    if opening.origin() == Origin::Named {
        named.extend(opening.specs().iter().filter_map(|key| key.stated_id()));
    }
    Sources { accounts: &args.open.accounts, named }
}
