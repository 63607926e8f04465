//! Objects in S3 for programs on tokio, and the example programs that use them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../crates/waxseal-aws-s3/examples/object_reads.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod object_reads;
#[path = "support/s3_place.rs"]
mod s3_place;
#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;
#[path = "../crates/waxseal-aws-s3/examples/upload_server.rs"]
#[allow(dead_code, reason = "its `main` is for the program")]
mod upload_server;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3_place::{PART, Place, contents, small_parts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use waxseal::aio::{OpenReader, RangeReader, SealWriter};
use waxseal::keys::{KeyFile, KeyOpener, KeySealer};
use waxseal::{Demands, SealOptions};
use waxseal_aws_s3::{S3Name, StreamReader, UploadWriter};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn opened(key: &KeyFile, file: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    waxseal::OpenReader::new(file, &[key], &Demands::new()).unwrap().read_to_end(&mut plaintext).unwrap();
    plaintext
}

async fn sealed(place: &Place, key: &Arc<KeyFile>, name: &str, plaintext: &[u8]) {
    let upload = place.s3.upload(&place.name(name), small_parts()).unwrap();
    let sealers: Vec<Arc<dyn KeySealer>> = vec![key.clone()];
    let mut writer = SealWriter::new(UploadWriter::new(upload), sealers, &SealOptions::new()).await.unwrap();
    writer.write_all(plaintext).await.unwrap();
    assert!(place.get(name).is_none());
    writer.shutdown().await.unwrap();
    assert!(writer.get_ref().uploaded().is_some());
}

#[test]
fn sealed_into_an_object_and_opened_from_it() {
    let (place, key) = (Place::new(), Arc::new(KeyFile::generate().unwrap()));
    let openers = || -> Vec<Arc<dyn KeyOpener>> { vec![key.clone()] };
    runtime().block_on(async {
        for len in [0, 1, 100_000, PART, 3 * PART + 77] {
            let (plaintext, name) = (contents(len), format!("object-{len}"));
            sealed(&place, &key, &name, &plaintext).await;
            assert!(opened(&key, &place.get(&name).unwrap()) == plaintext);
            let object = place.s3.object_async(&place.name(&name)).await.unwrap();
            let mut again = Vec::new();
            let stream = StreamReader::new(object.stream());
            let mut reader = OpenReader::new(stream, openers(), &Demands::new()).await.unwrap();
            reader.read_to_end(&mut again).await.unwrap();
            assert!(again == plaintext, "{len}: in order");
            let reader = RangeReader::new(object, openers(), &Demands::new()).await.unwrap();
            assert_eq!(reader.len(), len as u64);
            let (from, to) = (len / 3, (len / 3 + 5000).min(len));
            let part = reader.read_range(from as u64..to as u64).await.unwrap();
            assert!(part == plaintext[from..to], "{len}: a range");
        }
    });
    place.is_clean();
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let (place, key) = (Place::new(), Arc::new(KeyFile::generate().unwrap()));
    let runtime = runtime();
    runtime.block_on(async {
        let upload = place.s3.upload(&place.name("dropped"), small_parts()).unwrap();
        let sealers: Vec<Arc<dyn KeySealer>> = vec![key.clone()];
        let mut writer = SealWriter::new(UploadWriter::new(upload), sealers, &SealOptions::new()).await.unwrap();
        writer.write_all(&contents(4 * PART)).await.unwrap();
        writer.flush().await.unwrap();
        drop(writer);
    });
    no_upload_is_left(&place);
    assert!(place.get("dropped").is_none());
}

/// A dropped upload is aborted in the background.
fn no_upload_is_left(place: &Place) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !place.plain.uploads(&place.bucket).is_empty() {
        assert!(Instant::now() < deadline, "the upload was not aborted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends the first `sent` bytes of a PUT. Returns the status; zero if there was none.
fn put(address: std::net::SocketAddr, path: &str, body: &[u8], sent: usize) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(&body[..sent]);
    if sent < body.len() {
        stream.shutdown(Shutdown::Both).unwrap();
        return 0;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[test]
fn the_example_server_seals_what_arrives_completely() {
    let (place, key) = (Place::new(), Arc::new(KeyFile::generate().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let app = upload_server::App {
        key: key.clone(),
        folder: folder.path().to_owned(),
        s3: place.s3.clone(),
        prefix: S3Name::prefix(place.bucket.clone(), "in/").unwrap(),
    };
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, upload_server::router(app)).await });

    let body = contents(40 << 20);
    let on_disk = || names(folder.path());
    for (path, len) in [("/disk/a", 100), ("/disk/b", body.len()), ("/s3/a", 100), ("/s3/b", body.len())] {
        assert_eq!(put(address, path, &body[..len], len), 201, "{path}");
        assert_eq!(put(address, path, &body[..len], len), 409, "{path} again");
        let name = path.rsplit_once('/').unwrap().1;
        let file = match path.starts_with("/disk") {
            true => std::fs::read(folder.path().join(format!("{name}.wax"))).unwrap(),
            false => place.get(&format!("in/{name}.wax")).unwrap(),
        };
        assert!(opened(&key, &file) == body[..len], "{path}");
    }
    // The client goes away.
    for path in ["/disk/cut", "/s3/cut"] {
        for sent in [0, 1000, body.len() - 1] {
            put(address, path, &body, sent);
        }
    }
    assert_eq!(put(address, "/disk/.hidden", b"", 0), 400);
    drop(runtime);
    no_upload_is_left(&place);
    assert_eq!(on_disk(), ["a.wax", "b.wax"]);
    assert!(place.get("in/cut.wax").is_none());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_example_reads_at_random_positions() {
    let (place, key) = (Place::new(), Arc::new(KeyFile::generate().unwrap()));
    runtime().block_on(async {
        sealed(&place, &key, "large", &contents(8 << 20)).await;
        place.proxy.take();
        let (bytes, _) = object_reads::read(&place.s3, &place.name("large"), key, 50).await.unwrap();
        assert_eq!(bytes, 50 * 4096);
    });
    let requests = place.proxy.take();
    assert_eq!(requests.len(), 52, "the front, the end, and one for each read");
    let received: u64 = requests.iter().map(|request| request.received).sum();
    assert!(received < 52 * 34_000 + 200_000, "{received} bytes");
}
