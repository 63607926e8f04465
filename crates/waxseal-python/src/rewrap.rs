//! New keys for files and objects, without a change of their payloads.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use waxseal::engine::Observer;
use waxseal::error::{Error, ProviderCause, Remedy};
use waxseal::format::{Bank, Header, Sharing, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer};
use waxseal::rewrap::{
    Change, DiskFile, InPlace, Outcome, Plan, Report, Request, Rewrapped, Rewrapper, Selector, SlotName, Unwrap,
    Verified,
};
use waxseal_aws_kms::{AccountRule, KeyArn, KmsKeyName, SourceRule};
use waxseal_aws_s3::{RewrapOptions, RewrappedObject, S3Name};

use crate::aws::{KmsChoice, S3Settings};
use crate::boto;
use crate::errors::{Failure, Result};
use crate::interrupt::{self, Stop};
use crate::keys::{Key, SlotTest, arn_of, each, openers};
use crate::leftover::Record;
use crate::objects;
use crate::upload::Cancelled;

/// What was done with one file.
#[pyclass(frozen, get_all, module = "pywaxseal")]
pub(crate) struct RewrapResult {
    /// The path or name, as it was given.
    path: Py<PyAny>,
    /// Whether the file has other keys now.
    changed: bool,
    /// The ids of keys whose slots were replaced or removed.
    old_keys: Vec<String>,
    /// The ids of keys that have new slots.
    new_keys: Vec<String>,
    /// The key service's ids of the requests, which prove the rotation.
    request_ids: Vec<String>,
    /// The public id of the data key, which no rewrap changes. It is in the key service's log. `None` after a failure.
    data_key_id: Option<String>,
    /// The ETag of the object that was read. `None` for a local file and after a failure, as in all of the next.
    old_e_tag: Option<String>,
    /// The ETag of the object that is there now.
    e_tag: Option<String>,
    /// The version that was read, in a bucket with versions. It keeps the old slots.
    old_version_id: Option<String>,
    /// The version that is there now.
    version_id: Option<String>,
    /// What was wrong with the header before, and what else to know.
    warnings: Vec<String>,
    /// Why nothing was done, as an exception; `None` after a success.
    error: Option<Py<PyAny>>,
}

#[pymethods]
impl RewrapResult {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path.bind(py).repr()?;
        let changed = if self.changed { "True" } else { "False" };
        let error = self
            .error
            .as_ref()
            .map_or_else(|| Ok("None".into()), |error| error.bind(py).repr().map(|text| text.to_string()));
        Ok(format!("RewrapResult(path={path}, changed={changed}, error={})", error?))
    }
}

/// Changes the keys of files: paths, or objects named `s3://BUCKET/KEY`, which S3 copies itself. `to` is the new key of the
/// slot of `from_`, which may be left out if only one slot can be meant. `add` and `remove` are further keys. AWS KMS
/// rewraps between its own keys. For all others, `keys` names keys that open the files, and the data key is unwrapped on
/// this machine. A failure with one file is in its result, and the other files go on.
#[pyfunction]
#[pyo3(signature = (paths, *, to = None, from_ = None, add = None, remove = None, keys = None, kms = None, s3 = None))]
#[allow(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
pub(crate) fn rewrap(
    py: Python<'_>,
    paths: &Bound<'_, PyAny>,
    to: Option<&Bound<'_, PyAny>>,
    from_: Option<&Bound<'_, PyAny>>,
    add: Option<&Bound<'_, PyAny>>,
    remove: Option<&Bound<'_, PyAny>>,
    keys: Option<&Bound<'_, PyAny>>,
    kms: Option<&Bound<'_, PyAny>>,
    s3: Option<&Bound<'_, PyAny>>,
) -> Result<Vec<RewrapResult>> {
    let paths: Vec<_> =
        if is_path(paths) { vec![paths.clone()] } else { paths.try_iter()?.collect::<PyResult<_>>()? };
    // What is no name at all is noticed before the first file is changed.
    let places: Vec<_> = paths.iter().map(place).collect::<PyResult<_>>()?;
    let job = Arc::new(Job::new(py, (to, from_, add, remove), keys, &KmsChoice::of(kms)?)?);
    let s3 = S3Settings::of(s3)?;
    paths.iter().zip(places).map(|(path, place)| one(path, place, &job, &s3)).collect()
}

