//! Emulators of AWS, and plain calls to them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{kms_python, python};

/// The account of all callers of the emulators, unless they have assumed a role.
pub const ACCOUNT: &str = "123456789012";
/// The region of the tests' keys, unless a test names another.
pub const REGION: &str = "eu-west-1";

/// A running emulator. It ends on drop.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    child: Child,
    aws: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An emulator of STS, and of everything in KMS that this project uses, except import.
pub fn moto() -> Server {
    Server::start("moto", &[], "http")
}

/// One moto for all tests of this process. Each test needs its own keys and its own names.
pub fn shared_moto() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(moto)
}

/// Moto with TLS, using [`Certificates`].
pub fn moto_tls(certificates: &Certificates) -> Server {
    let file = |name: &str| certificates.folder.path().join(name).to_string_lossy().into_owned();
    Server::start("moto", &[&file("leaf.pem"), &file("leaf.key")], "https")
}

/// An emulator that supports imported key material. It has no ReEncrypt, and does not check which key a Decrypt names.
pub fn ministack() -> Server {
    Server::start("ministack", &[], "http")
}

/// This project's own small KMS (`kms.py`): ML-KEM and RSA keys, DryRun, rotation on demand, several key materials.
pub fn small_kms() -> Server {
    Server::start("small_kms", &[], "http")
}

/// A certificate authority for one test, and a certificate for one host and 127.0.0.1.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub fn for_host(host: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = super::root().join("tests/support/serve.py");
        let status = Command::new(python()).arg(script).arg("certify").arg(folder.path()).arg(host).status();
        assert!(status.expect("python runs").success(), "no certificates");
        Self { folder }
    }

    /// The authority's certificate, for `AWS_CA_BUNDLE`.
    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }
}

impl Server {
    fn start(what: &'static str, more: &[&str], scheme: &str) -> Self {
        let script = super::root().join("tests/support/serve.py");
        let mut command = Command::new(if what == "small_kms" { kms_python() } else { python() });
        super::clear_aws_environment(&mut command);
        let mut child = command
            .arg(script)
            .arg(what)
            .args(more)
            // The folder for the emulators' files.
            .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
            // Only this process has the pipe open for writing, and it writes nothing. When the pipe is closed, the
            // emulator ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let stdout = child.stdout.take().expect("a pipe");
        let mut server = Self { url: String::new(), child, aws: what };
        let mut output = BufReader::new(stdout);
        let mut port = String::new();
        output.read_line(&mut port).expect("a port");
        // Other output of the emulator must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        server.url = format!("{scheme}://127.0.0.1:{}", port.trim());
        server.wait_until_it_answers();
        server
    }

    /// For [`small_kms`]: the body of the last request for `operation`.
    #[track_caller]
    pub fn last_body(&self, operation: &str) -> Value {
        let calls = self.calls();
        let call = calls.iter().rev().find(|call| call["Operation"] == operation);
        call.map(|call| call["Body"].clone()).expect("such a call")
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(self.address()).is_err() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < deadline, "{} did not start: {ended:?}", self.aws);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, address)| address)
    }

    /// For [`small_kms`]: the calls that it received, as `Operation`, `Region` and `Body`.
    pub fn calls(&self) -> Vec<Value> {
        self.fake("Calls", &json!({}))["Calls"].as_array().cloned().unwrap_or_default()
    }

    /// For [`small_kms`]: checks that every request and answer had the form of AWS's own model of KMS.
    #[track_caller]
    pub fn conforms(&self) {
        assert_eq!(self.fake("Violations", &json!({}))["Violations"], json!([]));
    }

    /// For [`small_kms`]: the next `times` calls of `operation` are refused with `code`.
    pub fn fail(&self, operation: &str, code: &str, times: u32) {
        self.fake("Fail", &json!({ "Operation": operation, "Code": code, "Times": times }));
    }

    /// For [`small_kms`]: more than `per_second` calls in any second are throttled.
    pub fn limit(&self, per_second: u32) {
        self.fake("Limit", &json!({ "PerSecond": per_second }));
    }

    /// For [`small_kms`]: no call is answered until `count` calls wait for an answer.
    pub fn gather(&self, count: u32) {
        self.fake("Gather", &json!({ "Count": count }));
    }

    fn fake(&self, operation: &str, body: &Value) -> Value {
        let (_, answer) = self.aws().send(&format!("Fake.{operation}"), &body.to_string());
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Plain calls to the emulator, independent of the code under test.
    pub fn aws(&self) -> Aws {
        Aws { address: self.address().to_owned(), region: REGION.into() }
    }
}

/// A client that signs nothing: the emulators do not check signatures.
#[derive(Clone)]
pub struct Aws {
    address: String,
    region: String,
}

impl Aws {
    /// The same client for another region.
    pub fn in_region(&self, region: &str) -> Self {
        Self { region: region.into(), ..self.clone() }
    }

    /// A KMS call. Panics with the answer if it is refused.
    #[track_caller]
    pub fn kms(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.post(operation, &body.to_string());
        assert_eq!(status, 200, "{operation}: {answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    fn post(&self, operation: &str, body: &str) -> (u16, String) {
        self.send(&format!("TrentService.{operation}"), body)
    }

    fn send(&self, target: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("an emulator");
        let region = &self.region;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: kms.{region}.amazonaws.com\r\nConnection: close\r\n\
             Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{region}/kms/aws4_request, \
             SignedHeaders=host, Signature=00\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("an emulator that reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        (status, body)
    }

    /// Creates a symmetric key, and returns its ARN.
    #[track_caller]
    pub fn create_key(&self) -> String {
        self.create_key_with(&json!({}))
    }

    /// Creates a key, and returns its ARN.
    #[track_caller]
    pub fn create_key_with(&self, body: &Value) -> String {
        self.kms("CreateKey", body)["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
    }

    /// Makes `alias/NAME` an alias of a key.
    #[track_caller]
    pub fn alias(&self, name: &str, key: &str) {
        self.kms("CreateAlias", &json!({ "AliasName": name, "TargetKeyId": key }));
    }
}
