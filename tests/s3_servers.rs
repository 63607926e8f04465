//! The object stores and the proxy that the S3 tests use: what they keep, what they leave behind, what they tell.

#[path = "support/s3_sdk.rs"]
mod s3_sdk;
mod support;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use s3_sdk::{s3_client, s3_client_as};
use support::{PlainS3, S3_LISTER, S3_READER, S3Fault, S3Proxy, Seaweed, moto_s3, shared_seaweed};

/// Set where this program runs itself: the file for what it has started.
const STARTED: &str = "WAXSEAL_TEST_STARTED";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The test process is killed: nothing has the time to clean up.
#[test]
fn nothing_outlives_the_test_process() {
    if let Some(file) = std::env::var_os(STARTED) {
        let server = Seaweed::start();
        std::fs::write(file, format!("{}\n{}", server.url, server.folder().display())).expect("a file");
        std::thread::sleep(Duration::from_secs(600));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("started");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "nothing_outlives_the_test_process"]).env(STARTED, &file);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("this program runs");
    let deadline = Instant::now() + Duration::from_secs(120);
    let started = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains('\n') {
            break text;
        }
        assert!(Instant::now() < deadline, "no server was started");
        std::thread::sleep(Duration::from_millis(20));
    };
    let (url, folder) = started.split_once('\n').expect("two lines");
    let address = url.strip_prefix("http://").expect("an address");
    assert!(TcpStream::connect(address).is_ok() && Path::new(folder).exists());
    child.kill().expect("a child");
    child.wait().expect("a child");
    while TcpStream::connect(address).is_ok() || Path::new(folder).exists() {
        assert!(Instant::now() < deadline, "{url} or {folder} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every port of the server is at 127.0.0.1, and two servers run at the same time.
#[cfg(target_os = "linux")]
#[test]
fn servers_listen_on_this_machine_only() {
    let (one, two) = (shared_seaweed(), Seaweed::start());
    assert_ne!(one.url, two.url);
    for server in [one, &two] {
        let first: u16 = server.url.rsplit(':').next().expect("a port").parse().expect("a port");
        let mut listening = 0;
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (ip, port) = fields[1].split_once(':').expect("an address");
                let port = u16::from_str_radix(port, 16).expect("a port");
                if fields[3] == "0A" && (first..first + 10).contains(&port) {
                    assert_eq!(ip, "0100007F", "{line}");
                    listening += 1;
                }
            }
        }
        assert!(listening >= 8, "{listening} ports of {}", server.url);
    }
}

/// What an upload needs, on both stores, and what one of them ignores.
#[test]
fn conditions_that_the_stores_keep() {
    let (seaweed, moto) = (&shared_seaweed().url, &moto_s3().url);
    for (url, plain, keeps_if_match) in [(seaweed, PlainS3::at(seaweed), true), (moto, PlainS3::at_moto(moto), false)] {
        let client = s3_client(url);
        let bucket = plain.new_bucket();
        run(async {
            let put = |key: &str| client.put_object().bucket(&bucket).key(key).body(ByteStream::from_static(b"one"));
            put("key").if_none_match("*").send().await.expect("a new object");
            let refused = put("key").if_none_match("*").send().await.expect_err("it is there");
            assert_eq!(refused.raw_response().expect("an answer").status().as_u16(), 412);
            let upload = client.create_multipart_upload().bucket(&bucket).key("key").send().await.expect("an upload");
            let id = upload.upload_id().expect("an id");
            let part = client.upload_part().bucket(&bucket).key("key").upload_id(id).part_number(1);
            let part = part.body(ByteStream::from_static(b"two")).send().await.expect("a part");
            assert_eq!(plain.uploads(&bucket), [id]);
            let parts = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
            let parts = CompletedMultipartUpload::builder().parts(parts).build();
            let complete = client.complete_multipart_upload().bucket(&bucket).key("key").upload_id(id);
            let complete = complete.multipart_upload(parts).if_match("\"00000000000000000000000000000000\"");
            assert_eq!(complete.send().await.is_err(), keeps_if_match);
        });
        assert_eq!(plain.get(&bucket, "key").expect("an object"), if keeps_if_match { b"one" } else { b"two" });
    }
}