/// What an element of the list names.
enum Place {
    Local(PathBuf),
    Object(S3Name),
    /// A name that cannot be one. It is the error of this element alone.
    Wrong(Error),
}

fn place(path: &Bound<'_, PyAny>) -> PyResult<Place> {
    let place = objects::named(path).and_then(|name| match name {
        Some(name) => Ok(Place::Object(name)),
        None => objects::path(path).map(Place::Local),
    });
    match place {
        Ok(place) => Ok(place),
        Err(Failure::Own(error)) => Ok(Place::Wrong(error)),
        Err(Failure::Python(error)) => Err(error),
    }
}

fn is_path(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>()
        || object.hasattr("__fspath__").unwrap_or(false)
        || object.extract::<&[u8]>().is_ok()
}

fn one(path: &Bound<'_, PyAny>, place: Place, job: &Arc<Job>, s3: &Arc<S3Settings>) -> Result<RewrapResult> {
    let py = path.py();
    interrupt::check(py)?;
    let done = match place {
        Place::Object(name) => object(py, name, job, s3),
        Place::Local(path) => {
            let job = Arc::clone(job);
            interrupt::cancellable(py, move |stop| job.local(path, stop)).and_then(|done| Ok(done?))
        }
        Place::Wrong(error) => Err(error.into()),
    };
    let path = path.clone().unbind();
    match done {
        Ok(Done { report, mut warnings, data_key_id, object }) => {
            warnings.extend(report.warnings.iter().map(ToString::to_string));
            let names =
                |name: fn(&Change) -> Option<&SlotName>| report.changes.iter().filter_map(name).map(shown).collect();
            Ok(RewrapResult {
                path,
                changed: matches!(report.outcome, Outcome::Changed(_)),
                old_keys: names(|change| change.old.as_ref()),
                new_keys: names(|change| change.new.as_ref()),
                request_ids: report.changes.iter().filter_map(|change| change.request_id.clone()).collect(),
                warnings,
                data_key_id,
                old_e_tag: object.as_ref().map(|object| object.old_e_tag.clone()),
                e_tag: object.as_ref().map(|object| object.e_tag.clone()),
                old_version_id: object.as_ref().and_then(|object| object.old_version_id.clone()),
                version_id: object.and_then(|object| object.version_id),
                error: None,
            })
        }
        Err(failure) => {
            let error = PyErr::from(failure);
            // A signal, and other exceptions that are not waxseal's, end everything.
            if !error.is_instance(py, &py.import("pywaxseal._errors")?.getattr("Error")?) {
                return Err(error.into());
            }
            let error = Some(error.into_value(py).into_any());
            let none = Vec::new;
            Ok(RewrapResult {
                path,
                changed: false,
                old_keys: none(),
                new_keys: none(),
                request_ids: none(),
                warnings: none(),
                data_key_id: None,
                old_e_tag: None,
                e_tag: None,
                old_version_id: None,
                version_id: None,
                error,
            })
        }
    }
}

/// The id of a key, or its kind if it has none.
fn shown(name: &SlotName) -> String {
    if name.key_id.is_empty() { name.kind.name().into() } else { name.key_id.clone() }
}

/// What was done.
struct Done {
    report: Report,
    warnings: Vec<String>,
    data_key_id: Option<String>,
    object: Option<Replaced>,
}

/// An object before and after. Both are the same if nothing was written.
struct Replaced {
    old_e_tag: String,
    e_tag: String,
    old_version_id: Option<String>,
    version_id: Option<String>,
}

impl From<RewrappedObject> for Replaced {
    fn from(done: RewrappedObject) -> Self {
        let (e_tag, version_id) = match done.new {
            Some(new) => (new.etag, new.version_id),
            None => (done.old_etag.clone(), done.old_version_id.clone()),
        };
        Self { old_e_tag: done.old_etag, e_tag, old_version_id: done.old_version_id, version_id }
    }
}

/// What is done with every file.
struct Job {
    to: Option<NewKey>,
    add: Vec<NewKey>,
    from: Option<Going>,
    remove: Vec<Going>,
    openers: Vec<Arc<dyn KeyOpener>>,
}

/// A slot or key that is replaced or removed.
enum Going {
    Slot(usize),
    Key(String, SlotTest),
}

