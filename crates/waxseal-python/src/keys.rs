//! Keys as Python gives them, and the sealers and openers for them.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use waxseal::error::{Error, Remedy};
use waxseal::format::{Slot, SlotKind};
use waxseal::io::{AtomicFile, Destination, Durability, Overwrite};
use waxseal::keys::{self, BatchOpener, KeyOpener, KeySealer, KeyText, PassphraseOpener};
use waxseal::secret::SecretBytes;
use waxseal_aws_kms::{AccountRule, KmsKey, KmsKeyName, KmsOpener};
use zeroize::Zeroizing;

use crate::aws::KmsChoice;
use crate::boto::{BotoKey, BotoOpener};
use crate::errors::{Failure, Result, passed_on};
use crate::names::{self, Name};
use crate::objects;

/// A passphrase has at most this many bytes.
const MAX_PASSPHRASE: usize = 1024;
const NOT_TEXT: &str =
    "the passphrase has characters that are not text: give it as bytes, for example by os.fsencode()";
const NOT_PICKLED: &str = "a key is never pickled: give its name to the other process, as `file:PATH` for example";

/// A key that was named or given.
#[derive(Clone)]
pub(crate) enum Key {
    Local(Arc<keys::KeyFile>),
    Identity(Arc<keys::Identity>),
    Recipient(Arc<keys::Recipient>),
    Passphrase(Arc<Secret>),
    Kms(KmsKeyName),
}

/// A passphrase, or the function that asks for it.
pub(crate) enum Secret {
    Known(keys::Passphrase),
    Asked(Py<PyAny>),
}

/// Decides whether a slot is of a key.
pub(crate) type SlotTest = Box<dyn Fn(&Slot) -> bool + Send + Sync>;

