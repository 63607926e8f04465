//! Keys in AWS KMS that are called through the caller's own client of boto3.
//!
//! Data keys come and go as Python's `bytes`, which cannot be wiped. What botocore writes about a request or an answer is
//! never repeated: an error has only its code.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict};
use waxseal::Result;
use waxseal::error::{Error, Naming, ProviderCause, ProviderError, Remedy};
use waxseal::format::{Binding, KMS_WRAPPED_MAX, Slot, SlotKind};
use waxseal::keys::{KeyOpener, KeySealer, public};
use waxseal::secret::DataKey;
use waxseal_aws_kms::{KeyArn, KmsKeyName, context};

use crate::errors::passed_on;
use crate::keys::arn_of;

/// The caller's clients.
pub(crate) struct Clients {
    /// For keys in its region.
    kms: Py<PyAny>,
    /// The region of this client.
    region: String,
    /// For keys in other regions, and for the caller's account.
    session: Option<Py<PyAny>>,
    /// Clients for other regions. A session makes one at a time.
    others: Mutex<HashMap<String, Py<PyAny>>>,
}

impl Clients {
    /// A session of boto3, or a client of KMS.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let is_client = object.hasattr("generate_data_key")? && object.hasattr("meta")?;
        let (kms, session) = if is_client {
            (object.clone(), None)
        } else if object.hasattr("client")? {
            (object.call_method1("client", ("kms",))?, Some(object.clone().unbind()))
        } else {
            return Err(PyTypeError::new_err("kms takes pywaxseal.Kms(...), or a session or KMS client of boto3"));
        };
        let region: Option<String> = kms.getattr("meta")?.getattr("region_name")?.extract()?;
        Ok(Self { kms: kms.unbind(), region: region.unwrap_or_default(), session, others: Mutex::default() })
    }

    /// The client for `region`.
    fn client<'py>(&self, py: Python<'py>, region: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        if region == self.region {
            return Ok(Some(self.kms.bind(py).clone()));
        }
        let Some(session) = &self.session else { return Ok(None) };
        let mut others = self.others.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = others.get(region) {
            return Ok(Some(client.bind(py).clone()));
        }
        let options = PyDict::new(py);
        options.set_item("region_name", region)?;
        let client = session.bind(py).call_method("client", ("kms",), Some(&options))?;
        others.insert(region.to_owned(), client.clone().unbind());
        Ok(Some(client))
    }

    /// Makes a call, and gives its answer to `take` while the interpreter is attached.
    fn call<T>(
        &self,
        call: &Call<'_>,
        arguments: impl FnOnce(Python<'_>, &Bound<'_, PyDict>) -> PyResult<()>,
        take: impl FnOnce(&Answer<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        Python::try_attach(|py| {
            let given = PyDict::new(py);
            let made = arguments(py, &given).and_then(|()| self.client(py, call.region));
            let client = made.map_err(|error| call.failed(py, error))?;
            let Some(client) = client else { return Err(call.elsewhere(&self.region)) };
            if !client.hasattr(call.method).unwrap_or(false) {
                return Err(call.unknown());
            }
            let answer = client.call_method(call.method, (), Some(&given));
            let answer = answer.map_err(|error| call.failed(py, error))?;
            take(&Answer { call, answer })
        })
        .unwrap_or(Err(Error::ApiMisuse("a call while the interpreter ends")))
    }

    /// A secret of 32 bytes, which the key `expected` gives.
    fn secret(
        &self,
        call: &Call<'_>,
        field: &str,
        expected: &KeyArn,
        arguments: impl FnOnce(Python<'_>, &Bound<'_, PyDict>) -> PyResult<()>,
    ) -> Result<DataKey> {
        let arguments = |py: Python<'_>, given: &Bound<'_, PyDict>| {
            given.set_item("KeyId", call.key)?;
            arguments(py, given)
        };
        self.call(call, arguments, |answer| match answer.arn("KeyId")? {
            arn if arn == *expected => answer.secret(field),
            _ if call.key == expected.to_string() => Err(call.bad_answer("for another key")),
            _ => Err(call.other_key()),
        })
    }

    /// The key that a name names now. It calls `DescribeKey`, unless the name is the ARN of a key.
    pub(crate) fn key_arn(&self, name: &KmsKeyName) -> Result<KeyArn> {
        if let KmsKeyName::KeyArn(arn) = name {
            return Ok(arn.clone());
        }
        let key = name.to_string();
        let call = Call { method: "describe_key", key: &key, region: name.region().unwrap_or(&self.region) };
        let arguments = |_: Python<'_>, given: &Bound<'_, PyDict>| given.set_item("KeyId", &key);
        self.call(&call, arguments, |answer| {
            let described = Answer { call: &call, answer: answer.field("KeyMetadata")? };
            let arn = described.arn("Arn")?;
            if name.accepts(&arn, call.region) { Ok(arn) } else { Err(call.bad_answer("for another key")) }
        })
    }

    /// Fails unless the key is of the account of the caller's credentials.
    pub(crate) fn check_own(&self, slot: &KeyArn) -> Result<()> {
        if self.own_account(slot)? == slot.account() {
            return Ok(());
        }
        let message = format!("it is a key of account {}, and not of the caller's own", slot.account());
        let error = ProviderError::new(ProviderCause::NotAllowed, slot.to_string(), message);
        let naming = Naming::to_open(Some(slot.to_string()), None);
        Err(Box::new(error.with_remedy(Remedy::Trust(naming))).into())
    }

    /// The account of the caller's credentials.
    fn own_account(&self, slot: &KeyArn) -> Result<String> {
        let named = |message: &str| {
            let naming = Naming::to_open(Some(slot.to_string()), None);
            let error = ProviderError::new(ProviderCause::NotAllowed, slot.to_string(), message);
            Error::from(Box::new(error.with_remedy(Remedy::SkipIdentity(naming))))
        };
        let Some(session) = &self.session else {
            return Err(named("no key was named, and a KMS client does not tell the caller's account"));
        };
        let account = Python::try_attach(|py| {
            let sts = session.bind(py).call_method1("client", ("sts",))?;
            sts.call_method0("get_caller_identity")?.get_item("Account")?.extract::<String>()
        });
        match account {
            Some(Ok(account)) => Ok(account),
            Some(Err(error)) => {
                let key = slot.to_string();
                let call = Call { method: "get_caller_identity", key: &key, region: slot.region() };
                Err(Python::attach(|py| call.failed(py, error)))
            }
            None => Err(Error::ApiMisuse("a call while the interpreter ends")),
        }
    }
}