/// The arguments that name keys: `to`, `from_`, `add`, `remove`.
type Named<'a, 'py> = (
    Option<&'a Bound<'py, PyAny>>,
    Option<&'a Bound<'py, PyAny>>,
    Option<&'a Bound<'py, PyAny>>,
    Option<&'a Bound<'py, PyAny>>,
);

impl Job {
    fn new(
        py: Python<'_>,
        (to, from, add, remove): Named<'_, '_>,
        keys: Option<&Bound<'_, PyAny>>,
        kms: &KmsChoice,
    ) -> Result<Self> {
        let keys = Key::all_of(keys)?;
        let openers = if keys.is_empty() { Vec::new() } else { openers(py, &keys, kms)? };
        let to = to.filter(|to| !to.is_none()).map(Key::of).transpose()?;
        let add = Key::all_of(add)?;
        let needs_keys = to.iter().filter(|key| !matches!(key, Key::Kms(_))).chain(&add).next();
        if let Some(key) = needs_keys.filter(|_| openers.is_empty()) {
            let message = format!("to wrap the data key with {}, it must be unwrapped on this machine", key.name());
            return Err(Error::setting(message, Remedy::UnwrapHere).into());
        }
        let from = from.filter(|from| !from.is_none());
        let from_key = from.map(|from| going(from, kms, Sisters::Too)).transpose()?;
        let named = [from_key.as_ref().and_then(|(_, arn)| arn.clone())].into_iter().flatten();
        let named: Vec<KeyArn> = named.chain(keys.iter().filter_map(stated)).collect();
        let new = |key: &Key, rewraps: bool| NewKey::new(py, key, kms, rewraps.then_some(&named[..]), &openers);
        Ok(Self {
            to: to.as_ref().map(|key| new(key, true)).transpose()?,
            add: add.iter().map(|key| new(key, false)).collect::<Result<_>>()?,
            from: from_key.map(|(going, _)| going),
            remove: several(remove)?.iter().map(|key| Ok(going(key, kms, Sisters::Not)?.0)).collect::<Result<_>>()?,
            openers,
        })
    }

    /// Calls the key services.
    fn plan(&self, header: &Header) -> waxseal::Result<Plan> {
        let request = Request {
            from: self.from.as_ref().map(Going::selector),
            to: self.to.as_ref().map(|key| key as &dyn Rewrapper),
            add: self.add.iter().map(|key| key as &dyn Rewrapper).collect(),
            remove: self.remove.iter().map(Going::selector).collect(),
        };
        request.plan(header.bank())
    }

    /// After a signal, nothing is written.
    fn local(&self, path: PathBuf, stop: &Stop) -> waxseal::Result<Done> {
        let mut file = InPlace::begin(DiskFile::open(path)?)?;
        let plan = self.plan(file.header())?;
        let (warnings, data_key_id) = (warnings(file.header()), data_key_id(file.header()));
        if file.copies(&plan)? {
            self.see_that_it_is_whole(&mut file)?;
        }
        stop.committing().map_err(|error| Error::io("changing the keys", error))?;
        Ok(Done { report: file.apply(&plan)?, warnings, data_key_id: Some(data_key_id), object: None })
    }