impl Key {
    /// The key that a Python object is or names. It reads the file of a key.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Result<Self> {
        if let Ok(key) = object.cast::<KeyFile>() {
            return Ok(Self::Local(Arc::clone(&key.get().0)));
        }
        if let Ok(key) = object.cast::<Identity>() {
            return Ok(Self::Identity(Arc::clone(&key.get().0)));
        }
        if let Ok(key) = object.cast::<Recipient>() {
            return Ok(Self::Recipient(Arc::clone(&key.get().0)));
        }
        if let Ok(key) = object.cast::<Passphrase>() {
            return Ok(Self::Passphrase(Arc::clone(&key.get().0)));
        }
        if !object.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(format!(
                "a key is a str, KeyFile, Identity, Recipient or Passphrase, not {}",
                object.get_type().name()?
            ))
            .into());
        }
        let name: OsString = object.extract()?;
        let name = names::parse(&name)?;
        if let Name::File(path) | Name::PassphraseFile(path) = &name {
            objects::usable(path)?;
        }
        let key = Self::named(&name)?;
        if let Name::File(path) | Name::PassphraseFile(path) = &name {
            warn_of_mode(object.py(), path, matches!(key, Self::Recipient(_)))?;
        }
        Ok(key)
    }

    pub(crate) fn named(name: &Name) -> Result<Self> {
        Ok(match name {
            Name::Kms(name) => Self::Kms(name.clone()),
            Name::File(path) => match KeyText::load(path)? {
                KeyText::KeyFile(key) => Self::Local(Arc::new(key)),
                KeyText::Identity(key) => Self::Identity(Arc::new(key)),
                KeyText::Recipient(key) => Self::Recipient(Arc::new(key)),
            },
            Name::PassphraseFile(path) => {
                Self::Passphrase(Arc::new(Secret::Known(keys::Passphrase::new(read_passphrase(path)?)?)))
            }
        })
    }

    /// The keys of an argument: one, several, or none.
    pub(crate) fn all_of(object: Option<&Bound<'_, PyAny>>) -> Result<Vec<Self>> {
        let Some(object) = object.filter(|object| !object.is_none()) else { return Ok(Vec::new()) };
        if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
            return object.try_iter()?.map(|key| Self::of(&key?)).collect();
        }
        Ok(vec![Self::of(object)?])
    }

    /// For messages; never secret.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Local(key) => KeySealer::name(&**key),
            Self::Identity(key) => KeySealer::name(&**key),
            Self::Recipient(key) => KeySealer::name(&**key),
            Self::Passphrase(_) => "passphrase".into(),
            Self::Kms(name) => name.to_string(),
        }
    }

    /// The key as a sealer. A passphrase is asked for here.
    pub(crate) fn sealer(&self, py: Python<'_>, kms: &KmsChoice) -> Result<Arc<dyn KeySealer>> {
        Ok(match self {
            Self::Local(key) => Arc::clone(key) as _,
            Self::Identity(key) => Arc::clone(key) as _,
            Self::Recipient(key) => Arc::clone(key) as _,
            Self::Passphrase(secret) => Arc::new(SealingSecret(match &**secret {
                Secret::Known(_) => Typed::Known(Arc::clone(secret)),
                Secret::Asked(ask) => Typed::New(keys::Passphrase::new(typed(&ask.bind(py).call0()?)?)?),
            })),
            Self::Kms(name) => match kms {
                KmsChoice::Own(settings) => Arc::new(KmsKey::new(&settings.handle()?, name.clone())),
                KmsChoice::Caller(clients) => Arc::new(BotoKey::new(clients, name)),
            },
        })
    }

    fn opener(&self, py: Python<'_>, kms: &KmsChoice) -> Result<Arc<dyn KeyOpener>> {
        Ok(match self {
            Self::Local(key) => Arc::clone(key) as _,
            Self::Identity(key) => Arc::clone(key) as _,
            Self::Recipient(key) => {
                let message = format!("the recipient {} only seals", key.key_id());
                let remedy = Remedy::Other("name the identity file that belongs to it".into());
                return Err(Error::setting(message, remedy).into());
            }
            Self::Passphrase(secret) => match &**secret {
                Secret::Known(_) => Arc::new(OpeningSecret(Arc::clone(secret))),
                Secret::Asked(ask) => {
                    let ask = ask.clone_ref(py);
                    Arc::new(PassphraseOpener::new(move || asked(&ask)))
                }
            },
            Self::Kms(name) => match kms {
                KmsChoice::Own(settings) => {
                    Arc::new(BatchOpener::new(KmsOpener::named(&settings.handle()?, name.clone())))
                }
                KmsChoice::Caller(clients) => Arc::new(BotoOpener::named(clients, name)),
            },
        })
    }

    /// Whether the key is on this machine and known.
    pub(crate) fn is_near(&self) -> bool {
        self.turn() == 0
    }

    /// Whether the key opens without a call, or only after a person was asked.
    fn turn(&self) -> u8 {
        match self {
            Self::Kms(_) => 1,
            Self::Passphrase(secret) if matches!(**secret, Secret::Asked(_)) => 2,
            _ => 0,
        }
    }

    /// Which slots are of this key, as far as it is known without a call.
    pub(crate) fn slots(&self) -> SlotTest {
        match self {
            Self::Local(key) => {
                let key = Arc::clone(key);
                Box::new(move |slot| key.matches(slot))
            }
            Self::Identity(key) => {
                let key = Arc::clone(key);
                Box::new(move |slot| key.recipient().is_of(slot))
            }
            Self::Recipient(key) => {
                let key = Arc::clone(key);
                Box::new(move |slot| key.is_of(slot))
            }
            Self::Passphrase(_) => Box::new(|_| false),
            Self::Kms(name) => {
                let name = name.clone();
                Box::new(move |slot| is_certainly(&name, slot))
            }
        }
    }
}

/// An alias does not say which key it names. Only a key service knows.
fn is_certainly(name: &KmsKeyName, slot: &Slot) -> bool {
    let named = matches!(name, KmsKeyName::KeyArn(_) | KmsKeyName::KeyId(_));
    let Some(arn) = arn_of(slot).filter(|_| named) else { return false };
    match name {
        KmsKeyName::KeyArn(named) => *named == arn,
        name => name.may_be(&arn),
    }
}

/// The key of a slot of AWS KMS.
pub(crate) fn arn_of(slot: &Slot) -> Option<waxseal_aws_kms::KeyArn> {
    let is_kms = [SlotKind::AWS_KMS, SlotKind::AWS_KMS_ML_KEM, SlotKind::AWS_KMS_RSA].contains(&slot.kind);
    if is_kms { waxseal_aws_kms::KeyArn::parse(&slot.key_id).ok() } else { None }
}

/// Warns if others may read the file of a secret key, or write that of a public one.
fn warn_of_mode(py: Python<'_>, path: &Path, is_public: bool) -> PyResult<()> {
    let check = if is_public { "check_public" } else { "check_secret" };
    py.import("pywaxseal._modes")?.call_method1(check, (path,)).map(drop)
}

/// The keys that seal, in the order of their slots.
pub(crate) fn sealers(py: Python<'_>, keys: &[Key], kms: &KmsChoice) -> Result<Vec<Arc<dyn KeySealer>>> {
    if keys.is_empty() {
        let remedy = Remedy::Other("name one with keys=; pywaxseal.KeyFile.generate() makes one".into());
        return Err(Error::setting("no key to seal with", remedy).into());
    }
    keys.iter().map(|key| key.sealer(py, kms)).collect()
}