/// A call to KMS.
struct Call<'a> {
    method: &'static str,
    /// The name of the key.
    key: &'a str,
    region: &'a str,
}

impl Call<'_> {
    fn error(&self, cause: ProviderCause, what: &str) -> Error {
        let message = format!("{} of the caller's client {what}", self.method);
        Box::new(ProviderError::new(cause, self.key, message)).into()
    }

    fn bad_answer(&self, what: &str) -> Error {
        self.error(ProviderCause::BadAnswer, &format!("has answered {what}"))
    }

    /// Old versions of boto3 do not know all calls.
    fn unknown(&self) -> Error {
        self.error(ProviderCause::Rejected, "does not exist: use a newer boto3")
    }

    /// The name of the call can be of another key than the one of the slot.
    fn other_key(&self) -> Error {
        let error = ProviderError::new(ProviderCause::OtherKey, self.key, "the slot is not of the key with this name");
        Box::new(error.with_remedy(Remedy::NameByFullId)).into()
    }

    fn elsewhere(&self, region: &str) -> Error {
        let message = format!("the key is in {}, and the caller's client calls {region}", self.region);
        let remedy = Remedy::ChooseRegion { region: Some(self.region.into()) };
        Box::new(ProviderError::new(ProviderCause::NotFound, self.key, message).with_remedy(remedy)).into()
    }

    /// An error of botocore by its code. All other exceptions are the caller's, and are raised again.
    fn failed(&self, py: Python<'_>, error: PyErr) -> Error {
        if !error.is_instance_of::<PyException>(py) {
            return passed_on("calling AWS KMS", error);
        }
        let value = error.value(py);
        if let Some(code) = code_of(value) {
            let id = request_id_of(value);
            let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(80).collect();
            let error = ProviderError::new(cause_of(&code), self.key, format!("{}: {code}", self.method));
            return Box::new(error.with_request_id(id)).into();
        }
        let class = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        let module = error.get_type(py).module().map(|name| name.to_string()).unwrap_or_default();
        if !module.starts_with("botocore") {
            return passed_on("calling AWS KMS", error);
        }
        let cause = if class.contains("Credential") || class.contains("Token") {
            ProviderCause::Credentials
        } else if class.contains("Connection") || class.contains("Timeout") || class.contains("HTTP") {
            ProviderCause::Unreachable
        } else {
            ProviderCause::Rejected
        };
        self.error(cause, &format!("has failed: {class}"))
    }
}