    /// A new file will replace this one, so no other program may be writing it.
    fn see_that_it_is_whole(&self, file: &mut InPlace<DiskFile>) -> waxseal::Result<()> {
        if !self.openers.is_empty() {
            match file.prove_end(&each(&self.openers)) {
                Ok(()) | Err(Error::NoKey(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if file.is_settled() {
            return Ok(());
        }
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err(Error::io("copying the file to make room for its keys, while it may still be written", busy))
    }
}

fn data_key_id(header: &Header) -> String {
    header.bank().binding.data_key_id.to_string()
}

fn warnings(header: &Header) -> Vec<String> {
    let is_shared = header.bank().binding.sharing == Sharing::Shared;
    let what = "the file shares its data key with other files, and their keys do not change";
    is_shared.then(|| what.to_owned()).into_iter().collect()
}

/// The keys of an argument: one, several, or none.
fn several<'py>(object: Option<&Bound<'py, PyAny>>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match object.filter(|object| !object.is_none()) {
        None => Ok(Vec::new()),
        Some(object) if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() => {
            object.try_iter()?.collect()
        }
        Some(object) => Ok(vec![object.clone()]),
    }
}

/// Whether a multi-Region key stands for its replicas in other regions too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sisters {
    Too,
    Not,
}

/// The slot or key that an argument names: a key, or `slot:N`. Also the ARN of a key in AWS KMS.
fn going(object: &Bound<'_, PyAny>, kms: &KmsChoice, sisters: Sisters) -> Result<(Going, Option<KeyArn>)> {
    if let Ok(text) = object.extract::<String>()
        && let Some(number) = text.strip_prefix("slot:")
    {
        let number = number.parse().map_err(|_| PyTypeError::new_err("slot:0 is the first slot"))?;
        return Ok((Going::Slot(number), None));
    }
    let key = Key::of(object)?;
    let name = key.name();
    Ok(match key {
        Key::Passphrase(_) => (Going::Key(name, Box::new(|slot| slot.kind == SlotKind::PASSPHRASE)), None),
        Key::Kms(named) => {
            let arn = arn_named(object.py(), &named, kms)?;
            let known = arn.clone();
            let test: SlotTest = match sisters {
                Sisters::Too => Box::new(move |slot| arn_of(slot).is_some_and(|other| arn.matches(&other))),
                Sisters::Not => Box::new(move |slot| arn_of(slot).is_some_and(|other| arn == other)),
            };
            (Going::Key(name, test), Some(known))
        }
        key => (Going::Key(name, key.slots()), None),
    })
}

/// The ARN of a key. An alias could be of any key, so KMS is asked which one it names.
fn arn_named(py: Python<'_>, name: &KmsKeyName, kms: &KmsChoice) -> Result<KeyArn> {
    match (name, kms) {
        (KmsKeyName::KeyArn(arn), _) => Ok(arn.clone()),
        (name, KmsChoice::Own(settings)) => {
            let (kms, name) = (settings.handle()?, name.clone());
            Ok(interrupt::wait(py, move || kms.key_arn(&name))??)
        }
        (name, KmsChoice::Caller(clients)) => Ok(clients.key_arn(name)?),
    }
}

fn stated(key: &Key) -> Option<KeyArn> {
    match key {
        Key::Kms(KmsKeyName::KeyArn(arn)) => Some(arn.clone()),
        _ => None,
    }
}

impl Going {
    fn selector(&self) -> Selector<'_> {
        match self {
            Self::Slot(slot) => Selector::Slot(*slot),
            Self::Key(name, is_own) => {
                Selector::Key { name: name.clone(), matches: Box::new(|slot: &Slot| is_own(slot)) }
            }
        }
    }
}

/// A key that gets a new slot.
struct NewKey {
    name: String,
    is_own: SlotTest,
    sealer: Arc<dyn KeySealer>,
    /// A key service that rewraps for it.
    service: Option<Service>,
    /// Keys that unwrap the data key on this machine, if that is allowed.
    openers: Vec<Arc<dyn KeyOpener>>,
}

enum Service {
    Own(waxseal_aws_kms::Kms, KmsKeyName, SourceRule),
    Caller(Arc<boto::Clients>, KmsKeyName, Vec<KeyArn>),
}

impl NewKey {
    /// `sources` are keys from which a key service may rewrap, if it may.
    fn new(
        py: Python<'_>,
        key: &Key,
        kms: &KmsChoice,
        sources: Option<&[KeyArn]>,
        openers: &[Arc<dyn KeyOpener>],
    ) -> Result<Self> {
        let service = match (key, kms, sources) {
            (Key::Kms(name), KmsChoice::Own(settings), Some(sources)) => {
                let accounts = match name.account() {
                    Some(account) => AccountRule::Ids(vec![account.to_owned()]),
                    None => AccountRule::Own,
                };
                Some(Service::Own(settings.handle()?, name.clone(), SourceRule::new(accounts, sources.to_vec())))
            }
            (Key::Kms(name), KmsChoice::Caller(clients), Some(sources)) => {
                Some(Service::Caller(Arc::clone(clients), name.clone(), sources.to_vec()))
            }
            _ => None,
        };
        let (name, is_own, sealer) = (key.name(), key.slots(), key.sealer(py, kms)?);
        Ok(Self { name, is_own, sealer, service, openers: openers.to_vec() })
    }