/// The keys that open: those that were named, or the keys of the caller's own account in AWS KMS. Keys on this machine
/// come first, and those for which a person is asked come last.
pub(crate) fn openers(py: Python<'_>, keys: &[Key], kms: &KmsChoice) -> Result<Vec<Arc<dyn KeyOpener>>> {
    if keys.is_empty() {
        return match kms {
            KmsChoice::Own(settings) => {
                let own = KmsOpener::by_account(&settings.handle()?, AccountRule::Own)?;
                Ok(own.into_iter().map(|opener| Arc::new(BatchOpener::new(opener)) as Arc<dyn KeyOpener>).collect())
            }
            KmsChoice::Caller(clients) => Ok(vec![Arc::new(BotoOpener::of_own_account(clients))]),
        };
    }
    let mut keys: Vec<&Key> = keys.iter().collect();
    keys.sort_by_key(|key| key.turn());
    keys.into_iter().map(|key| key.opener(py, kms)).collect()
}

/// References to the keys, as the library takes them.
pub(crate) fn each<T: ?Sized>(keys: &[Arc<T>]) -> Vec<&T> {
    keys.iter().map(|key| &**key).collect()
}

/// A passphrase that seals.
struct SealingSecret(Typed);

enum Typed {
    Known(Arc<Secret>),
    New(keys::Passphrase),
}

impl KeySealer for SealingSecret {
    fn name(&self) -> String {
        "passphrase".into()
    }

    fn wrap(&self, data_key: &waxseal::secret::DataKey, binding: &waxseal::format::Binding) -> waxseal::Result<Slot> {
        match &self.0 {
            Typed::New(passphrase) => passphrase.wrap(data_key, binding),
            Typed::Known(secret) => match &**secret {
                Secret::Known(passphrase) => passphrase.wrap(data_key, binding),
                Secret::Asked(_) => Err(Error::Bug("a passphrase that was not asked for")),
            },
        }
    }
}

/// A passphrase that opens.
struct OpeningSecret(Arc<Secret>);

impl KeyOpener for OpeningSecret {
    fn name(&self) -> String {
        "passphrase".into()
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.kind == SlotKind::PASSPHRASE
    }

    fn open(&self, slot: &Slot, binding: &waxseal::format::Binding) -> waxseal::Result<waxseal::secret::DataKey> {
        match &*self.0 {
            Secret::Known(passphrase) => passphrase.open(slot, binding),
            Secret::Asked(_) => Err(Error::Bug("a passphrase that was not asked for")),
        }
    }
}

/// Asks for a passphrase. An exception of the function is raised where the file is opened.
fn asked(ask: &Py<PyAny>) -> waxseal::Result<SecretBytes> {
    let asked = Python::try_attach(|py| ask.bind(py).call0().and_then(|typed| self::typed(&typed)));
    asked
        .unwrap_or_else(|| Err(PyValueError::new_err("the interpreter ends")))
        .map_err(|error| passed_on("asking for the passphrase", error))
}

fn typed(passphrase: &Bound<'_, PyAny>) -> PyResult<SecretBytes> {
    if let Ok(bytes) = passphrase.cast::<PyBytes>() {
        return Ok(SecretBytes::new(bytes.as_bytes().to_vec()));
    }
    match passphrase.cast::<PyString>() {
        // Python's own error would have the passphrase in it.
        Ok(text) => match text.to_cow() {
            Ok(text) => Ok(SecretBytes::new(text.as_bytes().to_vec())),
            Err(_) => Err(Failure::from(Error::Invalid(NOT_TEXT.into())).into()),
        },
        Err(_) => Err(PyTypeError::new_err("a passphrase is str or bytes")),
    }
}