/// `response["Error"]["Code"]` of a `ClientError`.
fn code_of(error: &Bound<'_, PyAny>) -> Option<String> {
    let response = error.getattr("response").ok()?;
    response.get_item("Error").ok()?.get_item("Code").ok()?.extract().ok()
}

fn request_id_of(error: &Bound<'_, PyAny>) -> Option<String> {
    let about = error.getattr("response").ok()?.get_item("ResponseMetadata").ok()?;
    let id: String = about.get_item("RequestId").ok()?.extract().ok()?;
    let is_id = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then_some(id)
}

fn cause_of(code: &str) -> ProviderCause {
    match code {
        "AccessDeniedException" | "AccessDenied" => ProviderCause::Denied,
        "DisabledException" => ProviderCause::Disabled,
        "NotFoundException" => ProviderCause::NotFound,
        "InvalidCiphertextException" => ProviderCause::WrongCiphertext,
        "IncorrectKeyException" => ProviderCause::OtherKey,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => ProviderCause::WrongKeyType,
        "ThrottlingException" | "Throttling" | "LimitExceededException" | "TooManyRequestsException" => {
            ProviderCause::Throttled
        }
        "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "ServiceUnavailable" => ProviderCause::Internal,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException" => ProviderCause::Credentials,
        _ => ProviderCause::Rejected,
    }
}

/// An answer, while the interpreter is attached.
struct Answer<'a, 'py> {
    call: &'a Call<'a>,
    answer: Bound<'py, PyAny>,
}

impl<'py> Answer<'_, 'py> {
    fn field(&self, name: &str) -> Result<Bound<'py, PyAny>> {
        self.answer.get_item(name).map_err(|_| self.call.bad_answer(&format!("without {name}")))
    }

    fn arn(&self, field: &str) -> Result<KeyArn> {
        let text = self.answer.get_item(field).ok().and_then(|text| text.extract::<String>().ok());
        KeyArn::parse(&text.unwrap_or_default()).map_err(|_| self.call.bad_answer("without the ARN of a key"))
    }

    fn bytes<T>(&self, field: &str, take: impl FnOnce(&[u8]) -> Option<T>) -> Result<T> {
        let bytes = self.answer.get_item(field).ok();
        let taken =
            bytes.as_ref().and_then(|bytes| bytes.cast::<PyBytes>().ok()).and_then(|bytes| take(bytes.as_bytes()));
        taken.ok_or_else(|| self.call.bad_answer(&format!("without a usable {field}")))
    }

    fn secret(&self, field: &str) -> Result<DataKey> {
        self.bytes(field, |bytes| DataKey::from_slice(bytes).ok())
    }

    /// The slot of a wrapped data key, by a key that can be the one that was named.
    fn slot(&self, name: &KmsKeyName) -> Result<Slot> {
        let arn = self.arn("KeyId")?;
        if !name.accepts(&arn, self.call.region) {
            return Err(self.call.bad_answer("for another key"));
        }
        let wrapped =
            self.bytes("CiphertextBlob", |bytes| (1..=KMS_WRAPPED_MAX).contains(&bytes.len()).then(|| bytes.to_vec()))?;
        Ok(Slot { kind: SlotKind::AWS_KMS, key_id: arn.to_string(), wrapped })
    }
}