    /// `None` if no key service can do it.
    fn by_service(&self, bank: &Bank, slot: usize) -> Option<waxseal::Result<Rewrapped>> {
        let source = bank.slots.get(slot).filter(|source| source.kind == SlotKind::AWS_KMS)?;
        let made = match self.service.as_ref()? {
            Service::Own(kms, name, rule) => {
                rule.check(source, kms).and_then(|()| kms.reencrypt(source, &bank.binding, name))
            }
            Service::Caller(clients, name, named) => allowed(source, clients, name, named)
                .and_then(|()| boto::reencrypt(clients, source, &bank.binding, name)),
        };
        match made {
            // Another region or partition.
            Err(Error::Provider(error)) if error.cause == ProviderCause::NotAllowed && !self.openers.is_empty() => None,
            made => Some(made.map(|(made, request_id)| Rewrapped {
                slot: made,
                from: slot,
                verified: Verified::Not,
                request_id,
            })),
        }
    }
}

/// Anyone who can write the file chooses the ARN in a slot. So a key is used only if the caller named it, or if it is in
/// the account of the new key or of the caller.
fn allowed(source: &Slot, clients: &boto::Clients, to: &KmsKeyName, named: &[KeyArn]) -> waxseal::Result<()> {
    let arn = KeyArn::parse(&source.key_id)?;
    if named.iter().any(|named| named.matches(&arn)) || to.account() == Some(arn.account()) {
        return Ok(());
    }
    clients.check_own(&arn)
}

impl Rewrapper for NewKey {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_target(&self, slot: &Slot) -> bool {
        (self.is_own)(slot)
    }

    fn accepts(&self, slot: &Slot) -> bool {
        (self.service.is_some() && slot.kind == SlotKind::AWS_KMS)
            || self.openers.iter().any(|opener| opener.matches(slot))
    }

    fn may_unwrap(&self) -> bool {
        !self.openers.is_empty()
    }

    fn is_of_service(&self) -> bool {
        self.service.is_some()
    }

    fn has_slot(&self, bank: &Bank) -> waxseal::Result<bool> {
        if bank.slots.iter().any(|slot| self.is_target(slot)) {
            return Ok(true);
        }
        match &self.service {
            Some(service) if bank.slots.iter().any(|slot| slot.kind == SlotKind::AWS_KMS) => {
                let arn = match service {
                    Service::Own(kms, name, _) => kms.key_arn(name)?,
                    Service::Caller(clients, name, _) => clients.key_arn(name)?,
                };
                Ok(bank.slots.iter().any(|slot| arn_of(slot).is_some_and(|other| other == arn)))
            }
            _ => Ok(false),
        }
    }

    fn rewrap(&self, bank: &Bank, slot: usize) -> waxseal::Result<Rewrapped> {
        if let Some(done) = self.by_service(bank, slot) {
            return done;
        }
        if self.openers.is_empty() {
            let message = format!("AWS KMS cannot rewrap slot {slot}: the data key must be unwrapped on this machine");
            return Err(Error::setting(message, Remedy::UnwrapHere));
        }
        Unwrap { openers: each(&self.openers), sealer: &*self.sealer, target: None }.rewrap(bank, slot)
    }
}

fn object(py: Python<'_>, name: S3Name, job: &Arc<Job>, s3: &Arc<S3Settings>) -> Result<Done> {
    let job = Arc::clone(job);
    let record = Arc::new(Record::new(s3)?);
    let own = Arc::clone(&record);
    let cancelled = Arc::new(Cancelled::default());
    let gate = Arc::clone(&cancelled);
    let work = move |stop: &Stop| {
        let s3 = own.s3().with_gate(gate);
        let object = s3.object(&name)?;
        let (mut told, mut id) = (Vec::new(), None);
        let plan = |header: &Header| {
            (told, id) = (warnings(header), Some(data_key_id(header)));
            let plan = job.plan(header)?;
            // From here on, the rewrap may leave something in S3, so its end is waited for.
            stop.committing().map_err(|error| Error::io("rewrapping", error))?;
            Ok(plan)
        };
        let done = s3.rewrap(&object, plan, RewrapOptions::default())?;
        told.extend(done.new.iter().flat_map(|new| new.warnings.iter().map(ToString::to_string)));
        let report = done.report.clone();
        Ok::<Done, Error>(Done { report, warnings: told, data_key_id: id, object: Some(done.into()) })
    };
    let done = interrupt::cancellable_with(py, work, || cancelled.set()).and_then(|done| Ok(done?));
    record.told(py, done)
}