/// Reads a passphrase. Exactly one newline at its end is removed.
fn read_passphrase(path: &Path) -> waxseal::Result<SecretBytes> {
    let failed = |error| Error::io(format!("reading the passphrase file {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    // The buffer never grows, so no copy of the passphrase stays in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE + 64));
    file.take(MAX_PASSPHRASE as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// Writes the text of a key to a new file, which only its owner may read.
fn save(path: &Path, text: &[u8], mode: u32, overwrite: bool) -> Result<()> {
    let failed = |error| Error::io("writing the key file", error);
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    let destination = Destination::at(path).map_err(Error::from)?;
    let made = AtomicFile::create(destination, overwrite, mode)?;
    std::io::Write::write_all(&mut made.file(), text).map_err(failed)?;
    made.commit(Durability::Synced)?;
    Ok(())
}

/// The key of a local key file. It seals and opens. Its `repr` shows only its public id, and it is never pickled.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct KeyFile(Arc<keys::KeyFile>);

#[pymethods]
impl KeyFile {
    /// Reads a key file.
    #[staticmethod]
    fn load(path: &Bound<'_, PyAny>) -> Result<Self> {
        let (py, path) = (path.py(), objects::path(path)?);
        let key = keys::KeyFile::load(&path)?;
        warn_of_mode(py, &path, false)?;
        Ok(Self(Arc::new(key)))
    }

    /// Makes a new key from the system's generator.
    #[staticmethod]
    fn generate() -> Result<Self> {
        Ok(Self(Arc::new(keys::KeyFile::generate()?)))
    }

    /// The public id of the key: 32 hex digits.
    #[getter]
    fn id(&self) -> &str {
        self.0.id()
    }

    /// Writes the key to a file that only its owner may read. A file that exists is not replaced.
    fn save(&self, path: &Bound<'_, PyAny>) -> Result<()> {
        save(&objects::path(path)?, self.0.to_text(&[&format!("id {}", self.0.id())]).expose(), 0o600, false)
    }

    fn __repr__(&self) -> String {
        format!("KeyFile(id='{}')", self.0.id())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(NOT_PICKLED))
    }
}

/// A key pair of an identity file. It opens what is sealed to its recipient, and seals. It is never pickled.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Identity(Arc<keys::Identity>);

#[pymethods]
impl Identity {
    /// Reads an identity file.
    #[staticmethod]
    fn load(path: &Bound<'_, PyAny>) -> Result<Self> {
        let (py, path) = (path.py(), objects::path(path)?);
        let key = keys::Identity::load(&path)?;
        warn_of_mode(py, &path, false)?;
        Ok(Self(Arc::new(key)))
    }

    /// Makes a new key pair from the system's generator.
    #[staticmethod]
    fn generate() -> Result<Self> {
        Ok(Self(Arc::new(keys::Identity::generate()?)))
    }

    /// The public id of the key pair.
    #[getter]
    fn id(&self) -> &str {
        self.0.id()
    }

    /// Its public half, which only seals.
    #[getter]
    fn recipient(&self) -> Recipient {
        Recipient(Arc::new(self.0.recipient().clone()))
    }

    /// Writes the identity to a file that only its owner may read. A file that exists is not replaced.
    fn save(&self, path: &Bound<'_, PyAny>) -> Result<()> {
        save(&objects::path(path)?, self.0.to_text(&[&format!("id {}", self.0.id())]).expose(), 0o600, false)
    }

    fn __repr__(&self) -> String {
        format!("Identity(id='{}')", self.0.id())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(NOT_PICKLED))
    }
}

/// A public key. It seals, and does not open.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Recipient(Arc<keys::Recipient>);

#[pymethods]
impl Recipient {
    /// Reads a recipient file.
    #[staticmethod]
    fn load(path: &Bound<'_, PyAny>) -> Result<Self> {
        let (py, path) = (path.py(), objects::path(path)?);
        let key = keys::Recipient::load(&path)?;
        warn_of_mode(py, &path, true)?;
        Ok(Self(Arc::new(key)))
    }

    /// The id that slots of this key have.
    #[getter]
    fn id(&self) -> &str {
        self.0.key_id()
    }

    /// Writes the recipient to a file. A file that exists is not replaced.
    fn save(&self, path: &Bound<'_, PyAny>) -> Result<()> {
        save(&objects::path(path)?, self.0.to_text(&[]).as_bytes(), 0o644, false)
    }

    fn __repr__(&self) -> String {
        format!("Recipient(id='{}')", self.0.key_id())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(NOT_PICKLED))
    }
}

/// A passphrase: str, bytes, or a function without arguments that returns one of them. It is asked when it is needed.
#[pyclass(frozen, module = "pywaxseal")]
pub(crate) struct Passphrase(Arc<Secret>);

#[pymethods]
impl Passphrase {
    #[new]
    fn new(passphrase: &Bound<'_, PyAny>) -> Result<Self> {
        if passphrase.is_callable() {
            return Ok(Self(Arc::new(Secret::Asked(passphrase.clone().unbind()))));
        }
        Ok(Self(Arc::new(Secret::Known(keys::Passphrase::new(typed(passphrase)?)?))))
    }

    #[allow(clippy::unused_self, reason = "Python's protocol")]
    fn __repr__(&self) -> &'static str {
        "Passphrase()"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(NOT_PICKLED))
    }
}