fn put_context(given: &Bound<'_, PyDict>, binding: &Binding) -> PyResult<()> {
    let context: HashMap<String, String> = context(binding);
    given.set_item("EncryptionContext", context)
}

/// A key that seals.
pub(crate) struct BotoKey {
    clients: Arc<Clients>,
    name: KmsKeyName,
}

impl BotoKey {
    pub(crate) fn new(clients: &Arc<Clients>, name: &KmsKeyName) -> Self {
        Self { clients: Arc::clone(clients), name: name.clone() }
    }

    fn region(&self) -> &str {
        self.name.region().unwrap_or(&self.clients.region)
    }
}

impl KeySealer for BotoKey {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn makes_data_keys(&self) -> bool {
        true
    }

    fn generate(&self, binding: &Binding) -> Result<(DataKey, Slot)> {
        let key = self.name.to_string();
        let call = Call { method: "generate_data_key", key: &key, region: self.region() };
        let arguments = |_: Python<'_>, given: &Bound<'_, PyDict>| {
            given.set_item("KeyId", &key)?;
            given.set_item("KeySpec", "AES_256")?;
            put_context(given, binding)
        };
        self.clients.call(&call, arguments, |answer| Ok((answer.secret("Plaintext")?, answer.slot(&self.name)?)))
    }

    fn wrap(&self, data_key: &DataKey, binding: &Binding) -> Result<Slot> {
        let key = self.name.to_string();
        let call = Call { method: "encrypt", key: &key, region: self.region() };
        let arguments = |py: Python<'_>, given: &Bound<'_, PyDict>| {
            given.set_item("KeyId", &key)?;
            given.set_item("Plaintext", PyBytes::new(py, data_key.expose()))?;
            put_context(given, binding)
        };
        self.clients.call(&call, arguments, |answer| answer.slot(&self.name))
    }
}

/// Opens slots of the kinds `aws-kms`, `aws-kms-ml-kem` and `aws-kms-rsa`.
pub(crate) struct BotoOpener {
    clients: Arc<Clients>,
    /// `None`: any key of the caller's own account.
    name: Option<KmsKeyName>,
}

impl BotoOpener {
    pub(crate) fn named(clients: &Arc<Clients>, name: &KmsKeyName) -> Self {
        Self { clients: Arc::clone(clients), name: Some(name.clone()) }
    }

    pub(crate) fn of_own_account(clients: &Arc<Clients>) -> Self {
        Self { clients: Arc::clone(clients), name: None }
    }

    /// The call that the caller's name allows for a slot.
    fn asked(&self, slot: &KeyArn) -> Result<Ask> {
        let ask = |key: String, region: &str, expected: KeyArn| Ask { key, region: region.to_owned(), expected };
        Ok(match &self.name {
            // The slot is of this key, or of a sister in another region.
            Some(KmsKeyName::KeyArn(arn)) => ask(arn.to_string(), arn.region(), arn.clone()),
            Some(name) => {
                let region = name.region().unwrap_or(&self.clients.region);
                let expected = if slot.is_multi_region() { slot.in_region(region) } else { slot.clone() };
                ask(name.to_string(), region, expected)
            }
            None => {
                self.clients.check_own(slot)?;
                ask(slot.to_string(), slot.region(), slot.clone())
            }
        })
    }

    fn decrypt(&self, ask: &Ask, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let arguments = |py: Python<'_>, given: &Bound<'_, PyDict>| {
            given.set_item("CiphertextBlob", PyBytes::new(py, &slot.wrapped))?;
            put_context(given, binding)
        };
        self.clients.secret(&ask.call("decrypt"), "Plaintext", &ask.expected, arguments)
    }