#[test]
fn callers_who_may_not_do_everything() {
    let server = shared_seaweed();
    let bucket = server.bucket();
    server.plain().put(&bucket, "key", b"text");
    run(async {
        for (who, may_list, may_read) in [(S3_LISTER, true, false), (S3_READER, false, true)] {
            let client = s3_client_as(&server.url, who);
            assert_eq!(client.list_objects_v2().bucket(&bucket).send().await.is_ok(), may_list, "{who:?}");
            assert_eq!(client.get_object().bucket(&bucket).key("key").send().await.is_ok(), may_read, "{who:?}");
            assert!(client.put_object().bucket(&bucket).key("new").send().await.is_err(), "{who:?}");
        }
        let stranger = s3_client_as(&server.url, ("AKIDSTRANGER", "secret"));
        assert!(stranger.get_object().bucket(&bucket).key("key").send().await.is_err());
    });
}

#[test]
fn the_proxy_records_and_fails_as_told() {
    let server = shared_seaweed();
    let (bucket, plain) = (server.bucket(), server.plain());
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let etag = plain.put(&bucket, "key", &bytes);
    let proxy = S3Proxy::before(&server.url);
    let through = PlainS3::at(&proxy.url);
    let target = format!("/{bucket}/key");
    let get = |headers: &[(&str, &str)]| through.send("GET", &target, headers, b"");
    let ranged = get(&[("Range", "bytes=10-19"), ("If-Match", &etag)]).expect("an answer");
    assert_eq!((ranged.status, ranged.body.as_slice()), (206, &bytes[10..20]));
    assert_eq!(through.put(&bucket, "other", &bytes), etag);
    let [first, second] = &proxy.take()[..] else { panic!("two requests") };
    assert_eq!((first.operation(), first.range(), first.if_match()), ("GetObject", Some("bytes=10-19"), Some(&*etag)));
    assert_eq!((first.sent, first.received, first.status), (0, 10, Some(206)));
    assert_eq!((second.operation(), second.sent, second.number), ("PutObject", 300_000, 1));

    let replacing = plain.clone();
    let place = bucket.clone();
    proxy.run_before(
        |request| request.operation() == "GetObject",
        move || {
            replacing.put(&place, "key", b"new");
        },
    );
    assert_eq!(get(&[]).expect("an answer").body, b"new");
    proxy.fail([
        S3Fault::slow_down(),
        S3Fault::Cut,
        S3Fault::alter(|answer| answer.body.truncate(1)),
        S3Fault::CutAnswer(None),
    ]);
    let slow = get(&[]).expect("an answer");
    assert!(slow.status == 503 && slow.text().contains("<Code>SlowDown</Code>"));
    assert!(get(&[]).is_err());
    assert_eq!(get(&[]).expect("an answer").body, b"n");
    assert!(get(&[]).is_err());
    assert_eq!(get(&[]).expect("an answer").body, b"new");
    proxy.take();
    proxy.fail([S3Fault::CutRequest(100_000)]);
    assert!(through.send("PUT", &target, &[], &bytes).is_err());
    assert_eq!(proxy.take()[0].sent, 100_000);
    assert_eq!(plain.get(&bucket, "key").expect("an object"), b"new");
    proxy.fail([S3Fault::CutAnswer(Some(1))]);
    assert!(get(&[]).is_err());
    assert_eq!(proxy.take()[0].received, 1);
    proxy.gone(true);
    assert!(get(&[]).is_err());
    proxy.heal();
    assert!(get(&[]).is_ok());
}

/// Each test has a bucket of its own, and each bucket takes a volume. The server's own choice was 41.
#[test]
fn there_is_room_for_many_buckets() {
    let log = shared_seaweed().log();
    let line = log.lines().find(|line| line.contains("Volume Count:")).expect("a line");
    assert!(line.ends_with(" 10000"), "{line}");
}