    /// The shared secret of a slot of a public key. KMS has no encryption context for such keys. A name that is no ARN can
    /// be of another key, which shows only in the answer.
    fn shared_secret(&self, ask: &Ask, slot: &Slot) -> Result<DataKey> {
        let sent = public::encapsulation(slot).ok_or(Error::ApiMisuse("a slot that is not of a public key"))?;
        let (method, field) = match slot.kind {
            SlotKind::AWS_KMS_ML_KEM => ("decapsulate", "SharedSecret"),
            _ => ("decrypt", "Plaintext"),
        };
        let arguments = |py: Python<'_>, given: &Bound<'_, PyDict>| {
            if slot.kind == SlotKind::AWS_KMS_ML_KEM {
                given.set_item("EncapsulationAlgorithm", "ML_KEM")?;
                return given.set_item("SharedSecretCiphertextBlob", PyBytes::new(py, sent));
            }
            given.set_item("EncryptionAlgorithm", "RSAES_OAEP_SHA_256")?;
            given.set_item("CiphertextBlob", PyBytes::new(py, sent))
        };
        let opened = self.clients.secret(&ask.call(method), field, &ask.expected, arguments);
        match opened {
            Err(Error::Provider(error))
                if error.cause == ProviderCause::WrongCiphertext && ask.key != ask.expected.to_string() =>
            {
                Err(ask.call(method).other_key())
            }
            opened => opened,
        }
    }
}

/// A call that can give the data key of a slot.
struct Ask {
    key: String,
    region: String,
    /// The key that must answer.
    expected: KeyArn,
}

impl Ask {
    fn call(&self, method: &'static str) -> Call<'_> {
        Call { method, key: &self.key, region: &self.region }
    }
}

impl KeyOpener for BotoOpener {
    fn name(&self) -> String {
        self.name.as_ref().map_or_else(|| "AWS KMS, keys of this account".into(), ToString::to_string)
    }

    fn matches(&self, slot: &Slot) -> bool {
        arn_of(slot).is_some_and(|arn| arn.has_real_region() && self.name.as_ref().is_none_or(|name| name.may_be(&arn)))
    }

    fn open(&self, slot: &Slot, binding: &Binding) -> Result<DataKey> {
        let ask = self.asked(&KeyArn::parse(&slot.key_id)?)?;
        match slot.kind {
            SlotKind::AWS_KMS => self.decrypt(&ask, slot, binding),
            _ => public::finish(slot, &self.shared_secret(&ask, slot)?, binding),
        }
    }
}

/// Rewraps a slot inside KMS. The data key does not come to this machine. Returns the id of the request, too.
pub(crate) fn reencrypt(
    clients: &Clients,
    slot: &Slot,
    binding: &Binding,
    to: &KmsKeyName,
) -> Result<(Slot, Option<String>)> {
    let (source, key) = (KeyArn::parse(&slot.key_id)?, to.to_string());
    let region = to.region().unwrap_or(&clients.region);
    let call = Call { method: "re_encrypt", key: &key, region };
    let arguments = |py: Python<'_>, given: &Bound<'_, PyDict>| {
        let context: HashMap<String, String> = context(binding);
        given.set_item("CiphertextBlob", PyBytes::new(py, &slot.wrapped))?;
        given.set_item("SourceKeyId", source.to_string())?;
        given.set_item("DestinationKeyId", &key)?;
        given.set_item("SourceEncryptionContext", &context)?;
        given.set_item("DestinationEncryptionContext", &context)
    };
    clients.call(&call, arguments, |answer| {
        if answer.arn("SourceKeyId")? != source {
            return Err(answer.call.bad_answer("for another key"));
        }
        let id = answer.answer.get_item("ResponseMetadata").and_then(|about| about.get_item("RequestId"));
        Ok((answer.slot(to)?, id.ok().and_then(|id| id.extract().ok())))
    })
}
